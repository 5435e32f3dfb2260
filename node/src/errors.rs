//! What the node's failures are called at its API: one code each, and what to do.

use exchange_api::{ApiError, Code, DirectoryError};
use exchange_ledger::identity::{EmailError, KeystoreError, PasswordError, SecretKeyError};
use exchange_ledger::ledger::TradeError;
use exchange_ledger::record::RecordError;
use exchange_ledger::storage::StorageError;
use exchange_ledger::text::TextError;
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
            Self::Damaged(_) | Self::Io(_) => Code::Internal,
        };
        ApiError::new(code, self.to_string(), "")
    }
}

/// Of a body that breaks a rule the rule is told: to a user it is no record yet.
impl Explain for RecordError {
    fn explain(self) -> ApiError {
        let message = match self {
            Self::Body { kind: _, reason } => reason,
            other => other.to_string(),
        };
        ApiError::new(Code::InvalidArgument, message, "")
    }
}

/// Returns the failure of something that should hold whatever anybody asks: nobody but its programmer can mend it.
pub fn internal(error: impl ToString) -> ApiError {
    ApiError::new(Code::Internal, error.to_string(), "")
}

/// Returns the failure of a request that says something which cannot be.
pub fn invalid(error: impl ToString) -> ApiError {
    ApiError::new(Code::InvalidArgument, error.to_string(), "")
}

/// Returns what explains why a text may not stand in a record: `what` it is, and what is wrong with it.
pub fn bad_text(what: &'static str) -> impl Fn(TextError) -> ApiError {
    move |error| ApiError::new(Code::InvalidArgument, format!("{what}: {error}"), "")
}

impl Explain for TradeError {
    fn explain(self) -> ApiError {
        match self {
            Self::Storage(error) => error.explain(),
            Self::Unknown(_) | Self::Bare(_) => ApiError::new(Code::NotFound, self.to_string(), ""),
            Self::Invalid(..) => ApiError::new(Code::OfferGone, self.to_string(), "look at the book for another offer"),
        }
    }
}

impl Explain for PublishError {
    fn explain(self) -> ApiError {
        match self {
            Self::Storage(error) => error.explain(),
            Self::Store(error) => error.explain(),
            Self::Invalid(error) => error.explain(),
            Self::Stopping => ApiError::new(Code::Busy, self.to_string(), "start it again, then repeat"),
            Self::Unconfirmed => {
                ApiError::new(Code::Busy, self.to_string(), "wait until a peer is connected, then repeat")
            }
            Self::OtherLog => {
                ApiError::new(Code::NotAllowed, self.to_string(), "withdraw the offer and post it again from here")
            }
            Self::NamedElsewhere => {
                ApiError::new(Code::NotAllowed, self.to_string(), "ask for a refund: `exchange-node trade cancel`")
            }
            Self::ClockAhead { .. } => {
                let hint = "check this machine's clock; if it is right, wait until the chain has caught up: \
                            `exchange-node status`";
                ApiError::new(Code::NotSynced, self.to_string(), hint)
            }
            Self::Refused(_) => ApiError::new(Code::Internal, self.to_string(), ""),
        }
    }
}

impl Explain for ChainError {
    fn explain(self) -> ApiError {
        let code = match self {
            Self::Unreachable { .. }
            | Self::NoCookie { .. }
            | Self::Unauthorized { .. }
            | Self::Unasked { .. }
            | Self::Unheard { .. }
            | Self::Withheld { .. } => Code::ChainUnreachable,
            Self::WrongNetwork { .. } => Code::WrongNetwork,
            Self::Refused { .. } => Code::NotAllowed,
            Self::NotMinable { .. }
            | Self::Storage { .. }
            | Self::NoFeeEstimate { .. }
            | Self::TooManyScripts { .. }
            | Self::Invalid { .. } => Code::Internal,
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
            Self::WrongNetwork { .. } => {
                let hint = "start it on its own network (--network), or give this one another directory (--data-dir)";
                ApiError::new(Code::WrongNetwork, self.to_string(), hint)
            }
            Self::DataDir(DirectoryError::Io { ref source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                ApiError::new(Code::DiskFull, self.to_string(), "")
            }
            Self::DataDir(_) | Self::NetworkKey(_) | Self::Net(_) | Self::Socket(_) => {
                ApiError::new(Code::Internal, self.to_string(), "")
            }
        }
    }
}

impl Explain for Refusal {
    fn explain(self) -> ApiError {
        let (code, hint) = match &self {
            Self::NotSynced => (Code::NotSynced, "see `exchange-node status`"),
            Self::OldChain => (
                Code::NotSynced,
                "set this machine's clock if it is wrong; else wait until the chain has caught up, or name another backend: \
                 `exchange-node status`; if you have paid already, do not wait: call for the arbiter: `exchange-node trade dispute`",
            ),
            Self::Unheard => (
                Code::NotSynced,
                "wait until a peer is connected: `exchange-node status`; if you have paid already, do not wait: call for the \
                 arbiter: `exchange-node trade dispute`",
            ),
            Self::NotCompared => (Code::NotSynced, "repeat it when a peer is connected: see `exchange-node status`"),
            Self::NotAllowed { .. } | Self::NothingToFund | Self::NothingToTakeBack => {
                (Code::NotAllowed, "`exchange-node trade show` tells what can be done now")
            }
            Self::TooLateToPay { .. } | Self::Forked { .. } | Self::DoubtfulFunding | Self::NamedOtherwise => (
                Code::NotAllowed,
                "if you have paid already, call for the arbiter: `exchange-node trade dispute`; if not, agree to a refund: \
                 `exchange-node trade cancel`",
            ),
            Self::Unnamed => (
                Code::NotAllowed,
                "wait: nothing is lost by it, and `exchange-node trade show` tells when it is time; if you have paid already, \
                 call for the arbiter: `exchange-node trade dispute`",
            ),
            Self::TooEarlyToFund { .. } => {
                (Code::NotAllowed, "repeat it at that height, and pay nothing to the escrow's address until then")
            }
            Self::TooEarlyToRefund { .. } => (
                Code::NotAllowed,
                "repeat it at that height; `exchange-node trade show` tells what can be done until then",
            ),
            Self::BondNeeded => (
                Code::NotAllowed,
                "leave it there: it comes with those coins, and `exchange-node trade show` tells what brings them; should a \
                 block hold the seller's refund first, repeat it then",
            ),
            Self::TooEarlyToRule { .. } => (Code::NotAllowed, "repeat it at that height, if nobody has ruled by then"),
            Self::TooManyExtensions(_) => (Code::NotAllowed, "rule: `exchange-node arbiter rule`"),
            Self::SignedOver { .. } => (Code::NotAllowed, "rule for that side: `exchange-node arbiter rule --to`"),
            Self::NoVerdict => (Code::InvalidArgument, "say it: `exchange-node arbiter rule --to`"),
            Self::Funding(_) => (Code::NotAllowed, "`exchange-node trade show` tells how far the funding is"),
            Self::WrongFunding => {
                (Code::NotAllowed, "`exchange-node trade fund --psbt-out FILE` shows what the escrow must be paid")
            }
            Self::AlreadyFunding | Self::AlreadySigned => (Code::NotAllowed, "nothing needs to be done"),
            Self::AlreadyAsked => (
                Code::NotAllowed,
                "tell him why: `exchange-node chat send`; if you do not come to terms: `exchange-node trade dispute`",
            ),
            Self::DetailsMismatch => {
                (Code::NotAllowed, "do not pay to them; ask for those that were agreed on: `exchange-node chat send`")
            }
            // What a peer asked for. The payout goes on without.
            Self::NotTheBuyer { .. }
            | Self::NotReleased
            | Self::AlreadySpent
            | Self::TooManyAsks(_)
            | Self::KeyPath(_) => (Code::NotAllowed, "nothing was signed, and nothing needs to be done"),
            Self::Escrow(_) => {
                (Code::NotAllowed, "nothing was signed; `exchange-node trade show` tells where the trade stands")
            }
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
        let hint = if code == Code::WrongPassword { "type it again; nothing was changed" } else { "" };
        ApiError::new(code, self.to_string(), hint)
    }
}

impl Explain for StoreError {
    fn explain(self) -> ApiError {
        match self {
            Self::Storage(error) => error.explain(),
            Self::InUse(_) => ApiError::new(Code::Busy, self.to_string(), ""),
            Self::AlreadyAnswered(_) => ApiError::new(Code::DuplicateRequest, self.to_string(), ""),
            Self::NewerSchema { .. } | Self::Migration { .. } | Self::NewerRow { .. } | Self::TooLong { .. } => {
                ApiError::new(Code::Internal, self.to_string(), "")
            }
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
            Self::NotSynced { .. } | Self::Unwatched => Code::NotSynced,
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
            Self::Outdated { .. } => Code::Outdated,
            Self::NotYetBroadcast { .. } | Self::NotYetCancelled { .. } => Code::ChainUnreachable,
            Self::NotReserved { .. } | Self::UnknownCoin(_) | Self::UnknownTransaction { .. } => Code::NotFound,
            Self::CoinNotSpendable { .. }
            | Self::TooLarge
            | Self::AlreadyConfirmed { .. }
            | Self::AlreadyPays { .. }
            | Self::NotBumpable { .. }
            | Self::NotCancellable { .. }
            | Self::TooLate { .. }
            | Self::AlreadyCancelled { .. }
            | Self::WasCancelled { .. }
            | Self::AlreadyBroadcast { .. }
            | Self::PaidByHand { .. }
            | Self::StillUnseen { .. }
            | Self::TooManyReservations
            | Self::TooManyAddresses => Code::NotAllowed,
            Self::Closed => Code::Busy,
            Self::Unsigned { .. }
            | Self::WrongTransaction { .. }
            | Self::Invalid(_)
            | Self::Damaged { .. }
            | Self::Foreign { .. }
            | Self::Internal { .. } => Code::Internal,
        };
        ApiError::new(code, self.to_string(), "")
    }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::record::Kind;
    use exchange_ledger::text::Text;
    use exchange_ledger::trade::funding::FundingError;
    use exchange_ledger::trade::{Action, EscrowError, Phase, Role};

    use super::*;

    #[test]
    fn a_broken_rule_is_told_without_the_record_that_it_would_have_been() {
        let reason = "the smallest amount is below 0.004 BTC, the minimum trade".to_owned();
        let error = RecordError::Body { kind: Kind::Offer, reason: reason.clone() };
        let told = PublishError::Invalid(error).explain();
        assert_eq!((told.code, told.message), (Code::InvalidArgument, reason));
        let long = Text::<4>::new("too long").map_err(bad_text("a payment method")).unwrap_err();
        assert_eq!(long.message, "a payment method: text of 8 bytes is too long: at most 4");
    }

    #[test]
    fn whoever_is_refused_is_told_what_to_do() {
        let not_allowed = Refusal::NotAllowed { action: Action::Fund, role: Role::Buyer, phase: Phase::Closed };
        for (refusal, code, words) in [
            (not_allowed, Code::NotAllowed, "trade show"),
            (Refusal::NotSynced, Code::NotSynced, "status"),
            (Refusal::NotCompared, Code::NotSynced, "peer"),
            (Refusal::OldChain, Code::NotSynced, "this machine's clock"),
            (Refusal::OldChain, Code::NotSynced, "if you have paid already, do not wait: call for the arbiter"),
            (Refusal::Unheard, Code::NotSynced, "until a peer is connected"),
            (Refusal::Unheard, Code::NotSynced, "if you have paid already, do not wait: call for the arbiter"),
            (Refusal::TooLateToPay { last: 1, tip: 2 }, Code::NotAllowed, "if you have paid already"),
            (Refusal::Unnamed, Code::NotAllowed, "wait: nothing is lost"),
            (Refusal::TooEarlyToFund { from: 2, tip: 1 }, Code::NotAllowed, "pay nothing"),
            (Refusal::TooEarlyToRefund { from: 2, tip: 1 }, Code::NotAllowed, "at that height"),
            (Refusal::BondNeeded, Code::NotAllowed, "leave it there"),
            (Refusal::TooEarlyToRule { from: 2, tip: 1 }, Code::NotAllowed, "at that height"),
            (Refusal::TooManyExtensions(3), Code::NotAllowed, "arbiter rule"),
            (Refusal::NoVerdict, Code::InvalidArgument, "arbiter rule"),
            (Refusal::Funding(FundingError::Signed), Code::NotAllowed, "trade show"),
            (Refusal::WrongFunding, Code::NotAllowed, "--psbt-out"),
            (Refusal::AlreadySigned, Code::NotAllowed, "nothing"),
            (Refusal::AlreadyAsked, Code::NotAllowed, "chat send"),
            (Refusal::DetailsMismatch, Code::NotAllowed, "do not pay"),
            (Refusal::TooManyAsks(1), Code::NotAllowed, "nothing"),
            (Refusal::Escrow(EscrowError::Fee(1)), Code::NotAllowed, "trade show"),
        ] {
            let error = refusal.explain();
            assert_eq!(error.code, code, "{error}");
            assert!(error.hint.contains(words), "{error}");
        }
    }

    #[test]
    fn who_has_paid_already_reads_first_that_the_arbiter_helps() {
        let author = exchange_ledger::ids::AuthorId([7; 32]);
        for refusal in [
            Refusal::TooLateToPay { last: 1, tip: 2 },
            Refusal::Forked { author, role: Role::Seller },
            Refusal::DoubtfulFunding,
            Refusal::NamedOtherwise,
        ] {
            let told = refusal.explain();
            let [dispute, cancel] = ["trade dispute", "trade cancel"].map(|command| told.hint.find(command).unwrap());
            assert!(dispute < cancel && !told.message.contains("cancel"), "{told}");
        }
    }
}
