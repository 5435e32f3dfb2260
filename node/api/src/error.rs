//! Why a node refused: a stable code, a message, and what to do.

use std::fmt;

use jsonrpsee::core::ClientError;
use jsonrpsee::types::error::{
    INVALID_PARAMS_CODE, INVALID_REQUEST_CODE, OVERSIZED_REQUEST_CODE, SERVER_IS_BUSY_CODE, TOO_MANY_SUBSCRIPTIONS_CODE,
};
use jsonrpsee::types::{ErrorObject, ErrorObjectOwned};
use serde::{Deserialize, Serialize};

/// An error of the local API. Its `Display` is the message and, on a second line, the hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What kind of failure, for programs.
    pub code: Code,
    /// What failed, on what; lower case, no full stop.
    pub message: String,
    /// What to do; empty when nothing can be done.
    pub hint: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal,)*) => {
        /// What kind of failure. Numbers and names are stable: none is ever reused or renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All codes, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the number that stands in JSON-RPC's `code`.
            pub const fn number(self) -> i32 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// Returns the name that stands in JSON-RPC's `data.name`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns the code with this number.
            pub fn from_number(number: i32) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.number() == number)
            }
        }
    };
}

codes! {
    /// The call needs an identity and there is none.
    IdentityMissing = 1001 "identity_missing",
    /// The call needs the identity, which is locked.
    IdentityLocked = 1002 "identity_locked",
    /// The password does not open the keystore.
    WrongPassword = 1003 "wrong_password",
    /// The password can be guessed.
    WeakPassword = 1004 "weak_password",
    /// There is no such thing.
    NotFound = 1005 "not_found",
    /// An argument is malformed or out of range.
    InvalidArgument = 1006 "invalid_argument",
    /// Not in this phase of the trade, or not in this role.
    NotAllowed = 1007 "not_allowed",
    /// The wallet holds too little.
    InsufficientFunds = 1008 "insufficient_funds",
    /// The offer was taken, withdrawn, or has ended.
    OfferGone = 1009 "offer_gone",
    /// The chain backend does not answer.
    ChainUnreachable = 1010 "chain_unreachable",
    /// The chain backend, or an address, is of another network.
    WrongNetwork = 1011 "wrong_network",
    /// The disk is full.
    DiskFull = 1012 "disk_full",
    /// The request id was used before, for something else.
    DuplicateRequest = 1013 "duplicate_request",
    /// The node has too much to do.
    Busy = 1014 "busy",
    /// The ledger or the chain is not yet caught up.
    NotSynced = 1015 "not_synced",
    /// A fault of the node itself.
    Internal = 1016 "internal",
    /// No node answers on the socket. Made by clients; a node never sends it.
    NodeUnreachable = 1017 "node_unreachable",
    /// What was shown before it was ordered does not hold any more; nothing was done.
    Outdated = 1018 "outdated",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl ApiError {
    /// Returns an error; see the fields.
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }

    /// Returns the exit code of a command that fails by this: 1 refused, 2 wrong usage, 3 node not reachable.
    pub const fn exit_code(&self) -> u8 {
        match self.code {
            Code::InvalidArgument => 2,
            Code::NodeUnreachable => 3,
            Code::IdentityMissing
            | Code::IdentityLocked
            | Code::WrongPassword
            | Code::WeakPassword
            | Code::NotFound
            | Code::NotAllowed
            | Code::InsufficientFunds
            | Code::OfferGone
            | Code::ChainUnreachable
            | Code::WrongNetwork
            | Code::DiskFull
            | Code::DuplicateRequest
            | Code::Busy
            | Code::NotSynced
            | Code::Internal
            | Code::Outdated => 1,
        }
    }

    /// Tells whether a command that fails by this may have been done, or half of it: then it is repeated under the same
    /// request id.
    pub const fn may_be_done(&self) -> bool {
        match self.code {
            // What was just made may not be found.
            Code::NotFound
            | Code::ChainUnreachable
            | Code::DiskFull
            | Code::Busy
            | Code::Internal
            | Code::NodeUnreachable => true,
            Code::IdentityMissing
            | Code::IdentityLocked
            | Code::WrongPassword
            | Code::WeakPassword
            | Code::InvalidArgument
            | Code::NotAllowed
            | Code::InsufficientFunds
            | Code::OfferGone
            | Code::WrongNetwork
            | Code::DuplicateRequest
            | Code::NotSynced
            | Code::Outdated => false,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hint.is_empty() { f.write_str(&self.message) } else { write!(f, "{}\n{}", self.message, self.hint) }
    }
}

impl std::error::Error for ApiError {}

/// What stands in JSON-RPC's `data`.
#[derive(Serialize, Deserialize)]
struct Data {
    name: String,
    hint: String,
}

impl From<ApiError> for ErrorObjectOwned {
    fn from(error: ApiError) -> Self {
        let data = Data { name: error.code.name().to_owned(), hint: error.hint };
        ErrorObject::owned(error.code.number(), error.message, Some(data))
    }
}

/// Reads what a node sent; errors of JSON-RPC itself become the nearest code.
impl From<ErrorObjectOwned> for ApiError {
    fn from(object: ErrorObjectOwned) -> Self {
        let message = object.message().to_owned();
        let data = object.data().map(|data| data.get());
        if let Some(code) = Code::from_number(object.code()) {
            // Another version's data may have another shape; the code and the message still hold.
            let hint = data.and_then(|data| serde_json::from_str::<Data>(data).ok()).map(|data| data.hint);
            return Self { code, message, hint: hint.unwrap_or_default() };
        }
        let (code, hint) = match object.code() {
            INVALID_PARAMS_CODE | INVALID_REQUEST_CODE | OVERSIZED_REQUEST_CODE => {
                (Code::InvalidArgument, data.unwrap_or_default().to_owned())
            }
            SERVER_IS_BUSY_CODE | TOO_MANY_SUBSCRIPTIONS_CODE => (Code::Busy, "try again in a moment".to_owned()),
            _ => (Code::Internal, "see the node's log; client and node may be of different versions".to_owned()),
        };
        Self { code, message: message.to_lowercase(), hint }
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        let lost = |why: String| Self::new(Code::NodeUnreachable, why, "is the node still running? its log says more");
        match error {
            ClientError::Call(object) => object.into(),
            ClientError::RequestTimeout => lost("the node did not answer in time".to_owned()),
            ClientError::Transport(why) => lost(format!("the connection to the node broke: {why}")),
            ClientError::RestartNeeded(why) => lost(format!("the connection to the node broke: {why}")),
            ClientError::ServiceDisconnect => lost("the connection to the node broke".to_owned()),
            other => Self::new(
                Code::Internal,
                format!("the node's answer makes no sense: {other}"),
                "client and node may be of different versions: use the same for both",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        for code in Code::ALL {
            let error = ApiError::new(*code, "no coins", "deposit some");
            assert_eq!(ApiError::from(ErrorObjectOwned::from(error.clone())), error);
        }
    }

    #[test]
    fn names_and_numbers_are_unique_and_the_names_are_serdes() {
        let numbers: BTreeSet<_> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{}\"", code.name()));
        }
    }

    #[test]
    fn exit_codes_tell_refusal_usage_and_absence_apart() {
        let exit = |code| ApiError::new(code, "", "").exit_code();
        assert_eq!(exit(Code::OfferGone), 1);
        assert_eq!(exit(Code::InvalidArgument), 2);
        assert_eq!(exit(Code::NodeUnreachable), 3);
        assert_eq!(ApiError::from(ClientError::RequestTimeout).exit_code(), 3);
    }

    #[test]
    fn malformed_parameters_are_the_callers_fault() {
        let object = ErrorObject::owned(INVALID_PARAMS_CODE, "Invalid params", Some("expected u64"));
        assert_eq!(ApiError::from(object).code, Code::InvalidArgument);
    }
}
