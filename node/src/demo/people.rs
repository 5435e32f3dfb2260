//! The people of the demo, who answer you: makers who fund, pay, release and take what you offer, and an arbiter who rules.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use color_eyre::eyre::{Result, eyre};
use exchange_api::{BookFilter, Person, RuleTrade, SendMessage, TakeOffer};
use exchange_ledger::ids::{AuthorId, RecordId, TradeId};
use exchange_ledger::trade::{Action, Phase, Verdict};
use tokio_util::sync::CancellationToken;

use super::nowhere;
use crate::chain::ChainBackend;
use crate::chain::kernel::KernelChain;
use crate::market::{self, Viewer};
use crate::node::Session;

/// How often a block comes.
const BLOCK_EVERY: Duration = Duration::from_secs(3);
/// How long the people of the demo take to do what is their turn.
const THINKING: Duration = Duration::from_secs(2);
/// How long the people of the demo think about an offer of yours before one of them takes it.
const PONDERING: Duration = Duration::from_secs(8);
/// How long the arbiter of the demo hears a dispute before he rules; [`HIS_RULE`] says it.
const HEARING: Duration = Duration::from_secs(15);
/// How he rules, in his advert and to both parties of a dispute.
pub(super) const HIS_RULE: &str = "In this demo I rule after 15 seconds: for the buyer if he says that he has paid, \
                                   else for the seller. A real arbiter asks both of you for proof.";
/// How many blocks come at once while a ruling waits for its delay: a day of them takes half a minute.
const HASTE: u32 = 12;

/// Who answers you in the demo.
pub(super) struct People {
    pub arbiter: Arc<Session>,
    pub makers: Vec<Arc<Session>>,
    pub you: AuthorId,
}

/// Keeps the demo alive: blocks come, the makers do what is their turn and take what you offer, and the arbiter rules.
pub(super) async fn breathe(chain: Arc<KernelChain>, answering: People, stop: CancellationToken) {
    let People { arbiter, makers, you } = answering;
    let (mut seen, mut heard) = (HashMap::new(), HashMap::new());
    let mut blocks = tokio::time::interval(BLOCK_EVERY);
    let mut people = tokio::time::interval(THINKING);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = blocks.tick() => if let Err(error) = chain.mine(1, nowhere()).await {
                tracing::error!(%error, "no block could be mined");
            },
            _ = people.tick() => {
                for maker in &makers {
                    act_as_maker(maker).await;
                }
                if let Err(error) = take_offers_of(you, &makers, &mut seen).await {
                    tracing::warn!(%error, "nobody could take your offer");
                }
                if let Err(error) = act_as_arbiter(&arbiter, &chain, &mut heard).await {
                    tracing::warn!(%error, "the arbiter of the demo could not act");
                }
            }
        }
    }
}

/// Does what is a maker's turn: funds, pays and releases.
pub(super) async fn act_as_maker(maker: &Session) {
    let Ok(trades) = maker.trader.list().await else { return };
    for trade in trades {
        let turn = [Action::Fund, Action::MarkPaid, Action::Release].into_iter().find(|action| {
            let is_turn = trade.actions.contains(action);
            // Nobody releases before he was paid, nor pays before he knows where to.
            is_turn
                && (*action != Action::Release || trade.state == Phase::Paid)
                && (*action != Action::MarkPaid || trade.their_details.is_some())
        });
        if let Some(action) = turn
            && let Err(error) = maker.trader.act(trade.id, action, None, false).await
        {
            tracing::warn!(%error, ?action, "a maker of the demo could not act");
        }
    }
}

/// Rules in each dispute after a while, and lets blocks come until what he ruled can move the coins.
async fn act_as_arbiter(arbiter: &Session, chain: &KernelChain, heard: &mut HashMap<TradeId, Instant>) -> Result<()> {
    for case in arbiter.trader.list().await? {
        if case.actions.contains(&Action::Rule) {
            hear(arbiter, case.id, heard).await?;
        }
        let opens = case.dispute.filter(|_| case.state == Phase::Ruled).map_or(0, |dispute| dispute.ruling_from);
        let blocks = opens.saturating_sub(chain.tip().await?.height).min(HASTE);
        if blocks > 0 {
            chain.mine(blocks, nowhere()).await?;
        }
    }
    Ok(())
}

/// Tells both parties of a dispute by what the arbiter rules, once, and when he has heard enough, rules.
async fn hear(arbiter: &Session, case: TradeId, heard: &mut HashMap<TradeId, Instant>) -> Result<()> {
    let since = match heard.entry(case) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(new) => {
            let since = *new.insert(Instant::now());
            for party in [Person::Buyer, Person::Seller] {
                let (request_id, to, text) = (String::new(), Some(party), HIS_RULE.to_owned());
                arbiter.trader.say(SendMessage { request_id, trade: case, to, text }).await?;
            }
            since
        }
    };
    if since.elapsed() >= HEARING {
        let facts = arbiter.tools.keeper.ledger().trade(case).map_err(|error| eyre!("{error}"))?.facts;
        let verdict = if facts.payment_sent { Verdict::Buyer } else { Verdict::Seller };
        let request = RuleTrade { request_id: String::new(), dry_run: false, trade: case, verdict };
        arbiter.trader.rule(request).await?;
    }
    Ok(())
}

/// Lets one of the makers take each offer of yours, after a while, for its smallest amount.
async fn take_offers_of(you: AuthorId, makers: &[Arc<Session>], seen: &mut HashMap<RecordId, Instant>) -> Result<()> {
    for (at, maker) in makers.iter().enumerate() {
        let page = market::book(&Viewer::of(&maker.tools)?, &BookFilter::default())?;
        for offer in page.items.iter().filter(|offer| offer.maker == you) {
            let since = *seen.entry(offer.id).or_insert_with(Instant::now);
            // Each offer is one maker's.
            let is_his = usize::from(offer.id.0[0]) % makers.len() == at;
            let has_bid = maker.trader.list().await?.iter().any(|trade| trade.offer == offer.id);
            if is_his && !has_bid && since.elapsed() >= PONDERING {
                let take = TakeOffer {
                    request_id: String::new(),
                    dry_run: false,
                    offer: offer.id,
                    amount: offer.min,
                    method: None,
                    arbiter: None,
                    second_arbiter: None,
                    details: "a neighbour in the demo, account 12-34-56".into(),
                };
                maker.trader.take(take).await?;
            }
        }
    }
    Ok(())
}
