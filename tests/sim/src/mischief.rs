//! What attackers do. Each has a node like everybody's and uses it like everybody; besides, he signs two histories, says
//! things about the trades of others, sends rubbish, and spends his coins twice.

use bitcoin::TxOut;
use exchange_ledger::body::{Accept, Body, Cancel, Closed, Funded, PaymentSent, Revoke, Take};
use exchange_ledger::ids::{ContractHash, RecordId, TradeId};
use exchange_ledger::mail::{Address, Envelope, Message};
use exchange_ledger::record::{Header, Kind, LogId, Record};
use exchange_ledger::storage::Storage;
use exchange_ledger::trade::funding::Input;
use exchange_ledger::trade::{Escrow, Seat, Verdict, tweak_arbiter_pair};
use exchange_ledger::wire::{CurveKey, List, Outpoint, TxId};

use crate::chain::{FIRST_HEIGHT, payment};
use crate::network::{Bytes, Packet};
use crate::node::Node;
use crate::people::{NETWORK, Person, ticket};
use crate::shared::Shared;
use crate::trader::FEERATE;

/// Records for one place in a burst: more than a node keeps of them.
const BURST: u64 = 70;
/// Offers in a flood: more than anybody may have open.
const FLOOD: usize = 12;
/// Envelopes in a heap of rubbish: more than a node parks.
const MAILS: u32 = 24;
/// What an attacker looks through for something to meddle with.
const PAGE: usize = 64;

impl Node {
    /// Does one bad thing.
    pub fn mischief(&mut self, shared: &mut Shared) {
        if self.mind.is_none() {
            return;
        }
        shared.trace.note(shared.agenda.now(), self.number, "is up to no good", &[]);
        match shared.rng.below(13) {
            0..=2 => self.fork(shared),
            3 => self.meddle(shared),
            4 => self.send_rubbish(shared),
            5 => self.backdate(shared),
            6 => self.spend_twice(shared),
            7 => self.crowd(shared),
            8 => self.mail_rubbish(shared),
            9 => self.prove(shared),
            10 => self.look_old(shared),
            11 => self.misrule(shared),
            _ => self.flood(shared),
        }
    }

    /// Signs other histories of a log of one's own, from some place on, and tells each peer another one, or none.
    fn fork(&self, shared: &mut Shared) {
        let logs = self.ledger.storage().logs_of(&self.person.author, PAGE).unwrap_or_default();
        let Some(head) = shared.rng.pick(&logs).copied() else { return };
        let len = head.len;
        // Mostly at the end, where it matters; sometimes long after.
        let seq =
            if shared.rng.one_in(3) { shared.rng.below(len + 1) } else { len.saturating_sub(shared.rng.below(3)) };
        let before = match seq.checked_sub(1) {
            Some(before) => self.ledger.storage().range(&head.log, before, 1).ok().and_then(|mut r| r.pop()),
            None => None,
        };
        if seq > 0 && before.is_none() {
            return;
        }
        let time = before.as_ref().map_or_else(|| self.now(shared), |record| record.header().time);
        let backlink = before.map_or(RecordId([0; 32]), |record| record.id());
        let branches = if shared.rng.one_in(20) { BURST } else { shared.rng.between(1, 3) };
        for branch in 0..branches {
            let body = if branches == BURST { Body::Heartbeat } else { self.tempting_body(shared) };
            let Some(record) = self.forge(head.log, seq, backlink, time + branch, &body) else { continue };
            self.tell(&record, shared);
            if shared.rng.one_in(3) {
                let body = self.tempting_body(shared);
                self.forge(head.log, seq + 1, record.id(), time + branch, &body)
                    .iter()
                    .for_each(|record| self.tell(record, shared));
            }
        }
    }

    /// Returns something that would change a trade or an offer, if it counted.
    fn tempting_body(&self, shared: &mut Shared) -> Body {
        let storage = self.ledger.storage();
        let offers = storage.of_kind_by(Kind::Offer, &self.person.author, None, PAGE).unwrap_or_default();
        let Some(offer) = shared.rng.pick(&offers).map(|place| place.id) else { return Body::Heartbeat };
        let bids = self.ledger.bids(&offer, PAGE, PAGE).unwrap_or_default();
        match (shared.rng.below(4), shared.rng.pick(&bids).copied()) {
            (0, _) => Body::Revoke(Revoke { offer }),
            (1 | 2, Some(trade)) => {
                let height = shared.chain.view().tip();
                Body::Accept(Accept { trade, offer, height, party: self.person.party.clone() })
            }
            (_, _) => self.some_offer(shared).map_or(Body::Heartbeat, Body::Offer),
        }
    }

    /// Says something about the trade of others, or decides about their offers.
    fn meddle(&mut self, shared: &mut Shared) {
        let takes = self.ledger.storage().of_kind(Kind::Take, None, PAGE).unwrap_or_default();
        let Some(take) = shared.rng.pick(&takes).map(|place| place.id) else { return };
        let Ok((bid, _)) = self.ledger.bid(take.into()) else { return };
        let trade = TradeId::from(take);
        let outpoint = bitcoin::OutPoint::null();
        let body = match shared.rng.below(6) {
            0 | 1 => Body::Cancel(Cancel { trade, refund: None }),
            2 => Body::PaymentSent(PaymentSent { trade }),
            3 => Body::Funded(Funded { trade, outpoint: Outpoint(outpoint) }),
            4 => Body::Closed(Closed { trade, spend: TxId(outpoint.txid) }),
            _ => {
                let party = self.person.party.clone();
                Body::Accept(Accept { trade, offer: bid.offer_id, height: shared.chain.view().tip(), party })
            }
        };
        self.publish(&body, shared);
    }

    /// Sends what no honest node would: a peer that believes it is lost, one that does not bans us.
    fn send_rubbish(&self, shared: &mut Shared) {
        let time = self.now(shared);
        let log = LogId { author: self.person.author, epoch: 7 };
        let Some(first) = self.forge(log, 0, RecordId([0; 32]), time, &Body::Heartbeat) else { return };
        let mut bytes = first.encode();
        match shared.rng.below(6) {
            0 => bytes.truncate(100),
            1 => bytes[140] ^= 1, // the signature
            2 => bytes[2] ^= 1,   // the network
            3 => bytes[126] ^= 1, // the ticket
            4 => {
                let backlink = RecordId(shared.rng.bytes32());
                let lost = self.forge(log, shared.rng.between(1, 50_000), backlink, time, &Body::Heartbeat);
                bytes = lost.map(|record| record.encode()).unwrap_or_default();
            }
            _ => {
                let later = self.forge(log, 0, RecordId([0; 32]), time + 100_000, &Body::Heartbeat);
                bytes = later.map(|record| record.encode()).unwrap_or_default();
            }
        }
        let peers = shared.network.peers(self.number);
        if let Some(peer) = shared.rng.pick(&peers) {
            shared.send_aloud(self.number, *peer, Packet::Gossip(bytes.into()));
        }
    }

    /// Sends what looks like the proof of a fork: it is one, or rests on nothing that anybody has, or proves nothing.
    fn prove(&self, shared: &mut Shared) {
        let time = self.now(shared);
        let log = LogId { author: self.person.author, epoch: shared.rng.between(10, 20) as u32 };
        let (seq, backlink) = match shared.rng.one_in(4) {
            true => (shared.rng.between(1, 50_000), RecordId(shared.rng.bytes32())),
            false => (0, RecordId([0; 32])),
        };
        let twins = (0..3).filter_map(|twin| self.forge(log, seq, backlink, time + twin, &Body::Heartbeat));
        let twins: Vec<Vec<u8>> = twins.map(|record| record.encode()).collect();
        let [one, other, third] = twins.as_slice() else { return };
        let mut bytes = [one.as_slice(), other].concat();
        match shared.rng.below(8) {
            0 => bytes = [one.as_slice(), one].concat(),
            1 => bytes.extend(third),
            2 => bytes.truncate(one.len() + 100),
            3 => bytes[one.len() + 140] ^= 1, // the signature
            _ => {}
        }
        let bytes: Bytes = bytes.into();
        for peer in shared.network.peers(self.number) {
            if shared.rng.one_in(2) {
                shared.send_aloud(self.number, peer, Packet::Fork(bytes.clone()));
            }
        }
    }

    /// Returns a message of a funding from two wallets as an attacker sends it: now and then with somebody else's coin, a fee
    /// beyond all measure, a height to come, or no signature.
    pub fn spoil(&self, message: &Message, shared: &mut Shared) -> Message {
        let victim = Person::of(shared.rng.below(4) as u8); // below four
        let coin = shared.chain.coins_of(victim.party.destination.script()).first().copied();
        let input = coin.map(|coin| Input {
            outpoint: Outpoint(coin),
            key: CurveKey(victim.coin_key.x_only_public_key().0),
            height: FIRST_HEIGHT,
        });
        let inputs = List::new(Vec::from_iter(input)).unwrap_or_default();
        let mut message = message.clone();
        match (&mut message, shared.rng.below(6)) {
            (Message::FundingProposal(proposal), 0) => proposal.seller.inputs = inputs,
            (Message::FundingProposal(proposal), 1) => proposal.feerate = 400,
            (Message::FundingProposal(proposal), 2) => proposal.height += 50,
            (Message::FundingAnswer(answer), 0) => answer.buyer.inputs = inputs,
            (Message::FundingAnswer(answer), 1) => answer.signatures = List::default(),
            (_, _) => {}
        }
        message
    }

    /// Opens a log that claims to be old, and decides about one's own offers there.
    fn backdate(&self, shared: &mut Shared) {
        let log = LogId { author: self.person.author, epoch: shared.rng.between(1, 4) as u32 };
        let body = self.tempting_body(shared);
        let first = self.forge(log, 0, RecordId([0; 32]), u64::from(log.epoch), &body);
        first.iter().for_each(|record| self.tell(record, shared));
    }

    /// Spends a coin that one has promised to an escrow.
    fn spend_twice(&self, shared: &mut Shared) {
        let private = self.disk.private();
        let shared_coins = private.shares.values().map(|share| share.coin);
        let promised: Vec<_> = private.promised.iter().copied().chain(shared_coins).collect();
        drop(private);
        let Some(coin) = shared.rng.pick(&promised).copied() else { return };
        let script = self.person.party.destination.script().clone();
        let output = TxOut { value: bitcoin::Amount::from_sat(1_000_000), script_pubkey: script.clone() };
        // It may be spent already: then nothing comes of it.
        let _ = shared.chain.broadcast(&payment(coin, output, script, 5000));
    }

    /// Bids in a log that looks so old that others may forget it at once, or shows no more of the bid than that there is one.
    /// Of a bid that is not so old that is a lie.
    fn look_old(&self, shared: &mut Shared) {
        let offers = self.ledger.storage().open_offers(None, PAGE).unwrap_or_default();
        let Some(offer) = shared.rng.pick(&offers).and_then(|id| self.ledger.offer(id).ok().flatten()) else { return };
        let (id, amount) = (offer.0.id(), offer.1.min);
        let days = if shared.rng.one_in(6) { 1 } else { shared.rng.between(60, 100) };
        let time = self.now(shared) - days * 24 * 3600;
        let log = LogId { author: self.person.author, epoch: shared.rng.between(21, 40) as u32 }; // at most 40
        let (nonce, party) = (shared.rng.bytes32(), self.person.party.clone());
        let take = Take { offer: id, amount, method: 0, arbiter: 0, second_arbiter: None, nonce, party };
        let Some(bid) = self.forge(log, 0, RecordId([0; 32]), time, &Body::Take(take)) else { return };
        let shown = if shared.rng.one_in(2) { Some(bid) } else { bid.bared() };
        shown.iter().for_each(|record| self.tell(record, shared));
    }

    /// Rules in a trade, or takes more time for it, as if one were its arbiter.
    fn misrule(&mut self, shared: &mut Shared) {
        let takes = self.ledger.storage().of_kind(Kind::Take, None, PAGE).unwrap_or_default();
        let Some(trade) = shared.rng.pick(&takes).map(|place| TradeId::from(place.id)) else { return };
        let Some(contract) = self.ledger.trade(trade).ok().and_then(|known| known.contract) else { return };
        let escrow = Escrow::new(&contract);
        let facts = shared.chain.view().facts(&escrow);
        let Some(vaults) = facts.fundings.first().map(|funding| funding.vaults) else { return };
        let pair = tweak_arbiter_pair(&contract, &self.person.key);
        let verdict = if shared.rng.one_in(2) { Verdict::Buyer } else { Verdict::Seller };
        let ruling = || {
            let division = escrow.divide(Seat::First, &vaults, verdict, FEERATE).ok()?;
            escrow.rule(Seat::First, &vaults, division, &pair).map(Body::Ruling).ok()
        };
        let extension = || {
            let fee = escrow.extension_fee_at(Seat::First, &vaults, FEERATE).ok()?;
            escrow.extend(Seat::First, &vaults, fee, &pair).map(Body::Extend).ok()
        };
        let body = if shared.rng.one_in(3) { extension() } else { ruling() };
        body.iter().for_each(|body| drop(self.publish(body, shared)));
    }

    fn flood(&mut self, shared: &mut Shared) {
        for _ in 0..FLOOD {
            if let Some(offer) = self.some_offer(shared) {
                self.publish(&Body::Offer(offer), shared);
            }
        }
    }

    /// Lets identities that one has made up bid for somebody's offer, and post offers of their own.
    fn crowd(&self, shared: &mut Shared) {
        let offers = self.ledger.storage().open_offers(None, PAGE).unwrap_or_default();
        let Some((id, (_, offer))) =
            shared.rng.pick(&offers).and_then(|id| Some((*id, self.ledger.offer(id).ok().flatten()?)))
        else {
            return;
        };
        let time = self.now(shared);
        for member in Person::crowd(self.number) {
            let log = LogId { author: member.author, epoch: shared.rng.between(1, 9) as u32 };
            let nonce = shared.rng.bytes32();
            let (amount, party) = (offer.min, member.party.clone());
            let take =
                Body::Take(Take { offer: id, amount, method: 0, arbiter: 0, second_arbiter: None, nonce, party });
            let Some(bid) = forge(member, log, 0, RecordId([0; 32]), time, &take) else { continue };
            self.tell(&bid, shared);
            let Some(offer) = self.some_offer(shared) else { continue };
            forge(member, log, 1, bid.id(), time, &Body::Offer(offer))
                .iter()
                .for_each(|record| self.tell(record, shared));
        }
    }

    /// Sends mail that is nobody's: of trades that are none, with a bad signature, between strangers.
    fn mail_rubbish(&self, shared: &mut Shared) {
        let peers = shared.network.peers(self.number);
        let Some(peer) = shared.rng.pick(&peers).copied() else { return };
        let takes = self.ledger.storage().of_kind(Kind::Take, None, PAGE).unwrap_or_default();
        let known = shared.rng.pick(&takes).map(|place| TradeId::from(place.id));
        let spoilt = shared.rng.one_in(8);
        for seq in 0..MAILS {
            let trade = known.filter(|_| shared.rng.one_in(2)).unwrap_or_else(|| TradeId(shared.rng.bytes32()));
            let address = Address {
                version: 1,
                network: NETWORK,
                trade,
                contract: ContractHash(shared.rng.bytes32()),
                sender: self.person.author,
                recipient: Person::of(shared.rng.below(3) as u8).author, // below three
                epoch: 1,
                seq,
                previous: shared.rng.bytes32(),
                seen: [0; 32],
                time: self.now(shared),
                commitment: shared.rng.bytes32(),
            };
            let mut envelope = Envelope { address, sealed: vec![0; 40], signature: [0; 64] };
            if !spoilt {
                envelope.signature = self.person.sign(&envelope.signed_bytes());
            }
            shared.send_aloud(self.number, peer, Packet::Mail(envelope.encode().into()));
        }
    }

    fn forge(&self, log: LogId, seq: u64, backlink: RecordId, time: u64, body: &Body) -> Option<Record> {
        forge(self.person, log, seq, backlink, time, body)
    }

    /// Tells some peers, and not the others.
    fn tell(&self, record: &Record, shared: &mut Shared) {
        let bytes: Bytes = record.encode().into();
        for peer in shared.network.peers(self.number) {
            if shared.rng.one_in(2) {
                shared.send_aloud(self.number, peer, Packet::Gossip(bytes.clone()));
            }
        }
    }
}

fn forge(person: &Person, log: LogId, seq: u64, backlink: RecordId, time: u64, body: &Body) -> Option<Record> {
    let header = Header {
        network: NETWORK,
        log,
        seq,
        backlink,
        time,
        kind: body.kind(),
        flags: 0,
        body_len: 0,
        body_hash: [0; 32],
        admission: if seq == 0 { ticket(&log) } else { 0 },
    };
    Record::sign(header, body.encode(), |message| person.sign(message)).ok()
}
