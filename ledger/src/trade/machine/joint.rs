//! A funding from two wallets, as a part of a trade: what surrounds its negotiation, and what follows from it.

use bitcoin::Txid;

use super::{Effect, Refusal, Trade, decode};
use crate::body::{Body, Cancel, Funded};
use crate::trade::funding::{self, FundingError, Now, Terms};
use crate::trade::{ChainFacts, Funding, MAX_NAMED, Role};
use crate::wire::Outpoint;

impl Trade {
    /// Returns what both sides know of a funding from two wallets; `None` where one wallet funds all, and for an arbiter.
    pub fn joint_terms(&self) -> Option<Terms> {
        let escrow = self.escrow.as_ref().filter(|_| self.role != Role::Arbiter)?;
        let (seller_output, buyer_output) = (escrow.output(), escrow.bond_output()?);
        Some(Terms { role: self.role, seller_output, buyer_output, from_height: escrow.contract().height })
    }

    /// Tells whether coins of this side's wallet may be set aside for a funding from two wallets that nobody has seen: after
    /// the trade was called off too, they are not free before the wallet has said so.
    pub fn holds_coins(&self) -> bool {
        let now = self.now();
        self.joint_terms().is_some() && !self.local.negotiation.has_ended() && !now.seen && !now.owed
    }

    /// Tells whether this side is a buyer who waited long enough for the funding that he signed: from now on only blocks count. The
    /// seller can let it wait in the pool by its feerate, and show a light client one that he never signed.
    pub fn gives_up(&self) -> bool {
        let height = self.local.negotiation.gives_up_at().filter(|_| self.role == Role::Buyer);
        height.is_some_and(|height| self.view.chain.tip >= height)
    }

    pub(super) fn now(&self) -> Now {
        let (view, negotiation) = (&self.view, &self.local.negotiation);
        let root = |funding: &Funding| view.chain.root_of(funding).outpoint().txid;
        let is_signed = |funding: &Funding| negotiation.has_signed(&root(funding));
        let counts = |funding: &Funding| funding.height.is_some() || !self.gives_up();
        // Somebody else paid both outputs, and it is buried: this side's coins are not needed.
        let is_foreign = |funding: &Funding| view.is_buried(funding.height) && !is_signed(funding);
        let called_off = view.facts.void || view.facts.cancelled();
        // By this side's own word, which it gave when its own chain showed the funding buried: the other's proves nothing.
        let mut named = view.facts.named().filter(|(by, _)| *by == self.role);
        Now {
            tip: view.chain.tip,
            synced: view.chain.synced,
            seen: view.chain.fundings.iter().any(|funding| is_signed(funding) && counts(funding)),
            open: view.contract.is_some() && !called_off && !view.chain.fundings.iter().any(is_foreign),
            owed: named.any(|(_, outpoint)| negotiation.is_alive(&outpoint.txid)),
        }
    }

    /// Tells whether this side's user can agree to bring coins, or propose once more.
    pub(super) fn check_joint(&self, terms: &Terms) -> Result<(), Refusal> {
        Ok(self.local.negotiation.check_fund(terms, self.now())?)
    }

    /// Hands an event to the negotiation and returns what follows at once.
    pub(super) fn negotiate(&mut self, event: funding::Event) -> Result<Vec<Effect>, Refusal> {
        let terms = self.joint_terms().ok_or(FundingError::Unexpected)?;
        let now = self.now();
        let asked = self.local.negotiation.handle(&terms, now, event)?;
        let effects: Vec<Effect> = asked.into_iter().filter_map(|effect| self.follow(&terms, effect)).collect();
        let chain = std::mem::take(&mut self.view.chain);
        self.view.chain = self.concerned(chain);
        Ok(effects)
    }

    /// Returns what this side owes the negotiation.
    pub(super) fn joint_duties(&self) -> Vec<Effect> {
        let Some(terms) = self.joint_terms() else { return Vec::new() };
        let duties = self.local.negotiation.duties(&terms, self.now());
        let duties = duties.into_iter().filter_map(|effect| self.asked(&terms, effect));
        duties.chain(self.name_bond()).collect()
    }

    /// A buyer says which output goes with his bond once it is buried: of several, arbiters look at that one.
    fn name_bond(&self) -> Option<Effect> {
        let funding = self.view.funding().filter(|funding| self.view.is_buried(funding.height))?;
        let root = self.view.chain.root_of(funding).outpoint();
        let named = &self.view.facts.buyer_funded;
        let is_due = self.role == Role::Buyer && self.local.negotiation.has_signed(&root.txid);
        let funded = Funded { trade: self.bid.trade, outpoint: Outpoint(root) };
        (is_due && named.len() < MAX_NAMED && !named.contains(&root)).then_some(Effect::Publish(Body::Funded(funded)))
    }

    /// Keeps or forgets a complete funding; passes on the rest.
    fn follow(&mut self, terms: &Terms, effect: funding::Effect) -> Option<Effect> {
        match effect {
            funding::Effect::Complete(tx) => {
                self.local.funding_tx = Some(bitcoin::consensus::serialize(&tx));
                None // sent as every funding is: once it is kept, until the chain has it
            }
            funding::Effect::Forget(txid) => {
                let kept = decode(self.local.funding_tx.as_deref());
                self.local.funding_tx.take_if(|_| kept.is_some_and(|tx| tx.compute_txid() == txid));
                None
            }
            other => self.asked(terms, other),
        }
    }

    fn asked(&self, terms: &Terms, effect: funding::Effect) -> Option<Effect> {
        let output = terms.output(self.role);
        Some(match effect {
            funding::Effect::Choose { feerate } => Effect::ChooseCoins { output: output.clone(), feerate },
            funding::Effect::LookUp(theirs) => Effect::LookUpCoins(theirs),
            funding::Effect::Sign(draft) => Effect::SignFunding(draft),
            funding::Effect::SendProposal(proposal) => Effect::SendProposal(proposal),
            funding::Effect::SendAnswer(answer) => Effect::SendAnswer(answer),
            funding::Effect::Free => Effect::FreeCoins { script: output.script_pubkey.clone() },
            funding::Effect::SpendBack => Effect::SpendCoinBack { script: output.script_pubkey.clone() },
            funding::Effect::CallOff if !self.may_speak() => return None,
            funding::Effect::CallOff => Effect::Publish(Body::Cancel(Cancel { trade: self.bid.trade, refund: None })),
            funding::Effect::Complete(_) | funding::Effect::Forget(_) => return None, // never owed: see `follow`
        })
    }

    /// Returns what of the chain concerns this side. Who has signed a funding counts that and nothing else: whoever else
    /// pays the escrow must not make him look after an output that is not his, and lose sight of his own. What others paid, be it
    /// he himself from elsewhere, lies there beside it.
    pub(super) fn concerned(&self, mut chain: ChainFacts) -> ChainFacts {
        let negotiation = &self.local.negotiation;
        let own = decode(self.local.funding_tx.as_deref()).map(|tx| tx.compute_txid());
        let is_own: &dyn Fn(&Txid) -> bool = match (self.role, own) {
            _ if negotiation.may_confirm() => &|txid| negotiation.has_signed(txid),
            (Role::Seller, Some(own)) => &move |txid| *txid == own,
            (Role::Seller | Role::Buyer | Role::Arbiter, _) => return chain,
        };
        let all = chain.clone();
        let is_kept = |funding: &Funding| is_own(&all.root_of(funding).outpoint().txid);
        let others = all.fundings.iter().filter(|funding| !is_kept(funding));
        chain.strays.extend(others.flat_map(Funding::strays));
        chain.fundings.retain(is_kept);
        chain
    }
}

/// Tells whether an event answers what was asked for, so that nothing is to be looked up again because of it.
pub(super) const fn is_answer(event: &funding::Event) -> bool {
    match event {
        funding::Event::Chosen { .. }
        | funding::Event::Looked { .. }
        | funding::Event::Signed(_)
        | funding::Event::Sent
        | funding::Event::Ended => true,
        funding::Event::Fund { .. } | funding::Event::Proposal(_) | funding::Event::Answer(_) => false,
    }
}
