//! Trades as a person reads them.

use exchange_api::{Action, Actor, ChainTx, DisputeView, Role, Sats, StepState, StrayView, TradeView};

use crate::cli::output::{Lines, Table};
use crate::cli::values::phase_name;
use crate::cli::{arbiter, case, format};

/// Returns trades as a table.
pub fn table(trades: &[TradeView]) -> String {
    let mut table = Table::new(&["TRADE", "YOU", "AMOUNT BTC", "MONEY", "METHOD", "STATE", "NEXT"], &[2, 3]);
    for trade in trades {
        table.row([
            trade.id.short(),
            role(trade.role).to_owned(),
            format::btc(trade.amount),
            format::money(trade.currency, trade.cost),
            format::clean_line(&trade.method),
            phase_name(trade.state).to_owned(),
            actor(trade.next.who).to_owned(),
        ]);
    }
    table.render("You have no trades. `exchange-node book` shows offers to take.")
}

/// Returns a trade with everything that its user needs to act.
pub fn show(trade: &TradeView) -> String {
    let mut lines = Lines::default();
    lines.line("trade", trade.id.to_string()).line("", sentence(trade)).line("state", phase_name(trade.state));
    lines.line("next", next(trade));
    if !trade.next.otherwise.is_empty() {
        lines.line("otherwise", format::clean(&trade.next.otherwise));
    }
    lines.maybe("trouble", trade.problem.as_deref().map(format::clean));
    if trade.unread > 0 {
        let unread = format::counted(u64::from(trade.unread), "new message");
        lines.line("chat", format!("{unread}: exchange-node chat show {}", trade.id.short()));
    }
    lines.line("you can", actions(trade));
    for (position, step) in trade.steps.iter().enumerate() {
        let detail = if step.detail.is_empty() { String::new() } else { format!(", {}", step.detail) };
        lines.line(if position == 0 { "steps" } else { "" }, format!("{} {}{detail}", mark(step.state), step.name));
    }
    lines.maybe("your bond", own_bond(trade));
    lines.maybe("the other's bond", other_bond(trade));
    lines.maybe("their details", trade.their_details.as_deref().map(format::clean));
    lines.maybe("your details", trade.my_details.as_deref().map(format::clean));
    lines.line("terms", if trade.terms.is_empty() { "none".to_owned() } else { format::clean(&trade.terms) });
    lines.line("arbiter", arbiter::named(&trade.arbiter));
    lines.maybe("second arbiter", trade.second_arbiter.as_ref().map(arbiter::named));
    if let Some(dispute) = &trade.dispute {
        lines.line("dispute", dispute_lines(trade, dispute));
    }
    lines.maybe("escrow", trade.escrow_address.as_deref());
    lines.maybe("funded by", trade.funding.as_ref().map(transaction));
    lines.maybe("spent by", trade.spend.as_ref().map(transaction));
    lines.maybe("pay until", trade.pay_until.map(|height| format!("block {height}")));
    lines.maybe("refund from", trade.refund_from.map(|height| format!("block {height}")));
    for (position, stray) in trade.strays.iter().enumerate() {
        lines.line(if position == 0 { "paid besides" } else { "" }, stray_line(stray));
    }
    lines.render()
}

fn stray_line(stray: &StrayView) -> String {
    let from = stray.refund_from.map(|height| format!(", to be taken back from block {height} on")).unwrap_or_default();
    format!("{} BTC in {}{from}", format::btc(stray.amount), stray.outpoint)
}

/// Returns who called for the arbiter, what can happen from when on, and what was ruled.
fn dispute_lines(trade: &TradeView, dispute: &DisputeView) -> String {
    let mut lines = vec![format!("called for by {}", case::opened_by(dispute))];
    lines.push(format!("a ruling moves coins from block {} on", dispute.ruling_from));
    lines.extend(dispute.second_ruling_from.map(|from| format!("the second arbiter may rule from block {from} on")));
    if dispute.extensions > 0 {
        lines.push(format!("given more time {}", format::counted(u64::from(dispute.extensions), "time")));
    }
    match &dispute.ruling {
        Some(ruling) => lines.push(case::ruling(ruling).trim_end().to_owned()),
        None if matches!(trade.role, Some(Role::Buyer | Role::Seller)) => {
            let id = trade.id.short();
            lines.push(format!("show him what was said:  exchange-node trade disclose {id}"));
            lines.push(format!("tell him the rest:       exchange-node chat send {id} --to arbiter"));
        }
        None => lines.push(format!("hear both sides:  exchange-node arbiter cases {}", trade.id.short())),
    }
    lines.join("\n")
}

/// Returns a trade as a sentence.
pub fn sentence(trade: &TradeView) -> String {
    let (amount, money) = (format::btc(trade.amount), format::money(trade.currency, trade.cost));
    let who = match trade.role {
        Some(Role::Buyer) => "You buy",
        Some(Role::Seller) => "You sell",
        Some(Role::Arbiter) => "You arbitrate",
        None => "Others trade",
    };
    format!("{who} {amount} BTC for {money} by {}.", format::clean_line(&trade.method))
}

/// Says what a user locks besides the trade, and has back.
pub fn own_bond(trade: &TradeView) -> Option<String> {
    let bond = trade.own_bond();
    let text = || format!("You lock a bond of {} BTC, which comes back unless you lose a dispute.", format::btc(bond));
    (bond > Sats::ZERO).then(text)
}

fn other_bond(trade: &TradeView) -> Option<String> {
    let bond = match trade.role? {
        Role::Seller => trade.buyer_bond,
        Role::Buyer => trade.seller_bond,
        Role::Arbiter => {
            return Some(format!(
                "seller {} BTC, buyer {} BTC",
                format::btc(trade.seller_bond),
                format::btc(trade.buyer_bond)
            ));
        }
    };
    (bond > Sats::ZERO).then(|| format!("{} BTC", format::btc(bond)))
}

fn next(trade: &TradeView) -> String {
    let until = trade.next.until.map(|height| format!(" until block {height}")).unwrap_or_default();
    match trade.next.who {
        Actor::Nobody => format::clean(&trade.next.what),
        Actor::You | Actor::Peer | Actor::Chain | Actor::Arbiter => {
            format!("{}{until}: {}", actor(trade.next.who), format::clean(&trade.next.what))
        }
    }
}

/// Returns the commands of what can be done now, the one that moves the trade on first.
fn actions(trade: &TradeView) -> String {
    let mut actions = trade.actions.clone();
    actions.sort_by_key(|action| Some(*action) != trade.next.action);
    let mut commands: Vec<String> = actions.iter().map(|action| command(*action, &trade.id.short())).collect();
    commands.extend(trade.can_bump.then(|| format!("exchange-node trade bump {}", trade.id.short())));
    if commands.is_empty() { "do nothing now".to_owned() } else { commands.join("\n") }
}

fn command(action: Action, trade: &str) -> String {
    let verb = match action {
        Action::Accept => "trade accept",
        Action::Fund => "trade fund",
        Action::MarkPaid => "trade paid",
        Action::Release => "trade release",
        Action::Cancel => "trade cancel",
        Action::Refund => "trade refund",
        Action::Dispute => "trade dispute",
        Action::Rule => return format!("exchange-node arbiter rule {trade} --to buyer|seller|split"),
        Action::Extend => "arbiter extend",
    };
    format!("exchange-node {verb} {trade}")
}

const fn role(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Buyer) => "buy",
        Some(Role::Seller) => "sell",
        Some(Role::Arbiter) => "arbitrate",
        None => "watch",
    }
}

const fn actor(actor: Actor) -> &'static str {
    match actor {
        Actor::You => "you",
        Actor::Peer => "the other",
        Actor::Chain => "the chain",
        Actor::Nobody => "nobody",
        Actor::Arbiter => "the arbiter",
    }
}

const fn mark(state: StepState) -> char {
    match state {
        StepState::Done => '✓',
        StepState::Current => '▸',
        StepState::Pending => '·',
        StepState::Skipped => '✗',
    }
}

fn transaction(tx: &ChainTx) -> String {
    match tx.confirmations {
        0 => format!("{}, not yet confirmed", tx.txid),
        count => format!("{}, {}", tx.txid, format::counted(u64::from(count), "confirmation")),
    }
}
