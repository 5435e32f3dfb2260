//! That coins are never stuck: from every world those who follow the protocol get them out by themselves.

use exchange_ledger::trade::{Action, Role, counterparty};

use crate::chain::{Depth, OUTPUTS};
use crate::party::Stimulus;
use crate::properties::{went, went_to};
use crate::ways::{Shape, Way};
use crate::words::Word;
use crate::world::{Trading, World};

/// More rounds than any trade takes whose parties do what they should: fund, bury, pay, release, complete, bury, or wait
/// through every class of time, twice if the coins are moved for it.
const MAX_ROUNDS: usize = 64;

/// How an arbiter uses his time, once somebody calls for him.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pace {
    /// He rules at once.
    Prompt,
    /// He gives himself more time first, if he has not ruled yet.
    Slow,
}

/// Tells that those who follow the protocol get the coins out from here by themselves: they look, they do what their
/// machines ask, their users do what is due, an arbiter decides as is just, and time passes.
pub fn coins_move_on(model: &Trading, world: &World, pace: Pace) -> bool {
    if world.fault.is_some() || model.rules.collusion {
        return true;
    }
    if model.is_settled(world, pace) {
        return true;
    }
    let mut path = vec![*world];
    for _ in 0..MAX_ROUNDS {
        let before = path[path.len() - 1];
        let after = round(model, before, pace);
        if after == before || model.is_settled(&after, pace) {
            let settled = after != before || is_over(model, &after);
            if settled {
                model.settle(&path, pace);
            }
            return settled;
        }
        path.push(after);
    }
    false
}

/// Everybody who follows the protocol does what is due; then time passes.
fn round(model: &Trading, mut world: World, pace: Pace) -> World {
    for role in model.honest() {
        world = model.turn(world, role, Stimulus::Hear(world.audible(role)), None);
        world = model.turn(world, role, Stimulus::Look { chain: world.chain, synced: true }, None);
        let wishes = model.wishes(&world, role);
        // Each takes coins back when nothing else is left; nobody calls anything off.
        let due = [Action::Fund, Action::MarkPaid, Action::Release, Action::Dispute, Action::Refund];
        let wish = due.into_iter().filter(|action| is_due(model, *action)).find(|action| wishes.contains(action));
        if let Some(action) = wish {
            world = model.turn(world, role, Stimulus::Ask(action), None);
        }
    }
    if model.rules.shape.has_arbiter() {
        decide(model, &mut world, pace);
    }
    let busy = model.honest().any(|role| {
        let party = world.party(role);
        party.sees != world.chain || party.heard != world.audible(role)
    });
    if world.chain.has_pool() {
        world.chain.mine(true);
    } else if world.chain.has_shallow() {
        world.chain.bury();
    } else if !busy {
        world.chain.pass_time(model.rules.shape);
    }
    world
}

/// Tells whether it is time for something: nobody funds into the hands of a cheat, and where no arbiter acts none is called.
fn is_due(model: &Trading, action: Action) -> bool {
    match action {
        Action::Fund => model.rules.cheat.is_none(),
        Action::Dispute => model.rules.shape.has_arbiter(),
        _ => true,
    }
}

/// The arbiter decides for who is in the right, after he gave himself the time that he wants.
fn decide(model: &Trading, world: &mut World, pace: Pace) {
    let decisions = model.driver.decisions(world);
    let extended = world.arbiter.contains(Word::Signed(0, Way::Extension));
    let moves = extended && world.chain.outputs[1].funding < Depth::Buried;
    let just = if world.paid { Way::RuledForBuyer } else { Way::RuledForSeller };
    let wanted = if pace == Pace::Slow && !extended { [Way::Extension, just] } else { [just, just] };
    if pace == Pace::Slow && moves {
        return;
    }
    let decision = wanted.into_iter().find_map(|way| decisions.iter().find(|decision| decision.way == way));
    if let Some(Ok(word)) = decision.map(|decision| decision.word) {
        world.arbiter.add(word);
    }
}

/// Tells whether nothing that belongs to somebody who follows the protocol is left in an escrow.
fn is_over(model: &Trading, world: &World) -> bool {
    let shape = model.rules.shape;
    let at = world.holder(shape);
    let spent = |at: usize| matches!(world.chain.outputs[at].spend, Some((_, Depth::Buried)));
    // What was signed for a cheat is his to fetch, and he may leave it where it is.
    let is_left = |role: Role, words: [Word; 2]| {
        let said = world.party(role).said.and(world.arbiter);
        !model.is_honest(counterparty(role)) && words.into_iter().any(|word| said.contains(word))
    };
    let seller = !model.is_honest(Role::Seller)
        || world.chain.outputs[0].funding == Depth::Absent
        || spent(at)
        || is_left(Role::Seller, [Word::Release(at), Word::Signed(at, Way::RuledForBuyer)]);
    // Where no arbiter acts, there is a leaf by which one can rule, as long as the seller's own has not been used.
    let is_hopeless = !shape.has_arbiter() && !model.is_honest(Role::Seller);
    let buyer = !model.is_honest(Role::Buyer)
        || !world.paid
        || (0..OUTPUTS).any(|at| went_to(world, at, Role::Buyer) || went(world, at, Way::Split))
        || is_left(Role::Buyer, [Word::Refund(at), Word::Signed(at, Way::RuledForSeller)])
        || went(world, at, Way::RuledForSeller)
        || is_hopeless
        || (went(world, at, Way::Timeout) && shape.has_arbiter());
    let bond = shape != Shape::Bonded || !model.is_honest(Role::Buyer) || spent(1);
    seller && buyer && bond
}
