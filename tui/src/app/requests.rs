//! Request ids: the same wish keeps its id until it is done, so that trying again after a lost connection, or a failure,
//! never pays twice.

use exchange_api::RequestId;
use serde::Serialize;
use serde_json::Value;

/// Wishes that are remembered at a time: a user acts one at a time, and what he was only asked about goes first.
const MAX_OPEN: usize = 16;

/// The requests that are open, with their ids.
#[derive(Debug)]
pub struct Requests {
    session: String,
    counter: u64,
    open: Vec<OpenRequest>,
}

/// A request for a wish whose fate is unknown.
#[derive(Debug)]
struct OpenRequest {
    content: Value,
    id: RequestId,
    /// Whether the node was asked for it: until then it can have no effect.
    is_sent: bool,
}

impl Requests {
    /// `session` makes the ids unique to this run of the program.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into(), counter: 0, open: Vec::new() }
    }

    /// Returns the id for a wish with this content: a new one, unless the same is open.
    pub fn id(&mut self, kind: &'static str, content: &impl Serialize) -> RequestId {
        let content = serde_json::json!([kind, content]);
        if let Some(request) = self.open.iter().find(|request| request.content == content) {
            return request.id.clone();
        }
        self.counter += 1;
        let id = format!("tui-{}-{}", self.session, self.counter);
        if self.open.len() == MAX_OPEN {
            let unsent = self.open.iter().position(|request| !request.is_sent);
            self.open.remove(unsent.unwrap_or(0));
        }
        self.open.push(OpenRequest { content, id: id.clone(), is_sent: false });
        id
    }

    /// Notes that the node is asked for a wish.
    pub fn sent(&mut self, id: &str) {
        if let Some(request) = self.open.iter_mut().find(|request| request.id == id) {
            request.is_sent = true;
        }
    }

    /// Forgets a wish, and no other: it is done, so the next one is a new one even when it says the same.
    pub fn settled(&mut self, id: &str) {
        self.open.retain(|request| request.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_keeps_its_id_until_it_is_settled() {
        let mut requests = Requests::new("s");
        let first = requests.id("send", &("addr", 5));
        assert_eq!(requests.id("send", &("addr", 5)), first, "tried again");
        assert_ne!(requests.id("send", &("addr", 6)), first, "another amount");
        assert_ne!(requests.id("take", &("addr", 5)), first, "another kind");
        requests.settled(&first);
        assert_ne!(requests.id("send", &("addr", 5)), first, "a second payment");
    }

    #[test]
    fn an_answer_to_one_wish_leaves_the_others_open() {
        let mut requests = Requests::new("s");
        let payment = requests.id("send", &("addr", 5));
        let line = requests.id("say", &"hello");
        requests.settled(&line);
        assert_eq!(requests.id("send", &("addr", 5)), payment, "nobody knows yet what became of it");
        assert_ne!(requests.id("say", &"hello"), line, "the same words once more");
    }

    #[test]
    fn what_was_only_asked_about_pushes_nothing_out_that_was_sent() {
        let mut requests = Requests::new("s");
        let payment = requests.id("send", &"all");
        requests.sent(&payment);
        for trade in 0..3 * MAX_OPEN {
            requests.id("trade", &trade);
        }
        assert_eq!(requests.open.len(), MAX_OPEN);
        assert_eq!(requests.id("send", &"all"), payment);
    }
}
