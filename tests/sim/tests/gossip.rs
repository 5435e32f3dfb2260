//! The model of gossip itself.

use exchange_sim::gossip::{Mesh, Network, spread};

const MESH: Mesh = Mesh { n: 4, low: 3, high: 5, outbound_min: 2, lazy: 3, lazy_percent: 25 };
const SMALL: Network = Network { nodes: 60, records: 40, ..Network::THOUSAND };

#[test]
fn the_same_seed_gives_the_same_spread_and_another_another() {
    assert_eq!(spread(MESH, SMALL, 7), spread(MESH, SMALL, 7));
    assert_ne!(spread(MESH, SMALL, 7), spread(MESH, SMALL, 8));
}

#[test]
fn a_larger_mesh_is_faster_and_costs_more_copies() {
    let large = Mesh { n: 6, low: 5, high: 12, lazy: 6, ..MESH };
    let (small, large) = (spread(MESH, SMALL, 1), spread(large, SMALL, 1));
    assert!(small.p95_ms > large.p95_ms && small.copies < large.copies, "{small:?} {large:?}");
}

#[test]
fn what_the_mesh_loses_the_announcements_bring() {
    let lossy = Network { loss_permille: 200, ..SMALL };
    let deaf = Mesh { lazy: 0, lazy_percent: 0, ..MESH };
    let (deaf, told) = (spread(deaf, lossy, 1), spread(MESH, lossy, 1));
    assert!(told.missed < deaf.missed, "{deaf:?} {told:?}");
}
