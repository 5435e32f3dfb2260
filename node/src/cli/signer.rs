//! The signer: a key of the user's that is kept elsewhere.

use clap::Subcommand;
use exchange_api::{ExchangeApiClient, SignerView};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;

/// Keep the escrow keys of your trades on a hardware wallet, or a machine without a network
///
/// Then nobody who takes over this machine can give your coins away or take them: whatever moves them is signed there, by
/// `exchange-node trade sign`; what you buy, too, comes to you only when your signer has signed. The signer must be able to sign a Taproot script by BIP-371, as Bitcoin Core does. Your node knows the
/// public key alone; write it down, for email and password do not bring it back.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  exchange-node signer set '[d34db33f/86h/0h/0h]xpub6C…'
  exchange-node signer show
  exchange-node signer off")]
pub enum Signer {
    /// Let the escrow keys of new trades derive from this extended public key
    Set {
        /// The key of an account with its origin, as descriptors write it
        key: String,
    },
    /// Show the signers that you have had; open trades may still need them
    Show,
    /// Keep the escrow keys of new trades on this machine again
    Off,
}

impl Signer {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let client = context.client().await?;
        let signers = match self {
            Self::Set { key } => client.signer_set(Some(key)).await?,
            Self::Show => client.signer_list().await?,
            Self::Off => client.signer_set(None).await?,
        };
        Ok(Answer::new(&signers, show(&signers)))
    }
}

fn show(signers: &[SignerView]) -> String {
    if signers.is_empty() {
        return "Your keys are on this machine.\n".to_owned();
    }
    let line = |signer: &SignerView| {
        let used = if signer.used_for_new_trades { "new trades" } else { "earlier trades" };
        format!("{}  {used:14}  {}\n", signer.fingerprint, signer.key)
    };
    signers.iter().map(line).collect()
}
