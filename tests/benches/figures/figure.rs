//! One line of the table.

use std::io::Write;

use serde::Serialize;

use crate::Outcome;

/// A value beside another that was measured in the same run.
pub struct Figure {
    /// What was measured.
    pub figure: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// The limit or peer.
    pub beside: &'static str,
    /// How much that was.
    pub beside_value: f64,
    /// What must hold.
    pub target: Target,
}

/// What a figure must reach.
pub enum Target {
    /// A ratio of at least this.
    RatioFrom(f64),
    /// A ratio of at most this.
    RatioTo(f64),
    /// Both a ratio and a value of at least this.
    RatioAndValueFrom(f64, f64),
    /// A value of at most this.
    ValueTo(f64),
}

impl Figure {
    /// Prints the line.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print(self) -> Outcome<()> {
        self.print_line(None)
    }

    /// Prints the line, and, if the target is missed, what keeps the figure from it.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print_or_bound(self, bound: &'static str) -> Outcome<()> {
        self.print_line(Some(bound))
    }

    fn print_line(self, bound: Option<&'static str>) -> Outcome<()> {
        let ratio = self.value / self.beside_value;
        let (target, met) = match self.target {
            Target::RatioFrom(least) => (format!("ratio >= {least}"), ratio >= least),
            Target::RatioTo(most) => (format!("ratio <= {most}"), ratio <= most),
            Target::RatioAndValueFrom(least, value) => {
                (format!("ratio >= {least}, value >= {value}"), ratio >= least && self.value >= value)
            }
            Target::ValueTo(most) => (format!("value <= {most}"), self.value <= most),
        };
        let line = Line {
            figure: self.figure,
            value: rounded(self.value),
            unit: self.unit,
            beside: self.beside,
            beside_value: rounded(self.beside_value),
            ratio: rounded(ratio),
            target,
            met,
            bound: bound.filter(|_| !met),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        Ok(out.flush()?)
    }
}

/// A figure as it is printed.
#[derive(Serialize)]
struct Line {
    figure: &'static str,
    value: f64,
    unit: &'static str,
    beside: &'static str,
    beside_value: f64,
    ratio: f64,
    target: String,
    met: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<&'static str>,
}

/// Rounds to what the measurement is good for: two digits behind the point, none from a hundred on.
fn rounded(value: f64) -> f64 {
    if value >= 100.0 { value.round() } else { (value * 100.0).round() / 100.0 }
}
