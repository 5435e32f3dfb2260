//! Talking in a trade: to the other party, to the arbiter, and, as an arbiter, to the parties.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use exchange_api::{
    AccountView, Arrival, Conversation, ExchangeApiClient, MessageView, MessageWords, Person, SendMessage, Showing,
    ShownMessage, ShownTranscript,
};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format;
use crate::cli::money::{MoneyArgs, parse_request_id};
use crate::cli::output::Answer;
use crate::cli::prefix::Prefix;
use crate::cli::secrets::read_file;
use crate::cli::trade::find;
use crate::clock;

/// The longest text that is read: far above the longest message.
const MAX_TEXT_BYTES: u64 = 16 * 1024;

/// Talk to the others in a trade; sealed, and provable to the arbiter
#[derive(Debug, Subcommand)]
pub enum Chat {
    Send(Send),
    /// Show what was said in a trade, and note that you have read it
    Show {
        /// The trade's id, or the first digits of it
        trade: Prefix,
    },
}

/// Say something to the other party, or to the arbiter
///
/// Only the recipient can read it. Your signature is on it, so he can show the arbiter what you said, and you what he said:
/// see `trade disclose`. What it says never changes keys, addresses or amounts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exchange-node chat send 1f0c9a3b
  echo \"Paid at 9:40, reference 7731\" | exchange-node chat send 1f0c9a3b --text-file - --to arbiter")]
pub struct Send {
    /// The trade's id, or the first digits of it
    trade: Prefix,
    /// To whom [default: the other party]
    #[arg(long, value_name = "WHO")]
    to: Option<To>,
    /// A file with the text, `-` for the standard input [else: a line is asked for]
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// Makes the command safe to repeat: the same id again sends nothing twice [default: random]
    #[arg(long, value_name = "ID", value_parser = parse_request_id)]
    request_id: Option<String>,
}

/// To whom one can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// The buyer
    Buyer,
    /// The seller
    Seller,
    /// The arbiter
    Arbiter,
    /// Who rules when the arbiter is silent
    SecondArbiter,
}

impl From<To> for Person {
    fn from(to: To) -> Self {
        match to {
            To::Buyer => Self::Buyer,
            To::Seller => Self::Seller,
            To::Arbiter => Self::Arbiter,
            To::SecondArbiter => Self::SecondArbiter,
        }
    }
}

impl Chat {
    /// Performs the verb.
    pub async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Send(send) => send.perform(context).await,
            Self::Show { trade } => {
                let client = context.client().await?;
                let said = client.chat_show(find(&trade, &client).await?).await?;
                if let Some(last) = said.messages.last().filter(|_| said.unread > 0) {
                    client.chat_read(said.trade, last.number).await?;
                }
                Ok(Answer::new(&said, show(&said, clock::unix_now())))
            }
        }
    }
}

impl Send {
    async fn perform(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let text = self.text(context)?;
        let client = context.client().await?;
        let trade = find(&self.trade, &client).await?;
        let money = MoneyArgs { dry_run: false, request_id: self.request_id };
        let request_id = money.request_id();
        let request = SendMessage { request_id: request_id.clone(), trade, to: self.to.map(Person::from), text };
        let sent = client.chat_send(request).await.map_err(|error| money.failed(error, &request_id))?;
        let text = format!("Sent to {}. It arrives when his node is there.\n", name(sent.to));
        Ok(Answer::new(&sent, text))
    }

    fn text(&self, context: &mut Context<'_>) -> Result<String, Failure> {
        match &self.text_file {
            Some(path) if path.as_os_str() == "-" => {
                let mut text = String::new();
                let read = context.console.input.by_ref().take(MAX_TEXT_BYTES).read_to_string(&mut text);
                read.map_err(|error| Failure::refused(format!("the standard input cannot be read: {error}"), ""))?;
                Ok(text)
            }
            Some(path) => Ok(read_file(path)?.to_string()),
            None if context.console.is_interactive => {
                Ok(context.console.ask_line("Your message:")?.unwrap_or_default())
            }
            None => Err(Failure::usage(
                "nobody is at a terminal to type the message",
                "name a file with --text-file, or `--text-file -` for the standard input",
            )),
        }
    }
}

/// Returns a conversation as a person reads it.
pub fn show(said: &Conversation, now: u64) -> String {
    let mut text = String::new();
    let first_unread = said.messages.len().saturating_sub(said.unread as usize); // a u32 fits
    for (at, message) in said.messages.iter().enumerate() {
        if at == first_unread && said.unread > 0 {
            text.push_str("--- new ---\n");
        }
        text.push_str(&line(message, said.me, now));
    }
    if said.messages.is_empty() {
        let others: Vec<&str> = said.others.iter().map(|other| name(*other)).collect();
        text.push_str(&format!("Nothing was said yet. You can write to {}.\n", others.join(", ")));
    }
    if let Some(shown) = &said.shown {
        text.push_str(&show_transcript(shown, said.me, now));
    }
    text
}

fn show_transcript(shown: &ShownTranscript, me: Person, now: u64) -> String {
    let mut text =
        "\nWhat the parties showed of what they said to each other, each line signed by its sender:\n".to_owned();
    for ShownMessage { message, arrival } in &shown.messages {
        text.push_str(&marked_line(message, me, now, mark(*arrival)));
    }
    text.push('\n');
    shown.by.iter().for_each(|showing| text.push_str(&format!("{}\n", verdict(showing))));
    text
}

/// Returns messages as lines.
pub fn lines(messages: &[MessageView], me: Person, now: u64) -> String {
    messages.iter().map(|message| line(message, me, now)).collect()
}

/// Returns what a message that was shown is worth beside its sender's word; nothing where the other answered it.
const fn mark(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::Answered => "",
        Arrival::Had => " (when it was written, and when it came, is its sender's word)",
        Arrival::Unproven => " (its sender ALONE shows it: nothing proves that it arrived)",
    }
}

fn line(message: &MessageView, me: Person, now: u64) -> String {
    marked_line(message, me, now, "")
}

fn marked_line(message: &MessageView, me: Person, now: u64, mark: &str) -> String {
    let who = |person| if person == me { "you" } else { name(person) };
    let words = match &message.words {
        MessageWords::Chat { text } => format::clean(text),
        MessageWords::Details { details, is_agreed: true } => format!("[payment details] {}", format::clean(details)),
        MessageWords::Details { details, is_agreed: false } => {
            format!("[NOT the agreed payment details] {}", format::clean(details))
        }
        MessageWords::NotShown => "[not shown]".to_owned(),
    };
    let words = words.replace('\n', "\n    ");
    let (when, from, to) = (format::when(now, message.time), who(message.from), who(message.to));
    format!("{when}, {from} to {to}{mark}:\n    {words}\n")
}

/// Returns what a party showed, and who says that there was more: that he says so is proven, and not that it is true.
pub fn verdict(showing: &Showing) -> String {
    let Showing { by, buyer, seller } = *showing;
    let count = format::counted(u64::from(buyer.known), "message");
    let mut text = format!("{} showed {count} of the buyer's and {} of the seller's", capital(name(by)), seller.known);
    text.push_str(if showing.is_complete() { "; nothing is missing to which they refer." } else { "." });
    for (writer, other, side) in [(Person::Buyer, Person::Seller, buyer), (Person::Seller, Person::Buyer, seller)] {
        for remark in remarks(writer, other, side, writer == by) {
            text.push_str(&format!("\n  {remark}"));
        }
    }
    text
}

/// Returns what one side's messages say of others that are not shown. Who wrote them can show what they name, if there is such a
/// thing: in his own showing it is missing, in the other's it is his word.
fn remarks(writer: Person, other: Person, side: AccountView, is_his_showing: bool) -> Vec<String> {
    let (who, whom) = (capital(name(writer)), name(other));
    let them = |count: u32| if count == 1 { "it" } else { "them" };
    let mut remarks = Vec::new();
    if side.own_missing > 0 {
        let (count, them) = (side.own_missing, them(side.own_missing));
        let says = format!("{who} numbers at least {count} more of his own");
        remarks.push(if is_his_showing {
            format!("{says} and DOES NOT SHOW {them}.")
        } else {
            format!("{says}: he can show {them}; whether he ever sent {them}, nothing here proves.")
        });
    }
    if side.other_missing > 0 {
        let (count, them) = (format::counted(u64::from(side.other_missing), "message"), them(side.other_missing));
        let says = format!("{who} wrote that he had {count} of {whom}'s");
        remarks.push(if is_his_showing {
            format!("{says} and DOES NOT SHOW {them}.")
        } else {
            format!("{says} not shown here: he can show {them}; that he had {them}, nothing else here proves.")
        });
    }
    if side.is_forked {
        remarks.push(format!("{who} CONTRADICTS himself: something that he signed was made up afterwards."));
    }
    remarks
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Returns what somebody is called.
pub const fn name(person: Person) -> &'static str {
    match person {
        Person::Buyer => "the buyer",
        Person::Seller => "the seller",
        Person::Arbiter => "the arbiter",
        Person::SecondArbiter => "the second arbiter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arbiter_reads_of_each_message_what_proves_that_it_arrived() {
        let message = |time| {
            let words = MessageWords::Chat { text: "hello".to_owned() };
            MessageView { number: 0, from: Person::Seller, to: Person::Buyer, time, words }
        };
        let all = [Arrival::Answered, Arrival::Had, Arrival::Unproven];
        let messages = all.map(|arrival| ShownMessage { message: message(0), arrival }).to_vec();
        let text = show_transcript(&ShownTranscript { messages, by: Vec::new() }, Person::Arbiter, 0);
        for head in [
            "just now, the seller to the buyer:\n    hello",
            "just now, the seller to the buyer (when it was written, and when it came, is its sender's word):\n",
            "just now, the seller to the buyer (its sender ALONE shows it: nothing proves that it arrived):\n",
        ] {
            assert_eq!(text.matches(head).count(), 1, "{text}");
        }
    }

    /// What is missing is said of him who says that there was something, and held against him where he could have shown it.
    #[test]
    fn an_arbiter_reads_whose_word_it_is_that_something_is_missing() {
        let whole = AccountView { known: 2, ..AccountView::default() };
        let holes = AccountView { own_missing: 2, ..whole };
        let refers = AccountView { other_missing: 1, ..whole };
        let (buyer, seller) = (Person::Buyer, Person::Seller);
        let read = |by, buyer, seller| verdict(&Showing { by, buyer, seller });
        let all = "showed 2 messages of the buyer's and 2 of the seller's";
        assert_eq!(read(buyer, whole, whole), format!("The buyer {all}; nothing is missing to which they refer."));
        for (by, account, expected) in [
            (buyer, holes, "The seller numbers at least 2 more of his own: he can show them; whether he ever"),
            (seller, holes, "The seller numbers at least 2 more of his own and DOES NOT SHOW them."),
            (buyer, refers, "The seller wrote that he had 1 message of the buyer's not shown here: he can show it;"),
            (seller, refers, "The seller wrote that he had 1 message of the buyer's and DOES NOT SHOW it."),
        ] {
            let text = read(by, whole, account);
            assert!(text.contains(&format!("{all}.\n  {expected}")), "{text}");
            assert_eq!(text.lines().count(), 2, "{text}");
        }
        let forked = AccountView { is_forked: true, ..whole };
        let text = read(seller, forked, whole);
        assert!(text.contains(&format!("{all}.\n  The buyer CONTRADICTS himself")), "{text}");
        let doubtful = |by, seller| Showing { by, buyer: whole, seller }.is_doubtful();
        assert_eq!([holes, refers].map(|account| [buyer, seller].map(|by| doubtful(by, account))), [[false, true]; 2]);
        assert!(doubtful(buyer, forked));
    }
}
