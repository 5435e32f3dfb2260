//! What is printed: one answer on stdout, as a text or as one JSON document; failures on stderr.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::cli::context::Console;
use crate::cli::failure::Failure;

/// What a verb answers, for programs and for people.
#[derive(Debug)]
pub struct Answer {
    document: Option<serde_json::Value>,
    text: String,
    /// What makes the command fail although it has an answer, e.g. what an audit found.
    failure: Option<Failure>,
}

impl Answer {
    /// Returns an answer: `document` with `--json`, `text` without.
    pub fn new(document: &impl Serialize, text: impl Into<String>) -> Self {
        let document = serde_json::to_value(document).expect("the API's types have text keys and no failing fields");
        Self { document: Some(document), text: text.into(), failure: None }
    }

    /// Returns a text that is the same for programs and for people, e.g. a script of completions.
    pub fn raw(text: impl Into<String>) -> Self {
        Self { document: None, text: text.into(), failure: None }
    }

    /// Returns an answer that has been printed already.
    pub fn printed() -> Self {
        Self::raw("")
    }

    /// Makes the command fail after its answer is printed.
    pub fn failing(mut self, failure: Failure) -> Self {
        self.failure = Some(failure);
        self
    }
}

/// Prints what came of a command; returns the exit code.
pub fn report(outcome: Result<Answer, Failure>, json: bool, console: &mut Console) -> u8 {
    let failure = match outcome {
        Ok(answer) => {
            let written = match &answer.document {
                Some(document) if json => print_document(document, console),
                Some(_) | None => print(&mut console.out, &answer.text),
            };
            written.err().or(answer.failure)
        }
        Err(failure) => Some(failure),
    };
    failure.map_or(0, |failure| {
        complain(&failure, json, console);
        failure.exit_code()
    })
}

/// Prints what is wrong with the arguments, or the help that they ask for; returns the exit code.
pub fn report_parsing(error: &clap::Error, json: bool, console: &mut Console) -> u8 {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return match print(&mut console.out, &text) {
            Ok(()) => 0,
            Err(failure) => failure.exit_code(),
        };
    }
    if json {
        // The first paragraph says what is wrong; the rest is usage for people.
        let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        complain(&Failure::usage(message, "see --help"), true, console);
    } else {
        say(console, text);
    }
    // Clap's own code for usage errors, which is ours too.
    2
}

/// Prints one JSON document on a line of its own.
///
/// # Errors
/// When stdout cannot be written, unless its reader has gone.
pub fn print_document(document: &impl Serialize, console: &mut Console) -> Result<(), Failure> {
    let line = serde_json::to_string(document).expect("the API's types have text keys and no failing fields");
    print(&mut console.out, &format!("{line}\n"))
}

/// Says something to the person in front of the terminal, on stderr.
pub fn say(console: &mut Console, text: impl Display) {
    // Nobody is left to be told when stderr is gone.
    write!(console.err, "{text}").and_then(|()| console.err.flush()).ok();
}

fn complain(failure: &Failure, json: bool, console: &mut Console) {
    if json {
        say(console, format_args!("{}\n", serde_json::json!({ "error": failure.shown() })));
    } else {
        say(console, failure.text());
    }
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // The reader, e.g. `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(unwritable(&error)),
    }
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::refused(
        format!("the command was done, but its answer cannot be written: {error}"),
        "free some space, then ask again with the matching list or show",
    )
}

/// A table with aligned columns.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// Returns a table with these titles; the columns in `right` hold numbers and are aligned to the right.
    pub fn new(titles: &[&str], right: &'static [usize]) -> Self {
        Self { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()], right }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Returns the table as text, or `empty` and a line end when it has no rows.
    pub fn render(&self, empty: &str) -> String {
        if self.rows.len() == 1 {
            return format!("{empty}\n");
        }
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.width());
                let gap = if column == 0 { "" } else { "  " };
                let (before, after) =
                    if self.right.contains(&column) { (padding.as_str(), "") } else { ("", padding.as_str()) };
                line.extend([gap, before, cell, after]);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Lines of a name and a value, aligned: what `show` verbs print.
#[derive(Debug, Default)]
pub struct Lines(Vec<(&'static str, String)>);

impl Lines {
    /// Adds a line. An empty name continues the one above.
    pub fn line(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        self.0.push((name, value.into()));
        self
    }

    /// Adds a line if there is a value.
    pub fn maybe(&mut self, name: &'static str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.line(name, value);
        }
        self
    }

    /// Returns the lines as text. A value of several lines is indented.
    pub fn render(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.0 {
            let value = value.replace('\n', &format!("\n{:width$}  ", ""));
            let line = format!("{name:width$}  {value}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_script() {
        let mut table = Table::new(&["ID", "PRICE", "NOTE"], &[1]);
        table.row(["ab".to_owned(), "1.00".to_owned(), "日本".to_owned()]);
        table.row(["abc".to_owned(), "12.00".to_owned(), "x".to_owned()]);
        insta::assert_snapshot!(table.render("none"), @r"
        ID   PRICE  NOTE
        ab    1.00  日本
        abc  12.00  x
        ");
        assert_eq!(Table::new(&["ID"], &[]).render("no offers"), "no offers\n");
    }

    #[test]
    fn long_values_are_indented_under_their_first_line() {
        let mut lines = Lines::default();
        lines.line("terms", "one\ntwo").line("id", "ab");
        assert_eq!(lines.render(), "terms  one\n       two\nid     ab\n");
    }
}
