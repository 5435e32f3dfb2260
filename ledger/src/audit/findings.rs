//! What an audit found, as much of it as is told.

use crate::ids::{AuthorId, RecordId, TradeId};
use crate::turns::in_turn;

/// How many violations and how many pieces of evidence an audit tells at most: they have to fit into one answer of a node.
pub const MAX_FINDINGS: usize = 5000;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose record or log it is.
    pub author: AuthorId,
    /// The offending record.
    pub record: Option<RecordId>,
    /// The trade it belongs to.
    pub trade: Option<TradeId>,
    /// The rule, in words.
    pub rule: String,
}

/// Takes findings out until there are `most`, and returns how many went. Those that stay keep their order.
///
/// Everybody's first one stays before anybody's second, and so on: who does wrong ten thousand times hides nobody else by it.
pub(super) fn thin_out(findings: &mut Vec<Finding>, most: usize) -> u64 {
    if findings.len() <= most {
        return 0;
    }
    let gone = findings.len() - most;
    let mut stays = vec![false; findings.len()];
    for at in in_turn(0..findings.len(), |at| findings[*at].author).into_iter().take(most) {
        stays[at] = true;
    }
    let mut stays = stays.into_iter();
    findings.retain(|_| stays.next() == Some(true));
    gone as u64 // usize is at most 64 bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(author: u8, number: usize) -> Finding {
        Finding { author: AuthorId([author; 32]), record: None, trade: None, rule: number.to_string() }
    }

    #[test]
    fn whoever_does_wrong_often_hides_nobody_else() {
        let mut many: Vec<Finding> = (0..1000).map(|number| found(1, number)).collect();
        many.extend([found(2, 0), found(1, 1000), found(3, 0), found(3, 1)]);
        let all = many.clone();
        assert_eq!((thin_out(&mut many, 1004), &many), (0, &all));
        assert_eq!(thin_out(&mut many, 5), 999);
        assert_eq!(many, [found(1, 0), found(1, 1), found(2, 0), found(3, 0), found(3, 1)]);
        assert_eq!(thin_out(&mut many, 2), 3);
        assert_eq!(many, [found(1, 0), found(2, 0)]);
        assert_eq!((thin_out(&mut many, 0), many.len()), (2, 0));
    }

    #[test]
    fn thinned_out_on_the_way_or_at_the_end_the_same_stay() {
        let all: Vec<Finding> = (0..300).map(|number| found([1, 1, 2, 1, 3][number % 5], number)).collect();
        let (mut at_once, mut bit_by_bit, mut gone) = (all.clone(), Vec::new(), 0);
        for finding in all {
            bit_by_bit.push(finding);
            if bit_by_bit.len() > 40 {
                gone += thin_out(&mut bit_by_bit, 20);
            }
        }
        gone += thin_out(&mut bit_by_bit, 20);
        assert_eq!((thin_out(&mut at_once, 20), at_once), (gone, bit_by_bit));
    }
}
