//! A message as it can be shown to a third party: who said what to whom, when, and after what.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Address, Envelope, Message, Opening, signed_bytes};
use crate::record::verify_signature;
use crate::trade::{Contract, Role};

/// A message of a trade, with what proves it. Without its opening it proves only that something was said there.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Said {
    /// The part in clear.
    pub address: Address,
    /// The hash of the sealed part.
    pub sealed_hash: [u8; 32],
    /// The sender's signature.
    pub signature: [u8; 64],
    /// The words; `None` when they are kept back, or lost with the machine that had them.
    pub opening: Option<Opening>,
}

/// Why nobody should believe that something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaidError {
    /// It is not an address of this version, or its signature is not the sender's.
    #[error("it was not signed by its sender")]
    Signature,
    /// It was not said between two people of this contract, or, where that is asked, its buyer and seller.
    #[error("it was not said between those whom this contract names")]
    Strangers,
    /// The words are not those to which the sender committed.
    #[error("these are not the words that its sender signed")]
    Words,
}

impl Said {
    /// Keeps what an envelope says. The rounds of a protocol are kept without their words: only what people said is ever
    /// shown to an arbiter.
    pub fn new(envelope: &Envelope, opening: &Opening) -> Self {
        let is_shown = opening.message().is_ok_and(|message| message.is_for_arbiters());
        Self { opening: is_shown.then(|| opening.clone()), ..Self::from(envelope) }
    }

    /// Returns the id of the envelope.
    pub fn id(&self) -> [u8; 32] {
        self.address.id(&self.sealed_hash)
    }

    /// Returns the message, if the words are known and this code understands them.
    pub fn message(&self) -> Option<Message> {
        self.opening.as_ref()?.message().ok()
    }

    /// Checks that it was said, as it stands here, between buyer and seller of a contract; returns who said it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, contract: &Contract) -> Result<Role, SaidError> {
        let from = match self.address.roles(contract) {
            Ok((from @ Role::Buyer, Role::Seller) | (from @ Role::Seller, Role::Buyer)) => from,
            Ok(_) | Err(_) => return Err(SaidError::Strangers),
        };
        self.verify_sent(contract)?;
        match &self.opening {
            Some(opening) if opening.commitment() != self.address.commitment => Err(SaidError::Words),
            Some(_) | None => Ok(from),
        }
    }

    /// Checks that it was sent between two people of a contract, whatever it says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_sent(&self, contract: &Contract) -> Result<(), SaidError> {
        self.address.roles(contract).map_err(|_| SaidError::Strangers)?;
        let signed = signed_bytes(&self.id());
        let is_signed = verify_signature(&self.address.sender, &signed, &self.signature).is_ok();
        if self.address.check().is_ok() && is_signed { Ok(()) } else { Err(SaidError::Signature) }
    }
}

/// Returns what who received these messages of one sender, in the order in which they came, names as [`seen`](Address::seen): the last
/// one before which nothing is missing, by what each follows; zeros if there is none. What waited for one that came late counts
/// after it, as it was said.
pub fn seen<'a>(received: impl IntoIterator<Item = &'a Said>) -> [u8; 32] {
    let mut last = [0; 32];
    let mut whole = BTreeSet::from([last]);
    let mut waiting: Vec<([u8; 32], [u8; 32])> = Vec::new();
    for said in received {
        waiting.push((said.address.previous, said.id()));
        while let Some(at) = waiting.iter().position(|(previous, _)| whole.contains(previous)) {
            (_, last) = waiting.remove(at);
            whole.insert(last);
        }
    }
    last
}

/// Without the words, which are sealed.
impl From<&Envelope> for Said {
    fn from(envelope: &Envelope) -> Self {
        let (address, signature) = (envelope.address.clone(), envelope.signature);
        Self { address, sealed_hash: envelope.sealed_hash(), signature, opening: None }
    }
}
