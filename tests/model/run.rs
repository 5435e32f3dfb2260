//! What a party's driver does with the effects of the real machine, and what it must never be asked to do.

use std::collections::VecDeque;

use bitcoin::Transaction;
use exchange_ledger::body::Body;
use exchange_ledger::trade::{Action, Effect, Event, Role, Trade, counterparty};

use crate::fixture::Fixture;
use crate::party::{Deed, Driver, Fault, Party, Stimulus};
use crate::ways::Way;
use crate::words::Word;

/// More events than follow from one: each is answered by a few, and those are kept at once.
const MAX_EVENTS: usize = 32;

/// One stimulus being worked off.
pub struct Run<'a> {
    /// The driver.
    pub driver: &'a Driver,
    /// The party's role.
    pub role: Role,
    /// What it has on disk and saw last.
    pub party: Party,
    /// What happened to it.
    pub stimulus: Stimulus,
    /// What it did so far.
    pub deeds: Vec<Deed>,
    /// What must never happen, and did.
    pub fault: Option<Fault>,
}

impl Run<'_> {
    const fn fixture(&self) -> &Fixture {
        self.driver.fixture()
    }

    /// Returns what the party knows of records.
    pub fn records(&self) -> Event {
        self.driver.records(self.role, &self.party)
    }

    /// Lets the machine take in an event, and does what it asks for until nothing is left.
    pub fn perform_all(&mut self, machine: &mut Trade, event: Event) {
        let mut events = VecDeque::from([event]);
        for _ in 0..MAX_EVENTS {
            let Some(event) = events.pop_front() else { return };
            // A refusal of what came from elsewhere changes nothing, and the user is told of his.
            for effect in machine.handle(event).unwrap_or_default() {
                events.extend(self.perform(effect));
            }
        }
        self.blame(Fault::Restless);
    }

    /// Does what the node's driver does with an effect.
    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Persist(local) => {
                let spend = local.spend_tx.as_deref().map(|bytes| self.name(bytes));
                let kept = (local.funding_tx.is_some(), spend.unwrap_or(None));
                if kept == (self.party.funding, self.party.spend) {
                    return None; // a round was counted, or details came
                }
                (self.party.funding, self.party.spend) = kept;
                self.deeds.push(Deed::Keep { funding: self.party.funding, spend: self.party.spend });
                None
            }
            Effect::Watch { .. } | Effect::SendDetails => None,
            // An acceptance states a height, so it waits for the chain.
            Effect::Accept if self.party.synced => self.say(Word::Accept),
            Effect::Accept => None,
            Effect::Publish(body) => match self.word(&body) {
                Some(word) => self.say(word),
                None => self.blame(Fault::OutsideOfContract),
            },
            Effect::BuildFunding { script, amount, .. } => {
                let output = self.fixture().escrow.output();
                if script != output.script_pubkey || bitcoin::Amount::from(amount) != output.value {
                    return self.blame(Fault::OutsideOfContract);
                }
                if self.party.funding {
                    return self.blame(Fault::SentUnkept);
                }
                Some(Event::FundingBuilt(self.fixture().funding.clone()))
            }
            Effect::SignHalf { vaults, to, .. } => self.sign_half(self.fixture().output(&vaults), to),
            Effect::Complete { half, to } => {
                let tx = self.fixture().escrow.complete(&half, to, &self.fixture().key(self.role));
                self.built(to, tx.ok().map(|draft| draft.tx))
            }
            // Nobody replies to anything here: the leaf must do.
            Effect::Ask { .. } => Some(Event::Unanswered),
            Effect::Reply { .. } => self.blame(Fault::OutsideOfContract),
            Effect::BuildTimeout { vault, coin, fee } => {
                let draft = self.fixture().escrow.signed_timeout(vault, coin, fee, &self.fixture().key(self.role));
                self.built(self.role, draft.ok().map(|draft| draft.tx))
            }
            Effect::CompleteRuling { seat, ruling } => {
                let key = self.fixture().key(self.role);
                let draft = self.fixture().escrow.complete_ruling(seat, &ruling, self.role, &key);
                self.built(self.role, draft.ok().map(|draft| draft.tx))
            }
            Effect::CompleteExtension { seat, extend } => {
                let key = self.fixture().key(self.role);
                let draft = self.fixture().escrow.complete_extend(seat, &extend, self.role, &key);
                self.built(self.role, draft.ok().map(|draft| draft.tx))
            }
            // Neither signs for an arbiter.
            Effect::SignRuling { .. } | Effect::SignExtension { .. } => self.blame(Fault::OutsideOfContract),
            // Where there is a buyer's bond, both wallets have funded it before.
            Effect::ChooseCoins { .. }
            | Effect::LookUpCoins(_)
            | Effect::SignFunding(_)
            | Effect::SendProposal(_)
            | Effect::SendAnswer(_)
            | Effect::FreeCoins { .. }
            | Effect::SpendCoinBack { .. } => self.blame(Fault::OutsideOfContract),
            Effect::Broadcast(tx) => self.broadcast(&tx),
        }
    }

    /// Says a word once, as a node looks first whether it has said so already, and shows the machine its records anew.
    fn say(&mut self, word: Word) -> Option<Event> {
        if self.party.said.contains(word) {
            return None;
        }
        self.party.said.add(word);
        self.deeds.push(Deed::Say(word));
        Some(self.records())
    }

    fn word(&self, body: &Body) -> Option<Word> {
        match body {
            Body::Cancel(cancel) => cancel.refund.is_none().then_some(Word::Cancel),
            Body::Funded(funded) => self.fixture().output_at(funded.outpoint.0).map(Word::Funded),
            Body::PaymentSent(_) => Some(Word::PaymentSent),
            Body::Closed(_) => Some(Word::Closed),
            Body::Dispute(_) => Some(Word::Dispute),
            _ => None, // everything else is said by effects of its own, or by no machine
        }
    }

    fn sign_half(&mut self, output: Option<usize>, to: Role) -> Option<Event> {
        let Some(output) = output.filter(|_| to == counterparty(self.role)) else {
            return self.blame(Fault::OutsideOfContract);
        };
        // What was released before an extension is released again after it, without a word of the user.
        if to == Role::Buyer && self.stimulus != Stimulus::Ask(Action::Release) && !self.has_released(output) {
            return self.blame(Fault::ReleasedUnasked);
        }
        // He who signs an output away must not have taken it, nor (the buyer) have paid for it, unless he is asked to.
        let shape = self.fixture().shape;
        let amount = |at: usize, way: Way| shape.coins(at, way)[0];
        let is_same = |at: usize, way: Way| amount(at, way) == amount(output, Way::Payout);
        let taken = self.party.spend.is_some_and(|(at, way)| is_same(at, way) && way != Way::Extension);
        let paid = to == Role::Seller
            && self.party.said.contains(Word::PaymentSent)
            && self.stimulus != Stimulus::Ask(Action::Cancel);
        if taken || paid {
            return self.blame(Fault::SignedTwoWays);
        }
        self.say(if to == Role::Buyer { Word::Release(output) } else { Word::Refund(output) })
    }

    /// Tells whether this side, as the seller, released these coins, be it before an extension moved them.
    fn has_released(&self, output: usize) -> bool {
        self.fixture().shape.lineage(output).any(|at| self.party.said.contains(Word::Release(at)))
    }

    fn built(&mut self, to: Role, tx: Option<Transaction>) -> Option<Event> {
        let Some((tx, (output, way))) = tx.and_then(|tx| self.fixture().name(&tx).map(|name| (tx, name))) else {
            return self.blame(Fault::OutsideOfContract);
        };
        if to != self.role || !self.fixture().is_sent_by(output, way, self.role) {
            return self.blame(Fault::OutsideOfContract);
        }
        // A seller who released takes nothing back, unless the buyer himself sent what gives him a part. A buyer who offered
        // a refund may still take what the seller released.
        let is_taken = way != Way::Extension && self.party.sees.spend_of(output) != Some(way);
        if self.role == Role::Seller && is_taken && self.has_released(output) {
            return self.blame(Fault::SignedTwoWays);
        }
        Some(Event::SpendBuilt(tx))
    }

    fn broadcast(&mut self, tx: &Transaction) -> Option<Event> {
        if *tx == self.fixture().funding {
            if !self.party.funding {
                return self.blame(Fault::SentUnkept);
            }
            self.deeds.push(Deed::Fund);
            return None;
        }
        let Some((output, way)) = self.fixture().name(tx) else { return self.blame(Fault::OutsideOfContract) };
        if !self.fixture().is_sent_by(output, way, self.role) {
            return self.blame(Fault::OutsideOfContract);
        }
        if self.party.spend != Some((output, way)) {
            return self.blame(Fault::SentUnkept);
        }
        self.deeds.push(Deed::Spend(output, way));
        None
    }

    fn name(&self, bytes: &[u8]) -> Option<(usize, Way)> {
        self.fixture().name(&bitcoin::consensus::deserialize(bytes).ok()?)
    }

    fn blame(&mut self, fault: Fault) -> Option<Event> {
        self.fault.get_or_insert(fault);
        None
    }
}
