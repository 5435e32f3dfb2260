//! Somebody who trades: a node of his own, and the command line in his hands.

use std::path::PathBuf;

use exchange_api::{
    AddressInfo, AuditReport, Balance, IdentityInfo, IdentityState, OfferState, OfferView, Page, Status, TradeView,
};
use exchange_ledger::ids::{RecordId, TradeId};
use exchange_ledger::trade::{Action, Phase};

use crate::cli::{Cli, Failure};
use crate::people::{ARBITER, details_of};
use crate::process::Process;
use crate::wait_until;

/// A trader and his running node.
#[derive(Debug)]
pub struct Trader {
    name: String,
    cli: Cli,
    process: Process,
    details: PathBuf,
}

/// What a maker offers.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// `buy` or `sell`.
    pub side: &'a str,
    /// The smallest amount, in bitcoin.
    pub min: &'a str,
    /// The largest amount, in bitcoin.
    pub max: &'a str,
    /// Whether bids are accepted without asking.
    pub automatic: bool,
    /// His terms.
    pub terms: &'a str,
    /// What seller and buyer lock besides, in percent of the amount.
    pub bonds: (&'a str, &'a str),
}

impl Offer<'_> {
    /// An offer to sell that accepts bids by itself.
    pub const SELL: Offer<'static> = Offer {
        side: "sell",
        min: "0.005",
        max: "0.02",
        automatic: true,
        terms: "No third-party payments.",
        bonds: ("0", "0"),
    };
    /// An offer to buy that accepts bids by itself.
    pub const BUY: Offer<'static> = Offer { side: "buy", ..Self::SELL };

    /// Returns the same offer, whose bids wait for the maker's word.
    #[must_use]
    pub const fn by_hand(self) -> Self {
        Self { automatic: false, ..self }
    }
}

impl Trader {
    /// Takes up a running node; the trader's payment details lie in a file.
    #[must_use]
    pub fn new(name: &str, process: Process, cli: Cli, details: PathBuf) -> Self {
        Self { name: name.to_owned(), cli, process, details }
    }

    /// Returns his command line.
    #[must_use]
    pub const fn cli(&self) -> &Cli {
        &self.cli
    }

    /// Returns his node's process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns what his counterparty must get to see, and nobody else.
    #[must_use]
    pub fn details(&self) -> String {
        details_of(&self.name)
    }

    /// Kills his node and starts it again.
    pub fn is_killed_and_returns(&mut self) {
        self.process.kill();
        self.returns();
    }

    /// Starts his node again and waits until it can sign.
    pub fn returns(&mut self) {
        self.process.restart();
        self.awaits_identity();
    }

    /// Waits until his identity is derived or unlocked.
    pub fn awaits_identity(&self) -> Status {
        wait_until(&format!("{}'s identity is unlocked", self.name), || {
            let status = self.status();
            match status.identity {
                IdentityState::Unlocked { .. } => Ok(status),
                IdentityState::None | IdentityState::Locked | IdentityState::Deriving => Err(format!("{status:?}")),
            }
        })
    }

    /// Returns his node's state.
    #[must_use]
    pub fn status(&self) -> Status {
        self.cli.done(&["status"])
    }

    /// Waits until his node has followed the chain to a height.
    pub fn awaits_tip(&self, height: u32) {
        wait_until(&format!("{}'s node is at height {height}", self.name), || {
            let tip = self.status().tip;
            if tip >= Some(height) { Ok(()) } else { Err(format!("{tip:?}")) }
        });
    }

    /// Returns his identity.
    #[must_use]
    pub fn identity(&self) -> IdentityInfo {
        self.cli.done(&["identity", "show"])
    }

    /// Returns a deposit address; a new wallet searches the chain first, lest it should give an old one twice.
    pub fn address(&self) -> String {
        let what = format!("{}'s wallet gives an address", self.name);
        wait_until(&what, || match self.cli.run::<AddressInfo>(&["wallet", "address"]) {
            Ok(info) => Ok(info.address),
            Err(failure) if failure.code == "not_synced" => Err(failure.message),
            Err(failure) => panic!("{}: {failure:#?}", self.name),
        })
    }

    /// Returns what his wallet holds.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.cli.done(&["wallet", "balance"])
    }

    /// Waits until his wallet holds what is expected.
    pub fn awaits_balance(&self, expected: &str, holds: impl Fn(&Balance) -> bool) -> Balance {
        wait_until(&format!("{} has {expected}", self.name), || {
            let balance = self.balance();
            if holds(&balance) { Ok(balance) } else { Err(format!("{balance:?}")) }
        })
    }

    /// Posts an offer; it needs an arbiter whom he trusts, so he waits until he knows one.
    ///
    /// # Panics
    /// When the node refuses.
    pub fn posts(&self, offer: &Offer<'_>) -> OfferView {
        self.trusts_the_arbiter();
        self.tries_to_post(offer).unwrap_or_else(|failure| panic!("{} cannot post {offer:?}: {failure:#?}", self.name))
    }

    /// Posts an offer, or is told why not.
    ///
    /// # Errors
    /// When the node refuses.
    pub fn tries_to_post(&self, offer: &Offer<'_>) -> Result<OfferView, Failure> {
        let details = self.details_file();
        let mut args = vec!["offer", "post", offer.side, "--currency", "EUR", "--price", "61750.00"];
        args.extend(["--min", offer.min, "--max", offer.max]);
        args.extend(["--method", "SEPA instant", "--terms", offer.terms]);
        args.extend(["--seller-bond-percent", offer.bonds.0, "--buyer-bond-percent", offer.bonds.1]);
        args.extend(["--details-file", &details, "--yes"]);
        args.extend(offer.automatic.then_some("--automatic"));
        self.cli.run(&args)
    }

    /// Waits until the arbiter's advert has reached him, and trusts him.
    pub fn trusts_the_arbiter(&self) {
        self.trusts(ARBITER);
    }

    /// Waits until the advert of the arbiter of this name has reached him, and trusts him.
    pub fn trusts(&self, arbiter: &str) {
        wait_until(&format!("{} knows {arbiter}", self.name), || {
            let arbiters: Vec<exchange_api::ArbiterView> = self.cli.done(&["arbiter", "list"]);
            arbiters.iter().find(|known| known.name == arbiter).map(drop).ok_or_else(|| format!("{arbiters:?}"))
        });
        let trusted: exchange_api::ArbiterView = self.cli.done(&["arbiter", "trust", arbiter]);
        assert!(trusted.trusted, "{trusted:?}");
    }

    /// Waits until an offer stands in his book.
    pub fn sees(&self, offer: &RecordId) -> OfferView {
        wait_until(&format!("{} sees offer {offer}", self.name), || {
            let book: Page<OfferView> = self.cli.done(&["book"]);
            let mut live = book.items.into_iter().filter(|item| item.state == OfferState::Live);
            live.find(|item| item.id == *offer).ok_or_else(|| "it is not in his book".to_owned())
        })
    }

    /// Takes an offer, once it is in his book and his wallet has caught up with the chain.
    ///
    /// # Panics
    /// When the node refuses.
    pub fn takes(&self, offer: &OfferView, amount: &str) -> TradeView {
        self.takes_under(ARBITER, offer, amount)
    }

    /// Takes an offer under an arbiter, once it is in his book and his wallet has caught up with the chain.
    ///
    /// # Panics
    /// When the node refuses.
    pub fn takes_under(&self, arbiter: &str, offer: &OfferView, amount: &str) -> TradeView {
        self.sees(&offer.id);
        wait_until(&format!("{}'s wallet has caught up", self.name), || {
            match self.tries_to_take_under(arbiter, &offer.id, amount, &[]) {
                Ok(view) => Ok(view),
                Err(failure) if failure.code == "not_synced" => Err(failure.message),
                Err(failure) => panic!("{} cannot take {amount}: {failure:#?}", self.name),
            }
        })
    }

    /// Takes an offer, with more options of the command line.
    ///
    /// # Panics
    /// When the node refuses.
    pub fn takes_with(&self, offer: &OfferView, amount: &str, options: &[&str]) -> TradeView {
        self.sees(&offer.id);
        self.tries_to_take_under(ARBITER, &offer.id, amount, options)
            .unwrap_or_else(|failure| panic!("{} cannot take {amount}: {failure:#?}", self.name))
    }

    /// Takes an offer, or is told why not.
    ///
    /// # Errors
    /// When the node refuses.
    pub fn tries_to_take(&self, offer: &RecordId, amount: &str) -> Result<TradeView, Failure> {
        self.tries_to_take_under(ARBITER, offer, amount, &[])
    }

    fn tries_to_take_under(
        &self,
        arbiter: &str,
        offer: &RecordId,
        amount: &str,
        options: &[&str],
    ) -> Result<TradeView, Failure> {
        let (offer, details) = (offer.to_string(), self.details_file());
        let mut args = vec!["trade", "take", &offer, "--amount", amount, "--arbiter", arbiter];
        args.extend(["--details-file", &details, "--yes"]);
        args.extend(options);
        self.cli.run(&args)
    }

    /// Does something to a trade, once his node says that he can: `accept`, `fund`, `paid`, `release`, `cancel` or `refund`.
    ///
    /// # Panics
    /// When the node refuses.
    #[track_caller]
    pub fn does(&self, verb: &str, trade: TradeId) -> TradeView {
        let action = action_of(verb);
        self.awaits_that(trade, &format!("his to {verb}"), |view| view.actions.contains(&action));
        self.tries_to(verb, trade).unwrap_or_else(|failure| panic!("{} cannot {verb}: {failure:#?}", self.name))
    }

    /// Does something to a trade, or is told why not.
    ///
    /// # Errors
    /// When the node refuses.
    pub fn tries_to(&self, verb: &str, trade: TradeId) -> Result<TradeView, Failure> {
        self.cli.run(&["trade", verb, &trade.to_string(), "--yes"])
    }

    /// Returns how a trade looks to him.
    ///
    /// # Errors
    /// When he does not know it.
    pub fn looks_at(&self, trade: TradeId) -> Result<TradeView, Failure> {
        self.cli.run(&["trade", "show", &trade.to_string()])
    }

    /// Waits until a trade has reached a phase.
    ///
    /// # Panics
    /// When it ends in another.
    pub fn awaits(&self, trade: TradeId, phase: Phase) -> TradeView {
        let view = self.awaits_that(trade, &format!("{phase:?}"), |view| view.state == phase || view.state.is_final());
        assert_eq!(view.state, phase, "{}: {view:#?}", self.name);
        view
    }

    /// Waits until a trade looks to him as described.
    pub fn awaits_that(&self, trade: TradeId, what: &str, is_so: impl Fn(&TradeView) -> bool) -> TradeView {
        wait_until(&format!("{}'s trade is {what}", self.name), || match self.looks_at(trade) {
            Ok(view) if is_so(&view) => Ok(view),
            other => Err(format!("{other:#?}")),
        })
    }

    /// Waits until the counterparty's payment details have come, and returns them.
    pub fn awaits_details(&self, trade: TradeId) -> String {
        wait_until(&format!("{} has the payment details", self.name), || {
            let view = self.looks_at(trade).map_err(|failure| format!("{failure:?}"))?;
            view.their_details.ok_or_else(|| "they have not come".to_owned())
        })
    }

    /// Checks the whole ledger, and the chain.
    #[must_use]
    pub fn audits(&self) -> AuditReport {
        self.cli.done(&["audit", "--chain"])
    }

    /// Returns a file for what he is about to say.
    pub(crate) fn message_file(&self) -> PathBuf {
        self.details.with_extension("message")
    }

    fn details_file(&self) -> String {
        self.details.display().to_string()
    }
}

/// Returns what a verb of the command line does.
fn action_of(verb: &str) -> Action {
    match verb {
        "accept" => Action::Accept,
        "fund" => Action::Fund,
        "paid" => Action::MarkPaid,
        "release" => Action::Release,
        "cancel" => Action::Cancel,
        "refund" => Action::Refund,
        "dispute" => Action::Dispute,
        other => panic!("`trade {other}` changes no trade"),
    }
}
