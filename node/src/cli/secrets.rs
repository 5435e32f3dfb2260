//! Passwords and payment details: from a file, the environment or a prompt, never from an argument, which everybody on the
//! machine can read.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use crate::cli::context::Context;
use crate::cli::failure::Failure;

/// The password of the identity.
pub const PASSWORD_VARIABLE: &str = "EXCHANGE_PASSWORD";
/// The password of Bitcoin Core's RPC.
pub const CORE_PASSWORD_VARIABLE: &str = "EXCHANGE_CORE_PASSWORD";
/// Payment details.
const DETAILS_VARIABLE: &str = "EXCHANGE_DETAILS";
/// The largest secret file: the longest password and the longest payment details are below.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// A secret text, wiped after use.
pub type Secret = Zeroizing<String>;

/// Where payment details come from.
#[derive(Debug, Clone, Args)]
pub struct DetailsArgs {
    /// A file with your payment details, e.g. name and IBAN; only the counterparty gets them, sealed [else: $EXCHANGE_DETAILS]
    #[arg(long, value_name = "FILE")]
    pub details_file: Option<PathBuf>,
}

impl DetailsArgs {
    /// Returns the payment details: of the file, else of the environment, else what the user types when somebody is there
    /// and `question` is asked, else none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, question: Option<&str>, context: &mut Context<'_>) -> Result<String, Failure> {
        if let Some(given) = given(self.details_file.as_deref(), DETAILS_VARIABLE)? {
            return Ok(given.to_string());
        }
        match question {
            Some(question) if context.console.is_interactive => {
                Ok(context.console.ask_line(question)?.unwrap_or_default())
            }
            Some(_) | None => Ok(String::new()),
        }
    }
}

/// Returns the secret of the file, else that of the environment variable, if there is either.
///
/// # Errors
/// When the file cannot be read.
pub fn given(file: Option<&Path>, variable: &str) -> Result<Option<Secret>, Failure> {
    match (file, std::env::var(variable)) {
        (Some(file), _) => read_file(file).map(Some),
        (None, Ok(value)) => Ok(Some(Zeroizing::new(value))),
        (None, Err(std::env::VarError::NotPresent)) => Ok(None),
        (None, Err(std::env::VarError::NotUnicode(_))) => {
            Err(Failure::usage(format!("{variable} is not UTF-8"), "set it again, or use a file"))
        }
    }
}

/// Returns the text of a file without its one trailing line end.
///
/// # Errors
/// When it cannot be read, is too large or is no text.
pub fn read_file(path: &Path) -> Result<Secret, Failure> {
    let cannot = |why: String| {
        Failure::usage(format!("cannot read {}: {why}", path.display()), "check the path and its permissions")
    };
    let file = std::fs::File::open(path).map_err(|error| cannot(error.to_string()))?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| cannot(error.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(cannot(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Asks for a password without showing it.
///
/// # Errors
/// When the terminal cannot be read.
pub fn prompt(question: &str) -> Result<Secret, Failure> {
    rpassword::prompt_password(format!("{question} "))
        .map(Zeroizing::new)
        .map_err(|error| Failure::refused(format!("the password cannot be read: {error}"), "use --password-file"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn one_line_end_is_stripped_and_nothing_else() {
        for (content, secret) in [
            ("six words", "six words"),
            ("six words\n", "six words"),
            ("six words\r\n", "six words"),
            ("six words \n\n", "six words \n"),
            ("", ""),
        ] {
            assert_eq!(read_file(file(content.as_bytes()).path()).unwrap().as_str(), secret, "{content:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused_without_showing_it() {
        for content in [vec![0xff, 0xfe], vec![b'x'; 20_000]] {
            let failure = read_file(file(&content).path()).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(!failure.text().contains("xxx"));
        }
        assert!(read_file(Path::new("/does/not/exist")).unwrap_err().text().contains("/does/not/exist"));
    }
}
