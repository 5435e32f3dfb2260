//! Buyer and seller, each with a machine that is killed before any effect it performs, over one ledger and one chain of
//! plain data. Whatever is lost, both come to the same end, and no second funding and no foreign payout is ever sent.

use std::collections::{BTreeSet, VecDeque};

use bitcoin::{Amount, Txid};

use super::bonds::{coin_of, funder, sign};
use super::*;
use crate::body::{Cancel, Release};
use crate::ledger::{Ledger, TradeRecords};
use crate::record::Record;
use crate::storage::{MemoryStorage, Storage};
use crate::testing::{admit_all, ledger, spend_of_nowhere};
use crate::trade::funding::{Input, InputState};
use crate::trade::{Ask, Asked, Reply, counterparty};
use crate::wire::CurveSignature;

/// What the two users want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// Fund, pay, release; both sign the payout as one.
    Trade,
    /// The same, but the seller's node goes as soon as he released.
    Silent,
    /// The buyer calls it off before it is funded.
    CalledOff,
    /// The buyer calls it off after it is funded.
    Refund,
    /// The buyer calls it off at the very moment when the seller funds.
    Crossed,
    /// The buyer vanishes; the seller waits.
    Timeout,
    /// The buyer pays, the seller does not release; the arbiter believes the buyer.
    BuyerWins,
    /// The buyer does not pay; the arbiter believes the seller.
    SellerWins,
    /// The arbiter divides the coins, after he took more time for it twice.
    Divided,
    /// A trade, and a reorg at its end that empties the pool as well.
    Reorg,
    /// The buyer of a bonded trade signs, and hears nothing any more.
    Unanswered,
    /// Both sign, and the network never takes it; the buyer gives up.
    Unheard,
    /// The seller proposes, and the buyer never agrees; the seller calls it off.
    Unwilling,
    /// The buyer calls it off at the very moment when the seller's coins are chosen.
    Hasty,
}

impl Story {
    const ALL: [Self; 10] = [
        Self::Trade,
        Self::Silent,
        Self::CalledOff,
        Self::Refund,
        Self::Crossed,
        Self::Timeout,
        Self::BuyerWins,
        Self::SellerWins,
        Self::Divided,
        Self::Reorg,
    ];

    /// The ways in which a funding from two wallets comes to nothing.
    const UNFUNDED: [Self; 4] = [Self::Unanswered, Self::Unheard, Self::Unwilling, Self::Hasty];

    fn end(self) -> Phase {
        match self {
            Self::Trade | Self::Silent | Self::Reorg => Phase::Closed,
            Self::CalledOff | Self::Unanswered | Self::Unheard | Self::Unwilling | Self::Hasty => Phase::Cancelled,
            Self::Refund | Self::Crossed | Self::Timeout => Phase::Refunded,
            Self::BuyerWins | Self::SellerWins | Self::Divided => Phase::Settled,
        }
    }

    /// Returns how the arbiter decides.
    fn verdict(self) -> Verdict {
        match self {
            Self::BuyerWins => Verdict::Buyer,
            Self::Divided => Verdict::Split(sats(300_000)),
            _ => Verdict::Seller,
        }
    }

    fn wish(self, role: Role, phase: Phase) -> Option<Action> {
        match (self, role, phase) {
            (Self::CalledOff, Role::Buyer, Phase::Agreed) => Some(Action::Cancel),
            (Self::CalledOff, Role::Seller, Phase::Agreed) => None,
            (Self::Unwilling | Self::Hasty, Role::Buyer, Phase::Agreed) => None,
            (_, Role::Buyer | Role::Seller, Phase::Agreed) => Some(Action::Fund),
            (Self::Timeout, Role::Buyer, Phase::Refunding | Phase::Refunded) => Some(Action::Refund),
            (
                Self::Trade | Self::Silent | Self::Reorg | Self::BuyerWins | Self::Divided,
                Role::Buyer,
                Phase::Funded,
            ) => Some(Action::MarkPaid),
            (Self::BuyerWins | Self::Divided, Role::Buyer, Phase::Paid) => Some(Action::Dispute),
            (Self::SellerWins, Role::Seller, Phase::Funded) => Some(Action::Dispute),
            (Self::Trade | Self::Silent | Self::Reorg, Role::Seller, Phase::Paid) => Some(Action::Release),
            (Self::Refund, Role::Buyer, Phase::Funded) => Some(Action::Cancel),
            (Self::Timeout, Role::Seller, Phase::Funded) => Some(Action::Refund),
            (_, _, _) => None,
        }
    }
}

/// The transactions that a node of the chain knows, and the heights at which blocks confirm them.
#[derive(Default)]
struct Chain {
    tip: u32,
    seen: Vec<(Transaction, Option<u32>)>,
}

impl Chain {
    fn broadcast(&mut self, tx: &Transaction) {
        // BIP-68: what comes too early is refused.
        let is_early = |input: &bitcoin::TxIn| {
            let delay = match input.sequence.to_relative_lock_time() {
                Some(bitcoin::relative::LockTime::Blocks(blocks)) => u32::from(blocks.value()),
                _ => return false,
            };
            let spent = self.seen.iter().find(|(other, _)| other.compute_txid() == input.previous_output.txid);
            spent.and_then(|(_, height)| *height).is_none_or(|height| self.tip + 1 < height + delay)
        };
        if tx.input.iter().any(is_early) {
            return;
        }
        let inputs = |tx: &Transaction| tx.input.iter().map(|input| input.previous_output).collect::<BTreeSet<_>>();
        let known = self.seen.iter().any(|(other, _)| !inputs(other).is_disjoint(&inputs(tx)));
        if !known {
            self.seen.push((tx.clone(), None));
        }
    }

    fn mine(&mut self, blocks: u32) {
        for (_, height) in &mut self.seen {
            height.get_or_insert(self.tip + 1);
        }
        self.tip += blocks;
    }

    /// Replaces everything from a height on by empty blocks, and forgets the pool.
    fn reorganise(&mut self, from: u32) {
        self.seen.retain(|(_, height)| height.is_some_and(|height| height < from));
    }

    fn facts(&self, escrow: &Escrow) -> ChainFacts {
        ChainFacts::gather(escrow, self.tip, true, self.seen.iter().map(|(tx, height)| (tx, *height)))
    }
}

/// Everything that survives a crash, of both sides.
struct World {
    story: Story,
    trade: SampleTrade,
    bid: Bid,
    escrow: Escrow,
    ledger: Ledger<MemoryStorage>,
    /// What the ledger knows of the trade, read again when it changes.
    known: TradeRecords,
    chain: Chain,
    wallet: u8,
    sent: BTreeSet<Txid>,
    mail: Vec<Role>,
    /// What the buyer asked and the seller replied, not yet heard.
    asks: Vec<Ask>,
    replies: Vec<Reply>,
    /// How often anybody drew nonces.
    draws: u8,
    /// The messages of a funding from two wallets, for whom: all of them come again and again.
    negotiated: Vec<(Role, funding::Event)>,
    /// Whose coins are set aside, free again, or spent back.
    shares: BTreeSet<Role>,
    freed: BTreeSet<Role>,
    spent_back: BTreeSet<Role>,
    /// How many effects are performed before the power goes.
    fuse: Option<usize>,
}

struct Node {
    role: Role,
    maker: bool,
    saved: Local,
    machine: Trade,
    /// The round that waits, in memory.
    asked: Option<Asked>,
}

struct Crash;

impl Node {
    fn new(world: &mut World, role: Role) -> Self {
        let details = world.trade.author(role).details();
        let saved = Local { details: Some((SALT, details)), ..Local::default() };
        let bid = world.bid.clone();
        let maker = bid.maker == world.trade.author(role).id();
        let saved = if role == Role::Arbiter { Local::default() } else { saved };
        let machine = Trade::new(bid, role, maker, saved.clone());
        Self { role, maker, saved, machine, asked: None }
    }

    /// One look at ledger, chain and mail, and one wish of the user. A crash loses all but what was saved.
    fn turn(&mut self, world: &mut World) {
        if self.try_turn(world).is_err() {
            world.fuse = None;
            self.asked = None;
            self.machine = Trade::new(world.bid.clone(), self.role, self.maker, self.saved.clone());
        }
    }

    fn try_turn(&mut self, world: &mut World) -> Result<(), Crash> {
        if let Some(asked) = self.asked.take() {
            self.hear_reply(world, asked)?;
        }
        let TradeRecords { contract, facts, .. } = world.known.clone();
        self.run(world, Event::Records { contract, facts })?;
        self.run(world, Event::Compared)?;
        let chain = world.chain.facts(&world.escrow);
        self.run(world, Event::Chain(chain))?;
        if world.mail.contains(&self.role) {
            let details = world.trade.author(counterparty(self.role)).details();
            self.run(world, Event::Details { salt: SALT, details })?;
        }
        if self.role == Role::Seller && world.story != Story::Silent {
            for ask in std::mem::take(&mut world.asks) {
                self.run(world, Event::Asked { from: Role::Buyer, ask })?;
            }
        }
        if self.role == Role::Arbiter && self.machine.phase() == Phase::Disputed {
            let more = world.story == Story::Divided && self.machine.view().extensions() < 2;
            let event = if more {
                Event::Command(Command { action: Action::Extend, feerate: 10 })
            } else {
                Event::Rule { verdict: world.story.verdict(), feerate: 10 }
            };
            return self.run(world, event);
        }
        for (to, event) in world.negotiated.clone() {
            if to == self.role {
                self.run(world, Event::Joint(event))?;
            }
        }
        if world.story == Story::Unwilling && self.role == Role::Seller && world.chain.tip > 155 {
            return self.run(world, Event::Command(Command { action: Action::Cancel, feerate: 10 }));
        }
        let wish = world.story.wish(self.role, self.machine.phase());
        match wish.filter(|action| self.machine.actions().contains(action)) {
            Some(action) => self.run(world, Event::Command(Command { action, feerate: 10 })),
            None => Ok(()),
        }
    }

    /// Hears the reply to what was asked in the last turn; one that is not there is too late.
    fn hear_reply(&mut self, world: &mut World, asked: Asked) -> Result<(), Crash> {
        let reply = std::mem::take(&mut world.replies).into_iter().find(|reply| asked.is_answered_by(reply));
        let key = world.trade.author(Role::Buyer).trade_key();
        let built = reply.map(|reply| world.escrow.complete_by_key(asked, &reply, &key).unwrap().tx);
        self.run(world, built.map_or(Event::Unanswered, Event::SpendBuilt))
    }

    fn run(&mut self, world: &mut World, event: Event) -> Result<(), Crash> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.machine.handle(event).unwrap_or_default() {
                world.burn()?;
                events.extend(self.perform(world, effect));
            }
        }
        Ok(())
    }

    fn perform(&mut self, world: &mut World, effect: Effect) -> Option<Event> {
        let escrow = world.escrow.clone();
        let key = world.trade.author(self.role).trade_key();
        match effect {
            Effect::Persist(local) => self.saved = local,
            Effect::Watch { scripts, .. } => assert_eq!(scripts, escrow.scripts()),
            Effect::Accept => world.admit(world.trade.accept.clone()),
            Effect::Publish(body) => world.publish(self.role, &body),
            Effect::SendDetails => world.mail.push(counterparty(self.role)),
            Effect::BuildFunding { script, amount, .. } => {
                assert_eq!((&script, bitcoin::Amount::from(amount)), (&escrow.script(), escrow.output().value));
                world.wallet += 1;
                return Some(Event::FundingBuilt(world.trade.funding(world.wallet)));
            }
            Effect::ChooseCoins { output, feerate } => {
                assert!(output == escrow.output() || Some(output) == escrow.bond_output());
                world.shares.insert(self.role);
                let mine = funder(self.role);
                return Some(Event::Joint(funding::Event::Chosen { mine, feerate }));
            }
            Effect::LookUpCoins(theirs) => {
                let states = theirs.inputs.iter().map(|coin| world.look_up(coin)).collect();
                return Some(Event::Joint(funding::Event::Looked { theirs, states, highest: 25 }));
            }
            Effect::SignFunding(draft) => {
                assert_eq!(escrow.fundings(draft.tx()).len(), 1);
                let tx = sign(&draft, self.role);
                return Some(Event::Joint(funding::Event::Signed(tx)));
            }
            Effect::SendProposal(proposal) => {
                assert_eq!(self.saved.negotiation, self.machine.local().negotiation, "kept before it is sent");
                world.negotiated.push((Role::Buyer, funding::Event::Proposal(proposal)));
                return Some(Event::Joint(funding::Event::Sent));
            }
            Effect::SendAnswer(answer) => {
                assert_eq!(self.saved.negotiation, self.machine.local().negotiation, "kept before it is sent");
                if world.story != Story::Unanswered {
                    world.negotiated.push((Role::Seller, funding::Event::Answer(answer)));
                }
                return Some(Event::Joint(funding::Event::Sent));
            }
            Effect::FreeCoins { .. } => {
                world.freed.insert(self.role);
                return Some(Event::Joint(funding::Event::Ended));
            }
            Effect::SpendCoinBack { .. } => {
                let mut back = spend_of_nowhere(0, Vec::new());
                back.input[0].previous_output = coin_of(self.role);
                // A wallet knows what it sent before the machine hears that it was seen.
                let is_ours = |tx: &Transaction| self.saved.negotiation.has_signed(&tx.compute_txid());
                if world.chain.seen.iter().any(|(tx, _)| is_ours(tx)) {
                    return None;
                }
                world.spent_back.insert(self.role);
                world.chain.broadcast(&back);
                return Some(Event::Joint(funding::Event::Ended));
            }
            Effect::SignHalf { vaults, fee, to } => {
                assert_eq!(to, counterparty(self.role), "nobody signs coins over to himself");
                let half = escrow.half(&vaults, fee, to, &key).unwrap();
                let trade = world.trade.id();
                let body = match to {
                    Role::Buyer => Body::Release(Release { trade, payout: half }),
                    Role::Seller | Role::Arbiter => Body::Cancel(Cancel { trade, refund: Some(half) }),
                };
                world.publish(self.role, &body);
            }
            Effect::Complete { half, to } => {
                assert_eq!(to, self.role);
                return Some(Event::SpendBuilt(escrow.complete(&half, to, &key).unwrap().tx));
            }
            Effect::Ask { vaults, fee } if self.asked.is_none() => {
                let (ask, asked) = escrow.ask(&vaults, fee, &key, &world.draw()).unwrap();
                world.asks.push(ask);
                self.asked = Some(asked);
            }
            Effect::Ask { .. } => {}
            Effect::Reply { vaults, ask } => {
                let is_kept = !world.known.facts.releases.is_empty();
                assert!(is_kept, "nothing is signed as one before the release is kept");
                let reply = escrow.reply(&ask, &vaults, &key, &world.draw()).unwrap();
                world.replies.push(reply);
            }
            Effect::BuildTimeout { vault, coin, fee } => {
                return Some(Event::SpendBuilt(escrow.signed_timeout(vault, coin, fee, &key).unwrap().tx));
            }
            Effect::SignRuling { seat, vaults, to_buyer, to_seller } => {
                let pair = world.trade.arbiter_pair(escrow.contract(), seat);
                let ruling = escrow.rule(seat, &vaults, (to_buyer, to_seller), &pair).unwrap();
                world.publish(self.role, &Body::Ruling(ruling));
            }
            Effect::SignExtension { seat, vaults, fee } => {
                let pair = world.trade.arbiter_pair(escrow.contract(), seat);
                world.publish(self.role, &Body::Extend(escrow.extend(seat, &vaults, fee, &pair).unwrap()));
            }
            Effect::CompleteRuling { seat, ruling } => {
                let draft = escrow.complete_ruling(seat, &ruling, self.role, &key).unwrap();
                return Some(Event::SpendBuilt(draft.tx));
            }
            Effect::CompleteExtension { seat, extend } => {
                let draft = escrow.complete_extend(seat, &extend, self.role, &key).unwrap();
                return Some(Event::SpendBuilt(draft.tx));
            }
            Effect::Broadcast(tx) => {
                if !escrow.fundings(&tx).is_empty() {
                    // The funding of a seller alone is made of nothing here.
                    let is_joint = world.escrow.bond_output().is_some();
                    assert!(!is_joint || tx.input.iter().all(|input| input.witness.len() == 1), "signed by both");
                    world.sent.insert(tx.compute_txid());
                    if world.story == Story::Unheard {
                        return None;
                    }
                }
                world.chain.broadcast(&tx);
            }
        }
        None
    }
}

impl World {
    fn new(story: Story, trade: SampleTrade, fuse: Option<usize>) -> Self {
        let (bid, escrow) = (trade.bid(), trade.escrow());
        let mut ledger = ledger();
        admit_all(&mut ledger, &trade.records()[..3]);
        let known = ledger.trade(trade.id()).unwrap();
        let chain = Chain { tip: 150, seen: Vec::new() };
        Self {
            story,
            trade,
            bid,
            escrow,
            ledger,
            known,
            chain,
            wallet: 0,
            sent: BTreeSet::new(),
            mail: Vec::new(),
            asks: Vec::new(),
            replies: Vec::new(),
            draws: 0,
            negotiated: Vec::new(),
            shares: BTreeSet::new(),
            freed: BTreeSet::new(),
            spent_back: BTreeSet::new(),
            fuse,
        }
    }

    /// Returns what nobody drew before.
    fn draw(&mut self) -> [u8; 32] {
        self.draws += 1;
        [self.draws; 32]
    }

    fn burn(&mut self) -> Result<(), Crash> {
        match self.fuse.as_mut() {
            Some(0) => Err(Crash),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn admit(&mut self, record: Record) {
        admit_all(&mut self.ledger, &[record]);
        self.known = self.ledger.trade(self.trade.id()).unwrap();
    }

    /// Publishes once, as a node does that looks first whether it has said so already.
    fn publish(&mut self, role: Role, body: &Body) {
        let id = self.trade.id();
        let author = self.trade.author(role);
        let about = self.ledger.storage().about(&id.into(), Some(&author.id()), 1000).unwrap();
        let said = about.iter().any(|id| {
            let record = self.ledger.storage().record(id).unwrap().unwrap();
            record.header().kind == body.kind() && record.body() == body.encode()
        });
        if !said {
            let record = author.write(body);
            self.admit(record);
        }
    }

    fn is_over(&self) -> bool {
        let facts = &self.known.facts;
        let closed = facts.buyer_closed.is_some() && facts.seller_closed.is_some();
        let held = self.shares.iter().any(|role| !self.freed.contains(role) && !self.spent_back.contains(role));
        let ended = closed || (self.story.end() == Phase::Cancelled && !held);
        // The buyer takes back his bond alone.
        let bond_back =
            self.story != Story::Timeout || self.escrow.bond_output().is_none() || self.chain.seen.len() > 2;
        self.phase() == self.story.end() && ended && bond_back
    }

    /// What the chain shows of a coin that one of both brings.
    fn look_up(&self, coin: &Input) -> InputState {
        let outpoint = coin.outpoint.0;
        let spends = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == outpoint);
        if let Some((tx, height)) = self.chain.seen.iter().find(|(tx, _)| spends(tx)) {
            let depth = height.map_or(0, |height| self.chain.tip + 1 - height);
            return InputState::Spent { by: tx.compute_txid(), depth };
        }
        let owner = [Role::Seller, Role::Buyer].into_iter().find(|role| coin_of(*role) == outpoint);
        let value = owner.map_or(0, |role| funder(role).values[0].get());
        let output = TxOut { value: Amount::from_sat(value), script_pubkey: coin.script() };
        InputState::Unspent { output, ours: false }
    }

    fn phase(&self) -> Phase {
        let TradeRecords { contract, facts, .. } = self.known.clone();
        let chain = self.chain.facts(&self.escrow);
        evaluate(&View { contract, facts, chain })
    }
}

/// Plays a story; tells whether the fuse burnt down.
fn play(story: Story, trade: &SampleTrade, fuse: Option<usize>) -> bool {
    let mut world = World::new(story, trade.clone(), fuse);
    let side = world.bid.offer.side;
    let mut nodes = [Role::Seller, Role::Buyer, Role::Arbiter].map(|role| Node::new(&mut world, role));
    let mut reorganised = story != Story::Reorg;
    for _ in 0..60 {
        nodes.iter_mut().for_each(|node| node.turn(&mut world));
        if story == Story::Crossed && !world.chain.seen.is_empty() {
            let cancel = Cancel { trade: world.trade.id(), refund: None };
            world.publish(Role::Buyer, &Body::Cancel(cancel)); // from a screen that did not show the funding yet
        }
        if story == Story::Hasty && !world.shares.is_empty() {
            let cancel = Cancel { trade: world.trade.id(), refund: None };
            world.publish(Role::Buyer, &Body::Cancel(cancel));
        }
        if reorganised && world.is_over() {
            break;
        }
        world.chain.mine(match (story, world.phase()) {
            (Story::Timeout, Phase::Funded) => 4320,
            (_, Phase::Disputed | Phase::Ruled) => 72, // half of the arbitration delay
            (_, _) => 1,
        });
        if !reorganised && world.is_over() {
            reorganised = true;
            world.chain.reorganise(151);
            assert_eq!(world.phase(), Phase::Agreed);
        }
    }
    let context = format!("{story:?} {side:?}, killed before effect {fuse:?}");
    assert_eq!(world.phase(), story.end(), "{context}");
    let facts = &world.known.facts;
    if story.end() == Phase::Cancelled {
        let held = world.shares.iter().filter(|role| !world.freed.contains(role) && !world.spent_back.contains(role));
        assert_eq!(held.count(), 0, "{context}: coins stay set aside");
        assert_eq!(world.chain.seen.len(), world.spent_back.len(), "{context}");
        let bound = match story {
            Story::Unheard => 2,
            Story::Unanswered => 1,
            _ => 0,
        };
        assert_eq!(world.spent_back.len(), bound, "{context}: who signed spends a coin back, and nobody else");
    } else {
        assert!(world.freed.is_empty() && world.spent_back.is_empty(), "{context}");
        assert!(facts.buyer_closed.is_some() && facts.buyer_closed == facts.seller_closed, "{context}");
        assert_eq!(world.sent.len(), 1, "{context}: one funding, whatever happens");
        let extensions = if story == Story::Divided { 2 } else { 0 };
        let alone = usize::from(story == Story::Timeout && world.escrow.bond_output().is_some());
        assert_eq!(world.chain.seen.len(), 2 + extensions + alone, "{context}");
    }
    let end = world.chain.facts(&world.escrow);
    let paths: Vec<SpendPath> = end.spends.iter().map(|spend| spend.path).collect();
    assert!(!paths.contains(&SpendPath::Foreign), "{context}");
    if fuse.is_none() && matches!(story, Story::Trade | Story::Silent) {
        let items = end.spends[0].tx.input[0].witness.len();
        assert_eq!(items, if story == Story::Trade { 1 } else { 4 }, "{context}");
    }
    world.fuse.is_none() && fuse.is_some()
}

#[test]
fn after_a_crash_before_any_effect_both_come_to_the_same_end() {
    for side in [Side::Sell, Side::Buy] {
        Story::ALL.into_iter().for_each(|story| crash_everywhere(story, &SampleTrade::new(side)));
    }
}

#[test]
fn after_a_crash_before_any_effect_a_bonded_trade_comes_to_the_same_end() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    Story::ALL.into_iter().for_each(|story| crash_everywhere(story, &trade));
}

#[test]
fn after_a_crash_before_any_effect_a_bonded_trade_that_one_does_not_fund_ends_without_loss() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    Story::UNFUNDED.into_iter().for_each(|story| crash_everywhere(story, &trade));
}

fn crash_everywhere(story: Story, trade: &SampleTrade) {
    assert!(!play(story, trade, None));
    let crashes = (0..).take_while(|fuse| play(story, trade, Some(*fuse))).count();
    assert!(crashes > 3, "{story:?} has more effects than {crashes}");
}

/// A signature over nothing, for halves that only pretend.
#[test]
fn a_half_that_only_pretends_is_no_fact() {
    let mut world = World::new(Story::Trade, SampleTrade::new(Side::Sell), None);
    world.admit(world.trade.accept.clone());
    let vaults = world.trade.vaults(1);
    let signature = bitcoin::secp256k1::schnorr::Signature::from_slice(&[1; 64]).unwrap();
    let signatures = crate::wire::List::new(vec![CurveSignature(signature)]).unwrap();
    let half = HalfSpend { vaults, fee: sats(1_700), signatures };
    let trade = world.trade.id();
    world.publish(Role::Seller, &Body::Release(Release { trade, payout: half.clone() }));
    world.publish(Role::Buyer, &Body::Cancel(Cancel { trade, refund: Some(half) }));
    let facts = &world.known.facts;
    assert!(facts.releases.is_empty() && facts.refunds.is_empty());
}
