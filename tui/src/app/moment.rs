//! The half second for which what is asked must have stood before it is answered: what comes sooner was meant for what stood there
//! before. It begins with what is put above the screen, and anew with what changes there under the user. What he types himself
//! into a form begins nothing.

use exchange_api::{Person, Phase, TradeId};

use super::{App, FormFor, Popup, TICKS_PER_SECOND};
use crate::words;

/// Ticks for which a question must have stood before it takes a yes: half a second. What comes before was typed for something
/// else.
const MOMENT: u64 = TICKS_PER_SECOND / 2;
/// Letters in one tick that nobody types, nor gets by holding a key down: so many come from a terminal that types what is pasted.
const PASTED: u32 = 6;

/// Since when what is asked stands there as it does, and what is typed.
#[derive(Debug, Default)]
pub(super) struct Moment {
    /// The tick.
    since: u64,
    /// The tick of the last letter, and how many came in it.
    letters: (u64, u32),
}

impl Moment {
    /// Begins: something is asked, or stands there otherwise than before.
    pub const fn begin(&mut self, now: u64) {
        self.since = now;
    }

    /// Tells whether what is asked stands there for long enough to have been read.
    pub const fn has_passed(&self, now: u64) -> bool {
        now >= self.since + MOMENT
    }

    /// Notes a letter; tells whether it comes too fast after others to be typed.
    pub const fn is_pasted(&mut self, now: u64) -> bool {
        let (tick, count) = self.letters;
        self.letters = (now, if tick == now { count.saturating_add(1) } else { 1 });
        self.letters.1 >= PASTED
    }
}

/// What one Enter in a form does that no question follows, but for what the user has typed there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sends {
    /// Accepts a bid: how the trade stands, and all that is known of it; `None` while the node shows no such trade.
    Acceptance(TradeId, Option<(Phase, Vec<(&'static str, String)>)>),
    /// Says a line, and to whom.
    Line(TradeId, Option<Person>),
}

impl App {
    /// Returns what an Enter in the form that is shown would do, if no question follows.
    pub(super) fn sends(&self) -> Option<Sends> {
        match self.popups.last()? {
            Popup::Form(FormFor::Accept(trade), _) => {
                let known = self.trades.get(*trade).map(|trade| (trade.state, words::contract::rows(trade)));
                Some(Sends::Acceptance(*trade, known))
            }
            Popup::Chat(chat) => Some(Sends::Line(chat.trade, chat.to())),
            Popup::Form(
                FormFor::Send(_)
                | FormFor::Label(_)
                | FormFor::Bump(_)
                | FormFor::Cancel(_)
                | FormFor::Rule(_)
                | FormFor::Disclose(_)
                | FormFor::Connect,
                _,
            )
            | Popup::Help
            | Popup::Error { .. }
            | Popup::Ask(_)
            | Popup::Contract(_) => None,
        }
    }

    /// Lets what is asked be read from now on.
    pub(super) const fn begin_moment(&mut self) {
        self.moment.begin(self.ticks);
    }

    /// Tells whether what is asked stands there for long enough to have been read.
    pub(super) const fn has_stood(&self) -> bool {
        self.moment.has_passed(self.ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_answered_half_a_second_after_it_changed() {
        let mut moment = Moment::default();
        assert!(!moment.has_passed(3));
        assert!(moment.has_passed(4));
        moment.begin(10);
        assert!(!moment.has_passed(13));
        assert!(moment.has_passed(14));
    }

    #[test]
    fn only_a_terminal_types_so_many_letters_at_once() {
        let mut moment = Moment::default();
        for tick in 0..20 {
            for _ in 1..PASTED {
                assert!(!moment.is_pasted(tick), "a fast typist, or a key that is held down");
            }
        }
        for _ in 1..PASTED {
            assert!(!moment.is_pasted(20));
        }
        assert!(moment.is_pasted(20));
        assert!(moment.is_pasted(20));
        assert!(!moment.is_pasted(21));
    }
}
