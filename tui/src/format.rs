//! Numbers, times and foreign texts as a person reads them.

// Which characters are shown is said once, for records and for what comes without that check.
pub use exchange_api::clean;
use exchange_api::{Currency, Sats};
use ratatui::text::Span;

/// Minutes between two blocks, on average.
const BLOCK_MINUTES: u32 = 10;
const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;

/// Returns an amount of bitcoin with thousands separators and at least two decimals: `0.01`, `1,204.5003`.
pub fn btc(amount: Sats) -> String {
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("{}.{}", grouped(whole), &fraction[..kept])
}

/// Returns an amount with its unit: `0.01 BTC`.
pub fn btc_unit(amount: Sats) -> String {
    format!("{} BTC", btc(amount))
}

/// Returns an amount with all its decimals, for columns: `0.01000000`.
pub fn btc_full(amount: Sats) -> String {
    let text = amount.to_string();
    text.split_once('.').map_or(text.clone(), |(whole, fraction)| format!("{}.{fraction}", grouped(whole)))
}

/// Returns a network fee, which is small: `420 sat`.
pub fn fee(fee: Sats) -> String {
    format!("{} sat", number(fee.get()))
}

/// Returns an amount that came in or went out, with its sign: `+0.01000000`, `−0.02000000`.
pub fn signed_btc(net_sat: i64) -> String {
    let sign = if net_sat < 0 { '−' } else { '+' };
    match Sats::new(net_sat.unsigned_abs()) {
        Some(amount) => format!("{sign}{}", btc_full(amount)),
        None => format!("{sign}{net_sat} sat"),
    }
}

/// Returns an amount of the other money, without its code: `3,087.50`.
pub fn money(currency: Currency, minor: u64) -> String {
    let text = currency.format(minor);
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", grouped(whole)),
        None => grouped(&text),
    }
}

/// Returns an amount of the other money with its code: `3,087.50 EUR`.
pub fn money_unit(currency: Currency, minor: u64) -> String {
    format!("{} {currency}", money(currency, minor))
}

/// Joins two amounts to a range, or to one when they are the same: `0.01–0.05`.
pub fn range(low: &str, high: &str) -> String {
    if low == high { low.to_owned() } else { format!("{low}–{high}") }
}

/// Groups the digits of a whole number by thousands.
pub fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with thousands separators.
pub fn number(number: impl ToString) -> String {
    grouped(&number.to_string())
}

/// Returns how long so many blocks take: `about 30 days`.
pub fn blocks(count: u32) -> String {
    let minutes = count.saturating_mul(BLOCK_MINUTES);
    let (amount, unit) = match minutes {
        0..HOUR => (minutes, "minute"),
        HOUR..=3600 => (rounded(minutes, HOUR), "hour"), // 60 hours: days would be too coarse
        _ => (rounded(minutes, DAY), "day"),
    };
    format!("about {amount} {unit}{}", if amount == 1 { "" } else { "s" })
}

/// Returns what part of an amount millionths are: `0.5 %`.
pub fn per_million(ppm: u32) -> String {
    let (whole, fraction) = (ppm / 10_000, ppm % 10_000);
    let digits = format!("{fraction:04}");
    match digits.trim_end_matches('0') {
        "" => format!("{whole} %"),
        digits => format!("{whole}.{digits} %"),
    }
}

/// Returns how long ago something was: `now`, `5 min`, `3 h`, `2 d`.
pub fn ago(now: u64, then: u64) -> String {
    match now.saturating_sub(then) {
        0..60 => "now".to_owned(),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Returns the beginning and the end of a long text: `bcrt1q…9f3k`.
pub fn ellipsis(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width || width < 3 {
        return text.chars().take(width).collect();
    }
    let tail = (width - 1) / 3;
    let head: String = text.chars().take(width - 1 - tail).collect();
    let tail: String = text.chars().skip(count - tail).collect();
    format!("{head}…{tail}")
}

/// Returns a text that was written to stand inside a sentence, as messages of errors are, as a sentence of its own.
pub fn sentence(text: &str) -> String {
    let text = clean(text.trim());
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?', '`']) || text.is_empty() { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// Returns a text cut at its end, with a sign that it goes on: `SEPA inst…`.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Breaks a text into lines of at most `width` columns, between words where possible.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && Span::raw(&line).width() + 1 + Span::raw(word).width() > width {
                lines.push(std::mem::take(&mut line));
            } else if !line.is_empty() {
                line.push(' ');
            }
            for c in word.chars() {
                if Span::raw(&line).width() >= width {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

/// Breaks texts that have a name into lines of at most `width` columns; a name stands before the first line of its text.
pub fn rows(rows: Vec<(&'static str, String)>, width: usize) -> Vec<(&'static str, String)> {
    let lines = |(name, text): (&'static str, String)| {
        let parts = wrap(&clean(text.trim_end()), width).into_iter().enumerate();
        parts.map(|(at, part)| (if at == 0 { name } else { "" }, part)).collect::<Vec<_>>()
    };
    rows.into_iter().flat_map(lines).collect()
}

fn rounded(amount: u32, unit: u32) -> u32 {
    amount / unit + u32::from(amount % unit >= unit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sats(amount: u64) -> Sats {
        Sats::new(amount).unwrap()
    }

    #[test]
    fn amounts_are_exact_and_short() {
        assert_eq!(btc(sats(1_000_000)), "0.01");
        assert_eq!(btc(sats(10_000_000)), "0.10");
        assert_eq!(btc(sats(1)), "0.00000001");
        assert_eq!(btc(sats(120_450_030_000)), "1,204.5003");
        assert_eq!(signed_btc(-2_000_000), "−0.02000000");
        assert_eq!(signed_btc(i64::MIN), "−-9223372036854775808 sat");
        let eur: Currency = "EUR".parse().unwrap();
        let jpy: Currency = "JPY".parse().unwrap();
        assert_eq!(money_unit(eur, 308_750), "3,087.50 EUR");
        assert_eq!(money(jpy, 1_234_567), "1,234,567");
        assert_eq!(per_million(5_000), "0.5 %");
        assert_eq!(per_million(100_000), "10 %");
    }

    #[test]
    fn blocks_read_as_times() {
        for (count, text) in [
            (1, "about 10 minutes"),
            (6, "about 1 hour"),
            (144, "about 24 hours"),
            (2304, "about 16 days"),
            (4320, "about 30 days"),
        ] {
            assert_eq!(blocks(count), text);
        }
        blocks(u32::MAX);
    }

    #[test]
    fn long_texts_keep_both_ends_and_strangers_texts_forge_nothing() {
        assert_eq!(ellipsis("bcrt1qxyzabcdef", 10), "bcrt1q…def");
        assert_eq!(ellipsis("short", 10), "short");
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\u{e0041}\u{ad}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_name_stands_once_before_a_text_of_several_lines() {
        let shown = rows(vec![("Price", "1 EUR".into()), ("Terms", "no third\nparties\n".into())], 8);
        let lines = [("Price", "1 EUR"), ("Terms", "no third"), ("", "parties")];
        assert_eq!(shown, lines.map(|(name, text)| (name, text.to_owned())));
    }
}
