//! How others ask the trader: each question, and what answers it.

use bitcoin::{Psbt, Transaction};
use exchange_api::{
    AcceptBid, ApiError, BumpView, Code, Conversation, CreateGroup, Disclose, Disclosure, FundingDraft, GroupView,
    MessageView, OfferView, PostOffer, RuleTrade, SeenTrade, SendMessage, TakeOffer, ToSign, TradeView,
};
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::trade::Action;
use tokio::sync::{mpsc, oneshot};

use super::elsewhere::Unlooked;
use super::{Raise, Trader};

/// How many requests may wait for the trader.
const QUEUE: usize = 64;

/// Where the answer goes.
type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What a user asks the trader for.
pub(super) enum Request {
    Post(PostOffer, Reply<OfferView>),
    Revoke(RecordId, Reply<OfferView>),
    Take(TakeOffer, Reply<TradeView>),
    Accept(AcceptBid, Reply<TradeView>),
    Act { trade: TradeId, action: Action, seen: Option<SeenTrade>, dry_run: bool, reply: Reply<TradeView> },
    FundingDraft(TradeId, Reply<FundingDraft>),
    CheckSigned { trade: TradeId, psbt: Box<Psbt>, reply: Reply<Unlooked> },
    FundBy { trade: TradeId, tx: Box<Transaction>, dry_run: bool, reply: Reply<TradeView> },
    ToSign(TradeId, Reply<ToSign>),
    Signed { trade: TradeId, psbt: Box<Psbt>, dry_run: bool, reply: Reply<TradeView> },
    Bump(TradeId, Raise, Reply<BumpView>),
    List(oneshot::Sender<Vec<TradeView>>),
    Show(TradeId, Reply<TradeView>),
    Say(SendMessage, Reply<MessageView>),
    Conversation(TradeId, Reply<Conversation>),
    Read { trade: TradeId, number: u64, reply: Reply<()> },
    Disclose(Disclose, Reply<Disclosure>),
    Rule(RuleTrade, Reply<TradeView>),
    CreateGroup(CreateGroup, Reply<GroupView>),
    JoinGroup(RecordId, Reply<GroupView>),
    Groups(oneshot::Sender<Vec<GroupView>>),
}

/// A handle to the trader. Cheap to clone.
#[derive(Clone)]
pub struct TraderHandle {
    requests: mpsc::Sender<Request>,
}

impl TraderHandle {
    /// Returns a handle, and where what it is asked for comes in.
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, inbox) = mpsc::channel(QUEUE);
        (Self { requests }, inbox)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ApiError> {
        let stopping = || ApiError::new(Code::Busy, "the node is stopping", "start it again, then repeat");
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// Posts an offer.
    ///
    /// # Errors
    /// When it breaks a rule or cannot be kept.
    pub async fn post(&self, offer: PostOffer) -> Result<OfferView, ApiError> {
        self.ask(|reply| Request::Post(offer, reply)).await?
    }

    /// Withdraws an offer.
    ///
    /// # Errors
    /// When there is no such open offer of this identity.
    pub async fn revoke(&self, offer: RecordId) -> Result<OfferView, ApiError> {
        self.ask(|reply| Request::Revoke(offer, reply)).await?
    }

    /// Bids for an offer.
    ///
    /// # Errors
    /// When the offer is gone or the bid does not fit it.
    pub async fn take(&self, take: TakeOffer) -> Result<TradeView, ApiError> {
        self.ask(|reply| Request::Take(take, reply)).await?
    }

    /// Accepts a bid by hand.
    ///
    /// # Errors
    /// When the bid is none of an own offer, or cannot be accepted now.
    pub async fn accept(&self, accept: AcceptBid) -> Result<TradeView, ApiError> {
        self.ask(|reply| Request::Accept(accept, reply)).await?
    }

    /// Does what a user can do to a trade, if the trade is as he has seen it.
    ///
    /// # Errors
    /// When it is not possible now, or would be something else by now; nothing has changed then.
    pub async fn act(
        &self,
        trade: TradeId,
        action: Action,
        seen: Option<SeenTrade>,
        dry_run: bool,
    ) -> Result<TradeView, ApiError> {
        self.ask(|reply| Request::Act { trade, action, seen, dry_run, reply }).await?
    }

    /// Returns what funds the escrow of a trade from a wallet elsewhere.
    ///
    /// # Errors
    /// When the escrow is not to be funded by this side now.
    pub async fn funding_draft(&self, trade: TradeId) -> Result<FundingDraft, ApiError> {
        self.ask(|reply| Request::FundingDraft(trade, reply)).await?
    }

    /// Funds the escrow of a trade by a transaction that was made and signed elsewhere.
    ///
    /// # Errors
    /// When it does not fund the escrow as the contract says, or the escrow is not to be funded by this side now.
    pub async fn fund_signed(&self, trade: TradeId, psbt: Psbt, dry_run: bool) -> Result<TradeView, ApiError> {
        let unlooked = self.ask(|reply| Request::CheckSigned { trade, psbt: Box::new(psbt), reply }).await??;
        // Not by the trader's task: where blocks have to be read for it, all trades would wait.
        let tx = Box::new(unlooked.look().await?);
        self.ask(|reply| Request::FundBy { trade, tx, dry_run, reply }).await?
    }

    /// Returns what a signer elsewhere has to sign of a trade.
    ///
    /// # Errors
    /// When there is nothing.
    pub async fn to_sign(&self, trade: TradeId) -> Result<ToSign, ApiError> {
        self.ask(|reply| Request::ToSign(trade, reply)).await?
    }

    /// Takes in what a signer elsewhere has signed.
    ///
    /// # Errors
    /// When it is not what this trade has to be signed for, or is not signed; nothing has changed then.
    pub async fn signed(&self, trade: TradeId, psbt: Psbt, dry_run: bool) -> Result<TradeView, ApiError> {
        self.ask(|reply| Request::Signed { trade, psbt: Box::new(psbt), dry_run, reply }).await?
    }

    /// Raises the fee of what waits for a block of a trade.
    ///
    /// # Errors
    /// When nothing waits whose fee this side can raise, or the new fee is refused.
    pub async fn bump(&self, trade: TradeId, raise: Raise) -> Result<BumpView, ApiError> {
        self.ask(|reply| Request::Bump(trade, raise, reply)).await?
    }

    /// Returns the trades of this identity, those that need the user first, then the newest.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn list(&self) -> Result<Vec<TradeView>, ApiError> {
        self.ask(Request::List).await
    }

    /// Decides a dispute as its arbiter.
    ///
    /// # Errors
    /// When it is none of this identity's, or cannot be decided now; nothing has changed then.
    pub async fn rule(&self, request: RuleTrade) -> Result<TradeView, ApiError> {
        self.ask(|reply| Request::Rule(request, reply)).await?
    }

    /// Proposes a group of arbiters, and joins it.
    ///
    /// # Errors
    /// When it breaks a rule or cannot be kept.
    pub async fn create_group(&self, request: CreateGroup) -> Result<GroupView, ApiError> {
        self.ask(|reply| Request::CreateGroup(request, reply)).await?
    }

    /// Joins a group of arbiters.
    ///
    /// # Errors
    /// When there is none that invites this identity.
    pub async fn join_group(&self, group: RecordId) -> Result<GroupView, ApiError> {
        self.ask(|reply| Request::JoinGroup(group, reply)).await?
    }

    /// Returns the groups of arbiters of this identity.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn groups(&self) -> Result<Vec<GroupView>, ApiError> {
        self.ask(Request::Groups).await
    }

    /// Returns one trade.
    ///
    /// # Errors
    /// When there is no such trade of this identity.
    pub async fn show(&self, trade: TradeId) -> Result<TradeView, ApiError> {
        self.ask(|reply| Request::Show(trade, reply)).await?
    }

    /// Says something to somebody in a trade; returns it as it was sent.
    ///
    /// # Errors
    /// When there is no such trade, nobody to hear it, or the text may not be sent; nothing was sent then.
    pub async fn say(&self, message: SendMessage) -> Result<MessageView, ApiError> {
        self.ask(|reply| Request::Say(message, reply)).await?
    }

    /// Returns what was said in a trade.
    ///
    /// # Errors
    /// When there is no such trade of this identity.
    pub async fn conversation(&self, trade: TradeId) -> Result<Conversation, ApiError> {
        self.ask(|reply| Request::Conversation(trade, reply)).await?
    }

    /// Notes up to which message of a trade the user has read.
    ///
    /// # Errors
    /// When there is no such trade of this identity, or it cannot be kept.
    pub async fn note_read(&self, trade: TradeId, number: u64) -> Result<(), ApiError> {
        self.ask(|reply| Request::Read { trade, number, reply }).await?
    }

    /// Shows the messages between the parties of a trade to its arbiter.
    ///
    /// # Errors
    /// When there is no such trade, or it is not this user's to show them.
    pub async fn disclose(&self, request: Disclose) -> Result<Disclosure, ApiError> {
        self.ask(|reply| Request::Disclose(request, reply)).await?
    }
}

impl Trader {
    /// Answers what somebody asks.
    pub(super) async fn serve(&mut self, request: Request) {
        // A caller that went away does not want the answer.
        match request {
            Request::Post(offer, reply) => drop(reply.send(self.post(offer).await)),
            Request::Revoke(offer, reply) => drop(reply.send(self.revoke(offer).await)),
            Request::Take(take, reply) => drop(reply.send(self.take(take).await)),
            Request::Accept(accept, reply) => drop(reply.send(self.accept(accept).await)),
            Request::Act { trade, action, seen, dry_run, reply } => {
                drop(reply.send(self.act(trade, action, seen, dry_run).await));
            }
            Request::Rule(request, reply) => drop(reply.send(self.rule(request).await)),
            Request::CreateGroup(request, reply) => drop(reply.send(self.create_group(request).await)),
            Request::JoinGroup(group, reply) => drop(reply.send(self.join_group(group).await)),
            Request::Groups(reply) => drop(reply.send(self.list_groups())),
            Request::FundingDraft(trade, reply) => drop(reply.send(self.funding_draft(trade).await)),
            Request::CheckSigned { trade, psbt, reply } => drop(reply.send(self.check_signed(trade, &psbt).await)),
            Request::FundBy { trade, tx, dry_run, reply } => drop(reply.send(self.fund_by(trade, *tx, dry_run).await)),
            Request::ToSign(trade, reply) => drop(reply.send(self.what_to_sign(trade))),
            Request::Signed { trade, psbt, dry_run, reply } => {
                drop(reply.send(self.signed(trade, &psbt, dry_run).await));
            }
            Request::Bump(trade, raise, reply) => drop(reply.send(self.bump(trade, raise).await)),
            Request::List(reply) => drop(reply.send(self.list())),
            Request::Show(trade, reply) => drop(reply.send(self.show(trade))),
            Request::Say(message, reply) => drop(reply.send(self.say(message))),
            Request::Conversation(trade, reply) => drop(reply.send(self.conversation(trade))),
            Request::Read { trade, number, reply } => drop(reply.send(self.note_read(trade, number))),
            Request::Disclose(request, reply) => drop(reply.send(self.disclose(request))),
        }
    }
}
