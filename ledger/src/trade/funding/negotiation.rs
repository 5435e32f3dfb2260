//! One side of the negotiation as a machine: events go in, effects come out; what must not be lost is in [`Negotiation`],
//! which is kept before any effect that rests on it.
//!
//! | side | when | does |
//! |---|---|---|
//! | both | the user says so | the wallet chooses coins, once for all proposals, and sets them aside |
//! | seller | coins are chosen | proposes |
//! | buyer | his user agreed and a proposal is there | looks the coins up, signs, keeps what he signed, answers |
//! | seller | an answer is there | looks the coins up, checks, signs, keeps the transaction, sends it |
//! | both | signed, and not seen | look whether a coin of the other side was spent elsewhere for good: then it is dead |
//! | buyer | signed, and nothing in a block for [`PATIENCE`](super::PATIENCE) blocks | signs nothing more, calls the trade off |
//! | both | called off, nothing signed (or it is dead) | the coins are free |
//! | both | called off after signing | a coin is spent to oneself, so that what was signed can never confirm |

use bitcoin::{Transaction, Txid};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    Answer, Contribution, DEAD_AFTER, Draft, Funder, FundingError, InputState, MAX_PROPOSALS, PATIENCE, PROPOSAL_AGE,
    Proposal, Terms, check_inputs,
};
use crate::trade::Role;
use crate::wire::{List, TxId};

/// What is kept of a negotiation.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Negotiation {
    /// The user agreed to bring coins.
    willing: bool,
    /// What this side brings, whatever is proposed.
    mine: Option<Funder>,
    /// The last proposal: the seller's own, or the one that the buyer received.
    proposal: Option<Proposal>,
    /// The names of all proposals so far: one that comes again, as mail does after a restart, is old news.
    proposals: List<[u8; 32], { MAX_PROPOSALS as usize }>,
    /// The answer to it: the buyer's own, or the one that the seller received.
    answer: Option<Answer>,
    /// Whether the own message was handed to the mail.
    sent: bool,
    /// What this side signed, the newest last.
    signed: List<Signed, { MAX_PROPOSALS as usize }>,
    /// Whether a coin was spent to oneself, or all are free: nothing is signed any more.
    ended: bool,
    /// What the other side brings this time, as the chain showed it. Looked up again after a restart.
    #[borsh(skip)]
    theirs: Option<Funder>,
}

/// A transaction that this side signed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Signed {
    txid: TxId,
    /// The tip at that time.
    height: u32,
    /// What the other side brought.
    theirs: Contribution,
    /// Whether one of the other side's coins was spent elsewhere for good.
    dead: bool,
}

/// What happens to a negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The user agrees to bring coins; a seller proposes at this feerate.
    Fund {
        /// sat/vB.
        feerate: u64,
    },
    /// The wallet chose coins and set them aside. `feerate` is the one that was asked for.
    Chosen {
        /// What this side brings.
        mine: Funder,
        /// sat/vB.
        feerate: u64,
    },
    /// A proposal came in.
    Proposal(Proposal),
    /// An answer came in.
    Answer(Answer),
    /// What the chain says of the other side's coins.
    Looked {
        /// What was asked about.
        theirs: Contribution,
        /// The state of each coin.
        states: Vec<InputState>,
        /// The highest feerate that this side pays, by its own estimate; see [`highest_feerate`].
        highest: u64,
    },
    /// This side's inputs are signed in a transaction that [`Effect::Sign`] asked for.
    Signed(Transaction),
    /// The own message is in the mail.
    Sent,
    /// The coins are free, or one of them is spent to oneself.
    Ended,
}

/// What is to be done. Each is safe to do again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Let the wallet choose confirmed coins for this side's output and set them aside; answer by [`Event::Chosen`].
    Choose {
        /// sat/vB.
        feerate: u64,
    },
    /// Look up the other side's coins; answer by [`Event::Looked`].
    LookUp(Contribution),
    /// Sign this side's inputs and no others; answer by [`Event::Signed`].
    Sign(Draft),
    /// Send the other side a message; answer by [`Event::Sent`].
    SendProposal(Proposal),
    /// Likewise.
    SendAnswer(Answer),
    /// The transaction is complete: keep it, then send it to the network.
    Complete(Transaction),
    /// A transaction that was complete can never confirm; forget it.
    Forget(Txid),
    /// Nothing that counts was signed: the coins are free. Answer by [`Event::Ended`].
    Free,
    /// Spend one of the own coins to oneself; answer by [`Event::Ended`].
    SpendBack,
    /// Call the trade off.
    CallOff,
}

/// What surrounds a negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The height of the tip.
    pub tip: u32,
    /// Whether the chain was followed to its tip.
    pub synced: bool,
    /// Whether the escrow's funding is seen, in a block or in the pool; from [`Negotiation::gives_up_at`] on a buyer sees blocks
    /// only.
    pub seen: bool,
    /// Whether the trade is agreed on and nobody called it off.
    pub open: bool,
    /// Whether a funding that this side signed was buried once, as it said then: when a reorg took it back it is still owed.
    pub owed: bool,
}

/// Returns the highest feerate that a side pays when it would itself ask for `estimate`: twice that, and a little, for two
/// chains differ and estimates jump.
pub const fn highest_feerate(estimate: u64) -> u64 {
    estimate.saturating_mul(2).saturating_add(5)
}

impl Negotiation {
    /// Tells whether this side's user agreed to bring coins.
    pub const fn is_willing(&self) -> bool {
        self.willing
    }

    /// Tells whether this side's wallet set coins aside.
    pub const fn has_chosen(&self) -> bool {
        self.mine.is_some()
    }

    /// Returns the height at which a buyer who signed calls the trade off, if no block holds the funding by then. His first
    /// signature counts, dead or not: a seller gains no time by proposing again and again, nor by spending a coin of his to himself
    /// each time before he does.
    pub fn gives_up_at(&self) -> Option<u32> {
        self.signed.first().map(|first| first.height.saturating_add(PATIENCE))
    }

    /// Tells whether this side is a buyer who has waited long enough for what he signed.
    fn gives_up(&self, terms: &Terms, now: Now) -> bool {
        terms.role == Role::Buyer && self.gives_up_at().is_some_and(|height| now.tip >= height)
    }

    /// Tells whether nothing is signed any more: the coins are free, or one is spent to oneself.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Tells whether the other side's answer is there, or the own one.
    pub const fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Tells whether there is a proposal.
    pub const fn is_proposed(&self) -> bool {
        self.proposal.is_some()
    }

    /// Tells whether something that this side signed may still confirm.
    pub fn may_confirm(&self) -> bool {
        self.signed.iter().any(|signed| !signed.dead)
    }

    /// Tells whether this side ever signed this transaction.
    pub fn has_signed(&self, txid: &Txid) -> bool {
        self.signed.iter().any(|signed| signed.txid.0 == *txid)
    }

    /// Tells whether this side signed this transaction and it may still confirm.
    pub fn is_alive(&self, txid: &Txid) -> bool {
        self.signed.iter().any(|signed| signed.txid.0 == *txid && !signed.dead)
    }

    /// Takes in an event and returns what follows at once. What is owed besides, [`Self::duties`] tells.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn handle(&mut self, terms: &Terms, now: Now, event: Event) -> Result<Vec<Effect>, FundingError> {
        match event {
            Event::Fund { feerate } => self.fund(terms, now, feerate),
            Event::Chosen { mine, feerate } => self.take_chosen(terms, now, mine, feerate),
            Event::Proposal(proposal) => self.take_proposal(terms, proposal).map(|()| Vec::new()),
            Event::Answer(answer) => self.take_answer(terms, answer).map(|()| Vec::new()),
            Event::Looked { theirs, states, highest } => self.take_states(terms, now, &theirs, &states, highest),
            Event::Signed(tx) => self.take_signed(terms, now, &tx),
            Event::Sent => {
                self.sent = true;
                Ok(Vec::new())
            }
            Event::Ended => {
                self.ended = true;
                Ok(Vec::new())
            }
        }
    }

    /// Returns everything that this side owes now, whatever was done before.
    pub fn duties(&self, terms: &Terms, now: Now) -> Vec<Effect> {
        if self.ended || now.seen {
            return Vec::new();
        }
        let last = self.signed.iter().rfind(|last| !last.dead).map(|last| Effect::LookUp(last.theirs.clone()));
        if now.owed {
            // Nothing but to learn whether it can never confirm again.
            return last.filter(|_| now.synced).into_iter().collect();
        }
        if !now.open {
            if !self.may_confirm() {
                // Whatever is known of it here: the wallet sets coins aside before that is kept here too.
                return vec![Effect::Free];
            }
            // Not before the chain is known to its tip: it may be funded already.
            return if now.synced { vec![Effect::SpendBack] } else { Vec::new() };
        }
        if !now.synced {
            return Vec::new();
        }
        if self.gives_up(terms, now) {
            // Of a machine that was off meanwhile the seller gets nothing any more that is to be taken back at once.
            return last.into_iter().chain([Effect::CallOff]).collect();
        }
        let mut duties = Vec::new();
        match (terms.role, &self.proposal, &self.answer) {
            (Role::Seller, Some(proposal), None) if !self.sent => duties.push(Effect::SendProposal(proposal.clone())),
            (Role::Seller, Some(_), Some(answer)) if !self.may_confirm() => {
                duties.push(Effect::LookUp(answer.buyer.clone()));
            }
            (Role::Buyer, Some(proposal), None) if self.willing => {
                duties.push(Effect::LookUp(proposal.seller.clone()));
            }
            (Role::Buyer, Some(_), Some(answer)) if !self.sent => duties.push(Effect::SendAnswer(answer.clone())),
            (Role::Seller | Role::Buyer | Role::Arbiter, _, _) => {}
        }
        duties.extend(last);
        duties
    }

    fn fund(&mut self, terms: &Terms, now: Now, feerate: u64) -> Result<Vec<Effect>, FundingError> {
        self.check_fund(terms, now)?;
        if terms.role == Role::Seller {
            return Ok(vec![Effect::Choose { feerate }]);
        }
        self.willing = true;
        Ok(Vec::new())
    }

    /// Tells whether this side's user can agree to bring coins now, or propose again.
    ///
    /// # Errors
    /// Why not.
    pub fn check_fund(&self, terms: &Terms, now: Now) -> Result<(), FundingError> {
        if self.ended || self.may_confirm() {
            return Err(FundingError::Signed);
        }
        match terms.role {
            Role::Seller => self.check_new_proposal(now),
            Role::Buyer if self.willing => Err(FundingError::Outstanding),
            Role::Buyer => Ok(()),
            Role::Arbiter => Err(FundingError::Unexpected),
        }
    }

    fn check_new_proposal(&self, now: Now) -> Result<(), FundingError> {
        if self.proposals.len() >= usize::from(MAX_PROPOSALS) {
            return Err(FundingError::TooManyProposals);
        }
        let is_fresh = |last: &Proposal| now.tip < last.height.saturating_add(PROPOSAL_AGE);
        if self.proposal.as_ref().is_some_and(is_fresh) { Err(FundingError::Outstanding) } else { Ok(()) }
    }

    fn take_chosen(
        &mut self,
        terms: &Terms,
        now: Now,
        mine: Funder,
        feerate: u64,
    ) -> Result<Vec<Effect>, FundingError> {
        if self.ended || !now.open {
            return Err(FundingError::Unexpected);
        }
        // The same coins for every proposal: so what is signed for one conflicts with what is signed for another.
        let mine = self.mine.clone().unwrap_or(mine);
        match terms.role {
            Role::Seller => {
                if self.may_confirm() {
                    return Err(FundingError::Signed);
                }
                self.check_new_proposal(now)?;
                self.turn_to(Proposal { feerate, height: now.tip, seller: mine.contribution.clone() })?;
                self.willing = true;
                self.mine = Some(mine);
                Ok(Vec::new())
            }
            Role::Buyer => {
                let draft = self.draft(terms, Some(&mine), self.theirs.as_ref())?;
                self.mine = Some(mine);
                Ok(vec![Effect::Sign(draft)])
            }
            Role::Arbiter => Err(FundingError::Unexpected),
        }
    }

    fn take_proposal(&mut self, terms: &Terms, proposal: Proposal) -> Result<(), FundingError> {
        if terms.role != Role::Buyer || self.ended {
            return Err(FundingError::Unexpected);
        }
        if self.proposals.contains(&proposal.id()) {
            return Ok(());
        }
        self.turn_to(proposal)
    }

    fn turn_to(&mut self, proposal: Proposal) -> Result<(), FundingError> {
        let all = self.proposals.iter().copied().chain([proposal.id()]).collect();
        self.proposals = List::new(all).ok_or(FundingError::TooManyProposals)?;
        self.proposal = Some(proposal);
        (self.answer, self.theirs, self.sent) = (None, None, false);
        Ok(())
    }

    fn take_answer(&mut self, terms: &Terms, answer: Answer) -> Result<(), FundingError> {
        let answers = self.proposal.as_ref().is_some_and(|proposal| proposal.id() == answer.proposal);
        if terms.role != Role::Seller || self.ended || self.may_confirm() || !answers {
            return Err(FundingError::Unexpected);
        }
        self.answer = Some(answer);
        self.theirs = None;
        Ok(())
    }

    /// Learns what the chain says of the other side's coins: whether what was signed is dead, or whether to sign.
    fn take_states(
        &mut self,
        terms: &Terms,
        now: Now,
        theirs: &Contribution,
        states: &[InputState],
        highest: u64,
    ) -> Result<Vec<Effect>, FundingError> {
        let mut effects = self.bury(theirs, states);
        if !effects.is_empty() {
            return Ok(effects);
        }
        let current = match terms.role {
            Role::Seller => self.answer.as_ref().filter(|_| !self.may_confirm()).map(|answer| &answer.buyer),
            Role::Buyer if self.answer.is_none() && self.willing && !self.gives_up(terms, now) => {
                self.proposal.as_ref().map(|p| &p.seller)
            }
            Role::Buyer | Role::Arbiter => None,
        };
        if current != Some(theirs) || self.ended || !now.open || !now.synced {
            return Ok(effects);
        }
        let counterparty = crate::trade::counterparty(terms.role);
        let funder = check_inputs(counterparty, theirs, states)?;
        let feerate = self.check_proposal(terms, now, highest)?;
        match (terms.role, &self.mine) {
            (Role::Buyer, None) => effects.push(Effect::Choose { feerate }),
            (Role::Buyer | Role::Seller | Role::Arbiter, mine) => {
                let mut draft = self.draft(terms, mine.as_ref(), Some(&funder))?;
                if let (Role::Seller, Some(answer)) = (terms.role, &self.answer) {
                    draft.attach(Role::Buyer, &answer.signatures)?;
                }
                effects.push(Effect::Sign(draft));
            }
        }
        self.theirs = Some(funder);
        Ok(effects)
    }

    /// Notes that what was signed can never confirm, if so.
    fn bury(&mut self, theirs: &Contribution, states: &[InputState]) -> Vec<Effect> {
        let mut signed = self.signed.to_vec();
        let ours: Vec<Txid> = signed.iter().map(|signed| signed.txid.0).collect();
        let is_gone = |state: &InputState| match state {
            InputState::Spent { by, depth } => *depth >= DEAD_AFTER && !ours.contains(by),
            InputState::Unspent { .. } | InputState::Unconfirmed | InputState::Unknown => false,
        };
        if states.len() != theirs.inputs.len() || !states.iter().any(is_gone) {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for signed in signed.iter_mut().filter(|signed| signed.theirs == *theirs && !signed.dead) {
            signed.dead = true;
            effects.push(Effect::Forget(signed.txid.0));
        }
        if !effects.is_empty() {
            self.signed = List::new(signed).unwrap_or_else(|| self.signed.clone()); // as many as before
            // A proposal that the buyer has not signed yet is another matter.
            if self.answer.is_some() {
                (self.proposal, self.answer, self.theirs, self.sent) = (None, None, None, false);
            }
        }
        effects
    }

    /// Checks what a proposal states beside coins, and returns its feerate.
    fn check_proposal(&self, terms: &Terms, now: Now, highest: u64) -> Result<u64, FundingError> {
        let Proposal { feerate, height, .. } = *self.proposal.as_ref().ok_or(FundingError::Unexpected)?;
        if terms.role == Role::Buyer && feerate > highest {
            return Err(FundingError::Feerate { feerate, highest });
        }
        if height > now.tip || height < terms.from_height {
            return Err(FundingError::LockHeight { height });
        }
        Ok(feerate)
    }

    fn draft(&self, terms: &Terms, mine: Option<&Funder>, theirs: Option<&Funder>) -> Result<Draft, FundingError> {
        let (Some(proposal), Some(mine), Some(theirs)) = (&self.proposal, mine, theirs) else {
            return Err(FundingError::Unexpected);
        };
        match terms.role {
            Role::Seller => Draft::new(terms, proposal, mine, theirs),
            Role::Buyer => Draft::new(terms, proposal, theirs, mine),
            Role::Arbiter => Err(FundingError::Unexpected),
        }
    }

    /// Takes this side's signatures, after checking that they are over the transaction that follows from what is known.
    fn take_signed(&mut self, terms: &Terms, now: Now, tx: &Transaction) -> Result<Vec<Effect>, FundingError> {
        if self.ended || !now.open || now.seen {
            return Err(FundingError::Unexpected);
        }
        let mut draft = self.draft(terms, self.mine.as_ref(), self.theirs.as_ref())?;
        let mine = draft.signatures_in(tx, terms.role).ok_or(FundingError::Signature(terms.role))?;
        draft.attach(terms.role, &mine)?;
        let theirs = self.theirs.as_ref().map(|theirs| theirs.contribution.clone()).ok_or(FundingError::Unexpected)?;
        let signed = Signed { txid: TxId(tx.compute_txid()), height: now.tip, theirs, dead: false };
        let all = self.signed.iter().cloned().chain([signed]).collect();
        let all = List::new(all).ok_or(FundingError::TooManyProposals)?;
        let effects = match terms.role {
            Role::Buyer if self.answer.is_none() => {
                let proposal = self.proposal.as_ref().map(Proposal::id).ok_or(FundingError::Unexpected)?;
                let buyer = self.mine.as_ref().map(|mine| mine.contribution.clone()).ok_or(FundingError::Unexpected)?;
                let signatures = List::new(mine).ok_or(FundingError::Unexpected)?;
                self.answer = Some(Answer { proposal, buyer, signatures });
                self.sent = false;
                Vec::new()
            }
            Role::Seller if !self.may_confirm() => {
                let answer = self.answer.as_ref().ok_or(FundingError::Unexpected)?;
                draft.attach(Role::Buyer, &answer.signatures)?;
                vec![Effect::Complete(draft.tx().clone())]
            }
            Role::Buyer | Role::Seller | Role::Arbiter => return Err(FundingError::Signed),
        };
        self.signed = all;
        Ok(effects)
    }
}
