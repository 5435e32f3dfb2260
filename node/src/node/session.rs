//! The session: a node's identity and what works with it, from when it is unlocked until the node stops.

use std::sync::{Arc, PoisonError};

use bitcoin::FeeRate;
use exchange_api::{ApiError, Code, IdentityState, SweepView, SweepWords};
use exchange_ledger::identity::{Email, Identity};
use zeroize::Zeroizing;

use super::Parts;
use crate::blocking::blocking;
use crate::clock;
use crate::errors::ExplainResult;
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

    /// Creates an identity and opens it.
    ///
    /// # Errors
    /// When there is one already, the input is not good, or the wallet cannot be opened.
    pub async fn create_identity(
        &self,
        email: String,
        password: Zeroizing<String>,
        secret_key: Option<Zeroizing<String>>,
    ) -> Result<Arc<Session>, ApiError> {
        let keyring = self.keyring.clone();
        self.open_session(move || keyring.create(&email, &password, secret_key.as_ref().map(|key| key.as_str()))).await
    }

    /// Unlocks the identity of the data directory and opens it.
    ///
    /// # Errors
    /// When there is none, the password is wrong, or the wallet cannot be opened.
    pub async fn unlock(&self, password: Zeroizing<String>) -> Result<Arc<Session>, ApiError> {
        let keyring = self.keyring.clone();
        self.open_session(move || keyring.unlock(&password)).await
    }

    /// Opens the identity of the data directory, which was unlocked before.
    ///
    /// # Errors
    /// When the wallet cannot be opened.
    pub async fn open(&self, identity: Identity, email: Email) -> Result<Arc<Session>, ApiError> {
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
        &self,
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
        let opened = self.open_with(keys).await;
        *self.session() = match &opened {
            Ok(session) => SessionState::Open(Arc::clone(session)),
            Err(_) => SessionState::Closed,
        };
        opened
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
