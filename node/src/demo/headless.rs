//! One whole trade of the demo that nobody watches, and what became of it.

use std::collections::BTreeSet;

use color_eyre::eyre::{OptionExt, Result, bail};
use exchange_api::{BookFilter, TakeOffer, TradeView};
use exchange_ledger::body::Side;
use exchange_ledger::rules::CLOSED_DEPTH;
use exchange_ledger::storage::Storage;
use exchange_ledger::trade::{Action, Phase};

use super::people::act_as_maker;
use super::{Demo, GLANCE, PATIENCE, nowhere, wait_for};
use crate::chain::ChainBackend;
use crate::market::{self, Viewer};

impl Demo {
    /// Buys from the cheapest euro offer, to the end.
    pub(super) async fn trade(&self) -> Result<serde_json::Value> {
        let you = self.you();
        let filter = BookFilter { side: Some(Side::Sell), currency: Some("EUR".parse()?), ..BookFilter::default() };
        let book = market::book(&Viewer::of(&you.tools)?, &filter)?;
        let offer = book.items.first().ok_or_eyre("the book is empty")?;
        tracing::info!(offer = %offer.id, amount = %offer.max, "you take the best offer");
        let take = TakeOffer {
            request_id: String::new(),
            dry_run: false,
            offer: offer.id,
            amount: offer.max,
            method: None,
            arbiter: None,
            second_arbiter: None,
            details: "from you".into(),
        };
        let trade = you.trader.take(take).await?.id;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let makers = self.makers();
        let mut state = Phase::Bid;
        while tokio::time::Instant::now() < deadline && !self.stop.is_cancelled() {
            for maker in &makers {
                act_as_maker(maker).await;
            }
            let view = you.trader.show(trade).await?;
            if view.state != state {
                state = view.state;
                tracing::info!(?state, "the trade");
            }
            if view.actions.contains(&Action::MarkPaid) && view.their_details.is_some() {
                tracing::info!("you pay");
                you.trader.act(trade, Action::MarkPaid, None, false).await?;
            }
            if view.state.is_final() {
                return self.report(&view).await;
            }
            if view.funding.is_some() {
                self.chain.mine(1, nowhere()).await?;
            }
            tokio::time::sleep(GLANCE).await;
        }
        bail!("the trade did not end in time; it stands at {state:?}")
    }

    async fn report(&self, view: &TradeView) -> Result<serde_json::Value> {
        let (Some(funding), Some(spend)) = (&view.funding, &view.spend) else {
            bail!("the trade ended as {:?} without coins having moved", view.state);
        };
        let wallet = &self.you().tools.wallet;
        let arrived = wait_for("the coins in the buyer's wallet", async || {
            let history = wallet.history(None, 50).await.ok()?;
            let mut entries = history.entries.into_iter();
            entries.find(|entry| entry.txid.to_string() == spend.txid && entry.height.is_some())
        })
        .await?;
        if view.state != Phase::Closed {
            bail!("the trade ended as {:?}", view.state);
        }
        // How it ended is said once it lies deep enough.
        self.chain.mine(CLOSED_DEPTH, nowhere()).await?;
        // The audit of the arbiter's node, which took no part, must agree.
        let auditor = &self.people[0].tools;
        wait_for("the arbiter's node to hear of the end", async || {
            let records = auditor.keeper.ledger().trade(view.id).ok()?;
            (records.facts.buyer_closed.is_some() && records.facts.seller_closed.is_some()).then_some(())
        })
        .await?;
        let request = exchange_api::AuditRequest { chain: true, ..Default::default() };
        let (keeper, chain, sure) = (&auditor.keeper, auditor.chain.as_ref(), &auditor.sure);
        let (ledger, is_compared) = (keeper.ledger(), keeper.is_compared());
        let audit = crate::audit::run(ledger, chain, &request, BTreeSet::new(), is_compared, sure).await?;
        if !audit.ok {
            bail!("the audit found violations: {:?}", audit.violations);
        }
        Ok(serde_json::json!({
            "trade": view.id,
            "state": view.state,
            "buyer": view.buyer,
            "seller": view.seller,
            "amount_sat": view.amount,
            "cost": view.cost,
            "currency": view.currency,
            "escrow_address": view.escrow_address,
            "escrow_txid": funding.txid,
            "payout_txid": spend.txid,
            "received_sat": arrived.net.to_sat(),
            "confirmations": spend.confirmations,
            "records": auditor.keeper.ledger().storage().len()?,
            "audited": audit.ok,
        }))
    }
}
