//! Signatures: ZIP-215 for single and batch alike, so that both always agree, and no small-order keys.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use ed25519_zebra::{Signature, VerificationKey, VerificationKeyBytes, batch};

use crate::ids::AuthorId;
use crate::record::{Record, RecordError, admission, signed_bytes};

impl Record {
    /// Checks the signature and, at the start of a log, the admission ticket.
    ///
    /// # Errors
    /// When either is not good.
    pub fn verify(&self) -> Result<(), RecordError> {
        self.check_ticket()?;
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

/// Checks many records at once, about twice as fast as one by one. A batch that fails is checked one by one, so the
/// verdicts are those of [`Record::verify`] in any case. `entropy` blinds the batch equation and must be unpredictable.
///
/// Returns one verdict for each record, in order.
pub fn verify_batch(records: &[Record], entropy: [u8; 32]) -> Vec<Result<(), RecordError>> {
    let mut verifier = batch::Verifier::new();
    let mut verdicts = Vec::with_capacity(records.len());
    for record in records {
        let queued = record.check_ticket().and_then(|()| usable_key(&record.author())).map(|key| {
            verifier.queue((key, Signature::from(*record.signature()), &signed_bytes(&record.id())));
        });
        verdicts.push(queued);
    }
    if verifier.verify(ChaCha20Rng::from_seed(entropy)).is_err() {
        for (record, verdict) in records.iter().zip(&mut verdicts) {
            if verdict.is_ok() {
                *verdict = record.verify();
            }
        }
    }
    verdicts
}

/// Small-order keys verify signatures over anything, so they are nobody's.
fn usable_key(author: &AuthorId) -> Result<VerificationKeyBytes, RecordError> {
    match ed25519_dalek::VerifyingKey::from_bytes(author.as_bytes()) {
        Ok(key) if !key.is_weak() => Ok(VerificationKeyBytes::from(*author.as_bytes())),
        Ok(_) | Err(_) => Err(RecordError::Author),
    }
}
