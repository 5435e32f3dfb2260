//! The methods of the wallet: from the API's plain types to those of the wallet, and back.

use std::str::FromStr;

use bitcoin::{Address, FeeRate, OutPoint, Psbt, Txid};
use exchange_api::{
    ApiError, Balance, BumpTx, BumpView, CancelTx, CancelView, Code, CoinUse, CoinView, FeeChoice, FeeEstimate,
    FinishPsbt, FreezeCoins, LabelLine, LabelsTaken, MAX_BATCH, Page, PsbtInputView, PsbtOutputView, PsbtView,
    RaisedBy, SendRequest, Sent, SetLabel, TradeView, WalletTx,
};
use exchange_ledger::money::Sats;

use super::Server;
use crate::errors::{ExplainResult, internal, invalid};
use crate::wallet::{
    self, Bumped, Cancelled, Coin, CoinCursor, CoinState, FeeRaise, HistoryCursor, Label, LabelSubject, LabelsSet,
    MAX_SPENT_COINS, Payment, Priced, PricedCancel, PricedRaise, psbt,
};

/// How many transactions, coins or labels a page holds unless asked otherwise.
const PAGE: u32 = 50;
/// Within how many blocks confirmation is estimated for users to choose from: the next one, half an hour, hours, a day.
const TARGETS: [u16; 4] = [1, 3, 12, 144];
/// The slowest target that backends estimate for: a week.
const MAX_TARGET: u16 = 1008;

impl Server {
    pub(super) async fn balance(&self) -> Result<Balance, ApiError> {
        let session = self.unlocked()?;
        let balance = session.tools.wallet.balance().await.explained()?;
        let trades = session.trader.list().await?;
        let escrowed = trades.iter().map(TradeView::in_escrow);
        let in_escrow = escrowed.fold(Sats::ZERO, |sum, part| sum.checked_add(part).unwrap_or(Sats::MAX));
        Ok(Balance {
            spendable: balance.spendable.try_into().map_err(internal)?,
            pending: balance.pending.try_into().map_err(internal)?,
            in_escrow,
            frozen: balance.frozen.try_into().map_err(internal)?,
            reserved: balance.reserved.try_into().map_err(internal)?,
        })
    }

    pub(super) async fn send(&self, request: SendRequest) -> Result<Sent, ApiError> {
        let dry_run = request.dry_run;
        let session = self.unlocked()?;
        let payment = session.tools.wallet.send(self.order(request).await?).await.explained()?;
        sent(&payment, !dry_run)
    }

    /// Reads what is to be sent where.
    async fn order(&self, request: SendRequest) -> Result<wallet::SendRequest, ApiError> {
        let network = self.parts.config.network;
        let address = Address::from_str(request.address.trim())
            .map_err(|error| invalid(format!("`{}` is not a bitcoin address: {error}", request.address)))?
            .require_network(network)
            .map_err(|_| {
                let message = format!("`{}` is an address of another network than {network}", request.address);
                ApiError::new(Code::WrongNetwork, message, format!("ask for an address on {network}"))
            })?;
        let label = match request.label.trim() {
            "" => format!("to {address}"),
            label => label.to_owned(),
        };
        let fee_rate = self.fee_rate(request.fee, request.priced.is_some()).await?;
        let named = coins_of(&request.coins, MAX_BATCH)?;
        // What was shown was paid from its coins alone, whichever of them were named.
        let (coins, priced) = match request.priced {
            Some(Sent { amount, fee, coins, .. }) if !coins.is_empty() => {
                let priced = Priced { amount: amount.into(), fee: fee.into() };
                (coins_of(&coins, MAX_SPENT_COINS)?, Some(priced))
            }
            Some(_) => return Err(invalid("what was priced names no coins")),
            None => (named, None),
        };
        Ok(wallet::SendRequest {
            request_id: request.request_id,
            script: address.script_pubkey(),
            amount: request.amount.map(Into::into),
            fee_rate,
            allow_high_fee: request.fee.allow_high_fee,
            coins,
            dry_run: request.dry_run,
            label,
            priced,
        })
    }

    /// Returns the feerate that was chosen; `None` leaves it to the wallet. Of what was priced it is known what it pays.
    pub(super) async fn fee_rate(&self, choice: FeeChoice, is_priced: bool) -> Result<Option<FeeRate>, ApiError> {
        match (choice.fee_rate, choice.target_blocks) {
            _ if is_priced => Ok(None),
            (Some(_), Some(_)) => Err(invalid("choose a feerate or a number of blocks, not both")),
            (Some(rate), None) => {
                FeeRate::from_sat_per_vb(rate).map(Some).ok_or_else(|| invalid("the feerate is too large"))
            }
            (None, Some(blocks)) if !(1..=MAX_TARGET).contains(&blocks) => {
                Err(invalid(format!("estimates are for 1 to {MAX_TARGET} blocks")))
            }
            (None, Some(blocks)) => self.parts.chain.fee_rate(blocks).await.map(Some).explained(),
            (None, None) => Ok(None),
        }
    }

    pub(super) async fn fees(&self) -> Result<Vec<FeeEstimate>, ApiError> {
        let mut estimates = Vec::with_capacity(TARGETS.len());
        for target_blocks in TARGETS {
            let fee_rate = match self.parts.chain.fee_rate(target_blocks).await {
                Ok(rate) => Some(rate.to_sat_per_vb_ceil()),
                Err(crate::chain::ChainError::NoFeeEstimate { .. }) => None,
                Err(error) => return Err(error).explained(),
            };
            estimates.push(FeeEstimate { target_blocks, fee_rate });
        }
        Ok(estimates)
    }

    pub(super) async fn history(&self, cursor: Option<String>, limit: Option<u32>) -> Result<Page<WalletTx>, ApiError> {
        let after = cursor.map(|cursor| cursor.parse::<HistoryCursor>()).transpose().explained()?;
        let session = self.unlocked()?;
        let page = session.tools.wallet.history(after, limit.unwrap_or(PAGE) as usize).await.explained()?; // u32 fits
        let trades = session.trader.list().await?;
        let trade_of = |txid: &str| {
            let is_of = |tx: &Option<exchange_api::ChainTx>| tx.as_ref().is_some_and(|tx| tx.txid == txid);
            trades.iter().find(|trade| is_of(&trade.funding) || is_of(&trade.spend)).map(|trade| trade.id)
        };
        let items = page.entries.into_iter().map(|entry| {
            let txid = entry.txid.to_string();
            Ok(WalletTx {
                trade: trade_of(&txid),
                txid,
                net_sat: entry.net.to_sat(),
                fee: entry.fee.map(Sats::try_from).transpose().map_err(internal)?,
                height: entry.height,
                time: entry.time,
                label: entry.label,
                note: entry.note,
            })
        });
        let items = items.collect::<Result<_, ApiError>>()?;
        Ok(Page { items, next: page.next.map(|cursor| cursor.to_string()) })
    }

    pub(super) async fn coins(&self, cursor: Option<String>, limit: Option<u32>) -> Result<Page<CoinView>, ApiError> {
        let after = cursor.map(|cursor| cursor.parse::<CoinCursor>()).transpose().explained()?;
        let limit = (limit.unwrap_or(PAGE) as usize).clamp(1, MAX_BATCH - 1); // u32 fits
        let mut coins = self.unlocked()?.tools.wallet.coins(after, limit + 1).await.explained()?;
        let more = coins.len() > limit;
        coins.truncate(limit);
        let next = coins.last().filter(|_| more).map(|coin| coin.cursor().to_string());
        Ok(Page { items: coins.into_iter().map(coin_view).collect::<Result<_, _>>()?, next })
    }

    pub(super) async fn freeze(&self, request: FreezeCoins) -> Result<Vec<CoinView>, ApiError> {
        let coins = coins_of(&request.coins, MAX_BATCH)?;
        let coins = self.unlocked()?.tools.wallet.freeze(coins, request.frozen).await.explained()?;
        coins.into_iter().map(coin_view).collect()
    }

    pub(super) async fn label(&self, request: SetLabel) -> Result<(), ApiError> {
        let subject = LabelSubject::parse(&request.subject, self.parts.config.network).explained()?;
        let label = Label { subject, text: request.label.trim().to_owned(), frozen: None };
        self.unlocked()?.tools.wallet.set_labels(vec![label]).await.explained()?;
        Ok(())
    }

    pub(super) async fn labels(&self, cursor: Option<String>) -> Result<Page<LabelLine>, ApiError> {
        let network = self.parts.config.network;
        let after = cursor.map(|cursor| LabelSubject::parse(&cursor, network)).transpose().explained()?;
        let labels = self.unlocked()?.tools.wallet.labels(after, MAX_BATCH).await.explained()?;
        let more = labels.len() == MAX_BATCH;
        let items: Vec<LabelLine> = labels.into_iter().filter_map(|label| line_of(label, network)).collect();
        let next = items.last().filter(|_| more).map(|line| line.reference.clone());
        Ok(Page { items, next })
    }

    pub(super) async fn take_labels(&self, lines: Vec<LabelLine>) -> Result<LabelsTaken, ApiError> {
        if lines.len() > MAX_BATCH {
            return Err(invalid(format!("at most {MAX_BATCH} labels at once")));
        }
        let network = self.parts.config.network;
        let mut taken = LabelsTaken::default();
        let mut labels = Vec::with_capacity(lines.len());
        for line in lines {
            if !matches!(line.kind.as_str(), "tx" | "addr" | "output") {
                taken.skipped += 1;
                continue;
            }
            let subject = LabelSubject::parse(&line.reference, network).explained()?;
            labels.push(Label { subject, text: line.label, frozen: line.spendable.map(|spendable| !spendable) });
            taken.set += 1;
        }
        let LabelsSet { frozen, left_frozen } = self.unlocked()?.tools.wallet.set_labels(labels).await.explained()?;
        // usize is at most 64 bits
        Ok(LabelsTaken { frozen: frozen as u64, left_frozen: left_frozen as u64, ..taken })
    }

    pub(super) async fn bump(&self, request: BumpTx) -> Result<BumpView, ApiError> {
        let dry_run = request.dry_run;
        let order = wallet::BumpRequest {
            request_id: request.request_id,
            txid: txid_of(&request.txid)?,
            fee_rate: self.fee_rate(request.fee, request.priced.is_some()).await?,
            allow_high_fee: request.fee.allow_high_fee,
            dry_run,
            by_trade: false,
            priced: request.priced.as_ref().map(priced_raise).transpose()?,
        };
        let bumped = self.unlocked()?.tools.wallet.bump(order).await.explained()?;
        bump_view(&bumped, !dry_run)
    }

    pub(super) async fn cancel(&self, request: CancelTx) -> Result<CancelView, ApiError> {
        let dry_run = request.dry_run;
        let order = wallet::CancelRequest {
            request_id: request.request_id,
            txid: txid_of(&request.txid)?,
            fee_rate: self.fee_rate(request.fee, request.priced.is_some()).await?,
            allow_high_fee: request.fee.allow_high_fee,
            dry_run,
            priced: request.priced.as_ref().map(priced_cancel).transpose()?,
        };
        let cancelled = self.unlocked()?.tools.wallet.cancel(order).await.explained()?;
        cancel_view(&cancelled, !dry_run)
    }

    pub(super) async fn draft_psbt(&self, request: SendRequest) -> Result<PsbtView, ApiError> {
        let order = self.order(request).await?;
        let psbt = self.unlocked()?.tools.wallet.draft(order).await.explained()?;
        self.show_psbt(psbt).await
    }

    pub(super) async fn show_psbt(&self, psbt: Psbt) -> Result<PsbtView, ApiError> {
        let review = self.unlocked()?.tools.wallet.review_psbt(psbt.clone()).await.explained()?;
        let sats = |amount: bitcoin::Amount| Sats::try_from(amount).map_err(invalid);
        let inputs = review.inputs.into_iter().map(|input| {
            let amount = input.value.map(sats).transpose()?;
            Ok(PsbtInputView { coin: input.outpoint.to_string(), amount, mine: input.mine, signed: input.signed })
        });
        let outputs = review.outputs.into_iter().map(|output| {
            let to = output.address.map_or_else(|| output.script.to_hex_string(), |address| address.to_string());
            Ok(PsbtOutputView { to, amount: sats(output.value)?, mine: output.mine })
        });
        let net = review.sent.to_signed().map_err(invalid)?.checked_sub(review.received.to_signed().map_err(invalid)?);
        Ok(PsbtView {
            txid: psbt.unsigned_tx.compute_txid().to_string(),
            psbt: psbt.to_string(),
            inputs: inputs.collect::<Result<_, ApiError>>()?,
            outputs: outputs.collect::<Result<_, ApiError>>()?,
            fee: review.fee.map(sats).transpose()?,
            net_sat: net.ok_or_else(|| invalid("its amounts are beyond all bitcoin"))?.to_sat(),
        })
    }

    pub(super) async fn sign_psbt(&self, psbt: &str) -> Result<PsbtView, ApiError> {
        let psbt = psbt::decode(psbt.as_bytes()).explained()?;
        let signed = self.unlocked()?.tools.wallet.sign_psbt(psbt).await.explained()?;
        self.show_psbt(signed).await
    }

    pub(super) async fn finish_psbt(&self, request: FinishPsbt) -> Result<Sent, ApiError> {
        let FinishPsbt { request_id, dry_run, psbt, allow_high_fee } = request;
        let psbt = psbt::decode(psbt.as_bytes()).explained()?;
        let label = "signed elsewhere too".to_owned();
        let request = wallet::FinishRequest { request_id, psbt, allow_high_fee, dry_run, label };
        let payment = self.unlocked()?.tools.wallet.finish_psbt(request).await.explained()?;
        sent(&payment, !dry_run)
    }
}

/// Returns what was sent as the API shows it.
pub(super) fn sent(payment: &Payment, broadcast: bool) -> Result<Sent, ApiError> {
    Ok(Sent {
        txid: payment.tx.compute_txid().to_string(),
        amount: payment.amount.try_into().map_err(internal)?,
        fee: payment.fee.try_into().map_err(internal)?,
        vsize: payment.tx.vsize() as u64, // usize is at most 64 bits
        coins: payment.tx.input.iter().map(|input| input.previous_output.to_string()).collect(),
        broadcast,
    })
}

/// Returns what raises a fee as the API shows it.
///
/// # Errors
/// When the fee is beyond all bitcoin.
pub fn bump_view(bumped: &Bumped, broadcast: bool) -> Result<BumpView, ApiError> {
    let (raised, by) = match bumped.raise {
        FeeRaise::Replacement { of } => (of, RaisedBy::Replacement),
        FeeRaise::Child { of } => (of, RaisedBy::Child),
    };
    Ok(BumpView {
        raised: raised.to_string(),
        txid: bumped.payment.tx.compute_txid().to_string(),
        by,
        fee: bumped.payment.fee.try_into().map_err(internal)?,
        broadcast,
    })
}

/// Reads what was shown of a higher fee.
pub(super) fn priced_raise(shown: &BumpView) -> Result<PricedRaise, ApiError> {
    let of = txid_of(&shown.raised)?;
    let raise = match shown.by {
        RaisedBy::Replacement => FeeRaise::Replacement { of },
        RaisedBy::Child => FeeRaise::Child { of },
    };
    Ok(PricedRaise { raise, fee: shown.fee.into() })
}

/// Returns what cancels a payment as the API shows it.
fn cancel_view(cancelled: &Cancelled, broadcast: bool) -> Result<CancelView, ApiError> {
    let Cancelled { of, payment } = cancelled;
    Ok(CancelView {
        cancelled: of.to_string(),
        txid: payment.tx.compute_txid().to_string(),
        amount: payment.amount.try_into().map_err(internal)?,
        fee: payment.fee.try_into().map_err(internal)?,
        broadcast,
    })
}

/// Reads what was shown before a payment was cancelled.
fn priced_cancel(shown: &CancelView) -> Result<PricedCancel, ApiError> {
    Ok(PricedCancel { of: txid_of(&shown.cancelled)?, fee: shown.fee.into() })
}

fn txid_of(text: &str) -> Result<Txid, ApiError> {
    Txid::from_str(text.trim()).map_err(|_| invalid(format!("`{text}` is not a transaction id")))
}

fn coins_of(names: &[String], most: usize) -> Result<Vec<OutPoint>, ApiError> {
    if names.len() > most {
        return Err(invalid(format!("at most {most} coins at once")));
    }
    let coin = |name: &String| {
        let hint = "a coin is named as `exchange-node wallet coins` shows it: the transaction id, a colon, a number";
        let none = || ApiError::new(Code::InvalidArgument, format!("`{name}` is not a coin"), hint);
        name.trim().parse::<OutPoint>().map_err(|_| none())
    };
    names.iter().map(coin).collect()
}

fn coin_view(coin: Coin) -> Result<CoinView, ApiError> {
    Ok(CoinView {
        coin: coin.outpoint.to_string(),
        address: coin.address.to_string(),
        amount: coin.value.try_into().map_err(internal)?,
        height: coin.height,
        change: coin.change,
        label: coin.label,
        state: match coin.state {
            CoinState::Spendable => CoinUse::Spendable,
            CoinState::Pending => CoinUse::Pending,
            CoinState::Frozen => CoinUse::Frozen,
            CoinState::Reserved { by, label } => CoinUse::Reserved { by: by.to_string(), what: label },
        },
    })
}

fn line_of(label: Label, network: bitcoin::Network) -> Option<LabelLine> {
    let (kind, reference) = label.subject.reference(network)?;
    let spendable = label.frozen.map(|frozen| !frozen);
    Some(LabelLine { kind: kind.to_owned(), reference, label: label.text, spendable })
}
