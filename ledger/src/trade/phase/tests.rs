//! Every row of the transition table, and every permission.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::body::{HalfSpend, Side, Vaults};
use crate::testing::{SampleTrade, sats};
use crate::trade::{ChainFacts, Facts, Funding, Seat, Spend, Verdict, View};

/// The sample contract asks for three confirmations.
const TIP: u32 = 200;
const BURIED: Option<u32> = Some(TIP - 2);
const SHALLOW: Option<u32> = Some(TIP - 1);
const PHASES: [Phase; 15] = [
    Phase::Bid,
    Phase::Void,
    Phase::Agreed,
    Phase::Cancelled,
    Phase::Funding,
    Phase::Funded,
    Phase::Paid,
    Phase::Disputed,
    Phase::Ruled,
    Phase::Released,
    Phase::Refunding,
    Phase::Closed,
    Phase::Refunded,
    Phase::Settled,
    Phase::Lost,
];

/// The place of an output by which the seller funds the escrow once more.
const SECOND: u32 = 9;
/// A height before that of the first funding.
const EARLIER: Option<u32> = Some(TIP - 9);

/// Returns the output of the sample's escrow at `vout`.
fn vaults(trade: &SampleTrade, vout: u32) -> Vaults {
    let mut vaults = trade.vaults(1);
    vaults.escrow.outpoint.0.vout = vout;
    vaults
}

fn half(trade: &mut SampleTrade, vout: u32, to: Role) -> HalfSpend {
    let key = trade.author(crate::trade::counterparty(to)).trade_key();
    trade.escrow().half(&vaults(trade, vout), sats(1_700), to, &key).unwrap()
}

/// Builds a view step by step.
struct Scene {
    trade: SampleTrade,
    view: View,
}

impl Scene {
    fn bid() -> Self {
        let chain = ChainFacts { tip: TIP, synced: true, ..ChainFacts::default() };
        Self { trade: SampleTrade::with_second(Side::Sell), view: View { chain, ..View::default() } }
    }

    fn agreed() -> Self {
        let mut scene = Self::bid();
        scene.view.contract = Some(scene.trade.contract());
        scene
    }

    fn funded_at(height: Option<u32>) -> Self {
        let mut scene = Self::agreed();
        scene.view.chain.fundings.push(Funding::new(vaults(&scene.trade, 0), height));
        scene
    }

    /// A dispute of the buyer about an escrow that is buried.
    fn disputed() -> Self {
        Self::disputed_at(BURIED)
    }

    fn disputed_at(height: Option<u32>) -> Self {
        Self::funded_at(height).facts(|facts| (facts.payment_sent, facts.buyer_dispute) = (true, true))
    }

    fn ruled(mut self, seat: Seat, vout: u32) -> Self {
        let escrow = self.trade.escrow();
        let known = self.view.chain.fundings.iter().find(|funding| funding.outpoint().vout == vout);
        let vaults = known.map_or_else(|| vaults(&self.trade, vout), |funding| funding.vaults);
        let pair = self.trade.arbiter_pair(escrow.contract(), seat);
        let division = escrow.divide(seat, &vaults, Verdict::Buyer, 10).unwrap();
        self.view.facts.rulings.push((seat, escrow.rule(seat, &vaults, division, &pair).unwrap()));
        self
    }

    /// An extension of output 0 into output 5, at this height.
    fn extended(mut self, height: Option<u32>) -> Self {
        let mut made = vaults(&self.trade, 5);
        made.escrow.value = sats(990_000);
        let extends = Some(vaults(&self.trade, 0).outpoint());
        self.view.chain.fundings.push(Funding { vaults: made, height, extends });
        self.spent(SpendPath::Extension, height)
    }

    /// The seller has funded the escrow twice, and names the first output.
    fn funded_again(self, height: Option<u32>) -> Self {
        let [first, second] = [0, SECOND].map(|vout| vaults(&self.trade, vout));
        let mut scene = self.facts(|facts| facts.funded = Some(first.outpoint()));
        scene.view.chain.fundings.push(Funding::new(second, height));
        scene
    }

    /// The seller takes an output back by his own leaf.
    fn taken_back(self, vout: u32, height: Option<u32>) -> Self {
        self.spent_of(vout, SpendPath::Timeout, height)
    }

    fn at(mut self, tip: u32) -> Self {
        self.view.chain.tip = tip;
        self
    }

    fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.view.facts);
        self
    }

    fn released(mut self, vout: u32) -> Self {
        let half = half(&mut self.trade, vout, Role::Buyer);
        self.view.facts.releases.push(half);
        self
    }

    /// The seller signs for an output as if it held a satoshi less.
    fn released_as_less(mut self, vout: u32) -> Self {
        let mut less = vaults(&self.trade, vout);
        less.escrow.value = less.escrow.value.checked_sub(sats(1)).unwrap();
        let key = self.trade.author(Role::Seller).trade_key();
        let half = self.trade.escrow().half(&less, sats(1_700), Role::Buyer, &key).unwrap();
        self.view.facts.releases.push(half);
        self
    }

    fn refund_signed(mut self, vout: u32) -> Self {
        let half = half(&mut self.trade, vout, Role::Seller);
        self.view.facts.refunds.push(half);
        self
    }

    fn spent(self, path: SpendPath, height: Option<u32>) -> Self {
        self.spent_of(0, path, height)
    }

    fn spent_of(mut self, vout: u32, path: SpendPath, height: Option<u32>) -> Self {
        let tx = self.trade.escrow().spend(&vaults(&self.trade, vout), sats(1_700), Role::Buyer).unwrap().tx;
        self.view.chain.spends.push(Spend { tx, path, height });
        self
    }
}

/// Walks the table as `evaluate` does, noting the rows.
fn rows_walked(view: &View) -> (Phase, Vec<usize>) {
    let (mut phase, mut rows) = (Phase::Bid, Vec::new());
    while let Some(row) = TRANSITIONS.iter().position(|(from, holds, _)| from.contains(&phase) && holds(view)) {
        phase = TRANSITIONS[row].2;
        rows.push(row);
        assert!(rows.len() <= PHASES.len(), "the walk ends");
    }
    (phase, rows)
}

/// Returns a scene for every row, with the phase it must end in.
fn scenes() -> Vec<(&'static str, Scene, Phase)> {
    let (named, elsewhere) = (0, 7); // the output's place in its transaction
    let late = TIP - 2 + 4320 - 1008;
    let seconds = TIP - 2 + 1008 - 1; // from here on it is the second arbiter's turn
    let paid = |scene: Scene| scene.facts(|facts| facts.payment_sent = true);
    vec![
        ("nothing happened", Scene::bid(), Phase::Bid),
        ("another bid won", Scene::bid().facts(|f| f.void = true), Phase::Void),
        ("buyer cancels a bid", Scene::bid().facts(|f| f.buyer_cancel = true), Phase::Cancelled),
        ("seller cancels a bid", Scene::bid().facts(|f| f.seller_cancel = true), Phase::Cancelled),
        ("accepted", Scene::agreed(), Phase::Agreed),
        ("void after agreement", Scene::agreed().facts(|f| f.void = true), Phase::Void),
        ("cancelled after agreement", Scene::agreed().facts(|f| f.buyer_cancel = true), Phase::Cancelled),
        ("paid says nothing without coins", paid(Scene::agreed()), Phase::Agreed),
        ("release says nothing without coins", Scene::agreed().released(named), Phase::Agreed),
        ("funding in the pool", Scene::funded_at(None), Phase::Funding),
        ("funding beats void", Scene::funded_at(SHALLOW).facts(|f| f.void = true), Phase::Funding),
        ("funding beats cancel", Scene::funded_at(BURIED).facts(|f| f.buyer_cancel = true), Phase::Funded),
        ("funding of two confirmations", Scene::funded_at(SHALLOW), Phase::Funding),
        ("paid before the funding is buried", paid(Scene::funded_at(SHALLOW)), Phase::Funding),
        ("funding of three confirmations", Scene::funded_at(BURIED), Phase::Funded),
        ("paid", paid(Scene::funded_at(BURIED)), Phase::Paid),
        ("released without paid", Scene::funded_at(BURIED).released(named), Phase::Released),
        ("released", paid(Scene::funded_at(BURIED)).released(named), Phase::Released),
        ("release of another outpoint", Scene::funded_at(BURIED).released(elsewhere), Phase::Funded),
        ("release by another value than it holds", Scene::funded_at(BURIED).released_as_less(named), Phase::Funded),
        ("refund of another outpoint", Scene::funded_at(BURIED).refund_signed(elsewhere), Phase::Funded),
        ("refund signed", paid(Scene::funded_at(BURIED)).refund_signed(named), Phase::Refunding),
        ("release beats refund", Scene::funded_at(BURIED).refund_signed(named).released(named), Phase::Released),
        ("payout seen", Scene::funded_at(BURIED).spent(SpendPath::Payout, None), Phase::Released),
        ("refund seen", Scene::funded_at(BURIED).spent(SpendPath::Refund, SHALLOW), Phase::Refunding),
        ("timeout seen", Scene::funded_at(BURIED).spent(SpendPath::Timeout, None), Phase::Refunding),
        ("foreign spend seen", Scene::funded_at(BURIED).spent(SpendPath::Foreign, SHALLOW), Phase::Funded),
        ("payout buried", Scene::funded_at(BURIED).spent(SpendPath::Payout, BURIED), Phase::Closed),
        ("refund buried", Scene::funded_at(BURIED).spent(SpendPath::Refund, BURIED), Phase::Refunded),
        ("timeout buried", Scene::funded_at(BURIED).spent(SpendPath::Timeout, BURIED), Phase::Refunded),
        ("foreign spend buried", Scene::funded_at(BURIED).spent(SpendPath::Foreign, BURIED), Phase::Lost),
        ("disputed by the buyer", Scene::disputed(), Phase::Disputed),
        ("disputed by the seller", Scene::funded_at(BURIED).facts(|f| f.seller_dispute = true), Phase::Disputed),
        ("a dispute says nothing without coins", Scene::agreed().facts(|f| f.buyer_dispute = true), Phase::Agreed),
        ("a dispute takes no release back", Scene::disputed().released(named), Phase::Released),
        ("a dispute takes no refund back", Scene::disputed().refund_signed(named), Phase::Refunding),
        ("paid, a block before the dispute opens by itself", paid(Scene::funded_at(BURIED)).at(late - 1), Phase::Paid),
        ("the dispute opens by itself", paid(Scene::funded_at(BURIED)).at(late), Phase::Disputed),
        ("nothing opens by itself that was not paid", Scene::funded_at(BURIED).at(late), Phase::Funded),
        ("ruled", Scene::disputed().ruled(Seat::First, named), Phase::Ruled),
        (
            "ruled by the second arbiter, a block before his turn",
            Scene::disputed().ruled(Seat::Second, named).at(seconds - 1),
            Phase::Disputed,
        ),
        ("ruled by the second arbiter", Scene::disputed().ruled(Seat::Second, named).at(seconds), Phase::Ruled),
        ("a ruling without a dispute", paid(Scene::funded_at(BURIED)).ruled(Seat::First, named), Phase::Paid),
        ("a ruling about another output", Scene::disputed().ruled(Seat::First, elsewhere), Phase::Disputed),
        ("a release beats a ruling", Scene::disputed().ruled(Seat::First, named).released(named), Phase::Released),
        ("ruling's spend seen", Scene::disputed().spent(SpendPath::Ruling, SHALLOW), Phase::Ruled),
        ("ruling's spend buried", Scene::disputed().spent(SpendPath::Ruling, BURIED), Phase::Settled),
        ("extension seen", Scene::disputed().extended(SHALLOW), Phase::Disputed),
        ("extension buried", paid(Scene::funded_at(Some(TIP - 9))).extended(BURIED), Phase::Disputed),
        (
            "a ruling about what was extended",
            Scene::disputed().ruled(Seat::First, named).extended(BURIED),
            Phase::Disputed,
        ),
        ("ruled after an extension", Scene::disputed().extended(BURIED).ruled(Seat::First, 5), Phase::Ruled),
        (
            "the chain beats a release",
            Scene::funded_at(BURIED).released(named).spent(SpendPath::Timeout, BURIED),
            Phase::Refunded,
        ),
        ("a second funding is seen", Scene::disputed().funded_again(EARLIER), Phase::Disputed),
        (
            "a second funding is about to be taken back",
            Scene::disputed().funded_again(EARLIER).taken_back(SECOND, None),
            Phase::Disputed,
        ),
        (
            "a second funding was taken back",
            Scene::disputed().funded_again(EARLIER).taken_back(SECOND, BURIED),
            Phase::Disputed,
        ),
        (
            "a second funding was taken back after a ruling about the first",
            Scene::disputed().ruled(Seat::First, named).funded_again(EARLIER).taken_back(SECOND, BURIED),
            Phase::Ruled,
        ),
        (
            "a second funding was taken back after an extension of the first",
            Scene::disputed().extended(BURIED).funded_again(EARLIER).taken_back(SECOND, BURIED),
            Phase::Disputed,
        ),
        (
            "the first of two fundings is about to be taken back",
            Scene::disputed().funded_again(BURIED).taken_back(named, None),
            Phase::Refunding,
        ),
        (
            "a block shows that the first of two fundings was taken back",
            Scene::disputed().funded_again(BURIED).taken_back(named, SHALLOW),
            Phase::Disputed,
        ),
        (
            "the first of two fundings was taken back",
            Scene::disputed().funded_again(BURIED).taken_back(named, BURIED),
            Phase::Disputed,
        ),
        (
            "the funding was taken back before a second one is buried",
            Scene::disputed().funded_again(SHALLOW).taken_back(named, BURIED),
            Phase::Refunded,
        ),
        (
            "a refund of a second funding that was paid after what was extended",
            Scene::disputed_at(Some(TIP - 50)).extended(BURIED).funded_again(Some(TIP - 49)).refund_signed(SECOND),
            Phase::Disputed,
        ),
        (
            "a refund of a second funding that was paid before what was extended",
            Scene::disputed_at(Some(TIP - 50)).extended(BURIED).funded_again(Some(TIP - 51)).refund_signed(SECOND),
            Phase::Refunding,
        ),
        (
            "release of a second funding",
            Scene::disputed().ruled(Seat::First, named).funded_again(EARLIER).released(SECOND),
            Phase::Released,
        ),
        (
            "release of a second funding by another value than it holds",
            Scene::disputed().ruled(Seat::First, named).funded_again(EARLIER).released_as_less(SECOND),
            Phase::Ruled,
        ),
    ]
}

#[test]
fn every_row_is_reached_and_every_scene_ends_where_it_must() {
    let mut reached = BTreeSet::new();
    for (name, scene, expected) in scenes() {
        let (phase, rows) = rows_walked(&scene.view);
        assert_eq!(phase, expected, "{name}");
        assert_eq!(evaluate(&scene.view), expected, "{name}");
        reached.extend(rows);
    }
    assert_eq!(reached.len(), TRANSITIONS.len(), "a row that nothing reaches is no rule");
}

#[test]
fn phases_come_out_as_published() {
    let scenes: Vec<Value> = scenes().iter().map(|(name, scene, phase)| describe(name, scene, *phase)).collect();
    let description = "Where a trade stands, see ../trades.md. `confirmations` of 0 is a transaction in the pool; the sample \
                       contract asks for 3. Halves are named by the output that they spend, if they name all of it as the \
                       chain shows it. Where there is a `second_funding`, the seller names the first.";
    let computed = json!({ "description": description, "confirmations_needed": 3, "scenes": scenes });
    crate::vectors::check("trades.json", &computed);
}

fn describe(name: &str, scene: &Scene, phase: Phase) -> Value {
    let View { contract, facts, chain } = &scene.view;
    let second = vaults(&scene.trade, SECOND).outpoint();
    let spend_of = |is_second: bool| {
        let spend = chain.spends.iter().find(|spend| spend.spends(&second) == is_second);
        spend.map(|spend| {
            let path = format!("{:?}", spend.path).to_lowercase();
            json!({ "path": path, "confirmations": scene.view.depth(spend.height) })
        })
    };
    let extension = chain.fundings.iter().find(|funding| funding.extends.is_some());
    let place = |about: &Vaults| match about.outpoint().vout {
        0 | SECOND if *about != vaults(&scene.trade, about.outpoint().vout) => "another value than it holds",
        0 => "escrow",
        5 => "extension",
        SECOND => "second funding",
        _ => "another output",
    };
    let spends_escrow = |half: &HalfSpend| place(&half.vaults);
    let halves = |halves: &[HalfSpend]| halves.iter().map(spends_escrow).collect::<Vec<_>>();
    let mut described = json!({
        "name": name,
        "accepted": contract.is_some(),
        "void": facts.void,
        "buyer_cancel": facts.buyer_cancel,
        "seller_cancel": facts.seller_cancel,
        "payment_sent": facts.payment_sent,
        "releases": halves(&facts.releases),
        "refunds": halves(&facts.refunds),
        "buyer_dispute": facts.buyer_dispute,
        "seller_dispute": facts.seller_dispute,
        "rulings": facts.rulings.iter().map(|(seat, ruling)| json!({ "by": seat, "about": place(&ruling.vaults) })).collect::<Vec<_>>(),
        "funding_confirmations": chain.fundings.first().map(|funding| scene.view.depth(funding.height)),
        "spend": spend_of(false),
        "extension_confirmations": extension.map(|funding| scene.view.depth(funding.height)),
        "phase": phase,
    });
    if let Some(funding) = chain.fundings.iter().find(|funding| funding.outpoint() == second) {
        described["second_funding"] = json!({
            "confirmations": scene.view.depth(funding.height),
            "spend": spend_of(true),
        });
    }
    described
}

#[test]
fn a_reorg_undoes_exactly_what_it_undid_on_the_chain() {
    let closed = Scene::funded_at(BURIED).facts(|f| f.payment_sent = true).spent(SpendPath::Payout, BURIED);
    let mut view = closed.view;
    assert_eq!(evaluate(&view), Phase::Closed);
    view.chain.spends[0].height = None;
    assert_eq!(evaluate(&view), Phase::Released);
    view.chain.spends.clear();
    assert_eq!(evaluate(&view), Phase::Paid);
    view.chain.fundings[0].height = None;
    assert_eq!(evaluate(&view), Phase::Funding);
    view.chain.fundings.clear();
    assert_eq!(evaluate(&view), Phase::Agreed);
}

#[test]
fn naming_an_output_takes_nothing_back_that_is_buried() {
    let mut scene = Scene::funded_at(BURIED).facts(|f| f.payment_sent = true);
    let second = vaults(&scene.trade, 9);
    scene.view.facts.funded = Some(second.outpoint());
    for (height, counts) in [(None, false), (SHALLOW, false), (BURIED, true)] {
        scene.view.chain.fundings.truncate(1);
        scene.view.chain.fundings.push(Funding::new(second, height));
        assert_eq!(evaluate(&scene.view), Phase::Paid);
        assert_eq!(scene.view.funding().unwrap().vaults == second, counts, "{height:?}");
    }
}

#[test]
fn no_name_takes_back_what_was_signed_or_sent_for_another_output() {
    let first = 0;
    for (scene, phase) in [
        (Scene::funded_at(BURIED).released(first), Phase::Released),
        (Scene::funded_at(BURIED).refund_signed(first), Phase::Refunding),
        (Scene::funded_at(BURIED).spent(SpendPath::Payout, BURIED), Phase::Closed),
        (Scene::funded_at(BURIED).spent(SpendPath::Refund, BURIED), Phase::Refunded),
        (Scene::disputed().ruled(Seat::First, first), Phase::Ruled),
    ] {
        let mut view = scene.facts(|f| f.payment_sent = true).view;
        let second = vaults(&SampleTrade::with_second(Side::Sell), 9);
        view.chain.fundings.push(Funding::new(second, BURIED));
        view.facts.funded = Some(second.outpoint());
        assert_eq!(view.funding().unwrap().outpoint().vout, first, "{phase}");
        assert_eq!(evaluate(&view), phase);
    }
}

/// A seller funds twice, so that one output is his again by his own leaf while the other is disputed.
#[test]
fn what_the_seller_takes_back_counts_for_nothing_while_another_output_holds_as_much() {
    let (first, extension) = (0, 5);
    let (disputed, twice) = (Scene::disputed, || Scene::disputed().funded_again(EARLIER));
    let bonded = |scene: Scene| {
        let outpoint = vaults(&scene.trade, first).outpoint();
        scene.facts(|facts| facts.buyer_funded.push(outpoint))
    };
    for (scene, counts, phase) in [
        (disputed().taken_back(first, BURIED), first, Phase::Refunded),
        (disputed().extended(BURIED).taken_back(extension, BURIED), extension, Phase::Refunded),
        (twice().taken_back(SECOND, SHALLOW), first, Phase::Disputed),
        (twice().extended(BURIED).taken_back(SECOND, None), extension, Phase::Disputed),
        // What an extension made, he takes back likewise.
        (twice().extended(BURIED).taken_back(extension, None), extension, Phase::Refunding),
        (twice().extended(BURIED).taken_back(extension, SHALLOW), SECOND, Phase::Disputed),
        // Of what was released as well: a block beats a signature.
        (twice().released(first).taken_back(first, None), first, Phase::Refunding),
        (twice().released(first).taken_back(first, SHALLOW), SECOND, Phase::Disputed),
        // Both: then nothing is left.
        (twice().taken_back(first, BURIED).taken_back(SECOND, BURIED), SECOND, Phase::Refunded),
        // To a buyer with a bond no other output is his.
        (bonded(twice().taken_back(first, BURIED)), first, Phase::Refunded),
    ] {
        let view = scene.view;
        assert_eq!((view.funding().unwrap().outpoint().vout, evaluate(&view)), (counts, phase), "{view:?}");
    }
}

#[test]
fn arbiters_look_where_a_buyer_with_a_bond_looks_whatever_the_seller_pays_signs_and_names() {
    let (first, second) = (0, 9);
    let scene = Scene::disputed().released(second);
    let mut view = scene.view;
    view.chain.fundings.push(Funding::new(vaults(&scene.trade, second), BURIED));
    view.facts.funded = Some(vaults(&scene.trade, second).outpoint());
    assert_eq!((view.funding().unwrap().outpoint().vout, evaluate(&view)), (second, Phase::Released));
    view.facts.buyer_funded.push(vaults(&scene.trade, first).outpoint());
    assert_eq!((view.funding().unwrap().outpoint().vout, evaluate(&view)), (first, Phase::Disputed));
    // What is not buried counts for nothing, and what extends the one that he names counts as that.
    view.chain.fundings[0].height = SHALLOW;
    assert_eq!(view.funding().unwrap().outpoint().vout, second);
    let mut extended = Scene { view, trade: scene.trade };
    extended.view.chain.fundings[0].height = BURIED;
    let extended = extended.extended(BURIED);
    assert_eq!(extended.view.funding().unwrap().outpoint().vout, 5);
}

#[test]
fn a_phase_holds_coins_or_is_an_end_or_neither() {
    let held = [Phase::Funded, Phase::Paid, Phase::Disputed, Phase::Ruled, Phase::Released, Phase::Refunding];
    let ends = [Phase::Void, Phase::Cancelled, Phase::Closed, Phase::Refunded, Phase::Settled, Phase::Lost];
    for phase in PHASES {
        assert_eq!((phase.is_held(), phase.is_final()), (held.contains(&phase), ends.contains(&phase)), "{phase:?}");
    }
}

/// Phase, role, whether he made the offer (or either), and all that he may do. Nothing else is allowed.
const PERMISSIONS: &[(Phase, Role, Option<bool>, &[Action])] = &[
    (Phase::Bid, Role::Buyer, Some(true), &[Action::Accept, Action::Cancel]),
    (Phase::Bid, Role::Seller, Some(true), &[Action::Accept, Action::Cancel]),
    (Phase::Bid, Role::Buyer, Some(false), &[Action::Cancel]),
    (Phase::Bid, Role::Seller, Some(false), &[Action::Cancel]),
    (Phase::Agreed, Role::Buyer, None, &[Action::Fund, Action::Cancel, Action::Refund]),
    (Phase::Agreed, Role::Seller, None, &[Action::Fund, Action::Cancel, Action::Refund]),
    (Phase::Void, Role::Buyer, None, &[Action::Refund]),
    (Phase::Void, Role::Seller, None, &[Action::Refund]),
    (Phase::Cancelled, Role::Buyer, None, &[Action::Refund]),
    (Phase::Cancelled, Role::Seller, None, &[Action::Refund]),
    (Phase::Funding, Role::Buyer, None, &[Action::Fund, Action::Cancel, Action::Refund]),
    (Phase::Funding, Role::Seller, None, &[Action::Fund, Action::Cancel, Action::Refund]),
    (Phase::Funded, Role::Buyer, None, &[Action::MarkPaid, Action::Cancel, Action::Refund, Action::Dispute]),
    (Phase::Paid, Role::Buyer, None, &[Action::Cancel, Action::Refund, Action::Dispute]),
    (Phase::Disputed, Role::Buyer, None, &[Action::Cancel, Action::Refund]),
    (Phase::Ruled, Role::Buyer, None, &[Action::Cancel, Action::Refund]),
    (Phase::Refunding, Role::Buyer, None, &[Action::Refund]),
    (Phase::Refunded, Role::Buyer, None, &[Action::Refund]),
    (Phase::Funded, Role::Seller, None, &[Action::Release, Action::Cancel, Action::Refund, Action::Dispute]),
    (Phase::Paid, Role::Seller, None, &[Action::Release, Action::Cancel, Action::Refund, Action::Dispute]),
    (Phase::Disputed, Role::Seller, None, &[Action::Release, Action::Cancel, Action::Refund]),
    (Phase::Ruled, Role::Seller, None, &[Action::Release, Action::Cancel, Action::Refund]),
    (Phase::Refunding, Role::Seller, None, &[Action::Refund]),
    (Phase::Released, Role::Seller, None, &[Action::Refund]),
    (Phase::Refunded, Role::Seller, None, &[Action::Refund]),
    (Phase::Closed, Role::Buyer, None, &[Action::Refund]),
    (Phase::Closed, Role::Seller, None, &[Action::Refund]),
    (Phase::Settled, Role::Buyer, None, &[Action::Refund]),
    (Phase::Settled, Role::Seller, None, &[Action::Refund]),
    (Phase::Lost, Role::Buyer, None, &[Action::Refund]),
    (Phase::Lost, Role::Seller, None, &[Action::Refund]),
    (Phase::Disputed, Role::Arbiter, None, &[Action::Rule, Action::Extend]),
];

#[test]
fn nobody_may_do_more_than_the_table_says() {
    for phase in PHASES {
        for role in [Role::Buyer, Role::Seller, Role::Arbiter] {
            for maker in [true, false] {
                let row =
                    PERMISSIONS.iter().find(|(p, r, m, _)| *p == phase && *r == role && m.is_none_or(|m| m == maker));
                let expected = row.map_or(&[] as &[Action], |row| row.3);
                assert_eq!(actions(phase, role, maker), expected, "{phase:?} {role:?} maker: {maker}");
            }
        }
    }
}
