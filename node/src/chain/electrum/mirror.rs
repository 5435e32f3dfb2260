//! The task that reads servers, one at a time, and goes to the next when one fails; everybody else looks at what it has
//! learnt.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bitcoin::Txid;
use bitcoin::block::Header;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::chain::{Chain, Read};
use super::connection::{Connection, Failure, Notice, Notices, OPEN_QUESTIONS};
use super::history::{self, AtHand, Entry, History, Room, Told, script_hash};
use super::server::ElectrumServer;
use super::state::{News, Said, Stale, State};
use super::{ElectrumConfig, NAME};
use crate::backoff::Backoff;
use crate::chain::ChainError;
use crate::chain::follower::Scripts;
use crate::chain::headers::{Headers, start_of};

/// How long a server may tell of what does not fit to its own chain: blocks come while it is asked.
const MOVED_PATIENCE: Duration = Duration::from_secs(30);
const MOVED_PAUSE: Duration = Duration::from_millis(100);
/// How often a server that says nothing is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(60);
/// The pauses after failures of servers in a row: from the first to the longest, doubling.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// How long the first look at new scripts may take: a wallet's hundreds, on a slow server.
const LOOK_PATIENCE: Duration = Duration::from_secs(120);

/// How long other servers may take, one and all, to show what the one that is read refuses. The tip waits for it.
const OTHER_PATIENCE: Duration = Duration::from_secs(15);
const OTHERS_PATIENCE: Duration = Duration::from_secs(30);
/// How often what nobody shows is asked for again while no block comes.
const WITHHELD_AGAIN: Duration = Duration::from_secs(5 * 60);
/// A server that refuses all of so many scripts serves nobody. A wallet has more that nobody knows, and so nobody can have refused.
const MANY_SCRIPTS: usize = 20;

/// What servers show, and how they are asked.
#[derive(Debug)]
pub(super) struct Mirror {
    pub config: ElectrumConfig,
    state: Mutex<State>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Counts the changes; followers wait on it.
    pub changes: watch::Sender<u64>,
    /// Wakes the task when there are more scripts to watch.
    wanted: Notify,
    /// Which server comes first when others are asked: each in its turn.
    turn: AtomicUsize,
}

impl Mirror {
    pub fn new(config: ElectrumConfig) -> Self {
        Self {
            state: Mutex::new(State::new(start_of(config.network))),
            config,
            connection: Mutex::new(None),
            changes: watch::Sender::new(0),
            wanted: Notify::new(),
            turn: AtomicUsize::new(0),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    /// Returns the server that is read, to ask it something.
    pub fn server(&self) -> Result<Arc<Connection>, ChainError> {
        let server = self.connection.lock().expect("nothing panics while it holds the connection").clone();
        server.ok_or_else(|| self.outage().unwrap_or_else(|| self.unreachable("it is not connected yet")))
    }

    /// Returns why nobody can be asked.
    pub fn outage(&self) -> Option<ChainError> {
        self.state().outage.clone()
    }

    /// Returns the error of servers that say nothing.
    pub fn silent(&self) -> ChainError {
        self.unreachable("the chain does not come")
    }

    fn unreachable(&self, reason: &str) -> ChainError {
        let servers: Vec<String> = self.config.servers.iter().map(ElectrumServer::to_string).collect();
        ChainError::Unreachable { backend: NAME, at: servers.join(", "), reason: reason.to_owned() }
    }

    /// Watches scripts from now on.
    pub fn watch(&self, scripts: &Scripts) {
        if self.state().watch(scripts) {
            self.wanted.notify_one();
        }
    }

    /// Waits until everything of these scripts in the shown chain is known.
    pub async fn hear(&self, scripts: &Scripts) -> Result<(), ChainError> {
        let mut changes = self.changes.subscribe();
        let deadline = Instant::now() + LOOK_PATIENCE;
        loop {
            {
                let state = self.state();
                if !state.awaits(scripts) {
                    return Ok(());
                }
                if let Some(outage) = state.outage.clone() {
                    return Err(outage);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(self.unreachable("the history of a script does not come")),
            }
        }
    }

    /// Reads servers until `stop`, again and again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut chain = Chain::new(self.config.network);
        let mut outage = BACKOFF;
        for server in self.config.servers.iter().cycle() {
            let began = self.looks();
            let ended = tokio::select! {
                ended = self.read(server, &mut chain) => ended,
                () = stop.cancelled() => return,
            };
            let Err(error) = ended;
            tracing::debug!(%error, "an Electrum server is given up");
            self.fail(error);
            if self.looks() > began {
                outage.end();
            }
            tokio::select! { () = sleep(outage.next_pause()) => {} () = stop.cancelled() => return }
        }
    }

    fn looks(&self) -> u64 {
        *self.changes.borrow()
    }

    fn fail(&self, error: ChainError) {
        *self.connection.lock().expect("nothing panics while it holds the connection") = None;
        {
            let mut state = self.state();
            state.outage = Some(error);
            state.failures = state.failures.saturating_add(1);
        }
        // Whoever waits for this server hears that it failed; it is no news of the chain.
        self.changes.send_if_modified(|_| true);
    }

    /// Reads one server for as long as it serves.
    async fn read(&self, server: &ElectrumServer, chain: &mut Chain) -> Result<Infallible, ChainError> {
        let (connection, mut notices) = Connection::open(server, self.config.network).await?;
        let connection = Arc::new(connection);
        let mut head = connection.head().await?;
        *self.connection.lock().expect("nothing panics while it holds the connection") = Some(Arc::clone(&connection));
        self.state().doubt_all();
        let (mut unproven_since, mut asked_again) = (None, Instant::now());
        loop {
            match self.look(&connection, chain, head).await? {
                None => unproven_since = None,
                Some(reason) => {
                    if unproven_since.get_or_insert_with(Instant::now).elapsed() > MOVED_PATIENCE {
                        return Err(connection.nonsense(reason));
                    }
                    sleep(MOVED_PAUSE).await;
                    // As if it had told of the block by itself, for when it does that is no news any more.
                    self.take(Notice::Head(connection.head().await?), &mut head);
                    continue;
                }
            }
            tokio::select! {
                notice = connection.next(&mut notices) => self.take(notice?, &mut head),
                () = self.wanted.notified() => {}
                () = sleep(SILENCE) => self.take(Notice::Head(connection.head().await?), &mut head),
            }
            self.take_all(&connection, &mut notices, &mut head)?;
            if asked_again.elapsed() >= WITHHELD_AGAIN {
                self.state().doubt_withheld();
                asked_again = Instant::now();
            }
        }
    }

    fn take_all(
        &self,
        connection: &Connection,
        notices: &mut Notices,
        head: &mut (u32, Header),
    ) -> Result<(), ChainError> {
        while let Some(notice) = connection.next(notices).now_or_never() {
            self.take(notice?, head);
        }
        Ok(())
    }

    fn take(&self, notice: Notice, head: &mut (u32, Header)) {
        match notice {
            Notice::Head(new) if new == *head => {}
            Notice::Head(new) => {
                *head = new;
                // Servers tell of a block and of what it did to a script one after the other. Shown is what is whole.
                self.state().doubt_all();
            }
            Notice::Script(script_hash) => self.state().doubt(&script_hash),
        }
    }

    /// Reads the chain to a server's newest block and what is due of the scripts, and shows it. Returns what did not fit.
    async fn look(
        &self,
        server: &Connection,
        chain: &mut Chain,
        head: (u32, Header),
    ) -> Result<Option<String>, ChainError> {
        if server.in_time(chain.follow(server, head)).await? == Read::Moved {
            return Ok(Some("its headers do not stand on each other".to_owned()));
        }
        let (stale, has_reorganised) = {
            let state = self.state();
            (state.stale(), chain.learnt.height_of(&state.shown.tip().hash).is_none())
        };
        let (at_hand, room) = (Hand { chain: &chain.learnt, mirror: self }, Room::new());
        let asked = stream::iter(stale).map(|stale| ask(server, stale, has_reorganised, &at_hand, &room));
        let told = asked.buffer_unordered(OPEN_QUESTIONS).try_collect::<Vec<Result<News, String>>>();
        let told = server.in_time(told).await?;
        let mut news = match told.into_iter().collect::<Result<Vec<News>, String>>() {
            Ok(news) => news,
            Err(reason) => return Ok(Some(reason)),
        };
        if news.len() >= MANY_SCRIPTS && news.iter().all(News::is_refused) {
            return Err(server.unreachable("it refuses to tell of any script"));
        }
        self.ask_others(server.at(), &at_hand, &mut news).await;
        self.state().show(&chain.learnt, news);
        self.changes.send_modify(|count| *count += 1);
        Ok(None)
    }

    /// Has other servers than the one at an address show what that refuses. What they refuse, too, or do not show in time, stays
    /// refused.
    pub async fn ask_others(&self, refuser: &str, at_hand: &dyn AtHand, news: &mut [News]) {
        if !news.iter().any(News::is_refused) {
            return;
        }
        let servers = &self.config.servers;
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % servers.len().max(1);
        let in_turn = servers.iter().cycle().skip(first).take(servers.len());
        let deadline = Instant::now() + OTHERS_PATIENCE;
        for server in in_turn.filter(|server| server.to_string() != refuser) {
            let until = deadline.min(Instant::now() + OTHER_PATIENCE);
            match timeout_at(until, self.ask_other(server, at_hand, news)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "another Electrum server does not show what one refuses"),
                Err(_) => tracing::debug!(%server, "another Electrum server does not show in time what one refuses"),
            }
            if !news.iter().any(News::is_refused) || Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Asks another server for what is refused.
    async fn ask_other(
        &self,
        server: &ElectrumServer,
        at_hand: &dyn AtHand,
        news: &mut [News],
    ) -> Result<(), ChainError> {
        // It is asked for nothing of which it would tell by itself; still the end to which it may do so has to be there.
        let (connection, _notices) = Connection::open(server, self.config.network).await?;
        let room = Room::new();
        for refused in news.iter_mut().filter(|news| news.is_refused()) {
            match history::read(&connection, &refused.script, at_hand, &room).await? {
                Told::Whole(history) => refused.said = Said::Told(history),
                // It may be a block behind or ahead: then it is asked again.
                Told::Unproven(_) | Told::Refused(_) => {}
            }
        }
        Ok(())
    }
}

/// Asks for a script; else says what does not fit.
async fn ask(
    server: &Connection,
    stale: Stale,
    has_reorganised: bool,
    at_hand: &dyn AtHand,
    room: &Room,
) -> Result<Result<News, String>, ChainError> {
    let Stale { script, read_for } = stale;
    let refused = |reason: String| Said::Refused(format!("{}: {reason}", server.at()));
    let said = match server.status(&script_hash(&script)).await {
        // The same status after a reorganisation may stand for other blocks at the same heights.
        Ok(status) if read_for.as_ref() == Some(&status) && !has_reorganised => Said::AsItWas,
        // Most of a wallet's scripts have never been used, and that is what no status says.
        Ok(None) => Said::Told(History::default()),
        Ok(Some(_)) => match history::read(server, &script, at_hand, room).await? {
            Told::Whole(history) => Said::Told(history),
            Told::Unproven(reason) => return Ok(Err(reason)),
            Told::Refused(reason) => refused(reason),
        },
        Err(Failure::Answer(reason)) => refused(reason),
        Err(Failure::Chain(error)) => return Err(error),
    };
    Ok(Ok(News { script, said }))
}

/// A chain, and what was proven of it.
struct Hand<'a> {
    chain: &'a Headers,
    mirror: &'a Mirror,
}

impl AtHand for Hand<'_> {
    fn base(&self) -> u32 {
        self.chain.base().height
    }

    fn header(&self, height: u32) -> Option<Header> {
        self.chain.header_at(height).copied()
    }

    fn entry(&self, txid: &Txid) -> Option<Entry> {
        self.mirror.state().entry(txid).cloned()
    }
}

impl AtHand for Mirror {
    fn base(&self) -> u32 {
        self.state().shown.base().height
    }

    fn header(&self, height: u32) -> Option<Header> {
        self.state().shown.header_at(height).copied()
    }

    fn entry(&self, txid: &Txid) -> Option<Entry> {
        self.state().entry(txid).cloned()
    }
}
