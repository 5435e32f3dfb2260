//! What must hold in every world that can be reached, and what must be reachable for that to mean anything.

use exchange_ledger::trade::{Action, Phase, Role, counterparty};
use stateright::Property;

use crate::chain::{Depth, OUTPUTS, Way};
use crate::party::{Fault, Stimulus};
use crate::words::Word;
use crate::world::{Rules, Trading, World};

/// More rounds than any trade takes whose parties do what they should: fund, bury, pay, release, complete, bury, or wait
/// through every class of time.
const MAX_ROUNDS: usize = 64;

/// Returns the properties of worlds with these rules.
pub fn of(rules: &Rules) -> Vec<Property<Trading>> {
    let mut properties = vec![
        Property::always("what is signed and sent is what the contract prescribes", |_, w: &World| {
            w.fault != Some(Fault::OutsideOfContract)
        }),
        Property::always("nothing is sent that was not kept first, and no second funding is made", |_, w: &World| {
            w.fault != Some(Fault::SentUnkept)
        }),
        Property::always("coins are released by their owner's order only", |_, w: &World| {
            w.fault != Some(Fault::ReleasedUnasked)
        }),
        Property::always("nobody signs one output away in two directions", |_, w: &World| {
            w.fault != Some(Fault::SignedTwoWays)
        }),
        Property::always("nobody is told to pay for what is not buried, spent, or too old", |_, w: &World| {
            w.fault != Some(Fault::ToldToPay)
        }),
        Property::always("a phase goes back by a reorg only", |_, w: &World| {
            !matches!(w.fault, Some(Fault::WentBack(..)))
        }),
        Property::always("an honest seller never loses both", |m: &Trading, w: &World| {
            m.rules.collusion || !m.is_honest(Role::Seller) || w.paid || !went_to(w, 0, Role::Buyer)
        }),
        Property::always(
            "an honest buyer never loses both, but to a seller who waits for his own leaf",
            buyer_keeps_one,
        ),
        Property::always("coins are never stuck", coins_move_on),
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

fn went(world: &World, output: usize, way: Way) -> bool {
    world.chain.outputs[output].spend == Some((way, Depth::Buried))
}

fn went_to(world: &World, output: usize, role: Role) -> bool {
    Way::ALL.into_iter().any(|way| way.to() == role && went(world, output, way))
}

fn is_at(model: &Trading, world: &World, phase: Phase) -> bool {
    model.honest().any(|role| {
        let party = world.party(role);
        model.driver.is_up(role, party) && model.driver.turn(role, party, Stimulus::Nothing).phase == phase
    })
}

/// Tells that a buyer who paid has the coins, or can still get some, or fell to what no program can prevent: an arbiter who
/// colludes, or a seller who released nothing and waited a month, for there are no rulings in this version.
fn buyer_keeps_one(model: &Trading, world: &World) -> bool {
    if !model.is_honest(Role::Buyer) || model.rules.collusion || !world.paid {
        return true;
    }
    let outputs = world.chain.outputs;
    let lost = |at: usize| went_to(world, at, Role::Seller);
    let known = |at: &usize| outputs[*at].funding != Depth::Absent;
    let all_lost = (0..OUTPUTS).any(lost) && (0..OUTPUTS).filter(known).all(lost);
    let by_own_leaf = (0..OUTPUTS).filter(|at| lost(*at)).all(|at| went(world, at, Way::Timeout) && !world.in_time[at]);
    !all_lost || by_own_leaf
}

/// Tells that those who follow the protocol get the coins out from here by themselves: they look, they do what their
/// machines ask, their users do what is due, and time passes.
fn coins_move_on(model: &Trading, world: &World) -> bool {
    if world.fault.is_some() || model.rules.collusion {
        return true;
    }
    if model.is_settled(world) {
        return true;
    }
    let mut path = vec![*world];
    for _ in 0..MAX_ROUNDS {
        let before = path[path.len() - 1];
        let after = round(model, before);
        if after == before || model.is_settled(&after) {
            let settled = after != before || is_settled(model, &after);
            if settled {
                model.settle(&path);
            }
            return settled;
        }
        path.push(after);
    }
    false
}

/// Everybody who follows the protocol does what is due; then time passes.
fn round(model: &Trading, mut world: World) -> World {
    for role in model.honest() {
        world = model.turn(world, role, Stimulus::Hear(world.party(counterparty(role)).said), None);
        world = model.turn(world, role, Stimulus::Look { chain: world.chain, synced: true }, None);
        let wishes = model.wishes(&world, role);
        // A seller takes coins back when nothing else is left; nobody calls anything off.
        let due = [Action::Fund, Action::MarkPaid, Action::Release, Action::Refund];
        let wish = due.into_iter().find(|action| wishes.contains(action));
        if let Some(action) = wish.filter(|action| *action != Action::Fund || model.rules.cheat.is_none()) {
            world = model.turn(world, role, Stimulus::Ask(action), None);
        }
    }
    let busy = model.honest().any(|role| world.party(role).sees != world.chain);
    if world.chain.has_pool() {
        world.chain.mine(true);
    } else if world.chain.has_shallow() {
        world.chain.bury();
    } else if !busy {
        world.chain.pass_time();
    }
    world
}

/// Tells whether nothing that belongs to somebody who follows the protocol is left in an escrow.
fn is_settled(model: &Trading, world: &World) -> bool {
    let spent = |at: usize| matches!(world.chain.outputs[at].spend, Some((_, Depth::Buried)));
    let seller = !model.is_honest(Role::Seller)
        || world.chain.outputs[0].funding == Depth::Absent
        || spent(0)
        // What he released is the buyer's, who does not fetch it.
        || (world.seller.said.contains(Word::Release(0)) && !model.is_honest(Role::Buyer));
    let buyer = !model.is_honest(Role::Buyer)
        || !world.paid
        || (0..OUTPUTS).any(|at| went_to(world, at, Role::Buyer))
        // There is a leaf by which an arbiter can rule, as long as the seller's own has not been used.
        || !model.is_honest(Role::Seller);
    seller && buyer
}
