//! The book and one's own offers.

use exchange_api::ApiError;
use serde_json::{Value, json};

use super::{Node, OFFER, OTHER, arbiter, book, offer};

fn no_offers(_: &Value) -> Result<Value, ApiError> {
    Ok(json!([]))
}

#[test]
fn the_book_is_asked_from_the_makers_side_and_shown_from_the_users() {
    let node = Node::answering(&[("exchange_book", book)]);
    let ran = node.run(&["book", "--side", "buy", "--market", "BTC/EUR", "--amount", "0.01", "--all"]);
    let asked = node.asked("exchange_book");
    assert_eq!(asked[0]["side"], "sell");
    assert_eq!(
        (&asked[0]["currency"], &asked[0]["amount"], &asked[0]["away"]),
        (&json!("EUR"), &json!(1_000_000), &json!(true))
    );
    let (_, rows) = ran.out.split_once('\n').unwrap();
    assert!(
        rows.starts_with("1f0c9a3b  buy  61750.00 EUR  0.005-0.02  308.75-1235.00  SEPA instant, Wise  aaaaaaaa"),
        "{}",
        ran.out
    );
}

#[test]
fn the_first_digits_of_an_id_are_enough_unless_two_share_them() {
    let node = Node::answering(&[
        ("exchange_book", book),
        ("exchange_offerList", no_offers),
        ("exchange_offerShow", |id| Ok(offer(id.as_str().unwrap()))),
    ]);
    assert_eq!(node.run(&["offer", "show", "1f0c9a3c", "--json"]).document()["id"], OTHER);
    let shared = node.run(&["offer", "show", "1f0c9a", "--json"]);
    assert_eq!((shared.exit, &shared.error()["code"]), (2, &json!("usage")));
    let unknown = node.run(&["offer", "show", "000000", "--json"]);
    assert_eq!((unknown.exit, &unknown.error()["code"]), (1, &json!("not_found")));
}

#[test]
fn an_offer_is_shown_whole_and_cannot_forge_the_screen() {
    let node = Node::answering(&[("exchange_offerShow", |id| Ok(offer(id.as_str().unwrap())))]);
    let ran = node.run(&["offer", "show", OFFER]);
    assert!(!ran.out.contains('\u{1b}'), "{ran:?}");
    // The times depend on the day of the test.
    let shown: Vec<&str> =
        ran.out.lines().filter(|line| !line.starts_with("maker") && !line.starts_with("ends")).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn posting_reads_prices_exactly_and_details_from_a_file() {
    let node = Node::answering(&[
        ("exchange_offerPost", |_| Ok(offer(OFFER))),
        ("exchange_arbiterList", |_| Ok(json!([arbiter()]))),
    ]);
    let details = node.directory.path().join("details");
    std::fs::File::create(&details).and_then(|mut file| std::io::Write::write_all(&mut file, b"DE12 3456\n")).unwrap();
    let ran = node.run(&[
        "offer",
        "post",
        "sell",
        "--currency",
        "EUR",
        "--price",
        "61750.00",
        "--min",
        "0.005",
        "--max",
        "0.02",
        "--method",
        "SEPA instant",
        "--arbiter",
        "adadad",
        "--automatic",
        "--details-file",
        details.to_str().unwrap(),
        "--days",
        "2",
        "--seller-bond-percent",
        "10",
        "--buyer-bond-percent",
        "7.5",
        "--request-id",
        "r",
    ]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(
        node.asked("exchange_offerPost")[0],
        json!({
            "request_id": "r", "dry_run": false, "side": "sell", "currency": "EUR", "price": 6_175_000, "min": 500_000,
            "max": 2_000_000, "methods": ["SEPA instant"], "terms": "", "arbiters": ["ad".repeat(32)], "automatic": true,
            "details": "DE12 3456", "lifetime_s": 172_800, "seller_bond_ppm": 100_000, "buyer_bond_ppm": 75_000,
        })
    );
}

#[test]
fn an_offer_that_is_only_tried_is_shown_without_an_id() {
    let node = Node::answering(&[("exchange_offerPost", |_| Ok(offer(&"00".repeat(32))))]);
    let post = ["offer", "post", "sell", "--currency", "EUR", "--price", "61750", "--min", "0.005", "--max", "0.02"];
    let ran = node.run(&[&post[..], &["--method", "Wise", "--dry-run"]].concat());
    assert!(ran.out.starts_with("The offer is good. Nothing was posted.\n\noffer "), "{ran:?}");
    assert!(!ran.out.contains("0000") && !ran.out.contains("live"), "{ran:?}");
}

#[test]
fn a_maker_is_told_that_he_cannot_fund_what_he_offers() {
    fn holds(spendable: u64) -> Result<Value, ApiError> {
        Ok(json!({ "spendable": spendable, "pending": 0, "in_escrow": 0, "frozen": 0 }))
    }
    let post = ["offer", "post", "sell", "--currency", "EUR", "--price", "61750", "--min", "0.005", "--max", "0.02"];
    let post = [&post[..], &["--method", "Wise"]].concat();
    let poor = Node::answering(&[
        ("exchange_offerPost", |_| Ok(offer(OFFER))),
        ("exchange_walletBalance", |_| holds(2_200_000)),
    ]);
    let poor = poor.run(&post);
    assert_eq!(poor.exit, 0, "{poor:?}");
    assert!(poor.err.contains("can spend 0.022 BTC, and the largest bid locks 0.022 BTC and a fee"), "{poor:?}");
    let rich = Node::answering(&[
        ("exchange_offerPost", |_| Ok(offer(OFFER))),
        ("exchange_walletBalance", |_| holds(2_200_001)),
    ]);
    let rich = rich.run(&post);
    assert_eq!((rich.exit, rich.err.as_str()), (0, ""), "{rich:?}");
}
