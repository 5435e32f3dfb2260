//! The market as the API shows it: offers, arbiters, and what taking an offer would mean. Reads only.

use std::collections::VecDeque;

use exchange_api::{ApiError, ArbiterView, BookFilter, Code, OfferState, OfferView, Page};
use exchange_ledger::body::Offer;
use exchange_ledger::book::{Place, Query, Rank, Words, last_sign_of_life};
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::ledger::{Ledger, OfferStanding};
use exchange_ledger::record::Kind;
use exchange_ledger::storage::{Storage, StorageError};
use exchange_store::{Store, StoreError};

use crate::blocking::blocking;
use crate::clock;
use crate::errors::ExplainResult;
use crate::keeper::Keeper;
use crate::private::{Private, Trusted};
use crate::trader::Tools;

mod arbiters;
mod take;

pub use arbiters::{Arbiter, ArbiterGroup, arbiter, arbiters, check_takes_on, last_advert, trust};
use arbiters::{Gone, gone};
pub use take::review;

/// How many offers a page of the book holds unless asked otherwise, and at most.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 500;
/// How many offers of one maker are listed, the last ones.
const MAX_OWN_OFFERS: usize = 1000;

/// Who looks at the market: whose offers are his own, and which arbiters he trusts.
pub struct Viewer<'a> {
    keeper: &'a Keeper,
    me: Option<AuthorId>,
    trusted: Trusted,
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
            trusted: arbiter.is_trusted(&self.trusted),
            threshold: arbiter.group.as_ref().map_or(0, |group| group.threshold),
            members: arbiter.group.as_ref().map(|group| group.members.clone()).unwrap_or_default(),
            withdrawn: arbiter.withdrawn,
            gone: false,
        }
    }

    /// Returns whom the user trusts and of whom no advert counts here: as one who takes on nothing.
    fn gone(&self, gone: &Gone) -> ArbiterView {
        let unknown = || ArbiterView::unknown(gone.advert, AuthorId([0; 32]));
        let shown = gone.said.as_ref().map_or_else(unknown, |said| self.arbiter(said));
        ArbiterView { trusted: true, withdrawn: true, gone: true, ..shown }
    }

    /// Returns the known arbiters, the trusted first, then the cheapest. Of those who have withdrawn, or are gone, only who is
    /// trusted, so that the user can take him off his list, and the user himself. For all that anybody can publish it reads some
    /// twenty thousand adverts, off the async threads.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn arbiters(&self) -> Result<Vec<ArbiterView>, ApiError> {
        let (ledger, trusted) = (self.keeper.ledger().clone(), self.trusted.clone());
        let (known, gone) = blocking(move || {
            let known = arbiters(&ledger, &trusted).explained()?;
            let gone = gone(&ledger, &trusted, &known).explained()?;
            Ok((known, gone))
        })
        .await?;
        let mut views: Vec<ArbiterView> = known.iter().map(|arbiter| self.arbiter(arbiter)).collect();
        views.extend(gone.iter().map(|gone| self.gone(gone)));
        views.retain(|view| !view.withdrawn || view.trusted || self.me == Some(view.author));
        views.sort_by_key(|view| !view.trusted);
        Ok(views)
    }
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
