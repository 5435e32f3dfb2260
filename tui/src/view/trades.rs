//! One's trades: the list, and the selected one with its steps, who acts next, and the one key to press.

use exchange_api::{Action, Actor, Phase, Role, Step, StepState, TradeView};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use super::{WIDE, empty, offset};
use crate::action::{Action as Key, TABLE};
use crate::app::App;
use crate::theme::{NO_POINTER, POINTER};
use crate::words::trade as w;
use crate::{format, words};

/// Rows of the list, its title included, at most.
const MAX_LIST: u16 = 6;
/// Columns of the steps.
const STEPS_WIDTH: u16 = 27;
/// Lines of the other's payment details: whoever writes more is read with all the terms.
const MAX_DETAILS: usize = 5;
/// What stands before each of them.
const MARK: &str = "┃ ";

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame, area: Rect) {
    let list = app.trades.list.as_deref().unwrap_or_default();
    let Some(selected) = app.trades.selection() else {
        match &app.trades.list {
            None if app.is_unlocked() => empty(app, frame, area, words::LOADING, ""),
            None => empty(app, frame, area, w::NEEDS_IDENTITY, words::NEEDS_IDENTITY_HINT),
            Some(_) => empty(app, frame, area, w::EMPTY, w::EMPTY_HINT),
        }
        return;
    };
    let count = u16::try_from(list.len()).unwrap_or(u16::MAX);
    let most = if area.height > 30 { MAX_LIST * 2 } else { MAX_LIST };
    let height = count.saturating_add(1).min(most);
    let [table, detail] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(area);
    draw_list(app, list, frame, table);
    draw_detail(app, selected, frame, detail);
}

fn draw_list(app: &App, list: &[TradeView], frame: &mut Frame, area: Rect) {
    let height = usize::from(area.height.saturating_sub(1));
    let selected = app.trades.position();
    let first = offset(selected, list.len(), height);
    let rows = list.iter().enumerate().skip(first).take(height).map(|(at, trade)| {
        let pointer = if at == selected { POINTER } else { NO_POINTER };
        let style = match () {
            () if at == selected => app.theme.selected(),
            () if trade.state.is_final() => app.theme.dim(),
            () if trade.next.action.is_some() => app.theme.warn(),
            () => ratatui::style::Style::new(),
        };
        let cells = [
            format!("{pointer}{}", trade.id.short()),
            w::role(trade.role).to_owned(),
            format::btc(trade.amount),
            format::money_unit(trade.currency, trade.cost),
            w::phase(trade.state).to_owned(),
            match trade.unread {
                0 => w::actor_short(trade.next.who).to_owned(),
                count => format!("{} ✉{count}", w::actor_short(trade.next.who)),
            },
        ];
        Row::new(cells.map(Cell::from)).style(style)
    });
    let widths = [
        Constraint::Length(11),
        Constraint::Length(10),
        Constraint::Length(14),
        Constraint::Length(17),
        Constraint::Length(13),
        Constraint::Min(10),
    ];
    let mut titles = w::COLUMNS;
    titles[0] = "  Trade";
    let table = Table::new(rows, widths).header(Row::new(titles).style(app.theme.dim())).column_spacing(1);
    frame.render_widget(table, area);
}

fn draw_detail(app: &App, trade: &TradeView, frame: &mut Frame, area: Rect) {
    let block =
        Block::new().borders(Borders::TOP).border_style(app.theme.border()).title(format!(" {} ", w::sentence(trade)));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = if area.width >= WIDE { STEPS_WIDTH + 11 } else { STEPS_WIDTH };
    let [steps, next] = Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(inner);
    let lines: Vec<_> = trade.steps.iter().flat_map(|step| step_lines(app, step, usize::from(width))).collect();
    frame.render_widget(Paragraph::new(lines), steps);
    let (width, height) = (usize::from(next.width), usize::from(next.height));
    let all = |lines: Vec<Line<'static>>| lines.into_iter().flat_map(move |line| wrapped(line, width));
    let mut text: Vec<_> = all(next_lines(app, trade, width)).collect();
    // Nothing of what comes next is cut off in a small window: what only looks good goes first. What it has no room for all the same is
    // among the terms, as are the facts.
    if text.len() > height {
        text.retain(|line| line.width() > 0);
    }
    if text.len() > height {
        text.truncate(height.saturating_sub(1));
        text.push(Line::from(w::GOES_ON).style(app.theme.accent()));
    } else {
        text.extend(all(fact_lines(app, trade, width)));
    }
    frame.render_widget(Paragraph::new(text), next);
}

/// Breaks a line into as many as it takes.
fn wrapped(line: Line<'static>, width: usize) -> Vec<Line<'static>> {
    if line.width() <= width {
        return vec![line];
    }
    let text: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
    format::wrap(&text, width).into_iter().map(|part| Line::from(part).style(line.style)).collect()
}

fn step_lines(app: &App, step: &Step, width: usize) -> Vec<Line<'static>> {
    let theme = app.theme;
    let (sign, style) = match step.state {
        StepState::Done => ("✓", theme.good()),
        StepState::Current => ("▶", theme.strong()),
        StepState::Pending => ("○", theme.dim()),
        StepState::Skipped => ("–", theme.dim()),
    };
    let mut lines = vec![Line::from(format!(" {sign} {}", format::clean(&step.name))).style(style)];
    if !step.detail.is_empty() && step.state == StepState::Current {
        let detail: String = format::clean(&step.detail).chars().take(width.saturating_sub(4)).collect();
        lines.push(Line::from(format!("   {detail}")).style(theme.dim()));
    }
    lines
}

fn next_lines(app: &App, trade: &TradeView, width: usize) -> Vec<Line<'static>> {
    let theme = app.theme;
    let next = &trade.next;
    let tip = app.status.as_ref().and_then(|status| status.tip);
    let style = match next.who {
        Actor::You => theme.warn(),
        Actor::Peer | Actor::Chain | Actor::Arbiter => theme.accent(),
        Actor::Nobody => theme.good(),
    };
    let mut head = w::actor(next.who).to_owned();
    if let Some(height) = next.until {
        head.push_str(&format!(", {}", w::until(height, tip)));
    }
    let mut lines = vec![Line::from(head).style(style), Line::from(format::sentence(&next.what)).style(theme.strong())];
    let step = next.action.map(|action| press_line(app, Key::Trade(action), w::press(action)));
    let is_party = matches!(trade.role, Some(Role::Buyer | Role::Seller));
    let show = (trade.state == Phase::Disputed && is_party).then(|| {
        if app.trades.shown.contains(&trade.id) {
            Line::from(words::disclose::SHOWN).style(theme.dim())
        } else {
            press_line(app, Key::Disclose, words::disclose::PRESS)
        }
    });
    if step.is_some() || show.is_some() {
        lines.push(Line::default());
        lines.extend(step.into_iter().chain(show));
    }
    // Before all that can be long: a stranger's details must not push it out of a small window.
    if let Some(problem) = &trade.problem {
        lines.push(Line::default());
        lines.push(Line::from(format!("! {}", format::sentence(problem))).style(theme.bad()));
    }
    lines.extend(details_lines(app, trade, width));
    if !next.otherwise.is_empty() {
        lines.push(Line::default());
        lines.push(
            Line::from(format!("{}: {}", w::OTHERWISE, format::clean(next.otherwise.trim_end_matches('.'))))
                .style(theme.dim()),
        );
    }
    if trade.unread > 0 {
        lines.push(Line::default());
        lines.push(Line::from(format!("✉ {} (m)", words::chat::unread(trade.unread))).style(theme.warn()));
    }
    lines
}

/// Names a key, as the table of keys has it, and what pressing it does.
fn press_line(app: &App, action: Key, what: &'static str) -> Line<'static> {
    let entry = TABLE.iter().find(|entry| entry.action == action);
    let key = entry.and_then(|entry| entry.keys.first()).map(|key| key.label()).unwrap_or_default();
    Line::from(vec![
        Span::raw(format!("{POINTER}{} ", w::PRESS)),
        Span::styled(format!(" {key} "), app.theme.selected()),
        Span::styled(format!(" {what}"), app.theme.strong()),
    ])
}

/// Whom to pay, while the node lets one pay, and whom one has paid; who pays, when it is time to look. Where the node says not to
/// pay no account invites to it: it is among the terms.
fn details_lines(app: &App, trade: &TradeView, width: usize) -> Vec<Line<'static>> {
    let paid_by = |words: &str| {
        let money = format::money_unit(trade.currency, trade.cost);
        format!("{words} ({money} by {})", format::clean(&trade.method))
    };
    let label = match (trade.role, trade.state) {
        (Some(Role::Buyer), Phase::Funded) if trade.actions.contains(&Action::MarkPaid) => paid_by(w::PAY_TO),
        (Some(Role::Buyer), Phase::Paid) => paid_by(w::PAID_TO),
        (Some(Role::Seller), Phase::Funded | Phase::Paid) => w::PAYER.to_owned(),
        (Some(Role::Buyer), Phase::Funded)
        | (Some(Role::Arbiter) | None, Phase::Funded | Phase::Paid)
        | (
            _,
            Phase::Bid
            | Phase::Void
            | Phase::Agreed
            | Phase::Cancelled
            | Phase::Funding
            | Phase::Released
            | Phase::Refunding
            | Phase::Closed
            | Phase::Refunded
            | Phase::Disputed
            | Phase::Ruled
            | Phase::Settled
            | Phase::Lost,
        ) => return Vec::new(),
    };
    let mut lines = vec![Line::default(), Line::from(label).style(app.theme.accent())];
    match &trade.their_details {
        Some(details) => {
            let room = width.saturating_sub(MARK.chars().count());
            let mut text = format::wrap(&format::clean(details.trim_end()), room);
            if text.len() > MAX_DETAILS {
                text.truncate(MAX_DETAILS - 1);
                text.push(w::GOES_ON.to_owned());
            }
            lines.extend(text.into_iter().map(|line| Line::from(format!("{MARK}{line}")).style(app.theme.strong())));
        }
        None => lines.push(Line::from(format!("{MARK}{}", w::NO_DETAILS)).style(app.theme.dim())),
    }
    lines
}

/// What was agreed on and where the coins are, below an empty line.
fn fact_lines(app: &App, trade: &TradeView, width: usize) -> Vec<Line<'static>> {
    let mut facts = vec![String::new()];
    if !trade.terms.trim().is_empty() {
        let terms = format!("{}: {}", w::TERMS, format::clean(trade.terms.trim()).replace('\n', " "));
        facts.push(format::cut(&terms, width));
    }
    facts.push(format!("Arbiter {}", words::take::arbiter_line(&trade.arbiter)));
    facts.extend(w::bonds(trade).map(|bonds| format!("{}: {bonds}", w::BONDS)));
    if let Some(address) = &trade.escrow_address {
        facts.push(format!("Escrow {}", format::ellipsis(&format::clean(address), 40)));
    }
    for (name, tx) in [("Funding", &trade.funding), ("Payout", &trade.spend)] {
        if let Some(tx) = tx {
            // Of a trade that is over nobody counts on.
            let depth = match trade.confirmations_needed {
                needed if tx.confirmations >= needed => "confirmed".to_owned(),
                needed => format!("{} of {needed} confirmations", tx.confirmations),
            };
            facts.push(format!("{name} {}, {depth}", format::ellipsis(&format::clean(&tx.txid), 17)));
        }
    }
    facts.into_iter().map(|fact| Line::from(fact).style(app.theme.dim())).collect()
}
