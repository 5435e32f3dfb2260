//! A question before something that matters. The first choice is the safe one, and the one that Enter takes. One that does anything
//! counts only once the question has stood for a moment.

use crate::message::{Call, NodeFate};

/// A question.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub title: String,
    /// What to know before.
    pub lines: Vec<Line>,
    /// The choices, the safe one first.
    pub choices: Vec<Choice>,
    /// Which is chosen.
    pub chosen: usize,
    /// Which one the key of "yes" means.
    pub yes: usize,
}

/// A line of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A plain one.
    Plain(String),
    /// The heart of it.
    Strong(String),
    /// A warning.
    Warning(String),
}

/// A choice.
#[derive(Debug)]
pub struct Choice {
    /// What it says.
    pub label: String,
    /// What it does.
    pub outcome: Outcome,
}

/// What a choice does.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing.
    Back,
    /// A call.
    Call(Box<Call>),
    /// Ends the program.
    Quit(NodeFate),
}

impl Ask {
    /// A question with one dangerous answer; "no" is the default.
    pub fn confirm(title: impl Into<String>, lines: Vec<Line>, no: &str, yes: impl Into<String>, call: Call) -> Self {
        let choices = vec![
            Choice { label: no.to_owned(), outcome: Outcome::Back },
            Choice { label: yes.into(), outcome: Outcome::Call(Box::new(call)) },
        ];
        Self { title: title.into(), lines, choices, chosen: 0, yes: 1 }
    }

    /// Moves to the next or previous choice.
    pub fn turn(&mut self, forward: bool) {
        let count = self.choices.len().max(1);
        self.chosen = (self.chosen + if forward { 1 } else { count - 1 }) % count;
    }

    /// Tells whether the choice at `at` does nothing.
    pub fn goes_back(&self, at: usize) -> bool {
        self.choices.get(at).is_none_or(|choice| matches!(choice.outcome, Outcome::Back))
    }

    /// Returns the outcome of the choice at `at`, leaving [`Outcome::Back`] in its place.
    pub fn take(&mut self, at: usize) -> Outcome {
        match self.choices.get_mut(at) {
            Some(choice) => std::mem::replace(&mut choice.outcome, Outcome::Back),
            None => Outcome::Back,
        }
    }
}
