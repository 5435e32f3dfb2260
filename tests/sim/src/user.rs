//! What the users of nodes want: they post, take, fund, pay, release, call off, and sometimes just do not come back.

use exchange_ledger::body::{ArbiterAdvert, Body, Offer, Revoke, Side, Take};
use exchange_ledger::book::Query;
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::money::{Price, Sats};
use exchange_ledger::rules::{DEFAULT_ARBITRATION_DELAY, DEFAULT_SECOND_DELAY, MIN_REFUND_DELAY};
use exchange_ledger::text::Text;
use exchange_ledger::trade::{Action, Command, Phase, Role, Trade};
use exchange_ledger::wire::{CurveKey, List};

use crate::flaw::Flaw;
use crate::node::Node;
use crate::rng::Rng;
use crate::shared::Shared;
use crate::trader::FEERATE;

/// Offers that an honest user posts.
const MAX_OFFERS: usize = 2;
/// Trades that a user is in at once.
const MAX_TRADES: usize = 3;
/// How long an offer lasts, in seconds.
const OFFER_LIFE_S: u64 = 10 * 24 * 3600;

/// What somebody means to do in one trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Does one's part.
    Keen,
    /// Calls it off before it is funded.
    Unsure,
    /// Calls it off once it is funded.
    Sorry,
    /// Does nothing more.
    Gone,
}

impl Node {
    /// The user looks at the screen.
    pub fn use_it(&mut self, shared: &mut Shared) {
        self.look_at_trades(shared);
        if shared.is_quiet() || self.mind.is_none() {
            return;
        }
        match shared.rng.below(4) {
            0 => self.post(shared),
            1 | 2 => self.take(shared),
            3 if shared.rng.one_in(4) => self.revoke(shared),
            _ => {}
        }
    }

    /// Advertises the arbiter.
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
            shared.advert = Some(record.id());
        }
    }

    fn post(&mut self, shared: &mut Shared) {
        let Some(mind) = &self.mind else { return };
        if mind.book.of_maker(&self.person.author).count() < MAX_OFFERS
            && !self.is_busy(self.now(shared))
            && let Some(offer) = self.some_offer(shared)
        {
            self.publish(&Body::Offer(offer), shared);
        }
    }

    /// Tells whether the user is in trades enough. Those of months ago count no more.
    fn is_busy(&self, now: u64) -> bool {
        let trades = self.mind.iter().flat_map(|mind| mind.trades.values());
        trades.filter(|trade| trade.bid().offer.expires > now).count() >= MAX_TRADES
    }

    /// Returns an offer to buy or sell.
    pub fn some_offer(&self, shared: &mut Shared) -> Option<Offer> {
        let min = shared.rng.between(400_000, 1_200_000);
        Some(Offer {
            side: if shared.rng.one_in(2) { Side::Sell } else { Side::Buy },
            currency: "EUR".parse().expect("a currency"),
            price: Price::new(6_000_000 + shared.rng.below(100_000)).expect("not zero"),
            min: sats(min),
            max: sats(min + shared.rng.below(800_000)),
            methods: list(vec![text("SEPA")]),
            terms: text("Own accounts only."),
            arbiters: list(vec![shared.advert?]),
            seller_bond_ppm: 0,
            buyer_bond_ppm: 0,
            arbitration_delay: DEFAULT_ARBITRATION_DELAY,
            second_delay: DEFAULT_SECOND_DELAY,
            refund_delay: MIN_REFUND_DELAY,
            automatic: true,
            expires: self.now(shared) + OFFER_LIFE_S,
        })
    }

    fn take(&mut self, shared: &mut Shared) {
        let now = self.now(shared);
        let Some(mind) = &self.mind else { return };
        if self.is_busy(now) {
            return;
        }
        let all = mind.book.query(&Query { away: true, ..Query::default() }, now, usize::MAX);
        let offers: Vec<(RecordId, Sats, Sats, Side)> = all
            .into_iter()
            .filter(|entry| entry.maker != self.person.author)
            .map(|entry| (entry.id, entry.min, entry.max, entry.side))
            .take(16)
            .collect();
        let Some((offer, min, max, side)) = shared.rng.pick(&offers).copied() else { return };
        let sells = side == Side::Buy;
        let bids = mind.trades.values().filter(|trade| trade.bid().offer_id == offer).count();
        if bids > 0 || (sells && self.spare_coins(shared).is_empty()) {
            return;
        }
        let amount = sats(shared.rng.between(min.get(), max.get()));
        let nonce = shared.rng.bytes32();
        let party = self.person.party.clone();
        let take = Take { offer, amount, method: 0, arbiter: 0, second_arbiter: None, nonce, party };
        self.publish(&Body::Take(take), shared);
    }

    fn revoke(&mut self, shared: &mut Shared) {
        let Some(mind) = &self.mind else { return };
        let mine: Vec<RecordId> = mind.book.of_maker(&self.person.author).map(|(id, _)| id).collect();
        if let Some(offer) = shared.rng.pick(&mine) {
            self.publish(&Body::Revoke(Revoke { offer: *offer }), shared);
        }
    }

    fn look_at_trades(&mut self, shared: &mut Shared) {
        let Some(mind) = &self.mind else { return };
        let ids: Vec<TradeId> = mind.trades.keys().copied().collect();
        for id in ids {
            let Some(trade) = self.mind.as_ref().and_then(|mind| mind.trades.get(&id)) else { continue };
            let early = shared.flaw == Some(Flaw::PaysBeforeBuried)
                && trade.role() == Role::Buyer
                && trade.phase() == Phase::Funding;
            if early {
                shared.checks.paid(self, trade);
            }
            let Some(action) = self.wish(trade, shared) else { continue };
            if !trade.actions().contains(&action) {
                continue;
            }
            // The money is sent first, then said to be.
            if action == Action::MarkPaid && (self.honest || trade.id().0[0].is_multiple_of(2)) {
                shared.checks.paid(self, trade);
            }
            shared.trace.note(shared.agenda.now(), self.number, command_name(action), id.0.as_slice());
            let _ = self.command(id, Command { action, feerate: FEERATE }, shared);
        }
    }

    /// What the user wants to do now, whether or not it is possible.
    fn wish(&self, trade: &Trade, shared: &Shared) -> Option<Action> {
        let mood = self.mood(trade, shared);
        let paid = shared.checks.is_paid(&trade.id());
        match (trade.role(), trade.phase()) {
            (Role::Buyer, Phase::Agreed) if mood == Mood::Unsure => Some(Action::Cancel),
            (Role::Buyer, Phase::Funded) if paid => Some(Action::MarkPaid),
            (Role::Buyer, Phase::Funded) => match mood {
                Mood::Keen if trade.local().their_details.is_some() => Some(Action::MarkPaid),
                Mood::Sorry => Some(Action::Cancel),
                Mood::Keen | Mood::Unsure | Mood::Gone => None,
            },
            (Role::Seller, Phase::Agreed) if shared.is_ending() => None,
            (Role::Seller, Phase::Agreed) => match mood {
                Mood::Keen | Mood::Sorry => Some(Action::Fund),
                Mood::Unsure => Some(Action::Cancel),
                Mood::Gone => None,
            },
            (Role::Seller, Phase::Funded | Phase::Paid | Phase::Disputed) if paid && self.honest => {
                Some(Action::Release)
            }
            (Role::Seller, Phase::Funded | Phase::Paid | Phase::Disputed | Phase::Refunding) => Some(Action::Refund),
            (_, _) => None,
        }
    }

    /// Of five people three do their part. It is the same in one trade for ever.
    fn mood(&self, trade: &Trade, shared: &Shared) -> Mood {
        let number = u64::from_le_bytes(trade.id().0[..8].try_into().unwrap_or_default());
        match Rng::new(number ^ shared.seed ^ trade.role() as u64).below(8) {
            0..5 => Mood::Keen,
            5 => Mood::Unsure,
            6 => Mood::Sorry,
            _ => Mood::Gone,
        }
    }
}

const fn command_name(action: Action) -> &'static str {
    match action {
        Action::Accept => "asks to accept",
        Action::Fund => "asks to fund",
        Action::MarkPaid => "pays",
        Action::Release => "asks to release",
        Action::Cancel => "asks to cancel",
        Action::Refund => "asks to take back",
        Action::Dispute => "asks to dispute",
        Action::Rule => "asks to rule",
        Action::Extend => "asks to extend",
    }
}

/// Returns an amount.
pub fn sats(sats: u64) -> Sats {
    Sats::new(sats).expect("amounts here are below 21 million bitcoin")
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("short and plain")
}

fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).expect("short")
}
