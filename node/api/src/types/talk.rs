//! What the people of a trade say to each other, and what parties show to an arbiter.

use exchange_ledger::ids::TradeId;
use serde::{Deserialize, Serialize};

use super::RequestId;

/// Who can write and get messages in a trade, by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Person {
    /// The buyer.
    Buyer,
    /// The seller.
    Seller,
    /// The arbiter that the bid chose.
    Arbiter,
    /// Who rules when he is silent.
    SecondArbiter,
}

/// Says something to somebody in a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendMessage {
    /// Makes the call idempotent.
    pub request_id: RequestId,
    /// The trade.
    pub trade: TradeId,
    /// To whom; the other party when `None`. An arbiter must say.
    pub to: Option<Person>,
    /// What: at most 2000 bytes, no control characters but line feeds.
    pub text: String,
}

/// Everything that was said in a trade, as far as this node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The trade.
    pub trade: TradeId,
    /// Who the user of this node is in it.
    pub me: Person,
    /// The others to whom he can write.
    pub others: Vec<Person>,
    /// What was said to or by this node's user, in the order in which it came and went.
    pub messages: Vec<MessageView>,
    /// How many of the last of them the user has not read.
    pub unread: u32,
    /// Arbiter: what the parties showed of what they said to each other, if they did.
    pub shown: Option<ShownTranscript>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// Its number on this node; 0 in what parties show to an arbiter.
    pub number: u64,
    /// Who said it.
    pub from: Person,
    /// To whom.
    pub to: Person,
    /// When, by the sender's clock.
    pub time: u64,
    /// What.
    pub words: MessageWords,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MessageWords {
    /// Words of its sender.
    Chat {
        /// They.
        text: String,
    },
    /// Payment details.
    Details {
        /// They.
        details: String,
        /// Whether the contract commits to exactly these.
        is_agreed: bool,
    },
    /// Words that are not shown: kept back, or of a program.
    NotShown,
}

/// What the parties showed to an arbiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownTranscript {
    /// Everything that is proven, in the order in which it was said, whoever showed it.
    pub messages: Vec<ShownMessage>,
    /// What each showed.
    pub by: Vec<Showing>,
}

/// A message that a party showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownMessage {
    /// The message.
    #[serde(flatten)]
    pub message: MessageView,
    /// What proves that it arrived.
    pub arrival: Arrival,
}

/// What proves that a message arrived, and when it was written, beside its sender's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// What the other wrote next rests on it: so it was written before, and he had it by then.
    Answered,
    /// The other had it; when it was written, and when it came, is its sender's word.
    Had,
    /// Nothing: its sender alone shows it, and the other names neither it nor what follows it.
    Unproven,
}

/// What one party showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Showing {
    /// Who.
    pub by: Person,
    /// What it tells of the buyer's messages.
    pub buyer: AccountView,
    /// What it tells of the seller's messages.
    pub seller: AccountView,
}

impl Showing {
    /// Tells whether everything is here to which the messages refer that were shown.
    pub const fn is_complete(&self) -> bool {
        self.buyer.is_complete() && self.seller.is_complete()
    }

    /// Tells whether who showed it did not show what he himself says that there was, or somebody contradicts himself. What the
    /// other says besides is no fault of his.
    pub const fn is_doubtful(&self) -> bool {
        let own = match self.by {
            Person::Buyer => self.buyer,
            Person::Seller | Person::Arbiter | Person::SecondArbiter => self.seller,
        };
        !own.is_complete() || self.buyer.is_forked || self.seller.is_forked
    }
}

/// What is known of one side's messages, and what these say of others that are not here: his word, and nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// How many are known.
    pub known: u32,
    /// Of how many of these the words are not shown.
    pub not_shown: u32,
    /// How many more of his own there are, at least, by his numbers and by what he names as the one before.
    pub own_missing: u32,
    /// How many messages of the other side he says that he had, at least, and that are not here.
    pub other_missing: u32,
    /// Whether he signed two messages for one place, or one that does not follow the one before it: something was made up
    /// afterwards.
    pub is_forked: bool,
}

impl AccountView {
    /// Tells whether everything is here to which these messages refer.
    pub const fn is_complete(&self) -> bool {
        self.own_missing == 0 && self.other_missing == 0 && !self.is_forked
    }
}

/// Shows the messages between the parties of a trade to its arbiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disclose {
    /// Only tells what would be shown.
    pub dry_run: bool,
    /// The trade.
    pub trade: TradeId,
    /// Whether to the second arbiter instead of the first.
    pub second: bool,
}

/// What is shown to an arbiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disclosure {
    /// The trade.
    pub trade: TradeId,
    /// To whom.
    pub to: Person,
    /// His name, as he says.
    pub name: String,
    /// What he is shown now; what he was shown before is not shown again.
    pub messages: Vec<MessageView>,
    /// How many messages he was shown before.
    pub before: u32,
}
