//! A higher fee for what of a trade waits for a block.
//!
//! A funding is never made anew, since two of them would pay twice: a child of its change pays for both. A payout, and a
//! refund that both signed, fix their fee for good: whoever receives coins raises it by a child of his own output. What the
//! seller signs alone after the refund delay he replaces.

use bitcoin::{Amount, FeeRate, Transaction};
use exchange_api::{ApiError, BumpView, Code, RaisedBy};
use exchange_ledger::body::{Coin, Vaults};
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{EscrowError, Event, Role, SPEND_VSIZE, SpendPath, Trade, Vault, spends_any};

use super::effects::internal;
use super::{Trader, not_mine};
use crate::chain::consensus;
use crate::errors::ExplainResult;
use crate::server::bump_view;
use crate::wallet::{BumpRequest, ChildRequest};

/// How a fee is to be raised.
#[derive(Debug, Clone, Copy)]
pub struct Raise {
    /// What is to be paid; `None` asks the chain.
    pub fee_rate: Option<FeeRate>,
    /// Whether the fee may be beyond what is sane.
    pub allow_high_fee: bool,
    /// Only builds and prices it.
    pub dry_run: bool,
}

/// What of a trade waits for a block.
enum Waiting {
    /// This seller's funding of the escrow.
    Funding(Transaction),
    /// A spend that this side did not sign alone, and what it spends.
    Spend(Transaction, Vaults),
    /// The seller's own refund after the delay, and what it spends.
    Timeout(Transaction, Vaults),
}

impl Trader {
    /// Raises the fee of what waits for a block of a trade.
    pub(super) async fn bump(&mut self, id: TradeId, raise: Raise) -> Result<BumpView, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let nothing = || {
            let hint = "`exchange-node trade show` tells what it waits for";
            ApiError::new(Code::NotAllowed, "nothing of this trade waits for a block whose fee you could raise", hint)
        };
        match waiting(&active.trade).ok_or_else(nothing)? {
            Waiting::Funding(tx) => {
                let request = BumpRequest {
                    request_id: String::new(), // a child needs none: the same one is found again
                    txid: tx.compute_txid(),
                    fee_rate: raise.fee_rate,
                    allow_high_fee: raise.allow_high_fee,
                    dry_run: raise.dry_run,
                };
                bump_view(&self.tools.wallet.bump(request).await.explained()?, !raise.dry_run)
            }
            Waiting::Spend(tx, vaults) => {
                let is_refund = self.escrow(id)?.classify(&tx, &vaults).is_refund();
                let what = if is_refund { "refund" } else { "payout" };
                let request = ChildRequest {
                    parent_fee: fee_of(&vaults, &tx)?.into(),
                    parent: tx,
                    fee_rate: raise.fee_rate,
                    allow_high_fee: raise.allow_high_fee,
                    dry_run: raise.dry_run,
                    label: format!("a higher fee for the {what} of trade {}", id.short()),
                };
                bump_view(&self.tools.wallet.bump_by_child(request).await.explained()?, !raise.dry_run)
            }
            Waiting::Timeout(tx, vaults) => self.replace_timeout(id, &tx, &vaults, raise).await,
        }
    }

    async fn replace_timeout(
        &mut self,
        id: TradeId,
        earlier: &Transaction,
        vaults: &Vaults,
        raise: Raise,
    ) -> Result<BumpView, ApiError> {
        let feerate = match raise.fee_rate {
            Some(rate) => rate.to_sat_per_vb_ceil(),
            None => self.feerate().await?,
        };
        let (escrow, key, coin) = (self.escrow(id)?, *self.trade_key(id)?.here()?, vaults.escrow);
        let refused =
            |e: EscrowError| ApiError::new(Code::InvalidArgument, e.to_string(), "choose a feerate of 1 to 500 sat/vB");
        let paid = fee_of(vaults, earlier)?;
        let fee = escrow.timeout_fee_at(Vault::Escrow, coin, feerate).map_err(refused)?;
        let increment = Sats::new(SPEND_VSIZE).and_then(|increment| paid.checked_add(increment));
        let lowest = increment.ok_or_else(|| internal("a fee beyond all bitcoin"))?;
        if fee < lowest {
            let message = format!("the refund pays {paid} BTC already; a replacement must pay at least {lowest} BTC");
            return Err(ApiError::new(Code::NotAllowed, message, "ask for a higher feerate"));
        }
        let draft = escrow.signed_timeout(Vault::Escrow, coin, fee, &key).map_err(refused)?;
        consensus::verify_spend(&draft.tx, &draft.prevouts()).map_err(internal)?;
        let (raised, txid) = (earlier.compute_txid().to_string(), draft.tx.compute_txid().to_string());
        if !raise.dry_run {
            // Kept, then broadcast, as the first version was, and again until a block holds it.
            self.handle(id, Event::SpendBuilt(draft.tx)).await?;
        }
        Ok(BumpView { raised, txid, by: RaisedBy::Replacement, fee, broadcast: !raise.dry_run })
    }
}

/// Tells whether something of a trade waits for a block, whose fee this side can raise.
pub(super) fn can_bump(trade: &Trade) -> bool {
    let own_script = |role| {
        let party = trade.escrow().and_then(|escrow| escrow.contract().party(role));
        party.map(|party| party.destination.script().clone())
    };
    match waiting(trade) {
        Some(Waiting::Funding(tx)) => tx.output.len() > 1,
        Some(Waiting::Spend(tx, _)) => {
            own_script(trade.role()).is_some_and(|own| tx.output.iter().any(|output| output.script_pubkey == own))
        }
        Some(Waiting::Timeout(..)) => true,
        None => false,
    }
}

fn waiting(trade: &Trade) -> Option<Waiting> {
    let (view, escrow) = (trade.view(), trade.escrow()?);
    let unconfirmed = |height: Option<u32>| height.is_none();
    if let Some(funding) = view.funding() {
        let vaults = funding.vaults;
        let kept = decode(trade.local().spend_tx.as_deref()).filter(|tx| spends_any(tx, &vaults));
        let spend = match view.spend() {
            Some(spend) if unconfirmed(spend.height) => Some(spend.tx.clone()),
            Some(_) => return None,
            // The pool may have dropped it, or never taken it.
            None => kept,
        };
        if let Some(tx) = spend {
            let own_timeout = escrow.classify(&tx, &vaults) == SpendPath::Timeout && trade.role() == Role::Seller;
            return Some(if own_timeout { Waiting::Timeout(tx, vaults) } else { Waiting::Spend(tx, vaults) });
        }
    }
    let waits = view.funding().is_none_or(|funding| unconfirmed(funding.height) && funding.extends.is_none());
    let is_mine = trade.role() == Role::Seller && !trade.phase().is_final();
    decode(trade.local().funding_tx.as_deref()).filter(|_| waits && is_mine).map(Waiting::Funding)
}

fn decode(bytes: Option<&[u8]>) -> Option<Transaction> {
    bitcoin::consensus::deserialize(bytes?).ok()
}

/// Returns what a spend of the escrow pays.
fn fee_of(vaults: &Vaults, tx: &Transaction) -> Result<Sats, ApiError> {
    let is_spent = |coin: &Coin| tx.input.iter().any(|input| input.previous_output == coin.outpoint.0);
    let spent = vaults.coins().filter(is_spent).map(|coin| Amount::from(coin.value));
    let spent = spent.into_iter().try_fold(Amount::ZERO, Amount::checked_add);
    let out = tx.output.iter().try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value));
    let fee = spent.zip(out).and_then(|(spent, out)| spent.checked_sub(out));
    fee.ok_or_else(|| internal("a spend that pays out more than it spends"))?.try_into().map_err(internal)
}
