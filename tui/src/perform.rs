//! Queries and calls as calls of the API.

use exchange_api::{Action, ApiError, Client, ExchangeApiClient};
use zeroize::Zeroizing;

use crate::message::{Answer, Bump, Call, Password, Query, Reply, whole_book};

/// Transactions of the wallet that are shown.
const HISTORY: u32 = 100;
/// Coins of the wallet that are shown.
const COINS: u32 = 200;

/// Asks the node for something to show.
pub async fn query(client: &Client, query: Query) -> Result<Answer, ApiError> {
    Ok(match query {
        Query::Status => Answer::Status(client.status().await?),
        Query::Peers => Answer::Peers(client.peers().await?),
        Query::Book => Answer::Book(client.book(whole_book()).await?),
        Query::Trades => Answer::Trades(client.trade_list().await?),
        Query::Balance => Answer::Balance(client.wallet_balance().await?),
        Query::Address => Answer::Address(client.wallet_address().await?),
        Query::Arbiters => Answer::Arbiters(client.arbiter_list().await?),
        Query::Coins => Answer::Coins(client.wallet_coins(None, Some(COINS)).await?),
        Query::Fees => Answer::Fees(client.wallet_fees().await?),
        Query::History => Answer::History(client.wallet_history(None, Some(HISTORY)).await?),
    })
}

/// Does what the user wants.
pub async fn call(client: &Client, call: Call) -> Result<Reply, ApiError> {
    Ok(match call {
        Call::Passphrase => Reply::Passphrase(Password(Zeroizing::new(client.passphrase().await?))),
        Call::Strength(credentials) => Reply::Strength(client.password_strength(credentials).await?),
        Call::Create(credentials) => Reply::Identity(client.identity_create(credentials).await?),
        Call::Unlock(password) => Reply::Identity(client.identity_unlock(password.0.to_string()).await?),
        Call::Post(offer) => Reply::Offer(client.offer_post(offer).await?),
        Call::Withdraw(offer) => Reply::Offer(client.offer_revoke(offer).await?),
        Call::Review(request) => Reply::Review(client.trade_review(request).await?),
        Call::Take(request) => Reply::Trade(client.trade_take(request).await?),
        Call::Accept(request) => Reply::Trade(client.trade_accept(request).await?),
        Call::Trade(action, command) => Reply::Trade(match action {
            Action::Fund => client.trade_fund(command).await?,
            Action::MarkPaid => client.trade_paid(command).await?,
            Action::Release => client.trade_release(command).await?,
            Action::Cancel => client.trade_cancel(command).await?,
            Action::Refund => client.trade_refund(command).await?,
            Action::Dispute => client.trade_dispute(command).await?,
            Action::Extend => client.trade_extend(command).await?,
            // A ruling goes with its verdict, see [`Call::Rule`].
            Action::Rule => client.trade_show(command.trade).await?,
            // Accepting goes with one's payment details: without any, those given with the offer.
            Action::Accept => {
                let (request_id, trade) = (command.request_id, command.trade);
                let request = exchange_api::AcceptBid { request_id, dry_run: false, trade, details: String::new() };
                client.trade_accept(request).await?
            }
        }),
        Call::Talk(trade) => {
            let said = client.chat_show(trade).await?;
            if let Some(last) = said.messages.last().filter(|_| said.unread > 0) {
                client.chat_read(trade, last.number).await?;
            }
            Reply::Talk(said)
        }
        Call::Weigh(request) | Call::Rule(request) => Reply::Trade(client.trade_rule(request).await?),
        Call::ToShow(request) | Call::Disclose(request) => Reply::Disclosure(client.trade_disclose(request).await?),
        Call::Connect(address) => {
            client.connect_peer(address.clone()).await?;
            Reply::Connected(address)
        }
        Call::Say(message) => Reply::Said(client.chat_send(message).await?),
        Call::Freeze(request) => Reply::Coins(client.wallet_freeze(request).await?),
        Call::Label(request) => {
            client.wallet_label(request).await?;
            Reply::Labelled
        }
        Call::PriceBump(bump) | Call::Bump(bump) => Reply::Bumped(match bump {
            Bump::Tx(request) => client.wallet_bump(request).await?,
            Bump::Trade(request) => client.trade_bump(request).await?,
        }),
        Call::PriceCancel(request) | Call::Cancel(request) => Reply::Cancelled(client.wallet_cancel(request).await?),
        Call::Price(request) | Call::Send(request) => Reply::Sent(client.wallet_send(request).await?),
    })
}
