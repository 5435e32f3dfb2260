//! Taking an offer: the form, then what it would mean.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use super::{empty, popup};
use crate::app::App;
use crate::app::take::{Draft, Review};
use crate::words::take as w;
use crate::{format, words};

/// Lines of the offer, the empty one below it included, at least.
const OFFER_HEIGHT: u16 = 4;
/// Lines of the form.
const FORM_HEIGHT: u16 = 7;
/// Lines of what it means.
const MEANING_HEIGHT: u16 = 4;

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    match (&app.take.review, &app.take.draft) {
        (Some(review), _) => draw_review(app, review, frame, area),
        (None, Some(draft)) => draw_form(app, draft, frame, area),
        (None, None) => empty(app, frame, area, w::NOTHING, w::NOTHING_HINT),
    }
}

fn draw_form(app: &App, draft: &Draft, frame: &mut Frame, area: Rect) {
    let area = area.inner(Margin::new(1, 1));
    let sentence = format!("{}.", words::offer_sentence(&draft.offer));
    let maker = format!("Maker {}. Terms: {}", words::maker(&draft.offer), terms(draft));
    let mut lines = vec![Line::from(sentence).style(app.theme.strong())];
    let maker = format::wrap(&maker, usize::from(area.width));
    lines.extend(maker.into_iter().map(|line| Line::from(line).style(app.theme.dim())));
    let room = area.height.saturating_sub(FORM_HEIGHT + MEANING_HEIGHT);
    let height = u16::try_from(lines.len() + 1).unwrap_or(u16::MAX).clamp(OFFER_HEIGHT, room.max(OFFER_HEIGHT));
    if lines.len() > usize::from(height) {
        lines.truncate(usize::from(height) - 1); // at least three are left
        lines.push(Line::from(w::TERMS_GO_ON).style(app.theme.warn()));
    }
    let parts = [Constraint::Length(height), Constraint::Length(FORM_HEIGHT), Constraint::Length(MEANING_HEIGHT)];
    let [offer, form, meaning] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(lines), offer);
    super::form::draw(app, &draft.form, false, frame, form);
    let block = Block::new().borders(Borders::TOP).border_style(app.theme.border());
    let inner = block.inner(meaning);
    frame.render_widget(block, meaning);
    let cost = draft.amount().ok().and_then(|amount| Some((amount, draft.offer.price.cost(amount)?)));
    if let Some((amount, cost)) = cost {
        let text = format!(
            "{} {} for {}",
            words::you(crate::app::book::your_side(&draft.offer)),
            format::btc_unit(amount),
            format::money_unit(draft.offer.currency, cost)
        );
        frame.render_widget(Line::from(text).style(app.theme.strong()), inner);
    }
}

fn terms(draft: &Draft) -> String {
    match draft.offer.terms.trim() {
        "" => words::book::NO_TERMS.to_owned(),
        terms => format::clean(terms).replace('\n', " "),
    }
}

fn draw_review(app: &App, review: &Review, frame: &mut Frame, area: Rect) {
    let theme = app.theme;
    let terms = &review.terms;
    let [(send, send_how), (receive, receive_how)] = w::exchange(terms);
    let column = send.chars().count().max(receive.chars().count());
    let big = |label: &'static str, amount: String, how: String| {
        Line::from(vec![
            Span::styled(format!("{label:<13}"), theme.dim()),
            Span::styled(format!(" {amount:>column$} "), theme.selected()),
            Span::styled(format!("  {how}"), theme.dim()),
        ])
    };
    let fact = |label: &'static str, text: String| {
        Line::from(vec![Span::styled(format!("{label:<14}"), theme.dim()), Span::raw(text)])
    };
    let title = |text: &'static str| Line::from(text).style(theme.accent());
    let mut lines = vec![
        Line::from(review.ask.title.clone()).style(theme.strong()),
        Line::default(),
        big(w::YOU_SEND, send, send_how),
        big(w::YOU_RECEIVE, receive, receive_how),
        fact(w::ARBITER, w::arbiter_line(&terms.arbiter)),
    ];
    lines.extend(terms.second_arbiter.iter().map(|second| fact(w::SECOND_ARBITER, w::arbiter_line(second))));
    lines.extend(w::bonds(terms).map(|bonds| fact(w::BONDS, bonds)));
    if !terms.arbiter.trusted {
        lines.push(Line::from(format!("! {}", w::untrusted(&terms.arbiter))).style(theme.warn()));
    }
    if !terms.affordable {
        lines.push(Line::from(format!("! {}", w::NOT_AFFORDABLE)).style(theme.warn()));
    }
    lines.extend([Line::default(), title(w::STEPS)]);
    lines.extend(w::steps(terms).into_iter().enumerate().map(|(at, step)| Line::from(format!("{}. {step}", at + 1))));
    lines.extend([Line::default(), title(w::IF_VANISHES)]);
    lines.extend(w::if_vanishes(terms).into_iter().map(|line| Line::from(format!("· {line}"))));
    let area = area.inner(Margin::new(2, 0));
    let [text, buttons] = Layout::vertical([Constraint::Min(0), Constraint::Length(2)]).areas(area);
    // Nothing that is agreed on is cut off in a small window: what only looks good goes first.
    if popup::wrapped(&lines, text.width) > text.height {
        lines.retain(|line| line.width() > 0);
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), text);
    frame.render_widget(popup::choices(app, &review.ask), buttons);
}
