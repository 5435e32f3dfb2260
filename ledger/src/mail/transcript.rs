//! What an arbiter makes of the messages that he is shown: which are proven, in which order they were said, which of them
//! arrived, and who says that there are more.
//!
//! Nobody proves by what he wrote that there was something else: his numbers, the predecessors that he names and what he says
//! that he had are his word, and cost him nothing. So what is missing by these counts at him who wrote them, whoever shows them;
//! he can show what they name, if it is there. That a message was sent, and when, is its sender's word too, who can sign it months
//! later in an epoch of its own, as a restored machine has one: only what the other wrote or shows proves it.
//!
//! Who names a message as the last that he had says that he had all that it follows, for he names none before which something is
//! missing ([`seen`](super::seen)). So what its sender sends later than what follows it was not answered until it came, and nobody
//! hides one that he answered.

use std::collections::{BTreeMap, BTreeSet};

use super::{Address, Message, Said};
use crate::trade::{Contract, Role, counterparty, details_commitment};

/// The messages between buyer and seller that are proven, in the order in which they were said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Each after those which its sender had seen; by their senders' clocks otherwise.
    pub entries: Vec<Entry>,
    /// What is known of the buyer's messages.
    pub buyer: Account,
    /// What is known of the seller's messages.
    pub seller: Account,
    /// How many of the messages that were shown prove nothing, and are left out.
    pub unproven: u32,
}

/// A proven message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Buyer or seller.
    pub from: Role,
    /// When, by his own clock.
    pub time: u64,
    /// What he said.
    pub words: Words,
    /// What proves that it arrived.
    pub arrival: Arrival,
}

/// What proves that a message arrived, and when it was written: nothing of it its sender's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// What the other wrote next rests on it: so it was written before, and he had it by then.
    Answered,
    /// The other had it: he shows it, or names it or what follows it as the last that he had. When it was written, and when it came,
    /// is its sender's word.
    Had,
    /// Its sender alone shows it, and the other names neither it nor what follows it.
    Unproven,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// In his own words.
    Chat(String),
    /// His payment details.
    Details {
        /// What they are.
        details: String,
        /// Whether the contract commits to exactly these.
        is_agreed: bool,
    },
    /// Something that is not shown: a round of a protocol, or kept back.
    NotShown,
}

/// What is known of one side's messages, and what these say of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// How many are shown or known to have been sent without their words.
    pub known: u32,
    /// Of how many of these the words are not shown.
    pub not_shown: u32,
    /// How many more of his own there are, at least, by his numbers and the predecessors that he names.
    pub own_missing: u32,
    /// How many messages of the other side are not here that he says he had, by what he names as the last and what that follows:
    /// signed by him, be they made up or not.
    pub other_missing: u32,
    /// Whether he signed two messages for one place, or one that does not follow the one before it: then something was made up
    /// afterwards.
    pub is_forked: bool,
}

impl Account {
    /// Tells whether everything is there that these messages refer to.
    pub const fn is_complete(&self) -> bool {
        self.own_missing == 0 && self.other_missing == 0 && !self.is_forked
    }
}

impl Transcript {
    /// Puts together what is proven of the messages that buyer or seller shows, or both: each with the role of who shows it.
    pub fn new(contract: &Contract, shown: impl IntoIterator<Item = (Role, Said)>) -> Self {
        let (mut proven, mut unproven) = (Proven::new(), 0);
        let mut shown_by_other = BTreeSet::new();
        for (by, said) in shown {
            match said.verify(contract) {
                Ok(from) => {
                    let id = said.id();
                    if by != from {
                        shown_by_other.insert(id);
                    }
                    let known = proven.entry(id).or_insert_with(|| (from, said.clone()));
                    // Shown twice, once without its words: the words count.
                    known.1.opening = known.1.opening.take().or(said.opening);
                }
                Err(_) => unproven += 1,
            }
        }
        let admitted = admitted(&proven);
        let accounts = [Role::Buyer, Role::Seller].map(|side| account(side, &proven, &admitted));
        let ordered = in_order(&proven);
        let answered = answered(&ordered);
        let is_had = |id: &[u8; 32], from| shown_by_other.contains(id) || admitted.contains(&(counterparty(from), *id));
        let arrival = |id: &[u8; 32], from| match (answered.contains(id), is_had(id, from)) {
            // Whether he shows it, or keeps back what he has answered.
            (true, true | false) => Arrival::Answered,
            (false, true) => Arrival::Had,
            (false, false) => Arrival::Unproven,
        };
        let entries = ordered.iter().map(|(id, from, said)| entry(contract, *from, said, arrival(id, *from))).collect();
        Self { entries, buyer: accounts[0], seller: accounts[1], unproven }
    }
}

fn entry(contract: &Contract, from: Role, said: &Said, arrival: Arrival) -> Entry {
    let words = match said.message() {
        Some(Message::Chat { text }) => Words::Chat(text),
        Some(Message::Details { salt, details }) => {
            let agreed = contract.party(from).map(|party| party.details);
            let is_agreed = agreed == Some(details_commitment(&salt, &details));
            Words::Details { details, is_agreed }
        }
        Some(Message::Disclosure { .. } | Message::Ask(_) | Message::Reply(_) | Message::Round(_)) => Words::NotShown,
        Some(Message::FundingProposal(_) | Message::FundingAnswer(_)) | None => Words::NotShown,
    };
    Entry { from, time: said.address.time, words, arrival }
}

type Proven = BTreeMap<[u8; 32], (Role, Said)>;

/// Messages, each with who says that he had it.
type Admitted = BTreeSet<(Role, [u8; 32])>;

/// Returns what each side says that it had: what it names as `seen`, and all that this follows, as far as that is here, with the
/// first that is not.
fn admitted(proven: &Proven) -> Admitted {
    let mut admitted = Admitted::new();
    for (by, said) in proven.values() {
        let mut id = said.address.seen;
        while id != [0; 32] && admitted.insert((*by, id)) {
            let Some((_, other)) = proven.get(&id).filter(|(from, _)| from != by) else { break };
            id = other.address.previous;
        }
    }
    admitted
}

/// Works out what one side's messages say: of places before the last of each epoch, of what its first messages follow, and of
/// what it had of the other's.
fn account(side: Role, proven: &Proven, admitted: &Admitted) -> Account {
    let mine = || proven.iter().filter(|(_, (from, _))| *from == side).map(|(id, (_, said))| (id, said));
    let mut places = BTreeMap::<u32, BTreeMap<u32, &[u8; 32]>>::new();
    let mut account = Account::default();
    for (id, said) in mine() {
        account.known += 1;
        account.not_shown += u32::from(said.message().is_none());
        account.is_forked |= places.entry(said.address.epoch).or_default().insert(said.address.seq, id).is_some();
    }
    // Each names the one before it, so a hole is filled by what was there when the next was signed, and by nothing else.
    let follows = |said: &Said| {
        let Address { epoch, seq, previous, .. } = &said.address;
        let before = seq.checked_sub(1).and_then(|seq| places.get(epoch)?.get(&seq));
        before.is_none_or(|before| *before == previous)
    };
    account.is_forked |= !mine().all(|(_, said)| follows(said));
    let holes = places.values().map(|seqs| {
        let all = seqs.last_key_value().map_or(0, |(last, _)| last + 1);
        all - seqs.len() as u32 // at most 256
    });
    let unknown = |id: &[u8; 32], of: Role| *id != [0; 32] && proven.get(id).is_none_or(|(from, _)| *from != of);
    let firsts = mine().filter(|(_, said)| said.address.seq == 0).map(|(_, said)| said.address.previous);
    // What a first one follows may stand in a hole: after a restart from a copy of before.
    account.own_missing = holes.sum::<u32>().max(count(firsts.filter(|id| unknown(id, side))));
    let had = admitted.iter().filter(|(by, _)| *by == side).map(|(_, id)| *id);
    account.other_missing = count(had.filter(|id| unknown(id, counterparty(side))));
    account
}

fn count(ids: impl Iterator<Item = [u8; 32]>) -> u32 {
    u32::try_from(ids.collect::<BTreeSet<_>>().len()).unwrap_or(u32::MAX)
}

/// Returns messages in an order in which each stands after those that it refers to; among those that could come next, the
/// earliest by its sender's clock. Ids are hashes over what is referred to, so there is no circle.
fn in_order(proven: &Proven) -> Vec<(&[u8; 32], Role, &Said)> {
    let mut waiting: BTreeMap<_, _> = proven.iter().collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().filter(|(_, (_, said))| {
            let refers = [said.address.previous, said.address.seen];
            refers.iter().all(|id| !waiting.contains_key(id))
        });
        let next = ready.min_by_key(|(id, (_, said))| (said.address.time, **id)).map(|(id, _)| *id);
        let Some((id, (from, said))) = next.and_then(|id| waiting.remove_entry(id)) else { break };
        ordered.push((id, *from, said));
    }
    ordered
}

/// Returns those messages on which the next one of the other side rests, by its `seen` and their `previous`. To those between the
/// two that this side wrote last no other way leads, for each stands after all that it refers to.
fn answered(ordered: &[(&[u8; 32], Role, &Said)]) -> BTreeSet<[u8; 32]> {
    let (mut answered, mut waiting) = (BTreeSet::new(), BTreeMap::<[u8; 32], [u8; 32]>::new());
    let mut speaker = None;
    for (id, from, said) in ordered {
        if speaker != Some(*from) {
            let mut last = said.address.seen;
            while let Some(previous) = waiting.remove(&last) {
                answered.insert(last);
                last = previous;
            }
            waiting.clear();
            speaker = Some(*from);
        }
        waiting.insert(**id, said.address.previous);
    }
    answered
}
