//! What is known of a trade: the facts that its parties signed, and what the chain shows. Both are sets; neither
//! remembers the order in which anything arrived. Which outputs count for the escrow's is decided here.

use bitcoin::OutPoint;

use crate::body::{Extend, HalfSpend, Ruling, Vaults};
use crate::rules::{DISPUTE_MARGIN, LAST_PAYMENT_MARGIN, MAX_EXTENSIONS};
use crate::trade::{ChainFacts, Contract, Facts, Funding, Seat, Spend, SpendPath, Stray};

/// Everything that decides where a trade stands.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The contract, once accepted.
    pub contract: Option<Contract>,
    /// What the parties signed.
    pub facts: Facts,
    /// What the chain shows.
    pub chain: ChainFacts,
}

impl View {
    /// Returns what the chain shows.
    pub const fn chain(&self) -> &ChainFacts {
        &self.chain
    }

    /// Returns the outputs that count as the funding, if somebody funded the escrow more than once: of those buried the one
    /// that holds the buyer's bond, as he says; one that something was done with, what concerns the buyer's coins first; or the
    /// one that the seller names; else the one confirmed first, else any in the pool (the lowest outpoint). So no later output,
    /// and no name that a seller gives to one, takes back what was signed for another, nor leads an arbiter away from where the
    /// buyer looks. Nor does the trade end by what he takes back after its delay, while another output holds as much. Where an
    /// extension is buried, the outputs that it made count for those that it spent.
    pub fn funding(&self) -> Option<&Funding> {
        self.contract.as_ref()?; // without a contract there is no escrow to fund
        let current = self.chain.fundings.iter().filter(|funding| self.is_current(funding));
        current.min_by_key(|funding| {
            let root = self.chain.root_of(funding);
            (self.standing(funding), root.height.unwrap_or(u32::MAX), root.outpoint())
        })
    }

    /// Tells whether outputs are the last of their extensions: an extension counts once it is buried.
    fn is_current(&self, funding: &Funding) -> bool {
        let is_followed = |next: &Funding| next.extends == Some(funding.outpoint()) && self.is_buried(next.height);
        let counts = funding.extends.is_none() || self.is_buried(funding.height);
        counts && !self.chain.fundings.iter().any(is_followed)
    }

    /// Tells whether outputs lie below the height that the acceptance states. Unless a reorg put them there, only its maker can
    /// have paid them, before anybody else knew the escrow.
    fn is_early(&self, funding: &Funding) -> bool {
        let from = self.contract.as_ref().map(|contract| contract.height);
        self.chain.root_of(funding).height.zip(from).is_some_and(|(height, from)| height < from)
    }

    /// Tells whether others may come to look at other outputs than this side does: what counts was paid before it was agreed on,
    /// or blocks show another payment into the escrow that is no younger, so that the second arbiter's turn comes there no later.
    /// One that is younger raises no doubt, or its seller could raise one whenever he likes.
    pub fn is_doubtful(&self) -> bool {
        let Some(root) = self.funding().map(|funding| self.chain.root_of(funding)) else { return false };
        let is_another = |other: &&Funding| other.extends.is_none() && other.outpoint() != root.outpoint();
        let mut others = self.chain.fundings.iter().filter(is_another).filter_map(|other| other.height);
        others.any(|height| root.height.is_none_or(|at| height <= at)) || self.is_early(root)
    }

    /// Tells whether no name can lead others from these outputs to others that nothing was signed for: their seller has named them
    /// where he names no others before; or a buyer with a bond has, where arbiters look whatever the seller says.
    pub fn is_named(&self) -> bool {
        let Some(root) = self.funding().map(|funding| self.chain.root_of(funding).outpoint()) else { return false };
        let Facts { funded, funded_at_home, buyer_funded, .. } = &self.facts;
        [funded, funded_at_home].into_iter().all(|named| *named == Some(root)) || buyer_funded.contains(&root)
    }

    /// Returns how much speaks for outputs; less is more.
    fn standing(&self, funding: &Funding) -> u8 {
        let outpoint = funding.outpoint();
        let is_bonded = self.facts.buyer_funded.contains(&self.chain.root_of(funding).outpoint());
        // What names another value, or leaves out a bond that is there, is good by itself, and nothing comes of it: so it would
        // lead everybody to where nobody can act.
        let held = self.held(funding);
        let is_of = |vaults: &Vaults| *vaults == funding.vaults || *vaults == held;
        let spends = self.chain.spends.iter().filter(|spend| spend.spends(&outpoint));
        // What the seller takes back by his own leaf asks nobody: it speaks for no output, and in a block against it.
        let (own, signed): (Vec<&Spend>, Vec<&Spend>) = spends.partition(|spend| spend.path == SpendPath::Timeout);
        let (payouts, others): (Vec<_>, Vec<_>) = signed.into_iter().partition(|spend| spend.path.is_payout());
        let is_buried = |spend: &&Spend| self.is_buried(spend.height);
        let is_taken_back = own.iter().any(|spend| spend.height.is_some());
        let released = !payouts.is_empty() || self.facts.releases.iter().any(|half| is_of(&half.vaults));
        let is_turn = |seat: &Seat| self.is_turn(*seat, funding);
        let is_signed = || {
            let refunds = self.facts.refunds.iter().map(|half| &half.vaults);
            let rulings = self.facts.rulings.iter().filter(|(seat, _)| is_turn(seat));
            let extensions = self.facts.extensions.iter().filter(|(seat, _)| is_turn(seat));
            let ruled = rulings.map(|(_, ruling)| &ruling.vaults);
            refunds.chain(ruled).chain(extensions.map(|(_, extend)| &extend.vaults)).any(is_of)
        };
        if !self.is_buried(funding.height) {
            8
        } else if payouts.iter().any(is_buried) {
            0
        } else if is_bonded {
            1 // his own bond is there, whatever the seller took back
        } else if is_taken_back || self.is_early(funding) {
            7
        } else if released && others.iter().all(|spend| spend.height.is_none()) {
            2
        } else if others.iter().any(is_buried) {
            3
        } else if !others.is_empty() || released || funding.extends.is_some() || is_signed() {
            4
        } else if self.facts.funded == Some(outpoint) {
            5
        } else {
            6
        }
    }

    /// Returns what holds the coins now: the funding's outputs, without the buyer's bond once a block shows that he took it
    /// back.
    pub fn vaults(&self) -> Option<Vaults> {
        self.funding().map(|funding| self.held(funding))
    }

    /// Returns what of outputs holds coins now.
    fn held(&self, funding: &Funding) -> Vaults {
        let alone = |spend: &&Spend| spend.height.is_some() && !spend.spends(&funding.outpoint());
        let bond = funding
            .vaults
            .bond
            .filter(|bond| !self.chain.spends.iter().filter(alone).any(|spend| spend.spends(&bond.outpoint.0)));
        Vaults { bond, ..funding.vaults }
    }

    /// Returns the transaction that spends the escrow's output: the confirmed one, else one in the pool.
    pub fn spend(&self) -> Option<&Spend> {
        self.spend_of(&self.funding()?.outpoint())
    }

    /// Returns the transaction that spends an output: the confirmed one, else one in the pool.
    pub fn spend_of(&self, outpoint: &OutPoint) -> Option<&Spend> {
        let spends = || self.chain.spends.iter().filter(move |spend| spend.spends(outpoint));
        spends().find(|spend| spend.height.is_some()).or_else(|| spends().min_by_key(|spend| spend.tx.compute_txid()))
    }

    /// Returns how many confirmations something at `height` has.
    pub fn depth(&self, height: Option<u32>) -> u32 {
        height.map_or(0, |height| self.chain.tip.saturating_add(1).saturating_sub(height))
    }

    /// Tells whether something at `height` is as deep as the contract asks.
    pub fn is_buried(&self, height: Option<u32>) -> bool {
        self.contract.as_ref().is_some_and(|contract| self.depth(height) >= contract.confirmations)
    }

    /// Returns the seller's half of a payout of the escrow as funded.
    pub fn valid_release(&self) -> Option<&HalfSpend> {
        let vaults = self.vaults()?;
        self.facts.releases.iter().find(|half| half.vaults == vaults)
    }

    /// Returns the buyer's half of a refund of the escrow as funded.
    pub fn valid_refund(&self) -> Option<&HalfSpend> {
        let vaults = self.vaults()?;
        self.facts.refunds.iter().find(|half| half.vaults == vaults)
    }

    /// Returns the ruling about the escrow as funded: the first arbiter's, or else the second's, once it is his turn.
    pub fn ruling(&self) -> Option<&(Seat, Ruling)> {
        let (funding, vaults) = (self.funding()?, self.vaults()?);
        let about = self.facts.rulings.iter().filter(|(_, ruling)| ruling.vaults == vaults);
        about.filter(|(seat, _)| self.is_turn(*seat, funding)).min_by_key(|(seat, _)| *seat)
    }

    /// Returns the extension of the escrow as funded, while more of them are allowed; whose, as of rulings.
    pub fn extension(&self) -> Option<&(Seat, Extend)> {
        let (funding, vaults) = (self.funding()?, self.vaults()?);
        let about = self.facts.extensions.iter().filter(|(_, extend)| extend.vaults == vaults);
        let counts = about.filter(|(seat, _)| self.is_turn(*seat, funding) && self.extensions() < MAX_EXTENSIONS);
        counts.min_by_key(|(seat, _)| *seat)
    }

    /// Tells whether what an arbiter signed about outputs counts: the second's does when the first has had his time, however
    /// early it was signed. The first decides alone until then, and nobody takes that from him by signing sooner.
    fn is_turn(&self, seat: Seat, funding: &Funding) -> bool {
        let opens = |contract: &Contract| opens_after(funding.height, contract.delay_of(seat));
        match seat {
            Seat::First => true,
            Seat::Second => self.contract.as_ref().and_then(opens).is_some_and(|from| self.chain.tip >= from),
        }
    }

    /// Returns how often the coins were moved into the escrow again.
    pub fn extensions(&self) -> usize {
        self.funding().map_or(0, |funding| self.chain.lineage(funding).count().saturating_sub(1))
    }

    /// Tells whether an arbiter is to decide: a party called for him, the coins were moved for it before, or the payment
    /// was made so long ago that little time remains.
    pub fn is_disputed(&self) -> bool {
        let is_late = || self.dispute_from().is_some_and(|from| self.chain.tip >= from);
        self.facts.disputed() || self.extensions() > 0 || (self.facts.payment_sent && is_late())
    }

    /// Returns the tip height from which a trade that was marked as paid is disputed by itself.
    pub fn dispute_from(&self) -> Option<u32> {
        let delay = self.contract.as_ref()?.refund_delay.checked_sub(DISPUTE_MARGIN)?;
        self.funding()?.height?.checked_add(u32::from(delay))
    }

    /// Returns the tip height from which what an arbiter signed can enter a block (BIP-68).
    pub fn ruling_from(&self, seat: Seat) -> Option<u32> {
        opens_after(self.funding()?.height, self.contract.as_ref()?.delay_of(seat))
    }

    /// Returns the last height at which the buyer may pay; `None` before the funding is confirmed.
    pub fn pay_until(&self) -> Option<u32> {
        let contract = self.contract.as_ref()?;
        let margin = u32::from(contract.refund_delay.checked_sub(LAST_PAYMENT_MARGIN)?);
        self.funding()?.height?.checked_add(margin)
    }

    /// Returns the tip height from which a transaction that takes the coins back can enter a block; `None` before the
    /// funding is confirmed.
    pub fn refund_from(&self) -> Option<u32> {
        opens_after(self.funding()?.height, self.contract.as_ref()?.refund_delay)
    }

    /// Returns the same of a stray.
    pub fn stray_from(&self, stray: &Stray) -> Option<u32> {
        opens_after(Some(stray.height), self.contract.as_ref()?.refund_delay)
    }
}

/// Returns the tip height from which a spend of outputs at `height` with this delay can enter a block (BIP-68: they must have as
/// many confirmations, the block being made not counted); `None` before they are confirmed.
fn opens_after(height: Option<u32>, delay: u16) -> Option<u32> {
    height?.checked_add(u32::from(delay))?.checked_sub(1)
}

#[cfg(test)]
mod tests;
