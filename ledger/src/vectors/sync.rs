//! `sync.json`: items, sketches and a difference, and the bytes of every request and answer.

use borsh::BorshSerialize;
use serde_json::{Value, json};

use super::{check, hex};
use crate::hash::tagged;
use crate::ids::{AuthorId, FrozenHash, RecordId, StateHash};
use crate::record::{Head, LogId};
use crate::state::StateHasher;
use crate::sync::message::{Answer, Found, ItemWant, Opening, Request, Symbol, Want};
use crate::sync::sketch::{Decoded, Item, Salt, Sketch, decode};

const SALT: Salt = Salt([0x51; 16]);
/// Cells that are published of each sketch.
const CELLS: usize = 64;

#[test]
fn sketches_and_messages_come_out_as_published() {
    let ours: Vec<Head> = (0..40).map(|number| head(number, 1)).collect();
    // Three logs went on, one is new, and of one the peer knows nothing.
    let mut theirs: Vec<Head> = ours[1..].to_vec();
    for changed in [3, 17, 30] {
        theirs[changed] = head(u32::try_from(changed).unwrap() + 1, 2);
    }
    theirs.push(head(40, 1));
    let (mine, yours) = (sketch(&ours), sketch(&theirs));
    let Decoded::Whole(difference) = decode(&mine.cells()[..CELLS], &yours.cells()[..CELLS]) else {
        panic!("nine differences need fewer cells")
    };
    let items = |items: &[Item]| items.iter().map(|item| hex(item.0.to_le_bytes())).collect::<Vec<_>>();
    check(
        "sync.json",
        &json!({
            "description": "Reconciliation, see ../sync.md. Two sets of heads, the first cells of the sketch of each as they travel, what \
                            only one side has, messages in borsh, and frames: requests and answers as they travel.",
            "salt": hex(SALT.0),
            "ours": side(&ours, &mine),
            "theirs": side(&theirs, &yours),
            "difference": { "ours": items(&difference.ours), "theirs": items(&difference.theirs) },
            "messages": messages(&theirs, &yours),
            "frames": frames(),
        }),
    );
}

fn sketch(heads: &[Head]) -> Sketch {
    let mut sketch = Sketch::new(CELLS);
    heads.iter().for_each(|head| sketch.add(Item::of(&SALT, head)));
    sketch
}

/// Returns a made-up head; some of them are of forked logs.
fn head(number: u32, len: u64) -> Head {
    let made_up = |what: &[u8]| tagged("exchange/vectors/v1", &[what, &number.to_le_bytes(), &len.to_le_bytes()]);
    let log = LogId { author: AuthorId(tagged("exchange/vectors/v1", &[&number.to_le_bytes()])), epoch: number };
    let frozen = number.is_multiple_of(9).then(|| FrozenHash(made_up(b"frozen")));
    Head { log, len, id: RecordId(made_up(b"id")), time: 1_800_000_000 + len, frozen }
}

fn side(heads: &[Head], sketch: &Sketch) -> Value {
    let mut sorted = heads.to_vec();
    sorted.sort_unstable_by_key(|head| head.log);
    let mut state = StateHasher::new();
    sorted.iter().for_each(|head| state.add(head));
    let count = u64::try_from(heads.len()).unwrap();
    let symbols = sketch.cells().iter().enumerate().map(|(at, cell)| encoded(&Symbol::of(cell, at, count)));
    json!({
        "heads": heads.iter().map(describe).collect::<Vec<_>>(),
        "state": state.finish().to_string(),
        "symbols": symbols.collect::<Vec<_>>(),
    })
}

fn describe(head: &Head) -> Value {
    json!({
        "author": head.log.author.to_string(),
        "epoch": head.log.epoch,
        "len": head.len,
        "id": head.id.to_string(),
        "time": head.time,
        "frozen": head.frozen.map(|frozen| frozen.to_string()),
        "item": hex(Item::of(&SALT, head).0.to_le_bytes()),
        "bytes": encoded(head),
    })
}

fn encoded(value: &impl BorshSerialize) -> String {
    hex(borsh::to_vec(value).unwrap())
}

fn messages(heads: &[Head], sketch: &Sketch) -> Value {
    let digest = StateHash([0xd1; 32]);
    let (log, [other, item]) = (heads[1].log, [0, 1].map(|number| Item::of(&SALT, &heads[number])));
    let symbols: Vec<Symbol> =
        sketch.cells().iter().enumerate().take(3).map(|(at, cell)| Symbol::of(cell, at, 40)).collect();
    let requests = [
        ("compare", Request::Compare { digest, symbols: 32 }),
        ("symbols", Request::Symbols { salt: SALT, from: 32, count: 100 }),
        (
            "items",
            Request::Items {
                salt: SALT,
                wants: vec![ItemWant { item, from: 200 }, ItemWant { item: other, from: u64::MAX }],
            },
        ),
        ("heads", Request::Heads { after: Some(log), limit: 1000 }),
        ("ranges", Request::Ranges(vec![Want::new(log, 7)])),
        ("frozen", Request::Frozen(vec![log])),
        ("ids", Request::Ids(vec![Want::new(log, 7)])),
        ("finished", Request::Finished { digest }),
        ("bodies", Request::Bodies(vec![heads[0].id, heads[1].id])),
        ("forks", Request::Forks { after: Some(log), limit: 1000 }),
    ];
    let record = vec![0xaa, 0xbb, 0xcc];
    let answers = [
        ("same", Answer::Same),
        ("differs", Answer::Differs(Some(Opening { salt: SALT, heads: 40, symbols: symbols.clone() }))),
        ("symbols", Answer::Symbols(symbols)),
        ("stale", Answer::Stale),
        (
            "items",
            Answer::Items(vec![
                Found::Gone,
                Found::Head(heads[1]),
                Found::Records { len: 9, records: vec![record.clone()] },
            ]),
        ),
        ("heads", Answer::Heads(vec![heads[0]])),
        ("records", Answer::Records(vec![vec![record.clone()], Vec::new()])),
        ("ids", Answer::Ids(vec![None, Some(heads[0].id)])),
        ("bodies", Answer::Bodies(vec![None, Some(record)])),
    ];
    json!({
        "requests": requests.iter().map(|(name, request)| json!({ "name": name, "bytes": encoded(request) })).collect::<Vec<_>>(),
        "answers": answers.iter().map(|(name, answer)| json!({ "name": name, "bytes": encoded(answer) })).collect::<Vec<_>>(),
    })
}

/// Returns a request and an answer of each outer code with its length. These codes are the node's: a test of its own reads this.
fn frames() -> Value {
    let frame = |name: &str, code: u8, message: Vec<u8>| {
        let message = [vec![code], message].concat();
        let len = u32::try_from(message.len()).unwrap();
        json!({ "name": name, "bytes": hex([len.to_be_bytes().as_slice(), &message].concat()) })
    };
    let finished = borsh::to_vec(&Request::Finished { digest: StateHash([0xd1; 32]) }).unwrap();
    let same = borsh::to_vec(&Answer::Same).unwrap();
    let envelopes = vec![vec![0xaa_u8, 0xbb, 0xcc]];
    let cursors = borsh::to_vec(&vec![([0xb0_u8; 32], 7_u64)]).unwrap();
    let delivery = borsh::to_vec(&vec![(envelopes.clone(), 9_u64)]).unwrap();
    json!({
        "requests": [
            frame("ledger", 0, finished),
            frame("mail_fetch", 1, cursors),
            frame("mail_put", 2, borsh::to_vec(&envelopes).unwrap()),
        ],
        "answers": [
            frame("ledger", 0, same),
            frame("mail", 1, delivery),
            frame("taken", 2, Vec::new()),
            frame("busy", 3, Vec::new()),
        ],
    })
}
