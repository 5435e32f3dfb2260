//! What the owner says of transactions, addresses and coins: his own words, beside what the node says a transaction was
//! for. They travel as BIP-329 does: `tx`, `addr` and `output`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use bitcoin::{Address, Network, OutPoint, ScriptBuf, Txid};

use super::persist::Own;
use super::state::State;
use super::{MAX_LABEL_BYTES, MAX_LABELS, WalletError};

/// How many labels one call sets or returns.
pub const MAX_LABEL_PAGE: usize = 500;

/// What a label is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelSubject {
    /// A transaction.
    Tx(Txid),
    /// An address, by its script.
    Address(ScriptBuf),
    /// An output.
    Coin(OutPoint),
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What it is about.
    pub subject: LabelSubject,
    /// What it says; empty: nothing.
    pub text: String,
    /// Whether the coin is frozen; `None` for what is no coin, or to leave it as it is. Setting a label frees none.
    pub frozen: Option<bool>,
}

impl LabelSubject {
    /// Reads a transaction id, an address of `network`, or an output as `txid:index`.
    ///
    /// # Errors
    /// [`WalletError::BadSubject`] when it is none of them.
    pub fn parse(text: &str, network: Network) -> Result<Self, WalletError> {
        let text = text.trim();
        let unknown = || WalletError::BadSubject(text.chars().take(100).collect());
        if let Ok(coin) = text.parse::<OutPoint>() {
            Ok(Self::Coin(coin))
        } else if let Ok(txid) = text.parse::<Txid>() {
            Ok(Self::Tx(txid))
        } else {
            let address = text.parse::<Address<_>>().map_err(|_| unknown())?;
            Ok(Self::Address(address.require_network(network).map_err(|_| unknown())?.script_pubkey()))
        }
    }

    /// Returns it as BIP-329 names it: the type and the reference. `None` for a script without an address.
    pub fn reference(&self, network: Network) -> Option<(&'static str, String)> {
        Some(match self {
            Self::Tx(txid) => ("tx", txid.to_string()),
            Self::Address(script) => ("addr", Address::from_script(script, network).ok()?.to_string()),
            Self::Coin(coin) => ("output", coin.to_string()),
        })
    }
}

impl fmt::Display for LabelSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tx(txid) => write!(f, "transaction {txid}"),
            Self::Address(script) => write!(f, "script {script:x}"),
            Self::Coin(coin) => write!(f, "coin {coin}"),
        }
    }
}

/// What came of labels that were set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelsSet {
    /// How many coins are frozen that were not before.
    pub frozen: usize,
    /// How many stay frozen, though a label says that they may be spent.
    pub left_frozen: usize,
}

impl State {
    /// Sets what the node says that a transaction was for; an empty text takes it away. There is always room for it: no payment
    /// may fail for what its owner says of others.
    pub fn set_label(&mut self, txid: Txid, label: &str) -> Result<(), WalletError> {
        check_label(label)?;
        self.record(Own { labels: [(txid, kept(label))].into(), ..Own::default() });
        Ok(())
    }

    /// Sets what the owner says: all of it or nothing. An empty text takes a label away, for which there is always room. A label
    /// freezes coins, but frees none: one from elsewhere, or of last year, knows nothing of what its owner keeps apart now.
    pub fn set_labels(&mut self, labels: &[Label]) -> Result<LabelsSet, WalletError> {
        if labels.len() > MAX_LABEL_PAGE {
            return Err(WalletError::TooManyLabels);
        }
        labels.iter().try_for_each(|label| check_label(&label.text))?;
        let (own, mut change) = (&self.own, Own::default());
        let mut left_frozen: HashSet<OutPoint> = HashSet::new();
        for Label { subject, text, frozen } in labels {
            match subject {
                LabelSubject::Tx(txid) => put(&mut change.notes, &own.notes, txid, text),
                LabelSubject::Address(script) => put(&mut change.address_labels, &own.address_labels, script, text),
                LabelSubject::Coin(coin) => {
                    put(&mut change.coin_labels, &own.coin_labels, coin, text);
                    match frozen {
                        Some(true) => change.frozen.extend([(*coin, true)]),
                        Some(false) if own.is_kept(coin) => left_frozen.extend([*coin]),
                        Some(false) | None => {}
                    }
                }
            }
        }
        let added = self.added_by(&change);
        if added > 0 && self.label_count().saturating_add(added) > MAX_LABELS {
            return Err(WalletError::TooManyLabels);
        }
        let frozen = change.frozen.keys().filter(|coin| !own.is_kept(coin)).count();
        self.record(change);
        self.own.forget_labels();
        Ok(LabelsSet { frozen, left_frozen: left_frozen.len() })
    }

    /// Returns up to `limit` labels that come after `after`, in the order of their subjects. Where the owner says nothing of
    /// a transaction stands what the node says.
    pub fn labels(&self, after: Option<&LabelSubject>, limit: usize) -> Vec<Label> {
        let own = &self.own;
        let mut labels: Vec<Label> = Vec::new();
        let mut add = |subject: LabelSubject, text: &str, frozen: Option<bool>| {
            if (!text.is_empty() || frozen == Some(true)) && after.is_none_or(|after| subject > *after) {
                labels.push(Label { subject, text: text.to_owned(), frozen });
            }
        };
        let txids = own.labels.keys().chain(own.notes.keys().filter(|txid| !own.labels.contains_key(*txid)));
        for txid in txids {
            let note = own.note(txid);
            add(LabelSubject::Tx(*txid), if note.is_empty() { own.label(txid) } else { note }, None);
        }
        for script in own.address_labels.keys() {
            add(LabelSubject::Address(script.clone()), own.address_label(script), None);
        }
        let coins = own.coin_labels.keys().chain(own.frozen.keys().filter(|c| !own.coin_labels.contains_key(*c)));
        for coin in coins {
            let frozen = own.is_frozen(coin);
            // Of one that was signed for in a file its owner said neither.
            let is_said = frozen || !own.is_signed_away(coin);
            add(LabelSubject::Coin(*coin), own.coin_label(coin), is_said.then_some(frozen));
        }
        labels.sort_by(|one, other| one.subject.cmp(&other.subject));
        labels.truncate(limit.clamp(1, MAX_LABEL_PAGE));
        labels
    }

    /// Returns of how many things more the owner would say something than now.
    fn added_by(&self, change: &Own) -> usize {
        let own = &self.own;
        let notes = change.notes.iter().filter(|(txid, text)| text.is_some() && own.note(txid).is_empty());
        let addresses = change.address_labels.iter();
        let addresses = addresses.filter(|(script, text)| text.is_some() && own.address_label(script).is_empty());
        let coins = change.coin_labels.iter().filter(|(coin, text)| text.is_some() && own.coin_label(coin).is_empty());
        let frozen = change.frozen.iter().filter(|(coin, frozen)| **frozen && !own.is_frozen(coin));
        notes.count() + addresses.count() + coins.count() + frozen.count()
    }

    /// Returns of how many things the owner says something. What the node says is bounded by what it does.
    fn label_count(&self) -> usize {
        let own = &self.own;
        let texts = own.notes.values().chain(own.address_labels.values()).chain(own.coin_labels.values());
        texts.flatten().count() + own.frozen.values().filter(|frozen| **frozen).count()
    }
}

/// Refuses a text that is too long.
pub(super) fn check_label(label: &str) -> Result<(), WalletError> {
    if label.len() <= MAX_LABEL_BYTES { Ok(()) } else { Err(WalletError::BadLabel) }
}

/// Returns the beginning of what the node says of a transaction by the words of its owner, which may be as long as a label gets.
pub(super) fn shortened(label: &str) -> String {
    label.chars().take(MAX_LABEL_BYTES / 4).collect() // a character has four bytes at most
}

/// Changes what is said of something. What nothing is said of need not be taken away: no file of empty labels fills the memory.
fn put<K: Ord + Clone>(
    change: &mut BTreeMap<K, Option<String>>,
    before: &BTreeMap<K, Option<String>>,
    key: &K,
    label: &str,
) {
    if label.is_empty() && !before.contains_key(key) {
        change.remove(key);
    } else {
        change.insert(key.clone(), kept(label));
    }
}

fn kept(label: &str) -> Option<String> {
    (!label.is_empty()).then(|| label.to_owned())
}

impl Own {
    /// Forgets what was taken away: the whole of what is kept needs no word of it.
    pub fn forget_labels(&mut self) {
        self.labels.retain(|_, label| label.is_some());
        self.notes.retain(|_, note| note.is_some());
        self.address_labels.retain(|_, label| label.is_some());
        self.coin_labels.retain(|_, label| label.is_some());
        self.frozen.retain(|_, frozen| *frozen);
        self.signed_away.retain(|_, signed| *signed);
    }

    /// Returns what the node says that a transaction was for.
    pub fn label(&self, txid: &Txid) -> &str {
        self.labels.get(txid).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Returns what the owner says of a transaction.
    pub fn note(&self, txid: &Txid) -> &str {
        self.notes.get(txid).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Returns what the owner says of an address.
    pub fn address_label(&self, script: &ScriptBuf) -> &str {
        self.address_labels.get(script).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Returns what the owner says of a coin.
    pub fn coin_label(&self, coin: &OutPoint) -> &str {
        self.coin_labels.get(coin).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Tells whether the owner froze a coin.
    pub fn is_frozen(&self, coin: &OutPoint) -> bool {
        self.frozen.get(coin).copied().unwrap_or_default()
    }

    /// Tells whether a coin was signed for in a file, and its owner did not free it since.
    pub fn is_signed_away(&self, coin: &OutPoint) -> bool {
        self.signed_away.get(coin).copied().unwrap_or_default()
    }

    /// Tells whether nothing spends a coin until its owner says so.
    pub fn is_kept(&self, coin: &OutPoint) -> bool {
        self.is_frozen(coin) || self.is_signed_away(coin)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn a_subject_is_told_by_its_form_and_reads_back() {
        let txid = Txid::from_byte_array([7; 32]);
        let script = ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([1; 20]));
        let address = Address::from_script(&script, Network::Regtest).unwrap().to_string();
        for (text, kind) in [(txid.to_string(), "tx"), (format!("{txid}:3"), "output"), (address.clone(), "addr")] {
            let subject = LabelSubject::parse(&text, Network::Regtest).unwrap();
            assert_eq!(subject.reference(Network::Regtest), Some((kind, text)));
        }
        assert!(LabelSubject::parse(&address, Network::Bitcoin).is_err(), "an address of another network");
        for bad in ["", "rent", &txid.to_string()[1..], &format!("{txid}:x")] {
            assert!(LabelSubject::parse(bad, Network::Regtest).is_err(), "{bad}");
        }
    }
}
