//! Posting, withdrawing and taking offers, accepting bids by hand, and the heartbeat that keeps offers live.

use exchange_api::{AcceptBid, ApiError, ArbiterView, Code, OfferView, PostOffer, TakeOffer, TradeView};
use exchange_ledger::body::{Body, MAX_ARBITERS, MAX_METHODS, MAX_OFFER_LIFE_S, Offer, Revoke, Take, Terms};
use exchange_ledger::book::{HEARTBEAT_INTERVAL_S, STAKED_LIVE_OFFERS};
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::ledger::{MAX_CLOCK_SKEW_S, OfferStanding};
use exchange_ledger::mail::MAX_DETAILS_LEN;
use exchange_ledger::record::{Kind, Record};
use exchange_ledger::rules::{DEFAULT_ARBITRATION_DELAY, DEFAULT_REFUND_DELAY, DEFAULT_SECOND_DELAY};
use exchange_ledger::text::Text;
use exchange_ledger::trade::{Action, Bid, Command, Event};
use exchange_ledger::wire::List;

use crate::errors::{ExplainResult, bad_text, invalid};
use crate::market::{self, Viewer};
use crate::trader::{Active, Trader, keys};
use crate::{clock, entropy};

/// How long an offer lives unless its maker says otherwise, in seconds: seven days.
const DEFAULT_OFFER_LIFE_S: u64 = 7 * 24 * 3600;

impl Trader {
    pub(super) async fn post(&mut self, request: PostOffer) -> Result<OfferView, ApiError> {
        check_details(&request.details)?;
        if request.automatic && is_blank(&request.details) {
            return Err(no_details());
        }
        let now = clock::unix_now();
        let lifetime = request.lifetime_s.unwrap_or(DEFAULT_OFFER_LIFE_S).min(MAX_OFFER_LIFE_S);
        let me = self.tools.identity.author();
        let arbiters = self.arbiters_of(&request).await?;
        let methods = request.methods.iter().map(|method| Text::new(method.trim())).collect::<Result<Vec<_>, _>>();
        let offer = Offer {
            side: request.side,
            currency: request.currency,
            price: request.price,
            min: request.min,
            max: request.max,
            methods: List::new(methods.map_err(bad_text("a payment method"))?)
                .ok_or_else(|| invalid(format!("more than {MAX_METHODS} payment methods")))?,
            terms: Terms::new(request.terms.trim()).map_err(bad_text("the terms"))?,
            arbiters: List::new(arbiters).ok_or_else(|| invalid(format!("more than {MAX_ARBITERS} arbiters")))?,
            seller_bond_ppm: request.seller_bond_ppm,
            buyer_bond_ppm: request.buyer_bond_ppm,
            arbitration_delay: DEFAULT_ARBITRATION_DELAY,
            second_delay: DEFAULT_SECOND_DELAY,
            refund_delay: DEFAULT_REFUND_DELAY,
            automatic: request.automatic,
            expires: now.saturating_add(lifetime),
        };
        let body = Body::Offer(offer);
        body.check(now).explained()?;
        self.check_quota()?;
        if request.dry_run {
            let Body::Offer(offer) = body else { unreachable!("made above") };
            return market::preview(&Viewer::of(&self.tools).explained()?, me, offer, now).explained();
        }
        // Kept under the hash of the body, which is known before the record is: a crash in between loses nothing.
        let body_hash = exchange_ledger::record::body_hash(&body.encode());
        self.tools.private.put_offer_details(&body_hash, &request.details).explained()?;
        let for_request = named(request.request_id);
        let record = self.tools.keeper.publish_for(self.tools.identity.clone(), body, for_request).await.explained()?;
        self.offer_view(&record.id())
    }

    /// Refuses an offer that would only wait: nobody would see it.
    fn check_quota(&self) -> Result<(), ApiError> {
        let me = self.tools.identity.author();
        let (open, quota) = {
            let book = self.tools.keeper.book();
            (book.of_maker(&me).count(), book.quota(&me))
        };
        if open < quota {
            return Ok(());
        }
        let message = format!("{open} of your offers are open, and only {quota} of one maker stand in the book");
        let hint = if quota < STAKED_LIVE_OFFERS {
            "withdraw one: `exchange-node offer revoke`; or let a coin speak for you, for 64: `exchange-node identity stake`"
        } else {
            "withdraw one: `exchange-node offer revoke`"
        };
        Err(ApiError::new(Code::NotAllowed, message, hint))
    }

    fn offer_view(&self, id: &RecordId) -> Result<OfferView, ApiError> {
        market::offer(&Viewer::of(&self.tools).explained()?, id)
    }

    /// Returns the adverts that a new offer names: those that its maker chose, or else those whom he trusts. Adverts are
    /// free, so that a thief can be all that are known: nobody is ever chosen for a user.
    async fn arbiters_of(&self, request: &PostOffer) -> Result<Vec<RecordId>, ApiError> {
        let me = self.tools.identity.author();
        let known = Viewer::of(&self.tools).explained()?.arbiters().await?;
        let serves = |arbiter: &ArbiterView| {
            let currencies = &arbiter.currencies;
            arbiter.author != me
                && !arbiter.members.contains(&me)
                && !arbiter.withdrawn
                && request.max <= arbiter.max_amount
                && (currencies.is_empty() || currencies.contains(&request.currency))
        };
        if request.arbiters.is_empty() {
            let trusted = known.iter().filter(|arbiter| arbiter.trusted && serves(arbiter));
            let adverts: Vec<RecordId> = trusted.map(|arbiter| arbiter.advert).take(MAX_ARBITERS).collect();
            if adverts.is_empty() {
                let is_other = |arbiter: &&ArbiterView| arbiter.author != me && !arbiter.members.contains(&me);
                let trusted = known.iter().filter(is_other).filter(|arbiter| arbiter.trusted);
                let why: Vec<String> = trusted.take(MAX_ARBITERS).map(|arbiter| unserved(arbiter, request)).collect();
                let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
                let message =
                    format!("you trust no arbiter who serves {} and {} BTC{why}", request.currency, request.max);
                let hint = "`exchange-node arbiter list` shows who there is; name one whom you know with --arbiter, or \
                            trust one for good: `exchange-node arbiter trust`";
                return Err(ApiError::new(Code::InvalidArgument, message, hint));
            }
            return Ok(adverts);
        }
        for advert in &request.arbiters {
            let arbiter = known.iter().find(|arbiter| arbiter.advert == *advert);
            if !arbiter.is_some_and(serves) {
                let (advert, what) = (advert.short(), format!("{} and {} BTC", request.currency, request.max));
                let why = format!("is unknown, is you, has withdrawn, or does not serve {what}");
                let message = format!("the arbiter of advert {advert} {why}");
                return Err(ApiError::new(
                    Code::InvalidArgument,
                    message,
                    "`exchange-node arbiter list` shows who does",
                ));
            }
        }
        Ok(request.arbiters.clone())
    }

    pub(super) async fn revoke(&mut self, id: RecordId) -> Result<OfferView, ApiError> {
        let view = self.offer_view(&id)?;
        if !view.mine {
            let message = format!("offer {id} is not one of this node's");
            return Err(ApiError::new(Code::NotAllowed, message, "`exchange-node offer list` shows them"));
        }
        let (record, _) = self.open_offer(&id)?;
        let revoke = Body::Revoke(Revoke { offer: record.id() });
        self.tools.keeper.publish(self.tools.identity.clone(), revoke).await.explained()?;
        self.offer_view(&id)
    }

    fn open_offer(&self, id: &RecordId) -> Result<(Record, Offer), ApiError> {
        let ledger = self.tools.keeper.ledger();
        let unknown = || ApiError::new(Code::NotFound, format!("offer {id} is not in the ledger"), "look at the book");
        let (record, offer) = ledger.offer(id).explained()?.ok_or_else(unknown)?;
        let gone = |what: &str| {
            Err(ApiError::new(Code::OfferGone, format!("offer {id} {what}"), "look at the book for another"))
        };
        match ledger.offer_standing(&record).explained()? {
            OfferStanding::Accepted(_) => gone("was just taken by somebody else"),
            OfferStanding::Withdrawn => gone("was withdrawn by its maker"),
            OfferStanding::Open if offer.expires <= clock::unix_now() => gone("has ended"),
            OfferStanding::Open => Ok((record, offer)),
        }
    }

    pub(super) async fn take(&mut self, request: TakeOffer) -> Result<TradeView, ApiError> {
        check_details(&request.details)?;
        let (offer, offer_body) = self.open_offer(&request.offer)?;
        let review = market::review(&self.tools, &request).await?;
        if is_blank(&request.details) {
            return Err(no_details());
        }
        if !review.affordable {
            let message = format!("the wallet cannot pay {} BTC and the fee", review.locked());
            return Err(ApiError::new(
                Code::InsufficientFunds,
                message,
                "deposit coins first: `exchange-node wallet address`",
            ));
        }
        let (nonce, salt) = (entropy::bytes32(), entropy::bytes32());
        let external = self.external_key(&nonce)?;
        let take = |destination| -> Result<Body, ApiError> {
            let take = Take {
                offer: offer.id(),
                amount: request.amount,
                method: request.method.unwrap_or_default(),
                arbiter: position_of(&offer_body, &review.arbiter.advert)?,
                second_arbiter: match &review.second_arbiter {
                    Some(second) => Some(position_of(&offer_body, &second.advert)?),
                    None => None,
                },
                nonce,
                party: keys::party(&self.tools.identity, &nonce, external, destination, &salt, &request.details),
            };
            self.tools.private.put_details(&nonce, salt, &request.details).explained()?;
            Ok(Body::Take(take))
        };
        let record = self.tools.publish_naming(named(request.request_id), take).await?;
        let id = TradeId::from(record.id());
        self.refresh(id).await;
        self.show(id)
    }

    pub(super) async fn accept(&mut self, request: AcceptBid) -> Result<TradeView, ApiError> {
        check_details(&request.details)?;
        let view = self.show(request.trade)?;
        let event = Event::Command(Command { action: Action::Accept, feerate: 1 });
        if let Some(active) = self.trades.get(&request.trade) {
            active.trade.clone().handle(event.clone()).explained()?;
            if is_blank(&request.details) && self.details_for(active)?.is_none() {
                return Err(no_details());
            }
        }
        if request.dry_run {
            return Ok(view);
        }
        if !is_blank(&request.details) {
            let bid: Option<Bid> = self.trades.get(&request.trade).map(|active| active.trade.bid().clone());
            let (salt, details) = (entropy::bytes32(), request.details);
            if let Some(bid) = bid {
                self.tools.private.put_details(&keys::nonce(&bid, true), salt, &details).explained()?;
            }
            self.handle(request.trade, Event::Prepared { salt, details }).await?;
        }
        self.handle(request.trade, event).await?;
        self.refresh(request.trade).await;
        self.show(request.trade)
    }

    /// Returns the payment details that an acceptance of this bid hands over: those that were chosen for it, with the salt of
    /// their commitment, or else those of the offer, which have none yet. `None` when there are none.
    pub(super) fn details_for(&self, active: &Active) -> Result<Option<Details>, ApiError> {
        if let Some((salt, chosen)) = &active.trade.local().details
            && !is_blank(chosen)
        {
            return Ok(Some((Some(*salt), chosen.clone())));
        }
        let offer = self.tools.keeper.ledger().record(&active.trade.bid().offer_id).explained()?;
        let Some(offer) = offer else { return Ok(None) };
        let kept = self.tools.private.offer_details(&offer.header().body_hash).explained()?;
        Ok(kept.filter(|details| !is_blank(details)).map(|details| (None, details)))
    }

    /// Says that this identity is still there, while it has open offers and nothing else was heard of it lately.
    pub(super) async fn heartbeat(&mut self) {
        let (me, now) = (self.tools.identity.author(), clock::unix_now());
        // Who has no open offers is not in the book.
        let last_seen = self.tools.keeper.book().last_seen(&me);
        let head = self.tools.private.own_head(&me).ok().flatten().map(|head| head.time);
        if !last_seen.is_some_and(|last_seen| is_silent(last_seen, head, now)) {
            return;
        }
        let published = match self.waits_for_its_log(Kind::Heartbeat) {
            Ok(true) => return, // until the next retry
            Ok(false) => self.tools.keeper.publish(self.tools.identity.clone(), Body::Heartbeat).await.explained(),
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            tracing::warn!(%error, "the heartbeat could not be published; trying again");
        }
    }
}

/// Tells whether nothing was heard for long of somebody whose last record that counts in the book, and the last of the log that he
/// goes on with, have these times. One that a clock that was ahead has dated was dropped by all others: nobody heard it.
fn is_silent(last_seen: u64, head: Option<u64>, now: u64) -> bool {
    let heard = if last_seen > now.saturating_add(MAX_CLOCK_SKEW_S) { head } else { Some(last_seen) };
    heard.is_some_and(|heard| heard.saturating_add(HEARTBEAT_INTERVAL_S) <= now)
}

/// Payment details, and the salt of their commitment, if it was chosen.
pub(super) type Details = (Option<[u8; 32]>, String);

/// Says what an arbiter does not serve of what is to be offered.
fn unserved(arbiter: &ArbiterView, request: &PostOffer) -> String {
    if arbiter.gone {
        format!("no advert of {} counts any more", arbiter.name)
    } else if arbiter.withdrawn {
        format!("{} has withdrawn", arbiter.name)
    } else if request.max > arbiter.max_amount {
        format!("{} takes up to {} BTC", arbiter.name, arbiter.max_amount)
    } else {
        format!("{} does not serve {}", arbiter.name, request.currency)
    }
}

/// Returns the name of a request that has one: the people of the demo ask without.
fn named(request: String) -> Option<String> {
    (!request.is_empty()).then_some(request)
}

/// Returns where an offer names an arbiter. Counted in the offer itself: what a view shows leaves out who is unknown.
fn position_of(offer: &Offer, advert: &RecordId) -> Result<u8, ApiError> {
    let position = offer.arbiters.iter().position(|named| named == advert);
    position.and_then(|at| u8::try_from(at).ok()).ok_or_else(|| invalid("the offer does not name this arbiter"))
}

fn check_details(details: &str) -> Result<(), ApiError> {
    Text::<MAX_DETAILS_LEN>::new(details).map(drop).map_err(bad_text("the payment details"))
}

/// Tells whether payment details say nothing.
fn is_blank(details: &str) -> bool {
    details.trim().is_empty()
}

/// Refuses what would bind somebody without his payment details: the buyer would not know where to pay, or the seller whose
/// payment it is, and the coins would lie in the escrow meanwhile.
pub(super) fn no_details() -> ApiError {
    let message = "no payment details are given: without them nobody knows where to pay, or who has paid";
    let hint = "write them into a file, e.g. your name and account, and add --details-file FILE; only the other party gets \
                them";
    ApiError::new(Code::InvalidArgument, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_heard_of_by_a_clock_that_was_ahead_says_that_he_is_there() {
        let now = 1_800_000_000;
        let ahead = now + 5 * 24 * 3600;
        let long_ago = now - HEARTBEAT_INTERVAL_S;
        for (last_seen, head, silent) in [
            (long_ago, Some(long_ago), true),
            (long_ago + 1, Some(long_ago + 1), false),
            (now + MAX_CLOCK_SKEW_S, Some(long_ago), false), // others have taken it
            (ahead, Some(long_ago), true),
            (ahead, Some(now), false), // a new log's: nobody is told every five seconds
            (ahead, Some(ahead), false),
            (ahead, None, false),
        ] {
            assert_eq!(is_silent(last_seen, head, now), silent, "{last_seen} {head:?}");
        }
    }
}
