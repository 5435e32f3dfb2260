//! Who decides disputes: which cases a node takes up, which `exchange-node` says in `trader/cases.rs`, and what the people who
//! are arbiters do about them. They are honest, know who has really paid, and sometimes need more time, or stay away.

use exchange_ledger::body::{ArbiterAdvert, Body};
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::trade::pins::Known;
use exchange_ledger::trade::{Action, Command, Event, Phase, Role, Seat, Trade, Verdict};
use exchange_ledger::wire::CurveKey;

use crate::node::Node;
use crate::shared::Shared;
use crate::trader::FEERATE;
use crate::user::{list, number_of, sats, text};

/// Cases that are watched.
const MAX_CASES: usize = 256;
/// Blocks after the last moment to pay, when an arbiter believes that nobody has paid who has not said so: more than any
/// node lags behind.
const CERTAIN_AFTER: u32 = 300;

impl Node {
    /// Advertises the user as an arbiter.
    pub fn advertise(&mut self, shared: &mut Shared) {
        let advert = ArbiterAdvert {
            name: text("Ada"),
            key: CurveKey(self.person.key.x_only_public_key().0),
            seal_key: self.person.party.seal_key,
            fee_ppm: 10_000,
            destination: self.person.party.destination.clone(),
            max_amount: sats(100_000_000),
            languages: list(vec![text("en")]),
            currencies: list(vec!["EUR".parse().expect("a currency")]),
            terms: text("Evidence within a week."),
        };
        if let Some(record) = self.publish(&Body::ArbiterAdvert(advert), shared) {
            shared.adverts.push((self.person.author, record.id()));
        }
    }

    /// Tells whether a trade in which the user is arbiter is watched.
    pub fn is_case(&self, known: &Known) -> bool {
        let cases = self.mind.iter().flat_map(|mind| mind.trades.values());
        let has_room = cases.filter(|trade| trade.role() == Role::Arbiter).count() < MAX_CASES;
        known.contract.is_some() && (known.facts.disputed() || known.facts.payment_sent) && has_room
    }

    /// Pins what was agreed on as soon as it is seen, if the user rules in it: a fork of its maker's can make it vanish.
    pub fn keep_agreement(&mut self, known: &mut Known) {
        let (trade, rules) = (known.bid.trade, known.bid.seat_of(&self.person.author).is_some());
        let Some(pin) = known.pin.as_mut().filter(|_| rules && known.contract.is_some()) else { return };
        pin.committed = true;
        if !self.disk.private().pins.contains_key(&trade) {
            let kept = pin.clone();
            let _ = self.disk.write(|private| drop(private.pins.insert(trade, kept))); // tried again at the next start
        }
        self.pin(trade, known.pin.clone());
    }

    /// The user looks at the cases.
    pub fn look_at_cases(&mut self, shared: &mut Shared) {
        let trades = self.mind.iter().flat_map(|mind| mind.trades.values());
        let cases: Vec<TradeId> = trades.filter(|trade| trade.role() == Role::Arbiter).map(Trade::id).collect();
        for id in cases {
            let case = self.mind.as_ref().and_then(|mind| mind.trades.get(&id));
            let disputed = case.filter(|trade| trade.phase() == Phase::Disputed);
            let Some(event) = disputed.and_then(|trade| decision(trade, shared)) else { continue };
            shared.trace.note(shared.agenda.now(), self.number, "decides", id.0.as_slice());
            let _ = self.hear(id, event, shared); // refused when it is not his turn
        }
    }
}

/// Returns what an arbiter does about a dispute, if anything.
fn decision(trade: &Trade, shared: &mut Shared) -> Option<Event> {
    let (view, number) = (trade.view(), number_of(trade));
    let is_away = trade.seat() == Some(Seat::First) && trade.bid().second_arbiter.is_some();
    if is_away && number.is_multiple_of(3) {
        return None;
    }
    let paid = shared.checks.is_paid(&trade.id());
    let pays_no_more = view.pay_until().is_some_and(|last| view.chain().tip > last + CERTAIN_AFTER);
    // He asks both, of course. Who has not said that he paid, may do so as long as it is safe.
    if !paid && !view.facts.payment_sent && !pays_no_more {
        return None;
    }
    let extends = match number % 5 {
        0 => 1,
        1 => 2,
        _ => 0,
    };
    match view.extension() {
        // Mostly he waits until the coins have moved.
        Some(_) if !shared.rng.one_in(6) => None,
        None if view.extensions() < extends => {
            Some(Event::Command(Command { action: Action::Extend, feerate: FEERATE }))
        }
        Some(_) | None => {
            let verdict = if paid { Verdict::Buyer } else { Verdict::Seller };
            Some(Event::Rule { verdict, feerate: FEERATE })
        }
    }
}

/// Returns the places in an offer's list of arbiters whom somebody chooses who is not among them: one, and in every other
/// trade another to step in.
pub fn some_arbiters(listed: &[AuthorId], parties: [AuthorId; 2], shared: &mut Shared) -> Option<(u8, Option<u8>)> {
    let usable = (0_u8..).zip(listed).filter(|(_, arbiter)| !parties.contains(arbiter));
    let mut usable: Vec<u8> = usable.map(|(place, _)| place).collect();
    shared.rng.shuffle(&mut usable);
    let second = usable.get(1).copied().filter(|_| shared.rng.one_in(2));
    Some((*usable.first()?, second))
}
