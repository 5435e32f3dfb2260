//! From a key to what it does: the table finds the action, this performs it.

use crossterm::event::{KeyEvent, KeyEventKind};
use exchange_api::{
    AcceptBid, Action as TradeAction, BumpTrade, BumpTx, CancelTx, CoinUse, Disclose, FreezeCoins, RuleTrade,
    SendMessage, SetLabel, TradeId,
};

use super::ask::{Ask, Line, Outcome};
use super::wallet::BumpTarget;
use super::{App, Busy, FormFor, Popup, Tab, chat, contract, disclose, network, post, ruling, take, trades, wallet};
use crate::action::{self, Action, Step};
use crate::message::{Bump, Call, CallName, Command, Connection, Query};
use crate::{format, words};

impl App {
    pub(super) fn on_key(&mut self, key: KeyEvent, commands: &mut Vec<Command>) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        match action::find(self, &key) {
            Some(entry) => match (entry.when)(self) {
                Ok(()) => {
                    // Why an earlier key did nothing is old news.
                    self.toasts.retain(|toast| !toast.bad);
                    self.perform(entry.action, commands);
                }
                Err(why) => self.toast(format!("{}: {why}", entry.name), true),
            },
            None => {
                // Whoever types on has not read a question. Into a form he types his own, but a terminal that types what is
                // pasted has read nothing.
                let is_pasted = self.moment.is_pasted(self.ticks);
                let is_accepting = matches!(self.popups.last(), Some(Popup::Form(FormFor::Accept(_), _)));
                if self.ask().is_some() || (is_accepting && is_pasted) {
                    self.begin_moment();
                }
                self.type_key(key);
            }
        }
    }

    fn type_key(&mut self, key: KeyEvent) {
        if self.tab == Tab::Book && self.book.typing && self.popups.is_empty() && !self.gate_is_shown() {
            use tui_input::backend::crossterm::EventHandler;
            self.book.text.handle_event(&crossterm::event::Event::Key(key));
            return;
        }
        if self.form_mut().is_some_and(|form| form.type_key(key)) {
            self.form_changed();
        }
    }

    pub(super) fn on_paste(&mut self, text: &str) {
        if self.form_mut().is_some_and(|form| form.paste(text)) {
            self.form_changed();
        }
    }

    /// Lets everything that depends on a form's content follow it.
    fn form_changed(&mut self) {
        if self.popups.is_empty() && self.gate_is_shown() {
            self.gate.changed(self.ticks);
        } else if self.popups.is_empty() && self.tab == Tab::Post {
            self.post.refresh_hints();
        } else if self.popups.is_empty()
            && self.tab == Tab::Take
            && let Some(draft) = self.take.draft.as_mut()
            && draft.form.focus == Some(take::AMOUNT)
        {
            draft.check_amount();
        }
    }

    fn perform(&mut self, action: Action, commands: &mut Vec<Command>) {
        match action {
            Action::Quit => self.quit(commands),
            // A second press closes it: above each other the same keys would only bury what they are about.
            Action::Help if matches!(self.popups.last(), Some(Popup::Help)) => self.back(),
            Action::Help => self.push_popup(Popup::Help),
            Action::Show(tab) => self.show(tab, commands),
            Action::Identity => self.gate.skipped = false,
            Action::Move(step) => self.move_selection(step),
            Action::Open => self.book.open(),
            Action::Back => self.back(),
            Action::Filter => self.book.typing = true,
            Action::FilterDone => self.book.typing = false,
            Action::FilterClear => {
                self.book.typing = false;
                self.book.text.reset();
            }
            Action::Side(side) => self.book.side = side,
            Action::Currency => self.book.next_currency(),
            Action::Away => self.book.away = !self.book.away,
            Action::Take => self.start_taking(),
            Action::Withdraw => self.ask_to_withdraw(),
            Action::NextField => self.with_form(|form| form.next()),
            Action::PreviousField => self.with_form(|form| form.previous()),
            Action::Enter => self.enter(commands),
            Action::Choose(forward) => {
                self.with_form(|form| form.choose(forward));
                self.form_changed();
            }
            Action::Leave => self.leave_form(),
            Action::Reveal => self.gate.revealed = !self.gate.revealed,
            Action::Another => commands.push(Command::Call(Call::Passphrase)),
            Action::Skip => self.gate.skipped = true,
            Action::Turn(forward) => {
                if let Some(ask) = self.ask_mut() {
                    ask.turn(forward);
                }
            }
            Action::Answer => {
                let chosen = self.ask().map_or(0, |ask| ask.chosen);
                self.answer(chosen, commands);
            }
            Action::Yes => {
                let yes = self.ask().map_or(0, |ask| ask.yes);
                self.answer(yes, commands);
            }
            Action::No => {
                let safe = self
                    .ask()
                    .and_then(|ask| ask.choices.iter().position(|choice| matches!(choice.outcome, Outcome::Back)));
                self.answer(safe.unwrap_or(0), commands);
            }
            Action::Next => {
                if let Some(next) = self.trades.selection().and_then(|trade| trade.next.action) {
                    self.ask_about_trade(next);
                }
            }
            Action::Trade(action) => self.ask_about_trade(action),
            Action::Copy => self.copy(commands),
            Action::Talk => {
                if let Some(trade) = self.trades.selection().map(|trade| trade.id) {
                    self.push_popup(Popup::Chat(chat::Chat::new(trade)));
                    commands.push(Command::Call(Call::Talk(trade)));
                }
            }
            Action::Scroll(step) => self.scroll(step),
            Action::Disclose => self.start_showing(commands),
            Action::Contract => {
                if let Some(trade) = self.trades.selection().map(|trade| trade.id) {
                    self.push_popup(Popup::Contract(contract::Contract::new(trade)));
                }
            }
            Action::Send => {
                let what = FormFor::Send(self.wallet.chosen.clone());
                self.push_popup(Popup::Form(what, wallet::send_form(&self.wallet)));
            }
            Action::Coins => {
                self.wallet.turn();
                self.poll(commands);
            }
            Action::Mark => self.wallet.mark(),
            Action::Freeze => self.freeze(commands),
            Action::Label => {
                if let Some((subject, label)) = self.wallet.subject() {
                    self.push_popup(Popup::Form(FormFor::Label(subject), wallet::label_form(&format::clean(&label))));
                }
            }
            Action::Bump => self.start_bumping(),
            Action::CancelPayment => {
                if let Some(txid) = self.wallet.cancellable() {
                    self.push_popup(Popup::Form(FormFor::Cancel(txid), wallet::fee_form(&self.wallet)));
                }
            }
            Action::Connect => self.push_popup(Popup::Form(FormFor::Connect, network::form())),
            Action::Retry => {
                self.on_connection(Connection::Starting(words::CONNECTING.to_owned()), commands);
                commands.push(Command::Retry);
            }
        }
    }

    fn show(&mut self, tab: Tab, commands: &mut Vec<Command>) {
        self.tab = tab;
        self.settle();
        if matches!(self.connection, Connection::Up { .. }) {
            self.poll(commands);
        }
        let form = match tab {
            Tab::Post => Some(&mut self.post.form),
            Tab::Take => self.take.form_mut(),
            Tab::Book | Tab::Trades | Tab::Wallet | Tab::Network => None,
        };
        if let Some(form) = form
            && form.focus.is_none()
        {
            form.focus = Some(0);
        }
    }

    fn move_selection(&mut self, step: Step) {
        match self.tab {
            Tab::Book => self.book.select(|at, count| step.apply(at, count)),
            Tab::Trades => self.trades.select(|at, count| step.apply(at, count)),
            Tab::Wallet => self.wallet.select(|at, count| step.apply(at, count)),
            Tab::Network => {
                // The log's end is at the bottom: up means back in time.
                let back = match step {
                    Step::Up => Step::Down,
                    Step::Down => Step::Up,
                    Step::PageUp => Step::PageDown,
                    Step::PageDown => Step::PageUp,
                    Step::Top => Step::Bottom,
                    Step::Bottom => Step::Top,
                };
                self.log_scroll = back.apply(self.log_scroll, self.events.len());
            }
            Tab::Post | Tab::Take => {}
        }
    }

    fn scroll(&mut self, step: Step) {
        let now = self.now();
        match self.popups.last_mut() {
            Some(Popup::Chat(chat)) => chat.scroll(step),
            Some(Popup::Contract(contract)) => contract.scroll(step, self.trades.get(contract.trade)),
            Some(_) => {}
            None => self.book.scroll(step, now),
        }
    }

    fn back(&mut self) {
        if self.popups.pop().is_some() {
            // What was below it can be read again only now.
            self.begin_moment();
        } else if self.tab == Tab::Book {
            self.book.open = false;
        } else {
            self.tab = Tab::Book;
        }
    }

    fn start_taking(&mut self) {
        if let Some(offer) = self.book.selection().cloned() {
            let now = self.now();
            self.take.start(&offer, now);
            self.tab = Tab::Take;
        }
    }

    fn ask_to_withdraw(&mut self) {
        let Some(offer) = self.book.selection() else { return };
        let lines = vec![Line::Strong(words::offer_sentence(offer)), Line::Plain(words::WITHDRAW_NOTE.to_owned())];
        let call = Call::Withdraw(offer.id);
        self.push_popup(Popup::Ask(Ask::confirm(
            words::WITHDRAW_TITLE,
            lines,
            words::NO_BACK,
            words::WITHDRAW_YES,
            call,
        )));
    }

    fn with_form(&mut self, change: impl FnOnce(&mut crate::form::Form)) {
        if let Some(form) = self.form_mut() {
            change(form);
        }
    }

    fn leave_form(&mut self) {
        if self.popups.last().is_some_and(|popup| popup.form().is_some()) {
            self.popups.pop();
            // What the node still works out for it is no question of the user's any more.
            (self.wallet.pricing, self.wallet.bumping, self.wallet.cancelling) = (None, None, None);
            (self.trades.weighing, self.trades.showing) = (None, None);
        } else {
            self.with_form(|form| form.leave());
        }
    }

    fn enter(&mut self, commands: &mut Vec<Command>) {
        if self.pressed_by_enter().is_some() { self.submit(commands) } else { self.with_form(|form| form.next()) }
    }

    fn submit(&mut self, commands: &mut Vec<Command>) {
        if self.sends().is_some() && !self.has_stood() {
            self.toast(words::TOO_SOON, true);
            return;
        }
        match self.popups.last_mut() {
            Some(Popup::Form(FormFor::Send(coins), form)) => {
                if let Some(mut request) = wallet::check_send(form, coins) {
                    // Under the id that the payment will have: what was built for it already is found, and not paid for
                    // with other coins. The wallet prices nothing that has none.
                    request.request_id = self.requests.id("send", &request);
                    if self.call(Call::Price(request.clone()), commands) {
                        self.wallet.pricing = Some(request);
                    }
                }
                return;
            }
            Some(Popup::Form(FormFor::Accept(trade), form)) => {
                let trade = *trade;
                let details = form.fields[0].value().trim().to_owned();
                if details.is_empty() {
                    form.refuse(0, words::take::NO_DETAILS);
                    return;
                }
                let request_id = self.requests.id("accept", &(trade, &details));
                self.call(Call::Accept(AcceptBid { request_id, dry_run: false, trade, details }), commands);
                return;
            }
            Some(Popup::Form(FormFor::Rule(trade), form)) => {
                let trade = *trade;
                if let Some(verdict) = ruling::check(form) {
                    let request = RuleTrade { request_id: String::new(), dry_run: true, trade, verdict };
                    if self.call(Call::Weigh(request.clone()), commands) {
                        self.trades.weighing = Some(request);
                    }
                }
                return;
            }
            Some(Popup::Form(FormFor::Disclose(trade), form)) => {
                let (trade, second) = (*trade, disclose::is_to_second(form));
                self.ask_what_to_show(trade, second, commands);
                return;
            }
            Some(Popup::Chat(chat)) => {
                let (trade, to, text) = (chat.trade, chat.to(), chat.form.fields[chat::TEXT].value().trim().to_owned());
                if text.is_empty() {
                    chat.form.refuse(chat::TEXT, words::chat::NO_TEXT);
                    return;
                }
                // The node would take nobody for the counterparty.
                if to.is_none() {
                    chat.form.refuse(chat::TO, words::chat::NO_ONE);
                    chat.form.focus = Some(chat::TO);
                    return;
                }
                let request_id = self.requests.id("say", &(trade, to, &text));
                self.call(Call::Say(SendMessage { request_id, trade, to, text }), commands);
                return;
            }
            Some(Popup::Form(FormFor::Label(subject), form)) => {
                let label = form.fields[0].value().trim().to_owned();
                let call = Call::Label(SetLabel { subject: subject.clone(), label });
                self.call(call, commands);
                return;
            }
            Some(Popup::Form(FormFor::Bump(target), form)) => {
                if let Some(request) = wallet::check_bump(form, target)
                    && self.call(Call::PriceBump(request.clone()), commands)
                {
                    self.wallet.bumping = Some(request);
                }
                return;
            }
            Some(Popup::Form(FormFor::Cancel(txid), form)) => {
                if let Some(request) = wallet::check_cancel(form, txid)
                    && self.call(Call::PriceCancel(request.clone()), commands)
                {
                    self.wallet.cancelling = Some(request);
                }
                return;
            }
            Some(Popup::Form(FormFor::Connect, form)) => {
                if let Some(address) = network::check(form) {
                    self.call(Call::Connect(address), commands);
                }
                return;
            }
            Some(Popup::Help | Popup::Error { .. } | Popup::Ask(_) | Popup::Contract(_)) => return,
            None => {}
        }
        if self.gate_is_shown() {
            if let Some(call) = self.gate.submit() {
                self.call(call, commands);
            }
            return;
        }
        match self.tab {
            Tab::Post => self.submit_offer(),
            Tab::Take => {
                let request = self.take.draft.as_mut().and_then(|draft| draft.check());
                if let Some(request) = request {
                    self.call(Call::Review(request), commands);
                }
            }
            Tab::Book | Tab::Trades | Tab::Wallet | Tab::Network => {}
        }
    }

    fn submit_offer(&mut self) {
        if !self.is_unlocked() {
            self.toast(format!("{}: {}", words::post::BUTTON, words::why::NO_IDENTITY), true);
            return;
        }
        let Some(mut offer) = self.post.check() else { return };
        offer.request_id = self.requests.id("post", &offer);
        let draft = self.post.draft();
        let (arbiter, best) = (self.post.arbiter(), self.book.best(draft.side, offer.currency));
        let spendable = self.wallet.balance.as_ref().map(|balance| balance.spendable);
        let mut lines = vec![Line::Strong(words::post::sentence(&draft))];
        // What to be careful about stands first: of a long question a small window may not show the end.
        let stranger = arbiter.filter(|arbiter| !arbiter.trusted);
        lines.extend(stranger.map(|arbiter| Line::Warning(words::take::untrusted(arbiter))));
        lines.extend(post::suspicion(&draft, best).map(Line::Warning));
        lines.extend(spendable.and_then(|spendable| post::shortfall(&offer, spendable)).map(Line::Warning));
        lines.extend(words::post::notes(&offer).into_iter().map(Line::Plain));
        let all = || self.post.form.fields[post::ARBITER].value().to_owned();
        let named = arbiter.map_or_else(all, words::take::arbiter_line);
        lines.push(Line::Plain(format!("{}: {named}.", words::take::ARBITER)));
        let ask = Ask::confirm(words::post::TITLE, lines, words::NO_BACK, words::post::YES, Call::Post(offer));
        self.push_popup(Popup::Ask(ask));
    }

    fn ask_about_trade(&mut self, action: TradeAction) {
        let Some(trade) = self.trades.selection() else { return };
        if action == TradeAction::Accept {
            self.push_popup(Popup::Form(FormFor::Accept(trade.id), trades::accept_form(trade)));
            return;
        }
        if action == TradeAction::Rule {
            self.push_popup(Popup::Form(FormFor::Rule(trade.id), ruling::form()));
            return;
        }
        let id = self.requests.id("trade", &(trade.id, action));
        self.push_popup(Popup::Ask(trades::question(trade, action, id)));
    }

    fn answer(&mut self, at: usize, commands: &mut Vec<Command>) {
        // Who does not read goes back at most: his key was meant for what stood there before.
        let goes_back = self.ask().is_none_or(|ask| ask.goes_back(at));
        if !goes_back && !self.has_stood() {
            self.toast(words::TOO_SOON, true);
            return;
        }
        let in_popup = matches!(self.popups.last(), Some(Popup::Ask(_)));
        // What was below it can be read again only now.
        self.begin_moment();
        let outcome = if in_popup {
            match self.popups.pop() {
                Some(Popup::Ask(mut ask)) => ask.take(at),
                Some(_) | None => Outcome::Back,
            }
        } else {
            match self.take.review.take() {
                Some(mut review) => review.ask.take(at),
                None => Outcome::Back,
            }
        };
        match outcome {
            Outcome::Back => {}
            Outcome::Call(call) => {
                self.call(*call, commands);
            }
            Outcome::Quit(fate) => commands.push(Command::Quit(fate)),
        }
    }

    /// Starts a call, unless one is under way; tells whether it did. What it is asked for must be noted only then: the
    /// answer to an earlier one would be taken for its own.
    fn call(&mut self, call: Call, commands: &mut Vec<Command>) -> bool {
        if let Some(busy) = self.busy {
            self.toast(words::still_busy(busy.call), true);
            return false;
        }
        // What became of earlier calls would stand there as if it were the outcome of this one.
        self.toasts.clear();
        if let Some(id) = call.request_id() {
            self.requests.sent(id);
        }
        self.busy = Some(Busy { call: call.name(), since: self.ticks });
        self.with_form(|form| form.wait());
        commands.push(Command::Call(call));
        true
    }

    /// Asks which arbiter is to be shown what was said, or where there is one only, what he would see.
    fn start_showing(&mut self, commands: &mut Vec<Command>) {
        let Some(trade) = self.trades.selection() else { return };
        let id = trade.id;
        match disclose::form(trade) {
            Some(form) => self.push_popup(Popup::Form(FormFor::Disclose(id), form)),
            None => self.ask_what_to_show(id, false, commands),
        }
    }

    fn ask_what_to_show(&mut self, trade: TradeId, second: bool, commands: &mut Vec<Command>) {
        let request = Disclose { dry_run: true, trade, second };
        if self.call(Call::ToShow(request.clone()), commands) {
            self.trades.showing = Some(request);
        }
    }

    fn copy(&mut self, commands: &mut Vec<Command>) {
        let text = match self.tab {
            Tab::Wallet => self.wallet.address.as_ref().map(|address| address.address.clone()),
            Tab::Trades => self.trades.selection().and_then(|trade| trade.their_details.clone()),
            Tab::Book | Tab::Post | Tab::Take | Tab::Network => None,
        };
        if let Some(text) = text {
            let text = format::clean(&text);
            self.toast(words::copied(&text), false);
            commands.push(Command::Copy(text));
        }
    }

    /// Returns the request for the higher fee that was just priced.
    pub(super) fn wanted_bump(&mut self, priced: Bump) -> Bump {
        match priced {
            Bump::Tx(request) => {
                let request_id = self.requests.id("bump", &request);
                Bump::Tx(BumpTx { request_id, dry_run: false, ..request })
            }
            Bump::Trade(request) => {
                let request_id = self.requests.id("bump", &request);
                Bump::Trade(BumpTrade { request_id, dry_run: false, ..request })
            }
        }
    }

    /// Returns the request to cancel the payment of which it was just priced.
    pub(super) fn wanted_cancel(&mut self, priced: CancelTx) -> CancelTx {
        let request_id = self.requests.id("cancel", &priced);
        CancelTx { request_id, dry_run: false, ..priced }
    }

    fn freeze(&mut self, commands: &mut Vec<Command>) {
        if let Some(coin) = self.wallet.coin() {
            let (coins, frozen) = (vec![coin.coin.clone()], coin.state != CoinUse::Frozen);
            self.call(Call::Freeze(FreezeCoins { coins, frozen }), commands);
        }
    }

    fn start_bumping(&mut self) {
        let target = match self.tab {
            Tab::Wallet => self.wallet.tx().map(|tx| BumpTarget::Tx(tx.txid.clone())),
            Tab::Trades => self.trades.selection().map(|trade| BumpTarget::Trade(trade.id)),
            Tab::Book | Tab::Post | Tab::Take | Tab::Network => None,
        };
        if let Some(target) = target {
            self.push_popup(Popup::Form(FormFor::Bump(target), wallet::fee_form(&self.wallet)));
        }
    }

    /// Returns the request id for the ruling that was just weighed.
    pub(super) fn rule_request_id(&mut self, request: &RuleTrade) -> String {
        self.requests.id("rule", &(request.trade, request.verdict))
    }

    /// Returns the request id for the take that was just reviewed.
    pub(super) fn take_request_id(&mut self, request: &exchange_api::TakeOffer) -> String {
        self.requests.id("take", request)
    }

    /// Refreshes what an action of the user changes.
    pub(super) fn refresh_after(&mut self, call: CallName, commands: &mut Vec<Command>) {
        let queries: &[Query] = match call {
            CallName::Passphrase
            | CallName::Strength
            | CallName::Review
            | CallName::Price
            | CallName::Talk
            | CallName::Say
            | CallName::PriceBump
            | CallName::PriceCancel
            | CallName::Weigh
            | CallName::ToShow
            | CallName::Disclose => &[],
            CallName::Connect => &[Query::Status, Query::Peers, Query::Book],
            CallName::Create | CallName::Unlock => {
                &[Query::Status, Query::Book, Query::Trades, Query::Balance, Query::Address, Query::History]
            }
            CallName::Post | CallName::Withdraw => &[Query::Book],
            CallName::Take => &[Query::Trades, Query::Book],
            CallName::Trade(_) => &[Query::Trades, Query::Balance, Query::History],
            CallName::Send => &[Query::Balance, Query::History, Query::Coins],
            CallName::Freeze => &[Query::Balance, Query::Coins],
            CallName::Label => &[Query::History, Query::Coins],
            CallName::Bump | CallName::Cancel => &[Query::Balance, Query::History, Query::Coins, Query::Trades],
        };
        for query in queries {
            self.refresh.ask(*query, commands);
        }
    }
}
