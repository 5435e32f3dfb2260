//! What the users of nodes want: they post, take, fund, pay, release, call off, and sometimes just do not come back.

use exchange_ledger::body::{Body, Offer, Revoke, Side, Take};
use exchange_ledger::book::Query;
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::money::{Price, Sats};
use exchange_ledger::rules::{MIN_BOND_PPM, MIN_REFUND_DELAY};
use exchange_ledger::text::Text;
use exchange_ledger::trade::{Action, Command, Phase, Role, Trade};
use exchange_ledger::wire::List;

use crate::arbiter::some_arbiters;
use crate::flaw::Flaw;
use crate::node::Node;
use crate::rng::Rng;
use crate::shared::Shared;
use crate::trader::FEERATE;

/// Who only decides disputes.
const JUDGE: usize = 0;
/// Offers that an honest user posts.
const MAX_OFFERS: usize = 2;
/// Trades that a user is in at once.
const MAX_AT_ONCE: usize = 3;
/// The smallest bond. Four times it and the largest amount are less than a coin holds.
const BOND_PPM: u32 = MIN_BOND_PPM;
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
        self.look_at_cases(shared);
        if shared.is_quiet() || self.mind.is_none() || self.number == JUDGE {
            return;
        }
        match shared.rng.below(4) {
            0 => self.post(shared),
            1 | 2 => self.take(shared),
            3 if shared.rng.one_in(4) => self.revoke(shared),
            _ => {}
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
        let counts = |trade: &&Trade| trade.role() != Role::Arbiter && trade.bid().offer.expires > now;
        trades.filter(counts).count() >= MAX_AT_ONCE
    }

    /// Returns an offer to buy or sell.
    pub fn some_offer(&self, shared: &mut Shared) -> Option<Offer> {
        let min = shared.rng.between(400_000, 1_200_000);
        let others = shared.adverts.iter().filter(|(arbiter, _)| *arbiter != self.person.author);
        let arbiters: Vec<RecordId> = others.map(|(_, advert)| *advert).collect();
        if arbiters.is_empty() {
            return None;
        }
        let (arbitration_delay, second_delay) = shared.delays;
        let mut bond =
            || if shared.has_bonds && shared.rng.one_in(2) { BOND_PPM * (1 + shared.rng.below(4) as u32) } else { 0 };
        let (seller_bond_ppm, buyer_bond_ppm) = (bond(), bond());
        Some(Offer {
            side: if shared.rng.one_in(2) { Side::Sell } else { Side::Buy },
            currency: "EUR".parse().expect("a currency"),
            price: Price::new(6_000_000 + shared.rng.below(100_000)).expect("not zero"),
            min: sats(min),
            max: sats(min + shared.rng.below(800_000)),
            methods: list(vec![text("SEPA")]),
            terms: text("Own accounts only."),
            arbiters: list(arbiters),
            seller_bond_ppm,
            buyer_bond_ppm,
            arbitration_delay,
            second_delay,
            refund_delay: MIN_REFUND_DELAY,
            automatic: true,
            expires: self.now(shared) + OFFER_LIFE_S,
        })
    }

    fn take(&mut self, shared: &mut Shared) {
        let now = self.now(shared);
        let Some(mind) = self.mind.as_ref().filter(|_| !self.is_busy(now)) else { return };
        let all = mind.book.query(&Query { away: true, ..Query::default() }, now, usize::MAX);
        let others = all.into_iter().filter(|entry| entry.maker != self.person.author);
        let offers: Vec<(RecordId, AuthorId)> = others.map(|entry| (entry.id, entry.maker)).take(16).collect();
        let Some((id, maker)) = shared.rng.pick(&offers).copied() else { return };
        let Some((_, offer)) = self.ledger.offer(&id).ok().flatten() else { return };
        let bids = mind.trades.values().filter(|trade| trade.bid().offer_id == id).count();
        let sells = offer.side == Side::Buy;
        let locks = sells || offer.buyer_bond_ppm > 0;
        if bids > 0 || (locks && self.spare_coins(shared).is_empty()) {
            return;
        }
        let advertises = |listed: &RecordId| shared.adverts.iter().find(|(_, advert)| advert == listed);
        let listed: Vec<AuthorId> = offer.arbiters.iter().filter_map(advertises).map(|(arbiter, _)| *arbiter).collect();
        let parties = [maker, self.person.author];
        let Some((arbiter, second_arbiter)) = some_arbiters(&listed, parties, shared) else { return };
        let amount = sats(shared.rng.between(offer.min.get(), offer.max.get()));
        let (nonce, party) = (shared.rng.bytes32(), self.person.party.clone());
        let take = Take { offer: id, amount, method: 0, arbiter, second_arbiter, nonce, party };
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
            // Who names the coins alone has to do it where he agreed.
            let names_alone = trade.role() == Role::Seller && trade.bid().buyer_bond == Sats::ZERO;
            if action == Action::Fund && self.honest && names_alone && !self.goes_on_in(trade.bid().home_logs(), shared)
            {
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
        let mood = mood(trade, shared);
        let paid = shared.checks.is_paid(&trade.id());
        match (trade.role(), trade.phase()) {
            (Role::Buyer | Role::Seller, Phase::Agreed) if mood == Mood::Unsure => Some(Action::Cancel),
            // What one has set aside for it is needed elsewhere.
            (Role::Buyer | Role::Seller, Phase::Agreed) if shared.is_ending() => {
                trade.joint_terms().is_some().then_some(Action::Cancel)
            }
            (Role::Buyer | Role::Seller, Phase::Agreed) => (mood != Mood::Gone).then_some(Action::Fund),
            // Everybody has had his time: what is left is one's own bond.
            (Role::Buyer, Phase::Funded | Phase::Paid | Phase::Disputed) if is_over(trade) => Some(Action::Refund),
            (Role::Buyer, Phase::Ruled) if !self.honest => Some(Action::Refund),
            // What an arbiter gave him takes his bond along: so he leaves it there, as he is told.
            (Role::Buyer, Phase::Refunding) if self.honest && trade.is_outrun() => None,
            (Role::Buyer, Phase::Refunding | Phase::Refunded) => Some(Action::Refund),
            // Who has paid and may not say so any more, since the seller has two histories, a reorg put the funding where nobody
            // pays for it, or a lost disk took its name along, calls for the arbiter.
            (Role::Buyer, Phase::Funded) if paid && is_risk(trade) => Some(Action::Dispute),
            (Role::Buyer, Phase::Funded) if paid => Some(Action::MarkPaid),
            (Role::Buyer, Phase::Funded) => match mood {
                Mood::Keen if trade.local().their_details.is_some() => Some(Action::MarkPaid),
                Mood::Sorry => Some(Action::Cancel),
                Mood::Keen | Mood::Unsure | Mood::Gone => None,
            },
            // Some wait until the dispute opens by itself.
            (Role::Buyer, Phase::Paid) => is_impatient(trade).then_some(Action::Dispute),
            // Who is sorry stays away, and an arbiter does it for him.
            (Role::Seller, Phase::Funded | Phase::Paid | Phase::Disputed) if paid && self.honest => {
                (mood != Mood::Sorry).then_some(Action::Release)
            }
            // Nothing came, and the other says that it did; or somebody would have the buyer believe so.
            (Role::Seller, Phase::Paid) if is_impatient(trade) => Some(Action::Dispute),
            (Role::Seller, Phase::Funded) if is_impatient(trade) && !self.honest => Some(Action::Dispute),
            (Role::Seller, Phase::Funded | Phase::Paid | Phase::Disputed | Phase::Refunding) => Some(Action::Refund),
            // He has nothing to lose by trying.
            (Role::Seller, Phase::Ruled) if !self.honest => Some(Action::Refund),
            (_, _) => None,
        }
    }
}

/// Returns a number that is a trade's own, by which people are what they are in it for ever.
pub fn number_of(trade: &Trade) -> u64 {
    u64::from_le_bytes(trade.id().0[..8].try_into().unwrap_or_default())
}

/// Of five people three do their part. It is the same in one trade for ever.
fn mood(trade: &Trade, shared: &Shared) -> Mood {
    match Rng::new(number_of(trade) ^ shared.seed ^ trade.role() as u64).below(8) {
        0..5 => Mood::Keen,
        5 => Mood::Unsure,
        6 => Mood::Sorry,
        _ => Mood::Gone,
    }
}

/// Tells whether nobody should pay, or not yet.
fn is_risk(trade: &Trade) -> bool {
    let view = trade.view();
    view.facts.forked.is_some() || view.is_doubtful() || !view.is_named()
}

/// Tells whether each can take back what he has put in.
fn is_over(trade: &Trade) -> bool {
    trade.view().refund_from().is_some_and(|from| trade.view().chain().tip >= from)
}

/// Tells whether somebody has waited long enough for the other: some blocks after the funding, and of four people one never.
fn is_impatient(trade: &Trade) -> bool {
    let (view, number) = (trade.view(), number_of(trade));
    let waited = view.depth(view.funding().and_then(|funding| funding.height));
    !number.is_multiple_of(4) && u64::from(waited) > 6 + number % 16
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

/// Returns a text.
pub fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("short and plain")
}

/// Returns a list.
pub fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).expect("short")
}
