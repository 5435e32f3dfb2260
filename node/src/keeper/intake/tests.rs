//! Verified on all cores, let in in the order of arrival.

use exchange_ledger::body::Body;
use exchange_ledger::ids::RecordId;
use exchange_ledger::record::Header;
use exchange_ledger::storage::Storage;
use exchange_ledger::testing::{Author, NETWORK};
use exchange_store::{OpenOptions, Store};

use super::*;
use crate::keeper::Keeper;

/// Writes a log of the past.
fn history(author: &Author, len: u64) -> Vec<Vec<u8>> {
    let mut backlink = RecordId([0; 32]);
    let mut write = |seq| {
        let first = author.next_header(&Body::Heartbeat);
        let admission = if seq == 0 { first.admission } else { 0 };
        let record = author.sign(Header { seq, backlink, time: 1_700_000_000 + seq, admission, ..first }, Vec::new());
        backlink = record.id();
        record.encode()
    };
    (0..len).map(&mut write).collect()
}

#[tokio::test]
async fn what_many_send_at_once_is_let_in_in_order_and_answered_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OpenOptions::default()).unwrap();
    let (keeper, thread) = Keeper::start(store, NETWORK).unwrap();
    let (ada, bob) = (Author::new(1), Author::new(2));
    let (long, forged) = (history(&ada, 3000), history(&bob, 1));
    let mut messages: Vec<Vec<Vec<u8>>> = long.chunks(7).map(<[_]>::to_vec).collect();
    let mut forged = forged[0].clone();
    forged[140] ^= 1; // in the signature
    messages[200].insert(3, forged.clone());
    messages[300].insert(0, b"nothing".to_vec());
    messages[400] = Vec::new();
    let last = history(&ada, 3001);
    messages.push(vec![last[3000].clone(), last[2999].clone()]);

    let mut answers = Vec::new();
    for records in messages.clone() {
        let (reply, answer) = oneshot::channel();
        assert!(keeper.incoming.send(Incoming { records, reply }).await.is_ok());
        answers.push(answer);
    }
    let all = futures::future::try_join_all(answers).await.unwrap();
    let gap = 400 * 7; // what one message did not bring is missing to all after it
    for (number, (message, verdicts)) in messages.iter().zip(&all).enumerate() {
        assert_eq!(message.len(), verdicts.len());
        for (bytes, verdict) in message.iter().zip(verdicts) {
            let expected = match (number, bytes) {
                (_, bytes) if *bytes == forged || bytes == b"nothing" => Verdict::Reject,
                (..400, _) => Verdict::Accept,
                _ => Verdict::Orphan(ada.log()),
            };
            assert_eq!(*verdict, expected, "in message {number}");
        }
    }
    assert_eq!(keeper.ledger().storage().head(&ada.log()).unwrap().unwrap().len, gap);

    let rest = keeper.ingest(last[2800..].to_vec()).await;
    assert!(rest.iter().all(|verdict| *verdict == Verdict::Accept));
    assert!(keeper.ingest(last[..50].to_vec()).await.iter().all(|verdict| *verdict == Verdict::Ignore));
    assert_eq!(keeper.ledger().storage().head(&ada.log()).unwrap().unwrap().len, 3001);
    drop(keeper);
    thread.join().unwrap();
}
