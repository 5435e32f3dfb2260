//! Payments, coins, labels and fees.

use crossterm::event::KeyCode;
use exchange_api::{
    Action, ApiError, Balance, ChainTx, Code, CoinUse, Person, Phase, RequestId, Role, Sats, StrayView, TradeId,
    TradeView, WalletTx,
};
use exchange_tui::message::{Answer, Bump, Call, CallName, Command, Query, Reply};

use crate::common::{self, User, only_call, priced, reply, unreachable};

#[test]
fn an_error_keeps_what_was_typed() {
    let mut user = User::trading();
    user.keys("s1s");
    user.keys("5s");
    user.keys("bcrt1qexample\t0.1\t\t\t\n");
    assert!(matches!(only_call(&mut user), Call::Price(request) if request.dry_run));
    let hint = "check it: `exchange-node status`";
    reply(&mut user, CallName::Price, Err(ApiError::new(Code::InvalidArgument, "not an address", hint)));
    let screen = user.screen(80, 24);
    assert!(screen.contains("Not an address.") && screen.contains("Check it: screen 6."), "{screen}");
    user.key(KeyCode::Esc);
    assert!(user.screen(80, 24).contains("bcrt1qexample"));
}

#[test]
fn coins_are_sent_only_after_their_price_was_seen() {
    let mut user = User::trading();
    user.keys("5sbcrt1qexample\t0.1\t\t\t\n");
    only_call(&mut user);
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced())));
    assert!(user.screen(80, 24).contains("141 sat"));
    user.pause();
    user.keys("y");
    let Call::Send(request) = only_call(&mut user) else { panic!("not sent") };
    assert!(!request.dry_run && !request.request_id.is_empty());
    assert_eq!(request.priced, Some(priced()), "what he saw is ordered, whatever the fees are by now");
    reply(&mut user, CallName::Send, Ok(Reply::Sent(priced())));
    assert!(user.app.popups.is_empty());
}

/// Of all of them everything would be sent where he meant one coin.
#[test]
fn a_payment_of_chosen_coins_never_becomes_one_of_the_whole_wallet() {
    let mut user = User::trading();
    user.keys("5oj s");
    let chosen = format!("{}:0", "bb".repeat(32));
    // A trade takes the coin while he types.
    let mut coins = common::coins();
    coins.items[1].state = CoinUse::Reserved { by: "ee".repeat(32), what: "escrow of trade 02020202".into() };
    user.answer(Query::Coins, Answer::Coins(coins));
    assert!(user.app.wallet.chosen.is_empty());
    assert!(user.screen(80, 24).contains("A chosen coin can no longer be spent"), "{}", user.screen(80, 24));
    user.keys("bcrt1qexample\tall\t\t\t\n");
    let Call::Price(request) = only_call(&mut user) else { panic!("not priced") };
    assert_eq!(request.coins, [chosen], "the node refuses it, and names the coin");
    let gone = ApiError::new(Code::NotAllowed, "coin bb:0 cannot be spent now: it is set aside", "");
    reply(&mut user, CallName::Price, Err(gone));
    assert!(user.screen(80, 24).contains("cannot be spent now"));
}

#[test]
fn a_price_is_asked_about_only_where_the_payment_still_stands_as_it_was_priced() {
    let mut user = User::trading();
    user.keys("5sbcrt1qexample\t0.1\t\t\t\n");
    only_call(&mut user);
    // While the node works it out the user types another amount, and presses the button again.
    user.key(KeyCode::BackTab);
    user.key(KeyCode::BackTab);
    user.key(KeyCode::BackTab);
    user.ctrl('u');
    user.keys("10\t\t\t\n");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced())));
    assert!(user.app.ask().is_none(), "that is not what stands there");
    assert!(user.screen(80, 24).contains("! You went on meanwhile: please ask again."), "{}", user.screen(80, 24));
    user.keys("\n");
    let Call::Price(second) = only_call(&mut user) else { panic!("not priced") };
    assert_eq!(second.amount, Some(common::sats(1_000_000_000)));
    // Nor is he asked while he writes what it is for.
    user.key(KeyCode::BackTab);
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced())));
    assert!(user.app.ask().is_none());
    user.keys("\t\n");
    only_call(&mut user);
    reply(&mut user, CallName::Price, Ok(Reply::Sent(priced())));
    user.pause();
    user.keys("y");
    let Call::Send(sent) = only_call(&mut user) else { panic!("not sent") };
    assert_eq!(sent.amount, second.amount);
}

#[test]
fn chosen_coins_are_sent_and_no_others_and_a_senseless_feerate_is_not_asked_for() {
    let mut user = User::trading();
    // The frozen coin cannot be chosen, the next can.
    user.keys("5o ");
    assert!(user.app.wallet.chosen.is_empty());
    user.keys("j s");
    user.keys("bcrt1qexample\tall\t501\trent\t\n");
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))));
    assert!(user.screen(80, 24).contains("from 1 to 500"));
    // What is wrong has the focus.
    user.key(KeyCode::Backspace);
    user.keys("\t\t\n");
    let Call::Price(request) = only_call(&mut user) else { panic!("not priced") };
    assert_eq!((request.fee.fee_rate, request.amount, request.label.as_str()), (Some(50), None, "rent"));
    assert_eq!(request.coins, [format!("{}:0", "bb".repeat(32))]);
}

#[test]
fn a_coin_is_frozen_and_freed_and_labelled() {
    let mut user = User::trading();
    user.keys("5of");
    let Call::Freeze(request) = only_call(&mut user) else { panic!("not freed") };
    assert!(!request.frozen, "it was frozen");
    reply(&mut user, CallName::Freeze, Ok(Reply::Coins(Vec::new())));
    user.taken_commands();
    user.keys("jf");
    assert!(matches!(only_call(&mut user), Call::Freeze(request) if request.frozen));
    reply(&mut user, CallName::Freeze, Ok(Reply::Coins(Vec::new())));
    user.taken_commands();
    user.keys("lholiday\n");
    let Call::Label(label) = only_call(&mut user) else { panic!("not labelled") };
    assert_eq!((label.subject, label.label.as_str()), (format!("{}:0", "bb".repeat(32)), "holiday"));
    reply(&mut user, CallName::Label, Ok(Reply::Labelled));
    assert!(user.app.popups.is_empty());
}

#[test]
fn a_key_is_about_the_coin_or_the_payment_that_is_selected_whatever_comes_in_above_it() {
    let mut user = User::trading();
    user.keys("5oj");
    let mut coins = common::coins();
    let newer = exchange_api::CoinView { coin: format!("{}:1", "ee".repeat(32)), ..coins.items[1].clone() };
    coins.items.insert(0, newer);
    user.answer(Query::Coins, Answer::Coins(coins));
    user.taken_commands();
    user.keys("f");
    let Call::Freeze(request) = only_call(&mut user) else { panic!("not frozen") };
    assert_eq!(request.coins, [format!("{}:0", "bb".repeat(32))]);
    reply(&mut user, CallName::Freeze, Ok(Reply::Coins(Vec::new())));
    // What is gone can be selected no longer.
    let rest = exchange_api::Page { items: common::coins().items[2..].to_vec(), next: None };
    user.answer(Query::Coins, Answer::Coins(rest));
    assert_eq!(user.app.wallet.coin().unwrap().coin, format!("{}:0", "cc".repeat(32)));
    // A payment that comes in while the list is looked at is not bumped in place of the one that waits.
    user.keys("o");
    let mut history = common::history();
    history.items.insert(0, WalletTx { txid: "ee".repeat(32), ..history.items[0].clone() });
    user.answer(Query::History, Answer::History(history));
    user.taken_commands();
    user.keys("b\n");
    assert!(matches!(only_call(&mut user), Call::PriceBump(Bump::Tx(request)) if request.txid == "ab".repeat(32)));
}

#[test]
fn a_fee_is_raised_only_after_its_price_was_seen() {
    let mut user = User::trading();
    user.keys("5b");
    assert!(user.screen(80, 24).contains("12"), "what the chain asks is suggested");
    user.keys("\n");
    only_call(&mut user);
    let priced = |raised: &str| exchange_api::BumpView {
        raised: raised.into(),
        txid: "cd".repeat(32),
        by: exchange_api::RaisedBy::Replacement,
        fee: common::sats(1_692),
        broadcast: false,
    };
    // What he types meanwhile is priced anew.
    user.key(KeyCode::Backspace);
    user.keys("2");
    reply(&mut user, CallName::PriceBump, Ok(Reply::Bumped(priced("12"))));
    assert!(user.app.ask().is_none());
    user.keys("\n");
    let Call::PriceBump(Bump::Tx(request)) = only_call(&mut user) else { panic!("not priced") };
    assert!(request.dry_run && request.fee.fee_rate == Some(12));
    let priced = priced(&request.txid);
    reply(&mut user, CallName::PriceBump, Ok(Reply::Bumped(priced.clone())));
    assert!(user.screen(80, 24).contains("1,692 sat"));
    user.pause();
    user.keys("y");
    let Call::Bump(Bump::Tx(request)) = only_call(&mut user) else { panic!("not raised") };
    assert!(!request.dry_run && !request.request_id.is_empty());
    assert_eq!(request.priced.as_ref(), Some(&priced), "what he saw is ordered");
    reply(&mut user, CallName::Bump, Ok(Reply::Bumped(priced)));
    assert!(user.app.popups.is_empty());
    // What is confirmed needs no more.
    user.taken_commands();
    user.keys("jb");
    assert!(user.app.popups.is_empty());
}

#[test]
fn a_payment_is_cancelled_only_after_its_price_was_seen() {
    let mut user = User::trading();
    // What comes in is nothing of his to cancel.
    user.keys("5x");
    assert!(user.app.popups.is_empty());
    let mut history = common::history();
    history.items[0].net_sat = -1_000_141;
    user.answer(Query::History, Answer::History(history));
    user.taken_commands();
    assert!(user.screen(80, 24).contains("x cancel"), "{}", user.screen(80, 24));
    user.keys("x\n");
    let Call::PriceCancel(request) = only_call(&mut user) else { panic!("not priced") };
    assert_eq!((request.dry_run, request.txid.as_str(), request.fee.fee_rate), (true, &*"ab".repeat(32), Some(12)));
    let priced = exchange_api::CancelView {
        cancelled: request.txid,
        txid: "cd".repeat(32),
        amount: common::sats(999_000),
        fee: common::sats(1_692),
        broadcast: false,
    };
    reply(&mut user, CallName::PriceCancel, Ok(Reply::Cancelled(priced.clone())));
    let screen = user.screen(80, 24);
    assert!(screen.contains("0.00999 BTC back to you") && screen.contains("1,692 sat"), "{screen}");
    user.pause();
    user.keys("y");
    let Call::Cancel(request) = only_call(&mut user) else { panic!("not cancelled") };
    assert!(!request.dry_run && !request.request_id.is_empty());
    assert_eq!(request.priced.as_ref(), Some(&priced), "what he saw is ordered");
    reply(&mut user, CallName::Cancel, Ok(Reply::Cancelled(priced)));
    assert!(user.app.popups.is_empty());
    // One that nobody has shown yet is found by a coin that is set aside for it.
    user.taken_commands();
    user.keys("ojj");
    assert!(user.screen(80, 24).contains("x cancel"), "{}", user.screen(80, 24));
    user.taken_commands();
    user.keys("x\n");
    assert!(matches!(only_call(&mut user), Call::PriceCancel(request) if request.txid == "ee".repeat(32)));
}

#[test]
fn what_comes_from_a_trade_is_named_before_the_node_says_what_it_was() {
    let mut user = User::trading();
    let mut history = common::history();
    history.items[0].label = String::new();
    history.items[0].trade = Some(TradeId([5; 32]));
    user.answer(Query::History, Answer::History(history));
    user.keys("5");
    assert!(user.screen(80, 24).contains("from trade 05050505"), "{}", user.screen(80, 24));
}

#[test]
fn what_is_set_aside_stands_in_the_balance_while_there_is_any() {
    let mut user = User::trading();
    user.keys("5");
    assert!(!user.screen(80, 24).contains("Set aside"));
    let balance = user.app.wallet.balance.unwrap();
    let reserved = common::sats(2_000_000);
    user.answer(Query::Balance, Answer::Balance(Balance { reserved, ..balance }));
    let screen = user.screen(80, 24);
    assert!(screen.contains("Set aside") && screen.contains("0.02000000 BTC"), "{screen}");
}

#[test]
fn coins_that_a_block_shows_to_have_left_are_in_no_escrow_any_more() {
    let spend =
        |height: Option<u32>| Some(ChainTx { txid: "0d".repeat(32), confirmations: height.map_or(0, |_| 1), height });
    let sells = |state, spend| TradeView { spend, ..common::trade(1, Role::Seller, state) };
    let all = common::sats(1_000_000);
    for (trade, expected) in [
        (sells(Phase::Disputed, None), all),
        (sells(Phase::Ruled, None), all),
        (sells(Phase::Ruled, spend(None)), all),
        (sells(Phase::Ruled, spend(Some(1204))), Sats::ZERO),
        (sells(Phase::Released, spend(Some(1204))), Sats::ZERO),
        (sells(Phase::Refunding, spend(Some(1204))), Sats::ZERO),
        (sells(Phase::Closed, spend(Some(1190))), Sats::ZERO),
        (common::trade(1, Role::Buyer, Phase::Funded), Sats::ZERO),
    ] {
        assert_eq!(trade.in_escrow(), expected, "{:?} {:?}", trade.state, trade.spend);
    }
    // A bond that the seller left there when he took his own coins back.
    let bonded = TradeView {
        buyer_bond: common::sats(75_000),
        actions: vec![Action::Refund],
        spend: spend(Some(1190)),
        ..common::trade(1, Role::Buyer, Phase::Refunded)
    };
    assert_eq!(bonded.in_escrow(), common::sats(75_000));
    // Where he takes something else back, his bond is gone.
    let (outpoint, amount) = (format!("{}:1", "5a".repeat(32)), common::sats(20_000));
    let strays = vec![StrayView { outpoint, amount, refund_from: Some(1_200), is_next: true }];
    assert_eq!(TradeView { strays, ..bonded.clone() }.in_escrow(), Sats::ZERO);
    assert_eq!(TradeView { actions: Vec::new(), ..bonded }.in_escrow(), Sats::ZERO);
}

/// Pays 0.1 BTC, up to what the node is asked to do; returns under which id.
fn paid(user: &mut User) -> RequestId {
    user.keys("5sbcrt1qexample\t0.1\t\t\t\n");
    let Call::Price(asked) = only_call(user) else { panic!("not priced") };
    reply(user, CallName::Price, Ok(Reply::Sent(priced())));
    user.pause();
    user.keys("y");
    let Call::Send(request) = only_call(user) else { panic!("not sent") };
    assert!(!request.request_id.is_empty());
    assert_eq!(asked.request_id, request.request_id, "it is priced under the id that it has");
    request.request_id
}

#[test]
fn a_payment_that_may_have_been_made_keeps_its_id_whatever_is_done_in_between() {
    let kept = ApiError::new(Code::ChainUnreachable, "it is signed and kept; do not send it a second time", "");
    for failure in [unreachable(), kept] {
        let mut user = User::trading();
        let first = paid(&mut user);
        reply(&mut user, CallName::Send, Err(failure));
        user.key(KeyCode::Esc);
        user.key(KeyCode::Esc);
        user.keys("4m");
        assert!(matches!(only_call(&mut user), Call::Talk(_)));
        reply(&mut user, CallName::Talk, Ok(Reply::Talk(common::talk())));
        user.pause();
        user.keys("hello\n");
        assert!(matches!(only_call(&mut user), Call::Say(_)));
        let line = common::line(4, Person::Buyer, Person::Seller, 0, "hello");
        reply(&mut user, CallName::Say, Ok(Reply::Said(line)));
        user.key(KeyCode::Esc);
        user.taken_commands();
        assert_eq!(paid(&mut user), first, "the same payment, tried again");
        reply(&mut user, CallName::Send, Ok(Reply::Sent(priced())));
        assert_ne!(paid(&mut user), first, "another one");
    }
}
