//! What taking an offer would mean, and under which arbiters.

use exchange_api::{ApiError, ArbiterView, Code, OfferState, OfferView, TakeOffer, TakeReview};
use exchange_ledger::body::Side;
use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::money::Sats;
use exchange_ledger::rules::LAST_PAYMENT_MARGIN;
use exchange_ledger::trade::{Role, confirmations_for, payout_vsize, share_of};

use super::arbiters::has_withdrawn;
use super::{Viewer, check_honest, offer};
use crate::errors::ExplainResult;
use crate::trader::Tools;

/// The size of a funding transaction with two inputs and change, for estimates, in virtual bytes.
const FUNDING_VSIZE: u64 = 212;
/// What to do instead of a bid under an arbiter who has withdrawn.
const OTHER_ARBITER: &str = "choose another of the offer's arbiters with --arbiter, or another offer";

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
    let arbiter = chosen_arbiter(&offer, request, me)?;
    let method_at = usize::from(request.method.unwrap_or_default());
    let method = offer.methods.get(method_at).cloned();
    let method = method.ok_or_else(|| invalid(format!("the offer has no payment method number {method_at}")))?;
    for (party, who) in [(me, "you are the arbiter yourself"), (offer.maker, "the maker is the arbiter himself")] {
        if !is_none_of(&arbiter, &[party]) {
            return Err(invalid(format!("{who}, or one of the group: choose another")));
        }
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

/// Returns the arbiter that a bid names, or else the first of the offer's whom this node trusts. Nobody else is ever
/// chosen for a user: with the counterparty an arbiter can take the coins.
fn chosen_arbiter(offer: &OfferView, request: &TakeOffer, me: AuthorId) -> Result<ArbiterView, ApiError> {
    let mut known = offer.arbiters.iter();
    let is_free = |arbiter: &&ArbiterView| is_none_of(arbiter, &[offer.maker, me]);
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
        None => known.filter(is_free).find(|arbiter| takes_on(arbiter, request.amount)).cloned().ok_or_else(|| {
            let trusted = || offer.arbiters.iter().filter(is_free).filter(|arbiter| arbiter.trusted);
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

/// Tells whether nobody who speaks as an arbiter is any of these: or the bid would be none.
fn is_none_of(arbiter: &ArbiterView, others: &[AuthorId]) -> bool {
    !arbiter.speakers().iter().any(|speaker| others.contains(speaker))
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
    let others: Vec<AuthorId> = first.speakers().iter().copied().chain([offer.maker, me]).collect();
    let mut known = offer.arbiters.iter().filter(|arbiter| is_none_of(arbiter, &others));
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

#[cfg(test)]
mod tests {
    use exchange_ledger::money::Price;
    use exchange_ledger::testing::sats;

    use super::*;

    const ME: AuthorId = AuthorId([1; 32]);
    const MAKER: AuthorId = AuthorId([2; 32]);

    /// Returns an arbiter whom the user trusts: who rules alone, or a group of these.
    fn arbiter(advert: u8, author: u8, members: &[u8]) -> ArbiterView {
        ArbiterView {
            name: format!("arbiter {advert}"),
            trusted: true,
            threshold: if members.is_empty() { 0 } else { 2 },
            members: members.iter().map(|member| AuthorId([*member; 32])).collect(),
            ..ArbiterView::unknown(RecordId([advert; 32]), AuthorId([author; 32]))
        }
    }

    fn offer(arbiters: Vec<ArbiterView>) -> OfferView {
        OfferView {
            id: RecordId([9; 32]),
            maker: MAKER,
            mine: false,
            side: Side::Sell,
            currency: "EUR".parse().unwrap(),
            price: Price::new(6_000_000).unwrap(),
            min: sats(1),
            max: sats(2),
            min_cost: 0,
            max_cost: 0,
            methods: Vec::new(),
            terms: String::new(),
            arbiters,
            arbitration_delay: 0,
            second_delay: 0,
            refund_delay: 0,
            automatic: true,
            created: 0,
            expires: 0,
            last_seen: 0,
            state: OfferState::Live,
            maker_trades: 0,
            seller_bond_ppm: 0,
            buyer_bond_ppm: 0,
        }
    }

    #[test]
    fn nobody_is_given_an_arbiter_who_is_a_party_or_a_member_of_the_other_one() {
        let request = TakeOffer {
            request_id: String::new(),
            dry_run: true,
            offer: RecordId([9; 32]),
            amount: sats(1),
            method: None,
            arbiter: None,
            second_arbiter: None,
            details: String::new(),
        };
        // With the taker, with the maker, the group, two of its members alone, a stranger alone.
        let (with_me, with_maker) = (arbiter(10, 5, &[1, 5, 6]), arbiter(11, 5, &[2, 5, 6]));
        let (group, author, member, other) =
            (arbiter(12, 5, &[5, 6, 7]), arbiter(13, 5, &[]), arbiter(14, 6, &[]), arbiter(15, 8, &[]));
        for (arbiters, first, second) in [
            (vec![with_me, with_maker, group.clone(), author.clone(), member.clone()], &group, None),
            (vec![author.clone(), group.clone(), member.clone()], &author, Some(member.clone())),
            (vec![group.clone(), member, other.clone()], &group, Some(other)),
        ] {
            let offer = offer(arbiters);
            let chosen = chosen_arbiter(&offer, &request, ME).unwrap();
            assert_eq!(&chosen, first);
            assert_eq!(second_arbiter(&offer, &request, &chosen, ME).unwrap(), second);
        }
        let only_strangers = offer(vec![ArbiterView { trusted: false, ..author }]);
        assert!(chosen_arbiter(&only_strangers, &request, ME).is_err(), "nobody is chosen for a user");
    }
}
