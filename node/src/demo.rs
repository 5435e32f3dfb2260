//! The demo: four real nodes in one process over loopback, on the embedded chain. You have coins; two makers have
//! offers in three currencies and answer as people would; one arbiter advertises, and rules. Only time is faster: a
//! block comes every few seconds, many while a ruling waits for its delay, and people pay at once.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::ScriptBuf;
use color_eyre::eyre::{Result, eyre};
use exchange_api::{Scratch, hold_scratch};
use tokio_util::sync::CancellationToken;

use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::node::{Node, Session, make_data_dir};

mod headless;
mod people;
mod stage;

use people::{People, breathe};

/// How often it is looked whether whoever started the demo is still there.
const ORPHAN_CHECK: Duration = Duration::from_secs(1);
/// How often something is looked at.
const GLANCE: Duration = Duration::from_millis(200);
/// How long what is left of a demo may take to end, after its nodes have: moments.
const ENDING: Duration = Duration::from_secs(10);
/// How long anything of the demo may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running demo.
pub struct Demo {
    chain: Arc<KernelChain>,
    nodes: Vec<Node>,
    people: Vec<Arc<Session>>,
    stop: CancellationToken,
}

/// Runs one whole trade without anybody watching and returns what became of it.
///
/// # Errors
/// When the trade does not end with the buyer's coins confirmed on the chain.
pub async fn run_headless(stop: CancellationToken) -> Result<serde_json::Value> {
    let directory = Scratch::new()?;
    let outcome = async {
        let demo = Demo::start(directory.path(), None, stop.clone()).await?;
        let result = demo.trade().await;
        demo.stop().await;
        result
    };
    let result = outcome.await;
    let removed = remove(directory.path()).await;
    let value = result?;
    removed?;
    Ok(value)
}

/// Runs the demo for somebody to take part in, with your node's API at `socket`, until `stop`. What its people keep is in
/// `data_dir` and goes with the chain on which it rests, so that the same directory serves the next demo.
///
/// # Errors
/// When it cannot be set up.
pub async fn serve(data_dir: &Path, socket: PathBuf, stop: CancellationToken) -> Result<()> {
    make_data_dir(data_dir)?;
    // It may be that of a terminal client, and outlive it for the moment that this takes to end.
    let _held = hold_scratch(data_dir);
    let directory = Scratch::new_in(data_dir, "demo-")?;
    let served = run(directory.path(), socket, stop).await;
    let removed = remove(directory.path()).await;
    served?;
    removed
}

async fn run(directory: &Path, socket: PathBuf, stop: CancellationToken) -> Result<()> {
    let orphaned = tokio::spawn(stop_when_orphaned(stop.clone()));
    let demo = Demo::start(directory, Some(socket), stop.clone()).await?;
    let you = demo.you().tools.identity.author();
    let people = People { arbiter: Arc::clone(&demo.people[0]), makers: demo.makers(), you };
    let alive = tokio::spawn(breathe(Arc::clone(&demo.chain), people, stop.clone()));
    stop.cancelled().await;
    alive.await?;
    orphaned.await?;
    demo.stop().await;
    Ok(())
}

/// Stops the demo when whoever started it is gone, however that came: a terminal that was closed leaves nothing behind.
async fn stop_when_orphaned(stop: CancellationToken) {
    let parent = rustix::process::getppid();
    while !stop.is_cancelled() && rustix::process::getppid() == parent {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(ORPHAN_CHECK) => {}
        }
    }
    stop.cancel();
}

impl Demo {
    async fn start(directory: &Path, socket: Option<PathBuf>, stop: CancellationToken) -> Result<Self> {
        let config = KernelConfig { scratch: Some(directory.to_owned()), ..KernelConfig::default() };
        let chain = Arc::new(KernelChain::open(config)?);
        let mut demo = Self { chain, nodes: Vec::new(), people: Vec::new(), stop: stop.clone() };
        let ready = tokio::select! {
            ready = demo.set_up(directory, socket) => ready,
            () = stop.cancelled() => Err(eyre!("stopped before the demo was ready")),
        };
        match ready {
            Ok(()) => Ok(demo),
            Err(error) => {
                demo.stop().await;
                Err(error)
            }
        }
    }

    fn you(&self) -> &Arc<Session> {
        &self.people[3]
    }

    fn makers(&self) -> Vec<Arc<Session>> {
        self.people[1..3].to_vec()
    }

    async fn stop(self) {
        self.stop.cancel();
        let Self { nodes, people, chain, .. } = self;
        drop(people);
        for node in nodes {
            node.wait().await;
        }
        // A node that was just being started is dropped as it is, and ends by itself. Then the chain is closed here, before its
        // directory goes.
        let ended = async {
            while Arc::strong_count(&chain) > 1 || chain.is_in_use() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(ENDING, ended).await.ok();
    }
}

/// Waits until something is there.
async fn wait_for<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> Result<T> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if let Some(found) = look().await {
            return Ok(found);
        }
        tokio::time::sleep(GLANCE).await;
    }
    Err(eyre!("waited in vain for {what}"))
}

/// A script that nobody can spend, for blocks whose reward nobody needs.
fn nowhere() -> ScriptBuf {
    ScriptBuf::new_op_return([])
}

/// Removes a directory of the demo. It is tried again while something still writes there: a node that was just being
/// started when the demo was stopped.
async fn remove(directory: &Path) -> Result<()> {
    let deadline = Instant::now() + ENDING;
    loop {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != ErrorKind::NotFound && Instant::now() >= deadline => return Err(error.into()),
            Err(error) if error.kind() != ErrorKind::NotFound => tokio::time::sleep(GLANCE).await,
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_demo_that_is_stopped_early_leaves_nothing_behind_and_its_directory_serves_again() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("demo");
        // What a demo leaves that is killed.
        let killed = data_dir.join("demo-killed");
        std::fs::create_dir_all(killed.join("anna")).unwrap();
        std::fs::File::create(killed.join("demo.lock")).unwrap();
        // Each may have begun nothing or a node: which is chance.
        for _ in 0..4 {
            let stop = CancellationToken::new();
            stop.cancel();
            let _stopped = serve(&data_dir, data_dir.join("api.sock"), stop).await.unwrap_err();
            let left: Vec<_> = std::fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(left, Vec::<PathBuf>::new());
        }
    }
}
