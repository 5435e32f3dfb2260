//! The trader without its loop, on a ledger, a wallet and a chain: what it does by itself when its log takes nothing, and what
//! that costs; and what a member of a group writes, and has again on a new machine.

use std::thread::JoinHandle;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, ScriptBuf};
use borsh::{BorshDeserialize, BorshSerialize};
use exchange_api::{GroupState, SeenTrade};
use exchange_ledger::body::{ArbiterAdvert, Body, GroupStep, GroupTerms, Offer, Side};
use exchange_ledger::group::{self, Group};
use exchange_ledger::identity::{Email, KdfParams, MasterKey, Password};
use exchange_ledger::ids::AuthorId;
use exchange_ledger::ledger::{Admission, OfferStanding};
use exchange_ledger::record::{Header, Kind, Record, body_hash};
use exchange_ledger::storage::Storage;
use exchange_ledger::testing::{Author, NETWORK, SampleTrade, group_secrets, sample_advert, sample_offer, sample_take};
use exchange_ledger::trade::{self, Action, Facts, Funding, Role, Seat};
use exchange_ledger::wire::List;
use exchange_store::{Namespace, OpenOptions, Store, Table, Versioned};
use zeroize::Zeroizing;

use super::*;
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::chain::line::Line;
use crate::clock::{self, SureTime};
use crate::net::Verdict;
use crate::wallet::{FundRequest, MemoryWalletStore, WalletSetup};

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
    store: Store,
}

/// A row of the table of groups, as a later version of the node may write it: this one cannot read it.
#[derive(BorshSerialize, BorshDeserialize)]
struct LaterRow;

impl Versioned for LaterRow {
    const VERSION: u8 = u8::MAX;
}

const LATER: Table<RecordId, LaterRow> = Table::new(Namespace::Groups);

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
        let (keeper, thread) = Keeper::start_sure(store.clone(), NETWORK, sure.clone()).unwrap();
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
        Run { trader, thread, store }
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

    /// Takes a record in, and hears of it.
    async fn hears(&mut self, record: &Record) {
        assert_eq!(self.trader.tools.keeper.ingest(vec![record.encode()]).await, [Verdict::Accept]);
        let body = Arc::new(Body::decode(record).unwrap());
        let change = Change { record: Arc::new(record.clone()), body, own: false, forked: false, proves: false };
        self.trader.on_change(&change).await;
    }

    /// Returns what was written about a group, by one of its members or by all.
    fn said(&self, group: &RecordId, member: Option<&AuthorId>) -> Vec<Record> {
        let ledger = self.trader.tools.keeper.ledger();
        let ids = ledger.storage().about(group, member, 256).unwrap();
        ids.iter().map(|id| ledger.record(id).unwrap().unwrap()).collect()
    }

    /// Lets the first of two others propose a group of them and this node's identity, and hears of it.
    async fn hears_a_proposal(&mut self, me: AuthorId, others: &mut [Author; 2]) -> Record {
        let mut members = vec![me, others[0].id(), others[1].id()];
        members.sort_unstable();
        let ArbiterAdvert { name, fee_ppm, destination, max_amount, languages, currencies, terms, .. } =
            sample_advert(&others[0]);
        let members = List::new(members).unwrap();
        let terms =
            GroupTerms { threshold: 2, members, name, fee_ppm, destination, max_amount, languages, currencies, terms };
        let proposal = others[0].write(&Body::GroupStep(GroupStep::Propose(terms)));
        self.hears(&proposal).await;
        proposal
    }

    /// Lets the others of a group write what they owe it, until they owe nothing.
    async fn hears_what_is_owed(&mut self, group: &RecordId, others: &mut [Author], numbers: &[u8]) {
        for _ in 0..3 {
            for (other, number) in others.iter_mut().zip(numbers) {
                let shown = self.trader.tools.keeper.ledger().group(group, &[]).unwrap().unwrap();
                let sign = |bytes: &[u8]| other.sign_bytes(bytes);
                let outlook = shown.outlook(&other.id(), &group_secrets(*number), sign, &mut || [*number; 32]);
                if let Some(owed) = outlook.unwrap().owed {
                    self.hears(&other.write(&owed)).await;
                }
            }
        }
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

/// What pays him spends his bond along, so that it would come to nothing.
#[tokio::test]
async fn a_buyer_may_not_take_his_bond_back_while_he_has_a_ruling_that_can_still_be_first() {
    let world = World::new();
    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    let sample = SampleTrade::with_bonds(Side::Sell);
    let (id, escrow, vaults) = (sample.id(), sample.escrow(), sample.vaults(1));
    let pair = sample.arbiter_pair(escrow.contract(), Seat::First);
    let division = escrow.divide(Seat::First, &vaults, trade::Verdict::Buyer, 1).unwrap();
    let ruling = escrow.rule(Seat::First, &vaults, division, &pair).unwrap();
    for (rulings, is_refused) in [(vec![(Seat::First, ruling)], true), (Vec::new(), false)] {
        let mut trade = Trade::new(sample.bid(), Role::Buyer, false, Local::default());
        let facts = Facts { payment_sent: true, buyer_dispute: true, rulings, ..Facts::default() };
        trade.handle(Event::Records { contract: Some(sample.contract()), facts }).unwrap();
        trade.handle(Event::Compared).unwrap();
        let fundings = vec![Funding::new(vaults, Some(190))];
        let seen = ChainFacts { tip: 190 + 4320, synced: true, fundings, ..ChainFacts::default() };
        trade.handle(Event::Chain(seen)).unwrap();
        run.trader.trades.insert(id, Active::new(trade, Local::default(), None, None, 0));
        let shown = run.trader.show(id).unwrap();
        assert_eq!(shown.actions.contains(&Action::Refund), !is_refused);
        assert_eq!(shown.next.action, (!is_refused).then_some(Action::Refund), "{:?}", shown.next);
        assert_eq!(shown.next.otherwise.contains("your bond comes with it"), is_refused, "{:?}", shown.next);
        let told = run.trader.act(id, Action::Refund, Some(shown.seen()), true).await.err();
        assert_eq!(told.is_some(), is_refused, "{told:?}");
        if is_refused {
            let ordered = run.trader.act(id, Action::Refund, Some(shown.seen()), false).await.unwrap_err();
            assert!(ordered.code == Code::NotAllowed && ordered.message.contains("your bond goes along"), "{ordered}");
            assert!(ordered.hint.contains("leave it there"), "{ordered}");
        }
    }
    run.stop();
}

/// A wallet elsewhere paid it by another version, which counted for nothing, and whose coins were locked.
#[tokio::test]
async fn a_seller_whose_funding_is_dead_goes_by_what_a_block_holds_instead() {
    let world = World::new();
    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    let sample = SampleTrade::new(Side::Sell);
    let (id, kept) = (sample.id(), sample.funding(1));
    let mut version = kept.clone();
    let change = bitcoin::TxOut { value: bitcoin::Amount::from_sat(5_000), script_pubkey: ScriptBuf::new() };
    version.output.push(change);
    let mut trade = Trade::new(sample.bid(), Role::Seller, false, Local::default());
    let contract = Some(sample.contract());
    trade.handle(Event::Records { contract, facts: Facts::default() }).unwrap();
    trade.handle(Event::Chain(ChainFacts { tip: 200, synced: true, ..ChainFacts::default() })).unwrap();
    trade.handle(Event::FundingBuilt(kept.clone())).unwrap();
    let saved = trade.local().clone();
    let mut active = Active::new(trade, saved, None, None, 0);
    active.phase = Phase::Agreed;
    run.trader.trades.insert(id, active);
    run.trader.tracker.watch(&sample.escrow(), tracker::Stated::Here);
    run.trader.tracker.apply(&ChainEvent::Searched { scripts: sample.escrow().scripts() });
    for (tip, txs, is_dead) in [(201, vec![version.clone()], false), (205, vec![], false), (206, vec![], true)] {
        let block = BlockRef { height: tip, hash: BlockHash::all_zeros() };
        run.trader.tracker.apply(&ChainEvent::Connected { block, parent: block.hash, time: 0, txs });
        run.trader.tracker.apply(&ChainEvent::Synced { tip: block });
        run.trader.note_dead_fundings().await;
        let trade = &run.trader.trades.get(&id).unwrap().trade;
        assert_eq!(trade.local().funding_tx.is_none(), is_dead, "{tip}");
    }
    let trade = &run.trader.trades.get(&id).unwrap().trade;
    assert_eq!(trade.view().funding().map(|funding| funding.outpoint().txid), Some(version.compute_txid()));
    assert!(trade.phase() == Phase::Funded && trade.strays().is_empty());
    let saved = run.trader.tools.private.trade(&id).unwrap().unwrap();
    assert_eq!(saved.funding_tx, None, "before anything was done by it");
    run.stop();
}

/// Whoever it was offered to may have it, whatever he said, and the buyer may be he.
#[tokio::test]
async fn a_funding_that_was_offered_to_others_is_spent_back_when_its_trade_is_called_off() {
    for is_foreign in [false, true] {
        let world = World::new();
        let mut run = world.start(SureTime::on(Network::Regtest)).await;
        let wallet = run.trader.tools.wallet.clone();
        let script = wallet.address().await.unwrap().address.script_pubkey();
        world.chain.mine(1, script).await.unwrap();
        world.chain.mine(100, ScriptBuf::new_op_return([1; 4])).await.unwrap();
        let mut changes = wallet.subscribe();
        let caught_up = changes.wait_for(|status| status.synced && status.height == 101);
        tokio::time::timeout(PATIENCE, caught_up).await.expect("the wallet never caught up").unwrap();
        let mut line = Line::to(&world.chain);
        line.is_foreign = is_foreign;
        run.trader.tools.chain = Arc::new(line);

        let sample = SampleTrade::new(Side::Sell);
        let (id, escrow) = (sample.id(), sample.escrow());
        let request = FundRequest {
            script: escrow.script(),
            amount: escrow.contract().escrow_value().into(),
            from_height: escrow.contract().funded_from(),
            fee_rate: None,
            label: "escrow".to_owned(),
        };
        let funding = wallet.fund(request).await.unwrap().tx;
        let mut trade = Trade::new(sample.bid(), Role::Seller, true, Local::default());
        let says = |facts| Event::Records { contract: Some(sample.contract()), facts };
        let seen = ChainFacts { tip: 101, synced: true, ..ChainFacts::default() };
        trade.handle(says(Facts::default())).unwrap();
        trade.handle(Event::Chain(seen)).unwrap();
        trade.handle(Event::FundingBuilt(funding)).unwrap();
        let saved = trade.local().clone();
        run.trader.trades.insert(id, Active::new(trade, saved, None, None, 0));
        run.trader.tracker.watch(&escrow, tracker::Stated::Here);
        run.trader.tracker.apply(&ChainEvent::Searched { scripts: escrow.scripts() });
        let facts = Facts { buyer_cancel: true, ..Facts::default() };
        run.trader.handle(id, says(facts)).await.unwrap();
        assert_eq!(run.trader.trades.get(&id).unwrap().trade.phase(), Phase::Cancelled);
        let balance = wallet.balance().await.unwrap();
        let coin = bitcoin::Amount::from_int_btc(50);
        // What comes back waits for a block, for the funding may be in one instead.
        let is_back = balance.pending > bitcoin::Amount::from_int_btc(49) && balance.spendable == bitcoin::Amount::ZERO;
        let is_right = if is_foreign { is_back } else { balance.spendable == coin };
        assert!(is_right && balance.reserved == bitcoin::Amount::ZERO, "{is_foreign}: {balance:?}");
        run.stop();
    }
}

/// Two others form a group with this node's identity, and one of them hides what he did for it, in a log that claims to be older.
#[tokio::test]
async fn a_member_has_his_part_on_a_new_machine_and_writes_nothing_twice_whatever_another_hides() {
    let world = World::new();
    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    let (me, opened) = (world.identity.author(), u32::try_from(clock::unix_now() - 60).unwrap());
    let numbers = [11, 12];
    let mut others = numbers.map(|number| Author::at(number, opened));
    let proposal = run.hears_a_proposal(me, &mut others).await;
    let id = proposal.id();
    run.trader.join_group(id).await.unwrap();
    let joins = joins_of(&proposal, &others, numbers);
    for (other, join) in others.iter_mut().zip(&joins) {
        run.hears(&other.write(join)).await;
    }
    assert_eq!(run.said(&id, Some(&me)).len(), 2, "he joined, and dealt");
    run.hears_what_is_owed(&id, &mut others, &numbers).await;
    assert_eq!(run.trader.show_group(id).unwrap().state, GroupState::Ready);
    assert_eq!(run.said(&id, Some(&me)).len(), 3, "he confirmed");

    // Of the one who hides so much is looked at, and of others nothing.
    let mut older = others[1].reopened(opened - 1);
    for is_looked_at in [[true; group::MAX_STEPS].as_slice(), &[false]].concat() {
        let record = older.write(&joins[1]);
        run.hears(&record).await;
        assert_eq!(run.trader.is_looked_at(&id, &record), is_looked_at);
    }
    let stranger = Author::at(13, opened).write(&joins[0]);
    run.hears(&stranger).await;
    assert!(!run.trader.is_looked_at(&id, &stranger));
    let steps = run.said(&id, None);
    let said: Vec<Vec<u8>> = [&proposal].into_iter().chain(&steps).map(Record::encode).collect();
    run.stop();

    let world = World { dir: tempfile::tempdir().unwrap(), ..world };
    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    assert_eq!(run.trader.tools.keeper.ingest(said).await, [Verdict::Accept].repeat(steps.len() + 1));
    run.trader.reload_groups().await;
    assert_eq!(run.trader.show_group(id).unwrap().state, GroupState::Ready);
    assert!(run.trader.is_in_a_group());
    assert_eq!(run.said(&id, Some(&me)).len(), 3);
    run.stop();
}

/// As on a full disk: nothing is owed to a group before what that rests on is kept, and its others may have written all that they
/// ever write.
#[tokio::test]
async fn a_group_at_which_a_look_failed_is_looked_at_again_and_one_that_goes_on_failing_holds_up_no_other() {
    let world = World::new();
    let mut run = world.start(SureTime::on(Network::Regtest)).await;
    let (me, opened) = (world.identity.author(), u32::try_from(clock::unix_now() - 60).unwrap());
    let numbers = [11, 12];
    let mut others = numbers.map(|number| Author::at(number, opened));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let proposal = run.hears_a_proposal(me, &mut others).await;
        run.trader.join_group(proposal.id()).await.unwrap();
        run.store.private().put(&LATER, &proposal.id(), &LaterRow).unwrap();
        let joins = joins_of(&proposal, &others, numbers);
        for (other, join) in others.iter_mut().zip(&joins) {
            run.hears(&other.write(join)).await;
        }
        ids.push(proposal.id());
    }
    let steps = |run: &Run| -> Vec<usize> { ids.iter().map(|id| run.said(id, Some(&me)).len()).collect() };
    for _ in 0..3 {
        assert_eq!((steps(&run), run.trader.stalled_groups.len()), (vec![1, 1], 2), "he joined, and has not dealt");
        run.trader.on_retry().await;
    }
    run.store.private().delete(&LATER, &ids[1]).unwrap();
    for _ in 0..2 {
        run.trader.on_retry().await;
    }
    assert_eq!((steps(&run), &run.trader.stalled_groups), (vec![1, 2], &VecDeque::from([ids[0]])));
    run.store.private().delete(&LATER, &ids[0]).unwrap();
    run.trader.on_retry().await;
    assert_eq!((steps(&run), run.trader.stalled_groups.len()), (vec![2, 2], 0));
    run.stop();
}

/// Returns what two others say when they join a group.
fn joins_of(proposal: &Record, others: &[Author; 2], numbers: [u8; 2]) -> [Body; 2] {
    let group = Group::gather(proposal, &[]).unwrap();
    [0, 1].map(|at| {
        let join = group_secrets(numbers[at]).join(&group, &others[at].id()).unwrap();
        Body::GroupStep(GroupStep::Join(join))
    })
}
