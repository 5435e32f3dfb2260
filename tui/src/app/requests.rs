//! Request ids: the same wish keeps its id until its fate is known, so that trying again after a lost connection never
//! pays twice.

use exchange_api::RequestId;
use serde::Serialize;
use serde_json::Value;

/// Wishes whose fate may be unknown at a time; a user acts one at a time.
const MAX_OPEN: usize = 16;

/// The ids of open wishes.
#[derive(Debug)]
pub struct Requests {
    session: String,
    counter: u64,
    open: Vec<(Value, RequestId)>,
}

impl Requests {
    /// `session` makes the ids unique to this run of the program.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into(), counter: 0, open: Vec::new() }
    }

    /// Returns the id for a wish with this content: a new one, unless the same is open.
    pub fn id(&mut self, kind: &'static str, content: &impl Serialize) -> RequestId {
        let content = serde_json::json!([kind, content]);
        if let Some((_, id)) = self.open.iter().find(|(open, _)| *open == content) {
            return id.clone();
        }
        self.counter += 1;
        let id = format!("tui-{}-{}", self.session, self.counter);
        if self.open.len() == MAX_OPEN {
            self.open.remove(0);
        }
        self.open.push((content, id.clone()));
        id
    }

    /// Forgets the open wishes: the node answered, so the next one is a new one even when it says the same.
    pub fn settled(&mut self) {
        self.open.clear();
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
        requests.settled();
        assert_ne!(requests.id("send", &("addr", 5)), first, "a second payment");
    }
}
