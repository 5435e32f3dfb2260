//! What is known of a trade: the facts that its parties signed, and what the chain shows. Both are sets; neither
//! remembers the order in which anything arrived.

use std::collections::HashSet;
use std::ops::Deref;

use bitcoin::{OutPoint, Txid};

use crate::body::{Body, Extend, HalfSpend, Ruling, Vaults};
use crate::ids::AuthorId;
use crate::record::Record;
use crate::rules::{DISPUTE_MARGIN, LAST_PAYMENT_MARGIN, MAX_EXTENSIONS};
use crate::trade::{
    Bid, ChainFacts, Contract, Draft, Escrow, EscrowError, Funding, Role, Seat, Spend, SpendPath, Stray,
};
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

/// Everything that decides where a trade stands.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The contract, once accepted.
    pub contract: Option<Contract>,
    /// What the parties signed.
    pub facts: Facts,
    /// What the chain shows.
    pub chain: ChainFacts,
}

impl View {
    /// Returns what the chain shows.
    pub const fn chain(&self) -> &ChainFacts {
        &self.chain
    }

    /// Returns the outputs that count as the funding, if somebody funded the escrow more than once: of those buried the one
    /// that holds the buyer's bond, as he says; one that something was done with, what concerns the buyer's coins first; or the
    /// one that the seller names; else the one confirmed first, else any in the pool (the lowest outpoint). So no later output,
    /// and no name that a seller gives to one, takes back what was signed for another, nor leads an arbiter away from where the
    /// buyer looks. Nor does the trade end by what he takes back after its delay, while another output holds as much. Where an
    /// extension is buried, the outputs that it made count for those that it spent.
    pub fn funding(&self) -> Option<&Funding> {
        self.contract.as_ref()?; // without a contract there is no escrow to fund
        let current = self.chain.fundings.iter().filter(|funding| self.is_current(funding));
        current.min_by_key(|funding| {
            let root = self.chain.root_of(funding);
            (self.standing(funding), root.height.unwrap_or(u32::MAX), root.outpoint())
        })
    }

    /// Tells whether outputs are the last of their extensions: an extension counts once it is buried.
    fn is_current(&self, funding: &Funding) -> bool {
        let is_followed = |next: &Funding| next.extends == Some(funding.outpoint()) && self.is_buried(next.height);
        let counts = funding.extends.is_none() || self.is_buried(funding.height);
        counts && !self.chain.fundings.iter().any(is_followed)
    }

    /// Tells whether outputs lie below the height that the acceptance states. Unless a reorg put them there, only its maker can
    /// have paid them, before anybody else knew the escrow.
    fn is_early(&self, funding: &Funding) -> bool {
        let from = self.contract.as_ref().map(|contract| contract.height);
        self.chain.root_of(funding).height.zip(from).is_some_and(|(height, from)| height < from)
    }

    /// Tells whether others may come to look at other outputs than this side does: what counts was paid before it was agreed on,
    /// or blocks show another payment into the escrow that is no younger, so that the second arbiter's turn comes there no later.
    /// One that is younger raises no doubt, or its seller could raise one whenever he likes.
    pub fn is_doubtful(&self) -> bool {
        let Some(root) = self.funding().map(|funding| self.chain.root_of(funding)) else { return false };
        let is_another = |other: &&Funding| other.extends.is_none() && other.outpoint() != root.outpoint();
        let mut others = self.chain.fundings.iter().filter(is_another).filter_map(|other| other.height);
        others.any(|height| root.height.is_none_or(|at| height <= at)) || self.is_early(root)
    }

    /// Tells whether no name can lead others from these outputs to others that nothing was signed for: their seller has named them
    /// where he names no others before; or a buyer with a bond has, where arbiters look whatever the seller says.
    pub fn is_named(&self) -> bool {
        let Some(root) = self.funding().map(|funding| self.chain.root_of(funding).outpoint()) else { return false };
        let Facts { funded, funded_at_home, buyer_funded, .. } = &self.facts;
        [funded, funded_at_home].into_iter().all(|named| *named == Some(root)) || buyer_funded.contains(&root)
    }

    /// Returns how much speaks for outputs; less is more.
    fn standing(&self, funding: &Funding) -> u8 {
        let outpoint = funding.outpoint();
        let is_bonded = self.facts.buyer_funded.contains(&self.chain.root_of(funding).outpoint());
        // What names another value, or leaves out a bond that is there, is good by itself, and nothing comes of it: so it would
        // lead everybody to where nobody can act.
        let held = self.held(funding);
        let is_of = |vaults: &Vaults| *vaults == funding.vaults || *vaults == held;
        let spends = self.chain.spends.iter().filter(|spend| spend.spends(&outpoint));
        // What the seller takes back by his own leaf asks nobody: it speaks for no output, and in a block against it.
        let (own, signed): (Vec<&Spend>, Vec<&Spend>) = spends.partition(|spend| spend.path == SpendPath::Timeout);
        let (payouts, others): (Vec<_>, Vec<_>) = signed.into_iter().partition(|spend| spend.path.is_payout());
        let is_buried = |spend: &&Spend| self.is_buried(spend.height);
        let is_taken_back = own.iter().any(|spend| spend.height.is_some());
        let released = !payouts.is_empty() || self.facts.releases.iter().any(|half| is_of(&half.vaults));
        let is_turn = |seat: &Seat| self.is_turn(*seat, funding);
        let is_signed = || {
            let refunds = self.facts.refunds.iter().map(|half| &half.vaults);
            let rulings = self.facts.rulings.iter().filter(|(seat, _)| is_turn(seat));
            let extensions = self.facts.extensions.iter().filter(|(seat, _)| is_turn(seat));
            let ruled = rulings.map(|(_, ruling)| &ruling.vaults);
            refunds.chain(ruled).chain(extensions.map(|(_, extend)| &extend.vaults)).any(is_of)
        };
        if !self.is_buried(funding.height) {
            8
        } else if payouts.iter().any(is_buried) {
            0
        } else if is_bonded {
            1 // his own bond is there, whatever the seller took back
        } else if is_taken_back || self.is_early(funding) {
            7
        } else if released && others.iter().all(|spend| spend.height.is_none()) {
            2
        } else if others.iter().any(is_buried) {
            3
        } else if !others.is_empty() || released || funding.extends.is_some() || is_signed() {
            4
        } else if self.facts.funded == Some(outpoint) {
            5
        } else {
            6
        }
    }

    /// Returns what holds the coins now: the funding's outputs, without the buyer's bond once a block shows that he took it
    /// back.
    pub fn vaults(&self) -> Option<Vaults> {
        self.funding().map(|funding| self.held(funding))
    }

    /// Returns what of outputs holds coins now.
    fn held(&self, funding: &Funding) -> Vaults {
        let alone = |spend: &&Spend| spend.height.is_some() && !spend.spends(&funding.outpoint());
        let bond = funding
            .vaults
            .bond
            .filter(|bond| !self.chain.spends.iter().filter(alone).any(|spend| spend.spends(&bond.outpoint.0)));
        Vaults { bond, ..funding.vaults }
    }

    /// Returns the transaction that spends the escrow's output: the confirmed one, else one in the pool.
    pub fn spend(&self) -> Option<&Spend> {
        self.spend_of(&self.funding()?.outpoint())
    }

    /// Returns the transaction that spends an output: the confirmed one, else one in the pool.
    pub fn spend_of(&self, outpoint: &OutPoint) -> Option<&Spend> {
        let spends = || self.chain.spends.iter().filter(move |spend| spend.spends(outpoint));
        spends().find(|spend| spend.height.is_some()).or_else(|| spends().min_by_key(|spend| spend.tx.compute_txid()))
    }

    /// Returns how many confirmations something at `height` has.
    pub fn depth(&self, height: Option<u32>) -> u32 {
        height.map_or(0, |height| self.chain.tip.saturating_add(1).saturating_sub(height))
    }

    /// Tells whether something at `height` is as deep as the contract asks.
    pub fn is_buried(&self, height: Option<u32>) -> bool {
        self.contract.as_ref().is_some_and(|contract| self.depth(height) >= contract.confirmations)
    }

    /// Returns the seller's half of a payout of the escrow as funded.
    pub fn valid_release(&self) -> Option<&HalfSpend> {
        let vaults = self.vaults()?;
        self.facts.releases.iter().find(|half| half.vaults == vaults)
    }

    /// Returns the buyer's half of a refund of the escrow as funded.
    pub fn valid_refund(&self) -> Option<&HalfSpend> {
        let vaults = self.vaults()?;
        self.facts.refunds.iter().find(|half| half.vaults == vaults)
    }

    /// Returns the ruling about the escrow as funded: the first arbiter's, or else the second's, once it is his turn.
    pub fn ruling(&self) -> Option<&(Seat, Ruling)> {
        let (funding, vaults) = (self.funding()?, self.vaults()?);
        let about = self.facts.rulings.iter().filter(|(_, ruling)| ruling.vaults == vaults);
        about.filter(|(seat, _)| self.is_turn(*seat, funding)).min_by_key(|(seat, _)| *seat)
    }

    /// Returns the extension of the escrow as funded, while more of them are allowed; whose, as of rulings.
    pub fn extension(&self) -> Option<&(Seat, Extend)> {
        let (funding, vaults) = (self.funding()?, self.vaults()?);
        let about = self.facts.extensions.iter().filter(|(_, extend)| extend.vaults == vaults);
        let counts = about.filter(|(seat, _)| self.is_turn(*seat, funding) && self.extensions() < MAX_EXTENSIONS);
        counts.min_by_key(|(seat, _)| *seat)
    }

    /// Tells whether what an arbiter signed about outputs counts: the second's does when the first has had his time, however
    /// early it was signed. The first decides alone until then, and nobody takes that from him by signing sooner.
    fn is_turn(&self, seat: Seat, funding: &Funding) -> bool {
        let opens = |contract: &Contract| opens_after(funding.height, contract.delay_of(seat));
        match seat {
            Seat::First => true,
            Seat::Second => self.contract.as_ref().and_then(opens).is_some_and(|from| self.chain.tip >= from),
        }
    }

    /// Returns how often the coins were moved into the escrow again.
    pub fn extensions(&self) -> usize {
        self.funding().map_or(0, |funding| self.chain.lineage(funding).count().saturating_sub(1))
    }

    /// Tells whether an arbiter is to decide: a party called for him, the coins were moved for it before, or the payment
    /// was made so long ago that little time remains.
    pub fn is_disputed(&self) -> bool {
        let is_late = || self.dispute_from().is_some_and(|from| self.chain.tip >= from);
        self.facts.disputed() || self.extensions() > 0 || (self.facts.payment_sent && is_late())
    }

    /// Returns the tip height from which a trade that was marked as paid is disputed by itself.
    pub fn dispute_from(&self) -> Option<u32> {
        let delay = self.contract.as_ref()?.refund_delay.checked_sub(DISPUTE_MARGIN)?;
        self.funding()?.height?.checked_add(u32::from(delay))
    }

    /// Returns the tip height from which what an arbiter signed can enter a block (BIP-68).
    pub fn ruling_from(&self, seat: Seat) -> Option<u32> {
        opens_after(self.funding()?.height, self.contract.as_ref()?.delay_of(seat))
    }

    /// Returns the last height at which the buyer may pay; `None` before the funding is confirmed.
    pub fn pay_until(&self) -> Option<u32> {
        let contract = self.contract.as_ref()?;
        let margin = u32::from(contract.refund_delay.checked_sub(LAST_PAYMENT_MARGIN)?);
        self.funding()?.height?.checked_add(margin)
    }

    /// Returns the tip height from which a transaction that takes the coins back can enter a block; `None` before the
    /// funding is confirmed.
    pub fn refund_from(&self) -> Option<u32> {
        opens_after(self.funding()?.height, self.contract.as_ref()?.refund_delay)
    }

    /// Returns the same of a stray.
    pub fn stray_from(&self, stray: &Stray) -> Option<u32> {
        opens_after(Some(stray.height), self.contract.as_ref()?.refund_delay)
    }
}

/// Returns the tip height from which a spend of outputs at `height` with this delay can enter a block (BIP-68: they must have as
/// many confirmations, the block being made not counted); `None` before they are confirmed.
fn opens_after(height: Option<u32>, delay: u16) -> Option<u32> {
    height?.checked_add(u32::from(delay))?.checked_sub(1)
}

#[cfg(test)]
mod tests;
