//! Random keys at random sizes: nothing panics, and nothing moves money without a yes.
#![allow(clippy::unwrap_used)]

mod common;

use common::User;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use exchange_api::IdentityState;
use exchange_tui::message::{Call, Command, Message};
use exchange_tui::theme::Theme;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        8 => prop::sample::select("123456abcfgijkoprstwxy/?0.,@ äß字\u{301}".chars().collect::<Vec<_>>()).prop_map(KeyCode::Char),
        2 => any::<char>().prop_map(KeyCode::Char),
        8 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab, KeyCode::Up, KeyCode::Down, KeyCode::Left,
            KeyCode::Right, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End, KeyCode::Backspace,
            KeyCode::Delete, KeyCode::F(1), KeyCode::Null,
        ]),
    ];
    let modifiers =
        prop_oneof![8 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL), 1 => Just(KeyModifiers::SHIFT)];
    (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

/// Presses keys and draws now and then; returns what was asked of the node.
fn press(user: &mut User, keys: Vec<KeyEvent>, sizes: &[(u16, u16)]) {
    for (at, key) in keys.into_iter().enumerate() {
        user.send(Message::Key(key));
        user.send(Message::Tick);
        let (width, height) = sizes[at % sizes.len()];
        user.screen(width, height);
    }
}

fn sizes() -> impl Strategy<Value = Vec<(u16, u16)>> {
    prop::collection::vec((1u16..=200, 1u16..=60), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_trader_s_keys_never_panic(keys in prop::collection::vec(key(), 1..80), sizes in sizes(), mono in any::<bool>()) {
        let mut user = User::trading();
        if mono {
            user.app.theme = Theme::Mono;
        }
        press(&mut user, keys, &sizes);
    }

    #[test]
    fn a_newcomer_s_keys_never_panic(keys in prop::collection::vec(key(), 1..80), sizes in sizes(), locked in any::<bool>()) {
        let state = if locked { IdentityState::Locked } else { IdentityState::None };
        press(&mut User::new(Theme::Colour, state), keys, &sizes);
    }

    #[test]
    fn what_is_typed_in_one_go_as_a_paste_is_moves_no_money(
        codes in prop::collection::vec(
            prop::sample::select("12345\n\t abcdfjkprtwsxy".chars().collect::<Vec<_>>()), 1..60
        ),
    ) {
        let mut user = User::trading();
        for c in codes {
            user.keys(&c.to_string());
        }
        let moves = user.taken_commands().into_iter().any(|command| matches!(
            command,
            Command::Call(
                Call::Take(_)
                    | Call::Accept(_)
                    | Call::Trade(..)
                    | Call::Send(_)
                    | Call::Bump(_)
                    | Call::Cancel(_)
                    | Call::Post(_)
                    | Call::Withdraw(_)
                    | Call::Disclose(_)
                    | Call::Say(_)
            )
        ));
        prop_assert!(!moves);
    }
}
