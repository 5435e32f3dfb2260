//! Messages between the parties of a trade and its arbiter: sealed to one recipient, signed and chained by the sender,
//! outside of the ledger. `specs/mail.md` is the normative text.
//!
//! An envelope commits to what it says, in the part that its sender signs. So whoever was told something can prove it to
//! a third party later ([`Said`]), and an arbiter can see whether he was shown everything ([`Transcript`]).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::hash::tagged;
use crate::ids::{AuthorId, ContractHash, MailboxId, TradeId};
use crate::record::{RecordError, verify_signature};
use crate::seal;
use crate::trade::{Contract, Role};

mod message;
mod said;
mod transcript;

pub use message::{MAX_CHAT_LEN, MAX_DETAILS_LEN, MAX_DISCLOSED, Message, pieces};
pub use said::{Said, SaidError, seen};
pub use transcript::{Account, Arrival, Entry, Transcript, Words};

/// The largest envelope: what a relay keeps for one message.
pub const MAX_ENVELOPE_LEN: usize = 16 * 1024;
/// How many envelopes of one sender to one recipient a trade can have: a long talk, and every round of signing.
pub const MAX_ENVELOPES: u32 = 256;
/// How long peers keep an envelope, in seconds: fifteen days.
pub const LIFETIME_S: u64 = 15 * 24 * 3600;

/// What every envelope states in clear, for those who carry it; integers are little-endian.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Address {
    /// 1.
    pub version: u8,
    /// Bitcoin's magic bytes of the network.
    pub network: [u8; 4],
    /// The trade.
    pub trade: TradeId,
    /// Its contract.
    pub contract: ContractHash,
    /// Who sends.
    pub sender: AuthorId,
    /// Who receives.
    pub recipient: AuthorId,
    /// When the sender's node was started, or later if it knows of a later one: so that a machine restored from a backup puts no
    /// second envelope into a place.
    pub epoch: u32,
    /// The position in what the sender sent to the recipient in this trade and epoch, from 0.
    pub seq: u32,
    /// The id of the sender's envelope before it, of an earlier epoch if need be; zeros if there was none.
    pub previous: [u8; 32],
    /// The id of the last envelope before which nothing is missing that the sender had from the recipient in this trade; zeros if
    /// there was none. Whoever names it says that he had all that it follows.
    pub seen: [u8; 32],
    /// The sender's clock, in seconds since the Unix epoch.
    pub time: u64,
    /// Commits to the message: see [`Opening::commitment`].
    pub commitment: [u8; 32],
}

/// A sealed message under way.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Envelope {
    /// The part in clear.
    pub address: Address,
    /// The sealed message.
    pub sealed: Vec<u8>,
    /// The sender's ed25519 signature over `exchange/mail/v1` and the id.
    pub signature: [u8; 64],
}

/// What is inside of an envelope, and opens its commitment: the message's bytes and their salt.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Opening {
    /// Random, so that nobody can guess a message from its commitment.
    pub salt: [u8; 32],
    /// The message.
    pub plain: Vec<u8>,
}

impl Opening {
    /// Returns the commitment that it opens.
    pub fn commitment(&self) -> [u8; 32] {
        tagged("exchange/mail-commit/v1", &[&self.salt, &self.plain])
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`MailError::Sealed`] when it says nothing that this code knows.
    pub fn message(&self) -> Result<Message, MailError> {
        let message: Message = borsh::from_slice(&self.plain).map_err(|_| MailError::Sealed)?;
        message.check().map_err(|_| MailError::Sealed)?;
        Ok(message)
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening({} bytes)", self.plain.len())
    }
}

/// Why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// Not the one encoding of an envelope, or too long.
    #[error("mail envelope is malformed")]
    Malformed,
    /// The signature is not the sender's.
    #[error("mail envelope: {0}")]
    Signature(RecordError),
    /// Sender and recipient have not two roles in the contract, or it is another contract.
    #[error("mail envelope is not between parties of its trade")]
    Strangers,
    /// It cannot be opened, or holds no message.
    #[error("mail envelope cannot be opened by its recipient")]
    Sealed,
    /// What is inside is not what the sender's signature commits to, so nobody could prove it to others.
    #[error("mail envelope holds another message than its sender committed to")]
    Commitment,
}

/// What sealing an envelope draws; each 32 bytes fresh from a cryptographic generator.
pub struct Entropy {
    /// For the seal.
    pub seal: [u8; 32],
    /// For the commitment.
    pub salt: [u8; 32],
}

impl Envelope {
    /// Seals a message, and returns what opens its commitment too. The address's own commitment is filled in; `sign` signs
    /// with the sender's identity.
    ///
    /// # Errors
    /// [`MailError::Strangers`] when the recipient has no key to seal to, [`MailError::Malformed`] when it is too long.
    pub fn seal(
        mut address: Address,
        contract: &Contract,
        message: &Message,
        entropy: Entropy,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<(Self, Opening), MailError> {
        message.check().map_err(|_| MailError::Malformed)?;
        let key = contract.seal_key_of(&address.recipient).ok_or(MailError::Strangers)?;
        let plain = borsh::to_vec(message).map_err(|_| MailError::Malformed)?;
        let opening = Opening { salt: entropy.salt, plain };
        address.commitment = opening.commitment();
        let inside = zeroize::Zeroizing::new(borsh::to_vec(&opening).map_err(|_| MailError::Malformed)?);
        let aad = borsh::to_vec(&address).map_err(|_| MailError::Malformed)?;
        let sealed = seal::seal(&key, SEAL_INFO, &aad, &inside, entropy.seal).map_err(|_| MailError::Malformed)?;
        let mut envelope = Self { address, sealed, signature: [0; 64] };
        envelope.signature = sign(&envelope.signed_bytes());
        if envelope.encode().len() > MAX_ENVELOPE_LEN {
            return Err(MailError::Malformed);
        }
        Ok((envelope, opening))
    }

    /// Opens an envelope with the recipient's X25519 secret of this trade.
    ///
    /// # Errors
    /// [`MailError::Sealed`] when it was sealed to somebody else, [`MailError::Commitment`] when it holds something else than
    /// its sender signed.
    pub fn open(&self, secret: &[u8; 32]) -> Result<Opening, MailError> {
        let aad = borsh::to_vec(&self.address).map_err(|_| MailError::Malformed)?;
        let inside = seal::open(secret, SEAL_INFO, &aad, &self.sealed).map_err(|_| MailError::Sealed)?;
        let opening: Opening = borsh::from_slice(&inside).map_err(|_| MailError::Sealed)?;
        if opening.commitment() == self.address.commitment { Ok(opening) } else { Err(MailError::Commitment) }
    }

    /// Returns the bytes.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to memory does not fail")
    }

    /// Reads an envelope and checks its signature.
    ///
    /// # Errors
    /// When a byte or the signature is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, MailError> {
        if bytes.len() > MAX_ENVELOPE_LEN {
            return Err(MailError::Malformed);
        }
        let envelope: Self = borsh::from_slice(bytes).map_err(|_| MailError::Malformed)?;
        envelope.address.check()?;
        verify_signature(&envelope.address.sender, &envelope.signed_bytes(), &envelope.signature)
            .map_err(MailError::Signature)?;
        Ok(envelope)
    }

    /// Returns what the sender signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        signed_bytes(&self.id())
    }

    /// Returns the id: what the next envelope of the chain refers to.
    pub fn id(&self) -> [u8; 32] {
        self.address.id(&self.sealed_hash())
    }

    /// Returns the hash of the sealed part: with the address, all that the id needs.
    pub fn sealed_hash(&self) -> [u8; 32] {
        tagged("exchange/mail-sealed/v1", &[&self.sealed])
    }

    /// Returns the mailbox it belongs to, once its contract is known.
    ///
    /// # Errors
    /// [`MailError::Strangers`] unless sender and recipient have two roles in exactly this contract. So only they can use up
    /// a relay's space for their trade.
    pub fn mailbox(&self, contract: &Contract) -> Result<MailboxId, MailError> {
        self.address.roles(contract)?;
        Ok(contract.mailbox(&self.address.recipient))
    }
}

impl Address {
    /// Checks what can be checked of it alone.
    fn check(&self) -> Result<(), MailError> {
        let follows_nothing = self.seq > 0 && self.previous == [0; 32];
        let fits = self.version == 1 && self.seq < MAX_ENVELOPES && !follows_nothing;
        if fits { Ok(()) } else { Err(MailError::Malformed) }
    }

    /// Returns the id of the envelope that has this address and sealed part.
    fn id(&self, sealed_hash: &[u8; 32]) -> [u8; 32] {
        let address = borsh::to_vec(self).expect("writing to memory does not fail");
        tagged("exchange/mail-id/v1", &[&tagged("exchange/mail-address/v1", &[&address]), sealed_hash])
    }

    /// Returns the roles of sender and recipient. They follow from their keys and the contract, and from nothing that a
    /// message says.
    fn roles(&self, contract: &Contract) -> Result<(Role, Role), MailError> {
        let same = self.contract == contract.hash() && self.trade == contract.trade && self.network == contract.network;
        match (contract.role_of(&self.sender), contract.role_of(&self.recipient)) {
            (Some(from), Some(to)) if same && from != to => Ok((from, to)),
            // The members of one group talk about the case, those of two do not.
            (Some(from), Some(to)) if same && contract.is_one_group(&self.sender, &self.recipient) => Ok((from, to)),
            (_, _) => Err(MailError::Strangers),
        }
    }
}

/// Returns what a sender signs.
fn signed_bytes(id: &[u8; 32]) -> Vec<u8> {
    [b"exchange/mail/v1".as_slice(), id].concat()
}

const SEAL_INFO: &[u8] = b"exchange/mail/v1";

#[cfg(test)]
mod tests;
