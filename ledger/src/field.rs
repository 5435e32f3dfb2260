//! The field of Curve25519, as far as its keys are looked at: numbers modulo p = 2^255 - 19, in 32 bytes, little-endian.

/// Every encoding, with the highest bit clear, of 0, 1 and -1: `0, 1, p - 1, p, p + 1`. They are coordinates of points of small
/// order in both forms of the curve, ed25519's and X25519's, and the only such with two encodings.
pub(crate) const ZERO_AND_UNITS: [[u8; 32]; 5] = {
    let (mut zero, mut one) = ([0; 32], [0; 32]);
    (zero[0], one[0]) = (0, 1);
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let (mut p, mut p_plus_one) = (minus_one, minus_one);
    (p[0], p_plus_one[0]) = (0xed, 0xee);
    [zero, one, minus_one, p, p_plus_one]
};
