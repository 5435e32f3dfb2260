//! Posting an offer: the form, and the offer as others will see it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use crate::app::App;
use crate::app::post::suspicion;
use crate::words;

/// Lines of the preview with its border, where there is room for them.
const PREVIEW_HEIGHT: u16 = 12;

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    let area = area.inner(Margin::new(1, 1));
    let fields = u16::try_from(app.post.form.fields.len()).unwrap_or(u16::MAX);
    // In a small window the button comes first.
    let rest = area.height.saturating_sub(fields + 2).min(PREVIEW_HEIGHT);
    let [form, preview] = Layout::vertical([Constraint::Length(fields + 2), Constraint::Length(rest)]).areas(area);
    super::form::draw(app, &app.post.form, false, frame, form);
    let block = Block::new()
        .borders(Borders::ALL)
        .border_style(app.theme.border())
        .title(format!(" {} ", words::post::PREVIEW));
    let inner = block.inner(preview);
    frame.render_widget(block, preview);
    let draft = app.post.draft();
    let is_complete = draft.price.is_some() && draft.min.is_some() && draft.max.is_some();
    let style = if is_complete { app.theme.strong() } else { app.theme.dim() };
    let mut lines = vec![Line::from(words::post::sentence(&draft)).style(style)];
    let best = draft.currency.and_then(|currency| app.book.best(draft.side, currency));
    if let Some(warning) = suspicion(&draft, best) {
        lines.push(Line::from(format!("! {warning}")).style(app.theme.warn()));
    } else if !is_complete {
        lines.push(Line::from(words::post::INCOMPLETE).style(app.theme.dim()));
    }
    if is_complete {
        let rows = app.post.rows().into_iter();
        lines.extend(rows.map(|(name, text)| Line::from(format!("{name}: {text}")).style(app.theme.dim())));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), inner);
}
