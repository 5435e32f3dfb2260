//! One session with one peer: compares, then fetches what only the peer has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::bodies::{self, Walk, WantedBodies};
use super::fetch::{self, Fetcher};
use super::message::{Answer, ItemWant, MAX_HEADS, MAX_ITEMS, MAX_SYMBOLS, Opening, Request, Symbol};
use super::sketch::{Cell, Decoded, Difference, Item, MAX_CELLS, Salt, Sketch, decode};
use super::snapshot::{Summary, for_each_head};
use super::{Claims, Own, Verdict};
use crate::record::{Head, LogId, Record};
use crate::storage::{Aged, Storage, StorageError};

/// Requests under way at once, so that a peer is never idle while we check what it sent: at most a megabyte of answers.
const PIPELINE: usize = 4;
/// Answers being kept at once: with more of them the ledger is what is slow, and nothing more is asked for.
const MAX_KEEPING: usize = 4;
/// Logs to be fetched before the next page of heads is asked for.
const MAX_BACKLOG: usize = 512;
/// Symbols that come with the first answer, 12 bytes each: enough for some 40 differences, and to estimate more.
const OPENING: u16 = 64;
/// Differences from which on heads are walked through: a sketch has no cells for more.
const MAX_DIFFERENCE: u64 = 5000;
/// Differences beyond half of the peer's heads for which a sketch is tried, as small ledgers differ by a few.
const FEW: u64 = 32;
/// Pages of heads of forked logs that are asked for before the others; with more of them, what is left comes in its turn.
const MAX_FORK_PAGES: u8 = 4;
/// Records that brought nothing new, beyond which a session with few new ones ends: others bring the same meanwhile, or
/// the peer plays with us.
const MAX_WASTED: u64 = 10_000;

/// Names what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

/// What a session is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Fetch these logs first, as far as the peer has them.
    pub logs: BTreeSet<LogId>,
    /// Compare all logs, and fetch what is missing.
    pub compare: bool,
    /// Then fetch bodies that are missing.
    pub bodies: Option<WantedBodies>,
    /// Whether to compare by what the own ledger showed of itself a moment ago: that the ledgers are compared is the peer's
    /// doing.
    pub recent: bool,
}

/// What a session wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the request to the peer; [`Event::Answered`] follows.
    Ask(Token, Request),
    /// Let the ledger judge and keep these records, in the order of effects; [`Event::Kept`] follows.
    Keep(Token, Vec<Vec<u8>>),
    /// Let the ledger keep these records, which it holds without their bodies, with them; [`Event::Restored`] follows.
    Restore(Token, Vec<Record>),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer has answered, and the answer has passed its check.
    Answered(Token, Answer),
    /// The ledger has judged: one verdict for each record, in order.
    Kept(Token, Vec<Verdict>),
    /// So many of the records have their bodies now.
    Restored(Token, usize),
}

/// What a session has brought so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gain {
    /// Records that were new.
    pub accepted: u64,
    /// Records that were not.
    pub wasted: u64,
    /// The ledgers were compared to the end.
    pub compared: bool,
    /// There is more to fetch: another session was at it, the peer went on meanwhile, or something has to come later.
    pub unfinished: bool,
    /// There is more to fetch because another session was at it, through no fault of the peer's.
    pub held_up: bool,
    /// Records that have their bodies again.
    pub restored: u64,
    /// Where the next session goes on with the bodies; nothing when this one has come to the end.
    pub bodies_after: Option<Aged>,
}

/// What no honest peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An answer that fits no request of ours.
    #[error("its answer does not fit the request")]
    WrongAnswer,
    /// It names heads of logs, twice, and has no records of them, nor have they forked meanwhile.
    #[error("it names heads of logs that it cannot serve")]
    EmptyPromise,
    /// A record that is invalid by itself.
    #[error("it sent an invalid record")]
    InvalidRecord,
    /// A body that is not the record's, or none of its kind.
    #[error("it sent a body that is not the record's")]
    WrongBody,
}

/// Why a session broke off.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The peer is at fault.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The own store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A session. It is over when nothing is under way any more ([`Session::is_over`]).
pub struct Session {
    plan: Plan,
    stage: Stage,
    /// The page of heads of forked logs to be asked for before all others, if there is to be one.
    forks: Option<ForkPage>,
    fetcher: Fetcher,
    asked: BTreeMap<Token, Asked>,
    keeping: BTreeMap<Token, Vec<fetch::Chunk>>,
    restoring: BTreeSet<Token>,
    next: u64,
    gain: Gain,
}

/// What a session waits for.
enum Stage {
    /// The logs of the plan.
    Logs,
    /// The answer to the first comparison, or another one.
    Comparing,
    /// More symbols.
    Sketching(Box<Sketching>),
    /// The next page of heads, after this log, unless all have come.
    Walking { after: Option<LogId>, ended: bool },
    /// What has been named.
    Fetching,
    /// The answer to the last comparison.
    Finishing,
    /// Bodies, and that they are kept.
    Bodies(Walk),
    /// Nothing.
    Over,
}

/// A page of heads of forked logs: those after a log, and how many pages came before it.
#[derive(Debug, Clone, Copy, Default)]
struct ForkPage {
    after: Option<LogId>,
    number: u8,
}

struct Sketching {
    salt: Salt,
    /// How many heads the peer's sketch is of.
    heads: u64,
    ours: Sketch,
    theirs: Vec<Cell>,
}

enum Asked {
    Compare { symbols: usize, heads: u64 },
    Symbols { count: usize },
    Heads { after: Option<LogId> },
    Forks(ForkPage),
    Fetch(fetch::Asked),
    Finished,
    Bodies(bodies::Asked),
}

impl Session {
    /// Starts a session; returns it with its first effects.
    ///
    /// # Errors
    /// When the own store fails.
    pub fn start(plan: Plan, own: &dyn Own, claims: Box<dyn Claims>) -> Result<(Self, Vec<Effect>), StorageError> {
        let mut session = Self {
            plan,
            stage: Stage::Logs,
            forks: None,
            fetcher: Fetcher::new(claims),
            asked: BTreeMap::new(),
            keeping: BTreeMap::new(),
            restoring: BTreeSet::new(),
            next: 0,
            gain: Gain::default(),
        };
        for log in std::mem::take(&mut session.plan.logs) {
            let from = own.storage().head(&log)?.map_or(0, |head| head.len);
            session.fetcher.want_all(log, from);
        }
        let effects = session.go_on(own)?;
        Ok((session, effects))
    }

    /// Tells what has happened; returns what to do now.
    ///
    /// # Errors
    /// When the peer is at fault or the own store fails: then the session is over.
    pub fn handle(&mut self, event: Event, own: &dyn Own) -> Result<Vec<Effect>, Stopped> {
        let mut effects = Vec::new();
        match event {
            Event::Answered(token, answer) => {
                let Some(asked) = self.asked.remove(&token) else { return Ok(Vec::new()) };
                effects.extend(self.answered(asked, answer, own)?);
            }
            Event::Kept(token, verdicts) => {
                let Some(chunks) = self.keeping.remove(&token) else { return Ok(Vec::new()) };
                self.kept(chunks, &verdicts)?;
            }
            Event::Restored(token, count) => {
                if self.restoring.remove(&token) {
                    self.gain.restored = self.gain.restored.saturating_add(count as u64); // usize is at most 64 bits
                }
            }
        }
        effects.extend(self.go_on(own)?);
        Ok(effects)
    }

    /// Tells whether there is nothing left to wait for.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Returns what has been brought.
    pub fn gain(&self) -> Gain {
        let unfinished = self.gain.unfinished || self.fetcher.has_skipped();
        let held_up = self.fetcher.has_yielded();
        Gain { unfinished, held_up, compared: self.gain.compared && !unfinished, ..self.gain }
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        Token(self.next)
    }

    fn ask(&mut self, asked: Asked, request: Request) -> Effect {
        let token = self.token();
        self.asked.insert(token, asked);
        Effect::Ask(token, request)
    }

    fn keep(&mut self, (chunks, records): (Vec<fetch::Chunk>, Vec<Vec<u8>>)) -> Option<Effect> {
        if chunks.is_empty() {
            return None;
        }
        let token = self.token();
        self.keeping.insert(token, chunks);
        Some(Effect::Keep(token, records))
    }

    /// Asks for whatever may be asked for now, and enters the next stage when there is nothing.
    fn go_on(&mut self, own: &dyn Own) -> Result<Vec<Effect>, StorageError> {
        let mut effects = Vec::new();
        let wasted_too_much = self.gain.wasted > self.gain.accepted.saturating_add(MAX_WASTED);
        if wasted_too_much || self.fetcher.has_shrunk_too_often() {
            self.gain.unfinished = true;
            self.fetcher.clear();
            self.stage = Stage::Over;
            return Ok(effects);
        }
        let limit = u16::try_from(MAX_HEADS).expect("it is a thousand");
        if let Some(page) = self.forks
            && !self.asked.values().any(|asked| matches!(asked, Asked::Forks(_)))
        {
            effects.push(self.ask(Asked::Forks(page), Request::Forks { after: page.after, limit }));
        }
        while self.asked.len() < PIPELINE && self.keeping.len() < MAX_KEEPING {
            let first_only = self.proves_first();
            let Some((asked, request)) = self.fetcher.next_request(first_only) else { break };
            effects.push(self.ask(Asked::Fetch(asked), request));
        }
        if let Stage::Walking { after, ended: false } = self.stage
            && !self.proves_first()
            && self.fetcher.backlog() < MAX_BACKLOG
            && !self.asked.values().any(|asked| matches!(asked, Asked::Heads { .. }))
        {
            effects.push(self.ask(Asked::Heads { after }, Request::Heads { after, limit }));
        }
        let is_idle = self.asked.is_empty() && self.keeping.is_empty() && self.restoring.is_empty();
        if is_idle && self.fetcher.backlog() == 0 {
            effects.extend(self.next_stage(own)?);
        }
        Ok(effects)
    }

    /// Tells whether everything else waits for what proves forks.
    fn proves_first(&self) -> bool {
        let under_way = !self.asked.is_empty() || !self.keeping.is_empty();
        self.forks.is_some() || self.fetcher.is_hastening(under_way)
    }

    fn summary(&self, own: &dyn Own) -> Result<Summary, StorageError> {
        if self.plan.recent { own.recent_summary() } else { own.summary() }
    }

    fn next_stage(&mut self, own: &dyn Own) -> Result<Option<Effect>, StorageError> {
        match self.stage {
            Stage::Logs if self.plan.compare => {
                let Summary { digest, heads } = self.summary(own)?;
                // An empty ledger walks through the heads in any case.
                let symbols = if heads == 0 { 1 } else { OPENING };
                self.stage = Stage::Comparing;
                let request = Request::Compare { digest, symbols };
                let asked = Asked::Compare { symbols: usize::from(symbols), heads };
                Ok(Some(self.ask(asked, request)))
            }
            Stage::Walking { ended: true, .. } | Stage::Fetching => {
                self.gain.compared = true;
                self.stage = Stage::Finishing;
                let digest = self.summary(own)?.digest;
                Ok(Some(self.ask(Asked::Finished, Request::Finished { digest })))
            }
            Stage::Bodies(ref mut walk) => {
                let next = walk.next_request(own.storage())?;
                self.gain.bodies_after = walk.after();
                match next {
                    Some((asked, request)) => Ok(Some(self.ask(Asked::Bodies(asked), request))),
                    None => {
                        self.stage = Stage::Over;
                        Ok(None)
                    }
                }
            }
            Stage::Logs
            | Stage::Comparing
            | Stage::Sketching(_)
            | Stage::Walking { ended: false, .. }
            | Stage::Finishing
            | Stage::Over => {
                self.stage = Stage::Over;
                Ok(None)
            }
        }
    }

    fn answered(&mut self, asked: Asked, answer: Answer, own: &dyn Own) -> Result<Option<Effect>, Stopped> {
        match (asked, answer) {
            (Asked::Compare { .. }, Answer::Same) => {
                self.gain.compared = true;
                self.compared();
                Ok(None)
            }
            (Asked::Compare { .. }, Answer::Differs(None)) => Ok(self.walk()),
            (Asked::Compare { symbols, heads }, Answer::Differs(Some(opening))) => {
                self.opened(symbols, heads, &opening, own)
            }
            (Asked::Symbols { count }, Answer::Symbols(symbols)) => self.sketched(count, &symbols, own),
            // The peer has forgotten its sketch: this session was slow, and the next one may be quicker.
            (Asked::Symbols { .. }, Answer::Stale) => {
                self.gain.unfinished = true;
                self.stage = Stage::Fetching;
                Ok(None)
            }
            (Asked::Heads { after }, Answer::Heads(heads)) => self.walked(after, &heads, own),
            (Asked::Forks(page), Answer::Heads(heads)) => self.forks_named(page, &heads, own),
            (Asked::Fetch(asked), answer) => {
                let kept = self.fetcher.answered(asked, answer, own.storage())?;
                Ok(self.keep(kept))
            }
            (Asked::Finished, Answer::Same | Answer::Differs(None)) => {
                self.compared();
                Ok(None)
            }
            (Asked::Bodies(asked), Answer::Bodies(bodies)) => self.bodies_answered(&asked, bodies, own),
            (
                Asked::Compare { .. }
                | Asked::Symbols { .. }
                | Asked::Heads { .. }
                | Asked::Forks(_)
                | Asked::Finished
                | Asked::Bodies(_),
                _,
            ) => Err(Fault::WrongAnswer.into()),
        }
    }

    fn kept(&mut self, chunks: Vec<fetch::Chunk>, verdicts: &[Verdict]) -> Result<(), Fault> {
        for verdict in verdicts {
            match verdict {
                Verdict::Accept | Verdict::Keep => self.gain.accepted += 1,
                Verdict::Ignore | Verdict::Orphan(_) => self.gain.wasted += 1,
                // The peer holds more than this session could bring.
                Verdict::Later => {
                    self.gain.wasted += 1;
                    self.gain.unfinished = true;
                }
                Verdict::Reject => return Err(Fault::InvalidRecord),
            }
        }
        self.fetcher.kept(chunks, verdicts);
        Ok(())
    }

    /// Goes on when both hold the same, or as much of it as this session can bring.
    fn compared(&mut self) {
        self.stage = self.plan.bodies.take().map_or(Stage::Over, |wanted| Stage::Bodies(Walk::new(wanted)));
    }

    fn bodies_answered(
        &mut self,
        asked: &[Aged],
        bodies: Vec<Option<Vec<u8>>>,
        own: &dyn Own,
    ) -> Result<Option<Effect>, Stopped> {
        let Stage::Bodies(walk) = &mut self.stage else { return Err(Fault::WrongAnswer.into()) };
        let records = walk.answered(asked, bodies, own.storage())?;
        self.gain.bodies_after = walk.after();
        if records.is_empty() {
            return Ok(None);
        }
        let token = self.token();
        self.restoring.insert(token);
        Ok(Some(Effect::Restore(token, records)))
    }

    fn walk(&mut self) -> Option<Effect> {
        self.stage = Stage::Walking { after: None, ended: false };
        self.forks = Some(ForkPage::default());
        None
    }

    fn opened(&mut self, asked: usize, mine: u64, opening: &Opening, own: &dyn Own) -> Result<Option<Effect>, Stopped> {
        if opening.symbols.len() != asked {
            return Err(Fault::WrongAnswer.into());
        }
        let Opening { salt, heads, .. } = *opening;
        if mine == 0 || !is_worth_a_sketch(heads.abs_diff(mine), heads) {
            return Ok(self.walk());
        }
        let mut ours = Sketch::new(MAX_CELLS);
        for_each_head(own.storage(), |head| ours.add(Item::of(&salt, head)))?;
        self.stage = Stage::Sketching(Box::new(Sketching { salt, heads, ours, theirs: Vec::new() }));
        self.sketched(asked, &opening.symbols, own)
    }

    /// Takes in symbols that continue the peer's sketch, and asks for more of them or for what it shows.
    fn sketched(&mut self, asked: usize, symbols: &[Symbol], own: &dyn Own) -> Result<Option<Effect>, Stopped> {
        let Stage::Sketching(sketching) = &mut self.stage else { return Err(Fault::WrongAnswer.into()) };
        if symbols.len() != asked {
            return Err(Fault::WrongAnswer.into());
        }
        for symbol in symbols {
            sketching.theirs.push(symbol.cell(sketching.theirs.len(), sketching.heads));
        }
        let Sketching { salt, heads, .. } = **sketching;
        match decode(sketching.ours.cells(), &sketching.theirs) {
            Decoded::Whole(difference) => {
                let wants = items(&salt, &difference, own.storage())?;
                // The answer to one request shows which of the logs have forked; with more of them they are asked for first.
                self.forks = (wants.len() > MAX_ITEMS).then(ForkPage::default);
                self.fetcher.want_items(salt, wants);
                self.stage = Stage::Fetching;
                Ok(None)
            }
            Decoded::Partly(estimate) if is_worth_a_sketch(estimate, heads) => {
                let from = sketching.theirs.len();
                let count = more_symbols(from, estimate);
                let (Ok(place), Ok(number)) = (u16::try_from(from), u16::try_from(count)) else {
                    return Ok(self.walk());
                };
                if number == 0 {
                    return Ok(self.walk());
                }
                Ok(Some(self.ask(Asked::Symbols { count }, Request::Symbols { salt, from: place, count: number })))
            }
            Decoded::Partly(_) | Decoded::Nonsense => Ok(self.walk()),
        }
    }

    /// Takes in a page of the peer's heads. They must be in order, or the walk might never end.
    fn walked(&mut self, after: Option<LogId>, heads: &[Head], own: &dyn Own) -> Result<Option<Effect>, Stopped> {
        let mut before = after;
        for head in heads {
            before = Some(follows(before, head)?);
            self.fetcher.weigh(head, own.storage())?;
        }
        self.stage = Stage::Walking { after: before, ended: heads.len() < MAX_HEADS };
        Ok(None)
    }

    /// Takes in a page of heads of the peer's forked logs.
    fn forks_named(&mut self, page: ForkPage, heads: &[Head], own: &dyn Own) -> Result<Option<Effect>, Stopped> {
        if heads.iter().any(|head| head.frozen.is_none()) {
            return Err(Fault::WrongAnswer.into());
        }
        let mut after = page.after;
        for head in heads {
            after = Some(follows(after, head)?);
            self.fetcher.weigh_first(head, own.storage())?;
        }
        let number = page.number + 1;
        self.forks = (heads.len() == MAX_HEADS && number < MAX_FORK_PAGES).then_some(ForkPage { after, number });
        Ok(None)
    }
}

/// Returns the log of a head, which must come after the one before.
fn follows(before: Option<LogId>, head: &Head) -> Result<LogId, Fault> {
    if before.is_some_and(|before| before >= head.log) { Err(Fault::WrongAnswer) } else { Ok(head.log) }
}

/// Tells whether so many differences, against so many heads of the peer, are found more cheaply by a sketch.
fn is_worth_a_sketch(differences: u64, heads: u64) -> bool {
    differences <= MAX_DIFFERENCE && differences <= heads / 2 + FEW
}

/// Returns how many symbols to ask for when so many have not been enough: as many as the estimate makes likely, then a
/// twentieth more each time; none when no more would help.
fn more_symbols(have: usize, estimate: u64) -> usize {
    let likely = usize::try_from(estimate.saturating_mul(5) / 4).unwrap_or(MAX_CELLS);
    let next = likely.max(have + have / 20 + 4).min(MAX_CELLS);
    next.saturating_sub(have).min(MAX_SYMBOLS)
}

/// Returns what to ask for, given what only the peer has: of a log that we hold, what comes after our end.
fn items(salt: &Salt, difference: &Difference, storage: &dyn Storage) -> Result<Vec<ItemWant>, StorageError> {
    let mut wants: HashMap<u32, Vec<ItemWant>> = HashMap::new();
    for item in &difference.theirs {
        wants.entry(item.log_tag()).or_default().push(ItemWant { item: *item, from: 0 });
    }
    // Without own items in the difference every log of it is new to us.
    if !difference.ours.is_empty() && !wants.is_empty() {
        for_each_head(storage, |head| {
            for want in wants.get_mut(&Item::log_tag_of(salt, &head.log)).into_iter().flatten() {
                // Of a log that has forked here the peer's head says first whether it knows.
                want.from = if head.frozen.is_some() { u64::MAX } else { head.len };
            }
        })?;
    }
    let mut wants: Vec<ItemWant> = wants.into_values().flatten().collect();
    wants.sort_unstable_by_key(|want| want.item);
    // A sketch that lies may show one twice, and nobody may be asked so.
    wants.dedup_by_key(|want| want.item);
    Ok(wants)
}
