//! Answering a peer's requests from the replica.

use exchange_ledger::record::LogId;

use super::gate::Offence;
use super::protocol::{Delivery, MAX_ANSWER_BYTES, MAX_HEADS, MAX_MAIL_LEN, Request, Response};
use super::{Replica, Verdict};

/// A response, and what this node learned from the request.
#[derive(Debug)]
pub(super) struct Answer {
    pub response: Response,
    pub news: News,
}

/// What a request tells about its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// Its ledger equals ours.
    InSync,
    /// Its ledger differs from ours.
    Differs,
    /// It brought these envelopes, new to us and perhaps to others.
    Mail(Vec<Vec<u8>>),
}

/// Answers a request that has passed its check.
pub(super) async fn answer(replica: &dyn Replica, request: Request) -> Result<Answer, Offence> {
    match request {
        Request::Digest(theirs) => {
            let ours = replica.digest().await;
            let news = if theirs == ours { News::InSync } else { News::Differs };
            Ok(Answer { response: Response::Digest(ours), news })
        }
        Request::Heads { after, limit } => {
            let limit = usize::from(limit).min(MAX_HEADS);
            let heads = replica.heads(after.map(Into::into), limit).await;
            Ok(plain(Response::Heads(heads.into_iter().map(Into::into).collect())))
        }
        Request::Ranges { wants, max_bytes } => {
            let max_bytes = usize::try_from(max_bytes).map_or(MAX_ANSWER_BYTES, |max| max.min(MAX_ANSWER_BYTES));
            let wants = wants.into_iter().map(|want| (want.log.into(), want.from));
            Ok(plain(Response::Ranges(ranges(replica, wants, max_bytes).await)))
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
            Ok(plain(Response::Mail(deliveries)))
        }
        Request::MailPut(envelopes) => {
            let mut new = Vec::new();
            for envelope in envelopes {
                match replica.put_mail(envelope.clone()).await {
                    Verdict::Accept => new.push(envelope),
                    Verdict::Keep | Verdict::Ignore | Verdict::Orphan(_) => {}
                    Verdict::Reject => return Err(Offence::InvalidMail),
                }
            }
            Ok(Answer { response: Response::Taken, news: News::Mail(new) })
        }
    }
}

fn plain(response: Response) -> Answer {
    Answer { response, news: News::None }
}

/// Returns records of the first of these logs, as far as `max_bytes` go; at least one record if there is one.
async fn ranges(
    replica: &dyn Replica,
    wants: impl Iterator<Item = (LogId, u64)>,
    max_bytes: usize,
) -> Vec<Vec<Vec<u8>>> {
    let mut room = max_bytes.max(1);
    let mut ranges = Vec::new();
    for (log, from) in wants {
        if room == 0 {
            break;
        }
        let records = replica.range(log, from, room).await;
        room = room.saturating_sub(records.iter().map(Vec::len).sum());
        ranges.push(records);
    }
    ranges
}
