//! The market as the API shows it: offers, arbiters, and what taking an offer would mean. Reads only.

use std::collections::BTreeSet;

use std::collections::VecDeque;

use exchange_api::{ApiError, ArbiterView, BookFilter, Code, OfferState, OfferView, Page, TakeOffer, TakeReview};
use exchange_ledger::body::{ArbiterAdvert, Body, Offer, Side};
use exchange_ledger::book::{Place, Query, Rank, Words, last_sign_of_life};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::ledger::{Ledger, OfferStanding};
use exchange_ledger::money::{Currency, Sats};
use exchange_ledger::record::{self, Kind};
use exchange_ledger::rules::LAST_PAYMENT_MARGIN;
use exchange_ledger::storage::{Storage, StorageError};
use exchange_ledger::trade::{Role, confirmations_for, payout_vsize, share_of};
use exchange_store::{Store, StoreError};

use crate::blocking::blocking;
use crate::clock;
use crate::errors::ExplainResult;
use crate::keeper::Keeper;
use crate::private::Private;
use crate::trader::Tools;

/// How many offers a page of the book holds unless asked otherwise, and at most.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 500;
/// How many arbiters are listed besides those whom the user trusts: each has paid for a log. How many adverts one of
/// them published does not matter.
const MAX_ARBITERS: usize = 1000;
/// How many authors of groups' adverts are looked at besides.
const MAX_FOUNDERS: usize = 250;
/// How many adverts are looked at besides the last one: of an arbiter whom the user trusts, of any other, and of
/// whoever published those of groups, each of which is listed.
const MAX_ADVERTS: usize = 256;
const MAX_ADVERTS_EACH: usize = 16;
const MAX_GROUPS_EACH: usize = 3;
/// How many offers of one maker are listed, the last ones.
const MAX_OWN_OFFERS: usize = 1000;
/// The size of a funding transaction with two inputs and change, for estimates, in virtual bytes.
const FUNDING_VSIZE: u64 = 212;

/// An arbiter's advert with its id and author.
#[derive(Debug, Clone)]
pub struct Arbiter {
    /// The advert's id.
    pub advert: RecordId,
    /// Who.
    pub author: AuthorId,
    /// When, by his clock.
    pub created: u64,
    /// The advert.
    pub body: ArbiterAdvert,
    /// Of a group how many of its members rule together, and who they are.
    pub group: Option<(u8, Vec<AuthorId>)>,
    /// Whether he takes on no trades any more.
    pub withdrawn: bool,
}

impl Arbiter {
    /// Tells whether the arbiter takes on trades of this currency and amount.
    pub fn serves(&self, currency: Currency, amount: Sats) -> bool {
        let knows = self.body.currencies.is_empty() || self.body.currencies.contains(&currency);
        knows && amount <= self.body.max_amount
    }
}

/// Who looks at the market: whose offers are his own, and which arbiters he trusts.
pub struct Viewer<'a> {
    keeper: &'a Keeper,
    me: Option<AuthorId>,
    trusted: BTreeSet<AuthorId>,
}

impl<'a> Viewer<'a> {
    /// Takes the place of a node's user; `me` is his identity if it is unlocked.
    ///
    /// # Errors
    /// When the store fails.
    pub fn new(keeper: &'a Keeper, private: &Private, me: Option<AuthorId>) -> Result<Self, StoreError> {
        Ok(Self { keeper, me, trusted: private.trusted_arbiters()? })
    }

    /// Takes the place of whoever works with these tools.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(tools: &'a Tools) -> Result<Self, StoreError> {
        Self::new(&tools.keeper, &tools.private, Some(tools.identity.author()))
    }

    /// Returns an arbiter as the API shows him.
    pub fn arbiter(&self, arbiter: &Arbiter) -> ArbiterView {
        let body = &arbiter.body;
        let work = self.keeper.reputation().arbitrated(&arbiter.author);
        ArbiterView {
            advert: arbiter.advert,
            author: arbiter.author,
            name: body.name.to_string(),
            fee_ppm: body.fee_ppm,
            max_amount: body.max_amount,
            languages: body.languages.iter().map(ToString::to_string).collect(),
            currencies: body.currencies.to_vec(),
            terms: body.terms.to_string(),
            since: arbiter.created,
            trades: work.trades,
            disputes: work.disputes,
            rulings: work.rulings,
            trusted: self.trusted.contains(&arbiter.author),
            threshold: arbiter.group.as_ref().map_or(0, |(threshold, _)| *threshold),
            members: arbiter.group.as_ref().map(|(_, members)| members.clone()).unwrap_or_default(),
            withdrawn: arbiter.withdrawn,
        }
    }

    /// Returns the known arbiters, the trusted first, then the cheapest. Of those who have withdrawn only who is trusted, so that
    /// the user can take him off his list, and the user himself. For all that anybody can publish it reads some twenty
    /// thousand adverts, off the async threads.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn arbiters(&self) -> Result<Vec<ArbiterView>, ApiError> {
        let (ledger, trusted) = (self.keeper.ledger().clone(), self.trusted.clone());
        let known = blocking(move || arbiters(&ledger, &trusted).explained()).await?;
        let mut views: Vec<ArbiterView> = known.iter().map(|arbiter| self.arbiter(arbiter)).collect();
        views.retain(|view| !view.withdrawn || view.trusted || self.me == Some(view.author));
        views.sort_by_key(|view| !view.trusted);
        Ok(views)
    }
}

/// Returns the latest advert of each arbiter. Those of `trusted` are among them, however many others there are.
///
/// # Errors
/// When the store fails.
pub fn arbiters(ledger: &Ledger<Store>, trusted: &BTreeSet<AuthorId>) -> Result<Vec<Arbiter>, StorageError> {
    let mut found: Vec<Arbiter> = Vec::new();
    for advert in adverts(ledger.storage(), trusted)? {
        let Some((arbiter, _)) = advertised(ledger, &advert)? else { continue };
        // Who rules alone may be in a group besides, and in more than one. Adverts come in the order of their logs.
        match found.iter_mut().find(|known| known.author == arbiter.author && known.group == arbiter.group) {
            Some(known) => *known = arbiter,
            None => found.push(arbiter),
        }
    }
    found.sort_by_key(|arbiter| (arbiter.body.fee_ppm, arbiter.advert));
    Ok(found)
}

/// Returns the adverts among which the latest are: those of whom the user trusts, and besides author by author, so that
/// nobody hides other arbiters behind what he publishes.
fn adverts(storage: &impl Storage, trusted: &BTreeSet<AuthorId>) -> Result<Vec<RecordId>, StorageError> {
    let mut adverts = Vec::new();
    let kinds =
        [(Kind::ArbiterAdvert, MAX_ARBITERS, MAX_ADVERTS_EACH), (Kind::GroupAdvert, MAX_FOUNDERS, MAX_GROUPS_EACH)];
    for (kind, authors, each) in kinds {
        for author in trusted {
            adverts.extend(adverts_by(storage, kind, author, MAX_ADVERTS)?);
        }
        let mut after = None;
        for _ in 0..authors {
            let Some(author) = storage.of_kind(kind, after.as_ref(), 1)?.first().map(|place| place.log.author) else {
                break;
            };
            after = Some(record::Place::last_by(author));
            if !trusted.contains(&author) {
                adverts.extend(adverts_by(storage, kind, &author, each)?);
            }
        }
    }
    Ok(adverts)
}

/// Returns the first adverts of an author, and the last one.
fn adverts_by(
    storage: &impl Storage,
    kind: Kind,
    author: &AuthorId,
    limit: usize,
) -> Result<Vec<RecordId>, StorageError> {
    let mut places = storage.of_kind_by(kind, author, None, limit)?;
    if places.len() >= limit {
        places.extend(storage.last_of_kind_by(kind, author)?);
    }
    Ok(places.iter().map(|place| place.id).collect())
}

/// Returns the last advert of somebody who rules alone, which speaks for him, and its id.
///
/// # Errors
/// When the store fails.
pub fn last_advert(
    storage: &impl Storage,
    author: &AuthorId,
) -> Result<Option<(RecordId, ArbiterAdvert)>, StorageError> {
    let Some(place) = storage.last_of_kind_by(Kind::ArbiterAdvert, author)? else { return Ok(None) };
    let Some(record) = storage.record(&place.id)? else { return Ok(None) };
    Ok(match Body::decode(&record) {
        Ok(Body::ArbiterAdvert(advert)) => Some((place.id, advert)),
        Ok(_) | Err(_) => None,
    })
}

/// Returns the arbiter of an advert, unless he signed two histories.
///
/// # Errors
/// When the store fails.
pub fn arbiter<S: Storage>(ledger: &Ledger<S>, id: &RecordId) -> Result<Option<Arbiter>, StorageError> {
    let Some((arbiter, place)) = advertised(ledger, id)? else { return Ok(None) };
    let (storage, author) = (ledger.storage(), arbiter.author);
    // What a group's author says of himself says nothing of the group. To see that an advert is the last takes one look.
    let later = storage.of_kind_by(Kind::ArbiterAdvert, &author, Some(&place), 1)?;
    if arbiter.group.is_some() || later.is_empty() {
        return Ok(Some(arbiter));
    }
    let withdrawn = last_advert(storage, &author)?.is_some_and(|(_, last)| last.is_withdrawal());
    Ok(Some(Arbiter { withdrawn, ..arbiter }))
}

/// Returns the arbiter of an advert as it says itself, and where it stands.
fn advertised<S: Storage>(ledger: &Ledger<S>, id: &RecordId) -> Result<Option<(Arbiter, record::Place)>, StorageError> {
    let Some(record) = ledger.record(id)? else { return Ok(None) };
    let (body, group) = match Body::decode(&record) {
        Ok(Body::ArbiterAdvert(body)) => (body, None),
        Ok(Body::GroupAdvert(group)) => (group.advert, Some((group.threshold, group.members.to_vec()))),
        Ok(_) | Err(_) => return Ok(None),
    };
    if !ledger.has_rights(&record)? || ledger.is_author_frozen(&record.author())? {
        return Ok(None);
    }
    let (author, created, withdrawn) = (record.author(), record.header().time, body.is_withdrawal());
    Ok(Some((Arbiter { advert: *id, author, created, body, group, withdrawn }, record.place())))
}

/// Returns one offer.
///
/// # Errors
/// When it is unknown or the store fails.
pub fn offer(viewer: &Viewer<'_>, id: &RecordId) -> Result<OfferView, ApiError> {
    let keeper = viewer.keeper;
    let unknown = || ApiError::new(Code::NotFound, format!("offer {id} is not in the ledger"), "look at the book");
    let (record, offer) = keeper.ledger().offer(id).explained()?.ok_or_else(unknown)?;
    let now = clock::unix_now();
    let maker = record.author();
    let (heard, present, place) = {
        let book = keeper.book();
        (book.last_seen(&maker), book.is_present(&maker, now), book.place_of(&maker, id))
    };
    let last_seen = match heard {
        Some(time) => time,
        None => last_sign_of_life(keeper.ledger(), &maker).explained()?,
    };
    let trades = keeper.reputation().closed_trades(keeper.ledger(), &maker).explained()?;
    let state = match keeper.ledger().offer_standing(&record).explained()? {
        OfferStanding::Accepted(_) => OfferState::Taken,
        OfferStanding::Withdrawn => OfferState::Revoked,
        OfferStanding::Open if offer.expires <= now => OfferState::Expired,
        OfferStanding::Open => match place {
            Some(Place::Stands) if present => OfferState::Live,
            Some(Place::Stands) => OfferState::Away,
            Some(Place::Waits) | None => OfferState::Waiting,
        },
    };
    let about = About { id: *id, maker: record.author(), created: record.header().time, last_seen, state, trades };
    view(viewer, about, offer).explained()
}

/// Returns an offer as it would look if it were posted.
///
/// # Errors
/// When the store fails.
pub fn preview(viewer: &Viewer<'_>, maker: AuthorId, offer: Offer, now: u64) -> Result<OfferView, StorageError> {
    let id = RecordId([0; 32]);
    view(viewer, About { id, maker, created: now, last_seen: now, state: OfferState::Live, trades: 0 }, offer)
}

struct About {
    id: RecordId,
    maker: AuthorId,
    created: u64,
    last_seen: u64,
    state: OfferState,
    trades: u32,
}

fn view(viewer: &Viewer<'_>, about: About, offer: Offer) -> Result<OfferView, StorageError> {
    let mut arbiters = Vec::new();
    for advert in offer.arbiters.iter() {
        arbiters.extend(arbiter(viewer.keeper.ledger(), advert)?.map(|arbiter| viewer.arbiter(&arbiter)));
    }
    Ok(OfferView {
        id: about.id,
        maker: about.maker,
        mine: viewer.me == Some(about.maker),
        side: offer.side,
        currency: offer.currency,
        price: offer.price,
        min: offer.min,
        max: offer.max,
        // The rules of offers make both costs fit.
        min_cost: offer.price.cost(offer.min).unwrap_or(u64::MAX),
        max_cost: offer.price.cost(offer.max).unwrap_or(u64::MAX),
        methods: offer.methods.iter().map(ToString::to_string).collect(),
        terms: offer.terms.to_string(),
        arbiters,
        arbitration_delay: offer.arbitration_delay,
        second_delay: offer.second_delay,
        refund_delay: offer.refund_delay,
        automatic: offer.automatic,
        created: about.created,
        expires: offer.expires,
        last_seen: about.last_seen,
        state: about.state,
        maker_trades: about.trades,
        seller_bond_ppm: offer.seller_bond_ppm,
        buyer_bond_ppm: offer.buyer_bond_ppm,
    })
}

/// Returns a page of the book.
///
/// # Errors
/// When the cursor is none or the store fails.
pub fn book(viewer: &Viewer<'_>, filter: &BookFilter) -> Result<Page<OfferView>, ApiError> {
    let no_cursor =
        |cursor| ApiError::new(Code::InvalidArgument, format!("`{cursor}` is not a cursor of the book"), "");
    let after = filter.cursor.as_ref().map(|cursor| cursor.parse().map_err(|_| no_cursor(cursor))).transpose()?;
    let limit = filter.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE) as usize; // at most 500
    let BookFilter { side, currency, amount, away, .. } = *filter;
    let query = Query { side, currency, amount, away, after, ..Query::default() };
    let text = filter.matching.as_deref().unwrap_or_default();
    let found: Vec<(Rank, RecordId)> = {
        let (book, now) = (viewer.keeper.book(), clock::unix_now());
        let makers = book.makers_from(text);
        let words = if makers.is_empty() { Words::of(text) } else { Words::default() };
        let query = Query { makers, words, ..query };
        book.query(&query, now, limit + 1).iter().map(|entry| (entry.rank(), entry.id)).collect()
    };
    let last = found.get(limit - 1).filter(|_| found.len() > limit);
    let next = last.map(|(rank, _)| rank.to_string());
    let items = found.iter().take(limit).map(|(_, id)| offer(viewer, id)).collect::<Result<_, _>>()?;
    Ok(Page { items, next })
}

/// Returns the offers of a maker, newest first.
///
/// # Errors
/// When the store fails.
pub fn offers_of(viewer: &Viewer<'_>, maker: AuthorId) -> Result<Vec<OfferView>, ApiError> {
    let ledger = viewer.keeper.ledger();
    let mut places: VecDeque<_> = VecDeque::new();
    let mut after = None;
    loop {
        let page = ledger.storage().of_kind_by(Kind::Offer, &maker, after.as_ref(), MAX_OWN_OFFERS).explained()?;
        after = page.last().copied();
        places.extend(page.iter().map(|place| place.id));
        places.drain(..places.len().saturating_sub(MAX_OWN_OFFERS));
        if page.len() < MAX_OWN_OFFERS {
            break;
        }
    }
    let mut offers = places.iter().map(|id| offer(viewer, id)).collect::<Result<Vec<_>, _>>()?;
    offers.sort_by_key(|offer| std::cmp::Reverse(offer.created));
    Ok(offers)
}

/// Refuses to begin anything with somebody who signed two histories of one log: whatever he agrees to now may be undone
/// by records that were hidden so far.
///
/// # Errors
/// When he did, or the store fails.
pub fn check_honest(ledger: &Ledger<Store>, author: &AuthorId, who: &str) -> Result<(), ApiError> {
    if !ledger.is_author_frozen(author).explained()? {
        return Ok(());
    }
    let message = format!("{who} ({}) signed two histories of one log: nothing is begun with him", author.short());
    Err(ApiError::new(Code::NotAllowed, message, "no coins have moved; trade with somebody else"))
}

/// Refuses to accept a bid under an arbiter who has withdrawn his advert. Whatever was agreed on before goes on.
///
/// # Errors
/// When he has, or the store fails.
pub fn check_takes_on<S: Storage>(ledger: &Ledger<S>, advert: &RecordId) -> Result<(), ApiError> {
    match arbiter(ledger, advert).explained()? {
        Some(gone) if gone.withdrawn => {
            let hint = "call the bid off: `exchange-node trade cancel`; its taker can bid again under another arbiter";
            Err(has_withdrawn(gone.body.name.as_str(), hint))
        }
        Some(_) | None => Ok(()),
    }
}

/// What to do instead of a bid under an arbiter who has withdrawn.
const OTHER_ARBITER: &str = "choose another of the offer's arbiters with --arbiter, or another offer";

/// Returns why no trade is begun under an arbiter who has withdrawn his advert.
fn has_withdrawn(name: &str, hint: &str) -> ApiError {
    let message = format!("the arbiter {name} has withdrawn: he takes on no trades any more");
    ApiError::new(Code::NotAllowed, message, hint)
}

/// Returns the arbiter that a bid names, or else the first of the offer's whom this node trusts. Nobody else is ever
/// chosen for a user: with the counterparty an arbiter can take the coins.
fn chosen_arbiter(offer: &OfferView, request: &TakeOffer) -> Result<ArbiterView, ApiError> {
    let mut known = offer.arbiters.iter();
    match request.arbiter {
        Some(advert) => match known.find(|arbiter| arbiter.advert == advert) {
            Some(gone) if gone.withdrawn => Err(has_withdrawn(&gone.name, OTHER_ARBITER)),
            Some(named) => Ok(named.clone()),
            None => {
                let advert = advert.short();
                let message = format!("the offer does not name the arbiter of advert {advert}, or he is unknown");
                let hint = "`exchange-node offer show` lists those that it names";
                Err(ApiError::new(Code::InvalidArgument, message, hint))
            }
        },
        None => known.find(|arbiter| takes_on(arbiter, request.amount)).cloned().ok_or_else(|| {
            let trusted = || offer.arbiters.iter().filter(|arbiter| arbiter.trusted);
            let most = trusted().filter(|arbiter| !arbiter.withdrawn).max_by_key(|arbiter| arbiter.max_amount);
            if let Some(trusted) = most {
                return above_limit(request.amount, trusted);
            }
            if let Some(gone) = trusted().next() {
                return has_withdrawn(&gone.name, OTHER_ARBITER);
            }
            let names: Vec<&str> = offer.arbiters.iter().map(|arbiter| arbiter.name.as_str()).collect();
            let names = if names.is_empty() { "none is known yet".to_owned() } else { names.join(", ") };
            let message = format!("you trust none of the arbiters of this offer ({names})");
            let hint = "choose one with --arbiter, or trust one for good: `exchange-node arbiter trust`. Do not choose one \
                        of whom you know nothing: with the other party he can take the coins";
            ApiError::new(Code::InvalidArgument, message, hint)
        }),
    }
}

/// Tells whether the user can be given an arbiter for a trade of this amount without asking him.
fn takes_on(arbiter: &ArbiterView, amount: Sats) -> bool {
    arbiter.trusted && !arbiter.withdrawn && amount <= arbiter.max_amount
}

/// Refuses an amount that an arbiter does not rule about.
fn above_limit(amount: Sats, arbiter: &ArbiterView) -> ApiError {
    let (name, most) = (&arbiter.name, arbiter.max_amount);
    let message = format!("{amount} BTC are too much for the arbiter {name}: he takes up to {most} BTC");
    ApiError::new(Code::InvalidArgument, message, "take less, or choose another of the offer's arbiters with --arbiter")
}

/// Returns who rules when the first arbiter is silent: whom the bid names, or else the next whom this node trusts, if any.
fn second_arbiter(
    offer: &OfferView,
    request: &TakeOffer,
    first: &ArbiterView,
    me: AuthorId,
) -> Result<Option<ArbiterView>, ApiError> {
    let is_free = |arbiter: &&ArbiterView| ![first.author, offer.maker, me].contains(&arbiter.author);
    let mut known = offer.arbiters.iter().filter(is_free);
    match request.second_arbiter {
        Some(advert) => match known.find(|arbiter| arbiter.advert == advert) {
            Some(gone) if gone.withdrawn => Err(has_withdrawn(&gone.name, OTHER_ARBITER)),
            Some(named) => Ok(Some(named.clone())),
            None => {
                let message = format!("the arbiter of advert {} cannot be the second of this trade", advert.short());
                Err(ApiError::new(Code::InvalidArgument, message, "name another of the offer's arbiters, or none"))
            }
        },
        None => Ok(known.find(|arbiter| takes_on(arbiter, request.amount)).cloned()),
    }
}

/// Returns why an offer cannot be taken.
fn gone(offer: &RecordId, what: &str) -> ApiError {
    ApiError::new(Code::OfferGone, format!("offer {offer} {what}"), "look at the book for another")
}

/// Returns what taking an offer would mean.
///
/// # Errors
/// When the offer is gone, the bid does not fit it, or the chain or wallet cannot be asked.
pub async fn review(tools: &Tools, request: &TakeOffer) -> Result<TakeReview, ApiError> {
    let invalid = |message: String| ApiError::new(Code::InvalidArgument, message, "look at the offer again");
    let me = tools.identity.author();
    let offer = offer(&Viewer::of(tools).explained()?, &request.offer)?;
    if offer.mine {
        return Err(ApiError::new(Code::NotAllowed, "this is your own offer", "others take it; you accept their bids"));
    }
    check_honest(tools.keeper.ledger(), &offer.maker, "the maker of this offer")?;
    match offer.state {
        OfferState::Live | OfferState::Away => {}
        OfferState::Waiting => return Err(gone(&offer.id, "waits until an earlier offer of its maker ends")),
        OfferState::Taken => return Err(gone(&offer.id, "was taken by somebody else")),
        OfferState::Revoked => return Err(gone(&offer.id, "was withdrawn by its maker")),
        OfferState::Expired => return Err(gone(&offer.id, "has ended")),
    }
    if request.amount < offer.min || request.amount > offer.max {
        let (amount, min, max) = (request.amount, offer.min, offer.max);
        return Err(invalid(format!("{amount} BTC is outside of the offer: {min} to {max} BTC")));
    }
    let arbiter = chosen_arbiter(&offer, request)?;
    let method_at = usize::from(request.method.unwrap_or_default());
    let method = offer.methods.get(method_at).cloned();
    let method = method.ok_or_else(|| invalid(format!("the offer has no payment method number {method_at}")))?;
    if arbiter.author == me {
        return Err(invalid("you are the arbiter yourself: choose another".into()));
    }
    let second_arbiter = second_arbiter(&offer, request, &arbiter, me)?;
    let mut arbiters = std::iter::once(&arbiter).chain(&second_arbiter);
    if let Some(small) = arbiters.find(|arbiter| request.amount > arbiter.max_amount) {
        return Err(above_limit(request.amount, small));
    }
    let feerate = tools.chain.fee_rate(3).await.explained()?.to_sat_per_vb_ceil().max(1);
    let fee = |vsize: u64| feerate.checked_mul(vsize).and_then(Sats::new).unwrap_or(Sats::MAX);
    let bond = |ppm| share_of(request.amount, ppm).ok_or_else(|| invalid("the bond is too large".into()));
    let (seller_bond, buyer_bond) = (bond(offer.seller_bond_ppm)?, bond(offer.buyer_bond_ppm)?);
    let has = |bond| bond > Sats::ZERO;
    let payout_fee = fee(payout_vsize(has(seller_bond), has(buyer_bond)));
    let role = match offer.side {
        Side::Sell => Role::Buyer,
        Side::Buy => Role::Seller,
    };
    let funding_fee = match role {
        Role::Buyer if !has(buyer_bond) => Sats::ZERO,
        Role::Buyer | Role::Seller | Role::Arbiter => fee(FUNDING_VSIZE),
    };
    let locked = match role {
        Role::Seller => request.amount.checked_add(seller_bond).unwrap_or(Sats::MAX),
        Role::Buyer | Role::Arbiter => buyer_bond,
    };
    let needed = locked.checked_add(funding_fee).unwrap_or(Sats::MAX);
    let affordable = !has(locked) || tools.wallet.balance().await.explained()?.spendable >= needed.into();
    let cost = offer.price.cost(request.amount).ok_or_else(|| invalid("the cost is too large".into()))?;
    Ok(TakeReview {
        role,
        amount: request.amount,
        cost,
        method,
        arbiter,
        second_arbiter,
        seller_bond,
        buyer_bond,
        funding_fee,
        payout_fee,
        confirmations: confirmations_for(request.amount),
        pay_within: u32::from(offer.refund_delay.saturating_sub(LAST_PAYMENT_MARGIN)),
        refund_after: u32::from(offer.refund_delay),
        affordable,
        offer,
    })
}

#[cfg(test)]
mod tests {
    use exchange_ledger::record::Record;
    use exchange_ledger::testing::{Author, admit_all, ledger, sample_advert};

    use super::*;

    #[test]
    fn nobody_hides_other_arbiters_behind_what_he_publishes() {
        let mut arbiters = [7, 8, 9].map(Author::new);
        arbiters.sort_by_key(Author::id);
        let [flood, other, friend] = &mut arbiters;
        let advertise = |arbiter: &mut Author| arbiter.write(&Body::ArbiterAdvert(sample_advert(arbiter)));
        let many: Vec<Record> = (0..MAX_ADVERTS + 50).map(|_| advertise(flood)).collect();
        let (one, known) = (advertise(other), advertise(friend));
        let mut ledger = ledger();
        admit_all(&mut ledger, &[&many[..], &[one.clone(), known.clone()]].concat());
        let looked_at = |trusted: &Author| adverts(ledger.storage(), &BTreeSet::from([trusted.id()])).unwrap();
        let expected = |first: &[&Record], flood_first: usize, rest: &[&Record]| {
            let of_flood = many.iter().take(flood_first).chain(many.last());
            let all = first.iter().copied().chain(of_flood).chain(rest.iter().copied());
            all.map(Record::id).collect::<Vec<_>>()
        };
        assert_eq!(looked_at(friend), expected(&[&known], MAX_ADVERTS_EACH, &[&one]));
        assert_eq!(looked_at(flood), expected(&[], MAX_ADVERTS, &[&one, &known]));
    }

    #[test]
    fn a_withdrawal_speaks_for_all_adverts_before_it_until_the_next_one() {
        let (mut solomon, mut ledger) = (Author::new(7), ledger());
        let mut advertise = |max_amount: u64| {
            let advert = ArbiterAdvert { max_amount: Sats::new(max_amount).unwrap(), ..sample_advert(&solomon) };
            solomon.write(&Body::ArbiterAdvert(advert))
        };
        let (first, gone, again) = (advertise(1_000_000), advertise(0), advertise(2_000_000));
        for (last, withdrawn) in [(&first, false), (&gone, true), (&again, false)] {
            admit_all(&mut ledger, std::slice::from_ref(last));
            assert_eq!(arbiter(&ledger, &first.id()).unwrap().unwrap().withdrawn, withdrawn);
            assert_eq!(check_takes_on(&ledger, &first.id()).is_err(), withdrawn);
            assert_eq!(last_advert(ledger.storage(), &first.author()).unwrap().unwrap().0, last.id());
        }
    }
}
