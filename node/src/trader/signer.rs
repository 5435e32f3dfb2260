//! A party's keys that are kept elsewhere: on a hardware wallet, or a machine without a network.
//!
//! The node knows an extended public key, and each trade has a child of it, by a number that the ledger shows: so nothing but
//! email, password and that key finds them again. What such a key has to sign is remembered and handed out as a partially signed
//! transaction; what comes back counts only as signatures over what was recomputed here.

use bitcoin::bip32::{ChildNumber, KeySource};
use bitcoin::key::{Keypair, Secp256k1, XOnlyPublicKey};
use bitcoin::{Network, NetworkKind, Psbt};
use exchange_api::{ApiError, Code, SignerView, ToSign, TradeView};
use exchange_ledger::body::Signatures;
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::{
    Action, Command, Draft, Effect, Elsewhere, Escrow, EscrowError, Event, Leaf, SIGNER_BRANCH, Signer, Unsigned,
    signer_index,
};
use miniscript::DescriptorPublicKey;
use miniscript::descriptor::DescriptorXKey;

use super::bump::{Replacement, replacement};
use super::{Trader, keys, not_mine};
use crate::chain::consensus;
use crate::errors::{ExplainResult, internal};
use crate::private::Private;

/// How many signers a user can have had: each may still hold the keys of a trade.
const MAX_SIGNERS: usize = 16;

/// An extended public key whose private part is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalKey {
    written: String,
    key: DescriptorXKey<bitcoin::bip32::Xpub>,
}

impl ExternalKey {
    /// Reads a key as descriptors write it, e.g. `[d34db33f/86h/0h/0h]xpub…`.
    ///
    /// # Errors
    /// When it is none, is of another network, or names paths of its own.
    pub fn parse(text: &str, network: Network) -> Result<Self, ApiError> {
        let refused = |why: String| {
            let hint = "give the key of an account as your signer shows it, with its origin: [d34db33f/86h/0h/0h]xpub…";
            ApiError::new(Code::InvalidArgument, format!("this is no extended public key: {why}"), hint)
        };
        let parsed: DescriptorPublicKey = text.trim().parse().map_err(|error| refused(format!("{error}")))?;
        let DescriptorPublicKey::XPub(key) = parsed else { return Err(refused("it is a single key".to_owned())) };
        if !key.derivation_path.is_empty() || key.wildcard != miniscript::descriptor::Wildcard::None {
            return Err(refused("it goes on after the key; leave out /0/*".to_owned()));
        }
        if key.xkey.network != NetworkKind::from(network) {
            return Err(refused(format!("it is not one of {network}")));
        }
        Ok(Self { written: text.trim().to_owned(), key })
    }

    /// Returns the key of a trade and where it derives from.
    fn child(&self, nonce: &[u8; 32]) -> Result<(XOnlyPublicKey, KeySource), ApiError> {
        let path = [SIGNER_BRANCH, signer_index(nonce)].map(|number| ChildNumber::Normal { index: number });
        let child = self.key.xkey.derive_pub(&Secp256k1::verification_only(), &path).map_err(internal)?;
        let (fingerprint, origin) =
            self.key.origin.clone().unwrap_or_else(|| (self.key.xkey.fingerprint(), Vec::new().into()));
        Ok((child.to_x_only_pub(), (fingerprint, origin.extend(path))))
    }

    /// Returns what identifies the signer to its user.
    pub fn view(&self, is_used: bool) -> SignerView {
        let fingerprint = self.key.origin.as_ref().map_or_else(|| self.key.xkey.fingerprint(), |(print, _)| *print);
        SignerView { key: self.written.clone(), fingerprint: fingerprint.to_string(), used_for_new_trades: is_used }
    }
}

/// The signers that the user has had, the one for new trades last if there is one.
pub struct Signers {
    all: Vec<ExternalKey>,
    is_used: bool,
}

impl Signers {
    /// Reads them.
    ///
    /// # Errors
    /// When the store fails.
    pub fn load(private: &Private, network: Network) -> Result<Self, ApiError> {
        let (written, is_used) = private.signers().explained()?;
        let all = written.iter().map(|text| ExternalKey::parse(text, network)).collect::<Result<_, _>>()?;
        Ok(Self { all, is_used })
    }

    /// Returns the one for new trades.
    pub fn current(&self) -> Option<&ExternalKey> {
        self.all.last().filter(|_| self.is_used)
    }

    /// Returns all of them, the newest last.
    pub fn views(&self) -> Vec<SignerView> {
        let newest = self.all.len().checked_sub(1);
        (0..).zip(&self.all).map(|(at, key)| key.view(self.is_used && Some(at) == newest)).collect()
    }

    /// Uses a key for new trades from now on, or none. None is ever forgotten: a trade may rest on it.
    ///
    /// # Errors
    /// When there is no room, or the store fails.
    pub fn choose(mut self, private: &Private, key: Option<ExternalKey>) -> Result<Self, ApiError> {
        self.is_used = key.is_some();
        if let Some(key) = key {
            self.all.retain(|known| *known != key);
            self.all.push(key);
        }
        if self.all.len() > MAX_SIGNERS {
            let message =
                format!("you have had {MAX_SIGNERS} signers, which is the limit: each may hold keys of a trade");
            return Err(ApiError::new(Code::NotAllowed, message, "use one of `exchange-node signer show`"));
        }
        let written: Vec<String> = self.all.iter().map(|key| key.written.clone()).collect();
        private.put_signers(&written, self.is_used).explained()?;
        Ok(self)
    }
}

/// The key by which this side signs in a trade.
pub(super) enum OwnKey {
    /// Derived from email and password.
    Here(Keypair),
    /// Kept elsewhere, and where it derives from.
    Elsewhere(Elsewhere, KeySource),
}

impl OwnKey {
    /// Returns the key, if this machine has it: for what is not worth a walk to the signer.
    pub(super) fn here(&self) -> Result<&Keypair, ApiError> {
        match self {
            Self::Here(pair) => Ok(pair),
            Self::Elsewhere(..) => Err(ApiError::new(
                Code::NotAllowed,
                "your signer has the key of this trade, and is not asked for this",
                "",
            )),
        }
    }
}

impl Signer for OwnKey {
    fn sign(&self, escrow: &Escrow, draft: &Draft, leaf: Leaf) -> Result<Signatures, EscrowError> {
        match self {
            Self::Here(pair) => pair.sign(escrow, draft, leaf),
            Self::Elsewhere(key, _) => key.sign(escrow, draft, leaf),
        }
    }
}

impl Trader {
    /// Returns the escrow key for a new trade, if it is kept elsewhere: when the user has a signer.
    pub(super) fn external_key(&self, nonce: &[u8; 32]) -> Result<Option<XOnlyPublicKey>, ApiError> {
        let signers = Signers::load(&self.tools.private, self.tools.chain.network())?;
        signers.current().map(|signer| signer.child(nonce).map(|(key, _)| key)).transpose()
    }

    /// Returns the key by which this side signs in a trade: the one that the contract names, here or elsewhere.
    pub(super) fn trade_key(&self, id: TradeId) -> Result<OwnKey, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let nonce = keys::nonce(active.trade.bid(), active.trade.is_maker());
        let pair = keys::trade_key(&self.tools.identity, &nonce);
        let role = active.trade.role();
        let named =
            active.trade.escrow().and_then(|escrow| escrow.contract().party(role)).map(|party| party.trade_key.0);
        let Some(key) = named.filter(|key| *key != pair.x_only_public_key().0) else { return Ok(OwnKey::Here(pair)) };
        for signer in Signers::load(&self.tools.private, self.tools.chain.network())?.all.iter().rev() {
            let (child, origin) = signer.child(&nonce)?;
            if child == key {
                let signed = active.signed.clone();
                return Ok(OwnKey::Elsewhere(Elsewhere { role, key, signed }, origin));
            }
        }
        let message = "the key of this trade is neither this identity's nor one of a signer that this node knows";
        Err(ApiError::new(Code::NotAllowed, message, "`exchange-node signer set` the one that it was made with"))
    }

    /// Explains why a spend was not made. What a key elsewhere has to sign is remembered until it is asked for.
    pub(super) fn note_unsigned(&mut self, id: TradeId, error: EscrowError) -> ApiError {
        let EscrowError::Unsigned(what) = error else { return internal(error) };
        if let Some(active) = self.trades.get_mut(&id) {
            active.unsigned = Some(*what);
        }
        let id = id.short();
        let hint = format!(
            "`exchange-node trade sign {id} --psbt-out FILE`, sign there, then `exchange-node trade sign {id} --psbt-in FILE`"
        );
        ApiError::new(Code::NotAllowed, "your signer has the key of this trade and must sign first", hint)
    }

    /// Returns what a signer elsewhere has to sign of a trade.
    pub(super) fn what_to_sign(&mut self, id: TradeId) -> Result<ToSign, ApiError> {
        let key = self.trade_key(id)?;
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let (OwnKey::Elsewhere(key, origin), Some(what)) = (key, active.unsigned.clone()) else {
            let hint = "first do what has to be signed, e.g. `exchange-node trade release`";
            return Err(ApiError::new(Code::NotAllowed, "nothing of this trade waits for a signer", hint));
        };
        let psbt = self.escrow(id)?.psbt(&what, key.key, &origin).map_err(internal)?;
        let fee = psbt.fee().map_err(internal)?.try_into().map_err(internal)?;
        let outputs = &what.draft.tx.output;
        let network = self.tools.chain.network();
        let pays = outputs.iter().map(|output| {
            let address = bitcoin::Address::from_script(&output.script_pubkey, network);
            (address.map_or_else(|_| output.script_pubkey.to_string(), |address| address.to_string()), output.value)
        });
        let pays = pays.map(|(to, value)| Ok((to, value.try_into()?))).collect::<Result<Vec<_>, _>>();
        let pays = pays.map_err(|error: exchange_ledger::money::MoneyError| internal(error))?;
        Ok(ToSign { psbt: psbt.to_string(), txid: what.draft.tx.compute_txid().to_string(), fee, pays })
    }

    /// Takes in what a signer elsewhere has signed, and does what waited for it.
    pub(super) async fn signed(&mut self, id: TradeId, psbt: &Psbt, dry_run: bool) -> Result<TradeView, ApiError> {
        let OwnKey::Elsewhere(key, _) = self.trade_key(id)? else {
            return Err(ApiError::new(
                Code::NotAllowed,
                "the key of this trade is on this machine",
                "no file is needed",
            ));
        };
        let escrow = self.escrow(id)?;
        let command = self.command_of(id, &escrow, psbt)?;
        let active = self.trades.get_mut(&id).ok_or_else(|| not_mine(id))?;
        let waiting = active.unsigned.clone().filter(|what| what.draft.tx == psbt.unsigned_tx);
        let dearer = replacement(&active.trade, &psbt.unsigned_tx).filter(|_| command.is_none());
        let replacing = dearer.as_ref().map(|dearer| dearer.what.clone());
        let what = command.as_ref().map(|(_, what)| what.clone()).or(replacing).or(waiting);
        let unknown = || {
            let hint = "`exchange-node trade sign --psbt-out FILE` writes what is to be signed now";
            ApiError::new(Code::InvalidArgument, "this is not what this trade has to be signed for", hint)
        };
        let what = what.ok_or_else(unknown)?;
        let signatures = escrow.signatures_in(psbt, &what, (key.role, key.key)).map_err(|error| match error {
            EscrowError::Unsigned(_) => {
                ApiError::new(Code::InvalidArgument, "your signer has not signed it", "sign it there, then try again")
            }
            other => ApiError::new(Code::InvalidArgument, other.to_string(), "sign exactly what was written"),
        })?;
        if dry_run {
            return self.show(id);
        }
        active.signed = Some((what, signatures));
        active.unsigned = None;
        active.problem = None;
        let event = match (command, dearer) {
            (Some((command, _)), _) => Event::Command(command),
            (None, Some(Replacement { own: (vault, coin), fee, .. })) => {
                let draft = escrow.signed_timeout(vault, coin, fee, &self.trade_key(id)?).map_err(internal)?;
                consensus::verify_spend(&draft.tx, &draft.prevouts()).map_err(internal)?;
                Event::SpendBuilt(draft.tx)
            }
            (None, None) => Event::Chain(self.chain_facts(id)),
        };
        self.handle(id, event).await?;
        self.show(id)
    }

    /// Returns what the user does by a transaction: releases the coins, takes his own back or agrees to a refund, at its fee.
    /// Nothing of it has to be remembered, so it may be signed days later and after a restart.
    fn command_of(&self, id: TradeId, escrow: &Escrow, psbt: &Psbt) -> Result<Option<(Command, Unsigned)>, ApiError> {
        let active = self.trades.get(&id).ok_or_else(|| not_mine(id))?;
        let Ok(fee) = psbt.fee() else { return Ok(None) };
        for action in [Action::Release, Action::Refund, Action::Cancel] {
            let effects = |feerate| active.trade.clone().handle(Event::Command(Command { action, feerate }));
            let Ok(cheapest) = effects(1) else { continue };
            let Some(each) = cheapest.iter().find_map(fee_of).filter(|each| *each > 0) else { continue };
            let feerate = fee.to_sat() / each;
            let Ok(effects) = effects(feerate) else { continue };
            for what in effects.iter().filter_map(|effect| draft_of(escrow, effect)) {
                if what.draft.tx == psbt.unsigned_tx {
                    return Ok(Some((Command { action, feerate }, what)));
                }
            }
        }
        Ok(None)
    }
}

/// Returns the fee of a spend that an effect asks for.
fn fee_of(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::SignHalf { fee, .. } | Effect::BuildTimeout { fee, .. } => Some(fee.get()),
        _ => None,
    }
}

/// Returns the spend that a command asks to be signed.
fn draft_of(escrow: &Escrow, effect: &Effect) -> Option<Unsigned> {
    match effect {
        Effect::SignHalf { vaults, fee, to } => {
            Some(Unsigned { draft: escrow.spend(vaults, *fee, *to).ok()?, leaf: Leaf::Both })
        }
        Effect::BuildTimeout { vault, coin, fee } => {
            Some(Unsigned { draft: escrow.timeout(*vault, *coin, *fee).ok()?, leaf: Leaf::Refund })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "[73c5da0a/86h/1h/0h]tpubDDfvzhdVV4unsoKt5aE6dcsNsfeWbTgmLZPi8LQDYU2xixrYemMfWJ3BaVneH3u7DBQePdTwhpybaKRU95pi6PMUtLPBJLVQRpzEnjfjZzX";

    #[test]
    fn a_key_is_read_as_signers_show_it_and_nothing_else() {
        let key = ExternalKey::parse(ACCOUNT, Network::Regtest).unwrap();
        assert_eq!(key.view(true).fingerprint, "73c5da0a");
        let bare = ACCOUNT.split(']').nth(1).unwrap();
        for (text, network) in [
            (format!("{ACCOUNT}/0/*"), Network::Regtest),
            (format!("{bare}/2"), Network::Regtest),
            (ACCOUNT.to_owned(), Network::Bitcoin),
            ("02".repeat(33), Network::Regtest),
            (String::new(), Network::Regtest),
            ("x".repeat(100_000), Network::Regtest),
        ] {
            assert!(ExternalKey::parse(&text, network).is_err(), "{text:.40}");
        }
        ExternalKey::parse(bare, Network::Regtest).unwrap();
    }

    #[test]
    fn each_trade_has_a_key_of_its_own_and_the_same_one_on_every_machine() {
        let signer = ExternalKey::parse(ACCOUNT, Network::Regtest).unwrap();
        let (first, origin) = signer.child(&[1; 32]).unwrap();
        assert_eq!(signer.child(&[1; 32]).unwrap(), (first, origin.clone()));
        assert_ne!(signer.child(&[2; 32]).unwrap().0, first);
        let numbers: Vec<u32> = origin.1.into_iter().map(|number| u32::from(*number)).collect();
        assert_eq!(numbers[3..], [SIGNER_BRANCH, signer_index(&[1; 32])]);
    }
}
