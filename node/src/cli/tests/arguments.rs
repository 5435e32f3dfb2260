//! What is accepted as a command, and what is not.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use super::run;
use crate::cli::{Arguments, Verb};
use crate::config::ChainConfig;

const ID: &str = "1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b1f0c9a3b";
const PEER: &str = "/ip4/127.0.0.1/tcp/9740/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

/// Splits a line as a shell would, as far as single quotes go.
fn words(line: &str) -> Vec<OsString> {
    let quoted = line.split('\'').enumerate();
    let words = quoted.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    std::iter::once("exchange-node".to_owned()).chain(words).map(Into::into).collect()
}

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(words(line))
}

#[test]
fn clap_finds_no_fault_with_the_definition() {
    Arguments::command().debug_assert();
}

#[test]
fn every_verb_is_understood() {
    let lines = [
        "run",
        "run --relay --retention full",
        "run --retention 60",
        "run --relay --max-per-address 96",
        "run --relay --listen /ip4/0.0.0.0/tcp/0 --listen /ip4/0.0.0.0/udp/0/quic-v1",
        "run --network signet --chain core --core-url http://127.0.0.1:38332 --core-cookie /tmp/cookie",
        "run --core-user rpc --core-password-file /tmp/password",
        "run --network mainnet --i-understand-mainnet --core-cookie /tmp/cookie",
        "run --email alice@example.org --password-file /tmp/password --data-dir /tmp/alice --socket /tmp/alice/api.sock --json",
        "demo",
        "demo --serve --data-dir /tmp/demo --json",
        "status",
        "--json status",
        "status --json --data-dir /tmp/alice",
        "peers",
        "peers list",
        "stop",
        "identity new",
        "identity new --email alice@example.org --password-file /tmp/password --secret-key-file /tmp/key",
        "identity unlock",
        "identity unlock --password-file /tmp/password",
        "identity show",
        "identity stake --yes --request-id abc",
        "identity stake --dry-run",
        "identity stakes",
        "wallet address",
        "wallet balance",
        "wallet history --limit 10 --cursor abc",
        "wallet send bcrt1qxyz 0.01 --fee-rate 2 --yes",
        "wallet send bcrt1qxyz all --dry-run",
        "wallet send bcrt1qxyz 0.01 -y --request-id rent-of-may",
        "wallet cancel 4a5e1e4b --target-blocks 1 --dry-run",
        "wallet cancel 4a5e1e4b --fee-rate 40 --allow-high-fee --yes --request-id not-rent",
        "offer post sell --currency EUR --price 61750.00 --min 0.005 --max 0.02 --method 'SEPA instant'",
        "offer post buy --currency EUR --price 61750 --min 0.005 --max 0.02 --method 'SEPA instant' --method Wise \
         --terms 'no reference' --arbiter 1f0c9a3b --automatic --details-file /tmp/details --days 3 --dry-run",
        "offer list",
        "offer show 1f0c9a",
        "offer revoke 1f0c9a3b",
        "book",
        "book --market BTC/EUR --side buy --amount 0.01 --match sepa --all --limit 5",
        "trade take 1f0c9a3b --amount 0.01",
        "trade take 1f0c9a3b --amount 0.01 --arbiter Ada",
        "trade take 1f0c9a3b --amount 0.01 --method 'SEPA instant' --arbiter 1 --details-file /tmp/details --yes",
        "trade accept 1f0c9a3b --details-file /tmp/details",
        "trade list",
        "trade show 1f0c9a3b",
        "trade show 1f0c9a3b --wait closed --timeout 60",
        "trade fund 1f0c9a3b --yes",
        "trade paid 1f0c9a3b --yes",
        "trade release 1f0c9a3b --yes --request-id abc",
        "trade cancel 1f0c9a3b --dry-run",
        "trade refund 1f0c9a3b --yes",
        "arbiter advertise --name Ada --fee-percent 0.5 --max 1.0",
        "arbiter advertise --name Ada --fee-percent 0.5 --max 1 --language en --language de --currency EUR --terms 'by post'",
        "arbiter withdraw",
        "arbiter list",
        "arbiter trust Ada",
        "arbiter untrust 1f0c9a3b",
        "arbiter cases",
        "arbiter cases 1f0c9a3b",
        "arbiter rule 1f0c9a3b --to buyer --dry-run",
        "arbiter rule 1f0c9a3b --to split --buyer-gets 0.004 --yes",
        "arbiter extend 1f0c9a3b --yes",
        "trade dispute 1f0c9a3b --yes",
        "trade disclose 1f0c9a3b --second --dry-run",
        "chat send 1f0c9a3b --to arbiter --text-file -",
        "chat show 1f0c9a3b",
        "trade take 1f0c9a3b --amount 0.01 --second-arbiter Deborah",
        "audit",
        "audit --trade 1f0c9a3b --chain --json",
        "audit --chain --strict",
        "audit --trade 1f0c9a3b --export trade.json",
        "audit verify trade.json",
        "audit --against 12D3KooWGQmdpzHXCqLno4mMxWXKNFQHASBeF99gTm2JR8Vu5Bdc",
        "checkpoint publish",
        "checkpoint publish --age 60",
        "checkpoint list",
        "completions bash",
        "man",
        "man trade take",
    ];
    for line in lines.map(str::to_owned).into_iter().chain([
        format!("run --peer {PEER} --only-peers"),
        format!("peers connect {PEER}"),
        format!("trade show {ID}"),
        format!("audit --author {ID}"),
        format!("audit --chain --after {ID}"),
    ]) {
        if let Err(error) = parse(&line) {
            panic!("{line}\n{error}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    for line in [
        "fly",
        "run --network testnet",
        "run --listen here",
        "run --only-peers",
        "run --retention 59",
        "run --max-per-address 0",
        "run --max-per-address 97",
        "run --retention for-ever",
        "run --relay --email alice@example.org",
        "run --core-cookie /tmp/cookie --core-user rpc",
        "run --core-password-file /tmp/password",
        "run --password secret",
        "identity new --password secret",
        "identity unlock --password secret",
        "wallet send bcrt1qxyz",
        "wallet send bcrt1qxyz 0,01",
        "wallet send bcrt1qxyz 0.000000001",
        "wallet send bcrt1qxyz -1",
        "wallet send bcrt1qxyz 0.01 --fee-rate 0",
        "offer post give --currency EUR --price 1 --min 1 --max 1 --method x",
        "offer post sell --currency euro --price 1 --min 1 --max 1 --method x",
        "offer post sell --currency EUR --price 1 --min 1 --max 1",
        "offer post sell --currency EUR --price 1 --min 1 --max 1 --method x --days 31",
        "offer show 1f0c9",
        "offer show 1F0C9A3B",
        "book --market EUR",
        "trade take 1f0c9a3b",
        "trade show 1f0c9a3b --wait done",
        "trade show 1f0c9a3b --timeout 5",
        "arbiter rule 1f0c9a3b",
        "arbiter rule 1f0c9a3b --to split",
        "chat send 1f0c9a3b --to friend",
        "trade fund",
        "trade fund 1f0c9a3b --request-id ''",
        "arbiter advertise --name Ada --fee-percent half --max 1",
        "audit --author 1f0c9a3b",
        "audit --after 1f0c9a3b",
        "audit --export trade.json",
        "audit --chain --against 12D3KooWGQmdpzHXCqLno4mMxWXKNFQHASBeF99gTm2JR8Vu5Bdc",
        "audit --chain verify trade.json",
        "completions cmd",
    ] {
        match parse(line) {
            Ok(parsed) => panic!("{line}\n{parsed:?}"),
            Err(error) => assert_eq!(error.exit_code(), 2, "{line}"),
        }
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_so_in_json_too() {
    let ran = run(&["trade", "take", "1f0c9a3b", "--amount", "1,5"]);
    assert_eq!((ran.exit, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("`1,5` is not an amount"), "{}", ran.err);
    let ran = run(&["fly", "--json"]);
    assert_eq!((ran.exit, ran.out.as_str()), (2, ""));
    assert_eq!(ran.error()["code"], "usage");
    assert_eq!(ran.error()["message"], "unrecognized subcommand 'fly'");
}

#[test]
fn help_goes_to_stdout_and_explains_every_verb() {
    let ran = run(&["--help"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""));
    let mut root = Arguments::command();
    root.build();
    let mut commands: Vec<&clap::Command> = vec![&root];
    while let Some(command) = commands.pop() {
        let path = command.get_bin_name().unwrap_or_default().to_owned();
        assert!(command.get_about().is_some(), "{path} says nothing about itself");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} is not explained", argument.get_id());
        }
        commands.extend(command.get_subcommands().filter(|command| command.get_name() != "help"));
    }
}

#[test]
fn completions_and_manual_pages_need_no_node() {
    assert!(run(&["completions", "zsh"]).out.contains("exchange-node"));
    assert!(
        run(&["man", "trade", "take"]).out.contains("--dry\\-run")
            || run(&["man", "trade", "take"]).out.contains("dry")
    );
    let unknown = run(&["man", "trade", "fly"]);
    assert_eq!(unknown.exit, 2);
    assert!(unknown.err.contains("trade fly"), "{}", unknown.err);
}

/// Returns the chain of a `run` command, or the text of its error.
fn chain(line: &str) -> Result<String, String> {
    let Verb::Run(run) = parse(&format!("{line} --data-dir /tmp/x")).unwrap().verb else { panic!("{line} is no run") };
    let global = parse(&format!("{line} --data-dir /tmp/x")).unwrap().global;
    match run.config(&global) {
        Ok(config) => Ok(match config.chain {
            ChainConfig::Kernel => "kernel".to_owned(),
            ChainConfig::Core { url, auth } => format!("{url} {auth:?}"),
            ChainConfig::Cbf { peers } => format!("cbf {peers:?}"),
            ChainConfig::Electrum { servers } => {
                let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
                format!("electrum {}", servers.join(" "))
            }
        }),
        Err(failure) => {
            assert_eq!(failure.exit_code(), 2, "{line}");
            Err(failure.text())
        }
    }
}

#[test]
fn the_chain_follows_from_the_network_and_the_core_options() {
    assert_eq!(chain("run").unwrap(), "kernel");
    assert_eq!(chain("run --core-cookie /c").unwrap(), "http://127.0.0.1:18443 Cookie(\"/c\")");
    assert_eq!(chain("run --network signet --core-cookie /c").unwrap(), "http://127.0.0.1:38332 Cookie(\"/c\")");
    assert_eq!(
        chain("run --network mainnet --i-understand-mainnet --core-cookie /c --core-url http://h:1").unwrap(),
        "http://h:1 Cookie(\"/c\")"
    );
    assert_eq!(chain("run --network signet").unwrap(), "cbf []");
    assert_eq!(chain("run --network mainnet --i-understand-mainnet").unwrap(), "cbf []");
    assert_eq!(chain("run --bitcoin-peer 127.0.0.1:18444").unwrap(), "cbf [127.0.0.1:18444]");
    assert_eq!(
        chain("run --electrum-server tcp://[::1]:50001 --electrum-server ssl://h:50002").unwrap(),
        "electrum tcp://[::1]:50001 ssl://h:50002"
    );
    assert_eq!(chain("run --electrum-server tcp://h:50001 --electrum-plaintext").unwrap(), "electrum tcp://h:50001");
    for (line, hint) in [
        ("run --chain cbf", "--bitcoin-peer"),
        ("run --network signet --chain cbf --core-cookie /c", "--chain core"),
        ("run --network signet --core-cookie /c --bitcoin-peer 127.0.0.1:38333", "--chain cbf"),
        ("run --network mainnet --core-cookie /c", "--i-understand-mainnet"),
        ("run --network signet --chain kernel", "--chain core"),
        ("run --chain kernel --core-cookie /c", "--chain core"),
        ("run --chain core", "--core-cookie"),
        ("run --core-user rpc", "EXCHANGE_CORE_PASSWORD"),
        ("run --chain electrum", "--electrum-server"),
        ("run --chain cbf --electrum-server ssl://h:1", "--chain electrum"),
        ("run --core-cookie /c --electrum-server ssl://h:1", "--chain electrum"),
        ("run --chain electrum --electrum-server ssl://h:1 --bitcoin-peer 127.0.0.1:1", "--bitcoin-peer"),
        ("run --electrum-server tcp://h:1", "--electrum-plaintext"),
        ("run --core-user rpc --core-password-file /does/not/exist", "/does/not/exist"),
    ] {
        let text = chain(line).unwrap_err();
        assert!(text.contains(hint), "{line}\n{text}");
    }
}

#[test]
fn a_relay_listens_where_others_find_it() {
    let listen = |line: &str| {
        let parsed = parse(line).unwrap();
        let Verb::Run(run) = parsed.verb else { panic!("{line} is no run") };
        run.config(&parsed.global).unwrap().listen.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listen("run --relay --data-dir /tmp/x"), ["/ip4/0.0.0.0/tcp/9740", "/ip4/0.0.0.0/udp/9740/quic-v1"]);
    assert_eq!(listen("run --data-dir /tmp/x"), ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"]);
    assert_eq!(listen("run --data-dir /tmp/x --listen /ip4/127.0.0.1/tcp/1"), ["/ip4/127.0.0.1/tcp/1"]);
}
