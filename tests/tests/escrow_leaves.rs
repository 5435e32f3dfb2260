//! Every leaf of both outputs of a bonded escrow with two arbiters, and their key, spent on a chain that enforces Bitcoin's rules: as soon
//! as its delay is over and no block sooner, by the right keys only, with exactly the outputs that were signed.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bitcoin::key::Keypair;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute::LockTime};
use exchange_ledger::body::{Side, Vaults};
use exchange_ledger::testing::{Author, SampleGroup, SampleTrade, sats};
use exchange_ledger::trade::{Contract, Draft, Escrow, Leaf, Role, Seat, Vault, Verdict, spends_any};
use exchange_node::chain::core::{CoreAuth, CoreChain, CoreConfig};
use exchange_node::chain::kernel::{KernelChain, KernelConfig};
use exchange_node::chain::{ChainBackend, OutpointStatus, consensus};
use exchange_tests::bitcoind::Bitcoind;

const FEERATE: u64 = 10;

/// One way to spend an escrow: through which leaf (or none: the key of both), after how many blocks, and who signs.
struct Way {
    name: String,
    leaf: Option<Leaf>,
    delay: u16,
    draft: Draft,
    /// The keys of the leaf, the one that its script checks first last.
    keys: Vec<Keypair>,
}

/// A trade with bonds and two arbiters, whose delays are short.
struct Stage {
    trade: SampleTrade,
    contract: Contract,
    escrow: Escrow,
}

impl Stage {
    fn new() -> Self {
        let trade = SampleTrade::with_second(Side::Sell);
        let bonded = trade.bonded();
        let contract = Contract { arbitration_delay: 10, second_delay: 20, refund_delay: 30, ..bonded };
        Self { escrow: Escrow::new(&contract), trade, contract }
    }

    /// Returns every way to spend an escrow; `vaults` are as many fundings.
    fn ways(&mut self, vaults: &[Vaults]) -> Vec<Way> {
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| self.trade.author(role).trade_key());
        let (escrow, mut vaults) = (&self.escrow, vaults.iter());
        let mut next = || vaults.next().unwrap();
        let mut ways = Vec::new();
        for (to, mine, theirs) in [(Role::Buyer, &buyer, &seller), (Role::Seller, &seller, &buyer)] {
            let held = next();
            let half = escrow.half(held, escrow.fee_at(held, to, FEERATE).unwrap(), to, theirs).unwrap();
            let draft = escrow.complete(&half, to, mine).unwrap();
            let (name, keys) = (format!("both, to the {to}"), vec![seller, buyer]);
            ways.push(Way { name, leaf: Some(Leaf::Both), delay: 0, draft, keys });
        }
        for (what, alone) in [("both outputs", false), ("the escrow alone", true)] {
            let held = next();
            let spent = if alone { Vaults { bond: None, ..*held } } else { *held };
            let fee = escrow.key_fee(&escrow.half(&spent, sats(3_000), Role::Buyer, &seller).unwrap()).unwrap();
            let (ask, asked) = escrow.ask(&spent, fee, &buyer, &[0xb0; 32]).unwrap();
            let reply = escrow.reply(&ask, &spent, &seller, &[0x5e; 32]).unwrap();
            let draft = escrow.complete_by_key(asked, &reply, &buyer).unwrap();
            let name = format!("the key of both, {what}");
            ways.push(Way { name, leaf: None, delay: 0, draft, keys: vec![seller, buyer] });
        }
        for (vault, key) in [(Vault::Escrow, seller), (Vault::Bond, buyer)] {
            let held = next();
            let coin = if vault == Vault::Escrow { held.escrow } else { held.bond.unwrap() };
            let fee = escrow.timeout_fee_at(vault, coin, FEERATE).unwrap();
            let draft = escrow.signed_timeout(vault, coin, fee, &key).unwrap();
            let (name, delay) = (format!("{vault:?} to its funder"), self.contract.refund_delay);
            ways.push(Way { name, leaf: Some(Leaf::Refund), delay, draft, keys: vec![key] });
        }
        for seat in [Seat::First, Seat::Second] {
            let (pair, delay) = (self.trade.arbiter_pair(&self.contract, seat), self.contract.delay_of(seat));
            for (role, key) in [(Role::Buyer, buyer), (Role::Seller, seller)] {
                let leaf = Some(Leaf::of_arbiter(seat, role));
                let held = next();
                let division = escrow.divide(seat, held, Verdict::Split(sats(300_000)), FEERATE).unwrap();
                let ruling = escrow.rule(seat, held, division, &pair).unwrap();
                let draft = escrow.complete_ruling(seat, &ruling, role, &key).unwrap();
                ways.push(Way { name: format!("{seat:?} rules, {role}"), leaf, delay, draft, keys: vec![pair, key] });
                let held = next();
                let fee = escrow.extension_fee_at(seat, held, FEERATE).unwrap();
                let extend = escrow.extend(seat, held, fee, &pair).unwrap();
                let draft = escrow.complete_extend(seat, &extend, role, &key).unwrap();
                ways.push(Way { name: format!("{seat:?} extends, {role}"), leaf, delay, draft, keys: vec![pair, key] });
            }
        }
        ways.sort_by_key(|way| way.delay);
        ways
    }

    /// Returns a way signed by others: each of its keys in turn is a stranger's.
    fn forged(&self, way: &Way) -> Vec<Transaction> {
        let stranger = Author::new(99).trade_key();
        let Some(leaf) = way.leaf else { return by_one_key(way, &stranger) };
        let forge = |at: usize| {
            let mut draft = way.draft.clone();
            let sign = |(by, key): (usize, &Keypair)| {
                let key = if by == at { &stranger } else { key };
                self.escrow.sign(&draft, leaf, key).unwrap()
            };
            let signatures: Vec<_> = way.keys.iter().enumerate().map(sign).collect();
            self.escrow.attach(&mut draft, leaf, &signatures.iter().collect::<Vec<_>>()).unwrap();
            draft.tx
        };
        (0..way.keys.len()).map(forge).collect()
    }
}

/// Returns a spend by the key of both that one person alone signed: a stranger, the seller, the buyer.
fn by_one_key(way: &Way, stranger: &Keypair) -> Vec<Transaction> {
    let secp = bitcoin::key::Secp256k1::new();
    let sign = |key: &Keypair| {
        let mut tx = way.draft.tx.clone();
        for (at, input) in tx.input.iter_mut().enumerate() {
            let signature = secp.sign_schnorr_no_aux_rand(&way.draft.key_sighash(at), key);
            input.witness = Witness::from_slice(&[signature.serialize()]);
        }
        tx
    };
    std::iter::once(stranger).chain(&way.keys).map(sign).collect()
}

/// How many ways there are.
const WAYS: usize = 14;

fn anyone() -> ScriptBuf {
    ScriptBuf::builder().push_int(1).into_script()
}

/// Funds as many escrows as there are ways by one transaction, from the first coin of the chain.
async fn fund(chain: &dyn ChainBackend, escrow: &Escrow) -> Vec<Vaults> {
    chain.mine(110, anyone().to_p2wsh()).await.unwrap();
    let tip = chain.tip().await.unwrap().height;
    let block = chain.block_at(tip - 105).await.unwrap().unwrap();
    let coin = &block.txdata[0];
    let mut output: Vec<TxOut> = (0..WAYS).flat_map(|_| [escrow.output(), escrow.bond_output().unwrap()]).collect();
    let paid: Amount = output.iter().map(|output| output.value).sum();
    let change = coin.output[0].value - paid - Amount::from_sat(20_000);
    output.push(TxOut { value: change, script_pubkey: anyone().to_p2wsh() });
    let input = TxIn {
        previous_output: OutPoint { txid: coin.compute_txid(), vout: 0 },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::from_slice(&[anyone().as_bytes()]),
    };
    let funding = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output };
    chain.broadcast(&funding).await.unwrap();
    chain.mine(1, anyone().to_p2wsh()).await.unwrap();
    escrow.fundings(&funding)
}

async fn every_leaf_holds(chain: &dyn ChainBackend) {
    let mut stage = Stage::new();
    let vaults = fund(chain, &stage.escrow).await;
    let funded_at = chain.tip().await.unwrap().height;
    let ways = stage.ways(&vaults);
    assert_eq!((ways.len(), vaults.len()), (WAYS, WAYS));
    let mut opened = 0;
    for way in &ways {
        let (tx, name) = (&way.draft.tx, &way.name);
        assert!(consensus::verify_spend(tx, &way.draft.prevouts()).is_ok(), "{name}");
        if way.delay > opened {
            opened = way.delay;
            // The block being made counts: it must lie as many blocks above the funding as the leaf asks.
            let opens = funded_at + u32::from(way.delay) - 1;
            let tip = chain.tip().await.unwrap().height;
            chain.mine(opens - 1 - tip, anyone().to_p2wsh()).await.unwrap();
            for same in ways.iter().filter(|other| other.delay == way.delay) {
                assert!(chain.broadcast(&same.draft.tx).await.is_err(), "{}: a block too early", same.name);
            }
            chain.mine(1, anyone().to_p2wsh()).await.unwrap();
        }
        for (at, forged) in stage.forged(way).iter().enumerate() {
            assert!(consensus::verify_spend(forged, &way.draft.prevouts()).is_err(), "{name}");
            assert!(chain.broadcast(forged).await.is_err(), "{name}: signature {at} by a stranger");
        }
        let mut changed = tx.clone();
        changed.output[0].value -= Amount::ONE_SAT;
        assert!(chain.broadcast(&changed).await.is_err(), "{name}: a changed value");
        let mut elsewhere = tx.clone();
        elsewhere.output[0].script_pubkey = Author::new(98).party().destination.script().clone();
        assert!(chain.broadcast(&elsewhere).await.is_err(), "{name}: another destination");
        let mut hasty = tx.clone();
        hasty.input[0].sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
        assert!(way.delay == 0 || chain.broadcast(&hasty).await.is_err(), "{name}: without its delay");
        chain.broadcast(tx).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        chain.mine(1, anyone().to_p2wsh()).await.unwrap();
        let spent = vaults.iter().find(|vaults| spends_any(tx, vaults)).unwrap();
        let outpoint = tx.input[0].previous_output;
        let script = way.draft.spent[0].1.script_pubkey.clone();
        let status = chain.outpoint(outpoint, script, funded_at).await.unwrap();
        let OutpointStatus::Spent { by, spent_height: Some(_), .. } = status else {
            panic!("{name}: no block holds it");
        };
        assert_eq!(by.compute_txid(), tx.compute_txid(), "{name}");
        assert_eq!(stage.escrow.check_witness(&by, spent), Ok(way.leaf), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_leaf_holds_on_the_embedded_chain() {
    let chain = Arc::new(KernelChain::open(KernelConfig::default()).unwrap());
    every_leaf_holds(chain.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_leaf_holds_on_a_real_bitcoind() {
    let node = Bitcoind::start().unwrap_or_else(|error| panic!("{error}"));
    let (url, auth) = (node.rpc_url(), CoreAuth::Cookie(node.cookie_file()));
    let chain = CoreChain::open(CoreConfig { url, auth, network: bitcoin::Network::Regtest }).await.unwrap();
    every_leaf_holds(&chain).await;
}

/// Two of three rule, and what the winner completes is one that Bitcoin Core's engine accepts; one of them alone is nothing.
#[test]
fn a_ruling_of_a_group_is_one_that_bitcoin_core_accepts() {
    let group = SampleGroup::new(2, 3);
    let mut trade = SampleTrade::of_group(Side::Sell, &group);
    let contract = trade.bonded();
    let escrow = Escrow::new(&contract);
    let vaults = exchange_ledger::testing::vaults_of(&escrow, 1);
    let verdict = Verdict::Split(sats(300_000));
    let division = escrow.divide(Seat::First, &vaults, verdict, FEERATE).unwrap();
    let digests = escrow.ruling_digests(Seat::First, &vaults, division).unwrap();
    assert_eq!(digests.len(), 4, "two leaves of two outputs");
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let signatures = group.sign(&contract, [one, other], &digests);
        let ruling = escrow.ruling_of(Seat::First, &vaults, division, &signatures).unwrap();
        for role in [Role::Buyer, Role::Seller] {
            let key = trade.author(role).trade_key();
            let draft = escrow.complete_ruling(Seat::First, &ruling, role, &key).unwrap();
            consensus::verify_spend(&draft.tx, &draft.prevouts()).unwrap();
        }
    }
}
