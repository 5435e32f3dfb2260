//! The wallet's coins: what each holds, what may be done with it, and which are chosen for the next payment.

use exchange_api::{CoinUse, CoinView};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::offset;
use crate::app::App;
use crate::theme::{NO_POINTER, POINTER};
use crate::words::wallet as w;
use crate::{format, words};

/// Draws the list, and below it what the selected coin is for, its address and its name.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    let items = app.wallet.coins.as_ref().map(|page| page.items.as_slice()).unwrap_or_default();
    let Some(coin) = app.wallet.coin() else {
        let why = if app.wallet.coins.is_some() { w::NO_COINS } else { words::LOADING };
        frame.render_widget(Line::from(format!("  {why}")).style(app.theme.dim()), area);
        return;
    };
    let [area, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(3)]).areas(area);
    let width = usize::from(below.width).saturating_sub(3);
    let texts = [w::coin_label(coin), format::clean(&coin.address), format::clean(&coin.coin)];
    let lines = texts.map(|text| Line::from(format!("  {}", format::ellipsis(&text, width))).style(app.theme.dim()));
    frame.render_widget(Paragraph::new(lines.to_vec()), below);
    let selected = app.wallet.position();
    let height = usize::from(area.height.saturating_sub(1));
    let rows = items.iter().enumerate().skip(offset(selected, items.len(), height)).take(height);
    let rows = rows.map(|(at, coin)| row(app, coin, at == selected));
    let mut titles = w::COIN_COLUMNS.map(Line::from);
    titles[0] = Line::from(w::COIN_COLUMNS[0]).right_aligned();
    let widths = [Constraint::Length(16), Constraint::Length(9), Constraint::Fill(1)];
    let table = Table::new(rows, widths).header(Row::new(titles).style(app.theme.dim())).column_spacing(1);
    frame.render_widget(table, area);
}

fn row<'a>(app: &App, coin: &CoinView, is_selected: bool) -> Row<'a> {
    let pointer = if is_selected { POINTER } else { NO_POINTER };
    let mark = if app.wallet.chosen.contains(&coin.coin) { w::CHOSEN } else { NO_POINTER };
    let style = match coin.state {
        CoinUse::Spendable => app.theme.good(),
        CoinUse::Pending => app.theme.warn(),
        CoinUse::Frozen | CoinUse::Reserved { .. } => app.theme.dim(),
    };
    let cells = [
        Cell::from(Line::from(format!("{pointer}{mark}{:>12}", format::btc_full(coin.amount)))),
        Cell::from(Line::from(w::coin_state(coin)).style(style)),
        Cell::from(w::coin_label(coin)),
    ];
    Row::new(cells).style(if is_selected { app.theme.selected() } else { ratatui::style::Style::new() })
}
