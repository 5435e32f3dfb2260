//! What the book costs: an answer out of a million offers, and the memory of a relay that holds a hundred thousand.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use exchange_ledger::body::{Body, MAX_OFFER_LIFE_S, Offer, Side};
use exchange_ledger::book::{Book, LIVE_OFFERS, Query, Words};
use exchange_ledger::ids::RecordId;
use exchange_ledger::ledger::Ledger;
use exchange_ledger::money::{Currency, Price, Sats};
use exchange_ledger::record::{LogId, admission};
use exchange_ledger::storage::MemoryStorage;
use exchange_ledger::text::Text;
use exchange_node::keeper::Keeper;
use exchange_node::net::Verdict;
use exchange_store::{OpenOptions, Store};
use exchange_tests::{Cli, Launch, Process, Regtest};

use crate::Outcome;
use crate::corpus::{NETWORK, Writer, list, now, sats};
use crate::figure::{Figure, Target};

/// Makers of the million: each has as many offers as stand without a stake.
const MAKERS: u32 = 125_000;
/// Makers whose offers a relay holds.
const RELAYED_MAKERS: u32 = 12_500;
/// Questions: enough for a hundredth of them to be more than chance.
const QUESTIONS: u64 = 4_000;
/// Offers in an answer.
const BEST: usize = 50;
/// Most offers are in the first market, as on any exchange.
const CURRENCIES: [&str; 6] = ["EUR", "EUR", "EUR", "USD", "BRL", "ISK"];
/// Payment methods from the most common to one that hardly anybody offers.
const METHODS: [&str; 8] = ["SEPA instant", "SEPA", "Revolut", "Wise", "Zelle", "Pix", "Cash by mail", "Face to face"];
/// Records that the keeper takes in at once.
const ANSWER: usize = 700;
/// Verifications of a ticket.
const TICKETS: u64 = 100_000;

/// Prints `ticket`, `book_query` and `rss`.
///
/// # Errors
/// When the disk fails, a record is not taken, or the relay does not start.
pub fn measure() -> Outcome<()> {
    ticket()?;
    book_query()?;
    rss()
}

/// What it costs to check the work that opening a log costs.
fn ticket() -> Outcome<()> {
    let log = LogId { author: Writer::new(0, now()?)?.author(), epoch: 1 };
    let start = Instant::now();
    let nonce = admission::mint(&NETWORK, &log);
    let minted = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let valid = (0..TICKETS).filter(|other| admission::is_valid(&NETWORK, &log, black_box(nonce + other))).count();
    if valid == 0 {
        return Err("the ticket that was found is none".into());
    }
    Figure {
        figure: "ticket",
        value: micros(start.elapsed().as_secs_f64() / TICKETS as f64), // far below 2^53
        unit: "us to verify",
        // A network whose coins have value asks for 2^14 times the work of regtest.
        beside: "finding one on mainnet, by the time of one on regtest",
        beside_value: micros(minted * 16_384.0),
        target: Target::ValueTo(5.0),
    }
    .print()
}

/// Asks a million offers for the best fifty, by filters of all kinds: some that most offers pass, and some that none does.
fn book_query() -> Outcome<()> {
    let time = now()?;
    let book = million(time)?;
    let mut filtered = Vec::new();
    let mut plain = Vec::new();
    for number in 0..QUESTIONS {
        let query = question(&mut Dice(number))?;
        let market = Query { currency: Some(CURRENCIES[0].parse()?), side: Some(Side::Sell), ..Query::default() };
        filtered.push(timed(&book, &query, time));
        plain.push(timed(&book, &market, time));
    }
    Figure {
        figure: "book_query",
        value: p99(&mut filtered),
        unit: "us, p99",
        beside: "the best 50 of the largest market without a filter",
        beside_value: p99(&mut plain),
        target: Target::ValueTo(100.0),
    }
    .print()
}

fn timed(book: &Book, query: &Query, now: u64) -> f64 {
    let start = Instant::now();
    black_box(book.query(black_box(query), now, BEST));
    micros(start.elapsed().as_secs_f64())
}

fn micros(seconds: f64) -> f64 {
    seconds * 1e6
}

fn p99(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

/// Returns a book of a million offers whose makers are there. The book trusts the ledger, so nobody signs here.
fn million(time: u64) -> Outcome<Book> {
    let ledger = Ledger::new(MemoryStorage::default(), NETWORK);
    let mut book = Book::default();
    for number in 0..MAKERS {
        let mut maker = Writer::unsigned(number, time)?;
        for at in 0..LIVE_OFFERS {
            let body = Body::Offer(offer(&mut Dice::of(number, at), time)?);
            let record = maker.write(&body)?;
            book.apply(&ledger, &record, &body)?;
        }
        let heartbeat = maker.write(&Body::Heartbeat)?;
        book.apply(&ledger, &heartbeat, &Body::Heartbeat)?;
    }
    let expected = MAKERS as usize * LIVE_OFFERS;
    if book.live() != expected {
        return Err(format!("{} of {expected} offers stand", book.live()).into());
    }
    Ok(book)
}

/// Returns an offer of 0.005 to 1 BTC by one or two methods.
fn offer(dice: &mut Dice, time: u64) -> Outcome<Offer> {
    let min = 500_000 << dice.below(6);
    let fixed = dice.below(3) == 0;
    let max = if fixed { min } else { min + dice.below(min * 4) };
    let mut methods = vec![Text::new(dice.method())?, Text::new(dice.method())?];
    methods.dedup();
    Ok(Offer {
        side: if dice.below(2) == 0 { Side::Sell } else { Side::Buy },
        currency: CURRENCIES[dice.index(CURRENCIES.len())].parse()?,
        price: Price::new(6_000_000 + dice.below(1_000_000)).ok_or("no price")?,
        min: sats(min)?,
        max: sats(max)?,
        methods: list(methods)?,
        terms: Text::new("Own accounts only, please. Put nothing into the reference and pay within the hour.")?,
        arbiters: list(vec![RecordId([1; 32])])?,
        seller_bond_ppm: 0,
        buyer_bond_ppm: 0,
        arbitration_delay: 144,
        second_delay: 1008,
        refund_delay: 4320,
        automatic: true,
        expires: time + MAX_OFFER_LIFE_S,
    })
}

/// Returns a question with at least one filter beside the market.
fn question(dice: &mut Dice) -> Outcome<Query> {
    let currency: Currency = CURRENCIES[dice.index(CURRENCIES.len())].parse()?;
    let octave = dice.below(10);
    let amount = Sats::new(400_000 + dice.below(1 << (19 + octave))).ok_or("no amount")?;
    let words = Words::of(if dice.below(20) == 0 { "hawala" } else { dice.method() });
    let kind = dice.below(3);
    Ok(Query {
        side: (dice.below(4) != 0).then_some(if dice.below(2) == 0 { Side::Sell } else { Side::Buy }),
        currency: (dice.below(4) != 0).then_some(currency),
        amount: (kind != 1).then_some(amount),
        words: if kind == 0 { Words::default() } else { words },
        away: dice.below(4) == 0,
        ..Query::default()
    })
}

/// Numbers that are the same in each run: SplitMix64.
struct Dice(u64);

impl Dice {
    fn of(maker: u32, at: usize) -> Self {
        Self((u64::from(maker) << 8) | at as u64) // below 256
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize // below `len`
    }

    /// Half of all offer the first method, a quarter the second, and so on.
    fn method(&mut self) -> &'static str {
        let rare = (self.below(1 << 20) + 1).leading_zeros() - 43; // 0 to 20
        METHODS[(rare as usize).min(METHODS.len() - 1)]
    }
}

/// Starts a relay on a store with a hundred thousand live offers, and looks how much memory it has. It follows the chain as
/// relays of real networks do unless told otherwise; the embedded chain of play money would bring Bitcoin Core's caches of
/// 32 MiB into the process.
fn rss() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let chain = Regtest::start_for_light_clients();
    let (full, empty) = (dir.path().join("full"), dir.path().join("empty"));
    fill(&full.join("ledger"))?;
    let expected = u64::from(RELAYED_MAKERS) * LIVE_OFFERS as u64;
    Figure {
        figure: "rss",
        value: relay_rss(&chain, &full, expected)?,
        unit: "MiB",
        beside: "a relay with an empty ledger",
        beside_value: relay_rss(&chain, &empty, 0)?,
        target: Target::ValueTo(128.0),
    }
    .print()
}

/// Lets a keeper take in signed offers.
fn fill(dir: &Path) -> Outcome<()> {
    fs::create_dir_all(dir)?;
    let time = now()?;
    let (keeper, thread) = Keeper::start(Store::open(dir, OpenOptions::default())?, NETWORK)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut batch: Vec<Vec<u8>> = Vec::new();
    for number in 0..RELAYED_MAKERS {
        let mut maker = Writer::new(number, time)?;
        for at in 0..LIVE_OFFERS {
            batch.push(maker.write(&Body::Offer(offer(&mut Dice::of(number, at), time)?))?.encode());
        }
        if batch.len() >= ANSWER || number + 1 == RELAYED_MAKERS {
            let verdicts = runtime.block_on(keeper.ingest(std::mem::take(&mut batch)));
            if verdicts.iter().any(|verdict| *verdict != Verdict::Accept) {
                return Err("the keeper refused an offer".into());
            }
        }
    }
    drop((keeper, runtime));
    Ok(thread.join().map_err(|_| "the keeper's thread panicked")?)
}

fn relay_rss(chain: &Regtest, data_dir: &Path, offers: u64) -> Outcome<f64> {
    let (name, log_dir) = (data_dir.file_name().unwrap_or_default(), data_dir.with_extension("logs"));
    fs::create_dir_all(&log_dir)?;
    let data_dir_text = data_dir.display().to_string();
    let args = ["run", "--relay", "--listen", "/ip4/127.0.0.1/tcp/0", "--json", "--data-dir", &data_dir_text];
    let chain_args = chain.node_args();
    let chain_args: Vec<&str> = chain_args.iter().map(String::as_str).collect();
    let launch = Launch::node(&name.to_string_lossy(), &log_dir, &args).with_args(&chain_args);
    let mut relay = Process::start(launch);
    let status: exchange_api::Status = Cli::new(data_dir).done(&["status"]);
    if status.offers != offers {
        return Err(format!("the relay shows {} of {offers} offers", status.offers).into());
    }
    let memory = fs::read_to_string(format!("/proc/{}/status", relay.id()))?;
    let line = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    relay.stop();
    Ok(kib / 1024.0)
}
