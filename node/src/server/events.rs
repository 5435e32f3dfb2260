//! The log of events as a subscriber hears it: what he missed first, then whatever comes.

use jsonrpsee::SubscriptionSink;
use jsonrpsee::core::SubscriptionResult;
use jsonrpsee::server::SubscriptionMessage;
use tokio::sync::broadcast::error::RecvError;

use super::Server;

impl Server {
    pub(super) async fn tell_events(&self, sink: SubscriptionSink, from_seq: u64) -> SubscriptionResult {
        let mut live = self.parts.events.live();
        let mut seen = from_seq;
        loop {
            // The persisted log first, so that a slow listener loses nothing; then whatever comes.
            loop {
                let missed = self.parts.events.after(seen)?;
                let Some(last) = missed.last() else { break };
                seen = last.seq;
                for event in missed {
                    sink.send(SubscriptionMessage::from(serde_json::value::to_raw_value(&event)?)).await?;
                }
            }
            tokio::select! {
                () = sink.closed() => return Ok(()),
                () = self.parts.stop.cancelled() => return Ok(()),
                news = live.recv() => match news {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                }
            }
        }
    }
}
