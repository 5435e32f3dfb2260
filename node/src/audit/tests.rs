//! A whole trade on the embedded chain, audited and handed on as a file.

use std::sync::Arc;

use bitcoin::transaction::Version;
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute::LockTime};
use exchange_api::MAX_RESPONSE_BYTES;
use exchange_ledger::audit::MAX_FINDINGS;
use exchange_ledger::audit::bundle::Part;
use exchange_ledger::body::{Body, Closed, Funded, Offer, PaymentSent, Release, Side, Take, Vaults};
use exchange_ledger::ids::RecordId;
use exchange_ledger::ledger::{Admission, MAX_FACTS};
use exchange_ledger::money::Sats;
use exchange_ledger::record::Header;
use exchange_ledger::testing::{Author, EPOCH, NETWORK, SampleTrade, sample_accept, sample_offer, sample_take, sats};
use exchange_ledger::trade::{Seat, Verdict};
use exchange_ledger::wire::{Outpoint, TxId};
use exchange_store::OpenOptions;

use super::*;
use crate::chain::kernel::{KernelChain, KernelConfig};
use crate::chain::line::Line;
use crate::clock;
use crate::private::Private;

/// Two who trade on a chain of their own.
struct Stage {
    trade: SampleTrade,
    ledger: Ledger<Store>,
    chain: Arc<KernelChain>,
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Lets them agree.
    async fn begin() -> Self {
        Self::of(SampleTrade::new(Side::Sell)).await
    }

    async fn of(trade: SampleTrade) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("ledger"), OpenOptions::default()).unwrap();
        let chain = Arc::new(KernelChain::open(KernelConfig::default()).unwrap());
        chain.mine(110, anyone().to_p2wsh()).await.unwrap();
        let mut stage = Self { trade, ledger: Ledger::new(store, NETWORK), chain, _directory: directory };
        stage.keep(stage.trade.records());
        stage
    }

    fn keep(&mut self, records: Vec<exchange_ledger::record::Record>) {
        let now = u64::from(EPOCH) + 1_000;
        let admitted = self.ledger.admit(&records, now).unwrap();
        assert!(admitted.iter().all(|a| *a == Admission::New), "{admitted:?}");
    }

    fn say(&mut self, role: Role, body: &Body) {
        let record = self.trade.author(role).write(body);
        self.keep(vec![record]);
    }

    fn say_at(&mut self, time: u64, role: Role, body: &Body) {
        let author = self.trade.author(role);
        let header = Header { time, ..author.next_header(body) };
        let record = author.append(header, body.encode());
        assert_eq!(self.ledger.admit(&[record], time).unwrap(), [Admission::New]);
    }

    /// Pays the escrow from the first coin of the chain, and names what was paid.
    async fn fund(&mut self) -> Vaults {
        let vaults = self.pays_in(1).await;
        self.names(&vaults);
        vaults
    }

    /// Pays the escrow from the coin of a block.
    async fn pays_in(&self, block: u32) -> Vaults {
        let vaults = self.sends(block).await;
        self.chain.mine(3, anyone().to_p2wsh()).await.unwrap();
        vaults
    }

    /// Does so, and leaves it in the pool.
    async fn sends(&self, block: u32) -> Vaults {
        let block = self.chain.block_at(block).await.unwrap().unwrap();
        let coin = &block.txdata[0];
        let escrow = self.trade.escrow();
        let mut output: Vec<TxOut> = std::iter::once(escrow.output()).chain(escrow.bond_output()).collect();
        let paid: Amount = output.iter().map(|output| output.value).sum();
        let change = coin.output[0].value - paid - Amount::from_sat(1_000);
        output.insert(0, TxOut { value: change, script_pubkey: anyone().to_p2wsh() });
        let funding = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint { txid: coin.compute_txid(), vout: 0 },
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::from_slice(&[anyone().as_bytes()]),
            }],
            output,
        };
        self.chain.broadcast(&funding).await.unwrap();
        escrow.fundings(&funding)[0]
    }

    fn names(&mut self, vaults: &Vaults) {
        let funded = Funded { trade: self.trade.id(), outpoint: vaults.escrow.outpoint };
        self.say(Role::Seller, &Body::Funded(funded));
    }

    /// Lets the same two agree once more, and the seller name an output as that trade's.
    fn agree_again(&mut self, named: OutPoint) -> TradeId {
        let SampleTrade { maker, taker, advert, .. } = &mut self.trade;
        let [offer, take, accept] = large_agreement(maker, taker, advert.id());
        let trade = TradeId::from(take.id());
        let funded = maker.write(&Body::Funded(Funded { trade, outpoint: Outpoint(named) }));
        self.keep(vec![offer, take, accept, funded]);
        trade
    }

    /// Lets the buyer say that he paid, and the seller release.
    async fn release(&mut self, vaults: Vaults) -> Transaction {
        let (trade, escrow) = (self.trade.id(), self.trade.escrow());
        let (buyer, seller) = (self.trade.author(Role::Buyer).trade_key(), self.trade.author(Role::Seller).trade_key());
        let payout = escrow.half(&vaults, sats(1_700), Role::Buyer, &seller).unwrap();
        let tx = escrow.complete(&payout, Role::Buyer, &buyer).unwrap().tx;
        self.say(Role::Buyer, &Body::PaymentSent(PaymentSent { trade }));
        self.say(Role::Seller, &Body::Release(Release { trade, payout }));
        self.chain.broadcast(&tx).await.unwrap();
        self.chain.mine(3, anyone().to_p2wsh()).await.unwrap();
        tx
    }

    async fn audit(&self) -> AuditReport {
        let request = AuditRequest { chain: true, ..AuditRequest::default() };
        run(&self.ledger, self.chain.as_ref(), &request, BTreeSet::new(), true, &regtest()).await.unwrap()
    }

    async fn export(&self) -> Result<exchange_api::Bundle, ApiError> {
        let private = Private::new(self.ledger.storage().clone());
        export(&self.ledger, &private, self.chain.as_ref(), self.trade.id()).await
    }
}

/// Lets two agree on so much that a funding has to be as deep as no reorg is believed to go.
fn large_agreement(maker: &mut Author, taker: &mut Author, advert: RecordId) -> [Record; 3] {
    let amount = sats(10_000_000);
    let offer = maker.write(&Body::Offer(Offer { max: amount, ..sample_offer(Side::Sell, &[advert]) }));
    let take = taker.write(&Body::Take(Take { amount, ..sample_take(offer.id(), taker) }));
    let accept = maker.write(&Body::Accept(sample_accept(&take, offer.id(), maker)));
    [offer, take, accept]
}

/// Returns such a trade.
fn large_trade() -> SampleTrade {
    let sample = SampleTrade::new(Side::Sell);
    let (mut maker, mut taker) = (Author::new(2), Author::new(3));
    let [offer, take, accept] = large_agreement(&mut maker, &mut taker, sample.advert.id());
    SampleTrade { maker, taker, offer, take, accept, ..sample }
}

/// A network on which blocks come when somebody wants them.
fn regtest() -> SureTime {
    SureTime::on(Network::Regtest)
}

/// A script without a condition.
fn anyone() -> ScriptBuf {
    ScriptBuf::builder().push_int(1).into_script()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_is_audited_to_the_satoshi_and_handed_on_as_a_file() {
    let mut stage = Stage::begin().await;
    let agreed = verify(&stage.export().await.unwrap()).unwrap();
    assert_eq!((agreed.phase, agreed.funding), (Phase::Agreed, None));
    let outpoint = stage.fund().await;
    let held = stage.audit().await;
    assert!(held.ok && held.evidence.is_empty(), "{held:?}");
    assert_eq!((held.trades[0].state, held.sums.unwrap().held), (Phase::Funded, sats(1_000_000)));
    assert_eq!(verify(&stage.export().await.unwrap()).unwrap().phase, Phase::Funded);

    let payout = stage.release(outpoint).await;
    let spend = TxId(payout.compute_txid());
    for role in [Role::Buyer, Role::Seller] {
        stage.say(role, &Body::Closed(Closed { trade: stage.trade.id(), spend }));
    }
    let closed = stage.audit().await;
    assert!(closed.ok && closed.evidence.is_empty(), "{closed:?}");
    let sums = closed.sums.unwrap();
    assert_eq!((sums.funded, sums.to_buyers, sums.fees), (sats(1_000_000), sats(998_300), sats(1_700)));
    assert_eq!((sums.to_sellers, sums.elsewhere, sums.held), (sats(0), sats(0), sats(0)));

    let mut bundle = stage.export().await.unwrap();
    let verified = verify(&bundle).unwrap();
    assert_eq!((verified.phase, verified.anchor), (Phase::Closed, Some(0)));
    assert_eq!(verified.spend.unwrap().txid, spend.0);
    let tx = &mut bundle.chain.as_mut().unwrap().spend.as_mut().unwrap().tx.0;
    let signature = tx.iter().rposition(|byte| *byte == 64).unwrap() + 3;
    tx[signature] ^= 1;
    assert_eq!(verify(&bundle).unwrap_err().part, Part::Spend);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_of_the_chain_what_is_not_so_is_named_with_his_record() {
    let mut stage = Stage::of(large_trade()).await;
    let nowhere = Outpoint(OutPoint { txid: stage.trade.funding(1).compute_txid(), vout: 0 });
    stage.say(Role::Seller, &Body::Funded(Funded { trade: stage.trade.id(), outpoint: nowhere }));
    let lied = stage.audit().await;
    assert!(lied.ok, "{lied:?}");
    assert!(lied.evidence[0].rule.contains("the chain has no such output"), "{lied:?}");
    let named = stage.ledger.record(&lied.evidence[0].record.unwrap()).unwrap().unwrap();
    assert_eq!(named.header().kind, Kind::Funded);
    let sums = lied.sums.unwrap();
    assert_eq!((sums.funded, sums.held), (sats(0), sats(0)), "nothing went in");

    let mut stage = Stage::begin().await;
    let outpoint = stage.fund().await;
    stage.release(outpoint).await;
    stage.say(Role::Buyer, &Body::Closed(Closed { trade: stage.trade.id(), spend: TxId(outpoint.outpoint().txid) }));
    let lied = stage.audit().await;
    assert!(lied.ok, "{lied:?}");
    assert!(lied.evidence[0].rule.starts_with("the buyer says that"), "{lied:?}");
    assert_eq!(lied.evidence.len(), 1);
}

/// A reorg takes the funding away, and whoever brought a coin to it spends that elsewhere. The seller had named it before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_belied_by_no_reorg_of_a_few_blocks() {
    for (trade, is_evidence) in [(SampleTrade::new(Side::Sell), false), (large_trade(), true)] {
        assert_eq!(trade.contract().confirmations >= CLOSED_DEPTH, is_evidence);
        let mut stage = Stage::of(trade).await;
        let (trade, gone) = (stage.trade.id(), stage.trade.funding(1).compute_txid());
        let outpoint = Outpoint(OutPoint { txid: gone, vout: 0 });
        stage.say(Role::Seller, &Body::Funded(Funded { trade, outpoint }));
        let report = stage.audit().await;
        assert!(report.ok, "{report:?}");
        assert_eq!(report.evidence.len(), usize::from(is_evidence), "{report:?}");
        let audited = &report.trades[0];
        assert_eq!((audited.state, audited.funding.clone(), audited.not_compared), (Phase::Agreed, None, None));
        // Nobody says so early that it has ended.
        stage.say(Role::Seller, &Body::Closed(Closed { trade, spend: TxId(gone) }));
        let report = stage.audit().await;
        assert_eq!(report.evidence.len(), 1 + usize::from(is_evidence), "{report:?}");
        assert!(report.evidence.iter().any(|found| found.rule.contains("ended the trade")), "{report:?}");
    }
}

/// A reorg has put it there again, and the name stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_the_pool_belies_nobody_who_named_it() {
    for trade in [SampleTrade::new(Side::Sell), SampleTrade::with_bonds(Side::Sell)] {
        let mut stage = Stage::of(trade).await;
        let vaults = stage.sends(1).await;
        stage.names(&vaults);
        let waiting = stage.audit().await;
        assert!(waiting.ok && waiting.evidence.is_empty(), "{waiting:?}");
        stage.chain.mine(3, anyone().to_p2wsh()).await.unwrap();
        let held = stage.audit().await;
        assert!(held.ok && held.evidence.is_empty(), "{held:?}");
        assert_eq!((held.trades[0].state, held.sums.unwrap().held), (Phase::Funded, vaults.value().unwrap()));
    }
    // What it pays in the pool is what it would pay in a block.
    let mut stage = Stage::begin().await;
    let escrow = stage.sends(1).await.escrow.outpoint.0;
    let change = Outpoint(OutPoint { vout: 0, ..escrow });
    stage.say(Role::Seller, &Body::Funded(Funded { trade: stage.trade.id(), outpoint: change }));
    let lied = stage.audit().await;
    assert!(lied.evidence[0].rule.contains("is not the contract's amount"), "{lied:?}");
}

/// A backend that begins to catch up, or hears of no block, does not show what others see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_blamed_by_a_chain_that_may_be_behind_what_he_saw() {
    let (all, sure) = (AuditRequest { chain: true, ..AuditRequest::default() }, SureTime::on(Network::Bitcoin));
    let now = clock::unix_now();
    // Never before what else is in their logs.
    let said = now.max(u64::from(EPOCH) + 100);
    for is_funded in [false, true] {
        let mut stage = Stage::of(large_trade()).await;
        let (trade, nowhere) = (stage.trade.id(), stage.trade.funding(1).compute_txid());
        if is_funded {
            stage.fund().await;
        } else {
            let outpoint = Outpoint(OutPoint { txid: nowhere, vout: 0 });
            stage.say_at(said, Role::Seller, &Body::Funded(Funded { trade, outpoint }));
        }
        stage.say_at(said, Role::Buyer, &Body::Closed(Closed { trade, spend: TxId(nowhere) }));
        let found = if is_funded { 1 } else { 2 };
        let mut line = Line::to(&stage.chain);
        for (shown, sure, evidence, is_looked_at) in [
            (now - 7 * 3600, &sure, 0, false),
            (said, &sure, 0, true),
            (said + 6 * 3600 - 1, &sure, 0, true),
            (said + 6 * 3600, &sure, found, true),
            (now - 7 * 3600, &regtest(), found, true),
        ] {
            line.dated = Some(u32::try_from(shown).unwrap());
            let asked = line.asked();
            let report = run(&stage.ledger, &line, &all, BTreeSet::new(), true, sure).await.unwrap();
            assert!(report.ok, "{report:?}");
            assert_eq!((report.evidence.len(), line.asked() > asked), (evidence, is_looked_at), "{report:?}");
            let (audited, is_behind) = (&report.trades[0], evidence == 0);
            assert_eq!(audited.not_compared, is_behind.then_some(NotCompared::Behind));
            assert_eq!(report.cut.not_compared, u64::from(is_behind));
            assert_eq!([audited.sums.is_some(), audited.funding.is_some()], [is_looked_at && is_funded; 2]);
        }
    }
    // What it bears out it tells, however fresh that is.
    let mut stage = Stage::begin().await;
    let vaults = stage.fund().await;
    let spend = TxId(stage.release(vaults).await.compute_txid());
    stage.say_at(said, Role::Buyer, &Body::Closed(Closed { trade: stage.trade.id(), spend }));
    let mut line = Line::to(&stage.chain);
    line.dated = Some(u32::try_from(said).unwrap());
    let report = run(&stage.ledger, &line, &all, BTreeSet::new(), true, &sure).await.unwrap();
    assert!(report.ok && report.evidence.is_empty(), "{report:?}");
    assert_eq!((report.cut.not_compared, report.trades[0].state), (0, Phase::Closed));
}

/// The seller and the arbiter took the coins. The seller names another spend, and says so once more when that is evidence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_silences_an_audit_by_saying_once_more_what_is_not_so() {
    let mut stage = Stage::begin().await;
    let vaults = stage.fund().await;
    let (trade, escrow) = (stage.trade.id(), stage.trade.escrow());
    let (seller, arbiter) =
        (stage.trade.author(Role::Seller).trade_key(), stage.trade.arbiter_pair(escrow.contract(), Seat::First));
    let division = escrow.divide(Seat::First, &vaults, Verdict::Seller, 10).unwrap();
    let ruling = escrow.rule(Seat::First, &vaults, division, &arbiter).unwrap();
    let tx = escrow.complete_ruling(Seat::First, &ruling, Role::Seller, &seller).unwrap().tx;
    stage.chain.mine(144, anyone().to_p2wsh()).await.unwrap();
    stage.chain.broadcast(&tx).await.unwrap();
    stage.chain.mine(3, anyone().to_p2wsh()).await.unwrap();

    let said = clock::unix_now().max(u64::from(EPOCH) + 100);
    let closed = Body::Closed(Closed { trade, spend: TxId(vaults.outpoint().txid) });
    stage.say_at(said, Role::Seller, &closed);
    let home = stage.trade.author(Role::Seller).log();
    // In a log that claims to be older than the one in which he agreed, as often as what he says in all of them counts.
    let later = said + 6 * 3600;
    let mut older = stage.trade.author(Role::Seller).reopened(EPOCH - 1);
    let header = Header { time: later, ..older.next_header(&closed) };
    let mut again = vec![older.append(header, closed.encode())];
    again.extend((1..MAX_FACTS).map(|_| older.write(&closed)));
    let admitted = stage.ledger.admit(&again, later + 3600).unwrap();
    assert!(admitted.iter().all(|a| *a == Admission::New), "{admitted:?}");

    let (all, sure) = (AuditRequest { chain: true, ..AuditRequest::default() }, SureTime::on(Network::Bitcoin));
    let mut line = Line::to(&stage.chain);
    for (shown, is_blamed) in [(later - 1, false), (later, true)] {
        line.dated = Some(u32::try_from(shown).unwrap());
        let report = run(&stage.ledger, &line, &all, BTreeSet::new(), true, &sure).await.unwrap();
        let told = |words: &str| report.evidence.iter().filter(|found| found.rule.contains(words)).collect::<Vec<_>>();
        assert_eq!(told("no arbiter published such a ruling").len(), 1, "what the chain shows is told: {report:?}");
        let lies = told("ended the trade");
        assert_eq!(lies.len(), usize::from(is_blamed), "{report:?}");
        for lie in lies {
            let record = stage.ledger.record(&lie.record.unwrap()).unwrap().unwrap();
            assert_eq!((record.header().log, record.header().time), (home, said));
        }
        let audited = &report.trades[0];
        assert_eq!(audited.not_compared, (!is_blamed).then_some(NotCompared::Behind));
        assert_eq!(audited.spend.as_ref().map(|spend| spend.txid.clone()), Some(tx.compute_txid().to_string()));
        assert_eq!(report.sums.unwrap().to_sellers, ruling.to_seller);
    }
}

/// Reputation is made of trades that are said to be over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_that_a_trade_ended_which_nobody_funded_is_named() {
    let mut stage = Stage::begin().await;
    let trade = stage.trade.id();
    for role in [Role::Buyer, Role::Seller] {
        stage.say(role, &Body::Closed(Closed { trade, spend: TxId(stage.trade.funding(1).compute_txid()) }));
    }
    let lied = stage.audit().await;
    assert!(lied.ok, "{lied:?}");
    let words: Vec<&str> = lied.evidence.iter().filter_map(|found| found.rule.get(..20)).collect();
    assert_eq!(words, ["the buyer says that ", "the seller says that"], "{lied:?}");
    for found in &lied.evidence {
        let record = stage.ledger.record(&found.record.unwrap()).unwrap().unwrap();
        assert_eq!((record.header().kind, found.trade), (Kind::Closed, Some(trade)));
    }
    assert_eq!((lied.trades[0].not_compared, lied.cut.not_compared), (None, 0));

    // The record that named the output may not have come yet.
    let all = AuditRequest { chain: true, ..AuditRequest::default() };
    let early = run(&stage.ledger, stage.chain.as_ref(), &all, BTreeSet::new(), false, &regtest()).await.unwrap();
    assert!(early.ok && early.evidence.is_empty(), "{early:?}");
    assert_eq!((early.trades[0].not_compared, early.cut.not_compared), (Some(NotCompared::Unnamed), 1));

    // A buyer with two histories may have taken away what the seller relied on.
    let other = stage.trade.taker.clone().write(&Body::Heartbeat);
    let one = stage.trade.taker.write(&Body::PaymentSent(PaymentSent { trade }));
    stage.ledger.admit(&[one, other], u64::from(EPOCH) + 1_000).unwrap();
    let told = stage.audit().await;
    assert!(!told.evidence.iter().any(|found| found.rule.contains("ended the trade")), "{told:?}");
    assert_eq!((told.trades[0].not_compared, told.cut.not_compared), (Some(NotCompared::Unnamed), 1));
}

/// A seller pays the escrow twice, and names the output of which he gives nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_output_that_counts_is_judged_and_handed_on_whichever_is_named() {
    let mut stage = Stage::begin().await;
    let (real, decoy) = (stage.pays_in(1).await, stage.pays_in(2).await);
    stage.names(&decoy);
    let funding_of = |report: &AuditReport| report.trades[0].funding.clone().map(|funding| funding.txid);
    let held = stage.audit().await;
    assert_eq!(funding_of(&held), Some(decoy.outpoint().txid.to_string()), "nothing else speaks for either");

    let payout = stage.release(real).await;
    let spend = TxId(payout.compute_txid());
    stage.say(Role::Buyer, &Body::Closed(Closed { trade: stage.trade.id(), spend }));
    let closed = stage.audit().await;
    assert!(closed.ok && closed.evidence.is_empty(), "{closed:?}");
    assert_eq!((closed.trades[0].state, funding_of(&closed)), (Phase::Closed, Some(real.outpoint().txid.to_string())));
    assert_eq!(closed.sums.unwrap().to_buyers, sats(998_300));
    let verified = verify(&stage.export().await.unwrap()).unwrap();
    assert_eq!((verified.phase, verified.funding.unwrap().outpoint), (Phase::Closed, real.outpoint()));
}

/// The escrow is funded in block 111.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_paid_where_nobody_looks_for_it_funds_nothing() {
    for (stated, held) in [(111 + 144, sats(1_000_000)), (112 + 144, Sats::ZERO)] {
        let mut stage = Stage::of(SampleTrade::new(Side::Sell).agreed_at(stated)).await;
        stage.fund().await;
        let report = stage.audit().await;
        assert!(report.ok, "{report:?}");
        assert_eq!(report.evidence.is_empty(), held > Sats::ZERO, "{report:?}");
        assert_eq!(report.sums.unwrap().held, held);
    }
}

/// A made-up trade can neither end the report of all others, nor pass for one that was compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_of_which_the_chain_tells_nonsense_is_not_compared_and_ends_no_report() {
    let mut stage = Stage::begin().await;
    let named = stage.fund().await.outpoint();
    let mut line = Line::to(&stage.chain);
    line.garbled = Some(named);
    let all = AuditRequest { chain: true, ..AuditRequest::default() };
    let report = run(&stage.ledger, &line, &all, BTreeSet::new(), true, &regtest()).await.unwrap();
    assert!(report.ok && report.evidence.is_empty(), "{report:?}");
    assert_eq!((report.trades[0].not_compared, report.cut.not_compared), (Some(NotCompared::Failed), 1));
    assert_eq!((report.trades[0].funding.clone(), report.sums.unwrap().held), (None, Sats::ZERO));

    let one = AuditRequest { trade: Some(stage.trade.id()), ..all.clone() };
    let error = run(&stage.ledger, &line, &one, BTreeSet::new(), true, &regtest()).await.unwrap_err();
    assert!(error.message.contains("it changed with every look"), "who asks about it alone is told why: {error:?}");
    // Nor does one about which nobody answers, while the chain itself is there.
    line.garbled = None;
    line.withheld = Some(named);
    for _ in 0..2 {
        let report = run(&stage.ledger, &line, &all, BTreeSet::new(), true, &regtest()).await.unwrap();
        assert_eq!((report.trades[0].not_compared, report.cut.not_compared), (Some(NotCompared::Failed), 1));
        let error = run(&stage.ledger, &line, &one, BTreeSet::new(), true, &regtest()).await.unwrap_err();
        assert_eq!(error.code, Code::ChainUnreachable, "{error:?}");
        line.broken = Some(named);
        // Then it hangs up over it, and is there again.
        line.hangs_up = 2;
    }
    let gone = || {
        let (at, reason) = ("a peer".into(), "no peer sends a block".into());
        ChainError::Unreachable { backend: "cbf", at, reason }
    };
    let mut unanswered = 0;
    for _ in 0..MAX_UNANSWERED {
        assert!(!is_over(&line, &gone(), &mut unanswered, TIP_PATIENCE).await);
    }
    assert!(is_over(&line, &gone(), &mut unanswered, Duration::ZERO).await, "nobody waits for so many");
    line.is_cut = true;
    assert!(is_over(&line, &gone(), &mut 0, TIP_PAUSE).await, "nothing can be compared");
    let error = run(&stage.ledger, &line, &all, BTreeSet::new(), true, &regtest()).await.unwrap_err();
    assert_eq!(error.code, Code::ChainUnreachable, "nothing was compared");
    let well = stage.audit().await;
    assert_eq!((well.trades[0].not_compared, well.cut.not_compared), (None, 0));
}

/// A server may go for good in the middle of a report, and whoever made up what it failed at hides nothing that was found before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_whose_chain_is_lost_in_the_middle_tells_what_it_found_and_goes_on_once_that_is_back() {
    let mut stage = Stage::begin().await;
    let real = stage.fund().await.outpoint();
    let nowhere = OutPoint { txid: stage.trade.funding(1).compute_txid(), vout: 0 };
    // The seller names the coins of another trade, and does so once more behind those of which nobody tells.
    let lied = stage.agree_again(real);
    for _ in 0..=MAX_UNANSWERED {
        stage.agree_again(nowhere);
    }
    let last = stage.agree_again(real);
    let mut line = Line::to(&stage.chain);
    line.broken = Some(nowhere);
    let all = AuditRequest { chain: true, ..AuditRequest::default() };
    let report = run(&stage.ledger, &line, &all, BTreeSet::new(), true, &regtest()).await.unwrap();
    assert!(report.ok && !report.cut.trades, "{report:?}");
    let why: Vec<_> = report.trades.iter().map(|trade| trade.not_compared).collect();
    let lost = [Some(NotCompared::Failed); MAX_UNANSWERED + 2];
    assert_eq!((&why[..2], &why[2..]), (&[None; 2][..], &lost[..]), "each in the order of the bids");
    assert_eq!(report.cut.not_compared, lost.len() as u64);
    assert_eq!(line.asked(), 2 + lost.len() - 1, "nobody asks about the last");
    let of_whom = |report: &AuditReport| report.evidence.iter().filter_map(|found| found.trade).collect::<Vec<_>>();
    assert_eq!((of_whom(&report), report.sums.unwrap().held), (vec![lied], sats(1_000_000)));

    let rest = AuditRequest { after: Some(lied), ..all };
    let report = run(&stage.ledger, stage.chain.as_ref(), &rest, BTreeSet::new(), true, &regtest()).await.unwrap();
    assert_eq!((report.trades.len(), report.cut.not_compared), (lost.len(), 0));
    assert_eq!((of_whom(&report).len(), of_whom(&report).contains(&last)), (lost.len(), true));
}

/// The seller pays twice, names the one output and releases the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_outputs_are_looked_up_than_there_is_room_for() {
    let mut stage = Stage::begin().await;
    let (real, decoy) = (stage.pays_in(1).await, stage.pays_in(2).await);
    stage.names(&decoy);
    stage.release(real).await;
    let facts = stage.ledger.trade(stage.trade.id()).unwrap().facts;
    for (most, is_cut) in [(0, true), (1, true), (2, false)] {
        let line = Line::to(&stage.chain);
        let paths = Paths::follow(&line, &stage.trade.escrow(), &facts, most, &mut 0).await.unwrap();
        assert_eq!((paths.is_cut(), paths.count(), line.asked()), (is_cut, most, most));
    }
    // Each of both costs ten blocks, where nobody is told where outputs are.
    for (mut blocks, is_cut, left) in [(9, true, 0), (19, true, 0), (20, false, 0), (25, false, 5)] {
        let mut line = Line::to(&stage.chain);
        line.reads = 10;
        let paths = Paths::follow(&line, &stage.trade.escrow(), &facts, 2, &mut blocks).await.unwrap();
        assert_eq!((paths.is_cut(), blocks), (is_cut, left));
    }
}

/// Whoever makes up trades from the beginning of time on has no more blocks read than the chain has, and his own left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_for_which_too_many_blocks_would_be_read_is_not_compared() {
    let mut stage = Stage::begin().await;
    stage.fund().await;
    let mut line = Line::to(&stage.chain);
    let request = AuditRequest { chain: true, ..AuditRequest::default() };
    for (reads, why) in [(MAX_BLOCKS, None), (MAX_BLOCKS + 1, Some(NotCompared::TooMuch))] {
        line.reads = reads;
        let report = run(&stage.ledger, &line, &request, BTreeSet::new(), true, &regtest()).await.unwrap();
        assert_eq!((report.trades[0].not_compared, report.cut.not_compared), (why, u64::from(why.is_some())));
    }
}

/// The seller signs for outputs that he makes up, until not all are looked up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_is_told_and_nobody_hides_what_came_of_his_words() {
    let mut stage = Stage::begin().await;
    let (real, decoy) = (stage.pays_in(1).await, stage.pays_in(2).await);
    stage.names(&decoy);
    let (trade, escrow) = (stage.trade.id(), stage.trade.escrow());
    let key = stage.trade.author(Role::Seller).trade_key();
    let makes_up = |stage: &mut Stage, number: u8| {
        let payout = escrow.half(&stage.trade.vaults(number), sats(1_700), Role::Buyer, &key).unwrap();
        stage.say(Role::Seller, &Body::Release(Release { trade, payout }));
    };
    // With the two that are there they are as many as are looked up.
    let most = u8::try_from(MAX_OUTPUTS - 2).unwrap();
    (1..=most).for_each(|number| makes_up(&mut stage, number));
    let payout = stage.release(real).await;
    let all = stage.audit().await;
    let funding = all.trades[0].funding.as_ref().map(|funding| funding.txid.clone());
    assert_eq!((all.trades[0].not_compared, funding), (None, Some(real.outpoint().txid.to_string())));

    makes_up(&mut stage, most + 1);
    let one = AuditRequest { chain: true, trade: Some(trade), ..AuditRequest::default() };
    let alone = run(&stage.ledger, stage.chain.as_ref(), &one, BTreeSet::new(), true, &regtest()).await.unwrap();
    for cut in [stage.audit().await, alone] {
        assert!(cut.ok && cut.evidence.is_empty(), "{cut:?}");
        assert_eq!((cut.trades[0].not_compared, cut.cut.not_compared), (Some(NotCompared::TooMuch), 1));
        assert_eq!((cut.trades[0].funding.clone(), cut.sums.unwrap().to_buyers), (None, Sats::ZERO));
    }
    stage.say(Role::Buyer, &Body::Closed(Closed { trade, spend: TxId(payout.compute_txid()) }));
    let facts = stage.ledger.trade(trade).unwrap().facts;
    let paths = Paths::follow(stage.chain.as_ref(), &escrow, &facts, 2, &mut 1000).await.unwrap();
    assert!(paths.is_cut() && paths.through(&real.outpoint()).is_some());
}

#[test]
fn every_trade_has_its_share_of_what_is_looked_up() {
    assert_eq!([1, 100, MAX_TRADES].map(|trades| share(MAX_LOOKUPS, trades)), [MAX_OUTPUTS, MAX_OUTPUTS, 2]);
    let mut lookups = MAX_LOOKUPS;
    for at in 0..MAX_TRADES {
        let most = share(lookups, MAX_TRADES - at);
        assert!(most >= 2, "trade {at}");
        lookups -= most;
    }
    assert_eq!(lookups, 0);
    assert_eq!(share(MAX_LOOKUPS - 1_000, MAX_TRADES - 1_000), 3, "what others leave goes on");
    let blocks = [0, 1, MAX_TRADES / 2, MAX_TRADES].map(|trades| share_of_blocks(MAX_BLOCKS, trades));
    assert_eq!(blocks, [MAX_BLOCKS, MAX_BLOCKS, 864, 432]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_file_of_a_trade_that_is_not_there() {
    let stage = Stage::begin().await;
    let private = Private::new(stage.ledger.storage().clone());
    let unknown = exchange_ledger::ids::TradeId([7; 32]);
    let error = export(&stage.ledger, &private, stage.chain.as_ref(), unknown).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_is_found_by_its_first_digits_without_a_list_of_all() {
    let mut stage = Stage::begin().await;
    let other = stage.trade.taker.write(&Body::Take(sample_take(stage.trade.offer.id(), &stage.trade.taker)));
    stage.keep(vec![other.clone()]);
    for id in [stage.trade.id(), other.id().into()] {
        assert_eq!(find(&stage.ledger, id.to_string()[..12].to_owned()).await.unwrap(), [id]);
        let request = AuditRequest { trade: Some(id), ..AuditRequest::default() };
        let told = run(&stage.ledger, stage.chain.as_ref(), &request, BTreeSet::new(), true, &regtest()).await.unwrap();
        assert_eq!((told.trades.len(), told.trades[0].trade, told.bids), (1, id, 1));
    }
    assert_eq!(find(&stage.ledger, String::new()).await.unwrap().len(), 2, "there is more than one");
    assert!(find(&stage.ledger, "x".into()).await.unwrap().is_empty());
    let all = stage.audit().await;
    assert_eq!((all.trades.len(), all.bids, all.agreed), (1, 2, 1), "nobody agreed to the other");
    for (after, code) in [(stage.trade.id(), None), (TradeId([7; 32]), Some(Code::NotFound))] {
        let request = AuditRequest { after: Some(after), ..AuditRequest::default() };
        let told = run(&stage.ledger, stage.chain.as_ref(), &request, BTreeSet::new(), true, &regtest()).await;
        assert_eq!(told.err().map(|error| error.code), code);
    }
}

#[test]
fn the_largest_report_fits_into_an_answer() {
    let (record, id) = (RecordId([0xff; 32]), TradeId([0xff; 32]));
    // No rule is as long.
    let violation = Violation { record: Some(record), trade: Some(id), rule: "x".repeat(400) };
    let tx = ChainTx { txid: "f".repeat(64), confirmations: u32::MAX, height: Some(u32::MAX) };
    let most = Sats::MAX;
    let sums = EscrowSums {
        funded: most,
        to_buyers: most,
        to_sellers: most,
        to_arbiters: most,
        elsewhere: most,
        fees: most,
        held: most,
    };
    let trade = AuditedTrade {
        trade: id,
        state: Phase::Refunding,
        amount: Some(most),
        escrow_address: Some("f".repeat(64)),
        funding: Some(tx.clone()),
        spend: Some(tx),
        sums: Some(sums),
        not_compared: Some(NotCompared::TooMuch),
    };
    let report = AuditReport {
        ok: false,
        records: u64::MAX,
        bare: u64::MAX,
        lacked: u64::MAX,
        authors: u64::MAX,
        bids: u64::MAX,
        agreed: u64::MAX,
        trades: vec![trade; MAX_TRADES],
        // Of each trade the chain can belie both parties, and show a spend and a sum that must not be.
        violations: vec![violation.clone(); MAX_FINDINGS + MAX_TRADES],
        evidence: vec![violation; MAX_FINDINGS + 3 * MAX_TRADES],
        sums: Some(sums),
        checkpoints: Vec::new(),
        cut: AuditCut::default(),
    };
    // A tenth is left for checkpoints and what is around it.
    let room = usize::try_from(MAX_RESPONSE_BYTES).unwrap() / 10 * 9;
    assert!(serde_json::to_vec(&report).unwrap().len() < room);
}
