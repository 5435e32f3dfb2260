//! A connection to one Electrum server: lines of JSON-RPC over TCP or TLS, each of them bounded and answered in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::constants::genesis_block;
use bitcoin::{BlockHash, Network, Transaction, Txid};
use exchange_ledger::text::clean;
use futures::{SinkExt, StreamExt};
use jsonrpsee::core::client::{
    Client, ClientBuilder, ClientT, Error as ClientError, ReceivedMessage, TransportReceiverT, TransportSenderT,
};
use jsonrpsee::core::params::ArrayParams;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

use super::proof::Proof;
use super::server::{ElectrumServer, Transport};
use super::{NAME, tls};
use crate::chain::ChainError;

/// How long a server may take to let us in.
const DIAL_PATIENCE: Duration = Duration::from_secs(15);
/// How long it may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long what is read of it at a time may take, beside what its answers earn: none may be late for long by answering each
/// question just in time.
const ROUND_PATIENCE: Duration = Duration::from_secs(60);
/// What an answer earns. Ten questions are open, so a slow line has time enough.
const EARNED: Duration = Duration::from_secs(1);
/// So many headers earn as much as one more: they come two thousand at once.
const HEADERS_OF_AN_ANSWER: usize = 500;
/// How often it is looked at whether a server keeps up.
const PACE_LOOK: Duration = Duration::from_secs(5);
/// The longest line: a transaction that fills a block, in hexadecimal digits, and what stands around it.
const MAX_LINE: usize = 8_500_000;
/// How many questions are open at a time. Servers work on about ten.
pub(super) const OPEN_QUESTIONS: usize = 10;
/// How many notices may wait. More than that are not worth reading: everything is asked for again.
const MAX_NOTICES: usize = 4_096;
/// The longest of them: several times what a header needs.
const MAX_NOTICE: usize = 1_024;
/// The versions of the protocol that are understood: from 1.4 of 2018, which every server speaks, to 1.6 with packages.
const PROTOCOL: [&str; 2] = ["1.4", "1.6"];
/// How many characters of a server's words are shown.
const MAX_WORDS: usize = 300;

/// A server that serves the right network.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    at: String,
    protocol: (u16, u16),
    pace: Pace,
}

/// How much a server answers.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    fn note(&self, answers: usize) {
        self.0.fetch_add(answers as u64, Ordering::Relaxed); // usize fits
    }

    /// Waits until less has been answered, from now on, than has to be.
    async fn is_lost(&self) {
        let (began, before) = (Instant::now(), self.0.load(Ordering::Relaxed));
        loop {
            sleep(PACE_LOOK).await;
            let answers = self.0.load(Ordering::Relaxed).saturating_sub(before);
            if is_behind(began.elapsed(), answers) {
                return;
            }
        }
    }
}

/// Tells whether so many answers in this time are too few.
fn is_behind(elapsed: Duration, answers: u64) -> bool {
    let earned = EARNED.saturating_mul(u32::try_from(answers).unwrap_or(u32::MAX));
    elapsed > ROUND_PATIENCE.saturating_add(earned)
}

/// A question that failed.
pub(super) enum Failure {
    /// The server was not reached, or not understood.
    Chain(ChainError),
    /// The server said no, in these words.
    Answer(String),
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

/// The newest block of a server.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    height: u32,
    hex: String,
}

/// A transaction in the history of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Item {
    /// The height of its block; zero or less while it waits for one.
    pub height: i64,
    #[serde(rename = "tx_hash")]
    pub txid: Txid,
}

/// What a server tells unasked, in the order in which it came.
pub(super) struct Notices(mpsc::Receiver<Unasked>);

/// What a server tells unasked, as it says it.
#[derive(Debug, Deserialize)]
#[serde(tag = "method", content = "params")]
enum Unasked {
    #[serde(rename = "blockchain.headers.subscribe")]
    Head((Head,)),
    #[serde(rename = "blockchain.scripthash.subscribe")]
    Script((String, Option<String>)),
}

/// What changed.
pub(super) enum Notice {
    /// The newest block.
    Head((u32, Header)),
    /// The history of a script, by its hash.
    Script(String),
}

impl Connection {
    /// Connects to a server and checks that it speaks the protocol and serves the network.
    ///
    /// # Errors
    /// [`ChainError::Unreachable`], [`ChainError::WrongNetwork`], [`ChainError::Invalid`].
    pub async fn open(server: &ElectrumServer, network: Network) -> Result<(Self, Notices), ChainError> {
        #[derive(Deserialize)]
        struct Features {
            genesis_hash: BlockHash,
        }
        let unreachable = |reason: String| ChainError::Unreachable { backend: NAME, at: server.to_string(), reason };
        let lines = timeout(DIAL_PATIENCE, dial(server)).await;
        let lines = lines.unwrap_or_else(|_| Err("it does not let us in".to_owned())).map_err(unreachable)?;
        let (sender, lines) = Framed::new(lines, LinesCodec::new_with_max_length(MAX_LINE)).split();
        let (notices, unasked) = mpsc::channel(MAX_NOTICES);
        let client = ClientBuilder::new()
            .request_timeout(ANSWER_PATIENCE)
            .build_with_tokio(Questions(sender), Answers { lines, notices });
        let mut connection = Self { client, at: server.to_string(), protocol: (0, 0), pace: Pace::default() };
        let hello = [json!("exchange"), json!(PROTOCOL)];
        let (_, protocol): (String, String) = connection.ask("server.version", &hello).await?;
        connection.protocol = version(&protocol)
            .ok_or_else(|| connection.nonsense(format!("it speaks version `{}` of the protocol", words(&protocol))))?;
        let Features { genesis_hash } = connection.ask("server.features", &[]).await?;
        if genesis_hash != genesis_block(network).block_hash() {
            let known = [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];
            let found = known.into_iter().find(|known| genesis_block(known).block_hash() == genesis_hash);
            let found = found.map_or_else(|| format!("the chain from {genesis_hash}"), |network| network.to_string());
            return Err(ChainError::WrongNetwork { backend: NAME, expected: network, found });
        }
        Ok((connection, Notices(unasked)))
    }

    /// Whether it takes packages and tells the limits of its pool.
    pub fn is_modern(&self) -> bool {
        self.protocol >= (1, 6)
    }

    /// Returns the height and header of the newest block, and hears of the next from now on.
    pub async fn head(&self) -> Result<(u32, Header), ChainError> {
        let head: Head = self.ask("blockchain.headers.subscribe", &[]).await?;
        Ok((head.height, self.decode(&head.hex)?))
    }

    /// Waits for the next notice.
    pub async fn next(&self, notices: &mut Notices) -> Result<Notice, ChainError> {
        match notices.0.recv().await {
            Some(Unasked::Head((head,))) => Ok(Notice::Head((head.height, self.decode(&head.hex)?))),
            Some(Unasked::Script((script_hash, _))) => Ok(Notice::Script(script_hash)),
            None => Err(self.unreachable("the connection is lost")),
        }
    }

    /// Returns headers from a height on, oldest first, at most `count`; fewer where the chain ends.
    pub async fn headers(&self, from: u32, count: usize) -> Result<Vec<Header>, ChainError> {
        /// Up to version 1.5 one text, then one for each header.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Answer {
            Joined { hex: String },
            Listed { headers: Vec<String> },
        }
        let digits = match self.ask("blockchain.block.headers", &[json!(from), json!(count)]).await? {
            Answer::Joined { hex } => hex,
            Answer::Listed { headers } => headers.concat(),
        };
        let texts: Vec<&[u8]> = digits.as_bytes().chunks(2 * Header::SIZE).collect();
        if texts.len() > count {
            return Err(self.nonsense(format!("{} headers came where {count} were asked for", texts.len())));
        }
        self.pace.note(texts.len() / HEADERS_OF_AN_ANSWER);
        texts.into_iter().map(|text| self.decode(&String::from_utf8_lossy(text))).collect()
    }

    /// Returns its address.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Returns the state of a script's history, which changes with it, and hears of it from now on. A server refuses what it finds
    /// too long: that is about this script only.
    pub async fn status(&self, script_hash: &str) -> Result<Option<String>, Failure> {
        self.try_ask("blockchain.scripthash.subscribe", &[json!(script_hash)]).await
    }

    /// Returns what touches a script, confirmed and not. It may be refused, too.
    pub async fn history(&self, script_hash: &str) -> Result<Vec<Item>, Failure> {
        self.try_ask("blockchain.scripthash.get_history", &[json!(script_hash)]).await
    }

    /// Returns a transaction; `None` when the server does not have it.
    pub async fn transaction(&self, txid: Txid) -> Result<Option<Transaction>, ChainError> {
        let hex: Option<String> = known(self.try_ask("blockchain.transaction.get", &[json!(txid)]).await)?;
        let tx: Option<Transaction> = hex.map(|hex| self.decode(&hex)).transpose()?;
        match tx {
            Some(tx) if tx.compute_txid() != txid => Err(self.nonsense(format!("what it calls {txid} is another one"))),
            tx => Ok(tx),
        }
    }

    /// Returns the proof that the block at a height holds a transaction; `None` when the server says that it does not.
    pub async fn proof(&self, txid: Txid, height: u32) -> Result<Option<Proof>, ChainError> {
        known(self.try_ask("blockchain.transaction.get_merkle", &[json!(txid), json!(height)]).await)
    }

    /// Returns the id of a transaction by its place; `None` where a block has none.
    pub async fn txid_at(&self, height: u32, pos: usize) -> Result<Option<Txid>, ChainError> {
        known(self.try_ask("blockchain.transaction.id_from_pos", &[json!(height), json!(pos)]).await)
    }

    /// Asks something that a server has no reason to refuse.
    pub async fn ask<T: DeserializeOwned>(&self, method: &str, params: &[Value]) -> Result<T, ChainError> {
        self.try_ask(method, params).await.map_err(|failure| match failure {
            Failure::Chain(error) => error,
            Failure::Answer(reason) => self.unreachable(format!("it refuses {method}: {reason}")),
        })
    }

    /// Asks something.
    pub async fn try_ask<T: DeserializeOwned>(&self, method: &str, params: &[Value]) -> Result<T, Failure> {
        let mut list = ArrayParams::new();
        for param in params {
            list.insert(param).map_err(|error| self.nonsense(error.to_string()))?;
        }
        let answer = self.client.request(method, list).await.map_err(|error| match error {
            ClientError::Call(answer) => Failure::Answer(words(answer.message())),
            error => Failure::Chain(self.chain_error(method, error)),
        });
        match &answer {
            Ok(_) | Err(Failure::Answer(_)) => self.pace.note(1),
            Err(Failure::Chain(_)) => {}
        }
        answer
    }

    /// Reads something of it that takes many questions, for as long as it keeps up.
    ///
    /// # Errors
    /// Those of reading it, and [`ChainError::Unreachable`] when it answers too slowly.
    pub async fn in_time<T>(&self, reading: impl Future<Output = Result<T, ChainError>>) -> Result<T, ChainError> {
        tokio::select! {
            read = reading => read,
            () = self.pace.is_lost() => Err(self.unreachable("it answers too slowly")),
        }
    }

    /// Returns the error of a server that is gone.
    pub fn unreachable(&self, reason: impl Into<String>) -> ChainError {
        ChainError::Unreachable { backend: NAME, at: self.at.clone(), reason: reason.into() }
    }

    /// Returns the error of a server that says what cannot be true.
    pub fn nonsense(&self, reason: impl AsRef<str>) -> ChainError {
        ChainError::Invalid { backend: NAME, reason: format!("{}: {}", self.at, reason.as_ref()) }
    }

    fn chain_error(&self, method: &str, error: ClientError) -> ChainError {
        match error {
            ClientError::ParseError(error) => self.nonsense(format!("{method}: {}", words(&error.to_string()))),
            ClientError::RequestTimeout => self.unreachable(format!("{method} is not answered")),
            ClientError::RestartNeeded(cause) => self.unreachable(words(&cause.to_string())),
            error => self.unreachable(words(&error.to_string())),
        }
    }

    fn decode<T: bitcoin::consensus::Decodable>(&self, hex: &str) -> Result<T, ChainError> {
        deserialize_hex(hex).map_err(|error| self.nonsense(error.to_string()))
    }
}

/// Turns a refusal into `None`.
pub(super) fn known<T>(answer: Result<T, Failure>) -> Result<Option<T>, ChainError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Answer(_)) => Ok(None),
        Err(Failure::Chain(error)) => Err(error),
    }
}

/// Reads a version such as `1.4` or `1.4.2`.
fn version(text: &str) -> Option<(u16, u16)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next().unwrap_or(Some(0))?))
}

/// Returns what a server said, fit to be shown: in one line, and without what a terminal obeys.
pub(super) fn words(text: &str) -> String {
    let shown = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    clean(shown.take(MAX_WORDS).collect::<String>().trim())
}

/// Bytes to and from a server.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

async fn dial(server: &ElectrumServer) -> Result<Box<dyn Stream>, String> {
    let reason = |error: std::io::Error| error.to_string();
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(reason)?;
    // Questions are small and many.
    tcp.set_nodelay(true).map_err(reason)?;
    match &server.transport {
        Transport::Plain => Ok(Box::new(tcp)),
        Transport::Tls(trust) => {
            let config = tls::config(trust).map_err(|error| error.to_string())?;
            let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
            let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(reason)?;
            Ok(Box::new(tls))
        }
    }
}

/// The lines that we send.
struct Questions<S>(S);

impl<S> TransportSenderT for Questions<S>
where
    S: futures::Sink<String, Error = LinesCodecError> + Send + Unpin + 'static,
{
    type Error = LinesCodecError;

    async fn send(&mut self, message: String) -> Result<(), Self::Error> {
        self.0.send(message).await
    }
}

/// The lines that come. What is told unasked goes its own way: it is none of the subscriptions that jsonrpsee knows.
struct Answers<S> {
    lines: S,
    notices: mpsc::Sender<Unasked>,
}

impl<S> TransportReceiverT for Answers<S>
where
    S: futures::Stream<Item = Result<String, LinesCodecError>> + Send + Unpin + 'static,
{
    type Error = LinesCodecError;

    async fn receive(&mut self) -> Result<ReceivedMessage, Self::Error> {
        let end = |what: &str| LinesCodecError::Io(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what));
        loop {
            let line = self.lines.next().await.unwrap_or_else(|| Err(end("it hung up")))?;
            match serde_json::from_str::<Unasked>(&line) {
                // Some servers fill lines up with spaces.
                Ok(_) if line.trim_end().len() > MAX_NOTICE => return Err(end("it tells what is too long")),
                Ok(unasked) => match self.notices.try_send(unasked) {
                    Ok(()) => {}
                    Err(_) => return Err(end("it tells more than can be read")),
                },
                Err(_) => return Ok(ReceivedMessage::Text(line)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("1.4"), Some((1, 4)));
        assert_eq!(version("1.4.2"), Some((1, 4)));
        assert_eq!(version("1.6"), Some((1, 6)));
        assert_eq!((version("2"), version(""), version("1.x")), (Some((2, 0)), None, None));
    }

    /// Both kinds, padded as servers do, and no answer.
    #[test]
    fn what_is_told_unasked_is_told_apart() {
        let read = |text: &str| serde_json::from_str::<Unasked>(text);
        let script = r#"{"jsonrpc":"2.0","method":"blockchain.scripthash.subscribe","params":["ab",null]}    "#;
        assert!(matches!(read(script), Ok(Unasked::Script((hash, None))) if hash == "ab"));
        let head = r#"{"params":[{"height":7,"hex":"00"}],"method":"blockchain.headers.subscribe","jsonrpc":"2.0"}"#;
        assert!(matches!(read(head), Ok(Unasked::Head((Head { height: 7, .. },)))));
        assert!(read(r#"{"jsonrpc":"2.0","result":null,"id":1}"#).is_err());
        assert!(read(r#"{"jsonrpc":"2.0","result":{"method":"blockchain.headers.subscribe"},"id":1}"#).is_err());
    }

    /// Ten questions are open: one who answers each after 29 seconds answers a third of one in a second.
    #[test]
    fn who_answers_just_in_time_is_behind_after_a_minute_and_a_half() {
        let answers = |secs: u64| secs / 29 * 10;
        let lost = (1..).find(|secs| is_behind(Duration::from_secs(*secs), answers(*secs)));
        assert_eq!(lost, Some(81));
        let alone = |secs: u64| secs / 29;
        assert_eq!((1..).find(|secs| is_behind(Duration::from_secs(*secs), alone(*secs))), Some(63));
        assert!(!is_behind(Duration::from_secs(10_000), 10_000), "a slow line keeps up");
    }

    #[test]
    fn a_servers_words_are_fit_to_be_shown() {
        assert_eq!(words("\u{1b}[2Jno\nway\u{202e}\u{7}"), "[2Jno way\u{fffd}");
        assert_eq!(words(&"x".repeat(1_000)).len(), MAX_WORDS);
    }
}
