//! The wallet by itself: chosen coins, labels, transactions signed elsewhere, and coins found again by their words.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt;

use bitcoin::{Amount, EcdsaSighashType};
use exchange_api::{
    BumpView, CancelView, CoinUse, CoinView, FundingDraft, LabelsTaken, Page, PsbtView, RaisedBy, Sent, SweepView,
    TradeView, WalletTx, WalletWords,
};
use exchange_ledger::trade::Phase;
use exchange_tests::{Elsewhere, Failure, Offer, PASSWORD, Trader, World, wait_until};
use serde_json::Value;

#[test]
fn coins_are_chosen_frozen_labelled_and_paid_faster() {
    let world = World::begin();
    let alice = world.trader_with_coins("seller");
    let bob = world.trader("buyer");
    world.chain().mine_coins_to(&alice.address());
    let coins = wait_for_coins(&alice, 2);
    let (kept, spent) = (coins[0].coin.clone(), coins[1].coin.clone());
    let _: Vec<CoinView> = alice.cli().done(&["wallet", "freeze", &kept]);
    let to = bob.address();
    alice
        .cli()
        .run::<Sent>(&["wallet", "send", &to, "1", "--coin", &kept, "--yes"])
        .unwrap_err()
        .assert_is(1, "not_allowed");
    let both = ["--fee-rate", "3", "--target-blocks", "6"];
    let usage = alice.cli().run::<Sent>(&[&["wallet", "send", &to, "1", "--yes"], &both[..]].concat()).unwrap_err();
    assert_eq!(usage.exit, Some(2));
    let args = ["wallet", "send", &to, "1", "--coin", &spent, "--fee-rate", "3", "--label", "rent of May", "--yes"];
    let dry: Sent = alice.cli().done(&[&args[..], &["--dry-run"]].concat());
    let sent: Sent = alice.cli().done(&args);
    assert_eq!((&sent.coins, sent.fee), (&vec![spent], dry.fee));
    assert!((sent.vsize * 3..sent.vsize * 3 + 5).contains(&sent.fee.get()), "{sent:?}");

    let bumped: BumpView = alice.cli().done(&["wallet", "bump", &sent.txid, "--fee-rate", "12", "--yes"]);
    assert_eq!((bumped.by, bumped.raised.as_str()), (RaisedBy::Replacement, sent.txid.as_str()));
    assert!(world.chain().pool().iter().eq([&bumped.txid]), "the replaced one is gone");
    let _: Value = alice.cli().done(&["wallet", "label", &bumped.txid, "for the flat"]);
    world.chain().mine(1);
    let entry = alice_history(&alice, &bumped.txid);
    assert_eq!((entry.note.as_str(), entry.label.as_str()), ("for the flat", "rent of May"));

    // Labels go to another wallet and back, in the form in which all wallets write them.
    let file = world.dir().join("labels.jsonl").display().to_string();
    let _: Value = alice.cli().done(&["wallet", "labels", "export", &file]);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o077, 0, "they tell of coins and trades");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().any(|line| line.contains("\"spendable\":false") && line.contains(&kept)), "{text}");
    let taken: LabelsTaken = bob.cli().done(&["wallet", "labels", "import", &file]);
    assert_eq!((taken.set, taken.frozen), (u64::try_from(text.lines().count()).unwrap(), 1));
    alice.cli().run::<Value>(&["wallet", "labels", "export", &file]).unwrap_err().assert_is(2, "usage");
    let _: Vec<CoinView> = alice.cli().done(&["wallet", "unfreeze", &kept]);
    assert!(wait_for_coins(&alice, 2).iter().all(|coin| coin.state != CoinUse::Frozen));
}

#[test]
fn a_payment_that_no_block_holds_is_cancelled() {
    let world = World::begin();
    let alice = world.trader_with_coins("seller");
    let bob = world.trader("buyer");
    let to = bob.address();
    let send = ["wallet", "send", &to, "1", "--fee-rate", "3", "--label", "rent of May", "--yes"];
    let sent: Sent = alice.cli().done(&send);
    let cancel = ["wallet", "cancel", &sent.txid, "--request-id", "no rent", "--yes"];
    let dry: CancelView = alice.cli().done(&[&cancel[..], &["--dry-run"]].concat());
    let cancelled: CancelView = alice.cli().done(&cancel);
    assert_eq!((&cancelled.cancelled, cancelled.fee), (&sent.txid, dry.fee));
    assert!(cancelled.broadcast && !dry.broadcast);
    assert!(world.chain().pool().iter().eq([&cancelled.txid]), "the payment is gone");
    assert_eq!(alice.cli().done::<CancelView>(&cancel), cancelled, "twice is once");
    // Until a block has decided, it is not paid again.
    alice.cli().run::<Sent>(&send).unwrap_err().assert_is(1, "not_allowed");
    world.chain().mine(1);
    let entry = alice_history(&alice, &cancelled.txid);
    assert_eq!(entry.label, format!("cancels {}: rent of May", &sent.txid[..8]));
    let late = ["wallet", "cancel", &sent.txid, "--yes"];
    alice.cli().run::<CancelView>(&late).unwrap_err().assert_is(1, "not_allowed");
    let again: Sent = alice.cli().done(&send);
    world.chain().confirm("the payment", 1);
    alice_history(&alice, &again.txid);
    alice.cli().run::<CancelView>(&["wallet", "cancel", &again.txid, "--yes"]).unwrap_err().assert_is(1, "not_allowed");
}

#[test]
fn a_payment_is_made_here_and_signed_there() {
    let world = World::begin();
    let alice = world.trader_with_coins("seller");
    let bob = world.trader("buyer");
    let file = |name: &str| world.dir().join(name).display().to_string();
    let (draft, signed) = (file("draft.psbt"), file("signed.psbt"));
    let drafted: PsbtView =
        alice.cli().done(&["wallet", "psbt", "create", &bob.address(), "2", "--fee-rate", "2", "--out", &draft]);
    assert!(drafted.inputs.iter().all(|input| input.mine && !input.signed));
    let seen: PsbtView = bob.cli().done(&["wallet", "psbt", "show", &draft]);
    assert_eq!((seen.txid, seen.fee), (drafted.txid.clone(), drafted.fee));
    assert!(seen.net_sat < 0, "it brings Bob money");
    let nothing = bob.cli().run::<PsbtView>(&["wallet", "psbt", "sign", &draft, "--out", &file("b.psbt"), "--yes"]);
    nothing.unwrap_err().assert_is(2, "invalid_argument");
    let early = alice.cli().run::<Sent>(&["wallet", "psbt", "finish", &draft, "--yes"]);
    early.unwrap_err().assert_is(2, "invalid_argument");
    let _: PsbtView = alice.cli().done(&["wallet", "psbt", "sign", &draft, "--out", &signed, "--yes"]);
    // Whoever holds what all have signed can send it.
    let sent: Sent = bob.cli().done(&["wallet", "psbt", "finish", &signed, "--yes"]);
    assert_eq!(sent.txid, drafted.txid);
    world.chain().confirm("the payment", 1);
    bob.awaits_balance("the coins", |balance| balance.spendable.get() == 200_000_000);
}

/// The seller's node never holds the coins that it sells.
#[test]
fn escrow_is_funded_from_elsewhere() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let elsewhere = Elsewhere::with_a_coin(world.chain());
    buyer.address(); // he has searched all those blocks
    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.005").id;
    seller.awaits(trade, Phase::Agreed);
    seller.awaits_tip(u32::try_from(world.chain().height()).unwrap());
    let file = |name: &str| world.dir().join(name).display().to_string();
    let id = trade.to_string();
    let pays_by = |text: &str, name: &str, more: &[&str]| -> Result<TradeView, Failure> {
        std::fs::File::create(file(name)).and_then(|mut file| file.write_all(text.as_bytes())).unwrap();
        seller.cli().run(&[&["trade", "fund", &id, "--psbt-in", &file(name), "--yes"], more].concat())
    };

    let draft: FundingDraft = seller.cli().done(&["trade", "fund", &id, "--psbt-out", &file("escrow.psbt")]);
    assert_eq!(draft.amount.get(), 500_000);
    assert!(draft.uri.ends_with("?amount=0.005"), "{draft:?}");
    buyer
        .cli()
        .run::<FundingDraft>(&["trade", "fund", &id, "--psbt-out", &file("b.psbt")])
        .unwrap_err()
        .assert_is(1, "not_allowed");

    // What does not fund the escrow exactly is refused, and leaves nothing behind.
    let fee = Amount::from_sat(1_000);
    pays_by(&elsewhere.drafts(&draft.psbt, fee).to_string(), "unsigned", &[])
        .unwrap_err()
        .assert_is(2, "invalid_argument");
    let mut short = draft.psbt.parse::<bitcoin::Psbt>().unwrap();
    short.unsigned_tx.output[0].value -= Amount::ONE_SAT;
    let short = elsewhere.pays(&short.to_string(), fee);
    pays_by(&short, "short", &[]).unwrap_err().assert_is(2, "invalid_argument");
    let mut twice = draft.psbt.parse::<bitcoin::Psbt>().unwrap();
    let again = twice.unsigned_tx.output[0].clone();
    twice.unsigned_tx.output.push(again);
    twice.outputs.push(bitcoin::psbt::Output::default());
    pays_by(&elsewhere.pays(&twice.to_string(), fee), "twice", &[]).unwrap_err().assert_is(2, "invalid_argument");
    let careless = elsewhere.pays(&draft.psbt, Amount::from_sat(1_000_000));
    pays_by(&careless, "careless", &[]).unwrap_err().assert_is(2, "invalid_argument");
    let mut open = elsewhere.drafts(&draft.psbt, fee);
    open.inputs[0].sighash_type = Some(EcdsaSighashType::AllPlusAnyoneCanPay.into());
    pays_by(&elsewhere.signs(open), "open", &[]).unwrap_err().assert_is(2, "invalid_argument");
    assert!(world.chain().pool().is_empty());

    let owned = seller.balance();
    let signed = elsewhere.pays(&draft.psbt, fee);
    pays_by(&signed, "signed", &["--dry-run"]).unwrap();
    assert!(world.chain().pool().is_empty());
    pays_by(&signed, "signed.again", &[]).unwrap();
    let other = elsewhere.pays(&draft.psbt, Amount::from_sat(2_000));
    pays_by(&other, "other", &[]).unwrap_err().assert_is(1, "not_allowed");
    world.chain().confirm("the funding", 1);
    buyer.awaits(trade, Phase::Funded);
    assert_eq!(seller.balance().spendable, owned.spendable, "its own wallet paid nothing");
    buyer.does("paid", trade);
    seller.does("release", trade);
    world.chain().confirm("the payout", 1);
    buyer.awaits(trade, Phase::Closed);
}

#[test]
fn coins_are_found_again_by_their_words() {
    let world = World::begin();
    let mut lost = world.trader_with_coins("seller");
    let owned = lost.balance().spendable.get();
    // The deposits went to several addresses, far into the chain.
    for _ in 0..3 {
        world.chain().mine_coins_to(&lost.address());
    }
    // Blocks pay ever less: the second as much as the first, then a half and a quarter of that.
    let all = 2 * owned + owned / 2 + owned / 4;
    lost.awaits_balance("all of it", |balance| balance.spendable.get() == all);
    let wrong = world.dir().join("wrong");
    std::fs::File::create(&wrong).and_then(|mut file| writeln!(file, "not his password")).unwrap();
    let refused = lost.cli().run::<WalletWords>(&["wallet", "words", "--password-file", &wrong.display().to_string()]);
    refused.unwrap_err().assert_is(1, "wrong_password");
    let words = words_of(&world, &lost);
    assert_eq!(words.words.split(' ').count(), 24);
    lost.process().stop();
    let log = std::fs::read_to_string(world.dir().join("seller.log")).unwrap_or_default();
    assert!(!log.contains(&words.words), "the words are in no log");

    // Email and password are forgotten; the words are on paper.
    let again = world.trader("buyer");
    let file = world.dir().join("words");
    std::fs::File::create(&file).and_then(|mut file| writeln!(file, "{}", words.words)).unwrap();
    let file = file.display().to_string();
    let sweep = ["wallet", "sweep", "--words-file", &file, "--fee-rate", "2", "--yes"];
    let found: SweepView = again.cli().done(&[&sweep[..], &["--dry-run"]].concat());
    let SweepView::Found { amount, fee, .. } = found else { panic!("{found:?}") };
    assert_eq!(amount.get() + fee.get(), all);
    let sent: SweepView = again.cli().done(&sweep);
    assert!(matches!(&sent, SweepView::Sent { amount: arriving, .. } if *arriving == amount), "{sent:?}");
    world.chain().confirm("the sweep", 1);
    again.awaits_balance("the coins", |balance| balance.spendable == amount);
    let nothing: SweepView = again.cli().done(&[&sweep[..], &["--dry-run"]].concat());
    assert!(matches!(nothing, SweepView::Empty { .. }), "{nothing:?}");
}

fn words_of(world: &World, trader: &Trader) -> WalletWords {
    let file = world.dir().join("password");
    std::fs::File::create(&file).and_then(|mut file| writeln!(file, "{PASSWORD}")).unwrap();
    trader.cli().done(&["wallet", "words", "--password-file", &file.display().to_string()])
}

fn wait_for_coins(trader: &Trader, count: usize) -> Vec<CoinView> {
    wait_until("the coins are there", || {
        let page: Page<CoinView> = trader.cli().done(&["wallet", "coins"]);
        let confirmed = page.items.iter().filter(|coin| coin.state != CoinUse::Pending).count();
        if confirmed >= count { Ok(page.items.clone()) } else { Err(format!("{page:?}")) }
    })
}

fn alice_history(trader: &Trader, txid: &str) -> WalletTx {
    wait_until("the payment is in the history, confirmed", || {
        let page: Page<WalletTx> = trader.cli().done(&["wallet", "history"]);
        let entry = page.items.into_iter().find(|tx| tx.txid == txid && tx.height.is_some());
        entry.ok_or_else(|| "it is not".to_owned())
    })
}
