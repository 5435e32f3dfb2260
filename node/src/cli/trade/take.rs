//! Taking an offer: a look at what it means, a yes, and the bid.

use clap::Args;
use exchange_api::{Client, ExchangeApiClient, OfferView, RecordId, Role, Sats, TakeOffer, TakeReview};

use crate::cli::arbiter;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::offer;
use crate::cli::output::{Answer, Lines};
use crate::cli::prefix::Prefix;
use crate::cli::secrets::DetailsArgs;
use crate::cli::trade::show;

/// Bid for an offer
///
/// Shows what you send and receive, and asks, before anything is agreed. --dry-run only shows it. With --yes nothing is shown, so the
/// offer's whole id is needed: somebody else's may begin like one that is gone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node trade take 1f0c9a3b --amount 0.01 --dry-run
  exchange-node trade take 1f0c9a3b --amount 0.01 --method \"SEPA instant\" --arbiter Ada --details-file ./iban")]
pub struct Take {
    /// The offer's id, or the first digits of it
    offer: Prefix,
    /// How much in BTC
    #[arg(long, value_name = "BTC")]
    amount: Sats,
    /// The payment method: its name, or its number in `offer show` [default: the first]
    #[arg(long, value_name = "NAME|N")]
    method: Option<String>,
    /// The arbiter, one of the offer's: his name, his number in `offer show`, or the first digits of his advert or id
    /// [default: the first whom you trust, see `arbiter trust`]
    #[arg(long, value_name = "NAME|N|ID")]
    arbiter: Option<String>,
    /// Who rules when the arbiter is silent, another one of the offer's, named likewise [default: the next whom you trust]
    #[arg(long, value_name = "NAME|N|ID")]
    second_arbiter: Option<String>,
    #[command(flatten)]
    details: DetailsArgs,
    #[command(flatten)]
    money: MoneyArgs,
}

impl Take {
    /// Bids, after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        if !must_ask && !self.money.dry_run && self.offer.whole::<RecordId>().is_none() {
            // Ids are hashes of what their authors choose, so anybody can make one that begins with the digits that lists show.
            return Err(Failure::usage(
                "--yes asks nothing, so it takes the whole id of an offer, not the first digits of one",
                "`exchange-node book --json` shows whole ids; or leave --yes out, and look at what you are asked",
            ));
        }
        let client = context.client().await?;
        let mut request = self.request(&client, context).await?;
        if self.money.dry_run {
            let review = client.trade_review(request).await?;
            return Ok(Answer::new(&review, text(&review)));
        }
        if must_ask {
            let review = client.trade_review(request.clone()).await?;
            context.confirm(&format!("{}\nBid for it?", text(&review)))?;
            // Under those whom he was shown, and nobody whom he trusts by now.
            request.arbiter = Some(review.arbiter.advert);
            request.second_arbiter = review.second_arbiter.map(|second| second.advert);
        }
        let id = request.request_id.clone();
        let trade = client.trade_take(request).await.map_err(|error| self.money.failed(error, &id))?;
        Ok(Answer::new(&trade, show::show(&trade)))
    }

    async fn request(&self, client: &Client, context: &mut Context<'_>) -> Result<TakeOffer, Failure> {
        let offer = offer::find(&self.offer, client).await?;
        let (mut method, mut arbiter, mut second_arbiter) = (None, None, None);
        if self.method.is_some() || self.arbiter.is_some() || self.second_arbiter.is_some() {
            let offer = client.offer_show(offer).await?;
            method = self.method.as_ref().map(|text| method_at(text, &offer)).transpose()?;
            arbiter = self.arbiter.as_ref().map(|text| arbiter_of(text, &offer)).transpose()?;
            second_arbiter = self.second_arbiter.as_ref().map(|text| arbiter_of(text, &offer)).transpose()?;
        }
        // What only shows the terms needs no details.
        let question = (!self.money.dry_run).then_some("Your payment details, for the maker only:");
        Ok(TakeOffer {
            request_id: self.money.request_id(),
            dry_run: self.money.dry_run,
            offer,
            amount: self.amount,
            method,
            arbiter,
            second_arbiter,
            details: self.details.read(question, context)?,
        })
    }
}

/// Returns the position of a method that is given by name, whatever its case, or by position.
fn method_at(text: &str, offer: &OfferView) -> Result<u8, Failure> {
    let named = offer.methods.iter().position(|method| method.to_lowercase() == text.to_lowercase());
    let position = named.or_else(|| text.parse::<usize>().ok().filter(|position| *position < offer.methods.len()));
    position.and_then(|position| u8::try_from(position).ok()).ok_or_else(|| {
        let methods: Vec<String> = offer.methods.iter().map(|method| format::clean_line(method)).collect();
        Failure::usage(format!("the offer has no method `{text}`"), format!("it has: {}", methods.join(", ")))
    })
}

/// Returns the advert of an arbiter who is given by number, name or id.
fn arbiter_of(text: &str, offer: &OfferView) -> Result<RecordId, Failure> {
    let numbered = text.parse::<usize>().ok().and_then(|position| offer.arbiters.get(position));
    match numbered {
        Some(arbiter) => Ok(arbiter.advert),
        None => Ok(arbiter::pick(text, &offer.arbiters)?.advert),
    }
}

/// Returns what a bid would mean.
fn text(review: &TakeReview) -> String {
    let (amount, fee) = (format::btc(review.amount), |fee| format!("{} BTC", format::btc(fee)));
    let is_bond = |bond: Sats| bond > Sats::ZERO;
    let money = format::money(review.offer.currency, review.cost);
    let method = format::clean_line(&review.method);
    let mut lines = Lines::default();
    match review.role {
        Role::Buyer | Role::Arbiter => {
            lines.line("you send", format!("{money} by {method}"));
            lines.line("you receive", format!("{amount} BTC, less about {} for the network", fee(review.payout_fee)));
        }
        Role::Seller => {
            lines.line("you send", format!("{amount} BTC, and about {} for the network", fee(review.funding_fee)));
            lines.line("you receive", format!("{money} by {method}"));
        }
    }
    let (mine, theirs) = match review.role {
        Role::Seller => (review.seller_bond, review.buyer_bond),
        Role::Buyer | Role::Arbiter => (review.buyer_bond, review.seller_bond),
    };
    if is_bond(mine) {
        let back = "it comes back to you at the end, unless it pays for a dispute that you lose";
        lines.line("your bond", format!("{} BTC; {back}", format::btc(mine)));
        let network =
            if review.role == Role::Buyer { format!(", and about {}", fee(review.funding_fee)) } else { String::new() };
        lines.line("you lock", format!("{} BTC{network}", format::btc(review.locked())));
    }
    if is_bond(theirs) {
        lines.line("the other's bond", format!("{} BTC", format::btc(theirs)));
    }
    if is_bond(review.buyer_bond) {
        lines.line("funding", "both of you fund the escrow in one transaction: each with `trade fund`");
    }
    let (name, share) = (arbiter::named(&review.arbiter), format::per_million(review.arbiter.fee_ppm));
    lines.line("arbiter", format!("{name} ({}), {share} for a ruling", review.arbiter.advert.short()));
    if let Some(second) = &review.second_arbiter {
        let (name, share) = (arbiter::named(second), format::per_million(second.fee_ppm));
        lines.line("if he is silent", format!("{name} ({}), {share} for a ruling", second.advert.short()));
    }
    lines.line(
        "terms",
        if review.offer.terms.is_empty() { "none".to_owned() } else { format::clean(&review.offer.terms) },
    );
    let confirmed = format::counted(u64::from(review.confirmations), "confirmation");
    lines.line("payment", format!("after {confirmed}, within {}", format::blocks(review.pay_within)));
    lines.line("refund", format!("to the seller after {} if nobody acts", format::blocks(review.refund_after)));
    if !review.arbiter.trusted {
        let text =
            format!("{name} is not on your list of trusted arbiters: with the other party he can take the coins");
        lines.line("warning", text);
    }
    if !review.affordable {
        lines.line("warning", "your wallet cannot pay this yet: deposit coins first");
    }
    lines.render()
}
