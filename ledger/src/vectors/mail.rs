//! `mail.json`: envelopes, sealed with known entropy, and envelopes that must be refused.

use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::Side;
use crate::mail::{Address, Envelope, MAX_DETAILS_LEN, MAX_ENVELOPES, MailError, Message};
use crate::seal;
use crate::testing::{Author, EPOCH, NETWORK, SALT, SampleTrade};
use crate::trade::Role;

const ENTROPY: [u8; 32] = [0xe7; 32];

#[test]
fn envelopes_come_out_as_published() {
    let mut trade = SampleTrade::new(Side::Sell);
    let valid = [Role::Buyer, Role::Seller].map(|from| describe(&mut trade, from));
    let computed = json!({
        "description": "Mail of the first case of escrow.json, see ../mail.md. ikmE of HPKE is 32 bytes of e7, a seal secret of author n 32 bytes of n + 50.",
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
    assert_eq!(envelope.open(&secret), Ok(message));
    assert_eq!(envelope.open(&trade.author(Role::Buyer).seal_secret()), Err(MailError::Sealed));
    let moved = Address { seq: 1, previous: [1; 32], ..envelope.address.clone() };
    assert_eq!(Envelope { address: moved, ..envelope.clone() }.open(&secret), Err(MailError::Sealed));
}

#[test]
fn payment_details_cannot_paint_over_a_terminal() {
    let mut trade = SampleTrade::new(Side::Sell);
    let (contract, address) = (trade.contract(), address(&mut trade, Role::Buyer));
    let (buyer, secret) = (trade.author(Role::Buyer).clone(), trade.author(Role::Seller).seal_secret());
    for details in ["\x1b[2JIBAN".to_owned(), "a\u{202e}b".to_owned(), "x".repeat(MAX_DETAILS_LEN + 1)] {
        let message = Message::Details { salt: SALT, details };
        let sign = |bytes: &[u8]| buyer.sign_bytes(bytes);
        assert_eq!(Envelope::seal(address.clone(), &contract, &message, ENTROPY, sign), Err(MailError::Malformed));
        // A cheat seals it all the same.
        let (key, aad) = (contract.seller_party.seal_key, borsh::to_vec(&address).unwrap());
        let sealed = seal::seal(&key, b"exchange/mail/v1", &aad, &borsh::to_vec(&message).unwrap(), ENTROPY).unwrap();
        let envelope = Envelope { address: address.clone(), sealed, signature: [0; 64] };
        assert_eq!(envelope.open(&secret), Err(MailError::Sealed));
    }
}

fn address(trade: &mut SampleTrade, from: Role) -> Address {
    let to = crate::trade::counterparty(from);
    Address {
        version: 1,
        network: NETWORK,
        trade: trade.id(),
        contract: trade.contract().hash(),
        sender: trade.author(from).id(),
        recipient: trade.author(to).id(),
        seq: 0,
        previous: [0; 32],
        time: u64::from(EPOCH) + 60,
    }
}

fn sealed(trade: &mut SampleTrade, from: Role) -> Envelope {
    let (contract, address) = (trade.contract(), address(trade, from));
    let author = trade.author(from).clone();
    let message = Message::Details { salt: SALT, details: author.details() };
    Envelope::seal(address, &contract, &message, ENTROPY, |bytes| author.sign_bytes(bytes)).unwrap()
}

fn describe(trade: &mut SampleTrade, from: Role) -> Value {
    let envelope = sealed(trade, from);
    let Address { version, network, trade: id, contract, sender, recipient, seq, previous, time } =
        envelope.address.clone();
    let details = trade.author(from).details();
    let message = Message::Details { salt: SALT, details: details.clone() };
    assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope.clone()));
    json!({
        "message": { "salt": hex(SALT), "details": details },
        "commitment": hex(trade.author(from).party().details),
        "plaintext": hex(borsh::to_vec(&message).unwrap()),
        "recipient_seal_key": hex(trade.author(crate::trade::counterparty(from)).party().seal_key),
        "ikm_e": hex(ENTROPY),
        "address": {
            "version": version,
            "network": hex(network),
            "trade": id,
            "contract": contract,
            "sender": sender,
            "recipient": recipient,
            "seq": seq,
            "previous": hex(previous),
            "time": time,
        },
        "address_bytes": hex(borsh::to_vec(&envelope.address).unwrap()),
        "sealed": hex(&envelope.sealed),
        "id": hex(envelope.id()),
        "signature": hex(envelope.signature),
        "envelope": hex(envelope.encode()),
        "mailbox": envelope.mailbox(&trade.contract()).unwrap(),
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
    assert_eq!(MAX_ENVELOPES, 64);
    let cases = [
        ("trailing byte", [good.encode().as_slice(), &[0]].concat()),
        ("version 2", resigned(&buyer, |a| a.version = 2)),
        ("first with a predecessor", resigned(&buyer, |a| a.previous = [1; 32])),
        ("second without a predecessor", resigned(&buyer, |a| a.seq = 1)),
        ("one too many", resigned(&buyer, |a| (a.seq, a.previous) = (64, [1; 32]))),
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
