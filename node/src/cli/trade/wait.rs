//! Waiting until a trade has come to a state, for scripts.

use std::time::Duration;

use exchange_api::{Action, Client, ExchangeApiClient, Phase, Role, TradeId, TradeView};
use tokio::time::{Instant, sleep};

use crate::cli::failure::Failure;
use crate::cli::values::phase_name;

/// Between two looks: a trade moves by blocks and by people.
const POLL: Duration = Duration::from_millis(250);

/// Waits until the trade has come to `wanted`, or past it, and the node has read the chain to its tip. A buyer who waits for the
/// escrow waits until he may pay for it, and not for one whose coins went back before he could.
///
/// # Errors
/// When it cannot come there any more, or not in time.
pub async fn until(client: &Client, trade: TradeId, wanted: Phase, timeout_s: u64) -> Result<TradeView, Failure> {
    // A century is for ever; more would overflow the clock.
    let deadline = Instant::now() + Duration::from_secs(timeout_s.min(100 * 365 * 86_400));
    loop {
        let view = client.trade_show(trade).await?;
        match known_progress(view.role, view.state, view.synced, wanted) {
            Progress::Reached if must_not_pay_yet(&view) && wanted == Phase::Funded && Instant::now() < deadline => {
                sleep(POLL).await;
            }
            Progress::Reached if must_not_pay_yet(&view) && wanted == Phase::Funded => {
                let message = format!("the escrow of trade {} is funded, but must not be paid for yet", trade.short());
                return Err(Failure::timed_out(message, "`exchange-node trade show` tells why; do not pay before"));
            }
            Progress::Reached => return Ok(view),
            Progress::Never => {
                let message = format!(
                    "trade {} is {} and cannot become {}",
                    trade.short(),
                    phase_name(view.state),
                    phase_name(wanted)
                );
                return Err(Failure::refused(message, "`exchange-node trade show` tells why"));
            }
            Progress::NotYet if Instant::now() >= deadline && !view.synced => {
                let message = format!("what became of trade {} is not known after {timeout_s} s", trade.short());
                let hint = "the node still reads the chain: see `exchange-node status`; wait longer with --timeout";
                return Err(Failure::timed_out(message, hint));
            }
            Progress::NotYet if Instant::now() >= deadline => {
                let message =
                    format!("trade {} is still {} after {timeout_s} s", trade.short(), phase_name(view.state));
                return Err(Failure::timed_out(
                    message,
                    "`exchange-node trade show` tells who acts next; wait longer with --timeout",
                ));
            }
            Progress::NotYet => sleep(POLL).await,
        }
    }
}

/// Tells whether a buyer who waits for his turn to pay has to wait on: his node says when.
fn must_not_pay_yet(view: &TradeView) -> bool {
    view.state == Phase::Funded && view.role == Some(Role::Buyer) && !view.actions.contains(&Action::MarkPaid)
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    NotYet,
    Never,
}

/// Returns whether a trade that is in `state` has been in `wanted`, may still come there, or cannot.
fn progress(state: Phase, wanted: Phase) -> Progress {
    let behind = |path: &[Phase]| {
        let (at, goal) =
            (path.iter().position(|phase| *phase == state)?, path.iter().position(|phase| *phase == wanted)?);
        Some(at >= goal)
    };
    if state == wanted || PATHS.iter().filter_map(|path| behind(path)).any(|reached| reached) {
        Progress::Reached
    } else if PATHS.iter().any(|path| behind(path) == Some(false)) || may_turn(state, wanted) {
        Progress::NotYet
    } else {
        Progress::Never
    }
}

/// Returns likewise what is known of it. While the node reads the chain, it shows what was so at some time: whoever waited for
/// the escrow would pay for one that was spent long ago. Nor has a buyer any use for one from which the coins went back: he waits
/// for it to pay.
fn known_progress(role: Option<Role>, state: Phase, synced: bool, wanted: Phase) -> Progress {
    let is_payer = role == Some(Role::Buyer) && wanted == Phase::Funded;
    if !synced {
        Progress::NotYet
    } else if is_payer && matches!(state, Phase::Refunding | Phase::Refunded | Phase::Lost) {
        Progress::Never
    } else {
        progress(state, wanted)
    }
}

/// Tells whether a trade may leave the path that it is on and still come to `wanted`. Such a turn is no path of its own: a
/// trade that was called off need not have been agreed, nor one that is refunded paid.
fn may_turn(state: Phase, wanted: Phase) -> bool {
    let unfunded = state == Phase::Agreed && matches!(wanted, Phase::Cancelled | Phase::Void);
    let given_back = state == Phase::Paid && matches!(wanted, Phase::Refunding | Phase::Refunded | Phase::Lost);
    unfunded || given_back
}

/// The ways that a trade can go; the transition table has more short cuts, but no other ends. `Paid` is not on the way to a
/// refund: whoever waits for it is not served by a trade that is being refunded.
const PATHS: [&[Phase]; 5] = [
    &[Phase::Bid, Phase::Agreed, Phase::Funding, Phase::Funded, Phase::Paid, Phase::Released, Phase::Closed],
    &[Phase::Bid, Phase::Agreed, Phase::Funding, Phase::Funded, Phase::Refunding, Phase::Refunded],
    &[Phase::Bid, Phase::Cancelled],
    &[Phase::Bid, Phase::Void],
    &[Phase::Bid, Phase::Agreed, Phase::Funding, Phase::Funded, Phase::Lost],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::values::PHASES;

    #[test]
    fn what_is_passed_is_reached_and_what_is_over_never_comes() {
        for (state, wanted, expected) in [
            (Phase::Bid, Phase::Closed, Progress::NotYet),
            (Phase::Paid, Phase::Funded, Progress::Reached),
            (Phase::Closed, Phase::Paid, Progress::Reached),
            (Phase::Refunded, Phase::Funded, Progress::Reached),
            (Phase::Refunding, Phase::Paid, Progress::Never),
            (Phase::Paid, Phase::Refunded, Progress::NotYet),
            (Phase::Closed, Phase::Refunded, Progress::Never),
            (Phase::Void, Phase::Agreed, Progress::Never),
            (Phase::Cancelled, Phase::Funded, Progress::Never),
            (Phase::Agreed, Phase::Cancelled, Progress::NotYet),
        ] {
            assert_eq!(progress(state, wanted), expected, "{state:?}, waiting for {wanted:?}");
        }
    }

    #[test]
    fn nothing_is_reached_or_lost_while_the_chain_is_read() {
        for (_, state) in PHASES {
            for (_, wanted) in PHASES {
                assert_eq!(known_progress(Some(Role::Buyer), state, false, wanted), Progress::NotYet);
                assert_eq!(known_progress(Some(Role::Seller), state, true, wanted), progress(state, wanted));
            }
        }
    }

    /// Whoever is told that it is funded pays.
    #[test]
    fn a_buyer_who_waits_for_the_escrow_is_not_served_by_one_from_which_the_coins_went_back() {
        for (_, state) in PHASES {
            let is_gone = matches!(state, Phase::Refunding | Phase::Refunded | Phase::Lost);
            let expected = if is_gone { Progress::Never } else { progress(state, Phase::Funded) };
            assert_eq!(known_progress(Some(Role::Buyer), state, true, Phase::Funded), expected, "{state:?}");
            assert_eq!(known_progress(Some(Role::Buyer), state, true, Phase::Agreed), progress(state, Phase::Agreed));
        }
    }

    #[test]
    fn a_trade_that_is_over_keeps_nobody_waiting() {
        for (_, state) in PHASES {
            assert_eq!(progress(state, state), Progress::Reached);
            for (_, wanted) in PHASES {
                assert!(!state.is_final() || progress(state, wanted) != Progress::NotYet, "{state:?}, {wanted:?}");
            }
        }
    }
}
