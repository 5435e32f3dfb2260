//! A data directory that was put back from an old backup never makes its owner sign two histories.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use exchange_api::{Action, AuditReport, OfferState, OfferView, PeerInfo, Phase};
use exchange_ledger::ids::RecordId;
use exchange_ledger::record::Record;
use exchange_ledger::storage::Storage as _;
use exchange_store::{OpenOptions, Store};
use exchange_tests::{Offer, Trader, World, wait_until};

#[test]
fn an_old_backup_put_back_goes_on_in_a_new_log() {
    let mut world = World::begin();
    let (mut maker, watcher) = (world.trader("maker"), world.trader("watcher"));
    let mut offers = maker_loses_everything_since_a_backup(&world, &mut maker, &watcher);
    maker.returns();
    offers.push(maker.posts(&Offer::BUY).id);
    everybody_sees_one_history(&mut world, maker, &watcher, &offers);
}

#[test]
fn an_old_backup_put_back_where_nobody_answers_goes_on_in_a_new_log() {
    let mut world = World::begin();
    let (mut maker, watcher) = (world.trader("maker"), world.trader("watcher"));
    let mut offers = maker_loses_everything_since_a_backup(&world, &mut maker, &watcher);
    world.relay().pause();
    maker.returns();
    // Nobody tells him that he wrote something since.
    offers.push(maker.posts(&Offer::SELL).id);
    world.relay().resume();
    everybody_sees_one_history(&mut world, maker, &watcher, &offers);
}

/// His node could name the coins in another log only, for which no buyer's node pays.
#[test]
fn a_seller_whose_backup_was_put_back_after_he_agreed_funds_nothing() {
    let world = World::begin();
    let (mut seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let trade = buyer.takes(&seller.posts(&Offer::SELL), "0.01").id;
    seller.awaits(trade, Phase::Agreed);
    let (live, backup) = (world.data_dir("seller"), world.dir().join("seller.backup"));
    seller.process().stop();
    copy(&live, &backup);
    seller.returns();
    awaits_comparison(&seller);
    buyer.sees(&seller.posts(&Offer::BUY).id);
    seller.process().kill();
    fs::remove_dir_all(&live).unwrap();
    fs::rename(&backup, &live).unwrap();

    seller.returns();
    awaits_comparison(&seller);
    seller.awaits_that(trade, "his to fund", |view| view.actions.contains(&Action::Fund));
    let refused = seller.tries_to("fund", trade).unwrap_err();
    refused.assert_is(1, "not_allowed");
    assert!(refused.message.contains("does not go on with the log in which you agreed"), "{refused:#?}");
    seller.does("cancel", trade);
    buyer.awaits(trade, Phase::Cancelled);
}

/// Waits until a node has compared its ledger with the relay's.
fn awaits_comparison(trader: &Trader) {
    wait_until("the node has compared with the relay", || {
        let peers: Vec<PeerInfo> = trader.cli().done(&["peers"]);
        if peers.iter().any(|peer| peer.in_sync) { Ok(()) } else { Err(format!("{peers:?}")) }
    });
}

/// The maker copies his data directory, goes on, and loses it. What he has then is the copy; his node does not run. Returns
/// his offers, the last of which the copy does not hold.
fn maker_loses_everything_since_a_backup(world: &World, maker: &mut Trader, watcher: &Trader) -> Vec<RecordId> {
    let (live, backup) = (world.data_dir("maker"), world.dir().join("maker.backup"));
    let before = maker.posts(&Offer::BUY).id;
    watcher.sees(&before);
    maker.process().stop();
    copy(&live, &backup);
    maker.returns();
    awaits_comparison(maker);
    let since = maker.posts(&Offer::BUY).id;
    watcher.sees(&since);
    maker.process().kill();
    fs::remove_dir_all(&live).unwrap();
    fs::rename(&backup, &live).unwrap();
    vec![before, since]
}

/// All three offers stand for others too, nobody can prove anything against the maker, and his logs are those that he should
/// have: the old one, with what the backup did not hold, and a new one.
fn everybody_sees_one_history(world: &mut World, mut maker: Trader, watcher: &Trader, offers: &[RecordId]) {
    for offer in offers {
        watcher.sees(offer);
        let mine: Vec<OfferView> = maker.cli().done(&["offer", "list"]);
        assert!(mine.iter().any(|view| view.id == *offer && view.state == OfferState::Live), "{offer}: {mine:#?}");
    }
    world.awaits_that_all_know_the_same(&[maker.cli(), watcher.cli()]);
    let report: AuditReport = world.relay_cli().done(&["audit"]);
    assert!(report.ok && report.evidence.is_empty(), "{report:#?}");

    let author = maker.identity().author;
    maker.process().stop();
    world.relay().stop();
    for name in ["maker", "relay"] {
        let store = Store::open(world.data_dir(name).join("ledger"), OpenOptions::default()).unwrap();
        assert!(!store.is_forked(&author).unwrap());
        let log_of = |offer: &RecordId| store.record(offer).unwrap().map(|record: Record| record.header().log).unwrap();
        let [before, since, after] = [log_of(&offers[0]), log_of(&offers[1]), log_of(&offers[2])];
        assert_eq!(before, since, "he went on in his log as long as it was his");
        assert_ne!(before, after, "he cannot know what he wrote since the backup");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
