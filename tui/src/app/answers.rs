//! What the node says: answers to queries, replies to calls, events.

use exchange_api::{
    ApiError, Code, Disclose, Disclosure, Event, IdentityState, Person, Phase, RequestId, Subject, TakeOffer,
    TakeReview,
};

use super::{App, FormFor, MAX_EVENTS, Popup, Tab, chat, disclose, wallet};
use crate::form::Form;
use crate::message::{Answer, CallName, Command, Query, Reply};
use crate::{format, words};

impl App {
    pub(super) fn on_answer(&mut self, query: Query, result: Result<Answer, ApiError>, commands: &mut Vec<Command>) {
        self.refresh.answered(query, commands);
        let answer = match result {
            Ok(answer) => answer,
            // A query is repeated by itself; what cannot be had shows in the status, or as a lost connection.
            Err(error) => {
                tracing::debug!(?query, %error, "a query failed");
                return;
            }
        };
        match answer {
            Answer::Status(status) => {
                self.news_since.get_or_insert(status.time);
                let was_unlocked = self.is_unlocked();
                let call = self.gate.observe(&status.identity);
                commands.extend(call.map(Command::Call));
                self.status = Some(status);
                if self.is_unlocked() && !was_unlocked {
                    self.poll(commands);
                }
            }
            Answer::Peers(peers) => self.peers = peers,
            Answer::Book(page) => {
                self.book.more = page.next.is_some();
                self.book.offers = Some(page.items);
            }
            Answer::Trades(trades) => self.trades.list = Some(trades),
            Answer::Balance(balance) => self.wallet.balance = Some(balance),
            Answer::Address(address) => self.wallet.address = Some(address),
            Answer::History(page) => self.wallet.history = Some(page),
            Answer::Coins(coins) => {
                if self.wallet.know_coins(coins) {
                    self.toast(words::wallet::CHOSEN_GONE, true);
                }
            }
            Answer::Fees(fees) => self.wallet.fees = fees,
            Answer::Arbiters(arbiters) => {
                let now = self.now();
                self.post.know_arbiters(arbiters, now);
            }
        }
        self.settle();
    }

    pub(super) fn on_reply(
        &mut self,
        call: CallName,
        request: Option<RequestId>,
        result: Result<Reply, ApiError>,
        commands: &mut Vec<Command>,
    ) {
        if self.busy.is_some_and(|busy| busy.call == call) {
            self.busy = None;
        }
        // Of what failed the node keeps no answer, but some of it may be done, or be done later: a payment that waits for the
        // chain. So it is tried again under the same id, unless that was used for something else.
        let is_settled = match &result {
            Ok(_) => true,
            Err(error) => error.code == Code::DuplicateRequest,
        };
        if let Some(request) = request.filter(|_| is_settled) {
            self.requests.settled(&request);
        }
        match result {
            Ok(reply) => self.on_success(call, reply),
            Err(error) => self.on_failure(call, error),
        }
        self.refresh_after(call, commands);
    }

    fn on_failure(&mut self, call: CallName, error: ApiError) {
        match call {
            CallName::Strength => tracing::debug!(%error, "the password could not be judged"),
            CallName::Unlock if error.code == Code::WrongPassword => {
                self.gate.unlock.refuse(0, words::gate::WRONG_PASSWORD);
            }
            CallName::Create if error.code == Code::WeakPassword => {
                self.gate.create.refuse(super::gate::PASSWORD, format::clean(&error.message));
            }
            // It is asked again soon.
            CallName::Talk => {
                tracing::debug!(%error, "what was said cannot be had");
                if let Some(chat) = self.chat_mut() {
                    chat.is_asking = false;
                }
            }
            CallName::Passphrase
            | CallName::Create
            | CallName::Unlock
            | CallName::Post
            | CallName::Withdraw
            | CallName::Review
            | CallName::Take
            | CallName::Trade(_)
            | CallName::Price
            | CallName::Send
            | CallName::Say
            | CallName::Freeze
            | CallName::Label
            | CallName::PriceBump
            | CallName::Bump
            | CallName::PriceCancel
            | CallName::Cancel
            | CallName::Weigh
            | CallName::ToShow
            | CallName::Disclose
            | CallName::Connect => self.push_popup(Popup::Error { title: words::could_not(call), error }),
        }
    }

    fn on_success(&mut self, call: CallName, reply: Reply) {
        match reply {
            Reply::Passphrase(passphrase) => {
                self.gate.passphrase = Some(passphrase);
                self.gate.changed(self.ticks);
            }
            Reply::Strength(strength) => self.gate.strength = Some(strength),
            Reply::Identity(identity) => {
                let state = IdentityState::Unlocked { author: identity.author, email: identity.email };
                self.gate.observe(&state);
                if let Some(status) = &mut self.status {
                    status.identity = state;
                }
                self.toast(words::gate::WELCOME, false);
            }
            Reply::Offer(offer) => {
                let posted = call == CallName::Post;
                self.toast(if posted { words::post::POSTED } else { words::WITHDRAWN }, false);
                if posted {
                    self.post = super::post::Post::default();
                    self.book.selected = Some(offer.id);
                    self.tab = Tab::Book;
                }
            }
            Reply::Review(review) => self.show_review(review),
            Reply::Trade(weighed) if call == CallName::Weigh => {
                if let Some(mut request) = self.trades.weighing.take()
                    && self.waits(|what| matches!(what, FormFor::Rule(trade) if *trade == weighed.id))
                {
                    request.request_id = self.rule_request_id(&request);
                    request.dry_run = false;
                    if let Some(ask) = super::ruling::question(&weighed, request) {
                        self.push_popup(Popup::Ask(ask));
                    }
                }
            }
            Reply::Trade(trade) => {
                self.toast(words::trade::after(call, &trade), false);
                self.end_forms(|what| matches!(what, FormFor::Accept(of) | FormFor::Rule(of) if *of == trade.id));
                if call == CallName::Take {
                    self.take = super::take::Take::default();
                    self.book.open = false;
                    self.tab = Tab::Trades;
                    self.trades.selected = Some(trade.id);
                }
                self.trades.put(trade);
            }
            Reply::Sent(sent) if call == CallName::Price => {
                if let Some(mut request) = self.wallet.pricing.take()
                    && self.waits(|what| matches!(what, FormFor::Send(_)))
                {
                    request.dry_run = false;
                    self.push_popup(Popup::Ask(wallet::send_question(&sent, request)));
                }
            }
            Reply::Talk(said) => {
                let state = self.trades.get(said.trade).map(|trade| trade.state);
                let is_disputed = matches!(state, Some(Phase::Disputed | Phase::Ruled));
                if chat::has_news(&said) {
                    self.trades.shown.remove(&said.trade);
                }
                if let Some(chat) = self.chat_mut().filter(|chat| chat.trade == said.trade) {
                    chat.put(said, is_disputed);
                }
            }
            Reply::Said(message) => {
                let is_to_party = matches!(message.to, Person::Buyer | Person::Seller);
                let trade = self.chat_mut().map(|chat| {
                    chat.sent(message);
                    chat.trade
                });
                if let Some(trade) = trade.filter(|_| is_to_party) {
                    self.trades.shown.remove(&trade);
                }
                self.toast(words::chat::SENT, false);
            }
            Reply::Sent(sent) => {
                self.end_forms(|what| matches!(what, FormFor::Send(_)));
                self.wallet.chosen.clear();
                self.toast(words::wallet::sent(&format::btc_unit(sent.amount)), false);
            }
            Reply::Coins(coins) => self.toast(words::wallet::frozen(&coins), false),
            Reply::Labelled => {
                self.end_forms(|what| matches!(what, FormFor::Label(_)));
                self.toast(words::wallet::LABELLED, false);
            }
            Reply::Bumped(bumped) if call == CallName::PriceBump => {
                if let Some(request) = self.wallet.bumping.take()
                    && self.waits(|what| matches!(what, FormFor::Bump(_)))
                {
                    let request = self.wanted_bump(request);
                    self.push_popup(Popup::Ask(wallet::bump_question(&bumped, request)));
                }
            }
            Reply::Bumped(_) => {
                self.end_forms(|what| matches!(what, FormFor::Bump(_)));
                self.toast(words::wallet::BUMPED, false);
            }
            Reply::Cancelled(cancelled) if call == CallName::PriceCancel => {
                if let Some(request) = self.wallet.cancelling.take()
                    && self.waits(|what| matches!(what, FormFor::Cancel(_)))
                {
                    let request = self.wanted_cancel(request);
                    self.push_popup(Popup::Ask(wallet::cancel_question(&cancelled, request)));
                }
            }
            Reply::Cancelled(_) => {
                self.end_forms(|what| matches!(what, FormFor::Cancel(_)));
                self.toast(words::wallet::CANCELLED, false);
            }
            Reply::Connected(address) => {
                self.end_forms(|what| matches!(what, FormFor::Connect));
                self.toast(words::network::connected(&address), false);
            }
            Reply::Disclosure(would) if call == CallName::ToShow => self.ask_to_show(&would),
            Reply::Disclosure(done) => {
                self.end_forms(|what| matches!(what, FormFor::Disclose(_)));
                self.trades.shown.insert(done.trade);
                self.toast(words::disclose::done(&done), false);
            }
        }
    }

    /// Takes away the forms for what was done, wherever they are: the help, or an error, may stand above one by now.
    fn end_forms(&mut self, is_for: impl Fn(&FormFor) -> bool) {
        self.popups.retain(|popup| !matches!(popup, Popup::Form(what, _) if is_for(what)));
    }

    /// Tells whether the form for which the node was asked is what takes keys, and stands as it did then; who has gone on is told
    /// that he is not asked. A question about what stood there before would take the letters that he types now.
    fn waits(&mut self, is_for: impl Fn(&FormFor) -> bool) -> bool {
        let waits = match self.popups.last() {
            Some(Popup::Form(what, form)) => is_for(what) && form.waits(),
            Some(Popup::Help | Popup::Error { .. } | Popup::Ask(_) | Popup::Chat(_) | Popup::Contract(_)) | None => {
                false
            }
        };
        if !waits {
            self.toast(words::WENT_ON, true);
        }
        waits
    }

    /// Asks before anything is shown to an arbiter, if the user still waits for the question where he asked for it.
    fn ask_to_show(&mut self, would: &Disclosure) {
        let Some(request) = self.trades.showing.take().filter(|request| disclose::is_of(would, request)) else {
            return;
        };
        let is_seen = self.tab == Tab::Trades && self.trades.selected == Some(would.trade);
        let waits = (self.popups.is_empty() && is_seen)
            || self.waits(|what| matches!(what, FormFor::Disclose(trade) if *trade == would.trade));
        if !waits {
            return;
        }
        if would.messages.is_empty() {
            if would.before > 0 {
                self.trades.shown.insert(would.trade);
            }
            self.toast(words::disclose::nothing(would.before), true);
            return;
        }
        let Some(trade) = self.trades.get(would.trade) else { return };
        let request = Disclose { dry_run: false, ..request };
        let ask = disclose::question(would, words::trade::named(trade), trade.role, request);
        self.push_popup(Popup::Ask(ask));
    }

    fn show_review(&mut self, review: TakeReview) {
        // Only what stands on the form as it was sent may be reviewed, and only where the user waits for it.
        let is_seen = self.popups.is_empty() && self.tab == Tab::Take && !self.gate_is_shown();
        let waits = is_seen && self.take.form().is_some_and(Form::waits);
        if !waits {
            self.toast(words::WENT_ON, true);
            return;
        }
        let request = self.take.draft.as_mut().and_then(|draft| draft.check());
        match request {
            Some(mut request) if is_of(&review, &request) => {
                request.request_id = self.take_request_id(&request);
                request.dry_run = false;
                // Whom he is shown, and nobody whom he trusts by the time of his yes.
                request.second_arbiter = review.second_arbiter.as_ref().map(|second| second.advert);
                self.begin_moment();
                self.take.show_review(review, request);
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn on_event(&mut self, event: Event, commands: &mut Vec<Command>) {
        let is_news = self.news_since.is_some_and(|since| event.time >= since);
        let (queries, is_told): (&[Query], bool) = match event.subject {
            Subject::Trade(_) => (&[Query::Trades, Query::Balance], true),
            Subject::Offer(_) => (&[Query::Book], false),
            Subject::Wallet => (&[Query::Balance, Query::History, Query::Coins, Query::Address], true),
            Subject::Network => (&[Query::Status, Query::Peers], false),
            Subject::Chain => (&[Query::Status, Query::Trades, Query::Balance], false),
            Subject::Node => (&[Query::Status], true),
        };
        if is_news {
            for query in queries {
                // Before there is an identity there is no wallet and no trade to ask for.
                if self.is_unlocked() || matches!(query, Query::Status | Query::Book | Query::Peers) {
                    self.refresh.ask(*query, commands);
                }
            }
            if matches!(event.subject, Subject::Trade(_)) {
                self.ask_for_talk(commands);
            }
            if is_told {
                self.toast(format::clean(&event.text), false);
            }
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Tells whether a review is of this request.
fn is_of(review: &TakeReview, request: &TakeOffer) -> bool {
    let arbiter = Some(review.arbiter.advert);
    (request.offer, request.amount, request.arbiter) == (review.offer.id, review.amount, arbiter)
}
