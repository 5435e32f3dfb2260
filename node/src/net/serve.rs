//! Answering a peer's requests from the replica.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use exchange_ledger::sync;
use libp2p::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::gate::Offence;
use super::peers::Asker;
use super::protocol::{Delivery, MAX_ANSWER_BYTES, MAX_MAIL_LEN, Request, Response};
use super::queue::{Sender, queue};
use super::swarm::Report;
use super::sync::reading;
use super::{Replica, Verdict};
use crate::join::joined;

/// What a mailbox that a request names takes of what a peer is served, and an envelope that it brings: a look into the
/// store, and a signature. See [`sync::Request::work`].
const MAILBOX_WORK: usize = 1024;
const ENVELOPE_WORK: usize = 4096;

/// Look-ups at once at least: while one waits for the disk another goes on.
const MIN_TURNS: usize = 2;

/// How many wait for their turn: as many as all peers may ask at once. Those who have given up stay in line until somebody comes
/// to it; where they leave no room, it is the longest line that makes some.
const MAX_WAITING: usize = 1024;

/// The right to look something up.
type Turn = OwnedSemaphorePermit;

/// Whose turn it is to look something up: each address has a line, and the lines take turns. Half of the cores are for it, so
/// that whatever peers ask, and however many of them, what this node takes in, publishes and shows goes on. Mail has turns of
/// its own, for to keep it waits for the disk.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    ledger: Arc<Sender<oneshot::Sender<Turn>>>,
    mail: Arc<Sender<oneshot::Sender<Turn>>>,
}

impl Turns {
    pub fn for_this_machine() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::new(MIN_TURNS.max(cores / 2))
    }

    /// Returns so many turns of each kind.
    pub fn new(number: usize) -> Self {
        Self { ledger: Arc::new(hand_out(number)), mail: Arc::new(hand_out(number)) }
    }
}

/// Starts a task that hands out turns, so many at once, until what it returns is dropped.
fn hand_out(number: usize) -> Sender<oneshot::Sender<Turn>> {
    let (asked, mut waiting) = queue::<oneshot::Sender<Turn>>(MAX_WAITING);
    let turns = Arc::new(Semaphore::new(number));
    tokio::spawn(async move {
        while let Ok(turn) = Arc::clone(&turns).acquire_owned().await
            && let Some(next) = waiting.take(1).await.pop()
        {
            drop(next.send(turn)); // who has given up leaves it to the next
        }
    });
    asked
}

/// Waits for a turn; `None` when who asks has gone, or has far too many in line.
async fn turn(of: &Sender<oneshot::Sender<Turn>>, asker: &Asker) -> Option<Turn> {
    let (turn, given) = oneshot::channel();
    // Or those of his address who ask and go would leave him no place.
    of.discard(asker.source, oneshot::Sender::is_closed);
    drop(of.put(asker.source, turn));
    asker.gone.run_until_cancelled(given).await?.ok()
}

/// Does something for mail when it has its turn, which it keeps to its end even if nobody waits for it any more. `None` when
/// it gets none, or the node is stopping.
async fn for_mail<R: Send + 'static>(
    turns: &Turns,
    asker: &Asker,
    work: impl Future<Output = R> + Send + 'static,
) -> Option<R> {
    let turn = turn(&turns.mail, asker).await?;
    let task = tokio::spawn(async move {
        let result = work.await;
        drop(turn);
        result
    });
    joined(task).await
}

/// A response, and what this node learned from the request.
#[derive(Debug)]
pub(super) struct Answer {
    pub response: Response,
    pub news: News,
    /// About how many bytes it takes.
    pub size: usize,
}

/// What a request tells about its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// Its ledger equals ours.
    InSync,
    /// Its ledger differs from ours, and has all that ours has.
    Differs,
}

/// Returns about how many bytes could be served in the time that it takes to look at what a request names, found or not.
pub(super) fn work(request: &Request) -> usize {
    match request {
        Request::Ledger(request) => request.work(),
        Request::MailFetch(cursors) => cursors.len() * MAILBOX_WORK,
        Request::MailPut(envelopes) => envelopes.len() * ENVELOPE_WORK,
    }
}

/// Keeps an envelope that a peer has brought, and reports it if it is new to us and perhaps to others. That is done before
/// anything else is looked at: the request may end in an offence, or not in its time, and what is kept must be passed on all
/// the same, for copies of it that others bring are not.
async fn put_mail(
    replica: Arc<dyn Replica>,
    peer: PeerId,
    reports: mpsc::Sender<Report>,
    envelope: Vec<u8>,
) -> Verdict {
    let verdict = replica.put_mail(envelope.clone()).await;
    if verdict == Verdict::Accept {
        // When the network is stopping nothing is passed on.
        reports.send(Report::Brought { peer, envelope }).await.ok();
    }
    verdict
}

/// Answers a request that has passed its check. What it brings for others is reported by itself.
pub(super) async fn answer(
    replica: &Arc<dyn Replica>,
    turns: &Turns,
    asker: &Asker,
    request: Request,
    reports: &mpsc::Sender<Report>,
) -> Result<Answer, Offence> {
    match request {
        Request::Ledger(request) => {
            let Some(turn) = turn(&turns.ledger, asker).await else { return Ok(plain(Response::Busy, 1)) };
            let answered = reading(replica, move |own| {
                let answered = sync::answer(own, &request);
                drop(turn);
                answered
            });
            let (answer, news) = match answered.await {
                Some(Ok(answered)) => answered,
                Some(Err(error)) => {
                    tracing::error!(%error, "a peer's question cannot be answered");
                    return Ok(plain(Response::Busy, 1));
                }
                None => return Ok(plain(Response::Busy, 1)),
            };
            let news = match news {
                sync::News::None => News::None,
                sync::News::Same => News::InSync,
                sync::News::Differs => News::Differs,
            };
            Ok(Answer { size: answer.size(), response: Response::Ledger(answer), news })
        }
        Request::MailFetch(cursors) => {
            let mut room = MAX_ANSWER_BYTES;
            let mut deliveries = Vec::new();
            for want in cursors {
                // With less room a mailbox might look empty just because its first envelope does not fit.
                if room < MAX_MAIL_LEN {
                    break;
                }
                let kept = Arc::clone(replica);
                let look_up = async move { kept.mail(want.mailbox, want.after, room).await };
                let Some((envelopes, cursor)) = for_mail(turns, asker, look_up).await else {
                    // No mailbox was looked at: an empty answer would be one to another question.
                    if deliveries.is_empty() {
                        return Ok(plain(Response::Busy, 1));
                    }
                    break;
                };
                room = room.saturating_sub(envelopes.iter().map(Vec::len).sum());
                deliveries.push(Delivery { envelopes, cursor });
            }
            Ok(plain(Response::Mail(deliveries), MAX_ANSWER_BYTES - room))
        }
        Request::MailPut(envelopes) => {
            for envelope in envelopes {
                let put = put_mail(Arc::clone(replica), asker.peer, reports.clone(), envelope);
                match for_mail(turns, asker, put).await {
                    Some(Verdict::Accept | Verdict::Keep | Verdict::Ignore | Verdict::Later | Verdict::Orphan(_)) => {}
                    Some(Verdict::Reject) => return Err(Offence::InvalidMail),
                    // What was not looked at is not taken: it is offered again.
                    None => return Ok(plain(Response::Busy, 1)),
                }
            }
            Ok(plain(Response::Taken, 1))
        }
    }
}

fn plain(response: Response, size: usize) -> Answer {
    Answer { response, news: News::None, size }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use exchange_ledger::ids::{AuthorId, MailboxId, StateHash};
    use exchange_ledger::record::{LogId, Record};
    use exchange_ledger::sync::Salt;
    use exchange_ledger::sync::message::{ItemWant, MAX_ITEMS, MAX_WANTS, Want};
    use exchange_ledger::sync::sketch::Item;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::super::Own;
    use super::super::config::NetLimits;
    use super::super::origin::Source;
    use super::super::peers::{MAX_ANSWERS, Peers};
    use super::super::protocol::{MAX_MAILBOXES, MAX_PUT, WireCursor};
    use super::*;

    /// Returns how many such requests of one peer are answered in ten seconds, though the answers are next to nothing.
    fn answered_in_ten_seconds(request: &Request) -> usize {
        let start = Instant::now();
        let mut peers = Peers::new(&NetLimits::default(), false);
        let peer = PeerId::random();
        peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), false, start);
        let mut asks = |now| {
            let admitted = peers.admit(peer, now).is_some();
            if admitted {
                peers.charge(peer, None, work(request), now);
            }
            admitted
        };
        (0..10_000).filter(|ms| asks(start + Duration::from_millis(*ms))).count()
    }

    #[test]
    fn one_address_makes_little_more_work_by_eight_peers_that_come_again_and_again_than_by_one_that_stays() {
        let start = Instant::now();
        let mut peers = Peers::new(&NetLimits::default(), false);
        let wants = (0..MAX_ITEMS as u64).map(|item| ItemWant { item: Item(item), from: u64::MAX }).collect();
        let request = Request::Ledger(sync::Request::Items { salt: Salt([0; 16]), wants });
        let mut answered = 0;
        for second in 0..10 {
            let ids: Vec<PeerId> = (0..8).map(|_| PeerId::random()).collect();
            let at = |ms: u64| start + Duration::from_millis(1000 * second + ms);
            for id in &ids {
                peers.connected(*id, "/ip4/203.0.113.7/tcp/1".parse().unwrap(), false, at(0));
            }
            for (ms, id) in (0..990).flat_map(|ms| ids.iter().map(move |id| (ms, *id))) {
                if peers.admit(id, at(ms)).is_some() {
                    peers.charge(id, peers.network(&id), work(&request), at(ms));
                    answered += 1;
                }
            }
            ids.into_iter().for_each(|id| peers.disconnected(id, at(995)));
        }
        let by_one = answered_in_ten_seconds(&request);
        assert!(answered < by_one * 3 / 2, "{answered} where one has {by_one}");
    }

    #[test]
    fn what_a_request_makes_this_node_look_up_counts_too() {
        let log = LogId { author: AuthorId([1; 32]), epoch: 0 };
        let item = ItemWant { item: Item(1), from: u64::MAX };
        let items = sync::Request::Items { salt: Salt([0; 16]), wants: vec![item; MAX_ITEMS] };
        let cursor = WireCursor { mailbox: MailboxId([1; 32]), after: 0 };
        for (request, most) in [
            (Request::Ledger(items), 300),
            (Request::MailFetch(vec![cursor; MAX_MAILBOXES]), 500),
            (Request::MailPut(vec![Vec::new(); MAX_PUT]), 1000),
        ] {
            let answered = answered_in_ten_seconds(&request);
            assert!(answered < most, "{answered}");
        }
        // What an honest node asks for in a first download stays within its hundred requests a second.
        for request in [
            sync::Request::Compare { digest: StateHash([0; 32]), symbols: 64 },
            sync::Request::Heads { after: None, limit: 1000 },
            sync::Request::Ranges(vec![Want::new(log, 0); MAX_WANTS]),
        ] {
            let answered = answered_in_ten_seconds(&Request::Ledger(request));
            assert!(answered > 1300, "{answered}");
        }
    }

    /// A replica that takes its time, and notes how many are at it at once.
    #[derive(Default)]
    struct Slow {
        at_it: AtomicUsize,
        most: AtomicUsize,
    }

    impl Slow {
        const TIME: Duration = Duration::from_millis(20);

        fn enter(&self) {
            let now = self.at_it.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
        }

        fn leave(&self) {
            self.at_it.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl Replica for Slow {
        async fn ingest(&self, _: Vec<Vec<u8>>) -> Vec<Verdict> {
            Vec::new()
        }

        async fn restore(&self, _: Vec<Record>) -> usize {
            0
        }

        fn read(&self, _: &mut dyn FnMut(&dyn Own)) {
            self.enter();
            thread::sleep(Self::TIME);
            self.leave();
        }

        async fn put_mail(&self, _: Vec<u8>) -> Verdict {
            self.enter();
            tokio::time::sleep(Self::TIME).await;
            self.leave();
            Verdict::Accept
        }

        async fn mail(&self, _: MailboxId, after: u64, _: usize) -> (Vec<Vec<u8>>, u64) {
            self.put_mail(Vec::new()).await;
            (Vec::new(), after)
        }

        async fn my_mailboxes(&self) -> Vec<MailboxId> {
            Vec::new()
        }

        async fn my_outbox(&self) -> Vec<Vec<u8>> {
            Vec::new()
        }

        fn compared(&self) {}

        async fn peer_changed(&self, _: PeerId, _: bool) {}
    }

    fn asker() -> Asker {
        let peer = PeerId::random();
        Asker { peer, source: Source::Peer(peer), gone: CancellationToken::new() }
    }

    #[tokio::test]
    async fn who_asks_little_waits_for_one_look_up_of_who_asks_much_and_who_has_gone_for_none() {
        let turns = Turns::new(1);
        let (much, gone, little) = (asker(), asker(), asker());
        let (tell, mut told) = mpsc::unbounded_channel();
        let ask = |who: &Asker, name: &'static str| {
            let (turns, who, tell) = (turns.clone(), who.clone(), tell.clone());
            tokio::spawn(async move {
                let turn = turn(&turns.ledger, &who).await;
                tell.send((name, turn.is_some())).unwrap();
            });
        };
        let settle = async || {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        let held = turn(&turns.ledger, &much).await;
        assert!(held.is_some());
        (0..50).for_each(|_| ask(&much, "much"));
        ask(&gone, "gone");
        settle().await;
        ask(&little, "little");
        settle().await;
        gone.gone.cancel();
        assert_eq!(told.recv().await, Some(("gone", false)));
        drop(held);
        let first = [told.recv().await, told.recv().await];
        assert_eq!(first, [Some(("much", true)), Some(("little", true))]);
    }

    #[test]
    fn whatever_peers_may_ask_at_once_finds_room_in_line() {
        let NetLimits { max_incoming, max_outgoing, .. } = NetLimits::default();
        let peers = usize::try_from(max_incoming + max_outgoing).unwrap();
        assert!(peers * MAX_ANSWERS <= MAX_WAITING, "{peers} peers");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn few_answers_are_looked_up_at_once_however_many_are_asked_for_and_given_up() {
        let slow = Arc::new(Slow::default());
        let replica: Arc<dyn Replica> = slow.clone();
        let turns = Turns::new(2);
        let (reports, _reported) = mpsc::channel(1000);
        let cursor = WireCursor { mailbox: MailboxId([1; 32]), after: 0 };
        for request in [
            Request::Ledger(sync::Request::Finished { digest: StateHash([0; 32]) }),
            Request::MailPut(vec![Vec::new(); 2]),
            Request::MailFetch(vec![cursor; 2]),
        ] {
            let asks = |_| {
                let (replica, turns, request) = (replica.clone(), turns.clone(), request.clone());
                let reports = reports.clone();
                // Some are at it when their time is over, and some have not begun.
                let patience = Slow::TIME * 5 / 2;
                tokio::spawn(async move {
                    tokio::time::timeout(patience, answer(&replica, &turns, &asker(), request, &reports)).await.ok();
                })
            };
            let asked: Vec<_> = (0..20).map(asks).collect();
            for asker in asked {
                asker.await.unwrap();
            }
            while slow.at_it.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Slow::TIME).await;
            }
            let most = slow.most.swap(0, Ordering::SeqCst);
            assert!((1..=2).contains(&most), "{most} at once");
        }
    }

    #[tokio::test]
    async fn who_gets_no_turn_for_his_mail_is_told_so() {
        let replica: Arc<dyn Replica> = Arc::new(Slow::default());
        let (turns, who) = (Turns::new(1), asker());
        let (reports, _reported) = mpsc::channel(1);
        let _held = turn(&turns.mail, &asker()).await;
        who.gone.cancel();
        let cursor = WireCursor { mailbox: MailboxId([1; 32]), after: 0 };
        for request in [Request::MailFetch(vec![cursor; 2]), Request::MailPut(vec![vec![7]; 2])] {
            let answer = answer(&replica, &turns, &who, request, &reports).await.unwrap();
            assert_eq!(answer.response, Response::Busy);
        }
    }

    #[tokio::test]
    async fn those_who_ask_and_go_leave_a_place_in_line_to_who_shares_their_address() {
        let turns = Turns::new(1);
        let held = turn(&turns.mail, &asker()).await;
        let (gone, stays) = (asker(), asker());
        gone.gone.cancel();
        for _ in 0..MAX_WAITING {
            assert!(turn(&turns.mail, &gone).await.is_none());
        }
        let stays = Asker { source: gone.source, ..stays };
        let waits = tokio::spawn(async move { turn(&turns.mail, &stays).await.is_some() });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waits.await.unwrap());
    }

    #[tokio::test]
    async fn mail_that_is_kept_only_after_the_time_of_its_request_is_passed_on() {
        let replica: Arc<dyn Replica> = Arc::new(Slow::default());
        let (turns, who) = (Turns::new(1), asker());
        let (reports, mut reported) = mpsc::channel(1);
        let asked = answer(&replica, &turns, &who, Request::MailPut(vec![vec![7]]), &reports);
        tokio::time::timeout(Slow::TIME / 4, asked).await.ok();
        let Some(Report::Brought { peer, envelope }) = reported.recv().await else {
            panic!("nothing else is reported")
        };
        assert_eq!((peer, envelope), (who.peer, vec![7]));
    }
}
