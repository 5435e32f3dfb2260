//! The first run, and unlocking.

use crossterm::event::KeyCode;
use exchange_api::{ApiError, Code, IdentityState, Page};
use exchange_tui::message::{Answer, Call, CallName, Command, Password, Query, Reply};
use exchange_tui::theme::Theme;

use crate::common::{User, offers, only_call, reply};

#[test]
fn the_first_run_makes_an_identity_of_the_suggested_words() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    assert!(matches!(only_call(&mut user), Call::Passphrase));
    let words = zeroize::Zeroizing::new("crane opera velvet".to_owned());
    reply(&mut user, CallName::Passphrase, Ok(Reply::Passphrase(Password(words))));
    user.keys("ann@example.org\t\tcrane opera\t\n");
    assert!(user.taken_commands().is_empty(), "the words differ");
    assert!(user.screen(80, 24).contains("not the same as above"));
    user.keys(" velvet\t\n");
    let Call::Create(credentials) = only_call(&mut user) else { panic!("not created") };
    assert_eq!((credentials.email.as_str(), credentials.password.as_str()), ("ann@example.org", "crane opera velvet"));
    assert!(!format!("{:?}", user.app).contains("crane"), "a password in Debug");
}

#[test]
fn an_own_password_is_judged_once_the_user_pauses() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    user.taken_commands();
    user.keys("ann@example.org\t");
    user.key(KeyCode::Right);
    user.keys("\tcorrect horse");
    user.tick(2);
    user.keys(" battery");
    user.tick(3);
    assert!(user.taken_commands().iter().all(|command| !matches!(command, Command::Call(_))), "still typing");
    user.tick(2);
    let Call::Strength(credentials) = only_call(&mut user) else { panic!("not judged") };
    assert_eq!(credentials.password, "correct horse battery");
}

#[test]
fn other_words_are_suggested_to_whoever_wants_words() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    user.taken_commands();
    assert!(user.screen(80, 24).contains("Ctrl-N another passphrase"));
    user.ctrl('n');
    assert!(matches!(only_call(&mut user), Call::Passphrase));
    user.keys("\t");
    user.key(KeyCode::Right);
    assert!(!user.screen(80, 24).contains("another passphrase"));
    user.ctrl('n');
    assert!(user.taken_commands().is_empty(), "he has chosen a password of his own");
}

#[test]
fn while_the_keys_are_made_nothing_is_asked_and_no_key_is_named_that_does_nothing() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    let words = zeroize::Zeroizing::new("crane opera velvet".to_owned());
    reply(&mut user, CallName::Passphrase, Ok(Reply::Passphrase(Password(words))));
    user.keys("ann@example.org\t\tcrane opera velvet\t\n");
    assert!(user.taken_commands().iter().any(|command| matches!(command, Command::Call(Call::Create(_)))));
    user.keys("\n\tx");
    user.key(KeyCode::Esc);
    user.ctrl('n');
    assert!(user.taken_commands().is_empty(), "no other words than those that he has written down");
    let screen = user.screen(80, 24);
    assert!(screen.contains("Making your keys") && !screen.contains("Ctrl-T"), "{screen}");
    assert!(screen.contains("another passphrase: your keys are being made"), "{screen}");
}

#[test]
fn a_relay_skips_the_identity_and_watches() {
    let mut user = User::new(Theme::Colour, IdentityState::None);
    user.key(KeyCode::Esc);
    user.answer(Query::Book, Answer::Book(Page { items: offers(), next: None }));
    assert!(user.screen(80, 24).contains("61,750.00 EUR"));
    user.keys("t");
    assert!(user.screen(80, 24).contains("needs your identity"));
    user.keys("4");
    assert!(user.screen(80, 24).contains("Your trades belong to your identity."), "{}", user.screen(80, 24));
    user.keys("1i");
    assert!(user.screen(80, 24).contains("Welcome"));
}

#[test]
fn a_wrong_password_can_be_corrected() {
    let mut user = User::new(Theme::Colour, IdentityState::Locked);
    user.keys("secre\n");
    assert!(matches!(only_call(&mut user), Call::Unlock(password) if password.0.as_str() == "secre"));
    reply(&mut user, CallName::Unlock, Err(ApiError::new(Code::WrongPassword, "wrong", "")));
    user.keys("t\n");
    assert!(matches!(only_call(&mut user), Call::Unlock(password) if password.0.as_str() == "secret"));
}
