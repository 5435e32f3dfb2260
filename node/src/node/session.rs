//! The session: a node's identity and what works with it, from when it is unlocked until the node stops.

use std::sync::{Arc, PoisonError};

use bitcoin::FeeRate;
use exchange_api::{ApiError, Code, IdentityState, SweepView, SweepWords};
use exchange_ledger::identity::{Email, Identity};
use zeroize::Zeroizing;

use super::Parts;
use crate::blocking::blocking;
use crate::clock;
use crate::errors::{ExplainResult, internal};
use crate::keyring::KeyringError;
use crate::trader::{self, Tools, TraderHandle};
use crate::wallet::{DiskWalletStore, WalletHandle, WalletSetup};

/// The identity and what works with it, once unlocked.
pub struct Session {
    /// The email.
    pub email: String,
    /// What the trader works with: identity, wallet and the rest.
    pub tools: Tools,
    /// The trader.
    pub trader: TraderHandle,
}

pub(super) enum SessionState {
    Closed,
    Opening,
    Open(Arc<Session>),
}

impl Parts {
    /// Returns the state of the identity.
    pub fn identity_state(&self) -> IdentityState {
        match &*self.session() {
            SessionState::Open(session) => {
                IdentityState::Unlocked { author: session.tools.identity.author(), email: session.email.clone() }
            }
            SessionState::Opening => IdentityState::Deriving,
            SessionState::Closed if self.keyring.exists() => IdentityState::Locked,
            SessionState::Closed => IdentityState::None,
        }
    }

    /// Returns the unlocked identity and what works with it.
    ///
    /// # Errors
    /// When there is none, or it is locked.
    pub fn unlocked(&self) -> Result<Arc<Session>, ApiError> {
        let error = |code, message: &str, hint: &str| Err(ApiError::new(code, message, hint));
        match &*self.session() {
            SessionState::Open(session) => Ok(Arc::clone(session)),
            SessionState::Opening => error(Code::Busy, "the identity is being derived", "try again in a few seconds"),
            SessionState::Closed if self.keyring.exists() => {
                error(Code::IdentityLocked, "the identity is locked", "unlock it: `exchange-node identity unlock`")
            }
            SessionState::Closed => {
                error(Code::IdentityMissing, "this node has no identity", "create one: `exchange-node identity new`")
            }
        }
    }

    /// Creates an identity and opens it, whether or not the caller waits for it.
    ///
    /// # Errors
    /// When there is one already, the input is not good, or the wallet cannot be opened.
    pub async fn create_identity(
        self: &Arc<Self>,
        email: String,
        password: Zeroizing<String>,
        secret_key: Option<Zeroizing<String>>,
    ) -> Result<Arc<Session>, ApiError> {
        let keyring = self.keyring.clone();
        self.open_session(move || keyring.create(&email, &password, secret_key.as_ref().map(|key| key.as_str()))).await
    }

    /// Unlocks the identity of the data directory and opens it, whether or not the caller waits for it.
    ///
    /// # Errors
    /// When there is none, the password is wrong, or the wallet cannot be opened.
    pub async fn unlock(self: &Arc<Self>, password: Zeroizing<String>) -> Result<Arc<Session>, ApiError> {
        let keyring = self.keyring.clone();
        self.open_session(move || keyring.unlock(&password)).await
    }

    /// Opens the identity of the data directory, which was unlocked before, whether or not the caller waits for it.
    ///
    /// # Errors
    /// When the wallet cannot be opened.
    pub async fn open(self: &Arc<Self>, identity: Identity, email: Email) -> Result<Arc<Session>, ApiError> {
        self.open_session(move || Ok((identity, email))).await
    }

    /// Returns the 24 words of the identity's wallet, for its password.
    ///
    /// # Errors
    /// When there is no identity, or the password is wrong.
    pub async fn words(&self, password: Zeroizing<String>) -> Result<Zeroizing<String>, ApiError> {
        let keyring = self.keyring.clone();
        let (identity, _) = blocking(move || keyring.unlock(&password).explained()).await?;
        Ok(Zeroizing::new(identity.wallet_words().to_string()))
    }

    /// Brings the coins of another wallet, given by its words, into that of the unlocked identity.
    ///
    /// # Errors
    /// As [`Sweeper::sweep`](crate::sweep::Sweeper::sweep); when the identity is not unlocked.
    pub async fn sweep(&self, request: SweepWords, fee_rate: Option<FeeRate>) -> Result<SweepView, ApiError> {
        let session = self.unlocked()?;
        let own_seed = session.tools.identity.wallet_seed();
        self.sweeper.sweep(request, fee_rate, &self.chain, &session.tools.wallet, &own_seed).await
    }

    async fn open_session(
        self: &Arc<Self>,
        keys: impl FnOnce() -> Result<(Identity, Email), KeyringError> + Send + 'static,
    ) -> Result<Arc<Session>, ApiError> {
        {
            let mut session = self.session();
            match &*session {
                SessionState::Open(_) => {
                    return Err(ApiError::new(
                        Code::NotAllowed,
                        "the identity is unlocked already",
                        "nothing needs to be done",
                    ));
                }
                SessionState::Opening => {
                    return Err(ApiError::new(
                        Code::Busy,
                        "the identity is being derived",
                        "try again in a few seconds",
                    ));
                }
                SessionState::Closed => *session = SessionState::Opening,
            }
        }
        // A call ends with its connection, and whoever made it may hang up while keys are derived. What was begun comes
        // to its end all the same: left halfway, it would be in the way of each that follows.
        let parts = Arc::clone(self);
        let opening = tokio::spawn(async move {
            let opened = parts.stop.run_until_cancelled(parts.open_with(keys)).await;
            let stopping = || Err(ApiError::new(Code::Busy, "the node is stopping", "start it again, then repeat"));
            let opened = opened.unwrap_or_else(stopping);
            *parts.session() = match &opened {
                Ok(session) => SessionState::Open(Arc::clone(session)),
                Err(_) => SessionState::Closed,
            };
            opened
        });
        opening.await.unwrap_or_else(|panic| {
            *self.session() = SessionState::Closed;
            Err(internal(panic))
        })
    }

    async fn open_with(
        &self,
        keys: impl FnOnce() -> Result<(Identity, Email), KeyringError> + Send + 'static,
    ) -> Result<Arc<Session>, ApiError> {
        let (identity, email) = blocking(move || keys().explained()).await?;
        let identity = Arc::new(identity);
        let wallet = WalletHandle::open(WalletSetup {
            seed: identity.wallet_seed(),
            store: Arc::new(DiskWalletStore::new(self.private.store().clone())),
            chain: Arc::clone(&self.chain),
            birth_height: 0,
            clock: Arc::new(clock::unix_now),
        });
        let tools = Tools {
            wallet: wallet.await.explained()?,
            identity: Arc::clone(&identity),
            keeper: self.keeper.clone(),
            private: self.private.clone(),
            chain: Arc::clone(&self.chain),
            mailbox: self.mailbox.clone(),
            events: self.events.clone(),
            sure: self.sure.clone(),
        };
        let mail = self.mailbox.unlock(identity.author());
        let trader = trader::start(tools.clone(), mail, self.stop.clone());
        let session = Session { email: email.as_str().to_owned(), tools, trader };
        Ok(Arc::new(session))
    }

    pub(super) fn close_session(&self) -> Option<Arc<Session>> {
        match std::mem::replace(&mut *self.session(), SessionState::Closed) {
            SessionState::Open(session) => Some(session),
            SessionState::Closed | SessionState::Opening => None,
        }
    }

    fn session(&self) -> std::sync::MutexGuard<'_, SessionState> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use bitcoin::Network;
    use exchange_ledger::identity::{KdfParams, Keystore, KeystoreParams, MasterKey, Password};
    use futures::FutureExt;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::NodeConfig;
    use crate::keyring;
    use crate::node::{Node, make_data_dir};

    const PASSWORD: &str = "correct horse battery staple";
    /// How long it may take to unlock what costs nothing; a bound against hanging only.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Puts an identity into a data directory that costs nothing to unlock.
    fn put_identity(data_dir: &Path) {
        let (email, password) = (Email::parse("alice@example.org").unwrap(), Password::parse(PASSWORD).unwrap());
        let identity = MasterKey::derive(&email, &password, None, &KdfParams::for_tests()).unwrap().identity();
        let cheap = KeystoreParams::for_tests();
        let file = Keystore::seal(&identity, &email, &password, [7; 16], [8; 24], &cheap).unwrap();
        make_data_dir(data_dir).unwrap();
        keyring::write_new(&data_dir.join("identity.keystore"), &file).unwrap();
    }

    async fn unlock(parts: &Arc<Parts>, password: &str) -> Result<Arc<Session>, ApiError> {
        parts.unlock(Zeroizing::new(password.to_owned())).await
    }

    /// Waits until nothing is derived any more, and returns what came of it.
    async fn ended(parts: &Parts) -> IdentityState {
        let ended = async {
            while parts.identity_state() == IdentityState::Deriving {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            parts.identity_state()
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("what was begun comes to its end")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_hangs_up_while_an_identity_is_unlocked_is_in_nobody_s_way() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        put_identity(&data_dir);
        let config = NodeConfig::for_tests(&data_dir, Network::Regtest);
        let stop = CancellationToken::new();
        let node = Node::start(config, stop.clone()).await.unwrap();
        let parts = node.parts();
        assert_eq!(parts.identity_state(), IdentityState::Locked);

        // Both calls are polled once and dropped, as the server does with those of a connection that is closed.
        drop(unlock(parts, "not the one that it is").now_or_never());
        assert_eq!(ended(parts).await, IdentityState::Locked, "it can be unlocked again");
        drop(unlock(parts, PASSWORD).now_or_never());
        assert!(matches!(ended(parts).await, IdentityState::Unlocked { .. }), "nobody needs to wait for it");
        let error = unlock(parts, PASSWORD).await.err().unwrap();
        assert_eq!((error.code, error.message.as_str()), (Code::NotAllowed, "the identity is unlocked already"));

        stop.cancel();
        node.wait().await;
    }
}
