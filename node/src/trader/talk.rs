//! What the people of a trade say to each other: messages in and out, and their disclosure to the arbiter. Roles come from
//! keys and the contract; nothing that a message says changes anything but what is shown.

use exchange_api::{
    AccountView, ApiError, Arrival, Code, Conversation, Disclose, Disclosure, MessageView, MessageWords, Person,
    SendMessage, Showing, ShownMessage, ShownTranscript, Subject,
};
use exchange_ledger::ids::{AuthorId, TradeId};
use exchange_ledger::mail::{self, Account, Entry, Envelope, Message, Said, Transcript, Words};
use exchange_ledger::trade::funding;
use exchange_ledger::trade::{Contract, Event, Role, Seat, details_commitment};
use exchange_store::StoreError;
use zeroize::Zeroizing;

use super::{Active, Trader, keys, not_mine};
use crate::errors::ExplainResult;
use crate::market;
use crate::private::{Disclosed, Keeping, Kept};

impl Trader {
    /// Takes in a message to this node's user: keeps what it says, then acts on it.
    pub(super) async fn on_mail(&mut self, envelope: &Envelope) {
        let id = envelope.address.trade;
        let Some(active) = self.trades.get(&id) else { return };
        // The ledger's contract let it in; one that forked since has another.
        let Some(contract) = active.trade.view().contract.clone() else { return };
        let Ok(mailbox) = envelope.mailbox(&contract) else { return };
        let opened = envelope.open(&self.seal_secret(active)).and_then(|opening| Ok((opening.message()?, opening)));
        let (message, opening) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, trade = %id, "a message could not be opened and was dropped");
                return;
            }
        };
        if !is_for(&message, envelope, &self.tools.identity.author()) {
            return;
        }
        match self.keep(&contract, &Said::new(envelope, &opening), &message) {
            Ok(keeping) => self.hear(id, &contract, envelope.address.sender, message, keeping).await,
            // It stays in its mailbox, and comes again.
            Err(error) => {
                tracing::error!(%error, trade = %id, "a message cannot be kept");
                self.tools.mailbox.put_off(mailbox);
            }
        }
    }

    async fn hear(&mut self, id: TradeId, contract: &Contract, from: AuthorId, message: Message, keeping: Keeping) {
        let Some(person) = person_of(contract, &from) else { return };
        match message {
            Message::Details { salt, details } => {
                if let Err(error) = self.handle(id, Event::Details { salt, details }).await {
                    tracing::warn!(%error, trade = %id, "payment details that do not fit the contract were dropped");
                }
            }
            Message::Chat { text: _ } if keeping == Keeping::New => {
                if let Some(active) = self.trades.get_mut(&id) {
                    active.unread = active.unread.saturating_add(1);
                }
                self.tell(id, format!("a message from {}", name_of(person)));
            }
            Message::Chat { text: _ } => {}
            // What it shows is kept together with it.
            Message::Disclosure { .. } => {}
            // What came before this start is too late for its round, and nobody is asked twice for the same signature.
            Message::Ask(ask) if keeping == Keeping::New => self.on_ask(id, person, ask).await,
            Message::Reply(reply) if keeping == Keeping::New => self.on_reply(id, person, &reply).await,
            Message::Ask(_) | Message::Reply(_) => {}
            // What was heard before belongs to an earlier start: its nonces are gone.
            Message::Round(round) if keeping == Keeping::New && is_arbiter(person) => {
                self.on_round(id, from, *round).await;
            }
            Message::Round(_) => {}
            Message::FundingProposal(proposal) => {
                self.hear_funding(id, contract.role_of(&from), funding::Event::Proposal(proposal)).await;
            }
            Message::FundingAnswer(answer) => {
                self.hear_funding(id, contract.role_of(&from), funding::Event::Answer(answer)).await;
            }
        }
    }

    /// Keeps a message, and what a party shows by it to this node's arbiter: what proves itself.
    fn keep(&self, contract: &Contract, received: &Said, message: &Message) -> Result<Keeping, StoreError> {
        let private = &self.tools.private;
        let is_arbiter = contract.role_of(&self.tools.identity.author()) == Some(Role::Arbiter);
        let person = person_of(contract, &received.address.sender).filter(|_| is_arbiter);
        let (Message::Disclosure { said }, Some(person @ (Person::Buyer | Person::Seller))) = (message, person) else {
            return private.put_received(received);
        };
        let id = contract.trade;
        let (keeping, disclosed) = private.put_disclosure(received, said, |said| said.verify(contract).is_ok())?;
        if disclosed.refused > 0 {
            let Disclosed { refused, .. } = disclosed;
            tracing::warn!(trade = %id, "{refused} messages that {} shows prove nothing", name_of(person));
        }
        if disclosed.new > 0 {
            self.tell(id, format!("{} showed {} messages to you", name_of(person), disclosed.new));
        }
        Ok(keeping)
    }

    fn tell(&self, id: TradeId, what: String) {
        self.tools.events.note(Subject::Trade(id), format!("trade {}: {what}", id.short()));
    }

    /// Says something to somebody in a trade; returns it as it was sent.
    pub(super) fn say(&self, request: SendMessage) -> Result<MessageView, ApiError> {
        let SendMessage { request_id: _, trade, to, text } = request;
        let (active, contract) = self.open_trade(trade)?;
        let to = to.or_else(|| other_party(active)).ok_or_else(|| {
            ApiError::new(Code::InvalidArgument, "an arbiter must say to whom", "name the buyer or the seller")
        })?;
        let recipient = author_of(contract, to).filter(|author| *author != self.tools.identity.author());
        let recipient = recipient.ok_or_else(|| {
            let message = format!("you cannot write to {} in this trade", name_of(to));
            ApiError::new(Code::InvalidArgument, message, "`exchange-node chat show` tells who is there")
        })?;
        let text = exchange_ledger::text::Text::<{ mail::MAX_CHAT_LEN }>::new(text.trim_end())
            .map_err(|error| ApiError::new(Code::InvalidArgument, error.to_string(), ""))?;
        if text.as_str().trim().is_empty() {
            return Err(ApiError::new(Code::InvalidArgument, "there is nothing in this message", ""));
        }
        let message = Message::Chat { text: text.as_str().to_owned() };
        self.tools.mailbox.send(&self.tools.identity, contract, recipient, &message).explained()?;
        let kept = self.tools.private.messages(&trade).explained()?;
        let sent = kept.last().and_then(|last| view(contract, last));
        sent.ok_or_else(|| ApiError::new(Code::Internal, "the message was not kept", ""))
    }

    /// Returns what was said in a trade.
    pub(super) fn conversation(&self, id: TradeId) -> Result<Conversation, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let contract = contract(active)?;
        let me = self.tools.identity.author();
        let me = person_of(contract, &me).ok_or_else(|| not_mine(id))?;
        let all = [Person::Buyer, Person::Seller, Person::Arbiter, Person::SecondArbiter];
        let reachable = |other: &Person| {
            let both_rule = is_arbiter(me) && is_arbiter(*other);
            *other != me && !both_rule && author_of(contract, *other).is_some()
        };
        let kept = self.tools.private.messages(&id).explained()?;
        let shown = if is_arbiter(me) { self.shown(contract)? } else { None };
        Ok(Conversation {
            trade: id,
            me,
            others: all.into_iter().filter(reachable).collect(),
            messages: kept.iter().filter_map(|kept| view(contract, kept)).collect(),
            unread: self.unread(id, contract, &kept)?,
            shown,
        })
    }

    fn unread(&self, id: TradeId, contract: &Contract, kept: &[Kept]) -> Result<u32, ApiError> {
        let read = self.tools.private.messages_read(&id).explained()?;
        let me = self.tools.identity.author();
        let news = kept.iter().filter(|kept| kept.number > read && kept.said.address.sender != me);
        let chats = news.filter(|kept| matches!(kept.said.message(), Some(Message::Chat { .. })));
        Ok(u32::try_from(chats.filter(|kept| view(contract, kept).is_some()).count()).unwrap_or(u32::MAX))
    }

    /// Counts the messages of a trade that the user has not read; 0 when they cannot be read.
    pub(super) fn count_unread(&self, id: TradeId) -> u32 {
        let counted = self.trades.get(&id).and_then(|active| {
            let kept = self.tools.private.messages(&id).ok()?;
            self.unread(id, active.trade.view().contract.as_ref()?, &kept).ok()
        });
        counted.unwrap_or(0)
    }

    /// Notes up to which message the user has read.
    pub(super) fn note_read(&mut self, id: TradeId, number: u64) -> Result<(), ApiError> {
        self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        if self.tools.private.messages_read(&id).explained()? < number {
            self.tools.private.put_messages_read(&id, number).explained()?;
        }
        let unread = self.count_unread(id);
        if let Some(active) = self.trades.get_mut(&id) {
            active.unread = unread;
        }
        Ok(())
    }

    fn shown(&self, contract: &Contract) -> Result<Option<ShownTranscript>, ApiError> {
        let (mut all, mut by) = (Vec::new(), Vec::new());
        for (author, role, person) in
            [(contract.buyer, Role::Buyer, Person::Buyer), (contract.seller, Role::Seller, Person::Seller)]
        {
            let said = self.tools.private.disclosed(&contract.trade, &author).explained()?;
            let said: Vec<(Role, Said)> = said.into_iter().map(|said| (role, said)).collect();
            if !said.is_empty() {
                let transcript = Transcript::new(contract, said.iter().cloned());
                by.push(Showing { by: person, buyer: account(transcript.buyer), seller: account(transcript.seller) });
                all.extend(said);
            }
        }
        let messages = Transcript::new(contract, all).entries.into_iter().map(entry).collect();
        Ok((!by.is_empty()).then_some(ShownTranscript { messages, by }))
    }

    /// Shows the messages between the parties to an arbiter: those that he was not shown before.
    pub(super) fn disclose(&self, request: Disclose) -> Result<Disclosure, ApiError> {
        let id = request.trade;
        let (active, contract) = self.open_trade(id)?;
        let to = if request.second { Person::SecondArbiter } else { Person::Arbiter };
        let arbiter = author_of(contract, to);
        let (Some(arbiter), true) = (arbiter, active.trade.role() != Role::Arbiter) else {
            let message = format!("there is nothing that you could show to {}", name_of(to));
            return Err(ApiError::new(Code::NotAllowed, message, ""));
        };
        let before = self.tools.private.messages_shown(&id, &arbiter).explained()?;
        let parties = [contract.buyer, contract.seller];
        let kept = self.tools.private.messages(&id).explained()?;
        let between = kept.into_iter().filter(|kept| {
            let address = &kept.said.address;
            parties.contains(&address.sender) && parties.contains(&address.recipient)
        });
        let (old, new): (Vec<Kept>, Vec<Kept>) = between.partition(|kept| kept.number <= before);
        if !request.dry_run {
            let pieces = mail::pieces(new.iter().map(|kept| kept.said.clone()));
            for piece in pieces {
                self.tools.mailbox.send(&self.tools.identity, contract, arbiter, &piece).explained()?;
            }
            // A crash before this shows the same again, which changes nothing.
            if let Some(last) = new.last() {
                self.tools.private.put_messages_shown(&id, &arbiter, last.number).explained()?;
            }
        }
        Ok(Disclosure {
            trade: id,
            to,
            name: self.arbiter_name(contract, to),
            messages: new.iter().filter_map(|kept| view(contract, kept)).collect(),
            before: u32::try_from(old.len()).unwrap_or(u32::MAX),
        })
    }

    fn arbiter_name(&self, contract: &Contract, person: Person) -> String {
        let seat = if person == Person::SecondArbiter { Seat::Second } else { Seat::First };
        let advert = contract.arbiter(seat).map(|arbiter| arbiter.advert);
        let arbiter = advert.and_then(|advert| market::arbiter(self.tools.keeper.ledger(), &advert).ok().flatten());
        arbiter.map(|arbiter| arbiter.body.name.to_string()).unwrap_or_default()
    }

    /// Tells whether this node's payment details were sent to a recipient.
    pub(super) fn has_sent_details(&self, id: TradeId, recipient: &AuthorId) -> Result<bool, ApiError> {
        let me = self.tools.identity.author();
        let kept = self.tools.private.messages(&id).explained()?;
        let mut sent =
            kept.iter().filter(|kept| (kept.said.address.sender, &kept.said.address.recipient) == (me, recipient));
        Ok(sent.any(|kept| matches!(kept.said.message(), Some(Message::Details { .. }))))
    }

    /// Returns a trade in which messages still arrive, and its contract.
    fn open_trade(&self, id: TradeId) -> Result<(&Active, &Contract), ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let contract = contract(active)?;
        if active.phase.is_final() {
            let message = "the trade is over: nobody looks into its mailboxes any more";
            return Err(ApiError::new(Code::NotAllowed, message, ""));
        }
        Ok((active, contract))
    }

    /// Returns the secret to which messages for this node's user are sealed in a trade.
    fn seal_secret(&self, active: &Active) -> Zeroizing<[u8; 32]> {
        let contract = active.trade.view().contract.as_ref();
        let arbiter = active.trade.seat().and_then(|seat| contract?.arbiter(seat));
        if let Some(part) = arbiter.and_then(|arbiter| self.part_of(arbiter)) {
            return part.seal_secret.clone();
        }
        let nonce = match active.trade.role() {
            Role::Arbiter => keys::ARBITER_NONCE,
            Role::Buyer | Role::Seller => keys::nonce(active.trade.bid(), active.trade.is_maker()),
        };
        keys::seal_secret(&self.tools.identity, &nonce)
    }
}

fn contract(active: &Active) -> Result<&Contract, ApiError> {
    active.trade.view().contract.as_ref().ok_or_else(|| {
        let message = "nothing is agreed on yet, so there is nobody to write to";
        ApiError::new(Code::NotAllowed, message, "wait until the bid is accepted")
    })
}

fn other_party(active: &Active) -> Option<Person> {
    match active.trade.role() {
        Role::Buyer => Some(Person::Seller),
        Role::Seller => Some(Person::Buyer),
        Role::Arbiter => None,
    }
}

/// Tells whether a message in a mailbox that this identity reads is for it. What a party says to a group of arbiters is addressed to
/// the author of its advert, and for all members; the rounds of a decision are for one of them, and nonces are no other's.
fn is_for(message: &Message, envelope: &Envelope, me: &AuthorId) -> bool {
    match message {
        Message::Round(_) => envelope.address.recipient == *me,
        Message::Details { .. }
        | Message::Chat { .. }
        | Message::Disclosure { .. }
        | Message::Ask(_)
        | Message::Reply(_)
        | Message::FundingProposal(_)
        | Message::FundingAnswer(_) => true,
    }
}

const fn is_arbiter(person: Person) -> bool {
    match person {
        Person::Buyer | Person::Seller => false,
        Person::Arbiter | Person::SecondArbiter => true,
    }
}

fn author_of(contract: &Contract, person: Person) -> Option<AuthorId> {
    match person {
        Person::Buyer => Some(contract.buyer),
        Person::Seller => Some(contract.seller),
        Person::Arbiter => Some(contract.arbiter.author),
        Person::SecondArbiter => contract.second_arbiter.as_ref().map(|arbiter| arbiter.author),
    }
}

fn person_of(contract: &Contract, author: &AuthorId) -> Option<Person> {
    match (contract.role_of(author)?, contract.seat_of(author)) {
        (Role::Buyer, _) => Some(Person::Buyer),
        (Role::Seller, _) => Some(Person::Seller),
        (Role::Arbiter, Some(Seat::First)) => Some(Person::Arbiter),
        (Role::Arbiter, Some(Seat::Second)) => Some(Person::SecondArbiter),
        (Role::Arbiter, None) => None,
    }
}

const fn name_of(person: Person) -> &'static str {
    match person {
        Person::Buyer => "the buyer",
        Person::Seller => "the seller",
        Person::Arbiter => "the arbiter",
        Person::SecondArbiter => "the second arbiter",
    }
}

/// Returns a message as a user sees it; `None` for what only programs say to each other.
fn view(contract: &Contract, kept: &Kept) -> Option<MessageView> {
    let Said { address, .. } = &kept.said;
    let (from, to) = (person_of(contract, &address.sender)?, person_of(contract, &address.recipient)?);
    let words = match kept.said.message()? {
        Message::Chat { text } => MessageWords::Chat { text },
        Message::Details { salt, details } => {
            let agreed = contract.role_of(&address.sender).and_then(|role| contract.party(role));
            let commitment = details_commitment(&salt, &details);
            MessageWords::Details { details, is_agreed: agreed.is_some_and(|party| party.details == commitment) }
        }
        Message::Disclosure { .. } | Message::Ask(_) | Message::Reply(_) | Message::Round(_) => return None,
        Message::FundingProposal(_) | Message::FundingAnswer(_) => return None,
    };
    Some(MessageView { number: kept.number, from, to, time: address.time, words })
}

fn entry(entry: Entry) -> ShownMessage {
    let (from, to) = match entry.from {
        Role::Buyer => (Person::Buyer, Person::Seller),
        Role::Seller | Role::Arbiter => (Person::Seller, Person::Buyer),
    };
    let words = match entry.words {
        Words::Chat(text) => MessageWords::Chat { text },
        Words::Details { details, is_agreed } => MessageWords::Details { details, is_agreed },
        Words::NotShown => MessageWords::NotShown,
    };
    let arrival = match entry.arrival {
        mail::Arrival::Answered => Arrival::Answered,
        mail::Arrival::Had => Arrival::Had,
        mail::Arrival::Unproven => Arrival::Unproven,
    };
    ShownMessage { message: MessageView { number: 0, from, to, time: entry.time, words }, arrival }
}

const fn account(account: Account) -> AccountView {
    let Account { known, not_shown, own_missing, other_missing, is_forked } = account;
    AccountView { known, not_shown, own_missing, other_missing, is_forked }
}

#[cfg(test)]
mod tests {
    use exchange_ledger::body::Side;
    use exchange_ledger::frost::Round;
    use exchange_ledger::mail::{Address, Entropy};
    use exchange_ledger::testing::{NETWORK, SampleGroup, SampleTrade};
    use exchange_ledger::wire::List;

    use super::*;

    /// All members read the mailbox of the author of their advert, and open what is in it.
    #[test]
    fn a_round_is_heard_by_him_alone_to_whom_it_is_sent_and_what_people_say_by_all() {
        let group = SampleGroup::new(2, 3);
        let contract = SampleTrade::of_group(Side::Sell, &group).contract();
        let [author, sender] = [0, 1].map(|at: usize| &group.members[at]);
        assert_eq!(contract.arbiter.author, author.id());
        let round = Round::Shares { session: [0; 32], shares: List::default() };
        let chat = Message::Chat { text: "hello".to_owned() };
        for (message, is_for_all) in [(Message::Round(Box::new(round)), false), (chat, true)] {
            let address = Address {
                version: 1,
                network: NETWORK,
                trade: contract.trade,
                contract: contract.hash(),
                sender: sender.id(),
                recipient: author.id(),
                epoch: 1,
                seq: 0,
                previous: [0; 32],
                seen: [0; 32],
                time: 0,
                commitment: [0; 32],
            };
            let entropy = Entropy { seal: [1; 32], salt: [2; 32] };
            let sealed = Envelope::seal(address, &contract, &message, entropy, |bytes| sender.sign_bytes(bytes));
            let (envelope, _) = sealed.unwrap();
            let hears = [0, 1, 2].map(|at: usize| is_for(&message, &envelope, &group.members[at].id()));
            assert_eq!(hears, [true, is_for_all, is_for_all]);
        }
    }
}
