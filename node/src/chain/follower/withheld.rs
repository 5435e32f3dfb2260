//! Scripts of which nobody tells: a subscriber hears which they are, and all else is told. Once they are shown, the past is
//! searched for what was kept back, as for scripts that are watched later.

use super::search::{Search, Why};
use super::{Interrupted, Scripts, Source, Task};
use crate::chain::ChainEvent;

impl<S: Source> Task<S> {
    /// Tells which scripts are withheld, before anything is told that would look as if nothing had happened to them. Of those that
    /// are still searched for, too: that may take long.
    pub(super) async fn tell_withheld(&mut self) -> Result<(), Interrupted> {
        let withholdings = Some(self.source.withholdings());
        if self.withholdings == withholdings {
            return Ok(());
        }
        let mut withheld = self.source.withheld(&self.scripts);
        for search in &self.searches {
            withheld.extend(self.source.withheld(search.wanted()));
        }
        for (script, reason) in withheld {
            if self.withheld.get(&script) != Some(&reason) {
                tracing::warn!(backend = self.source.label(), %script, reason, "nobody shows what touches a script");
                self.emit(ChainEvent::Withheld { script: script.clone(), reason: reason.clone() }).await?;
                self.withheld.insert(script, reason);
            }
        }
        self.withholdings = withholdings;
        Ok(())
    }

    /// Begins to search the past for the scripts that are not withheld any more: for all of them at once, and for more of them when
    /// that has ended.
    pub(super) fn search_shown(&mut self) {
        if self.withheld.is_empty() || self.searches.iter().any(Search::is_of_shown) {
            return;
        }
        let told: Scripts = self.withheld.keys().cloned().collect();
        let withheld = self.source.withheld(&told);
        let shown: Scripts = told.iter().filter(|script| !withheld.contains_key(*script)).cloned().collect();
        if !shown.is_empty() {
            // Nobody knows since when something of them was kept back, for they may have been so before they were asked for.
            self.add_search(Why::Shown, shown, 0);
        }
    }

    /// Tells of scripts for which the past was searched that they are not withheld any more, unless they are again.
    pub(super) async fn tell_shown(&mut self, searched: &Scripts) -> Result<(), Interrupted> {
        let withheld = self.source.withheld(searched);
        for script in searched.iter().filter(|script| !withheld.contains_key(*script)) {
            self.withheld.remove(script);
            self.emit(ChainEvent::Shown { script: script.clone() }).await?;
        }
        Ok(())
    }
}
