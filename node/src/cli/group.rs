//! Groups of arbiters: making one, joining it, and deciding with the others.

use clap::{Args, Subcommand};
use exchange_api::{
    Advertise, AuthorId, CreateGroup, ExchangeApiClient, GroupCase, GroupDecision, GroupState, GroupView, Sats, Verdict,
};

use crate::cli::arbiter::AdvertiseArgs;
use crate::cli::case::{Extend, Rule, To};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::{MoneyArgs, fresh_request_id, parse_request_id};
use crate::cli::output::{Answer, Table};
use crate::cli::prefix::Prefix;

/// Rule together with others, by a key that you share: some of you may be away, and nobody rules alone
#[derive(Debug, Subcommand)]
pub enum Group {
    Create(Create),
    /// Join a group that another has proposed
    ///
    /// Look at its members and conditions first: `group show`. Once all have joined, their nodes make the key by themselves.
    Join {
        /// The group's id, or the first digits of it
        group: Prefix,
    },
    /// Show the groups that you belong to, or are invited to
    List,
    /// Show a group, who is missing, and what its members decided
    Show {
        /// The group's id, or the first digits of it
        group: Prefix,
    },
    Sign(Sign),
}

/// Propose a group; the others join by themselves
///
/// All of them are needed once, until the key is made. Afterwards any so many of them rule. The fee is paid to you, to be shared.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  exchange-node arbiter group create --threshold 2 --member 4b0e… --member 91c7… \\
      --name \"Three judges\" --fee-percent 0.5 --max 1.0 --language en --currency EUR")]
pub struct Create {
    /// How many members it takes to rule: more than half
    #[arg(long)]
    threshold: u8,
    /// The identity of another member, all 64 digits; may be repeated
    #[arg(long = "member", value_name = "IDENTITY", required = true)]
    members: Vec<AuthorId>,
    #[command(flatten)]
    conditions: AdvertiseArgs,
    /// Makes the command safe to repeat: the same id again returns the first answer [default: random]
    #[arg(long, value_name = "ID", value_parser = parse_request_id)]
    request_id: Option<String>,
}

/// Decide a case of your group: your node signs with all who decided alike
///
/// You see what the parties told and showed you by `arbiter cases`. Until a share of your signature has left you can change your mind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node arbiter group sign 1f0c9a3b --to buyer
  exchange-node arbiter group sign 1f0c9a3b --to split --buyer-gets 0.004
  exchange-node arbiter group sign 1f0c9a3b --extend")]
pub struct Sign {
    /// The trade's id, or the first digits of it
    trade: Prefix,
    /// Whom you believe
    #[arg(long, value_name = "WHO", required_unless_present = "extend")]
    to: Option<To>,
    /// Of a split: how much of the amount the buyer gets, in BTC; the seller gets the rest
    #[arg(long, value_name = "BTC", required_if_eq("to", "split"))]
    buyer_gets: Option<Sats>,
    /// Give the dispute more time instead
    #[arg(long, conflicts_with_all = ["to", "buyer_gets"])]
    extend: bool,
    #[command(flatten)]
    money: MoneyArgs,
}

impl Group {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Create(create) => {
                let group = context.client().await?.group_create(create.request()).await?;
                let text = format!(
                    "You have proposed a group. The others join it so:\n  exchange-node arbiter group join {}\n\n{}",
                    group.id.short(),
                    show(&group)
                );
                Ok(Answer::new(&group, text))
            }
            Self::Join { group } => {
                let client = context.client().await?;
                let id = match group.whole() {
                    Some(id) => id,
                    None => group.pick("group", client.group_list().await?.iter().map(|known| known.id))?,
                };
                let group = client.group_join(id).await?;
                Ok(Answer::new(&group, show(&group)))
            }
            Self::List => {
                let groups = context.client().await?.group_list().await?;
                Ok(Answer::new(&groups, table(&groups)))
            }
            Self::Show { group } => {
                let groups = context.client().await?.group_list().await?;
                let id = group.pick("group", groups.iter().map(|known| known.id))?;
                let found = groups.into_iter().find(|known| known.id == id);
                let found = found.ok_or_else(|| Failure::usage("there is no such group", "see `group list`"))?;
                Ok(Answer::new(&found, show(&found)))
            }
            Self::Sign(sign) => sign.perform(context).await,
        }
    }
}

impl Create {
    fn request(self) -> CreateGroup {
        let Advertise { name, fee_ppm, max_amount, languages, currencies, terms } = self.conditions.into();
        CreateGroup {
            request_id: self.request_id.unwrap_or_else(fresh_request_id),
            threshold: self.threshold,
            members: self.members,
            name,
            fee_ppm,
            max_amount,
            languages,
            currencies,
            terms,
        }
    }
}

impl Sign {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self.to {
            Some(to) => Rule::new(self.trade, to, self.buyer_gets, self.money).perform(context).await,
            None => Extend::new(self.trade, self.money).perform(context).await,
        }
    }
}

fn named(verdict: Verdict) -> String {
    match verdict {
        Verdict::Buyer => "for the buyer".to_owned(),
        Verdict::Seller => "for the seller".to_owned(),
        Verdict::Split(part) => format!("to give the buyer {} BTC of it", format::btc(part)),
    }
}

const fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::Invited => "invited",
        GroupState::Joining => "joining",
        GroupState::Dealing => "dealing",
        GroupState::Confirming => "confirming",
        GroupState::Ready => "ready",
        GroupState::Broken => "broken",
    }
}

fn table(groups: &[GroupView]) -> String {
    let mut table = Table::new(&["GROUP", "NAME", "RULE", "STATE", "WAITS FOR", "CASES"], &[5]);
    for group in groups {
        table.row([
            group.id.short(),
            format::clean_line(&group.name),
            format!("{} of {}", group.threshold, group.members.len()),
            state(group.state).to_owned(),
            group.waiting.iter().map(AuthorId::short).collect::<Vec<_>>().join(", "),
            group.cases.len().to_string(),
        ]);
    }
    table.render("You belong to no group of arbiters, and nobody has invited you to one.")
}

fn show(group: &GroupView) -> String {
    let mut lines = vec![
        format!("Group       {}", group.id),
        format!("Name        {}", format::clean_line(&group.name)),
        format!("Rule        {} of {}", group.threshold, group.members.len()),
        format!("Fee         {}, paid to {}", format::per_million(group.fee_ppm), group.proposer.short()),
        format!("Up to       {} BTC", format::btc(group.max_amount)),
        format!("State       {}", state(group.state)),
    ];
    if !group.terms.is_empty() {
        lines.push(format!("Terms       {}", format::clean_line(&group.terms)));
    }
    lines.extend(group.advert.map(|advert| format!("Advert      {advert}")));
    if let Some(problem) = &group.problem {
        let culprit = group.culprit.map_or_else(|| "somebody".to_owned(), |culprit| culprit.to_string());
        lines.push(format!("Problem     {culprit} sent {problem}"));
    }
    for member in &group.members {
        let note = if group.waiting.contains(member) { "  waited for" } else { "" };
        lines.push(format!("Member      {member}{note}"));
    }
    lines.extend(group.cases.iter().map(case));
    lines.push(String::new());
    lines.join("\n")
}

fn case(case: &GroupCase) -> String {
    let decided = match &case.decided {
        Some(GroupDecision::Rule(verdict)) => format!("you decided {}", named(*verdict)),
        Some(GroupDecision::Extend) => "you decided to extend it".to_owned(),
        None => "you have not decided".to_owned(),
    };
    let asked: Vec<String> = case
        .asked
        .iter()
        .map(|ask| match (ask.to_buyer, ask.to_seller) {
            (Some(buyer), Some(seller)) => {
                format!(
                    "{} asks for {} BTC to the buyer, {} to the seller",
                    ask.member.short(),
                    format::btc(buyer),
                    format::btc(seller)
                )
            }
            (_, _) => format!("{} asks to extend it", ask.member.short()),
        })
        .collect();
    let asked = if asked.is_empty() { String::new() } else { format!("; {}", asked.join("; ")) };
    format!("Case        {}: {decided}{asked}", case.trade.short())
}
