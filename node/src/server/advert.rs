//! The advert of an arbiter: from the words of its request to the record.

use std::sync::Arc;

use exchange_api::{Advertise, ApiError, ArbiterView};
use exchange_ledger::body::{ArbiterAdvert, Body, Terms};
use exchange_ledger::seal;
use exchange_ledger::text::Text;
use exchange_ledger::wire::{CurveKey, Destination, List};

use super::Server;
use crate::errors::{ExplainResult, bad_text, internal, invalid};
use crate::market;
use crate::node::Session;
use crate::trader::keys::{ARBITER_NONCE, seal_secret, trade_key};

impl Server {
    pub(super) async fn advertise(&self, session: &Session, request: Advertise) -> Result<ArbiterView, ApiError> {
        let identity = Arc::clone(&session.tools.identity);
        let languages = request.languages.into_iter().map(Text::new).collect::<Result<Vec<_>, _>>();
        let languages = languages.map_err(bad_text("a language"))?;
        let destination = session.tools.wallet.new_destination().await.explained()?;
        let destination = Destination::new(destination).ok_or_else(|| internal("the wallet made an odd address"))?;
        let advert = ArbiterAdvert {
            name: Text::new(request.name.trim()).map_err(bad_text("the name"))?,
            key: CurveKey(trade_key(&identity, &ARBITER_NONCE).x_only_public_key().0),
            seal_key: seal::public_key(&seal_secret(&identity, &ARBITER_NONCE)),
            fee_ppm: request.fee_ppm,
            destination,
            max_amount: request.max_amount,
            languages: List::new(languages).ok_or_else(|| invalid("too many languages"))?,
            currencies: List::new(request.currencies).ok_or_else(|| invalid("too many currencies"))?,
            terms: Terms::new(request.terms.trim()).map_err(bad_text("the terms"))?,
        };
        let record = self.parts.keeper.publish(identity, Body::ArbiterAdvert(advert)).await.explained()?;
        let arbiter = market::arbiter(self.parts.keeper.ledger(), &record.id()).explained()?;
        let viewer = self.viewer()?;
        arbiter.map(|arbiter| viewer.arbiter(&arbiter)).ok_or_else(|| internal("the advert was not kept"))
    }
}
