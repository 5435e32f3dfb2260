//! A node: the real ledger and book over its disk, and what the node's keeper and network decide about records.
//!
//! What it decides is what `exchange-node` does: `keeper/writer.rs` (which log to write to), `net/swarm.rs` (pass on what was
//! accepted, ask for the log of an orphan, ban who sends what is invalid by itself). What verdict becomes of an admission is
//! the ledger's own code, in both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use exchange_ledger::body::Body;
use exchange_ledger::book::Book;
use exchange_ledger::ids::{MailboxId, RecordId, TradeId};
use exchange_ledger::ledger::{Admission, Ledger};
use exchange_ledger::record::{Head, Header, LogId, Record};
use exchange_ledger::retention::Retention;
use exchange_ledger::storage::{Aged, Batch, Storage, StorageError};
use exchange_ledger::sync::{Proof, Verdict, is_beyond};
use exchange_ledger::trade::funding::Contribution;
use exchange_ledger::trade::{Local, Trade};

use crate::agenda::Millis;
use crate::chain::View;
use crate::disk::{Disk, Private};
use crate::flaw::Flaw;
use crate::heal::{OpenSession, Replica};
use crate::network::{Bytes, Packet};
use crate::people::{NETWORK, PEOPLE, Person, ticket};
use crate::shared::Shared;
use exchange_ledger::trade::pins::Pin;

/// The moment at which every world begins, as the clock of a node that is right shows it.
pub const BEGIN_S: u64 = 1_800_000_000;
/// Records that are passed on by gossip after healing; more of them the others fetch by themselves.
const MAX_FRESH: usize = 64;
/// How long the first record after a start waits for a comparison with a peer: as in the node.
const COMPARISON_WAIT_MS: Millis = 5000;
/// More logs than any world has.
const MAX_HEADS: usize = 1000;

/// One node and the person who uses it.
pub struct Node {
    /// Which one.
    pub number: usize,
    /// Who uses it.
    pub person: &'static Person,
    /// Whether he plays by the rules.
    pub honest: bool,
    /// How far the clock is off, in seconds.
    pub skew_s: i64,
    /// How long it keeps bodies.
    pub retention: Retention,
    /// What survives a crash.
    pub disk: Disk,
    /// The ledger on it.
    pub ledger: Ledger<Disk>,
    /// The ledger, as healing sees it.
    pub replica: Replica,
    /// What does not survive; nothing while the node is down.
    pub mind: Option<Mind>,
    /// An old copy of the disk.
    pub old_copy: Option<(Vec<Record>, Private)>,
    /// Whether the next start is from that copy.
    pub put_back: bool,
    /// Whether it ever was: then what only this machine knew may be gone.
    pub restored: bool,
}

/// What a running node holds in memory.
#[derive(Default)]
pub struct Mind {
    /// The book.
    pub book: Book,
    /// The trades it drives.
    pub trades: BTreeMap<TradeId, Trade>,
    /// The chain as this node sees it.
    pub view: View,
    /// For [`Flaw::WinnerByArrival`].
    pub first_accepted: BTreeMap<RecordId, TradeId>,
    /// What each agreed trade rests on.
    pub pins: BTreeMap<TradeId, Pin>,
    /// The trade whose effects are being performed: it hears of its records from them.
    pub acting: Option<TradeId>,
    /// Logs to ask for because of orphans.
    pub wanted: BTreeSet<LogId>,
    /// Whether everything that some peer held was taken in since the start.
    pub compared: bool,
    /// Own logs that were opened since the start.
    opened: BTreeSet<LogId>,
    /// Own logs that do not end where they seem to.
    outgrown: BTreeSet<LogId>,
    /// When it started.
    started: Millis,
    /// The same on its own clock, in seconds: the epoch of what it sends.
    pub epoch: u32,
    /// What the chain was asked about the other side's coins last, and at which tip.
    pub looked: BTreeMap<TradeId, (Contribution, u32)>,
    /// Logs of which it was told since the start that they have forked.
    pub told: BTreeSet<LogId>,
    /// Sessions, by peer.
    pub sessions: BTreeMap<usize, OpenSession>,
    /// How many sessions there were.
    pub session_count: u64,
    /// Bids of others for offers of others: nothing makes them this node's.
    pub foreign: BTreeSet<TradeId>,
    /// How often it has healed, which tells with whom to heal next.
    pub turn: usize,
    /// After which record each peer is asked for bodies next, and from which second of the world on.
    pub sought: BTreeMap<usize, (Option<Aged>, u64)>,
    /// From which second of the world on it drops bodies again.
    pub drops_at_s: u64,
    /// Mail that waits for its trade.
    pub parked: VecDeque<(TradeId, Bytes)>,
    /// Mail that a peer has taken, since `offered_s`.
    pub pushed: BTreeSet<(usize, Bytes)>,
    /// Since when, in seconds of the world.
    pub offered_s: u64,
    /// Up to where the own mail of a peer was read.
    pub cursors: BTreeMap<(usize, MailboxId), u64>,
}

impl Node {
    /// Returns a node with an empty disk.
    pub fn new(number: usize, person: u8, honest: bool, skew_s: i64, retention: Retention) -> Self {
        let disk = Disk::default();
        let ledger = Ledger::new(disk.clone(), NETWORK);
        let person = Person::of(person);
        let replica = Replica::new(disk.clone(), number);
        Self {
            number,
            person,
            honest,
            skew_s,
            retention,
            disk,
            ledger,
            replica,
            mind: None,
            old_copy: None,
            put_back: false,
            restored: false,
        }
    }

    /// Returns the time on this node's clock.
    pub fn now(&self, shared: &Shared) -> u64 {
        (BEGIN_S + shared.seconds()).saturating_add_signed(self.skew_s)
    }

    /// Returns the time that is sure: the chain of a world is always dated right.
    pub fn sure(&self, shared: &Shared) -> u64 {
        self.now(shared).min(BEGIN_S + shared.seconds())
    }

    /// Starts the node: reads its book and its trades from disk.
    pub fn boot(&mut self, shared: &mut Shared) {
        self.disk.revive();
        self.replica.changed(); // perhaps: the power failed in the middle of something
        shared.checks.found(self.number, self.ledger.storage());
        let careless = shared.flaw == Some(Flaw::RestoresOldCopy);
        if (careless || self.put_back)
            && let Some((records, private)) = self.old_copy.clone()
        {
            (self.put_back, self.restored) = (false, true);
            self.disk.wipe();
            let batch = Batch { records, ..Batch::default() };
            let restored = self.disk.clone().commit(&batch);
            restored.and_then(|()| self.disk.write(|now| *now = private)).expect("the disk was just emptied");
        }
        match Book::load(&self.ledger, self.now(shared)) {
            Ok(mut book) => {
                if shared.flaw == Some(Flaw::NoQuota) {
                    let all = (0..PEOPLE).map(|number| Person::of(number).author).collect();
                    book.set_staked(&self.ledger, all).expect("a disk can always be read");
                }
                let (view, pins) = (shared.chain.view().clone(), self.disk.private().pins.clone());
                let epoch = u32::try_from(self.now(shared)).unwrap_or(u32::MAX);
                self.mind = Some(Mind { book, view, pins, started: shared.agenda.now(), epoch, ..Mind::default() });
            }
            Err(error) => shared.checks.fail(format!("node {} cannot read its book: {error}", self.number)),
        }
        self.reload(shared);
    }

    /// Loses everything that is not on disk.
    pub fn crash(&mut self) {
        self.mind = None;
    }

    /// Tells whether this machine knows of a funding, now or in its old copy.
    pub fn has_money_under_way(&self) -> bool {
        let has_begun = |local: &Local| local.funding_tx.is_some() || local.negotiation.has_chosen();
        let has = |private: &Private| !private.shares.is_empty() || private.locals.values().any(has_begun);
        has(&self.disk.private()) || self.old_copy.as_ref().is_some_and(|(_, private)| has(private))
    }

    /// Keeps a copy of the disk as it is now. What is frozen of forked logs is left out.
    pub fn copy_disk(&mut self) {
        let heads = self.ledger.storage().heads(None, MAX_HEADS).unwrap_or_default();
        let logs = heads.into_iter().flat_map(|head| self.ledger.storage().range(&head.log, 0, MAX_HEADS));
        self.old_copy = Some((logs.flatten().collect(), self.disk.private().clone()));
    }

    /// Takes a message in.
    pub fn receive(&mut self, from: usize, packet: Packet, shared: &mut Shared) {
        match packet {
            Packet::Gossip(bytes) => match self.ingest(from, &[bytes], shared).first() {
                Some(Verdict::Orphan(log)) => self.want_log(from, *log, shared),
                Some(Verdict::Reject) => shared.ban(self.number, from),
                Some(Verdict::Accept | Verdict::Keep | Verdict::Ignore | Verdict::Later) | None => {}
            },
            Packet::Fork(bytes) => self.hear_of_fork(from, &bytes, shared),
            Packet::Ask(session, token, request) => self.serve(from, session, token, &request, shared),
            Packet::Answer(session, token, answer) => self.answered(from, session, token, answer, shared),
            Packet::Mail(bytes) => self.take_mail(from, &bytes, shared),
            Packet::MailPut(envelopes) => self.put_all(from, envelopes, shared),
            Packet::MailTaken(envelopes) => self.mail_taken(from, envelopes),
            Packet::MailFetch(mailboxes) => self.serve_mail(from, mailboxes, shared),
            Packet::MailFound(found) => self.mail_found(from, found, shared),
        }
    }

    /// Takes in the proof that a log has forked. If it is news, others are told where it is kept.
    fn hear_of_fork(&mut self, from: usize, bytes: &Bytes, shared: &mut Shared) {
        let Some(proof) = Proof::decode(bytes) else { return shared.ban(self.number, from) };
        let verdicts = self.judge(&proof.records.map(Bytes::from), shared);
        if verdicts.contains(&Verdict::Reject) {
            shared.ban(self.number, from);
        } else if !verdicts.contains(&Verdict::Accept) && verdicts.contains(&Verdict::Orphan(proof.log)) {
            self.want_log(from, proof.log, shared);
        }
    }

    /// Lets records in that a peer sent, and passes on what was new. One verdict for each, in order.
    pub fn ingest(&mut self, from: usize, bytes: &[Bytes], shared: &mut Shared) -> Vec<Verdict> {
        let verdicts = self.judge(bytes, shared);
        let new = bytes.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Accept);
        for (bytes, _) in new.take(MAX_FRESH) {
            for peer in shared.network.peers(self.number).into_iter().filter(|peer| *peer != from) {
                shared.send(self.number, peer, Packet::Gossip(bytes.clone()));
            }
        }
        verdicts
    }

    /// Lets records in. One verdict for each, in order.
    fn judge(&mut self, bytes: &[Bytes], shared: &mut Shared) -> Vec<Verdict> {
        let decoded: Vec<Option<Record>> = bytes.iter().map(|bytes| shared.record(bytes)).collect();
        let is_wanted = |record: &&Record| {
            let header = record.header();
            let kept = self.ledger.storage().id_at(&header.log, header.seq).ok().flatten();
            shared.flaw != Some(Flaw::KeepsFirstHistory) || kept.is_none_or(|kept| kept == record.id())
        };
        let good: Vec<Record> = decoded.iter().flatten().filter(is_wanted).cloned().collect();
        let admissions = self.admit(&good, shared);
        let mut judged: BTreeMap<RecordId, VecDeque<Verdict>> = BTreeMap::new();
        for (number, record) in good.iter().enumerate() {
            let verdict = match admissions.as_ref().map(|admissions| &admissions[number]) {
                Ok(Admission::Equivocation) if shared.hides_forks() => Verdict::Keep,
                Ok(admission) => {
                    let is_beyond = self.is_beyond(admission, record);
                    if let Some(mind) = self.mind.as_mut().filter(|_| is_beyond) {
                        mind.outgrown.insert(record.header().log);
                    }
                    Verdict::of(admission, record, is_beyond)
                }
                Err(_) => Verdict::Later,
            };
            judged.entry(record.id()).or_default().push_back(verdict);
        }
        let verdicts = decoded.iter().map(|record| match record {
            Some(record) => judged.get_mut(&record.id()).and_then(VecDeque::pop_front).unwrap_or(Verdict::Ignore),
            None => Verdict::Reject,
        });
        verdicts.collect()
    }

    /// Tells every peer that a log has forked, once.
    fn tell_of_fork(&mut self, log: LogId, shared: &mut Shared) {
        let is_news = self.mind.as_mut().is_some_and(|mind| mind.told.insert(log));
        let proof = self.ledger.fork_proof(&log).ok().flatten();
        let proof = proof.filter(|proof| !proof.iter().any(Record::is_bare)); // others learn of it when they compare
        if let Some(proof) = proof.filter(|_| is_news && !shared.hides_forks()) {
            let bytes: Bytes = Proof::of(&proof).encode().into();
            for peer in shared.network.peers(self.number) {
                shared.send(self.number, peer, Packet::Fork(bytes.clone()));
            }
        }
    }

    /// Lets records in, with one commit unless forks take much, and tells book and trades. Signatures were checked.
    fn admit(&mut self, records: &[Record], shared: &mut Shared) -> Result<Vec<Admission>, StorageError> {
        let now = self.now(shared);
        let mut admissions = Vec::with_capacity(records.len());
        while admissions.len() < records.len() {
            let (some, batch) = self.ledger.plan(&records[admissions.len()..], now)?;
            if !batch.is_empty() {
                self.disk.clone().commit(&batch)?;
                self.committed(&batch, shared);
            }
            admissions.extend(some);
        }
        Ok(admissions)
    }

    /// Tells everybody in this node, and the checks, what was kept.
    fn committed(&mut self, batch: &Batch, shared: &mut Shared) {
        shared.checks.committed(self.number, batch);
        self.replica.changed();
        let mut affected = BTreeSet::new();
        for record in &batch.records {
            shared.trace.note(shared.agenda.now(), self.number, "keeps", record.id().as_bytes());
            let Some(mind) = self.mind.as_mut() else { continue };
            // Of a bare record as little is known as of a kind that this code does not know.
            let body = Body::decode(record).unwrap_or(Body::Unknown(record.header().kind.code()));
            if let Body::Accept(accept) = &body {
                mind.first_accepted.entry(accept.offer).or_insert(accept.trade);
            }
            if let Err(error) = mind.book.apply(&self.ledger, record, &body) {
                shared.checks.fail(format!("node {} cannot update its book: {error}", self.number));
            }
            affected.extend(self.affected_by(record, &body));
        }
        for (log, fork) in &batch.forks {
            shared.trace.note(shared.agenda.now(), self.number, "freezes", log.author.as_bytes());
            shared.trace.note(shared.agenda.now(), self.number, "from place", &fork.from.to_le_bytes());
            self.tell_of_fork(*log, shared);
            let Some(mind) = self.mind.as_mut() else { continue };
            if let Err(error) = mind.book.recheck_author(&self.ledger, &log.author) {
                shared.checks.fail(format!("node {} cannot update its book: {error}", self.number));
            }
            // Whatever rested on what is frozen now has to be looked at again.
            let Some(mind) = &self.mind else { continue };
            let theirs = |trade: &&Trade| trade.bid().role_of(&log.author).is_some();
            affected.extend(mind.trades.values().filter(theirs).map(Trade::id));
            // What came in as a part of it says something too: a bid may be among it, of which this node has to judge.
            for record in &fork.frozen {
                affected.extend(record.decoded().map(|body| self.affected_by(record, body)).unwrap_or_default());
            }
        }
        let acting = self.mind.as_ref().and_then(|mind| mind.acting);
        for trade in affected.into_iter().filter(|trade| Some(*trade) != acting) {
            self.refresh(trade, shared);
        }
        for record in &batch.records {
            if let Ok(Body::Accept(accept)) = record.decoded().map(|body| &**body) {
                self.unpark(accept.trade, shared);
            }
        }
    }

    /// Signs a body as the next record of the own log, keeps it, and passes it on. Nothing when the disk fails or the log
    /// does not take it.
    pub fn publish(&mut self, body: &Body, shared: &mut Shared) -> Option<Record> {
        let now = self.now(shared);
        let (log, head) = self.own_log(body, now, shared)?;
        let header = match head {
            Some(head) => Header::after(&head, NETWORK, body.kind(), now),
            None => Header::first(log, NETWORK, body.kind(), now, ticket(&log)),
        };
        let record = Record::sign(header, body.encode(), |message| self.person.sign(message)).ok()?;
        Body::decode(&record).ok()?;
        let bytes = shared.know(&record);
        let (admissions, batch) = self.ledger.plan(std::slice::from_ref(&record), now).ok()?;
        if admissions != [Admission::New] {
            return None;
        }
        self.disk.commit_own(&batch, record.as_head()).ok()?;
        self.mind.as_mut()?.opened.insert(log);
        shared.trace.note(shared.agenda.now(), self.number, "publishes", record.id().as_bytes());
        self.committed(&batch, shared);
        for peer in shared.network.peers(self.number) {
            shared.send(self.number, peer, Packet::Gossip(bytes.clone()));
        }
        Some(record)
    }

    /// Returns the log to write to: the one that this machine wrote all of, as its note proves, if a peer has shown since
    /// the start that nothing came after it; otherwise a new one, for what is worth one. Nothing while that is still to be
    /// seen.
    fn own_log(&self, body: &Body, now: u64, shared: &Shared) -> Option<(LogId, Option<Head>)> {
        let mind = self.mind.as_ref()?;
        if let Some(noted) = self.disk.private().own_head {
            let head = self.ledger.storage().head(&noted.log).ok()?;
            if head == Some(noted) && noted.has_room(now) {
                let careless = shared.flaw == Some(Flaw::RestoresOldCopy);
                let confirmed = mind.compared || mind.opened.contains(&noted.log);
                if careless || (confirmed && !mind.outgrown.contains(&noted.log)) {
                    return Some((noted.log, head));
                }
                let waits = shared.agenda.now() < mind.started + COMPARISON_WAIT_MS;
                if waits || body.kind().waits_for_its_log() {
                    return None;
                }
            }
        }
        if self.ledger.opens_no_log(body) {
            return None;
        }
        let first = u32::try_from(now).ok()?;
        for epoch in first..=first.saturating_add(1000) {
            let log = LogId { author: self.person.author, epoch };
            if self.ledger.storage().head(&log).ok()?.is_none() {
                return Some((log, None));
            }
        }
        None
    }

    /// Tells whether one of these logs goes on here, as far as is known.
    pub fn goes_on_in(&self, logs: &[LogId], shared: &Shared) -> bool {
        let next = self.own_log(&Body::Heartbeat, self.now(shared), shared);
        matches!(next, Some((log, Some(_))) if logs.contains(&log))
    }

    /// Tells whether a record stands beyond the end that an own log has here.
    fn is_beyond(&self, admission: &Admission, record: &Record) -> bool {
        let wrote_here = || self.disk.private().own_head.is_some_and(|head| head.log.author == record.author());
        is_beyond(self.ledger.storage(), admission, record, wrote_here)
    }
}
