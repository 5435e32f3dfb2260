//! What is known of a trade: the facts that its parties signed, and what the chain shows. Both are sets; neither
//! remembers the order in which anything arrived.

use std::ops::Deref;

use bitcoin::{OutPoint, Transaction, Txid};

use crate::body::{Body, HalfSpend};
use crate::record::Record;
use crate::rules::LAST_PAYMENT_MARGIN;
use crate::trade::{Bid, Contract, Escrow, Role, SpendPath};

/// How many signed halves of one kind a trade keeps: a party signs again when the funding is reorganised away.
pub const MAX_HALVES: usize = 4;

/// What the parties signed. A fact by anyone but the party it belongs to is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Another bid won, the offer was withdrawn before this one was accepted, or a record on which the agreement rests
    /// stands at or after a fork in its author's log: whoever signs two histories loses the right to agree to anything.
    pub void: bool,
    /// The buyer called it off.
    pub buyer_cancel: bool,
    /// The seller called it off.
    pub seller_cancel: bool,
    /// The escrow's outpoint as the seller names it.
    pub funded: Option<OutPoint>,
    /// The buyer says that the payment is on its way.
    pub payment_sent: bool,
    /// The seller's halves of a payout, good signatures only, in the order of his log.
    pub releases: Vec<HalfSpend>,
    /// The buyer's halves of a refund, likewise.
    pub refunds: Vec<HalfSpend>,
    /// The spend that the buyer saw confirmed.
    pub buyer_closed: Option<Txid>,
    /// The spend that the seller saw confirmed.
    pub seller_closed: Option<Txid>,
}

impl Facts {
    /// Gathers the facts of a bid (and of its contract, once there is one) from all records about it, in any order.
    /// The escrow is made when it is first needed: its keys cost more than everything else here.
    pub fn gather(bid: &Bid, escrow: &impl Deref<Target = Option<Escrow>>, records: &[Record], void: bool) -> Self {
        let mut own_order: Vec<&Record> = records.iter().collect();
        // The log in which a party entered the trade comes first: another, which claims to be older, must not precede it.
        let is_elsewhere = |record: &Record| !bid.home_logs().contains(&record.header().log);
        own_order.sort_by_key(|record| (record.author(), is_elsewhere(record), record.place()));
        own_order.dedup_by_key(|record| record.id());
        let mut facts = Self { void, ..Self::default() };
        for record in own_order {
            if let (Some(role), Ok(body)) = (bid.role_of(&record.author()), Body::decode(record)) {
                facts.add(role, body, bid, escrow);
            }
        }
        facts
    }

    /// Adds one fact. This is where roles are enforced: a pair of role and body that is not listed changes nothing.
    fn add(&mut self, role: Role, body: Body, bid: &Bid, escrow: &impl Deref<Target = Option<Escrow>>) {
        match (role, body) {
            (Role::Buyer, Body::Cancel(cancel)) if cancel.trade == bid.trade => {
                self.buyer_cancel = true;
                if let Some(half) = cancel.refund {
                    keep_half(&mut self.refunds, half, escrow, Role::Seller);
                }
            }
            (Role::Seller, Body::Cancel(cancel)) if cancel.trade == bid.trade => self.seller_cancel = true,
            (Role::Seller, Body::Funded(funded)) if funded.trade == bid.trade => {
                self.funded.get_or_insert(funded.outpoint.0);
            }
            (Role::Buyer, Body::PaymentSent(sent)) if sent.trade == bid.trade => self.payment_sent = true,
            (Role::Seller, Body::Release(release)) if release.trade == bid.trade => {
                keep_half(&mut self.releases, release.payout, escrow, Role::Buyer);
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
                | Body::Unknown(_),
            ) => {}
        }
    }

    /// Tells whether either side called it off.
    pub const fn cancelled(&self) -> bool {
        self.buyer_cancel || self.seller_cancel
    }
}

fn keep_half(halves: &mut Vec<HalfSpend>, half: HalfSpend, escrow: &impl Deref<Target = Option<Escrow>>, to: Role) {
    if halves.len() < MAX_HALVES && escrow.as_ref().is_some_and(|escrow| escrow.check_half(&half, to).is_ok()) {
        halves.push(half);
    }
}

/// The output that funds an escrow, as the chain shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funding {
    /// The output.
    pub outpoint: OutPoint,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
}

/// The transaction that spends an escrow, as the chain shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// The transaction.
    pub tx: Transaction,
    /// Which way it sends the coins.
    pub path: SpendPath,
    /// The height that confirms it; `None` while in the pool.
    pub height: Option<u32>,
}

impl Spend {
    /// Tells whether it spends an output.
    fn spends(&self, outpoint: &OutPoint) -> bool {
        self.tx.input.iter().any(|input| input.previous_output == *outpoint)
    }
}

/// What the chain shows of a trade.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainFacts {
    /// The height of the tip.
    pub tip: u32,
    /// Whether the tip was reached by following the chain: before that, no deadline acts.
    pub synced: bool,
    /// The outputs that fund the escrow: its script with exactly its value. More than one only if somebody paid twice.
    pub fundings: Vec<Funding>,
    /// The transactions that spend them.
    pub spends: Vec<Spend>,
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

    /// Returns the output that counts as the funding, if somebody funded the escrow more than once: of those buried one that
    /// something was done with, what concerns the buyer's coins first, or the one that the seller names; else the one
    /// confirmed first, else any in the pool (the lowest outpoint). So no later output, and no name given to one, takes back
    /// what was signed for another.
    pub fn funding(&self) -> Option<&Funding> {
        self.contract.as_ref()?; // without a contract there is no escrow to fund
        self.chain
            .fundings
            .iter()
            .min_by_key(|funding| (self.standing(funding), funding.height.unwrap_or(u32::MAX), funding.outpoint))
    }

    /// Returns how much speaks for an output; less is more.
    fn standing(&self, funding: &Funding) -> u8 {
        let outpoint = funding.outpoint;
        let is_of = |half: &HalfSpend| half.outpoint.0 == outpoint;
        let spends = self.chain.spends.iter().filter(|spend| spend.spends(&outpoint));
        let (payouts, others): (Vec<&Spend>, Vec<&Spend>) = spends.partition(|spend| spend.path.is_payout());
        let is_buried = |spend: &&Spend| self.is_buried(spend.height);
        let released = !payouts.is_empty() || self.facts.releases.iter().any(is_of);
        if !self.is_buried(funding.height) {
            5
        } else if payouts.iter().any(is_buried) {
            0
        } else if released && others.iter().all(|spend| spend.height.is_none()) {
            1
        } else if others.iter().any(is_buried) {
            2
        } else if !others.is_empty() || released || self.facts.refunds.iter().any(is_of) {
            3
        } else if self.facts.funded == Some(outpoint) {
            4
        } else {
            5
        }
    }

    /// Returns the transaction that spends the funding: the confirmed one, else one in the pool.
    pub fn spend(&self) -> Option<&Spend> {
        let outpoint = self.funding()?.outpoint;
        let spends = || self.chain.spends.iter().filter(move |spend| spend.spends(&outpoint));
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
        let outpoint = self.funding()?.outpoint;
        self.facts.releases.iter().find(|half| half.outpoint.0 == outpoint)
    }

    /// Returns the buyer's half of a refund of the escrow as funded.
    pub fn valid_refund(&self) -> Option<&HalfSpend> {
        let outpoint = self.funding()?.outpoint;
        self.facts.refunds.iter().find(|half| half.outpoint.0 == outpoint)
    }

    /// Returns the last height at which the buyer may pay; `None` before the funding is confirmed.
    pub fn pay_until(&self) -> Option<u32> {
        let contract = self.contract.as_ref()?;
        let margin = u32::from(contract.refund_delay.checked_sub(LAST_PAYMENT_MARGIN)?);
        self.funding()?.height?.checked_add(margin)
    }

    /// Returns the tip height from which a transaction that takes the coins back can enter a block (BIP-68: the funding
    /// must have `refund_delay` confirmations, the block being made not counted); `None` before it is confirmed.
    pub fn refund_from(&self) -> Option<u32> {
        let contract = self.contract.as_ref()?;
        self.funding()?.height?.checked_add(u32::from(contract.refund_delay))?.checked_sub(1)
    }
}
