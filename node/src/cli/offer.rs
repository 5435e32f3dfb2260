//! One's own offers, and looking at anybody's.

use clap::{Args, Subcommand};
use exchange_api::{
    BookFilter, Client, Currency, ExchangeApiClient, OfferState, OfferView, PostOffer, RecordId, Sats, Side,
};

use crate::cli::arbiter;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::{Answer, Lines, Table};
use crate::cli::prefix::Prefix;
use crate::cli::secrets::DetailsArgs;
use crate::cli::values::{self, Percent, SideArg};
use crate::clock;
use exchange_ledger::trade::share_of;

/// The most pages of the book that are searched for the beginning of an id: with 500 offers a page, more than any book.
const MAX_PAGES: usize = 64;
/// The largest page of the book that the API gives.
const PAGE: u32 = 500;

/// Post, show and withdraw offers
#[derive(Debug, Subcommand)]
pub enum Offer {
    Post(Post),
    /// Show your own offers, newest first
    List,
    /// Show one offer with all its terms
    Show {
        /// Its id, or the first digits of it
        offer: Prefix,
    },
    /// Withdraw one of your offers; trades that began with it go on
    Revoke {
        /// Its id, or the first digits of it
        offer: Prefix,
    },
}

/// Post an offer to the book
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node offer post sell --currency EUR --price 61750.00 --min 0.005 --max 0.02 \\
      --method \"SEPA instant\" --arbiter Ada --automatic --details-file ./iban
  exchange-node offer post buy --currency USD --price 66000 --min 0.01 --max 0.01 \\
      --method Wise --method Zelle --days 2
  exchange-node offer post sell --currency EUR --price 61750.00 --min 0.005 --max 0.02 \\
      --method \"SEPA instant\" --seller-bond-percent 10 --buyer-bond-percent 7.5")]
pub struct Post {
    /// What you want to do
    side: SideArg,
    /// The other money, e.g. EUR
    #[arg(long, value_name = "CODE")]
    currency: Currency,
    /// The price of one bitcoin in the other money
    #[arg(long)]
    price: String,
    /// The smallest amount in BTC
    #[arg(long, value_name = "BTC")]
    min: Sats,
    /// The largest amount in BTC
    #[arg(long, value_name = "BTC")]
    max: Sats,
    /// A payment method; may be repeated
    #[arg(long = "method", value_name = "NAME", required = true)]
    methods: Vec<String>,
    /// What else a taker must know and keep to
    #[arg(long, default_value = "", hide_default_value = true)]
    terms: String,
    /// An arbiter whom you trust, by name or the first digits of his advert or id, the preferred first; may be repeated
    /// [default: those of `arbiter trust` that serve this trade]
    #[arg(long = "arbiter", value_name = "NAME|ID")]
    arbiters: Vec<String>,
    /// Accept the first good bid without asking; your node must be running
    #[arg(long)]
    automatic: bool,
    /// What the seller locks besides the amount, in percent of it; it comes back to him unless it pays for a dispute that he
    /// loses: 0, or 5 to 50
    #[arg(long, value_name = "PERCENT", default_value = "0", hide_default_value = true)]
    seller_bond_percent: Percent,
    /// What the buyer locks, likewise. Then both must be there when the escrow is funded, and the buyer needs coins too
    #[arg(long, value_name = "PERCENT", default_value = "0", hide_default_value = true)]
    buyer_bond_percent: Percent,
    #[command(flatten)]
    details: DetailsArgs,
    /// How long the offer lives
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=30))]
    days: u8,
    #[command(flatten)]
    money: MoneyArgs,
}

impl Offer {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Post(post) => post.perform(context).await,
            Self::List => {
                let offers = context.client().await?.offer_list().await?;
                let empty = "You have no offers. `exchange-node offer post` makes one.";
                Ok(Answer::new(&offers, table(&offers, clock::unix_now(), empty)))
            }
            Self::Show { offer } => {
                let client = context.client().await?;
                let offer = client.offer_show(find(&offer, &client).await?).await?;
                Ok(Answer::new(&offer, show(&offer, clock::unix_now())))
            }
            Self::Revoke { offer } => {
                let client = context.client().await?;
                let id = match offer.whole() {
                    Some(id) => id,
                    None => offer.pick("offer", client.offer_list().await?.iter().map(|offer| offer.id))?,
                };
                let offer = client.offer_revoke(id).await?;
                Ok(Answer::new(&offer, format!("Offer {} is withdrawn.\n", offer.id.short())))
            }
        }
    }
}

impl Post {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let price = values::price(&self.price, self.currency)?;
        let client = context.client().await?;
        let question = self.automatic.then_some("Your payment details, for accepted takers only:");
        let request = PostOffer {
            request_id: self.money.request_id(),
            dry_run: self.money.dry_run,
            side: self.side.side(),
            currency: self.currency,
            price,
            min: self.min,
            max: self.max,
            methods: self.methods,
            terms: self.terms,
            arbiters: find_arbiters(&self.arbiters, &client).await?,
            automatic: self.automatic,
            details: self.details.read(question, context)?,
            lifetime_s: Some(u64::from(self.days) * 24 * 3600),
            seller_bond_ppm: self.seller_bond_percent.0,
            buyer_bond_ppm: self.buyer_bond_percent.0,
        };
        let id = request.request_id.clone();
        let offer = client.offer_post(request).await.map_err(|error| self.money.failed(error, &id))?;
        // A wallet that cannot be asked yet, because it has not caught up, warns of nothing.
        let balance = client.wallet_balance().await.ok();
        if let Some(note) = balance.and_then(|balance| shortage(&offer, balance.spendable)) {
            context.say(note);
        }
        let text = if self.money.dry_run {
            format!("The offer is good. Nothing was posted.\n\n{}", show(&offer, clock::unix_now()))
        } else {
            format!("Offer {} is in the book: {}.\n", offer.id.short(), sentence(&offer))
        };
        Ok(Answer::new(&offer, text))
    }
}

/// Returns what to tell a maker whose wallet does not hold what the largest bid would make him lock, with the fee.
fn shortage(offer: &OfferView, spendable: Sats) -> Option<String> {
    let locked = match offer.side {
        Side::Sell => share_of(offer.max, offer.seller_bond_ppm).and_then(|bond| offer.max.checked_add(bond))?,
        Side::Buy => share_of(offer.max, offer.buyer_bond_ppm)?,
    };
    (locked > Sats::ZERO && spendable <= locked).then(|| {
        format!(
            "note: your wallet can spend {} BTC, and the largest bid locks {} BTC and a fee. A bid that it cannot pay waits and \
             is not accepted until you deposit coins: `exchange-node wallet address`\n",
            format::btc(spendable),
            format::btc(locked)
        )
    })
}

async fn find_arbiters(named: &[String], client: &Client) -> Result<Vec<RecordId>, Failure> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let known = client.arbiter_list().await?;
    named.iter().map(|text| Ok(arbiter::pick(text, &known)?.advert)).collect()
}

/// Finds an offer by the beginning of its id, in the book and among one's own.
///
/// # Errors
/// When there is none, or more than one.
pub async fn find(prefix: &Prefix, client: &Client) -> Result<RecordId, Failure> {
    if let Some(id) = prefix.whole() {
        return Ok(id);
    }
    // A node without an identity has no offers of its own, but knows the book.
    let mut known: Vec<RecordId> = client.offer_list().await.unwrap_or_default().iter().map(|offer| offer.id).collect();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let filter = BookFilter { away: true, cursor: cursor.take(), limit: Some(PAGE), ..BookFilter::default() };
        let page = client.book(filter).await?;
        known.extend(page.items.iter().map(|offer| offer.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    prefix.pick("offer", known)
}

/// Returns offers as a table, from the user's side.
pub fn table(offers: &[OfferView], now: u64, empty: &str) -> String {
    let titles = ["OFFER", "YOU", "PRICE", "AMOUNT BTC", "COST", "METHODS", "MAKER", "SEEN", "STATE"];
    let mut table = Table::new(&titles, &[2, 3, 4]);
    for offer in offers {
        let cost = format::range(&offer.currency.format(offer.min_cost), &offer.currency.format(offer.max_cost));
        table.row([
            offer.id.short(),
            verb(your_side(offer)).to_owned(),
            format::money(offer.currency, offer.price.get()),
            format::range(&format::btc(offer.min), &format::btc(offer.max)),
            cost,
            format::clean_line(&offer.methods.join(", ")),
            if offer.mine { "you".to_owned() } else { offer.maker.short() },
            format::when(now, offer.last_seen),
            state(offer.state).to_owned(),
        ]);
    }
    table.render(empty)
}

/// Returns an offer with all its terms.
pub fn show(offer: &OfferView, now: u64) -> String {
    let mut lines = Lines::default();
    // What was only tried has no id, and stands nowhere.
    if offer.id == RecordId([0; 32]) {
        lines.line("offer", sentence(offer));
    } else {
        lines.line("offer", offer.id.to_string()).line("", sentence(offer)).line("state", state(offer.state));
    }
    lines.line("price", format!("{} for one BTC", format::money(offer.currency, offer.price.get())));
    for (position, method) in offer.methods.iter().enumerate() {
        lines.line(if position == 0 { "methods" } else { "" }, format!("{position}: {}", format::clean_line(method)));
    }
    lines.line("terms", if offer.terms.is_empty() { "none".to_owned() } else { format::clean(&offer.terms) });
    for (position, arbiter) in offer.arbiters.iter().enumerate() {
        let (name, fee) = (arbiter::named(arbiter), format::per_million(arbiter.fee_ppm));
        let known = match (arbiter.withdrawn, arbiter.trusted) {
            (true, _) => "; he has withdrawn and takes on no more trades",
            (false, true) => ", trusted by you",
            (false, false) => "",
        };
        let text = format!("{position}: {name} ({}), {fee} for a ruling{known}", arbiter.advert.short());
        lines.line(if position == 0 { "arbiters" } else { "" }, text);
    }
    lines.line("seller's bond", bond(offer.seller_bond_ppm, offer));
    lines.line("buyer's bond", bond(offer.buyer_bond_ppm, offer));
    let accepts = if offer.automatic { "by itself" } else { "by hand" };
    lines.line("accepts", accepts);
    let maker = if offer.mine { "you".to_owned() } else { offer.maker.to_string() };
    let trades = format::counted(u64::from(offer.maker_trades), "trade");
    lines.line("maker", format!("{maker}, {trades} closed, last seen {}", format::when(now, offer.last_seen)));
    lines.line("arbiter from", format::blocks(u32::from(offer.arbitration_delay)));
    lines.line("refund from", format::blocks(u32::from(offer.refund_delay)));
    lines.line("ends", format::when(now, offer.expires));
    lines.render()
}

/// Returns what a side locks besides the trade.
fn bond(ppm: u32, offer: &OfferView) -> String {
    if ppm == 0 {
        return "none".to_owned();
    }
    let of = |amount| share_of(amount, ppm).map_or_else(|| "?".to_owned(), format::btc);
    let range = format::range(&of(offer.min), &of(offer.max));
    format!("{} of the amount, {range} BTC; it comes back, less what a lost dispute costs", format::per_million(ppm))
}

/// Returns an offer as a sentence from the user's side.
fn sentence(offer: &OfferView) -> String {
    let amount = format::range(&format::btc(offer.min), &format::btc(offer.max));
    let cost = format::range(&offer.currency.format(offer.min_cost), &offer.currency.format(offer.max_cost));
    format!("you {} {amount} BTC for {cost} {}", verb(your_side(offer)), offer.currency)
}

/// Returns what the user does by this offer: the maker's side if it is his own, else the other.
const fn your_side(offer: &OfferView) -> Side {
    match (offer.side, offer.mine) {
        (Side::Buy, true) | (Side::Sell, false) => Side::Buy,
        (Side::Sell, true) | (Side::Buy, false) => Side::Sell,
    }
}

const fn verb(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

const fn state(state: OfferState) -> &'static str {
    match state {
        OfferState::Live => "live",
        OfferState::Away => "away",
        OfferState::Waiting => "waiting",
        OfferState::Taken => "taken",
        OfferState::Revoked => "withdrawn",
        OfferState::Expired => "ended",
    }
}
