//! The wallet: what it holds, its transactions, and the deposit address as text and QR code.

use exchange_api::{AddressInfo, Sats};
use qrcode::{EcLevel, QrCode};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};
use tui_qrcode::{Colors, QrCodeWidget, QuietZone};

use super::{coins, empty, offset};
use crate::app::App;
use crate::theme::{NO_POINTER, POINTER, Theme};
use crate::words::wallet as w;
use crate::{format, words};

/// Modules of light around a QR code. Four are recommended; scanners do with two where screens are small.
const QUIET: u16 = 2;

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    if !app.is_unlocked() {
        empty(app, frame, area, w::NEEDS_IDENTITY, words::NEEDS_IDENTITY_HINT);
        return;
    }
    let code = app.wallet.address.as_ref().and_then(|address| qr(&address.uri));
    let qr_width = code.as_ref().map_or(0, |code| side(code) + 2);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(qr_width)]).areas(area);
    if let Some(code) = code {
        draw_qr(app.theme, code, frame, right);
    }
    let [balance, address, history] =
        Layout::vertical([Constraint::Length(balance_lines(app) + 1), Constraint::Length(4), Constraint::Min(0)])
            .areas(left);
    draw_balance(app, frame, balance);
    draw_address(app, app.wallet.address.as_ref(), frame, address);
    if app.wallet.shows_coins { coins::draw(app, frame, history) } else { draw_history(app, frame, history) }
}

/// The title and the parts of the balance, of which those that are mostly nothing stand only while there is something of them.
fn balance_lines(app: &App) -> u16 {
    let rare = app.wallet.balance.map_or([Sats::ZERO; 2], |balance| [balance.reserved, balance.frozen]);
    rare.into_iter().fold(4, |lines, part| lines + u16::from(part > Sats::ZERO))
}

fn draw_balance(app: &App, frame: &mut Frame, area: Rect) {
    let theme = app.theme;
    let mut lines = vec![Line::from(format!("  {}", w::BALANCE)).style(theme.accent())];
    match &app.wallet.balance {
        None => lines.push(Line::from(format!("  {}", words::LOADING)).style(theme.dim())),
        Some(balance) => {
            let rows = [
                (w::SPENDABLE, balance.spendable, theme.good()),
                (w::PENDING, balance.pending, theme.warn()),
                (w::IN_ESCROW, balance.in_escrow, theme.accent()),
            ];
            let rare = [(w::SET_ASIDE, balance.reserved, theme.dim()), (w::FROZEN, balance.frozen, theme.dim())];
            let rare = rare.into_iter().filter(|(_, amount, _)| *amount > Sats::ZERO);
            for (label, amount, style) in rows.into_iter().chain(rare) {
                lines.push(Line::from(vec![
                    Span::styled(format!("  {label:<11}"), theme.dim()),
                    Span::styled(format!("{:>16} BTC", format::btc_full(amount)), style),
                ]));
            }
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_address(app: &App, address: Option<&AddressInfo>, frame: &mut Frame, area: Rect) {
    let area = Rect { x: area.x + 2, width: area.width.saturating_sub(3), ..area };
    let text = address.map_or("…", |address| address.address.as_str());
    let lines = vec![
        Line::from(w::DEPOSIT).style(app.theme.accent()),
        Line::from(format::clean(text)).style(app.theme.strong()),
    ];
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
}

fn draw_history(app: &App, frame: &mut Frame, area: Rect) {
    let items = app.wallet.history.as_ref().map(|page| page.items.as_slice()).unwrap_or_default();
    if items.is_empty() {
        let why = if app.wallet.history.is_some() { w::NO_HISTORY } else { words::LOADING };
        frame.render_widget(Line::from(format!("  {why}")).style(app.theme.dim()), area);
        return;
    }
    let selected = app.wallet.position();
    let [area, chosen] = Layout::vertical([Constraint::Min(0), Constraint::Length(2)]).areas(area);
    let width = usize::from(chosen.width).saturating_sub(3);
    let lines = [w::label(&items[selected]), format::clean(&items[selected].txid)]
        .map(|text| Line::from(format!("  {}", format::ellipsis(&text, width))).style(app.theme.dim()));
    frame.render_widget(Paragraph::new(lines.to_vec()), chosen);
    let height = usize::from(area.height.saturating_sub(1));
    let rows = items.iter().enumerate().skip(offset(selected, items.len(), height)).take(height).map(|(at, tx)| {
        let pointer = if at == selected { POINTER } else { NO_POINTER };
        let when = match tx.height {
            Some(_) => format::ago(app.now(), tx.time),
            None => w::UNCONFIRMED.to_owned(),
        };
        let amount = Span::styled(
            format::signed_btc(tx.net_sat),
            if tx.net_sat < 0 { app.theme.warn() } else { app.theme.good() },
        );
        let cells = [
            Cell::from(format!("{pointer}{when}")),
            Cell::from(Line::from(amount).right_aligned()),
            Cell::from(w::label(tx)),
        ];
        Row::new(cells).style(if at == selected { app.theme.selected() } else { ratatui::style::Style::new() })
    });
    let mut titles = w::COLUMNS.map(Line::from);
    titles[0] = Line::from(format!("  {}", w::COLUMNS[0]));
    titles[1] = Line::from(w::COLUMNS[1]).right_aligned();
    let widths = [Constraint::Length(9), Constraint::Length(12), Constraint::Fill(1)];
    let table = Table::new(rows, widths).header(Row::new(titles).style(app.theme.dim())).column_spacing(1);
    frame.render_widget(table, area);
}

/// Returns the smallest code for a text: the address is read back from the text below anyway, so little redundancy does.
fn qr(text: &str) -> Option<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::L).ok()
}

fn side(code: &QrCode) -> u16 {
    u16::try_from(code.width()).unwrap_or(u16::MAX - 2 * QUIET).saturating_add(2 * QUIET)
}

fn draw_qr(theme: Theme, code: QrCode, frame: &mut Frame, area: Rect) {
    let width = side(&code);
    // Two modules a line.
    let height = width.div_ceil(2);
    if area.width < width || area.height < height {
        return;
    }
    let paper = Rect { x: area.x, y: area.y, width, height };
    let light = if theme == Theme::Mono { "█" } else { " " };
    for y in paper.rows() {
        frame.render_widget(Span::styled(light.repeat(usize::from(width)), theme.qr()), y);
    }
    // Without colours letters are taken to be light on dark.
    let colours = if theme == Theme::Mono { Colors::Inverted } else { Colors::Normal };
    let widget = QrCodeWidget::new(code).quiet_zone(QuietZone::Disabled).colors(colours).style(theme.qr());
    let inner =
        Rect { x: paper.x + QUIET, y: paper.y + QUIET / 2, width: width - 2 * QUIET, height: height - QUIET / 2 };
    frame.render_widget(widget, inner);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    /// Returns the first line of a code, from its first module on.
    fn first_line(theme: Theme) -> String {
        let mut terminal = Terminal::new(TestBackend::new(60, 30)).unwrap();
        terminal.draw(|frame| draw_qr(theme, qr("bitcoin:x").unwrap(), frame, frame.area())).unwrap();
        let buffer = terminal.backend().buffer();
        (QUIET..QUIET + 7).map(|x| buffer[(x, QUIET / 2)].symbol()).collect()
    }

    #[test]
    fn a_code_is_dark_on_light_in_both_themes() {
        // The corner of a code is a dark frame: letters are dark in the colours of a code, and light without colours.
        assert_eq!(first_line(Theme::Colour), "█▀▀▀▀▀█");
        assert_eq!(first_line(Theme::Mono), " ▄▄▄▄▄ ");
    }
}
