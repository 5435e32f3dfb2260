//! Stakes against the embedded chain.

use bitcoin::key::Secp256k1;
use bitcoin::secp256k1::Message;
use bitcoin::{OutPoint, ScriptBuf};
use exchange_ledger::record::Record;
use exchange_ledger::testing::{Author, EPOCH, NETWORK};
use exchange_store::OpenOptions;
use tempfile::TempDir;

use super::*;
use crate::chain::kernel::{KernelChain, KernelConfig};

struct World {
    chain: KernelChain,
    ledger: Ledger<Store>,
    _dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
        let chain = KernelChain::open(KernelConfig::default()).unwrap();
        Self { chain, ledger: Ledger::new(store, NETWORK), _dir: dir }
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
        counting(&self.ledger, &self.chain, self.chain.tip().await.unwrap()).await.unwrap()
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
    assert_eq!(state(&world.chain, tip, &stake).await.unwrap(), young);
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
    assert_eq!(state(&world.chain, tip, &nowhere).await.unwrap(), StakeState::Unknown);
    let others = stake_on(world.mine(1, script_of(&Author::new(6))).await, &maker, &maker);
    assert_eq!(state(&world.chain, tip, &others).await.unwrap(), StakeState::Gone);
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
