//! The methods, all under the prefix `exchange_`.

use jsonrpsee::core::RpcResult;
use jsonrpsee::proc_macros::rpc;

use exchange_ledger::audit::bundle::Bundle;
use exchange_ledger::ids::{RecordId, TradeId};

use crate::types::{
    AcceptBid, AddressInfo, Advertise, AgainstReport, ArbiterView, AuditReport, AuditRequest, Balance, BookFilter,
    BumpTrade, BumpTx, BumpView, CancelTx, CancelView, CheckpointView, CoinView, Conversation, CreateGroup,
    Credentials, Disclose, Disclosure, Event, FeeEstimate, FinishPsbt, FreezeCoins, FundSigned, FundingDraft,
    GroupView, IdentityInfo, LabelLine, LabelsTaken, MessageView, OfferView, Page, PasswordStrength, PeerInfo,
    PostOffer, PsbtView, RuleTrade, SendMessage, SendRequest, Sent, SetLabel, SignedElsewhere, SignerView,
    StakeRequest, StakeView, Status, SweepView, SweepWords, TakeOffer, TakeReview, ToSign, TradeCommand, TradeView,
    TrustArbiter, WalletTx, WalletWords,
};

/// The local API of a node. Errors carry a stable code (see [`crate::Code`]) and say what to do.
#[rpc(client, server, namespace = "exchange")]
pub trait ExchangeApi {
    /// Returns how the node is.
    #[method(name = "status")]
    async fn status(&self) -> RpcResult<Status>;

    /// Returns the connected peers.
    #[method(name = "peers")]
    async fn peers(&self) -> RpcResult<Vec<PeerInfo>>;

    /// Connects to a peer by its multiaddress, which ends in its peer id.
    #[method(name = "connect")]
    async fn connect_peer(&self, address: String) -> RpcResult<()>;

    /// Returns a fresh six-word passphrase to offer to a user.
    #[method(name = "passphrase")]
    async fn passphrase(&self) -> RpcResult<String>;

    /// Judges a password.
    #[method(name = "passwordStrength")]
    async fn password_strength(&self, credentials: Credentials) -> RpcResult<PasswordStrength>;

    /// Derives an identity and keeps it in the keystore. Takes seconds on purpose, and goes on when the caller hangs up; refused
    /// when there is one already.
    #[method(name = "identityCreate")]
    async fn identity_create(&self, credentials: Credentials) -> RpcResult<IdentityInfo>;

    /// Unlocks the keystore's identity, also when the caller hangs up meanwhile.
    #[method(name = "identityUnlock")]
    async fn identity_unlock(&self, password: String) -> RpcResult<IdentityInfo>;

    /// Returns the unlocked identity.
    #[method(name = "identityShow")]
    async fn identity_show(&self) -> RpcResult<IdentityInfo>;

    /// Lets a coin of the wallet speak for the unlocked identity. Everybody sees then that the coin is its owner's.
    #[method(name = "identityStake")]
    async fn identity_stake(&self, request: StakeRequest) -> RpcResult<StakeView>;

    /// Returns the coins that speak for the unlocked identity.
    #[method(name = "identityStakes")]
    async fn identity_stakes(&self) -> RpcResult<Vec<StakeView>>;

    /// Returns an unused deposit address.
    #[method(name = "walletAddress")]
    async fn wallet_address(&self) -> RpcResult<AddressInfo>;

    /// Returns what the wallet holds.
    #[method(name = "walletBalance")]
    async fn wallet_balance(&self) -> RpcResult<Balance>;

    /// Returns the wallet's transactions, newest first.
    #[method(name = "walletHistory")]
    async fn wallet_history(&self, cursor: Option<String>, limit: Option<u32>) -> RpcResult<Page<WalletTx>>;

    /// Sends coins.
    #[method(name = "walletSend")]
    async fn wallet_send(&self, request: SendRequest) -> RpcResult<Sent>;

    /// Returns what confirmation costs, the fastest first.
    #[method(name = "walletFees")]
    async fn wallet_fees(&self) -> RpcResult<Vec<FeeEstimate>>;

    /// Returns the unspent coins, the largest first.
    #[method(name = "walletCoins")]
    async fn wallet_coins(&self, cursor: Option<String>, limit: Option<u32>) -> RpcResult<Page<CoinView>>;

    /// Freezes coins, or lets them be spent again.
    #[method(name = "walletFreeze")]
    async fn wallet_freeze(&self, request: FreezeCoins) -> RpcResult<Vec<CoinView>>;

    /// Sets what a transaction, an address or a coin is for.
    #[method(name = "walletLabel")]
    async fn wallet_label(&self, request: SetLabel) -> RpcResult<()>;

    /// Returns all labels as BIP-329 writes them.
    #[method(name = "walletLabels")]
    async fn wallet_labels(&self, cursor: Option<String>) -> RpcResult<Page<LabelLine>>;

    /// Sets labels that another wallet wrote (BIP-329), at most [`crate::MAX_BATCH`]: all of them or none. They freeze coins, and
    /// free none.
    #[method(name = "walletLabelsImport")]
    async fn wallet_labels_import(&self, labels: Vec<LabelLine>) -> RpcResult<LabelsTaken>;

    /// Raises the fee of a transaction of the wallet that waits for a block.
    #[method(name = "walletBump")]
    async fn wallet_bump(&self, request: BumpTx) -> RpcResult<BumpView>;

    /// Cancels a payment of the wallet that no block holds, by a transaction that brings its coins back.
    #[method(name = "walletCancel")]
    async fn wallet_cancel(&self, request: CancelTx) -> RpcResult<CancelView>;

    /// Builds a payment for others to sign (BIP-174). Its coins are not set aside.
    #[method(name = "walletPsbtCreate")]
    async fn wallet_psbt_create(&self, request: SendRequest) -> RpcResult<PsbtView>;

    /// Tells what a partially signed transaction would do.
    #[method(name = "walletPsbtShow")]
    async fn wallet_psbt_show(&self, psbt: String) -> RpcResult<PsbtView>;

    /// Signs those coins of a partially signed transaction that are this wallet's. They are frozen from then on, for whoever has
    /// it can send it at any time; they can be signed for again, and the transaction finished.
    #[method(name = "walletPsbtSign")]
    async fn wallet_psbt_sign(&self, psbt: String) -> RpcResult<PsbtView>;

    /// Completes, checks and sends a transaction that was signed elsewhere too.
    #[method(name = "walletPsbtFinish")]
    async fn wallet_psbt_finish(&self, request: FinishPsbt) -> RpcResult<Sent>;

    /// Returns the 24 words of the wallet, for its password.
    #[method(name = "walletWords")]
    async fn wallet_words(&self, password: String) -> RpcResult<WalletWords>;

    /// Brings all coins of another wallet, given by its words, into this one. Answers at once; while it searches the chain,
    /// ask again.
    #[method(name = "walletSweep")]
    async fn wallet_sweep(&self, request: SweepWords) -> RpcResult<SweepView>;

    /// Posts an offer.
    #[method(name = "offerPost")]
    async fn offer_post(&self, request: PostOffer) -> RpcResult<OfferView>;

    /// Returns this node's own offers, newest first.
    #[method(name = "offerList")]
    async fn offer_list(&self) -> RpcResult<Vec<OfferView>>;

    /// Returns one offer.
    #[method(name = "offerShow")]
    async fn offer_show(&self, offer: RecordId) -> RpcResult<OfferView>;

    /// Withdraws an offer.
    #[method(name = "offerRevoke")]
    async fn offer_revoke(&self, offer: RecordId) -> RpcResult<OfferView>;

    /// Returns the live offers, the best price for a taker first.
    #[method(name = "book")]
    async fn book(&self, filter: BookFilter) -> RpcResult<Page<OfferView>>;

    /// Returns the known arbiters, the trusted first.
    #[method(name = "arbiterList")]
    async fn arbiter_list(&self) -> RpcResult<Vec<ArbiterView>>;

    /// Trusts an arbiter from now on, or no more. Offers and bids choose only among trusted ones by themselves.
    #[method(name = "arbiterTrust")]
    async fn arbiter_trust(&self, request: TrustArbiter) -> RpcResult<()>;

    /// Advertises this node's identity as an arbiter.
    #[method(name = "arbiterAdvertise")]
    async fn arbiter_advertise(&self, request: Advertise) -> RpcResult<ArbiterView>;

    /// Withdraws the advert of this node's identity: nobody begins a trade with it any more. Those that were agreed on go on.
    #[method(name = "arbiterWithdraw")]
    async fn arbiter_withdraw(&self) -> RpcResult<ArbiterView>;

    /// Proposes a group of arbiters that share one key, and joins it. The others join by themselves.
    #[method(name = "groupCreate")]
    async fn group_create(&self, request: CreateGroup) -> RpcResult<GroupView>;

    /// Joins a group of arbiters; whoever has joined goes on where he stopped.
    #[method(name = "groupJoin")]
    async fn group_join(&self, group: RecordId) -> RpcResult<GroupView>;

    /// Returns the groups of arbiters that invite this node's identity, or have it, those that rule first.
    #[method(name = "groupList")]
    async fn group_list(&self) -> RpcResult<Vec<GroupView>>;

    /// Returns what taking an offer would mean; binds nobody.
    #[method(name = "tradeReview")]
    async fn trade_review(&self, request: TakeOffer) -> RpcResult<TakeReview>;

    /// Bids for an offer.
    #[method(name = "tradeTake")]
    async fn trade_take(&self, request: TakeOffer) -> RpcResult<TradeView>;

    /// Accepts a bid by hand.
    #[method(name = "tradeAccept")]
    async fn trade_accept(&self, request: AcceptBid) -> RpcResult<TradeView>;

    /// Returns this node's trades, and the disputes in which it is an arbiter, those that need the user first, then the newest.
    #[method(name = "tradeList")]
    async fn trade_list(&self) -> RpcResult<Vec<TradeView>>;

    /// Returns one trade.
    #[method(name = "tradeShow")]
    async fn trade_show(&self, trade: TradeId) -> RpcResult<TradeView>;

    /// Pays the coins into the escrow, from the wallet.
    #[method(name = "tradeFund")]
    async fn trade_fund(&self, request: TradeCommand) -> RpcResult<TradeView>;

    /// Says that the payment is on its way.
    #[method(name = "tradePaid")]
    async fn trade_paid(&self, request: TradeCommand) -> RpcResult<TradeView>;

    /// Signs the coins over to the buyer.
    #[method(name = "tradeRelease")]
    async fn trade_release(&self, request: TradeCommand) -> RpcResult<TradeView>;

    /// Calls the trade off; once funded, agrees to (buyer) or asks for (seller) a refund.
    #[method(name = "tradeCancel")]
    async fn trade_cancel(&self, request: TradeCommand) -> RpcResult<TradeView>;

    /// Takes the coins back after the refund delay (seller).
    #[method(name = "tradeRefund")]
    async fn trade_refund(&self, request: TradeCommand) -> RpcResult<TradeView>;

    /// Says something to another in a trade: sealed to him, signed, and provable by him to the arbiter.
    #[method(name = "chatSend")]
    async fn chat_send(&self, request: SendMessage) -> RpcResult<MessageView>;

    /// Returns what was said in a trade, as far as this node has it.
    #[method(name = "chatShow")]
    async fn chat_show(&self, trade: TradeId) -> RpcResult<Conversation>;

    /// Notes that the user has read the messages of a trade up to this number.
    #[method(name = "chatRead")]
    async fn chat_read(&self, trade: TradeId, number: u64) -> RpcResult<()>;

    /// Shows the arbiter of a trade what the parties said to each other (buyer, seller). Doing it again shows what came after.
    #[method(name = "tradeDisclose")]
    async fn trade_disclose(&self, request: Disclose) -> RpcResult<Disclosure>;
    /// Returns what funds the escrow from a wallet elsewhere (seller).
    #[method(name = "tradeFundDraft")]
    async fn trade_fund_draft(&self, trade: TradeId) -> RpcResult<FundingDraft>;

    /// Funds the escrow by a transaction that was made and signed elsewhere (seller).
    #[method(name = "tradeFundSigned")]
    async fn trade_fund_signed(&self, request: FundSigned) -> RpcResult<TradeView>;

    /// Keeps the escrow keys of new trades at this extended public key, or here again. Returns all that were ever used.
    #[method(name = "signerSet")]
    async fn signer_set(&self, key: Option<String>) -> RpcResult<Vec<SignerView>>;

    /// Returns the keys elsewhere that were ever used, the newest last.
    #[method(name = "signerList")]
    async fn signer_list(&self) -> RpcResult<Vec<SignerView>>;

    /// Returns what a signer elsewhere has to sign of a trade.
    #[method(name = "tradeToSign")]
    async fn trade_to_sign(&self, trade: TradeId) -> RpcResult<ToSign>;

    /// Takes in what a signer elsewhere has signed, and does what waited for it.
    #[method(name = "tradeSigned")]
    async fn trade_signed(&self, request: SignedElsewhere) -> RpcResult<TradeView>;

    /// Raises the fee of what waits for a block of a trade.
    #[method(name = "tradeBump")]
    async fn trade_bump(&self, request: BumpTrade) -> RpcResult<BumpView>;

    /// Calls for the arbiter.
    #[method(name = "tradeDispute")]
    async fn trade_dispute(&self, request: TradeCommand) -> RpcResult<TradeView>;

    /// Decides a dispute as its arbiter. Cannot be undone.
    #[method(name = "tradeRule")]
    async fn trade_rule(&self, request: RuleTrade) -> RpcResult<TradeView>;

    /// Gives a dispute more time as its arbiter: its coins go into the escrow again and all delays begin anew.
    #[method(name = "tradeExtend")]
    async fn trade_extend(&self, request: TradeCommand) -> RpcResult<TradeView>;

    /// Checks the ledger's history.
    #[method(name = "audit")]
    async fn audit(&self, request: AuditRequest) -> RpcResult<AuditReport>;

    /// Returns the trades of anybody whose ids begin with these hexadecimal digits: two at most, which tell that there is more
    /// than one.
    #[method(name = "auditFind")]
    async fn audit_find(&self, digits: String) -> RpcResult<Vec<TradeId>>;

    /// Returns a trade as one file that anybody can check without a node.
    #[method(name = "auditExport")]
    async fn audit_export(&self, trade: TradeId) -> RpcResult<Bundle>;

    /// Compares the ledger with that of a peer, named by its id or by an address that ends in it.
    #[method(name = "auditAgainst")]
    async fn audit_against(&self, peer: String) -> RpcResult<AgainstReport>;

    /// Publishes what the ledger was so many seconds ago, an hour unless told; returns it as others see it.
    #[method(name = "checkpointPublish")]
    async fn checkpoint_publish(&self, age_s: Option<u64>) -> RpcResult<CheckpointView>;

    /// Returns the latest checkpoint of each identity, the newest first, beside what this ledger says.
    #[method(name = "checkpointList")]
    async fn checkpoint_list(&self) -> RpcResult<Vec<CheckpointView>>;

    /// Returns events after `after`, oldest first, at most 500.
    #[method(name = "events")]
    async fn events(&self, after: u64) -> RpcResult<Vec<Event>>;

    /// Streams events after `from_seq`, from the persisted log and then live.
    #[subscription(name = "subscribeEvents" => "event", unsubscribe = "unsubscribeEvents", item = Event)]
    async fn subscribe_events(&self, from_seq: u64) -> jsonrpsee::core::SubscriptionResult;

    /// Stops the node.
    #[method(name = "stop")]
    async fn stop(&self) -> RpcResult<()>;
}
