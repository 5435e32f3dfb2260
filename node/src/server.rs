//! The local API's server: each method asks a part of the node and explains what went wrong.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use exchange_api::{
    AcceptBid, AddressInfo, Advertise, AgainstReport, ApiError, ArbiterView, AuditReport, AuditRequest, Balance,
    BookFilter, BumpTrade, BumpTx, BumpView, Bundle, CheckpointView, Code, CoinView, Conversation, CreateGroup,
    Credentials, Disclose, Disclosure, Event, ExchangeApiServer, FeeEstimate, FinishPsbt, FreezeCoins, FundSigned,
    FundingDraft, GroupView, IdentityInfo, LabelLine, LabelsTaken, MessageView, OfferView, Page, PasswordStrength,
    PeerInfo, PostOffer, PsbtView, RuleTrade, SendMessage, SendRequest, Sent, SetLabel, SignedElsewhere, SignerView,
    StakeRequest, StakeView, Status, StrengthVerdict, SweepView, SweepWords, TakeOffer, TakeReview, ToSign,
    TradeCommand, TradeView, TrustArbiter, WalletTx, WalletWords,
};
use exchange_ledger::body::{ArbiterAdvert, Body, Terms};
use exchange_ledger::identity::{Email, Passphrase, Password, Verdict, strength};
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::money::Sats;
use exchange_ledger::seal;
use exchange_ledger::storage::Storage;
use exchange_ledger::text::Text;
use exchange_ledger::trade::Action;
use exchange_ledger::wire::{CurveKey, Destination, List};
use exchange_store::Answer;
use jsonrpsee::core::{RpcResult, SubscriptionResult, async_trait};
use jsonrpsee::{Methods, PendingSubscriptionSink};
use libp2p::Multiaddr;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::errors::ExplainResult;
use crate::keeper::record_of;
use crate::node::{Parts, Session};
use crate::trader::Raise;
use crate::trader::keys::{ARBITER_NONCE, seal_secret, trade_key};
use crate::trader::signer::{ExternalKey, Signers};
use crate::{audit, checkpoints, clock, entropy, market, stakes};

mod wallet;

pub(crate) use wallet::bump_view;

/// The longest request id.
const MAX_REQUEST_ID: usize = 64;

/// Returns the methods of a node's API.
pub fn methods(parts: Arc<Parts>) -> Methods {
    Server { parts, running: Mutex::default() }.into_rpc().into()
}

struct Server {
    parts: Arc<Parts>,
    /// Requests that are being carried out.
    running: Mutex<HashSet<String>>,
}

/// Removes a request from those that are being carried out, however it ends.
struct Running<'a> {
    server: &'a Server,
    id: String,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.server.running().remove(&self.id);
    }
}

impl Server {
    fn unlocked(&self) -> Result<Arc<Session>, ApiError> {
        self.parts.unlocked()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a request as being carried out, and returns the answer that it was given before.
    fn begin(&self, request_id: &str) -> Result<(Running<'_>, Option<Answer>), ApiError> {
        if request_id.is_empty() || request_id.len() > MAX_REQUEST_ID {
            let message = format!("a request id has 1 to {MAX_REQUEST_ID} bytes");
            return Err(ApiError::new(Code::InvalidArgument, message, ""));
        }
        let running = {
            let mut running = self.running();
            if !running.insert(request_id.to_owned()) {
                let message = format!("request {request_id} is being carried out");
                return Err(ApiError::new(Code::Busy, message, "wait for its answer"));
            }
            Running { server: self, id: request_id.to_owned() }
        };
        let answered = self.parts.private.answer(request_id).explained()?;
        Ok((running, answered))
    }

    /// Carries out a request that publishes a record: the keeper keeps with the record that the request was answered, and
    /// the same id again shows what has become of that record.
    async fn once_published<T>(
        &self,
        request_id: &str,
        work: impl Future<Output = Result<T, ApiError>>,
        show: impl AsyncFnOnce(RecordId) -> Result<T, ApiError>,
    ) -> RpcResult<T> {
        let (_running, answered) = self.begin(request_id)?;
        let Some(answer) = answered else { return Ok(work.await?) };
        let record = record_of(&answer).ok_or_else(|| used_before(request_id))?;
        match show(record).await {
            Err(error) if error.code == Code::NotFound => Err(used_before(request_id).into()),
            shown => Ok(shown?),
        }
    }

    /// Carries out a request once: the same id again returns the first answer.
    async fn once<T: Serialize + DeserializeOwned>(
        &self,
        request_id: &str,
        dry_run: bool,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> RpcResult<T> {
        if dry_run {
            return Ok(work.await?);
        }
        let (_running, answered) = self.begin(request_id)?;
        if let Some(answer) = answered {
            return serde_json::from_slice(&answer.bytes).map_err(|_| used_before(request_id).into());
        }
        let done = work.await?;
        let bytes = serde_json::to_vec(&done).map_err(internal)?;
        let answer = Answer { time_s: clock::unix_now(), bytes };
        if let Err(error) = self.parts.private.put_answer(request_id, answer) {
            // It is done; only a repetition would not be recognised.
            tracing::error!(%error, request_id, "the answer to a request cannot be kept");
        }
        Ok(done)
    }

    async fn act(&self, request: TradeCommand, action: Action) -> RpcResult<TradeView> {
        let trader = self.unlocked()?.trader.clone();
        let TradeCommand { request_id, dry_run, trade } = request;
        self.once(&request_id, dry_run, async { trader.act(trade, action, dry_run).await }).await
    }

    async fn advertise(&self, session: &Session, request: Advertise) -> Result<ArbiterView, ApiError> {
        let identity = Arc::clone(&session.tools.identity);
        let languages = request.languages.into_iter().map(Text::new).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        let destination = session.tools.wallet.new_destination().await.explained()?;
        let destination = Destination::new(destination).ok_or_else(|| internal("the wallet made an odd address"))?;
        let advert = ArbiterAdvert {
            name: Text::new(request.name.trim()).map_err(invalid)?,
            key: CurveKey(trade_key(&identity, &ARBITER_NONCE).x_only_public_key().0),
            seal_key: seal::public_key(&seal_secret(&identity, &ARBITER_NONCE)),
            fee_ppm: request.fee_ppm,
            destination,
            max_amount: request.max_amount,
            languages: List::new(languages).ok_or_else(|| invalid("too many languages"))?,
            currencies: List::new(request.currencies).ok_or_else(|| invalid("too many currencies"))?,
            terms: Terms::new(request.terms.trim()).map_err(invalid)?,
        };
        let record = self.parts.keeper.publish(identity, Body::ArbiterAdvert(advert)).await.explained()?;
        let arbiter = market::arbiter(self.parts.keeper.ledger(), &record.id()).explained()?;
        let viewer = self.viewer()?;
        arbiter.map(|arbiter| viewer.arbiter(&arbiter)).ok_or_else(|| internal("the advert was not kept"))
    }

    async fn balance(&self) -> Result<Balance, ApiError> {
        let session = self.unlocked()?;
        let balance = session.tools.wallet.balance().await.explained()?;
        let trades = session.trader.list().await?;
        let escrowed = trades
            .iter()
            .filter(|trade| trade.locked() > Sats::ZERO && trade.funding.is_some() && !trade.state.is_final());
        let in_escrow = escrowed.fold(Sats::ZERO, |sum, trade| sum.checked_add(trade.locked()).unwrap_or(Sats::MAX));
        Ok(Balance {
            spendable: balance.spendable.try_into().map_err(internal)?,
            pending: balance.pending.try_into().map_err(internal)?,
            in_escrow,
            frozen: balance.frozen.try_into().map_err(internal)?,
        })
    }

    fn info(session: &Session) -> IdentityInfo {
        IdentityInfo { author: session.tools.identity.author(), email: session.email.clone() }
    }
}

#[async_trait]
impl ExchangeApiServer for Server {
    async fn status(&self) -> RpcResult<Status> {
        let parts = &self.parts;
        let now = clock::unix_now();
        let health = parts.chain_health();
        let offers = {
            let book = parts.keeper.book();
            book.live() as u64 // usize is at most 64 bits
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            network: parts.config.network.to_core_arg().into(),
            chain: parts.chain.name().into(),
            tip: health.as_ref().ok().map(|tip| tip.height),
            chain_error: health.err(),
            identity: parts.identity_state(),
            peers: u32::try_from(parts.net.peers().await.len()).unwrap_or(u32::MAX),
            listen: self.listen().await,
            records: parts.keeper.ledger().storage().len().explained()?,
            retention: parts.config.retention.to_string(),
            offers,
            time: now,
            demo: parts.demo,
        })
    }

    async fn peers(&self) -> RpcResult<Vec<PeerInfo>> {
        let peers = self.parts.net.peers().await.into_iter().map(|peer| PeerInfo {
            peer: peer.peer.to_string(),
            address: peer.address.to_string(),
            agent: peer.agent,
            ping_ms: peer.ping_ms,
            in_sync: peer.in_sync,
        });
        Ok(peers.collect())
    }

    async fn connect_peer(&self, address: String) -> RpcResult<()> {
        let address: Multiaddr = address.parse().map_err(|error| {
            let hint =
                "it looks like /ip4/203.0.113.7/tcp/9740/p2p/12D3KooW…; `exchange-node status` of that node shows it";
            ApiError::new(Code::InvalidArgument, format!("`{address}` is not a multiaddress: {error}"), hint)
        })?;
        Ok(self.parts.net.dial(address).await.map_err(invalid)?)
    }

    async fn passphrase(&self) -> RpcResult<String> {
        Ok(Passphrase::from_entropy(&entropy::bytes32()).as_str().to_owned())
    }

    async fn password_strength(&self, credentials: Credentials) -> RpcResult<PasswordStrength> {
        let email = Email::parse(&credentials.email).explained()?;
        let password = Password::parse(&credentials.password).explained()?;
        let judged = strength(&email, &password);
        Ok(PasswordStrength {
            guesses_log10: judged.guesses_log10_tenths / 10,
            verdict: match judged.verdict {
                Verdict::Refused => StrengthVerdict::Refused,
                Verdict::Weak => StrengthVerdict::Weak,
                Verdict::Strong => StrengthVerdict::Strong,
            },
            advice: judged.advice.join(" "),
        })
    }

    async fn identity_create(&self, credentials: Credentials) -> RpcResult<IdentityInfo> {
        let Credentials { email, password, secret_key } = credentials;
        let (password, secret_key) = (Zeroizing::new(password), secret_key.map(Zeroizing::new));
        let session = self.parts.create_identity(email, password, secret_key).await?;
        Ok(Self::info(&session))
    }

    async fn identity_unlock(&self, password: String) -> RpcResult<IdentityInfo> {
        Ok(Self::info(&*self.parts.unlock(Zeroizing::new(password)).await?))
    }

    async fn identity_show(&self) -> RpcResult<IdentityInfo> {
        Ok(Self::info(&*self.unlocked()?))
    }

    async fn identity_stake(&self, request: StakeRequest) -> RpcResult<StakeView> {
        let session = self.unlocked()?;
        let StakeRequest { request_id, dry_run } = request;
        self.once(&request_id, dry_run, async { stakes::create(&session.tools, dry_run).await }).await
    }

    async fn identity_stakes(&self) -> RpcResult<Vec<StakeView>> {
        let session = self.unlocked()?;
        let author = session.tools.identity.author();
        Ok(stakes::of_author(&self.parts.keeper, self.parts.chain.as_ref(), &author).await?)
    }

    async fn wallet_address(&self) -> RpcResult<AddressInfo> {
        let deposit = self.unlocked()?.tools.wallet.address().await.explained()?;
        Ok(AddressInfo { address: deposit.address.to_string(), uri: deposit.uri })
    }

    async fn wallet_balance(&self) -> RpcResult<Balance> {
        Ok(self.balance().await?)
    }

    async fn wallet_history(&self, cursor: Option<String>, limit: Option<u32>) -> RpcResult<Page<WalletTx>> {
        Ok(self.history(cursor, limit).await?)
    }

    async fn wallet_send(&self, request: SendRequest) -> RpcResult<Sent> {
        let (id, dry_run) = (request.request_id.clone(), request.dry_run);
        self.once(&id, dry_run, self.send(request)).await
    }

    async fn wallet_fees(&self) -> RpcResult<Vec<FeeEstimate>> {
        Ok(self.fees().await?)
    }

    async fn wallet_coins(&self, cursor: Option<String>, limit: Option<u32>) -> RpcResult<Page<CoinView>> {
        Ok(self.coins(cursor, limit).await?)
    }

    async fn wallet_freeze(&self, request: FreezeCoins) -> RpcResult<Vec<CoinView>> {
        Ok(self.freeze(request).await?)
    }

    async fn wallet_label(&self, request: SetLabel) -> RpcResult<()> {
        Ok(self.label(request).await?)
    }

    async fn wallet_labels(&self, cursor: Option<String>) -> RpcResult<Page<LabelLine>> {
        Ok(self.labels(cursor).await?)
    }

    async fn wallet_labels_import(&self, labels: Vec<LabelLine>) -> RpcResult<LabelsTaken> {
        Ok(self.take_labels(labels).await?)
    }

    async fn wallet_bump(&self, request: BumpTx) -> RpcResult<BumpView> {
        let (id, dry_run) = (request.request_id.clone(), request.dry_run);
        self.once(&id, dry_run, self.bump(request)).await
    }

    async fn wallet_psbt_create(&self, request: SendRequest) -> RpcResult<PsbtView> {
        Ok(self.draft_psbt(request).await?)
    }

    async fn wallet_psbt_show(&self, psbt: String) -> RpcResult<PsbtView> {
        Ok(self.show_psbt(crate::wallet::psbt::decode(psbt.as_bytes()).explained()?).await?)
    }

    async fn wallet_psbt_sign(&self, psbt: String) -> RpcResult<PsbtView> {
        Ok(self.sign_psbt(&psbt).await?)
    }

    async fn wallet_psbt_finish(&self, request: FinishPsbt) -> RpcResult<Sent> {
        let (id, dry_run) = (request.request_id.clone(), request.dry_run);
        self.once(&id, dry_run, self.finish_psbt(request)).await
    }

    async fn wallet_words(&self, password: String) -> RpcResult<WalletWords> {
        let words = self.parts.words(Zeroizing::new(password)).await?;
        Ok(WalletWords { words: words.to_string() })
    }

    async fn wallet_sweep(&self, request: SweepWords) -> RpcResult<SweepView> {
        let fee_rate = self.fee_rate(request.fee).await?;
        Ok(self.parts.sweep(request, fee_rate).await?)
    }

    async fn offer_post(&self, request: PostOffer) -> RpcResult<OfferView> {
        let trader = self.unlocked()?.trader.clone();
        if request.dry_run {
            return Ok(trader.post(request).await?);
        }
        let id = request.request_id.clone();
        let show = async |offer| market::offer(&self.viewer()?, &offer);
        self.once_published(&id, trader.post(request), show).await
    }

    async fn offer_list(&self) -> RpcResult<Vec<OfferView>> {
        let me = self.unlocked()?.tools.identity.author();
        Ok(market::offers_of(&self.viewer()?, me)?)
    }

    async fn offer_show(&self, offer: RecordId) -> RpcResult<OfferView> {
        Ok(market::offer(&self.viewer()?, &offer)?)
    }

    async fn offer_revoke(&self, offer: RecordId) -> RpcResult<OfferView> {
        Ok(self.unlocked()?.trader.revoke(offer).await?)
    }

    async fn book(&self, filter: BookFilter) -> RpcResult<Page<OfferView>> {
        Ok(market::book(&self.viewer()?, &filter)?)
    }

    async fn arbiter_list(&self) -> RpcResult<Vec<ArbiterView>> {
        Ok(self.viewer()?.arbiters().explained()?)
    }

    async fn arbiter_trust(&self, request: TrustArbiter) -> RpcResult<()> {
        let TrustArbiter { author, trusted } = request;
        if !self.parts.private.trust_arbiter(&author, trusted, clock::unix_now()).explained()? {
            let message = "you trust as many arbiters as the list holds";
            return Err(
                ApiError::new(Code::NotAllowed, message, "take one off it: `exchange-node arbiter untrust`").into()
            );
        }
        Ok(())
    }

    async fn arbiter_advertise(&self, request: Advertise) -> RpcResult<ArbiterView> {
        let session = self.unlocked()?;
        Ok(self.advertise(&session, request).await?)
    }

    async fn group_create(&self, request: CreateGroup) -> RpcResult<GroupView> {
        let trader = self.unlocked()?.trader.clone();
        let id = request.request_id.clone();
        let show = async |record: RecordId| trader.join_group(record).await;
        self.once_published(&id, trader.create_group(request), show).await
    }

    async fn group_join(&self, group: RecordId) -> RpcResult<GroupView> {
        Ok(self.unlocked()?.trader.join_group(group).await?)
    }

    async fn group_list(&self) -> RpcResult<Vec<GroupView>> {
        Ok(self.unlocked()?.trader.groups().await?)
    }

    async fn trade_review(&self, request: TakeOffer) -> RpcResult<TakeReview> {
        Ok(market::review(&self.unlocked()?.tools, &request).await?)
    }

    async fn trade_take(&self, request: TakeOffer) -> RpcResult<TradeView> {
        let trader = self.unlocked()?.trader.clone();
        if request.dry_run {
            let message = "a dry run of `take` has no trade to show";
            return Err(ApiError::new(Code::InvalidArgument, message, "ask for a review instead").into());
        }
        let id = request.request_id.clone();
        let show = async |record: RecordId| trader.show(record.into()).await;
        self.once_published(&id, trader.take(request), show).await
    }

    async fn trade_accept(&self, request: AcceptBid) -> RpcResult<TradeView> {
        let trader = self.unlocked()?.trader.clone();
        let (id, dry_run) = (request.request_id.clone(), request.dry_run);
        self.once(&id, dry_run, async { trader.accept(request).await }).await
    }

    async fn trade_list(&self) -> RpcResult<Vec<TradeView>> {
        Ok(self.unlocked()?.trader.list().await?)
    }

    async fn trade_show(&self, trade: TradeId) -> RpcResult<TradeView> {
        Ok(self.unlocked()?.trader.show(trade).await?)
    }

    async fn trade_fund(&self, request: TradeCommand) -> RpcResult<TradeView> {
        self.act(request, Action::Fund).await
    }

    async fn trade_paid(&self, request: TradeCommand) -> RpcResult<TradeView> {
        self.act(request, Action::MarkPaid).await
    }

    async fn trade_release(&self, request: TradeCommand) -> RpcResult<TradeView> {
        self.act(request, Action::Release).await
    }

    async fn trade_cancel(&self, request: TradeCommand) -> RpcResult<TradeView> {
        self.act(request, Action::Cancel).await
    }

    async fn trade_dispute(&self, request: TradeCommand) -> RpcResult<TradeView> {
        self.act(request, Action::Dispute).await
    }

    async fn trade_rule(&self, request: RuleTrade) -> RpcResult<TradeView> {
        let trader = self.unlocked()?.trader.clone();
        let (request_id, dry_run) = (request.request_id.clone(), request.dry_run);
        self.once(&request_id, dry_run, async { trader.rule(request).await }).await
    }

    async fn trade_extend(&self, request: TradeCommand) -> RpcResult<TradeView> {
        self.act(request, Action::Extend).await
    }

    async fn trade_refund(&self, request: TradeCommand) -> RpcResult<TradeView> {
        self.act(request, Action::Refund).await
    }

    async fn chat_send(&self, request: SendMessage) -> RpcResult<MessageView> {
        let trader = self.unlocked()?.trader.clone();
        let id = request.request_id.clone();
        self.once(&id, false, async { trader.say(request).await }).await
    }

    async fn chat_show(&self, trade: TradeId) -> RpcResult<Conversation> {
        Ok(self.unlocked()?.trader.conversation(trade).await?)
    }

    async fn chat_read(&self, trade: TradeId, number: u64) -> RpcResult<()> {
        Ok(self.unlocked()?.trader.note_read(trade, number).await?)
    }

    async fn trade_disclose(&self, request: Disclose) -> RpcResult<Disclosure> {
        Ok(self.unlocked()?.trader.disclose(request).await?)
    }

    async fn trade_fund_draft(&self, trade: TradeId) -> RpcResult<FundingDraft> {
        Ok(self.unlocked()?.trader.funding_draft(trade).await?)
    }

    async fn trade_fund_signed(&self, request: FundSigned) -> RpcResult<TradeView> {
        let trader = self.unlocked()?.trader.clone();
        let FundSigned { request_id, dry_run, trade, psbt } = request;
        let work = async {
            let psbt = crate::wallet::psbt::decode(psbt.as_bytes()).explained()?;
            trader.fund_signed(trade, psbt, dry_run).await
        };
        self.once(&request_id, dry_run, work).await
    }

    async fn signer_set(&self, key: Option<String>) -> RpcResult<Vec<SignerView>> {
        let network = self.parts.chain.network();
        let key = key.map(|key| ExternalKey::parse(&key, network)).transpose()?;
        let signers = Signers::load(&self.parts.private, network)?;
        Ok(signers.choose(&self.parts.private, key)?.views())
    }

    async fn signer_list(&self) -> RpcResult<Vec<SignerView>> {
        Ok(Signers::load(&self.parts.private, self.parts.chain.network())?.views())
    }

    async fn trade_to_sign(&self, trade: TradeId) -> RpcResult<ToSign> {
        Ok(self.unlocked()?.trader.to_sign(trade).await?)
    }

    async fn trade_signed(&self, request: SignedElsewhere) -> RpcResult<TradeView> {
        let trader = self.unlocked()?.trader.clone();
        let SignedElsewhere { request_id, dry_run, trade, psbt } = request;
        let work = async {
            let psbt = crate::wallet::psbt::decode(psbt.as_bytes()).explained()?;
            trader.signed(trade, psbt, dry_run).await
        };
        self.once(&request_id, dry_run, work).await
    }

    async fn trade_bump(&self, request: BumpTrade) -> RpcResult<BumpView> {
        let trader = self.unlocked()?.trader.clone();
        let BumpTrade { request_id, dry_run, trade, fee } = request;
        let work = async {
            let fee_rate = self.fee_rate(fee).await?;
            trader.bump(trade, Raise { fee_rate, allow_high_fee: fee.allow_high_fee, dry_run }).await
        };
        self.once(&request_id, dry_run, work).await
    }

    async fn audit(&self, request: AuditRequest) -> RpcResult<AuditReport> {
        let trusted = self.parts.private.trusted_arbiters().explained()?;
        Ok(audit::run(self.parts.keeper.ledger(), self.parts.chain.as_ref(), &request, trusted).await?)
    }

    async fn audit_export(&self, trade: TradeId) -> RpcResult<Bundle> {
        let parts = &self.parts;
        Ok(audit::export(parts.keeper.ledger(), &parts.private, parts.chain.as_ref(), trade).await?)
    }

    async fn audit_against(&self, peer: String) -> RpcResult<AgainstReport> {
        let trusted = self.parts.private.trusted_arbiters().explained()?;
        Ok(audit::against(self.parts.keeper.ledger(), &self.parts.net, &peer, trusted).await?)
    }

    async fn checkpoint_publish(&self, age_s: Option<u64>) -> RpcResult<CheckpointView> {
        let session = self.unlocked()?;
        Ok(checkpoints::publish(&self.parts.keeper, Arc::clone(&session.tools.identity), age_s).await?)
    }

    async fn checkpoint_list(&self) -> RpcResult<Vec<CheckpointView>> {
        let trusted = self.parts.private.trusted_arbiters().explained()?;
        Ok(checkpoints::list(&self.parts.keeper, trusted).await?)
    }

    async fn events(&self, after: u64) -> RpcResult<Vec<Event>> {
        Ok(self.parts.events.after(after).explained()?)
    }

    async fn subscribe_events(&self, pending: PendingSubscriptionSink, from_seq: u64) -> SubscriptionResult {
        let sink = pending.accept().await?;
        let mut live = self.parts.events.live();
        let mut seen = from_seq;
        loop {
            // The persisted log first, so that a slow listener loses nothing; then whatever comes.
            loop {
                let missed = self.parts.events.after(seen)?;
                let Some(last) = missed.last() else { break };
                seen = last.seq;
                for event in missed {
                    sink.send(jsonrpsee::server::SubscriptionMessage::from(serde_json::value::to_raw_value(&event)?))
                        .await?;
                }
            }
            tokio::select! {
                () = sink.closed() => return Ok(()),
                () = self.parts.stop.cancelled() => return Ok(()),
                news = live.recv() => match news {
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return Ok(()),
                }
            }
        }
    }

    async fn stop(&self) -> RpcResult<()> {
        self.parts.stop.cancel();
        Ok(())
    }
}

impl Server {
    /// Returns the user of this node as somebody who looks at the market.
    fn viewer(&self) -> Result<market::Viewer<'_>, ApiError> {
        let me = self.unlocked().ok().map(|session| session.tools.identity.author());
        market::Viewer::new(&self.parts.keeper, &self.parts.private, me).explained()
    }

    async fn listen(&self) -> Vec<String> {
        self.parts.net.listen_addresses().await.iter().map(ToString::to_string).collect()
    }
}

fn used_before(request_id: &str) -> ApiError {
    let message = format!("request id {request_id} was used for something else");
    ApiError::new(Code::DuplicateRequest, message, "use a fresh one")
}

fn invalid(error: impl ToString) -> ApiError {
    ApiError::new(Code::InvalidArgument, error.to_string(), "")
}

fn internal(error: impl ToString) -> ApiError {
    ApiError::new(Code::Internal, error.to_string(), "")
}
