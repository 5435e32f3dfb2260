//! The two key derivation functions, wrapped so that their memory is bounded, fallible and wiped.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// Key derivation that could not be done. Neither the password nor anything made from it is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KdfError {
    /// The working memory could not be allocated.
    #[error("deriving keys needs {mib} MiB of free memory: close other programs and try again")]
    OutOfMemory {
        /// How much was asked for.
        mib: u32,
    },
    /// The cost is outside what Argon2 defines.
    #[error("the cost of the key derivation is not valid for Argon2id ({0})")]
    InvalidCost(argon2::Error),
}

/// The cost of one Argon2id call (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes over the memory.
    pub t: u32,
    /// Lanes, each on a thread of its own where there are cores.
    pub p: u32,
}

/// Returns `N` bytes of Argon2id version 0x13, without secret and associated data.
pub(super) fn argon2id<const N: usize>(
    password: &[u8],
    salt: &[u8; 16],
    cost: Cost,
) -> Result<Zeroizing<[u8; N]>, KdfError> {
    let params = Params::new(cost.m_kib, cost.t, cost.p, Some(N)).map_err(KdfError::InvalidCost)?;
    let mut memory = WorkingMemory::allocate(&params)?;
    let mut out = Zeroizing::new([0; N]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, out.as_mut_slice(), memory.0.as_mut_slice())
        .map_err(KdfError::InvalidCost)?;
    Ok(out)
}

/// Returns 32 bytes of HKDF-Expand with SHA-256 (RFC 5869); `info` is concatenated.
pub(super) fn expand(prk: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut okm = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::from_prk(prk)
        .expect("a pseudorandom key is at least one hash long")
        .expand_multi_info(info, okm.as_mut_slice())
        .expect("one block is below the limit of 255");
    okm
}

/// Returns the pseudorandom key of HKDF-Extract with SHA-256.
pub(super) fn extract(salt: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&prk);
    prk.as_mut_slice().zeroize();
    key
}

/// The blocks that Argon2 fills. Allocated fallibly, since 1 GiB may not be there, and wiped, since the last pass reveals
/// the hash. (`Zeroizing<Vec<Block>>` would wipe it twice, the second time byte by byte.)
struct WorkingMemory(Vec<Block>);

impl WorkingMemory {
    fn allocate(params: &Params) -> Result<Self, KdfError> {
        let mut blocks = Vec::new();
        blocks
            .try_reserve_exact(params.block_count())
            .map_err(|_| KdfError::OutOfMemory { mib: params.m_cost().div_ceil(1024) })?;
        blocks.resize(params.block_count(), Block::new());
        Ok(Self(blocks))
    }
}

impl Drop for WorkingMemory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106, section 5.3, has a secret and associated data, which this protocol does not use; it shows that the
    /// library computes Argon2id.
    #[test]
    fn the_library_computes_rfc_9106() {
        let params = argon2::ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
            .build()
            .unwrap();
        let mut out = [0; 32];
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)
            .unwrap()
            .hash_password_into(&[1; 32], &[2; 16], &mut out)
            .unwrap();
        assert_eq!(hex::encode(out), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    }

    /// The same inputs without secret and associated data, from the reference implementation.
    #[test]
    fn argon2id_agrees_with_the_reference_implementation() {
        let cost = Cost { m_kib: 32, t: 3, p: 4 };
        let empty = argon2id::<32>(&[], &[2; 16], cost).unwrap();
        assert_eq!(hex::encode(*empty), "0a34f1abde67086c82e785eaf17c68382259a264f4e61b91cd2763cb75ac189a");
    }

    /// RFC 5869, appendix A.1 and A.3, as far as one block of output goes.
    #[test]
    fn hkdf_agrees_with_rfc_5869() {
        let prk = extract(&hex::decode("000102030405060708090a0b0c").unwrap(), &[0x0b; 22]);
        assert_eq!(hex::encode(*prk), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let okm = expand(&prk, &[&[0xf0, 0xf1, 0xf2, 0xf3, 0xf4], &[0xf5, 0xf6, 0xf7, 0xf8, 0xf9]]);
        assert_eq!(hex::encode(*okm), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
        let okm = expand(&extract(&[], &[0x0b; 22]), &[]);
        assert_eq!(hex::encode(*okm), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
    }

    #[test]
    fn an_impossible_cost_is_an_error() {
        assert!(matches!(argon2id::<32>(b"", &[0; 16], Cost { m_kib: 8, t: 1, p: 4 }), Err(KdfError::InvalidCost(_))));
        assert!(matches!(argon2id::<32>(b"", &[0; 16], Cost { m_kib: 64, t: 0, p: 1 }), Err(KdfError::InvalidCost(_))));
    }
}
