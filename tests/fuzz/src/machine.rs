//! Any sequence of events on the real machine of one party: contradictory facts, chains that jump, commands at any time,
//! answers that nobody waits for, crashes. Whatever comes, what is asked for must be safe by itself.

use std::sync::OnceLock;

use bitcoin::Transaction;
use bitcoin::consensus::{deserialize, serialize};
use exchange_ledger::body::{Body, Extend, HalfSpend, Ruling, Side, Vaults};
use exchange_ledger::money::Sats;
use exchange_ledger::testing::{Author, SALT, SampleTrade};
use exchange_ledger::trade::{
    Action, Bid, ChainFacts, Command, Contract, Effect, Escrow, Event, Facts, Funding, Local, Phase, Refusal, Role,
    Seat, Spend, Trade, Vault, Verdict, actions, counterparty,
};

use super::tape::Tape;

/// Events of one run: more of them find nothing that fewer do not.
const MAX_EVENTS: usize = 64;
/// The fee of every half and spend.
const FEE: u64 = 1_700;
const ACTIONS: [Action; 9] = [
    Action::Accept,
    Action::Fund,
    Action::MarkPaid,
    Action::Release,
    Action::Cancel,
    Action::Refund,
    Action::Dispute,
    Action::Rule,
    Action::Extend,
];
/// Heights at and beside which a rule of the sample trade changes, for fundings at 150.
const TIPS: [u32; 12] = [0, 99, 100, 149, 150, 151, 152, 160, 2454, 2455, 4469, 9000];
const HEIGHTS: [Option<u32>; 4] = [None, Some(150), Some(151), Some(4000)];

/// What can be signed in the sample trade, signed once.
struct Fixture {
    trade: SampleTrade,
    bid: Bid,
    contract: Contract,
    escrow: Escrow,
    fundings: [Transaction; 2],
    vaults: [Vaults; 2],
    releases: [HalfSpend; 2],
    refunds: [HalfSpend; 2],
    /// For each output, by the first and by the second arbiter.
    rulings: [[Ruling; 2]; 2],
    extensions: [[Extend; 2]; 2],
    /// For each output: payout, refund, timeout, a spend to a stranger, a ruling and an extension.
    spends: [[Transaction; 6]; 2],
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let mut trade = SampleTrade::with_second(Side::Sell);
        let escrow = trade.escrow();
        let fundings = [1, 2].map(|number| trade.funding(number));
        let vaults = [1, 2].map(|number| trade.vaults(number));
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| trade.author(role).trade_key());
        let fee = Sats::new(FEE).expect("a small amount");
        let half = |at: usize, to, key| escrow.half(&vaults[at], fee, to, key).expect("a fee within bounds");
        let releases = [0, 1].map(|at| half(at, Role::Buyer, &seller));
        let refunds = [0, 1].map(|at| half(at, Role::Seller, &buyer));
        let seats = [Seat::First, Seat::Second];
        let rulings = [0, 1].map(|at| {
            seats.map(|seat| {
                let verdict = if seat == Seat::First {
                    Verdict::Split(Sats::new(300_000).expect("small"))
                } else {
                    Verdict::Seller
                };
                let division = escrow.divide(seat, &vaults[at], verdict, 10).expect("an ordinary verdict");
                let pair = trade.arbiter_pair(escrow.contract(), seat);
                escrow.rule(seat, &vaults[at], division, &pair).expect("an ordinary ruling")
            })
        });
        let extensions = [0, 1].map(|at| {
            seats.map(|seat| {
                let fee = escrow.extension_fee_at(seat, &vaults[at], 10).expect("an ordinary feerate");
                let pair = trade.arbiter_pair(escrow.contract(), seat);
                escrow.extend(seat, &vaults[at], fee, &pair).expect("a fee within bounds")
            })
        });
        let spends = [0, 1].map(|at| {
            let ruled =
                escrow.complete_ruling(Seat::First, &rulings[at][0], Role::Buyer, &buyer).expect("a good ruling");
            let extended = escrow.complete_extend(Seat::First, &extensions[at][0], Role::Buyer, &buyer);
            let mut stranger = escrow.complete(&releases[at], Role::Buyer, &buyer).expect("both signed").tx;
            stranger.output[0].script_pubkey = Author::new(9).party().destination.script().clone();
            [
                escrow.complete(&releases[at], Role::Buyer, &buyer).expect("both signed").tx,
                escrow.complete(&refunds[at], Role::Seller, &seller).expect("both signed").tx,
                escrow.signed_timeout(Vault::Escrow, vaults[at].escrow, fee, &seller).expect("a fee within bounds").tx,
                stranger,
                ruled.tx,
                extended.expect("a good extension").tx,
            ]
        });
        let (bid, contract) = (trade.bid(), trade.contract());
        Fixture { trade, bid, contract, escrow, fundings, vaults, releases, refunds, rulings, extensions, spends }
    })
}

/// One party with what it has on disk.
struct Run {
    role: Role,
    seat: Option<Seat>,
    maker: bool,
    machine: Trade,
    saved: Local,
}

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let fixture = fixture();
    let mut tape = Tape::new(bytes);
    let who = tape.below(4);
    let role = [Role::Buyer, Role::Seller, Role::Arbiter, Role::Arbiter][who];
    let maker = role == Role::Seller;
    let seat = [None, None, Some(Seat::First), Some(Seat::Second)][who];
    let machine = machine_of(role, seat, maker, Local::default());
    let mut run = Run { role, seat, maker, machine, saved: Local::default() };
    for _ in 0..MAX_EVENTS {
        if tape.is_over() {
            return;
        }
        match read_event(&mut tape, fixture, role) {
            Some(event) => run.handle(event),
            None => run.crash(),
        }
    }
}

fn machine_of(role: Role, seat: Option<Seat>, maker: bool, local: Local) -> Trade {
    let bid = fixture().bid.clone();
    match seat {
        Some(seat) => Trade::seated(bid, seat),
        None => Trade::new(bid, role, maker, local),
    }
}

fn read_event(tape: &mut Tape, fixture: &Fixture, role: Role) -> Option<Event> {
    Some(match tape.below(11) {
        0 => {
            let accepted = tape.below(4) > 0;
            Event::Records { contract: accepted.then(|| fixture.contract.clone()), facts: read_facts(tape, fixture) }
        }
        1 | 2 => Event::Chain(read_chain(tape, fixture)),
        3 | 4 => {
            let action = ACTIONS[tape.below(ACTIONS.len())];
            Event::Command(Command { action, feerate: [1, 10, 0, 500, 501, u64::MAX][tape.below(6)] })
        }
        5 => Event::Prepared { salt: SALT, details: "IBAN".into() },
        6 => {
            let theirs = fixture.trade.clone().author(counterparty(role)).details();
            Event::Details { salt: SALT, details: if tape.coin() { theirs } else { "IBAN of a thief".into() } }
        }
        7 => {
            let mut tx = fixture.fundings[tape.below(2)].clone();
            if tape.coin() {
                tx.output.push(tx.output[0].clone()); // pays the escrow twice
            }
            Event::FundingBuilt(tx)
        }
        8 => Event::Compared,
        9 => Event::Rule {
            verdict: [Verdict::Buyer, Verdict::Seller, Verdict::Split(Sats::MAX), Verdict::Split(Sats::ZERO)]
                [tape.below(4)],
            feerate: [1, 500, u64::MAX][tape.below(3)],
        },
        _ => return None,
    })
}

fn read_facts(tape: &mut Tape, fixture: &Fixture) -> Facts {
    let (flags, halves, ruled) = (tape.byte(), tape.byte(), tape.byte());
    let bit = |byte: u8, at: u8| byte >> at & 1 == 1;
    let pick = |from: &[HalfSpend; 2], at: u8| -> Vec<HalfSpend> {
        from.iter().zip(at..).filter(|(_, at)| bit(halves, *at)).map(|(half, _)| half.clone()).collect()
    };
    let (releases, refunds) = (pick(&fixture.releases, 0), pick(&fixture.refunds, 2));
    let funded = bit(flags, 4).then(|| fixture.vaults[usize::from(bit(flags, 5))].outpoint());
    // Where no buyer names anything, which he names tells whether the seller does so where a name stays.
    let is_elsewhere = bit(halves, 7) && !bit(halves, 6);
    let [to_buyer, to_seller] = [(Role::Buyer, &releases), (Role::Seller, &refunds)]
        .map(|(to, halves)| halves.iter().map(|half| (to, half.clone())).collect::<Vec<_>>());
    Facts {
        void: bit(flags, 0),
        // Which output is named says nothing where none is.
        forked: (bit(flags, 5) && !bit(flags, 4)).then(|| fixture.bid.seller()),
        buyer_cancel: bit(flags, 1),
        seller_cancel: bit(flags, 2),
        payment_sent: bit(flags, 3),
        funded,
        funded_at_home: funded.filter(|_| !is_elsewhere),
        buyer_funded: if bit(halves, 6) {
            vec![fixture.vaults[usize::from(bit(halves, 7))].outpoint()]
        } else {
            Vec::new()
        },
        releases,
        refunds,
        // They bind an arbiter, to whom it means nothing what the buyer saw, and change nothing for a party.
        hidden: if bit(flags, 6) { [to_buyer, to_seller].concat() } else { Vec::new() },
        buyer_closed: bit(flags, 6).then(|| fixture.spends[0][0].compute_txid()),
        seller_closed: bit(flags, 7).then(|| fixture.spends[0][0].compute_txid()),
        buyer_dispute: bit(halves, 4),
        seller_dispute: bit(halves, 5),
        rulings: ruled_by(&fixture.rulings, ruled & 0xf),
        extensions: ruled_by(&fixture.extensions, ruled >> 4),
    }
}

/// Picks of what two arbiters signed for two outputs.
fn ruled_by<T: Clone>(from: &[[T; 2]; 2], bits: u8) -> Vec<(Seat, T)> {
    let all = from.iter().flatten().zip([Seat::First, Seat::Second].into_iter().cycle());
    all.zip(0..).filter(|(_, at)| bits >> at & 1 == 1).map(|((what, seat), _)| (seat, what.clone())).collect()
}

fn read_chain(tape: &mut Tape, fixture: &Fixture) -> ChainFacts {
    let mut chain =
        ChainFacts { tip: TIPS[tape.below(TIPS.len())], synced: tape.below(8) > 0, ..ChainFacts::default() };
    let shape = tape.byte();
    for at in 0..2 {
        let bits = usize::from(shape >> (4 * at) & 0xf);
        if bits & 1 == 0 {
            continue;
        }
        let vaults = fixture.vaults[at];
        chain.fundings.push(Funding::new(vaults, HEIGHTS[tape.below(HEIGHTS.len())]));
        if bits & 2 != 0 {
            let tx = fixture.spends[at][tape.below(6)].clone();
            let (path, height) = (fixture.escrow.classify(&tx, &vaults), HEIGHTS[tape.below(HEIGHTS.len())]);
            if let Some(made) = fixture.escrow.extended(&tx, &vaults).filter(|_| path.is_extension()) {
                chain.fundings.push(Funding { vaults: made, height, extends: Some(vaults.outpoint()) });
            }
            chain.spends.push(Spend { tx, path, height });
        }
    }
    chain
}

impl Run {
    /// Everything but what is on disk is lost.
    fn crash(&mut self) {
        self.machine = machine_of(self.role, self.seat, self.maker, self.saved.clone());
    }

    fn handle(&mut self, event: Event) {
        let asked = if let Event::Command(command) = &event { Some(command.action) } else { None };
        let before = self.machine.clone();
        self.check_offered(&before);
        match self.machine.handle(event.clone()) {
            Err(refusal) => {
                assert_eq!(self.machine.local(), before.local(), "a refusal changes nothing: {refusal}");
                assert_eq!(self.machine.phase(), before.phase());
                let allowed = asked.is_some_and(|action| before.actions().contains(&action));
                assert!(!allowed || matches!(refusal, Refusal::Escrow(_)), "offered and refused: {refusal}");
            }
            Ok(effects) => {
                if let Some(action) = asked {
                    assert!(before.actions().contains(&action), "{action} was done without being offered");
                }
                assert_eq!(
                    matches!(effects.first(), Some(Effect::Persist(_))),
                    self.machine.local() != before.local(),
                    "what changed is kept first, and nothing else"
                );
                let kept = self.machine.local().clone();
                effects.into_iter().for_each(|effect| self.check(effect, asked, &before, &kept));
                if asked.is_none() {
                    self.check_repeats(event);
                }
            }
        }
        let (old, new) = (before.local(), self.machine.local());
        assert!(old.funding_tx.is_none() || old.funding_tx == new.funding_tx, "a second funding");
    }

    /// What is offered stands in the table, and nobody is told to pay for what is not safe.
    fn check_offered(&self, machine: &Trade) {
        let offered = machine.actions();
        let phase = machine.phase();
        assert!(offered.iter().all(|action| actions(phase, self.role, self.maker).contains(action)));
        if offered.contains(&Action::MarkPaid) {
            let view = machine.view();
            let funding = view.funding().expect("an escrow to pay for");
            assert!(view.chain().synced && view.is_buried(funding.height) && view.spend().is_none());
            assert!(view.pay_until().is_some_and(|last| view.chain().tip <= last), "too late to pay");
            assert!(view.facts.forked.is_none(), "whoever can make the agreement vanish is not paid");
            let root = view.chain().root_of(funding);
            let is_another = |other: &&Funding| other.extends.is_none() && other.outpoint() != root.outpoint();
            let mut others = view.chain().fundings.iter().filter(is_another);
            let is_younger = |other: &Funding| other.height.is_none() || other.height > root.height;
            assert!(others.all(is_younger), "others may look at another output");
            let Facts { funded, funded_at_home, buyer_funded, .. } = &view.facts;
            let is_by_seller = *funded == Some(root.outpoint()) && funded_at_home == funded;
            assert!(is_by_seller || buyer_funded.contains(&root.outpoint()), "a name can lead others elsewhere");
            assert_eq!(phase, Phase::Funded);
        }
    }

    /// An event that comes a second time asks for the same, and for nothing more to be kept.
    fn check_repeats(&self, event: Event) {
        let mut again = self.machine.clone();
        let first = again.handle(event.clone());
        assert_eq!(again.local(), self.machine.local(), "{event:?} is not idempotent");
        assert_eq!(again.handle(event), first);
    }

    /// `kept` is what the party knew when it asked for all this: an answer to the first effect may change it.
    fn check(&mut self, effect: Effect, asked: Option<Action>, before: &Trade, kept: &Local) {
        let fixture = fixture();
        match effect {
            Effect::Persist(local) => {
                assert_eq!(local, *kept);
                self.saved = local;
            }
            Effect::Watch { scripts, .. } => assert_eq!(scripts, fixture.escrow.scripts()),
            Effect::Accept => assert!(self.maker && self.machine.view().contract.is_none()),
            Effect::Publish(body) => check_published(&body, self.role, asked),
            Effect::SendDetails => assert!(self.machine.local().details.is_some()),
            Effect::BuildFunding { script, amount, .. } => {
                assert_eq!(asked, Some(Action::Fund));
                assert_eq!(self.role, Role::Seller);
                assert!(self.machine.local().funding_tx.is_none(), "a second funding");
                assert_eq!(script, fixture.escrow.script());
                assert_eq!(amount, fixture.contract.amount);
            }
            Effect::SignHalf { vaults, to, .. } => {
                assert_eq!(to, counterparty(self.role), "nobody signs coins over to himself");
                let view = self.machine.view();
                // What was signed for outputs that an extension replaced is signed again for those that it made.
                let again = view.extensions() > 0 && !view.facts.releases.is_empty();
                assert!(to == Role::Seller || asked == Some(Action::Release) || again, "released without an order");
                assert_eq!(Some(vaults), view.vaults());
                let outpoint = vaults.outpoint();
                let spend = before.local().spend_tx.as_deref().and_then(|bytes| deserialize::<Transaction>(bytes).ok());
                let taken = spend.is_some_and(|tx| {
                    tx.input[0].previous_output == outpoint && !fixture.escrow.classify(&tx, &vaults).is_extension()
                });
                assert!(!taken || self.role == Role::Buyer, "signed back and released");
            }
            Effect::Complete { half, to } => {
                assert_eq!(to, self.role);
                assert_eq!(fixture.escrow.check_half(&half, to), Ok(()));
                let key = fixture.trade.clone().author(to).trade_key();
                self.build(fixture.escrow.complete(&half, to, &key).expect("a good half").tx);
            }
            Effect::Ask { vaults, fee } => {
                assert_eq!(self.role, Role::Buyer);
                let release = self.machine.view().valid_release().expect("released before anybody asks");
                assert_eq!((vaults, Ok(fee)), (release.vaults, fixture.escrow.key_fee(release)));
                self.answer(Event::Unanswered);
            }
            Effect::Reply { vaults, ask } => {
                assert_eq!(self.role, Role::Seller);
                assert_eq!(Some(vaults), self.machine.view().valid_release().map(|half| half.vaults));
                fixture.escrow.check_ask(&ask, &vaults).expect("an ask that fits");
            }
            Effect::BuildTimeout { vault, coin, fee } => {
                assert_eq!((self.role, asked), (Role::Seller, Some(Action::Refund)));
                let key = fixture.trade.clone().author(Role::Seller).trade_key();
                assert_eq!(vault, Vault::Escrow, "the trade has no bond");
                self.build(fixture.escrow.signed_timeout(vault, coin, fee, &key).expect("a fee within bounds").tx);
            }
            Effect::SignRuling { seat, vaults, to_buyer, to_seller } => {
                assert_eq!((self.role, Some(seat)), (Role::Arbiter, self.seat));
                assert_eq!(before.phase(), Phase::Disputed, "ruled without a dispute");
                fixture.escrow.ruling(seat, &vaults, to_buyer, to_seller).expect("a ruling that holds");
                match before.signed_over() {
                    Some(Role::Buyer) => assert_eq!(to_seller, Sats::ZERO, "the seller gets what he released"),
                    Some(Role::Seller | Role::Arbiter) => assert_eq!(to_buyer, Sats::ZERO, "he gave it back"),
                    None => {}
                }
            }
            Effect::SignExtension { seat, vaults, fee } => {
                assert_eq!((self.role, Some(seat), asked), (Role::Arbiter, self.seat, Some(Action::Extend)));
                assert_eq!(before.phase(), Phase::Disputed, "extended without a dispute");
                fixture.escrow.extension(seat, &vaults, fee).expect("an extension that holds");
            }
            Effect::CompleteRuling { seat, ruling } => {
                let view = self.machine.view();
                assert_eq!(view.ruling(), Some(&(seat, ruling.clone())));
                assert!(view.ruling_from(seat).is_some_and(|from| view.chain().tip >= from), "a block too early");
                let key = fixture.trade.clone().author(self.role).trade_key();
                let draft = fixture.escrow.complete_ruling(seat, &ruling, self.role, &key);
                self.build(draft.expect("a ruling that gives this side something").tx);
            }
            Effect::CompleteExtension { seat, extend } => {
                let key = fixture.trade.clone().author(self.role).trade_key();
                let draft = fixture.escrow.complete_extend(seat, &extend, self.role, &key);
                self.build(draft.expect("an extension that holds").tx);
            }
            Effect::ChooseCoins { .. }
            | Effect::LookUpCoins(_)
            | Effect::SignFunding(_)
            | Effect::SendProposal(_)
            | Effect::SendAnswer(_)
            | Effect::FreeCoins { .. }
            | Effect::SpendCoinBack { .. } => panic!("the trade has no buyer's bond"),
            Effect::Broadcast(tx) => {
                let bytes = Some(serialize(&tx));
                assert!(bytes == kept.funding_tx || bytes == kept.spend_tx, "sent without being kept");
                assert_eq!(*self.machine.local(), self.saved, "sent before it is on disk");
            }
        }
    }

    /// Answers the machine with the spend that it asked for.
    fn build(&mut self, tx: Transaction) {
        self.answer(Event::SpendBuilt(tx));
    }

    fn answer(&mut self, event: Event) {
        let effects = self.machine.handle(event).expect("what was asked for is taken");
        if let Some(Effect::Persist(local)) = effects.into_iter().next() {
            self.saved = local;
        }
    }
}

fn check_published(body: &Body, role: Role, asked: Option<Action>) {
    match body {
        Body::Cancel(cancel) => {
            assert_eq!(asked, Some(Action::Cancel));
            assert!(cancel.refund.is_none(), "halves are signed by an effect of their own");
        }
        Body::Funded(_) => assert_eq!(role, Role::Seller, "no buyer of these worlds has a bond"),
        Body::PaymentSent(_) => assert_eq!((role, asked), (Role::Buyer, Some(Action::MarkPaid))),
        Body::Closed(_) => {}
        Body::Dispute(_) => assert_ne!(role, Role::Arbiter),
        other => panic!("the machine never publishes {other:?}"),
    }
}
