//! Numbers, times and strangers' texts as a person reads them. Amounts can be pasted back into a command.

// Which characters are shown is said once, for records and for what comes without that check.
pub use exchange_api::clean;
use exchange_api::{Currency, Sats};

/// Minutes between two blocks, on average.
const BLOCK_MINUTES: u32 = 10;

/// Returns an amount of bitcoin with at least two decimals: `0.01`.
pub fn btc(amount: Sats) -> String {
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').expect("amounts print with eight decimals");
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("{whole}.{}", &fraction[..kept])
}

/// Returns satoshis that came in or went out, with their sign: `+0.01`, `-0.02`.
pub fn signed_btc(net_sat: i64) -> String {
    let sign = if net_sat < 0 { '-' } else { '+' };
    match Sats::new(net_sat.unsigned_abs()) {
        Some(amount) => format!("{sign}{}", btc(amount)),
        None => format!("{net_sat} sat"),
    }
}

/// Returns an amount of the other money: `617.50 EUR`.
pub fn money(currency: Currency, minor: u64) -> String {
    format!("{} {currency}", currency.format(minor))
}

/// Returns two amounts as a range, or as one when they are the same: `0.005-0.02`.
pub fn range(low: &str, high: &str) -> String {
    if low == high { low.to_owned() } else { format!("{low}-{high}") }
}

/// Returns so many millionths as a percentage: `0.5%`.
pub fn per_million(ppm: u32) -> String {
    let fraction = format!("{:04}", ppm % 10_000);
    match fraction.trim_end_matches('0') {
        "" => format!("{}%", ppm / 10_000),
        digits => format!("{}.{digits}%", ppm / 10_000),
    }
}

/// Returns how long so many blocks take: `144 blocks (about 24 hours)`.
pub fn blocks(count: u32) -> String {
    let seconds = u64::from(count) * u64::from(BLOCK_MINUTES) * 60;
    format!("{} (about {})", counted(u64::from(count), "block"), duration(seconds))
}

/// Returns a number of things: `1 trade`, `2 trades`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Returns a time as seen from `now`: `3 hours ago`, `in 6 days`.
pub fn when(now: u64, time: u64) -> String {
    if now.abs_diff(time) < 60 {
        "just now".to_owned()
    } else if time > now {
        format!("in {}", duration(time - now))
    } else {
        format!("{} ago", duration(now - time))
    }
}

/// Returns a stranger's text fit to be shown, in one line.
pub fn clean_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

/// Returns a number of seconds in one unit, rounded.
fn duration(seconds: u64) -> String {
    const UNITS: [(u64, u64, &str); 3] = [(60, 3600, "minute"), (3600, 60 * 3600, "hour"), (86_400, u64::MAX, "day")];
    let (unit, _, name) = UNITS.into_iter().find(|(_, below, _)| seconds < *below).unwrap_or(UNITS[2]);
    counted(seconds.saturating_add(unit / 2) / unit, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_read_back() {
        for (sats, text) in
            [(1_000_000, "0.01"), (10_000_000, "0.10"), (1, "0.00000001"), (120_450_030_000, "1204.5003")]
        {
            let amount = Sats::new(sats).unwrap();
            assert_eq!(btc(amount), text);
            assert_eq!(text.parse(), Ok(amount));
        }
        assert_eq!(signed_btc(-2_000_000), "-0.02");
        assert_eq!(signed_btc(i64::MIN), "-9223372036854775808 sat");
        assert_eq!(money("EUR".parse().unwrap(), 61_750), "617.50 EUR");
        assert_eq!((per_million(5_000), per_million(1_000_000)), ("0.5%".to_owned(), "100%".to_owned()));
    }

    #[test]
    fn times_are_rough() {
        assert_eq!(blocks(1), "1 block (about 10 minutes)");
        assert_eq!(blocks(144), "144 blocks (about 24 hours)");
        assert_eq!(blocks(4320), "4320 blocks (about 30 days)");
        assert_eq!(when(1_000_000, 1_000_000), "just now");
        assert_eq!(when(1_000_000, 1_000_001), "just now", "the other's clock is a little ahead");
        assert_eq!(when(1_000_000, 1_000_000 - 7200), "2 hours ago");
        assert_eq!(when(0, 7 * 86_400), "in 7 days");
        blocks(u32::MAX);
        when(0, u64::MAX - 86_400);
    }

    #[test]
    fn strangers_forge_nothing() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\u{e0041}\u{ad}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}");
        assert_eq!(clean_line("a\nb"), "a b");
    }
}
