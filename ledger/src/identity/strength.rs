//! How hard a password is to guess, for someone who knows the email and has the published identity key to test guesses on.

use zeroize::Zeroizing;

use super::{Email, Password};

/// Fewer guesses than this and the password is refused: at 1 GiB a guess, 10^12 take a thousand GPUs some weeks.
const REFUSED_BELOW: u64 = 1_000_000_000_000;
/// Fewer than this and the user is warned.
const WEAK_BELOW: u64 = 1_000_000_000_000_000;
/// The work of zxcvbn grows faster than its input; what stands beyond this many characters adds no points.
const MAX_CHARS: usize = 128;
/// Shorter pieces of the email are in too many innocent words to count as hints.
const MIN_HINT_CHARS: usize = 3;

/// What a password is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strength {
    /// The estimated number of guesses, at most `u64::MAX` (about 10^19).
    pub guesses: u64,
    /// The decimal logarithm of the estimate, in tenths: 123 stands for 10^12.3.
    pub guesses_log10_tenths: u32,
    /// What to do about it.
    pub verdict: Verdict,
    /// What would make it better, in sentences; empty when strong.
    pub advice: Vec<String>,
}

/// What to do about a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Under 10^12 guesses: no identity is made with it.
    Refused,
    /// Under 10^15 guesses: made after a warning.
    Weak,
    /// Good enough.
    Strong,
}

/// Estimates `password` by zxcvbn, with the parts of `email` as words that an attacker tries first.
///
/// For a *new* identity only. Deriving keys never refuses a password: a later, stricter estimate must not lock anyone out.
pub fn strength(email: &Email, password: &Password) -> Strength {
    let head = Zeroizing::new(password.as_str().chars().take(MAX_CHARS).collect::<String>());
    let hints = hints(email);
    let hints: Vec<&str> = hints.iter().map(|hint| hint.as_str()).collect();
    let estimate = zxcvbn::zxcvbn(&head, &hints);
    let guesses = estimate.guesses();
    let verdict = verdict(guesses);

    let mut advice = Vec::new();
    if verdict < Verdict::Strong {
        if let Some(feedback) = estimate.feedback() {
            advice.extend(feedback.warning().map(|warning| warning.to_string()));
            advice.extend(feedback.suggestions().iter().map(|suggestion| suggestion.to_string()));
        }
        advice.push("Use the generated six-word passphrase, or four or more unrelated words of your own.".into());
    }
    Strength {
        guesses,
        // Not money. The float is positive and small (bounded by MAX_CHARS), so rounding down to tenths is exact enough,
        // and `as` saturates.
        guesses_log10_tenths: (estimate.guesses_log10() * 10.0) as u32,
        verdict,
        advice,
    }
}

fn verdict(guesses: u64) -> Verdict {
    if guesses < REFUSED_BELOW {
        Verdict::Refused
    } else if guesses < WEAK_BELOW {
        Verdict::Weak
    } else {
        Verdict::Strong
    }
}

/// Returns the email, its two halves, and each word in them; their number is bounded by the length of an email.
fn hints(email: &Email) -> Vec<Zeroizing<String>> {
    let (shown_domain, _) = idna::domain_to_unicode(email.domain());
    let whole = [email.as_str(), email.local_part(), email.domain(), &shown_domain];
    let words = [email.local_part(), &shown_domain]
        .into_iter()
        .flat_map(|half| half.split(|c: char| !c.is_alphanumeric()))
        .filter(|word| word.chars().count() >= MIN_HINT_CHARS);
    whole.into_iter().chain(words).map(|hint| Zeroizing::new(hint.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Passphrase;
    use super::*;

    fn judge(email: &str, password: &str) -> Strength {
        strength(&Email::parse(email).unwrap(), &Password::parse(password).unwrap())
    }

    #[test]
    fn the_thresholds_are_ten_to_the_12_and_15() {
        assert_eq!(verdict(999_999_999_999), Verdict::Refused);
        assert_eq!(verdict(1_000_000_000_000), Verdict::Weak);
        assert_eq!(verdict(999_999_999_999_999), Verdict::Weak);
        assert_eq!(verdict(1_000_000_000_000_000), Verdict::Strong);
    }

    #[test]
    fn common_passwords_are_refused_with_advice() {
        for password in
            ["password", "P@ssw0rd123", "correcthorse", "qwertyuiop123456", "2026-11-23", "aaaaaaaaaaaaaaaaaaaa"]
        {
            let strength = judge("alice@example.org", password);
            assert_eq!(strength.verdict, Verdict::Refused, "{password}: {strength:?}");
            assert!(!strength.advice.is_empty());
            assert!(strength.guesses_log10_tenths < 120);
        }
    }

    #[test]
    fn a_password_made_of_the_email_is_worth_little() {
        let password = "zarquonvelt.prandolix";
        assert_eq!(judge("someone@example.org", password).verdict, Verdict::Strong);
        assert_eq!(judge("zarquonvelt.prandolix@example.org", password).verdict, Verdict::Refused);
        assert_eq!(judge("zarquonvelt@prandolix.org", password).verdict, Verdict::Refused);
    }

    #[test]
    fn between_the_two_is_weak() {
        let strength = judge("alice@example.org", "vuxo tobrelm");
        assert_eq!(strength.verdict, Verdict::Weak, "{strength:?}");
        assert!((120..150).contains(&strength.guesses_log10_tenths));
    }

    #[test]
    fn every_generated_passphrase_is_strong() {
        for seed in 0..50u8 {
            let entropy = crate::hash::tagged("test/passphrase", &[&[seed]]);
            let passphrase = Passphrase::from_entropy(&entropy);
            let strength = judge("alice@example.org", passphrase.as_str());
            assert_eq!(strength.verdict, Verdict::Strong, "{}", passphrase.as_str());
            assert!(strength.advice.is_empty());
        }
    }

    #[test]
    fn the_longest_password_is_judged_by_its_head() {
        let head: String = ('a'..='z').cycle().take(MAX_CHARS).collect();
        let long: String = ('a'..='z').cycle().take(1024).collect();
        assert_eq!(judge("a@example.org", &head), judge("a@example.org", &long));
    }
}
