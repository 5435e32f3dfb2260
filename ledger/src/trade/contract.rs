//! The contract: everything two strangers agreed on, assembled by everyone alike from the same signed records.

use borsh::BorshSerialize;
use serde::{Deserialize, Serialize};

use crate::body::{ArbiterAdvert, Body, MAX_METHODS, Method, Offer, Party, Side, Take};
use crate::hash::tagged;
use crate::ids::{AuthorId, ContractHash, MailboxId, RecordId, TradeId};
use crate::ledger::MAX_CLOCK_SKEW_S;
use crate::money::{Currency, Price, Sats};
use crate::record::{LogId, Record};
use crate::rules::FUNDING_MARGIN;
use crate::seal;
use crate::trade::Role;
use crate::trade::escrow::DUST_LIMIT;
use crate::wire::{CurveKey, Destination};

/// Which of a contract's arbiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seat {
    /// Rules from the arbitration delay on.
    First,
    /// Rules from the second delay on, when the first is silent.
    Second,
}

/// What an arbiter brings to a contract, by his advert.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct Arbiter {
    /// The advert.
    pub advert: RecordId,
    /// Whose it is.
    pub author: AuthorId,
    /// His key before the tweak.
    pub key: CurveKey,
    /// The X25519 key to which evidence is sealed.
    pub seal_key: [u8; 32],
    /// What a ruling costs, in millionths of the amount.
    pub fee_ppm: u32,
    /// Where that goes.
    pub destination: Destination,
    /// Who shares the key, if it is a group's, ascending. The hash of a contract commits to the advert, and so to them.
    #[borsh(skip)]
    pub members: Vec<AuthorId>,
}

impl Arbiter {
    /// Finds an arbiter's advert; returns with it its log and the largest trade that he takes.
    fn new(id: RecordId, adverts: &[&Record]) -> Result<(Self, LogId, Sats), ContractError> {
        let record = adverts.iter().find(|record| record.id() == id).ok_or(ContractError::WrongKind(id))?;
        let (advert, members) = match record.decoded().map(|body| &**body) {
            Ok(Body::ArbiterAdvert(advert)) => (advert, Vec::new()),
            Ok(Body::GroupAdvert(group)) => (&group.advert, group.members.to_vec()),
            Ok(_) | Err(_) => return Err(ContractError::WrongKind(id)),
        };
        let ArbiterAdvert { key, seal_key, fee_ppm, max_amount, .. } = *advert;
        let (author, destination) = (record.author(), advert.destination.clone());
        let arbiter = Self { advert: id, author, key, seal_key, fee_ppm, destination, members };
        Ok((arbiter, record.header().log, max_amount))
    }

    /// Returns whoever speaks as this arbiter: the members of a group, or else the advert's author.
    pub fn speakers(&self) -> &[AuthorId] {
        if self.members.is_empty() { std::slice::from_ref(&self.author) } else { &self.members }
    }

    /// Returns the logs in which its speakers entered a trade: the advert's. The others have none, but for one of epoch 0, if
    /// somebody wants one.
    fn home_logs(&self, advert: LogId) -> impl Iterator<Item = LogId> {
        let others = self.members.iter().filter(move |member| **member != advert.author);
        std::iter::once(advert).chain(others.map(|member| LogId { author: *member, epoch: 0 }))
    }
}

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
    /// Gets the bitcoin.
    pub buyer: AuthorId,
    /// Gives the bitcoin.
    pub seller: AuthorId,
    /// What the buyer brings.
    pub buyer_party: Party,
    /// What the seller brings.
    pub seller_party: Party,
    /// Rules when they disagree.
    pub arbiter: Arbiter,
    /// Rules when he is silent.
    pub second_arbiter: Option<Arbiter>,
    /// What is sold.
    pub amount: Sats,
    /// What the seller puts into the escrow besides.
    pub seller_bond: Sats,
    /// What the buyer puts into an output of his own.
    pub buyer_bond: Sats,
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
    /// Blocks after which the second arbiter and the winner may.
    pub second_delay: u16,
    /// Blocks after which each funder may take back what he put in.
    pub refund_delay: u16,
    /// Confirmations after which a transaction of this trade counts.
    pub confirmations: u32,
    /// The height that the acceptance states: that of its maker's tip, if he is honest.
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
    #[error("buyer, seller and arbiters must be different identities")]
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
    /// The bid claims to be older than the offer, by more than clocks differ.
    #[error("the bid is dated before its offer")]
    Early,
    /// The acceptance stands in another log than the offer, where its place could be forged.
    #[error("the acceptance is not in the same log as its offer; the maker must post the offer again")]
    OtherLog,
    /// A party's key for messages is of small order: nothing can be sealed to it.
    #[error("a party's key for messages is unusable")]
    SealKey,
    /// Two of the keys are the same.
    #[error("buyer, seller and arbiters must have different keys")]
    Keys,
    /// Nobody could tell from the chain who got the coins.
    #[error("buyer, seller and arbiters must have different destinations")]
    Destinations,
    /// Amount and bonds together are more than all bitcoin.
    #[error("the amount and the bonds together are more than all bitcoin")]
    Bonds,
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
    pub arbiter: Arbiter,
    /// Who rules when he is silent.
    pub second_arbiter: Option<Arbiter>,
    /// What the seller would put into the escrow besides the amount.
    pub seller_bond: Sats,
    /// What the buyer would put into an output of his own.
    pub buyer_bond: Sats,
    /// What the buyer would pay, in minor units.
    pub cost: u64,
    network: [u8; 4],
    /// The logs in which each entered this trade: the offer's, the bid's, those of the adverts.
    home_logs: Vec<LogId>,
}

impl Bid {
    /// Checks a bid against its offer. The adverts of the arbiters that the bid chose must be among `adverts`; see
    /// [`Self::adverts`].
    ///
    /// # Errors
    /// The rule that the bid breaks.
    pub fn new(offer: &Record, take: &Record, adverts: &[&Record]) -> Result<Self, ContractError> {
        let (Ok(Body::Offer(offer_body)), Ok(Body::Take(take_body))) = (Body::decode(offer), Body::decode(take)) else {
            return Err(ContractError::WrongKind(take.id()));
        };
        if take_body.offer != offer.id() {
            return Err(ContractError::Unrelated);
        }
        if usize::from(take_body.method) >= offer_body.methods.len().min(MAX_METHODS) {
            return Err(ContractError::Choice);
        }
        let (mut arbiters, mut max) = (Vec::new(), offer_body.max);
        let mut home_logs = vec![offer.header().log, take.header().log];
        for id in Self::adverts(&offer_body, &take_body)? {
            let (arbiter, log, max_amount) = Arbiter::new(id, adverts)?;
            max = max.min(max_amount);
            home_logs.extend(arbiter.home_logs(log));
            arbiters.push(arbiter);
        }
        let (maker, taker) = (offer.author(), take.author());
        let authors = arbiters.iter().flat_map(Arbiter::speakers).copied().chain([maker, taker]);
        if has_repetition(authors) {
            return Err(ContractError::SelfDealing);
        }
        if take_body.amount < offer_body.min || take_body.amount > max {
            return Err(ContractError::Amount { amount: take_body.amount, min: offer_body.min, max });
        }
        if take.header().time >= offer_body.expires {
            return Err(ContractError::Expired);
        }
        // A bid that claims to be old could come without its body, so that others cannot tell what it is for.
        if take.header().time.saturating_add(MAX_CLOCK_SKEW_S) < offer.header().time {
            return Err(ContractError::Early);
        }
        if has_repetition(arbiters.iter().map(|arbiter| arbiter.key).chain([take_body.party.trade_key])) {
            return Err(ContractError::Keys);
        }
        let destinations = arbiters.iter().map(|arbiter| &arbiter.destination);
        if has_repetition(destinations.chain([&take_body.party.destination])) {
            return Err(ContractError::Destinations);
        }
        let cost = offer_body.price.cost(take_body.amount).ok_or(ContractError::Choice)?;
        let bond = |ppm| share_of(take_body.amount, ppm).ok_or(ContractError::Bonds);
        let (seller_bond, buyer_bond) = (bond(offer_body.seller_bond_ppm)?, bond(offer_body.buyer_bond_ppm)?);
        let all = take_body.amount.checked_add(seller_bond).and_then(|sum| sum.checked_add(buyer_bond));
        all.ok_or(ContractError::Bonds)?;
        let mut arbiters = arbiters.into_iter();
        let (arbiter, second_arbiter) = (arbiters.next().ok_or(ContractError::Choice)?, arbiters.next());
        Ok(Self {
            trade: take.id().into(),
            offer_id: offer.id(),
            maker,
            taker,
            arbiter,
            second_arbiter,
            seller_bond,
            buyer_bond,
            cost,
            network: offer.header().network,
            home_logs,
            offer: offer_body,
            take: take_body,
        })
    }

    /// Returns the adverts of the arbiters that a bid chooses from its offer's list, the first arbiter's first.
    ///
    /// # Errors
    /// When it names a place that the list does not have, or one of them twice.
    pub fn adverts(offer: &Offer, take: &Take) -> Result<Vec<RecordId>, ContractError> {
        let at = |place: u8| offer.arbiters.get(usize::from(place)).copied().ok_or(ContractError::Choice);
        if take.second_arbiter == Some(take.arbiter) {
            return Err(ContractError::Choice);
        }
        std::iter::once(take.arbiter).chain(take.second_arbiter).map(at).collect()
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
        let party = [(self.buyer(), Role::Buyer), (self.seller(), Role::Seller)];
        let party = party.into_iter().find_map(|(who, role)| (who == *author).then_some(role));
        party.or_else(|| self.seat_of(author).map(|_| Role::Arbiter))
    }

    /// Returns which of the arbiters an identity is.
    pub fn seat_of(&self, author: &AuthorId) -> Option<Seat> {
        seat_of(&self.arbiter, self.second_arbiter.as_ref(), author)
    }

    /// Returns the arbiter as whom an identity speaks.
    pub fn arbiter_of(&self, author: &AuthorId) -> Option<&Arbiter> {
        match self.seat_of(author)? {
            Seat::First => Some(&self.arbiter),
            Seat::Second => self.second_arbiter.as_ref(),
        }
    }

    /// Returns what a role puts into the escrow: the seller the amount and his bond, the buyer his bond.
    pub fn locked_by(&self, role: Role) -> Sats {
        match role {
            Role::Seller => self.take.amount.checked_add(self.seller_bond).expect("checked when the bid was read"),
            Role::Buyer => self.buyer_bond,
            Role::Arbiter => Sats::ZERO,
        }
    }

    /// Tells whether both put coins into the escrow, in one transaction from two wallets.
    pub fn is_funded_by_both(&self) -> bool {
        self.buyer_bond > Sats::ZERO
    }

    /// Returns the log that holds the offer: the only one in which an acceptance counts.
    pub fn offer_log(&self) -> LogId {
        self.home_logs[0]
    }

    /// Returns the logs in which maker, taker and arbiters entered this trade. What stands there comes first, for nothing
    /// can be put before it.
    pub fn home_logs(&self) -> &[LogId] {
        &self.home_logs
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
        if accept.header().log != self.offer_log() {
            return Err(ContractError::OtherLog);
        }
        if accept.header().time >= self.offer.expires {
            return Err(ContractError::Expired);
        }
        let arbiters = || std::iter::once(&self.arbiter).chain(&self.second_arbiter);
        let keys = arbiters().map(|arbiter| arbiter.key).chain([self.take.party.trade_key, body.party.trade_key]);
        if has_repetition(keys) {
            return Err(ContractError::Keys);
        }
        let parties = [&self.take.party.destination, &body.party.destination];
        if has_repetition(arbiters().map(|arbiter| &arbiter.destination).chain(parties)) {
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
            buyer: self.buyer(),
            seller: self.seller(),
            buyer_party,
            seller_party,
            arbiter: self.arbiter.clone(),
            second_arbiter: self.second_arbiter.clone(),
            amount: self.take.amount,
            seller_bond: self.seller_bond,
            buyer_bond: self.buyer_bond,
            currency: self.offer.currency,
            price: self.offer.price,
            cost: self.cost,
            method: self.method().clone(),
            arbitration_delay: self.offer.arbitration_delay,
            second_delay: self.offer.second_delay,
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

    /// Returns the height of the first block in which a funding counts, and from which on everybody looks for one.
    pub const fn funded_from(&self) -> u32 {
        self.height.saturating_sub(FUNDING_MARGIN)
    }

    /// Tells whether outputs in the block of this height can be the funding; of outputs that no block holds, whether they could
    /// in the one after the tip.
    pub fn can_be_funded_at(&self, height: Option<u32>, tip: u32) -> bool {
        height.unwrap_or(tip.saturating_add(1)) >= self.funded_from()
    }

    /// Returns what a role brings; the arbiter brings nothing.
    pub const fn party(&self, role: Role) -> Option<&Party> {
        match role {
            Role::Buyer => Some(&self.buyer_party),
            Role::Seller => Some(&self.seller_party),
            Role::Arbiter => None,
        }
    }

    /// Returns who has a role.
    pub const fn author(&self, role: Role) -> AuthorId {
        match role {
            Role::Buyer => self.buyer,
            Role::Seller => self.seller,
            Role::Arbiter => self.arbiter.author,
        }
    }

    /// Returns the role of an identity.
    pub fn role_of(&self, author: &AuthorId) -> Option<Role> {
        let party = [Role::Buyer, Role::Seller].into_iter().find(|role| self.author(*role) == *author);
        party.or_else(|| self.seat_of(author).map(|_| Role::Arbiter))
    }

    /// Returns who sits on a seat.
    pub const fn arbiter(&self, seat: Seat) -> Option<&Arbiter> {
        match seat {
            Seat::First => Some(&self.arbiter),
            Seat::Second => self.second_arbiter.as_ref(),
        }
    }

    /// Returns the seat of an identity.
    pub fn seat_of(&self, author: &AuthorId) -> Option<Seat> {
        seat_of(&self.arbiter, self.second_arbiter.as_ref(), author)
    }

    /// Tells whether two identities are different members of the same group of arbiters.
    pub fn is_one_group(&self, one: &AuthorId, other: &AuthorId) -> bool {
        one != other && self.seat_of(one).is_some() && self.seat_of(one) == self.seat_of(other)
    }

    /// Returns the blocks after which an arbiter and the winner may spend.
    pub const fn delay_of(&self, seat: Seat) -> u16 {
        match seat {
            Seat::First => self.arbitration_delay,
            Seat::Second => self.second_delay,
        }
    }

    /// Returns the X25519 key to which messages to a party or an arbiter are sealed.
    pub fn seal_key_of(&self, author: &AuthorId) -> Option<[u8; 32]> {
        let party = self.role_of(author).and_then(|role| self.party(role)).map(|party| party.seal_key);
        party.or_else(|| self.arbiter(self.seat_of(author)?).map(|arbiter| arbiter.seal_key))
    }

    /// Returns what the escrow holds: the amount and the seller's bond.
    pub fn escrow_value(&self) -> Sats {
        self.amount.checked_add(self.seller_bond).expect("a bid is refused whose sum is more than all bitcoin")
    }

    /// Returns what an arbiter's ruling costs; nothing when that would be dust, which no output may be.
    pub fn fee_of(&self, seat: Seat) -> Sats {
        let fee = self.arbiter(seat).and_then(|arbiter| share_of(self.amount, arbiter.fee_ppm));
        fee.filter(|fee| fee.get() >= DUST_LIMIT).unwrap_or_default()
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

fn seat_of(first: &Arbiter, second: Option<&Arbiter>, author: &AuthorId) -> Option<Seat> {
    let seats = [(Some(first), Seat::First), (second, Seat::Second)];
    seats.into_iter().find_map(|(arbiter, seat)| arbiter?.speakers().contains(author).then_some(seat))
}

/// Returns millionths of an amount, rounded up.
pub fn share_of(amount: Sats, ppm: u32) -> Option<Sats> {
    let share = u128::from(amount.get()).checked_mul(u128::from(ppm))?.div_ceil(1_000_000);
    u64::try_from(share).ok().and_then(Sats::new)
}

fn has_repetition<T: PartialEq>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = Vec::new();
    items.into_iter().any(|item| {
        let is_known = seen.contains(&item);
        seen.push(item);
        is_known
    })
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
