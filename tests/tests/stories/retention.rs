//! A relay forgets what nothing came of, an archive does not, and a newcomer comes by all of it whomever he asks first.

use std::path::Path;

use exchange_api::{AuditReport, PeerInfo};
use exchange_ledger::body::{Body, Offer, Side};
use exchange_ledger::ledger::{Admission, Ledger};
use exchange_ledger::record::Record;
use exchange_ledger::testing::{Author, NETWORK, sample_accept, sample_advert, sample_offer, sample_take};
use exchange_store::{OpenOptions, Store};
use exchange_tests::{Cli, Launch, Process, World, wait_until};

const DAY_S: u32 = 24 * 3600;
/// Of the records of an old market that a relay keeps whole: the advert, and an offer, its bid and its acceptance.
const WHOLE: u64 = 4;

/// What happened 100 days ago: so many offers that nobody took, and one trade.
fn old_market(offers: u64, now: u32) -> Vec<Record> {
    let opened = now - 100 * DAY_S;
    let [mut arbiter, mut maker, mut taker] = [1, 2, 3].map(|number| Author::at(number, opened));
    let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
    let expires = u64::from(opened + 20 * DAY_S);
    let offer = Body::Offer(Offer { expires, ..sample_offer(Side::Sell, &[advert.id()]) });
    let taken = maker.write(&offer);
    let bid = taker.write(&Body::Take(sample_take(taken.id(), &taker)));
    let accept = maker.write(&Body::Accept(sample_accept(&bid, taken.id(), &maker)));
    let records = vec![advert, taken, bid, accept];
    records.into_iter().chain((0..offers).map(|_| maker.write(&offer))).collect()
}

fn seed(data_dir: &Path, records: &[Record]) {
    std::fs::create_dir_all(data_dir).unwrap();
    let mut ledger = Ledger::new(Store::open(data_dir.join("ledger"), OpenOptions::default()).unwrap(), NETWORK);
    for part in records.chunks(1000) {
        let admissions = ledger.admit(part, u64::MAX / 2).unwrap();
        assert!(admissions.iter().all(|admission| *admission == Admission::New), "{admissions:?}");
    }
}

/// A relay that knows these peers and lets anybody in.
fn relay(world: &World, name: &str, retention: &str, peers: &[&str]) -> (Process, Cli) {
    let data_dir = world.data_dir(name);
    let mut args =
        ["run", "--json", "--data-dir", &data_dir.display().to_string(), "--relay"].map(str::to_owned).to_vec();
    args.extend(["--listen", "/ip4/127.0.0.1/tcp/0", "--retention", retention].map(str::to_owned));
    args.extend(world.chain().node_args());
    args.extend(peers.iter().flat_map(|peer| ["--peer".to_owned(), (*peer).to_owned()]));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    (Process::start(Launch::node(name, world.dir(), &args)), Cli::new(&data_dir))
}

fn address(process: &Process) -> String {
    process.ready()["listen"][0].as_str().unwrap().to_owned()
}

fn audit(cli: &Cli) -> AuditReport {
    let report: AuditReport = cli.done(&["audit"]);
    assert!(report.ok && report.lacked == 0 && report.violations.is_empty(), "{report:?}");
    report
}

fn awaits_bare(what: &str, cli: &Cli, records: u64, bare: u64) {
    wait_until(what, || {
        let report = audit(cli);
        let is_there = report.records == records && report.bare == bare;
        if is_there { Ok(()) } else { Err(format!("{} records, {} bare", report.records, report.bare)) }
    });
}

fn now(world: &World) -> u32 {
    let status: exchange_api::Status = world.relay_cli().done(&["status"]);
    u32::try_from(status.time).unwrap()
}

#[test]
fn a_newcomer_gets_from_an_archive_what_the_relay_he_knows_has_forgotten() {
    const OFFERS: u64 = 600;
    let world = World::begin();
    let records = old_market(OFFERS, now(&world));
    let all = OFFERS + WHOLE;
    seed(&world.data_dir("archive"), &records);
    let (archive, archive_cli) = relay(&world, "archive", "full", &[]);
    let (forgetful, forgetful_cli) = relay(&world, "forgetful", "60", &[&address(&archive)]);
    awaits_bare("the relay forgets", &forgetful_cli, all, OFFERS);
    awaits_bare("the archive does not", &archive_cli, all, 0);

    let (newcomer, newcomer_cli) = relay(&world, "newcomer", "full", &[&address(&forgetful)]);
    awaits_bare("the newcomer has what the relay has", &newcomer_cli, all, OFFERS);
    let trades = audit(&newcomer_cli).trades;
    assert_eq!(trades, audit(&archive_cli).trades, "what was agreed on is whole");
    assert!(trades.len() == 1 && trades[0].escrow_address.is_some(), "{trades:?}");
    let peers: Vec<PeerInfo> = newcomer_cli.done(&["peers"]);
    assert!(peers.iter().all(|peer| peer.agent.ends_with(" 60d")), "{peers:?}");

    let _: serde_json::Value = newcomer_cli.done(&["peers", "connect", &address(&archive)]);
    awaits_bare("the newcomer has all bodies", &newcomer_cli, all, 0);
    awaits_bare("the relay wants none", &forgetful_cli, all, OFFERS);
    for process in [&archive, &forgetful] {
        let report: exchange_api::AgainstReport = newcomer_cli.done(&["audit", "--against", &address(process)]);
        assert!(report.same, "{report:?}");
    }
    drop(newcomer);
}

#[test]
fn a_relay_killed_while_it_forgets_has_lost_nothing_else() {
    const OFFERS: u64 = 20_000;
    let world = World::begin();
    let records = old_market(OFFERS, now(&world));
    for name in ["archive", "forgetful"] {
        seed(&world.data_dir(name), &records);
    }
    let (archive, _) = relay(&world, "archive", "full", &[]);
    let (mut forgetful, cli) = relay(&world, "forgetful", "60", &[&address(&archive)]);
    wait_until("the relay has compared, and begins to forget", || {
        let peers: Vec<PeerInfo> = cli.done(&["peers"]);
        if peers.iter().any(|peer| peer.in_sync) { Ok(()) } else { Err(format!("{peers:?}")) }
    });
    forgetful.kill();
    forgetful.restart();
    let report: exchange_api::AgainstReport = cli.done(&["audit", "--against", &address(&archive)]);
    assert!(report.same, "{report:?}");
    awaits_bare("the relay has forgotten the rest", &cli, OFFERS + WHOLE, OFFERS);
    forgetful.stop();

    let store = Store::open(world.data_dir("forgetful").join("ledger"), OpenOptions::default()).unwrap();
    for record in &records {
        let kept = exchange_ledger::storage::Storage::record(&store, &record.id()).unwrap().unwrap();
        assert!(kept == *record || Some(kept) == record.bared());
    }
}
