//! A sync session: pulls from one peer what it has and this node lacks.
//!
//! 1. Compare digests; equal ones end the comparison after one round trip.
//! 2. Walk through the peer's heads, page by page, beside our own.
//! 3. Fetch the missing end of every log, many logs in one request. Where the peer's head is no longer than ours and
//!    another one, go back from its last record to where both logs part: so the ledger sees both sides of a fork.
//! 4. Hand over and fetch mail.
//!
//! A session holds no state that outlives it: what it has taken in is in the ledger, so a session that breaks off is
//! resumed by the next one, with any peer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use exchange_ledger::ids::AuthorId;
use exchange_ledger::record::{Head, LogId};
use libp2p::PeerId;

use super::claims::{Claim, Claims};
use super::gate::Offence;
use super::link::Link;
use super::mail::MailMemory;
use super::peers::{Compare, Plan};
use super::protocol::{MAX_ANSWER_BYTES, MAX_HEADS, MAX_WANTS, Request, Response, WireWant};
use super::{Replica, Verdict};

/// The longest session: a first download goes on in the next one, and a peer that drips ends nobody's patience.
const SESSION_LIMIT: Duration = Duration::from_secs(300);
/// Records of a session that are passed on to other peers by gossip; more of them the others fetch by themselves.
pub(super) const MAX_FRESH: usize = 64;
/// Ranges of one log in a row that bring nothing new before the log is left to the next session.
const MAX_FRUITLESS: u8 = 8;

/// One session with one peer.
pub(super) struct Session {
    pub link: Link,
    pub replica: Arc<dyn Replica>,
    pub claims: Claims,
    pub gain: Gain,
}

/// What a session has brought so far.
#[derive(Debug, Default)]
pub(super) struct Gain {
    /// How many records were new.
    pub accepted: u64,
    /// The new records, as long as they are at most [`MAX_FRESH`].
    pub fresh: Vec<Vec<u8>>,
    /// The ledgers were compared to the end.
    pub compared: bool,
    /// There is more to fetch.
    pub unfinished: bool,
}

/// How a session ended.
pub(super) struct SessionEnd {
    pub peer: PeerId,
    pub memory: MailMemory,
    pub gain: Gain,
    pub result: Result<(), SessionError>,
}

/// Why a session broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// Nobody is at fault.
    #[error("the peer does not answer: {0}")]
    Unanswered(String),
    /// The peer is.
    #[error("the peer misbehaved: {0}")]
    Offence(#[from] Offence),
}

impl Session {
    /// Does what is planned. `memory` is what is known of the mail exchanged with this peer.
    pub async fn run(mut self, plan: Plan, mut memory: MailMemory) -> SessionEnd {
        let result = match tokio::time::timeout(SESSION_LIMIT, self.work(plan, &mut memory)).await {
            Ok(result) => result,
            Err(_) => {
                self.gain.unfinished = true;
                Ok(())
            }
        };
        SessionEnd { peer: self.link.peer, memory, gain: self.gain, result }
    }

    async fn work(&mut self, plan: Plan, memory: &mut MailMemory) -> Result<(), SessionError> {
        let mut wants = Vec::new();
        for log in plan.logs {
            let from = own_head(&*self.replica, log).await.map_or(0, |head| head.len);
            wants.push(Want { log, from, until: None, probing: false, back: 1, fruitless: 0 });
        }
        self.fetch(wants).await?;
        self.put_mail(plan.deliver).await?;
        if plan.mail {
            self.exchange_mail(memory).await?;
        }
        let differs = match plan.compare {
            Compare::No => return Ok(()),
            Compare::Differs => true,
            Compare::Ask => self.digests_differ().await?,
        };
        if differs {
            self.compare_heads().await?;
        }
        self.gain.compared = true;
        Ok(())
    }

    async fn digests_differ(&self) -> Result<bool, SessionError> {
        let ours = self.replica.digest().await;
        match self.link.ask(Request::Digest(ours)).await? {
            Response::Digest(theirs) => Ok(theirs != ours),
            Response::Heads(_) | Response::Ranges(_) | Response::Mail(_) | Response::Taken | Response::Busy => {
                Err(Offence::WrongAnswer.into())
            }
        }
    }

    async fn compare_heads(&mut self) -> Result<(), SessionError> {
        let replica = Arc::clone(&self.replica);
        let mut own = OwnHeads::new(&*replica);
        let mut after = None;
        loop {
            let page = self.heads(after).await?;
            let mut wants = Vec::new();
            for theirs in &page {
                wants.extend(Want::of(own.find(theirs.log).await, theirs));
            }
            self.fetch(wants).await?;
            match page.last() {
                Some(last) if page.len() == MAX_HEADS => after = Some(last.log),
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// Returns the peer's heads after a log. They must be in order, or the walk might never end.
    async fn heads(&self, after: Option<LogId>) -> Result<Vec<Head>, SessionError> {
        let limit = u16::try_from(MAX_HEADS).expect("it is a thousand");
        let Response::Heads(heads) = self.link.ask(Request::Heads { after: after.map(Into::into), limit }).await?
        else {
            return Err(Offence::WrongAnswer.into());
        };
        let heads: Vec<Head> = heads.into_iter().map(Into::into).collect();
        let mut before = after;
        for head in &heads {
            if (head.len == 0 && head.frozen.is_none()) || before.is_some_and(|before| before >= head.log) {
                return Err(Offence::WrongAnswer.into());
            }
            before = Some(head.log);
        }
        Ok(heads)
    }

    async fn fetch(&mut self, wants: Vec<Want>) -> Result<(), SessionError> {
        let mut wants = VecDeque::from(wants);
        while !wants.is_empty() {
            let batch = wants.drain(..wants.len().min(MAX_WANTS));
            let claimed: Vec<(Want, Option<Claim>)> = batch.map(|want| (want, self.claims.take(want.log))).collect();
            // What another session is fetching is left to it, and looked at again once it is done.
            self.gain.unfinished |= claimed.iter().any(|(_, claim)| claim.is_none());
            let (mut batch, _claims): (Vec<Want>, Vec<Claim>) =
                claimed.into_iter().filter_map(|(want, claim)| claim.map(|claim| (want, claim))).unzip();
            while !batch.is_empty() {
                batch = self.fetch_once(batch).await?;
            }
        }
        Ok(())
    }

    /// Asks once for several logs and returns what is still wanted afterwards.
    async fn fetch_once(&mut self, wants: Vec<Want>) -> Result<Vec<Want>, SessionError> {
        let request = Request::Ranges {
            wants: wants.iter().map(|want| WireWant { log: want.log.into(), from: want.from }).collect(),
            max_bytes: u32::try_from(MAX_ANSWER_BYTES).expect("it is below 4 GiB"),
        };
        let Response::Ranges(ranges) = self.link.ask(request).await? else {
            return Err(Offence::WrongAnswer.into());
        };
        if ranges.is_empty() || ranges.len() > wants.len() {
            return Err(Offence::WrongAnswer.into());
        }
        let counts: Vec<usize> = ranges.iter().map(Vec::len).collect();
        let records = ranges.into_iter().flatten().collect();
        let verdicts = self.ingest(records).await?;

        let mut verdicts = verdicts.as_slice();
        let mut left = Vec::new();
        for (i, mut want) in wants.into_iter().enumerate() {
            let Some(count) = counts.get(i) else {
                left.push(want); // no room for it this time
                continue;
            };
            let (own, rest) = verdicts.split_at(*count);
            verdicts = rest;
            if want.goes_on(own)? {
                left.push(want);
            }
        }
        Ok(left)
    }

    /// Gives records to the replica, and counts what was new.
    async fn ingest(&mut self, records: Vec<Vec<u8>>) -> Result<Vec<Verdict>, SessionError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let kept = records.clone();
        let mut verdicts = self.replica.ingest(records).await;
        verdicts.resize(kept.len(), Verdict::Ignore);
        for (record, verdict) in kept.into_iter().zip(&verdicts) {
            match verdict {
                Verdict::Accept => {
                    self.gain.accepted += 1;
                    if self.gain.fresh.len() < MAX_FRESH {
                        self.gain.fresh.push(record);
                    }
                }
                Verdict::Keep => self.gain.accepted += 1,
                Verdict::Ignore | Verdict::Orphan(_) => {}
                Verdict::Reject => return Err(Offence::InvalidRecord.into()),
            }
        }
        Ok(verdicts)
    }
}

/// What is still to be fetched of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Want {
    log: LogId,
    from: u64,
    /// How long the peer says its log is; unknown of a forked one, and when an orphan made us ask.
    until: Option<u64>,
    /// Whether `from` is a place of our own chain: another record there proves a fork, and there may be an earlier one.
    probing: bool,
    /// How far to go back next.
    back: u64,
    fruitless: u8,
}

impl Want {
    /// Returns what to fetch of a log, given our head and the peer's.
    fn of(own: Option<Head>, theirs: &Head) -> Option<Self> {
        let until = theirs.frozen.is_none().then_some(theirs.len);
        let want = Self { log: theirs.log, from: 0, until, probing: false, back: 1, fruitless: 0 };
        match own {
            None => Some(want),
            Some(own) if own.len < theirs.len => Some(Self { from: own.len, ..want }),
            Some(own) if own.len == theirs.len && own.id == theirs.id => {
                // The same chain: what matters is what is frozen after it.
                let frozen = theirs.frozen.filter(|frozen| own.frozen != Some(*frozen));
                frozen.map(|_| Self { from: own.len, ..want })
            }
            // The same place with another record, or a place that we have passed: a fork, if the ledger does not know
            // the record. Only the ledger can tell.
            Some(_) => Some(Self { from: theirs.len.saturating_sub(1), probing: true, ..want }),
        }
    }

    /// Notes how the records from `from` on were judged, and tells whether there is more to ask for.
    fn goes_on(&mut self, verdicts: &[Verdict]) -> Result<bool, Offence> {
        let Some(first) = verdicts.first() else {
            // Nothing there: the end of a log of unknown length, or a promise that was not kept.
            return if self.until.is_some() { Err(Offence::EmptyPromise) } else { Ok(false) };
        };
        let is_orphan = |verdict: &Verdict| matches!(verdict, Verdict::Orphan(_));
        if self.from > 0 && (is_orphan(first) || self.probing && *first != Verdict::Ignore) {
            // The peer's log parts from ours earlier: look for the place by ever larger steps.
            self.from = self.from.saturating_sub(self.back);
            self.back = self.back.saturating_mul(2);
            self.probing = true;
            return Ok(true);
        }
        self.probing = false;
        if verdicts.iter().any(is_orphan) {
            return Ok(false);
        }
        self.from = self.from.saturating_add(verdicts.len() as u64); // usize is at most 64 bits
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Accept | Verdict::Keep)) {
            self.fruitless = 0;
        } else {
            self.fruitless += 1;
        }
        Ok(self.fruitless < MAX_FRUITLESS && self.until.is_none_or(|until| self.from < until))
    }
}

/// Our own heads, walked through in order beside a peer's.
struct OwnHeads<'a> {
    replica: &'a dyn Replica,
    page: VecDeque<Head>,
    after: Option<LogId>,
    ended: bool,
}

impl<'a> OwnHeads<'a> {
    fn new(replica: &'a dyn Replica) -> Self {
        Self { replica, page: VecDeque::new(), after: None, ended: false }
    }

    /// Returns our head of a log. Logs must be asked for in ascending order.
    async fn find(&mut self, log: LogId) -> Option<Head> {
        loop {
            while let Some(head) = self.page.pop_front_if(|head| head.log <= log) {
                if head.log == log {
                    return Some(head);
                }
            }
            if self.ended || !self.page.is_empty() {
                return None;
            }
            self.page = self.replica.heads(self.after, MAX_HEADS).await.into();
            match self.page.back() {
                Some(last) => self.after = Some(last.log),
                None => self.ended = true,
            }
        }
    }
}

/// Returns our head of one log: the first after its predecessor, if that is it.
async fn own_head(replica: &dyn Replica, log: LogId) -> Option<Head> {
    replica.heads(predecessor(log), 1).await.first().copied().filter(|head| head.log == log)
}

/// Returns the log just before in the order of logs; `None` before the first.
fn predecessor(log: LogId) -> Option<LogId> {
    if log.epoch > 0 {
        return Some(LogId { epoch: log.epoch - 1, ..log });
    }
    let mut author = log.author.0;
    for byte in author.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return Some(LogId { author: AuthorId(author), epoch: u32::MAX });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::{FrozenHash, RecordId};

    use super::*;

    fn log(author: u8, epoch: u32) -> LogId {
        LogId { author: AuthorId([author; 32]), epoch }
    }

    fn head(len: u64, id: u8) -> Head {
        Head { log: log(1, 0), len, id: RecordId([id; 32]), time: 0, frozen: None }
    }

    #[test]
    fn what_to_fetch_follows_from_the_two_heads() {
        let from = |own, theirs| Want::of(own, &theirs).map(|want| (want.from, want.until));
        assert_eq!(from(None, head(3, 3)), Some((0, Some(3))), "an unknown log");
        assert_eq!(from(Some(head(2, 2)), head(3, 3)), Some((2, Some(3))), "a longer log");
        assert_eq!(from(Some(head(3, 3)), head(3, 3)), None, "the same log");
        assert_eq!(from(Some(head(3, 3)), head(3, 4)), Some((2, Some(3))), "a fork at the last record");
        assert_eq!(from(Some(head(5, 5)), head(3, 4)), Some((2, Some(3))), "perhaps a fork below");
    }

    #[test]
    fn a_log_that_does_not_continue_ours_is_followed_back_by_ever_larger_steps() {
        let mut want = Want::of(Some(head(20, 2)), &head(22, 4)).unwrap();
        let orphan = Verdict::Orphan(want.log);
        assert_eq!(want.goes_on(&[orphan, orphan]), Ok(true));
        assert_eq!(want.from, 19);
        for from in [17, 13, 5] {
            assert_eq!(want.goes_on(&[Verdict::Accept, Verdict::Keep]), Ok(true), "a fork, perhaps not the first");
            assert_eq!(want.from, from);
        }
        assert_eq!(want.goes_on(&[Verdict::Ignore, Verdict::Ignore, Verdict::Accept]), Ok(true));
        assert_eq!(want.from, 8, "what is common ends here");
    }

    #[test]
    fn frozen_records_are_fetched_from_the_end_of_the_chain_on() {
        let frozen = |len, id, hash| Head { frozen: Some(FrozenHash([hash; 32])), ..head(len, id) };
        let from = |own, theirs| Want::of(Some(own), &theirs).map(|want| (want.from, want.until));
        assert_eq!(from(frozen(3, 3, 1), frozen(3, 3, 1)), None);
        assert_eq!(from(frozen(3, 3, 1), frozen(3, 3, 2)), Some((3, None)));
        assert_eq!(from(head(3, 3), frozen(3, 3, 2)), Some((3, None)));
        assert_eq!(from(frozen(3, 3, 2), head(3, 3)), None, "the peer fetches them from us");
        assert_eq!(from(head(5, 5), frozen(3, 3, 2)), Some((2, None)));
        assert_eq!(from(head(5, 5), frozen(0, 0, 2)), Some((0, None)), "nothing but frozen records");
    }

    #[test]
    fn promises_are_kept_or_punished_and_repetition_ends() {
        let mut want = Want::of(None, &head(u64::MAX, 1)).unwrap();
        assert_eq!(want.clone().goes_on(&[]), Err(Offence::EmptyPromise));
        for _ in 1..MAX_FRUITLESS {
            assert_eq!(want.goes_on(&[Verdict::Ignore]), Ok(true));
        }
        assert_eq!(want.goes_on(&[Verdict::Ignore]), Ok(false));
    }

    #[test]
    fn the_predecessor_of_a_log_is_just_before_it() {
        assert_eq!(predecessor(log(7, 3)), Some(log(7, 2)));
        assert_eq!(predecessor(log(0, 0)), None);
        let mut author = [0; 32];
        author[30] = 1;
        let before = predecessor(LogId { author: AuthorId(author), epoch: 0 }).unwrap();
        author[30] = 0;
        author[31] = 0xff;
        assert_eq!(before, LogId { author: AuthorId(author), epoch: u32::MAX });
    }
}
