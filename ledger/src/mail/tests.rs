//! What an arbiter can and cannot be made to believe.

use super::*;
use crate::body::Side;
use crate::mail::transcript::{Account, Arrival, Words};
use crate::testing::{Author, EPOCH, NETWORK, SALT, SampleGroup, SampleTrade};
use crate::trade::funding::{Answer, Contribution, Proposal};
use crate::trade::{Ask, Nonces, Reply};
use crate::wire::List;

/// Two parties who talk, each with his own record of it.
struct Talk {
    trade: SampleTrade,
    contract: Contract,
    all: Vec<Said>,
    epoch: u32,
}

impl Talk {
    fn new() -> Self {
        let trade = SampleTrade::new(Side::Sell);
        Self { contract: trade.contract(), trade, all: Vec::new(), epoch: EPOCH }
    }

    /// Lets somebody say something after everything that was said before.
    fn say(&mut self, from: Role, message: &Message) -> Said {
        let said = self.made_up(from, message, |_| {});
        self.all.push(said.clone());
        said
    }

    /// Returns what somebody signs after what he and the other said, in a place that is changed.
    fn made_up(&mut self, from: Role, message: &Message, change: impl FnOnce(&mut Address)) -> Said {
        let author = self.trade.author(from).clone();
        let mine = |said: &&Said| said.address.sender == author.id();
        let last = self.all.iter().rfind(mine);
        let in_epoch = last.filter(|said| said.address.epoch == self.epoch);
        let theirs = self.all.iter().rfind(|said| said.address.sender != author.id()).map(Said::id);
        let mut address = Address {
            version: 1,
            network: NETWORK,
            trade: self.trade.id(),
            contract: self.contract.hash(),
            sender: author.id(),
            recipient: self.contract.author(crate::trade::counterparty(from)),
            epoch: self.epoch,
            seq: in_epoch.map_or(0, |said| said.address.seq + 1),
            previous: last.map_or([0; 32], Said::id),
            seen: theirs.unwrap_or_default(),
            time: u64::from(EPOCH) + self.all.len() as u64,
            commitment: [0; 32],
        };
        change(&mut address);
        let entropy = Entropy { seal: [1; 32], salt: [2; 32] };
        let sealed = Envelope::seal(address, &self.contract, message, entropy, |bytes| author.sign_bytes(bytes));
        let (envelope, opening) = sealed.unwrap();
        Said::new(&envelope, &opening)
    }

    fn shown(&self, which: &[usize]) -> Transcript {
        Transcript::new(&self.contract, by(Role::Buyer, which.iter().map(|at| self.all[*at].clone())))
    }

    /// Four lines, alternating, the buyer first.
    fn of_four() -> Self {
        let mut talk = Self::new();
        for (from, text) in
            [(Role::Buyer, "one"), (Role::Seller, "two"), (Role::Buyer, "three"), (Role::Seller, "four")]
        {
            talk.say(from, &chat(text));
        }
        talk
    }
}

/// Returns messages that one side shows.
fn by(role: Role, said: impl IntoIterator<Item = Said>) -> impl Iterator<Item = (Role, Said)> {
    said.into_iter().map(move |said| (role, said))
}

fn chat(text: &str) -> Message {
    Message::Chat { text: text.to_owned() }
}

fn texts(transcript: &Transcript) -> Vec<&str> {
    let texts = transcript.entries.iter().map(|entry| match &entry.words {
        Words::Chat(text) => text.as_str(),
        Words::Details { .. } => "details",
        Words::NotShown => "-",
    });
    texts.collect()
}

#[test]
fn a_whole_talk_is_complete_and_in_order_whatever_the_order_of_showing() {
    let talk = Talk::of_four();
    for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 0, 1]] {
        let transcript = talk.shown(&order);
        assert_eq!(texts(&transcript), ["one", "two", "three", "four"]);
        assert!(transcript.buyer.is_complete() && transcript.seller.is_complete());
        assert_eq!(transcript.unproven, 0);
    }
    let twice = talk.shown(&[0, 1, 2, 3, 1, 1]);
    assert_eq!(twice, talk.shown(&[0, 1, 2, 3]), "shown twice is said once");
}

#[test]
fn whatever_is_left_out_is_noticed_but_what_nobody_answered() {
    let talk = Talk::of_four();
    let missing = |which: &[usize]| {
        let Transcript { buyer, seller, .. } = talk.shown(which);
        [buyer, seller].map(|side| (side.own_missing, side.other_missing))
    };
    assert_eq!(missing(&[0, 1, 3]), [(0, 0), (0, 1)], "the seller's answer names what he had seen");
    assert_eq!(missing(&[0, 2, 3]), [(0, 1), (1, 0)], "a hole, and the buyer's answer to what stood there");
    assert_eq!(missing(&[2, 3]), [(1, 1), (1, 1)], "the beginning, which both say was there");
    assert_eq!(missing(&[3]), [(0, 0), (1, 1)]);
    assert_eq!(missing(&[0, 1, 2]), [(0, 0); 2], "the seller's last line: only he can show that he said it");
}

#[test]
fn the_last_message_before_which_nothing_is_missing_is_named_as_seen() {
    let mut talk = Talk::new();
    for text in ["zero", "one", "two"] {
        talk.say(Role::Seller, &chat(text));
    }
    // His node was started again, and then put up without anything of before.
    talk.epoch += 1;
    talk.say(Role::Seller, &chat("three"));
    talk.epoch += 1;
    let anew = talk.made_up(Role::Seller, &chat("four"), |address| address.previous = [0; 32]);
    talk.all.push(anew);
    for (came, expected) in [
        (vec![], None),
        (vec![0], Some(0)),
        (vec![0, 2], Some(0)),
        (vec![0, 2, 1], Some(2)),
        (vec![1, 2], None),
        (vec![2, 1, 0], Some(2)),
        (vec![0, 1, 3], Some(1)),
        (vec![0, 1, 3, 2], Some(3)),
        (vec![1, 4], Some(4)),
        (vec![4, 0], Some(0)),
    ] {
        let named = seen(came.iter().map(|at: &usize| &talk.all[*at]));
        assert_eq!(named, expected.map_or([0; 32], |at: usize| talk.all[at].id()), "{came:?}");
    }
}

/// Whoever wants the other to look as if he hid something can only say so himself.
#[test]
fn what_a_party_makes_up_counts_at_his_own_door() {
    let mut talk = Talk::of_four();
    let invented = talk.made_up(Role::Seller, &chat("five"), |address| address.seen = [7; 32]);
    talk.all.push(invented);
    let Transcript { buyer, seller, .. } = talk.shown(&[0, 1, 2, 3, 4]);
    assert!(buyer.is_complete(), "the buyer shows all that he has");
    assert_eq!((seller.own_missing, seller.other_missing), (0, 1));
    // Nor does a number that nothing has, or a predecessor that nobody knows, or one that is the other's.
    let mut talk = Talk::of_four();
    let skipped = talk.made_up(Role::Seller, &chat("nine"), |a| (a.seq, a.previous) = (8, [7; 32]));
    talk.all.push(skipped);
    let Transcript { buyer, seller, .. } = talk.shown(&[0, 1, 2, 3, 4]);
    assert!(buyer.is_complete());
    assert_eq!((seller.own_missing, seller.other_missing, seller.is_forked), (6, 0, false));
    for previous in [[7; 32], talk.all[0].id()] {
        let mut talk = Talk::of_four();
        talk.epoch += 1;
        let first = talk.made_up(Role::Seller, &chat("five"), |address| address.previous = previous);
        talk.all.push(first);
        let Transcript { buyer, seller, .. } = talk.shown(&[0, 1, 2, 3, 4]);
        assert!(buyer.is_complete());
        assert_eq!((seller.own_missing, seller.other_missing), (1, 0));
    }
}

/// The seller left room in his numbers, and fills it when he knows what he should have said.
#[test]
fn what_is_written_into_a_hole_afterwards_contradicts_what_follows_it() {
    let mut talk = Talk::new();
    talk.say(Role::Seller, &chat("hello"));
    let later = talk.made_up(Role::Seller, &chat("where is it?"), |a| (a.seq, a.previous) = (3, [7; 32]));
    talk.say(Role::Buyer, &chat("paid"));
    let [second, third] = [1, 2].map(|seq| {
        let text = format!("my account is closed, do not pay {seq}");
        let before = talk.all.iter().rfind(|said| said.address.sender == talk.contract.seller).map(Said::id);
        let filled = talk.made_up(Role::Seller, &chat(&text), |a| (a.seq, a.previous) = (seq, before.unwrap()));
        talk.all.push(filled.clone());
        filled
    });
    let [hello, paid] = [0, 1].map(|at: usize| &talk.all[at]);
    let show = |said: &[&Said]| {
        let all = said.iter().chain([&paid]).map(|said| (*said).clone());
        Transcript::new(&talk.contract, by(Role::Seller, all)).seller
    };
    let holes = show(&[hello, &later]);
    assert_eq!((holes.own_missing, holes.is_forked), (2, false));
    assert!(show(&[hello, &second, &third, &later]).is_forked);
    assert!(show(&[&third, &later]).is_forked);
    let part = show(&[hello, &second, &later]);
    assert_eq!((part.own_missing, part.is_forked), (1, false), "what the last one follows is not here");
    assert!(show(&[hello, &second, &third]).is_complete());
}

#[test]
fn a_new_epoch_goes_on_from_the_last_one() {
    let mut talk = Talk::of_four();
    talk.epoch += 100; // the buyer's node was started again
    talk.say(Role::Buyer, &chat("five"));
    let all = talk.shown(&[0, 1, 2, 3, 4]);
    assert!(all.buyer.is_complete() && all.seller.is_complete());
    assert_eq!(talk.shown(&[0, 1, 3, 4]).buyer.own_missing, 1, "what the new epoch follows");
}

#[test]
fn words_can_be_kept_back_but_not_changed() {
    let talk = Talk::of_four();
    let mut kept_back = talk.all.clone();
    kept_back[1].opening = None;
    let transcript = Transcript::new(&talk.contract, by(Role::Buyer, kept_back.clone()));
    assert_eq!(texts(&transcript), ["one", "-", "three", "four"]);
    assert_eq!(transcript.seller, Account { known: 2, not_shown: 1, ..Account::default() });
    // The other side shows the words.
    let both = by(Role::Buyer, kept_back).chain(by(Role::Seller, [talk.all[1].clone()]));
    let both = Transcript::new(&talk.contract, both);
    assert_eq!(texts(&both), ["one", "two", "three", "four"]);

    let mut changed = talk.all.clone();
    changed[1].opening.as_mut().unwrap().plain = borsh::to_vec(&chat("I have your money")).unwrap();
    assert_eq!(changed[1].verify(&talk.contract), Err(SaidError::Words));
    let transcript = Transcript::new(&talk.contract, by(Role::Buyer, changed));
    assert_eq!((texts(&transcript), transcript.unproven), (vec!["one", "three", "four"], 1));
    assert_eq!(transcript.seller.own_missing, 1);
}

#[test]
fn nobody_speaks_for_another() {
    let mut talk = Talk::of_four();
    let (buyer, stranger) = (talk.trade.author(Role::Buyer).clone(), Author::new(42));
    let forge = |change: &dyn Fn(&mut Address), signer: &Author| {
        let mut said = talk.all[1].clone();
        change(&mut said.address);
        said.signature = signer.sign_bytes(&signed_bytes(&said.id()));
        said.verify(&talk.contract)
    };
    assert_eq!(forge(&|_| {}, &buyer), Err(SaidError::Signature), "the buyer cannot answer himself");
    assert_eq!(forge(&|a| a.sender = stranger.id(), &stranger), Err(SaidError::Strangers));
    assert_eq!(forge(&|a| a.contract.0[0] ^= 1, &buyer), Err(SaidError::Strangers));
    let arbiter = talk.trade.arbiter.clone();
    assert_eq!(
        forge(&|a| a.recipient = arbiter.id(), &buyer),
        Err(SaidError::Strangers),
        "not said to the other party"
    );
    let other = forge(&|a| (a.sender, a.recipient, a.seq) = (buyer.id(), a.sender, MAX_ENVELOPES), &buyer);
    assert_eq!(other, Err(SaidError::Signature), "a place that no envelope can have");
}

#[test]
fn who_makes_up_a_past_is_seen_to_have_two() {
    let mut talk = Talk::of_four();
    talk.all.truncate(2);
    let invented = talk.made_up(Role::Buyer, &chat("I never said three"), |_| {});
    let genuine = Talk::of_four();
    let all = genuine.all.into_iter().chain([invented]);
    let transcript = Transcript::new(&talk.contract, by(Role::Seller, all));
    assert!(transcript.buyer.is_forked && !transcript.buyer.is_complete());
    assert!(transcript.seller.is_complete());
}

fn arrivals(transcript: &Transcript) -> Vec<Arrival> {
    transcript.entries.iter().map(|entry| entry.arrival).collect()
}

#[test]
fn only_what_the_other_wrote_or_shows_proves_that_a_message_arrived_and_when() {
    use Arrival::{Answered, Had, Unproven};
    let talk = Talk::of_four();
    let of = |roles: &[Role]| {
        let shown = roles.iter().flat_map(|role| by(*role, talk.all.clone()));
        arrivals(&Transcript::new(&talk.contract, shown))
    };
    assert_eq!(of(&[Role::Buyer, Role::Seller]), [Answered, Answered, Answered, Had]);
    assert_eq!(of(&[Role::Buyer]), [Answered, Answered, Answered, Had]);
    assert_eq!(of(&[Role::Seller]), [Answered, Answered, Answered, Unproven], "nobody answered the last line");
}

/// Written after the payment, and dated before it, as by a machine that was put back: that is no fork.
#[test]
fn what_is_dated_back_stands_there_by_its_senders_word() {
    let mut talk = Talk::new();
    talk.say(Role::Seller, &chat("hello"));
    talk.say(Role::Buyer, &chat("I pay now"));
    talk.say(Role::Seller, &chat("fine"));
    let late = talk.made_up(Role::Seller, &chat("do not pay"), |address| {
        (address.epoch, address.seq, address.time) = (EPOCH - 1, 0, u64::from(EPOCH));
        (address.previous, address.seen) = ([0; 32], [0; 32]);
    });
    talk.all.push(late);
    for (roles, expected) in [
        (vec![Role::Seller], Arrival::Unproven),
        // He sent it after all, and the buyer hides nothing.
        (vec![Role::Buyer, Role::Seller], Arrival::Had),
    ] {
        let shown = roles.into_iter().flat_map(|role| by(role, talk.all.clone()));
        let transcript = Transcript::new(&talk.contract, shown);
        assert!(transcript.seller.is_complete());
        let of = |text: &str| transcript.entries.iter().position(|entry| entry.words == Words::Chat(text.to_owned()));
        let [hello, late, pays] = ["hello", "do not pay", "I pay now"].map(|text| of(text).unwrap());
        assert!(late < pays, "by its sender's clock");
        assert_eq!([hello, late].map(|at| transcript.entries[at].arrival), [Arrival::Answered, expected]);
    }
}

/// He signs warnings while he writes what follows them, and keeps them back until it suits him: until the other has paid, or for ever.
#[test]
fn what_was_signed_in_time_and_sent_too_late_or_never_is_not_answered() {
    use Arrival::{Answered, Had, Unproven};
    let mut talk = Talk::new();
    for text in ["hello", "do not pay", "my account is closed", "good night"] {
        talk.say(Role::Seller, &chat(text));
    }
    let named = seen([0, 3].map(|at: usize| &talk.all[at]));
    let paid = talk.made_up(Role::Buyer, &chat("paid"), |address| address.seen = named);
    talk.all.push(paid);
    for (buyers, warning) in [(vec![0, 3, 4], Unproven), (vec![0, 1, 2, 3, 4], Had)] {
        let buyers = buyers.into_iter().map(|at: usize| talk.all[at].clone());
        let shown = by(Role::Buyer, buyers).chain(by(Role::Seller, talk.all.clone()));
        let transcript = Transcript::new(&talk.contract, shown);
        assert_eq!(arrivals(&transcript), [Answered, warning, warning, Had, Had]);
        assert!(transcript.buyer.is_complete() && transcript.seller.is_complete());
    }
    let Transcript { buyer, seller, .. } = talk.shown(&[0, 3, 4]);
    assert!(buyer.is_complete());
    assert_eq!((seller.own_missing, seller.other_missing, seller.is_forked), (2, 0, false));
    // What he writes when all of it has come tells nothing of what he knew when he paid.
    let late = talk.say(Role::Buyer, &chat("too late"));
    assert_eq!(late.address.seen, talk.all[3].id());
    let shown = [Role::Buyer, Role::Seller].into_iter().flat_map(|role| by(role, talk.all.clone()));
    assert_eq!(arrivals(&Transcript::new(&talk.contract, shown)), [Answered, Had, Had, Had, Had, Had]);
}

/// He had two lines in a row, pays all the same, and says that he never had the first.
#[test]
fn nobody_had_a_message_without_what_it_follows_whatever_he_shows() {
    use Arrival::{Answered, Had};
    let mut talk = Talk::new();
    for text in ["my account is closed, do not pay", "good night"] {
        talk.say(Role::Seller, &chat(text));
    }
    talk.say(Role::Buyer, &chat("paid"));
    let buyers = [1, 2].map(|at: usize| talk.all[at].clone());
    let shown = by(Role::Buyer, buyers).chain(by(Role::Seller, talk.all.clone()));
    assert_eq!(arrivals(&Transcript::new(&talk.contract, shown)), [Answered, Answered, Had]);
    let Transcript { buyer, seller, .. } = talk.shown(&[1, 2]);
    assert_eq!((buyer.own_missing, buyer.other_missing, buyer.is_forked), (0, 1, false));
    assert_eq!((seller.own_missing, seller.other_missing), (1, 0));

    // Nor does it help him that he wrote something else before he named it.
    let mut talk = Talk::new();
    talk.say(Role::Seller, &chat("my account is closed, do not pay"));
    let crossed = talk.made_up(Role::Buyer, &chat("hello"), |address| address.seen = [0; 32]);
    talk.all.push(crossed);
    talk.say(Role::Seller, &chat("good night"));
    talk.say(Role::Buyer, &chat("paid"));
    let shown = by(Role::Seller, talk.all.clone());
    assert_eq!(arrivals(&Transcript::new(&talk.contract, shown)), [Had, Answered, Answered, Had]);
}

#[test]
fn details_are_shown_beside_what_was_agreed() {
    let mut talk = Talk::new();
    let genuine = talk.trade.author(Role::Seller).details();
    talk.say(Role::Seller, &Message::Details { salt: SALT, details: genuine.clone() });
    talk.say(Role::Seller, &Message::Details { salt: SALT, details: "another account".to_owned() });
    let words: Vec<_> = talk.shown(&[0, 1]).entries.into_iter().map(|entry| entry.words).collect();
    let another = "another account".to_owned();
    let expected =
        [Words::Details { details: genuine, is_agreed: true }, Words::Details { details: another, is_agreed: false }];
    assert_eq!(words, expected);
}

#[test]
fn a_disclosure_travels_in_pieces_that_fit_and_stand_alone() {
    let mut talk = Talk::new();
    for at in 0..60 {
        let from = if at % 2 == 0 { Role::Buyer } else { Role::Seller };
        talk.say(from, &chat(&format!("{at} {}", "x".repeat(MAX_CHAT_LEN - 3))));
    }
    let pieces = pieces(talk.all.clone());
    assert!(pieces.len() > 5 && pieces.len() < 20, "{} pieces", pieces.len());
    let mut shown = Vec::new();
    for piece in pieces.into_iter().rev() {
        let buyer = talk.trade.author(Role::Buyer).clone();
        let address = Address { recipient: talk.contract.arbiter.author, ..talk.all[0].address.clone() };
        let entropy = Entropy { seal: [3; 32], salt: [4; 32] };
        let sealed = Envelope::seal(address, &talk.contract, &piece, entropy, |bytes| buyer.sign_bytes(bytes));
        let (envelope, _) = sealed.unwrap();
        let opening = envelope.open(&talk.trade.arbiter.seal_secret()).unwrap();
        assert!(Said::new(&envelope, &opening).opening.is_none(), "a disclosure is not disclosed again");
        let Ok(Message::Disclosure { said }) = opening.message() else { panic!("not a disclosure") };
        shown.extend(said);
    }
    assert_eq!(Transcript::new(&talk.contract, by(Role::Buyer, shown)), talk.shown(&(0..60).collect::<Vec<_>>()));
}

#[test]
fn no_message_can_name_a_key_a_role_or_a_destination() {
    // Every field of every message is here: what comes in by mail is words and what proves them, and changes nothing else; or
    // the rounds of a signature, about a transaction that the recipient computes himself.
    let reply = Reply { ask: [0; 32], nonces: Nonces::default(), signatures: List::default() };
    let examples = [
        Message::Details { salt: SALT, details: String::new() },
        chat("x"),
        Message::Disclosure { said: Vec::new() },
        Message::Reply(reply),
    ];
    for message in examples {
        match message {
            Message::Details { salt: _, details: _ } | Message::Chat { text: _ } | Message::Disclosure { said: _ } => {}
            Message::Ask(Ask { fee: _, spend: _, nonces: _ }) => {}
            Message::Reply(Reply { ask: _, nonces: _, signatures: _ }) => {}
            // What a member of a group asks the others to sign is compared with what each decided himself.
            Message::Round(_) => {}
            // Coins and change of the sender's own; what they hold, and where the rest goes, is nobody's word.
            Message::FundingProposal(Proposal {
                feerate: _,
                height: _,
                seller: Contribution { inputs: _, change: _ },
            }) => {}
            Message::FundingAnswer(Answer { proposal: _, buyer: Contribution { .. }, signatures: _ }) => {}
        }
    }
    let talk = Talk::of_four();
    let (before, mut arbiters) = (talk.contract.hash(), talk.all[0].clone());
    arbiters.address.sender = talk.contract.arbiter.author;
    assert_eq!(arbiters.verify(&talk.contract), Err(SaidError::Strangers), "the arbiter is no party");
    assert_eq!(talk.contract.hash(), before);
}

#[test]
fn members_of_one_group_talk_about_a_case_and_two_arbiters_do_not() {
    let group = SampleGroup::new(2, 3);
    let trade = SampleTrade::of_group(Side::Sell, &group);
    let contract = trade.contract();
    let seal = |contract: &Contract, from: &Author, to: &Author| {
        let address = Address {
            version: 1,
            network: NETWORK,
            trade: contract.trade,
            contract: contract.hash(),
            sender: from.id(),
            recipient: to.id(),
            epoch: EPOCH,
            seq: 0,
            previous: [0; 32],
            seen: [0; 32],
            time: u64::from(EPOCH),
            commitment: [0; 32],
        };
        let entropy = Entropy { seal: [1; 32], salt: [2; 32] };
        Envelope::seal(address, contract, &chat("x"), entropy, |bytes| from.sign_bytes(bytes)).unwrap().0
    };
    let (one, other) = (&group.members[0], &group.members[2]);
    for (from, to) in [(one, other), (other, one), (other, &trade.maker), (&trade.maker, other)] {
        assert!(seal(&contract, from, to).mailbox(&contract).is_ok());
    }
    // Whatever is sealed to one of them, all of them open, and nobody else.
    for part in &group.parts {
        assert!(seal(&contract, &trade.maker, one).open(&part.seal_secret).is_ok());
    }
    assert!(seal(&contract, &trade.maker, one).open(&one.seal_secret()).is_err());
    assert_eq!(seal(&contract, one, one).mailbox(&contract), Err(MailError::Strangers), "to himself");
    let pair = SampleTrade::with_second(Side::Sell);
    let contract = pair.contract();
    let (second, _) = pair.second.as_ref().unwrap();
    assert_eq!(seal(&contract, &pair.arbiter, second).mailbox(&contract), Err(MailError::Strangers));
    // What a member says to a party proves nothing between the parties.
    let contract = trade.contract();
    let said = Said::from(&seal(&contract, one, &trade.maker));
    assert_eq!(said.verify(&contract), Err(SaidError::Strangers));
}
