//! Building blocks of bodies: bounded lists and Bitcoin's own types, each with one encoding.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{XOnlyPublicKey, schnorr};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The longest Bitcoin script that coins of a trade may go to: every standard output script fits.
pub const MAX_SCRIPT_LEN: usize = 42;

/// A list of at most `MAX` items; encodes as a u32 count and the items.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// Returns the list; `None` when there are too many items.
    pub fn new(items: Vec<T>) -> Option<Self> {
        (items.len() <= MAX).then_some(Self(items))
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> std::ops::Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: BorshDeserialize, const MAX: usize> BorshDeserialize for List<T, MAX> {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        // The count is checked before anything is allocated for it.
        let count = u32::deserialize_reader(reader)?;
        if usize::try_from(count).is_ok_and(|count| count <= MAX) {
            (0..count).map(|_| T::deserialize_reader(reader)).collect::<Result<_, _>>().map(Self)
        } else {
            Err(invalid(format!("{count} items where at most {MAX} may stand")))
        }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<Vec<T> as Deserialize>::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom(format!("at most {MAX} items")))
    }
}

macro_rules! bytes_newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty), $len:literal, $read:expr, $write:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl BorshSerialize for $name {
            fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
                let bytes: [u8; $len] = $write(&self.0);
                writer.write_all(&bytes)
            }
        }

        impl BorshDeserialize for $name {
            fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
                let bytes = <[u8; $len]>::deserialize_reader(reader)?;
                $read(&bytes).map(Self).map_err(|e| invalid(e.to_string()))
            }
        }
    };
}

bytes_newtype! {
    /// A key on Bitcoin's curve, by its 32-byte x coordinate (BIP-340).
    CurveKey(XOnlyPublicKey), 32, |bytes: &[u8; 32]| XOnlyPublicKey::from_slice(bytes), XOnlyPublicKey::serialize
}

bytes_newtype! {
    /// A BIP-340 signature.
    CurveSignature(schnorr::Signature), 64, |bytes: &[u8; 64]| schnorr::Signature::from_slice(bytes), schnorr::Signature::serialize
}

bytes_newtype! {
    /// A transaction id: 32 bytes in Bitcoin's internal order; in JSON and to people reversed, as usual.
    TxId(bitcoin::Txid), 32, |bytes: &[u8; 32]| Ok::<_, std::convert::Infallible>(bitcoin::Txid::from_byte_array(*bytes)),
    |txid: &bitcoin::Txid| txid.to_byte_array()
}

/// An output of a transaction: the id as [`TxId`], then the index as u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outpoint(pub bitcoin::OutPoint);

impl BorshSerialize for Outpoint {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        BorshSerialize::serialize(&TxId(self.0.txid), writer)?;
        BorshSerialize::serialize(&self.0.vout, writer)
    }
}

impl BorshDeserialize for Outpoint {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let txid = TxId::deserialize_reader(reader)?.0;
        Ok(Self(bitcoin::OutPoint { txid, vout: u32::deserialize_reader(reader)? }))
    }
}

/// An output script to which coins of a trade may go: one that every node relays.
#[derive(Debug, Clone, PartialEq, Eq, Hash, BorshSerialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Destination(#[borsh(serialize_with = "write_script")] bitcoin::ScriptBuf);

impl Destination {
    /// Returns the destination; `None` unless it is P2PKH, P2SH, P2WPKH, P2WSH or P2TR.
    pub fn new(script: bitcoin::ScriptBuf) -> Option<Self> {
        let standard =
            script.is_p2pkh() || script.is_p2sh() || script.is_p2wpkh() || script.is_p2wsh() || script.is_p2tr();
        standard.then_some(Self(script))
    }

    /// Returns the script.
    pub fn script(&self) -> &bitcoin::ScriptBuf {
        &self.0
    }
}

fn write_script<W: std::io::Write>(script: &bitcoin::ScriptBuf, writer: &mut W) -> std::io::Result<()> {
    BorshSerialize::serialize(script.as_bytes(), writer)
}

impl BorshDeserialize for Destination {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let bytes = List::<u8, MAX_SCRIPT_LEN>::deserialize_reader(reader)?;
        Self::new(bitcoin::ScriptBuf::from_bytes(bytes.to_vec())).ok_or_else(|| invalid("not a standard output script"))
    }
}

fn invalid(reason: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, reason.into())
}
