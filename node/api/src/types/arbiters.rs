//! Arbiters: their adverts, and whom this node trusts.

use exchange_ledger::ids::{AuthorId, RecordId};
use exchange_ledger::money::{Currency, Sats};
use serde::{Deserialize, Serialize};

/// An arbiter's advert, and what this node knows of him. Adverts and names are free: anybody can call himself anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArbiterView {
    /// The advert's id.
    pub advert: RecordId,
    /// Who; of a group the member who published its advert.
    pub author: AuthorId,
    /// The name to show.
    pub name: String,
    /// What a ruling costs, in millionths.
    pub fee_ppm: u32,
    /// The largest trade.
    pub max_amount: Sats,
    /// Languages.
    pub languages: Vec<String>,
    /// Currencies.
    pub currencies: Vec<Currency>,
    /// Anything else.
    pub terms: String,
    /// When he first advertised himself, by his own clock.
    pub since: u64,
    /// How many trades that named him were closed, as their parties say.
    pub trades: u32,
    /// In how many that named him a party called for him.
    pub disputes: u32,
    /// In how many he ruled. Parties can also agree, so that there is nothing to rule.
    pub rulings: u32,
    /// Whether the user of this node trusts him; of a group, this group, whatever else its members do alone or with others.
    pub trusted: bool,
    /// Of a group how many of its members rule together; 0 if it is one person.
    #[serde(default)]
    pub threshold: u8,
    /// Who shares the key, if it is a group.
    #[serde(default)]
    pub members: Vec<AuthorId>,
    /// Whether he takes on no trades any more. Those that were agreed on with him go on.
    #[serde(default)]
    pub withdrawn: bool,
    /// Whether no advert of his counts here, for he signed two histories or it is not here: nobody is chosen by it, and he is shown
    /// only so that he can be taken off the list. Then `withdrawn` is set, too.
    #[serde(default)]
    pub gone: bool,
}

impl ArbiterView {
    /// Returns one of whose advert nothing else is known.
    pub fn unknown(advert: RecordId, author: AuthorId) -> Self {
        Self {
            advert,
            author,
            name: "unknown".to_owned(),
            fee_ppm: 0,
            max_amount: Sats::MAX,
            languages: Vec::new(),
            currencies: Vec::new(),
            terms: String::new(),
            since: 0,
            trades: 0,
            disputes: 0,
            rulings: 0,
            trusted: false,
            threshold: 0,
            members: Vec::new(),
            withdrawn: false,
            gone: false,
        }
    }

    /// Tells whether several people rule together.
    pub const fn is_group(&self) -> bool {
        !self.members.is_empty()
    }

    /// Returns a name of his, and of a group how many of how many rule. That is not told of one whose advert is not shown any more.
    /// Who rules alone passes for no group by calling himself so: it is said of him where his name could be read as such a title.
    pub fn titled(&self, name: String) -> String {
        let is_plain = |c: char| c.is_alphanumeric() || " .,'&-_".contains(c);
        match (self.threshold, self.members.len()) {
            (_, 0) if name.chars().all(is_plain) => name,
            (_, 0) => format!("{name} (rules alone)"),
            (0, members) => format!("{name} (a group of {members})"),
            (threshold, members) => format!("{name} ({threshold} of {members})"),
        }
    }

    /// Returns whoever speaks as this arbiter: the members of a group, or else himself.
    pub fn speakers(&self) -> &[AuthorId] {
        if self.is_group() { &self.members } else { std::slice::from_ref(&self.author) }
    }
}

/// Puts an arbiter on the list of those whom this node trusts, or takes him off it. The list never leaves the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustArbiter {
    /// An advert of his. Who rules alone is trusted whatever adverts he will make; of a group nobody is but this group.
    pub advert: RecordId,
    /// Whether he is trusted from now on.
    pub trusted: bool,
}

/// Advertises this node's identity as an arbiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertise {
    /// The name to show.
    pub name: String,
    /// What a ruling costs, in millionths.
    pub fee_ppm: u32,
    /// The largest trade.
    pub max_amount: Sats,
    /// Languages.
    pub languages: Vec<String>,
    /// Currencies.
    pub currencies: Vec<Currency>,
    /// Anything else.
    pub terms: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rules_alone_has_no_title_that_a_group_could_have_whatever_he_calls_himself() {
        let alone = ArbiterView::unknown(RecordId([1; 32]), AuthorId([2; 32]));
        let titles = |name: &str| {
            let groups = [(0, 3), (2, 3)].map(|(threshold, members)| {
                let members = vec![AuthorId([3; 32]); members];
                ArbiterView { threshold, members, ..alone.clone() }.titled(name.to_owned())
            });
            (alone.titled(name.to_owned()), groups)
        };
        let (plain, of_groups) = titles("Three judges");
        assert_eq!((plain.as_str(), &of_groups[1]), ("Three judges", &"Three judges (2 of 3)".to_owned()));
        for name in ["Three judges", "Three judges (a group of 3)", "Three judges (2 of 3)", "X (rules alone)"] {
            let (of_alone, groups) = titles(name);
            assert!(!of_groups.contains(&of_alone) && !groups.contains(&of_alone), "{of_alone}");
            assert!(groups.iter().all(|title| !title.ends_with("(rules alone)")), "{groups:?}");
        }
        // What merely looks like it, too: by wide brackets, or a space that is none.
        for name in ["Three judges \u{ff08}2 of 3\u{ff09}", "Three judges\u{a0}[2 of 3]"] {
            assert!(titles(name).0.ends_with("(rules alone)"), "{name}");
        }
        assert_eq!(titles("Müller, O'Neil & Co. 2").0, "Müller, O'Neil & Co. 2");
    }
}
