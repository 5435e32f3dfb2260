//! A disk that fills up while somebody works: he is told, and keeps everything he was told is done.

use std::collections::BTreeSet;

use exchange_api::{OfferState, OfferView};
use exchange_ledger::ids::RecordId;
use exchange_tests::{Cli, Offer, Process, SmallDisk, Trader, World};

/// More offers than fit on the disk.
const TOO_MANY: usize = 2_000;
/// Offers that stand all the time.
const STANDING: usize = 4;

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
    let mut kept: BTreeSet<RecordId> = (0..STANDING).map(|_| maker.tries_to_post(&Offer::SELL).unwrap().id).collect();
    // An author may have only so many offers, but write as much as he likes.
    let refusal = (0..TOO_MANY).find_map(|_| {
        let offer = match maker.tries_to_post(&Offer::SELL) {
            Ok(offer) => offer.id,
            Err(refusal) => return Some(refusal),
        };
        match cli.run::<OfferView>(&["offer", "revoke", &offer.to_string()]) {
            Ok(_) => None,
            Err(refusal) => {
                kept.insert(offer);
                Some(refusal)
            }
        }
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
    offers.into_iter().filter(|offer| offer.state != OfferState::Revoked).map(|offer| offer.id).collect()
}
