//! Every word that the program says, in one place: plain English, lower case inside sentences, no jargon without need.

pub mod chat;
pub mod commands;
pub mod contract;
pub mod disclose;
pub mod gate;
pub mod post;
pub mod ruling;
pub mod take;
pub mod trade;
pub mod wallet;
pub mod why;

use exchange_api::{Action, OfferState, OfferView, Side, Status};

use crate::app::Tab;
use crate::app::book::your_side;
use crate::format;
use crate::message::CallName;

pub const PROGRAM: &str = "exchange";
pub const CONNECTING: &str = "Looking for the node";
pub const STARTING_NODE: &str = "Starting the node";
pub const STARTING_DEMO: &str = "Starting four nodes and a chain of their own";
pub const STARTING_NOTE: &str = "The first start may take a minute.";
pub const STARTING_DEMO_NOTE: &str = "Half a minute: making an identity costs seconds on purpose, and here are four.";
pub const NODE_FAILED: &str = "There is no node to talk to";
pub const NODE_LOST: &str = "The node does not answer; trying again. Nothing that you typed is lost.";
pub const TOO_SMALL: &str = "This window is too small.";
pub const TOO_SOON: &str = "Too soon: please press it again.";
pub const WENT_ON: &str = "You went on meanwhile: please ask again.";
pub const NO_BACK: &str = "No, go back";
pub const STAY: &str = "Stay";
pub const QUIT: &str = "Quit";
pub const QUIT_TITLE: &str = "Quit?";
pub const QUIT_LOSES_TEXT: &str = "What you typed will be lost.";
pub const KEEP_NODE: &str = "Keep it running";
pub const STOP_NODE: &str = "Stop it";
pub const BAD_AMOUNT: &str = "an amount, e.g. 0.01";
pub const DECIMAL_COMMA: &str = "decimals follow a point: 0.01";
pub const WITHDRAW_TITLE: &str = "Withdraw your offer?";
pub const WITHDRAW_NOTE: &str = "Nobody can take it any more. Trades that began with it go on.";
pub const WITHDRAW_YES: &str = "Yes, withdraw it";
pub const WITHDRAWN: &str = "Your offer is withdrawn.";
pub const HELP_TITLE: &str = "Keys";
pub const CLOSE: &str = "Enter or Esc closes this.";
pub const LOADING: &str = "Asking the node…";
pub const NEEDS_IDENTITY_HINT: &str = "Press i to create or unlock it.";
pub const MORE: &str = " ↓ more ";
pub const NEXT_FIELD: &str = "next";

pub mod book {
    //! The book.
    pub const COLUMNS: [&str; 8] = ["You", "Price", "BTC", "Cost", "Methods", "Maker", "Trades", "Seen"];
    pub const SHOW: &str = "Show";
    pub const SIDES: [&str; 3] = ["all", "you buy", "you sell"];
    pub const CURRENCY: &str = "Currency";
    pub const FILTER: &str = "Filter";
    pub const EMPTY: &str = "Nobody offers anything at the moment.";
    pub const EMPTY_HINT: &str = "Offers appear here as soon as they reach you. To make one: press 2.";
    pub const EMPTY_LONELY: &str =
        "Offers come from peers, and you are connected to none yet. To connect: press 6, then c.";
    pub const NARROWED: &str = "No offer fits what you chose.";
    pub const NARROWED_HINT: &str = "Press a for both sides, c for another currency, / then Esc to drop the filter.";
    pub const ALL_AWAY: &str = "Nobody who is there at the moment offers this.";
    pub const ALL_AWAY_HINT: &str = "Press o for the offers of makers who are away.";
    pub const MORE: &str = "There are more offers than can be shown.";
    pub const TERMS_GO_ON: &str = " PgDn more ";
    pub const YOURS: &str = "yours";
    pub const AWAY: &str = "away";

    /// Says when a maker was last heard of.
    pub fn seen(ago: &str) -> String {
        match ago {
            AWAY => AWAY.to_owned(),
            "now" => "seen just now".to_owned(),
            ago => format!("seen {ago} ago"),
        }
    }
    pub const NO_TERMS: &str = "none";
    pub const BY_ITSELF: &str = "Accepts bids by itself, within seconds.";
    pub const BY_ITSELF_LATER: &str = "Accepts bids by itself, but its node is silent: it may take a while.";
    pub const BY_HAND: &str = "Accepts bids by hand: it may take a while.";
}

pub mod network {
    //! Peers and log.
    pub const PEERS: &str = "Peers";
    pub const LISTENING: &str = "Listening on";
    pub const LOG: &str = "Log";
    pub const COLUMNS: [&str; 4] = ["Peer", "Address", "Software", "Ping"];
    pub const NO_PEERS: &str = "No peers yet. Press c to connect to one whose address you know.";
    pub const CONNECT_TITLE: &str = "Connect to a peer";
    pub const CONNECT_NOTE: &str = "Its owner finds the address on his screen 6. The connection lasts until one of you stops. To \
                                    connect at each start: exchange-tui -- --peer ADDRESS";
    pub const CONNECT_BUTTON: &str = "Connect";
    pub const PEER: &str = "Address";
    pub const PEER_HINT: &str = "/ip4/…/tcp/9740/p2p/12D3…";
    pub const NO_PEER: &str = "needed";

    /// Says that a peer is connected.
    pub fn connected(address: &str) -> String {
        format!("Connected to {}.", crate::format::ellipsis(&crate::format::clean(address), 60))
    }
    pub const NO_EVENTS: &str = "Nothing has happened yet.";
    pub const SYNCED: &str = "same ledger";
    pub const CATCHING_UP: &str = "comparing";
}

/// Says what is wrong with a text that is no amount.
pub fn bad_amount(typed: &str) -> &'static str {
    if typed.contains(',') && !typed.contains('.') { DECIMAL_COMMA } else { BAD_AMOUNT }
}

/// Returns a screen's title.
pub const fn tab(tab: Tab) -> &'static str {
    match tab {
        Tab::Book => "Book",
        Tab::Post => "Post",
        Tab::Take => "Take",
        Tab::Trades => "Trades",
        Tab::Wallet => "Wallet",
        Tab::Network => "Network",
    }
}

/// Returns the badge of the network, and whether its coins are worth nothing.
pub fn badge(status: &Status) -> (String, bool) {
    if status.demo {
        (format!("{} DEMO: play money", status.network.to_uppercase()), true)
    } else if status.network == "mainnet" {
        ("MAINNET: real money".to_owned(), false)
    } else {
        (format!("{}: test money", status.network.to_uppercase()), true)
    }
}

/// Returns what the user does, seen from his side.
pub const fn you(side: Side) -> &'static str {
    match side {
        Side::Buy => "You buy",
        Side::Sell => "You sell",
    }
}

/// Returns what became of an offer.
pub const fn offer_state(state: OfferState) -> &'static str {
    match state {
        OfferState::Live => "can be taken",
        OfferState::Away => "its maker has not been heard of lately",
        OfferState::Waiting => "waits until an earlier offer of its maker ends",
        OfferState::Taken => "taken",
        OfferState::Revoked => "withdrawn",
        OfferState::Expired => "ended",
    }
}

/// Returns an offer as a sentence from the user's side.
pub fn offer_sentence(offer: &OfferView) -> String {
    let amount = format::range(&format::btc(offer.min), &format::btc(offer.max));
    let (min, max) = (format::money(offer.currency, offer.min_cost), format::money(offer.currency, offer.max_cost));
    format!("{} {amount} BTC for {} {}", you(your_side(offer)), format::range(&min, &max), offer.currency)
}

/// Returns everything about an offer: the name of each thing, and the thing.
pub fn offer_rows(offer: &OfferView, now: u64) -> Vec<(&'static str, String)> {
    let price = format!("{} for 1 BTC", format::money_unit(offer.currency, offer.price.get()));
    let terms = if offer.terms.is_empty() { book::NO_TERMS.to_owned() } else { offer.terms.clone() };
    let bids = bids(offer, now);
    let mut rows = vec![
        ("Price", price),
        ("Payment by", offer.methods.join(", ")),
        ("Maker", maker(offer)),
        ("Terms", terms),
        ("Bids", bids.to_owned()),
    ];
    for (at, arbiter) in offer.arbiters.iter().enumerate() {
        rows.push((if at == 0 { "Arbiters" } else { "" }, take::arbiter(arbiter, now)));
    }
    if offer.seller_bond_ppm > 0 || offer.buyer_bond_ppm > 0 {
        rows.push(("Bonds", offer_bonds(offer)));
    }
    let refund = u32::from(offer.refund_delay);
    rows.push(("Refund", format!("after {} blocks, {}", format::number(refund), format::blocks(refund))));
    let ends = if offer.expires > now {
        format!("in {}", format::ago(offer.expires, now))
    } else {
        offer_state(OfferState::Expired).to_owned()
    };
    rows.extend([("Ends", ends), ("State", offer_state(offer.state).to_owned())]);
    rows
}

/// How long a maker's node may be silent, in seconds, and count as there: one that runs says so every ten minutes.
const SILENCE_S: u64 = 900;

/// Says how bids for an offer are accepted: within seconds only by a node that is there.
pub fn bids(offer: &OfferView, now: u64) -> &'static str {
    let is_there = offer.state != OfferState::Away && now.saturating_sub(offer.last_seen) <= SILENCE_S;
    match (offer.automatic, is_there || offer.mine) {
        (true, true) => book::BY_ITSELF,
        (true, false) => book::BY_ITSELF_LATER,
        (false, _) => book::BY_HAND,
    }
}

/// Returns what each side locks besides the trade.
pub fn offer_bonds(offer: &OfferView) -> String {
    post::bonds((offer.seller_bond_ppm, offer.buyer_bond_ppm))
}

/// Returns who made an offer and what is known of him.
pub fn maker(offer: &OfferView) -> String {
    if offer.mine {
        return "you".to_owned();
    }
    match offer.maker_trades {
        0 => format!("{}, no trades yet", offer.maker.short()),
        1 => format!("{}, 1 trade", offer.maker.short()),
        count => format!("{}, {count} trades", offer.maker.short()),
    }
}

/// Returns what a call is doing, for the line that shows that it goes on.
pub const fn doing(call: CallName) -> &'static str {
    match call {
        CallName::Passphrase => "Choosing six words",
        CallName::Strength => "Judging the password",
        CallName::Create => gate::DERIVING,
        CallName::Unlock => "Unlocking",
        CallName::Post => "Posting the offer",
        CallName::Withdraw => "Withdrawing the offer",
        CallName::Review => "Working out the terms",
        CallName::Take => "Taking the offer",
        CallName::Trade(Action::Accept) => "Accepting the bid",
        CallName::Trade(Action::Fund) => "Funding the escrow",
        CallName::Trade(Action::MarkPaid) => "Telling the seller",
        CallName::Trade(Action::Release) => "Releasing the coins",
        CallName::Trade(Action::Cancel) => "Calling the trade off",
        CallName::Trade(Action::Refund) => "Taking the coins back",
        CallName::Trade(Action::Dispute) => "Calling for the arbiter",
        CallName::Trade(Action::Rule) => "Ruling",
        CallName::Trade(Action::Extend) => "Giving the dispute more time",
        CallName::Price => "Working out the fee",
        CallName::Talk => "Asking what was said",
        CallName::Say => "Sending the message",
        CallName::Weigh => "Working out the ruling",
        CallName::ToShow => "Looking up what he would see",
        CallName::Disclose => "Showing it to the arbiter",
        CallName::Send => "Sending",
        CallName::Freeze => "Telling the wallet",
        CallName::Label => "Noting it",
        CallName::PriceBump => "Working out the fee",
        CallName::Bump => "Raising the fee",
        CallName::PriceCancel => "Working out the fee",
        CallName::Cancel => "Cancelling the payment",
        CallName::Connect => "Connecting",
    }
}

/// Returns the title of the error when a call failed.
pub const fn could_not(call: CallName) -> &'static str {
    match call {
        CallName::Passphrase => "No passphrase could be suggested",
        CallName::Strength => "The password could not be judged",
        CallName::Create => "The identity was not created",
        CallName::Unlock => "The identity was not unlocked",
        CallName::Post => "The offer was not posted",
        CallName::Withdraw => "The offer was not withdrawn",
        CallName::Review => "The offer cannot be taken like this",
        CallName::Take => "The offer was not taken",
        CallName::Trade(Action::Accept) => "The bid was not accepted",
        CallName::Trade(Action::Fund) => "The escrow was not funded",
        CallName::Trade(Action::MarkPaid) => "The seller was not told",
        CallName::Trade(Action::Release) => "The coins were not released",
        CallName::Trade(Action::Cancel) => "The trade was not called off",
        CallName::Trade(Action::Refund) => "The coins were not taken back",
        CallName::Trade(Action::Dispute) => "The arbiter was not called",
        CallName::Trade(Action::Rule) => "Nothing was ruled",
        CallName::Trade(Action::Extend) => "The dispute was not given more time",
        CallName::Price | CallName::Send => "Nothing was sent",
        CallName::Talk => "The messages cannot be shown",
        CallName::Say => "The message was not sent",
        CallName::Freeze => "The coin stays as it is",
        CallName::Label => "It was not noted",
        CallName::PriceBump | CallName::Bump => "The fee was not raised",
        CallName::PriceCancel | CallName::Cancel => "The payment was not cancelled",
        CallName::Weigh => "It cannot be ruled like this",
        CallName::ToShow | CallName::Disclose => "Nothing was shown to the arbiter",
        CallName::Connect => "The peer is not connected",
    }
}

/// Says what was copied, by its first line.
pub fn copied(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    format!("Copied, if your terminal allows it: {}", format::cut(first, MAX_COPIED))
}

/// Characters of what was copied that stand beside these words in the smallest window.
const MAX_COPIED: usize = 40;

/// Says that one thing happens at a time.
pub fn still_busy(call: CallName) -> String {
    format!("{}: please wait until this is done.", doing(call))
}

/// Says what happens to open trades when the demo ends.
pub fn quit_ends_demo(open: usize) -> String {
    format!("The demo ends, and with it {}. No real money is involved.", trades(open))
}

/// Asks what becomes of the node that this program started.
pub fn quit_with_own_node(open: usize, offers: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if open > 0 {
        lines.push(format!("You have {}, in which the node has to act in time.", trades(open)));
    }
    match offers {
        0 => {}
        1 => lines.push("You have 1 offer in the book: nobody can take it while the node is down.".to_owned()),
        count => {
            lines.push(format!("You have {count} offers in the book: nobody can take them while the node is down."))
        }
    }
    lines.push("Keep the node running in the background?".to_owned());
    lines
}

/// Says that someone else's node goes on.
pub fn quit_with_others_node(open: usize) -> String {
    format!("You have {}. The node goes on without this window.", trades(open))
}

fn trades(count: usize) -> String {
    if count == 1 { "1 open trade".to_owned() } else { format!("{count} open trades") }
}
