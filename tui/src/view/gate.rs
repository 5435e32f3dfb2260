//! The first run and the unlocking.

use exchange_api::{PasswordStrength, StrengthVerdict};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Flex, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::frame::spinner;
use crate::app::gate::{PASSWORD, Stage};
use crate::app::{App, TICKS_PER_SECOND};
use crate::form::Form;
use crate::message::CallName;
use crate::words::gate as w;
use crate::{format, words};

/// Columns of the text.
const WIDTH: u16 = 74;
/// Cells of the strength's bar.
const BAR: u32 = 10;
/// Guesses, as a power of ten, that fill the bar.
const FULL: u32 = 20;

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    let [column] = Layout::horizontal([Constraint::Length(WIDTH)]).flex(Flex::Center).areas(area);
    let creating = app.busy.filter(|busy| busy.call == CallName::Create);
    match app.gate.stage() {
        Stage::Create if creating.is_none() => draw_create(app, frame, column),
        Stage::Create | Stage::Deriving => draw_deriving(app, creating.map(|busy| busy.since), frame, column),
        Stage::Unlock => draw_unlock(app, frame, column),
        Stage::Open => {}
    }
}

fn draw_create(app: &App, frame: &mut Frame, area: Rect) {
    let theme = app.theme;
    let fields = app.gate.create.fields.iter().filter(|field| field.shown).count();
    let form_height = u16::try_from(fields).unwrap_or(u16::MAX) + 2;
    let [_, title, intro, form, _, note, skip] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(form_height),
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Line::from(w::CREATE_TITLE).style(theme.strong()), title);
    frame.render_widget(Paragraph::new(w::CREATE_INTRO).wrap(Wrap { trim: true }), intro);
    super::form::draw(app, &app.gate.create, app.gate.revealed, frame, form);
    let lines = if app.gate.uses_passphrase() { passphrase_lines(app) } else { strength_lines(app, &app.gate.create) };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), note);
    frame.render_widget(Line::from(w::SKIP_NOTE).style(theme.dim()), skip);
}

fn passphrase_lines(app: &App) -> Vec<Line<'static>> {
    let words = match &app.gate.passphrase {
        Some(passphrase) => passphrase.0.to_string(),
        None => format!("{}…", words::doing(CallName::Passphrase)),
    };
    vec![
        Line::from(format!("┃ {words}")).style(app.theme.good()),
        Line::from(w::PASSPHRASE_NOTE).style(app.theme.dim()),
    ]
}

fn strength_lines(app: &App, form: &Form) -> Vec<Line<'static>> {
    match &app.gate.strength {
        Some(strength) => strength_bar(app, strength),
        None if form.fields[PASSWORD].value().is_empty() => Vec::new(),
        None => vec![Line::from(w::JUDGING).style(app.theme.dim())],
    }
}

fn strength_bar(app: &App, strength: &PasswordStrength) -> Vec<Line<'static>> {
    let style = match strength.verdict {
        StrengthVerdict::Refused => app.theme.bad(),
        StrengthVerdict::Weak => app.theme.warn(),
        StrengthVerdict::Strong => app.theme.good(),
    };
    let filled = (strength.guesses_log10.min(FULL) * BAR / FULL) as usize; // at most ten
    let bar = format!("{}{}", "▰".repeat(filled), "▱".repeat(BAR as usize - filled));
    let verdict = format!("{bar} {}: about 10^{} guesses", w::verdict(strength.verdict), strength.guesses_log10);
    vec![Line::from(verdict).style(style), Line::from(format::clean(&strength.advice)).style(app.theme.dim())]
}

fn draw_unlock(app: &App, frame: &mut Frame, area: Rect) {
    let [text, form, skip] = Layout::vertical([Constraint::Length(4), Constraint::Length(4), Constraint::Length(1)])
        .flex(Flex::Center)
        .areas(area);
    let lines =
        vec![Line::from(w::UNLOCK_TITLE).style(app.theme.strong()), Line::default(), Line::from(w::UNLOCK_INTRO)];
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), text);
    super::form::draw(app, &app.gate.unlock, app.gate.revealed, frame, form);
    frame.render_widget(Line::from(w::SKIP_NOTE).style(app.theme.dim()), skip);
}

fn draw_deriving(app: &App, since: Option<u64>, frame: &mut Frame, area: Rect) {
    let [middle] = Layout::vertical([Constraint::Length(6)]).flex(Flex::Center).areas(area);
    let elapsed = since.map_or_else(String::new, |since| format!(" {} s", (app.ticks - since) / TICKS_PER_SECOND));
    let lines = vec![
        Line::from(vec![spinner(app), Span::styled(format!(" {}…{elapsed}", w::DERIVING), app.theme.strong())]),
        Line::default(),
        Line::from(w::DERIVING_NOTE).style(app.theme.dim()),
    ];
    frame.render_widget(Paragraph::new(lines).alignment(Alignment::Center).wrap(Wrap { trim: true }), middle);
}
