//! A node of the Bitcoin network that passes on what a real one says, and lies in one way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::{Amount, Witness};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::mining::{LOOK_AGAIN, PATIENCE};

/// Magic, command, length and checksum before each message (BIP-324 is not spoken here).
const ENVELOPE: usize = 24;
/// How long each message takes that comes late: a thousand of them less than clients wait for so many filters.
const LATE: Duration = Duration::from_millis(10);

/// What is said instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The truth.
    Nothing,
    /// Headers whose nonces were not searched for.
    HeaderWithoutWork,
    /// Headers that join to nothing.
    HeaderFromNowhere,
    /// That there are no more headers.
    NoMoreHeaders,
    /// Filter headers of other filters.
    OtherFilterHeader,
    /// Filters of something else.
    OtherFilter,
    /// Blocks whose first transaction pays more.
    OtherBlock,
    /// Blocks whose first transaction has another witness, which its id does not cover.
    OtherWitness,
    /// Blocks without any witness.
    NoWitness,
    /// No blocks.
    NoBlocks,
    /// No filters and no headers of them.
    NoFilters,
    /// The first answer about filter headers when the second is due, and the second not at all, as a node does whose index
    /// of filters lags behind its chain.
    LaggingIndex,
    /// The truth, but filters one by one, slowly.
    LateFilters,
}

/// A node that lies.
pub struct Liar {
    address: SocketAddr,
    lie: Arc<Mutex<Lie>>,
    told: Arc<AtomicUsize>,
}

impl Liar {
    /// Starts one before a real node.
    pub async fn before(node: SocketAddr, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let liar = Self { address, lie: Arc::new(Mutex::new(lie)), told: Arc::default() };
        let (lie, told) = (Arc::clone(&liar.lie), Arc::clone(&liar.told));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(node) = TcpStream::connect(node).await else { continue };
                tokio::spawn(serve(client, node, Arc::clone(&lie), Arc::clone(&told)));
            }
        });
        liar
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many lies it has told.
    pub fn told(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }

    /// Waits until it has told so many lies.
    pub async fn has_told(&self, lies: usize) {
        let told = async {
            while self.told() < lies {
                sleep(LOOK_AGAIN).await;
            }
        };
        let lie = *self.lie.lock().unwrap();
        timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{lie:?} was not told"));
    }

    /// Tells this lie from now on.
    pub fn tell(&self, lie: Lie) {
        *self.lie.lock().unwrap() = lie;
    }
}

async fn serve(client: TcpStream, node: TcpStream, lie: Arc<Mutex<Lie>>, told: Arc<AtomicUsize>) {
    let (mut questions, to_client) = client.into_split();
    let (answers, mut to_node) = node.into_split();
    // Whichever side hangs up first ends both.
    tokio::select! {
        _ = io::copy(&mut questions, &mut to_node) => {}
        _ = pass_on(answers, to_client, &lie, &told) => {}
    }
}

async fn pass_on(
    mut answers: OwnedReadHalf,
    mut to_client: OwnedWriteHalf,
    lie: &Mutex<Lie>,
    told: &AtomicUsize,
) -> io::Result<()> {
    let mut held = None;
    loop {
        let mut message = vec![0; ENVELOPE];
        answers.read_exact(&mut message).await?;
        let length = u32::from_le_bytes(message[16..20].try_into().unwrap());
        message.resize(ENVELOPE + usize::try_from(length).unwrap(), 0);
        answers.read_exact(&mut message[ENVELOPE..]).await?;
        let lie = *lie.lock().unwrap();
        let read: Result<RawNetworkMessage, _> = deserialize(&message);
        let said = match read.map(|message| (*message.magic(), twist(message.payload(), lie, &mut held))) {
            Err(_) | Ok((_, Said::Truth)) => message,
            Ok((magic, Said::Instead(other))) => {
                told.fetch_add(1, Ordering::SeqCst);
                serialize(&RawNetworkMessage::new(magic, other))
            }
            Ok((_, Said::Nothing)) => {
                told.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            Ok((_, Said::Late)) => {
                told.fetch_add(1, Ordering::SeqCst);
                sleep(LATE).await;
                message
            }
        };
        to_client.write_all(&said).await?;
    }
}

enum Said {
    Truth,
    Instead(NetworkMessage),
    Nothing,
    Late,
}

/// Puts a lie into a message.
fn twist(message: &NetworkMessage, lie: Lie, held: &mut Option<NetworkMessage>) -> Said {
    let mut message = message.clone();
    match (lie, &mut message) {
        (Lie::HeaderWithoutWork, NetworkMessage::Headers(headers)) => {
            let Some(last) = headers.last_mut() else { return Said::Truth };
            // The work on regtest is one bit, so half of all nonces would do.
            last.nonce = (0..).find(|nonce| !has_work(*last, *nonce)).unwrap();
        }
        (Lie::HeaderFromNowhere, NetworkMessage::Headers(headers)) => {
            let Some(first) = headers.first_mut() else { return Said::Truth };
            first.prev_blockhash = Hash::from_byte_array([7; 32]);
            first.nonce = (0..).find(|nonce| has_work(*first, *nonce)).unwrap();
            headers.truncate(1);
        }
        (Lie::NoMoreHeaders, NetworkMessage::Headers(headers)) => headers.clear(),
        (Lie::OtherFilterHeader, NetworkMessage::CFHeaders(headers)) => {
            let Some(last) = headers.filter_hashes.last_mut() else { return Said::Truth };
            *last = Hash::from_byte_array([7; 32]);
        }
        (Lie::OtherFilter, NetworkMessage::CFilter(filter)) => filter.filter = vec![0],
        (Lie::OtherBlock, NetworkMessage::Block(block)) => block.txdata[0].output[0].value += Amount::from_sat(1),
        (Lie::OtherWitness, NetworkMessage::Block(block)) => {
            block.txdata[0].input[0].witness = Witness::from_slice(&[[7; 32]]);
        }
        (Lie::NoWitness, NetworkMessage::Block(block)) => {
            block.txdata.iter_mut().flat_map(|tx| &mut tx.input).for_each(|input| input.witness.clear());
        }
        (Lie::NoBlocks, NetworkMessage::Block(_)) => return Said::Nothing,
        (Lie::NoFilters, NetworkMessage::CFilter(_) | NetworkMessage::CFHeaders(_)) => return Said::Nothing,
        (Lie::LaggingIndex, NetworkMessage::CFHeaders(_)) => match held.take() {
            Some(first) => return Said::Instead(first),
            None => {
                *held = Some(message);
                return Said::Nothing;
            }
        },
        (Lie::LateFilters, NetworkMessage::CFilter(_)) => return Said::Late,
        _ => return Said::Truth,
    }
    Said::Instead(message)
}

fn has_work(header: Header, nonce: u32) -> bool {
    Header { nonce, ..header }.validate_pow(header.target()).is_ok()
}
