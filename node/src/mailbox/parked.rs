//! Mail whose contract is not known yet: gossip may bring it and the acceptance on which it rests in either order. What finds no
//! room is offered again by its sender.

use std::collections::{BTreeMap, VecDeque};

use exchange_ledger::ids::TradeId;
use exchange_ledger::mail::{Address, Envelope};
use exchange_ledger::turns::in_turn;

/// How many messages wait for an acceptance, and how many for a bid: two megabytes of each. Any key can make up a trade and sign
/// for nothing what waits for its bid; who waits for an acceptance has a role in a bid that is known, which costs a record.
const MAX_PARKED: usize = 128;
/// How many of them are from one sender about one trade: more than are sent before anything is answered. The first ones, on
/// which the others follow.
const MAX_EACH: usize = 4;

/// For what a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the acceptance of a bid that is known.
    Acceptance,
    /// For the bid too.
    Bid,
}

/// The mail that waits.
#[derive(Debug, Default)]
pub(super) struct Parked {
    /// In the order of arrival, like the other.
    for_acceptances: VecDeque<Envelope>,
    for_bids: VecDeque<Envelope>,
}

impl Parked {
    /// Lets a message wait, if its sender has not too many about its trade. Where there is no room, who has most makes it.
    pub fn park(&mut self, wait: Wait, envelope: Envelope) {
        let queue = match wait {
            Wait::Acceptance => &mut self.for_acceptances,
            Wait::Bid => &mut self.for_bids,
        };
        let Address { sender, trade, .. } = envelope.address;
        let of_these = queue.iter().filter(|other| (other.address.sender, other.address.trade) == (sender, trade));
        if of_these.count() >= MAX_EACH || queue.contains(&envelope) {
            return;
        }
        queue.push_back(envelope);
        if queue.len() > MAX_PARKED
            && let Some(at) = most_crowded(queue)
        {
            queue.remove(at);
        }
    }

    /// Returns what waited for a trade, which waits no more.
    pub fn take(&mut self, trade: &TradeId) -> Vec<Envelope> {
        let mut ready = Vec::new();
        for queue in [&mut self.for_acceptances, &mut self.for_bids] {
            let (its, others) = queue.drain(..).partition(|envelope| envelope.address.trade == *trade);
            *queue = others;
            ready.extend(its);
        }
        ready
    }

    /// Returns the trades whose mail waits, and for what: for the bid too, if any of it does.
    pub fn trades(&self) -> BTreeMap<TradeId, Wait> {
        let mut trades = BTreeMap::new();
        for (queue, wait) in [(&self.for_acceptances, Wait::Acceptance), (&self.for_bids, Wait::Bid)] {
            trades.extend(queue.iter().map(|envelope| (envelope.address.trade, wait)));
        }
        trades
    }

    /// Returns how much mail waits.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.for_acceptances.len() + self.for_bids.len()
    }
}

/// Returns where the oldest message stands of those who have most in a queue.
fn most_crowded(queue: &VecDeque<Envelope>) -> Option<usize> {
    // From the newest on, the last turn is theirs alone.
    in_turn((0..queue.len()).rev(), |at| queue[*at].address.sender).pop()
}

#[cfg(test)]
mod tests {
    use exchange_ledger::ids::{AuthorId, ContractHash};

    use super::*;

    fn id(number: u16) -> [u8; 32] {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn mail(sender: u16, trade: u16, seq: u32) -> Envelope {
        let address = Address {
            version: 1,
            network: [0; 4],
            trade: TradeId(id(trade)),
            contract: ContractHash([0; 32]),
            sender: AuthorId(id(sender)),
            recipient: AuthorId([0xff; 32]),
            epoch: 1,
            seq,
            previous: [0; 32],
            seen: [0; 32],
            time: 0,
            commitment: [0; 32],
        };
        Envelope { address, sealed: Vec::new(), signature: [0; 64] }
    }

    #[test]
    fn what_anybody_can_make_up_pushes_out_nothing_that_waits_for_an_acceptance() {
        let mut parked = Parked::default();
        let honest = mail(0, 0, 0);
        parked.park(Wait::Acceptance, honest.clone());
        (1..1000).for_each(|number| parked.park(Wait::Bid, mail(number, number, 0)));
        assert_eq!(parked.len(), 1 + MAX_PARKED);
        assert_eq!(parked.take(&honest.address.trade), [honest]);
        assert_eq!(parked.take(&TradeId(id(1))), [], "the oldest of many senders went");
        assert_eq!(parked.take(&TradeId(id(999))), [mail(999, 999, 0)]);
    }

    #[test]
    fn of_a_sender_in_a_trade_the_first_few_wait_and_each_once() {
        let mut parked = Parked::default();
        for seq in [0, 0, 1, 2, 2, 3, 4, 5] {
            parked.park(Wait::Acceptance, mail(1, 1, seq));
            parked.park(Wait::Acceptance, mail(2, 1, seq));
        }
        let expected: Vec<Envelope> = (0..4).flat_map(|seq| [mail(1, 1, seq), mail(2, 1, seq)]).collect();
        assert_eq!(parked.take(&TradeId(id(1))), expected);
        assert_eq!(parked.len(), 0);
    }

    #[test]
    fn who_has_most_makes_room() {
        let mut parked = Parked::default();
        parked.park(Wait::Acceptance, mail(0, 0, 0));
        // A cheat with bids for many offers.
        (1..1000).for_each(|trade| parked.park(Wait::Acceptance, mail(1, trade, 0)));
        parked.park(Wait::Acceptance, mail(2, 0, 0));
        assert_eq!(parked.len(), MAX_PARKED);
        assert_eq!(parked.take(&TradeId(id(0))), [mail(0, 0, 0), mail(2, 0, 0)]);
    }
}
