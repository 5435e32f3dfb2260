//! How the application looks: a pure function of its state.

mod book;
mod chat;
mod coins;
mod contract;
mod form;
mod frame;
mod gate;
mod network;
mod popup;
mod post;
mod take;
mod trades;
mod waiting;
mod wallet;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use crate::app::{App, Tab};
use crate::message::Connection;
use crate::words;

/// The smallest window that shows everything.
pub const MIN_WIDTH: u16 = 80;
/// The smallest window that shows everything.
pub const MIN_HEIGHT: u16 = 24;
/// From this width on there is room for two columns.
const WIDE: u16 = 110;
/// From this height of the middle on a list and what is selected fit below each other.
const TALL: u16 = 32;

/// Draws everything.
pub fn draw(app: &App, frame: &mut Frame) {
    let area = frame.area();
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        too_small(frame, area);
        return;
    }
    let [header, body, message, footer] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(0), Constraint::Length(1), Constraint::Length(1)])
            .areas(area);
    frame::header(app, frame, header);
    match &app.connection {
        Connection::Starting(what) => waiting::starting(app, what, frame, body),
        Connection::Failed(why) => waiting::failed(app, why, frame, body),
        Connection::Up { .. } | Connection::Lost(_) if app.gate_is_shown() => gate::draw(app, frame, body),
        Connection::Up { .. } | Connection::Lost(_) => screen(app, frame, body),
    }
    frame::message(app, frame, message);
    frame::footer(app, frame, footer);
    popup::draw(app, frame, area);
}

fn screen(app: &App, frame: &mut Frame, area: Rect) {
    match app.tab {
        Tab::Book => book::draw(app, frame, area),
        Tab::Post => post::draw(app, frame, area),
        Tab::Take => take::draw(app, frame, area),
        Tab::Trades => trades::draw(app, frame, area),
        Tab::Wallet => wallet::draw(app, frame, area),
        Tab::Network => network::draw(app, frame, area),
    }
}

fn too_small(frame: &mut Frame, area: Rect) {
    let size = format!("{}×{}, please make it {MIN_WIDTH}×{MIN_HEIGHT}.", area.width, area.height);
    let lines = vec![Line::from(words::TOO_SMALL), Line::from(size)];
    frame.render_widget(Clear, area);
    let [middle] = Layout::vertical([Constraint::Length(2)]).flex(ratatui::layout::Flex::Center).areas(area);
    frame.render_widget(Paragraph::new(lines).alignment(Alignment::Center), middle);
}

/// Returns the first row to show of a list, so that the selected one stays near the middle.
fn offset(selected: usize, count: usize, height: usize) -> usize {
    selected.saturating_sub(height / 2).min(count.saturating_sub(height))
}

/// Says on the frame below a text that it goes on, and by which key.
fn more(app: &App, sign: &'static str, frame: &mut Frame, inner: Rect) {
    let below = Rect { y: inner.bottom(), height: 1, ..inner };
    let sign = Paragraph::new(Line::from(sign).style(app.theme.accent()));
    frame.render_widget(sign.alignment(Alignment::Right), below);
}

/// Says in the middle of an empty screen why it is empty and what to do.
fn empty(app: &App, frame: &mut Frame, area: Rect, what: &str, hint: &str) {
    let lines =
        vec![Line::from(what).style(app.theme.strong()), Line::default(), Line::from(hint).style(app.theme.dim())];
    let [middle] = Layout::vertical([Constraint::Length(4)]).flex(ratatui::layout::Flex::Center).areas(area);
    let text = Paragraph::new(lines).alignment(Alignment::Center).wrap(ratatui::widgets::Wrap { trim: true });
    frame.render_widget(text, middle);
}
