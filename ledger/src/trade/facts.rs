//! What people signed about a trade: a set, which does not remember the order in which anything arrived.

use std::collections::HashSet;
use std::ops::Deref;

use bitcoin::{OutPoint, Txid};

use crate::body::{Body, Extend, HalfSpend, Ruling, Vaults};
use crate::ids::AuthorId;
use crate::record::Record;
use crate::rules::MAX_EXTENSIONS;
use crate::trade::{Bid, Draft, Escrow, EscrowError, Funding, Role, Seat};
use crate::turns::in_turn;

/// How many signed halves of one kind a node pins for outputs that no block shows: a party signs again when the funding is
/// reorganised away, and may make others up. One for each outputs that a block shows is pinned besides.
pub const MAX_HALVES: usize = 4;
/// How many outputs of a funding from two wallets its buyer names: one more when a reorg took the one before for good.
pub const MAX_NAMED: usize = 4;
/// How many rulings and how many extensions of one arbiter a node pins for outputs that no block shows: he may be led to
/// some, or make them up. One of each for each outputs that a block shows is pinned besides.
pub const MAX_RULED: usize = 1 + MAX_EXTENSIONS;

/// What the parties signed. A fact by anyone but the party it belongs to is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Another bid won, the offer was withdrawn before this one was accepted, or a record on which the agreement rests
    /// stands at or after a fork in its author's log: whoever signs two histories loses the right to agree to anything.
    pub void: bool,
    /// The seller, or an arbiter, who signed two histories, in whichever of his logs. Nobody pays for the trade any more: he
    /// can make what was agreed on vanish for everybody who did not keep it, for relays and perhaps for who should rule. The
    /// ledger knows it; no record about the trade says so.
    pub forked: Option<AuthorId>,
    /// The buyer called it off.
    pub buyer_cancel: bool,
    /// The seller called it off.
    pub seller_cancel: bool,
    /// The escrow's outpoint as the seller names it.
    pub funded: Option<OutPoint>,
    /// The one that he names first in the log in which he entered the trade. What he writes there later comes after it, and what
    /// he writes elsewhere too: so this name he cannot move, unless he signs two histories.
    pub funded_at_home: Option<OutPoint>,
    /// The escrow's outpoints as a buyer names them who signed their funding too: where his bond is.
    pub buyer_funded: Vec<OutPoint>,
    /// The buyer says that the payment is on its way.
    pub payment_sent: bool,
    /// The seller's halves of a payout, good signatures only, in the order of his log. As many as his records that are looked
    /// at: only those for outputs that the chain shows mean anything, so no others take their place.
    pub releases: Vec<HalfSpend>,
    /// The buyer's halves of a refund, likewise.
    pub refunds: Vec<HalfSpend>,
    /// Those of both that this node has pinned and no record in the ledger says (any more), each with whom it pays: perhaps
    /// nobody else has seen them.
    pub hidden: Vec<(Role, HalfSpend)>,
    /// The spend that the buyer saw confirmed.
    pub buyer_closed: Option<Txid>,
    /// The spend that the seller saw confirmed.
    pub seller_closed: Option<Txid>,
    /// The buyer calls for the arbiter.
    pub buyer_dispute: bool,
    /// The seller calls for the arbiter.
    pub seller_dispute: bool,
    /// How the arbiters divide the coins, good signatures only: of each the first for the same outputs, in his own order. As
    /// many as his records that are looked at, as of halves.
    pub rulings: Vec<(Seat, Ruling)>,
    /// The arbiters' parts of extensions, likewise.
    pub extensions: Vec<(Seat, Extend)>,
}

impl Facts {
    /// Gathers the facts of a bid (and of its contract, once there is one) from all records about it, in any order.
    /// The escrow is made when it is first needed: its keys cost more than everything else here.
    ///
    /// What is `kept` counts before all else, in its own order: what a node saw and kept of its own trade is not replaced by
    /// what somebody who signs a second history puts into the place of it, or before it.
    pub fn gather(
        bid: &Bid,
        escrow: &impl Deref<Target = Option<Escrow>>,
        kept: &[Record],
        records: &[Record],
        void: bool,
    ) -> Self {
        let mut facts = Self { void, ..Self::default() };
        for record in kept.iter().chain(own_order(bid, kept, records)) {
            facts.hear(record, bid, escrow);
        }
        facts
    }

    /// Gathers likewise, and returns besides which of the records are to be kept, in the order in which they count: those that
    /// add something, but of what is signed for outputs that no block shows only so many. The others say nothing with these,
    /// or nothing yet. Who calls off and signs half of a refund in one record says the first thing only once, and of halves
    /// there is room for the first.
    pub(super) fn gather_new<'a>(
        bid: &Bid,
        escrow: &impl Deref<Target = Option<Escrow>>,
        kept: &[Record],
        records: &'a [Record],
        fundings: &[Funding],
    ) -> (Self, Vec<&'a Record>) {
        let mut facts = Self::gather(bid, escrow, kept, &[], false);
        let mut pinned: Vec<_> = facts.signed_after([0; 4]).collect();
        let mut new = own_order(bid, kept, records);
        new.retain(|record| {
            let (count, known) = (facts.count(), facts.signed_counts());
            facts.hear(record, bid, escrow);
            // No fact is ever taken away.
            let Some(signed) = facts.signed_after(known).next() else { return facts.count() > count };
            let is_kept = has_room(&pinned, &signed, fundings);
            if is_kept {
                pinned.push(signed);
            }
            is_kept
        });
        facts.note_hidden(bid, kept, records);
        (facts, new)
    }

    /// Notes which halves are kept, and in no record that the ledger shows.
    fn note_hidden(&mut self, bid: &Bid, kept: &[Record], records: &[Record]) {
        let is_gone = |record: &&Record| records.iter().all(|shown| shown.id() != record.id());
        let gone: Vec<_> = kept.iter().filter(is_gone).filter_map(|record| half_in(record, bid)).collect();
        if gone.is_empty() {
            return;
        }
        let shown: Vec<_> = records.iter().filter_map(|record| half_in(record, bid)).collect();
        let counts = |(to, half): &(Role, HalfSpend)| self.halves(*to).contains(half);
        self.hidden = gone.into_iter().filter(|half| counts(half) && !shown.contains(half)).collect();
    }

    /// Returns how much records said: of what they add, nothing is ever taken away.
    fn count(&self) -> usize {
        let Self {
            void: _, // no record says these three
            forked: _,
            hidden: _,
            buyer_cancel,
            seller_cancel,
            funded,
            funded_at_home,
            buyer_funded,
            payment_sent,
            releases,
            refunds,
            buyer_closed,
            seller_closed,
            buyer_dispute,
            seller_dispute,
            rulings,
            extensions,
        } = self;
        let said = [*buyer_cancel, *seller_cancel, *payment_sent, *buyer_dispute, *seller_dispute];
        let named = [funded, funded_at_home].map(Option::is_some).into_iter();
        let named = named.chain([buyer_closed, seller_closed].map(Option::is_some));
        let once = said.into_iter().chain(named).filter(|is_said| *is_said).count();
        let lists = [buyer_funded.len(), releases.len(), refunds.len(), rulings.len(), extensions.len()];
        lists.into_iter().chain([once]).sum()
    }

    /// Returns how much is signed about outputs, of each kind.
    const fn signed_counts(&self) -> [usize; 4] {
        [self.releases.len(), self.refunds.len(), self.rulings.len(), self.extensions.len()]
    }

    /// Returns what is signed about outputs after so much of each kind, and about which.
    fn signed_after(&self, known: [usize; 4]) -> impl Iterator<Item = (Signed, Vaults)> {
        let [releases, refunds, rulings, extensions] = known;
        let releases = self.releases.iter().skip(releases).map(|half| (Signed::Half(Role::Buyer), half.vaults));
        let refunds = self.refunds.iter().skip(refunds).map(|half| (Signed::Half(Role::Seller), half.vaults));
        let rulings = self.rulings.iter().skip(rulings).map(|(seat, ruling)| (Signed::Ruling(*seat), ruling.vaults));
        let extensions = self.extensions.iter().skip(extensions);
        let extensions = extensions.map(|(seat, extend)| (Signed::Extension(*seat), extend.vaults));
        releases.chain(refunds).chain(rulings).chain(extensions)
    }

    /// Returns the halves of payouts (to the buyer) or of refunds (to the seller).
    fn halves(&self, to: Role) -> &[HalfSpend] {
        match to {
            Role::Buyer => &self.releases,
            Role::Seller | Role::Arbiter => &self.refunds,
        }
    }

    /// Adds what a record says, if it is its author's to say.
    fn hear(&mut self, record: &Record, bid: &Bid, escrow: &impl Deref<Target = Option<Escrow>>) {
        let author = record.author();
        match (bid.role_of(&author), bid.seat_of(&author), Body::decode(record)) {
            (Some(Role::Arbiter), Some(seat), Ok(body)) => self.add_ruled(seat, body, bid, escrow),
            (Some(role), _, Ok(body)) => {
                let is_home = bid.home_logs().contains(&record.header().log);
                self.add(role, body, is_home, bid, escrow);
            }
            (None, _, _) | (_, _, Err(_)) => {}
        }
    }

    /// Adds what an arbiter says. Without an escrow there is nothing to rule about.
    fn add_ruled(&mut self, seat: Seat, body: Body, bid: &Bid, escrow: &impl Deref<Target = Option<Escrow>>) {
        match body {
            Body::Ruling(ruling) if ruling.trade == bid.trade => {
                let is_known = |(by, known): &(Seat, Ruling)| *by == seat && known.vaults == ruling.vaults;
                let is_good = || escrow.as_ref().is_some_and(|escrow| escrow.check_ruling(seat, &ruling).is_ok());
                if !self.rulings.iter().any(is_known) && is_good() {
                    self.rulings.push((seat, ruling));
                }
            }
            Body::Extend(extend) if extend.trade == bid.trade => {
                let is_known = |(by, known): &(Seat, Extend)| *by == seat && known.vaults == extend.vaults;
                let is_good = || escrow.as_ref().is_some_and(|escrow| escrow.check_extend(seat, &extend).is_ok());
                if !self.extensions.iter().any(is_known) && is_good() {
                    self.extensions.push((seat, extend));
                }
            }
            Body::Heartbeat
            | Body::ArbiterAdvert(_)
            | Body::GroupAdvert(_)
            | Body::GroupStep(_)
            | Body::Stake(_)
            | Body::Checkpoint(_)
            | Body::Offer(_)
            | Body::Revoke(_)
            | Body::Take(_)
            | Body::Accept(_)
            | Body::Cancel(_)
            | Body::Funded(_)
            | Body::PaymentSent(_)
            | Body::Release(_)
            | Body::Closed(_)
            | Body::Dispute(_)
            | Body::Ruling(_)
            | Body::Extend(_)
            | Body::Unknown(_) => {}
        }
    }

    /// Adds one fact, said in the log in which its author entered the trade or in another. This is where roles are enforced: a
    /// pair of role and body that is not listed changes nothing.
    fn add(&mut self, role: Role, body: Body, is_home: bool, bid: &Bid, escrow: &impl Deref<Target = Option<Escrow>>) {
        match (role, body) {
            (Role::Buyer, Body::Dispute(dispute)) if dispute.trade == bid.trade => self.buyer_dispute = true,
            (Role::Seller, Body::Dispute(dispute)) if dispute.trade == bid.trade => self.seller_dispute = true,
            (Role::Buyer, Body::Cancel(cancel)) if cancel.trade == bid.trade => {
                self.buyer_cancel = true;
                if let Some(half) = cancel.refund {
                    add_half(&mut self.refunds, half, escrow, Role::Seller);
                }
            }
            (Role::Seller, Body::Cancel(cancel)) if cancel.trade == bid.trade => self.seller_cancel = true,
            (Role::Seller, Body::Funded(funded)) if funded.trade == bid.trade => {
                self.funded.get_or_insert(funded.outpoint.0);
                if is_home {
                    self.funded_at_home.get_or_insert(funded.outpoint.0);
                }
            }
            (Role::Buyer, Body::Funded(funded)) if funded.trade == bid.trade && bid.is_funded_by_both() => {
                if self.buyer_funded.len() < MAX_NAMED && !self.buyer_funded.contains(&funded.outpoint.0) {
                    self.buyer_funded.push(funded.outpoint.0);
                }
            }
            (Role::Buyer, Body::PaymentSent(sent)) if sent.trade == bid.trade => self.payment_sent = true,
            (Role::Seller, Body::Release(release)) if release.trade == bid.trade => {
                add_half(&mut self.releases, release.payout, escrow, Role::Buyer);
            }
            (Role::Buyer, Body::Closed(closed)) if closed.trade == bid.trade => {
                self.buyer_closed.get_or_insert(closed.spend.0);
            }
            (Role::Seller, Body::Closed(closed)) if closed.trade == bid.trade => {
                self.seller_closed.get_or_insert(closed.spend.0);
            }
            (
                Role::Buyer | Role::Seller | Role::Arbiter,
                Body::Heartbeat
                | Body::ArbiterAdvert(_)
                | Body::GroupAdvert(_)
                | Body::GroupStep(_)
                | Body::Stake(_)
                | Body::Checkpoint(_)
                | Body::Offer(_)
                | Body::Revoke(_)
                | Body::Take(_)
                | Body::Accept(_)
                | Body::Cancel(_)
                | Body::Funded(_)
                | Body::PaymentSent(_)
                | Body::Release(_)
                | Body::Closed(_)
                | Body::Dispute(_)
                | Body::Ruling(_)
                | Body::Extend(_)
                | Body::Unknown(_),
            ) => {}
        }
    }

    /// Returns the escrow's outpoints as those name them whose coins are in it: a buyer with a bond before the seller.
    pub fn named(&self) -> impl Iterator<Item = (Role, OutPoint)> {
        let buyers = self.buyer_funded.iter().map(|outpoint| (Role::Buyer, *outpoint));
        buyers.chain(self.funded.map(|outpoint| (Role::Seller, outpoint)))
    }

    /// Returns the outputs of which anybody says something, each once: first those that are named; then those whose spend a party
    /// says that it saw in a block; then those for which something is signed, everybody's first before anybody's second. So
    /// nobody hides what others signed for, or what came of his own words, behind what he makes up.
    pub fn outputs(&self, escrow: &Escrow) -> Vec<OutPoint> {
        let of_halves = |halves: &[HalfSpend]| halves.iter().map(|half| half.vaults.outpoint()).collect::<Vec<_>>();
        let by = |seat: Seat| {
            let rulings = self.rulings.iter().filter(|(by, _)| *by == seat).map(|(_, ruling)| &ruling.vaults);
            let extensions = self.extensions.iter().filter(|(by, _)| *by == seat).map(|(_, extend)| &extend.vaults);
            rulings.chain(extensions).map(Vaults::outpoint).collect::<Vec<_>>()
        };
        let signed = [of_halves(&self.releases), of_halves(&self.refunds), by(Seat::First), by(Seat::Second)];
        let owned = signed.into_iter().enumerate();
        let owned = owned.flat_map(|(who, theirs)| theirs.into_iter().map(move |outpoint| (who, outpoint)));
        let signed = in_turn(owned, |(who, _)| *who).into_iter().map(|(_, outpoint)| outpoint);
        let mut known = HashSet::new();
        let named = self.named().map(|(_, outpoint)| outpoint).chain(self.funded_at_home);
        let all = named.chain(self.ended(escrow)).chain(signed);
        all.filter(|outpoint| known.insert(*outpoint)).collect()
    }

    /// Returns the outputs that were spent by what a party says that it saw confirmed, as far as somebody signed that spend: two at
    /// most. A payout by the key of both is told at the feerate of its release, at which programs ask for it.
    fn ended(&self, escrow: &Escrow) -> Vec<OutPoint> {
        let said = [self.buyer_closed, self.seller_closed];
        if said == [None; 2] {
            return Vec::new(); // what follows hashes two transactions for each half
        }
        let is_said =
            |draft: Result<Draft, EscrowError>| draft.is_ok_and(|draft| said.contains(&Some(draft.tx.compute_txid())));
        let payouts = self.releases.iter().filter(|half| {
            let by_key = escrow.key_fee(half).and_then(|fee| escrow.key_payout(&half.vaults, fee));
            is_said(escrow.spend(&half.vaults, half.fee, Role::Buyer)) || is_said(by_key)
        });
        let refunds = self.refunds.iter().filter(|half| is_said(escrow.spend(&half.vaults, half.fee, Role::Seller)));
        let rulings = self
            .rulings
            .iter()
            .filter(|(seat, ruling)| is_said(escrow.ruling(*seat, &ruling.vaults, ruling.to_buyer, ruling.to_seller)));
        let halves = payouts.chain(refunds).map(|half| &half.vaults);
        halves.chain(rulings.map(|(_, ruling)| &ruling.vaults)).map(Vaults::outpoint).collect()
    }

    /// Tells whether either side called for the arbiter.
    pub const fn disputed(&self) -> bool {
        self.buyer_dispute || self.seller_dispute
    }

    /// Tells whether either side called it off.
    pub const fn cancelled(&self) -> bool {
        self.buyer_cancel || self.seller_cancel
    }
}

/// Returns records that are not kept, in the order in which they count.
fn own_order<'a>(bid: &Bid, kept: &[Record], records: &'a [Record]) -> Vec<&'a Record> {
    let mut order: Vec<&Record> = records.iter().collect();
    // The log in which somebody entered the trade comes first: another, which claims to be older, must not precede it.
    let is_elsewhere = |record: &Record| !bid.home_logs().contains(&record.header().log);
    order.sort_by_key(|record| (record.author(), is_elsewhere(record), record.place()));
    order.dedup_by_key(|record| record.id());
    order.retain(|record| kept.iter().all(|first| first.id() != record.id()));
    order
}

fn add_half(halves: &mut Vec<HalfSpend>, half: HalfSpend, escrow: &impl Deref<Target = Option<Escrow>>, to: Role) {
    let is_good = || escrow.as_ref().is_some_and(|escrow| escrow.check_half(&half, to).is_ok());
    if !halves.contains(&half) && is_good() {
        halves.push(half);
    }
}

/// Returns the half in a record of the party whose it is to sign, and whom it pays.
pub(super) fn half_in(record: &Record, bid: &Bid) -> Option<(Role, HalfSpend)> {
    match (bid.role_of(&record.author())?, Body::decode(record).ok()?) {
        (Role::Seller, Body::Release(release)) if release.trade == bid.trade => Some((Role::Buyer, release.payout)),
        (Role::Buyer, Body::Cancel(cancel)) if cancel.trade == bid.trade => Some((Role::Seller, cancel.refund?)),
        (Role::Buyer | Role::Seller | Role::Arbiter, _) => None,
    }
}

/// What somebody signs about outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    /// His half of a spend to this party.
    Half(Role),
    /// A ruling of this arbiter.
    Ruling(Seat),
    /// An extension of this arbiter.
    Extension(Seat),
}

/// Tells whether one more that is signed is to be kept: of each kind one for each outputs that a block shows, whatever else was
/// signed first, and some for others, which a block may show later. What blocks show has cost coins, so of that nobody makes up
/// many.
fn has_room(kept: &[(Signed, Vaults)], new: &(Signed, Vaults), fundings: &[Funding]) -> bool {
    let is_shown = |about: &Vaults| fundings.iter().any(|funding| funding.shows(about));
    let (kind, about) = new;
    if is_shown(about) {
        return !kept.contains(new);
    }
    let limit = match kind {
        Signed::Half(_) => MAX_HALVES,
        Signed::Ruling(_) | Signed::Extension(_) => MAX_RULED,
    };
    kept.iter().filter(|(other, about)| other == kind && !is_shown(about)).count() < limit
}

#[cfg(test)]
mod tests;
