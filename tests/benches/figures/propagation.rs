//! How long a record takes through a large network, and how often each node gets it. Simulated: the nodes' gossip as
//! libp2p configures it, with the mesh that the node really has.

use exchange_node::net::MESH;
use exchange_sim::gossip::{Mesh, Network, Spread, spread};

use crate::Outcome;
use crate::figure::{Figure, Target};

/// Different networks, of which the worst counts.
const SEEDS: [u64; 3] = [1, 2, 3];

/// Prints `propagation` and `propagation_copies`.
///
/// # Errors
/// When standard output is gone.
pub fn measure() -> Outcome<()> {
    let ours = shipped();
    let stock = Mesh { n: 6, low: 5, high: 12, outbound_min: 2, lazy: 6, lazy_percent: 25 };
    let spreads = |mesh| SEEDS.map(|seed| spread(mesh, Network::THOUSAND, seed));
    let (ours, stock) = (spreads(ours), spreads(stock));
    let worst_ms = |spreads: &[Spread]| spreads.iter().map(|s| s.p95_ms).max().unwrap_or(u64::MAX) as f64; // far below 2^53
    let worst_copies = |spreads: &[Spread]| spreads.iter().map(|s| s.copies).fold(0.0, f64::max);
    Figure {
        figure: "propagation",
        value: worst_ms(&ours),
        unit: "ms until a record is at 95 of 100 nodes",
        beside: "gossipsub's own mesh of 6",
        beside_value: worst_ms(&stock),
        target: Target::ValueTo(1000.0),
    }
    .print()?;
    Figure {
        figure: "propagation_copies",
        value: worst_copies(&ours),
        unit: "copies of a record received per node",
        beside: "gossipsub's own mesh of 6",
        beside_value: worst_copies(&stock),
        target: Target::ValueTo(3.0),
    }
    .print()
}

/// Returns the mesh of the node.
fn shipped() -> Mesh {
    let lazy_percent = usize::try_from(MESH.lazy_percent).unwrap_or(100);
    let exchange_node::net::Mesh { n, low, high, outbound_min, lazy, .. } = MESH;
    Mesh { n, low, high, outbound_min, lazy, lazy_percent }
}
