//! Making, unlocking and showing the identity of the running node.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exchange_api::{Client, Credentials, ExchangeApiClient, IdentityInfo, StakeRequest, StakeState, StrengthVerdict};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::money::MoneyArgs;
use crate::cli::output::{Answer, Lines, Table};
use crate::cli::secrets::{self, PASSWORD_VARIABLE, Secret};

/// Make, unlock or show your identity: an email and a password, nothing else
#[derive(Debug, Subcommand)]
pub enum Identity {
    New(New),
    Unlock(Unlock),
    /// Show the unlocked identity
    Show,
    Stake(Stake),
    /// Show the coins that speak for your identity, and whether they count
    Stakes,
}

/// Derive an identity from an email and a password and keep it in the running node
///
/// The same email and password (and secret key, if there is one) give the same identity and the same coins on any machine.
/// Neither ever leaves this one. Deriving takes some seconds and 1 GiB of memory on purpose, to make guessing expensive.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node identity new                                    asks, and suggests a passphrase
  exchange-node identity new --email alice@example.org --password-file ./password
  EXCHANGE_PASSWORD=… exchange-node identity new --email alice@example.org")]
pub struct New {
    /// Your email; it is never sent anywhere
    #[arg(long)]
    email: Option<String>,
    /// A file with the password [else: $EXCHANGE_PASSWORD, else asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file with the optional secret key from paper
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
}

/// Unlock the identity of a node that was started without its password
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node identity unlock                                 asks
  exchange-node identity unlock --password-file ./password")]
pub struct Unlock {
    /// A file with the password [else: $EXCHANGE_PASSWORD, else asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Let a coin of your wallet speak for your identity: 64 of your offers stand in the book instead of 8
///
/// Your node names the smallest confirmed coin of at least 0.01 BTC. It stays yours and can be spent; then the stake ends. It
/// counts once the coin is a day old (144 blocks). Everybody will see that this coin belongs to your identity.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node identity stake --dry-run
  exchange-node identity stake --yes")]
pub struct Stake {
    #[command(flatten)]
    money: MoneyArgs,
}

impl Identity {
    /// Makes, unlocks or shows the identity.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::New(new) => new.perform(context).await,
            Self::Unlock(unlock) => unlock.perform(context).await,
            Self::Show => Ok(answer(&context.client().await?.identity_show().await?)),
            Self::Stake(stake) => stake.perform(context).await,
            Self::Stakes => {
                let stakes = context.client().await?.identity_stakes().await?;
                let mut table = Table::new(&["STAKE", "COIN", "STATE"], &[]);
                for stake in &stakes {
                    table.row([stake.id.short(), stake.coin.clone(), stake_state(stake.state)]);
                }
                let empty = "No coin speaks for you. `exchange-node identity stake` names one.";
                Ok(Answer::new(&stakes, table.render(empty)))
            }
        }
    }
}

impl Stake {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let client = context.client().await?;
        let mut request = StakeRequest { request_id: self.money.request_id(), dry_run: self.money.dry_run };
        if must_ask {
            let chosen = client.identity_stake(StakeRequest { dry_run: true, ..request.clone() }).await?;
            let question = format!("Let everybody see that coin {} belongs to your identity?", chosen.coin);
            context.confirm(&question)?;
            request.dry_run = false;
        }
        let id = request.request_id.clone();
        let stake = client.identity_stake(request).await.map_err(|error| self.money.failed(error, &id))?;
        let (coin, state) = (&stake.coin, stake_state(stake.state));
        let text = if self.money.dry_run {
            format!("This would name coin {coin}. Nothing was published.\n")
        } else {
            format!("Coin {coin} speaks for your identity: {state}.\n")
        };
        Ok(Answer::new(&stake, text))
    }
}

fn stake_state(state: StakeState) -> String {
    match state {
        StakeState::Counts => "it counts".to_owned(),
        StakeState::Young { confirmations, needed } => {
            format!("it counts after {needed} confirmations, it has {confirmations}")
        }
        StakeState::Gone => "its coin is spent, too small or of another key".to_owned(),
        StakeState::OfAnother => "its coin speaks for another identity".to_owned(),
        StakeState::Unknown => "this node's chain backend knows no such coin, and a light client never does".to_owned(),
    }
}

impl New {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let secret_key = self.secret_key_file.as_deref().map(secrets::read_file).transpose()?;
        let given = secrets::given(self.password_file.as_deref(), PASSWORD_VARIABLE)?;
        let email = match self.email {
            Some(email) => email,
            None if context.console.is_interactive => context.console.ask_line("Email:")?.unwrap_or_default(),
            None => return Err(Failure::usage("no email is given", "add --email")),
        };
        let client = context.client().await?;
        let password = match given {
            Some(password) => password,
            None if context.console.is_interactive => choose_password(&client, context).await?,
            None => return Err(no_password()),
        };
        let credentials = Credentials {
            email,
            password: password.to_string(),
            secret_key: secret_key.map(|key| key.trim().to_owned()),
        };
        let strength = client.password_strength(credentials.clone()).await?;
        match strength.verdict {
            // The node refuses it in its own words.
            StrengthVerdict::Refused | StrengthVerdict::Strong => {}
            StrengthVerdict::Weak => {
                let advice = strength.advice;
                context
                    .say(format_args!("warning: 10^{} guesses find this password; {advice}\n", strength.guesses_log10));
            }
        }
        context.say("Deriving the keys. It takes some seconds on purpose.\n");
        Ok(answer(&client.identity_create(credentials).await?))
    }
}

impl Unlock {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let given = secrets::given(self.password_file.as_deref(), PASSWORD_VARIABLE)?;
        let client = context.client().await?;
        let password = match given {
            Some(password) => password,
            None if context.console.is_interactive => secrets::prompt("Password:")?,
            None => return Err(no_password()),
        };
        Ok(answer(&client.identity_unlock(password.to_string()).await?))
    }
}

/// Returns that a password is needed and nobody can be asked.
pub fn no_password() -> Failure {
    Failure::usage("no password is given", format!("use --password-file or {PASSWORD_VARIABLE}"))
}

async fn choose_password(client: &Client, context: &mut Context<'_>) -> Result<Secret, Failure> {
    let passphrase = Secret::new(client.passphrase().await?);
    context.say(format_args!("Six words that nobody guesses, if you like them: {}\n", passphrase.as_str()));
    let password = secrets::prompt("Password:")?;
    if password != secrets::prompt("The same again:")? {
        return Err(Failure::usage("the two passwords differ", "nothing was made; try again"));
    }
    Ok(password)
}

fn answer(identity: &IdentityInfo) -> Answer {
    let mut lines = Lines::default();
    lines.line("identity", identity.author.to_string()).line("email", identity.email.clone());
    Answer::new(identity, lines.render())
}
