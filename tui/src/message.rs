//! What comes in ([`Message`]) and what goes out ([`Command`]): the whole traffic between the application, which
//! decides, and the runtime, which acts.

use crossterm::event::KeyEvent;
use exchange_api::{
    AcceptBid, Action, AddressInfo, ApiError, ArbiterView, Balance, BookFilter, BumpTrade, BumpTx, BumpView, CancelTx,
    CancelView, CoinView, Conversation, Credentials, Disclose, Disclosure, Event, FeeEstimate, FreezeCoins,
    IdentityInfo, MessageView, OfferView, Page, PasswordStrength, PeerInfo, PostOffer, RecordId, RequestId, RuleTrade,
    SendMessage, SendRequest, Sent, SetLabel, Status, TakeOffer, TakeReview, TradeCommand, TradeId, TradeView,
    WalletTx,
};
use zeroize::Zeroizing;

/// What happens to the application.
#[derive(Debug)]
pub enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// Only the screen has to be drawn anew.
    Redraw,
    /// An eighth of a second passed, see [`crate::app::TICKS_PER_SECOND`].
    Tick,
    /// The system asks the program to end.
    Terminate,
    /// The connection to the node changed.
    Connection(Connection),
    /// A query was answered.
    Answer(Query, Box<Result<Answer, ApiError>>),
    /// A call was answered: which, and the request id under which it was made, if it has one.
    Reply(CallName, Option<RequestId>, Box<Result<Reply, ApiError>>),
    /// The node reports an event.
    Event(Event),
}

/// How the node can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Being reached or started; what is happening now.
    Starting(String),
    /// There. `ours` when this program started it.
    Up {
        /// Whether this program started it.
        ours: bool,
    },
    /// It was there and is being reached again.
    Lost(String),
    /// It cannot be had: why, and the end of its log.
    Failed(String),
}

/// What the runtime is to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few at a time, and none for long")]
pub enum Command {
    /// Ask for something to show.
    Query(Query),
    /// Do something that the user wants.
    Call(Call),
    /// Put a text into the terminal's clipboard.
    Copy(String),
    /// Look for the node, and start it, once more.
    Retry,
    /// End the program.
    Quit(NodeFate),
}

/// What becomes of a node that this program started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeFate {
    /// It goes on in the background.
    Keep,
    /// It is stopped. A node that someone else started never is.
    Stop,
}

/// What is shown and refreshed. At most one of each is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Query {
    /// The node's state.
    Status,
    /// The peers.
    Peers,
    /// The book.
    Book,
    /// The trades.
    Trades,
    /// The wallet's balance.
    Balance,
    /// The deposit address.
    Address,
    /// The wallet's transactions.
    History,
    /// The arbiters.
    Arbiters,
    /// The wallet's coins.
    Coins,
    /// What confirmation costs.
    Fees,
}

impl Query {
    /// How many there are.
    pub const COUNT: usize = 10;
}

/// The answer to a query.
#[derive(Debug)]
pub enum Answer {
    /// The node's state.
    Status(Status),
    /// The peers.
    Peers(Vec<PeerInfo>),
    /// The book.
    Book(Page<OfferView>),
    /// The trades.
    Trades(Vec<TradeView>),
    /// The wallet's balance.
    Balance(Balance),
    /// The deposit address.
    Address(AddressInfo),
    /// The wallet's transactions.
    History(Page<WalletTx>),
    /// The arbiters, the trusted first.
    Arbiters(Vec<ArbiterView>),
    /// The wallet's coins, the largest first.
    Coins(Page<CoinView>),
    /// What confirmation costs, the fastest first.
    Fees(Vec<FeeEstimate>),
}

/// A password, wiped when dropped, never in `Debug`.
#[derive(Clone)]
pub struct Password(pub Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// Something that the user wants done.
#[derive(Debug)]
pub enum Call {
    /// Suggest a passphrase.
    Passphrase,
    /// Judge a password.
    Strength(Credentials),
    /// Create the identity.
    Create(Credentials),
    /// Unlock the identity.
    Unlock(Password),
    /// Post an offer.
    Post(PostOffer),
    /// Withdraw an offer.
    Withdraw(RecordId),
    /// Say what taking an offer would mean.
    Review(TakeOffer),
    /// Take an offer.
    Take(TakeOffer),
    /// Accept a bid.
    Accept(AcceptBid),
    /// Move a trade on.
    Trade(Action, TradeCommand),
    /// Price a payment.
    Price(SendRequest),
    /// Send coins.
    Send(SendRequest),
    /// Say what was said in a trade, and note that the user sees it.
    Talk(TradeId),
    /// Say something in a trade.
    Say(SendMessage),
    /// Freeze coins, or let them be spent again.
    Freeze(FreezeCoins),
    /// Say what a transaction or a coin is for.
    Label(SetLabel),
    /// Price a higher fee.
    PriceBump(Bump),
    /// Raise a fee.
    Bump(Bump),
    /// Price what cancels a payment.
    PriceCancel(CancelTx),
    /// Cancel a payment.
    Cancel(CancelTx),
    /// Say what a ruling would come to.
    Weigh(RuleTrade),
    /// Rule.
    Rule(RuleTrade),
    /// Say what an arbiter would be shown.
    ToShow(Disclose),
    /// Show it to him.
    Disclose(Disclose),
    /// Connect to the peer at this address.
    Connect(String),
}

/// Whose fee is to be raised.
#[derive(Debug, Clone)]
pub enum Bump {
    /// A transaction of the wallet.
    Tx(BumpTx),
    /// What waits for a block of a trade.
    Trade(BumpTrade),
}

/// Which call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallName {
    /// [`Call::Passphrase`].
    Passphrase,
    /// [`Call::Strength`].
    Strength,
    /// [`Call::Create`].
    Create,
    /// [`Call::Unlock`].
    Unlock,
    /// [`Call::Post`].
    Post,
    /// [`Call::Withdraw`].
    Withdraw,
    /// [`Call::Review`].
    Review,
    /// [`Call::Take`].
    Take,
    /// [`Call::Accept`], [`Call::Trade`] and [`Call::Rule`].
    Trade(Action),
    /// [`Call::Price`].
    Price,
    /// [`Call::Send`].
    Send,
    /// [`Call::Talk`].
    Talk,
    /// [`Call::Say`].
    Say,
    /// [`Call::Freeze`].
    Freeze,
    /// [`Call::Label`].
    Label,
    /// [`Call::PriceBump`].
    PriceBump,
    /// [`Call::Bump`].
    Bump,
    /// [`Call::PriceCancel`].
    PriceCancel,
    /// [`Call::Cancel`].
    Cancel,
    /// [`Call::Weigh`].
    Weigh,
    /// [`Call::ToShow`].
    ToShow,
    /// [`Call::Disclose`].
    Disclose,
    /// [`Call::Connect`].
    Connect,
}

impl Call {
    /// Returns its name.
    pub fn name(&self) -> CallName {
        match self {
            Self::Passphrase => CallName::Passphrase,
            Self::Strength(_) => CallName::Strength,
            Self::Create(_) => CallName::Create,
            Self::Unlock(_) => CallName::Unlock,
            Self::Post(_) => CallName::Post,
            Self::Withdraw(_) => CallName::Withdraw,
            Self::Review(_) => CallName::Review,
            Self::Take(_) => CallName::Take,
            Self::Accept(_) => CallName::Trade(Action::Accept),
            Self::Trade(action, _) => CallName::Trade(*action),
            Self::Price(_) => CallName::Price,
            Self::Send(_) => CallName::Send,
            Self::Talk(_) => CallName::Talk,
            Self::Say(_) => CallName::Say,
            Self::Freeze(_) => CallName::Freeze,
            Self::Label(_) => CallName::Label,
            Self::PriceBump(_) => CallName::PriceBump,
            Self::Bump(_) => CallName::Bump,
            Self::PriceCancel(_) => CallName::PriceCancel,
            Self::Cancel(_) => CallName::Cancel,
            Self::Weigh(_) => CallName::Weigh,
            Self::Rule(_) => CallName::Trade(Action::Rule),
            Self::ToShow(_) => CallName::ToShow,
            Self::Disclose(_) => CallName::Disclose,
            Self::Connect(_) => CallName::Connect,
        }
    }

    /// Returns the id under which the node does it once, however often it is asked. What only asks, and what comes to the
    /// same when it is done again, has none.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Post(offer) => Some(&offer.request_id),
            Self::Take(request) => Some(&request.request_id),
            Self::Accept(request) => Some(&request.request_id),
            Self::Trade(_, command) => Some(&command.request_id),
            Self::Send(request) => Some(&request.request_id),
            Self::Say(message) => Some(&message.request_id),
            Self::Bump(Bump::Tx(request)) => Some(&request.request_id),
            Self::Bump(Bump::Trade(request)) => Some(&request.request_id),
            Self::Cancel(request) => Some(&request.request_id),
            Self::Rule(request) => Some(&request.request_id),
            Self::Passphrase
            | Self::Strength(_)
            | Self::Create(_)
            | Self::Unlock(_)
            | Self::Withdraw(_)
            | Self::Review(_)
            | Self::Price(_)
            | Self::Talk(_)
            | Self::Freeze(_)
            | Self::Label(_)
            | Self::PriceBump(_)
            | Self::PriceCancel(_)
            | Self::Weigh(_)
            | Self::ToShow(_)
            | Self::Disclose(_)
            | Self::Connect(_) => None,
        }
    }
}

/// What a call brought.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "replies are handed over one at a time and never kept")]
pub enum Reply {
    /// A passphrase.
    Passphrase(Password),
    /// How strong the password is.
    Strength(PasswordStrength),
    /// The identity is there.
    Identity(IdentityInfo),
    /// The offer, posted or withdrawn.
    Offer(OfferView),
    /// What taking would mean.
    Review(TakeReview),
    /// The trade as it is now.
    Trade(TradeView),
    /// The payment, priced or sent.
    Sent(Sent),
    /// What was said.
    Talk(Conversation),
    /// What one said oneself.
    Said(MessageView),
    /// The coins that were frozen or freed.
    Coins(Vec<CoinView>),
    /// The label was set.
    Labelled,
    /// The higher fee, priced or paid.
    Bumped(BumpView),
    /// What cancels a payment, priced or done.
    Cancelled(CancelView),
    /// What an arbiter would be shown, or was.
    Disclosure(Disclosure),
    /// The peer at this address is connected.
    Connected(String),
}

/// Returns the filter under which the whole book is fetched; narrowing it down is done here, at once, while one types.
pub fn whole_book() -> BookFilter {
    /// The most that the API gives at once.
    const LIMIT: u32 = 500;
    BookFilter { away: true, limit: Some(LIMIT), ..BookFilter::default() }
}
