//! The mesh that the node configures must bring a record to everybody, soon, and not too often.

#![allow(clippy::unwrap_used)]

use exchange_node::net::MESH;
use exchange_sim::gossip::{Mesh, Network, spread};

#[test]
fn the_mesh_of_the_node_reaches_everybody_within_a_second_and_three_copies() {
    let lazy_percent = usize::try_from(MESH.lazy_percent).unwrap();
    let exchange_node::net::Mesh { n, low, high, outbound_min, lazy, .. } = MESH;
    let mesh = Mesh { n, low, high, outbound_min, lazy, lazy_percent };
    let network = Network { records: 60, ..Network::THOUSAND };
    let spread = spread(mesh, network, 1);
    assert!(spread.p95_ms <= 1000 && spread.copies <= 3.0 && spread.missed == 0, "{spread:?}");
}
