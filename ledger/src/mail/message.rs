//! What can be said. A message tells, asks or proves; it never decides: keys, destinations and roles are those of the
//! contract, and no message has a field for one. The messages of a funding name coins and change of their sender's only.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Said;
use crate::frost::Round;
use crate::seal::MAX_PLAINTEXT;
use crate::text::Text;
use crate::trade::funding::{Answer, Proposal};
use crate::trade::{Ask, Reply};

/// The longest payment details.
pub const MAX_DETAILS_LEN: usize = 1000;
/// The longest line of a chat: a page, so that a case can be made in one.
pub const MAX_CHAT_LEN: usize = 2000;
/// How many messages one piece of a disclosure can show; as the shortest has 400 bytes, no more fit anyway.
pub const MAX_DISCLOSED: usize = 40;
/// What a piece of a disclosure may have in bytes: the largest seal without the salt, lengths and the variant's byte.
const MAX_PIECE_LEN: usize = MAX_PLAINTEXT - 32 - 16;

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
    /// Something that one person says to another.
    Chat {
        /// The text; not blank.
        text: String,
    },
    /// Messages between buyer and seller, shown to the arbiter by one of them. Each proves itself, so that pieces may come
    /// in any order and more than once.
    Disclosure {
        /// Some of them.
        said: Vec<Said>,
    },
    /// The buyer asks the seller to sign the payout that he released by the key of both. Bytes that are no nonces are refused
    /// by the trade, which names the reason.
    Ask(Ask),
    /// The seller's part of it.
    Reply(Reply),
    /// A round of what the members of a group of arbiters decide together.
    Round(Box<Round>),
    /// The seller's proposal of a funding from two wallets.
    FundingProposal(Proposal),
    /// The buyer's answer to it.
    FundingAnswer(Answer),
}

/// A message that may not be sent, or is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMessage;

impl Message {
    /// Checks that a terminal shows what a stranger wrote as it is, and no more of it than there may be.
    pub(super) fn check(&self) -> Result<(), NoMessage> {
        let is_good = match self {
            Self::Details { details, .. } => Text::<MAX_DETAILS_LEN>::new(details.as_str()).is_ok(),
            Self::Chat { text } => !text.trim().is_empty() && Text::<MAX_CHAT_LEN>::new(text.as_str()).is_ok(),
            Self::Disclosure { said } => !said.is_empty() && said.len() <= MAX_DISCLOSED,
            Self::Ask(_) | Self::Reply(_) | Self::Round(_) => true,
            // What they say is checked against the chain and the contract.
            Self::FundingProposal(_) | Self::FundingAnswer(_) => true,
        };
        if is_good { Ok(()) } else { Err(NoMessage) }
    }

    /// Tells whether a third party may be shown it: what people said, and not the rounds of a protocol.
    pub const fn is_for_arbiters(&self) -> bool {
        match self {
            Self::Details { .. } | Self::Chat { .. } => true,
            Self::Disclosure { .. } | Self::Ask(_) | Self::Reply(_) | Self::Round(_) => false,
            Self::FundingProposal(_) | Self::FundingAnswer(_) => false,
        }
    }
}

/// Puts messages to be shown into as few messages as hold them.
pub fn pieces(said: impl IntoIterator<Item = Said>) -> Vec<Message> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    for one in said {
        let len = borsh::to_vec(&one).expect("writing to memory does not fail").len();
        if piece.len() == MAX_DISCLOSED || bytes + len > MAX_PIECE_LEN {
            pieces.push(Message::Disclosure { said: std::mem::take(&mut piece) });
            bytes = 0;
        }
        bytes += len;
        piece.push(one);
    }
    if !piece.is_empty() {
        pieces.push(Message::Disclosure { said: piece });
    }
    pieces
}
