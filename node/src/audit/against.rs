//! Comparing this node's ledger with a peer's.

use std::collections::BTreeSet;
use std::str::FromStr;

use exchange_api::{AgainstReport, ApiError, Code, Divergence};
use exchange_ledger::audit::against::{AgainstError, Comparison, Difference, Next};
use exchange_ledger::checkpoint::compare;
use exchange_ledger::ids::AuthorId;
use exchange_ledger::ledger::Ledger;
use exchange_ledger::state::state_hash;
use exchange_store::Store;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::blocking::blocking;
use crate::checkpoints;
use crate::errors::ExplainResult;
use crate::net::NetClient;

/// How many questions one comparison may take: a thousand pages of heads, a million logs.
const MAX_QUESTIONS: usize = 1_000;

/// Compares the ledger with that of a peer, named by its id or its address, until the first difference; and with what
/// identities say of it, `trusted` ones first.
///
/// # Errors
/// When the peer cannot be reached or does not answer, or the store fails. A difference is no error.
pub async fn against(
    ledger: &Ledger<Store>,
    net: &NetClient,
    peer: &str,
    trusted: BTreeSet<AuthorId>,
) -> Result<AgainstReport, ApiError> {
    let peer = reach(net, peer).await?;
    let reader = ledger.clone();
    let read = blocking(move || {
        let state = state_hash(reader.storage()).explained()?;
        Ok((state, compare(reader.storage(), &trusted).explained()?))
    });
    let (state, said) = read.await?;
    let (mut comparison, mut request) = Comparison::start(ledger.storage(), state);
    for _ in 0..MAX_QUESTIONS {
        let answer = net.ask(peer, request).await.map_err(|reason| {
            let message = format!("peer {peer} does not answer: {reason}");
            ApiError::new(Code::Busy, message, "see `exchange-node peers`, then try again")
        })?;
        match comparison.hear(answer).map_err(explain)? {
            Next::Ask(next) => request = next,
            Next::Done(difference) => {
                return Ok(AgainstReport {
                    peer: peer.to_string(),
                    state,
                    same: difference.is_none(),
                    difference: difference.map(divergence),
                    checkpoints: said.compared.into_iter().map(checkpoints::view).collect(),
                });
            }
        }
    }
    let message = format!("the comparison with {peer} took more than {MAX_QUESTIONS} questions");
    Err(ApiError::new(Code::Busy, message, "let both nodes sync, then try again"))
}

/// Returns the id of a connected peer; connects first if it is given by an address.
async fn reach(net: &NetClient, peer: &str) -> Result<PeerId, ApiError> {
    if let Ok(id) = PeerId::from_str(peer) {
        return Ok(id);
    }
    let invalid = |reason: String| {
        let message = format!("`{peer}` is neither a peer id nor a multiaddress: {reason}");
        ApiError::new(Code::InvalidArgument, message, "see `exchange-node peers`")
    };
    let address: Multiaddr = peer.parse().map_err(|error| invalid(format!("{error}")))?;
    let id = address.iter().find_map(|part| if let Protocol::P2p(id) = part { Some(id) } else { None });
    let id = id.ok_or_else(|| invalid("it does not end in /p2p/ and a peer id".into()))?;
    if !net.peers().await.iter().any(|connected| connected.peer == id) {
        net.dial(address).await.map_err(|error| ApiError::new(Code::InvalidArgument, error.to_string(), ""))?;
    }
    Ok(id)
}

fn explain(error: AgainstError) -> ApiError {
    match error {
        AgainstError::Storage(error) => crate::errors::Explain::explain(error),
        error => ApiError::new(Code::Internal, error.to_string(), ""),
    }
}

fn divergence(difference: Difference) -> Divergence {
    let Difference { log, seq, ours, theirs, frozen } = difference;
    Divergence { author: log.author, epoch: log.epoch, seq, ours, theirs, frozen: frozen.is_some() }
}
