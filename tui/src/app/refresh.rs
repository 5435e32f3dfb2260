//! Keeps at most one query of each kind under way, and asks once more when something changed in between.

use crate::message::{Command, Query};

/// What is under way.
#[derive(Debug, Default)]
pub struct Refresh {
    states: [State; Query::COUNT],
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Asked,
    AskedAndStale,
}

impl Refresh {
    /// Asks, unless the same is asked already: then it is asked again after the answer.
    pub fn ask(&mut self, query: Query, commands: &mut Vec<Command>) {
        let state = &mut self.states[query as usize]; // the discriminants are 0..COUNT
        match *state {
            State::Idle => {
                *state = State::Asked;
                commands.push(Command::Query(query));
            }
            State::Asked => *state = State::AskedAndStale,
            State::AskedAndStale => {}
        }
    }

    /// Asks unless it is under way; for a poll, which need not be repeated.
    pub fn poll(&mut self, query: Query, commands: &mut Vec<Command>) {
        if self.states[query as usize] == State::Idle {
            self.ask(query, commands);
        }
    }

    /// Notes an answer.
    pub fn answered(&mut self, query: Query, commands: &mut Vec<Command>) {
        let stale = self.states[query as usize] == State::AskedAndStale;
        self.states[query as usize] = State::Idle;
        if stale {
            self.ask(query, commands);
        }
    }

    /// Forgets what was under way: the connection is a new one.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_changes_costs_two_queries() {
        let (mut refresh, mut commands) = (Refresh::default(), Vec::new());
        for _ in 0..100 {
            refresh.ask(Query::Trades, &mut commands);
        }
        assert_eq!(commands.len(), 1);
        refresh.answered(Query::Trades, &mut commands);
        assert_eq!(commands.len(), 2);
        refresh.answered(Query::Trades, &mut commands);
        refresh.poll(Query::Trades, &mut commands);
        refresh.poll(Query::Trades, &mut commands);
        assert_eq!(commands.len(), 3);
    }
}
