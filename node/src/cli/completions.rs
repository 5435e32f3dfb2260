//! Help for shells and for `man`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Arguments;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(exchange-node completions bash)")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the manual page of the program or of a verb
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  exchange-node man trade take | man -l -")]
pub struct Man {
    /// The verb, e.g. `trade take`
    verb: Vec<String>,
}

impl Completions {
    /// Prints the completions.
    pub fn perform(self) -> Result<Answer, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "exchange-node", &mut script);
        Ok(Answer::raw(String::from_utf8(script).expect("shell scripts are generated as text")))
    }
}

impl Man {
    /// Prints the manual page.
    pub fn perform(self) -> Result<Answer, Failure> {
        let mut root = Arguments::command();
        root.build();
        let mut command = &root;
        for verb in &self.verb {
            command = command
                .find_subcommand(verb)
                .ok_or_else(|| Failure::usage(format!("there is no verb `{}`", self.verb.join(" ")), "see --help"))?;
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone())
            .render(&mut page)
            .map_err(|error| Failure::refused(format!("the page cannot be made: {error}"), ""))?;
        Ok(Answer::raw(String::from_utf8(page).expect("manual pages are generated as text")))
    }
}
