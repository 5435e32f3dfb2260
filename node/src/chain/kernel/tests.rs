use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bitcoin::{Network, ScriptBuf, Transaction};
use tempfile::TempDir;

use super::{KernelChain, KernelConfig};
use crate::chain::conformance::Harness;
use crate::chain::{ChainBackend, ChainError};

struct Kernel {
    dir: TempDir,
    chain: Option<KernelChain>,
}

impl Kernel {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let chain = Some(open(&dir, Network::Regtest).unwrap());
        Self { dir, chain }
    }
}

fn open(dir: &TempDir, network: Network) -> Result<KernelChain, ChainError> {
    KernelChain::open(KernelConfig { data_dir: Some(dir.path().join("chain")), network, ..KernelConfig::default() })
}

fn burn() -> ScriptBuf {
    ScriptBuf::new_op_return([1; 4])
}

#[async_trait]
impl Harness for Kernel {
    fn backend(&self) -> &dyn ChainBackend {
        self.chain.as_ref().unwrap()
    }

    async fn open_for(&self, network: Network) -> Result<(), ChainError> {
        let dir = TempDir::new().unwrap();
        open(&dir, network).map(drop)
    }

    async fn reorg(&self, depth: u32, new_blocks: u32) {
        self.chain.as_ref().unwrap().reorg(depth, new_blocks).await.unwrap();
    }

    async fn mine_exactly(&self, txs: Vec<Transaction>) {
        self.chain.as_ref().unwrap().mine_exactly(txs).await.unwrap();
    }

    async fn restart(&mut self) {
        let shared = Arc::clone(&self.chain.take().unwrap().shared);
        // The tasks of dropped followers let go of the chain on their own.
        while Arc::strong_count(&shared) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(shared);
        self.chain = Some(open(&self.dir, Network::Regtest).unwrap());
    }
}

crate::conformance_suite!(Kernel::start);

#[tokio::test]
async fn a_timeout_of_thirty_days_can_be_mined() {
    let chain = KernelChain::open(KernelConfig::default()).unwrap();
    let hashes = chain.mine(4_320, burn()).await.unwrap();
    let tip = chain.tip().await.unwrap();
    assert_eq!((tip.height, Some(&tip.hash)), (4_320, hashes.last()));
}

#[tokio::test]
async fn a_stored_chain_is_there_again() {
    let mut kernel = Kernel::start().await;
    let hashes = kernel.backend().mine(150, burn()).await.unwrap();
    kernel.restart().await;
    assert_eq!(kernel.backend().tip().await.unwrap().hash, hashes[149]);
    assert_eq!(kernel.backend().block_at(75).await.unwrap().unwrap().block_hash(), hashes[74]);
    kernel.backend().mine(1, burn()).await.unwrap();
}

#[tokio::test]
async fn a_chain_in_use_or_out_of_place_is_one_clear_error() {
    let kernel = Kernel::start().await;
    assert!(matches!(open(&kernel.dir, Network::Regtest), Err(ChainError::Storage { .. })));
    let file = kernel.dir.path().join("file");
    std::fs::File::create(&file).unwrap();
    let config = KernelConfig { data_dir: Some(file), ..KernelConfig::default() };
    assert!(matches!(KernelChain::open(config), Err(ChainError::Storage { .. })));
}

#[tokio::test]
async fn a_branch_that_is_not_longer_is_refused() {
    let chain = KernelChain::open(KernelConfig::default()).unwrap();
    chain.mine(3, burn()).await.unwrap();
    assert!(chain.reorg(2, 2).await.is_err());
    assert!(chain.reorg(4, 5).await.is_err());
    assert_eq!(chain.tip().await.unwrap().height, 3);
}
