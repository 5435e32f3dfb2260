//! Answering a peer's requests from the replica.

use std::sync::Arc;

use exchange_ledger::sync;

use super::gate::Offence;
use super::protocol::{Delivery, MAX_ANSWER_BYTES, MAX_MAIL_LEN, Request, Response};
use super::sync::reading;
use super::{Replica, Verdict};

/// What a mailbox that a request names takes of what a peer is served, and an envelope that it brings: a look into the
/// store, and a signature. See [`sync::Request::work`].
const MAILBOX_WORK: usize = 1024;
const ENVELOPE_WORK: usize = 4096;

/// A response, and what this node learned from the request.
#[derive(Debug)]
pub(super) struct Answer {
    pub response: Response,
    pub news: News,
    /// About how many bytes it takes.
    pub size: usize,
}

/// What a request tells about its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// Its ledger equals ours.
    InSync,
    /// Its ledger differs from ours, and has all that ours has.
    Differs,
    /// It brought these envelopes, new to us and perhaps to others.
    Mail(Vec<Vec<u8>>),
}

/// Returns about how many bytes could be served in the time that it takes to look at what a request names, found or not.
pub(super) fn work(request: &Request) -> usize {
    match request {
        Request::Ledger(request) => request.work(),
        Request::MailFetch(cursors) => cursors.len() * MAILBOX_WORK,
        Request::MailPut(envelopes) => envelopes.len() * ENVELOPE_WORK,
    }
}

/// Answers a request that has passed its check.
pub(super) async fn answer(replica: &Arc<dyn Replica>, request: Request) -> Result<Answer, Offence> {
    match request {
        Request::Ledger(request) => {
            let answered = reading(replica, move |own| sync::answer(own, &request)).await;
            let (answer, news) = match answered {
                Some(Ok(answered)) => answered,
                Some(Err(error)) => {
                    tracing::error!(%error, "a peer's question cannot be answered");
                    return Ok(plain(Response::Busy, 1));
                }
                None => return Ok(plain(Response::Busy, 1)),
            };
            let news = match news {
                sync::News::None => News::None,
                sync::News::Same => News::InSync,
                sync::News::Differs => News::Differs,
            };
            Ok(Answer { size: answer.size(), response: Response::Ledger(answer), news })
        }
        Request::MailFetch(cursors) => {
            let mut room = MAX_ANSWER_BYTES;
            let mut deliveries = Vec::new();
            for want in cursors {
                // With less room a mailbox might look empty just because its first envelope does not fit.
                if room < MAX_MAIL_LEN {
                    break;
                }
                let (envelopes, cursor) = replica.mail(want.mailbox, want.after, room).await;
                room = room.saturating_sub(envelopes.iter().map(Vec::len).sum());
                deliveries.push(Delivery { envelopes, cursor });
            }
            Ok(plain(Response::Mail(deliveries), MAX_ANSWER_BYTES - room))
        }
        Request::MailPut(envelopes) => {
            let mut new = Vec::new();
            for envelope in envelopes {
                match replica.put_mail(envelope.clone()).await {
                    Verdict::Accept => new.push(envelope),
                    Verdict::Keep | Verdict::Ignore | Verdict::Later | Verdict::Orphan(_) => {}
                    Verdict::Reject => return Err(Offence::InvalidMail),
                }
            }
            Ok(Answer { response: Response::Taken, news: News::Mail(new), size: 1 })
        }
    }
}

fn plain(response: Response, size: usize) -> Answer {
    Answer { response, news: News::None, size }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use exchange_ledger::ids::{AuthorId, MailboxId, StateHash};
    use exchange_ledger::record::LogId;
    use exchange_ledger::sync::Salt;
    use exchange_ledger::sync::message::{ItemWant, MAX_ITEMS, MAX_WANTS, Want};
    use exchange_ledger::sync::sketch::Item;
    use libp2p::PeerId;
    use tokio::time::Instant;

    use super::super::config::NetLimits;
    use super::super::peers::Peers;
    use super::super::protocol::{MAX_MAILBOXES, WireCursor};
    use super::*;

    /// Returns how many such requests of one peer are answered in ten seconds, though the answers are next to nothing.
    fn answered_in_ten_seconds(request: &Request) -> usize {
        let start = Instant::now();
        let mut peers = Peers::new(&NetLimits::default());
        let peer = PeerId::random();
        peers.connected(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), false, start);
        let mut asks = |now| {
            let admitted = peers.admit(peer, now).is_some();
            if admitted {
                peers.charge(peer, work(request), now);
            }
            admitted
        };
        (0..10_000).filter(|ms| asks(start + Duration::from_millis(*ms))).count()
    }

    #[test]
    fn what_a_request_makes_this_node_look_up_counts_too() {
        let log = LogId { author: AuthorId([1; 32]), epoch: 0 };
        let item = ItemWant { item: Item(1), from: u64::MAX };
        let items = sync::Request::Items { salt: Salt([0; 16]), wants: vec![item; MAX_ITEMS] };
        let cursor = WireCursor { mailbox: MailboxId([1; 32]), after: 0 };
        for (request, most) in [
            (Request::Ledger(items), 300),
            (Request::MailFetch(vec![cursor; MAX_MAILBOXES]), 500),
            (Request::MailPut(vec![Vec::new(); 1000]), 150),
        ] {
            let answered = answered_in_ten_seconds(&request);
            assert!(answered < most, "{answered}");
        }
        // What an honest node asks for in a first download stays within its hundred requests a second.
        for request in [
            sync::Request::Compare { digest: StateHash([0; 32]), symbols: 64 },
            sync::Request::Heads { after: None, limit: 1000 },
            sync::Request::Ranges(vec![Want::new(log, 0); MAX_WANTS]),
        ] {
            let answered = answered_in_ten_seconds(&Request::Ledger(request));
            assert!(answered > 1300, "{answered}");
        }
    }
}
