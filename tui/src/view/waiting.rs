//! Before there is a node to talk to.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Flex, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::frame::spinner;
use crate::app::{App, TICKS_PER_SECOND};
use crate::{format, words};

/// Draws that the node is being looked for or started.
pub fn starting(app: &App, what: &str, frame: &mut Frame, area: Rect) {
    let seconds = (app.ticks - app.waiting_since) / TICKS_PER_SECOND;
    let lines = vec![
        Line::from(vec![spinner(app), Span::raw(format!(" {what}… {seconds} s"))]),
        Line::default(),
        Line::from(if app.demo { words::STARTING_DEMO_NOTE } else { words::STARTING_NOTE }).style(app.theme.dim()),
    ];
    let [middle] = Layout::vertical([Constraint::Length(3)]).flex(Flex::Center).areas(area);
    frame.render_widget(Paragraph::new(lines).alignment(Alignment::Center), middle);
}

/// Draws why there is no node.
pub fn failed(app: &App, why: &str, frame: &mut Frame, area: Rect) {
    let mut lines = vec![Line::from(words::NODE_FAILED).style(app.theme.bad()), Line::default()];
    let [middle] = Layout::horizontal([Constraint::Percentage(92)]).flex(Flex::Center).areas(area);
    let [_, text] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(middle);
    let why = format::wrap(format::clean(why).trim_end(), usize::from(text.width));
    // Of a long log the end says why.
    let skipped = why.len().saturating_sub(usize::from(text.height).saturating_sub(lines.len()));
    lines.extend(why.into_iter().skip(skipped).map(Line::from));
    frame.render_widget(Paragraph::new(lines), text);
}
