//! People, told apart by a number: keys, addresses and payment details, the same in every world.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;

use bitcoin::ScriptBuf;
use bitcoin::key::{Keypair, Parity, Secp256k1, TweakedPublicKey};
use bitcoin::secp256k1::SecretKey;
use ed25519_dalek::{Signer, SigningKey};
use exchange_ledger::body::Party;
use exchange_ledger::ids::AuthorId;
use exchange_ledger::record::{LogId, admission};
use exchange_ledger::seal;
use exchange_ledger::trade::details_commitment;
use exchange_ledger::wire::{CurveKey, Destination};

/// The network of all worlds: regtest, where a ticket costs a thousand hashes.
pub const NETWORK: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
/// How many people there are: users of nodes, identities that attackers make up, and the newcomer.
pub const PEOPLE: u8 = 33;
/// Who comes when everything has happened.
pub const NEWCOMER: u8 = PEOPLE - 1;
/// The first whom nobody is: more than any world has nodes.
const FIRST_OF_CROWDS: u8 = 12;
/// How many identities an attacker makes up.
const CROWD: u8 = 4;
/// The salt of everybody's payment details.
pub const SALT: [u8; 32] = [0x5a; 32];
/// Tickets remembered on a thread: worlds begin at the same moment, so most logs are opened again and again.
const MAX_TICKETS: usize = 4096;

/// Somebody.
#[derive(Debug)]
pub struct Person {
    signing: SigningKey,
    /// The public key of the identity.
    pub author: AuthorId,
    /// The key in escrows.
    pub key: Keypair,
    /// The key of the wallet's coins.
    pub coin_key: Keypair,
    /// What the person brings to a contract.
    pub party: Party,
    /// The payment details.
    pub details: String,
    /// The secret half of the key to which messages are sealed.
    pub seal_secret: [u8; 32],
}

impl Person {
    /// Returns person `number`, below [`PEOPLE`].
    pub fn of(number: u8) -> &'static Self {
        static ALL: OnceLock<Vec<Person>> = OnceLock::new();
        &ALL.get_or_init(|| (0..PEOPLE).map(Self::new).collect())[usize::from(number)]
    }

    /// Returns the identities that the user of a node makes up, if he does.
    pub fn crowd(node: usize) -> impl Iterator<Item = &'static Self> {
        let crowds = (NEWCOMER - FIRST_OF_CROWDS) / CROWD;
        let first = FIRST_OF_CROWDS + (node as u8 % crowds) * CROWD; // at most twelve nodes
        (first..first + CROWD).map(Self::of)
    }

    fn new(number: u8) -> Self {
        let signing = SigningKey::from_bytes(&[number + 1; 32]);
        let key = even_keypair([number + 101; 32]);
        let coin_key = even_keypair([number + 151; 32]);
        let output_key = TweakedPublicKey::dangerous_assume_tweaked(coin_key.x_only_public_key().0);
        let script = ScriptBuf::new_p2tr_tweaked(output_key);
        let seal_secret = [number + 51; 32];
        let details = format!("IBAN of person {number}");
        let party = Party {
            trade_key: CurveKey(key.x_only_public_key().0),
            seal_key: seal::public_key(&seal_secret),
            destination: Destination::new(script).expect("P2TR is standard"),
            details: details_commitment(&SALT, &details),
        };
        let author = AuthorId(signing.verifying_key().to_bytes());
        Self { author, signing, key, coin_key, party, details, seal_secret }
    }

    /// Signs bytes by the identity.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

/// Returns the ticket of a log.
pub fn ticket(log: &LogId) -> u64 {
    thread_local! {
        static TICKETS: RefCell<HashMap<LogId, u64>> = RefCell::default();
    }
    TICKETS.with_borrow_mut(|tickets| {
        if tickets.len() >= MAX_TICKETS {
            tickets.clear();
        }
        *tickets.entry(*log).or_insert_with(|| admission::mint(&NETWORK, log))
    })
}

fn even_keypair(secret: [u8; 32]) -> Keypair {
    let secp = Secp256k1::new();
    let secret = SecretKey::from_slice(&secret).expect("below the order of the curve");
    let pair = Keypair::from_secret_key(&secp, &secret);
    match pair.x_only_public_key().1 {
        Parity::Even => pair,
        Parity::Odd => Keypair::from_secret_key(&secp, &secret.negate()),
    }
}
