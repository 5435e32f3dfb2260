//! The machine that drives one trade for one of its parties. It never acts: events go in, effects come out.
//!
//! What the parties signed and what the chain shows is not kept here but handed in, whole, whenever it changes; what the
//! machine keeps is [`Local`], the little that exists nowhere else, and it asks to persist that before any effect that
//! depends on it. After each event it works out everything that is still to be done, so a lost effect is asked for
//! again, and every effect must be idempotent.

use bitcoin::{OutPoint, ScriptBuf, Transaction};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::body::{Body, Cancel, Closed, Funded, HalfSpend, PaymentSent};
use crate::ids::TradeId;
use crate::money::Sats;
use crate::trade::{
    Action, Bid, ChainFacts, Contract, Escrow, Facts, Phase, Role, View, actions, details_commitment, evaluate,
};
use crate::wire::{Outpoint, TxId};

/// What exists nowhere else than in this node's private store.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Local {
    /// One's own payment details and the salt of their commitment.
    pub details: Option<([u8; 32], String)>,
    /// The counterparty's payment details, after they were checked against the contract.
    pub their_details: Option<String>,
    /// The signed transaction that funds the escrow, in Bitcoin's encoding. Once there, no other is ever made.
    pub funding_tx: Option<Vec<u8>>,
    /// The signed transaction by which this side ends the escrow, in Bitcoin's encoding.
    pub spend_tx: Option<Vec<u8>>,
}

/// What happens to a trade.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "events are handed over one at a time and never kept")]
pub enum Event {
    /// The records of the trade changed, or it is looked at for the first time.
    Records {
        /// The contract, once accepted.
        contract: Option<Contract>,
        /// What the parties signed.
        facts: Facts,
    },
    /// The chain changed.
    Chain(ChainFacts),
    /// The user asks for something.
    Command(Command),
    /// One's own payment details are chosen, before the record that commits to them is published.
    Prepared {
        /// The salt of the commitment.
        salt: [u8; 32],
        /// The details.
        details: String,
    },
    /// The counterparty's payment details came in.
    Details {
        /// The salt.
        salt: [u8; 32],
        /// The details.
        details: String,
    },
    /// The transaction that [`Effect::BuildFunding`] asked for.
    FundingBuilt(Transaction),
    /// The transaction that [`Effect::Complete`] or [`Effect::BuildTimeout`] asked for.
    SpendBuilt(Transaction),
}

/// What the user asks for. Feerates are in sat/vB, as estimated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// What.
    pub action: Action,
    /// The feerate for a transaction that this makes.
    pub feerate: u64,
}

/// What the driver must do. Each is safe to do again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Keep this before anything that follows.
    Persist(Local),
    /// Watch the escrow's script from a height on.
    Watch {
        /// The script.
        script: ScriptBuf,
        /// The first height at which it can appear.
        from_height: u32,
    },
    /// Accept the bid: make the maker's keys and publish an acceptance.
    Accept,
    /// Publish a record.
    Publish(Body),
    /// Seal one's payment details to the counterparty and hand them to the mailbox.
    SendDetails,
    /// Build and sign, from the wallet, a transaction that pays exactly this output; answer by [`Event::FundingBuilt`].
    BuildFunding {
        /// The escrow's script.
        script: ScriptBuf,
        /// The escrow's value.
        amount: Sats,
        /// sat/vB.
        feerate: u64,
    },
    /// Sign one's half of the payout (seller) or refund (buyer) and publish it as `Release` or `Cancel`.
    SignHalf {
        /// The escrow.
        outpoint: OutPoint,
        /// Its fee.
        fee: Sats,
        /// Whom it pays.
        to: Role,
    },
    /// Complete the counterparty's half; answer by [`Event::SpendBuilt`].
    Complete {
        /// The half.
        half: HalfSpend,
        /// Whom it pays.
        to: Role,
    },
    /// Build the seller's own refund after the delay; answer by [`Event::SpendBuilt`].
    BuildTimeout {
        /// The escrow.
        outpoint: OutPoint,
        /// Its fee.
        fee: Sats,
    },
    /// Broadcast a transaction.
    Broadcast(Transaction),
}

/// Why a command is refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not in this phase, or not by this role.
    #[error("the {role} cannot {action} a trade that is {phase}")]
    NotAllowed {
        /// What was asked for.
        action: Action,
        /// By whom.
        role: Role,
        /// When.
        phase: Phase,
    },
    /// The chain has not been followed to its tip yet.
    #[error("the chain is not synchronised yet; try again when it is")]
    NotSynced,
    /// Too late to pay.
    #[error(
        "the last safe height to pay was {last}, the chain is at {tip}: the seller could take the coins back before your payment settles; do not pay, cancel instead"
    )]
    TooLateToPay {
        /// The last height.
        last: u32,
        /// The present one.
        tip: u32,
    },
    /// Too early to take the coins back.
    #[error("the refund opens at height {from}, the chain is at {tip}")]
    TooEarlyToRefund {
        /// The first height.
        from: u32,
        /// The present one.
        tip: u32,
    },
    /// The funding transaction exists already and waits for the chain.
    #[error("the escrow's funding is already on its way")]
    AlreadyFunding,
    /// The wallet built something else than was asked for.
    #[error("the transaction that was built does not fund the escrow with exactly its amount; nothing was sent")]
    WrongFunding,
    /// The payout or refund was signed already.
    #[error("this was already signed")]
    AlreadySigned,
    /// The counterparty's payment details have not arrived or do not match the contract.
    #[error("the payment details do not match what the contract commits to")]
    DetailsMismatch,
    /// The fee for a spend is out of bounds.
    #[error(transparent)]
    Escrow(#[from] crate::trade::EscrowError),
}

/// One trade, as one of its parties sees it.
#[derive(Debug, Clone)]
pub struct Trade {
    bid: Bid,
    role: Role,
    maker: bool,
    escrow: Option<Escrow>,
    view: View,
    local: Local,
}

impl Trade {
    /// Takes up a trade in a role, with what was persisted of it.
    pub fn new(bid: Bid, role: Role, maker: bool, local: Local) -> Self {
        Self { bid, role, maker, escrow: None, view: View::default(), local }
    }

    /// Returns its id.
    pub const fn id(&self) -> TradeId {
        self.bid.trade
    }

    /// Returns the bid.
    pub const fn bid(&self) -> &Bid {
        &self.bid
    }

    /// Returns the role of this side.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Tells whether this side made the offer.
    pub const fn is_maker(&self) -> bool {
        self.maker
    }

    /// Returns the escrow, once agreed.
    pub const fn escrow(&self) -> Option<&Escrow> {
        self.escrow.as_ref()
    }

    /// Returns what decides where the trade stands.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Returns what only this node knows.
    pub const fn local(&self) -> &Local {
        &self.local
    }

    /// Returns where the trade stands.
    pub fn phase(&self) -> Phase {
        evaluate(&self.view)
    }

    /// Returns what this side may do now; what [`Self::handle`] would refuse is left out.
    pub fn actions(&self) -> Vec<Action> {
        let phase = self.phase();
        let all = actions(phase, self.role, self.maker).iter().copied();
        all.filter(|action| self.check(*action, phase).is_ok()).collect()
    }

    /// Takes in an event and returns what is to be done, in order.
    ///
    /// # Errors
    /// Only for what the user asked for, for a funding that is not wanted (any more), and for payment details that are not
    /// what the contract commits to; nothing has changed then.
    pub fn handle(&mut self, event: Event) -> Result<Vec<Effect>, Refusal> {
        let mut effects = Vec::new();
        let local_before = self.local.clone();
        match event {
            Event::Records { contract, facts } => {
                if self.view.contract != contract {
                    if self.view.contract.is_some() {
                        // What the chain showed was of another escrow.
                        self.view.chain.fundings.clear();
                        self.view.chain.spends.clear();
                    }
                    self.escrow = contract.as_ref().map(Escrow::new);
                    self.view.contract = contract;
                }
                self.view.facts = facts;
            }
            Event::Chain(chain) => self.view.chain = self.concerned(chain),
            Event::Command(command) => effects.push(self.command(command)?),
            // Until the contract commits to them, the last choice counts.
            Event::Prepared { salt, details } if self.view.contract.is_none() => {
                self.local.details = Some((salt, details));
            }
            Event::Prepared { salt, details } => {
                self.local.details.get_or_insert((salt, details));
            }
            Event::Details { salt, details } => self.take_details(&salt, details)?,
            Event::FundingBuilt(tx) => self.take_funding(&tx)?,
            Event::SpendBuilt(tx) => self.local.spend_tx = Some(bitcoin::consensus::serialize(&tx)),
        }
        if self.local != local_before {
            effects.insert(0, Effect::Persist(self.local.clone()));
        }
        effects.extend(self.duties());
        Ok(effects)
    }

    /// Returns what of the chain concerns this side. A seller who has funded the escrow counts that and nothing else:
    /// whoever else pays it must not make him look after an output that is not his, and lose sight of his own.
    fn concerned(&self, mut chain: ChainFacts) -> ChainFacts {
        if let (Role::Seller, Some(tx)) = (self.role, decode(self.local.funding_tx.as_deref())) {
            let txid = tx.compute_txid();
            chain.fundings.retain(|funding| funding.outpoint.txid == txid);
        }
        chain
    }

    /// Returns everything that this side owes the trade now, whatever was done before.
    fn duties(&self) -> Vec<Effect> {
        let phase = self.phase();
        let mut duties = Vec::new();
        if let (Some(escrow), Some(contract)) = (&self.escrow, &self.view.contract) {
            duties.push(Effect::Watch { script: escrow.script(), from_height: contract.height });
        }
        if phase == Phase::Bid && self.maker && self.bid.offer.automatic && !self.view.facts.cancelled() {
            duties.push(Effect::Accept);
        }
        match self.role {
            Role::Buyer => self.buyer_duties(phase, &mut duties),
            Role::Seller => self.seller_duties(phase, &mut duties),
            Role::Arbiter => {}
        }
        self.publish_closed(phase, &mut duties);
        // Last: what concerns coins does not wait for a message.
        let agreed = self.view.contract.is_some() && !phase.is_final();
        if agreed && self.local.details.is_some() {
            duties.push(Effect::SendDetails);
        }
        duties
    }

    fn buyer_duties(&self, phase: Phase, duties: &mut Vec<Effect>) {
        // A release is the buyer's until a block says otherwise, whatever else is signed or seen in the pool meanwhile.
        let held = matches!(phase, Phase::Funded | Phase::Paid | Phase::Released | Phase::Refunding);
        if held && self.view.spend().is_none_or(|spend| spend.height.is_none()) {
            match (&self.spend_of_funding(), self.view.valid_release()) {
                (Some(tx), _) => duties.push(Effect::Broadcast(tx.clone())),
                (None, Some(half)) => duties.push(Effect::Complete { half: half.clone(), to: Role::Buyer }),
                (None, None) => {}
            }
        }
        // Called off, and funded all the same: the coins go back without anybody being asked again.
        let owes_refund = self.view.facts.buyer_cancel && !self.view.facts.payment_sent;
        if phase == Phase::Funded && owes_refund {
            duties.extend(self.sign_half(Role::Seller, 1));
        }
    }

    fn seller_duties(&self, phase: Phase, duties: &mut Vec<Effect>) {
        let funding = self.view.funding();
        let unconfirmed = funding.is_none_or(|funding| funding.height.is_none());
        // Called off before it was sent: then it is not sent. Once buried it is owed, even when a reorg takes it back.
        let owed = self.view.facts.funded.is_some() || self.view.facts.payment_sent;
        let wanted = owed || matches!(phase, Phase::Agreed | Phase::Funding);
        if let (Some(tx), true) =
            (decode(self.local.funding_tx.as_deref()), wanted && unconfirmed && self.view.chain.synced)
        {
            duties.push(Effect::Broadcast(tx));
        }
        if let (Some(funding), None) = (funding.filter(|f| self.view.is_buried(f.height)), self.view.facts.funded) {
            let funded = Funded { trade: self.bid.trade, outpoint: Outpoint(funding.outpoint) };
            duties.push(Effect::Publish(Body::Funded(funded)));
        }
        if phase == Phase::Refunding && self.view.spend().is_none_or(|spend| spend.height.is_none()) {
            match (&self.spend_of_funding(), self.view.valid_refund()) {
                (Some(tx), _) => duties.push(Effect::Broadcast(tx.clone())),
                (None, Some(half)) => duties.push(Effect::Complete { half: half.clone(), to: Role::Seller }),
                (None, None) => {}
            }
        } else if let (Phase::Funded | Phase::Paid, Some(tx)) = (phase, self.spend_of_funding()) {
            duties.push(Effect::Broadcast(tx)); // one's own refund after the delay, evicted from the pool
        }
    }

    fn publish_closed(&self, phase: Phase, duties: &mut Vec<Effect>) {
        let mine = match self.role {
            Role::Buyer => self.view.facts.buyer_closed,
            Role::Seller => self.view.facts.seller_closed,
            Role::Arbiter => return,
        };
        if let (Phase::Closed | Phase::Refunded, Some(spend), None) = (phase, self.view.spend(), mine) {
            let closed = Closed { trade: self.bid.trade, spend: TxId(spend.tx.compute_txid()) };
            duties.push(Effect::Publish(Body::Closed(closed)));
        }
    }

    /// Returns the transaction that this side made to end the escrow, if it spends the funding as it is now: after a
    /// reorg with another funding it is worth nothing and made anew.
    fn spend_of_funding(&self) -> Option<Transaction> {
        let outpoint = self.view.funding()?.outpoint;
        let tx = decode(self.local.spend_tx.as_deref())?;
        tx.input.iter().any(|input| input.previous_output == outpoint).then_some(tx)
    }

    fn take_funding(&mut self, tx: &Transaction) -> Result<(), Refusal> {
        if self.local.funding_tx.is_some() {
            return Err(Refusal::AlreadyFunding);
        }
        self.check(Action::Fund, self.phase())?; // it may have been called off while the wallet was at work
        if self.escrow.as_ref().is_none_or(|escrow| escrow.fundings(tx).len() != 1) {
            return Err(Refusal::WrongFunding);
        }
        self.local.funding_tx = Some(bitcoin::consensus::serialize(tx));
        let chain = std::mem::take(&mut self.view.chain);
        self.view.chain = self.concerned(chain);
        Ok(())
    }

    fn take_details(&mut self, salt: &[u8; 32], details: String) -> Result<(), Refusal> {
        let theirs = self.view.contract.as_ref().and_then(|c| c.party(crate::trade::counterparty(self.role)));
        if theirs.is_none_or(|party| party.details != details_commitment(salt, &details)) {
            return Err(Refusal::DetailsMismatch);
        }
        self.local.their_details = Some(details);
        Ok(())
    }

    /// Tells whether an action is possible now.
    fn check(&self, action: Action, phase: Phase) -> Result<(), Refusal> {
        if !actions(phase, self.role, self.maker).contains(&action) {
            return Err(Refusal::NotAllowed { action, role: self.role, phase });
        }
        let tip = self.view.chain.tip;
        match action {
            Action::Accept => Ok(()),
            Action::Fund | Action::Cancel if self.local.funding_tx.is_some() && phase == Phase::Agreed => {
                Err(Refusal::AlreadyFunding)
            }
            // Nobody would look for the funding below the height that the maker stated.
            Action::Fund if !self.view.chain.synced || self.view.contract.as_ref().is_none_or(|c| c.height > tip) => {
                Err(Refusal::NotSynced)
            }
            // What is not seen may be funded already: calling off would then be a promise to give the coins back.
            Action::Cancel if self.view.contract.is_some() && !self.view.chain.synced => Err(Refusal::NotSynced),
            Action::Fund | Action::Cancel => Ok(()),
            Action::MarkPaid => match self.view.pay_until() {
                _ if !self.view.chain.synced => Err(Refusal::NotSynced),
                _ if self.view.spend().is_some() => Err(Refusal::NotAllowed { action, role: self.role, phase }),
                Some(last) if tip > last => Err(Refusal::TooLateToPay { last, tip }),
                Some(_) | None => Ok(()),
            },
            // Neither a second time, nor after the seller signed the same coins back to himself.
            Action::Release if self.view.valid_release().is_some() || self.spend_of_funding().is_some() => {
                Err(Refusal::AlreadySigned)
            }
            Action::Release => Ok(()),
            Action::Refund => match self.view.refund_from() {
                _ if !self.view.chain.synced => Err(Refusal::NotSynced),
                Some(from) if tip < from => Err(Refusal::TooEarlyToRefund { from, tip }),
                Some(_) => Ok(()),
                None => Err(Refusal::TooEarlyToRefund { from: u32::MAX, tip }),
            },
        }
    }

    fn command(&self, command: Command) -> Result<Effect, Refusal> {
        let phase = self.phase();
        let Command { action, feerate } = command;
        self.check(action, phase)?;
        let not_allowed = Refusal::NotAllowed { action, role: self.role, phase };
        let trade = self.bid.trade;
        match action {
            Action::Accept => Ok(Effect::Accept),
            Action::Fund => {
                let output = self.escrow.as_ref().ok_or(not_allowed)?.output();
                let amount = self.view.contract.as_ref().map(|c| c.amount).unwrap_or_default();
                Ok(Effect::BuildFunding { script: output.script_pubkey, amount, feerate })
            }
            Action::MarkPaid => Ok(Effect::Publish(Body::PaymentSent(PaymentSent { trade }))),
            Action::Release => self.sign_half(Role::Buyer, feerate),
            Action::Refund => {
                let (escrow, funding) = self.escrow.as_ref().zip(self.view.funding()).ok_or(not_allowed)?;
                Ok(Effect::BuildTimeout { outpoint: funding.outpoint, fee: escrow.fee_at(feerate)? })
            }
            Action::Cancel => match (self.role, phase) {
                (Role::Buyer, Phase::Funded | Phase::Paid) => self.sign_half(Role::Seller, feerate),
                (_, _) => Ok(Effect::Publish(Body::Cancel(Cancel { trade, refund: None }))),
            },
        }
    }

    /// Asks for this side's half of a spend of the escrow to `to`.
    fn sign_half(&self, to: Role, feerate: u64) -> Result<Effect, Refusal> {
        let action = if to == Role::Buyer { Action::Release } else { Action::Cancel };
        let not_allowed = || Refusal::NotAllowed { action, role: self.role, phase: self.phase() };
        let (escrow, funding) = self.escrow.as_ref().zip(self.view.funding()).ok_or_else(not_allowed)?;
        Ok(Effect::SignHalf { outpoint: funding.outpoint, fee: escrow.fee_at(feerate)?, to })
    }
}

fn decode(bytes: Option<&[u8]>) -> Option<Transaction> {
    bitcoin::consensus::deserialize(bytes?).ok()
}

#[cfg(test)]
mod tests;
