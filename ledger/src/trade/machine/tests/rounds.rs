//! The payout by the key of both: asked for once, replied to once, and never waited for.

use super::*;
use crate::body::HalfSpend;
use crate::testing::Author;
use crate::trade::{Ask, Asked, Escrow, KeyPathError, Reply};
use crate::wire::TxId;

/// A funded and released trade, and both sides of it.
struct Stage {
    trade: SampleTrade,
    escrow: Escrow,
    half: HalfSpend,
}

impl Stage {
    fn new() -> Self {
        let mut trade = SampleTrade::new(Side::Sell);
        let escrow = trade.escrow();
        let key = trade.author(Role::Seller).trade_key();
        let half = escrow.half(&trade.vaults(1), sats(1_700), Role::Buyer, &key).unwrap();
        Self { trade, escrow, half }
    }

    fn released(&self) -> Event {
        let facts = Facts { payment_sent: true, releases: vec![self.half.clone()], ..Facts::default() };
        Event::Records { contract: Some(self.trade.contract()), facts }
    }

    /// Returns a machine that has just seen the release, and what it asks for.
    fn start(&self, role: Role, local: Local) -> (Trade, Vec<Effect>) {
        let mut machine = Trade::new(self.trade.bid(), role, false, local);
        machine.handle(Event::Compared).unwrap();
        machine.handle(self.released()).unwrap();
        let fundings = vec![Funding::new(self.trade.vaults(1), Some(190))];
        let effects = machine.handle(Event::Chain(ChainFacts { fundings, ..chain(200) })).unwrap();
        (machine, effects)
    }

    fn key(&mut self, role: Role) -> bitcoin::key::Keypair {
        self.trade.author(role).trade_key()
    }

    fn ask(&mut self) -> (Ask, Asked) {
        let (fee, key) = (self.escrow.key_fee(&self.half).unwrap(), self.key(Role::Buyer));
        self.escrow.ask(&self.half.vaults, fee, &key, &[0xb0; 32]).unwrap()
    }

    fn by_key(&mut self) -> Transaction {
        let (ask, asked) = self.ask();
        let (buyer, seller) = (self.key(Role::Buyer), self.key(Role::Seller));
        let reply: Reply = self.escrow.reply(&ask, &self.half.vaults, &seller, &[0x5e; 32]).unwrap();
        self.escrow.complete_by_key(asked, &reply, &buyer).unwrap().tx
    }

    fn by_leaf(&mut self) -> Transaction {
        let key = self.key(Role::Buyer);
        self.escrow.complete(&self.half, Role::Buyer, &key).unwrap().tx
    }

    fn asks(&self) -> Effect {
        Effect::Ask { vaults: self.half.vaults, fee: self.escrow.key_fee(&self.half).unwrap() }
    }

    fn completes(&self) -> Effect {
        Effect::Complete { half: self.half.clone(), to: Role::Buyer }
    }
}

fn rounds(effects: &[Effect]) -> Option<u8> {
    match effects.first() {
        Some(Effect::Persist(local)) => Some(local.rounds),
        _ => None,
    }
}

#[test]
fn a_buyer_asks_once_and_pays_himself_by_the_leaf_when_nobody_replies() {
    let stage = Stage::new();
    let (mut buyer, effects) = stage.start(Role::Buyer, Local::default());
    assert_eq!(rounds(&effects), Some(1), "counted before it is asked");
    assert!(effects.contains(&stage.asks()) && !effects.contains(&stage.completes()), "{effects:?}");
    assert!(buyer.is_asking());
    let again = buyer.handle(stage.released()).unwrap();
    assert!(again.contains(&stage.asks()), "a lost effect is asked for again, in the same round");
    assert_eq!(rounds(&again), None);
    let effects = buyer.handle(Event::Unanswered).unwrap();
    assert!(effects.contains(&stage.completes()) && !effects.contains(&stage.asks()), "{effects:?}");
    assert!(!buyer.is_asking());
    let effects = buyer.handle(Event::Unanswered).unwrap();
    assert!(effects.contains(&stage.completes()) && rounds(&effects).is_none(), "and no second round: {effects:?}");
}

#[test]
fn a_start_begins_another_round_and_after_the_last_one_pays_by_the_leaf() {
    let stage = Stage::new();
    let mut local = Local::default();
    for round in 1..=MAX_ROUNDS {
        let (buyer, effects) = stage.start(Role::Buyer, local);
        assert!(effects.contains(&stage.asks()), "{effects:?}");
        local = buyer.local().clone(); // the power goes, and the nonces with it
        assert_eq!(local.rounds, round);
    }
    let (buyer, effects) = stage.start(Role::Buyer, local.clone());
    assert!(effects.contains(&stage.completes()) && !effects.contains(&stage.asks()), "{effects:?}");
    assert_eq!(*buyer.local(), local);
}

#[test]
fn of_two_payouts_only_the_first_is_ever_kept_and_sent() {
    let mut stage = Stage::new();
    let (by_key, by_leaf) = (stage.by_key(), stage.by_leaf());
    for (first, second) in [(&by_key, &by_leaf), (&by_leaf, &by_key)] {
        let (mut buyer, _) = stage.start(Role::Buyer, Local::default());
        let effects = buyer.handle(Event::SpendBuilt(first.clone())).unwrap();
        assert!(matches!(&effects[0], Effect::Persist(_)), "kept before it is sent");
        assert!(effects.contains(&Effect::Broadcast(first.clone())));
        for event in [Event::SpendBuilt(second.clone()), Event::Unanswered, stage.released()] {
            let effects = buyer.handle(event).unwrap();
            assert!(effects.contains(&Effect::Broadcast(first.clone())), "{effects:?}");
            assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ask { .. } | Effect::Complete { .. })));
            assert_eq!(buyer.local().spend_tx, Some(bitcoin::consensus::serialize(first)));
        }
        let (_, effects) = stage.start(Role::Buyer, buyer.local().clone());
        assert!(effects.contains(&Effect::Broadcast(first.clone())), "after a start too: {effects:?}");
        assert_eq!(rounds(&effects), None);
    }
}

#[test]
fn a_payout_of_a_machine_that_was_lost_is_left_to_the_chain() {
    let mut stage = Stage::new();
    let tx = stage.by_key();
    let (mut buyer, _) = stage.start(Role::Buyer, Local::default());
    let seen = |tx: &Transaction, height| {
        let spends = vec![Spend { tx: tx.clone(), path: SpendPath::Payout, height }];
        Event::Chain(ChainFacts {
            spends,
            fundings: vec![Funding::new(stage.trade.vaults(1), Some(190))],
            ..chain(200)
        })
    };
    let pays = |effects: &[Effect]| {
        effects.iter().any(|e| matches!(e, Effect::Ask { .. } | Effect::Complete { .. } | Effect::Broadcast(_)))
    };
    assert!(!pays(&buyer.handle(seen(&tx, None)).unwrap()));
    // Whoever shows the pool may invent what is in it: then this side makes its own.
    let mut invented = tx.clone();
    invented.input[0].witness = bitcoin::Witness::from_slice(&[[7; 64]]);
    assert!(buyer.handle(seen(&invented, None)).unwrap().contains(&stage.completes()));
    assert!(!pays(&buyer.handle(seen(&tx, Some(199))).unwrap()));
}

#[test]
fn when_every_block_counts_nobody_is_waited_for() {
    let mut stage = Stage::new();
    let (mut buyer, _) = stage.start(Role::Buyer, Local::default());
    let fundings = vec![Funding::new(stage.trade.vaults(1), Some(190))];
    let from = 190 + 4320 - 1;
    let effects = buyer.handle(Event::Chain(ChainFacts { fundings: fundings.clone(), ..chain(from) })).unwrap();
    assert!(effects.contains(&stage.completes()) && !effects.contains(&stage.asks()), "{effects:?}");
    // The same where no payment was claimed, so that nothing is disputed by itself.
    let facts = Facts { releases: vec![stage.half.clone()], ..Facts::default() };
    for (tip, waits) in [(from - 1, true), (from, false)] {
        let (mut buyer, _) = stage.start(Role::Buyer, Local::default());
        let contract = Some(stage.trade.contract());
        buyer.handle(Event::Records { contract, facts: facts.clone() }).unwrap();
        let effects = buyer.handle(Event::Chain(ChainFacts { fundings: fundings.clone(), ..chain(tip) })).unwrap();
        assert_eq!((effects.contains(&stage.asks()), effects.contains(&stage.completes())), (waits, !waits), "{tip}");
    }
    // Nor in a quarrel.
    let (mut buyer, _) = stage.start(Role::Buyer, Local::default());
    let Event::Records { contract, facts } = stage.released() else { unreachable!() };
    let effects = buyer.handle(Event::Records { contract, facts: Facts { seller_dispute: true, ..facts } }).unwrap();
    assert!(effects.contains(&stage.completes()) && !effects.contains(&stage.asks()), "{effects:?}");
    // Nor when the seller takes his coins back against his word.
    let key = stage.key(Role::Seller);
    let tx = stage.escrow.signed_timeout(Vault::Escrow, fundings[0].vaults.escrow, sats(1_700), &key).unwrap().tx;
    let spends = vec![Spend { tx, path: SpendPath::Timeout, height: None }];
    let (mut buyer, _) = stage.start(Role::Buyer, Local::default());
    let effects = buyer.handle(Event::Chain(ChainFacts { spends, fundings, ..chain(200) })).unwrap();
    assert!(effects.contains(&stage.completes()) && !effects.contains(&stage.asks()), "{effects:?}");
}

#[test]
fn a_seller_signs_only_what_he_released_and_counts_before_he_signs() {
    let mut stage = Stage::new();
    let (ask, _) = stage.ask();
    let (mut seller, _) = stage.start(Role::Seller, Local::default());
    for round in 1..=MAX_REPLIES {
        let effects = seller.handle(Event::Asked { from: Role::Buyer, ask: ask.clone() }).unwrap();
        assert_eq!(rounds(&effects), Some(round), "counted before anything is signed");
        assert_eq!(effects[1], Effect::Reply { vaults: stage.half.vaults, ask: ask.clone() });
    }
    let (mut seller, _) = stage.start(Role::Seller, seller.local().clone());
    let refused = seller.handle(Event::Asked { from: Role::Buyer, ask });
    assert_eq!(refused, Err(Refusal::TooManyAsks(MAX_REPLIES)), "after a start too");
}

#[test]
fn an_ask_that_is_not_the_buyers_or_not_for_his_payout_is_refused_by_name() {
    let mut stage = Stage::new();
    let (good, _) = stage.ask();
    let (ready, _) = stage.start(Role::Seller, Local::default());
    let other_fee = Ask { fee: sats(good.fee.get() + 1), ..good.clone() };
    let other_spend = Ask { spend: TxId(stage.by_leaf().compute_txid()), ..good.clone() };
    let no_nonces = Ask { nonces: crate::trade::Nonces::default(), ..good.clone() };
    for (from, ask, refusal) in [
        (Role::Arbiter, &good, Refusal::NotTheBuyer { from: Role::Arbiter }),
        (Role::Seller, &good, Refusal::NotTheBuyer { from: Role::Seller }),
        (Role::Buyer, &other_fee, KeyPathError::OtherSpend.into()),
        (Role::Buyer, &other_spend, KeyPathError::OtherSpend.into()),
        (Role::Buyer, &no_nonces, KeyPathError::Nonces.into()),
    ] {
        let mut seller = ready.clone();
        assert_eq!(seller.handle(Event::Asked { from, ask: ask.clone() }), Err(refusal));
        assert_eq!(seller.local(), ready.local());
    }
    let asked = || Event::Asked { from: Role::Buyer, ask: good.clone() };
    let mut unreleased = funded(&stage.trade, Role::Seller, 190, 200);
    assert_eq!(unreleased.handle(asked()), Err(Refusal::NotReleased));
    let (mut buyer, _) = stage.start(Role::Buyer, Local::default());
    assert_eq!(buyer.handle(asked()), Err(Refusal::NotTheBuyer { from: Role::Buyer }), "a buyer signs for nobody");
    let spends = vec![Spend { tx: stage.by_leaf(), path: SpendPath::Payout, height: None }];
    let fundings = vec![Funding::new(stage.trade.vaults(1), Some(190))];
    let mut seller = ready.clone();
    seller.handle(Event::Chain(ChainFacts { spends, fundings, ..chain(200) })).unwrap();
    assert_eq!(seller.handle(asked()), Err(Refusal::AlreadySpent));
    // Released, but for outputs that are not the escrow's any more.
    let fundings = vec![Funding::new(stage.trade.vaults(2), Some(190))];
    let mut seller = ready;
    seller.handle(Event::Chain(ChainFacts { fundings, ..chain(200) })).unwrap();
    assert_eq!(seller.handle(asked()), Err(Refusal::NotReleased));
    let stranger = Author::new(99).trade_key();
    assert!(stage.escrow.ask(&stage.half.vaults, good.fee, &stranger, &[1; 32]).is_err());
}
