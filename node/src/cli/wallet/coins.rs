//! The coins one by one, and what their owner says of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use exchange_api::{
    CoinUse, CoinView, ExchangeApiClient, FreezeCoins, LabelLine, LabelsTaken, MAX_BATCH, Page, SetLabel,
};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::files;
use crate::cli::format;
use crate::cli::output::{Answer, Table};

/// The largest file of labels that is read: more than a hundred thousand of them.
const MAX_LABELS_BYTES: u64 = 64 << 20;

/// Show your unspent coins, the largest first
#[derive(Debug, Args)]
pub struct Coins {
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=499))]
    limit: Option<u32>,
    /// Go on where a list ended: what it names in its last line, `next` with --json
    #[arg(long)]
    cursor: Option<String>,
}

/// Coins by name.
#[derive(Debug, Args)]
pub struct Named {
    /// The coins, as `wallet coins` shows them: transaction id, colon, number
    #[arg(required = true, value_name = "COIN")]
    coins: Vec<String>,
}

/// Say what a transaction, an address or a coin is for; an empty text takes it back
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node wallet label bc1q… \"rent of May\"
  exchange-node wallet label 4a5e1e4b… \"\"")]
pub struct SetLabelArgs {
    /// A transaction id, an address, or a coin as `wallet coins` shows it
    #[arg(value_name = "TXID|ADDRESS|COIN")]
    subject: String,
    /// What to say, at most 256 bytes
    text: String,
}

/// Bring labels from another wallet, or take them there (BIP-329)
#[derive(Debug, Subcommand)]
pub enum Labels {
    /// Write all labels to a new file that only you can read, one JSON object a line
    Export {
        /// The file; it must not exist
        file: PathBuf,
    },
    /// Read labels that another wallet wrote; they freeze coins if they say so, and free none
    Import {
        /// The file
        file: PathBuf,
    },
}

impl Coins {
    /// Shows the coins.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let page = context.client().await?.wallet_coins(self.cursor, self.limit).await?;
        Ok(Answer::new(&page, list(&page)))
    }
}

impl Named {
    /// Freezes coins, or lets them be spent again.
    pub async fn perform(self, frozen: bool, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let changed = context.client().await?.wallet_freeze(FreezeCoins { coins: self.coins, frozen }).await?;
        let count = format::counted(changed.len() as u64, "coin"); // usize is at most 64 bits
        let what = if frozen { "frozen: nothing spends them until you say so" } else { "free to be spent" };
        Ok(Answer::new(&changed, format!("{count} {what}.\n")))
    }
}

impl SetLabelArgs {
    /// Sets the label.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let request = SetLabel { subject: self.subject, label: self.text };
        context.client().await?.wallet_label(request.clone()).await?;
        let subject = &request.subject;
        let text = match request.label.trim() {
            "" => format!("Nothing is said of {subject} any more.\n"),
            label => format!("{subject} is: {label}\n"),
        };
        Ok(Answer::new(&request, text))
    }
}

impl Labels {
    /// Writes or reads labels.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Export { file } => export(&file, context).await,
            Self::Import { file } => import(&file, context).await,
        }
    }
}

async fn export(path: &Path, context: &mut Context<'_>) -> Result<Answer, Failure> {
    let client = context.client().await?;
    let mut file = files::create(path).map_err(|error| cannot("write", path, &error))?;
    let (mut cursor, mut count) = (None, 0u64);
    loop {
        let page = client.wallet_labels(cursor).await?;
        for line in &page.items {
            let json = serde_json::to_string(line).expect("a label has text keys and no failing fields");
            writeln!(file, "{json}").map_err(|error| cannot("write", path, &error))?;
            count += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    file.sync_all().map_err(|error| cannot("write", path, &error))?;
    let text = format!("{} written to {}.\n", format::counted(count, "label"), path.display());
    Ok(Answer::new(&serde_json::json!({ "labels": count, "file": path }), text))
}

async fn import(path: &Path, context: &mut Context<'_>) -> Result<Answer, Failure> {
    // All of it is read before anything is set.
    let lines = read(path)?;
    let client = context.client().await?;
    let mut taken = LabelsTaken::default();
    for batch in lines.chunks(MAX_BATCH) {
        let LabelsTaken { set, skipped, frozen, left_frozen } = client.wallet_labels_import(batch.to_vec()).await?;
        taken = LabelsTaken {
            set: taken.set + set,
            skipped: taken.skipped + skipped,
            frozen: taken.frozen + frozen,
            left_frozen: taken.left_frozen + left_frozen,
        };
    }
    Ok(Answer::new(&taken, outcome(&taken)))
}

/// Says what came of labels, and what they did to coins.
fn outcome(taken: &LabelsTaken) -> String {
    let LabelsTaken { set, skipped, frozen, left_frozen } = *taken;
    let mut text = format!("{} set, {skipped} passed over.\n", format::counted(set, "label"));
    if frozen > 0 {
        let coins = format::counted(frozen, "coin");
        text.push_str(&format!("{coins} frozen: nothing spends them until you say so.\n"));
    }
    if left_frozen > 0 {
        let coins = format::counted(left_frozen, "coin");
        text.push_str(&format!("{coins} left frozen, against the file: `exchange-node wallet unfreeze` frees them.\n"));
    }
    text
}

fn read(path: &Path) -> Result<Vec<LabelLine>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| cannot("read", path, &error))?;
    let reader = BufReader::new(file.take(MAX_LABELS_BYTES));
    let mut labels = Vec::new();
    for (at, line) in (1..).zip(reader.lines()) {
        let line = line.map_err(|error| cannot("read", path, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let label = serde_json::from_str(&line).map_err(|error| {
            Failure::usage(
                format!("line {at} of {} is no label: {error}", path.display()),
                "nothing was set; mend the line",
            )
        })?;
        labels.push(label);
    }
    Ok(labels)
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot {what} {}: {error}", path.display()), "check the path and its permissions")
}

fn list(page: &Page<CoinView>) -> String {
    let mut table = Table::new(&["BTC", "BLOCK", "STATE", "FOR", "COIN"], &[0, 1]);
    for coin in &page.items {
        let label = if coin.label.is_empty() && coin.change { "change".to_owned() } else { coin.label.clone() };
        table.row([
            format::btc(coin.amount),
            coin.height.map_or_else(|| "pending".to_owned(), |height| height.to_string()),
            state(&coin.state),
            format::clean_line(&label),
            coin.coin.clone(),
        ]);
    }
    let mut text = table.render("No coins. `exchange-node wallet address` shows where to deposit.");
    if let Some(next) = &page.next {
        text.push_str(&format!("More: --cursor {next}\n"));
    }
    text
}

fn state(state: &CoinUse) -> String {
    match state {
        CoinUse::Spendable => "free".to_owned(),
        CoinUse::Pending => "on its way".to_owned(),
        CoinUse::Frozen => "frozen".to_owned(),
        CoinUse::Reserved { what, .. } => format!("set aside: {}", format::clean_line(what)),
    }
}

#[cfg(test)]
mod tests {
    use exchange_api::Sats;

    use super::*;

    #[test]
    fn coins_show_what_may_be_done_with_them() {
        let coin = |byte: &str, sats, height, change, label: &str, state| CoinView {
            coin: format!("{}:1", byte.repeat(32)),
            address: "bcrt1p".to_owned(),
            amount: Sats::new(sats).unwrap(),
            height,
            change,
            label: label.to_owned(),
            state,
        };
        let reserved = CoinUse::Reserved { by: "ef".repeat(32), what: "escrow of trade 1f0c9a3b".to_owned() };
        let page = Page {
            items: vec![
                coin("ab", 50_000_000, Some(101), false, "savings", CoinUse::Frozen),
                coin("cd", 1_000_000, None, true, "", CoinUse::Spendable),
                coin("ef", 400_000, Some(7), false, "", reserved),
            ],
            next: None,
        };
        insta::assert_snapshot!(list(&page));
    }

    #[test]
    fn what_labels_did_to_coins_is_said() {
        let plain = LabelsTaken { set: 3, skipped: 1, ..LabelsTaken::default() };
        assert_eq!(outcome(&plain), "3 labels set, 1 passed over.\n");
        let told = outcome(&LabelsTaken { frozen: 2, left_frozen: 1, ..plain });
        assert!(told.contains("2 coins frozen") && told.contains("1 coin left frozen"), "{told}");
    }

    #[test]
    fn a_line_that_is_no_label_is_named_and_nothing_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.jsonl");
        let good = r#"{"type":"addr","ref":"bc1q","label":"rent","origin":"wpkh"}"#;
        std::fs::File::create(&path).unwrap().write_all(format!("{good}\n\n{{\n").as_bytes()).unwrap();
        let failure = read(&path).unwrap_err();
        assert!(failure.text().contains("line 3"), "{}", failure.text());
        std::fs::File::create(&path).unwrap().write_all(format!("{good}\n").as_bytes()).unwrap();
        assert_eq!(read(&path).unwrap()[0].label, "rent", "fields that this wallet does not know do no harm");
    }
}
