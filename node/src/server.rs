//! The local API's server: each method asks a part of the node and explains what went wrong.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use exchange_api::{
    AcceptBid, AddressInfo, Advertise, AgainstReport, ApiError, ArbiterView, AuditReport, AuditRequest, Balance,
    BookFilter, BumpTrade, BumpTx, BumpView, Bundle, CancelTx, CancelView, CheckpointView, Code, CoinView,
    Conversation, CreateGroup, Credentials, Disclose, Disclosure, Event, ExchangeApiServer, FeeEstimate, FinishPsbt,
    FreezeCoins, FundSigned, FundingDraft, GroupView, IdentityInfo, LabelLine, LabelsTaken, MessageView, OfferView,
    Page, PasswordStrength, PeerInfo, PostOffer, PsbtView, RuleTrade, SendMessage, SendRequest, Sent, SetLabel,
    SignedElsewhere, SignerView, StakeRequest, StakeView, Status, StrengthVerdict, SweepView, SweepWords, TakeOffer,
    TakeReview, ToSign, TradeCommand, TradeView, TrustArbiter, WalletTx, WalletWords,
};
use exchange_ledger::identity::{Email, Passphrase, Password, Verdict, strength};
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::trade::Action;
use jsonrpsee::core::{RpcResult, SubscriptionResult, async_trait};
use jsonrpsee::{Methods, PendingSubscriptionSink};
use zeroize::Zeroizing;

use crate::errors::ExplainResult;
use crate::node::{Parts, Session};
use crate::trader::Raise;
use crate::trader::signer::{ExternalKey, Signers};
use crate::{audit, checkpoints, clock, entropy, market, stakes};

mod advert;
mod events;
mod network;
mod once;
mod wallet;

pub(crate) use wallet::bump_view;

/// Returns the methods of a node's API.
pub fn methods(parts: Arc<Parts>) -> Methods {
    Server { parts, running: Mutex::default() }.into_rpc().into()
}

struct Server {
    parts: Arc<Parts>,
    /// Requests that are being carried out.
    running: Mutex<HashSet<String>>,
}

impl Server {
    fn unlocked(&self) -> Result<Arc<Session>, ApiError> {
        self.parts.unlocked()
    }

    /// Returns the user of this node as somebody who looks at the market.
    fn viewer(&self) -> Result<market::Viewer<'_>, ApiError> {
        let me = self.unlocked().ok().map(|session| session.tools.identity.author());
        market::Viewer::new(&self.parts.keeper, &self.parts.private, me).explained()
    }

    /// Waits a little, right after a start, until a peer has shown whether the user's log goes on: by the request, and not by the
    /// trader's task, on which all trades would wait with it.
    async fn settle(&self, session: &Session) -> Result<(), ApiError> {
        self.parts.keeper.settled_log(&session.tools.identity.author()).await.explained().map(drop)
    }

    async fn act(&self, request: TradeCommand, action: Action) -> RpcResult<TradeView> {
        let session = self.unlocked()?;
        let TradeCommand { request_id, dry_run, trade, seen } = request;
        let work = async {
            // What funds an escrow depends on the log before anything is written to it.
            if action == Action::Fund {
                self.settle(&session).await?;
            }
            session.trader.act(trade, action, seen, dry_run).await
        };
        self.once(&request_id, dry_run, work).await
    }

    fn info(session: &Session) -> IdentityInfo {
        IdentityInfo { author: session.tools.identity.author(), email: session.email.clone() }
    }
}

#[async_trait]
impl ExchangeApiServer for Server {
    async fn status(&self) -> RpcResult<Status> {
        Ok(self.node_status().await?)
    }

    async fn peers(&self) -> RpcResult<Vec<PeerInfo>> {
        Ok(self.connected_peers().await)
    }

    async fn connect_peer(&self, address: String) -> RpcResult<()> {
        Ok(self.connect(&address).await?)
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

    async fn wallet_cancel(&self, request: CancelTx) -> RpcResult<CancelView> {
        let (id, dry_run) = (request.request_id.clone(), request.dry_run);
        self.once(&id, dry_run, self.cancel(request)).await
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
        let fee_rate = self.fee_rate(request.fee, request.priced.is_some()).await?;
        Ok(self.parts.sweep(request, fee_rate).await?)
    }

    async fn offer_post(&self, request: PostOffer) -> RpcResult<OfferView> {
        let session = self.unlocked()?;
        if request.dry_run {
            return Ok(session.trader.post(request).await?);
        }
        let id = request.request_id.clone();
        let work = async {
            self.settle(&session).await?;
            session.trader.post(request).await
        };
        let show = async |offer| market::offer(&self.viewer()?, &offer);
        self.once_published(&id, work, show).await
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
        Ok(self.viewer()?.arbiters().await?)
    }

    async fn arbiter_trust(&self, request: TrustArbiter) -> RpcResult<()> {
        let Parts { keeper, private, .. } = self.parts.as_ref();
        Ok(market::trust(keeper.ledger(), private, &request, clock::unix_now())?)
    }

    async fn arbiter_advertise(&self, request: Advertise) -> RpcResult<ArbiterView> {
        let session = self.unlocked()?;
        Ok(self.advertise(&session, request).await?)
    }

    async fn arbiter_withdraw(&self) -> RpcResult<ArbiterView> {
        let session = self.unlocked()?;
        Ok(self.withdraw_advert(&session).await?)
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
        let session = self.unlocked()?;
        if request.dry_run {
            let message = "a dry run of `take` has no trade to show";
            return Err(ApiError::new(Code::InvalidArgument, message, "ask for a review instead").into());
        }
        let id = request.request_id.clone();
        let work = async {
            self.settle(&session).await?;
            session.trader.take(request).await
        };
        let show = async |record: RecordId| session.trader.show(record.into()).await;
        self.once_published(&id, work, show).await
    }

    async fn trade_accept(&self, request: AcceptBid) -> RpcResult<TradeView> {
        let session = self.unlocked()?;
        let (id, dry_run) = (request.request_id.clone(), request.dry_run);
        let work = async {
            if !dry_run {
                self.settle(&session).await?;
            }
            session.trader.accept(request).await
        };
        self.once(&id, dry_run, work).await
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
        let session = self.unlocked()?;
        self.settle(&session).await?;
        Ok(session.trader.funding_draft(trade).await?)
    }

    async fn trade_fund_signed(&self, request: FundSigned) -> RpcResult<TradeView> {
        let session = self.unlocked()?;
        let FundSigned { request_id, dry_run, trade, psbt } = request;
        let work = async {
            let psbt = crate::wallet::psbt::decode(psbt.as_bytes()).explained()?;
            self.settle(&session).await?;
            session.trader.fund_signed(trade, psbt, dry_run).await
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
        let BumpTrade { request_id, dry_run, trade, fee, priced } = request;
        let work = async {
            let fee_rate = self.fee_rate(fee, priced.is_some()).await?;
            let priced = priced.as_ref().map(wallet::priced_raise).transpose()?;
            trader.bump(trade, Raise { fee_rate, allow_high_fee: fee.allow_high_fee, dry_run, priced }).await
        };
        self.once(&request_id, dry_run, work).await
    }

    async fn audit(&self, request: AuditRequest) -> RpcResult<AuditReport> {
        let trusted = self.parts.private.trusted_arbiters().explained()?.alone;
        let Parts { keeper, chain, sure, .. } = self.parts.as_ref();
        Ok(audit::run(keeper.ledger(), chain.as_ref(), &request, trusted, keeper.is_compared(), sure).await?)
    }

    async fn audit_find(&self, digits: String) -> RpcResult<Vec<TradeId>> {
        Ok(audit::find(self.parts.keeper.ledger(), digits).await?)
    }

    async fn audit_export(&self, trade: TradeId) -> RpcResult<Bundle> {
        let parts = &self.parts;
        Ok(audit::export(parts.keeper.ledger(), &parts.private, parts.chain.as_ref(), trade).await?)
    }

    async fn audit_against(&self, peer: String) -> RpcResult<AgainstReport> {
        let trusted = self.parts.private.trusted_arbiters().explained()?.alone;
        Ok(audit::against(self.parts.keeper.ledger(), &self.parts.net, &peer, trusted).await?)
    }

    async fn checkpoint_publish(&self, age_s: Option<u64>) -> RpcResult<CheckpointView> {
        let session = self.unlocked()?;
        Ok(checkpoints::publish(&self.parts.keeper, Arc::clone(&session.tools.identity), age_s).await?)
    }

    async fn checkpoint_list(&self) -> RpcResult<Vec<CheckpointView>> {
        let trusted = self.parts.private.trusted_arbiters().explained()?.alone;
        Ok(checkpoints::list(&self.parts.keeper, trusted).await?)
    }

    async fn events(&self, after: u64) -> RpcResult<Vec<Event>> {
        Ok(self.parts.events.after(after).explained()?)
    }

    async fn subscribe_events(&self, pending: PendingSubscriptionSink, from_seq: u64) -> SubscriptionResult {
        self.tell_events(pending.accept().await?, from_seq).await
    }

    async fn stop(&self) -> RpcResult<()> {
        self.parts.stop.cancel();
        Ok(())
    }
}
