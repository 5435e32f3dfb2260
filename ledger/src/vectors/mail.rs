//! `mail.json`: envelopes, sealed with known entropy, and envelopes that must be refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::frost::{ANSWERS, ASKS};
use super::{check, hex, read};
use crate::body::Side;
use crate::frost::Place;
use crate::ids::AuthorId;
use crate::mail::{
    Address, Entropy, Envelope, MAX_CHAT_LEN, MAX_DETAILS_LEN, MAX_ENVELOPES, MailError, Message, Opening, Said,
};
use crate::seal;
use crate::testing::{Author, EPOCH, NETWORK, SALT, SampleTrade};
use crate::trade::{Contract, Role};

const IKM_E: [u8; 32] = [0xe7; 32];
const MAIL_SALT: [u8; 32] = [0xa1; 32];
const ENTROPY: Entropy = Entropy { seal: IKM_E, salt: MAIL_SALT };

#[test]
fn envelopes_come_out_as_published() {
    let mut trade = SampleTrade::new(Side::Sell);
    let mut valid: Vec<_> = [Role::Buyer, Role::Seller].map(|from| describe(&mut trade, from)).into();
    valid.extend(conversation(&mut trade));
    valid.extend(round(&mut trade));
    valid.extend(funding_messages(&mut trade));
    valid.extend(rounds_of_a_group());
    let computed = json!({
        "description": "Mail of the first case of escrow.json, see ../mail.md. ikmE of HPKE is 32 bytes of e7, the salt of each commitment 32 bytes of a1, a seal secret of author n 32 bytes of n + 50. What is of a round is between members of the first group of frost.json, about its first decision.",
        "valid": valid,
        "invalid": invalid(&mut trade),
    });
    check("mail.json", &computed);
}

#[test]
fn published_envelopes_are_judged_by_their_bytes_alone() {
    let file = read("mail.json");
    let contract = SampleTrade::new(Side::Sell).contract();
    for vector in file["invalid"].as_array().unwrap() {
        let bytes = hex::decode(vector["envelope"].as_str().unwrap()).unwrap();
        let error = Envelope::decode(&bytes).and_then(|envelope| envelope.mailbox(&contract)).unwrap_err();
        assert_eq!(error.to_string(), vector["error"].as_str().unwrap());
    }
}

#[test]
fn a_message_opens_for_its_recipient_in_its_place_only() {
    let mut trade = SampleTrade::new(Side::Sell);
    let envelope = sealed(&mut trade, Role::Buyer);
    let secret = trade.author(Role::Seller).seal_secret();
    let message = Message::Details { salt: SALT, details: trade.author(Role::Buyer).details() };
    assert_eq!(envelope.open(&secret).and_then(|opening| opening.message()), Ok(message));
    assert_eq!(envelope.open(&trade.author(Role::Buyer).seal_secret()), Err(MailError::Sealed));
    let moved = Address { seq: 1, previous: [1; 32], ..envelope.address.clone() };
    assert_eq!(Envelope { address: moved, ..envelope.clone() }.open(&secret), Err(MailError::Sealed));
}

#[test]
fn a_message_that_its_sender_did_not_commit_to_is_refused() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, address) = (trade.contract(), address(&mut trade, Role::Buyer));
    let secret = trade.author(Role::Seller).seal_secret();
    let plain = borsh::to_vec(&Message::Chat { text: "I have paid".to_owned() }).unwrap();
    let opening = Opening { salt: MAIL_SALT, plain };
    // He signs a commitment to nothing, so that the seller could show nobody what he said.
    let (key, aad) = (contract.seller_party.seal_key, borsh::to_vec(&address).unwrap());
    let sealed = seal::seal(&key, b"exchange/mail/v1", &aad, &borsh::to_vec(&opening).unwrap(), IKM_E).unwrap();
    let envelope = Envelope { address, sealed, signature: [0; 64] };
    assert_eq!(envelope.open(&secret), Err(MailError::Commitment));
}

#[test]
fn what_strangers_write_cannot_paint_over_a_terminal() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, address) = (trade.contract(), address(&mut trade, Role::Buyer));
    let (buyer, secret) = (trade.author(Role::Buyer).clone(), trade.author(Role::Seller).seal_secret());
    let details = ["\x1b[2JIBAN".to_owned(), "a\u{202e}b".to_owned(), "x".repeat(MAX_DETAILS_LEN + 1)];
    let texts = ["\x1b[2Jpaid".to_owned(), " \n".to_owned(), "x".repeat(MAX_CHAT_LEN + 1)];
    let messages = details.map(|details| Message::Details { salt: SALT, details });
    for message in messages.into_iter().chain(texts.map(|text| Message::Chat { text })) {
        let sign = |bytes: &[u8]| buyer.sign_bytes(bytes);
        let refused = Envelope::seal(address.clone(), &contract, &message, ENTROPY, sign);
        assert_eq!(refused, Err(MailError::Malformed));
        // A cheat seals it all the same.
        let opening = Opening { salt: MAIL_SALT, plain: borsh::to_vec(&message).unwrap() };
        let address = Address { commitment: opening.commitment(), ..address.clone() };
        let (key, aad) = (contract.seller_party.seal_key, borsh::to_vec(&address).unwrap());
        let sealed = seal::seal(&key, b"exchange/mail/v1", &aad, &borsh::to_vec(&opening).unwrap(), IKM_E).unwrap();
        let opened = Envelope { address, sealed, signature: [0; 64] }.open(&secret).unwrap();
        assert_eq!(opened.message(), Err(MailError::Sealed));
    }
}

fn address(trade: &mut SampleTrade, from: Role) -> Address {
    let to = crate::trade::counterparty(from);
    let (sender, recipient) = (trade.author(from).id(), trade.author(to).id());
    between(&trade.contract(), sender, recipient)
}

/// Returns the address of the first envelope from one to another.
fn between(contract: &Contract, sender: AuthorId, recipient: AuthorId) -> Address {
    Address {
        version: 1,
        network: NETWORK,
        trade: contract.trade,
        contract: contract.hash(),
        sender,
        recipient,
        epoch: EPOCH,
        seq: 0,
        previous: [0; 32],
        seen: [0; 32],
        time: u64::from(EPOCH) + 60,
        commitment: [0; 32],
    }
}

fn sealed(trade: &mut SampleTrade, from: Role) -> Envelope {
    let message = details(trade, from);
    let address = address(trade, from);
    seal_it(trade, address, &message).0
}

fn details(trade: &mut SampleTrade, from: Role) -> Message {
    Message::Details { salt: SALT, details: trade.author(from).details() }
}

fn seal_it(trade: &mut SampleTrade, address: Address, message: &Message) -> (Envelope, Opening) {
    let contract = trade.contract();
    let role = contract.role_of(&address.sender).unwrap();
    let author = trade.author(role).clone();
    Envelope::seal(address, &contract, message, ENTROPY, |bytes| author.sign_bytes(bytes)).unwrap()
}

fn describe(trade: &mut SampleTrade, from: Role) -> Value {
    let message = details(trade, from);
    let address = address(trade, from);
    show(trade, address, &message)
}

/// Returns a line of the seller in answer to the buyer's details, and the buyer's disclosure of both to the arbiter.
fn conversation(trade: &mut SampleTrade) -> Vec<Value> {
    let first = sealed(trade, Role::Seller);
    let seen = sealed(trade, Role::Buyer);
    let answer = Address { seq: 1, previous: first.id(), seen: seen.id(), ..address(trade, Role::Seller) };
    let line = Message::Chat { text: "I see no payment.\nWhich bank?".to_owned() };
    let (envelope, opening) = seal_it(trade, answer.clone(), &line);
    let said = Said::new(&envelope, &opening);
    assert_eq!(said.verify(&trade.contract()), Ok(Role::Seller));
    let buyers = Said { opening: None, ..Said::new(&seen, &opening) };
    let to_arbiter = Address { recipient: trade.arbiter.id(), ..address(trade, Role::Buyer) };
    let disclosure = Message::Disclosure { said: vec![buyers, said] };
    vec![show(trade, answer, &line), show(trade, to_arbiter, &disclosure)]
}

/// Returns the messages of the first round of `keypath.json`, which follow both sides' details.
fn round(trade: &mut SampleTrade) -> Vec<Value> {
    let round = &read("keypath.json")["valid"][0];
    let bytes = |name: &str| hex::decode(round[name].as_str().unwrap()).unwrap();
    let ask = Message::Ask(borsh::from_slice(&bytes("ask")).unwrap());
    let reply = Message::Reply(borsh::from_slice(&bytes("reply")).unwrap());
    let (buyers, sellers) = (sealed(trade, Role::Buyer).id(), sealed(trade, Role::Seller).id());
    let from_buyer = Address { seq: 1, previous: buyers, seen: sellers, ..address(trade, Role::Buyer) };
    let asked = seal_it(trade, from_buyer.clone(), &ask).0.id();
    let from_seller = Address { seq: 1, previous: sellers, seen: asked, ..address(trade, Role::Seller) };
    vec![show(trade, from_buyer, &ask), show(trade, from_seller, &reply)]
}

/// Returns the messages of a funding, of which each side's first message says nothing else.
fn funding_messages(trade: &mut SampleTrade) -> Vec<Value> {
    let (proposal, answer) = super::funding::messages();
    let (seller, buyer) = (address(trade, Role::Seller), address(trade, Role::Buyer));
    let proposal = Message::FundingProposal(proposal);
    let seen = seal_it(trade, seller.clone(), &proposal).0.id();
    vec![show(trade, seller, &proposal), show(trade, Address { seen, ..buyer }, &Message::FundingAnswer(answer))]
}

/// Returns what two members of a group say to each other until they have decided.
fn rounds_of_a_group() -> Vec<Value> {
    let (contract, group, said) = super::frost::first();
    let member = |place: Place| &group.members[usize::from(place) - 1];
    // How many each has sent, and the id of the last.
    let mut sent: BTreeMap<Place, (u32, [u8; 32])> = BTreeMap::new();
    let mut rounds = Vec::new();
    for (from, round) in said {
        let to = if from == ASKS { ANSWERS } else { ASKS };
        let (seq, previous) = sent.get(&from).copied().unwrap_or_default();
        let (_, seen) = sent.get(&to).copied().unwrap_or_default();
        let address = Address { seq, previous, seen, ..between(&contract, member(from).id(), member(to).id()) };
        let message = Message::Round(Box::new(round));
        let sign = |bytes: &[u8]| member(from).sign_bytes(bytes);
        let sealed = Envelope::seal(address, &contract, &message, ENTROPY, sign).unwrap();
        sent.insert(from, (seq + 1, sealed.0.id()));
        rounds.push(publish(&contract, &group.parts[usize::from(to) - 1].seal_secret, &sealed, &message));
    }
    rounds
}

fn show(trade: &mut SampleTrade, address: Address, message: &Message) -> Value {
    let contract = trade.contract();
    let sealed = seal_it(trade, address, message);
    let to = contract.role_of(&sealed.0.address.recipient).unwrap();
    publish(&contract, &trade.author(to).seal_secret(), &sealed, message)
}

/// Describes an envelope, which opens by its recipient's secret.
fn publish(
    contract: &Contract,
    secret: &[u8; 32],
    (envelope, opening): &(Envelope, Opening),
    message: &Message,
) -> Value {
    assert_eq!(Envelope::decode(&envelope.encode()).as_ref(), Ok(envelope));
    let opened = envelope.open(secret).unwrap();
    assert_eq!((opened.message().as_ref(), &opened), (Ok(message), opening));
    let words = match message {
        Message::Details { salt, details } => {
            let agreed = contract.role_of(&envelope.address.sender).and_then(|role| contract.party(role));
            let agreed = hex(agreed.unwrap().details);
            json!({ "details": { "salt": hex(salt), "text": details, "agreed": agreed } })
        }
        Message::Chat { text } => json!({ "chat": text }),
        Message::Ask(ask) => json!({ "ask": hex(borsh::to_vec(ask).unwrap()) }),
        Message::Reply(reply) => json!({ "reply": hex(borsh::to_vec(reply).unwrap()) }),
        Message::Round(round) => json!({ "round": hex(borsh::to_vec(round).unwrap()) }),
        Message::FundingProposal(proposal) => json!({ "funding_proposal": hex(borsh::to_vec(proposal).unwrap()) }),
        Message::FundingAnswer(answer) => json!({ "funding_answer": hex(borsh::to_vec(answer).unwrap()) }),
        Message::Disclosure { said } => {
            json!({ "disclosure": said.iter().map(|said| json!({ "id": hex(said.id()), "said": hex(borsh::to_vec(said).unwrap()) })).collect::<Vec<_>>() })
        }
    };
    let Address {
        version,
        network,
        trade: id,
        contract: hash,
        sender,
        recipient,
        epoch,
        seq,
        previous,
        seen,
        time,
        commitment,
    } = envelope.address.clone();
    json!({
        "message": words,
        "salt": hex(opening.salt),
        "plaintext": hex(&opening.plain),
        "recipient_seal_key": hex(contract.seal_key_of(&envelope.address.recipient).unwrap()),
        "ikm_e": hex(IKM_E),
        "address": {
            "version": version,
            "network": hex(network),
            "trade": id,
            "contract": hash,
            "sender": sender,
            "recipient": recipient,
            "epoch": epoch,
            "seq": seq,
            "previous": hex(previous),
            "seen": hex(seen),
            "time": time,
            "commitment": hex(commitment),
        },
        "address_bytes": hex(borsh::to_vec(&envelope.address).unwrap()),
        "sealed": hex(&envelope.sealed),
        "id": hex(envelope.id()),
        "signature": hex(envelope.signature),
        "envelope": hex(envelope.encode()),
        "mailbox": envelope.mailbox(contract).unwrap(),
    })
}

fn invalid(trade: &mut SampleTrade) -> Vec<Value> {
    let contract = trade.contract();
    let good = sealed(trade, Role::Buyer);
    let (buyer, stranger) = (trade.author(Role::Buyer).clone(), Author::new(42));
    let resigned = |author: &Author, change: fn(&mut Address)| {
        let mut envelope = good.clone();
        change(&mut envelope.address);
        let signed = [b"exchange/mail/v1".as_slice(), &envelope.id()].concat();
        envelope.signature = author.sign_bytes(&signed);
        envelope.encode()
    };
    let mut to_stranger = good.clone();
    to_stranger.address.recipient = stranger.id();
    to_stranger.signature = buyer.sign_bytes(&[b"exchange/mail/v1".as_slice(), &to_stranger.id()].concat());
    let mut from_stranger = good.clone();
    from_stranger.address.sender = stranger.id();
    from_stranger.signature = stranger.sign_bytes(&[b"exchange/mail/v1".as_slice(), &from_stranger.id()].concat());
    let mut flipped = good.clone();
    flipped.sealed[40] ^= 1;
    assert_eq!(MAX_ENVELOPES, 256);
    let cases = [
        ("trailing byte", [good.encode().as_slice(), &[0]].concat()),
        ("version 2", resigned(&buyer, |a| a.version = 2)),
        ("second without a predecessor", resigned(&buyer, |a| a.seq = 1)),
        ("one too many", resigned(&buyer, |a| (a.seq, a.previous) = (256, [1; 32]))),
        ("changed on the way", flipped.encode()),
        ("signed by a stranger", resigned(&stranger, |_| {})),
        ("to a stranger", to_stranger.encode()),
        ("from a stranger", from_stranger.encode()),
        ("to oneself", resigned(&buyer, |a| a.recipient = a.sender)),
        ("of another contract", resigned(&buyer, |a| a.contract.0[0] ^= 1)),
        ("of another network", resigned(&buyer, |a| a.network = [1; 4])),
    ];
    cases
        .into_iter()
        .map(|(name, bytes)| {
            let error = Envelope::decode(&bytes).and_then(|envelope| envelope.mailbox(&contract)).unwrap_err();
            json!({ "name": name, "error": error.to_string(), "envelope": hex(bytes) })
        })
        .collect()
}
