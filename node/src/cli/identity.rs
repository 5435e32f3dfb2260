//! Making and showing the identity of the running node.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exchange_api::{Client, Credentials, ExchangeApiClient, IdentityInfo, StrengthVerdict};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Answer, Lines};
use crate::cli::secrets::{self, PASSWORD_VARIABLE, Secret};

/// Make or show your identity: an email and a password, nothing else
#[derive(Debug, Subcommand)]
pub enum Identity {
    New(New),
    /// Show the unlocked identity
    Show,
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

impl Identity {
    /// Makes or shows the identity.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::New(new) => new.perform(context).await,
            Self::Show => Ok(answer(&context.client().await?.identity_show().await?)),
        }
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
