//! Why a command failed: what to say, what to do, and the exit code.

use exchange_api::{ApiError, Code, ConnectError};
use jsonrpsee::core::ClientError;
use serde::Serialize;

use crate::cli::format::clean;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
    hint: String,
    request_id: Option<String>,
}

/// What kind of failure, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The arguments make no sense.
    Usage,
    /// The user said no.
    Declined,
    /// What was waited for did not come.
    TimedOut,
    /// An audit found something wrong.
    Violated,
    /// This program, or the node that it runs, could not go on.
    Refused,
    /// The node said no.
    Api(Code),
}

/// A failure as `--json` shows it on stderr, under the key `error`.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    code: &'static str,
    message: &'a str,
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Failure {
    /// Returns that the arguments make no sense.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message, hint)
    }

    /// Returns that the user said no.
    pub fn declined() -> Self {
        Self::new(Kind::Declined, "nothing was done", "")
    }

    /// Returns that what was waited for did not come.
    pub fn timed_out(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::TimedOut, message, hint)
    }

    /// Returns that an audit found something wrong.
    pub fn violated(message: impl Into<String>) -> Self {
        Self::new(Kind::Violated, message, "")
    }

    /// Returns that this program could not do what it was asked.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message, hint)
    }

    fn new(kind: Kind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: hint.into(), request_id: None }
    }

    /// Names the request, so that the user can repeat it without doing it twice.
    pub fn of_request(mut self, request_id: &str) -> Self {
        self.request_id = Some(request_id.to_owned());
        self
    }

    /// Returns the exit code: 1 refused or violated, 2 wrong usage, 3 node not reachable.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Declined | Kind::TimedOut | Kind::Violated | Kind::Refused => 1,
            Kind::Api(code) => ApiError::new(code, "", "").exit_code(),
        }
    }

    /// Returns what `--json` shows.
    pub fn shown(&self) -> Shown<'_> {
        let code = match self.kind {
            Kind::Usage => "usage",
            Kind::Declined => "declined",
            Kind::TimedOut => "timed_out",
            Kind::Violated => "violated",
            Kind::Refused => "refused",
            Kind::Api(code) => code.name(),
        };
        Shown { code, message: &self.message, hint: &self.hint, request_id: self.request_id.as_deref() }
    }

    /// Returns what a person is told. A reason can hold the words of a server, a file or a peer.
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", clean(&self.message));
        if !self.hint.is_empty() {
            text.push_str(&format!("  {}\n", clean(&self.hint)));
        }
        if let Some(id) = &self.request_id {
            text.push_str(&format!("  to repeat it without doing it twice: --request-id {id}\n"));
        }
        text
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(Kind::Api(error.code), error.message, error.hint)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        ApiError::from(error).into()
    }
}

/// What the node itself fails with already says what to do.
impl From<color_eyre::Report> for Failure {
    fn from(report: color_eyre::Report) -> Self {
        match report.downcast::<ApiError>() {
            Ok(error) => error.into(),
            Err(report) => Self::refused(format!("{report:#}"), ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_forges_nothing_on_the_terminal() {
        let failure = Failure::refused("it said: \u{1b}[2Jsent\u{202e}", "ask\u{200b} another");
        assert_eq!(failure.text(), "error: it said: \u{fffd}[2Jsent\u{fffd}\n  ask\u{fffd} another\n");
    }
}
