//! The machine that drives one trade for one of its parties. It never acts: events go in, effects come out.
//!
//! What the parties signed and what the chain shows is not kept here but handed in, whole, whenever it changes; what the
//! machine keeps is [`Local`], the little that exists nowhere else, and it asks to persist that before any effect that
//! depends on it. After each event it works out everything that is still to be done, so a lost effect is asked for
//! again, and every effect must be idempotent.

use bitcoin::{ScriptBuf, Transaction, TxOut, Txid};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::body::{Body, Coin, Extend, HalfSpend, Ruling, Vaults};
use crate::ids::{AuthorId, TradeId};
use crate::money::Sats;
use crate::trade::funding::{self, Answer, Contribution, FundingError, Negotiation, Proposal};
use crate::trade::{
    Action, Ask, Bid, ChainFacts, Contract, Escrow, Facts, KeyPathError, Phase, Role, Seat, Spend, SpendPath, Vault,
    Verdict, View, actions, details_commitment, evaluate, spends_any,
};

mod commands;
mod duties;
mod hurry;
mod joint;
mod rounds;
mod strays;

pub use hurry::{HURRY_BLOCKS, Hurried};
pub use rounds::{MAX_REPLIES, MAX_ROUNDS};

/// What exists nowhere else than in this node's private store.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Local {
    /// One's own payment details and the salt of their commitment.
    pub details: Option<([u8; 32], String)>,
    /// The counterparty's payment details, after they were checked against the contract.
    pub their_details: Option<String>,
    /// The signed transaction that funds the escrow, in Bitcoin's encoding. Once there, no other is made while it can confirm.
    pub funding_tx: Option<Vec<u8>>,
    /// The signed transaction by which this side ends the escrow, or takes back what lies there beside it, in Bitcoin's encoding.
    pub spend_tx: Option<Vec<u8>>,
    /// How many asks for a signature by the key of both this side sent (the buyer), or replied to (the seller).
    pub rounds: u8,
    /// How far the funding from two wallets is, where the buyer has a bond.
    pub negotiation: Negotiation,
}

/// What happens to a trade.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "events are handed over one at a time and never kept")]
pub enum Event {
    /// The records of the trade changed, or it is looked at for the first time.
    Records {
        /// The contract, once accepted.
        contract: Option<Contract>,
        /// What the parties signed.
        facts: Facts,
    },
    /// The chain changed.
    Chain(ChainFacts),
    /// The user asks for something.
    Command(Command),
    /// One's own payment details are chosen, before the record that commits to them is published.
    Prepared {
        /// The salt of the commitment.
        salt: [u8; 32],
        /// The details.
        details: String,
    },
    /// The counterparty's payment details came in.
    Details {
        /// The salt.
        salt: [u8; 32],
        /// The details.
        details: String,
    },
    /// The transaction that [`Effect::BuildFunding`] asked for.
    FundingBuilt(Transaction),
    /// The funding of this id can never confirm: a block that no reorganisation takes back holds something else that spends one of
    /// its coins, or of what these come from.
    FundingDead(Txid),
    /// Something happened to the funding from two wallets.
    Joint(funding::Event),
    /// The transaction that [`Effect::Complete`], [`Effect::BuildTimeout`], [`Effect::CompleteRuling`] or
    /// [`Effect::CompleteExtension`] asked for, or that a reply to [`Effect::Ask`] made possible.
    SpendBuilt(Transaction),
    /// Somebody in the trade asks this side to sign a payout by the key of both.
    Asked {
        /// Who, by the key that signed his message.
        from: Role,
        /// What for.
        ask: Ask,
    },
    /// No good reply came to what [`Effect::Ask`] sent, in the time that the driver gives it, or it could not be sent.
    Unanswered,
    /// The ledger was compared with a peer's since the start: nothing that others said while this node was away is still unheard.
    Compared,
    /// There was nobody to compare it with for long. Deadlines do not wait any longer; who could pay does.
    Alone,
    /// The arbiter decides.
    Rule {
        /// For whom.
        verdict: Verdict,
        /// The feerate of the spend, in sat/vB.
        feerate: u64,
    },
}

/// What the user asks for. Feerates are in sat/vB, as estimated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// What.
    pub action: Action,
    /// The feerate for a transaction that this makes.
    pub feerate: u64,
}

/// What the driver must do. Each is safe to do again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Keep this before anything that follows.
    Persist(Local),
    /// Watch the escrow's scripts, from the first block on in which a funding counts (see [`Contract::funded_from`]).
    Watch {
        /// The scripts.
        scripts: Vec<ScriptBuf>,
    },
    /// Accept the bid: make the maker's keys and publish an acceptance.
    Accept,
    /// Publish a record.
    Publish(Body),
    /// Seal one's payment details to the counterparty and hand them to the mailbox.
    SendDetails,
    /// Build and sign, from the wallet, a transaction that pays exactly this output; answer by [`Event::FundingBuilt`].
    BuildFunding {
        /// The escrow's script.
        script: ScriptBuf,
        /// The escrow's value.
        amount: Sats,
        /// sat/vB.
        feerate: u64,
    },
    /// Let the wallet choose confirmed coins for this side's output of a funding from two wallets, once for all its proposals,
    /// and set them aside; answer by [`funding::Event::Chosen`].
    ChooseCoins {
        /// This side's output.
        output: TxOut,
        /// sat/vB.
        feerate: u64,
    },
    /// Look up the other side's coins on the own chain; answer by [`funding::Event::Looked`].
    LookUpCoins(Contribution),
    /// Sign this side's coins, and no others, in a funding from two wallets; answer by [`funding::Event::Signed`].
    SignFunding(funding::Draft),
    /// Send the buyer a proposal; answer by [`funding::Event::Sent`].
    SendProposal(Proposal),
    /// Send the seller an answer; answer by [`funding::Event::Sent`].
    SendAnswer(Answer),
    /// The coins that were set aside for this output are free; answer by [`funding::Event::Ended`].
    FreeCoins {
        /// The output's script.
        script: ScriptBuf,
    },
    /// Spend one of the coins that were set aside for this output to oneself, so that nothing that was signed can confirm;
    /// answer by [`funding::Event::Ended`].
    SpendCoinBack {
        /// The output's script.
        script: ScriptBuf,
    },
    /// Sign one's half of the payout (seller) or refund (buyer) and publish it as `Release` or `Cancel`.
    SignHalf {
        /// What it spends.
        vaults: Vaults,
        /// Its fee.
        fee: Sats,
        /// Whom it pays.
        to: Role,
    },
    /// Complete the counterparty's half; answer by [`Event::SpendBuilt`].
    Complete {
        /// The half.
        half: HalfSpend,
        /// Whom it pays.
        to: Role,
    },
    /// Ask the seller to sign the payout by the key of both, with fresh nonces that stay in memory, unless that is under way;
    /// answer by [`Event::SpendBuilt`] when his reply is good, by [`Event::Unanswered`] when there is none in time.
    Ask {
        /// What it spends.
        vaults: Vaults,
        /// Its fee.
        fee: Sats,
    },
    /// Sign what the buyer asked for, with fresh nonces, and send him the reply. When that fails, nothing is owed.
    Reply {
        /// What it spends.
        vaults: Vaults,
        /// What he asked for.
        ask: Ask,
    },
    /// Build the transaction by which this side takes back what it funded; answer by [`Event::SpendBuilt`].
    BuildTimeout {
        /// Which output.
        vault: Vault,
        /// Where it is.
        coin: Coin,
        /// The fee.
        fee: Sats,
    },
    /// Broadcast a transaction.
    Broadcast(Transaction),
    /// Sign a ruling by the arbiter's key of this contract and publish it.
    SignRuling {
        /// Which arbiter this is.
        seat: Seat,
        /// The coins.
        vaults: Vaults,
        /// What the buyer gets.
        to_buyer: Sats,
        /// What the seller gets.
        to_seller: Sats,
    },
    /// Sign an extension by the arbiter's key of this contract and publish it.
    SignExtension {
        /// Which arbiter this is.
        seat: Seat,
        /// The coins.
        vaults: Vaults,
        /// The fee.
        fee: Sats,
    },
    /// Complete an arbiter's ruling; answer by [`Event::SpendBuilt`].
    CompleteRuling {
        /// Which arbiter's.
        seat: Seat,
        /// The ruling.
        ruling: Ruling,
    },
    /// Complete an arbiter's part of an extension; answer by [`Event::SpendBuilt`].
    CompleteExtension {
        /// Which arbiter's.
        seat: Seat,
        /// His part.
        extend: Extend,
    },
}

impl Effect {
    /// Tells whether the wallet sets coins aside by it. What they are for must be kept before: should the acceptance vanish with
    /// all that this machine remembers, nothing else tells whether they are free.
    pub const fn sets_coins_aside(&self) -> bool {
        matches!(self, Self::BuildFunding { .. } | Self::ChooseCoins { .. })
    }
}

/// Why a command is refused. Nothing has changed. Exhaustive, so that whoever shows a new one has to say what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in this phase, or not by this role.
    #[error("the {role} cannot {action} a trade that is {phase}")]
    NotAllowed {
        /// What was asked for.
        action: Action,
        /// By whom.
        role: Role,
        /// When.
        phase: Phase,
    },
    /// The chain has not been followed to its tip yet.
    #[error("the chain is not synchronised yet; try again when it is")]
    NotSynced,
    /// Nobody looks far below the height that the maker stated, and the chain has not reached it.
    #[error(
        "the maker stated height {from} and the chain is at {tip}: what is paid into the escrow before that height does not count"
    )]
    TooEarlyToFund {
        /// The first height.
        from: u32,
        /// The present one.
        tip: u32,
    },
    /// Nobody pays while others may look at other outputs.
    #[error(
        "do not pay: blocks show that the escrow was funded more than once, or before it was agreed on, so others may come to look at other coins than you"
    )]
    DoubtfulFunding,
    /// Nobody pays before it is settled at which outputs all look.
    #[error(
        "do not pay yet: the coins in the escrow are not named; the seller's node does that by itself once they are confirmed"
    )]
    Unnamed,
    /// Nobody pays for outputs that their seller has not named, or from which he can still lead others away.
    #[error(
        "do not pay: the seller has named other coins than your node sees, or has named them where he can still name others before, so others may come to look at other coins than you"
    )]
    NamedOtherwise,
    /// Nobody pays for what may be gone.
    #[error(
        "do not pay yet: the newest block that your node has read is hours old, so the coins may be gone by now; check this machine's clock, and whether its chain backend hears of new blocks"
    )]
    OldChain,
    /// Nobody pays before he has heard what others said while his node was away, and whether there is a network at all.
    #[error(
        "do not pay yet: no peer has told since your node was started what happened while it was away, so the coins may be gone by now"
    )]
    Unheard,
    /// Too late to pay.
    #[error(
        "the last safe height to pay was {last}, the chain is at {tip}: the seller could take the coins back before your payment settles; do not pay"
    )]
    TooLateToPay {
        /// The last height.
        last: u32,
        /// The present one.
        tip: u32,
    },
    /// Nobody pays while a seller or arbiter can make the agreement vanish.
    #[error("do not pay: the {role} ({}) signed two histories of one log", .author.short())]
    Forked {
        /// Who did.
        author: AuthorId,
        /// What he is in the trade.
        role: Role,
    },
    /// Too early to take the coins back.
    #[error("the refund opens at height {from}, the chain is at {tip}")]
    TooEarlyToRefund {
        /// The first height.
        from: u32,
        /// The present one.
        tip: u32,
    },
    /// The ledger was not compared with anybody's since the start.
    #[error(
        "no peer has told yet what happened while this node was away; a deadline acts only when one has, or none could be found for an hour"
    )]
    NotCompared,
    /// The arbiter may not decide yet.
    #[error("the second arbiter may act from height {from} on, if the first is silent; the chain is at {tip}")]
    TooEarlyToRule {
        /// The first height.
        from: u32,
        /// The present one.
        tip: u32,
    },
    /// The coins were moved into the escrow again often enough.
    #[error("this dispute was extended {0} times, which is the limit; decide it")]
    TooManyExtensions(usize),
    /// A party signed the coins over to the other, and nobody but this arbiter may have seen it.
    #[error(
        "the coins were signed over to the {to}, by a record that this node has kept and the ledger does not show any more; rule for the {to}"
    )]
    SignedOver {
        /// The other.
        to: Role,
    },
    /// A ruling was asked for without saying for whom.
    #[error("a ruling must say whom it is for")]
    NoVerdict,
    /// There is nothing of this side's own to take back.
    #[error("nothing in this escrow is yours to take back")]
    NothingToTakeBack,
    /// What pays this buyer more takes his bond along.
    #[error(
        "your bond goes along with what pays you, which the seller released or an arbiter gave you: taken back alone it would undo that, and leave those coins to the seller"
    )]
    BondNeeded,
    /// This side has nothing to put into the escrow.
    #[error("the seller funds this escrow alone; you have nothing to put in")]
    NothingToFund,
    /// The funding from two wallets does not allow it.
    #[error(transparent)]
    Funding(#[from] FundingError),
    /// The funding transaction exists already and waits for the chain.
    #[error("the escrow's funding is already on its way")]
    AlreadyFunding,
    /// The wallet built something else than was asked for.
    #[error("the transaction that was built does not fund the escrow with exactly its amount; nothing was sent")]
    WrongFunding,
    /// The payout or refund was signed already.
    #[error("this was already signed")]
    AlreadySigned,
    /// The seller asked for a refund before.
    #[error("you have asked for a refund already; the buyer has to agree")]
    AlreadyAsked,
    /// The counterparty's payment details have not arrived or do not match the contract.
    #[error("the payment details do not match what the contract commits to")]
    DetailsMismatch,
    /// Only the seller signs as one with the buyer, and only for him.
    #[error("the {from} asks for a signature that only the buyer may ask the seller for")]
    NotTheBuyer {
        /// Who asked.
        from: Role,
    },
    /// The seller has not released these coins.
    #[error("a signature was asked for, but the coins are not released")]
    NotReleased,
    /// The coins move already.
    #[error("a signature was asked for coins that are spent")]
    AlreadySpent,
    /// The buyer asked often enough.
    #[error("{0} asks of this trade were replied to, which is the limit")]
    TooManyAsks(u8),
    /// What the buyer asks for is not what the contract prescribes.
    #[error(transparent)]
    KeyPath(#[from] KeyPathError),
    /// The fee for a spend is out of bounds.
    #[error(transparent)]
    Escrow(#[from] crate::trade::EscrowError),
}

/// One trade, as one of its parties sees it.
#[derive(Debug, Clone)]
pub struct Trade {
    bid: Bid,
    role: Role,
    seat: Option<Seat>,
    maker: bool,
    escrow: Option<Escrow>,
    view: View,
    local: Local,
    compared: bool,
    alone: bool,
    round: rounds::Round,
}

impl Trade {
    /// Takes up a trade in a role, with what was persisted of it. An arbiter sits on the first seat; see [`Self::seated`].
    pub fn new(bid: Bid, role: Role, maker: bool, local: Local) -> Self {
        let seat = (role == Role::Arbiter).then_some(Seat::First);
        let (view, round) = (View::default(), rounds::Round::None);
        Self { bid, role, seat, maker, escrow: None, view, local, compared: false, alone: false, round }
    }

    /// Takes up a trade as one of its arbiters. He has nothing to keep: whatever he does is in his records.
    pub fn seated(bid: Bid, seat: Seat) -> Self {
        Self { seat: Some(seat), ..Self::new(bid, Role::Arbiter, false, Local::default()) }
    }

    /// Returns its id.
    pub const fn id(&self) -> TradeId {
        self.bid.trade
    }

    /// Returns the bid.
    pub const fn bid(&self) -> &Bid {
        &self.bid
    }

    /// Returns the role of this side.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns which of the arbiters this is, if it is one.
    pub const fn seat(&self) -> Option<Seat> {
        self.seat
    }

    /// Tells whether this side made the offer.
    pub const fn is_maker(&self) -> bool {
        self.maker
    }

    /// Returns the escrow, once agreed.
    pub const fn escrow(&self) -> Option<&Escrow> {
        self.escrow.as_ref()
    }

    /// Returns what decides where the trade stands.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Returns what only this node knows.
    pub const fn local(&self) -> &Local {
        &self.local
    }

    /// Returns where the trade stands.
    pub fn phase(&self) -> Phase {
        evaluate(&self.view)
    }

    /// Returns what this side may do now; what [`Self::handle`] would refuse is left out.
    pub fn actions(&self) -> Vec<Action> {
        let phase = self.phase();
        let all = actions(phase, self.role, self.maker).iter().copied();
        all.filter(|action| self.check(*action, phase).is_ok()).collect()
    }

    /// Returns why this side may not do something now; nothing if it may.
    pub fn refusal(&self, action: Action) -> Option<Refusal> {
        self.check(action, self.phase()).err()
    }

    /// Takes in an event and returns what is to be done, in order.
    ///
    /// # Errors
    /// Only for what the user asked for, for a funding that is not wanted (any more), and for payment details and asks of the
    /// counterparty that are not as the contract says; nothing has changed then.
    pub fn handle(&mut self, event: Event) -> Result<Vec<Effect>, Refusal> {
        let mut effects = Vec::new();
        let local_before = self.local.clone();
        let is_answer = matches!(&event, Event::Joint(event) if joint::is_answer(event));
        let is_cancel = matches!(&event, Event::Command(Command { action: Action::Cancel, .. }));
        match event {
            Event::Records { contract, facts } => {
                if self.view.contract != contract {
                    if self.view.contract.is_some() {
                        // What the chain showed was of another escrow.
                        self.view.chain.fundings.clear();
                        self.view.chain.spends.clear();
                        self.view.chain.strays.clear();
                    }
                    self.escrow = contract.as_ref().map(Escrow::new);
                    self.view.contract = contract;
                }
                self.view.facts = self.heeded(facts);
            }
            Event::Chain(chain) => self.view.chain = self.concerned(chain),
            Event::Command(Command { action: Action::Fund, feerate }) if self.joint_terms().is_some() => {
                self.check(Action::Fund, self.phase())?;
                effects.extend(self.negotiate(funding::Event::Fund { feerate })?);
            }
            Event::Command(command) => effects.push(self.command(command)?),
            Event::Joint(event) => effects.extend(self.negotiate(event)?),
            // Until the contract commits to them, the last choice counts.
            Event::Prepared { salt, details } if self.view.contract.is_none() => {
                self.local.details = Some((salt, details));
            }
            Event::Prepared { salt, details } => {
                self.local.details.get_or_insert((salt, details));
            }
            Event::Details { salt, details } => self.take_details(&salt, details)?,
            Event::FundingBuilt(tx) => self.take_funding(&tx)?,
            Event::FundingDead(txid) => self.forget_funding(&txid),
            Event::SpendBuilt(tx) => self.take_spend(&tx),
            Event::Asked { from, ask } => effects.push(self.reply_to(from, ask)?),
            Event::Unanswered => self.end_round(),
            Event::Compared => self.compared = true,
            Event::Alone => self.alone = true,
            Event::Rule { verdict, feerate } => effects.push(self.rule(verdict, feerate)?),
        }
        self.begin_round();
        if self.local != local_before {
            effects.insert(0, Effect::Persist(self.local.clone()));
        }
        // What is called off now is not sent first, as if it were not: the record that says so tells what is owed.
        let duties = if is_cancel { Vec::new() } else { self.duties() }.into_iter();
        effects.extend(duties.filter(|duty| !(is_answer && matches!(duty, Effect::LookUpCoins(_)))));
        Ok(effects)
    }

    /// Returns what of the facts concerns this side. An arbiter heeds no half that only he may have seen: whom it pays could not
    /// complete it, and nobody would decide. It binds his verdict (see [`Self::signed_over`]).
    fn heeded(&self, mut facts: Facts) -> Facts {
        if self.role == Role::Arbiter {
            let Facts { releases, refunds, hidden, .. } = &mut facts;
            for (to, half) in hidden.iter() {
                let halves = if *to == Role::Buyer { &mut *releases } else { &mut *refunds };
                halves.retain(|other| other != half);
            }
        }
        facts
    }

    /// Returns the half by which a party signed these coins over, or those that they came from, if this node has pinned it and
    /// the ledger does not show it, with whom it pays. Of both directions the buyer's comes first, as it does where it is shown.
    pub fn hidden_half(&self) -> Option<&(Role, HalfSpend)> {
        let funding = self.view.funding()?;
        let is_of = |half: &HalfSpend| {
            let mut lineage = self.view.chain.lineage(funding);
            lineage.any(|earlier| earlier.shows(&half.vaults))
        };
        self.view.facts.hidden.iter().filter(|(_, half)| is_of(half)).min_by_key(|(to, _)| *to)
    }

    /// Returns whom it pays: an arbiter rules in no other way.
    pub fn signed_over(&self) -> Option<Role> {
        self.hidden_half().map(|(to, _)| *to)
    }

    /// Returns the transaction that this side made and keeps, if it spends the funding as it is now, and in this way: after
    /// a reorg with another funding, or an extension, it is worth nothing and made anew.
    fn signed(&self, path: SpendPath) -> Option<Transaction> {
        let vaults = self.view.funding()?.vaults;
        let tx = decode(self.local.spend_tx.as_deref())?;
        let is_it = spends_any(&tx, &vaults) && self.escrow.as_ref()?.classify(&tx, &vaults) == path;
        is_it.then_some(tx)
    }

    /// Returns what was signed so and can still confirm, as far as blocks show: not beside a bond that left alone. What a
    /// block makes impossible a reorg makes possible again; so it stays signed.
    fn kept(&self, path: SpendPath) -> Option<Transaction> {
        self.signed(path).filter(|tx| !self.is_dead(tx))
    }

    /// Returns the transaction that this side made last, if it spends an output: the pool may have dropped it, or never taken it.
    pub fn kept_spend_of(&self, coin: &Coin) -> Option<Transaction> {
        let spends_it = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
        decode(self.local.spend_tx.as_deref()).filter(spends_it)
    }

    /// Tells whether a block holds another transaction that spends the same coins.
    fn is_dead(&self, tx: &Transaction) -> bool {
        let takes = |spend: &Spend| tx.input.iter().any(|input| spend.spends(&input.previous_output));
        let txid = tx.compute_txid();
        let mut confirmed = self.view.chain.spends.iter().filter(|spend| spend.height.is_some());
        confirmed.any(|spend| takes(spend) && spend.tx.compute_txid() != txid)
    }

    /// Tells whether no block spends the escrow's output yet.
    fn is_unspent(&self) -> bool {
        self.view.spend().is_none_or(|spend| spend.height.is_none())
    }

    fn take_funding(&mut self, tx: &Transaction) -> Result<(), Refusal> {
        if self.local.funding_tx.is_some() {
            return Err(Refusal::AlreadyFunding);
        }
        self.check(Action::Fund, self.phase())?; // it may have been called off while the wallet was at work
        if self.joint_terms().is_some() {
            return Err(Refusal::WrongFunding);
        }
        let made = self.escrow.as_ref().map(|escrow| escrow.fundings(tx)).unwrap_or_default();
        let [made] = made.as_slice() else { return Err(Refusal::WrongFunding) };
        // A block holds it where it never counts.
        if self.view.chain.strays.iter().any(|stray| stray.coin == made.escrow) {
            return Err(Refusal::WrongFunding);
        }
        self.local.funding_tx = Some(bitcoin::consensus::serialize(tx));
        let chain = std::mem::take(&mut self.view.chain);
        self.view.chain = self.concerned(chain);
        Ok(())
    }

    /// Forgets a funding that can never confirm, if it is the kept one: another can be made, or the trade called off. Not what a block
    /// or the pool shows, whoever says so. What two wallets fund knows by itself what of it is dead.
    fn forget_funding(&mut self, txid: &Txid) {
        let chain = &self.view.chain;
        let is_seen = chain.fundings.iter().any(|funding| chain.root_of(funding).outpoint().txid == *txid);
        if !is_seen && self.joint_terms().is_none() {
            let kept = decode(self.local.funding_tx.as_deref());
            self.local.funding_tx.take_if(|_| kept.is_some_and(|tx| tx.compute_txid() == *txid));
        }
    }

    /// Keeps a spend. A payout that is kept, and sent perhaps, is never replaced by another.
    fn take_spend(&mut self, tx: &Transaction) {
        let is_payout = |vaults: &Vaults| {
            self.escrow.as_ref().is_some_and(|escrow| escrow.classify(tx, vaults) == SpendPath::Payout)
        };
        let is_second = self.kept(SpendPath::Payout).is_some()
            && self.view.funding().is_some_and(|funding| is_payout(&funding.vaults));
        if !is_second {
            self.local.spend_tx = Some(bitcoin::consensus::serialize(tx));
        }
    }

    fn take_details(&mut self, salt: &[u8; 32], details: String) -> Result<(), Refusal> {
        let theirs = self.view.contract.as_ref().and_then(|c| c.party(crate::trade::counterparty(self.role)));
        if theirs.is_none_or(|party| party.details != details_commitment(salt, &details)) {
            return Err(Refusal::DetailsMismatch);
        }
        self.local.their_details = Some(details);
        Ok(())
    }
}

fn decode(bytes: Option<&[u8]>) -> Option<Transaction> {
    bitcoin::consensus::deserialize(bytes?).ok()
}

#[cfg(test)]
mod tests;
