//! How transactions are handed to peers, and what tells that they have them: their echo over another connection.

use std::sync::Arc;
use std::time::Duration;

use bip157::Package;
use bitcoin::{Transaction, Txid};
use tokio::time::timeout;

use super::light::Light;
use crate::chain::ChainError;

/// How long a transaction may take from one peer back to us over another connection: peers hold it back for some seconds.
const ECHO: Duration = Duration::from_secs(30);

/// A transaction that is being offered, for as long as somebody waits for its echo.
struct Sending {
    light: Arc<Light>,
    txid: Txid,
}

impl Sending {
    /// Begins to offer a transaction; `None` while it is being offered already.
    fn begin(light: &Arc<Light>, txid: Txid) -> Option<Self> {
        let is_new = light.state().offered.insert(txid);
        is_new.then(|| Self { light: Arc::clone(light), txid })
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.light.state().offered.remove(&self.txid);
    }
}

impl Light {
    /// Tells whether a peer has told of a transaction, or a block held it lately.
    pub fn is_known(&self, txid: &Txid) -> bool {
        let state = self.state();
        state.pool.get(txid).is_some() || state.pool.was_confirmed(txid)
    }

    /// Takes a transaction into the pool that peers have, as far as is known.
    pub fn keep(&self, tx: &Transaction) {
        let mut state = self.state();
        let height = state.shown.tip().height;
        state.pool.put(tx.clone(), height);
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until a peer tells of a transaction.
    async fn heard(&self, txid: Txid) {
        let mut changes = self.changes.subscribe();
        while !self.is_known(&txid) {
            changes.changed().await.expect("the sender lives as long as this value");
        }
    }

    /// Offers a transaction, or a parent and the child that pays for it, and waits for the echo of the last of them.
    pub async fn send(self: &Arc<Self>, txs: &[Transaction], package: Package) -> Result<(), ChainError> {
        let Some((last, parents)) = txs.split_last() else { return Ok(()) };
        let txid = last.compute_txid();
        let unheard = || match parents {
            [] => ChainError::Unheard { txid, waited_s: ECHO.as_secs() },
            [_, ..] => {
                let reason = format!("no other peer has told of it within {} s", ECHO.as_secs());
                ChainError::Refused { txid, reason }
            }
        };
        let Some(_sending) = Sending::begin(self, txid) else {
            // Two at once would take each other's answer. Its echo tells both.
            return timeout(ECHO, self.heard(txid)).await.map_err(|_| unheard());
        };
        let spent = txs.iter().flat_map(|tx| &tx.input).map(|input| input.previous_output).collect();
        self.listen(Vec::new(), spent).await?;
        self.can_hear().await;
        let requester = self.requester()?;
        // Of a package the parent is asked for, by those who do not have it.
        let was_asked = tokio::select! {
            () = self.heard(txid) => true,
            asked = timeout(ECHO, requester.submit_package(package)) => match asked {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => return Err(self.unreachable(error)),
                Err(_) => false,
            },
        };
        if !was_asked && parents.is_empty() {
            self.state().note_unasked(txid);
            return Err(ChainError::Unasked { txid });
        }
        let patience = if was_asked { ECHO } else { Duration::ZERO };
        if timeout(patience, self.heard(txid)).await.is_err() {
            if parents.is_empty() {
                self.state().note_unasked(txid);
            }
            return Err(unheard());
        }
        // Whoever took the child has what it stands on.
        parents.iter().for_each(|parent| self.keep(parent));
        Ok(())
    }

    /// Offers what is owed, and waits for nobody. Tells whether peers are known to have it, or a block.
    pub fn offer(self: &Arc<Self>, txs: &[Transaction], package: Package) -> Result<bool, ChainError> {
        let Some(txid) = txs.last().map(Transaction::compute_txid) else { return Ok(true) };
        self.requester()?;
        if self.is_known(&txid) {
            self.resend(package);
            return Ok(true);
        }
        let (is_unasked, is_offered) = {
            let state = self.state();
            (state.is_unasked(&txid), state.offered.contains(&txid))
        };
        if is_unasked {
            self.resend(package);
            return Err(ChainError::Unasked { txid });
        }
        if !is_offered {
            let (light, txs) = (Arc::clone(self), txs.to_vec());
            tokio::spawn(async move {
                if let Err(error) = light.send(&txs, package).await {
                    tracing::debug!(%txid, %error, "what is owed is offered again later");
                }
            });
        }
        Ok(false)
    }
}
