//! What was agreed on in a trade, as a text to read.

use exchange_api::TradeView;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::more;
use crate::app::App;
use crate::app::contract::{Contract, HEIGHT, LABEL, lines};
use crate::words;

/// Returns how many lines are shown of it.
pub fn height(trade: Option<&TradeView>) -> u16 {
    let count = trade.map_or(0, |trade| lines(trade).len());
    u16::try_from(count.min(HEIGHT)).unwrap_or(u16::MAX)
}

/// Draws it into a popup's inside.
pub fn draw(app: &App, contract: &Contract, frame: &mut Frame, area: Rect) {
    let Some(trade) = app.trades.get(contract.trade) else { return };
    let text: Vec<Line> = lines(trade)
        .into_iter()
        .map(|(name, text)| {
            Line::from(vec![Span::styled(format!("{name:<LABEL$}"), app.theme.accent()), Span::raw(text)])
        })
        .collect();
    let height = usize::from(area.height);
    let scroll = contract.scroll.min(text.len().saturating_sub(height));
    let goes_on = text.len() > scroll + height;
    let shown: Vec<Line> = text.into_iter().skip(scroll).take(height).collect();
    frame.render_widget(Paragraph::new(shown), area);
    if goes_on {
        more(app, words::MORE, frame, area);
    }
}
