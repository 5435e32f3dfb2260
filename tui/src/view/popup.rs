//! What stands above the screen: questions, errors, small forms, the keys.

use exchange_api::ApiError;
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders, Clear, Paragraph, Wrap};

use crate::action::{self, Context, Entry};
use crate::app::ask::{self, Ask};
use crate::app::{App, FormFor, Popup};
use crate::form::Form;
use crate::theme::{NO_POINTER, POINTER};
use crate::{format, words};

/// Columns of a popup, its frame included.
const WIDTH: u16 = 68;

/// Draws the topmost popup.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    match app.popups.last() {
        None => {}
        Some(Popup::Help) => draw_help(app, frame, area),
        Some(Popup::Error { title, error }) => draw_error(app, title, error, frame, area),
        Some(Popup::Ask(ask)) => draw_ask(app, ask, frame, area),
        Some(Popup::Form(what, form)) => draw_form(app, what, form, frame, area),
        Some(Popup::Contract(contract)) => {
            let title = format!("{}, trade {}", words::contract::TITLE, contract.trade.short());
            let height = super::contract::height(app.trades.get(contract.trade));
            let inner = window(app, &title, height, super::MIN_WIDTH, frame, area);
            super::contract::draw(app, contract, frame, inner);
        }
        Some(Popup::Chat(chat)) => {
            let title = format!("{}, trade {}", words::chat::TITLE, chat.trade.short());
            let (height, width) = (area.height.saturating_sub(6), area.width.saturating_sub(4).min(WIDTH + 20));
            let inner = window(app, &title, height, width, frame, area);
            super::chat::draw(app, chat, frame, inner);
        }
    }
}

/// Clears a place in the middle, and the whole lines of it, for what is left of words at both sides reads as part of it; frames
/// the place and returns what is inside.
fn window(app: &App, title: &str, height: u16, width: u16, frame: &mut Frame, area: Rect) -> Rect {
    let [row] = Layout::vertical([Constraint::Length(height + 2)]).flex(Flex::Center).areas(area);
    let [place] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(row);
    frame.render_widget(Clear, row);
    let title = Span::styled(format!(" {title} "), app.theme.strong());
    let block = Block::new()
        .borders(Borders::ALL)
        .border_type(BorderType::Rounded)
        .border_style(app.theme.accent())
        .title(title);
    let inner = block.inner(place);
    frame.render_widget(block, place);
    inner.inner(Margin::new(1, 0))
}

/// Returns how many lines a text takes when wrapped.
pub fn wrapped(lines: &[Line], width: u16) -> u16 {
    let rows = |line: &Line| {
        let text: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
        format::wrap(&text, usize::from(width)).len()
    };
    u16::try_from(lines.iter().map(rows).sum::<usize>()).unwrap_or(u16::MAX)
}

fn draw_ask(app: &App, ask: &Ask, frame: &mut Frame, area: Rect) {
    let mut lines = vec![Line::default()];
    for line in &ask.lines {
        lines.push(match line {
            ask::Line::Plain(text) => Line::from(text.clone()),
            ask::Line::Strong(text) => Line::from(text.clone()).style(app.theme.strong()),
            ask::Line::Warning(text) => Line::from(format!("! {text}")).style(app.theme.warn()),
        });
    }
    let height = wrapped(&lines, WIDTH - 4);
    let inner = window(app, &ask.title, height + 3, WIDTH, frame, area);
    let [text, _, buttons, _] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1), Constraint::Length(1), Constraint::Length(1)])
            .areas(inner);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), text);
    frame.render_widget(choices(app, ask), buttons);
}

/// Returns the answers as a line, the chosen one marked.
pub fn choices(app: &App, ask: &Ask) -> Paragraph<'static> {
    let mut spans = Vec::new();
    for (at, choice) in ask.choices.iter().enumerate() {
        let is_chosen = at == ask.chosen;
        let pointer = if is_chosen { POINTER } else { NO_POINTER };
        let style = if is_chosen { app.theme.selected() } else { ratatui::style::Style::new() };
        spans.push(Span::styled(pointer, app.theme.accent()));
        spans.push(Span::styled(format!("[ {} ]", choice.label), style));
        spans.push(Span::raw("  "));
    }
    Paragraph::new(Line::from(spans)).centered()
}

fn draw_error(app: &App, title: &str, error: &ApiError, frame: &mut Frame, area: Rect) {
    let said = |text: &str| format::sentence(&words::commands::as_keys(text));
    let mut lines = vec![Line::default(), Line::from(said(&error.message)).style(app.theme.bad())];
    if !error.hint.is_empty() {
        lines.extend([Line::default(), Line::from(said(&error.hint))]);
    }
    lines.extend([Line::default(), Line::from(words::CLOSE).style(app.theme.dim())]);
    let height = wrapped(&lines, WIDTH - 4);
    let inner = window(app, title, height, WIDTH, frame, area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), inner);
}

fn draw_form(app: &App, what: &FormFor, form: &Form, frame: &mut Frame, area: Rect) {
    let (title, note) = title_and_note(app, what);
    let fields = u16::try_from(form.fields.len()).unwrap_or(u16::MAX);
    let width = WIDTH + 8;
    // An empty line follows it.
    let note_height = note.as_deref().map_or(0, |note| wrapped(&[Line::from(note)], width - 4).saturating_add(1));
    let inner = window(app, title, fields + 4 + note_height, width, frame, area);
    let [_, text, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(note_height), Constraint::Min(0)]).areas(inner);
    if let Some(note) = note {
        frame.render_widget(Paragraph::new(note).wrap(Wrap { trim: true }), text);
    }
    super::form::draw(app, form, false, frame, rest);
}

/// Returns what stands above a form, and what is said before its fields.
fn title_and_note(app: &App, what: &FormFor) -> (&'static str, Option<String>) {
    let (title, note) = match what {
        FormFor::Accept(trade) => {
            return (words::trade::ACCEPT_TITLE, app.trades.get(*trade).map(words::trade::accept_note));
        }
        FormFor::Rule(trade) => {
            let note = |trade| format!("{} {}", words::trade::named(trade), words::ruling::FORM_NOTE);
            return (words::ruling::FORM_TITLE, app.trades.get(*trade).map(note));
        }
        FormFor::Send(_) => (words::wallet::SEND_FORM_TITLE, None),
        FormFor::Label(_) => (words::wallet::LABEL_TITLE, None),
        FormFor::Bump(_) => (words::wallet::BUMP_TITLE, Some(words::wallet::BUMP_NOTE)),
        FormFor::Cancel(_) => (words::wallet::CANCEL_TITLE, Some(words::wallet::CANCEL_NOTE)),
        FormFor::Disclose(_) => (words::disclose::FORM_TITLE, None),
        FormFor::Connect => (words::network::CONNECT_TITLE, Some(words::network::CONNECT_NOTE)),
    };
    (title, note.map(str::to_owned))
}

/// Columns of the general keys in the help.
const GENERAL_WIDTH: u16 = 32;

/// Draws the keys of what is below the help: its own at the left, with the reason why one does nothing; the general ones
/// at the right.
fn draw_help(app: &App, frame: &mut Frame, area: Rect) {
    let mut entries: Vec<&Entry> = Vec::new();
    for context in app.contexts_below_help() {
        for entry in action::TABLE.iter().filter(|entry| entry.context == context) {
            // The innermost context decides what a key does.
            if entries.iter().all(|known| known.keys.first() != entry.keys.first()) {
                entries.push(entry);
            }
        }
    }
    let is_general = |entry: &&Entry| matches!(entry.context, Context::List | Context::Screens | Context::Always);
    let (general, own): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_general);
    let width = area.width.min(92);
    // A frame and a margin at both sides.
    let own_width = width.saturating_sub(4 + GENERAL_WIDTH);
    let lines = |entries: Vec<&Entry>, keys: usize, width: u16| {
        let lines = entries.into_iter().flat_map(move |entry| help_lines(app, entry, keys, usize::from(width)));
        lines.collect::<Vec<_>>()
    };
    let (own, general) = (lines(own, 10, own_width), lines(general, 8, GENERAL_WIDTH));
    let rows = own.len().max(general.len());
    let height = u16::try_from(rows).unwrap_or(u16::MAX).min(area.height.saturating_sub(4)) + 1;
    let inner = window(app, words::HELP_TITLE, height, width, frame, area);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(GENERAL_WIDTH)]).areas(inner);
    frame.render_widget(Paragraph::new(own), left);
    frame.render_widget(Paragraph::new(general), right);
}

/// Returns the keys of an action, right-aligned, and what it does or why it does nothing, in as many lines as that takes.
fn help_lines(app: &App, entry: &Entry, keys: usize, width: usize) -> Vec<Line<'static>> {
    let labels: Vec<_> = entry.keys.iter().map(|key| key.label()).collect();
    let (text, style) = match (entry.when)(app) {
        Ok(()) => (entry.does(app), ratatui::style::Style::new()),
        Err(why) => (format!("{} ({why})", entry.does(app)), app.theme.dim()),
    };
    let mut before = format!("{:>keys$}  ", labels.join(" "));
    let room = width.saturating_sub(keys + 2);
    let lines = format::wrap(&text, room).into_iter().map(|line| {
        let before = std::mem::replace(&mut before, " ".repeat(keys + 2));
        Line::from(vec![Span::styled(before, app.theme.accent()), Span::styled(line, style)])
    });
    lines.collect()
}
