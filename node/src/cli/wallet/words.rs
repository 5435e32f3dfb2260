//! The wallet without email and password: its words, and the coins of other words.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use exchange_api::{Client, ExchangeApiClient, Sats, SweepView, SweepWords};
use jsonrpsee::core::ClientError;

use super::fee::FeeArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::identity::no_password;
use crate::cli::money::MoneyArgs;
use crate::cli::output::Answer;
use crate::cli::secrets::{self, PASSWORD_VARIABLE, Secret};

/// The words of another wallet.
const WORDS_VARIABLE: &str = "EXCHANGE_WORDS";
/// How often the node is asked how far the search is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Show the 24 words of your wallet
///
/// Any wallet that knows BIP-39 and BIP-86 finds your coins by them, without email and password. They give the coins of the
/// wallet and nothing else: neither your identity, nor coins in the escrow of a trade. Whoever has them has your coins.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node wallet words                                 asks for the password
  exchange-node wallet words --password-file ./password")]
pub struct Words {
    /// A file with the password of your identity [else: $EXCHANGE_PASSWORD, else asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Bring all coins of another wallet here, by its words
///
/// For a wallet whose email or password is lost, or any other BIP-86 wallet of BIP-39 words without a passphrase. The chain is
/// searched for its coins, which takes as long as it is; they are sent to an address of this wallet. The words are not kept.
/// What cannot be brought yet is named: keep them until nothing is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node wallet sweep --dry-run                       asks for the words and searches
  exchange-node wallet sweep --words-file ./words --from-height 880000")]
pub struct Sweep {
    /// A file with the words [else: $EXCHANGE_WORDS, else asked for]
    #[arg(long, value_name = "FILE")]
    words_file: Option<PathBuf>,
    /// A height before which the wallet was not used
    #[arg(long, value_name = "N", default_value_t = 0)]
    from_height: u32,
    /// How many seconds to wait for the search; it goes on, and can be asked for again
    #[arg(long, value_name = "S", default_value_t = 3600)]
    timeout: u64,
    #[command(flatten)]
    fee: FeeArgs,
    #[command(flatten)]
    money: MoneyArgs,
}

impl Words {
    /// Shows the words.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let password = match secrets::given(self.password_file.as_deref(), PASSWORD_VARIABLE)? {
            Some(password) => password,
            None if context.console.is_interactive => secrets::prompt("Password:")?,
            None => return Err(no_password()),
        };
        let words = context.client().await?.wallet_words(password.to_string()).await?;
        context.say("Write them on paper. Whoever reads them has your coins.\n");
        Ok(Answer::new(&words, numbered(&words.words)))
    }
}

impl Sweep {
    /// Searches, shows what was found, and brings it after a yes.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let words = match secrets::given(self.words_file.as_deref(), WORDS_VARIABLE)? {
            Some(words) => words,
            None if context.console.is_interactive => secrets::prompt("The words, separated by spaces:")?,
            None => return Err(Failure::usage("no words are given", format!("use --words-file or {WORDS_VARIABLE}"))),
        };
        let words = Secret::new(words.split_whitespace().collect::<Vec<_>>().join(" "));
        let client = context.client().await?;
        let request = SweepWords {
            request_id: self.money.request_id(),
            dry_run: true,
            words: words.to_string(),
            from_height: self.from_height,
            fee: self.fee.choice(),
            priced: None,
        };
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let mut found = search(&client, &request, deadline, context, Failure::from).await?;
        if let SweepView::Found { amount, fee, pending, rest } = &found
            && !self.money.dry_run
        {
            if must_ask {
                let (amount, fee) = (format::btc(*amount), format::btc(*fee));
                context.say(left_behind(*pending, *rest));
                context.confirm(&format!("Bring {amount} BTC into your wallet, for a fee of {fee} BTC?"))?;
            }
            let order = SweepWords { dry_run: false, priced: must_ask.then(|| found.clone()), ..request };
            let failed = |error| self.money.failed(error, &order.request_id);
            found = search(&client, &order, deadline, context, failed).await?;
        }
        Ok(Answer::new(&found, sentence(&found)))
    }
}

/// Asks until the search is over.
async fn search(
    client: &Client,
    request: &SweepWords,
    deadline: Instant,
    context: &mut Context<'_>,
    failed: impl Fn(ClientError) -> Failure,
) -> Result<SweepView, Failure> {
    loop {
        match client.wallet_sweep(request.clone()).await.map_err(&failed)? {
            SweepView::Searching { height } if Instant::now() >= deadline => {
                let message = format!("the search has come to block {height} and goes on");
                return Err(Failure::timed_out(message, "give the same command again, with a longer --timeout"));
            }
            SweepView::Searching { height } => {
                context.say(format_args!("\rsearching, at block {height}"));
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            done => {
                context.say("\r");
                return Ok(done);
            }
        }
    }
}

fn sentence(view: &SweepView) -> String {
    match view {
        SweepView::Searching { height } => format!("The search has come to block {height}.\n"),
        SweepView::Empty { pending } if *pending > Sats::ZERO => {
            format!("{} BTC are on their way to it. Nothing can be brought yet.\n", format::btc(*pending))
        }
        SweepView::Empty { .. } => "Nothing was found.\n".to_owned(),
        SweepView::Found { amount, fee, pending, rest } => {
            let (amount, fee, left) = (format::btc(*amount), format::btc(*fee), left_behind(*pending, *rest));
            format!("{amount} BTC would arrive, for a fee of {fee} BTC. Nothing was sent.\n{left}")
        }
        SweepView::Sent { txid, amount, fee, pending, rest } => {
            let (amount, fee, left) = (format::btc(*amount), format::btc(*fee), left_behind(*pending, *rest));
            format!("{amount} BTC are on their way into your wallet, for a fee of {fee} BTC: {txid}\n{left}")
        }
    }
}

/// Says what a sweep does not bring. Nobody is to throw the words away before all of it is here.
fn left_behind(pending: Sats, rest: Sats) -> String {
    let mut text = String::new();
    if rest > Sats::ZERO {
        let rest = format::btc(rest);
        text.push_str(&format!("{rest} BTC lie in more coins than a payment takes: keep the words and sweep again.\n"));
    }
    if pending > Sats::ZERO {
        let pending = format::btc(pending);
        text.push_str(&format!("{pending} BTC are still on their way there: keep the words and sweep again later.\n"));
    }
    text
}

/// Returns the words in four columns, each with its number.
fn numbered(words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let rows = words.len().div_ceil(4);
    let mut text = String::new();
    for row in 0..rows {
        let cells = (0..4).filter_map(|column| {
            let at = column * rows + row;
            words.get(at).map(|word| format!("{:>2} {word:<10}", at + 1))
        });
        text.push_str(cells.collect::<Vec<_>>().join(" ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_says_what_it_leaves_behind() {
        let sats = |amount| Sats::new(amount).unwrap();
        let sent = |pending, rest| {
            let (amount, fee) = (sats(50_000_000), sats(200));
            sentence(&SweepView::Sent { txid: "ab".repeat(32), amount, fee, pending, rest })
        };
        assert_eq!(sent(Sats::ZERO, Sats::ZERO).lines().count(), 1);
        let told = sent(sats(1_000_000), sats(2_000_000));
        assert!(told.contains("\n0.02 BTC lie in more coins") && told.contains("\n0.01 BTC are still on"), "{told}");
        assert_eq!(told.matches("keep the words").count(), 2, "{told}");
    }

    #[test]
    fn words_are_numbered_down_the_columns() {
        let words: Vec<String> = (1..=24).map(|at| format!("word{at}")).collect();
        let text = numbered(&words.join(" "));
        assert_eq!(text.lines().count(), 6);
        assert_eq!(text.lines().next().unwrap().split_whitespace().nth(2), Some("7"));
    }
}
