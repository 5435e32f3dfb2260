//! Which outputs count, what their spends mean, and where the trade stands by them.

use bitcoin::hashes::Hash;
use bitcoin::key::Keypair;
use bitcoin::{OutPoint, Transaction, TxIn, Txid};

use super::{Case, Seen, TIP};
use crate::body::{Body, Cancel, Coin, Dispute, Funded, HalfSpend, PaymentSent, Release, Ruling, Side, Vaults};
use crate::record::Record;
use crate::testing::{EPOCH, HEIGHT, SampleTrade, funding_of, sats, vaults_of};
use crate::trade::{Draft, Escrow, Leaf, Role, Seat, Vault, Verdict, counterparty};

/// The sample contract asks for three confirmations.
const BURIED: Option<u32> = Some(TIP - 2);
const SHALLOW: Option<u32> = Some(TIP - 1);
/// Buried before.
const EARLIER: Option<u32> = Some(TIP - 9);
const POOL: Option<u32> = None;
/// The tip from which on the second arbiter rules about what is [`BURIED`].
const SECONDS_TURN: u32 = TIP - 2 + 1_008 - 1;
/// That from which on its funder takes it back.
const REFUND_FROM: u32 = TIP - 2 + 4_320 - 1;
/// That from which on a dispute about it opens by itself.
const DISPUTED_FROM: u32 = TIP - 2 + 4_320 - 1_008;
/// That from which on a block can hold what the first arbiter signed about it.
const RULED_FROM: u32 = TIP - 2 + 144 - 1;
/// Of every spend.
const FEE: u64 = 3_300;

/// What happens in a trade that is agreed on, one after the other.
struct Scene {
    trade: SampleTrade,
    escrow: Escrow,
    records: Vec<Record>,
    tip: u32,
    seen: Vec<Seen>,
}

impl Scene {
    fn new(trade: SampleTrade) -> Self {
        Self { escrow: trade.escrow(), records: trade.records(), trade, tip: TIP, seen: Vec::new() }
    }

    /// A trade with two arbiters, funded once.
    fn funded() -> Self {
        Self::new(SampleTrade::with_second(Side::Sell)).pays(1, BURIED)
    }

    /// And once more, before that.
    fn funded_twice() -> Self {
        Self::funded().pays(2, EARLIER)
    }

    /// A trade with bonds, funded once.
    fn bonded() -> Self {
        Self::new(SampleTrade::with_bonds(Side::Sell)).pays(1, BURIED)
    }

    fn case(self, name: &str) -> Case {
        let case = Case::new(name, &self.trade.offer, &[&self.trade.take], self.records);
        Case { tip: self.tip, seen: self.seen, ..case }
    }

    fn at(self, tip: u32) -> Self {
        Self { tip, ..self }
    }

    fn pays(self, number: u8, height: Option<u32>) -> Self {
        let tx = funding_of(&self.escrow, number);
        self.shows(tx, height)
    }

    fn shows(mut self, tx: Transaction, height: Option<u32>) -> Self {
        self.seen.push((tx, height));
        self
    }

    fn says(mut self, role: Role, body: &Body) -> Self {
        self.records.push(self.trade.author(role).write(body));
        self
    }

    fn names(self, role: Role, number: u8) -> Self {
        let body = self.name(number);
        self.says(role, &body)
    }

    fn name(&self, number: u8) -> Body {
        Body::Funded(Funded { trade: self.trade.id(), outpoint: self.held(number).escrow.outpoint })
    }

    fn paid(self) -> Self {
        let body = Body::PaymentSent(PaymentSent { trade: self.trade.id() });
        self.says(Role::Buyer, &body)
    }

    fn disputed(self) -> Self {
        let body = Body::Dispute(Dispute { trade: self.trade.id() });
        self.paid().says(Role::Buyer, &body)
    }

    fn calls_off(self, role: Role) -> Self {
        let body = Body::Cancel(Cancel { trade: self.trade.id(), refund: None });
        self.says(role, &body)
    }

    fn releases(self, vaults: &Vaults) -> Self {
        let body = Body::Release(Release { trade: self.trade.id(), payout: self.half(vaults, Role::Buyer) });
        self.says(Role::Seller, &body)
    }

    fn signs_refund(self, vaults: &Vaults) -> Self {
        let refund = Some(self.half(vaults, Role::Seller));
        let body = Body::Cancel(Cancel { trade: self.trade.id(), refund });
        self.says(Role::Buyer, &body)
    }

    fn rules(mut self, seat: Seat, vaults: &Vaults) -> Self {
        let body = Body::Ruling(self.ruling(seat, vaults));
        let arbiter = match seat {
            Seat::First => &mut self.trade.arbiter,
            Seat::Second => &mut self.trade.second.as_mut().unwrap().0,
        };
        self.records.push(arbiter.write(&body));
        self
    }

    /// What a funding holds.
    fn held(&self, number: u8) -> Vaults {
        vaults_of(&self.escrow, number)
    }

    fn key(&self, role: Role) -> Keypair {
        self.trade.clone().author(role).trade_key()
    }

    fn half(&self, vaults: &Vaults, to: Role) -> HalfSpend {
        let key = self.key(counterparty(to));
        self.escrow.half(vaults, sats(FEE), to, &key).unwrap()
    }

    fn ruling(&self, seat: Seat, vaults: &Vaults) -> Ruling {
        let division = self.escrow.divide(seat, vaults, Verdict::Buyer, 10).unwrap();
        self.escrow.rule(seat, vaults, division, &self.trade.arbiter_pair(self.escrow.contract(), seat)).unwrap()
    }

    /// What both sign of outputs, for whom it pays.
    fn by_both(&self, vaults: &Vaults, to: Role) -> Transaction {
        self.signed_by_both(self.escrow.spend(vaults, sats(FEE), to).unwrap())
    }

    fn signed_by_both(&self, mut draft: Draft) -> Transaction {
        let [seller, buyer] =
            [Role::Seller, Role::Buyer].map(|role| self.escrow.sign(&draft, Leaf::Both, &self.key(role)).unwrap());
        self.escrow.attach(&mut draft, Leaf::Both, &[&seller, &buyer]).unwrap();
        draft.tx
    }

    fn by_key(&self, vaults: &Vaults) -> Transaction {
        let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| self.key(role));
        let (ask, asked) = self.escrow.ask(vaults, sats(FEE), &buyer, &[0xa1; 32]).unwrap();
        let reply = self.escrow.reply(&ask, vaults, &seller, &[0xb2; 32]).unwrap();
        self.escrow.complete_by_key(asked, &reply, &buyer).unwrap().tx
    }

    fn taken_back(&self, vault: Vault, coin: Coin) -> Transaction {
        let key = self.key(if vault == Vault::Escrow { Role::Seller } else { Role::Buyer });
        self.escrow.signed_timeout(vault, coin, sats(FEE), &key).unwrap().tx
    }

    fn ruled(&self, seat: Seat, vaults: &Vaults) -> Transaction {
        let (ruling, key) = (self.ruling(seat, vaults), self.key(Role::Buyer));
        self.escrow.complete_ruling(seat, &ruling, Role::Buyer, &key).unwrap().tx
    }

    /// An extension of outputs, and what it makes of them.
    fn extended(&self, vaults: &Vaults) -> (Transaction, Vaults) {
        let pair = self.trade.arbiter_pair(self.escrow.contract(), Seat::First);
        let extend = self.escrow.extend(Seat::First, vaults, sats(FEE), &pair).unwrap();
        let tx = self.escrow.complete_extend(Seat::First, &extend, Role::Seller, &self.key(Role::Seller)).unwrap().tx;
        let made = self.escrow.extended(&tx, vaults).unwrap();
        (tx, made)
    }
}

/// Outputs as they are not: a satoshi less.
fn less(vaults: &Vaults) -> Vaults {
    let value = vaults.escrow.value.checked_sub(sats(1)).unwrap();
    Vaults { escrow: Coin { value, ..vaults.escrow }, ..*vaults }
}

pub(super) fn cases() -> Vec<Case> {
    [funded(), several(), spent(), divided(), bonds()].into_iter().flatten().collect()
}

/// From the agreement to the dispute.
fn funded() -> Vec<Case> {
    let agreed = || Scene::new(SampleTrade::with_second(Side::Sell));
    let funded = Scene::funded;
    let held = funded().held(1);
    let mut elsewhere = funded();
    let name = elsewhere.name(1);
    elsewhere.records.push(elsewhere.trade.author(Role::Seller).reopened(EPOCH + 500).write(&name));
    vec![
        agreed().calls_off(Role::Seller).case("called off before it is funded"),
        agreed().paid().releases(&held).case("paid and released before it is funded"),
        agreed().pays(1, POOL).case("a funding in the pool"),
        agreed().pays(1, SHALLOW).paid().case("a funding of two confirmations, and paid"),
        funded().case("a funding of three confirmations"),
        agreed().pays(1, BURIED).calls_off(Role::Buyer).case("called off, and funded all the same"),
        funded().names(Role::Seller, 1).paid().case("named and paid"),
        elsewhere.paid().case("named in another log, and paid"),
        funded().names(Role::Seller, 2).paid().case("another output is named, and paid"),
        funded().paid().at(DISPUTED_FROM - 1).case("paid, a block before the dispute opens by itself"),
        funded().paid().at(DISPUTED_FROM).case("paid, and the dispute opens by itself"),
        funded().at(DISPUTED_FROM).case("nothing opens by itself that was not paid"),
        funded().disputed().case("disputed"),
        funded().disputed().releases(&held).case("disputed and released"),
        funded().disputed().releases(&less(&held)).case("disputed, and released as what holds a satoshi less"),
        funded().signs_refund(&held).case("a refund is signed"),
        funded().signs_refund(&held).releases(&held).case("a refund is signed, and a payout"),
        funded().rules(Seat::First, &held).case("ruled, and no dispute"),
        funded().disputed().rules(Seat::First, &held).case("disputed and ruled"),
        funded().disputed().rules(Seat::Second, &held).at(SECONDS_TURN - 1).case("the second arbiter rules too early"),
        funded().disputed().rules(Seat::Second, &held).at(SECONDS_TURN).case("the second arbiter rules"),
        {
            let both = funded().disputed().rules(Seat::Second, &held).rules(Seat::First, &held);
            both.at(SECONDS_TURN).case("both arbiters rule")
        },
    ]
}

/// Which of several fundings counts: the first one lies there later than the second.
fn several() -> Vec<Case> {
    let twice = Scene::funded_twice;
    let late = twice().held(1);
    let once = |number: u8, height| Scene::new(SampleTrade::with_second(Side::Sell)).pays(number, height);
    // Of which the order by bytes is not that in which people see them.
    let txid = |number: u8| twice().held(number).outpoint().txid;
    let is_turned = |number: &u8| (txid(1) < txid(*number)) != (txid(1).to_string() < txid(*number).to_string());
    let turned = (2..=u8::MAX).find(is_turned).unwrap();
    let (extension, made) = once(2, Some(150)).extended(&twice().held(2));
    let back = |number: u8| twice().taken_back(Vault::Escrow, twice().held(number).escrow);
    vec![
        twice().case("two fundings"),
        once(1, BURIED).pays(turned, BURIED).case("two fundings in one block"),
        once(1, POOL).pays(turned, POOL).case("two fundings in the pool"),
        once(1, SHALLOW).pays(2, BURIED).names(Role::Seller, 1).case("two fundings, the named one not buried"),
        twice().names(Role::Seller, 1).case("two fundings, the later one named"),
        twice().signs_refund(&late).names(Role::Seller, 2).case("two fundings, a refund of the later one signed"),
        twice().signs_refund(&less(&late)).case("two fundings, a refund of the later one signed as of less"),
        twice().disputed().rules(Seat::First, &late).case("two fundings, and the later one is ruled about"),
        {
            let ruled = twice().disputed().rules(Seat::Second, &late);
            ruled.at(SECONDS_TURN - 1).case("two fundings, and the second arbiter rules about the later one too early")
        },
        {
            let ruled = twice().disputed().rules(Seat::Second, &late);
            ruled.at(SECONDS_TURN).case("two fundings, and the second arbiter rules about the later one")
        },
        {
            let earlier = twice().held(2);
            let both = twice().disputed().rules(Seat::First, &earlier).releases(&late);
            both.case("two fundings, the earlier one ruled about and the later one released")
        },
        {
            let refund = twice().by_both(&late, Role::Seller);
            let released = twice().releases(&late).shows(refund, SHALLOW);
            released.case("two fundings, the later one released, and a block holds its refund")
        },
        twice().shows(back(2), SHALLOW).case("two fundings, and a block shows that the earlier one was taken back"),
        twice().shows(back(2), POOL).case("two fundings, and the earlier one is taken back too early"),
        {
            let released = twice().releases(&twice().held(2)).shows(back(2), SHALLOW);
            released.case("two fundings, the earlier one released, and taken back in a block")
        },
        twice().shows(back(1), BURIED).shows(back(2), BURIED).case("two fundings, and both were taken back"),
        once(1, Some(HEIGHT - 1)).case("a funding below the height of the acceptance"),
        once(1, Some(HEIGHT - 1)).pays(2, BURIED).case("a funding below the height of the acceptance, and another"),
        {
            let released = once(1, Some(HEIGHT - 1)).pays(2, BURIED).releases(&late);
            released.case("a released funding below the height of the acceptance, and another")
        },
        once(1, Some(HEIGHT)).pays(2, BURIED).case("a funding at the height of the acceptance, and another"),
        {
            // The vaults of the extension are the youngest, and come from the oldest funding.
            let both = once(2, Some(150)).shows(extension, Some(350)).pays(1, BURIED).at(400);
            let ruled = both.disputed().rules(Seat::First, &late).rules(Seat::First, &made);
            ruled.case("two fundings, the earlier one extended, and both ruled about")
        },
    ]
}

/// What a spend means, in a block and in the pool.
fn spent() -> Vec<Case> {
    let funded = Scene::funded;
    let held = funded().held(1);
    let [payout, refund] = [Role::Buyer, Role::Seller].map(|to| funded().by_both(&held, to));
    let back = funded().taken_back(Vault::Escrow, held.escrow);
    let mut unsigned = payout.clone();
    unsigned.input[0].witness.clear();
    let mut elsewhere = funded().escrow.spend(&held, sats(FEE), Role::Buyer).unwrap();
    elsewhere.tx.output[0].script_pubkey = funded().trade.arbiter.party().destination.script().clone();
    let elsewhere = funded().signed_by_both(elsewhere);
    // With the coin of somebody.
    let mut joined = payout.clone();
    let coin = OutPoint { txid: Txid::from_byte_array([0xcc; 32]), vout: 0 };
    joined.input.push(TxIn { previous_output: coin, ..joined.input[0].clone() });
    vec![
        funded().shows(payout.clone(), POOL).case("a payout in the pool"),
        funded().shows(unsigned, POOL).case("a payout in the pool that nobody signed"),
        funded().shows(payout, BURIED).case("a payout is buried"),
        funded().shows(funded().by_key(&held), POOL).case("a payout by the key of both in the pool"),
        funded().shows(funded().by_key(&held), BURIED).case("a payout by the key of both is buried"),
        funded().disputed().shows(refund.clone(), SHALLOW).case("disputed, and a refund in a block"),
        funded().shows(refund, BURIED).case("a refund is buried"),
        funded().shows(back.clone(), POOL).at(REFUND_FROM - 1).case("taken back in the pool, a block too early"),
        funded().shows(back.clone(), POOL).at(REFUND_FROM).case("taken back in the pool"),
        funded().releases(&held).shows(back, BURIED).case("released, and taken back in a block that is buried"),
        funded().shows(elsewhere.clone(), POOL).case("both send the coins elsewhere, in the pool"),
        funded().shows(elsewhere.clone(), SHALLOW).case("both send the coins elsewhere, in a block"),
        funded().shows(elsewhere, BURIED).case("both send the coins elsewhere, in a block that is buried"),
        funded().shows(joined.clone(), POOL).case("a payout beside the coin of somebody, in the pool"),
        funded().shows(joined, BURIED).case("a payout beside the coin of somebody, in a block that is buried"),
    ]
}

/// What arbiters sign, on the chain.
fn divided() -> Vec<Case> {
    let disputed = || Scene::funded().disputed();
    let held = disputed().held(1);
    let ruled = disputed().ruled(Seat::First, &held);
    let (extension, made) = disputed().extended(&held);
    let extended = || disputed().shows(extension.clone(), Some(350)).at(352);
    let payout = disputed().by_both(&made, Role::Buyer);
    let (again, _) = disputed().extended(&made);
    vec![
        disputed().shows(ruled.clone(), POOL).at(RULED_FROM - 1).case("a ruling in the pool, a block too early"),
        disputed().shows(ruled.clone(), POOL).at(RULED_FROM).case("a ruling in the pool"),
        disputed().shows(ruled, Some(350)).at(352).case("a ruling is buried"),
        disputed().shows(extension.clone(), Some(350)).at(351).case("an extension in a block"),
        disputed().shows(extension.clone(), POOL).at(RULED_FROM).case("an extension in the pool"),
        extended().case("an extension is buried"),
        Scene::funded().shows(extension.clone(), Some(350)).at(352).case("an extension is buried, and nobody disputes"),
        extended().rules(Seat::First, &held).case("ruled about what was extended"),
        extended().rules(Seat::First, &made).case("ruled about what an extension made"),
        extended().releases(&held).case("what was extended is released"),
        extended().releases(&made).case("what an extension made is released"),
        extended().names(Role::Seller, 1).case("what was extended is named"),
        extended().shows(payout, Some(360)).at(362).case("a payout of what an extension made is buried"),
        extended().shows(again, Some(600)).at(602).case("an extension of an extension is buried"),
    ]
}

/// Outputs with both bonds.
fn bonds() -> Vec<Case> {
    let bonded = Scene::bonded;
    let twice = || Scene::bonded().pays(2, EARLIER);
    let [late, early] = [1, 2].map(|number| bonded().held(number));
    let alone = Vaults { bond: None, ..late };
    let back = bonded().taken_back(Vault::Bond, late.bond.unwrap());
    let payout = bonded().by_both(&late, Role::Buyer);
    let mut swapped = payout.clone();
    swapped.output.swap(0, 1);
    let (extension, made) = bonded().extended(&late);
    vec![
        twice().names(Role::Buyer, 1).case("bonds, two fundings, and the buyer names the later one"),
        {
            let misled = twice().names(Role::Buyer, 2).names(Role::Seller, 1).releases(&late);
            misled.case("bonds, two fundings: the buyer names one, the seller names and releases the other")
        },
        {
            let closed = twice().names(Role::Buyer, 2).shows(payout.clone(), BURIED);
            closed.case("bonds, two fundings: the buyer names one, a payout of the other is buried")
        },
        {
            let back = bonded().taken_back(Vault::Escrow, late.escrow);
            let taken = twice().names(Role::Buyer, 1).shows(back, SHALLOW);
            taken.case("bonds, two fundings: the one that the buyer names is taken back in a block")
        },
        twice().releases(&Vaults { bond: None, ..early }).case("bonds: released without the buyer's bond"),
        bonded()
            .releases(&late)
            .shows(back.clone(), POOL)
            .at(REFUND_FROM)
            .case("bonds: released, the bond leaves alone"),
        bonded().releases(&late).shows(back.clone(), SHALLOW).case("bonds: released, and the bond has left alone"),
        bonded()
            .releases(&alone)
            .shows(back.clone(), SHALLOW)
            .case("bonds: the bond has left alone, the rest is released"),
        twice().releases(&late).shows(back, SHALLOW).case("bonds, two fundings: of the released one the bond has left"),
        bonded().shows(payout, BURIED).case("bonds: a payout is buried"),
        bonded().shows(swapped, BURIED).case("bonds: a payout with its outputs in another order is buried"),
        {
            let refund = bonded().by_both(&alone, Role::Seller);
            bonded().shows(refund, BURIED).case("bonds: both send the escrow alone to the seller")
        },
        {
            let extended = bonded().disputed().shows(extension, Some(350)).at(352);
            extended.names(Role::Buyer, 1).rules(Seat::First, &made).case("bonds: extended and ruled about")
        },
    ]
}
