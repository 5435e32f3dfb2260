//! Messages between the parties of a trade: sealed to one recipient, signed and chained by the sender, outside of the
//! ledger. `specs/mail.md` is the normative text.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::hash::tagged;
use crate::ids::{AuthorId, ContractHash, MailboxId, TradeId};
use crate::record::{RecordError, verify_signature};
use crate::seal;
use crate::text::{Text, TextError};
use crate::trade::{Contract, Role};

/// The largest envelope: what a relay keeps for one message.
pub const MAX_ENVELOPE_LEN: usize = 16 * 1024;
/// How many envelopes of one sender to one recipient a trade can have.
pub const MAX_ENVELOPES: u32 = 64;
/// How long peers keep an envelope, in seconds: fifteen days.
pub const LIFETIME_S: u64 = 15 * 24 * 3600;
/// The longest payment details.
pub const MAX_DETAILS_LEN: usize = 1000;

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
    /// The position in what the sender sent to the recipient in this trade, from 0.
    pub seq: u32,
    /// The id of the envelope before it; zeros at 0.
    pub previous: [u8; 32],
    /// The sender's clock, in seconds since the Unix epoch.
    pub time: u64,
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

/// A message, inside its envelope.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// The sender's payment details, to which the contract commits.
    Details {
        /// The salt of the commitment.
        salt: [u8; 32],
        /// The details.
        details: String,
    },
}

impl Message {
    /// Checks that a terminal shows what a stranger wrote as it is, and no more of it than there may be.
    fn check(&self) -> Result<(), TextError> {
        match self {
            Self::Details { details, .. } => Text::<MAX_DETAILS_LEN>::new(details.as_str()).map(|_| ()),
        }
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
    /// The recipient is no party to the contract, the sender has no other role in it, or it is another contract.
    #[error("mail envelope is not between parties of its trade")]
    Strangers,
    /// It cannot be opened, or holds no message.
    #[error("mail envelope cannot be opened by its recipient")]
    Sealed,
}

impl Envelope {
    /// Seals a message. `entropy` must be fresh; `sign` signs with the sender's identity.
    ///
    /// # Errors
    /// [`MailError::Strangers`] when the recipient has no key to seal to, [`MailError::Malformed`] when it is too long.
    pub fn seal(
        address: Address,
        contract: &Contract,
        message: &Message,
        entropy: [u8; 32],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Self, MailError> {
        message.check().map_err(|_| MailError::Malformed)?;
        let role = contract.role_of(&address.recipient).ok_or(MailError::Strangers)?;
        let key = contract.party(role).ok_or(MailError::Strangers)?.seal_key;
        let plain = zeroize::Zeroizing::new(borsh::to_vec(message).map_err(|_| MailError::Malformed)?);
        let aad = borsh::to_vec(&address).map_err(|_| MailError::Malformed)?;
        let sealed = seal::seal(&key, SEAL_INFO, &aad, &plain, entropy).map_err(|_| MailError::Malformed)?;
        let mut envelope = Self { address, sealed, signature: [0; 64] };
        envelope.signature = sign(&envelope.signed_bytes());
        if envelope.encode().len() > MAX_ENVELOPE_LEN {
            return Err(MailError::Malformed);
        }
        Ok(envelope)
    }

    /// Opens an envelope with the recipient's X25519 secret of this trade.
    ///
    /// # Errors
    /// [`MailError::Sealed`] when it was sealed to somebody else or says nothing that this code knows.
    pub fn open(&self, secret: &[u8; 32]) -> Result<Message, MailError> {
        let aad = borsh::to_vec(&self.address).map_err(|_| MailError::Malformed)?;
        let plain = seal::open(secret, SEAL_INFO, &aad, &self.sealed).map_err(|_| MailError::Sealed)?;
        let message: Message = borsh::from_slice(&plain).map_err(|_| MailError::Sealed)?;
        message.check().map_err(|_| MailError::Sealed)?;
        Ok(message)
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
        let address = &envelope.address;
        let first = address.seq == 0;
        if address.version != 1 || address.seq >= MAX_ENVELOPES || first != (address.previous == [0; 32]) {
            return Err(MailError::Malformed);
        }
        verify_signature(&address.sender, &envelope.signed_bytes(), &envelope.signature)
            .map_err(MailError::Signature)?;
        Ok(envelope)
    }

    /// Returns the id: what the next envelope of the chain refers to.
    pub fn id(&self) -> [u8; 32] {
        let address = borsh::to_vec(&self.address).expect("writing to memory does not fail");
        tagged("exchange/mail-id/v1", &[&tagged("exchange/mail-address/v1", &[&address]), &self.sealed])
    }

    /// Returns the mailbox it belongs to, once its contract is known.
    ///
    /// # Errors
    /// [`MailError::Strangers`] unless the recipient is a party to exactly this contract and the sender has another role in it. So only they can
    /// use up a relay's space for their trade.
    pub fn mailbox(&self, contract: &Contract) -> Result<MailboxId, MailError> {
        let address = &self.address;
        let roles = (contract.role_of(&address.sender), contract.role_of(&address.recipient));
        let between_parties = matches!(roles, (Some(from), Some(Role::Buyer | Role::Seller)) if Some(from) != roles.1);
        let same = address.contract == contract.hash()
            && address.trade == contract.trade
            && address.network == contract.network;
        if same && between_parties { Ok(contract.mailbox(&address.recipient)) } else { Err(MailError::Strangers) }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        [b"exchange/mail/v1".as_slice(), &self.id()].concat()
    }
}

const SEAL_INFO: &[u8] = b"exchange/mail/v1";
