//! The first run and the unlocking.

use exchange_api::StrengthVerdict;

pub const CREATE_TITLE: &str = "Welcome";
pub const CREATE_INTRO: &str = "To trade you need an identity. It is made of an email and a password, on this machine: \
                                neither ever leaves it, and nobody can reset them for you. With the same two you get \
                                the same identity and coins back on any machine.";
pub const EMAIL: &str = "Email";
pub const EMAIL_HINT: &str = "never sent anywhere";
pub const KIND: &str = "Protect by";
pub const KINDS: [&str; 2] = ["six random words", "a password of my own"];
pub const PASSPHRASE_NOTE: &str = "Write these words on paper, then type them above. Ctrl-N suggests others.";
pub const PASSWORD: &str = "Password";
pub const AGAIN: &str = "Once more";
pub const AGAIN_HINTS: [&str; 2] = ["type the six words below", "type it again"];
pub const CREATE_BUTTON: &str = "Create my identity";
pub const UNLOCK_TITLE: &str = "Welcome back";
pub const UNLOCK_INTRO: &str = "Your identity is locked. Its password opens it.";
pub const UNLOCK_BUTTON: &str = "Unlock";
pub const SKIP_NOTE: &str = "Esc: only watch the book for now. To come back: press i.";
pub const BAD_EMAIL: &str = "an email, e.g. ann@example.org";
pub const NO_PASSWORD: &str = "needed";
pub const GUESSABLE: &str = "too easy to guess";
pub const DIFFERS: &str = "not the same as above";
pub const WRONG_PASSWORD: &str = "this password does not open it; try again";
pub const WELCOME: &str = "Your identity is ready.";
pub const DERIVING: &str = "Making your keys";
pub const DERIVING_NOTE: &str = "This takes about ten seconds and a gigabyte of memory on purpose: whoever wants to guess \
                                 your password must spend as much on every guess.";
pub const JUDGING: &str = "judging…";

/// Says how good a password is.
pub const fn verdict(verdict: StrengthVerdict) -> &'static str {
    match verdict {
        StrengthVerdict::Refused => "too weak",
        StrengthVerdict::Weak => "just enough",
        StrengthVerdict::Strong => "strong",
    }
}
