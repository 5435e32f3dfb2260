//! Before one can trade: the first run, which makes an identity of an email and a password, and the unlocking.

use exchange_api::{Credentials, IdentityState, PasswordStrength, StrengthVerdict};
use zeroize::Zeroizing;

use super::TICKS_PER_SECOND;
use crate::form::{Field, Form};
use crate::message::{Call, Password};
use crate::words;

/// The email.
pub const EMAIL: usize = 0;
/// Whether to use a generated passphrase.
pub const KIND: usize = 1;
/// One's own password.
pub const PASSWORD: usize = 2;
/// The password once more.
pub const AGAIN: usize = 3;

/// How long the user must pause before the password is judged.
const STRENGTH_PAUSE: u64 = TICKS_PER_SECOND / 2;

/// The first run and the unlocking.
#[derive(Debug)]
pub struct Gate {
    /// The form of the first run.
    pub create: Form,
    /// The form to unlock.
    pub unlock: Form,
    /// Whether the user wants to watch only.
    pub skipped: bool,
    /// The suggested passphrase.
    pub passphrase: Option<Password>,
    /// How good the typed password is; `None` while that is not known.
    pub strength: Option<PasswordStrength>,
    /// Whether passwords are shown.
    pub revealed: bool,
    stage: Stage,
    strength_due: Option<u64>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Nothing is known yet, or nothing is to be asked.
    #[default]
    Open,
    /// An email and a password for a new identity.
    Create,
    /// The password.
    Unlock,
    /// The keys are being derived.
    Deriving,
}

impl Default for Gate {
    fn default() -> Self {
        let kinds = words::gate::KINDS.map(str::to_owned).to_vec();
        let mut create = Form::new(
            words::gate::CREATE_BUTTON,
            vec![
                Field::text(words::gate::EMAIL, "", words::gate::EMAIL_HINT),
                Field::choice(words::gate::KIND, kinds, ""),
                Field::secret(words::gate::PASSWORD, ""),
                Field::secret(words::gate::AGAIN, words::gate::AGAIN_HINTS[0]),
            ],
        );
        create.fields[PASSWORD].shown = false;
        let unlock = Form::new(words::gate::UNLOCK_BUTTON, vec![Field::secret(words::gate::PASSWORD, "")]);
        Self {
            create,
            unlock,
            skipped: false,
            passphrase: None,
            strength: None,
            revealed: false,
            stage: Stage::Open,
            strength_due: None,
        }
    }
}

impl Gate {
    /// Takes in the identity's state; returns what to ask the node for.
    pub fn observe(&mut self, identity: &IdentityState) -> Option<Call> {
        let before = self.stage;
        self.stage = match identity {
            IdentityState::None => Stage::Create,
            IdentityState::Locked => Stage::Unlock,
            IdentityState::Deriving => Stage::Deriving,
            IdentityState::Unlocked { .. } => Stage::Open,
        };
        if self.stage == Stage::Open && before != Stage::Open {
            // Passwords are kept no longer than they are needed.
            *self = Self { stage: Stage::Open, ..Self::default() };
        }
        (self.stage == Stage::Create && self.passphrase.is_none() && before != Stage::Create)
            .then_some(Call::Passphrase)
    }

    /// Returns what is asked.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Tells whether it fills the screen.
    pub fn is_shown(&self, identity: Option<&IdentityState>) -> bool {
        identity.is_some() && self.stage != Stage::Open && (!self.skipped || self.stage == Stage::Deriving)
    }

    /// Returns the form.
    pub fn form(&self) -> Option<&Form> {
        match self.stage {
            Stage::Create => Some(&self.create),
            Stage::Unlock => Some(&self.unlock),
            Stage::Open | Stage::Deriving => None,
        }
    }

    /// Returns the form.
    pub fn form_mut(&mut self) -> Option<&mut Form> {
        match self.stage {
            Stage::Create => Some(&mut self.create),
            Stage::Unlock => Some(&mut self.unlock),
            Stage::Open | Stage::Deriving => None,
        }
    }

    /// Tells whether anything was typed.
    pub fn has_text(&self) -> bool {
        self.create.has_text() || self.unlock.has_text()
    }

    /// Tells whether the suggested passphrase is to be used.
    pub fn uses_passphrase(&self) -> bool {
        self.create.fields[KIND].chosen() == 0
    }

    fn password(&self) -> &str {
        match &self.passphrase {
            Some(passphrase) if self.uses_passphrase() => &passphrase.0,
            Some(_) | None => self.create.fields[PASSWORD].value(),
        }
    }

    /// Takes in that something was typed or chosen.
    pub fn changed(&mut self, ticks: u64) {
        let own = !self.uses_passphrase();
        self.create.fields[PASSWORD].shown = own;
        self.create.fields[AGAIN].hint = words::gate::AGAIN_HINTS[usize::from(own)].to_owned();
        self.strength = None;
        self.strength_due = (own && !self.password().is_empty()).then_some(ticks + STRENGTH_PAUSE);
    }

    /// Returns the call that judges the password, once the user has paused.
    pub fn due_strength(&mut self, ticks: u64) -> Option<Call> {
        self.strength_due.take_if(|due| *due <= ticks)?;
        (self.stage == Stage::Create).then(|| Call::Strength(self.credentials()))
    }

    fn credentials(&self) -> Credentials {
        Credentials {
            email: self.create.fields[EMAIL].value().trim().to_owned(),
            password: self.password().to_owned(),
            secret_key: None,
        }
    }

    /// Checks the form, marks what is wrong, and returns the call when nothing is.
    pub fn submit(&mut self) -> Option<Call> {
        match self.stage {
            Stage::Create => self.submit_create(),
            Stage::Unlock => {
                let typed = self.unlock.fields[0].value();
                if typed.is_empty() {
                    self.unlock.refuse(0, words::gate::NO_PASSWORD);
                    self.unlock.focus = Some(0);
                    return None;
                }
                Some(Call::Unlock(Password(Zeroizing::new(typed.to_owned()))))
            }
            Stage::Open | Stage::Deriving => None,
        }
    }

    fn submit_create(&mut self) -> Option<Call> {
        for field in &mut self.create.fields {
            field.error = None;
        }
        let email = self.create.fields[EMAIL].value().trim();
        let plausible = email.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
        let (missing, differs) = (self.password().is_empty(), self.password() != self.create.fields[AGAIN].value());
        let refused = self.strength.as_ref().is_some_and(|strength| strength.verdict == StrengthVerdict::Refused);
        if !plausible {
            self.create.refuse(EMAIL, words::gate::BAD_EMAIL);
        }
        if missing {
            self.create.refuse(if self.uses_passphrase() { KIND } else { PASSWORD }, words::gate::NO_PASSWORD);
        } else if refused && !self.uses_passphrase() {
            self.create.refuse(PASSWORD, words::gate::GUESSABLE);
        }
        if differs {
            self.create.refuse(AGAIN, words::gate::DIFFERS);
        }
        self.create.is_right().then(|| Call::Create(self.credentials()))
    }
}
