//! What breaks while there is trouble: power, disks, links, the network; and who puts back an old copy of his disk.

use std::collections::BTreeMap;

use exchange_ledger::state::state_hash;
use exchange_ledger::storage::Storage;

use crate::disk::Fuse;
use crate::flaw::Flaw;
use crate::node::Node;
use crate::shared::Shared;
use crate::world::Event;

/// Lets something break, and plans when the next thing does.
pub fn fault(nodes: &mut [Node], shared: &mut Shared) {
    if shared.is_quiet() {
        return;
    }
    let number = shared.rng.index(nodes.len());
    let (now, rng) = (shared.agenda.now(), &mut shared.rng);
    match rng.below(7) {
        0 | 1 => {
            let fuse = Fuse { writes: rng.below(6) as u32, kept: rng.one_in(2) }; // at most five
            nodes[number].disk.set_fuse(Some(fuse));
            shared.trace.note(now, number, "will lose power", &fuse.writes.to_le_bytes());
            if nodes[number].old_copy.is_none() && shared.flaw == Some(Flaw::RestoresOldCopy) {
                nodes[number].copy_disk();
            }
        }
        2 => {
            nodes[number].disk.set_full(true);
            shared.trace.note(now, number, "has no room on its disk", &[]);
            let delay = rng.between(5_000, 60_000);
            shared.agenda.after(delay, Event::Room(number));
        }
        3 => {
            let peers = shared.network.peers(number);
            if let Some(peer) = shared.rng.pick(&peers).copied() {
                shared.trace.note(now, number, "loses a link", &[peer as u8]); // there are few nodes
                shared.network.set_cut(number, peer, true);
                let delay = shared.rng.between(5_000, 120_000);
                shared.agenda.after(delay, Event::Mend(number, peer));
            }
        }
        4 => {
            let part: BTreeMap<usize, u8> = (0..nodes.len()).map(|node| (node, rng.below(2) as u8)).collect();
            let delay = rng.between(5_000, 120_000);
            shared.trace.note(now, number, "the network divides", &[]);
            shared.network.divide(part);
            shared.agenda.after(delay, Event::Unite);
        }
        5 => restore(number, nodes, shared),
        _ => {
            if nodes[number].mind.is_some() {
                shared.trace.note(now, number, "is switched off", &[]);
                nodes[number].crash();
                let down = shared.rng.between(1000, 90_000);
                shared.agenda.after(down, Event::Boot(number));
            }
        }
    }
    let next = shared.rng.between(5_000, 40_000);
    shared.agenda.after(next, Event::Fault);
}

/// Keeps a copy of an honest node's disk, or puts the one of before in its place, as its owner may who lost the disk: not
/// while money is under way, and not before others have what he signed.
fn restore(number: usize, nodes: &mut [Node], shared: &mut Shared) {
    if shared.flaw.is_some() || !nodes[number].honest {
        return;
    }
    let (node, now) = (&nodes[number], shared.agenda.now());
    if node.old_copy.is_none() {
        shared.trace.note(now, number, "copies its disk", &[]);
        nodes[number].copy_disk();
    } else if node.mind.is_some() && !node.has_money_under_way() && is_known_to_all(node, nodes) {
        shared.trace.note(now, number, "gets an old copy for its disk", &[]);
        shared.checks.restored(number);
        nodes[number].crash();
        nodes[number].put_back = true;
        let down = shared.rng.between(1000, 60_000);
        shared.agenda.after(down, Event::Boot(number));
    }
}

/// Tells whether all that a node holds is held by another honest one too, and all that its user signed by everybody.
fn is_known_to_all(node: &Node, nodes: &[Node]) -> bool {
    let others = || nodes.iter().filter(|other| other.honest && other.number != node.number);
    let own = node.disk.private().own_head;
    let knows = |other: &Node| own.is_none_or(|own| other.ledger.storage().head(&own.log).ok().flatten() == Some(own));
    let state = |node: &Node| state_hash(node.ledger.storage()).ok();
    others().all(knows) && others().any(|other| state(other) == state(node))
}
