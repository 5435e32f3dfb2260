//! A server of the Electrum protocol that asks a real one and lies in one way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What is said instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The truth.
    Nothing,
    /// Headers whose nonces were not searched for.
    HeaderWithoutWork,
    /// Headers that state to be hard to find.
    HeaderOfAnotherDifficulty,
    /// A proof that leads from elsewhere in the block.
    ProofOfAnotherPlace,
    /// Transactions in blocks to come.
    HeightAboveTheChain,
    /// A transaction that was not asked for.
    OtherTransaction,
    /// A line without an end.
    EndlessLine,
    /// A notice of megabytes.
    LongNotice,
    /// A line that is no JSON.
    NoJson,
    /// That nothing touches a script.
    EmptyHistory,
    /// That a history of more than [`LONG`] transactions is too large, as real servers say it of larger ones.
    RefusesLongHistories,
    /// Nothing.
    Silence,
}

/// How many transactions the longest history has that is shown by who refuses long ones.
pub const LONG: usize = 3;

/// A server that lies.
pub struct Proxy {
    port: u16,
    lie: Arc<Mutex<Lie>>,
}

impl Proxy {
    /// Starts one before a real server.
    pub async fn before(port: u16, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), lie: Arc::new(Mutex::new(lie)) };
        let lie = Arc::clone(&proxy.lie);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                tokio::spawn(serve(client, server, Arc::clone(&lie)));
            }
        });
        proxy
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Tells the truth from now on.
    pub fn be_honest(&self) {
        *self.lie.lock().unwrap() = Lie::Nothing;
    }
}

async fn serve(client: TcpStream, server: TcpStream, lie: Arc<Mutex<Lie>>) {
    let (questions, mut to_client) = client.into_split();
    let (answers, mut to_server) = server.into_split();
    let asked = Arc::new(Mutex::new(HashMap::<String, String>::new()));
    let methods = Arc::clone(&asked);
    let ask = async move {
        let mut questions = BufReader::new(questions).lines();
        while let Ok(Some(line)) = questions.next_line().await {
            let question: Value = serde_json::from_str(&line).unwrap();
            let method = question["method"].as_str().unwrap().to_owned();
            methods.lock().unwrap().insert(question["id"].to_string(), method);
            if to_server.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                break;
            }
        }
    };
    let answer = async move {
        let mut answers = BufReader::new(answers).lines();
        while let Ok(Some(line)) = answers.next_line().await {
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            let method = asked.lock().unwrap().remove(&answer["id"].to_string()).unwrap_or_default();
            let lie = *lie.lock().unwrap();
            let said = match lie {
                Lie::Silence => continue,
                Lie::NoJson => "pardon?\n".to_owned(),
                Lie::EndlessLine => "x".repeat(9_000_000),
                Lie::LongNotice => {
                    let params = json!(["0".repeat(5_000_000), null]);
                    format!("{}\n", json!({ "method": "blockchain.scripthash.subscribe", "params": params }))
                }
                _ => {
                    twist(&mut answer, &method, lie);
                    format!("{answer}\n")
                }
            };
            if to_client.write_all(said.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = ask => {}
        () = answer => {}
    }
}

/// Puts a lie into an answer.
fn twist(answer: &mut Value, method: &str, lie: Lie) {
    let is_long = || answer["result"].as_array().is_some_and(|history| history.len() > LONG);
    if (lie, method) == (Lie::RefusesLongHistories, "blockchain.scripthash.get_history") && is_long() {
        let error = json!({ "code": 1, "message": "history too large" });
        *answer = json!({ "jsonrpc": "2.0", "error": error, "id": answer["id"].clone() });
    }
    let Some(result) = answer.get_mut("result") else { return };
    match (lie, method) {
        (Lie::HeaderWithoutWork, "blockchain.block.headers") => change_headers(result, 76),
        (Lie::HeaderOfAnotherDifficulty, "blockchain.block.headers") => change_headers(result, 72),
        (Lie::ProofOfAnotherPlace, "blockchain.transaction.get_merkle") => {
            result["pos"] = json!(1);
            result["merkle"] = json!(["00".repeat(32)]);
        }
        (Lie::HeightAboveTheChain, "blockchain.scripthash.get_history") => {
            for item in result.as_array_mut().into_iter().flatten() {
                item["height"] = json!(1_000);
            }
        }
        (Lie::OtherTransaction, "blockchain.transaction.get") => {
            let hex = result.as_str().unwrap();
            // Its lock time, which stands at the end.
            *result = json!(format!("{}01000000", &hex[..hex.len() - 8]));
        }
        (Lie::EmptyHistory, "blockchain.scripthash.get_history") => *result = json!([]),
        (Lie::EmptyHistory, "blockchain.scripthash.subscribe") => *result = Value::Null,
        _ => {}
    }
}

/// Changes a byte of the last header, which so stands on the one before.
fn change_headers(result: &mut Value, byte: usize) {
    let last = result["headers"].as_array_mut().unwrap().last_mut().unwrap();
    let mut header = hex::decode(last.as_str().unwrap()).unwrap();
    // The work on regtest is one bit, so half of all nonces would do.
    header[byte] = header[byte].wrapping_add(1);
    while byte == 76 && has_work(&header) {
        header[byte] = header[byte].wrapping_add(1);
    }
    *last = json!(hex::encode(header));
}

fn has_work(header: &[u8]) -> bool {
    let header: bitcoin::block::Header = bitcoin::consensus::deserialize(header).unwrap();
    header.validate_pow(header.target()).is_ok()
}
