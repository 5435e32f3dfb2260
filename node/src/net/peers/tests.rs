//! Who is synced with when, whatever peers wish and do.

use exchange_ledger::ids::AuthorId;
use exchange_ledger::record::LogId;

use super::plan::MAX_WANTED_LOGS;
use super::*;

fn log(author: u8) -> LogId {
    LogId { author: AuthorId([author; 32]), epoch: 0 }
}

fn one_peer(now: Instant) -> (Peers, PeerId) {
    let limits = NetLimits { sync_interval: Duration::from_secs(20), serve_rate: 1000, ..NetLimits::default() };
    let mut peers = Peers::new(&limits, false);
    let peer = PeerId::random();
    peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), false, now);
    (peers, peer)
}

/// Adds a peer of our network.
fn another(peers: &mut Peers, dialled: bool, now: Instant) -> PeerId {
    let peer = PeerId::random();
    peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), dialled, now);
    peers.identified(peer, "a");
    peer
}

/// Starts the session that is due, if any is.
fn begin(peers: &mut Peers, now: Instant) -> Option<(PeerId, task::Id)> {
    let peer = peers.due(now)?;
    peers.take_plan(peer, now);
    let session = tokio::spawn(async {}).id();
    peers.started(peer, session);
    Some((peer, session))
}

#[test]
fn a_peer_counts_once_it_is_identified_and_is_then_compared_with() {
    let now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    assert_eq!(peers.due(now), None);
    assert!(peers.infos().is_empty());
    peers.identified(peer, "agent\n\u{1b}[31m/1");
    assert_eq!(peers.due(now), Some(peer));
    assert_eq!(peers.infos()[0].agent, "agent[31m/1", "no control character reaches a terminal");
    let (plan, _) = peers.take_plan(peer, now).unwrap();
    assert!(plan.mail && plan.compare);
    assert_eq!(peers.due(now + Duration::from_secs(14)), None);
    assert_eq!(peers.due(now + Duration::from_secs(26)), Some(peer), "and again after the interval");
}

#[tokio::test]
async fn sessions_with_a_peer_come_one_after_another() {
    let now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    peers.identified(peer, "a");
    peers.take_plan(peer, now);
    let session = tokio::spawn(async {}).id();
    peers.started(peer, session);
    peers.plan(peer).unwrap().want_log(log(1));
    assert_eq!(peers.due(now), None, "one is running");
    peers.ended(session, None, Ending::Done, now);
    assert_eq!(peers.due(now), None, "a pause comes first");
    assert_eq!(peers.due(now + SESSION_PAUSE), Some(peer), "what was wished meanwhile is not forgotten");
}

#[tokio::test]
async fn who_has_waited_longest_comes_first() {
    let start = Instant::now();
    let (mut peers, first) = one_peer(start);
    peers.identified(first, "a");
    let others: Vec<PeerId> = (1..20).map(|s| another(&mut peers, false, start + Duration::from_millis(s))).collect();
    // Whoever has had a session wants the next one at once.
    let mut now = start + Duration::from_secs(1);
    for expected in [first].iter().chain(&others).chain([&first]) {
        let (peer, session) = begin(&mut peers, now).unwrap();
        assert_eq!(peer, *expected);
        peers.ended(session, None, Ending::Done, now);
        peers.plan(peer).unwrap().want_all();
        now += SESSION_PAUSE;
    }
}

#[tokio::test]
async fn peers_that_dialled_us_cannot_have_all_sessions() {
    let now = Instant::now();
    let mut peers = Peers::new(&NetLimits::default(), false);
    for _ in 0..95 {
        another(&mut peers, false, now);
    }
    let slow: Vec<_> = std::iter::from_fn(|| begin(&mut peers, now)).collect();
    assert_eq!(slow.len(), MAX_INCOMING_SESSIONS);
    let chosen = another(&mut peers, true, now);
    assert_eq!(begin(&mut peers, now).map(|(peer, _)| peer), Some(chosen));
    assert_eq!(peers.due(now), None);
    // A slot that becomes free is anybody's.
    peers.ended(slow[0].1, None, Ending::Done, now);
    assert!(peers.due(now).is_some_and(|peer| peer != slow[0].0));
}

#[test]
fn a_peer_is_asked_for_the_bodies_that_it_says_it_keeps_until_it_has_no_more() {
    let now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    let planned = |peers: &mut Peers, now| peers.take_plan(peer, now).unwrap().0.bodies;
    peers.identified(peer, "node/1");
    assert_eq!(planned(&mut peers, now), None, "it does not say");
    peers.identified(peer, "node/1 90d");
    let keeps = Retention::Days(90);
    assert_eq!(planned(&mut peers, now), Some(PlannedBodies { keeps, after: None }));
    let after = Some(Aged { time: 7, place: exchange_ledger::record::Place::first_of(log(1)) });
    peers.bodies_sought(peer, after, true, now);
    assert_eq!(planned(&mut peers, now), Some(PlannedBodies { keeps, after }), "there is more");
    peers.bodies_sought(peer, after, false, now);
    assert_eq!(planned(&mut peers, now + BODIES_PAUSE / 2), None, "it had none");
    assert_eq!(planned(&mut peers, now + BODIES_PAUSE), Some(PlannedBodies { keeps, after }));
    peers.bodies_sought(peer, None, true, now);
    assert_eq!(planned(&mut peers, now + BODIES_PAUSE / 2), None, "it had all");
}

#[test]
fn a_peer_that_asks_too_much_is_told_to_wait() {
    let now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    let permits: Vec<_> = (0..MAX_ANSWERS).map(|_| peers.admit(peer, now).unwrap()).collect();
    assert!(peers.admit(peer, now).is_none(), "too many at once");
    drop(permits);
    let granted = (0..1000).filter(|_| peers.admit(peer, now).is_some()).count();
    assert_eq!(granted, usize::try_from(REQUEST_BURST).unwrap() - MAX_ANSWERS);
    assert!(peers.admit(peer, now + Duration::from_secs(1)).is_some(), "after a second it may ask again");
}

#[test]
fn a_peer_that_takes_more_than_its_share_waits_until_it_is_earned() {
    let now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    peers.charge(peer, None, 6000, now);
    assert!(peers.admit(peer, now).is_none(), "four seconds of 1000 bytes are used up, and two more");
    assert!(peers.admit(peer, now + Duration::from_secs(1)).is_none());
    assert!(peers.admit(peer, now + Duration::from_secs(3)).is_some());
}

/// Somebody comes from an address.
fn from(peers: &mut Peers, address: &str, now: Instant) -> PeerId {
    let peer = PeerId::random();
    peers.connected(peer, address.parse().unwrap(), false, now);
    peer
}

/// Asks as long as there is an answer; returns the rights to them.
fn asks_on(peers: &mut Peers, peer: PeerId, now: Instant) -> Vec<Slot> {
    std::iter::from_fn(|| peers.admit(peer, now)).collect()
}

#[test]
fn one_address_or_network_has_its_share_of_the_answers() {
    let now = Instant::now();
    let mut peers = Peers::new(&NetLimits::default(), false);
    let mut answered = |address: &str, count: usize| {
        let ids: Vec<PeerId> = (0..count).map(|_| from(&mut peers, address, now)).collect();
        let slots: Vec<Slot> = ids.into_iter().flat_map(|id| asks_on(&mut peers, id, now)).collect();
        let number = slots.len();
        std::mem::forget(slots); // they are never answered
        number
    };
    assert_eq!(answered("/ip4/203.0.113.7/tcp/1", 1), 8);
    assert_eq!(answered("/ip4/203.0.113.7/tcp/1", 7), 8, "one of each, and the last one that was shared");
    assert_eq!(answered("/ip4/203.0.113.8/tcp/1", 1), 8, "it keeps nobody else out");
    assert_eq!(answered("/ip6/2001:db8:0:1::1/tcp/1", 8) + answered("/ip6/2001:db8:0:2::1/tcp/1", 8), 8 + 16);
    assert_eq!(answered("/ip4/127.0.0.1/tcp/1", 3), 24, "whom this machine's proxy brings is not counted");
}

#[test]
fn whoever_fills_his_answers_from_many_addresses_takes_none_from_others() {
    let now = Instant::now();
    let mut peers = Peers::new(&NetLimits::default(), false);
    let honest = from(&mut peers, "/ip4/203.0.113.200/tcp/1", now);
    let mut held = Vec::new();
    for address in 1..=11 {
        for _ in 0..8 {
            let id = from(&mut peers, &format!("/ip4/203.0.113.{address}/tcp/1"), now);
            held.extend(asks_on(&mut peers, id, now));
        }
    }
    assert_eq!(held.len(), 11 * (8 + 8), "one of each, and what those of an address share");
    let slots = asks_on(&mut peers, honest, now);
    assert_eq!(slots.len(), MAX_ANSWERS);
    assert!(slots.iter().all(|slot| !slot.asker.gone.is_cancelled()));
    peers.disconnected(honest, now);
    assert!(slots.iter().all(|slot| slot.asker.gone.is_cancelled()), "it waits for no turn any more");
}

#[test]
fn whom_this_node_has_dialled_or_is_told_of_takes_from_no_share() {
    let now = Instant::now();
    let address = "/ip4/203.0.113.7/tcp/1";
    let mut peers = Peers::new(&NetLimits::default(), false);
    let other = from(&mut peers, address, now);
    let first = asks_on(&mut peers, other, now);
    let another = from(&mut peers, address, now);
    let rest = asks_on(&mut peers, another, now);
    assert_eq!((first.len(), rest.len()), (MAX_ANSWERS, 2));
    let both = from(&mut peers, address, now);
    assert_eq!(asks_on(&mut peers, both, now).len(), 1);
    peers.connected(both, address.parse().unwrap(), true, now);
    assert_eq!(asks_on(&mut peers, both, now).len(), MAX_ANSWERS);
    let mut peers = Peers::new(&NetLimits::default(), true);
    let named: Vec<PeerId> = (0..8).map(|_| from(&mut peers, address, now)).collect();
    let slots: Vec<Vec<Slot>> = named.into_iter().map(|peer| asks_on(&mut peers, peer, now)).collect();
    assert!(slots.iter().all(|slots| slots.len() == MAX_ANSWERS));
}

#[test]
fn who_shares_an_address_with_seven_that_ask_without_end_is_answered_all_the_same() {
    let start = Instant::now();
    let mut peers = Peers::new(&NetLimits::default(), false);
    let honest = from(&mut peers, "/ip4/203.0.113.7/tcp/1", start);
    let greedy: Vec<PeerId> = (0..7).map(|_| from(&mut peers, "/ip4/203.0.113.7/tcp/1", start)).collect();
    let (mut held, mut answered) = (Vec::new(), 0);
    for ms in 0..10_000 {
        let now = start + Duration::from_millis(ms);
        // What they ask is never answered, and they take more than there is.
        for id in &greedy {
            held.extend(peers.admit(*id, now));
            peers.charge(*id, peers.network(id), 2_000_000, now);
        }
        if let Some(_slot) = peers.admit(honest, now) {
            peers.charge(honest, peers.network(&honest), 256 * 1024, now);
            answered += 1;
        }
    }
    assert!(answered > 80, "{answered}");
}

#[tokio::test]
async fn a_peer_that_never_brings_what_it_has_is_asked_ever_more_rarely() {
    let mut now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    peers.identified(peer, "a");
    let mut pauses = Vec::new();
    for _ in 0..4 {
        peers.take_plan(peer, now);
        let session = tokio::spawn(async {}).id();
        peers.started(peer, session);
        peers.ended(session, None, Ending::Unfinished { fruitful: false }, now);
        let next = (0..100).map(|s| now + Duration::from_secs(s)).find(|later| peers.due(*later).is_some());
        pauses.push(next.unwrap().saturating_duration_since(now).as_secs());
        now = next.unwrap();
    }
    assert_eq!(pauses[..3], [2, 4, 8]);
    assert!(pauses[3] > 8, "{pauses:?}");
}

/// Begins the sessions that are due with the only peer until one compares; returns when, and which. `wish` is what is
/// wished for all the time.
fn next_comparison(
    peers: &mut Peers,
    from: Instant,
    wish: impl Fn(&mut Peers, Instant),
) -> (Duration, Instant, task::Id) {
    for step in 0..1000 {
        let now = from + SESSION_PAUSE * step;
        wish(peers, now);
        let Some(peer) = peers.due(now) else { continue };
        let (plan, _) = peers.take_plan(peer, now).unwrap();
        let session = tokio::spawn(async {}).id();
        peers.started(peer, session);
        if plan.compare {
            return (now - from, now, session);
        }
        peers.ended(session, None, Ending::Done, now);
    }
    panic!("no comparison for minutes");
}

/// Wishes whatever can be wished.
fn everything(peer: PeerId) -> impl Fn(&mut Peers, Instant) {
    move |peers, now| {
        peers.identified(peer, "a");
        peers.plan(peer).unwrap().want_all();
        peers.want_all_soon(peer, now);
        peers.digest_seen(peer, false, now);
        for author in 0..=u8::try_from(MAX_WANTED_LOGS).unwrap() {
            peers.plan(peer).unwrap().want_log(log(author));
        }
    }
}

#[tokio::test]
async fn no_wish_shortens_the_pause_after_sessions_that_brought_nothing() {
    for (dialled, pauses) in [(false, [0, 2, 4, 8, 16, 32, 64, 128, 128]), (true, [0, 2, 4, 8, 16, 20, 20, 20, 20])] {
        let start = Instant::now();
        let (mut peers, peer) = one_peer(start);
        peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), dialled, start);
        let mut before = start;
        for pause in pauses {
            let (waited, now, session) = next_comparison(&mut peers, before, everything(peer));
            assert_eq!(waited, Duration::from_secs(pause));
            peers.ended(session, None, Ending::Unfinished { fruitful: false }, now);
            before = now;
        }
    }
}

#[tokio::test]
async fn wishes_without_end_make_a_comparison_in_five_seconds() {
    let start = Instant::now();
    let (mut peers, peer) = one_peer(start);
    let mut before = start;
    let mut times = Vec::new();
    while before <= start + Duration::from_secs(60) {
        let (_, now, session) = next_comparison(&mut peers, before, everything(peer));
        peers.ended(session, None, Ending::InSync, now);
        times.push(now);
        before = now;
    }
    let within = |seconds| times.iter().filter(|time| **time <= start + Duration::from_secs(seconds)).count();
    assert_eq!((within(2), within(60)), (8, 20));
}

#[tokio::test]
async fn neither_who_comes_anew_nor_an_orphan_waits_for_the_pause() {
    let now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    peers.identified(peer, "a");
    for _ in 0..5 {
        let (_, now, session) = next_comparison(&mut peers, now, everything(peer));
        peers.ended(session, None, Ending::Unfinished { fruitful: false }, now);
    }
    let later = now + Duration::from_secs(35);
    peers.take_plan(peer, later);
    peers.plan(peer).unwrap().want_log(log(1));
    assert_eq!(peers.due(later), Some(peer));
    let (plan, _) = peers.take_plan(peer, later).unwrap();
    assert_eq!((plan.logs.len(), plan.compare), (1, false));
    peers.disconnected(peer, later);
    peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), false, later);
    peers.identified(peer, "a");
    assert_eq!(peers.due(later), Some(peer));
    assert!(peers.take_plan(peer, later).unwrap().0.compare);
}

#[test]
fn a_peer_that_always_holds_something_else_is_compared_with_at_a_bounded_pace() {
    let now = Instant::now();
    let (mut peers, peer) = one_peer(now);
    let mut wants = |later| {
        peers.digest_seen(peer, false, now + later);
        std::mem::take(peers.plan(peer).unwrap()).compare
    };
    assert!(wants(Duration::ZERO) && !wants(TOLD_PAUSE / 2) && wants(TOLD_PAUSE));
    peers.identified(peer, "a");
    peers.take_plan(peer, now + TOLD_PAUSE);
    assert_eq!(peers.due(now + TOLD_PAUSE), None);
    peers.digest_seen(peer, false, now + TOLD_PAUSE + TOLD_PAUSE / 2);
    assert_eq!(peers.due(now + TOLD_PAUSE * 2), Some(peer), "what it told meanwhile is not forgotten");
}

/// Compares with whoever is due, at once and to the end; returns with whom.
fn compared_with(peers: &mut Peers, now: Instant) -> Vec<PeerId> {
    let mut compared = Vec::new();
    while let Some(peer) = peers.due(now) {
        let (plan, _) = peers.take_plan(peer, now).unwrap();
        let session = tokio::spawn(async {}).id();
        peers.started(peer, session);
        peers.ended(session, None, Ending::InSync, now);
        compared.extend(plan.compare.then_some(peer));
    }
    compared
}

#[tokio::test]
async fn who_comes_again_and_again_is_compared_with_at_the_pace_of_his_address() {
    let start = Instant::now();
    let mut peers = Peers::new(&NetLimits::default(), false);
    let address = "/ip4/203.0.113.7/tcp/1";
    let honest = from(&mut peers, address, start);
    peers.identified(honest, "a");
    let (mut all, mut with_honest, mut others) = (0, Vec::new(), Vec::<PeerId>::new());
    for step in 0..240 {
        let now = start + SESSION_PAUSE * step;
        if step % 4 == 0 {
            others.drain(..).for_each(|id| peers.disconnected(id, now));
            others.extend((0..7).map(|_| from(&mut peers, address, now)));
        }
        others.iter().for_each(|id| everything(*id)(&mut peers, now));
        let compared = compared_with(&mut peers, now);
        all += compared.len();
        with_honest.extend(compared.contains(&honest).then_some(now - start));
    }
    assert!((75..=90).contains(&all), "{all} in a minute");
    assert!(with_honest.len() >= 3, "{with_honest:?}");
}

#[tokio::test]
async fn eight_behind_one_address_are_compared_with_as_often_as_if_each_had_one() {
    let start = Instant::now();
    let mut peers = Peers::new(&NetLimits::default(), false);
    let eight: Vec<PeerId> = (0..8).map(|_| from(&mut peers, "/ip4/203.0.113.7/tcp/1", start)).collect();
    eight.iter().for_each(|id| peers.identified(*id, "a"));
    let mut compared = Vec::new();
    for step in 0..800 {
        compared.extend(compared_with(&mut peers, start + SESSION_PAUSE * step));
    }
    for id in &eight {
        let times = compared.iter().filter(|other| *other == id).count();
        assert!(times >= 7, "{times} in two hundred seconds");
    }
}
