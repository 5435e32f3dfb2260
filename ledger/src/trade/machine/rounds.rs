//! How a payout comes to be: by the key of both, if the seller's node replies to one ask, else by the leaf of both. His
//! release lets the buyer do the latter at any time, so a round is worth little patience, and nothing depends on it.
//!
//! What the nonces of a round are is the driver's secret, and gone with it: a start finds at most how many rounds there
//! were. Both spends take the same outputs, so of two only one can ever be confirmed; and a second is not even made, for a
//! payout that is kept is the only one.

use super::{Effect, Refusal, Trade};
use crate::body::{HalfSpend, Vaults};
use crate::trade::{Ask, Phase, Role, SpendPath};

/// How many rounds a buyer begins in a trade: one, and one more after each of two crashes in the middle of it.
pub const MAX_ROUNDS: u8 = 3;
/// How many asks a seller replies to in a trade: those of a buyer who lost his machine, and of another after an extension.
/// Each costs him a message and a signature.
pub const MAX_REPLIES: u8 = 8;

/// Where the buyer's try at the key of both stands. It is not kept, because its nonces are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// There was none since the start.
    None,
    /// The seller was asked about these outputs.
    Waits(Vaults),
    /// He did not reply about these outputs: the leaf it is.
    Over(Vaults),
}

impl Trade {
    /// Tells whether this side waits for the seller's part of a payout by the key of both.
    pub fn is_asking(&self) -> bool {
        matches!(self.payout_duty(self.phase()), Some(Effect::Ask { .. }))
    }

    /// Tells whether a payout is due to this buyer that nobody else has sent for him: he keeps it, or the seller signed it, and no
    /// block spends the coins.
    pub fn is_payout_due(&self) -> bool {
        self.payout_duty(self.phase()).is_some()
    }

    /// Begins a round, if this side is owed a payout that it has not made yet, and there is time for one.
    pub(super) fn begin_round(&mut self) {
        let Some(vaults) = self.open_release(self.phase()).map(|half| half.vaults) else { return };
        let is_new = match self.round {
            Round::None => true,
            Round::Waits(of) | Round::Over(of) => of != vaults,
        };
        if is_new && self.local.rounds < MAX_ROUNDS && self.has_time() {
            self.local.rounds += 1; // below a limit, so it fits
            self.round = Round::Waits(vaults);
        }
    }

    pub(super) const fn end_round(&mut self) {
        if let Round::Waits(vaults) = self.round {
            self.round = Round::Over(vaults);
        }
    }

    /// Returns what the buyer does about a payout that he is owed. A release is his until a block says otherwise, whatever
    /// else is signed or seen in the pool meanwhile.
    pub(super) fn payout_duty(&self, phase: Phase) -> Option<Effect> {
        if self.role == Role::Buyer
            && phase.is_held()
            && self.is_unspent()
            && let Some(tx) = self.kept(SpendPath::Payout)
        {
            return Some(Effect::Broadcast(tx));
        }
        let half = self.open_release(phase)?;
        let is_asked = self.round == Round::Waits(half.vaults) && self.has_time();
        let fee = self.escrow.as_ref().filter(|_| is_asked).and_then(|escrow| escrow.key_fee(half).ok());
        Some(match fee {
            Some(fee) => Effect::Ask { vaults: half.vaults, fee },
            None => Effect::Complete { half: half.clone(), to: Role::Buyer },
        })
    }

    /// Returns the release of which this side has yet to make a payout.
    fn open_release(&self, phase: Phase) -> Option<&HalfSpend> {
        let is_owed = self.role == Role::Buyer && phase.is_held() && self.is_unspent();
        let half = self.view.valid_release().filter(|_| is_owed && self.kept(SpendPath::Payout).is_none())?;
        (!self.is_on_its_way(&half.vaults)).then_some(half)
    }

    /// Tells whether a payout is in the pool that another machine of this user made: his own keys signed it, so it pays him.
    fn is_on_its_way(&self, vaults: &Vaults) -> bool {
        let (Some(escrow), Some(spend)) = (&self.escrow, self.view.spend()) else { return false };
        spend.path.is_payout() && escrow.check_witness(&spend.tx, vaults).is_ok()
    }

    /// Tells whether the coins will not run away while a seller is waited for: there is no quarrel about them, nothing else
    /// takes them, and he cannot take them back yet.
    fn has_time(&self) -> bool {
        let is_early = self.view.refund_from().is_some_and(|from| self.view.chain.tip < from);
        !self.view.is_disputed() && self.view.spend().is_none() && is_early
    }

    /// Decides about what a buyer asks for. What the seller signs then he has signed before, by the leaf of both.
    pub(super) fn reply_to(&mut self, from: Role, ask: Ask) -> Result<Effect, Refusal> {
        if (self.role, from) != (Role::Seller, Role::Buyer) {
            return Err(Refusal::NotTheBuyer { from });
        }
        let vaults = self.view.valid_release().map(|half| half.vaults).ok_or(Refusal::NotReleased)?;
        if self.view.spend().is_some() || !self.phase().is_held() {
            return Err(Refusal::AlreadySpent);
        }
        if self.local.rounds >= MAX_REPLIES {
            return Err(Refusal::TooManyAsks(MAX_REPLIES));
        }
        let escrow = self.escrow.as_ref().ok_or(Refusal::NotReleased)?;
        escrow.check_ask(&ask, &vaults)?;
        self.local.rounds += 1; // below a limit, so it fits
        Ok(Effect::Reply { vaults, ask })
    }
}
