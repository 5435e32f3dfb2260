//! An application filled with what a node would say, and what a user would press.
#![allow(dead_code, clippy::unwrap_used, clippy::missing_docs_in_private_items)]

use std::collections::HashMap;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use exchange_api::{
    AccountView, Action, Actor, AddressInfo, ApiError, ArbiterView, Arrival, AuthorId, Balance, ChainTx, Code, CoinUse,
    CoinView, Conversation, Currency, Disclosure, DisputeView, Event, FeeEstimate, IdentityState, MessageView,
    MessageWords, NextStep, OfferState, OfferView, Page, PeerInfo, Person, Phase, Price, RecordId, RequestId, Role,
    RulingView, Sats, Seat, Sent, Showing, ShownMessage, ShownTranscript, Side, Status, Step, StepState, Subject,
    TakeReview, TradeId, TradeView, WalletTx,
};
use exchange_tui::app::App;
use exchange_tui::message::{Answer, Call, CallName, Command, Connection, Message, Query, Reply};
use exchange_tui::theme::Theme;
use exchange_tui::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// The node's clock.
pub const NOW: u64 = 1_800_000_000;

pub fn sats(amount: u64) -> Sats {
    Sats::new(amount).unwrap()
}

pub fn currency(code: &str) -> Currency {
    code.parse().unwrap()
}

pub fn status(identity: IdentityState) -> Status {
    Status {
        version: "0.1.0".into(),
        network: "regtest".into(),
        chain: "kernel".into(),
        tip: Some(1204),
        chain_error: None,
        identity,
        peers: 3,
        listen: vec!["/ip4/127.0.0.1/tcp/40123/p2p/12D3KooWAbCdEfGhIjKlMnOpQrStUvWxYz".into()],
        records: 1523,
        retention: "180".into(),
        offers: 5,
        time: NOW,
        demo: true,
    }
}

pub fn unlocked() -> IdentityState {
    IdentityState::Unlocked { author: AuthorId([0x3f; 32]), email: "ann@example.org".into() }
}

pub fn arbiter(name: &str, fee_ppm: u32) -> ArbiterView {
    ArbiterView {
        advert: RecordId([7; 32]),
        author: AuthorId([8; 32]),
        name: name.into(),
        fee_ppm,
        max_amount: sats(100_000_000),
        languages: vec!["en".into()],
        currencies: vec![currency("EUR")],
        terms: String::new(),
        since: NOW - 40 * 86_400,
        trades: 12,
        disputes: 2,
        rulings: 2,
        trusted: true,
        threshold: 0,
        members: Vec::new(),
        withdrawn: false,
        gone: false,
    }
}

/// An arbiter whom the user does not trust.
pub fn stranger(name: &str, fee_ppm: u32) -> ArbiterView {
    let (advert, author) = (RecordId([9; 32]), AuthorId([10; 32]));
    ArbiterView {
        advert,
        author,
        since: NOW - 7200,
        trades: 0,
        disputes: 0,
        rulings: 0,
        trusted: false,
        ..arbiter(name, fee_ppm)
    }
}

pub fn offer(id: u8, side: Side, code: &str, price: u64, min: u64, max: u64, methods: &[&str]) -> OfferView {
    let (price, min, max) = (Price::new(price).unwrap(), sats(min), sats(max));
    OfferView {
        id: RecordId([id; 32]),
        maker: AuthorId([0xa0 + id; 32]),
        mine: false,
        side,
        currency: currency(code),
        price,
        min,
        max,
        min_cost: price.cost(min).unwrap(),
        max_cost: price.cost(max).unwrap(),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        terms: "Please put nothing but your name in the reference.\nI answer between 8 and 22 o'clock.".into(),
        arbiters: vec![arbiter("Alice the Arbiter", 5_000), stranger("Zürich Desk", 10_000)],
        arbitration_delay: 144,
        second_delay: 1008,
        refund_delay: 4320,
        automatic: true,
        created: NOW - 90_000,
        expires: NOW + 500_000,
        last_seen: NOW - 130,
        state: OfferState::Live,
        maker_trades: 12,
        seller_bond_ppm: 0,
        buyer_bond_ppm: 0,
    }
}

pub fn offers() -> Vec<OfferView> {
    let mut own = offer(4, Side::Sell, "EUR", 6_300_000, 1_000_000, 10_000_000, &["SEPA"]);
    own.mine = true;
    let mut away = offer(5, Side::Buy, "CHF", 5_700_000, 1_000_000, 200_000_000, &["TWINT", "Cash by mail"]);
    away.state = OfferState::Away;
    vec![
        offer(1, Side::Sell, "EUR", 6_175_000, 1_000_000, 5_000_000, &["SEPA instant", "Revolut"]),
        offer(2, Side::Sell, "USD", 6_710_050, 500_000, 500_000, &["Zelle"]),
        offer(3, Side::Buy, "EUR", 6_098_000, 2_000_000, 150_000_000, &["SEPA"]),
        own,
        away,
    ]
}

pub fn steps(current: usize) -> Vec<Step> {
    let names = ["Bid", "Accept", "Fund escrow", "Confirm", "Pay", "Release", "Payout"];
    let state = |at: usize| match at.cmp(&current) {
        std::cmp::Ordering::Less => StepState::Done,
        std::cmp::Ordering::Equal => StepState::Current,
        std::cmp::Ordering::Greater => StepState::Pending,
    };
    let step = |(at, name): (usize, &&str)| Step {
        name: (*name).to_owned(),
        state: state(at),
        detail: if at == current && at == 3 { "1 of 3 confirmations".into() } else { String::new() },
    };
    names.iter().enumerate().map(step).collect()
}

pub fn trade(id: u8, role: Role, state: Phase) -> TradeView {
    TradeView {
        id: TradeId([id; 32]),
        offer: RecordId([1; 32]),
        role: Some(role),
        maker: false,
        state,
        synced: true,
        buyer: AuthorId([0x3f; 32]),
        seller: AuthorId([0xa1; 32]),
        arbiter: arbiter("Alice the Arbiter", 5_000),
        amount: sats(1_000_000),
        currency: currency("EUR"),
        price: Price::new(6_175_000).unwrap(),
        cost: 61_750,
        method: "SEPA instant".into(),
        terms: String::new(),
        created: NOW - 4000,
        escrow_address: Some("bcrt1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqvg32hk".into()),
        funding: Some(ChainTx { txid: "f3".repeat(32), confirmations: 3, height: Some(1200) }),
        spend: None,
        confirmations_needed: 3,
        next: NextStep {
            who: Actor::You,
            what: "Pay 617.50 EUR by SEPA instant to the account below, then say so.".into(),
            until: Some(3504),
            otherwise: "The seller takes the coins back from block 5,520 on.".into(),
            action: Some(Action::MarkPaid),
        },
        actions: vec![Action::MarkPaid, Action::Cancel],
        steps: steps(4),
        pay_until: Some(3504),
        refund_from: Some(5520),
        their_details: Some("Max Mustermann\nIBAN DE89 3704 0044 0532 0130 00\nReference: Max".into()),
        my_details: Some("Ann Example".into()),
        problem: None,
        unread: 0,
        second_arbiter: None,
        dispute: None,
        can_bump: false,
        seller_bond: Sats::ZERO,
        buyer_bond: Sats::ZERO,
        strays: Vec::new(),
    }
}

/// A trade in which the user sells and the money should be there.
pub fn trade_to_release() -> TradeView {
    TradeView {
        role: Some(Role::Seller),
        next: NextStep {
            who: Actor::You,
            what: "look for 617.50 EUR in your account; release the coins only when it is there for good".into(),
            until: Some(4512),
            otherwise: "at that height a dispute opens by itself; if nobody rules by height 5519, you can take the coins back. \
                        A release cannot be undone"
                .into(),
            action: Some(Action::Release),
        },
        actions: vec![Action::Release, Action::Cancel],
        steps: steps(5),
        their_details: Some("Ann Example".into()),
        problem: Some("The other's node has not been reached for ten minutes; trying again.".into()),
        ..trade(2, Role::Seller, Phase::Paid)
    }
}

/// A trade that is over.
pub fn trade_done() -> TradeView {
    TradeView {
        next: NextStep {
            who: Actor::Nobody,
            what: "The coins are in your wallet.".into(),
            until: None,
            otherwise: String::new(),
            action: None,
        },
        actions: Vec::new(),
        steps: steps(7),
        spend: Some(ChainTx { txid: "0d".repeat(32), confirmations: 6, height: Some(1190) }),
        ..trade(3, Role::Buyer, Phase::Closed)
    }
}

/// A dispute in which the user is the buyer.
pub fn disputed() -> TradeView {
    TradeView {
        next: NextStep {
            who: Actor::Arbiter,
            what: "the arbiter rules: show him what you and the seller said, and tell him what you paid, when and how"
                .into(),
            until: Some(5520),
            otherwise: "at that height the seller could take the coins back".into(),
            action: None,
        },
        actions: vec![Action::Cancel],
        terms: "Please put nothing but your name in the reference.\nI answer between 8 and 22 o'clock.".into(),
        dispute: Some(DisputeView { seat: None, ..case().dispute.unwrap() }),
        ..trade(1, Role::Buyer, Phase::Disputed)
    }
}

/// A dispute that the user, who sells, has lost.
pub fn ruled() -> TradeView {
    TradeView {
        next: NextStep {
            who: Actor::Chain,
            what: "the arbiter ruled for the buyer: 0.01000000 BTC to the buyer, 0.00094735 BTC of the bond to you, 0.00005000 \
                   BTC to the arbiter; the coins move by themselves from height 1344 on"
                .into(),
            until: None,
            otherwise: "nothing to do; whoever gets something completes it, after a restart too".into(),
            action: None,
        },
        actions: Vec::new(),
        steps: steps(6),
        seller_bond: sats(100_000),
        dispute: case().dispute.map(|dispute| DisputeView { seat: None, ruling: Some(ruling()), ..dispute }),
        ..trade(1, Role::Seller, Phase::Ruled)
    }
}

/// What its arbiter would be shown, or was.
pub fn disclosure() -> Disclosure {
    let (trade, to) = (TradeId([1; 32]), Person::Arbiter);
    Disclosure { trade, to, name: "Alice the Arbiter".into(), messages: talk().messages, before: 0 }
}

/// A dispute in which the user is the arbiter.
pub fn case() -> TradeView {
    let dispute = DisputeView {
        opened_by: vec![Role::Buyer],
        ruling_from: 1344,
        second_ruling_from: None,
        seat: Some(Seat::First),
        extensions: 0,
        ruling: None,
    };
    TradeView {
        next: NextStep {
            who: Actor::You,
            what: "Hear both sides, then rule.".into(),
            until: Some(5520),
            otherwise: "The seller can take the coins back.".into(),
            action: Some(Action::Rule),
        },
        actions: vec![Action::Rule, Action::Extend],
        their_details: None,
        my_details: None,
        dispute: Some(dispute),
        ..trade(1, Role::Arbiter, Phase::Disputed)
    }
}

/// A ruling in it.
pub fn ruling() -> RulingView {
    let (to_buyer, to_seller) = (sats(396_000), sats(594_000));
    RulingView { seat: Seat::First, to_buyer, to_seller, fee: sats(5_000), mining_fee: sats(5_000) }
}

/// A line of talk.
pub fn line(number: u64, from: Person, to: Person, age: u64, text: &str) -> MessageView {
    MessageView { number, from, to, time: NOW - age, words: MessageWords::Chat { text: text.into() } }
}

/// What a buyer and a seller said to each other, the last of it unread by the buyer.
pub fn talk() -> Conversation {
    let (buyer, seller) = (Person::Buyer, Person::Seller);
    let details = MessageWords::Details { details: "Max Mustermann\nIBAN DE89 3704".into(), is_agreed: true };
    Conversation {
        trade: TradeId([1; 32]),
        me: buyer,
        others: vec![seller, Person::Arbiter],
        messages: vec![
            MessageView { words: details, ..line(1, seller, buyer, 3900, "") },
            line(
                2,
                buyer,
                seller,
                3000,
                "Paid at 9:40 from my account at the savings bank, reference 7731. It is instant, so it should be there.",
            ),
            line(3, seller, buyer, 700, "I see nothing yet.\nWhich name is on the account?"),
        ],
        unread: 1,
        shown: None,
    }
}

/// What an arbiter sees of a dispute in which one side kept something back.
pub fn talk_of_arbiter() -> Conversation {
    let (buyer, seller, arbiter) = (Person::Buyer, Person::Seller, Person::Arbiter);
    let shown = |message, arrival| ShownMessage { message, arrival };
    let [one, two] = [1, 2].map(|known| AccountView { known, ..AccountView::default() });
    Conversation {
        trade: TradeId([1; 32]),
        me: arbiter,
        others: vec![buyer, seller],
        messages: vec![line(1, buyer, arbiter, 500, "He has my money and does not release.")],
        unread: 0,
        shown: Some(ShownTranscript {
            messages: vec![
                shown(line(0, buyer, seller, 3000, "Paid at 9:40, reference 7731."), Arrival::Had),
                shown(
                    MessageView { words: MessageWords::NotShown, ..line(0, seller, buyer, 700, "") },
                    Arrival::Answered,
                ),
                shown(line(0, buyer, seller, 600, "Please look again."), Arrival::Unproven),
            ],
            by: vec![
                Showing { by: buyer, buyer: two, seller: AccountView { not_shown: 1, ..one } },
                Showing { by: seller, buyer: one, seller: AccountView { other_missing: 1, ..one } },
            ],
        }),
    }
}

pub fn review(role: Role) -> TakeReview {
    let side = if role == Role::Buyer { Side::Sell } else { Side::Buy };
    TakeReview {
        offer: offer(1, side, "EUR", 6_175_000, 1_000_000, 5_000_000, &["SEPA instant", "Revolut"]),
        role,
        amount: sats(1_000_000),
        cost: 61_750,
        method: "SEPA instant".into(),
        arbiter: arbiter("Alice the Arbiter", 5_000),
        second_arbiter: None,
        seller_bond: Sats::ZERO,
        buyer_bond: Sats::ZERO,
        funding_fee: sats(310),
        payout_fee: sats(420),
        confirmations: 3,
        pay_within: 2304,
        refund_after: 4320,
        affordable: role == Role::Buyer,
    }
}

/// What paying 0.1 BTC comes to.
pub fn priced() -> Sent {
    Sent {
        txid: "00".repeat(32),
        amount: sats(10_000_000),
        fee: sats(141),
        vsize: 141,
        coins: Vec::new(),
        broadcast: false,
    }
}

pub fn coins() -> Page<CoinView> {
    let coin = |byte: &str, sat, height, change, label: &str, state| CoinView {
        coin: format!("{}:0", byte.repeat(32)),
        address: "bcrt1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqvg32hk".into(),
        amount: sats(sat),
        height,
        change,
        label: label.into(),
        state,
    };
    let reserved = CoinUse::Reserved { by: "ee".repeat(32), what: "escrow of trade 02020202".into() };
    Page {
        items: vec![
            coin("aa", 50_000_000, Some(1100), false, "savings", CoinUse::Frozen),
            coin("bb", 1_234_567, Some(1190), true, "", CoinUse::Spendable),
            coin("cc", 1_000_310, Some(1150), false, "", reserved),
            coin("dd", 999_580, None, false, "payout of trade 01010101", CoinUse::Pending),
        ],
        next: None,
    }
}

pub fn fees() -> Vec<FeeEstimate> {
    let fee = |target_blocks, fee_rate| FeeEstimate { target_blocks, fee_rate };
    vec![fee(1, Some(24)), fee(3, Some(12)), fee(12, Some(4)), fee(144, None)]
}

pub fn history() -> Page<WalletTx> {
    let tx = |byte: &str, net_sat, height, age, label: &str| WalletTx {
        txid: byte.repeat(32),
        net_sat,
        fee: None,
        height,
        time: NOW - age,
        label: label.into(),
        note: String::new(),
        trade: None,
    };
    Page {
        items: vec![
            tx("ab", 999_580, None, 40, "payout of trade 01010101"),
            tx("ac", -1_000_310, Some(1190), 4000, "escrow of trade 02020202"),
            tx("ad", 50_000_000, Some(1100), 200_000, "deposit"),
        ],
        next: None,
    }
}

pub fn events() -> Vec<Event> {
    let event = |seq, age, subject, text: &str| Event { seq, time: NOW - age, subject, text: text.into() };
    vec![
        event(1, 90_000, Subject::Node, "the node started"),
        event(2, 89_990, Subject::Network, "connected to 12D3KooWQ8fj"),
        event(3, 4000, Subject::Trade(TradeId([1; 32])), "the maker accepted your bid for 0.01 BTC"),
        event(4, 600, Subject::Chain, "block 1,203"),
        event(5, 20, Subject::Trade(TradeId([1; 32])), "the escrow is funded: 3 of 3 confirmations"),
    ]
}

pub fn peers() -> Vec<PeerInfo> {
    let peer = |id: &str, port: u16, ping_ms, in_sync| PeerInfo {
        peer: format!("12D3KooW{id}fjq2mZt4Xw8cE9rHnLpVbYs6uKdGaT1oN5iMxC"),
        address: format!("/ip4/127.0.0.1/tcp/{port}"),
        agent: "exchange/0.1.0".into(),
        ping_ms,
        in_sync,
    };
    vec![peer("Qa", 40_001, Some(1), true), peer("Rb", 40_002, Some(23), true), peer("Sc", 40_003, None, false)]
}

/// A client of a node whose identity is in this state.
pub struct User {
    pub app: App,
    /// What the application wanted done so far and was not looked at.
    pub commands: Vec<Command>,
    /// The request id under which each call was made last.
    pub requests: HashMap<CallName, RequestId>,
}

impl User {
    pub fn new(theme: Theme, identity: IdentityState) -> Self {
        let mut user = Self { app: App::new(theme, false, "test"), commands: Vec::new(), requests: HashMap::new() };
        user.send(Message::Connection(Connection::Up { ours: false }));
        user.answer(Query::Status, Answer::Status(status(identity)));
        user
    }

    /// One whose identity is unlocked, with everything that a node would show.
    pub fn trading() -> Self {
        let mut user = Self::new(Theme::Colour, unlocked());
        user.fill();
        user
    }

    pub fn fill(&mut self) {
        self.answer(Query::Book, Answer::Book(Page { items: offers(), next: None }));
        let trades = vec![trade(1, Role::Buyer, Phase::Funded), trade_to_release(), trade_done()];
        self.answer(Query::Trades, Answer::Trades(trades));
        let balance = Balance {
            spendable: sats(51_234_567),
            pending: sats(999_580),
            in_escrow: sats(1_000_000),
            frozen: Sats::ZERO,
            reserved: Sats::ZERO,
        };
        self.answer(Query::Balance, Answer::Balance(balance));
        let address = "bcrt1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqvg32hk";
        let info = AddressInfo { address: address.into(), uri: format!("bitcoin:{address}") };
        self.answer(Query::Address, Answer::Address(info));
        self.answer(Query::Coins, Answer::Coins(coins()));
        self.answer(Query::Fees, Answer::Fees(fees()));
        self.answer(Query::History, Answer::History(history()));
        self.answer(Query::Peers, Answer::Peers(peers()));
        let arbiters = vec![arbiter("Alice the Arbiter", 5_000), stranger("Zürich Desk", 10_000)];
        self.answer(Query::Arbiters, Answer::Arbiters(arbiters));
        for event in events() {
            self.send(Message::Event(event));
        }
        self.commands.clear();
    }

    pub fn send(&mut self, message: Message) {
        for command in self.app.update(message) {
            if let Command::Call(call) = &command
                && let Some(id) = call.request_id()
            {
                self.requests.insert(call.name(), id.clone());
            }
            self.commands.push(command);
        }
    }

    pub fn answer(&mut self, query: Query, answer: Answer) {
        self.send(Message::Answer(query, Box::new(Ok(answer))));
    }

    pub fn key(&mut self, code: KeyCode) {
        self.send(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    pub fn ctrl(&mut self, c: char) {
        self.send(Message::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)));
    }

    /// Presses the keys of a text one by one; `\n` is Enter, `\t` is Tab.
    pub fn keys(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\n' => self.key(KeyCode::Enter),
                '\t' => self.key(KeyCode::Tab),
                c => self.key(KeyCode::Char(c)),
            }
        }
    }

    pub fn tick(&mut self, count: usize) {
        for _ in 0..count {
            self.send(Message::Tick);
        }
    }

    /// Waits for half a second, in which a question takes no yes.
    pub fn pause(&mut self) {
        self.tick(4);
    }

    pub fn taken_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Returns where the cursor is, if it is shown.
    pub fn cursor(&self, width: u16, height: u16) -> Option<(u16, u16)> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::draw(&self.app, frame)).unwrap();
        let position = terminal.backend().cursor_position();
        terminal.backend().cursor_visible().then_some((position.x, position.y))
    }

    /// Returns the screen as text.
    pub fn screen(&self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::draw(&self.app, frame)).unwrap();
        terminal.backend().to_string()
    }
}

/// Lets the node answer a call.
pub fn reply(user: &mut User, call: CallName, result: Result<Reply, ApiError>) {
    let request = user.requests.get(&call).cloned();
    user.send(Message::Reply(call, request, Box::new(result)));
}

/// Returns the call that the application wants made, of which there is one.
pub fn only_call(user: &mut User) -> Call {
    let mut calls: Vec<_> = user
        .taken_commands()
        .into_iter()
        .filter_map(|command| match command {
            Command::Call(call) => Some(call),
            Command::Query(_) | Command::Copy(_) | Command::Retry | Command::Quit(_) => None,
        })
        .collect();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

/// What a call ends with when the node cannot be reached.
pub fn unreachable() -> ApiError {
    ApiError::new(Code::NodeUnreachable, "gone", "")
}
