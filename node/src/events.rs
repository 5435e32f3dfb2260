//! The node's log of events: persisted, numbered, and heard live by whoever subscribes.

use exchange_api::{Event, Subject};
use exchange_ledger::ids::TradeId;
use exchange_store::StoreError;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock;
use crate::private::Private;

/// How many events a slow listener may lag behind before it has to read the log.
const BACKLOG: usize = 1024;
/// How many events one call returns.
pub const MAX_EVENTS: usize = 500;

/// A handle to the log. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    private: Private,
    live: broadcast::Sender<Event>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    subject: Subject,
    text: String,
}

impl Events {
    /// Opens the log.
    pub fn new(private: Private) -> Self {
        Self { private, live: broadcast::channel(BACKLOG).0 }
    }

    /// Notes an event. A log that cannot be written costs nobody money: it is reported and life goes on.
    pub fn note(&self, subject: Subject, text: String) {
        self.keep(subject, text, None);
    }

    /// Notes where a trade stands, and keeps that the user was told so.
    pub fn tell(&self, trade: &TradeId, line: String) {
        self.keep(Subject::Trade(*trade), line, Some(trade));
    }

    fn keep(&self, subject: Subject, text: String, told: Option<&TradeId>) {
        tracing::info!(?subject, "{text}");
        let time = clock::unix_now();
        let stored = Stored { subject, text };
        let json = serde_json::to_string(&stored).expect("an event is plain data");
        match self.private.append_event(time, json, told.map(|trade| (trade, stored.text.as_str()))) {
            // Nobody listening is fine.
            Ok(seq) => drop(self.live.send(Event { seq, time, subject, text: stored.text })),
            Err(error) => tracing::error!(%error, "an event cannot be kept"),
        }
    }

    /// Returns events after a number, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn after(&self, after: u64) -> Result<Vec<Event>, StoreError> {
        let rows = self.private.events(after.saturating_add(1), MAX_EVENTS)?;
        let events = rows.into_iter().filter_map(|(seq, time, json)| {
            let Stored { subject, text } = serde_json::from_str(&json).ok()?;
            Some(Event { seq, time, subject, text })
        });
        Ok(events.collect())
    }

    /// Returns the events from now on.
    pub fn live(&self) -> broadcast::Receiver<Event> {
        self.live.subscribe()
    }
}
