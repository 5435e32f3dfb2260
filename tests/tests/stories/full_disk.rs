//! A disk that fills up while somebody works: he is told, and keeps everything he was told is done.

use std::collections::BTreeSet;

use exchange_api::OfferView;
use exchange_ledger::ids::RecordId;
use exchange_tests::{Cli, Offer, Process, SmallDisk, Trader, World};

/// More offers than fit on the disk.
const TOO_MANY: usize = 2_000;

#[test]
fn full_disk_loses_nothing() {
    let world = World::begin();
    let mut disk = SmallDisk::at(&world.data_dir("maker"));
    let socket = world.dir().join("maker.sock");
    let cli = Cli::new(&world.data_dir("maker")).with_socket(&socket);
    let start = |disk: &SmallDisk| {
        let launch = world.launch("maker").with_args(&["--socket", &socket.display().to_string()]);
        let process = Process::start(launch.wrapped_by(&disk.wrapper()));
        let maker = Trader::new("maker", process, cli.clone(), world.details_file("maker"));
        maker.awaits_identity();
        maker
    };

    let mut maker = start(&disk);
    maker.trusts_the_arbiter();
    let mut kept = BTreeSet::new();
    let refusal = (0..TOO_MANY).find_map(|_| match maker.tries_to_post(&Offer::SELL) {
        Ok(offer) => {
            kept.insert(offer.id);
            None
        }
        Err(refusal) => Some(refusal),
    });
    let refusal = refusal.unwrap();
    refusal.assert_is(1, "disk_full");
    assert_eq!(offers_of(&cli), kept, "what was refused is not there, what was done is");

    // Out of room, out of power: everything is there again once there is room.
    maker.process().kill();
    drop(maker);
    disk.grow();
    let maker = start(&disk);
    assert!(offers_of(&cli).is_superset(&kept));
    maker.posts(&Offer::SELL);
}

fn offers_of(cli: &Cli) -> BTreeSet<RecordId> {
    let offers: Vec<OfferView> = cli.done(&["offer", "list"]);
    offers.into_iter().map(|offer| offer.id).collect()
}
