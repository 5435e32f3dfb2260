//! The data directory of a node: made for its owner alone, and of one network for good.

use std::path::Path;

use bitcoin::Network;
use bitcoin::p2p::Magic;
use exchange_store::{OpenOptions, Store, StoreError};

use super::StartError;
use crate::config::{NodeConfig, network_name};
use crate::keyring::Keyring;
use crate::private::Private;

/// Opens the store of a data directory, unless it is of another network: before the chain or a peer is asked anything.
pub(super) fn open_store(config: &NodeConfig) -> Result<Store, StartError> {
    make_data_dir(&config.data_dir)?;
    let store = Store::open(config.data_dir.join("ledger"), OpenOptions::default())?;
    let wanted = config.network.magic();
    match Private::new(store.clone()).network()?.map(Magic::from_bytes) {
        Some(found) if found != wanted => Err(StartError::WrongNetwork {
            path: config.data_dir.clone(),
            found: Network::from_magic(found).map_or("another network", network_name),
            wanted: network_name(config.network),
        }),
        Some(_) | None => Ok(store),
    }
}

/// Notes of a new data directory the network that it is of from now on. It is one once the chain was found to be of this
/// network: whoever mistyped it can try again. Of one that has an identity and no note the records tell, or the wallet.
pub(super) fn note_network(config: &NodeConfig, private: &Private) -> Result<(), StoreError> {
    if private.network()?.is_some() || Keyring::new(&config.data_dir).exists() {
        return Ok(());
    }
    private.put_network(config.network.magic().to_bytes())
}

/// Makes a directory that only its owner can read, or tightens one: it holds what is said in trades, payment details too, wherever
/// the socket is.
pub(crate) fn make_data_dir(path: &Path) -> Result<(), StartError> {
    exchange_api::make_private_directory(path).map_err(StartError::DataDir)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use exchange_api::{Code, DirectoryError};

    use super::*;
    use crate::errors::Explain;

    #[test]
    fn a_data_directory_that_others_could_read_is_tightened_or_refused_wherever_the_socket_is() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        let elsewhere = directory.path().join("run/api.sock");
        let config = NodeConfig { socket: Some(elsewhere), ..NodeConfig::for_tests(&data_dir, Network::Regtest) };
        drop(open_store(&config).unwrap());
        let mode = || metadata(&data_dir).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o700);
        set_permissions(&data_dir, Permissions::from_mode(0o755)).unwrap();
        drop(open_store(&config).unwrap());
        assert_eq!(mode(), 0o700);
        set_permissions(&data_dir, Permissions::from_mode(0o1777)).unwrap();
        let error = open_store(&config).err().unwrap();
        assert!(matches!(error, StartError::DataDir(DirectoryError::Shared(_))), "{error}");
        assert_eq!(mode(), 0o1777);
    }

    #[test]
    fn a_data_directory_stays_with_the_network_that_it_was_begun_on() {
        let directory = tempfile::tempdir().unwrap();
        let on = |network| NodeConfig::for_tests(&directory.path().join("data"), network);
        // A start that found no chain of its network has begun nothing.
        drop(open_store(&on(Network::Bitcoin)).unwrap());
        let store = open_store(&on(Network::Regtest)).unwrap();
        note_network(&on(Network::Regtest), &Private::new(store.clone())).unwrap();
        drop(store);
        for (network, name) in [(Network::Signet, "signet"), (Network::Bitcoin, "mainnet")] {
            let error = open_store(&on(network)).err().unwrap().explain();
            assert_eq!(error.code, Code::WrongNetwork);
            assert!(error.message.ends_with(&format!("is of regtest, not of {name}")), "{error}");
            assert!(error.hint.contains("--data-dir"), "{error}");
        }
        let store = open_store(&on(Network::Regtest)).unwrap();
        note_network(&on(Network::Regtest), &Private::new(store)).unwrap();
    }
}
