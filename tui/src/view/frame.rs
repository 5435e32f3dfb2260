//! What surrounds every screen: the header, the line of messages, the footer.

use exchange_api::IdentityState;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use throbber_widgets_tui::BRAILLE_SIX;

use crate::action::{self, Action, Entry, Footer, Key};
use crate::app::{App, TICKS_PER_SECOND, Tab};
use crate::message::{CallName, Connection};
use crate::{format, words};

/// Draws the name and the network, how the node is, the screens, and a rule.
pub fn header(app: &App, frame: &mut Frame, area: Rect) {
    let [top, tabs, rule] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    let mut left = vec![Span::raw(" "), Span::styled(words::PROGRAM, app.theme.strong()), Span::raw("  ")];
    if let Some(status) = &app.status {
        let (badge, is_play) = words::badge(status);
        let style = if is_play { app.theme.badge_play() } else { app.theme.badge_real() };
        left.push(Span::styled(format!(" {badge} "), style));
    }
    frame.render_widget(Line::from(left), top);
    frame.render_widget(Paragraph::new(condition(app)).alignment(Alignment::Right), top);
    frame.render_widget(tab_line(app), tabs);
    frame.render_widget(Paragraph::new(holdings(app)).alignment(Alignment::Right), tabs);
    frame.render_widget(Span::styled("─".repeat(usize::from(rule.width)), app.theme.border()), rule);
}

/// How the node is: chain, peers, identity.
fn condition(app: &App) -> Line<'static> {
    let theme = app.theme;
    let Some(status) = &app.status else {
        return Line::default();
    };
    let tip = match status.tip {
        Some(tip) if status.chain_error.is_none() => {
            Span::styled(format!("block {}", format::number(tip)), theme.dim())
        }
        Some(_) | None => Span::styled("no chain", theme.bad()),
    };
    let peers = match status.peers {
        0 => Span::styled("no peers", theme.warn()),
        1 => Span::styled("1 peer", theme.dim()),
        count => Span::styled(format!("{count} peers"), theme.dim()),
    };
    let identity = match &status.identity {
        IdentityState::None => Span::styled("watching", theme.warn()),
        IdentityState::Locked => Span::styled("locked", theme.warn()),
        IdentityState::Deriving => Span::styled("making keys", theme.warn()),
        IdentityState::Unlocked { author, .. } => Span::styled(format!("you: {}", author.short()), theme.dim()),
    };
    let dot = || Span::styled(" · ", theme.dim());
    Line::from(vec![tip, dot(), peers, dot(), identity, Span::raw(" ")])
}

fn tab_line(app: &App) -> Line<'static> {
    let mut spans = Vec::new();
    let hidden = app.gate_is_shown() || matches!(app.connection, Connection::Starting(_) | Connection::Failed(_));
    for (at, tab) in Tab::ALL.into_iter().enumerate() {
        let mut title = words::tab(tab).to_owned();
        let yours = app.trades.yours_count();
        if tab == Tab::Trades && yours > 0 {
            title.push_str(&format!(" ({yours})"));
        }
        let is_current = tab == app.tab && !hidden;
        // The brackets mark the current screen where there are no colours.
        let text = if is_current { format!("[{} {title}]", at + 1) } else { format!(" {} {title} ", at + 1) };
        let style = match () {
            () if is_current => app.theme.selected(),
            () if hidden => app.theme.dim(),
            () if tab == Tab::Trades && yours > 0 => app.theme.warn(),
            () => ratatui::style::Style::new(),
        };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

fn holdings(app: &App) -> Line<'static> {
    match &app.wallet.balance {
        Some(balance) => Line::from(format!("{} ", format::btc_unit(balance.spendable))).style(app.theme.good()),
        None => Line::default(),
    }
}

/// Draws what goes on, or the newest toast.
pub fn message(app: &App, frame: &mut Frame, area: Rect) {
    let theme = app.theme;
    let line = if let Connection::Lost(_) = &app.connection {
        Line::from(vec![Span::raw(" "), spinner(app), Span::raw(" "), Span::styled(words::NODE_LOST, theme.bad())])
    } else if let Some(busy) = app.busy.filter(|busy| busy.call != CallName::Create) {
        let seconds = (app.ticks - busy.since) / TICKS_PER_SECOND;
        let text = format!(" {}… {seconds} s", words::doing(busy.call));
        Line::from(vec![Span::raw(" "), spinner(app), Span::styled(text, theme.accent())])
    } else if let Some(toast) = app.toasts.back() {
        let (sign, style) = if toast.bad { ("!", theme.warn()) } else { ("✓", theme.good()) };
        Line::from(in_one_line(sign, &toast.text, area)).style(style)
    } else if let Some(error) = app.status.as_ref().and_then(|status| status.chain_error.as_ref()) {
        Line::from(in_one_line("!", &format::clean(error), area)).style(theme.bad())
    } else {
        Line::default()
    };
    frame.render_widget(line, area);
}

/// Returns a message behind its sign, with another one where it goes on: events and errors stand whole among peers and log.
fn in_one_line(sign: &str, text: &str, area: Rect) -> String {
    format::cut(&format!(" {sign} {}", text.replace('\n', " ")), usize::from(area.width))
}

/// A sign that turns while something goes on.
pub fn spinner(app: &App) -> Span<'static> {
    let signs = BRAILLE_SIX.symbols;
    let at = usize::try_from(app.ticks).unwrap_or_default() % signs.len();
    Span::styled(signs[at], app.theme.accent())
}

/// Draws the keys that matter here, as many as fit; help and quitting stand at the right and always do.
pub fn footer(app: &App, frame: &mut Frame, area: Rect) {
    let shown = |entry: &&Entry| match entry.footer {
        Footer::Shown => true,
        Footer::WhenPossible => (entry.when)(app).is_ok(),
        Footer::Hidden => false,
    };
    let mut entries: Vec<&Entry> = Vec::new();
    for entry in action::entries(app).filter(shown) {
        // The innermost context decides what a key does, and one key to an action is enough here.
        if entries.iter().all(|known| known.action != entry.action && known.keys.first() != entry.keys.first()) {
            entries.push(entry);
        }
    }
    let (general, own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| matches!(entry.action, Action::Help | Action::Quit));
    let right = keys(app, &general, usize::from(area.width));
    let room = usize::from(area.width).saturating_sub(right.width() + 1);
    let mut left = keys(app, &own, room);
    left.spans.insert(0, Span::raw(" "));
    frame.render_widget(left, area);
    frame.render_widget(Paragraph::new(right).alignment(Alignment::Right), area);
}

fn keys(app: &App, entries: &[&Entry], mut room: usize) -> Line<'static> {
    let mut spans = Vec::new();
    for entry in entries {
        let Some(key) = entry.keys.first().map(Key::label) else {
            continue;
        };
        let name = format!(" {}  ", entry.does(app));
        let width = key.chars().count() + name.chars().count();
        // A shorter one may still fit.
        if width > room {
            continue;
        }
        room -= width;
        let possible = (entry.when)(app).is_ok();
        spans.push(Span::styled(key, if possible { app.theme.accent() } else { app.theme.dim() }));
        spans.push(Span::styled(name, app.theme.dim()));
    }
    Line::from(spans)
}
