//! The contract: everything two strangers agreed on, assembled by everyone alike from the same signed records.

use borsh::BorshSerialize;

use crate::body::{Body, MAX_METHODS, Method, Offer, Party, Side, Take};
use crate::hash::tagged;
use crate::ids::{AuthorId, ContractHash, MailboxId, RecordId, TradeId};
use crate::money::{Currency, Price, Sats};
use crate::record::{LogId, Record};
use crate::seal;
use crate::trade::Role;
use crate::wire::CurveKey;

/// A contract. Its hash commits to every field, in this order, by their one encoding.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct Contract {
    /// Bitcoin's magic bytes of the network.
    pub network: [u8; 4],
    /// The offer.
    pub offer: RecordId,
    /// The bid, which names the trade.
    pub trade: TradeId,
    /// The acceptance.
    pub accept: RecordId,
    /// The arbiter's advert.
    pub advert: RecordId,
    /// Gets the bitcoin.
    pub buyer: AuthorId,
    /// Gives the bitcoin.
    pub seller: AuthorId,
    /// Rules when they disagree.
    pub arbiter: AuthorId,
    /// What the buyer brings.
    pub buyer_party: Party,
    /// What the seller brings.
    pub seller_party: Party,
    /// The arbiter's key before the tweak.
    pub arbiter_key: CurveKey,
    /// The X25519 key to which messages for the arbiter are sealed.
    pub arbiter_seal_key: [u8; 32],
    /// What goes into the escrow.
    pub amount: Sats,
    /// The other money.
    pub currency: Currency,
    /// Its price.
    pub price: Price,
    /// What the buyer pays, in minor units.
    pub cost: u64,
    /// How he pays.
    pub method: Method,
    /// Blocks after which arbiter and winner may spend.
    pub arbitration_delay: u16,
    /// Blocks after which the seller may take everything back.
    pub refund_delay: u16,
    /// Confirmations after which a transaction of this trade counts.
    pub confirmations: u32,
    /// The height before which the escrow cannot have been funded.
    pub height: u32,
}

/// Why records do not make a contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// A record is not of the kind that stands in its place.
    #[error("record {0} is not what this trade needs in its place")]
    WrongKind(RecordId),
    /// The records do not refer to each other.
    #[error("the acceptance, the bid and the offer do not belong together")]
    Unrelated,
    /// The same identity on two sides.
    #[error("buyer, seller and arbiter must be three identities")]
    SelfDealing,
    /// The amount is outside of the offer or above the arbiter's limit.
    #[error("the amount of {amount} BTC is outside of what the offer and its arbiter allow ({min} to {max} BTC)")]
    Amount {
        /// As bid.
        amount: Sats,
        /// The least.
        min: Sats,
        /// The most.
        max: Sats,
    },
    /// A position in the offer's lists that does not exist.
    #[error("the bid names a payment method or arbiter that the offer does not have")]
    Choice,
    /// Bid or acceptance after the offer's end.
    #[error("the offer had ended")]
    Expired,
    /// The acceptance stands in another log than the offer, where its place could be forged.
    #[error("the acceptance is not in the same log as its offer; the maker must post the offer again")]
    OtherLog,
    /// A party's key for messages is of small order: nothing can be sealed to it.
    #[error("a party's key for messages is unusable")]
    SealKey,
    /// Two of the three keys are the same.
    #[error("buyer, seller and arbiter must have three keys")]
    Keys,
    /// Payout and refund would be one and the same.
    #[error("buyer and seller must have two destinations")]
    Destinations,
}

/// A bid together with the offer it is for, checked against each other: what a maker needs to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bid {
    /// The trade.
    pub trade: TradeId,
    /// The offer's id.
    pub offer_id: RecordId,
    /// The offer.
    pub offer: Offer,
    /// The bid.
    pub take: Take,
    /// Who made the offer.
    pub maker: AuthorId,
    /// Who bids.
    pub taker: AuthorId,
    /// The arbiter that the bid chose.
    pub arbiter: AuthorId,
    /// His advert.
    pub advert: RecordId,
    /// His key before the tweak.
    pub arbiter_key: CurveKey,
    /// The X25519 key to which messages for him are sealed.
    pub arbiter_seal_key: [u8; 32],
    /// What the buyer would pay, in minor units.
    pub cost: u64,
    network: [u8; 4],
    offer_log: LogId,
    take_log: LogId,
}

impl Bid {
    /// Checks a bid against its offer. `advert` finds a record by its id.
    ///
    /// # Errors
    /// The rule that the bid breaks.
    pub fn new(offer: &Record, take: &Record, advert: Option<&Record>) -> Result<Self, ContractError> {
        let (Ok(Body::Offer(offer_body)), Ok(Body::Take(take_body))) = (Body::decode(offer), Body::decode(take)) else {
            return Err(ContractError::WrongKind(take.id()));
        };
        if take_body.offer != offer.id() {
            return Err(ContractError::Unrelated);
        }
        if usize::from(take_body.method) >= offer_body.methods.len().min(MAX_METHODS) {
            return Err(ContractError::Choice);
        }
        let advert_id = *offer_body.arbiters.get(usize::from(take_body.arbiter)).ok_or(ContractError::Choice)?;
        let advert = advert.filter(|record| record.id() == advert_id).ok_or(ContractError::WrongKind(advert_id))?;
        let Ok(Body::ArbiterAdvert(advert_body)) = Body::decode(advert) else {
            return Err(ContractError::WrongKind(advert_id));
        };
        let (maker, taker, arbiter) = (offer.author(), take.author(), advert.author());
        if maker == taker || maker == arbiter || taker == arbiter {
            return Err(ContractError::SelfDealing);
        }
        let max = offer_body.max.min(advert_body.max_amount);
        if take_body.amount < offer_body.min || take_body.amount > max {
            return Err(ContractError::Amount { amount: take_body.amount, min: offer_body.min, max });
        }
        if take.header().time >= offer_body.expires {
            return Err(ContractError::Expired);
        }
        if take_body.party.trade_key == advert_body.key {
            return Err(ContractError::Keys);
        }
        let cost = offer_body.price.cost(take_body.amount).ok_or(ContractError::Choice)?;
        Ok(Self {
            trade: take.id().into(),
            offer_id: offer.id(),
            offer: offer_body,
            take: take_body,
            maker,
            taker,
            arbiter,
            advert: advert_id,
            arbiter_key: advert_body.key,
            arbiter_seal_key: advert_body.seal_key,
            cost,
            network: offer.header().network,
            offer_log: offer.header().log,
            take_log: take.header().log,
        })
    }

    /// Returns who gets the bitcoin.
    pub const fn buyer(&self) -> AuthorId {
        match self.offer.side {
            Side::Buy => self.maker,
            Side::Sell => self.taker,
        }
    }

    /// Returns who gives the bitcoin.
    pub const fn seller(&self) -> AuthorId {
        match self.offer.side {
            Side::Buy => self.taker,
            Side::Sell => self.maker,
        }
    }

    /// Returns the role of an identity in this trade.
    pub fn role_of(&self, author: &AuthorId) -> Option<Role> {
        [(self.buyer(), Role::Buyer), (self.seller(), Role::Seller), (self.arbiter, Role::Arbiter)]
            .into_iter()
            .find_map(|(who, role)| (who == *author).then_some(role))
    }

    /// Returns the log that holds the offer: the only one in which an acceptance counts.
    pub const fn offer_log(&self) -> LogId {
        self.offer_log
    }

    /// Returns the logs in which maker and taker entered this trade. What stands there comes first, for nothing can be put
    /// before it.
    pub const fn home_logs(&self) -> [LogId; 2] {
        [self.offer_log, self.take_log]
    }

    /// Returns the payment method that the bid chose.
    pub fn method(&self) -> &Method {
        &self.offer.methods[usize::from(self.take.method)]
    }

    /// Turns the bid into a contract by its acceptance.
    ///
    /// # Errors
    /// The rule that the acceptance breaks.
    pub fn accepted(&self, accept: &Record) -> Result<Contract, ContractError> {
        let Ok(Body::Accept(body)) = Body::decode(accept) else {
            return Err(ContractError::WrongKind(accept.id()));
        };
        if body.trade != self.trade || body.offer != self.offer_id || accept.author() != self.maker {
            return Err(ContractError::Unrelated);
        }
        // Backlinks fix the order within one log only: in another, an acceptance could be dated before one that counts.
        if accept.header().log != self.offer_log {
            return Err(ContractError::OtherLog);
        }
        if accept.header().time >= self.offer.expires {
            return Err(ContractError::Expired);
        }
        let keys = [self.take.party.trade_key, body.party.trade_key, self.arbiter_key];
        if keys[0] == keys[1] || keys[1] == keys[2] {
            return Err(ContractError::Keys);
        }
        if body.party.destination == self.take.party.destination {
            return Err(ContractError::Destinations);
        }
        if !seal::is_usable(&self.take.party.seal_key) || !seal::is_usable(&body.party.seal_key) {
            return Err(ContractError::SealKey);
        }
        let (buyer_party, seller_party) = match self.offer.side {
            Side::Buy => (body.party, self.take.party.clone()),
            Side::Sell => (self.take.party.clone(), body.party),
        };
        Ok(Contract {
            network: self.network,
            offer: self.offer_id,
            trade: self.trade,
            accept: accept.id(),
            advert: self.advert,
            buyer: self.buyer(),
            seller: self.seller(),
            arbiter: self.arbiter,
            buyer_party,
            seller_party,
            arbiter_key: self.arbiter_key,
            arbiter_seal_key: self.arbiter_seal_key,
            amount: self.take.amount,
            currency: self.offer.currency,
            price: self.offer.price,
            cost: self.cost,
            method: self.method().clone(),
            arbitration_delay: self.offer.arbitration_delay,
            refund_delay: self.offer.refund_delay,
            confirmations: confirmations_for(self.take.amount),
            height: body.height,
        })
    }
}

impl Contract {
    /// Returns the hash that commits to all of it.
    pub fn hash(&self) -> ContractHash {
        let bytes = borsh::to_vec(self).expect("writing to memory does not fail");
        ContractHash(tagged("exchange/contract/v1", &[&bytes]))
    }

    /// Returns what a role brings; the arbiter brings nothing.
    pub const fn party(&self, role: Role) -> Option<&Party> {
        match role {
            Role::Buyer => Some(&self.buyer_party),
            Role::Seller => Some(&self.seller_party),
            Role::Arbiter => None,
        }
    }

    /// Returns the X25519 key to which messages for somebody are sealed, if he has a role.
    pub fn seal_key_of(&self, author: &AuthorId) -> Option<[u8; 32]> {
        match self.role_of(author)? {
            Role::Buyer => Some(self.buyer_party.seal_key),
            Role::Seller => Some(self.seller_party.seal_key),
            Role::Arbiter => Some(self.arbiter_seal_key),
        }
    }

    /// Returns who has a role.
    pub const fn author(&self, role: Role) -> AuthorId {
        match role {
            Role::Buyer => self.buyer,
            Role::Seller => self.seller,
            Role::Arbiter => self.arbiter,
        }
    }

    /// Returns the role of an identity.
    pub fn role_of(&self, author: &AuthorId) -> Option<Role> {
        [Role::Buyer, Role::Seller, Role::Arbiter].into_iter().find(|role| self.author(*role) == *author)
    }

    /// Returns the mailbox of one party to this contract.
    pub fn mailbox(&self, recipient: &AuthorId) -> MailboxId {
        MailboxId(tagged("exchange/mailbox/v1", &[self.hash().as_bytes(), recipient.as_bytes()]))
    }
}

/// Returns the commitment to payment details that enters a contract.
pub fn details_commitment(salt: &[u8; 32], details: &str) -> [u8; 32] {
    tagged("exchange/details/v1", &[salt, details.as_bytes()])
}

/// Returns how deep a transaction of a trade of this amount must be buried.
pub fn confirmations_for(amount: Sats) -> u32 {
    match amount.get() {
        0..1_000_000 => 1,
        1_000_000..10_000_000 => 3,
        10_000_000.. => 6,
    }
}

#[cfg(test)]
mod tests;
