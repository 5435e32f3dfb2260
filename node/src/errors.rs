//! What the node's failures are called at its API: one code each, and what to do.

use exchange_api::{ApiError, Code};
use exchange_ledger::identity::{EmailError, KeystoreError, PasswordError, SecretKeyError};
use exchange_ledger::ledger::TradeError;
use exchange_ledger::storage::StorageError;
use exchange_ledger::trade::Refusal;
use exchange_store::StoreError;

use crate::chain::ChainError;
use crate::keeper::PublishError;
use crate::keyring::KeyringError;
use crate::mailbox::SendError;
use crate::node::StartError;
use crate::wallet::WalletError;

/// A failure that can be explained to a user of the API.
pub trait Explain {
    /// Returns the code, the message and the hint.
    fn explain(self) -> ApiError;
}

/// Explains the error of a result.
pub trait ExplainResult<T> {
    /// Turns the error into one of the API.
    ///
    /// # Errors
    /// The same, explained.
    fn explained(self) -> Result<T, ApiError>;
}

impl<T, E: Explain> ExplainResult<T> for Result<T, E> {
    fn explained(self) -> Result<T, ApiError> {
        self.map_err(Explain::explain)
    }
}

impl Explain for StorageError {
    fn explain(self) -> ApiError {
        let code = match self {
            Self::Full(_) => Code::DiskFull,
            _ => Code::Internal,
        };
        ApiError::new(code, self.to_string(), "")
    }
}

impl Explain for TradeError {
    fn explain(self) -> ApiError {
        match self {
            Self::Storage(error) => error.explain(),
            Self::Unknown(_) | Self::Bare(_) => ApiError::new(Code::NotFound, self.to_string(), ""),
            _ => ApiError::new(Code::OfferGone, self.to_string(), "look at the book for another offer"),
        }
    }
}

impl Explain for PublishError {
    fn explain(self) -> ApiError {
        match self {
            Self::Storage(error) => error.explain(),
            Self::Store(error) => error.explain(),
            Self::Invalid(error) => ApiError::new(Code::InvalidArgument, error.to_string(), ""),
            Self::Stopping => ApiError::new(Code::Busy, self.to_string(), "start it again, then repeat"),
            Self::Unconfirmed => {
                ApiError::new(Code::Busy, self.to_string(), "wait until a peer is connected, then repeat")
            }
            Self::OtherLog => {
                ApiError::new(Code::NotAllowed, self.to_string(), "withdraw the offer and post it again from here")
            }
            Self::Refused(_) => ApiError::new(Code::Internal, self.to_string(), ""),
        }
    }
}

impl Explain for ChainError {
    fn explain(self) -> ApiError {
        let code = match self {
            Self::Unreachable { .. } | Self::NoCookie { .. } | Self::Unauthorized { .. } => Code::ChainUnreachable,
            Self::WrongNetwork { .. } => Code::WrongNetwork,
            Self::Refused { .. } => Code::NotAllowed,
            _ => Code::Internal,
        };
        ApiError::new(code, self.to_string(), "")
    }
}

/// The others are explained by their own words.
impl Explain for StartError {
    fn explain(self) -> ApiError {
        match self {
            Self::Chain(error) => error.explain(),
            Self::Store(error) => error.explain(),
            Self::Storage(error) => error.explain(),
            Self::DataDir(_, ref error) if error.kind() == std::io::ErrorKind::StorageFull => {
                ApiError::new(Code::DiskFull, self.to_string(), "")
            }
            Self::DataDir(..) | Self::NetworkKey(_) | Self::Net(_) | Self::Socket(_) => {
                ApiError::new(Code::Internal, self.to_string(), "")
            }
        }
    }
}

impl Explain for Refusal {
    fn explain(self) -> ApiError {
        let (code, hint) = match self {
            Self::NotSynced => (Code::NotSynced, "see `exchange-node status`"),
            Self::NotAllowed { .. } => (Code::NotAllowed, "`exchange-node trade show` tells what can be done now"),
            Self::Forked { .. } | Self::DoubtfulFunding => (
                Code::NotAllowed,
                "agree to a refund: `exchange-node trade cancel`; or, if you have paid already, call for the arbiter: \
                 `exchange-node trade dispute`",
            ),
            Self::AlreadyFunding | Self::AlreadySigned => (Code::NotAllowed, "nothing needs to be done"),
            _ => (Code::NotAllowed, ""),
        };
        ApiError::new(code, self.to_string(), hint)
    }
}

macro_rules! explain_as {
    ($($error:ty => $code:expr,)*) => {
        $(impl Explain for $error {
            fn explain(self) -> ApiError {
                ApiError::new($code, self.to_string(), "")
            }
        })*
    };
}

explain_as! {
    EmailError => Code::InvalidArgument,
    PasswordError => Code::InvalidArgument,
    SecretKeyError => Code::InvalidArgument,
}

impl Explain for KeyringError {
    fn explain(self) -> ApiError {
        let code = match &self {
            Self::Exists => Code::NotAllowed,
            Self::Missing => Code::IdentityMissing,
            Self::Weak(_) => Code::WeakPassword,
            Self::Email(_) | Self::Password(_) | Self::SecretKey(_) => Code::InvalidArgument,
            Self::Keystore(KeystoreError::WrongPassword) => Code::WrongPassword,
            Self::Io { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => Code::DiskFull,
            Self::Kdf(_) | Self::Keystore(_) | Self::Io { .. } => Code::Internal,
        };
        let hint = match code {
            Code::WrongPassword => "type it again; nothing was changed",
            _ => "",
        };
        ApiError::new(code, self.to_string(), hint)
    }
}

impl Explain for StoreError {
    fn explain(self) -> ApiError {
        match self {
            Self::Storage(error) => error.explain(),
            Self::InUse(_) => ApiError::new(Code::Busy, self.to_string(), ""),
            Self::AlreadyAnswered(_) => ApiError::new(Code::DuplicateRequest, self.to_string(), ""),
            _ => ApiError::new(Code::Internal, self.to_string(), ""),
        }
    }
}

impl Explain for SendError {
    fn explain(self) -> ApiError {
        match self {
            Self::Store(error) => error.explain(),
            Self::Full => ApiError::new(Code::NotAllowed, self.to_string(), ""),
            Self::Mail(_) => ApiError::new(Code::Internal, self.to_string(), ""),
        }
    }
}

impl Explain for WalletError {
    fn explain(self) -> ApiError {
        let code = match self {
            Self::Chain(error) => return error.explain(),
            Self::Store(error) => return error.explain(),
            Self::InsufficientFunds { .. } | Self::NoCoin { .. } | Self::SmallCoins { .. } => Code::InsufficientFunds,
            Self::NotSynced { .. } => Code::NotSynced,
            Self::Dust { .. }
            | Self::FeeRate { .. }
            | Self::HighFee { .. }
            | Self::FeeTooLow { .. }
            | Self::BadLabel
            | Self::BadSubject(_)
            | Self::BadCursor(_)
            | Self::BadPsbt { .. }
            | Self::TooManyCoins
            | Self::TooManyLabels => Code::InvalidArgument,
            Self::AlreadyBuilt { .. } => Code::DuplicateRequest,
            Self::NotYetBroadcast { .. } => Code::ChainUnreachable,
            Self::NotReserved { .. } | Self::UnknownCoin(_) | Self::UnknownTransaction { .. } => Code::NotFound,
            Self::CoinNotSpendable { .. }
            | Self::TooLarge
            | Self::AlreadyConfirmed { .. }
            | Self::AlreadyPays { .. }
            | Self::NotBumpable { .. }
            | Self::AlreadyBroadcast { .. }
            | Self::TooManyReservations
            | Self::TooManyAddresses => Code::NotAllowed,
            Self::Closed => Code::Busy,
            _ => Code::Internal,
        };
        ApiError::new(code, self.to_string(), "")
    }
}
