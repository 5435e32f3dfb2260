//! Stakes against the embedded chain.

use bitcoin::hashes::Hash;
use bitcoin::key::Secp256k1;
use bitcoin::secp256k1::Message;
use bitcoin::{BlockHash, OutPoint, ScriptBuf};
use exchange_ledger::record::Record;
use exchange_ledger::testing::{Author, EPOCH, NETWORK};
use exchange_store::OpenOptions;
use tempfile::TempDir;

use super::*;
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::chain::line::Line;

struct World {
    chain: Arc<KernelChain>,
    ledger: Ledger<Store>,
    _dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        let chain = KernelChain::open(KernelConfig::default()).unwrap();
        Self { chain: Arc::new(chain), ledger: Ledger::new(store, NETWORK), _dir: dir }
    }

    async fn mine(&self, count: u32, script: ScriptBuf) -> OutPoint {
        let hashes = self.chain.mine(count, script).await.unwrap();
        let height = self.chain.tip().await.unwrap().height;
        let block = self.chain.block_at(height).await.unwrap().unwrap();
        assert_eq!(hashes.last(), Some(&block.block_hash()));
        OutPoint { txid: block.txdata[0].compute_txid(), vout: 0 }
    }

    fn admit(&mut self, record: Record) {
        self.ledger.admit(&[record], u64::from(EPOCH) + 1000).unwrap();
    }

    async fn counting(&self) -> HashSet<AuthorId> {
        let mut stakes = Stakes::default();
        self.look(&mut stakes, &*self.chain).await;
        stakes.counting()
    }

    /// Has one round.
    async fn look(&self, stakes: &mut Stakes, chain: &dyn ChainBackend) {
        let tip = self.chain.tip().await.unwrap();
        stakes.look(&self.ledger, chain, tip, &HashSet::new()).await.unwrap();
    }
}

/// Returns a stake on a coin of `owner`'s trade key in the name of `author`.
fn stake_on(coin: OutPoint, owner: &Author, author: &Author) -> Stake {
    let message = Message::from_digest(stake::message(&NETWORK, &author.id(), &Outpoint(coin)));
    let signature = Secp256k1::new().sign_schnorr_no_aux_rand(&message, &owner.trade_key());
    let key = CurveKey(owner.trade_key().x_only_public_key().0);
    Stake { coin: Outpoint(coin), key, signature: CurveSignature(signature) }
}

fn script_of(owner: &Author) -> ScriptBuf {
    stake::script(&stake_on(OutPoint::null(), owner, owner))
}

fn nobody() -> ScriptBuf {
    ScriptBuf::new_op_return([1; 4])
}

#[tokio::test]
async fn a_stake_counts_once_its_coin_is_a_day_old() {
    let (mut world, mut maker) = (World::new(), Author::new(5));
    let coin = world.mine(1, script_of(&maker)).await;
    let stake = stake_on(coin, &maker, &maker);
    world.admit(maker.write(&Body::Stake(stake.clone())));
    assert!(world.counting().await.is_empty());
    world.mine(STAKE_CONFIRMATIONS - 2, nobody()).await;
    let tip = world.chain.tip().await.unwrap();
    let young = StakeState::Young { confirmations: STAKE_CONFIRMATIONS - 1, needed: STAKE_CONFIRMATIONS };
    assert_eq!(state(&*world.chain, tip, &stake).await.unwrap(), young);
    assert!(world.counting().await.is_empty());
    world.mine(1, nobody()).await;
    assert_eq!(world.counting().await, HashSet::from([maker.id()]));
}

#[tokio::test]
async fn a_coin_that_the_chain_does_not_know_is_called_unknown_and_not_gone() {
    let (world, maker) = (World::new(), Author::new(5));
    world.mine(1, nobody()).await;
    let tip = world.chain.tip().await.unwrap();
    let nowhere = stake_on(OutPoint { vout: 7, ..OutPoint::null() }, &maker, &maker);
    assert_eq!(state(&*world.chain, tip, &nowhere).await.unwrap(), StakeState::Unknown);
    let others = stake_on(world.mine(1, script_of(&Author::new(6))).await, &maker, &maker);
    assert_eq!(state(&*world.chain, tip, &others).await.unwrap(), StakeState::Gone);
}

#[tokio::test]
async fn a_coin_stands_for_one_author_and_only_for_its_owners() {
    let (mut world, owner, thief) = (World::new(), Author::new(5), Author::new(6));
    // A key of his own on another's coin: the record is good, the coin is not his. Nor does it keep out the owner, whichever
    // of both comes first in the order of authors.
    for (owner, mut thief) in [(owner.clone(), thief.clone()), (thief, owner.clone())] {
        let coin = world.mine(1, script_of(&owner)).await;
        world.mine(STAKE_CONFIRMATIONS, nobody()).await;
        let (theft, good) = (stake_on(coin, &thief, &thief), stake_on(coin, &owner, &owner));
        let before = world.counting().await;
        world.admit(thief.write(&Body::Stake(theft)));
        assert_eq!(world.counting().await, before);
        world.admit(owner.reopened(EPOCH + 1).write(&Body::Stake(good)));
        assert!(world.counting().await.contains(&owner.id()));
        world = World::new();
    }

    // The owner lends it to two more identities: the first by place has it, whatever came first.
    let (mut world, mut borrowers) = (World::new(), [Author::new(7), Author::new(8), Author::new(9)]);
    let coin = world.mine(1, script_of(&owner)).await;
    world.mine(STAKE_CONFIRMATIONS, nobody()).await;
    borrowers.sort_by_key(|author| std::cmp::Reverse(author.id()));
    for author in &mut borrowers {
        let stake = stake_on(coin, &owner, author);
        world.admit(author.write(&Body::Stake(stake)));
        assert_eq!(world.counting().await, HashSet::from([author.id()]));
    }
}

#[tokio::test]
async fn only_the_first_stakes_of_an_author_are_looked_at() {
    let (mut world, mut maker) = (World::new(), Author::new(5));
    let coin = world.mine(1, script_of(&maker)).await;
    world.mine(STAKE_CONFIRMATIONS, nobody()).await;
    for number in 0..MAX_STAKES {
        let nowhere = OutPoint { vout: u32::try_from(number).unwrap(), ..OutPoint::null() };
        let stake = stake_on(nowhere, &maker, &maker);
        world.admit(maker.write(&Body::Stake(stake)));
    }
    let late = stake_on(coin, &maker, &maker);
    world.admit(maker.write(&Body::Stake(late)));
    assert!(world.counting().await.is_empty());
}

/// Returns authors in the order of their keys.
fn sorted(numbers: std::ops::RangeInclusive<u8>) -> Vec<Author> {
    let mut authors: Vec<Author> = numbers.map(Author::new).collect();
    authors.sort_by_key(Author::id);
    authors
}

fn nowhere(number: usize) -> OutPoint {
    OutPoint { vout: u32::try_from(number).unwrap(), ..OutPoint::null() }
}

#[tokio::test]
async fn a_crowd_of_dead_stakes_neither_hides_a_good_one_nor_keeps_the_chain_busy() {
    let mut world = World::new();
    let mut crowd = sorted(10..=50);
    let mut maker = crowd.pop().unwrap();
    let coin = world.mine(1, script_of(&maker)).await;
    world.mine(STAKE_CONFIRMATIONS, nobody()).await;
    let mut records = vec![maker.write(&Body::Stake(stake_on(coin, &maker, &maker)))];
    for author in &mut crowd {
        for number in 0..MAX_STAKES {
            let stake = stake_on(nowhere(number), author, author);
            records.push(author.write(&Body::Stake(stake)));
        }
    }
    world.ledger.admit(&records, u64::from(EPOCH) + 1000).unwrap();

    let (mut stakes, line) = (Stakes::default(), Line::to(&world.chain));
    world.look(&mut stakes, &line).await;
    assert_eq!(line.asked(), MAX_ASKED);
    assert_eq!(stakes.counting(), HashSet::from([maker.id()]), "it has its turn, whatever comes before it");
    let all = records.len();
    for _ in 0..2 * all / MAX_ASKED {
        let before = line.asked();
        world.look(&mut stakes, &line).await;
        assert!(line.asked() - before <= MAX_ASKED);
    }
    assert_eq!(line.asked(), all, "each is asked about once");
    // With the next block once more, and then not with every one.
    for (blocks, more) in [(1, all - 1), (1, 0), (1, all - 1), (1, 0), (2, 0)] {
        let before = line.asked();
        world.mine(blocks, nobody()).await;
        for _ in 0..2 * all / MAX_ASKED {
            world.look(&mut stakes, &line).await;
        }
        assert_eq!(line.asked() - before, more);
    }
    // One that he names later is looked at, unless it is one too many.
    let mut late = Author::new(60);
    for (author, expected) in [(&mut crowd[0], 0), (&mut late, 1)] {
        let stake = stake_on(nowhere(70), author, author);
        let record = author.write(&Body::Stake(stake));
        world.admit(record);
        let before = line.asked();
        stakes.hear(author.id());
        world.look(&mut stakes, &line).await;
        assert_eq!(line.asked() - before, expected);
    }
}

#[tokio::test]
async fn a_question_that_fails_keeps_nobody_else_from_counting() {
    let mut world = World::new();
    let [mut first, mut second]: [Author; 2] = sorted(10..=11).try_into().ok().unwrap();
    let coins = [world.mine(1, script_of(&first)).await, world.mine(1, script_of(&second)).await];
    world.mine(STAKE_CONFIRMATIONS, nobody()).await;
    for (author, coin) in [(&mut first, coins[0]), (&mut second, coins[1])] {
        let stake = stake_on(coin, author, author);
        let record = author.write(&Body::Stake(stake));
        world.admit(record);
    }
    let (mut stakes, mut line) = (Stakes::default(), Line::to(&world.chain));
    line.broken = Some(coins[0]);
    world.look(&mut stakes, &line).await;
    assert_eq!(stakes.counting(), HashSet::from([second.id()]));
    line.broken = Some(coins[1]);
    world.mine(IDLE_PAUSE, nobody()).await;
    world.look(&mut stakes, &line).await;
    assert_eq!(stakes.counting(), HashSet::from([first.id(), second.id()]), "the last answer stands");
}

#[test]
fn who_needs_his_stake_is_asked_about_with_each_block() {
    let counts = Followed { counts: true, height: 100, wait: 1, ..Followed::default() };
    let due =
        |height, is_wanted| counts.is_due(BlockRef { height, hash: BlockHash::from_byte_array([0; 32]) }, is_wanted);
    assert_eq!([100, 101].map(|height| due(height, true)), [false, true]);
    assert_eq!([101, 99 + IDLE_PAUSE, 100 + IDLE_PAUSE].map(|height| due(height, false)), [false, false, true]);
    assert!(due(99, false), "after a reorganisation");
}

#[test]
fn an_identity_without_a_good_stake_is_asked_about_ever_more_rarely() {
    let mut one = Followed::default();
    let waits: Vec<u32> = (0..10)
        .map(|_| {
            one.note(0, StakeState::Unknown);
            one.rest(1);
            one.wait
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, MAX_PAUSE, MAX_PAUSE]);
    one.note(0, StakeState::Young { confirmations: 134, needed: STAKE_CONFIRMATIONS });
    one.rest(1);
    assert_eq!(one.wait, 10, "when it is old enough");
    one.note(0, StakeState::Counts);
    one.note(0, StakeState::Gone);
    assert!(!one.counts && one.wait == 0, "another one may count now");
}
