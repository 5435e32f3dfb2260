//! A share of a funding from two wallets: what is set aside, what is signed, and what comes back.

use std::sync::Mutex;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, TxOut};
use exchange_ledger::trade::Role;
use exchange_ledger::trade::funding::{Draft, Funder, Proposal, Terms};
use exchange_ledger::wire::{CurveSignature, List};

use super::*;
use crate::chain::{Follower, OutpointStatus};

const FEERATE: u64 = 5;

fn output(byte: u8, amount: &str) -> TxOut {
    let FundRequest { script, amount, .. } = escrow(byte, amount);
    TxOut { value: amount, script_pubkey: script }
}

fn terms(role: Role) -> Terms {
    Terms { role, seller_output: output(201, "1.1"), buyer_output: output(202, "0.1"), from_height: 0 }
}

fn request(role: Role) -> ShareRequest {
    let fee_rate = FeeRate::from_sat_per_vb(FEERATE).unwrap();
    ShareRequest { output: terms(role).output(role).clone(), fee_rate, label: "escrow of a trade".into() }
}

fn draft(terms: &Terms, seller: &Funder, buyer: &Funder, height: u32) -> Draft {
    let proposal = Proposal { feerate: FEERATE, height, seller: seller.contribution.clone() };
    Draft::new(terms, &proposal, seller, buyer).unwrap()
}

fn signing(role: Role, draft: &Draft) -> ShareSigning {
    let script = terms(role).output(role).script_pubkey.clone();
    ShareSigning { script, role, draft: draft.clone(), label: "escrow of a trade".into() }
}

fn signatures(draft: &Draft, tx: &Transaction, role: Role) -> Vec<CurveSignature> {
    draft.signatures_in(tx, role).unwrap()
}

/// A seller and a buyer with coins, and what each brings.
struct Pair {
    chain: Arc<KernelChain>,
    owners: [Owner; 2],
    seller: WalletHandle,
    buyer: WalletHandle,
    mine: Funder,
    theirs: Funder,
}

impl Pair {
    async fn new() -> Self {
        let chain = new_chain();
        let owners = [Owner::new(1, &chain), Owner::new(2, &chain)];
        let (seller, buyer) = (owners[0].open().await, owners[1].open().await);
        earn(&seller, &chain, 2).await;
        earn(&buyer, &chain, 2).await;
        caught_up(&seller, &chain).await;
        let mine = seller.share(request(Role::Seller)).await.unwrap();
        let theirs = buyer.share(request(Role::Buyer)).await.unwrap();
        Self { chain, owners, seller, buyer, mine, theirs }
    }

    async fn draft(&self) -> Draft {
        draft(&terms(Role::Seller), &self.mine, &self.theirs, self.chain.tip().await.unwrap().height)
    }

    /// Both sign; returns the whole transaction.
    async fn signed(&self) -> Transaction {
        let mut draft = self.draft().await;
        let tx = self.buyer.sign_share(signing(Role::Buyer, &draft)).await.unwrap();
        draft.attach(Role::Buyer, &signatures(&draft, &tx, Role::Buyer)).unwrap();
        self.seller.sign_share(signing(Role::Seller, &draft)).await.unwrap()
    }
}

#[tokio::test]
async fn two_wallets_pay_into_one_transaction_to_the_satoshi() {
    let pair = Pair::new().await;
    assert_eq!(pair.mine.contribution.inputs.len(), 1, "one coin suffices");
    let tx = pair.signed().await;
    pair.seller.broadcast(&tx).await.unwrap();
    mine(&pair.chain, 1).await;
    for (wallet, held) in [(&pair.seller, "1.1"), (&pair.buyer, "0.1")] {
        caught_up(wallet, &pair.chain).await;
        let fee = (21_u64 + 230 + 4 * 43 + 4 * 43) * FEERATE;
        let fee = Amount::from_sat(fee.div_ceil(4));
        let balance = until(wallet, "the change", |balance| balance.pending == Amount::ZERO).await;
        assert_eq!(balance.spendable + balance.reserved, btc("100") - btc(held) - fee, "{balance:?}");
    }
    // Deep enough, nothing is set aside any more.
    mine(&pair.chain, 6).await;
    caught_up(&pair.seller, &pair.chain).await;
    until(&pair.seller, "nothing set aside", |balance| balance.reserved == Amount::ZERO).await;
    assert!(matches!(pair.seller.free_share(terms(Role::Seller).seller_output.script_pubkey).await, Ok(())));
}

#[tokio::test]
async fn what_is_set_aside_is_set_aside_once_and_for_nothing_else() {
    let pair = Pair::new().await;
    assert_eq!(pair.seller.share(request(Role::Seller)).await.unwrap(), pair.mine);
    let balance = pair.seller.balance().await.unwrap();
    assert_eq!((balance.reserved, balance.spendable), (btc("50"), btc("50")));
    assert!(matches!(
        pair.seller.send(pay("rent", escrow(9, "1").script, "60")).await,
        Err(WalletError::InsufficientFunds { .. })
    ));
    let more =
        ShareRequest { output: TxOut { value: btc("2"), ..request(Role::Seller).output }, ..request(Role::Seller) };
    assert!(matches!(pair.seller.share(more).await, Err(WalletError::AlreadyBuilt { .. })));
    // After a restart too.
    pair.seller.close().await;
    let seller = pair.owners[0].open().await;
    assert_eq!(seller.share(request(Role::Seller)).await.unwrap(), pair.mine);
    let script = request(Role::Seller).output.script_pubkey;
    seller.free_share(script.clone()).await.unwrap();
    assert_eq!(seller.balance().await.unwrap().spendable, btc("100"));
    seller.free_share(script).await.unwrap(); // done already
}

#[tokio::test]
async fn only_confirmed_coins_that_nobody_froze_are_brought() {
    let chain = new_chain();
    let wallet = Owner::new(1, &chain).open().await;
    earn(&wallet, &chain, 1).await;
    let coin = wallet.coins(None, 10).await.unwrap()[0].outpoint;
    wallet.freeze(vec![coin], true).await.unwrap();
    assert!(matches!(wallet.share(request(Role::Seller)).await, Err(WalletError::InsufficientFunds { .. })));
    wallet.freeze(vec![coin], false).await.unwrap();
    // Its change can be spent at once, but a counterparty need not believe in it.
    wallet.send(pay("rent", escrow(9, "1").script, "1")).await.unwrap();
    assert!(matches!(wallet.share(request(Role::Seller)).await, Err(WalletError::SmallCoins { .. })));
    mine(&chain, 1).await;
    caught_up(&wallet, &chain).await;
    let brought = wallet.share(request(Role::Seller)).await.unwrap();
    assert_eq!(brought.contribution.inputs[0].height, chain.tip().await.unwrap().height);
}

#[tokio::test]
async fn a_wallet_signs_its_share_and_nothing_else() {
    let pair = Pair::new().await;
    let height = pair.chain.tip().await.unwrap().height;
    let good = pair.draft().await;
    let refused =
        |reason: Result<Transaction, WalletError>| matches!(reason, Err(WalletError::WrongTransaction { .. }));

    // The contract takes another amount than was set aside, and the output stands there twice.
    let mut other = terms(Role::Seller);
    other.seller_output.value = btc("1.2");
    let dear = draft(&other, &pair.mine, &pair.theirs, height);
    assert!(refused(pair.seller.sign_share(signing(Role::Seller, &dear)).await));
    other.seller_output.value = btc("1.1");
    other.buyer_output = TxOut { value: btc("0.1"), ..other.seller_output.clone() };
    let twice = draft(&other, &pair.mine, &pair.theirs, height);
    assert!(refused(pair.seller.sign_share(signing(Role::Seller, &twice)).await));

    // The other side brings a coin of this wallet.
    let own = ShareRequest { output: output(203, "0.1"), ..request(Role::Buyer) };
    let another = pair.seller.share(own).await.unwrap();
    let stolen = draft(&terms(Role::Seller), &pair.mine, &another, height);
    assert!(refused(pair.seller.sign_share(signing(Role::Seller, &stolen)).await));

    // Not its own coins at all, or the change to somebody else: its own loss.
    let swapped = draft(&terms(Role::Seller), &another, &pair.theirs, height);
    assert!(refused(pair.seller.sign_share(signing(Role::Seller, &swapped)).await));
    let mut robbed = pair.mine.clone();
    robbed.contribution.change = exchange_ledger::wire::Destination::new(output(204, "1").script_pubkey).unwrap();
    let robbed = draft(&terms(Role::Seller), &robbed, &pair.theirs, height);
    assert!(refused(pair.seller.sign_share(signing(Role::Seller, &robbed)).await));

    // A coin that holds less than is said: the signature would cover an amount that is not there.
    let mut short = pair.mine.clone();
    short.values = List::new(vec![exchange_ledger::money::Sats::new(200_000_000).unwrap()]).unwrap();
    let short = draft(&terms(Role::Seller), &short, &pair.theirs, height);
    assert!(refused(pair.seller.sign_share(signing(Role::Seller, &short)).await));

    // For an output for which nothing was set aside.
    let nothing = ShareSigning { script: output(205, "1").script_pubkey, ..signing(Role::Seller, &good) };
    assert!(matches!(pair.seller.sign_share(nothing).await, Err(WalletError::NotReserved { .. })));
    pair.seller.sign_share(signing(Role::Seller, &good)).await.unwrap();
}

#[tokio::test]
async fn a_share_that_was_signed_comes_back_by_spending_a_coin() {
    let pair = Pair::new().await;
    let whole = pair.signed().await;
    let script = request(Role::Buyer).output.script_pubkey;
    pair.owners[1].chain.down.store(true, Ordering::SeqCst);
    assert!(matches!(pair.buyer.spend_back(script.clone(), false).await, Err(WalletError::NotYetBroadcast { .. })));
    // Kept: after a restart it goes out by itself.
    pair.owners[1].chain.down.store(false, Ordering::SeqCst);
    pair.buyer.close().await;
    let buyer = pair.owners[1].open().await;
    buyer.spend_back(script.clone(), false).await.unwrap();
    buyer.spend_back(script.clone(), false).await.unwrap(); // the same one
    mine(&pair.chain, 1).await;
    assert!(pair.seller.broadcast(&whole).await.is_err(), "what was signed can never confirm");
    mine(&pair.chain, 6).await;
    caught_up(&buyer, &pair.chain).await;
    let balance = until(&buyer, "all coins", |balance| balance.reserved == Amount::ZERO).await;
    assert_eq!(buyer.history(None, 10).await.unwrap().entries.len(), 3, "two coins and one spend");
    assert!(balance.spendable > btc("99.999"), "{balance:?}");
    buyer.spend_back(script, false).await.unwrap(); // nothing is left to do
}

/// Its trade was called off, and who said that he refused it may pass it on once its coins pay for another.
#[tokio::test]
async fn a_funding_from_one_wallet_comes_back_by_spending_a_coin_be_it_without_change() {
    for (amount, outputs) in [("60", 2), ("99.99999700", 1)] {
        let chain = new_chain();
        let wallet = Owner::new(1, &chain).open().await;
        earn(&wallet, &chain, 2).await;
        let request = FundRequest { fee_rate: FeeRate::from_sat_per_vb(1), ..escrow(3, amount) };
        let funding = wallet.fund(request.clone()).await.unwrap().tx;
        assert_eq!((funding.input.len(), funding.output.len()), (2, outputs));
        wallet.spend_back(request.script.clone(), false).await.unwrap();
        wallet.spend_back(request.script.clone(), false).await.unwrap(); // the same one
        mine(&chain, 1).await;
        caught_up(&wallet, &chain).await;
        assert!(wallet.broadcast(&funding).await.is_err(), "it can never confirm");
        assert_eq!(wallet.balance().await.unwrap().reserved, btc("50"), "a reorg could bring it back");
        mine(&chain, 5).await;
        caught_up(&wallet, &chain).await;
        let balance = wallet.balance().await.unwrap();
        assert!(balance.reserved == Amount::ZERO && balance.spendable > btc("99.999"), "{balance:?}");
        assert!(wallet.is_dead(funding.compute_txid()).await.unwrap());
        wallet.spend_back(request.script, false).await.unwrap(); // nothing is left to do
        assert_eq!(wallet.balance().await.unwrap(), balance);
    }
}

#[tokio::test]
async fn a_funding_that_is_on_its_way_is_neither_freed_nor_spent_back_but_bumped() {
    let pair = Pair::new().await;
    let whole = pair.signed().await;
    let txid = whole.compute_txid();
    pair.seller.broadcast(&whole).await.unwrap();
    let script = request(Role::Seller).output.script_pubkey;
    assert!(matches!(pair.seller.free_share(script.clone()).await, Err(WalletError::AlreadyBroadcast { .. })));
    assert!(matches!(pair.seller.spend_back(script, false).await, Err(WalletError::AlreadyBroadcast { .. })));
    // The buyer, who saw it in the pool, can pay for it too, though he never had the seller's signatures before.
    until(&pair.buyer, "the funding", |balance| balance.reserved == Amount::ZERO).await;
    let bump = BumpRequest {
        request_id: String::new(),
        txid,
        fee_rate: Some(FeeRate::from_sat_per_vb_u32(20)),
        allow_high_fee: false,
        dry_run: false,
        by_trade: false,
        priced: None,
    };
    let bumped = pair.buyer.bump(bump).await.unwrap();
    assert_eq!((bumped.raise, bumped.payment.tx.version.0), (FeeRaise::Child { of: txid }, 3));
}

#[tokio::test]
async fn a_funding_that_only_waits_is_replaced_when_its_time_is_over_and_not_in_a_block() {
    let pair = Pair::new().await;
    let whole = pair.signed().await;
    pair.seller.broadcast(&whole).await.unwrap();
    until(&pair.buyer, "the funding", |balance| balance.reserved == Amount::ZERO).await;
    let script = request(Role::Buyer).output.script_pubkey;
    let refused = pair.buyer.spend_back(script.clone(), false).await;
    assert!(matches!(refused, Err(WalletError::AlreadyBroadcast { .. })), "{refused:?}");
    pair.buyer.spend_back(script.clone(), true).await.unwrap();
    pair.buyer.spend_back(script.clone(), true).await.unwrap(); // the same one
    mine(&pair.chain, 1).await;
    assert!(pair.seller.broadcast(&whole).await.is_err(), "what was signed can never confirm");

    // A child of the seller's pays him his change, so the buyer's wallet never sees it, nor what it pays.
    let pair = Pair::new().await;
    let whole = pair.signed().await;
    pair.seller.broadcast(&whole).await.unwrap();
    until(&pair.buyer, "the funding", |balance| balance.reserved == Amount::ZERO).await;
    let raise = BumpRequest {
        request_id: String::new(),
        txid: whole.compute_txid(),
        fee_rate: Some(FeeRate::from_sat_per_vb_u32(20)),
        allow_high_fee: false,
        dry_run: false,
        by_trade: false,
        priced: None,
    };
    let child = pair.seller.bump(raise).await.unwrap().payment;
    assert!(child.fee > Amount::from_sat(5_000), "{child:?}");
    // After the next block it pays twice as much: see `events.rs`.
    for _ in 0..2 {
        let refused = pair.buyer.spend_back(script.clone(), true).await.unwrap_err();
        assert!(matches!(refused, WalletError::Chain(ChainError::Refused { .. })), "{refused}");
    }

    let pair = Pair::new().await;
    pair.seller.broadcast(&pair.signed().await).await.unwrap();
    mine(&pair.chain, 1).await;
    caught_up(&pair.buyer, &pair.chain).await;
    let refused = pair.buyer.spend_back(script, true).await;
    assert!(matches!(refused, Err(WalletError::AlreadyBroadcast { .. })), "{refused:?}");
}

/// The embedded chain as a light client would show it whose peers take whatever it has and say no more of it.
struct Mute {
    chain: Arc<KernelChain>,
    /// What they were given.
    given: Mutex<Vec<Transaction>>,
}

#[async_trait]
impl ChainBackend for Mute {
    fn name(&self) -> &'static str {
        self.chain.name()
    }

    fn network(&self) -> Network {
        self.chain.network()
    }

    async fn tip(&self) -> Result<BlockRef, ChainError> {
        self.chain.tip().await
    }

    async fn block_at(&self, height: u32) -> Result<Option<Block>, ChainError> {
        self.chain.block_at(height).await
    }

    async fn headers(&self, from: u32, limit: usize) -> Result<Vec<Header>, ChainError> {
        self.chain.headers(from, limit).await
    }

    async fn follow(&self, locator: Vec<BlockRef>, watch: Vec<ScriptBuf>) -> Result<Follower, ChainError> {
        self.chain.follow(locator, watch).await
    }

    async fn outpoint(&self, outpoint: OutPoint, script: ScriptBuf, from: u32) -> Result<OutpointStatus, ChainError> {
        self.chain.outpoint(outpoint, script, from).await
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<(), ChainError> {
        let txid = tx.compute_txid();
        let mut given = self.given.lock().unwrap();
        if given.contains(tx) {
            return Err(ChainError::Unasked { txid });
        }
        given.push(tx.clone());
        Err(ChainError::Unheard { txid, waited_s: 30 })
    }

    async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), ChainError> {
        self.chain.broadcast_package(txs).await
    }

    async fn fee_rate(&self, blocks: u16) -> Result<FeeRate, ChainError> {
        self.chain.fee_rate(blocks).await
    }

    async fn mine(&self, count: u32, script: ScriptBuf) -> Result<Vec<BlockHash>, ChainError> {
        self.chain.mine(count, script).await
    }
}

#[tokio::test]
async fn what_is_spent_back_pays_twice_as_much_after_each_block_where_nobody_tells_whether_it_was_refused() {
    let pair = Pair::new().await;
    pair.signed().await;
    pair.buyer.close().await;
    let mute = Arc::new(Mute { chain: Arc::clone(&pair.chain), given: Mutex::default() });
    let buyer = WalletHandle::open(WalletSetup {
        seed: Zeroizing::new([pair.owners[1].seed; 64]),
        store: Arc::clone(&pair.owners[1].store) as Arc<dyn WalletStore>,
        chain: Arc::clone(&mute) as Arc<dyn ChainBackend>,
        birth_height: 0,
        clock: Arc::new(|| TIME),
    })
    .await
    .unwrap();
    caught_up(&buyer, &pair.chain).await;
    let script = request(Role::Buyer).output.script_pubkey;
    for _ in 0..4 {
        for _ in 0..3 {
            let sent = buyer.spend_back(script.clone(), false).await;
            assert!(matches!(sent, Err(WalletError::NotYetBroadcast { .. })), "{sent:?}");
        }
        mine(&pair.chain, 1).await;
        caught_up(&buyer, &pair.chain).await;
    }
    let given = mute.given.lock().unwrap();
    let backs = given.iter().filter(|tx| tx.output.len() == 1);
    let fees: Vec<Amount> = backs.map(|tx| btc("50") - tx.output[0].value).collect();
    assert_eq!(fees, [1, 2, 4, 8].map(|times| fees[0] * times), "once after each block");
}
