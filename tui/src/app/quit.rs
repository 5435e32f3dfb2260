//! Leaving: what it would lose, and what becomes of the node.

use super::ask::{Ask, Choice, Line, Outcome};
use super::{App, Popup};
use crate::form::Form;
use crate::message::{Command, Connection, NodeFate};
use crate::words;

impl App {
    /// Tells whether leaving now would lose something that was typed.
    fn has_unsaved_text(&self) -> bool {
        let popups = self.popups.iter().filter_map(Popup::form).any(Form::has_text);
        popups || self.gate.has_text() || self.post.is_edited() || self.take.is_edited()
    }

    fn owns_node(&self) -> bool {
        matches!(self.connection, Connection::Up { ours: true })
    }

    /// What becomes of the node when nobody can be asked.
    pub(super) fn fate_unasked(&self) -> NodeFate {
        if self.trades.open_count() > 0 && !self.demo { NodeFate::Keep } else { NodeFate::Stop }
    }

    /// Ends the program, or asks what becomes of the node and of what was typed.
    pub(super) fn quit(&mut self, commands: &mut Vec<Command>) {
        // Whoever is asked already and presses the same again means it. By the first answer that quits his node stays, if anything
        // needs it.
        if let Some(Popup::Ask(ask)) = self.popups.last()
            && ask.title == words::QUIT_TITLE
        {
            let fate = ask.choices.iter().find_map(|choice| match &choice.outcome {
                Outcome::Quit(fate) => Some(*fate),
                Outcome::Back | Outcome::Call(_) => None,
            });
            commands.extend(fate.map(Command::Quit));
            return;
        }
        let (open, typed) = (self.trades.open_count(), self.has_unsaved_text());
        // Of the demo nothing is left anyway, and the node of somebody else goes on.
        let offers = if self.owns_node() && !self.demo { self.book.own_count() } else { 0 };
        let is_idle = open == 0 && offers == 0 && !typed;
        if matches!(self.connection, Connection::Starting(_) | Connection::Failed(_)) || is_idle {
            commands.push(Command::Quit(NodeFate::Stop));
            return;
        }
        let back = || Choice { label: words::STAY.to_owned(), outcome: Outcome::Back };
        let quit = |label: &str, fate| Choice { label: label.to_owned(), outcome: Outcome::Quit(fate) };
        let mut lines = Vec::new();
        if typed {
            lines.push(Line::Warning(words::QUIT_LOSES_TEXT.to_owned()));
        }
        let (choices, yes) = if open > 0 && self.demo {
            lines.push(Line::Plain(words::quit_ends_demo(open)));
            (vec![back(), quit(words::QUIT, NodeFate::Stop)], 1)
        } else if (open > 0 && self.owns_node()) || offers > 0 {
            lines.extend(words::quit_with_own_node(open, offers).into_iter().map(Line::Plain));
            let keep = quit(words::KEEP_NODE, NodeFate::Keep);
            (vec![keep, quit(words::STOP_NODE, NodeFate::Stop), back()], 0)
        } else if open > 0 && !typed {
            lines.push(Line::Plain(words::quit_with_others_node(open)));
            (vec![quit(words::QUIT, NodeFate::Keep), back()], 0)
        } else {
            (vec![back(), quit(words::QUIT, NodeFate::Stop)], 1)
        };
        self.push_popup(Popup::Ask(Ask { title: words::QUIT_TITLE.to_owned(), lines, choices, chosen: 0, yes }));
    }
}
