//! The commands that the node names in what it says, by the keys that do the same here.

/// How the node begins a command.
const QUOTE: &str = "`exchange-node ";

/// What does the same here. What is not among them only a command does.
const KEYS: &[(&str, &str)] = &[
    ("arbiter rule", "v on screen 4"),
    ("arbiter rule --to", "v on screen 4"),
    ("chat send", "m on screen 4"),
    ("chat show", "m on screen 4"),
    ("identity new", "press i"),
    ("identity unlock", "press i"),
    ("offer list", "screen 1"),
    ("offer revoke", "x on screen 1"),
    ("offer show", "screen 1"),
    ("peers", "screen 6"),
    ("status", "screen 6"),
    ("trade bump", "b on screen 4"),
    ("trade cancel", "c on screen 4"),
    ("trade dispute", "d on screen 4"),
    ("trade fund", "f on screen 4"),
    ("trade list", "screen 4"),
    ("trade release", "r on screen 4"),
    ("trade show", "screen 4"),
    ("wallet address", "screen 5"),
    ("wallet balance", "screen 5"),
    ("wallet bump", "b on screen 5"),
    ("wallet coins", "o on screen 5"),
    ("wallet history", "screen 5"),
    ("wallet unfreeze", "f on screen 5"),
];

/// Returns what the node says with keys in place of the commands that it names.
pub fn as_keys(text: &str) -> String {
    let (mut said, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, quoted)) = rest.split_once(QUOTE) {
        let Some((command, after)) = quoted.split_once('`') else { break };
        said.push_str(before);
        match keys(command) {
            Some(keys) => said.push_str(keys),
            None => said.push_str(&format!("{QUOTE}{command}`")),
        }
        rest = after;
    }
    said.push_str(rest);
    said
}

fn keys(command: &str) -> Option<&'static str> {
    let exact = KEYS.iter().find(|(known, _)| *known == command);
    // What follows a command says what it is about, and here that is selected; with an option it does something else.
    let about = || {
        let is_about = |rest: &str| rest.starts_with(' ') && !rest.contains("--");
        KEYS.iter().find(|(known, _)| command.strip_prefix(*known).is_some_and(is_about))
    };
    exact.or_else(about).map(|(_, keys)| *keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Context, TABLE};

    #[test]
    fn a_command_is_named_by_the_keys_that_do_the_same() {
        for (said, here) in [
            ("see `exchange-node status`", "see screen 6"),
            (
                "if you have paid: `exchange-node trade dispute`; if not: `exchange-node trade cancel`",
                "if you have paid: d on screen 4; if not: c on screen 4",
            ),
            ("look at it: `exchange-node trade show 01010101`", "look at it: screen 4"),
            ("say it: `exchange-node arbiter rule --to`", "say it: v on screen 4"),
        ] {
            assert_eq!(as_keys(said), here);
        }
        for only_there in [
            "`exchange-node trade fund --psbt-out FILE` shows what the escrow must be paid",
            "for 64: `exchange-node identity stake`",
            "an amount, e.g. `0.01`",
            "cut off: `exchange-node status",
            "",
        ] {
            assert_eq!(as_keys(only_there), only_there);
        }
    }

    #[test]
    fn the_keys_that_are_named_are_those_of_the_table() {
        for (command, keys) in KEYS {
            let Some((key, screen)) = keys.split_once(" on screen ") else { continue };
            let context = match screen {
                "1" => Context::Book,
                "4" => Context::Trades,
                "5" => Context::Wallet,
                other => panic!("{command} on {other}"),
            };
            let mut entries = TABLE.iter().filter(|entry| entry.context == context);
            let is_there = entries.any(|entry| entry.keys.iter().any(|known| known.label() == key));
            assert!(is_there, "{command}: {keys}");
        }
    }
}
