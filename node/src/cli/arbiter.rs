//! Arbiters: advertising oneself, who did, and whom the user trusts.

use clap::{Args, Subcommand};
use exchange_api::{Advertise, ApiError, ArbiterView, Client, Code, Currency, ExchangeApiClient, Sats, TrustArbiter};

use crate::cli::case::{Cases, Extend, Rule};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::group::Group;
use crate::cli::output::{Answer, Table};
use crate::cli::prefix::Prefix;
use crate::cli::values::Percent;
use crate::clock;

/// Offer to rule when two traders disagree, or show who does
#[derive(Debug, Subcommand)]
pub enum Arbiter {
    Advertise(AdvertiseArgs),
    /// Take on no more trades; you still rule on those that were agreed on
    ///
    /// Your node must go on running until these have ended. To come back, advertise yourself again.
    Withdraw,
    /// Show the known arbiters, the trusted first
    ///
    /// One who is `not here` signed two histories, or his advert is not in your ledger: nobody chooses him, and you can take him
    /// off your list (`arbiter untrust`).
    List,
    /// Trust an arbiter: your offers and bids choose among those by themselves
    ///
    /// With your counterparty, an arbiter can take the coins of a trade. Anybody can advertise himself, under any name: trust
    /// whom you know from elsewhere, and compare the digits of his id, or of a group those of its advert. Who trusts a group
    /// trusts none of its members alone, and no other group of theirs.
    Trust {
        /// His name, or the first digits of his id or advert
        arbiter: String,
    },
    /// Trust an arbiter no more; trades that were agreed on stay as they are
    Untrust {
        /// His name, or the first digits of his id or advert
        arbiter: String,
    },
    Cases(Cases),
    Rule(Rule),
    Extend(Extend),
    #[command(subcommand)]
    Group(Group),
}

/// Advertise this node's identity as an arbiter
///
/// Done again, the new conditions take the place of the earlier ones; trades that were agreed on keep theirs.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  exchange-node arbiter advertise --name \"Ada\" --fee-percent 0.5 --max 1.0 \\
      --language en --language de --currency EUR")]
pub struct AdvertiseArgs {
    /// The name to show
    #[arg(long)]
    name: String,
    /// What a ruling costs, in percent of the trade
    #[arg(long, value_name = "PERCENT")]
    fee_percent: Percent,
    /// The largest trade in BTC
    #[arg(long, value_name = "BTC")]
    max: Sats,
    /// A language that you read and write; may be repeated
    #[arg(long = "language", value_name = "CODE")]
    languages: Vec<String>,
    /// A currency whose payments you can judge; may be repeated [default: any]
    #[arg(long = "currency", value_name = "CODE")]
    currencies: Vec<Currency>,
    /// Anything else that the parties should know
    #[arg(long, default_value = "", hide_default_value = true)]
    terms: String,
}

impl Arbiter {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Advertise(args) => {
                let advert = context.client().await?.arbiter_advertise(args.into()).await?;
                let text = format!("You are now known as an arbiter by the advert {}.\n", advert.advert);
                Ok(Answer::new(&advert, text))
            }
            Self::Withdraw => {
                let advert = context.client().await?.arbiter_withdraw().await?;
                let text = "You take on no more trades as an arbiter. You still rule on those that were agreed on: keep your node \
                            running until they have ended.\n";
                Ok(Answer::new(&advert, text))
            }
            Self::List => {
                let arbiters = context.client().await?.arbiter_list().await?;
                Ok(Answer::new(&arbiters, table(&arbiters, clock::unix_now())))
            }
            Self::Trust { arbiter } => {
                let known = trust(&context.client().await?, &arbiter, true).await?;
                let name = named(&known);
                let text = if known.is_group() {
                    let advert = known.advert.short();
                    format!(
                        "You trust the group {name}, advert {advert}, and none of its members alone. Your offers and bids \
                         choose it by themselves.\n"
                    )
                } else {
                    let id = known.author.short();
                    format!("You trust {name} ({id}). Your offers and bids choose him by themselves.\n")
                };
                Ok(Answer::new(&known, text))
            }
            Self::Untrust { arbiter } => {
                let known = trust(&context.client().await?, &arbiter, false).await?;
                let text = format!("You do not trust {} any more.\n", named(&known));
                Ok(Answer::new(&known, text))
            }
            Self::Cases(cases) => cases.perform(context).await,
            Self::Rule(rule) => rule.perform(context).await,
            Self::Extend(extend) => extend.perform(context).await,
            Self::Group(group) => group.perform(context).await,
        }
    }
}

async fn trust(client: &Client, arbiter: &str, trusted: bool) -> Result<ArbiterView, Failure> {
    let known = pick(arbiter, &client.arbiter_list().await?)?;
    client.arbiter_trust(TrustArbiter { advert: known.advert, trusted }).await?;
    Ok(ArbiterView { trusted, ..known })
}

/// Returns the one arbiter among `known` who is called like this, or is shown so, or whose id or advert begins so. A group goes by
/// its advert: the id of one of its members means him alone.
///
/// # Errors
/// When there is none (refused), or more than one: anybody can take another's name (usage).
pub fn pick(text: &str, known: &[ArbiterView]) -> Result<ArbiterView, Failure> {
    // Whoever calls himself what is shown of another means nobody.
    let is_it = |name: &str| name.to_lowercase() == text.to_lowercase();
    let called: Vec<&ArbiterView> =
        known.iter().filter(|arbiter| is_it(&arbiter.name) || is_it(&named(arbiter))).collect();
    match called[..] {
        [one] => return Ok(one.clone()),
        [] => {}
        [..] => {
            let ids: Vec<String> = called.iter().map(|arbiter| arbiter.advert.short()).collect();
            let message = format!("{} arbiters call themselves `{}`", called.len(), format::clean_line(text));
            return Err(Failure::usage(message, format!("name the advert of the one you mean: {}", ids.join(" or "))));
        }
    }
    let Ok(prefix) = text.parse::<Prefix>() else {
        let message = format!("no arbiter is called `{}`", format::clean_line(text));
        return Err(ApiError::new(Code::NotFound, message, "`exchange-node arbiter list` shows who is known").into());
    };
    let by_advert = known.iter().map(|arbiter| (arbiter.advert.to_string(), arbiter));
    let alone = known.iter().filter(|arbiter| !arbiter.is_group());
    let by_author = alone.map(|arbiter| (arbiter.author.to_string(), arbiter));
    let mut fitting = by_advert.chain(by_author).filter(|(id, _)| prefix.begins(id)).map(|(_, arbiter)| arbiter);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("more than one arbiter's id begins with {text}"), "give more digits"))
        }
        (None, _) => {
            let message = format!("no arbiter's id or advert begins with {text}");
            Err(ApiError::new(Code::NotFound, message, "`exchange-node arbiter list` shows who is known").into())
        }
    }
}

impl From<AdvertiseArgs> for Advertise {
    fn from(args: AdvertiseArgs) -> Self {
        Self {
            name: args.name,
            fee_ppm: args.fee_percent.0,
            max_amount: args.max,
            languages: args.languages,
            currencies: args.currencies,
            terms: args.terms,
        }
    }
}

/// Returns an arbiter's name, and of a group how many of how many rule.
pub fn named(arbiter: &ArbiterView) -> String {
    arbiter.titled(format::clean_line(&arbiter.name))
}

fn table(arbiters: &[ArbiterView], now: u64) -> String {
    let titles = [
        "ADVERT",
        "ID",
        "NAME",
        "FEE",
        "UP TO BTC",
        "LANGUAGES",
        "CURRENCIES",
        "SINCE",
        "TRADES",
        "DISPUTES",
        "RULED",
        "TRUSTED",
    ];
    let mut table = Table::new(&titles, &[3, 4, 8, 9, 10]);
    for arbiter in arbiters {
        let currencies: Vec<&str> = arbiter.currencies.iter().map(Currency::code).collect();
        table.row([
            arbiter.advert.short(),
            if arbiter.is_group() { "group".to_owned() } else { arbiter.author.short() },
            named(arbiter),
            format::per_million(arbiter.fee_ppm),
            match (arbiter.gone, arbiter.withdrawn) {
                (true, _) => "not here".to_owned(),
                (false, true) => "withdrawn".to_owned(),
                (false, false) => format::btc(arbiter.max_amount),
            },
            format::clean_line(&arbiter.languages.join(", ")),
            if currencies.is_empty() { "any".to_owned() } else { currencies.join(", ") },
            format::when(now, arbiter.since),
            arbiter.trades.to_string(),
            arbiter.disputes.to_string(),
            arbiter.rulings.to_string(),
            if arbiter.trusted { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.render("No arbiter is known yet. Their adverts arrive from peers.")
}

#[cfg(test)]
mod tests {
    use exchange_api::{AuthorId, RecordId};

    use super::*;

    fn arbiter(name: &str, id: u8) -> ArbiterView {
        ArbiterView { name: name.into(), ..ArbiterView::unknown(RecordId([id; 32]), AuthorId([id + 1; 32])) }
    }

    #[test]
    fn an_arbiter_is_named_by_name_or_id_and_a_copied_name_names_nobody() {
        let (ada, bob, thief) = (arbiter("Ada", 0xa0), arbiter("Bob", 0xb0), arbiter("ADA", 0xc0));
        let known = [ada.clone(), bob.clone()];
        assert_eq!(pick("ada", &known).unwrap(), ada);
        assert_eq!(pick("b0b0b0", &known).unwrap(), bob, "by advert");
        assert_eq!(pick("b1b1b1b1", &known).unwrap(), bob, "by identity");
        assert_eq!(pick("Eve", &known).unwrap_err().exit_code(), 1);
        assert_eq!(pick("d0d0d0", &known).unwrap_err().exit_code(), 1);
        let known = [ada.clone(), thief, bob];
        let failure = pick("Ada", &known).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.text().contains("2 arbiters call themselves"), "{}", failure.text());
        assert_eq!(pick("a0a0a0", &known).unwrap(), ada);
    }

    #[test]
    fn a_group_goes_by_its_name_or_advert_and_never_by_the_member_who_published_it() {
        let alone = arbiter("Ada", 0xa0);
        let group = ArbiterView {
            author: alone.author,
            threshold: 2,
            members: vec![alone.author, AuthorId([0xb1; 32]), AuthorId([0xc1; 32])],
            ..arbiter("Three judges", 0xd0)
        };
        let known = [group.clone(), alone.clone()];
        assert_eq!(pick("a1a1a1a1", &known).unwrap(), alone);
        assert_eq!(pick("a1a1a1a1", &known[..1]).unwrap_err().exit_code(), 1);
        assert_eq!(pick("d0d0d0", &known).unwrap(), group);
        assert_eq!(pick("three judges", &known).unwrap(), group);
        assert_eq!(named(&group), "Three judges (2 of 3)");
        assert_eq!(pick("three judges (2 of 3)", &known).unwrap(), group);
        // Who calls himself so is shown as what he is, and keeps others from being named by it.
        let thief = arbiter("Three judges (2 of 3)", 0xf0);
        assert_eq!(named(&thief), "Three judges (2 of 3) (rules alone)");
        assert_eq!(pick("Three judges (2 of 3)", &[group.clone(), thief]).unwrap_err().exit_code(), 2);
        let lines = table(&known, 0);
        assert!(lines.contains("d0d0d0d0  group     Three judges (2 of 3)"), "{lines}");
        assert!(lines.contains("a0a0a0a0  a1a1a1a1  Ada"), "{lines}");
    }
}
