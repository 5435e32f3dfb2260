//! The talk of a trade: the newest at the bottom, the line that is typed below it.

use exchange_api::{Arrival, Conversation, MessageView, MessageWords, Person, ShownMessage};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::app::App;
use crate::app::chat::Chat;
use crate::words::chat as w;
use crate::{format, words};

/// Lines of the form.
const FORM: u16 = 4;

/// Draws the talk into a popup's inside.
pub fn draw(app: &App, chat: &Chat, frame: &mut Frame, area: Rect) {
    let [talk, rule, form] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1), Constraint::Length(FORM)]).areas(area);
    let lines = match &chat.said {
        None => vec![Line::from(words::LOADING).style(app.theme.dim())],
        Some(said) => lines(app, said, usize::from(talk.width)),
    };
    let height = usize::from(talk.height);
    let end = lines.len().saturating_sub(chat.scroll.min(lines.len().saturating_sub(height)));
    let shown = lines[end.saturating_sub(height)..end].to_vec();
    frame.render_widget(Paragraph::new(shown), talk);
    frame.render_widget(Span::styled("─".repeat(usize::from(rule.width)), app.theme.border()), rule);
    super::form::draw(app, &chat.form, false, frame, form);
}

fn lines(app: &App, said: &Conversation, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let first_unread = said.messages.len().saturating_sub(said.unread as usize); // a u32 fits
    for (at, message) in said.messages.iter().enumerate() {
        let is_new = at >= first_unread && message.from != said.me;
        let mark = is_new.then(|| mark(w::NEW, app.theme.warn()));
        lines.extend(message_lines(app, message, said.me, mark, width));
    }
    if lines.is_empty() {
        lines.push(Line::from(w::EMPTY).style(app.theme.strong()));
        lines.extend(format::wrap(w::SEALED, width).into_iter().map(|line| Line::from(line).style(app.theme.dim())));
    }
    if let Some(shown) = &said.shown {
        lines.extend([Line::default(), Line::from(w::SHOWN).style(app.theme.accent())]);
        for ShownMessage { message, arrival } in &shown.messages {
            let style = match arrival {
                Arrival::Answered | Arrival::Had => app.theme.dim(),
                Arrival::Unproven => app.theme.warn(),
            };
            let mark = w::arrival(*arrival).map(|text| mark(text, style));
            lines.extend(message_lines(app, message, said.me, mark, width));
        }
        for showing in &shown.by {
            let style = match (showing.is_complete(), showing.is_doubtful()) {
                (true, _) => app.theme.good(),
                (false, true) => app.theme.bad(),
                (false, false) => app.theme.warn(),
            };
            let text = format::sentence(&w::verdict(showing));
            lines.extend(format::wrap(&text, width).into_iter().map(|line| Line::from(line).style(style)));
        }
    }
    lines
}

/// Returns what stands behind the head of a message.
fn mark(text: &str, style: Style) -> Span<'static> {
    Span::styled(format!("  {text}"), style)
}

fn message_lines(
    app: &App,
    message: &MessageView,
    me: Person,
    mark: Option<Span<'static>>,
    width: usize,
) -> Vec<Line<'static>> {
    let who = |person| if person == me { "you" } else { w::person(person) };
    let mut head = vec![
        Span::styled(
            format!("{} to {}", who(message.from), who(message.to)),
            if message.from == me { app.theme.dim() } else { app.theme.accent() },
        ),
        Span::styled(format!(" · {}", format::ago(app.now(), message.time)), app.theme.dim()),
    ];
    head.extend(mark);
    let (text, style) = match &message.words {
        MessageWords::Chat { text } => (text.clone(), Style::new()),
        MessageWords::Details { details, is_agreed: true } => (format!("[{}] {details}", w::AGREED), app.theme.dim()),
        MessageWords::Details { details, is_agreed: false } => {
            (format!("[{}] {details}", w::NOT_AGREED), app.theme.bad())
        }
        MessageWords::NotShown => (format!("[{}]", w::NOT_SHOWN), app.theme.dim()),
    };
    let mut lines = vec![Line::from(head)];
    let wrapped = format::wrap(&format::clean(&text), width.saturating_sub(2));
    lines.extend(wrapped.into_iter().map(|line| Line::from(format!("  {line}")).style(style)));
    lines
}
