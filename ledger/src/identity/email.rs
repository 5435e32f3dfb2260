//! The email of an identity, in the one spelling that every machine derives the same keys from.

use std::fmt;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// A normalised email: trimmed, NFKC, lower case, its domain in ASCII (UTS-46).
///
/// It salts the key derivation and is shown to its owner; it never leaves the machine, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(Zeroizing<String>);

/// A text that is not a usable email address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmailError {
    /// Longer than any address can be.
    #[error("the email is too long: at most 64 bytes before the `@` and 254 in all")]
    TooLong,
    /// No `@`, or more than one.
    #[error("the email needs exactly one `@`, as in name@example.org")]
    NotOneAt,
    /// The part before the `@` is empty, or has a dot at an end or two in a row.
    #[error("the part of the email before the `@` is empty or has a misplaced dot: check it")]
    BadLocalPart,
    /// The part before the `@` has a space, a quote, a control or an unassigned character.
    #[error("the part of the email before the `@` has a character that is not allowed: check it")]
    BadCharacter,
    /// The part after the `@` is not an internet domain.
    #[error("the part of the email after the `@` is not a domain such as example.org: check it")]
    BadDomain,
}

impl Email {
    /// RFC 5321, section 4.5.3.1.1.
    const MAX_LOCAL: usize = 64;
    /// RFC 5321, section 4.5.3.1.3, less the two angle brackets.
    pub(super) const MAX: usize = 254;
    /// Bounds the work of normalising: more than any address takes before NFKC shortens it.
    const MAX_RAW: usize = 1024;

    /// Parses and normalises `text`.
    ///
    /// # Errors
    /// Returns an [`EmailError`] when `text` is not an address of the dot-atom form of RFC 5322 and RFC 6531 in a domain.
    /// Characters unassigned in Unicode are refused, because a later Unicode version could normalise them differently
    /// and thereby change the keys.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.len() > Self::MAX_RAW {
            return Err(EmailError::TooLong);
        }
        // Lower-casing can undo NFKC, so it is applied again: parsing a parsed email changes nothing.
        let text = Zeroizing::new(text.nfkc().collect::<String>().to_lowercase().nfkc().collect::<String>());
        let (local, domain) = text.split_once('@').ok_or(EmailError::NotOneAt)?;
        if domain.contains('@') {
            return Err(EmailError::NotOneAt);
        }
        check_local(local)?;
        // UTS-46 in idna 1.x is always non-transitional: `straße.de` and `strasse.de` are two domains.
        let domain = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| EmailError::BadDomain)?;
        // `name@gmail` is a typing error, and a typing error in an email is another identity.
        if !domain.contains('.') {
            return Err(EmailError::BadDomain);
        }
        let email = Zeroizing::new(format!("{local}@{domain}"));
        if email.len() > Self::MAX {
            return Err(EmailError::TooLong);
        }
        Ok(Self(email))
    }

    /// Returns the normalised address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split_once('@').expect("parse requires an `@`").0
    }

    /// Returns what stands after the `@`, in ASCII.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').expect("parse requires an `@`").1
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(redacted)")
    }
}

/// Checks the dot-atom form: `atext` of RFC 5322 or non-ASCII letters, in parts joined by single dots.
fn check_local(local: &str) -> Result<(), EmailError> {
    if local.len() > Email::MAX_LOCAL {
        return Err(EmailError::TooLong);
    }
    if local.split('.').any(str::is_empty) {
        return Err(EmailError::BadLocalPart);
    }
    let allowed = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    if !local.chars().all(allowed) || UsernameCaseMapped::enforce(local).is_err() {
        return Err(EmailError::BadCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_address_are_one_email() {
        for (typed, normal) in [
            ("alice@example.org", "alice@example.org"),
            ("  Alice@EXAMPLE.org\n", "alice@example.org"),
            ("Alice+Trading@Example.ORG", "alice+trading@example.org"),
            ("ａｌｉｃｅ＠ｅｘａｍｐｌｅ．ｏｒｇ", "alice@example.org"),
            ("jose\u{301}@example.org", "jos\u{e9}@example.org"),
            ("JOSÉ@example.org", "jos\u{e9}@example.org"),
            ("bob@Bücher.example", "bob@xn--bcher-kva.example"),
            ("bob@XN--BCHER-KVA.example", "bob@xn--bcher-kva.example"),
            ("bob@faß.de", "bob@xn--fa-hia.de"),
            ("T\u{308}om@example.org", "\u{1e97}om@example.org"), // composed only once in lower case
            ("ΟΔΟΣ@example.gr", "οδος@example.gr"),
            ("bob@例え。テスト", "bob@xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(Email::parse(typed).unwrap().as_str(), normal, "{typed}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_named() {
        use EmailError::*;
        let long_local = format!("{}@example.org", "a".repeat(65));
        let long_domain = format!("a@{}", ["d".repeat(60).as_str(); 5].join("."));
        let huge = format!("{}@example.org", "a".repeat(5000));
        for (typed, error) in [
            ("", NotOneAt),
            ("alice", NotOneAt),
            ("a@b@example.org", NotOneAt),
            ("a＠b@example.org", NotOneAt),
            ("@example.org", BadLocalPart),
            (".a@example.org", BadLocalPart),
            ("a.@example.org", BadLocalPart),
            ("a..b@example.org", BadLocalPart),
            ("a b@example.org", BadCharacter),
            ("a\u{a0}b@example.org", BadCharacter),
            ("a\u{200b}b@example.org", BadCharacter),
            ("\"a\"@example.org", BadCharacter),
            ("a\u{0}b@example.org", BadCharacter),
            ("a\u{378}b@example.org", BadCharacter), // unassigned
            ("a@", BadDomain),
            ("a@localhost", BadDomain),
            ("a@example..org", BadDomain),
            ("a@example.org.", BadDomain),
            ("a@-example.org", BadDomain),
            ("a@exa_mple.org", BadDomain),
            ("a@[127.0.0.1]", BadDomain),
            (&long_domain, BadDomain),
            (&long_local, TooLong),
            (&huge, TooLong),
        ] {
            assert_eq!(Email::parse(typed), Err(error), "{typed:.80}");
        }
    }

    #[test]
    fn the_parts_are_the_parts_and_debug_tells_nothing() {
        let email = Email::parse("alice.b@example.org").unwrap();
        assert_eq!((email.local_part(), email.domain()), ("alice.b", "example.org"));
        assert!(!format!("{email:?}").contains("alice"));
    }

    proptest! {
        #[test]
        fn a_parsed_email_parses_to_itself(local in "\\PC{1,20}", domain in "\\PC{1,12}\\.[a-z]{2,4}") {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
                prop_assert!(email.as_str().len() <= Email::MAX);
            }
        }

        #[test]
        fn case_and_surrounding_space_do_not_matter(local in "[a-zA-Z0-9éèüñ+_-]{1,20}") {
            let typed = Email::parse(&format!("{local}@Example.org"));
            prop_assert!(typed.is_ok());
            prop_assert_eq!(&typed, &Email::parse(&format!(" {}@EXAMPLE.ORG\t", local.to_uppercase())));
        }
    }
}
