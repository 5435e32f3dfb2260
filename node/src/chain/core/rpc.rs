//! JSON-RPC to a Bitcoin Core node: credentials, time limits, batches, and what its failures mean.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use jsonrpc::bitreq_http_async::{self, Builder};
use jsonrpc::client_async::Client;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use zeroize::Zeroizing;

use super::NAME;
use crate::chain::ChainError;

/// How long one request may take; the largest block takes a few seconds on a slow disk.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many calls one request may carry, which bounds the size of its answer.
const BATCH: usize = 100;
/// The node is still starting (`RPC_IN_WARMUP`).
const IN_WARMUP: i32 = -28;

/// How the node lets us in.
#[derive(Clone)]
pub enum CoreAuth {
    /// The file that the node writes at each start.
    Cookie(PathBuf),
    /// `rpcauth` or `rpcuser` and `rpcpassword` of its configuration.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
}

impl std::fmt::Debug for CoreAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cookie(path) => f.debug_tuple("Cookie").field(path).finish(),
            Self::Password { user, password: _ } => {
                f.debug_struct("Password").field("user", user).field("password", &"(redacted)").finish()
            }
        }
    }
}

/// The node's RPC server.
#[derive(Debug)]
pub(super) struct Rpc {
    url: String,
    auth: CoreAuth,
}

/// A call that failed.
pub(super) enum Failure {
    /// The node was not reached, or not understood.
    Chain(ChainError),
    /// The node said no.
    Answer {
        /// What was asked.
        method: String,
        /// Its code.
        code: i32,
        /// Its words.
        message: String,
    },
}

impl From<Failure> for ChainError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Chain(error) => error,
            Failure::Answer { method, code, message } => {
                Self::Invalid { backend: NAME, reason: format!("{method}: {message} ({code})") }
            }
        }
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

impl Rpc {
    /// Returns the server at `url`; nothing is sent yet.
    pub fn new(url: String, auth: CoreAuth) -> Self {
        Self { url, auth }
    }

    /// Calls `method`.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: &[Value]) -> Result<T, Failure> {
        let params = raw(params)?;
        let client = self.client().await?;
        client.call(method, Some(&params)).await.map_err(|error| self.failure(method, error))
    }

    /// Calls `method` once for each of `params`, and returns the answers in their order.
    pub async fn batch<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &[Vec<Value>],
    ) -> Result<Vec<Result<T, Failure>>, Failure> {
        let mut answers = Vec::with_capacity(params.len());
        for some in params.chunks(BATCH) {
            let some = some.iter().map(|params| raw(params)).collect::<Result<Vec<_>, _>>()?;
            let client = self.client().await?;
            let requests: Vec<_> = some.iter().map(|params| client.build_request(method, Some(params))).collect();
            let responses = client.send_batch(&requests).await.map_err(|error| self.failure(method, error))?;
            for response in responses {
                let response = response.ok_or_else(|| invalid(format!("{method}: an answer is missing in a batch")))?;
                answers.push(response.result().map_err(|error| self.failure(method, error)));
            }
        }
        Ok(answers)
    }

    /// Returns a client with the present credentials: the cookie changes whenever the node restarts.
    async fn client(&self) -> Result<Client, ChainError> {
        let builder =
            Builder::new().timeout(TIMEOUT).url(&self.url).map_err(|error| self.unreachable(error.to_string()))?;
        let builder = match &self.auth {
            CoreAuth::Cookie(path) => {
                let cookie = tokio::fs::read_to_string(path).await.map(Zeroizing::new).map_err(|error| {
                    let at = path.display().to_string();
                    match error.kind() {
                        ErrorKind::NotFound => ChainError::NoCookie { backend: NAME, path: at },
                        _ => ChainError::Unauthorized { backend: NAME, reason: format!("cookie file {at}: {error}") },
                    }
                })?;
                builder.cookie_auth(cookie.trim_end())
            }
            CoreAuth::Password { user, password } => builder.basic_auth(user.clone(), Some(String::clone(password))),
        };
        Ok(Client::with_transport(builder.build()))
    }

    fn unreachable(&self, reason: String) -> ChainError {
        ChainError::Unreachable { backend: NAME, at: self.url.clone(), reason }
    }

    fn failure(&self, method: &str, error: jsonrpc::Error) -> Failure {
        use jsonrpc::Error;
        let chain_error = match error {
            Error::Rpc(answer) if answer.code == IN_WARMUP => self.unreachable(answer.message),
            Error::Rpc(answer) => {
                return Failure::Answer { method: method.to_owned(), code: answer.code, message: answer.message };
            }
            Error::Transport(error) => match error.downcast_ref::<bitreq_http_async::Error>() {
                Some(bitreq_http_async::Error::Http(http)) if matches!(http.status_code, 401 | 403) => {
                    ChainError::Unauthorized { backend: NAME, reason: format!("status {}", http.status_code) }
                }
                Some(_) | None => self.unreachable(error.to_string()),
            },
            // The kinds of malformed answers; none is better than the others.
            other => invalid(format!("{method}: {other}")),
        };
        Failure::Chain(chain_error)
    }
}

fn raw(params: &[Value]) -> Result<Box<RawValue>, ChainError> {
    to_raw_value(params).map_err(|error| invalid(error.to_string()))
}

fn invalid(reason: String) -> ChainError {
    ChainError::Invalid { backend: NAME, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let auth = CoreAuth::Password { user: "alice".into(), password: Zeroizing::new("hunter2".into()) };
        let shown = format!("{:?}", Rpc::new("http://127.0.0.1:1".into(), auth));
        assert!(shown.contains("alice") && !shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_unreachable() {
        let auth = CoreAuth::Password { user: "alice".into(), password: Zeroizing::new("hunter2".into()) };
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let result = Rpc::new(format!("http://{unused}"), auth).call::<Value>("getblockcount", &[]).await;
        assert!(matches!(result, Err(Failure::Chain(ChainError::Unreachable { .. }))));
        let missing = CoreAuth::Cookie("/nowhere/.cookie".into());
        let result = Rpc::new(format!("http://{unused}"), missing).call::<Value>("getblockcount", &[]).await;
        assert!(matches!(result, Err(Failure::Chain(ChainError::NoCookie { .. }))));
    }
}
