//! The book: what is shown of it, the offers, and the terms of the selected one.

use exchange_api::{OfferState, OfferView, Side};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, Wrap};

use super::{WIDE, empty, offset};
use crate::app::App;
use crate::app::book::your_side;
use crate::theme::{NO_POINTER, POINTER};
use crate::words::book as w;
use crate::{format, words};

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    let [choices, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    draw_choices(app, frame, choices);
    let visible = app.book.visible();
    if visible.is_empty() {
        let (what, hint) = match &app.book.offers {
            None => (words::LOADING, ""),
            Some(_) if app.book.is_narrowed() => (w::NARROWED, w::NARROWED_HINT),
            Some(_) if app.status.as_ref().is_some_and(|status| status.peers == 0) => (w::EMPTY, w::EMPTY_LONELY),
            Some(_) => (w::EMPTY, w::EMPTY_HINT),
        };
        empty(app, frame, rest, what, hint);
        return;
    }
    let selected = app.book.position(&visible);
    match (app.book.open, area.width >= WIDE) {
        (true, false) => draw_terms(app, visible[selected], frame, rest),
        (open, wide) => {
            let [list, terms] = if wide && open {
                Layout::horizontal([Constraint::Min(0), Constraint::Length(48)]).areas(rest)
            } else {
                Layout::horizontal([Constraint::Min(0), Constraint::Length(0)]).areas(rest)
            };
            draw_list(app, &visible, selected, frame, list);
            if terms.width > 0 {
                draw_terms(app, visible[selected], frame, terms);
            }
        }
    }
}

fn draw_choices(app: &App, frame: &mut Frame, area: Rect) {
    let theme = app.theme;
    let side = match app.book.side {
        None => w::SIDES[0],
        Some(Side::Buy) => w::SIDES[1],
        Some(Side::Sell) => w::SIDES[2],
    };
    let currency = app.book.currency.map_or_else(|| w::SIDES[0].to_owned(), |currency| currency.to_string());
    let label = |text: &'static str| Span::styled(format!("  {text}: "), theme.dim());
    let mut spans = vec![
        label(w::SHOW),
        Span::styled(side, theme.strong()),
        label(w::CURRENCY),
        Span::styled(currency, theme.strong()),
        label(w::FILTER),
    ];
    let text = app.book.text.value();
    let shown = if text.is_empty() && !app.book.typing { "—" } else { text };
    spans.push(Span::styled(shown.to_owned(), if app.book.typing { theme.selected() } else { theme.strong() }));
    let line = Line::from(spans);
    if app.book.typing {
        let typed = u16::try_from(line.width()).unwrap_or(u16::MAX);
        let back = app.book.text.value().chars().count().saturating_sub(app.book.text.cursor());
        let x = area.x + typed.saturating_sub(u16::try_from(back).unwrap_or(u16::MAX));
        frame.set_cursor_position((x.min(area.right().saturating_sub(1)), area.y));
    }
    frame.render_widget(line, area);
}

fn draw_list(app: &App, visible: &[&OfferView], selected: usize, frame: &mut Frame, area: Rect) {
    let trades = area.width >= 96;
    let [area, more] = Layout::vertical([Constraint::Min(0), Constraint::Length(u16::from(app.book.more))]).areas(area);
    let height = usize::from(area.height.saturating_sub(1));
    let first = offset(selected, visible.len(), height);
    let rows = visible.iter().enumerate().skip(first).take(height).map(|(at, offer)| row(app, offer, at == selected, trades));
    let mut widths = vec![
        Constraint::Length(10),
        Constraint::Length(14),
        Constraint::Length(13),
        Constraint::Length(17),
        Constraint::Fill(1),
        Constraint::Length(8),
    ];
    let mut titles = vec![w::COLUMNS[0], w::COLUMNS[1], w::COLUMNS[2], w::COLUMNS[3], w::COLUMNS[4], w::COLUMNS[5]];
    if trades {
        widths.push(Constraint::Length(6));
        titles.push(w::COLUMNS[6]);
    }
    widths.push(Constraint::Length(6));
    titles.push(w::COLUMNS[7]);
    titles[0] = "  You";
    let table = Table::new(rows, widths).header(Row::new(titles).style(app.theme.dim())).column_spacing(1);
    frame.render_widget(table, area);
    frame.render_widget(Line::from(format!("  {}", w::MORE)).style(app.theme.warn()), more);
}

fn row(app: &App, offer: &OfferView, is_selected: bool, trades: bool) -> Row<'static> {
    let theme = app.theme;
    let side = your_side(offer);
    let side_style = match side {
        Side::Buy => theme.good(),
        Side::Sell => theme.warn(),
    };
    let pointer = if is_selected { POINTER } else { NO_POINTER };
    let cost = format::range(
        &format::money(offer.currency, offer.min_cost),
        &format::money(offer.currency, offer.max_cost),
    );
    let maker = if offer.mine { w::YOURS.to_owned() } else { offer.maker.short() };
    let seen = match offer.state {
        OfferState::Away => w::AWAY.to_owned(),
        OfferState::Live | OfferState::Taken | OfferState::Revoked | OfferState::Expired => {
            format::ago(app.now(), offer.last_seen)
        }
    };
    let you = Line::from(vec![Span::raw(pointer), Span::styled(words::you(side), if is_selected { theme.selected() } else { side_style })]);
    let mut cells = vec![
        Cell::from(you),
        Cell::from(format::money_unit(offer.currency, offer.price.get())),
        Cell::from(format::range(&format::btc(offer.min), &format::btc(offer.max))),
        Cell::from(cost),
        Cell::from(format::clean(&offer.methods.join(", "))),
        Cell::from(maker),
    ];
    if trades {
        cells.push(Cell::from(offer.maker_trades.to_string()));
    }
    cells.push(Cell::from(seen));
    let style = match () {
        () if is_selected => theme.selected(),
        () if offer.state == OfferState::Away => theme.dim(),
        () => ratatui::style::Style::new(),
    };
    Row::new(cells).style(style)
}

fn draw_terms(app: &App, offer: &OfferView, frame: &mut Frame, area: Rect) {
    let block = Block::new().borders(Borders::ALL).border_style(app.theme.border()).title(format!(" Offer {} ", offer.id.short()));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut lines = vec![Line::from(words::offer_sentence(offer)).style(app.theme.strong()), Line::default()];
    let mut put = |label: &str, text: String| {
        let text = format::clean(&text);
        let mut parts = text.lines();
        let first = parts.next().unwrap_or_default().to_owned();
        lines.push(Line::from(vec![Span::styled(format!("{label:<12}"), app.theme.dim()), Span::raw(first)]));
        lines.extend(parts.map(|part| Line::from(format!("{:12}{part}", ""))));
    };
    put("Price", format!("{} for 1 BTC", format::money_unit(offer.currency, offer.price.get())));
    put("Payment by", offer.methods.join(", "));
    put("Maker", words::maker(offer));
    put("Terms", if offer.terms.is_empty() { w::NO_TERMS.to_owned() } else { offer.terms.clone() });
    put("Bids", if offer.automatic { w::BY_ITSELF } else { w::BY_HAND }.to_owned());
    for (at, arbiter) in offer.arbiters.iter().enumerate() {
        put(if at == 0 { "Arbiters" } else { "" }, words::take::arbiter(arbiter));
    }
    let refund = u32::from(offer.refund_delay);
    put("Refund", format!("after {} blocks, {}", format::number(refund), format::blocks(refund)));
    let ends = format::ago(offer.expires, app.now());
    put("Ends", if offer.expires > app.now() { format!("in {ends}") } else { words::offer_state(OfferState::Expired).to_owned() });
    put("State", words::offer_state(offer.state).to_owned());
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), inner);
}
