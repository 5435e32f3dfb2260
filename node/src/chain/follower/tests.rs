//! What the engine does with a source that begins above genesis, with one that hears late, and with one whose old blocks come
//! slowly or not at all.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, TxIn, TxOut};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a block takes that comes slowly.
const PACE: Duration = Duration::from_millis(30);

/// A chain of made-up blocks above a base, and what came to light late.
#[derive(Default)]
struct Above {
    base: u32,
    tip: AtomicU32,
    /// The height below which blocks come slowly, and that below which they do not come.
    slow_below: u32,
    lost_below: AtomicU32,
    /// One below which no block comes while it is asked for, nor any error, and for how long it is waited for.
    silent_below: AtomicU32,
    /// Whether what comes slowly is of another branch, as long as that is the chain.
    is_astray: AtomicBool,
    patience: Option<Duration>,
    /// How many blocks were asked for.
    asked: AtomicU32,
    /// The height of the block that holds the payment.
    paid: Option<u32>,
    /// Whether each block holds a transaction besides that hides what it spends, and the height of the one that spends the payment.
    hides: bool,
    spent: Option<u32>,
    late: Mutex<Vec<(BlockRef, Transaction)>>,
    /// Whether the pool names the payment.
    names: AtomicBool,
    /// Whether it has it when it is asked for it.
    has: AtomicBool,
    /// Why it does not tell of the script, and how often that changed.
    withheld: Mutex<(Option<String>, u64)>,
}

impl Above {
    fn withhold(&self, reason: Option<&str>) {
        let mut withheld = self.withheld.lock().unwrap();
        *withheld = (reason.map(str::to_owned), withheld.1 + 1);
    }
}

fn block(height: u32) -> BlockRef {
    BlockRef { height, hash: BlockHash::from_byte_array([u8::try_from(height).unwrap(); 32]) }
}

/// Returns the block of this height on another branch.
fn astray(height: u32) -> BlockRef {
    let mut bytes = block(height).hash.to_byte_array();
    bytes[31] ^= 1;
    BlockRef { height, hash: BlockHash::from_byte_array(bytes) }
}

fn script() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x51])
}

fn payment() -> Transaction {
    let output = vec![TxOut { value: Amount::ONE_SAT, script_pubkey: script() }];
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: Vec::new(), output }
}

/// Returns a transaction that spends an output, which nobody sees.
fn hidden_spend(previous_output: OutPoint) -> Transaction {
    Transaction { input: vec![TxIn { previous_output, ..TxIn::default() }], output: Vec::new(), ..payment() }
}

fn spend_of_payment() -> Transaction {
    hidden_spend(OutPoint { txid: payment().compute_txid(), vout: 0 })
}

#[async_trait]
impl Source for Above {
    fn label(&self) -> &'static str {
        "above"
    }

    fn base(&self) -> Option<BlockRef> {
        Some(block(self.base))
    }

    fn patience(&self) -> Duration {
        self.patience.unwrap_or(Duration::MAX)
    }

    fn is_sure(&self, tx: &Transaction, scripts: &Scripts) -> bool {
        scripts.touched_by(tx, [])
    }

    async fn best(&self) -> Result<BlockRef, ChainError> {
        Ok(block(self.tip.load(Relaxed)))
    }

    async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        let on = if self.is_astray.load(Relaxed) && height < self.slow_below { astray } else { block };
        Ok((self.base..=self.tip.load(Relaxed)).contains(&height).then(|| on(height).hash))
    }

    async fn parent(&self, _hash: BlockHash) -> Result<Option<BlockHash>, ChainError> {
        Ok(None)
    }

    async fn scan(&self, hash: BlockHash, scripts: &Scripts) -> Result<Option<Scanned>, ChainError> {
        let height = u32::from(hash.to_byte_array()[0]);
        self.asked.fetch_add(1, Relaxed);
        if height < self.lost_below.load(Relaxed) {
            return Err(ChainError::Invalid { backend: "above", reason: format!("block {height} is pruned") });
        }
        while height < self.silent_below.load(Relaxed) {
            sleep(PACE).await;
        }
        if height < self.slow_below {
            sleep(PACE).await;
        }
        let on = if hash == block(height).hash { block } else { astray };
        let parent = on(height.saturating_sub(1)).hash;
        let shows = scripts.contains(&script()) && self.withheld.lock().unwrap().0.is_none();
        let holds = self.paid == Some(height) && shows;
        let others = self.hides.then(|| hidden_spend(OutPoint { vout: height, ..OutPoint::null() }));
        let spend = (self.spent == Some(height)).then(spend_of_payment);
        let txs = holds.then(payment).into_iter().chain(others).chain(spend).collect();
        Ok(Some(Scanned { parent, time: height, txs }))
    }

    fn learnt(&self) -> u64 {
        self.late.lock().unwrap().len() as u64
    }

    fn late(&self, since: u64, scripts: &Scripts) -> Vec<(BlockRef, Transaction)> {
        let late = self.late.lock().unwrap();
        let unread = late.iter().skip(usize::try_from(since).unwrap());
        unread.filter(|(_, tx)| scripts.touched_by(tx, [])).cloned().collect()
    }

    fn withholdings(&self) -> u64 {
        self.withheld.lock().unwrap().1
    }

    fn withheld(&self, scripts: &Scripts) -> HashMap<ScriptBuf, String> {
        let withheld = self.withheld.lock().unwrap().0.clone();
        withheld.filter(|_| scripts.contains(&script())).map(|reason| (script(), reason)).into_iter().collect()
    }

    async fn pool(&self, tip: BlockHash) -> Result<Option<Vec<Txid>>, ChainError> {
        let ids = if self.names.load(Relaxed) { vec![payment().compute_txid()] } else { Vec::new() };
        Ok((tip == block(self.tip.load(Relaxed)).hash).then_some(ids))
    }

    async fn pool_matches(&self, ids: &[Txid], _scripts: &Scripts) -> Result<Matches, ChainError> {
        Ok(if self.has.load(Relaxed) {
            Matches { txs: vec![payment()], ..Matches::default() }
        } else {
            Matches { absent: ids.iter().copied().collect(), ..Matches::default() }
        })
    }
}

async fn up_to_the_tip(follower: &mut Follower) -> Vec<ChainEvent> {
    let mut events = Vec::new();
    while !matches!(events.last(), Some(ChainEvent::Synced { .. })) {
        events.push(timeout(PATIENCE, follower.events.recv()).await.unwrap().unwrap());
    }
    events
}

/// Whoever knows genesis only, or a block as old, begins where the source begins: nothing below can be undone.
#[tokio::test]
async fn what_lies_below_the_base_is_taken_for_granted() {
    for locator in [vec![block(0)], vec![block(4), block(7)], vec![BlockRef { height: 3, ..block(200) }]] {
        let source = Arc::new(Above { base: 100, tip: AtomicU32::new(103), ..Above::default() });
        let (changes, news) = watch::channel(0);
        let mut follower = spawn(source, News::Pushed(news), locator, vec![script()]).await.unwrap();
        let events = up_to_the_tip(&mut follower).await;
        let heights: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                ChainEvent::Connected { block, .. } => Some(block.height),
                ChainEvent::Synced { .. } => None,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(heights, [101, 102, 103]);
        // The same for whoever asks for the past of a script from the beginning of time.
        follower.watch.send(WatchRequest { scripts: vec![ScriptBuf::new()], from_height: 0 }).await.unwrap();
        assert!(matches!(
            up_to_the_tip(&mut follower).await[..],
            [ChainEvent::Searched { .. }, ChainEvent::Synced { .. }]
        ));
        drop(changes);
    }
}

/// Whoever stops to look at a script, and looks at it again later, is told everything again.
#[tokio::test]
async fn who_asks_again_is_told_again() {
    let source = Arc::new(Above { tip: AtomicU32::new(5), paid: Some(3), ..Above::default() });
    let (changes, news) = watch::channel(0);
    let mut follower = spawn(source, News::Pushed(news), vec![block(4)], Vec::new()).await.unwrap();
    up_to_the_tip(&mut follower).await;
    for _ in 0..2 {
        follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 2 }).await.unwrap();
        let events = up_to_the_tip(&mut follower).await;
        assert!(matches!(&events[0], ChainEvent::Found { block: at, tx } if *at == block(3) && *tx == payment()));
        assert!(matches!(events[1..], [ChainEvent::Searched { .. }, ChainEvent::Synced { .. }]));
    }
    drop(changes);
}

/// What came to light late is told as found, once, to whoever had the block already.
#[tokio::test]
async fn what_comes_to_light_late_is_found() {
    let late = Mutex::new(vec![(block(1), payment())]);
    let source = Arc::new(Above { tip: AtomicU32::new(3), late, ..Above::default() });
    let (changes, news) = watch::channel(0);
    let mut follower = spawn(Arc::clone(&source), News::Pushed(news), vec![block(0)], vec![script()]).await.unwrap();
    let events = up_to_the_tip(&mut follower).await;
    assert!(!events.iter().any(|event| matches!(event, ChainEvent::Found { .. })), "that was known before: {events:?}");
    source.late.lock().unwrap().push((block(2), payment()));
    // One whose block is no longer in the chain is not told.
    source.late.lock().unwrap().push((BlockRef { height: 2, ..block(9) }, payment()));
    changes.send_replace(1);
    let events = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&events[..], [ChainEvent::Found { block: at, tx }, ChainEvent::Synced { .. }] if *at == block(2) && *tx == payment()),
        "{events:?}"
    );
}

/// A payment that was in the pool when its ids were listed, not when it was asked for, and is in it again when they are
/// listed next: a block came and left in between.
#[tokio::test]
async fn what_left_the_pool_under_the_question_is_asked_for_again() {
    let source = Arc::new(Above { tip: AtomicU32::new(3), names: AtomicBool::new(true), ..Above::default() });
    let (changes, news) = watch::channel(0);
    let mut follower = spawn(Arc::clone(&source), News::Pushed(news), vec![block(0)], vec![script()]).await.unwrap();
    let events = up_to_the_tip(&mut follower).await;
    assert!(!events.iter().any(|event| matches!(event, ChainEvent::MempoolSeen { .. })), "{events:?}");
    source.has.store(true, Relaxed);
    changes.send_replace(1);
    let event = timeout(PATIENCE, follower.events.recv()).await.unwrap();
    assert!(matches!(&event, Some(ChainEvent::MempoolSeen { tx }) if *tx == payment()), "{event:?}");
}

/// Whoever states a height of long ago holds up no block that comes meanwhile.
#[tokio::test]
async fn a_block_that_comes_while_old_ones_are_searched_is_told_at_once() {
    let source = Arc::new(Above { tip: AtomicU32::new(60), slow_below: 60, paid: Some(3), ..Above::default() });
    let (changes, news) = watch::channel(0);
    let mut follower =
        spawn(Arc::clone(&source), News::Pushed(news), vec![block(60)], vec![ScriptBuf::new()]).await.unwrap();
    up_to_the_tip(&mut follower).await;
    follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 0 }).await.unwrap();
    let begun = async {
        while source.asked.load(Relaxed) == 0 {
            sleep(PACE).await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    source.tip.store(61, Relaxed);
    changes.send_replace(1);
    let first = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&first[..], [ChainEvent::Connected { block: at, .. }, ChainEvent::Synced { .. }] if *at == block(61)),
        "{first:?}"
    );
    assert!(source.asked.load(Relaxed) < 60, "the search goes on");
    let then = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&then[..], [ChainEvent::Found { block: at, .. }, ChainEvent::Searched { .. }, ChainEvent::Synced { .. }] if *at == block(3)),
        "{then:?}"
    );
    // What comes now is told with the script.
    source.tip.store(62, Relaxed);
    changes.send_replace(2);
    let last = up_to_the_tip(&mut follower).await;
    assert!(matches!(last[..], [ChainEvent::Connected { .. }, ChainEvent::Synced { .. }]), "{last:?}");
}

/// Whoever is asked for an old block may say nothing at all.
#[tokio::test]
async fn an_old_block_that_never_comes_holds_up_no_new_one() {
    let (tip, silent_below) = (AtomicU32::new(60), AtomicU32::new(10));
    let source = Above { tip, silent_below, patience: Some(PACE), paid: Some(3), ..Above::default() };
    let (source, (changes, news)) = (Arc::new(source), watch::channel(0));
    let mut follower =
        spawn(Arc::clone(&source), News::Pushed(news), vec![block(60)], vec![ScriptBuf::new()]).await.unwrap();
    up_to_the_tip(&mut follower).await;
    follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 0 }).await.unwrap();
    let begun = async {
        while source.asked.load(Relaxed) == 0 {
            sleep(PACE).await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    for height in [61, 62] {
        source.tip.store(height, Relaxed);
        changes.send_replace(height.into());
        let events = up_to_the_tip(&mut follower).await;
        assert!(
            matches!(&events[..], [ChainEvent::Connected { block: at, .. }, ChainEvent::Synced { .. }] if at.height == height),
            "{events:?}"
        );
    }
    // Nothing is lost of it.
    source.silent_below.store(0, Relaxed);
    let events = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&events[..], [ChainEvent::Found { block: at, .. }, ChainEvent::Searched { .. }, ChainEvent::Synced { .. }] if *at == block(3)),
        "{events:?}"
    );
}

/// The chain took another branch and left it again, all while it was searched: whoever follows it never saw that.
#[tokio::test]
async fn what_was_read_of_a_branch_that_is_gone_again_is_read_anew() {
    let (tip, is_astray) = (AtomicU32::new(60), AtomicBool::new(true));
    let source = Arc::new(Above { tip, is_astray, slow_below: 60, paid: Some(3), ..Above::default() });
    let (_changes, news) = watch::channel(0);
    let mut follower =
        spawn(Arc::clone(&source), News::Pushed(news), vec![block(60)], vec![ScriptBuf::new()]).await.unwrap();
    up_to_the_tip(&mut follower).await;
    follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 0 }).await.unwrap();
    let is_read = async {
        while source.asked.load(Relaxed) < 10 {
            sleep(PACE).await;
        }
    };
    timeout(PATIENCE, is_read).await.unwrap();
    source.is_astray.store(false, Relaxed);
    let events = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&events[..], [ChainEvent::Found { block: at, .. }, ChainEvent::Searched { .. }, ChainEvent::Synced { .. }] if *at == block(3)),
        "{events:?}"
    );
}

/// Whoever pays a little in each of many blocks has a light client read them, not keep all in them that may spend something.
#[tokio::test]
async fn of_what_hides_what_it_spends_only_what_spends_what_was_found_is_kept() {
    let (tip, paid, spent) = (AtomicU32::new(60), Some(3), Some(5));
    let source = Arc::new(Above { tip, paid, spent, hides: true, ..Above::default() });
    let (_changes, news) = watch::channel(0);
    let mut follower = spawn(source, News::Pushed(news), vec![block(60)], vec![ScriptBuf::new()]).await.unwrap();
    up_to_the_tip(&mut follower).await;
    follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 0 }).await.unwrap();
    let events = up_to_the_tip(&mut follower).await;
    let [found @ .., ChainEvent::Searched { .. }, ChainEvent::Synced { .. }] = &events[..] else {
        panic!("{events:?}")
    };
    let found: Vec<_> = found
        .iter()
        .map(|event| match event {
            ChainEvent::Found { block, tx } => (*block, tx.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, [(block(3), payment()), (block(5), spend_of_payment())]);
}

/// A node that prunes has no old blocks. Whoever asks for them waits alone, and is told so.
#[tokio::test]
async fn blocks_that_cannot_be_had_keep_back_nothing_else() {
    let (tip, lost_below) = (AtomicU32::new(50), AtomicU32::new(10));
    let source = Arc::new(Above { tip, lost_below, paid: Some(20), ..Above::default() });
    let (changes, news) = watch::channel(0);
    let mut follower =
        spawn(Arc::clone(&source), News::Pushed(news), vec![block(50)], vec![ScriptBuf::new()]).await.unwrap();
    up_to_the_tip(&mut follower).await;
    let other = ScriptBuf::from_bytes(vec![0x52]);
    follower.watch.send(WatchRequest { scripts: vec![other.clone()], from_height: 5 }).await.unwrap();
    follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 15 }).await.unwrap();
    let events = up_to_the_tip(&mut follower).await;
    let [ChainEvent::Unreadable { scripts, .. }, ChainEvent::Found { .. }, searched, ChainEvent::Synced { .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(*scripts, std::slice::from_ref(&other));
    assert!(matches!(searched, ChainEvent::Searched { scripts } if *scripts == [script()]));
    source.tip.store(51, Relaxed);
    changes.send_replace(1);
    let events = up_to_the_tip(&mut follower).await;
    assert!(matches!(events[..], [ChainEvent::Connected { .. }, ChainEvent::Synced { .. }]), "told once: {events:?}");
    source.lost_below.store(0, Relaxed);
    let events = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&events[..], [ChainEvent::Searched { scripts }, ChainEvent::Synced { .. }] if *scripts == [other.clone()]),
        "{events:?}"
    );
}

/// Of two requests the one is answered first of which less is left, whichever came first.
#[tokio::test]
async fn what_is_asked_for_from_higher_on_waits_for_nothing_older() {
    let source = Arc::new(Above { tip: AtomicU32::new(60), slow_below: 55, ..Above::default() });
    let (_changes, news) = watch::channel(0);
    let mut follower =
        spawn(Arc::clone(&source), News::Pushed(news), vec![block(60)], vec![ScriptBuf::new()]).await.unwrap();
    up_to_the_tip(&mut follower).await;
    let other = ScriptBuf::from_bytes(vec![0x52]);
    for (script, from_height) in [(script(), 0), (other.clone(), 55)] {
        follower.watch.send(WatchRequest { scripts: vec![script], from_height }).await.unwrap();
    }
    for first in [other, script()] {
        let events = up_to_the_tip(&mut follower).await;
        assert!(
            matches!(&events[..], [ChainEvent::Searched { scripts }, ChainEvent::Synced { .. }] if *scripts == [first.clone()]),
            "{events:?}"
        );
    }
}

/// Nothing looks as if all were told while a script is withheld: that comes first. What was kept back is told before it counts
/// as shown.
#[tokio::test]
async fn what_is_withheld_is_said_before_the_blocks_and_found_when_it_is_shown() {
    let source = Arc::new(Above { tip: AtomicU32::new(3), paid: Some(2), ..Above::default() });
    source.withhold(Some("too large"));
    let (changes, news) = watch::channel(0);
    let mut follower = spawn(Arc::clone(&source), News::Pushed(news), vec![block(0)], vec![script()]).await.unwrap();
    let events = up_to_the_tip(&mut follower).await;
    let [ChainEvent::Withheld { script: of, reason }, blocks @ .., ChainEvent::Synced { .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((of, reason.as_str()), (&script(), "too large"));
    assert_eq!(blocks.len(), 3, "the others go on: {events:?}");
    assert!(blocks.iter().all(|event| matches!(event, ChainEvent::Connected { txs, .. } if txs.is_empty())));
    source.withhold(None);
    changes.send_replace(1);
    let events = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&events[..], [
            ChainEvent::Found { block: at, tx },
            ChainEvent::Shown { script: of },
            ChainEvent::Synced { .. },
        ] if *at == block(2) && *tx == payment() && *of == script()),
        "{events:?}"
    );
}

/// A search that was answered says nothing of what is withheld.
#[tokio::test]
async fn a_script_that_is_asked_for_later_may_be_withheld_too() {
    let source = Arc::new(Above { tip: AtomicU32::new(3), paid: Some(2), ..Above::default() });
    source.withhold(Some("too large"));
    let (changes, news) = watch::channel(0);
    let mut follower = spawn(source, News::Pushed(news), vec![block(3)], Vec::new()).await.unwrap();
    assert!(matches!(up_to_the_tip(&mut follower).await[..], [ChainEvent::Synced { .. }]));
    follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 0 }).await.unwrap();
    let events = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(events[..], [ChainEvent::Withheld { .. }, ChainEvent::Searched { .. }, ChainEvent::Synced { .. }]),
        "{events:?}"
    );
    drop(changes);
}

/// Whoever asks for the past of a script that is withheld hears so before old blocks are read. When it is shown these are searched
/// again, and hold up no block.
#[tokio::test]
async fn what_is_withheld_is_said_before_old_blocks_are_searched() {
    let source = Arc::new(Above { tip: AtomicU32::new(60), slow_below: 60, paid: Some(3), ..Above::default() });
    source.withhold(Some("too large"));
    let (changes, news) = watch::channel(0);
    let mut follower =
        spawn(Arc::clone(&source), News::Pushed(news), vec![block(60)], vec![ScriptBuf::new()]).await.unwrap();
    up_to_the_tip(&mut follower).await;
    follower.watch.send(WatchRequest { scripts: vec![script()], from_height: 0 }).await.unwrap();
    let event = timeout(PATIENCE, follower.events.recv()).await.unwrap();
    assert!(matches!(&event, Some(ChainEvent::Withheld { script: of, .. }) if *of == script()), "{event:?}");
    assert!(source.asked.load(Relaxed) < 60, "the search goes on");
    let events = up_to_the_tip(&mut follower).await;
    assert!(matches!(events[..], [ChainEvent::Searched { .. }, ChainEvent::Synced { .. }]), "{events:?}");
    let before = source.asked.load(Relaxed);
    source.withhold(None);
    changes.send_replace(1);
    let begun = async {
        while source.asked.load(Relaxed) == before {
            sleep(PACE).await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    source.tip.store(61, Relaxed);
    changes.send_replace(2);
    let first = up_to_the_tip(&mut follower).await;
    assert!(matches!(first[..], [ChainEvent::Connected { .. }, ChainEvent::Synced { .. }]), "{first:?}");
    let then = up_to_the_tip(&mut follower).await;
    assert!(
        matches!(&then[..], [
            ChainEvent::Found { block: at, .. },
            ChainEvent::Shown { script: of },
            ChainEvent::Synced { .. },
        ] if *at == block(3) && *of == script()),
        "{then:?}"
    );
}
