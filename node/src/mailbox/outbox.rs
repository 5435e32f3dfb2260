//! Own messages: sealed, kept and handed to peers until their lifetime is over.

use exchange_ledger::identity::Identity;
use exchange_ledger::ids::AuthorId;
use exchange_ledger::mail::{self, Address, Entropy, Envelope, LIFETIME_S, MAX_ENVELOPES, MailError, Message, Said};
use exchange_ledger::trade::Contract;
use exchange_store::StoreError;
use tokio::sync::broadcast;

use super::Mailbox;
use crate::{clock, entropy};

/// How many messages the network may lag behind before it hands over the whole outbox again: more than may wait for their
/// contracts and be taken in at once, for what is not this node's own is not in there.
pub(super) const SENT_BACKLOG: usize = 512;

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be sealed.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The recipient's mailboxes keep no more from this sender.
    #[error("{MAX_ENVELOPES} messages were sent to the same recipient in this trade; no more are kept")]
    Full,
}

impl Mailbox {
    /// Returns the own messages that peers should keep: those whose lifetime is not over. Only those are removed of which that
    /// is sure: they are never sent again.
    pub fn outbox(&self) -> Vec<Vec<u8>> {
        let mail = self.private.outbox().unwrap_or_else(|error| {
            tracing::error!(%error, "own messages cannot be read");
            Vec::new()
        });
        let (now, sure) = (clock::unix_now(), self.sure.now());
        let alive = mail.into_iter().filter(|bytes| {
            let Ok(envelope) = Envelope::decode(bytes) else { return false };
            let end = envelope.address.time.saturating_add(LIFETIME_S);
            if end <= sure
                && let Err(error) = self.private.delete_outbox(&envelope.address)
            {
                tracing::warn!(%error, "an old message cannot be removed");
            }
            end > now
        });
        alive.collect()
    }

    /// Returns a stream of messages to be passed to peers: own ones, and those that had to wait for their contract.
    pub fn sent(&self) -> broadcast::Receiver<Vec<u8>> {
        self.sent.subscribe()
    }

    /// Seals a message to another in a trade, keeps it and passes it to peers. Only one task may send.
    ///
    /// # Errors
    /// When it cannot be sealed or kept; nothing is sent then.
    pub fn send(
        &self,
        identity: &Identity,
        contract: &Contract,
        recipient: AuthorId,
        message: &Message,
    ) -> Result<(), SendError> {
        let address = self.next_address(identity.author(), contract, recipient)?;
        let entropy = Entropy { seal: entropy::bytes32(), salt: entropy::bytes32() };
        let (envelope, opening) = Envelope::seal(address, contract, message, entropy, |bytes| identity.sign(bytes))?;
        let bytes = envelope.encode();
        if !self.private.put_sent(&Said::new(&envelope, &opening), &bytes)? {
            return Err(SendError::Full);
        }
        // When nobody listens, peers get it with the outbox.
        drop(self.sent.send(bytes));
        Ok(())
    }

    /// Returns the place of the next message: after what this machine sent before, whatever another did, and in answer to what came
    /// with nothing missing before it. To name what came last would say that what is missing was here, and its sender could send
    /// that when it suits him.
    pub(super) fn next_address(
        &self,
        sender: AuthorId,
        contract: &Contract,
        recipient: AuthorId,
    ) -> Result<Address, StoreError> {
        let kept = self.private.messages(&contract.trade)?;
        let between = |from: AuthorId, to: AuthorId| {
            let is_it = move |said: &&Said| (said.address.sender, said.address.recipient) == (from, to);
            kept.iter().map(|kept| &kept.said).filter(is_it)
        };
        let before = between(sender, recipient).next_back();
        let later = before.map_or(0, |before| before.address.epoch.saturating_add(1));
        let epoch = *self.own().epochs.entry((contract.trade, recipient)).or_insert_with(|| self.epoch_after(later));
        let in_epoch = before.filter(|before| before.address.epoch == epoch);
        Ok(Address {
            version: 1,
            network: contract.network,
            trade: contract.trade,
            contract: contract.hash(),
            sender,
            recipient,
            epoch,
            seq: in_epoch.map_or(0, |before| before.address.seq.saturating_add(1)),
            previous: before.map_or([0; 32], Said::id),
            seen: mail::seen(between(recipient, sender)),
            time: clock::unix_now(),
            commitment: [0; 32],
        })
    }

    /// Returns the epoch of this run, `first` or a later one. Who has put an old directory back does not know what he sent
    /// last, so each run counts from its start. By a clock that is behind, that start says nothing: several runs from the same
    /// copy would all begin where it ends. These are told apart by chance.
    fn epoch_after(&self, first: u32) -> u32 {
        if first <= self.epoch {
            return self.epoch;
        }
        let [low, high, ..] = entropy::bytes32();
        first.saturating_add(u16::from_le_bytes([low, high]).into())
    }
}
