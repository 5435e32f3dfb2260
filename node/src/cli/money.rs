//! Verbs that move money or bind their user: asked before, repeatable after.

use clap::Args;
use exchange_api::ApiError;
use jsonrpsee::core::ClientError;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::entropy;

/// The options of a verb that moves money.
#[derive(Debug, Clone, Args)]
pub struct MoneyArgs {
    /// Only check and price it; nothing is done
    #[arg(long)]
    pub dry_run: bool,
    /// Makes the command safe to repeat: the same id again returns the first answer [default: random]
    #[arg(long, value_name = "ID", value_parser = parse_request_id)]
    pub request_id: Option<String>,
}

impl MoneyArgs {
    /// Returns the request's id.
    pub fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_else(fresh_request_id)
    }

    /// Returns why a request failed, and how to repeat it safely if it may have been half done.
    pub fn failed(&self, error: ClientError, request_id: &str) -> Failure {
        let error = ApiError::from(error);
        // A dry run does nothing, and what was refused has done nothing: there is nothing to do twice.
        let is_done = error.may_be_done() && !self.dry_run;
        if is_done { Failure::from(error).of_request(request_id) } else { error.into() }
    }
}

/// Returns a random id of a request.
pub fn fresh_request_id() -> String {
    // Half of it is plenty to be unique, and easier to copy from an error message.
    entropy::bytes32()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a request's id.
///
/// # Errors
/// When it is empty or too long.
pub fn parse_request_id(text: &str) -> Result<String, String> {
    match text.len() {
        1..=64 => Ok(text.to_owned()),
        length => Err(format!("{length} bytes: expected 1 to 64")),
    }
}

impl Context<'_> {
    /// Tells whether the user has to be asked before money moves.
    ///
    /// # Errors
    /// When he should be and nobody is there to answer.
    pub fn must_ask(&self, money: &MoneyArgs) -> Result<bool, Failure> {
        if self.global.yes || money.dry_run {
            Ok(false)
        } else if self.console.is_interactive {
            Ok(true)
        } else {
            Err(Failure::usage(
                "this would bind you or move coins, and nobody is at a terminal to confirm it",
                "add --yes to go ahead, or --dry-run to see what would happen",
            ))
        }
    }

    /// Asks; anything but a yes is a no.
    ///
    /// # Errors
    /// When the answer is no.
    pub fn confirm(&mut self, question: &str) -> Result<(), Failure> {
        let answer = self.console.ask_line(&format!("{question} [y/N]"))?.unwrap_or_default();
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::declined()),
        }
    }
}
