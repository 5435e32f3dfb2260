//! The trader without its loop, on a ledger, a wallet and a chain: what it does by itself when its log takes nothing, and what
//! that costs.

use std::thread::JoinHandle;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, ScriptBuf};
use exchange_api::SeenTrade;
use exchange_ledger::body::{Body, Offer, Side};
use exchange_ledger::identity::{Email, KdfParams, MasterKey, Password};
use exchange_ledger::ledger::{Admission, OfferStanding};
use exchange_ledger::record::{Header, Kind, Record, body_hash};
use exchange_ledger::testing::{Author, NETWORK, sample_advert, sample_offer, sample_take};
use exchange_ledger::trade::Action;
use exchange_store::{OpenOptions, Store};
use zeroize::Zeroizing;

use super::*;
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::clock::{self, SureTime};
use crate::net::Verdict;
use crate::wallet::{MemoryWalletStore, WalletSetup};

/// Long enough for a busy machine; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an offer of these tests lives.
const LIFE_S: u64 = 3600;

/// What is there before a node of a maker starts.
struct World {
    dir: tempfile::TempDir,
    chain: Arc<KernelChain>,
    identity: Arc<Identity>,
}

/// One run of that node.
struct Run {
    trader: Trader,
    thread: JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        let (email, password) = (Email::parse("a@example.org").unwrap(), Password::parse("correct horse").unwrap());
        let master = MasterKey::derive(&email, &password, None, &KdfParams::for_tests()).unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            chain: Arc::new(KernelChain::open(KernelConfig::default()).unwrap()),
            identity: Arc::new(master.identity()),
        }
    }

    /// Opens a new wallet, always of the same keys, that has searched the chain.
    async fn wallet(&self) -> WalletHandle {
        let setup = WalletSetup {
            seed: Zeroizing::new([1; 64]),
            store: Arc::new(MemoryWalletStore::default()),
            chain: Arc::clone(&self.chain) as Arc<dyn ChainBackend>,
            birth_height: 0,
            clock: Arc::new(clock::unix_now),
        };
        let wallet = WalletHandle::open(setup).await.unwrap();
        let mut changes = wallet.subscribe();
        let searched = changes.wait_for(|status| status.synced);
        tokio::time::timeout(PATIENCE, searched).await.expect("the wallet never caught up").unwrap();
        wallet
    }

    /// Returns the destinations that a wallet of these keys makes, from the first on.
    async fn destinations(&self, count: usize) -> Vec<ScriptBuf> {
        let twin = self.wallet().await;
        let mut made = Vec::new();
        for _ in 0..count {
            made.push(twin.new_destination().await.unwrap());
        }
        made
    }

    async fn start(&self, sure: SureTime) -> Run {
        let store = Store::open(self.dir.path(), OpenOptions::default()).unwrap();
        let private = Private::new(store.clone());
        let (keeper, thread) = Keeper::start_sure(store, NETWORK, sure.clone()).unwrap();
        let tools = Tools {
            identity: Arc::clone(&self.identity),
            mailbox: Mailbox::open(keeper.clone(), private.clone(), sure.clone()).unwrap(),
            sure,
            keeper,
            events: Events::new(private.clone()),
            private,
            wallet: self.wallet().await,
            chain: Arc::clone(&self.chain) as Arc<dyn ChainBackend>,
        };
        let mut trader = Trader::new(tools, mpsc::channel(1).0, mpsc::channel(1).0);
        trader.tracker.apply(&ChainEvent::Synced { tip: BlockRef { height: 200, hash: BlockHash::all_zeros() } });
        Run { trader, thread }
    }
}

impl Run {
    /// Posts an offer to buy that accepts bids by itself, for which its maker locks nothing, and lets a stranger bid.
    async fn posts_and_gets_a_bid(&self) -> (Record, TradeId) {
        let Tools { keeper, private, identity, .. } = &self.trader.tools;
        let opened = u32::try_from(clock::unix_now() - 60).unwrap();
        let [mut arbiter, mut taker] = [1, 3].map(|number| Author::at(number, opened));
        let advert = arbiter.write(&Body::ArbiterAdvert(sample_advert(&arbiter)));
        let expires = clock::unix_now() + LIFE_S;
        let body = Body::Offer(Offer { expires, ..sample_offer(Side::Buy, &[advert.id()]) });
        private.put_offer_details(&body_hash(&body.encode()), "IBAN of the maker").unwrap();
        let offer = keeper.publish(Arc::clone(identity), body).await.unwrap();
        let take = taker.write(&Body::Take(sample_take(offer.id(), &taker)));
        let verdicts = keeper.ingest(vec![advert.encode(), take.encode()]).await;
        assert_eq!(verdicts, [Verdict::Accept, Verdict::Accept]);
        (offer, TradeId::from(take.id()))
    }

    /// Hears of a bid, and tries ten times what is owed.
    async fn hears_of(&mut self, trade: TradeId) {
        self.trader.refresh(trade).await;
        for _ in 0..10 {
            self.trader.on_retry().await;
        }
    }

    fn standing(&self, offer: &Record) -> OfferStanding {
        self.trader.tools.keeper.ledger().offer_standing(offer).unwrap()
    }

    /// Tells whether the user is told that something keeps a bid from being accepted.
    fn has_trouble(&self, trade: TradeId) -> bool {
        self.trader.trades.get(&trade).is_some_and(|active| active.problem.is_some())
    }

    async fn next_destination(&self) -> ScriptBuf {
        self.trader.tools.wallet.new_destination().await.unwrap()
    }

    fn stop(self) {
        drop(self.trader);
        self.thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_bid_waits_for_its_log_and_costs_no_address_and_no_time_meanwhile() {
    let world = World::new();
    let first = world.start(SureTime::on(Network::Regtest)).await;
    let (offer, trade) = first.posts_and_gets_a_bid().await;
    first.stop();

    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    let begun = Instant::now();
    run.hears_of(trade).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "the trader waited for a peer");
    assert!(run.has_trouble(trade));
    assert_eq!(run.standing(&offer), OfferStanding::Open);

    run.trader.tools.keeper.compared();
    run.trader.on_retry().await;
    assert_eq!(run.standing(&offer), OfferStanding::Accepted(trade));
    assert!(!run.has_trouble(trade));
    run.trader.refresh(trade).await;
    let contract = run.trader.trades[&trade].trade.view().contract.clone().expect("it was accepted");
    let made = world.destinations(2).await;
    assert_eq!(*contract.buyer_party.destination.script(), made[0], "the first that was ever made");
    assert_eq!(run.next_destination().await, made[1]);
    run.stop();
}

/// A clock that was ahead for a quarter of an hour has dated a heartbeat, and was set right again.
#[tokio::test]
async fn a_log_that_takes_no_acceptance_costs_no_address_however_often_it_is_tried() {
    let world = World::new();
    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    let (offer, trade) = run.posts_and_gets_a_bid().await;
    let time = clock::unix_now() + 3 * 3600;
    let header = Header::after(&offer.as_head(), NETWORK, Kind::Heartbeat, time);
    let ahead = Record::sign(header, Vec::new(), |message| world.identity.sign(message)).unwrap();
    let ledger = run.trader.tools.keeper.ledger();
    let (admissions, batch) = ledger.plan(std::slice::from_ref(&ahead), time).unwrap();
    assert_eq!(admissions, [Admission::New]);
    run.trader.tools.private.commit_own(&batch, &ahead.as_head(), None).unwrap();

    run.hears_of(trade).await;
    assert!(run.has_trouble(trade));
    assert_eq!(run.standing(&offer), OfferStanding::Open);
    assert_eq!(run.next_destination().await, world.destinations(1).await[0], "none was made");
    run.stop();
}

#[tokio::test]
async fn a_destination_that_was_named_in_nothing_that_was_published_is_named_next() {
    let world = World::new();
    let run = world.start(SureTime::on(Network::Regtest)).await;
    let made = world.destinations(2).await;
    let ended = Body::Offer(Offer { expires: 0, ..sample_offer(Side::Buy, &[]) });
    let publish = async |body: Body| {
        let mut named = None;
        let naming = |destination: Destination| {
            named = Some(destination.script().clone());
            Ok(body)
        };
        let published = run.trader.tools.publish_naming(None, naming).await;
        (published.is_ok(), named.expect("the wallet makes one"))
    };
    for _ in 0..10 {
        assert_eq!(publish(ended.clone()).await, (false, made[0].clone()));
    }
    assert_eq!(publish(Body::Heartbeat).await, (true, made[0].clone()));
    assert_eq!(publish(ended).await, (false, made[1].clone()), "nobody is shown one twice");
    let refused = run.trader.tools.publish_naming(None, |_| Err(internal("it says nothing"))).await;
    assert!(refused.is_err());
    assert_eq!(run.next_destination().await, made[1]);
    run.stop();
}

#[tokio::test]
async fn a_clock_that_is_held_back_lets_no_bid_be_accepted_at_a_price_of_long_ago() {
    let world = World::new();
    let sure = SureTime::on(Network::Bitcoin);
    let mut run = world.start(sure.clone()).await;
    let (offer, trade) = run.posts_and_gets_a_bid().await;
    sure.show(clock::unix_now() + LIFE_S + 60);
    run.hears_of(trade).await;
    assert!(run.has_trouble(trade));
    assert_eq!(run.standing(&offer), OfferStanding::Open);
    // Before that time.
    sure.show(clock::unix_now());
    run.trader.on_retry().await;
    assert_eq!(run.standing(&offer), OfferStanding::Accepted(trade));
    run.stop();
}

/// A question stood before him while the trade went on: to call it off gives coins back once there are any.
#[tokio::test]
async fn what_a_user_decided_on_is_not_done_to_a_trade_that_is_another_way_by_now() {
    let world = World::new();
    let first = world.start(SureTime::on(Network::Regtest)).await;
    let (_, trade) = first.posts_and_gets_a_bid().await;
    first.stop();
    // Its log is unconfirmed, so the bid is not accepted by itself.
    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    run.trader.refresh(trade).await;
    let seen = run.trader.show(trade).unwrap().seen();
    assert_eq!(seen, SeenTrade { state: Phase::Bid, funding: None, stray: None });
    for other in [
        SeenTrade { state: Phase::Agreed, ..seen.clone() },
        SeenTrade { funding: Some("cd".repeat(32)), ..seen.clone() },
        SeenTrade { stray: Some(format!("{}:1", "cd".repeat(32))), ..seen.clone() },
    ] {
        let refused = run.trader.act(trade, Action::Cancel, Some(other), true).await.unwrap_err();
        assert_eq!(refused.code, Code::Outdated, "{refused}");
    }
    run.trader.act(trade, Action::Cancel, Some(seen), true).await.unwrap();
    run.trader.act(trade, Action::Cancel, None, true).await.unwrap();
    run.stop();
}
