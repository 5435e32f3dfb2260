//! The advert of an arbiter: from the words of its request to the record, and how it is withdrawn.

use std::sync::Arc;

use exchange_api::{Advertise, ApiError, ArbiterView, Code, MIN_TRADE, RecordId, Sats};
use exchange_ledger::body::{ArbiterAdvert, Body, Terms};
use exchange_ledger::seal;
use exchange_ledger::text::Text;
use exchange_ledger::wire::{CurveKey, List};

use super::Server;
use crate::errors::{ExplainResult, bad_text, internal, invalid};
use crate::market;
use crate::node::Session;
use crate::trader::keys::{ARBITER_NONCE, seal_secret, trade_key};

impl Server {
    pub(super) async fn advertise(&self, session: &Session, request: Advertise) -> Result<ArbiterView, ApiError> {
        if request.max_amount < MIN_TRADE {
            let message = format!("the largest trade is {} BTC, and none is below {MIN_TRADE} BTC", request.max_amount);
            let hint = "name a larger one with --max; to take on no more trades: `exchange-node arbiter withdraw`";
            return Err(ApiError::new(Code::InvalidArgument, message, hint));
        }
        let identity = &session.tools.identity;
        let languages = request.languages.into_iter().map(Text::new).collect::<Result<Vec<_>, _>>();
        let languages = languages.map_err(bad_text("a language"))?;
        let name = Text::new(request.name.trim()).map_err(bad_text("the name"))?;
        let languages = List::new(languages).ok_or_else(|| invalid("too many languages"))?;
        let currencies = List::new(request.currencies).ok_or_else(|| invalid("too many currencies"))?;
        let terms = Terms::new(request.terms.trim()).map_err(bad_text("the terms"))?;
        let advert = |destination| {
            Ok(Body::ArbiterAdvert(ArbiterAdvert {
                name,
                key: CurveKey(trade_key(identity, &ARBITER_NONCE).x_only_public_key().0),
                seal_key: seal::public_key(&seal_secret(identity, &ARBITER_NONCE)),
                fee_ppm: request.fee_ppm,
                destination,
                max_amount: request.max_amount,
                languages,
                currencies,
                terms,
            }))
        };
        let record = session.tools.publish_naming(None, advert).await?;
        self.shown(&record.id())
    }

    /// Publishes the last advert again for no amount at all, unless that is what it says already.
    pub(super) async fn withdraw_advert(&self, session: &Session) -> Result<ArbiterView, ApiError> {
        let identity = Arc::clone(&session.tools.identity);
        let last = market::last_advert(self.parts.keeper.ledger().storage(), &identity.author()).explained()?;
        let Some((mut id, advert)) = last else {
            let message = "you have not advertised yourself as an arbiter";
            let hint = "the advert of a group stands as long as the group: its members agree that they rule no more";
            return Err(ApiError::new(Code::NotFound, message, hint));
        };
        if !advert.is_withdrawal() {
            let withdrawal = Body::ArbiterAdvert(ArbiterAdvert { max_amount: Sats::ZERO, ..advert });
            id = self.parts.keeper.publish(identity, withdrawal).await.explained()?.id();
        }
        let view = self.shown(&id)?;
        if view.withdrawn {
            return Ok(view);
        }
        let message = "another machine of yours has advertised in a newer log, and that advert still stands";
        Err(ApiError::new(Code::NotAllowed, message, "withdraw it on that machine"))
    }

    /// Returns an own advert as the API shows it.
    fn shown(&self, advert: &RecordId) -> Result<ArbiterView, ApiError> {
        let arbiter = market::arbiter(self.parts.keeper.ledger(), advert).explained()?;
        let viewer = self.viewer()?;
        arbiter.map(|arbiter| viewer.arbiter(&arbiter)).ok_or_else(|| internal("the advert was not kept"))
    }
}
