//! Mail between the parties of trades: real envelopes, kept by everybody for whoever is away.
//!
//! What is decided here is what `exchange-node` decides in `mailbox.rs` and `mailbox/` (what is kept, parked, passed on,
//! delivered) and `net/mail.rs` (what is handed to a peer, and what is asked of him).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use exchange_ledger::ids::{AuthorId, MailboxId, TradeId};
use exchange_ledger::ledger::MAX_CLOCK_SKEW_S;
use exchange_ledger::mail::{Address, Entropy, Envelope, LIFETIME_S, MAX_ENVELOPES, Message};
use exchange_ledger::trade::{Role, Trade, counterparty, funding};

use crate::flaw::Flaw;
use crate::joint::awaits_funding;
use crate::network::{Bytes, Packet};
use crate::node::Node;
use crate::people::NETWORK;
use crate::shared::Shared;

/// Envelopes that wait for the acceptance that they rest on: fewer than in the node, so that worlds reach the bound.
pub const MAX_PARKED: usize = 16;
/// For how long a peer is not offered again what he has taken, in seconds: as in the node.
const OFFER_AGAIN_S: u64 = 3600;
/// How soon, in seconds, an envelope that is kept is passed on again when it is offered again: as in the node.
const PASS_AGAIN_S: u64 = 3600;
/// Envelopes of a mailbox in one answer.
const PAGE: usize = 64;

/// An envelope's place, by mailbox, sender, epoch and seq: nobody puts two there.
pub type Slot = (MailboxId, AuthorId, u32, u32);

/// What became of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    /// It is to be passed on.
    Accepted,
    /// It is known, or nobody's.
    Ignored,
    /// It cannot be judged or kept now.
    Later,
}

/// An envelope that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Whether payment details are in it.
    pub is_details: bool,
    /// The envelope.
    pub bytes: Bytes,
}

/// An envelope that is kept for somebody.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The number of its arrival, which is a cursor.
    pub arrival: u64,
    /// The envelope.
    pub bytes: Bytes,
    /// When it came, and when it was last passed on, in seconds of the world.
    pub passed_s: (u64, u64),
}

impl Node {
    /// Seals one's payment details to the other party, once.
    pub fn send_details(&self, id: TradeId, shared: &mut Shared) {
        let Some(trade) = self.mind.as_ref().and_then(|mind| mind.trades.get(&id)) else { return };
        let Some((salt, details)) = trade.local().details.clone() else { return };
        if self.details_sent(&id).is_none() {
            self.send_message(id, &Message::Details { salt, details }, shared);
        }
    }

    /// Returns the envelope with one's payment details, if they were sent.
    pub fn details_sent(&self, id: &TradeId) -> Option<Bytes> {
        let private = self.disk.private();
        private.outbox.get(id)?.iter().find(|sent| sent.is_details).map(|sent| sent.bytes.clone())
    }

    /// Seals a message to the other party, keeps the envelope and passes it on. Nothing when the disk fails.
    pub fn send_message(&self, id: TradeId, message: &Message, shared: &mut Shared) -> Option<()> {
        let trade = self.mind.as_ref()?.trades.get(&id)?;
        let address = self.next_address(trade, shared)?;
        let entropy = Entropy { seal: shared.rng.bytes32(), salt: shared.rng.bytes32() };
        let contract = trade.escrow()?.contract();
        let sealed = Envelope::seal(address, contract, message, entropy, |bytes| self.person.sign(bytes));
        let bytes: Bytes = sealed.ok()?.0.encode().into();
        let sent = Sent { is_details: matches!(message, Message::Details { .. }), bytes: bytes.clone() };
        self.disk.write(|private| private.outbox.entry(id).or_default().push(sent)).ok()?;
        self.pass_on(&bytes, self.number, shared);
        Some(())
    }

    /// Returns the next place in what one sends to the other party of a trade: each start of the node begins a new epoch.
    fn next_address(&self, trade: &Trade, shared: &mut Shared) -> Option<Address> {
        let contract = trade.escrow()?.contract();
        let last =
            self.disk.private().outbox.get(&trade.id()).and_then(|sent| sent.last()).map(|sent| sent.bytes.clone());
        let last = last.and_then(|bytes| shared.envelope(&bytes));
        let started = self.mind.as_ref()?.epoch;
        let epoch = last.as_ref().map_or(started, |last| last.address.epoch.max(started));
        let in_epoch = last.as_ref().filter(|last| last.address.epoch == epoch);
        Some(Address {
            version: 1,
            network: NETWORK,
            trade: contract.trade,
            contract: contract.hash(),
            sender: self.person.author,
            recipient: contract.author(counterparty(trade.role())),
            epoch,
            seq: in_epoch.map_or(0, |last| last.address.seq + 1),
            previous: last.map_or([0; 32], |last| last.id()),
            seen: [0; 32],
            time: self.now(shared),
            commitment: [0; 32],
        })
    }

    fn pass_on(&self, bytes: &Bytes, from: usize, shared: &mut Shared) {
        for peer in shared.network.peers(self.number).into_iter().filter(|peer| *peer != from) {
            shared.send(self.number, peer, Packet::Mail(bytes.clone()));
        }
    }

    /// Takes in an envelope that a peer has pushed.
    pub fn take_mail(&mut self, from: usize, bytes: &Bytes, shared: &mut Shared) {
        if self.put(from, bytes, shared) == Put::Accepted {
            self.pass_on(bytes, from, shared);
        }
    }

    /// Takes in an envelope: keeps it for its recipient and, if that is this node, opens it.
    fn put(&mut self, from: usize, bytes: &Bytes, shared: &mut Shared) -> Put {
        let Some(envelope) = shared.envelope(bytes) else {
            shared.ban(self.number, from);
            return Put::Ignored;
        };
        let time = envelope.address.time;
        if time.saturating_add(LIFETIME_S) <= self.sure(shared) {
            return Put::Ignored;
        }
        if time > self.now(shared).saturating_add(MAX_CLOCK_SKEW_S) {
            return Put::Later;
        }
        let trade = envelope.address.trade;
        let bid = self.ledger.bid(trade).ok();
        match bid.and_then(|(bid, _)| self.ledger.contract(&bid).ok().flatten()) {
            Some(contract) => match envelope.mailbox(&contract) {
                Ok(mailbox) => self.keep(mailbox, &envelope, bytes, shared),
                Err(_) => Put::Ignored,
            },
            None => {
                let endless = shared.flaw == Some(Flaw::ParksWithoutEnd);
                if let Some(mind) = self.mind.as_mut() {
                    if mind.parked.len() >= MAX_PARKED && !endless {
                        mind.parked.pop_front();
                    }
                    mind.parked.push_back((trade, bytes.clone()));
                }
                Put::Ignored
            }
        }
    }

    fn keep(&mut self, mailbox: MailboxId, envelope: &Envelope, bytes: &Bytes, shared: &mut Shared) -> Put {
        let mine = envelope.address.recipient == self.person.author;
        if shared.flaw == Some(Flaw::KeepsNoMail) && !mine {
            return Put::Ignored;
        }
        let Address { sender, epoch, seq, .. } = envelope.address;
        let slot = (mailbox, sender, epoch, seq);
        let now_s = shared.seconds();
        let places = self.disk.private().mail_of(&mailbox).filter(|((_, from, ..), _)| *from == sender).count();
        let known = self.disk.private().mail.get(&slot).cloned();
        if let Some(known) = known {
            // It may have been lost on its way from here: it goes out again, each time after twice as long.
            let (first, last) = known.passed_s;
            if known.bytes != *bytes || now_s < last + PASS_AGAIN_S.max(last - first) {
                return Put::Ignored;
            }
            let passed = self.disk.write(|private| {
                private.mail.insert(slot, Kept { passed_s: (first, now_s), ..known });
            });
            return if passed.is_ok() { Put::Accepted } else { Put::Ignored };
        }
        if places >= MAX_ENVELOPES as usize {
            return Put::Ignored;
        }
        let kept = self.disk.write(|private| {
            private.arrivals += 1;
            let arrival = private.arrivals;
            private.mail.insert(slot, Kept { arrival, bytes: bytes.clone(), passed_s: (now_s, now_s) });
        });
        if kept.is_ok() && mine {
            self.open(envelope, shared);
        }
        if kept.is_ok() { Put::Accepted } else { Put::Later }
    }

    fn open(&mut self, envelope: &Envelope, shared: &mut Shared) {
        let (trade, from) = (envelope.address.trade, &envelope.address.sender);
        match envelope.open(&self.person.seal_secret).and_then(|opening| opening.message()) {
            Ok(Message::Details { salt, details }) => self.hear_details(trade, salt, details, shared),
            Ok(Message::FundingProposal(proposal)) => {
                self.hear_funding(trade, from, funding::Event::Proposal(proposal), shared);
            }
            Ok(Message::FundingAnswer(answer)) => {
                self.hear_funding(trade, from, funding::Event::Answer(answer), shared);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Takes in what waited for the acceptance of a bid.
    pub fn unpark(&mut self, trade: TradeId, shared: &mut Shared) {
        let Some(mind) = self.mind.as_mut() else { return };
        let (ready, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut mind.parked).into_iter().partition(|(of, _)| *of == trade);
        mind.parked = rest;
        for (_, bytes) in ready {
            self.take_mail(self.number, &bytes, shared);
        }
    }

    /// Opens again what is kept for trades that wait for the other party's details or messages of a funding: they came before
    /// the trade was read, or were not taken in.
    pub fn open_mailboxes(&mut self, shared: &mut Shared) {
        let Some(mind) = &self.mind else { return };
        let own = mind.trades.values().filter(|trade| trade.role() != Role::Arbiter);
        let lacking = own.filter(|trade| trade.local().their_details.is_none() || awaits_funding(trade));
        let contracts = lacking.filter_map(Trade::escrow).map(|escrow| escrow.contract().mailbox(&self.person.author));
        let private = self.disk.private();
        let mailboxes: Vec<MailboxId> = contracts.collect();
        let kept: Vec<Bytes> =
            mailboxes.iter().flat_map(|mailbox| private.mail_of(mailbox)).map(|(_, kept)| kept.bytes.clone()).collect();
        drop(private);
        for bytes in &kept {
            if let Some(envelope) = shared.envelope(bytes) {
                self.open(&envelope, shared);
            }
        }
    }

    /// Hands over to a peer what one has sent, and asks him for one's own mail.
    pub fn exchange_mail(&mut self, peer: usize, shared: &mut Shared) {
        let Some(mind) = self.mind.as_mut() else { return };
        if shared.seconds() >= mind.offered_s + OFFER_AGAIN_S {
            (mind.offered_s, mind.pushed) = (shared.seconds(), BTreeSet::new());
        }
        let sent: Vec<Bytes> = self.disk.private().outbox.values().flatten().map(|sent| sent.bytes.clone()).collect();
        let fresh: Vec<Bytes> =
            sent.into_iter().filter(|bytes| !mind.pushed.contains(&(peer, bytes.clone()))).collect();
        if !fresh.is_empty() {
            shared.send(self.number, peer, Packet::MailPut(fresh));
        }
        let is_open = |trade: &&Trade| trade.role() != Role::Arbiter && !trade.phase().is_final();
        let open = mind.trades.values().filter(is_open);
        let contracts = open.filter_map(Trade::escrow);
        let mailboxes = contracts.map(|escrow| escrow.contract().mailbox(&self.person.author));
        let cursor = |mailbox: &MailboxId| mind.cursors.get(&(peer, *mailbox)).copied().unwrap_or(0);
        let cursors: Vec<(MailboxId, u64)> = mailboxes.map(|mailbox| (mailbox, cursor(&mailbox))).collect();
        if !cursors.is_empty() {
            shared.send(self.number, peer, Packet::MailFetch(cursors));
        }
    }

    /// Takes what a peer hands over, and passes on what is new.
    pub fn put_all(&mut self, from: usize, envelopes: Vec<Bytes>, shared: &mut Shared) {
        for bytes in &envelopes {
            self.take_mail(from, bytes, shared);
        }
        shared.send(self.number, from, Packet::MailTaken(envelopes));
    }

    /// A peer has what was handed over: it is not offered to him again.
    pub fn mail_taken(&mut self, peer: usize, envelopes: Vec<Bytes>) {
        if let Some(mind) = self.mind.as_mut() {
            mind.pushed.extend(envelopes.into_iter().map(|bytes| (peer, bytes)));
        }
    }

    /// Answers a peer who asks for his mail.
    pub fn serve_mail(&self, peer: usize, mailboxes: Vec<(MailboxId, u64)>, shared: &mut Shared) {
        let private = self.disk.private();
        let mail = |(mailbox, after): (MailboxId, u64)| {
            let mut kept: Vec<(u64, Bytes)> =
                private.mail_of(&mailbox).map(|(_, kept)| (kept.arrival, kept.bytes.clone())).collect();
            kept.sort_unstable_by_key(|(arrival, _)| *arrival);
            (mailbox, kept.into_iter().filter(|(arrival, _)| *arrival > after).take(PAGE).collect())
        };
        let found: Vec<(MailboxId, Vec<(u64, Bytes)>)> = mailboxes.into_iter().map(mail).collect();
        drop(private);
        shared.send(self.number, peer, Packet::MailFound(found));
    }

    /// Takes in one's mail as a peer had it.
    pub fn mail_found(&mut self, from: usize, found: Vec<(MailboxId, Vec<(u64, Bytes)>)>, shared: &mut Shared) {
        for (mailbox, mail) in found {
            let mut all_taken = true;
            for (arrival, bytes) in mail {
                // What cannot be taken now is asked for again.
                all_taken &= self.put(from, &bytes, shared) != Put::Later;
                if let Some(mind) = self.mind.as_mut().filter(|_| all_taken) {
                    mind.cursors.insert((from, mailbox), arrival);
                }
            }
        }
    }
}

/// Returns the largest number of envelopes of one sender in one mailbox.
pub fn fullest(mail: &BTreeMap<Slot, Kept>) -> usize {
    let mut counts: BTreeMap<(MailboxId, AuthorId), usize> = BTreeMap::new();
    mail.keys().for_each(|(mailbox, sender, ..)| *counts.entry((*mailbox, *sender)).or_default() += 1);
    counts.into_values().max().unwrap_or_default()
}
