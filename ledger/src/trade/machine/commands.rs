//! What a user asks for: whether it is possible now, and what it leads to.

use bitcoin::OutPoint;

use super::{Command, Effect, Refusal, Trade};
use crate::body::{Body, Cancel, Coin, Dispute, PaymentSent, Vaults};
use crate::money::Sats;
use crate::rules::{MAX_EXTENSIONS, MAX_SHARED_FEERATE};
use crate::trade::{Action, Phase, Role, Seat, SpendPath, Vault, Verdict, actions};

impl Trade {
    /// Tells whether an action is possible now.
    pub(super) fn check(&self, action: Action, phase: Phase) -> Result<(), Refusal> {
        if !actions(phase, self.role, self.maker).contains(&action) {
            return Err(Refusal::NotAllowed { action, role: self.role, phase });
        }
        let (tip, joint) = (self.view.chain.tip, self.joint_terms().is_some());
        let from = self.view.contract.as_ref().map_or(u32::MAX, |contract| contract.height);
        match action {
            Action::Accept => Ok(()),
            Action::Fund | Action::Cancel if phase == Phase::Funding && !self.can_disregard_funding() => {
                Err(Refusal::NotAllowed { action, role: self.role, phase })
            }
            // Also once it was called off: or whoever shows what nobody signed would lock what was paid besides, as long as he likes.
            Action::Refund if phase == Phase::Funding && !self.hears_of_funding() => {
                Err(Refusal::NotAllowed { action, role: self.role, phase })
            }
            Action::Fund if !joint && self.role == Role::Buyer => Err(Refusal::NothingToFund),
            // Of a funding from two wallets each can call off: who signed spends a coin of his own to himself.
            Action::Fund | Action::Cancel if !joint && self.local.funding_tx.is_some() && phase == Phase::Agreed => {
                Err(Refusal::AlreadyFunding)
            }
            Action::Fund if !self.view.chain.synced => Err(Refusal::NotSynced),
            // Nobody looks for a funding far below the height that the maker stated, and a reorg could put it there.
            Action::Fund if from > tip => Err(Refusal::TooEarlyToFund { from, tip }),
            Action::Fund if joint => self.joint_terms().map_or(Ok(()), |terms| self.check_joint(&terms)),
            // What is not seen may be funded already: calling off would then be a promise to give the coins back.
            Action::Cancel if self.view.contract.is_some() && !self.view.chain.synced => Err(Refusal::NotSynced),
            // Nor are coins given back that were signed over to oneself, whatever a block may show of them meanwhile.
            Action::Cancel if self.role == Role::Buyer && phase.is_held() && self.is_payee() => {
                Err(Refusal::AlreadySigned)
            }
            // He can only ask, and has: a second record says no more.
            Action::Cancel if self.role == Role::Seller && phase.is_held() && self.view.facts.seller_cancel => {
                Err(Refusal::AlreadyAsked)
            }
            Action::Fund | Action::Cancel => Ok(()),
            Action::MarkPaid => match (self.view.facts.forked, self.view.pay_until()) {
                (Some(author), _) => {
                    let role = if author == self.bid.seller() { Role::Seller } else { Role::Arbiter };
                    Err(Refusal::Forked { author, role })
                }
                _ if !self.view.chain.synced => Err(Refusal::NotSynced),
                _ if self.view.spend().is_some() => Err(Refusal::NotAllowed { action, role: self.role, phase }),
                _ if self.view.is_doubtful() => Err(Refusal::DoubtfulFunding),
                (None, Some(last)) if tip > last => Err(Refusal::TooLateToPay { last, tip }),
                // Last of all: what else keeps him from paying does not pass with the next peer or the next blocks.
                _ if self.view.is_named() && !self.compared => Err(Refusal::Unheard),
                _ if self.view.is_named() && self.view.chain.is_old => Err(Refusal::OldChain),
                _ if self.view.is_named() => Ok(()),
                _ if self.view.facts.funded.is_some() => Err(Refusal::NamedOtherwise),
                // Nothing is lost by waiting. Whoever was paid before could name another output, and so lead all to it.
                (None, Some(_) | None) => Err(Refusal::Unnamed),
            },
            // Neither a second time, nor after the seller signed the same coins back to himself.
            Action::Release if self.view.valid_release().is_some() || self.has_taken() => Err(Refusal::AlreadySigned),
            Action::Release => Ok(()),
            Action::Refund => self.check_refund(phase).map(drop),
            Action::Dispute | Action::Rule | Action::Extend if !self.view.chain.synced => Err(Refusal::NotSynced),
            Action::Dispute => Ok(()),
            Action::Rule => self.check_turn(),
            Action::Extend if self.view.extensions() >= MAX_EXTENSIONS => {
                Err(Refusal::TooManyExtensions(self.view.extensions()))
            }
            Action::Extend if self.view.extension().is_some_and(|(seat, _)| Some(*seat) == self.seat) => {
                Err(Refusal::AlreadySigned)
            }
            Action::Extend => self.check_turn(),
        }
    }

    /// Tells whether all that is seen of a funding is hearsay to this side: no block holds it, and this side neither made nor
    /// signed it, nor said that it was buried, nor paid for it. A pool tells of what nobody signed, and of what whoever made it
    /// lets wait. It may be this user's all the same, from a wallet elsewhere, so he is asked before he pays beside it.
    pub fn hears_of_funding(&self) -> bool {
        let (view, local) = (&self.view, &self.local);
        let is_made = local.funding_tx.is_some() || local.negotiation.may_confirm();
        let is_seen = |outpoint: OutPoint| view.chain.fundings.iter().any(|funding| funding.outpoint() == outpoint);
        let mut named = view.facts.named().filter(|(by, _)| *by == self.role);
        let is_known = named.any(|(_, outpoint)| is_seen(outpoint));
        let is_paid = self.role == Role::Buyer && view.facts.payment_sent;
        view.funding().is_some_and(|funding| funding.height.is_none()) && !is_made && !is_known && !is_paid
    }

    /// Tells whether this side may act as if the funding that is seen were none, in a trade that nobody has called off.
    fn can_disregard_funding(&self) -> bool {
        let facts = &self.view.facts;
        self.hears_of_funding() && !facts.void && !facts.cancelled()
    }

    /// The second arbiter steps in only when the first had his time.
    fn check_turn(&self) -> Result<(), Refusal> {
        let tip = self.view.chain.tip;
        match (self.seat, self.view.ruling_from(Seat::Second)) {
            (Some(Seat::Second), Some(from)) if tip < from => Err(Refusal::TooEarlyToRule { from, tip }),
            (_, _) => Ok(()),
        }
    }

    /// Tells whether the coins were released to this side, or it keeps a transaction by which they come to it.
    fn is_payee(&self) -> bool {
        self.view.valid_release().is_some() || self.signed(SpendPath::Payout).is_some() || self.has_taken()
    }

    /// Tells whether this side keeps a transaction by which the coins come to itself.
    fn has_taken(&self) -> bool {
        [SpendPath::Refund, SpendPath::Timeout, SpendPath::Ruling].into_iter().any(|path| self.signed(path).is_some())
    }

    /// Returns the output that this side funded of those that count, if no block spends it.
    pub fn own_coin(&self) -> Option<(Vault, Coin)> {
        let vaults = self.view.funding()?.vaults;
        let (vault, coin) = match self.role {
            Role::Seller => (Vault::Escrow, vaults.escrow),
            Role::Buyer => (Vault::Bond, vaults.bond?),
            Role::Arbiter => return None,
        };
        let spend = self.view.spend_of(&coin.outpoint.0);
        spend.is_none_or(|spend| spend.height.is_none()).then_some((vault, coin))
    }

    pub(super) fn command(&self, command: Command) -> Result<Effect, Refusal> {
        let phase = self.phase();
        let Command { action, feerate } = command;
        self.check(action, phase)?;
        let not_allowed = || Refusal::NotAllowed { action, role: self.role, phase };
        let trade = self.bid.trade;
        match action {
            Action::Accept => Ok(Effect::Accept),
            Action::Fund => {
                let escrow = self.escrow.as_ref().ok_or_else(not_allowed)?;
                let amount = escrow.contract().escrow_value();
                Ok(Effect::BuildFunding { script: escrow.script(), amount, feerate })
            }
            Action::MarkPaid => Ok(Effect::Publish(Body::PaymentSent(PaymentSent { trade }))),
            Action::Release => self.sign_half(Role::Buyer, feerate),
            Action::Refund => {
                let escrow = self.escrow.as_ref().ok_or_else(not_allowed)?;
                let (vault, coin) = self.check_refund(phase)?;
                Ok(Effect::BuildTimeout { vault, coin, fee: escrow.timeout_fee_at(vault, coin, feerate)? })
            }
            Action::Cancel => match (self.role, phase) {
                (Role::Buyer, Phase::Funded | Phase::Paid | Phase::Disputed | Phase::Ruled) => {
                    self.sign_half(Role::Seller, feerate)
                }
                (_, _) => Ok(Effect::Publish(Body::Cancel(Cancel { trade, refund: None }))),
            },
            Action::Dispute => Ok(Effect::Publish(Body::Dispute(Dispute { trade }))),
            Action::Rule => Err(Refusal::NoVerdict),
            Action::Extend => {
                let (seat, vaults) = self.case().ok_or_else(not_allowed)?;
                let escrow = self.escrow.as_ref().ok_or_else(not_allowed)?;
                let fee = escrow.extension_fee_at(seat, &vaults, feerate.min(MAX_SHARED_FEERATE))?;
                Ok(Effect::SignExtension { seat, vaults, fee })
            }
        }
    }

    /// Decides a dispute.
    pub(super) fn rule(&self, verdict: Verdict, feerate: u64) -> Result<Effect, Refusal> {
        let phase = self.phase();
        self.check(Action::Rule, phase)?;
        if let Some(to) = self.signed_over().filter(|to| !verdict.is_for(*to)) {
            return Err(Refusal::SignedOver { to });
        }
        let not_allowed = || Refusal::NotAllowed { action: Action::Rule, role: self.role, phase };
        let (seat, vaults) = self.case().ok_or_else(not_allowed)?;
        let escrow = self.escrow.as_ref().ok_or_else(not_allowed)?;
        let feerate = feerate.min(MAX_SHARED_FEERATE);
        let (to_buyer, to_seller): (Sats, Sats) = escrow.divide(seat, &vaults, verdict, feerate)?;
        Ok(Effect::SignRuling { seat, vaults, to_buyer, to_seller })
    }

    /// Returns what an arbiter decides about.
    fn case(&self) -> Option<(Seat, Vaults)> {
        self.seat.zip(self.view.vaults())
    }

    /// Asks for this side's half of a spend of the escrow to `to`. Where blocks cost more than a half may pay, who gets the
    /// coins pays the rest by a child.
    pub(super) fn sign_half(&self, to: Role, feerate: u64) -> Result<Effect, Refusal> {
        let action = if to == Role::Buyer { Action::Release } else { Action::Cancel };
        let not_allowed = || Refusal::NotAllowed { action, role: self.role, phase: self.phase() };
        let (escrow, vaults) = self.escrow.as_ref().zip(self.view.vaults()).ok_or_else(not_allowed)?;
        Ok(Effect::SignHalf { vaults, fee: escrow.fee_at(&vaults, to, feerate.min(MAX_SHARED_FEERATE))?, to })
    }
}
