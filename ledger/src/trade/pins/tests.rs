//! A counterparty who makes the public records of a funded trade vanish. Here is how a trade is pinned and looked at, and
//! how its records go; what is tested of that stands in a file each.

mod facts;
mod halves;
mod settled;
mod vanished;

use super::*;
use crate::body::Body;
use crate::record::Header;
use crate::storage::MemoryStorage;
use crate::testing::{EPOCH, SampleTrade, admit_all, ledger};
use crate::trade::{ChainFacts, Effect, Event, Funding, Local, Role, Trade};

/// More than a ledger keeps of a forked log.
const FLOOD: u64 = 100;

/// Looks at a trade of which the chain shows nothing yet.
fn look(ledger: &Ledger<MemoryStorage>, id: TradeId, pin: Option<&Pin>) -> Result<Option<Known>, StorageError> {
    super::look(ledger, id, pin, &[])
}

/// Returns what the chain shows: a funding that is buried, at this tip.
fn funded(trade: &SampleTrade, tip: u32) -> ChainFacts {
    let fundings = vec![Funding::new(trade.vaults(1), Some(190))];
    ChainFacts { tip, synced: true, fundings, ..ChainFacts::default() }
}

/// Returns the machine of a role after a restart: it knows what was kept, and what the chain shows.
fn restarted(trade: &SampleTrade, role: Role, known: Known, tip: u32) -> (Trade, Vec<Effect>) {
    let mut machine = Trade::new(known.bid.clone(), role, false, Local::default());
    machine.handle(known.event()).unwrap();
    machine.handle(Event::Compared).unwrap();
    let effects = machine.handle(Event::Chain(funded(trade, tip))).unwrap();
    (machine, effects)
}

/// Returns what is pinned of a trade that holds money.
fn pinned(records: &[Record], trade: &SampleTrade) -> Pin {
    let mut public = ledger();
    admit_all(&mut public, records);
    let mut pin = look(&public, trade.id(), None).unwrap().unwrap().pin.unwrap();
    assert_eq!(Pin::decode(false, &pin.encode(), None), Some(pin.clone()), "what is kept can be read");
    pin.committed = true;
    pin
}

/// Lets an author sign another history from the beginning of his log, longer than what is kept of it.
fn flood(of: &crate::testing::Author, first: &Record) -> Vec<Record> {
    let body = Body::Heartbeat;
    let forged = (1..=FLOOD).map(|age| {
        let time = u64::from(EPOCH) + 1000 + age;
        let header = Header { time, kind: body.kind(), ..*first.header() };
        of.sign(header, body.encode())
    });
    forged.collect()
}
