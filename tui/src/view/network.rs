//! Peers and log.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};

use crate::app::App;
use crate::format;
use crate::words::network as w;

/// Columns of a peer's id, of its software, and of how it is. Its address has the rest.
const PEER: u16 = 15;
const AGENT: u16 = 16;
const STATE: u16 = 22;
/// Lines about the node itself, at most.
const MAX_NODE_LINES: usize = 5;
/// Columns of an event's time.
const WHEN: usize = 10;

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    let node = node_lines(app, usize::from(area.width));
    let height = u16::try_from(node.len()).unwrap_or(u16::MAX);
    let peers = u16::try_from(app.peers.len().clamp(1, 8)).unwrap_or(8) + 2;
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(height), Constraint::Length(peers), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(node), top);
    draw_peers(app, frame, middle);
    draw_log(app, frame, bottom);
}

/// What the node holds, where it listens, and why it does not see the chain: an address that others type is never cut.
fn node_lines(app: &App, width: usize) -> Vec<Line<'static>> {
    let Some(status) = &app.status else { return vec![Line::default()] };
    let holds = format!(
        "{} records, {} offers, chain {}.",
        format::number(status.records),
        format::number(status.offers),
        format::clean(&status.chain),
    );
    let listens = status.listen.first().map(|address| format!("{} {}", w::LISTENING, format::clean(address)));
    let error = status.chain_error.as_ref().map(|error| (format!("! {}", format::sentence(error)), app.theme.bad()));
    let texts = std::iter::once(holds).chain(listens).map(|text| (text, app.theme.dim())).chain(error);
    let lines = texts.flat_map(|(text, style)| {
        let lines = format::wrap(&text, width.saturating_sub(1));
        lines.into_iter().map(move |line| Line::from(format!(" {line}")).style(style))
    });
    lines.take(MAX_NODE_LINES).collect()
}

fn section(app: &App, title: String) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(app.theme.border()).title(format!(" {title} "))
}

fn draw_peers(app: &App, frame: &mut Frame, area: Rect) {
    let block = section(app, format!("{} ({})", w::PEERS, app.peers.len()));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if app.peers.is_empty() {
        frame.render_widget(Line::from(format!(" {}", w::NO_PEERS)).style(app.theme.dim()), inner);
        return;
    }
    // One column between each two.
    let room = usize::from(inner.width.saturating_sub(PEER + AGENT + STATE + 3));
    let rows = app.peers.iter().map(|peer| {
        let sync = if peer.in_sync { w::SYNCED } else { w::CATCHING_UP };
        let ping = peer.ping_ms.map_or_else(|| "—".to_owned(), |ms| format!("{} ms", format::number(ms)));
        Row::new([
            format!(" {}", format::ellipsis(&format::clean(&peer.peer), 14)),
            format::ellipsis(&format::clean(&peer.address), room),
            format::clean(&peer.agent),
            format!("{ping}, {sync}"),
        ])
    });
    let widths = [Constraint::Length(PEER), Constraint::Fill(1), Constraint::Length(AGENT), Constraint::Length(STATE)];
    let mut titles = w::COLUMNS.map(str::to_owned);
    titles[0].insert(0, ' ');
    frame.render_widget(
        Table::new(rows, widths).header(Row::new(titles).style(app.theme.dim())).column_spacing(1),
        inner,
    );
}

fn draw_log(app: &App, frame: &mut Frame, area: Rect) {
    let block = section(app, w::LOG.to_owned());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if app.events.is_empty() {
        frame.render_widget(Line::from(format!(" {}", w::NO_EVENTS)).style(app.theme.dim()), inner);
        return;
    }
    let (height, room) = (usize::from(inner.height), usize::from(inner.width).saturating_sub(WHEN + 1));
    let back = app.log_scroll.min(app.events.len().saturating_sub(height));
    // An event takes a line at least, so that no more of them than lines can be seen.
    let shown = app.events.iter().rev().skip(back).take(height);
    let mut lines = Vec::new();
    for event in shown.rev() {
        let when = format!(" {:>7}  ", format::ago(app.now(), event.time));
        let text = format::clean(&event.text).replace('\n', " ");
        for (at, part) in format::wrap(&text, room).into_iter().enumerate() {
            let margin = if at == 0 { when.clone() } else { " ".repeat(WHEN) };
            lines.push(Line::from(vec![Span::styled(margin, app.theme.dim()), Span::raw(part)]));
        }
    }
    let lines = lines.split_off(lines.len().saturating_sub(height));
    frame.render_widget(Paragraph::new(lines), inner);
}
