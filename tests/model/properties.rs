//! What must hold in every world that can be reached, and what must be reachable for that to mean anything.

use exchange_ledger::trade::{Phase, Role, SPEND_VSIZE};
use stateright::Property;

use crate::chain::{Depth, OUTPUTS, Output};
use crate::fixture::FEERATE;
use crate::liveness::{Pace, coins_move_on};
use crate::party::{Fault, Stimulus};
use crate::ways::{Shape, Way};
use crate::words::Word;
use crate::world::{Rules, Trading, World};

/// Returns the properties of worlds with these rules.
pub fn of(rules: &Rules) -> Vec<Property<Trading>> {
    let mut properties = always();
    properties.extend(match rules.shape {
        Shape::Plain => reachable(rules),
        Shape::Ruled => ruled(),
        Shape::Extended => extended(rules),
        Shape::Bonded => bonded(),
    });
    properties
}

/// What must hold in all worlds.
fn always() -> Vec<Property<Trading>> {
    vec![
        Property::always("what is signed and sent is what the contract prescribes", |_, w: &World| {
            w.fault != Some(Fault::OutsideOfContract)
        }),
        Property::always("nothing is sent that was not kept first, and no second funding is made", |_, w: &World| {
            w.fault != Some(Fault::SentUnkept)
        }),
        Property::always("whatever happens, a machine comes to rest", |_, w: &World| w.fault != Some(Fault::Restless)),
        Property::always("coins are released by their owner's order only", |_, w: &World| {
            w.fault != Some(Fault::ReleasedUnasked)
        }),
        Property::always("nobody signs the same coins away in two directions", |_, w: &World| {
            w.fault != Some(Fault::SignedTwoWays)
        }),
        Property::always("nobody is told to pay for what is unburied, spent, too old or unnamed", |_, w: &World| {
            w.fault != Some(Fault::ToldToPay)
        }),
        Property::always("a phase goes back by a reorg only", |_, w: &World| {
            !matches!(w.fault, Some(Fault::WentBack(..)))
        }),
        Property::always("an arbiter decides only what he is asked, and once", |_, w: &World| {
            w.fault != Some(Fault::RuledAmiss)
        }),
        Property::always(
            "what an arbiter signs moves coins as he said, and nothing else of his does",
            |m: &Trading, w: &World| {
                let is_said = |at: usize, way: Way| !way.is_by_arbiter() || w.arbiter.contains(Word::Signed(at, way));
                m.rules.collusion || w.chain.spends(m.rules.shape).all(|(at, way, _)| is_said(at, way))
            },
        ),
        Property::always(
            "each has his own bond back, unless an arbiter rules against him",
            |m: &Trading, w: &World| {
                m.honest().all(|role| w.chain.spends(m.rules.shape).all(|(at, way, _)| keeps_bond(m, role, at, way)))
            },
        ),
        Property::always("no trade is over for its buyer by what its seller takes back of two fundings", stays_open),
        Property::always("an honest seller never loses both", seller_keeps_one),
        Property::always(
            "an honest buyer never loses both, but to a seller who waits for his own leaf",
            buyer_keeps_one,
        ),
        Property::always("coins are never stuck", |m: &Trading, w: &World| coins_move_on(m, w, Pace::Prompt)),
        Property::always("coins are never stuck while an arbiter takes more time", |m: &Trading, w: &World| {
            m.rules.shape != Shape::Extended || coins_move_on(m, w, Pace::Slow)
        }),
    ]
}

/// What must be reachable in worlds without an arbiter who follows the protocol.
fn reachable(rules: &Rules) -> Vec<Property<Trading>> {
    let mut properties = vec![
        Property::sometimes("coins reach the buyer", |_, w: &World| went_to(w, 0, Role::Buyer) && w.paid),
        Property::sometimes("coins go back by their owner's leaf", |_, w: &World| went(w, 0, Way::Timeout)),
        Property::sometimes("coins go back by agreement", |_, w: &World| went(w, 0, Way::Refund)),
        Property::sometimes("a trade is called off before it is funded", |m: &Trading, w: &World| {
            is_at(m, w, Phase::Cancelled)
        }),
    ];
    properties.push(Property::sometimes("a trade is disputed", |m: &Trading, w: &World| is_at(m, w, Phase::Disputed)));
    if rules.cheat.is_some() && !rules.second {
        properties
            .push(Property::sometimes("two histories void a trade", |m: &Trading, w: &World| is_at(m, w, Phase::Void)));
    }
    match (rules.cheat, rules.collusion) {
        (Some(Role::Buyer), true) => properties.push(Property::sometimes(
            "an arbiter who colludes hands the coins to a buyer who has not paid",
            |_, w: &World| went(w, 0, Way::RuledForBuyer) && !w.paid,
        )),
        (Some(Role::Seller), true) => properties.push(Property::sometimes(
            "an arbiter who colludes hands the coins back to a seller who was paid",
            |_, w: &World| went(w, 0, Way::RuledForSeller) && w.paid,
        )),
        (Some(Role::Seller), false) => properties.push(Property::sometimes(
            "without rulings, a seller who was paid waits for his own leaf",
            |_, w: &World| went(w, 0, Way::Timeout) && w.paid,
        )),
        (_, _) => {}
    }
    properties
}

/// What must be reachable in worlds in which an arbiter rules.
fn ruled() -> Vec<Property<Trading>> {
    vec![
        Property::sometimes("coins reach the buyer without a ruling", |_, w: &World| went(w, 0, Way::Payout)),
        Property::sometimes("coins go back by their owner's leaf", |_, w: &World| went(w, 0, Way::Timeout)),
        Property::sometimes("coins go back by agreement", |_, w: &World| went(w, 0, Way::Refund)),
        Property::sometimes("a ruling hands the coins to the buyer", |_, w: &World| went(w, 0, Way::RuledForBuyer)),
        Property::sometimes("a ruling hands the coins to the seller", |_, w: &World| went(w, 0, Way::RuledForSeller)),
        Property::sometimes("a ruling divides the coins", |_, w: &World| went(w, 0, Way::Split)),
        Property::sometimes("a dispute opens by itself, and is decided", |_, w: &World| {
            !w.buyer.said.and(w.seller.said).contains(Word::Dispute) && is_ruled(w, 0)
        }),
    ]
}

/// What must be reachable in worlds in which an arbiter rules and extends.
fn extended(rules: &Rules) -> Vec<Property<Trading>> {
    let mut properties = vec![
        Property::sometimes("a ruling hands the coins to the buyer", |_, w: &World| went(w, 0, Way::RuledForBuyer)),
        Property::sometimes("a ruling hands the coins to the seller", |_, w: &World| went(w, 0, Way::RuledForSeller)),
        Property::sometimes("a ruling after an extension hands the coins to the buyer", |_, w: &World| {
            went(w, 1, Way::RuledForBuyer)
        }),
        Property::sometimes("a ruling after an extension hands the coins to the seller", |_, w: &World| {
            went(w, 1, Way::RuledForSeller)
        }),
        Property::sometimes("coins reach the buyer after an extension", |_, w: &World| went(w, 1, Way::Payout)),
        Property::sometimes("coins go back by agreement after an extension", |_, w: &World| went(w, 1, Way::Refund)),
        Property::sometimes("coins go back by their owner's leaf after an extension", |_, w: &World| {
            went(w, 1, Way::Timeout)
        }),
        Property::sometimes("a ruling comes too late for coins that an extension moved", |_, w: &World| {
            is_ruled(w, 0) && went(w, 0, Way::Extension)
        }),
    ];
    if rules.reorgs > 0 {
        properties.push(Property::sometimes(
            "an extension that a party saw buried is undone",
            |m: &Trading, w: &World| {
                let saw = |role: Role| w.party(role).sees.outputs[1].funding == Depth::Buried;
                m.honest().any(saw) && !w.chain.outputs[1].funding.is_confirmed()
            },
        ));
    }
    properties
}

/// What must be reachable in worlds with bonds.
fn bonded() -> Vec<Property<Trading>> {
    vec![
        Property::sometimes("a payout gives each his own", |_, w: &World| with(w, Way::Payout)),
        Property::sometimes("a refund gives each his own", |_, w: &World| with(w, Way::Refund)),
        Property::sometimes("a ruling for the buyer takes both outputs", move |_, w: &World| {
            with(w, Way::RuledForBuyer)
        }),
        Property::sometimes("a ruling for the seller takes both outputs", move |_, w: &World| {
            with(w, Way::RuledForSeller)
        }),
        Property::sometimes("each takes back his own alone", |_, w: &World| without(w, Way::Timeout)),
        Property::sometimes("coins reach the buyer who has his bond already", move |_, w: &World| {
            without(w, Way::Payout) || without(w, Way::RuledForBuyer)
        }),
        Property::sometimes("coins go back to the seller after the buyer has his bond", move |_, w: &World| {
            without(w, Way::Refund) || without(w, Way::RuledForSeller)
        }),
    ]
}

/// Tells whether an arbiter ruled about an output.
fn is_ruled(world: &World, output: usize) -> bool {
    Way::RULINGS.into_iter().any(|way| world.arbiter.contains(Word::Signed(output, way)))
}

/// Tells whether the coins went a way together with the buyer's bond.
fn with(world: &World, way: Way) -> bool {
    went(world, 0, way) && went(world, 1, way)
}

/// Tells whether the coins went a way without the buyer's bond, which he took back alone.
fn without(world: &World, way: Way) -> bool {
    went(world, 0, way) && went(world, 1, Way::BondBack)
}

/// Tells whether an output went a way for good.
pub fn went(world: &World, output: usize, way: Way) -> bool {
    world.chain.outputs[output].spend == Some((way, Depth::Buried))
}

/// Tells whether a party has the coins of an output for good.
pub fn went_to(world: &World, output: usize, role: Role) -> bool {
    let spend = world.chain.outputs[output].spend;
    spend.is_some_and(|(way, depth)| depth == Depth::Buried && way.to() == Some(role))
}

fn is_at(model: &Trading, world: &World, phase: Phase) -> bool {
    model.honest().any(|role| {
        let party = world.party(role);
        model.driver.is_up(role, party) && model.driver.turn(role, party, Stimulus::Nothing).phase == phase
    })
}

/// Tells whether a way out leaves a party his bond; without one there is none to leave. Who takes his own back pays for it.
fn keeps_bond(model: &Trading, role: Role, at: usize, way: Way) -> bool {
    let fixture = model.driver.fixture();
    let spends_his = match (role, way) {
        (Role::Buyer, Way::BondBack) | (Role::Seller, Way::Timeout) => true,
        (Role::Buyer, Way::Timeout) | (Role::Seller, Way::BondBack) => false,
        (Role::Buyer, _) => at == 0,
        (_, _) => true,
    };
    let against_him = way.is_by_arbiter() && way.to() != Some(role);
    let cost = if way == Way::BondBack { SPEND_VSIZE * FEERATE } else { 0 };
    !spends_his || against_him || fixture.gets(at, way, role) + cost >= fixture.bond(role)
}

/// Tells that a seller who funded twice, and took one back by his own leaf, does not end the trade for a buyer who sees that
/// the other is buried and lies there.
fn stays_open(model: &Trading, world: &World) -> bool {
    let (role, party) = (Role::Buyer, world.party(Role::Buyer));
    if model.rules.shape != Shape::Plain || !model.is_honest(role) || !model.driver.is_up(role, party) {
        return true;
    }
    let is_back = |output: &Output| matches!(output.spend, Some((Way::Timeout, depth)) if depth.is_confirmed());
    let lies_there = |output: &Output| output.funding >= Depth::Buried && output.spend.is_none();
    let outputs = &party.sees.outputs;
    let is_one_left = outputs.iter().any(is_back) && outputs.iter().any(lies_there);
    !is_one_left || model.driver.turn(role, party, Stimulus::Nothing).phase != Phase::Refunded
}

/// Tells that a seller who was not paid has given nothing away. What an arbiter rules is another matter.
fn seller_keeps_one(model: &Trading, world: &World) -> bool {
    if !model.is_honest(Role::Seller) || model.rules.collusion || world.paid {
        return true;
    }
    // A second funding is a cheat's own.
    let is_lost = |at: usize| went_to(world, at, Role::Buyer) && !went(world, at, Way::RuledForBuyer);
    match model.rules.shape {
        Shape::Plain => !went_to(world, 0, Role::Buyer),
        Shape::Ruled | Shape::Extended => !(0..OUTPUTS).any(is_lost),
        Shape::Bonded => !is_lost(0),
    }
}

/// Tells that a buyer who paid has the coins, or can still get some, or fell to what no program can prevent: an arbiter who
/// colludes or rules against him, or a seller who released nothing and waited a month, while no arbiter ruled in time.
fn buyer_keeps_one(model: &Trading, world: &World) -> bool {
    if !model.is_honest(Role::Buyer) || model.rules.collusion || !world.paid {
        return true;
    }
    let outputs = world.chain.outputs;
    let lost = |at: usize| went_to(world, at, Role::Seller);
    let by_own_leaf = |at: usize| went(world, at, Way::Timeout) && !world.in_time[at];
    if model.rules.shape.has_arbiter() {
        let at = world.holder(model.rules.shape);
        return !lost(at) || by_own_leaf(at) || went(world, at, Way::RuledForSeller);
    }
    let known = |at: &usize| outputs[*at].funding != Depth::Absent;
    let all_lost = (0..OUTPUTS).any(lost) && (0..OUTPUTS).filter(known).all(lost);
    !all_lost || (0..OUTPUTS).filter(|at| lost(*at)).all(by_own_leaf)
}
