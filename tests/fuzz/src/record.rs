//! Bytes from a stranger as a record, and as the body of a record that its author really signed.

use exchange_ledger::body::Body;
use exchange_ledger::record::{Kind, MAX_BODY_LEN, MAX_RECORD_LEN, Record, verify_batch};
use exchange_ledger::testing::Author;

/// The first byte of a tape that is a body; a record begins with its version.
const IS_BODY: u8 = 0xff;
/// How many records a body may name; a trade and an offer today.
const MAX_SUBJECTS: usize = 8;
/// The codes of all kinds, and two of later versions.
const CODES: [u16; 14] = [1, 2, 3, 16, 17, 32, 33, 34, 35, 36, 37, 38, 0, 4000];

/// Runs the target: the first byte chooses between a whole record and a body.
pub fn run(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    if *first == IS_BODY {
        as_body(rest);
    } else {
        as_record(bytes);
    }
}

fn as_record(bytes: &[u8]) {
    if let Ok(record) = Record::decode_any(bytes) {
        assert_eq!(record.encode(), bytes, "what is accepted bare encodes to itself");
        assert_eq!(
            record.is_bare(),
            Record::decode(bytes).is_err(),
            "bytes are a record or a bare one, and never both"
        );
    }
    let Ok(record) = Record::decode(bytes) else { return };
    assert!(bytes.len() <= MAX_RECORD_LEN);
    assert_eq!(record.encode(), bytes, "what is accepted encodes to itself");
    assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record));
    check_body(&record);
    let alone = record.verify();
    let batch = verify_batch(&[record.clone(), record], [7; 32]);
    assert!(batch.iter().all(|one| *one == alone), "a batch judges as one record alone: {alone:?}, {batch:?}");
}

/// Signs the bytes as a body of a kind that the first of them chooses.
fn as_body(bytes: &[u8]) {
    let Some((code, body)) = bytes.split_first() else { return };
    let body = &body[..body.len().min(MAX_BODY_LEN)];
    let author = Author::new(2);
    let mut header = author.next_header(&Body::Heartbeat);
    header.kind = Kind::from_code(CODES[usize::from(*code) % CODES.len()]);
    let record = author.sign(header, body.to_vec());
    assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record), "what is signed can be read");
    check_body(&record);
}

fn check_body(record: &Record) {
    let Ok(body) = Body::decode(record) else { return };
    assert_eq!(body.kind(), record.header().kind);
    assert!(body.subjects().len() <= MAX_SUBJECTS);
    match body {
        Body::Unknown(_) => {}
        known => assert_eq!(known.encode(), record.body(), "a body has one encoding"),
    }
}
