//! Signatures: ZIP-215 for single and batch alike, so that both always agree, and no small-order keys.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use ed25519_zebra::{Signature, VerificationKey, VerificationKeyBytes, batch};

use crate::field;
use crate::ids::AuthorId;
use crate::record::{Record, RecordError, admission, signed_bytes};

impl Record {
    /// Checks the signature and, at the start of a log, the admission ticket.
    ///
    /// # Errors
    /// When either is not good.
    pub fn verify(&self) -> Result<(), RecordError> {
        self.check_ticket()?;
        self.check_signature()
    }

    fn check_signature(&self) -> Result<(), RecordError> {
        verify_signature(&self.author(), &signed_bytes(&self.id()), self.signature())
    }

    fn check_ticket(&self) -> Result<(), RecordError> {
        let header = self.header();
        if header.seq == 0 && !admission::is_valid(&header.network, &header.log, header.admission) {
            return Err(RecordError::Admission);
        }
        Ok(())
    }
}

/// Checks an author's signature over any bytes by the rule of this protocol.
///
/// # Errors
/// [`RecordError::Author`] for a key that no signature can be trusted under, [`RecordError::Signature`] otherwise.
pub fn verify_signature(author: &AuthorId, message: &[u8], signature: &[u8; 64]) -> Result<(), RecordError> {
    VerificationKey::try_from(usable_key(author)?)
        .map_err(|_| RecordError::Author)?
        .verify(&Signature::from(*signature), message)
        .map_err(|_| RecordError::Signature)
}

/// Reads and checks many records at once, some of them bare; see [`verify_batch`]. Also reads their bodies, so that nobody has to later.
///
/// Returns one verdict for each, in order.
pub fn decode_and_verify(records: &[Vec<u8>], entropy: [u8; 32]) -> Vec<Result<Record, RecordError>> {
    let mut verdicts: Vec<Result<Record, RecordError>> =
        records.iter().map(|bytes| Record::decode_any(bytes)).collect();
    let decoded: Vec<Record> = verdicts.iter().flatten().cloned().collect();
    let mut signatures = verify_batch(&decoded, entropy).into_iter();
    for verdict in &mut verdicts {
        let Ok(record) = verdict else { continue };
        match signatures.next() {
            // What is wrong with a body is for those to say who know what it is for.
            Some(Ok(())) => drop(record.decoded()),
            Some(Err(error)) => *verdict = Err(error),
            None => {}
        }
    }
    verdicts
}

/// Checks many records at once, about twice as fast as one by one, and faster still when they are of few authors. A batch
/// that fails is checked in parts, and those that fail one by one, so the verdicts are those of [`Record::verify`] in any
/// case. `entropy` blinds the batch equation and must be unpredictable.
///
/// Returns one verdict for each record, in order.
pub fn verify_batch(records: &[Record], entropy: [u8; 32]) -> Vec<Result<(), RecordError>> {
    let usable = |record: &Record| if is_small_order(&record.author()) { Err(RecordError::Author) } else { Ok(()) };
    let mut verdicts: Vec<Result<(), RecordError>> =
        records.iter().map(|record| record.check_ticket().and_then(|()| usable(record))).collect();
    let mut rng = ChaCha20Rng::from_seed(entropy);
    let good: Vec<usize> = (0..records.len()).filter(|at| verdicts[*at].is_ok()).collect();
    if !all_signed(records, &good, &mut rng) {
        for part in good.chunks(good.len().div_ceil(PARTS).max(1)) {
            if !all_signed(records, part, &mut rng) {
                part.iter().for_each(|at| verdicts[*at] = records[*at].check_signature());
            }
        }
    }
    verdicts
}

/// Into how many parts a batch that fails is split: one bad record among many costs another batch and a few single checks,
/// and a batch of nothing else no more than twice what it would one by one.
const PARTS: usize = 16;

/// Tells whether the records at these places are all signed by their authors.
fn all_signed(records: &[Record], places: &[usize], rng: &mut ChaCha20Rng) -> bool {
    let mut verifier = batch::Verifier::new();
    for record in places.iter().map(|at| &records[*at]) {
        let key = VerificationKeyBytes::from(*record.author().as_bytes());
        verifier.queue((key, Signature::from(*record.signature()), &signed_bytes(&record.id())));
    }
    verifier.verify(rng).is_ok()
}

/// Small-order keys verify signatures over anything, so they are nobody's.
fn usable_key(author: &AuthorId) -> Result<VerificationKeyBytes, RecordError> {
    if is_small_order(author) { Err(RecordError::Author) } else { Ok(VerificationKeyBytes::from(*author.as_bytes())) }
}

/// Tells whether a key is one of the encodings of the eight points of small order, the unusual ones too. Looking them up
/// spares the decompression of each key, which the signature's check does anyway.
fn is_small_order(author: &AuthorId) -> bool {
    let mut y = *author.as_bytes();
    y[31] &= 0x7f; // the sign of x
    SMALL_ORDER.contains(&y)
}

/// The y of all points of small order, and where there is room for it above the field's prime p, y + p.
const SMALL_ORDER: [[u8; 32]; 7] = {
    let [zero, one, minus_one, p, p_plus_one] = field::ZERO_AND_UNITS;
    let eighth = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    let minus_eighth = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    [zero, one, minus_one, p, p_plus_one, eighth, minus_eighth]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What the library says of a key; `None` when it is no point at all.
    fn is_weak(bytes: [u8; 32]) -> Option<bool> {
        ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok().map(|key| key.is_weak())
    }

    #[test]
    fn the_small_order_keys_are_those_that_the_library_calls_weak() {
        let mut orders = 0;
        for y in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut key = y;
                key[31] |= sign;
                assert!(is_small_order(&AuthorId(key)));
                assert_ne!(is_weak(key), Some(false), "{}", hex::encode(key));
                orders += usize::from(is_weak(key) == Some(true));
            }
        }
        assert!(orders >= 8, "{orders}");
        // Every y that fits twice into 255 bits, and many others.
        for low in 0..=0xff_u8 {
            for (high, last) in [(0x00, 0x00), (0x00, 0x80), (0xff, 0x7f), (0xff, 0xff), (0x5a, 0x31)] {
                let mut key = [high; 32];
                (key[0], key[31]) = (low, last);
                let expected = is_weak(key).unwrap_or(is_small_order(&AuthorId(key)));
                assert_eq!(is_small_order(&AuthorId(key)), expected, "{}", hex::encode(key));
            }
        }
    }
}
