//! What it costs two nodes to become the same, over libp2p on the loopback interface.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::Network;
use ed25519_dalek::{Signer, SigningKey};
use exchange_ledger::ids::AuthorId;
use exchange_ledger::record::{Head, Header, Kind, LogId, Record, admission};
use exchange_ledger::retention::Retention;
use exchange_ledger::storage::Storage;
use exchange_node::clock::{self, SureTime};
use exchange_node::keeper::Keeper;
use exchange_node::mailbox::Mailbox;
use exchange_node::net::{self, NetClient, NetConfig, NetLimits, Verdict};
use exchange_node::private::Private;
use exchange_node::replica::LedgerReplica;
use exchange_store::{OpenOptions, Store};
use futures::{StreamExt, stream};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Outcome;
use crate::corpus::{self, NETWORK};
use crate::figure::{Figure, Target};

/// Authors of the two ledgers that are nearly the same.
const AUTHORS: u32 = 10_000;
/// How many of them have written meanwhile, in each round.
const CHANGED: u32 = 100;
/// Rounds: each has other salts, and the mean counts.
const ROUNDS: u32 = 10;
/// What an answer adds to each record that it brings: what it is (1), how long the log is (8), how many records (4), and
/// their lengths (4).
const RECORD_FRAME: u64 = 17;
/// The rings of fifty authors that a node knows nothing of, and the records of each author.
const COLD_RINGS: u32 = 20;
const COLD_EACH: u32 = 101; // the last one an offer that stands open
/// Records in one answer of a peer, and answers under way at once, when the keeper is measured alone.
const ANSWER: usize = 700;
const ANSWERS: usize = 8;
/// The longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(240);

/// Prints `heal_idle`, `heal_changed` and `cold_start`.
///
/// # Errors
/// When the disk or the network fails.
pub fn measure() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(heal())?;
    runtime.block_on(cold_start())
}

async fn heal() -> Outcome<()> {
    let hub = Node::start(None).await?;
    let mut writers: Vec<Writer> = (0..AUTHORS).map(Writer::new).collect();
    let first: Vec<Vec<u8>> = writers.iter_mut().map(Writer::write).collect::<Outcome<_>>()?;
    hub.ingest(&first).await?;
    let leaf = Node::start(Some(&hub)).await?;
    leaf.has(u64::from(AUTHORS)).await?;
    leaf.at_rest().await;

    let before = leaf.moved();
    leaf.net.sync_now().await;
    leaf.at_rest().await;
    let heads = leaf.heads()?;
    let (same, _) = negentropy_bytes(&heads, &heads)?;
    Figure {
        figure: "heal_idle",
        value: number(leaf.moved() - before),
        unit: "bytes both ways, 10k authors, nothing to do",
        beside: "negentropy",
        beside_value: number(same),
        target: Target::ValueTo(1000.0),
    }
    .print()?;

    let (mut ours, mut theirs) = (0, 0);
    for round in 0..ROUNDS {
        let heads = leaf.heads()?;
        let every = usize::try_from(AUTHORS / CHANGED)?;
        let changed = writers.iter_mut().skip(usize::try_from(round)?).step_by(every);
        let records: Vec<Vec<u8>> = changed.map(Writer::write).collect::<Outcome<_>>()?;
        hub.ingest(&records).await?;
        theirs += negentropy_bytes(&heads, &hub.heads()?)?.0;
        let before = leaf.moved();
        leaf.net.sync_now().await;
        leaf.has(u64::from(AUTHORS + (round + 1) * CHANGED)).await?;
        leaf.at_rest().await;
        let brought: u64 = records.iter().map(|record| record.len() as u64 + RECORD_FRAME).sum();
        ours += leaf.moved() - before - brought;
    }
    let each = |bytes: u64| number(bytes) / f64::from(ROUNDS * CHANGED);
    Figure {
        figure: "heal_changed",
        value: each(ours),
        unit: "bytes a changed head, 100 of 10k, less the records in their frames",
        beside: "negentropy",
        beside_value: each(theirs),
        target: Target::ValueTo(50.0),
    }
    .print()
}

async fn cold_start() -> Outcome<()> {
    let records = corpus::history(COLD_RINGS, COLD_EACH)?;
    let hub = Node::start(None).await?;
    let start = Instant::now();
    hub.ingest(&records).await?;
    let ingest = start.elapsed();
    let start = Instant::now();
    let leaf = Node::start(Some(&hub)).await?;
    leaf.has(records.len() as u64).await?; // usize is at most 64 bits
    let last = records.last().map(|record| Record::decode(record)).transpose()?.ok_or("no records")?;
    if leaf.keeper.book().of_maker(&last.author()).next().is_none() {
        return Err("the book of a node that has caught up lacks an offer".into());
    }
    Figure {
        figure: "cold_start",
        value: start.elapsed().as_secs_f64(),
        unit: "s until the book answers, 101k records from one peer",
        beside: "ingest of the same records",
        beside_value: ingest.as_secs_f64(),
        target: Target::RatioTo(1.5),
    }
    .print()
}

/// Returns the bytes that negentropy moves both ways until one side knows which ids only the other has, and their number.
fn negentropy_bytes(ours: &[Head], theirs: &[Head]) -> Outcome<(u64, usize)> {
    let set = |heads: &[Head]| -> Outcome<NegentropyStorageVector> {
        let mut set = NegentropyStorageVector::new();
        for head in heads {
            set.insert(head.time, Id::from_byte_array(head.id.0))?;
        }
        set.seal()?;
        Ok(set)
    };
    let (mut asker, mut answerer) = (Negentropy::owned(set(ours)?, 0)?, Negentropy::owned(set(theirs)?, 0)?);
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let mut query = asker.initiate()?;
    let mut bytes = 0;
    loop {
        let answer = answerer.reconcile(&query)?;
        bytes += (query.len() + answer.len()) as u64; // usize is at most 64 bits
        match asker.reconcile_with_ids(&answer, &mut have, &mut need)? {
            Some(next) => query = next,
            None => return Ok((bytes, need.len())),
        }
    }
}

/// A node without a chain, a wallet or an identity: a relay.
struct Node {
    keeper: Keeper,
    net: NetClient,
    /// Last, so that the network is gone before the directory.
    _stop: DropGuard,
    _dir: TempDir,
}

impl Node {
    /// Starts a node that knows another one, or nobody.
    async fn start(peer: Option<&Self>) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let (keeper, _thread) = Keeper::start(Store::open(dir.path(), OpenOptions::default())?, NETWORK)?;
        let private = Private::new(keeper.ledger().storage().clone());
        let mailbox = Mailbox::open(keeper.clone(), private, SureTime::on(Network::Regtest))?;
        let stop = CancellationToken::new();
        let peers = match peer {
            Some(peer) => peer.net.listen_addresses().await,
            None => Vec::new(),
        };
        let config = NetConfig {
            network_magic: NETWORK,
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse()?],
            peers,
            only_peers: false,
            agent: "bench/1".into(),
            retention: Retention::Full,
            // Only what is measured is to happen.
            limits: NetLimits {
                sync_interval: Duration::from_secs(3600),
                serve_rate: u32::MAX,
                ..NetLimits::default()
            },
        };
        let key = net::key::load_or_create(dir.path())?;
        let replica = Arc::new(LedgerReplica::new(keeper.clone(), mailbox));
        let net = net::start(config, key, replica, stop.clone()).await?;
        Ok(Self { keeper, net, _stop: stop.drop_guard(), _dir: dir })
    }

    async fn ingest(&self, records: &[Vec<u8>]) -> Outcome<()> {
        let answers = stream::iter(records.chunks(ANSWER)).map(|answer| self.keeper.ingest(answer.to_vec()));
        let verdicts: Vec<Verdict> = answers.buffered(ANSWERS).concat().await;
        let taken = verdicts.iter().all(|verdict| *verdict == Verdict::Accept);
        if taken { Ok(()) } else { Err("the keeper refused a record".into()) }
    }

    /// Waits until so many records are in, and the book knows.
    async fn has(&self, count: u64) -> Outcome<()> {
        let start = Instant::now();
        while self.keeper.version() < count {
            if start.elapsed() > PATIENCE {
                let found = self.keeper.ledger().storage().len()?;
                return Err(format!("a peer brought {found} of {count} records").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn moved(&self) -> u64 {
        self.net.traffic().sent() + self.net.traffic().received()
    }

    /// Waits until nothing has moved for a second.
    async fn at_rest(&self) {
        let mut before = None;
        while before != Some(self.moved()) {
            before = Some(self.moved());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn heads(&self) -> Outcome<Vec<Head>> {
        Ok(self.keeper.ledger().storage().heads(None, usize::try_from(AUTHORS)?)?)
    }
}

/// Somebody who writes records of a kind that nobody knows.
struct Writer {
    key: SigningKey,
    log: LogId,
    head: Option<Head>,
}

impl Writer {
    fn new(number: u32) -> Self {
        let mut seed = [0x3c; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = SigningKey::from_bytes(&seed);
        let log = LogId { author: AuthorId(key.verifying_key().to_bytes()), epoch: 0 };
        Self { key, log, head: None }
    }

    fn write(&mut self) -> Outcome<Vec<u8>> {
        let (kind, now) = (Kind::Unknown(60_000), clock::unix_now());
        let header = match &self.head {
            Some(head) => Header::after(head, NETWORK, kind, now),
            None => Header::first(self.log, NETWORK, kind, now, admission::mint(&NETWORK, &self.log)),
        };
        let record = Record::sign(header, vec![0x11; 200], |message| self.key.sign(message).to_bytes())?;
        self.head = Some(record.as_head());
        Ok(record.encode())
    }
}

/// Counts here are far below 2^53, so nothing is lost.
fn number(count: u64) -> f64 {
    count as f64
}
