//! The book: what is shown of it, the offers, and the terms of the selected one.

use exchange_api::{OfferState, OfferView, Side};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use super::{TALL, empty, more, offset};
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
            Some(_) if app.book.hides_away() => (w::ALL_AWAY, w::ALL_AWAY_HINT),
            Some(_) if app.book.is_narrowed() => (w::NARROWED, w::NARROWED_HINT),
            Some(_) if app.status.as_ref().is_some_and(|status| status.peers == 0) => (w::EMPTY, w::EMPTY_LONELY),
            Some(_) => (w::EMPTY, w::EMPTY_HINT),
        };
        empty(app, frame, rest, what, hint);
        return;
    }
    let selected = app.book.position(&visible);
    let offer = visible[selected];
    match (app.book.open, area.height >= TALL) {
        (false, _) => {
            let lines = summary(app, offer, usize::from(rest.width));
            let height = u16::try_from(lines.len() + 1).unwrap_or(u16::MAX);
            let [list, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(height)]).areas(rest);
            draw_list(app, &visible, selected, frame, list);
            let block = Block::new().borders(Borders::TOP).border_style(app.theme.border());
            frame.render_widget(Paragraph::new(lines).block(block), below);
        }
        (true, false) => draw_terms(app, offer, frame, rest),
        (true, true) => {
            let [list, terms] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(rest);
            draw_list(app, &visible, selected, frame, list);
            draw_terms(app, offer, frame, terms);
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
    if app.book.typing && app.popups.is_empty() {
        let typed = u16::try_from(line.width()).unwrap_or(u16::MAX);
        let back = app.book.text.value().chars().count().saturating_sub(app.book.text.cursor());
        let x = area.x + typed.saturating_sub(u16::try_from(back).unwrap_or(u16::MAX));
        frame.set_cursor_position((x.min(area.right().saturating_sub(1)), area.y));
    }
    frame.render_widget(line, area);
}

fn draw_list(app: &App, visible: &[&OfferView], selected: usize, frame: &mut Frame, area: Rect) {
    let [list, more] = Layout::vertical([Constraint::Min(0), Constraint::Length(u16::from(app.book.more))]).areas(area);
    let height = usize::from(list.height.saturating_sub(1));
    let first = offset(selected, visible.len(), height);
    let shown: Vec<_> = visible.iter().skip(first).take(height).map(|offer| texts(app, offer)).collect();
    // Numbers are never cut: their columns are as wide as the widest, and the methods give way.
    let widest = |column: usize| shown.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0).max(8);
    let wide = list.width >= 96;
    let mut columns = vec![YOU, PRICE, AMOUNT, COST, METHODS, MAKER];
    if wide {
        columns.extend([TRADES, SEEN]);
    }
    let fixed: usize = columns.iter().filter(|column| **column != METHODS).map(|column| widest(*column) + 2).sum();
    let methods = usize::from(list.width).saturating_sub(fixed + 1);
    let rows = shown.iter().zip(visible.iter().skip(first)).enumerate().map(|(at, (texts, offer))| {
        let is_selected = first + at == selected;
        let cells = columns.iter().map(|column| cell(app, *column, &texts[*column], offer, is_selected, methods));
        Row::new(cells).style(row_style(app, offer, is_selected))
    });
    let widths = columns.iter().map(|column| match *column {
        METHODS => Constraint::Fill(1),
        column => Constraint::Length(u16::try_from(widest(column)).unwrap_or(u16::MAX)),
    });
    let titles = columns.iter().map(|column| match *column {
        YOU => Line::from(format!("{NO_POINTER}{}", w::COLUMNS[YOU])),
        column if is_number(column) => Line::from(w::COLUMNS[column]).right_aligned(),
        column => Line::from(w::COLUMNS[column]),
    });
    let header = Row::new(titles).style(app.theme.dim());
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(2), list);
    frame.render_widget(Line::from(format!("  {}", w::MORE)).style(app.theme.warn()), more);
}

/// The columns by position.
const YOU: usize = 0;
const PRICE: usize = 1;
const AMOUNT: usize = 2;
const COST: usize = 3;
const METHODS: usize = 4;
const MAKER: usize = 5;
const TRADES: usize = 6;
const SEEN: usize = 7;

const fn is_number(column: usize) -> bool {
    matches!(column, PRICE | AMOUNT | COST | TRADES)
}

fn texts(app: &App, offer: &OfferView) -> [String; 8] {
    let money = |minor| format::money(offer.currency, minor);
    [
        format!("{NO_POINTER}{}", words::you(your_side(offer))),
        format::money_unit(offer.currency, offer.price.get()),
        format::range(&format::btc(offer.min), &format::btc(offer.max)),
        format::range(&money(offer.min_cost), &money(offer.max_cost)),
        format::clean(&offer.methods.join(", ")),
        if offer.mine { w::YOURS.to_owned() } else { offer.maker.short() },
        offer.maker_trades.to_string(),
        seen(app, offer),
    ]
}

fn seen(app: &App, offer: &OfferView) -> String {
    match offer.state {
        OfferState::Away => w::AWAY.to_owned(),
        OfferState::Live | OfferState::Waiting | OfferState::Taken | OfferState::Revoked | OfferState::Expired => {
            format::ago(app.now(), offer.last_seen)
        }
    }
}

fn cell(app: &App, column: usize, text: &str, offer: &OfferView, is_selected: bool, methods: usize) -> Cell<'static> {
    let side = your_side(offer);
    match column {
        YOU => {
            let pointer = if is_selected { POINTER } else { NO_POINTER };
            let style = match side {
                Side::Buy | Side::Sell if is_selected => app.theme.selected(),
                Side::Buy => app.theme.good(),
                Side::Sell => app.theme.warn(),
            };
            Cell::from(Line::from(vec![Span::raw(pointer), Span::styled(words::you(side), style)]))
        }
        METHODS => Cell::from(format::cut(text, methods)),
        column if is_number(column) => Cell::from(Line::from(text.to_owned()).right_aligned()),
        _ => Cell::from(text.to_owned()),
    }
}

fn row_style(app: &App, offer: &OfferView, is_selected: bool) -> Style {
    if is_selected {
        app.theme.selected()
    } else if offer.state == OfferState::Away {
        app.theme.dim()
    } else {
        Style::new()
    }
}

/// Lines of each of the two sentences about the selected offer, at most: of many methods and bonds the terms tell.
const MAX_SUMMARY: usize = 3;

/// The selected offer in words, so that nothing of it hides in a narrow column.
fn summary(app: &App, offer: &OfferView, width: usize) -> Vec<Line<'static>> {
    let methods = format::clean(&offer.methods.join(" or "));
    let mut bids = words::bids(offer, app.now()).to_owned();
    if offer.seller_bond_ppm > 0 || offer.buyer_bond_ppm > 0 {
        bids = format!("Bonds: {}. {bids}", words::offer_bonds(offer));
    }
    let what = format!("{} by {methods}", words::offer_sentence(offer));
    let who = format!("{}, {}. {bids}", words::maker(offer), w::seen(&seen(app, offer)));
    let lines = |(text, style): (String, Style)| {
        let mut lines = format::wrap(&text, width.saturating_sub(2 * MARGIN.len()));
        if lines.len() > MAX_SUMMARY {
            lines.truncate(MAX_SUMMARY);
            if let Some(last) = lines.last_mut() {
                last.push('…');
            }
        }
        lines.into_iter().map(move |line| Line::from(format!("{MARGIN}{line}")).style(style)).collect::<Vec<_>>()
    };
    [(what, app.theme.strong()), (who, app.theme.dim())].into_iter().flat_map(lines).collect()
}

/// What stands before these sentences.
const MARGIN: &str = "  ";

/// Columns of a term's name.
const LABEL: usize = 12;

fn draw_terms(app: &App, offer: &OfferView, frame: &mut Frame, area: Rect) {
    let block = Block::new()
        .borders(Borders::ALL)
        .border_style(app.theme.border())
        .title(format!(" Offer {} ", offer.id.short()));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut lines = vec![Line::from(words::offer_sentence(offer)).style(app.theme.strong()), Line::default()];
    let room = usize::from(inner.width).saturating_sub(LABEL);
    for (name, text) in format::rows(words::offer_rows(offer, app.now()), room) {
        lines.push(Line::from(vec![Span::styled(format!("{name:<LABEL$}"), app.theme.dim()), Span::raw(text)]));
    }
    let height = usize::from(inner.height);
    let scroll = app.book.scroll.min(lines.len().saturating_sub(height));
    let goes_on = lines.len() > scroll + height;
    frame.render_widget(Paragraph::new(lines.split_off(scroll)), inner);
    if goes_on {
        more(app, w::TERMS_GO_ON, frame, inner);
    }
}
