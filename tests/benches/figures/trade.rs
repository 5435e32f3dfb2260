//! What a trade takes: four nodes, a chain, and nobody who thinks.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use exchange_node::demo;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::Outcome;
use crate::figure::{Figure, Target};

/// What the demo says when the buyer bids, and what when he has his coins.
const TAKEN: &str = "you take the best offer";
const CLOSED: &str = "the trade state=Closed";

/// Prints `trade`.
///
/// # Errors
/// When the demo fails.
pub fn measure() -> Outcome<()> {
    let watch = Stopwatch::default();
    let events = tracing_subscriber::registry().with(LevelFilter::INFO).with(watch.clone());
    tracing::subscriber::set_global_default(events)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = Instant::now();
    let report = runtime.block_on(demo::run_headless(CancellationToken::new()))?;
    let whole = start.elapsed();
    if report["state"] != "closed" {
        return Err(format!("the trade of the demo did not close: {report}").into());
    }
    let silent = "the demo did not say when the trade began and ended";
    let (taken, closed) = (watch.said(TAKEN).ok_or(silent)?, watch.said(CLOSED).ok_or(silent)?);
    Figure {
        figure: "trade",
        value: (closed - taken).as_secs_f64(),
        unit: "s",
        beside: "the whole demo, with four identities and their coins",
        beside_value: whole.as_secs_f64(),
        target: Target::ValueTo(120.0),
    }
    .print()
}

/// Notes when the demo said what.
#[derive(Clone, Default)]
struct Stopwatch {
    said: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Stopwatch {
    fn said(&self, text: &str) -> Option<Instant> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().find(|(event, _)| event.starts_with(text)).map(|(_, at)| *at)
    }
}

impl<S: Subscriber> Layer<S> for Stopwatch {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push((text.0, Instant::now()));
    }
}

/// An event as `message field=value`.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = if field.name() == "message" {
            self.0 = format!("{value:?}{}", self.0);
            Ok(())
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
        written.expect("writing to memory does not fail");
    }
}
