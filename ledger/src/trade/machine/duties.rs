//! What a side owes a trade, whatever was done before.

use bitcoin::Transaction;

use super::{Effect, Trade, decode};
use crate::body::{Body, Closed, Dispute, Funded, HalfSpend};
use crate::money::Sats;
use crate::rules::{CLOSED_DEPTH, MAX_SHARED_FEERATE};
use crate::trade::{Funding, Phase, Role, Spend, SpendPath};
use crate::wire::{Outpoint, TxId};

/// How long after the height at which a dispute opens by itself what nobody asks for is said at the latest, in blocks: a day of
/// the week that is left to rule.
pub(super) const SAID_AFTER: u32 = 144;

impl Trade {
    /// Returns everything that this side owes the trade now.
    pub(super) fn duties(&self) -> Vec<Effect> {
        let phase = self.phase();
        let mut duties = Vec::new();
        duties.extend(self.escrow.as_ref().map(|escrow| Effect::Watch { scripts: escrow.scripts() }));
        if phase == Phase::Bid && self.maker && self.bid.offer.automatic && !self.view.facts.cancelled() {
            duties.push(Effect::Accept);
        }
        duties.extend(self.joint_duties());
        match self.role {
            Role::Buyer => self.buyer_duties(phase, &mut duties),
            Role::Seller => self.seller_duties(phase, &mut duties),
            Role::Arbiter => return duties,
        }
        // Evicted from the pool or not; and when the trade is long over.
        duties.extend(self.kept_stray().map(|(tx, _)| Effect::Broadcast(tx)));
        self.dispute_duties(phase, &mut duties);
        self.publish_closed(phase, &mut duties);
        // Last: what concerns coins does not wait for a message.
        let agreed = self.view.contract.is_some() && !phase.is_final();
        if agreed && self.local.details.is_some() {
            duties.push(Effect::SendDetails);
        }
        duties
    }

    fn buyer_duties(&self, phase: Phase, duties: &mut Vec<Effect>) {
        duties.extend(self.payout_duty(phase));
        // Called off, and funded all the same: the coins go back without anybody being asked again.
        let owes_refund = self.view.facts.buyer_cancel && !self.view.facts.payment_sent;
        if phase == Phase::Funded && owes_refund && self.may_speak() {
            duties.extend(self.sign_half(Role::Seller, 1));
        }
        if let (Some(tx), Some((_, coin))) = (self.kept(SpendPath::Timeout), self.own_coin())
            && tx.input.iter().any(|input| input.previous_output == coin.outpoint.0)
            && !self.needs_bond()
        {
            duties.push(Effect::Broadcast(tx)); // one's own bond after the delay, evicted from the pool
        }
    }

    fn seller_duties(&self, phase: Phase, duties: &mut Vec<Effect>) {
        let funding = self.view.funding();
        let unconfirmed = funding.is_none_or(|funding| funding.height.is_none());
        // Called off before it was sent: then it is not sent. Once buried, and named for it, it is owed, even when a reorg takes
        // it back. What the buyer says makes nothing owed: he may say that he paid for what he made vanish.
        let is_owed = |tx: &Transaction| self.view.facts.funded.is_some_and(|named| named.txid == tx.compute_txid());
        let is_wanted = |tx: &Transaction| is_owed(tx) || matches!(phase, Phase::Agreed | Phase::Funding);
        let kept = decode(self.local.funding_tx.as_deref()).filter(|_| unconfirmed && self.view.chain.synced);
        duties.extend(kept.filter(is_wanted).map(Effect::Broadcast));
        if let (Some(funding), None) = (funding.filter(|f| self.view.is_buried(f.height)), self.view.facts.funded) {
            let outpoint = Outpoint(self.view.chain.root_of(funding).outpoint());
            duties.push(Effect::Publish(Body::Funded(Funded { trade: self.bid.trade, outpoint })));
        }
        if phase == Phase::Refunding && self.is_unspent() {
            let kept = self.kept(SpendPath::Refund).or_else(|| self.kept(SpendPath::Timeout));
            match (kept, self.view.valid_refund()) {
                (Some(tx), _) => duties.push(Effect::Broadcast(tx)),
                (None, Some(half)) => duties.push(Effect::Complete { half: half.clone(), to: Role::Seller }),
                (None, None) => {}
            }
        } else if let (Phase::Funded | Phase::Paid | Phase::Disputed | Phase::Ruled, Some(tx)) =
            (phase, self.kept(SpendPath::Timeout))
        {
            duties.push(Effect::Broadcast(tx)); // one's own refund after the delay, evicted from the pool
        }
    }

    /// What a party owes a dispute: to say that it opened by itself, to complete what an arbiter signed once its delay is
    /// over, the buyer also while the seller takes the coins back already, and to sign again, for the outputs of an extension, what
    /// it had signed for those before. A buyer who could take his bond back alone completes nothing that gives him no more.
    fn dispute_duties(&self, phase: Phase, duties: &mut Vec<Effect>) {
        let is_ruled = phase == Phase::Ruled || (phase == Phase::Refunding && self.is_outrun());
        if !(is_ruled || phase == Phase::Disputed) || !self.view.chain.synced || !self.is_unspent() {
            return;
        }
        if !self.view.facts.disputed() && self.may_speak() {
            duties.push(Effect::Publish(Body::Dispute(Dispute { trade: self.bid.trade })));
        }
        let (signed, to) = match self.role {
            Role::Seller => (&self.view.facts.releases, Role::Buyer),
            Role::Buyer | Role::Arbiter => (&self.view.facts.refunds, Role::Seller),
        };
        // Before all else: who signed the coins away takes no ruling about them.
        if let Some(again) = self.sign_again(signed, to) {
            duties.extend(self.may_speak().then_some(again));
            return;
        }
        // Nor is a part taken of what a party signed over whole, whatever waits in the pool.
        let is_agreed = self.view.valid_release().is_some() || self.view.valid_refund().is_some();
        let tip = self.view.chain.tip;
        let is_open = |seat| self.view.ruling_from(seat).is_some_and(|from| tip >= from);
        if let (true, Some((seat, ruling))) = (is_ruled, self.view.ruling()) {
            let (gets, least) = match self.role {
                Role::Buyer => (ruling.to_buyer, self.free_bond()),
                Role::Seller | Role::Arbiter => (ruling.to_seller, Sats::ZERO),
            };
            if is_open(*seat) && gets > least && !is_agreed {
                // The second arbiter may have ruled before the first, and this side completed that.
                let prescribed = self.escrow.as_ref().and_then(|escrow| {
                    let draft = escrow.ruling(*seat, &ruling.vaults, ruling.to_buyer, ruling.to_seller);
                    Some(draft.ok()?.tx.compute_txid())
                });
                let kept = self.kept(SpendPath::Ruling).filter(|tx| Some(tx.compute_txid()) == prescribed);
                duties.push(match kept {
                    Some(tx) => Effect::Broadcast(tx),
                    None => Effect::CompleteRuling { seat: *seat, ruling: ruling.clone() },
                });
            }
        }
        if let (Phase::Disputed, Some((seat, extend))) = (phase, self.view.extension())
            && is_open(*seat)
        {
            duties.push(match self.kept(SpendPath::Extension) {
                Some(tx) => Effect::Broadcast(tx),
                None => Effect::CompleteExtension { seat: *seat, extend: extend.clone() },
            });
        }
    }

    /// Tells whether an arbiter gave this buyer something that he has not taken yet, and the seller already takes the coins back by
    /// his own leaf: as long as no block holds that, what pays more is first. What is left of a bond is no such thing: with the
    /// seller's coins gone all of the bond is the buyer's.
    pub fn is_outrun(&self) -> bool {
        let is_due = self.role == Role::Buyer && self.phase() == Phase::Refunding && self.is_unspent();
        is_due && self.gave_buyer_more_than(self.held_bond().unwrap_or(Sats::ZERO))
    }

    /// Tells whether what pays this buyer takes his bond along, and is worth more than that: a payout that is due to him, or what an
    /// arbiter gave him. As long as no block spends the escrow's output that can be first. The bond taken back alone would make it
    /// impossible, and leave the coins to the seller's own leaf, which opens at the same height.
    pub fn needs_bond(&self) -> bool {
        let is_open = self.role == Role::Buyer && self.is_unspent();
        let bond = self.held_bond().filter(|_| is_open);
        bond.is_some_and(|bond| self.is_payout_due() || self.gave_buyer_more_than(bond))
    }

    /// Returns what the buyer's bond holds, while it lies there.
    fn held_bond(&self) -> Option<Sats> {
        self.view.vaults()?.bond.map(|bond| bond.value)
    }

    /// Returns what this buyer can take back alone, be it that he does not: nothing before his delay is over.
    fn free_bond(&self) -> Sats {
        let is_free = self.view.refund_from().is_some_and(|from| self.view.chain.tip >= from);
        self.held_bond().filter(|_| is_free).unwrap_or(Sats::ZERO)
    }

    /// Tells whether an arbiter gave the buyer more than this, and it may be taken: not of what a party signed over, nor where the
    /// pool shows a refund, which both signed.
    fn gave_buyer_more_than(&self, least: Sats) -> bool {
        let view = &self.view;
        let gives_him = || view.ruling().is_some_and(|(_, ruling)| ruling.to_buyer > least);
        let is_agreed = || {
            let coin = view.funding().map(Funding::outpoint);
            let takes_it = |spend: &&Spend| coin.is_some_and(|coin| spend.spends(&coin));
            let is_refund = view.chain.spends.iter().filter(takes_it).any(|spend| spend.path == SpendPath::Refund);
            is_refund || view.valid_release().is_some() || view.valid_refund().is_some()
        };
        view.is_disputed() && gives_him() && !is_agreed()
    }

    /// Tells whether this side says what nobody asks it for: as a deadline acts, once nothing that was said while this node was
    /// away is unheard, be it by its user on another machine. Said before, it would open a new log, and neither an offer nor
    /// the name of coins counts outside of the old one. But no dispute is lost to peers who never let the ledgers be compared.
    pub(super) fn may_speak(&self) -> bool {
        let last = self.view.dispute_from().and_then(|from| from.checked_add(SAID_AFTER));
        self.lets_deadlines_act() || last.is_some_and(|last| self.view.chain.tip >= last)
    }

    /// Tells whether deadlines need not wait any longer for what others said while this node was away.
    pub(super) const fn lets_deadlines_act(&self) -> bool {
        self.compared || self.alone
    }

    /// Asks for a half once more whose outputs an extension replaced, unless that was done.
    fn sign_again(&self, signed: &[HalfSpend], to: Role) -> Option<Effect> {
        let (funding, vaults) = (self.view.funding()?, self.view.vaults()?);
        if signed.iter().any(|half| half.vaults == vaults) {
            return None;
        }
        let before: Vec<_> = self.view.chain.lineage(funding).skip(1).map(|earlier| earlier.vaults).collect();
        let half = signed.iter().find(|half| before.contains(&half.vaults))?;
        // Without a bond that left alone it is smaller, and its fee must be within bounds still.
        let highest = self.escrow.as_ref()?.fee_at(&vaults, to, MAX_SHARED_FEERATE);
        let fee = highest.map_or(half.fee, |highest| half.fee.min(highest));
        Some(Effect::SignHalf { vaults, fee, to })
    }

    fn publish_closed(&self, phase: Phase, duties: &mut Vec<Effect>) {
        let mine = match self.role {
            Role::Buyer => self.view.facts.buyer_closed,
            Role::Seller => self.view.facts.seller_closed,
            Role::Arbiter => return,
        };
        let is_over = matches!(phase, Phase::Closed | Phase::Refunded | Phase::Settled);
        let spend = self.view.spend().filter(|spend| self.view.depth(spend.height) >= CLOSED_DEPTH);
        if let (true, Some(spend), None) = (is_over, spend, mine) {
            let closed = Closed { trade: self.bid.trade, spend: TxId(spend.tx.compute_txid()) };
            duties.push(Effect::Publish(Body::Closed(closed)));
        }
    }
}
