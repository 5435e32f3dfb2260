//! Answering a peer's requests from the replica.

use std::sync::Arc;

use exchange_ledger::sync;

use super::gate::Offence;
use super::protocol::{Delivery, MAX_ANSWER_BYTES, MAX_MAIL_LEN, Request, Response};
use super::sync::reading;
use super::{Replica, Verdict};

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
