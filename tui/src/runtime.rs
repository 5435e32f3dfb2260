//! The one loop that acts: it takes in keys, answers, events and time, lets the application decide, draws, and performs
//! what was decided.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, EventStream};
use exchange_api::{ApiError, Client, Code, ExchangeApiClient};
use futures::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::app::{App, TICKS_PER_SECOND};
use crate::connect::{OwnNode, Target, establish, establish_again};
use crate::message::{Command, Connection, Message, NodeFate};
use crate::terminal::Screen;
use crate::{perform, view};

/// Messages that wait for the loop before their senders do.
const INBOX: usize = 256;
/// Messages taken in before the screen is drawn again.
const MAX_BATCH: usize = 64;
/// A pause before events are subscribed to anew.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

/// What reaches the loop from its tasks.
#[derive(Debug)]
pub enum Incoming {
    /// A message for the application.
    Message(Message),
    /// A client, and whether its node is this program's own.
    Connected(Client, bool),
    /// The connection of that generation broke.
    Lost(u64),
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    /// What is to become of the node.
    pub fate: NodeFate,
    /// The connection, to stop it by.
    pub client: Option<Client>,
    /// Why there is no node, if there is none.
    pub failure: Option<String>,
}

struct Runtime {
    target: Target,
    own: OwnNode,
    client: Option<Client>,
    generation: u64,
    last_event: Arc<AtomicU64>,
    restarts: Arc<AtomicU32>,
    tell: mpsc::Sender<Incoming>,
    tasks: JoinSet<()>,
}

/// Runs the application in the terminal until it quits.
///
/// # Errors
/// When the terminal fails.
pub async fn run(mut app: App, target: Target, own: OwnNode, screen: &mut Screen) -> io::Result<Ended> {
    let (tell, mut inbox) = mpsc::channel(INBOX);
    let mut runtime = Runtime {
        target,
        own,
        client: None,
        generation: 0,
        last_event: Arc::default(),
        restarts: Arc::default(),
        tell,
        tasks: JoinSet::new(),
    };
    runtime.tasks.spawn(establish(runtime.target.clone(), Arc::clone(&runtime.own), runtime.tell.clone()));
    let mut keys = EventStream::new();
    let mut ticker = tokio::time::interval(Duration::from_millis(1000 / TICKS_PER_SECOND));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut terminated, mut hung_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    loop {
        screen.terminal.draw(|frame| view::draw(&app, frame))?;
        let first = tokio::select! {
            key = keys.next() => match key {
                Some(event) => Incoming::Message(from_terminal(event?)),
                None => Incoming::Message(Message::Terminate),
            },
            Some(incoming) = inbox.recv() => incoming,
            _ = ticker.tick() => Incoming::Message(Message::Tick),
            _ = terminated.recv() => Incoming::Message(Message::Terminate),
            _ = hung_up.recv() => Incoming::Message(Message::Terminate),
            // Finished tasks are forgotten; there is always one to wait for or the branch is off.
            Some(_) = runtime.tasks.join_next() => continue,
        };
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(incoming) = next {
            for command in runtime.take_in(incoming, &mut app) {
                if let Some(fate) = runtime.act(command, screen)? {
                    let failure = match app.connection {
                        Connection::Failed(why) => Some(why),
                        Connection::Starting(_) | Connection::Up { .. } | Connection::Lost(_) => None,
                    };
                    return Ok(Ended { fate, client: runtime.client, failure });
                }
            }
            taken += 1;
            next = if taken < MAX_BATCH { inbox.try_recv().ok() } else { None };
        }
    }
}

fn from_terminal(event: TerminalEvent) -> Message {
    match event {
        TerminalEvent::Key(key) => Message::Key(key),
        TerminalEvent::Paste(text) => Message::Paste(text),
        TerminalEvent::Resize(..) | TerminalEvent::FocusGained | TerminalEvent::FocusLost | TerminalEvent::Mouse(_) => {
            Message::Redraw
        }
    }
}

impl Runtime {
    fn take_in(&mut self, incoming: Incoming, app: &mut App) -> Vec<Command> {
        match incoming {
            Incoming::Message(message) => app.update(message),
            Incoming::Connected(client, ours) => {
                self.generation += 1;
                self.watch(client.clone());
                self.client = Some(client);
                app.update(Message::Connection(Connection::Up { ours }))
            }
            Incoming::Lost(generation) if generation == self.generation && self.client.is_some() => {
                self.client = None;
                let (target, own) = (self.target.clone(), Arc::clone(&self.own));
                let restarts = Arc::clone(&self.restarts);
                self.tasks.spawn(establish_again(target, own, restarts, self.tell.clone()));
                app.update(Message::Connection(Connection::Lost(String::new())))
            }
            Incoming::Lost(_) => Vec::new(),
        }
    }

    /// Streams the node's events until the connection breaks, and says so.
    fn watch(&mut self, client: Client) {
        let (tell, generation, last) = (self.tell.clone(), self.generation, Arc::clone(&self.last_event));
        self.tasks.spawn(async move {
            let streaming = async {
                loop {
                    stream_events(&client, &last, &tell).await;
                    tokio::time::sleep(RESUBSCRIBE).await;
                }
            };
            tokio::select! {
                why = client.on_disconnect() => tracing::debug!(%why, "the connection to the node broke"),
                () = streaming => {}
            }
            tell.send(Incoming::Lost(generation)).await.ok();
        });
    }

    /// Performs a command; returns what is to become of the node when the program ends.
    fn act(&mut self, command: Command, screen: &Screen) -> io::Result<Option<NodeFate>> {
        let (client, tell) = (self.client.clone(), self.tell.clone());
        match command {
            Command::Query(query) => {
                // Without a connection nothing is asked: all is asked anew when there is one.
                if let Some(client) = client {
                    self.tasks.spawn(async move {
                        let result = Box::new(perform::query(&client, query).await);
                        tell.send(Incoming::Message(Message::Answer(query, result))).await.ok();
                    });
                }
            }
            Command::Call(call) => {
                let (name, request) = (call.name(), call.request_id().cloned());
                self.tasks.spawn(async move {
                    let result = match client {
                        Some(client) => perform::call(&client, call).await,
                        None => Err(unreachable()),
                    };
                    tell.send(Incoming::Message(Message::Reply(name, request, Box::new(result)))).await.ok();
                });
            }
            Command::Copy(text) => screen.copy(&text)?,
            Command::Retry => {
                // Whoever asks for it may have mended what made the node crash.
                self.restarts.store(0, Ordering::Relaxed);
                self.tasks.spawn(establish(self.target.clone(), Arc::clone(&self.own), tell));
            }
            Command::Quit(fate) => return Ok(Some(fate)),
        }
        Ok(None)
    }
}

fn unreachable() -> ApiError {
    ApiError::new(Code::NodeUnreachable, "the node does not answer at present", "try again in a moment")
}

/// Streams events until the subscription ends, each once.
async fn stream_events(client: &Client, last: &AtomicU64, tell: &mpsc::Sender<Incoming>) {
    let mut events = match client.subscribe_events(last.load(Ordering::Relaxed)).await {
        Ok(events) => events,
        Err(error) => {
            tracing::debug!(%error, "cannot subscribe to events");
            return;
        }
    };
    while let Some(Ok(event)) = events.next().await {
        last.store(event.seq, Ordering::Relaxed);
        if tell.send(Incoming::Message(Message::Event(event))).await.is_err() {
            return;
        }
    }
}
