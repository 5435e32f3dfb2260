//! Trades as files: written by a node, checked without one.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use exchange_api::{Bundle, Client, ExchangeApiClient, TradeId};
use exchange_ledger::audit::bundle::{BundleError, MAX_BUNDLE_LEN, Verified};

use crate::audit;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::output::{Answer, Lines};
use crate::cli::values::phase_name;

/// Check a trade's file with nothing else: no node, no data, no network
///
/// Records and signatures, the contract, the escrow's address, the transactions and that blocks hold them, the work of the
/// headers. Exits with 1 and names the part that does not hold.
#[derive(Debug, Args)]
pub struct Verify {
    /// The file, as `audit --export` wrote it
    file: PathBuf,
}

impl Verify {
    /// Verifies.
    pub fn perform(self) -> Result<Answer, Failure> {
        let unreadable = |error: std::io::Error| Failure::refused(format!("{}: {error}", self.file.display()), "");
        let mut bytes = Vec::new();
        // One byte more than allowed, so that a file that is too long is told as such.
        let limit = MAX_BUNDLE_LEN as u64 + 1; // usize is at most 64 bits
        File::open(&self.file).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
        let verified = Bundle::decode(&bytes).and_then(|bundle| audit::verify(&bundle)).map_err(|e| refused(&e))?;
        Ok(Answer::new(&verified, format!("The file holds what it claims.\n\n{}", show(&verified))))
    }
}

/// Asks the node for a trade's bundle, checks it, and writes it into a new file.
///
/// # Errors
/// When the node makes none, or the file is there already or cannot be written.
pub async fn export(client: &Client, trade: TradeId, path: &Path) -> Result<Answer, Failure> {
    let bundle = client.audit_export(trade).await?;
    let verified = audit::verify(&bundle).map_err(|e| refused(&e))?;
    let unwritable = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::refused(format!("{} is there already", path.display()), "name another file, or move it away")
        }
        _ => Failure::refused(format!("{}: {error}", path.display()), "name a file that can be written"),
    };
    let mut file = File::create_new(path).map_err(unwritable)?;
    file.write_all(bundle.encode().as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    let text = format!(
        "{}\n{} has it all; anybody can check it: exchange-node audit verify {}\n",
        show(&verified),
        path.display(),
        path.display()
    );
    Ok(Answer::new(&verified, text))
}

fn refused(error: &BundleError) -> Failure {
    Failure::violated(error.to_string())
}

fn show(verified: &Verified) -> String {
    let mut lines = Lines::default();
    lines.line("trade", verified.trade.to_string()).line("network", verified.network.clone());
    lines.line("state", phase_name(verified.phase));
    let (amount, money) = (format::btc(verified.amount), format::money(verified.currency, verified.cost));
    lines.line("what", format!("{amount} BTC for {money}"));
    lines.line("buyer", verified.buyer.to_string()).line("seller", verified.seller.to_string());
    lines.line("arbiter", verified.arbiter.to_string());
    lines.maybe("contract", verified.contract.map(|hash| hash.to_string()));
    lines.maybe("escrow", verified.escrow.clone());
    if let Some(funding) = &verified.funding {
        let (value, height) = (format::btc(funding.value), funding.height);
        lines.line("funded by", format!("{} with {value} BTC in block {height}", funding.outpoint));
    }
    if let Some(spend) = &verified.spend {
        lines.line("spent by", format!("{} in block {}", spend.txid, spend.height));
        for (name, sum) in [
            ("to the buyer", spend.to_buyer),
            ("to the seller", spend.to_seller),
            ("to the arbiter", spend.to_arbiter),
            ("elsewhere", spend.elsewhere),
            ("fee", spend.fee),
        ] {
            lines.line(name, format!("{} BTC", format::btc(sum)));
        }
    }
    if let Some(work) = &verified.work {
        let free = if verified.network == "regtest" { "; on regtest that is nothing, and proves nothing" } else { "" };
        lines.line("work", format!("{work} hashes on top of the last transaction{free}"));
    }
    lines.maybe("known block", verified.anchor.map(|height| format!("height {height}")));
    lines.line("records", verified.records.to_string());
    let sealed = "sealed: payment details and what was said, which nobody can read here";
    lines.line("messages", format!("{}, {sealed}", verified.messages));
    for author in &verified.forked {
        lines.line("two histories", format!("signed by {author}"));
    }
    lines.render()
}
