//! Traders and arbiters who talk.

use std::fs::File;
use std::io::Write as _;

use exchange_api::{Conversation, MessageView, MessageWords, Person};
use exchange_ledger::ids::TradeId;

use crate::cli::Failure;
use crate::trader::Trader;
use crate::wait_until;

impl Trader {
    /// Says something to the other party, or to the person named on the command line.
    ///
    /// # Panics
    /// When the node refuses.
    #[track_caller]
    pub fn says(&self, trade: TradeId, to: Option<&str>, text: &str) -> MessageView {
        self.tries_to_say(trade, to, text).unwrap_or_else(|failure| panic!("cannot say `{text}`: {failure:#?}"))
    }

    /// Says something, or is told why not.
    ///
    /// # Errors
    /// When the node refuses.
    ///
    /// # Panics
    /// When the text cannot be put into a file.
    pub fn tries_to_say(&self, trade: TradeId, to: Option<&str>, text: &str) -> Result<MessageView, Failure> {
        let file = self.message_file();
        let written = File::create(&file).and_then(|mut file| file.write_all(text.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let (trade, file) = (trade.to_string(), file.display().to_string());
        let mut args = vec!["chat", "send", &trade, "--text-file", &file];
        if let Some(to) = to {
            args.extend(["--to", to]);
        }
        self.cli().run(&args)
    }

    /// Returns what was said to him and by him in a trade; he has read it then.
    #[must_use]
    pub fn conversation(&self, trade: TradeId) -> Conversation {
        self.cli().done(&["chat", "show", &trade.to_string()])
    }

    /// Waits until somebody has said so many lines to him, the last of them this.
    pub fn hears(&self, trade: TradeId, count: usize, from: Person, text: &str) -> Conversation {
        wait_until(&format!("`{text}` arrives"), || {
            let said = self.conversation(trade);
            let heard: Vec<_> = lines(&said.messages).into_iter().filter(|(sender, _)| *sender == from).collect();
            let last = heard.last().is_some_and(|(_, heard)| heard == text);
            if heard.len() == count && last { Ok(said) } else { Err(format!("{said:#?}")) }
        })
    }
}

/// Returns who said what, without payment details.
#[must_use]
pub fn lines(messages: &[MessageView]) -> Vec<(Person, String)> {
    let chats = messages.iter().filter_map(|message| match &message.words {
        MessageWords::Chat { text } => Some((message.from, text.clone())),
        MessageWords::Details { .. } | MessageWords::NotShown => None,
    });
    chats.collect()
}
