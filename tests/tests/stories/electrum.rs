//! Somebody who has neither a Bitcoin node nor the time to be a light client.

use std::fs::File;
use std::io::Write as _;

use exchange_ledger::trade::Phase;
use exchange_tests::electrumx::{Certificate, ElectrumX};
use exchange_tests::{Offer, World};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// Blocks that bury a trade of this size.
const BURIED: u32 = 3;

/// The buyer asks an Electrum server, whose certificate an authority vouches for. It goes away when he has paid; what
/// happens meanwhile he learns when it is back.
#[test]
fn the_buyer_asks_an_electrum_server() {
    let world = World::begin_for_electrum();
    let (authority, certificate) = certificates();
    let authorities = world.dir().join("authority.pem");
    File::create(&authorities).unwrap().write_all(authority.as_bytes()).unwrap();
    let mut server = ElectrumX::start_with_tls(world.chain().node(), &certificate).unwrap();
    let seller = world.trader_with_coins("seller");
    let args = ["--network", "regtest", "--electrum-server", &server.url()].map(ToOwned::to_owned);
    let mut buyer = world.trader_on("buyer", &args, &[("SSL_CERT_FILE", &authorities.display().to_string())]);
    assert_eq!(buyer.status().chain, "electrum");

    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.01").id;
    seller.awaits(trade, Phase::Agreed);
    seller.does("fund", trade);
    world.chain().confirm("the funding", 1);
    assert!(buyer.awaits(trade, Phase::Funding).funding.unwrap().confirmations >= 1);
    world.chain().mine(BURIED - 1);
    buyer.awaits(trade, Phase::Funded);
    buyer.awaits_details(trade);
    buyer.does("paid", trade);

    seller.awaits(trade, Phase::Paid);
    server.stop().unwrap();
    buyer.process().kill();
    seller.does("release", trade);
    world.chain().mine(2);
    server.run().unwrap();
    buyer.returns();
    world.chain().confirm("the payout", BURIED);
    let bought = buyer.awaits(trade, Phase::Closed);
    let sold = seller.awaits(trade, Phase::Closed);
    assert_eq!(bought.spend, sold.spend);
    let balance = buyer.awaits_balance("the coins", |balance| balance.spendable.get() > 0);
    assert!((990_000..1_000_000).contains(&balance.spendable.get()), "{balance:?}");
    // He can prove from what the server shows him that the chain holds the trade.
    let audit = buyer.audits();
    assert!(audit.ok && audit.trades.len() == 1, "{audit:#?}");
    let file = world.dir().join("trade.json").display().to_string();
    let verified: exchange_ledger::audit::bundle::Verified =
        buyer.cli().done(&["audit", "--trade", &trade.to_string(), "--export", &file]);
    assert_eq!(verified.phase, Phase::Closed);
    buyer.process().stop();
}

/// Returns the certificate of an authority, and one for a server on this machine.
fn certificates() -> (String, Certificate) {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority, &authority_key).unwrap();
    (authority.pem(), Certificate { certificate: certificate.pem(), key: key.serialize_pem() })
}
