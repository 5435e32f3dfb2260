//! Two live nodes compare their ledgers: they hold the same, until one of them has no room left, and again once it has.

use std::fs;

use exchange_api::{AgainstReport, OfferView, Status};
use exchange_tests::{Cli, Offer, Process, SmallDisk, Trader, World, wait_until};

/// Offers that do not fit on the small disk.
const TOO_MANY: usize = 1_000;
/// How many records behind a node is that has no room for more.
const BEHIND: u64 = 8;

#[test]
fn a_ledger_without_room_is_found_to_differ_until_it_has_room() {
    let world = World::begin();
    let maker = world.trader("maker");
    maker.trusts_the_arbiter();
    let mut disk = SmallDisk::at(&world.data_dir("mirror"));
    let socket = world.dir().join("mirror.sock");
    let cli = Cli::new(&world.data_dir("mirror")).with_socket(&socket);
    let start = |disk: &SmallDisk| {
        let launch = world.relay_launch("mirror").with_args(&["--socket", &socket.display().to_string()]);
        Process::start(launch.wrapped_by(&disk.wrapper()))
    };

    let mut mirror = start(&disk);
    world.awaits_that_all_know_the_same(&[&cli]);
    let report = compare(&world, &mirror).unwrap();
    assert!(report.same && report.difference.is_none(), "{report:?}");

    fill(&world, &maker, &cli);
    let report = compare(&world, &mirror).unwrap_err();
    let difference = report.difference.unwrap();
    assert!(!report.same && !difference.frozen, "{difference:?}");
    assert_eq!(difference.author, maker.identity().author);
    assert!(difference.ours.is_some() && difference.theirs.is_none(), "the mirror lacks it: {difference:?}");

    mirror.kill();
    disk.grow();
    let mirror = start(&disk);
    world.awaits_that_all_know_the_same(&[&cli]);
    let report = compare(&world, &mirror).unwrap();
    assert!(report.same && report.difference.is_none(), "{report:?}");
}

/// Lets the relay compare its ledger with another node's. A difference is a failure, whose report is on standard output.
fn compare(world: &World, other: &Process) -> Result<AgainstReport, Box<AgainstReport>> {
    let address = other.ready()["listen"][0].as_str().unwrap();
    world.relay_cli().run(&["audit", "--against", address]).map_err(|failure| {
        failure.assert_is(1, "violated");
        serde_json::from_str(&failure.stdout).unwrap()
    })
}

/// Lets the maker write until the node of `cli` can take in no more of it.
fn fill(world: &World, maker: &Trader, cli: &Cli) {
    let terms = "Own accounts only. ".repeat(50);
    let is_full = || {
        let behind = world.relayed_records().saturating_sub(cli.done::<Status>(&["status"]).records);
        // It may only be slow.
        let says_so = fs::read_to_string(world.dir().join("mirror.log")).unwrap().contains("the disk is full");
        if behind >= BEHIND && says_so {
            Ok(())
        } else {
            Err(format!("{behind} records behind; it says so: {says_so}"))
        }
    };
    for _ in 0..TOO_MANY {
        let offer = maker.tries_to_post(&Offer { terms: &terms, ..Offer::SELL }).unwrap();
        let _: OfferView = maker.cli().done(&["offer", "revoke", &offer.id.to_string()]);
        if is_full().is_ok() {
            break;
        }
    }
    wait_until("the mirror is full", is_full);
}
