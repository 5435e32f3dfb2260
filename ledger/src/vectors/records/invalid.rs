//! Records that break one rule each.

use super::*;
use crate::body::{GroupAdvert, GroupTerms, SEALED_SHARE_LEN};
use crate::frost::MAX_MEMBERS;
use crate::group::signed_hash;
use crate::ids::AuthorId;
use crate::testing::group::terms;
use crate::testing::{NETWORK, sample_advert, text};
use crate::text::Text;

/// A record that breaks one rule.
pub(super) struct Invalid {
    name: &'static str,
    stage: &'static str,
    record: Vec<u8>,
}

impl Invalid {
    pub(super) fn describe(&self) -> Value {
        let (stage, error) = first_fault(&self.record).unwrap_or_else(|| panic!("{} is accepted", self.name));
        assert_eq!(stage, self.stage, "{}: {error}", self.name);
        json!({ "name": self.name, "stage": stage, "error": error.to_string(), "record": hex(&self.record) })
    }
}

pub(super) fn records() -> Vec<Invalid> {
    let mut records = malformed();
    records.extend(badly_signed());
    records.extend(bad_bodies());
    records
}

fn malformed() -> Vec<Invalid> {
    let trade = SampleTrade::new(Side::Sell);
    let (first, second) = (trade.offer.encode(), trade.accept.encode());
    let changed = |bytes: &[u8], at: usize, to: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = to;
        bytes
    };
    let zero_backlink = {
        let mut bytes = second.clone();
        bytes[49..81].fill(0);
        bytes
    };
    let cases = [
        ("empty", Vec::new()),
        ("header without its last byte", first[..HEADER_LEN - 1].to_vec()),
        ("signature without its last byte", first[..HEADER_LEN + 63].to_vec()),
        ("body without its last byte", first[..first.len() - 1].to_vec()),
        ("trailing byte", [first.as_slice(), &[0]].concat()),
        ("longer than a record may be", vec![1; MAX_RECORD_LEN + 1]),
        ("version 2", changed(&first, 0, 2)),
        ("unknown flag", changed(&first, 91, 2)),
        ("stated body length above the limit", changed(&first, 93, 0xff)),
        ("stated body length one less", changed(&first, 92, first[92] - 1)),
        ("body that does not match its hash", changed(&first, first.len() - 1, first[first.len() - 1] ^ 1)),
        ("backlink at seq 0", changed(&first, 49, 1)),
        ("no backlink at seq 1", zero_backlink),
        ("ticket at seq 1", changed(&second, 126, 1)),
        ("seq beyond the longest log", changed(&second, 43, 1)),
    ];
    cases.into_iter().map(|(name, record)| Invalid { name, stage: "decode", record }).collect()
}

fn badly_signed() -> Vec<Invalid> {
    let trade = SampleTrade::new(Side::Sell);
    let (header, body) = (*trade.accept.header(), trade.accept.body().to_vec());
    let by = |author: [u8; 32], signature: [u8; 64]| {
        let log = crate::record::LogId { author: AuthorId(author), ..header.log };
        Record::sign(Header { log, ..header }, body.clone(), |_| signature).unwrap().encode()
    };
    let author = trade.maker.id().0;
    let good = *trade.accept.signature();
    let mut flipped = good;
    flipped[0] ^= 1;
    let mut bad_ticket = *trade.offer.header();
    bad_ticket.admission =
        (0..).find(|nonce| !crate::record::admission::is_valid(&bad_ticket.network, &bad_ticket.log, *nonce)).unwrap();
    let mut identity = [0; 32];
    identity[0] = 1;
    // The point of order eight with the larger Y, as in the list of ZIP-215.
    let order_eight = bytes32("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    // -1 as a Y that is not reduced: 2^255 - 19 - 1 + 2^255 - 19 does not fit, so p + 1 = 2^255 - 18 stands for Y = 1.
    let unreduced_identity = bytes32("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    let mut no_point = [0; 32];
    no_point[0] = 2;
    // R = identity and S = 0 satisfy the equation of verification for every message under a key of small order.
    let mut anything = [0; 64];
    anything[0] = 1;
    let cases = [
        ("signature with a flipped bit", by(author, flipped)),
        ("signature with S not below the group order", by(author, add_order(good))),
        ("signature of another record", by(author, *trade.offer.signature())),
        ("author of order one", by(identity, anything)),
        ("author of order one, not reduced", by(unreduced_identity, anything)),
        ("author of order eight", by(order_eight, anything)),
        ("author that is no point", by(no_point, good)),
        ("bad admission ticket", trade.maker.sign(bad_ticket, trade.offer.body().to_vec()).encode()),
    ];
    cases.into_iter().map(|(name, record)| Invalid { name, stage: "verify", record }).collect()
}

fn bytes32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Adds the order of the group to S: the same number to a verifier that reduces.
fn add_order(mut signature: [u8; 64]) -> [u8; 64] {
    let order = bytes32("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    signature
}

fn bad_bodies() -> Vec<Invalid> {
    let trade = SampleTrade::new(Side::Sell);
    let offer = Body::Offer(sample_offer(Side::Sell, &[trade.advert.id()])).encode();
    let take = trade.take.body().to_vec();
    let cancel = Body::Cancel(Cancel { trade: trade.id(), refund: None }).encode();
    let advert = trade.advert.body().to_vec();
    // side 0, currency 1..6, price 6..14, min 14..22, max 22..30, methods 30..
    let set = |body: &[u8], at: usize, with: &[u8]| {
        let mut body = body.to_vec();
        body[at..at + with.len()].copy_from_slice(with);
        body
    };
    // of a Take: offer 32, amount 8, method 1, arbiter 1, no second arbiter 1, nonce 32
    let (party, destination) = (75, 75 + 64);
    let cases = vec![
        ("heartbeat with a body", Kind::Heartbeat, vec![0]),
        ("body with a trailing byte", Kind::Cancel, [cancel.as_slice(), &[0]].concat()),
        ("body cut short", Kind::Cancel, cancel[..32].to_vec()),
        ("option that is neither 0 nor 1", Kind::Cancel, set(&cancel, 32, &[2])),
        ("side that is neither 0 nor 1", Kind::Offer, set(&offer, 0, &[2])),
        ("currency in small letters", Kind::Offer, set(&offer, 1, b"eur")),
        ("currency with a letter after its padding", Kind::Offer, set(&offer, 1, b"EUR\0X")),
        ("currency of two letters", Kind::Offer, set(&offer, 1, b"EU\0\0\0")),
        ("price of zero", Kind::Offer, set(&offer, 6, &[0; 8])),
        ("amount above 21 million bitcoin", Kind::Offer, set(&offer, 22, &2_100_000_000_000_001u64.to_le_bytes())),
        ("nine payment methods", Kind::Offer, set(&offer, 30, &9u32.to_le_bytes())),
        ("terminal escape in a payment method", Kind::Offer, set(&offer, 38, b"\x1b[2J")),
        ("right-to-left override in a payment method", Kind::Offer, set(&offer, 38, "\u{202e}".as_bytes())),
        ("text that is not UTF-8", Kind::Offer, set(&offer, 38, &[0xff])),
        ("flag that is neither 0 nor 1", Kind::Offer, set(&offer, offer.len() - 9, &[2])),
        ("key that is no point", Kind::Take, set(&take, party, &[0xff; 32])),
        ("destination that is no standard script", Kind::Take, set(&take, destination + 4, &[0x6a])),
        ("destination of another length", Kind::Take, set(&take, destination, &21u32.to_le_bytes())),
    ];
    let mut records: Vec<Invalid> = cases.into_iter().map(|(name, kind, body)| encoded(name, kind, body)).collect();
    records.extend(offers_against_the_rules(&trade));
    let rules = [
        ("arbiter without a name", change_advert(&advert, |a| a.name = Text::default())),
        ("arbiter whose name is no-break spaces", change_advert(&advert, |a| a.name = text("\u{a0}\u{a0}"))),
        ("arbiter's fee above a tenth", change_advert(&advert, |a| a.fee_ppm = 100_001)),
    ];
    records.extend(rules.map(|(name, body)| encoded(name, Kind::ArbiterAdvert, body)));
    records.extend(bad_stakes());
    records.extend(bad_checkpoints());
    records.extend(bad_steps());
    records.extend(bad_group_adverts());
    assert!(offer.len() < MAX_BODY_LEN);
    records
}

/// Stakes in the name of author 6.
fn bad_stakes() -> Vec<Invalid> {
    let stake = Body::Stake(sample_stake(&Author::new(6), 1)).encode();
    let flipped = |at: usize| {
        let mut bytes = stake.clone();
        bytes[at] ^= 1;
        bytes
    };
    let another_network = {
        let coin = sample_stake(&Author::new(6), 1).coin;
        let mainnet = bitcoin::p2p::Magic::BITCOIN.to_bytes();
        let message = crate::stake::message(&mainnet, &Author::new(6).id(), &coin);
        let message = bitcoin::secp256k1::Message::from_digest(message);
        let key = Author::new(6).trade_key();
        let signature = bitcoin::key::Secp256k1::new().sign_schnorr_no_aux_rand(&message, &key);
        [&stake[..68], &signature.serialize()].concat()
    };
    let cases = [
        ("stake whose signature has a flipped bit", flipped(131)),
        ("stake on another coin than was signed", flipped(0)),
        ("stake on another output than was signed", flipped(32)),
        ("stake that was signed for another author", Body::Stake(sample_stake(&Author::new(7), 1)).encode()),
        ("stake that was signed for another network", another_network),
        ("stake without its last byte", stake[..131].to_vec()),
        ("stake with a trailing byte", [stake.as_slice(), &[0]].concat()),
        ("stake under a key that is no point", [&stake[..36], &[0xff; 32], &stake[68..]].concat()),
    ];
    cases.into_iter().map(|(name, body)| encoded(name, Kind::Stake, body)).collect()
}

fn bad_checkpoints() -> Vec<Invalid> {
    let good = Checkpoint { time: 0, logs: 3, records: 4, state: StateHash([0x5a; 32]) };
    let bytes = |checkpoint: Checkpoint| borsh::to_vec(&checkpoint).unwrap();
    let cases = [
        ("checkpoint of a time to come", bytes(Checkpoint { time: u64::MAX, ..good.clone() })),
        ("checkpoint with more logs than records", bytes(Checkpoint { logs: 5, ..good.clone() })),
        ("checkpoint with a trailing byte", [bytes(good).as_slice(), &[0]].concat()),
    ];
    cases.into_iter().map(|(name, body)| encoded(name, Kind::Checkpoint, body)).collect()
}

/// Returns authors of these numbers in the order of their keys.
fn in_order<const N: usize>(numbers: [u8; N]) -> [Author; N] {
    let mut authors = numbers.map(Author::new);
    authors.sort_by_key(Author::id);
    authors
}

fn ids(authors: &[Author]) -> List<AuthorId, MAX_MEMBERS> {
    List::new(authors.iter().map(Author::id).collect()).unwrap()
}

/// Returns a body with other bytes in a place of it, be they more or fewer.
fn spliced(body: &[u8], place: std::ops::Range<usize>, with: &[&[u8]]) -> Vec<u8> {
    let mut body = body.to_vec();
    drop(body.splice(place, with.concat()));
    body
}

/// Steps by which groups would form, in the name of author 6.
fn bad_steps() -> Vec<Invalid> {
    let propose = |terms: GroupTerms| Body::GroupStep(GroupStep::Propose(terms)).encode();
    let (group, two) = (RecordId([5; 32]), in_order([6, 7]));
    let (good, bytes) = (terms(2, &two), propose(terms(2, &two)));
    let backwards = ids(&[two[1].clone(), two[0].clone()]);
    let twice = ids(&[Author::new(6), Author::new(6)]);
    let mut cases = vec![
        ("group proposed by who is none of its members", propose(terms(2, &in_order([7, 8])))),
        ("group of one", propose(terms(1, &in_order([6])))),
        ("group of which one of two rules", propose(terms(1, &two))),
        ("group of which a half rules", propose(terms(2, &in_order([6, 7, 8, 9])))),
        ("group of which more rule than there are", propose(terms(3, &two))),
        ("group whose members do not ascend", propose(GroupTerms { members: backwards, ..good.clone() })),
        ("group with a member twice", propose(GroupTerms { members: twice, ..good.clone() })),
        ("group without a name", propose(GroupTerms { name: Text::default(), ..good.clone() })),
        ("group whose name is an em space", propose(GroupTerms { name: text("\u{2003}"), ..good.clone() })),
        ("group whose fee is above a tenth", propose(GroupTerms { fee_ppm: 100_001, ..good })),
        // variant 0, threshold 1, count of members 2..6, two of them 6..70
        ("group of nine", spliced(&bytes, 2..70, &[&9u32.to_le_bytes(), &[7; 9 * 32]])),
        ("proposal with a trailing byte", [bytes.as_slice(), &[0]].concat()),
        ("step of a kind that there is not", spliced(&bytes, 0..1, &[&[4]])),
    ];
    let join = |seal_key: [u8; 32]| {
        let draw = Draw { coefficients: List::default(), proof: [7; 64] };
        Body::GroupStep(GroupStep::Join(GroupJoin { group, seal_key, seal_part: [6; 32], draw })).encode()
    };
    let [of_order_eight, other_of_order_eight] = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ]
    .map(bytes32);
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    let usable = join(seal::public_key(&[6; 32]));
    cases.extend([
        ("join with a key of zeros", join([0; 32])),
        ("join with a key of order eight", join(of_order_eight)),
        ("join with the other key of order eight", join(other_of_order_eight)),
        ("join with a key of one and the highest bit", join(one)),
        // variant 0, group 1, keys 33..97, count of points 97..101
        ("join with nine points", spliced(&usable, 97..101, &[&9u32.to_le_bytes(), &[2; 9 * 33]])),
    ]);
    let deal = |joins: usize, sealed: usize| {
        let joins = List::new(vec![RecordId([1; 32]); joins]).unwrap();
        let sealed = List::new(vec![[2; SEALED_SHARE_LEN]; sealed]).unwrap();
        Body::GroupStep(GroupStep::Deal(GroupDeal { group, joins, sealed })).encode()
    };
    let confirm = GroupConfirm { group, signature: [7; 64], kept: List::default() };
    let confirm = Body::GroupStep(GroupStep::Confirm(confirm)).encode();
    cases.extend([
        ("deal of as many shares as ids", deal(3, 3)),
        ("deal that lacks a share", deal(3, 1)),
        ("deal of nothing", deal(0, 0)),
        // variant 0, group 1, count of ids 33, eight of them 37..293, count of shares 293..297
        ("deal of eight shares", spliced(&deal(8, 7), 293..297, &[&8u32.to_le_bytes(), &[2; SEALED_SHARE_LEN]])),
        // variant 0, group 1, signature 33, length of the part 97..101
        ("confirmation with a part of 1073 bytes", spliced(&confirm, 97..101, &[&1073u32.to_le_bytes(), &[8; 1073]])),
    ]);
    cases.into_iter().map(|(name, body)| encoded(name, Kind::GroupStep, body)).collect()
}

/// Adverts of groups, in the name of author 6.
fn bad_group_adverts() -> Vec<Invalid> {
    let two = in_order([6, 7]);
    let backwards = [two[1].clone(), two[0].clone()];
    let twice = [Author::new(6), Author::new(6)];
    let of = |threshold: u8, members: &[Author]| {
        let (group, advert) = (RecordId([5; 32]), sample_advert(&two[0]));
        GroupAdvert { group, advert, threshold, members: ids(members), signatures: List::default() }
    };
    let on = |change: fn(&mut ArbiterAdvert)| {
        let mut advert = of(2, &two);
        change(&mut advert.advert);
        advert
    };
    let signed_for = |network: [u8; 4], advert: GroupAdvert, by: &[Author]| {
        let message = [b"exchange/group-advert/v1".as_slice(), &signed_hash(&network, &advert)].concat();
        let signatures = List::new(by.iter().map(|author| author.sign_bytes(&message)).collect()).unwrap();
        Body::GroupAdvert(GroupAdvert { signatures, ..advert }).encode()
    };
    let signed = |advert: GroupAdvert, by: &[Author]| signed_for(NETWORK, advert, by);
    let good = signed(of(2, &two), &two);
    assert_eq!(first_fault(&encoded("good", Kind::GroupAdvert, good.clone()).record), None);
    let (four, others) = (in_order([6, 7, 8, 9]), in_order([7, 8]));
    let signature = good.len() - 64;
    let mainnet = bitcoin::p2p::Magic::BITCOIN.to_bytes();
    let cases = [
        ("advert of a group of which one of two rules", signed(of(1, &two), &two)),
        ("advert of a group of which a half rules", signed(of(2, &four), &four)),
        ("advert of a group of which more rule than there are", signed(of(3, &two), &two)),
        ("advert of a group whose members do not ascend", signed(of(2, &backwards), &backwards)),
        ("advert of a group with a member twice", signed(of(2, &twice), &twice)),
        ("advert of a group without a name", signed(on(|a| a.name = Text::default()), &two)),
        ("advert of a group whose name is an ideographic space", signed(on(|a| a.name = text("\u{3000}")), &two)),
        ("advert of a group whose fee is above a tenth", signed(on(|a| a.fee_ppm = 100_001), &two)),
        ("advert of a group by who is none of its members", signed(of(2, &others), &others)),
        ("advert of a group that one of two signed", signed(of(2, &two), &two[..1])),
        ("advert of a group with three signatures of two", signed(of(2, &two), &[&two[..], &two[1..]].concat())),
        ("advert of a group with the signatures exchanged", signed(of(2, &two), &backwards)),
        (
            "advert of a group with a flipped bit in a signature",
            spliced(&good, signature..signature + 1, &[&[good[signature] ^ 1]]),
        ),
        ("advert of a group that was signed for another network", signed_for(mainnet, of(2, &two), &two)),
        ("advert of a group that was signed for another group", spliced(&good, 0..32, &[&[6; 32]])),
        // group 0..32, name 32..39, key 39..71
        ("advert of a group under a key that is no point", spliced(&good, 39..71, &[&[0xff; 32]])),
        ("advert of a group with a trailing byte", [good.as_slice(), &[0]].concat()),
    ];
    cases.into_iter().map(|(name, body)| encoded(name, Kind::GroupAdvert, body)).collect()
}

fn change_advert(bytes: &[u8], change: fn(&mut ArbiterAdvert)) -> Vec<u8> {
    let mut advert = borsh::from_slice(bytes).unwrap();
    change(&mut advert);
    borsh::to_vec(&advert).unwrap()
}

fn offers_against_the_rules(trade: &SampleTrade) -> Vec<Invalid> {
    type Change = fn(&mut Offer);
    let changes: [(&str, Change); 24] = [
        ("smallest amount below the minimum trade", |o| o.min = sats(399_999)),
        ("largest amount below the smallest", |o| o.max = sats(400_000 - 1)),
        ("cost beyond 64 bits", |o| {
            o.price = crate::money::Price::new(u64::MAX).unwrap();
            o.max = crate::money::Sats::MAX;
        }),
        ("no payment method", |o| o.methods = List::new(vec![]).unwrap()),
        ("blank payment method", |o| o.methods = List::new(vec![text(" ")]).unwrap()),
        ("payment method of a no-break space", |o| o.methods = List::new(vec![text("\u{a0}")]).unwrap()),
        ("payment method of an ideographic space", |o| o.methods = List::new(vec![text("\u{3000}")]).unwrap()),
        ("payment method of an em space and a line feed", |o| o.methods = List::new(vec![text("\u{2003}\n")]).unwrap()),
        ("payment method twice", |o| o.methods = List::new(vec![o.methods[0].clone(); 2]).unwrap()),
        ("no arbiter", |o| o.arbiters = List::new(vec![]).unwrap()),
        ("arbiter twice", |o| o.arbiters = List::new(vec![RecordId([1; 32]); 2]).unwrap()),
        ("refund delay too short", |o| o.refund_delay = 3023),
        ("refund delay too long", |o| o.refund_delay = 8641),
        ("no arbitration delay", |o| o.arbitration_delay = 0),
        ("arbitration delay as long as the buyer may pay", |o| o.arbitration_delay = 4320 - 2016),
        ("second arbiter as soon as the first", |o| o.second_delay = o.arbitration_delay),
        ("second arbiter too late to confirm his ruling", |o| o.second_delay = 4320 - 503),
        ("bond of the seller below a twentieth", |o| o.seller_bond_ppm = 49_999),
        ("bond of the seller above a half", |o| o.seller_bond_ppm = 500_001),
        ("bond of the buyer below a twentieth", |o| o.buyer_bond_ppm = 49_999),
        ("bond of the buyer above a half", |o| o.buyer_bond_ppm = 500_001),
        ("end that is not after the beginning", |o| o.expires = u64::from(EPOCH) + 2),
        ("life of more than thirty days", |o| o.expires = u64::from(EPOCH) + 2 + 30 * 24 * 3600 + 1),
        ("largest amount of nothing", |o| o.max = crate::money::Sats::ZERO),
    ];
    let offers = changes.map(|(name, change)| {
        let mut offer = sample_offer(Side::Sell, &[trade.advert.id()]);
        change(&mut offer);
        encoded(name, Kind::Offer, Body::Offer(offer).encode())
    });
    offers.into()
}

/// Signs any bytes as the body of author 6's second record.
fn encoded(name: &'static str, kind: Kind, body: Vec<u8>) -> Invalid {
    let mut author = Author::new(6);
    author.write(&Body::Heartbeat);
    let header = Header { kind, ..author.next_header(&Body::Heartbeat) };
    Invalid { name, stage: "body", record: author.sign(header, body).encode() }
}
