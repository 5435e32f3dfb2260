//! The wallet without its identity: its 24 words out, and another wallet's coins in by its words.
//!
//! The words give the coins of a wallet and nothing else: no identity, no key of a trade, no escrow. So they are of use to
//! whoever lost email or password, and they are no backup of a trade that is going on: email and password are.

use std::sync::Arc;

use bip39::{Language, Mnemonic};
use bitcoin::{FeeRate, OutPoint};
use exchange_api::{ApiError, Code, Sats, SweepView, SweepWords};
use exchange_store::StoreError;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::chain::ChainBackend;
use crate::clock;
use crate::errors::{ExplainResult, internal};
use crate::wallet::{
    Balance, CoinState, MAX_COINS, Priced, SendRequest, WalletError, WalletHandle, WalletSetup, WalletStore,
};

/// The one wallet whose words were brought and that is being searched for coins. It is nowhere but in memory.
#[derive(Default)]
pub struct Sweeper {
    current: Mutex<Option<Current>>,
}

struct Current {
    seed: Zeroizing<[u8; 64]>,
    from_height: u32,
    wallet: WalletHandle,
}

impl Sweeper {
    /// Searches for the coins of other words and, once found and unless it is a dry run, sends them all to `home`: what can be spent
    /// now, and of more coins than one transaction takes the [`MAX_COINS`] largest. What stays is told; the wallet is looked after until then.
    ///
    /// # Errors
    /// When the words are none or are `home`'s own, or the payment is refused.
    pub async fn sweep(
        &self,
        request: SweepWords,
        fee_rate: Option<FeeRate>,
        chain: &Arc<dyn ChainBackend>,
        home: &WalletHandle,
        own_seed: &[u8; 64],
    ) -> Result<SweepView, ApiError> {
        let SweepWords { request_id, dry_run, words, from_height, fee, priced } = request;
        let seed = seed_of(Zeroizing::new(words))?;
        if *seed == *own_seed {
            let message = "these are the words of this node's own wallet";
            return Err(ApiError::new(
                Code::NotAllowed,
                message,
                "its coins are here already: `exchange-node wallet balance`",
            ));
        }
        let mut current = self.current.lock().await;
        let found = match current.take() {
            Some(same) if same.seed == seed && same.from_height == from_height => same,
            other => {
                if let Some(other) = other {
                    other.wallet.close().await;
                }
                open(seed, from_height, chain).await?
            }
        };
        let other = &current.insert(found).wallet;
        // Either wallet may show no new address while the chain backend takes up none. That passes, so it is to be asked again.
        let not_yet = || Ok(SweepView::Searching { height: other.status().height });
        match other.address().await {
            Err(WalletError::NotSynced { height }) => return Ok(SweepView::Searching { height }),
            Err(WalletError::Unwatched) => return not_yet(),
            searched => drop(searched.explained()?),
        }
        let balance = other.balance().await.explained()?;
        let sats = |amount: bitcoin::Amount| amount.try_into().map_err(|e: exchange_api::MoneyError| internal(e));
        // What an earlier call has set aside may not be sent yet: it is asked for by the same request.
        if balance.spendable == bitcoin::Amount::ZERO && balance.reserved == bitcoin::Amount::ZERO {
            return Ok(SweepView::Empty { pending: sats(balance.pending)? });
        }
        let to = match home.address().await {
            Err(WalletError::Unwatched) => return not_yet(),
            shown => shown.explained()?.address,
        };
        let order = SendRequest {
            request_id,
            script: to.script_pubkey(),
            amount: None,
            fee_rate,
            allow_high_fee: fee.allow_high_fee,
            coins: Vec::new(),
            dry_run,
            label: String::new(),
            priced: priced.and_then(|shown| priced_of(&shown)),
        };
        let payment = match other.send(order.clone()).await {
            Err(WalletError::TooLarge) => {
                let coins = largest(other).await.explained()?;
                other.send(SendRequest { coins, ..order }).await
            }
            sent => sent,
        };
        let payment = payment.explained()?;
        let (amount, fee) = (sats(payment.amount)?, sats(payment.fee)?);
        let left = if dry_run {
            let taken = payment.amount.checked_add(payment.fee);
            let spendable = taken.and_then(|taken| balance.spendable.checked_sub(taken)).unwrap_or_default();
            Balance { spendable, ..balance }
        } else {
            other.balance().await.explained()?
        };
        let (pending, rest) = (sats(left.pending)?, sats(left.spendable)?);
        if dry_run {
            return Ok(SweepView::Found { amount, fee, pending, rest });
        }
        let txid = payment.tx.compute_txid();
        if let Err(error) = home.set_label(txid, "swept from other words").await {
            tracing::debug!(%error, "a sweep has no label");
        }
        // It is in the pool. Should it be lost from there, the same words find the coins again. A light client would not tell a new
        // wallet of these words what it has spent already.
        let is_all = pending == Sats::ZERO && rest == Sats::ZERO;
        if let Some(done) = current.take_if(|_| is_all) {
            done.wallet.close().await;
        }
        Ok(SweepView::Sent { txid: txid.to_string(), amount, fee, pending, rest })
    }
}

/// Returns the largest coins that can be spent, at most [`MAX_COINS`].
async fn largest(wallet: &WalletHandle) -> Result<Vec<OutPoint>, WalletError> {
    let (mut largest, mut after) = (Vec::new(), None);
    while largest.len() < MAX_COINS {
        let page = wallet.coins(after, MAX_COINS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.cursor());
        largest.extend(page.iter().filter(|coin| coin.state == CoinState::Spendable).map(|coin| coin.outpoint));
    }
    largest.truncate(MAX_COINS);
    Ok(largest)
}

/// Returns what was found, as it was shown.
fn priced_of(shown: &SweepView) -> Option<Priced> {
    match shown {
        SweepView::Found { amount, fee, .. } => Some(Priced { amount: (*amount).into(), fee: (*fee).into() }),
        SweepView::Searching { .. } | SweepView::Empty { .. } | SweepView::Sent { .. } => None,
    }
}

async fn open(seed: Zeroizing<[u8; 64]>, from_height: u32, chain: &Arc<dyn ChainBackend>) -> Result<Current, ApiError> {
    let setup = WalletSetup {
        seed: seed.clone(),
        store: Arc::new(Nowhere),
        chain: Arc::clone(chain),
        birth_height: from_height,
        clock: Arc::new(clock::unix_now),
    };
    Ok(Current { seed, from_height, wallet: WalletHandle::open(setup).await.explained()? })
}

/// Reads words. What is wrong with them is said without them.
fn seed_of(words: Zeroizing<String>) -> Result<Zeroizing<[u8; 64]>, ApiError> {
    let mnemonic = Mnemonic::parse_in(Language::English, words.as_str()).map_err(|error| {
        let what = match error {
            bip39::Error::BadWordCount(count) => format!("{count} words: expected 12, 15, 18, 21 or 24"),
            bip39::Error::UnknownWord(at) => format!("word {} is not in the list of BIP-39", at + 1),
            _ => "the checksum is wrong: a word is missing, misspelt or out of place".to_owned(),
        };
        ApiError::new(Code::InvalidArgument, what, "type the words again, in order; nothing was done")
    })?;
    Ok(Zeroizing::new(mnemonic.to_seed("")))
}

/// Keeps nothing: the wallet of other words is gone with the search.
struct Nowhere;

impl WalletStore for Nowhere {
    fn load(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(Vec::new())
    }

    fn append(&self, _change: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn replace(&self, _change: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, Transaction, TxIn, TxOut};
    use exchange_api::FeeChoice;

    use super::*;
    use crate::chain::kernel::{KernelChain, KernelConfig};
    use crate::chain::line::Line;

    /// Long enough for a busy machine; reached only when something is broken.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Opens a wallet and waits until it has searched the chain.
    async fn searched(seed: [u8; 64], chain: &Arc<dyn ChainBackend>) -> WalletHandle {
        let wallet = open(Zeroizing::new(seed), 0, chain).await.unwrap().wallet;
        let mut changes = wallet.subscribe();
        let synced = changes.wait_for(|status| status.synced);
        tokio::time::timeout(PATIENCE, synced).await.expect("the chain is never searched").unwrap();
        wallet
    }

    fn words() -> String {
        format!("{}about", "abandon ".repeat(11))
    }

    /// Opens the wallet of the words, as its owner once did, and returns a script of it.
    async fn script_of_the_lost(chain: &Arc<dyn ChainBackend>) -> ScriptBuf {
        let lost = searched(*seed_of(Zeroizing::new(words())).unwrap(), chain).await;
        let script = script_of(&lost).await;
        lost.close().await;
        script
    }

    fn burn() -> ScriptBuf {
        ScriptBuf::new_op_return([1; 4])
    }

    fn sweep_words(request_id: &str, dry_run: bool) -> SweepWords {
        let (request_id, fee) = (request_id.to_owned(), FeeChoice::default());
        SweepWords { request_id, dry_run, words: words(), from_height: 0, fee, priced: None }
    }

    /// Sweeps what the words give, once they have been searched for.
    async fn swept(
        sweeper: &Sweeper,
        (request_id, dry_run): (&str, bool),
        chain: &Arc<dyn ChainBackend>,
        home: &WalletHandle,
    ) -> Result<SweepView, ApiError> {
        let search = async {
            loop {
                let request = sweep_words(request_id, dry_run);
                match sweeper.sweep(request, FeeRate::from_sat_per_vb(1), chain, home, &[2; 64]).await {
                    Ok(SweepView::Searching { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                    answer => return answer,
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the search never ends")
    }

    async fn script_of(wallet: &WalletHandle) -> ScriptBuf {
        wallet.address().await.unwrap().address.script_pubkey()
    }

    /// As during an outage, when the wallet that the coins are to come to has made addresses for many trades meanwhile.
    #[tokio::test]
    async fn a_wallet_that_shows_no_new_address_for_a_moment_is_waited_for() {
        let kernel = Arc::new(KernelChain::open(KernelConfig::default()).unwrap());
        let chain = Arc::clone(&kernel) as Arc<dyn ChainBackend>;
        chain.mine(1, script_of_the_lost(&chain).await).await.unwrap();
        chain.mine(100, burn()).await.unwrap();
        let mut line = Line::to(&kernel);
        line.is_deaf = true;
        let line = Arc::new(line);
        let home = searched([2; 64], &(Arc::clone(&line) as Arc<dyn ChainBackend>)).await;
        while home.new_destination().await.is_ok() {}
        let elsewhere = searched([3; 64], &chain).await;

        let sweeper = Sweeper::default();
        assert!(matches!(swept(&sweeper, ("sweep", true), &chain, &elsewhere).await, Ok(SweepView::Found { .. })));
        let sweep = async |home: &WalletHandle| {
            let request = sweep_words("sweep", true);
            sweeper.sweep(request, FeeRate::from_sat_per_vb(1), &chain, home, &[2; 64]).await.unwrap()
        };
        assert_eq!(sweep(&home).await, SweepView::Searching { height: 101 });
        let mut requests = line.unheard.lock().unwrap().pop().unwrap();
        requests.recv().await.unwrap();
        assert!(matches!(sweep(&home).await, SweepView::Found { .. }));
    }

    /// Whoever reads that it is done throws the words away.
    #[tokio::test]
    async fn what_cannot_be_brought_yet_is_named_and_comes_later() {
        let kernel = Arc::new(KernelChain::open(KernelConfig::default()).unwrap());
        let line = Arc::new(Line::to(&kernel));
        let chain = Arc::clone(&line) as Arc<dyn ChainBackend>;
        let script = script_of_the_lost(&chain).await;
        chain.mine(1, script.clone()).await.unwrap();
        chain.mine(100, burn()).await.unwrap();
        chain.mine(1, script).await.unwrap();
        let home = searched([2; 64], &chain).await;
        let sweeper = Sweeper::default();
        let reward = Sats::try_from(Amount::from_int_btc(50)).unwrap();
        line.down.store(true, Ordering::SeqCst);
        swept(&sweeper, ("first", false), &chain, &home).await.unwrap_err();
        line.down.store(false, Ordering::SeqCst);
        // What was built then is sent now, and not called nothing.
        let sent = swept(&sweeper, ("first", false), &chain, &home).await.unwrap();
        let SweepView::Sent { amount, fee, pending, rest, .. } = sent else { panic!("{sent:?}") };
        assert_eq!((amount.checked_add(fee), pending, rest), (Some(reward), reward, Sats::ZERO));
        let nothing = swept(&sweeper, ("second", false), &chain, &home).await.unwrap();
        assert_eq!(nothing, SweepView::Empty { pending: reward });
        chain.mine(100, burn()).await.unwrap();
        let later = async {
            loop {
                match swept(&sweeper, ("second", false), &chain, &home).await.unwrap() {
                    SweepView::Empty { .. } => tokio::time::sleep(Duration::from_millis(5)).await,
                    sent => return sent,
                }
            }
        };
        let sent = tokio::time::timeout(PATIENCE, later).await.expect("it never comes");
        assert!(matches!(sent, SweepView::Sent { pending: Sats::ZERO, rest: Sats::ZERO, .. }), "{sent:?}");
    }

    #[tokio::test]
    async fn of_more_coins_than_a_transaction_takes_the_largest_come_first() {
        let kernel = Arc::new(KernelChain::open(KernelConfig::default()).unwrap());
        let chain = Arc::clone(&kernel) as Arc<dyn ChainBackend>;
        let script_pubkey = script_of_the_lost(&chain).await;
        // What anybody can spend becomes very many coins.
        chain.mine(1, ScriptBuf::from_bytes(vec![0x51])).await.unwrap();
        chain.mine(100, burn()).await.unwrap();
        let reward = chain.block_at(1).await.unwrap().unwrap().txdata[0].compute_txid();
        let value = |number: u64| 10_000 + number;
        let coin = |number| TxOut { value: Amount::from_sat(value(number)), script_pubkey: script_pubkey.clone() };
        let many = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output: OutPoint::new(reward, 0), ..TxIn::default() }],
            output: (0..1_750).map(coin).collect(),
        };
        kernel.mine_exactly(vec![many]).await.unwrap();
        let home = searched([2; 64], &chain).await;
        let sweeper = Sweeper::default();
        let sum = |numbers: std::ops::Range<u64>| Sats::new(numbers.map(value).sum());
        let sent = swept(&sweeper, ("first", false), &chain, &home).await.unwrap();
        let SweepView::Sent { amount, fee, pending, rest, .. } = sent else { panic!("{sent:?}") };
        assert_eq!((amount.checked_add(fee), pending), (sum(1_250..1_750), Sats::ZERO));
        assert_eq!(Some(rest), sum(0..1_250));
        let found = swept(&sweeper, ("second", true), &chain, &home).await.unwrap();
        let SweepView::Found { amount, fee, rest, .. } = found else { panic!("{found:?}") };
        assert_eq!((amount.checked_add(fee), rest), (sum(0..1_250), Sats::ZERO));
    }

    #[test]
    fn bad_words_are_refused_without_being_repeated() {
        for bad in [
            "",
            "abandon",
            "zebra zebra zebra zebra zebra zebra zebra zebra zebra zebra zebra zebra",
            &"sekret ".repeat(12),
        ] {
            let error = seed_of(Zeroizing::new(bad.to_owned())).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(!error.to_string().contains("zebra") && !error.to_string().contains("sekret"), "{error}");
        }
    }
}
