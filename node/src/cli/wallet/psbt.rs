//! Transactions that are signed elsewhere too: hardware wallets, co-signers, machines without a network.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use exchange_api::{Client, ExchangeApiClient, FinishPsbt, PsbtView};

use super::{SendArgs, sentence};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::files;
use crate::cli::format;
use crate::cli::money::MoneyArgs;
use crate::cli::output::{Answer, Lines};

/// The largest file that is read as a partially signed transaction; the node takes no larger one.
const MAX_FILE_BYTES: u64 = 600_000;

/// Make, look at, sign and finish transactions that are signed elsewhere too (BIP-174)
#[derive(Debug, Subcommand)]
pub enum Psbt {
    Create(Create),
    Show(Show),
    Sign(Sign),
    Finish(Finish),
}

/// Build an unsigned payment for others to sign; its coins are not set aside
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    send: SendArgs,
    /// Write it to this new file
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

/// Show what a partially signed transaction would do
#[derive(Debug, Args)]
pub struct Show {
    /// The file, in base64 or binary
    file: PathBuf,
}

/// Sign the coins of it that are yours, and freeze them: whoever has the file can send it
///
/// Nothing else spends them until you free them: `wallet unfreeze`. They can be signed for again, and the transaction finished.
#[derive(Debug, Args)]
pub struct Sign {
    /// The file, in base64 or binary
    file: PathBuf,
    /// Write the signed one to this new file
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

/// Complete, check and send a transaction that everybody has signed
#[derive(Debug, Args)]
pub struct Finish {
    /// The file, in base64 or binary
    file: PathBuf,
    /// Pay even a fee beyond 500 sat/vB or a quarter of the amount
    #[arg(long)]
    allow_high_fee: bool,
    #[command(flatten)]
    money: MoneyArgs,
}

/// Reads a file that was signed elsewhere, and shows it and asks if one must.
pub async fn reviewed(
    file: &Path,
    question: Option<&str>,
    client: &Client,
    context: &mut Context<'_>,
) -> Result<String, Failure> {
    let psbt = read(file)?;
    if let Some(question) = question {
        context.say(show(&client.wallet_psbt_show(psbt.clone()).await?));
        context.confirm(question)?;
    }
    Ok(psbt)
}

impl Psbt {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Create(create) => {
                let request = create.send.request(String::new(), true);
                let psbt = context.client().await?.wallet_psbt_create(request).await?;
                write(&create.out, &psbt.psbt)?;
                Ok(Answer::new(&psbt, format!("{}Written to {}.\n", show(&psbt), create.out.display())))
            }
            Self::Show(Show { file }) => {
                let psbt = context.client().await?.wallet_psbt_show(read(&file)?).await?;
                Ok(Answer::new(&psbt, show(&psbt)))
            }
            Self::Sign(sign) => sign.perform(context).await,
            Self::Finish(finish) => finish.perform(context).await,
        }
    }
}

impl Sign {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let unsigned = read(&self.file)?;
        let client = context.client().await?;
        let review = client.wallet_psbt_show(unsigned.clone()).await?;
        if !context.global.yes {
            if !context.console.is_interactive {
                let hint = "add --yes to sign it, or `wallet psbt show` to look at it";
                return Err(Failure::usage("a signature moves coins, and nobody is at a terminal to confirm it", hint));
            }
            context.say(show(&review));
            context.confirm("Sign it?")?;
        }
        let signed = client.wallet_psbt_sign(unsigned).await?;
        write(&self.out, &signed.psbt)?;
        let file = self.out.display();
        let kept = "Its coins of yours are frozen: whoever has the file can spend them by it.";
        Ok(Answer::new(&signed, format!("{}Signed, and written to {file}. {kept}\n", show(&signed))))
    }
}

impl Finish {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let must_ask = context.must_ask(&self.money)?;
        let psbt = read(&self.file)?;
        let client = context.client().await?;
        let review = client.wallet_psbt_show(psbt.clone()).await?;
        if must_ask {
            context.say(show(&review));
            context.confirm("Send it?")?;
        }
        let request = FinishPsbt {
            request_id: self.money.request_id(),
            dry_run: self.money.dry_run,
            psbt,
            allow_high_fee: self.allow_high_fee,
        };
        let id = request.request_id.clone();
        let sent = client.wallet_psbt_finish(request).await.map_err(|error| self.money.failed(error, &id))?;
        let others = review.outputs.iter().filter(|output| !output.mine);
        let to: Vec<&str> = others.map(|output| output.to.as_str()).collect();
        let to = if to.is_empty() { "yourself".to_owned() } else { to.join(", ") };
        Ok(Answer::new(&sent, sentence(&sent, &to)))
    }
}

/// Shows a partially signed transaction line by line.
pub fn show(psbt: &PsbtView) -> String {
    let mut lines = Lines::default();
    lines.line("transaction", psbt.txid.clone());
    for (at, input) in psbt.inputs.iter().enumerate() {
        let amount = input
            .amount
            .map_or_else(|| "an unknown amount".to_owned(), |amount| format!("{} BTC", format::btc(amount)));
        let whose = if input.mine { "yours" } else { "another's" };
        let signed = if input.signed { "signed" } else { "not signed" };
        lines.line(if at == 0 { "spends" } else { "" }, format!("{amount}, {whose}, {signed}: {}", input.coin));
    }
    for (at, output) in psbt.outputs.iter().enumerate() {
        let back = if output.mine { ", back to you" } else { "" };
        let line = format!("{} BTC to {}{back}", format::btc(output.amount), format::clean_line(&output.to));
        lines.line(if at == 0 { "pays" } else { "" }, line);
    }
    lines.line("fee", psbt.fee.map_or_else(|| "unknown".to_owned(), |fee| format!("{} BTC", format::btc(fee))));
    lines.line("you", format!("{} BTC", format::signed_btc(psbt.net_sat.saturating_neg())));
    lines.render()
}

/// Reads a partially signed transaction, base64 or binary, as base64.
///
/// # Errors
/// When the file cannot be read, or is too large.
pub fn read(path: &Path) -> Result<String, Failure> {
    let cannot = |why: String| {
        Failure::usage(format!("cannot read {}: {why}", path.display()), "check the path and its permissions")
    };
    let file = std::fs::File::open(path).map_err(|error| cannot(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(cannot(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    if bytes.starts_with(b"psbt") {
        let psbt = bitcoin::Psbt::deserialize(&bytes).map_err(|error| cannot(error.to_string()))?;
        return Ok(psbt.to_string());
    }
    String::from_utf8(bytes).map_err(|_| cannot("it is neither base64 nor a binary one".to_owned()))
}

/// Writes a partially signed transaction in base64, for its owner alone and never over another file.
///
/// # Errors
/// When the system refuses, or there is such a file.
pub fn write(path: &Path, psbt: &str) -> Result<(), Failure> {
    let written = files::create(path).and_then(|mut file| {
        file.write_all(psbt.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure::usage(format!("cannot write {}: {error}", path.display()), "choose a path where there is no file yet")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use exchange_api::{PsbtInputView, PsbtOutputView, Sats};

    use super::*;

    #[test]
    fn a_transaction_is_shown_before_it_is_signed() {
        let sats = |amount| Sats::new(amount).unwrap();
        let psbt = PsbtView {
            psbt: String::new(),
            txid: "ab".repeat(32),
            inputs: vec![PsbtInputView {
                coin: format!("{}:0", "cd".repeat(32)),
                amount: Some(sats(5_000_000)),
                mine: true,
                signed: false,
            }],
            outputs: vec![
                PsbtOutputView { to: "bcrt1qother".to_owned(), amount: sats(1_000_000), mine: false },
                PsbtOutputView { to: "bcrt1pmine".to_owned(), amount: sats(3_999_800), mine: true },
            ],
            fee: Some(sats(200)),
            net_sat: 1_000_200,
        };
        insta::assert_snapshot!(show(&psbt));
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("payment.psbt");
        write(&path, "cHNidP8").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o077, 0, "nobody else reads it");
        assert_eq!(write(&path, "other").unwrap_err().exit_code(), 2);
        assert_eq!(read(&path).unwrap(), "cHNidP8");
    }
}
