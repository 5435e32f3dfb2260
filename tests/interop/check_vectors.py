#!/usr/bin/env python3
"""Recomputes specs/vectors/*.json from the text of specs/, with nothing but Python's standard library.

An implementation of its own of Ed25519 (ZIP-215), HPKE (RFC 9180), secp256k1, BIP-327 (MuSig2), BIP-340, BIP-341, BIP-350
and the checks of FROST (RFC 9591): slow, and not for secrets. It shares no code and no library with the exchange. Run it
without arguments.
"""

import hashlib
import hmac
import json
import struct
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "specs" / "vectors"
CHECKS = 0


def check(condition, what):
    global CHECKS
    CHECKS += 1
    if not condition:
        sys.exit(f"wrong: {what}")


def equal(found, expected, what):
    check(found == expected, f"{what}\n  computed  {found}\n  published {expected}")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def domain(name, *parts):
    """The hash of this protocol: SHA-256 of the domain and the parts."""
    return sha256(name.encode(), *parts)


def le(number, size):
    return number.to_bytes(size, "little")


# Ed25519, verified as ZIP-215 says -----------------------------------------------------------------------------------

P25519 = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P25519) % P25519


def ed_add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P25519
    return (
        (x1 * y2 + x2 * y1) * pow(1 + k, -1, P25519) % P25519,
        (y1 * y2 + x1 * x2) * pow(1 - k, -1, P25519) % P25519,
    )


def ed_mul(n, point):
    result = (0, 1)
    while n:
        if n & 1:
            result = ed_add(result, point)
        point = ed_add(point, point)
        n >>= 1
    return result


def ed_decode(data):
    """Reads a point as ZIP-215 does: Y need not be reduced, and X = 0 may have its sign bit set."""
    encoded = int.from_bytes(data, "little")
    y, sign = (encoded & (2**255 - 1)) % P25519, encoded >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P25519) % P25519
    x = pow(square, (P25519 + 3) // 8, P25519)
    if x * x % P25519 != square:
        x = x * pow(2, (P25519 - 1) // 4, P25519) % P25519
    if x * x % P25519 != square:
        return None
    return (P25519 - x if x & 1 != sign else x) % P25519, y


def ed_encode(point):
    return le(point[1] | (point[0] & 1) << 255, 32)


BASE = ed_decode(le(4 * pow(5, -1, P25519) % P25519, 32))


def ed_secret(seed):
    """Returns the scalar and the prefix of a seed (RFC 8032, 5.1.5)."""
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254, digest[32:]


def ed_sign(seed, message):
    scalar, prefix = ed_secret(seed)
    public = ed_encode(ed_mul(scalar, BASE))
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ORDER
    nonce = ed_encode(ed_mul(r, BASE))
    k = int.from_bytes(hashlib.sha512(nonce + public + message).digest(), "little")
    return nonce + le((r + k * scalar) % ORDER, 32)


def ed_verify(public, message, signature):
    key, nonce, s = ed_decode(public), ed_decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if key is None or nonce is None or s >= ORDER or ed_mul(8, key) == (0, 1):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little")
    return ed_mul(8 * s, BASE) == ed_mul(8, ed_add(nonce, ed_mul(k, key)))


# HPKE (RFC 9180): base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305 ------------------------------------


def x25519(secret, public):
    """The ladder of RFC 7748."""
    scalar = int.from_bytes(secret, "little") & (2**254 - 8) | 2**254
    u = int.from_bytes(public, "little") & (2**255 - 1)
    low, high = (1, 0), (u, 1)
    for at in range(254, -1, -1):
        if scalar >> at & 1:
            low, high = high, low
        (a, b), (c, d) = low, high
        one, other = (c - d) * (a + b), (c + d) * (a - b)
        aa, bb = (a + b) ** 2 % P25519, (a - b) ** 2 % P25519
        high = (one + other) ** 2 % P25519, u * (one - other) ** 2 % P25519
        low = aa * bb % P25519, (aa - bb) * (aa + 121665 * (aa - bb)) % P25519
        if scalar >> at & 1:
            low, high = high, low
    return le(low[0] * pow(low[1], -1, P25519) % P25519, 32)


def x25519_public(secret):
    return x25519(secret, le(9, 32))


def quarter(words, a, b, c, d):
    for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        words[x] = words[x] + words[y] & 0xFFFFFFFF
        mixed = words[z] ^ words[x]
        words[z] = (mixed << bits | mixed >> 32 - bits) & 0xFFFFFFFF


def chacha20(key, nonce, first, count):
    """So many blocks of the key stream, from one on (RFC 8439)."""
    stream = []
    for counter in range(first, first + count):
        state = struct.unpack("<16I", b"expand 32-byte k" + key + le(counter, 4) + nonce)
        words = list(state)
        for _ in range(10):
            for at in range(4):
                quarter(words, at, at + 4, at + 8, at + 12)
            for at in range(4):
                quarter(words, at, 4 + (at + 1) % 4, 8 + (at + 2) % 4, 12 + (at + 3) % 4)
        stream.append(struct.pack("<16I", *(a + b & 0xFFFFFFFF for a, b in zip(words, state))))
    return b"".join(stream)


def tag_of(key, nonce, aad, ciphertext):
    """The tag of ChaCha20-Poly1305 (RFC 8439)."""
    once = chacha20(key, nonce, 0, 1)
    r, s = (int.from_bytes(once[at : at + 16], "little") for at in (0, 16))
    r &= 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    padded = lambda data: data + bytes(-len(data) % 16)
    data, sum_of = padded(aad) + padded(ciphertext) + le(len(aad), 8) + le(len(ciphertext), 8), 0
    for at in range(0, len(data), 16):
        sum_of = (sum_of + int.from_bytes(data[at : at + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return le((sum_of + s) % 2**128, 16)


def crypted(key, nonce, data):
    stream = chacha20(key, nonce, 1, -(-len(data) // 64))
    return bytes(a ^ b for a, b in zip(data, stream))


def extracted(suite, salt, label, data):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + data, "sha256")


def expanded(suite, secret, label, info, size):
    """All that HPKE asks for fits into one block of HKDF."""
    return hmac.digest(secret, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01", "sha256")[:size]


KEM, SUITE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"


def context_of(shared, encapsulated, recipient, info):
    """Key and nonce of the one message of a context."""
    shared = expanded(KEM, extracted(KEM, b"", b"eae_prk", shared), b"shared_secret", encapsulated + recipient, 32)
    schedule = b"\x00" + extracted(SUITE, b"", b"psk_id_hash", b"") + extracted(SUITE, b"", b"info_hash", info)
    secret = extracted(SUITE, shared, b"secret", b"")
    return expanded(SUITE, secret, b"key", schedule, 32), expanded(SUITE, secret, b"base_nonce", schedule, 12)


def hpke_seal(recipient, info, aad, plaintext, ikm):
    ephemeral = expanded(KEM, extracted(KEM, b"", b"dkp_prk", ikm), b"sk", b"", 32)
    encapsulated = x25519_public(ephemeral)
    key, nonce = context_of(x25519(ephemeral, recipient), encapsulated, recipient, info)
    ciphertext = crypted(key, nonce, plaintext)
    return encapsulated + ciphertext + tag_of(key, nonce, aad, ciphertext)


def hpke_open(secret, info, aad, sealed):
    """What was sealed to a secret's public key; none if it was not, or with another purpose or place."""
    encapsulated, ciphertext, tag = sealed[:32], sealed[32:-16], sealed[-16:]
    key, nonce = context_of(x25519(secret, encapsulated), encapsulated, x25519_public(secret), info)
    return crypted(key, nonce, ciphertext) if tag_of(key, nonce, aad, ciphertext) == tag else None


BUCKETS = (256, 1024, 4096, 15360)


def sealing_padded(plaintext):
    """What is sealed of a plaintext, as mail.md pads it."""
    size = next(size for size in BUCKETS if size >= 2 + len(plaintext))
    return (le(len(plaintext), 2) + plaintext).ljust(size, b"\x00")


def check_published_sealing():
    """HPKE as above, by RFC 9180's own vector (appendix A.2.1, sequence number 0)."""
    recipient = bytes.fromhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    secret = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
    ikm = bytes.fromhex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b")
    info, aad = b"Ode on a Grecian Urn", b"Count-0"
    plaintext = b"Beauty is truth, truth beauty"
    published = (
        "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
    )
    equal(x25519_public(secret), recipient, "RFC 9180: a recipient's key")
    sealed = hpke_seal(recipient, info, aad, plaintext, ikm)
    equal(sealed.hex(), published, "RFC 9180: sealing")
    equal(hpke_open(secret, info, aad, sealed), plaintext, "RFC 9180: opening")
    equal(hpke_open(secret, info, aad + b"0", sealed), None, "RFC 9180: another aad")


# secp256k1 -----------------------------------------------------------------------------------------------------------

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def mul(n, point):
    result = None
    while n:
        if n & 1:
            result = add(result, point)
        point = add(point, point)
        n >>= 1
    return result


def lift_x(data):
    """Returns the point with this X and an even Y (BIP-340), None if there is none."""
    x = int.from_bytes(data, "big")
    y = pow(pow(x, 3, P) + 7, (P + 1) // 4, P)
    if x >= P or y * y % P != (pow(x, 3, P) + 7) % P:
        return None
    return x, y if y % 2 == 0 else P - y


def xonly(point):
    return point[0].to_bytes(32, "big")


def plain(point):
    return bytes([2 + point[1] % 2]) + xonly(point)


def tagged(tag, *parts):
    """The tagged hash of BIP-340."""
    return sha256(sha256(tag.encode()) * 2, *parts)


def schnorr_verify(public, message, signature):
    key, r, s = lift_x(public), int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if key is None or r >= P or s >= N:
        return False
    e = int.from_bytes(tagged("BIP0340/challenge", signature[:32], public, message), "big") % N
    point = add(mul(s, G), mul(N - e, key))
    return point is not None and point[1] % 2 == 0 and point[0] == r


def key_agg(keys):
    """Aggregates plain public keys in the given order (BIP-327)."""
    listed = tagged("KeyAgg list", *keys)
    second = next((key for key in keys if key != keys[0]), None)
    total = None
    for key in keys:
        coefficient = 1 if key == second else int.from_bytes(tagged("KeyAgg coefficient", listed, key), "big")
        point = lift_x(key[1:])
        point = point if key[0] == 2 else (point[0], P - point[1])
        total = add(total, mul(coefficient % N, point))
    return total


class KeyAgg:
    """The aggregated key and what its tweaks did to it (BIP-327: Q, gacc, tacc)."""

    def __init__(self, keys):
        self.keys, self.point, self.sign, self.tweak = keys, key_agg(keys), 1, 0

    def tweaked(self, tweak, is_xonly):
        number = int.from_bytes(tweak, "big")
        sign = N - 1 if is_xonly and self.point[1] % 2 else 1
        self.point = add(mul(sign, self.point), mul(number, G))
        self.sign, self.tweak = sign * self.sign % N, (number + sign * self.tweak) % N
        return self

    def coefficient(self, key):
        second = next((other for other in self.keys if other != self.keys[0]), None)
        hashed = tagged("KeyAgg coefficient", tagged("KeyAgg list", *self.keys), key)
        return 1 if key == second else int.from_bytes(hashed, "big") % N


def point_of(data):
    """A compressed point; None if it is none. Zeros are infinity, which stands in sums of nonces only."""
    if data[0] not in (2, 3):
        return None
    point = lift_x(data[1:])
    return point if point is None or data[0] == 2 else (point[0], P - point[1])


def points_of(nonce):
    return point_of(nonce[:33]), point_of(nonce[33:])


class Session:
    """What both sides sign in a round (BIP-327: Session Context), from the public nonces of all and the message."""

    def __init__(self, aggregate, nonces, message):
        points = [points_of(nonce) for nonce in nonces]
        self.sums = [None, None]
        for pair in points:
            self.sums = [add(total, point) for total, point in zip(self.sums, pair)]
        self.aggregate, self.message = aggregate, message
        whole = b"".join(bytes(33) if point is None else plain(point) for point in self.sums)
        key = xonly(aggregate.point)
        self.b = int.from_bytes(tagged("MuSig/noncecoef", whole, key, message), "big") % N
        nonce = add(self.sums[0], mul(self.b, self.sums[1]) if self.sums[1] else None)
        self.nonce = G if nonce is None else nonce
        self.e = int.from_bytes(tagged("BIP0340/challenge", xonly(self.nonce), key, message), "big") % N

    def weight(self, key):
        """By what a secret key counts in the signature."""
        sign = N - 1 if self.aggregate.point[1] % 2 else 1
        return self.e * self.aggregate.coefficient(key) * sign * self.aggregate.sign % N

    def sign(self, numbers, secret):
        key = plain(mul(secret, G))
        first, second = numbers if self.nonce[1] % 2 == 0 else [N - number for number in numbers]
        return (first + self.b * second + self.weight(key) * secret) % N

    def holds(self, part, nonce, key):
        """The equation of a partial signature."""
        if part >= N:
            return False
        first, second = points_of(nonce)
        given = add(first, mul(self.b, second))
        if self.nonce[1] % 2:
            given = (given[0], P - given[1])
        return mul(part, G) == add(given, mul(self.weight(key), point_of(key)))

    def signature(self, parts):
        sign = N - 1 if self.aggregate.point[1] % 2 else 1
        whole = (sum(parts) + self.e * sign * self.aggregate.tweak) % N
        return xonly(self.nonce) + whole.to_bytes(32, "big")


# Bitcoin -------------------------------------------------------------------------------------------------------------

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def bech32m(hrp, program):
    """Returns the address of a version 1 witness program (BIP-350)."""
    bits = "".join(f"{byte:08b}" for byte in program)
    bits += "0" * (-len(bits) % 5)
    data = [1] + [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    state = 1
    expanded = [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp] + data + [0] * 6
    for value in expanded:
        top, state = state >> 25, (state & 0x1FFFFFF) << 5 ^ value
        for at, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> at & 1 else 0
    state ^= 0x2BC830A3
    return hrp + "1" + "".join(CHARSET[d] for d in data + [state >> 5 * (5 - at) & 31 for at in range(6)])


def compact(number):
    return le(number, 1) if number < 0xFD else b"\xfd" + le(number, 2)


def var_bytes(data):
    return compact(len(data)) + data


def number_push(number):
    """Pushes a positive number as Script does, in the fewest bytes."""
    if number <= 16:
        return bytes([0x50 + number])
    data = le(number, number.bit_length() // 8 + 1)
    return bytes([len(data)]) + data


def leaf_hash(script):
    return tagged("TapLeaf", b"\xc0", var_bytes(script))


def branch(a, b):
    return tagged("TapBranch", min(a, b), max(a, b))


def serialise(tx, with_witness):
    """A transaction in Bitcoin's encoding; each input carries its witness as hex."""
    inputs = b"".join(
        bytes.fromhex(i["txid"])[::-1] + le(i["vout"], 4) + b"\x00" + le(i["sequence"], 4) for i in tx["inputs"]
    )
    outputs = b"".join(le(o["value"], 8) + var_bytes(bytes.fromhex(o["script"])) for o in tx["outputs"])
    body = compact(len(tx["inputs"])) + inputs + compact(len(tx["outputs"])) + outputs
    stacks = [[bytes.fromhex(item) for item in i["witness"]] for i in tx["inputs"]]
    tail = b"".join(compact(len(stack)) + b"".join(map(var_bytes, stack)) for stack in stacks) if with_witness else b""
    marker = b"\x00\x01" if with_witness else b""
    return le(tx["version"], 4) + marker + body + tail + le(tx["lock_time"], 4)


def sighash(tx, at, spent, leaf):
    """BIP-341's message for SIGHASH_DEFAULT, input `at`, through a leaf or, without one, by the key; `spent` has value and
    script of each input."""
    i, o = tx["inputs"], tx["outputs"]
    return tagged(
        "TapSighash",
        b"\x00\x00" + le(tx["version"], 4) + le(tx["lock_time"], 4),
        sha256(*(bytes.fromhex(n["txid"])[::-1] + le(n["vout"], 4) for n in i)),
        sha256(*(le(value, 8) for value, _ in spent)),
        sha256(*(var_bytes(script) for _, script in spent)),
        sha256(*(le(n["sequence"], 4) for n in i)),
        sha256(*(le(out["value"], 8) + var_bytes(bytes.fromhex(out["script"])) for out in o)),
        (b"\x00" if leaf is None else b"\x02") + le(at, 4),
        b"" if leaf is None else leaf_hash(leaf) + b"\x00" + b"\xff\xff\xff\xff",
    )


# The vectors ---------------------------------------------------------------------------------------------------------


def load(name):
    return json.loads((VECTORS / name).read_text())


def check_records():
    file = load("records.json")
    for v in file["valid"]:
        name, f, body = v["name"], v["fields"], bytes.fromhex(v["body"])
        equal(domain("exchange/body/v1", body).hex(), f["body_hash"], f"{name}: body hash")
        header = b"".join(
            [
                le(f["version"], 1),
                bytes.fromhex(f["network"]),
                bytes.fromhex(f["author"]),
                le(f["epoch"], 4),
                le(f["seq"], 8),
                bytes.fromhex(f["backlink"]),
                le(f["time"], 8),
                le(f["kind"], 2),
                le(f["flags"], 1),
                le(len(body), 2),
                bytes.fromhex(f["body_hash"]),
                le(f["admission"], 8),
            ]
        )
        equal(header.hex(), v["header"], f"{name}: header")
        identifier = domain("exchange/record/v1", header)
        equal(identifier.hex(), v["id"], f"{name}: id")
        message = b"exchange/sig/v1" + identifier
        equal(message.hex(), v["signed_bytes"], f"{name}: signed bytes")
        scalar, _ = ed_secret(bytes.fromhex(v["secret_seed"]))
        equal(ed_encode(ed_mul(scalar, BASE)).hex(), f["author"], f"{name}: author")
        signature = bytes.fromhex(v["signature"])
        check(ed_verify(bytes.fromhex(f["author"]), message, signature), f"{name}: signature")
        if "mixed_order" not in name:
            equal(ed_sign(bytes.fromhex(v["secret_seed"]), message).hex(), v["signature"], f"{name}: own signature")
        equal((header + signature + body).hex(), v["record"], f"{name}: record")
        if f["seq"] == 0:
            check(ticket(header) >> 246 == 0, f"{name}: ticket of ten zero bits")
        equal(body_fault(header + signature + body), None, f"{name}: body")
    for v in file["invalid"]:
        record = bytes.fromhex(v["record"])
        equal(decodes(record), v["stage"] != "decode", f"{v['name']}: whether the bytes are well formed")
        if v["stage"] == "verify":
            message = b"exchange/sig/v1" + domain("exchange/record/v1", record[:134])
            good = ed_verify(record[5:37], message, record[134:198])
            good = good and (record[41:49] != bytes(8) or ticket(record) >> 246 == 0)
            check(not good, f"{v['name']} is accepted")
        if v["stage"] == "body":
            check(body_fault(record) is not None, f"{v['name']} is accepted")


MAX_LOG_LEN = 65_536
MAX_FROZEN = 64


def decodes(record):
    """Whether header and body are well formed, before any signature is looked at."""
    if not 198 <= len(record) <= 4096:
        return False
    body, seq = record[198:], int.from_bytes(record[41:49], "little")
    first, admission = record[49:81] == bytes(32), int.from_bytes(record[126:134], "little")
    return (
        record[0] == 1
        and record[91] in (0, 1)
        and int.from_bytes(record[92:94], "little") == len(body)
        and record[94:126] == domain("exchange/body/v1", body)
        and seq < MAX_LOG_LEN
        and (seq == 0) == first
        and (seq == 0 or admission == 0)
    )


class Refused(Exception):
    """A rule that a body breaks."""


def require(condition, rule):
    if not condition:
        raise Refused(rule)


# What no text may hold, and of what a blank one consists (README.md).
INVISIBLE = "ad 34f 61c 115f 1160 17b4 17b5 180e 200b-200f 2028-202e 2060-206f 3164 feff ffa0 fff0-fffb e0000-e0fff"
INVISIBLE = [(int(one.split("-")[0], 16), int(one.split("-")[-1], 16)) for one in INVISIBLE.split()]
WHITE_SPACE = {0x0A, 0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000}
# u of the points of small order of Curve25519 and its twist, and those plus its prime that fit 255 bits.
SMALL_ORDER = {0, 1, P25519 - 1, P25519, P25519 + 1}
SMALL_ORDER |= {
    int.from_bytes(bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), "little"),
    int.from_bytes(bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"), "little"),
}


def is_blank(text):
    return all(ord(char) in WHITE_SPACE for char in text)


class BodyReader:
    """Reads a body field by field; whatever is no value of its type is refused (README.md)."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, count):
        require(self.at + count <= len(self.data), "cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.bytes(size), "little")

    def flag(self):
        value = self.number(1)
        require(value < 2, "neither 0 nor 1")
        return value

    def option(self, read):
        return read() if self.flag() else None

    def list(self, most, read):
        count = self.number(4)
        require(count <= most, "too many items")
        return [read() for _ in range(count)]

    def items(self, size):
        """A list of items of one size."""
        return [self.bytes(size) for _ in range(self.number(4))]

    def counted(self):
        return self.bytes(self.number(4))

    def rest(self):
        return self.bytes(len(self.data) - self.at)

    def id(self):
        return self.bytes(32)

    def text(self, most):
        count = self.number(4)
        require(count <= most, "too long a text")
        try:
            text = self.bytes(count).decode()
        except UnicodeDecodeError:
            raise Refused("no UTF-8") from None
        for char in map(ord, text):
            is_control = (char < 0x20 and char != 0x0A) or 0x7F <= char < 0xA0
            require(not is_control and not any(low <= char <= high for low, high in INVISIBLE), "a character of no text")
        return text

    def sats(self):
        value = self.number(8)
        require(value <= 2_100_000_000_000_000, "more than all bitcoin")
        return value

    def currency(self):
        code = self.bytes(5)
        letters = code.rstrip(b"\0")
        require(len(letters) >= 3 and all(0x41 <= letter <= 0x5A for letter in letters), "no currency")
        return letters.decode()

    def curve_key(self):
        key = self.bytes(32)
        require(lift_x(key) is not None, "no point")
        return key

    def outpoint(self):
        return self.bytes(36)

    def destination(self):
        count = self.number(4)
        require(count <= 42, "too long a script")
        script = self.bytes(count)
        kinds = ((25, b"\x76\xa9\x14", b"\x88\xac"), (23, b"\xa9\x14", b"\x87"), (22, b"\x00\x14", b""))
        kinds += ((34, b"\x00\x20", b""), (34, b"\x51\x20", b""))
        require(any((count, script[: len(a)], script[count - len(z) :]) == (n, a, z) for n, a, z in kinds), "no destination")
        return script

    def party(self):
        return self.curve_key(), self.id(), self.destination(), self.id()

    def vaults(self):
        coin = lambda: (self.outpoint(), self.sats())
        return coin(), self.option(coin)

    def signatures(self):
        return self.list(2, lambda: self.bytes(64))

    def half(self):
        return self.vaults(), self.sats(), self.signatures()

    def languages_to_terms(self):
        self.list(16, lambda: self.text(16))
        self.list(16, self.currency)
        self.text(1000)


def read_advert(body):
    """Reads an ArbiterAdvert; returns what rules are about."""
    name, _, _, fee_ppm = body.text(40), body.curve_key(), body.id(), body.number(4)
    body.destination(), body.sats(), body.languages_to_terms()
    return name, fee_ppm


def require_advert(name, fee_ppm):
    require(not is_blank(name), "no name")
    require(fee_ppm <= 100_000, "a fee above a tenth")


def require_members(threshold, members):
    require(2 <= threshold <= len(members) < 2 * threshold, "no more than half of the members, or more than all")
    require(members == sorted(set(members)), "members that do not ascend")


def read_offer(body, time):
    body.flag(), body.currency()
    price, least, most = body.number(8), body.sats(), body.sats()
    methods = body.list(8, lambda: body.text(40))
    body.text(1000)
    arbiters = body.list(8, body.id)
    bonds = [body.number(4), body.number(4)]
    first, second, refund = (body.number(2) for _ in range(3))
    body.flag()
    expires = body.number(8)
    require(price > 0, "no price")
    require(400_000 <= least <= most, "amounts")
    require(-(-price * most // 100_000_000) < 2**64, "the cost")
    require(methods and not any(map(is_blank, methods)) and len(set(methods)) == len(methods), "methods")
    require(arbiters and len(set(arbiters)) == len(arbiters), "arbiters")
    require(3024 <= refund <= 8640 and 1 <= first < refund - 2016 and first < second <= refund - 504, "delays")
    require(all(bond == 0 or 50_000 <= bond <= 500_000 for bond in bonds), "bonds")
    require(time < expires <= time + 2_592_000, "the end")


def read_group_step(body, author):
    variant = body.number(1)
    require(variant < 4, "no such step")
    if variant == 0:
        threshold, members, name, fee_ppm = body.number(1), body.list(8, body.id), body.text(40), body.number(4)
        body.destination(), body.sats(), body.languages_to_terms()
        require_advert(name, fee_ppm)
        require_members(threshold, members)
        require(author in members, "proposed by a stranger")
        return
    body.id()
    if variant == 1:
        seal_key, _, _, _ = body.id(), body.id(), body.list(8, lambda: body.bytes(33)), body.bytes(64)
        require(int.from_bytes(seal_key, "little") & (2**255 - 1) not in SMALL_ORDER, "a key of small order")
    elif variant == 2:
        joins, sealed = body.list(8, body.id), body.list(7, lambda: body.bytes(304))
        require(len(joins) == len(sealed) + 1, "not one id more than shares")
    else:
        body.bytes(64), body.list(1072, lambda: body.number(1))


def read_group_advert(body, author, network):
    body.id()
    name, fee_ppm = read_advert(body)
    threshold, members = body.number(1), body.list(8, body.id)
    said = body.data[: body.at]
    signatures = body.list(8, lambda: body.bytes(64))
    require_advert(name, fee_ppm)
    require_members(threshold, members)
    require(author in members, "published by a stranger")
    message = b"exchange/group-advert/v1" + domain("exchange/group-advert/v1", network, said)
    require(len(signatures) == len(members), "not one signature of each")
    require(all(ed_verify(one, message, signature) for one, signature in zip(members, signatures)), "a signature")


def body_fault(record):
    """The rule that a record's body breaks for its kind and time (kinds.md, offers.md, frost.md), or none."""
    network, author, time, kind = record[1:5], record[5:37], int.from_bytes(record[81:89], "little"), u16(record, 89)
    body = BodyReader(record[198:])
    trade = lambda *others: (body.id(), *(other() for other in others))
    readers = {
        1: lambda: None,
        2: lambda: require_advert(*read_advert(body)),
        3: lambda: require(stake_is_signed(record), "a stake that its owner did not sign") or body.bytes(132),
        4: lambda: require_checkpoint(*(body.number(8) for _ in range(3)), body.id(), time),
        5: lambda: read_group_advert(body, author, network),
        6: lambda: read_group_step(body, author),
        16: lambda: read_offer(body, time),
        17: body.id,
        32: lambda: (body.id(), body.sats(), body.bytes(2), body.option(lambda: body.number(1)), body.id(), body.party()),
        33: lambda: (body.id(), body.id(), body.number(4), body.party()),
        34: lambda: trade(lambda: body.option(body.half)),
        35: lambda: trade(body.outpoint),
        36: trade,
        37: lambda: trade(body.half),
        38: lambda: trade(body.id),
        39: trade,
        40: lambda: trade(body.vaults, body.sats, body.sats, body.signatures, body.signatures),
        41: lambda: trade(body.vaults, body.sats, body.signatures, body.signatures),
    }
    if kind not in readers:
        return None
    try:
        readers[kind]()
        require(body.at == len(body.data), "trailing bytes")
    except Refused as refused:
        return str(refused)
    return None


def require_checkpoint(of, logs, records, _, time):
    require(of <= time, "a time to come")
    require(logs <= records, "logs without records")


def check_state():
    """Computes what logs are from sets of records, as records.md says, and their hash."""
    for v in load("state.json")["sets"]:
        name, logs = v["name"], {}
        for record in map(bytes.fromhex, v["records"]):
            identifier = domain("exchange/record/v1", record[:134])
            seq, time = int.from_bytes(record[41:49], "little"), int.from_bytes(record[81:89], "little")
            check(seq < MAX_LOG_LEN, f"{name}: a record beyond the longest log")
            epoch = int.from_bytes(record[37:41], "little")
            logs.setdefault((record[5:37], epoch), {})[(seq, identifier)] = (record[49:81], time)
        found, state = [], b""
        for (author, epoch), records in sorted(logs.items()):
            length, last, time, frozen = walk_log(records)
            if length == 0 and not frozen:
                continue
            frozen_hash = domain("exchange/frozen/v1", *frozen) if frozen else None
            state += author + le(epoch, 4) + le(length, 8) + last + (frozen_hash or bytes(32))
            found.append(
                {
                    "author": author.hex(),
                    "epoch": epoch,
                    "len": length,
                    "id": last.hex(),
                    "time": time,
                    "frozen": [identifier.hex() for identifier in frozen],
                    "frozen_hash": frozen_hash and frozen_hash.hex(),
                    "equivocation": [identifier.hex() for identifier in frozen[:2]] or None,
                }
            )
        equal(found, v["logs"], f"{name}: logs")
        equal(domain("exchange/state/v1", state).hex(), v["state_hash"], f"{name}: state hash")


def check_retention():
    """Judges bare records, and finds which bodies of a set nothing needs, as retention.md says."""
    file = load("retention.json")
    for v in file["bare"]:
        bare, body = bytes.fromhex(v["bare"]), bytes.fromhex(v["body"])
        equal(bare_fault(bare, v["from"]), None, "retention: a bare record is good")
        equal(bare_fault(bare, v["from"] - 1), "age", "retention: a second earlier it is not")
        equal(domain("exchange/record/v1", bare[:134]).hex(), v["id"], "retention: id")
        equal((len(body), domain("exchange/body/v1", body)), (u16(bare, 92), bare[94:126]), "retention: its body")
    for v in file["invalid"]:
        equal(bare_fault(bytes.fromhex(v["bare"]), v["now"]), v["rule"], f"retention: {v['name']}")
    bids = file["bids"]
    equal(domain("exchange/bids/v1", bytes.fromhex(bids["offer"])).hex(), bids["name"], "retention: the name of bids")

    whole, bare = ([bytes.fromhex(record) for record in file["set"][name]] for name in ("whole", "bare"))
    records = {domain("exchange/record/v1", record[:134]): record for record in whole}
    log, kind, body = (lambda r: r[5:41]), (lambda r: u16(r, 89)), (lambda r: r[198:])
    # An Accept begins with the trade and the offer, a Take with the offer.
    agreed = set()
    for record in whole:
        if kind(record) == 33:
            trade, offer = body(record)[:32], body(record)[32:64]
            if offer in records and log(records[offer]) == log(record):
                agreed |= {(trade, offer), offer}
    dropped = set()
    for identifier, record in records.items():
        needed = {16: identifier in agreed, 32: (identifier, body(record)[:32]) in agreed}.get(kind(record), False)
        if bare_fault(record[:198], 1 << 63) is None and not needed:
            dropped.add(identifier.hex())
    equal(dropped, set(file["set"]["dropped"]), "retention: what is dropped")
    for record, left in zip(whole, bare, strict=True):
        is_dropped = domain("exchange/record/v1", record[:134]).hex() in dropped
        equal(left, record[:198] if is_dropped else record, "retention: what is left")
    for name, records in (("whole", whole), ("bare", bare)):
        equal(state_of(records).hex(), file["set"]["state_hash"], f"retention: the state of the {name} set")


KINDS_THAT_STAY = {*range(1, 7), 17, *range(33, 42)}


def u16(data, at):
    return int.from_bytes(data[at : at + 2], "little")


def bare_fault(bare, now):
    """The rule that a record without its body breaks first, or none."""
    if len(bare) != 198:
        return "size"
    if u16(bare, 89) in KINDS_THAT_STAY:
        return "kind"
    if u16(bare, 92) < 64:
        return "length"
    if int.from_bytes(bare[41:49], "little") == 0 and ticket(bare) >> 246:
        return "ticket"
    identifier = domain("exchange/record/v1", bare[:134])
    if not ed_verify(bare[5:37], b"exchange/sig/v1" + identifier, bare[134:198]):
        return "signature"
    return "age" if int.from_bytes(bare[81:89], "little") > now - 59 * 86_400 else None


def state_of(records):
    """The state hash of records of logs that have not forked."""
    ends = {}
    for record in records:
        log, seq = (record[5:37], int.from_bytes(record[37:41], "little")), int.from_bytes(record[41:49], "little")
        ends[log] = max(ends.get(log, (0, b"")), (seq + 1, domain("exchange/record/v1", record[:134])))
    state = b"".join(log[0] + le(log[1], 4) + le(end[0], 8) + end[1] + bytes(32) for log, end in sorted(ends.items()))
    return domain("exchange/state/v1", state)


def walk_log(records):
    """Length, last id and last time of the chain, and the frozen ids, of {(seq, id): (backlink, time)}."""
    length, last, time = 0, bytes(32), 0
    while True:
        here = {at: r for at, r in records.items() if at[0] == length}
        following = sorted(at for at, (backlink, its) in here.items() if backlink == last and its >= time)
        if not following:
            return length, last, time, []
        if len(here) > 1:
            others = sorted(at for at in records if at[0] >= length and at != following[0])
            kept = sorted([following[0], *others[: MAX_FROZEN - 1]])
            return length, last, time, [identifier for _, identifier in kept]
        (at, (_, time)), = here.items()
        length, last = length + 1, at[1]


def stake_is_signed(record):
    """Whether the body is a coin, a key and the key's signature for this author and network."""
    network, author, body = record[1:5], record[5:37], record[198:]
    coin, key, signature = body[:36], body[36:68], body[68:]
    if len(body) != 132 or lift_x(key) is None:
        return False
    return schnorr_verify(key, domain("exchange/stake/v1", network, author, coin), signature)


def ticket(header):
    work = domain("exchange/admission/v1", header[1:5], header[5:37], header[37:41], header[126:134])
    return int.from_bytes(work, "big")


def check_escrow():
    for v in load("escrow.json")["cases"]:
        name, c = v["name"], v["contract"]
        contract = bytes.fromhex(v["contract_bytes"])
        equal(encode_contract(c).hex(), v["contract_bytes"], f"{name}: contract")
        contract_hash = domain("exchange/contract/v1", contract)
        equal(contract_hash.hex(), v["contract_hash"], f"{name}: contract hash")
        keys = {role: bytes.fromhex(key) for role, key in v["keys"].items()}
        for role in keys:
            secret = mul(int.from_bytes(bytes.fromhex(v["secrets"][role]), "big"), G)
            equal((xonly(secret), secret[1] % 2), (keys[role], 0), f"{name}: even key of the {role}")
        tweaked = {}
        for arbiter in v["arbiters"]:
            role = {"first": "arbiter", "second": "second_arbiter"}[arbiter["seat"]]
            tweak = domain("exchange/arbiter-tweak/v1", keys[role], contract_hash)
            equal(tweak.hex(), arbiter["tweak"], f"{name}: tweak of the {role}")
            key = xonly(add(lift_x(keys[role]), mul(int.from_bytes(tweak, "big"), G)))
            equal(key.hex(), arbiter["tweaked_key"], f"{name}: tweaked key of the {role}")
            equal(fee_of(c, role), arbiter["fee"], f"{name}: fee of the {role}")
            tweaked[role] = key
        internal = xonly(key_agg(sorted(b"\x02" + keys[role] for role in ("buyer", "seller"))))
        trees = {}
        for output in v["outputs"]:
            trees[output["vault"]] = check_output(v, output, keys, tweaked, internal)
        equal("bond" in trees, c["buyer_bond"] > 0, f"{name}: an output for the buyer's bond")
        check_mailboxes(v, contract_hash)
        for spend in v["spends"]:
            check_spend(v, spend, trees, keys, tweaked)


def fee_of(c, role):
    fee = -(-c["amount"] * c[role]["fee_ppm"] // 1_000_000)
    return fee if fee >= 546 else 0


def check_mailboxes(v, contract_hash):
    for role, mailbox in v["mailboxes"].items():
        author = bytes.fromhex(v["contract"][role])
        equal(domain("exchange/mailbox/v1", contract_hash, author).hex(), mailbox, f"{v['name']}: mailbox")


def tree_of(c, is_bond, keys, tweaked, internal):
    """Computes the tree of an output from the keys: its root and output point, and its leaves with their siblings."""
    verify = lambda key: b"\x20" + key + b"\xad"
    older = lambda delay: number_push(delay) + b"\xb2"
    buyer, seller = keys["buyer"], keys["seller"]
    scripts = {
        "both": verify(buyer) + b"\x20" + seller + b"\xac",
        "refund": verify(buyer if is_bond else seller) + older(c["refund_delay"]),
    }
    for role, suffix, delay in (("arbiter", "arbiter", "arbitration_delay"), ("second_arbiter", "second", "second_delay")):
        if role in tweaked:
            for party in ("seller", "buyer"):
                scripts[f"{party}_{suffix}"] = verify(keys[party]) + verify(tweaked[role]) + older(c[delay])
    hashes = {leaf: leaf_hash(script) for leaf, script in scripts.items()}
    paths = {leaf: b"" for leaf in scripts}

    def join(left, right):
        """Joins two subtrees, each its hash and its leaves, and notes the siblings."""
        for (_, leaves), (sibling, _) in ((left, right), (right, left)):
            for leaf in leaves:
                paths[leaf] += sibling
        return branch(left[0], right[0]), left[1] + right[1]

    node = lambda leaf: (hashes[leaf], [leaf])
    right = join(node("seller_arbiter"), node("buyer_arbiter"))
    if "second_arbiter" in tweaked:
        right = join(right, join(node("seller_second"), node("buyer_second")))
    root, _ = join(join(node("both"), node("refund")), right)
    tweak = tagged("TapTweak", internal, root)
    return root, add(lift_x(internal), mul(int.from_bytes(tweak, "big"), G)), scripts, hashes, paths


def check_output(v, output, keys, tweaked, internal):
    """Computes an output from the keys; returns its script, its leaves and their control blocks."""
    c, name = v["contract"], f"{v['name']}: {output['vault']}"
    is_bond = output["vault"] == "bond"
    equal(output["value"], c["buyer_bond"] if is_bond else c["amount"] + c["seller_bond"], f"{name}: value")
    root, point, scripts, hashes, paths = tree_of(c, is_bond, keys, tweaked, internal)
    equal(internal.hex(), output["internal_key"], f"{name}: internal key")
    equal(root.hex(), output["merkle_root"], f"{name}: merkle root")
    equal(tagged("TapTweak", internal, root).hex(), output["tap_tweak"], f"{name}: tap tweak")
    equal(xonly(point).hex(), output["output_key"], f"{name}: output key")
    script = b"\x51\x20" + xonly(point)
    equal(script.hex(), output["script_pubkey"], f"{name}: script")
    for network, hrp in {"bitcoin": "bc", "testnet": "tb", "signet": "tb", "regtest": "bcrt"}.items():
        equal(bech32m(hrp, xonly(point)), output["addresses"][network], f"{name}: address on {network}")
    control = {leaf: bytes([0xC0 | point[1] % 2]) + internal + path for leaf, path in paths.items()}
    equal(sorted(leaf["name"] for leaf in output["leaves"]), sorted(scripts), f"{name}: leaves")
    for leaf in output["leaves"]:
        at = leaf["name"]
        equal(scripts[at].hex(), leaf["script"], f"{name}: leaf {at}")
        equal(hashes[at].hex(), leaf["leaf_hash"], f"{name}: hash of leaf {at}")
        equal(control[at].hex(), leaf["control_block"], f"{name}: control block of leaf {at}")
    return script, scripts, control


def check_spend(v, spend, trees, keys, tweaked):
    c, tx, leaf = v["contract"], spend["tx"], spend["leaf"]
    what = f"{v['name']}: {spend['name']} by {leaf}"
    equal((tx["version"], tx["lock_time"]), (3, 0), what)
    inputs = tx["inputs"]
    spent = [(i["value"], trees[i["vault"]][0]) for i in inputs]
    held = {i["vault"]: i["value"] for i in inputs}
    size = size_of(c, spend, held)
    equal(spend["feerate"] * size, spend["fee"], f"{what}: fee at its feerate")
    equal(tx["outputs"], outputs_of(c, spend, held, trees), f"{what}: outputs")
    equal(sum(held.values()) - sum(o["value"] for o in tx["outputs"]), spend["fee"], f"{what}: fee")
    delay = {"both": None, "refund": c["refund_delay"]}.get(leaf, c["second_delay" if "second" in leaf else "arbitration_delay"])
    equal({i["sequence"] for i in inputs}, {0xFFFFFFFD if delay is None else delay}, f"{what}: sequence")
    for at, i in enumerate(inputs):
        _, scripts, control = trees[i["vault"]]
        message = sighash(tx, at, spent, scripts[leaf])
        equal(message.hex(), i["sighash"], f"{what}: sighash of input {at}")
        arbiter = tweaked.get(arbiter_of(leaf))
        signers = {
            "both": [keys["seller"], keys["buyer"]],
            "refund": [keys["buyer" if i["vault"] == "bond" else "seller"]],
        }.get(leaf) or [arbiter, keys[leaf.split("_")[0]]]
        witness = [bytes.fromhex(item) for item in i["witness"]]
        equal(witness[len(signers) :], [scripts[leaf], control[leaf]], f"{what}: end of witness {at}")
        for signer, signature in zip(signers, witness):
            check(schnorr_verify(signer, message, signature), f"{what}: a signature of input {at}")
    equal(serialise(tx, True).hex(), spend["signed"], f"{what}: transaction")
    equal(sha256(sha256(serialise(tx, False)))[::-1].hex(), spend["txid"], f"{what}: txid")
    equal(-(-(3 * len(serialise(tx, False)) + len(serialise(tx, True))) // 4), spend["vsize"], f"{what}: virtual size")
    least = reckoned(leaf, len(inputs), len(tx["outputs"]))
    largest = reckoned(leaf, len(inputs), 3) if spend["name"] == "ruling" else least
    most = (500 if spend["name"] == "timeout" else 100) * largest
    check(spend["vsize"] <= least <= spend["fee"] <= most, f"{what}: reckoned size")
    check(spend["name"] == "ruling" or size == least, f"{what}: an output that is left out")


def reckoned(leaf, inputs, outputs):
    return 11 + inputs * (116 if leaf in ("both", "refund") else 125) + outputs * 43


def size_of(c, spend, held):
    """The size by which a feerate becomes a fee: of a ruling, before its verdict divides anything."""
    if spend["name"] != "ruling":
        return reckoned(spend["leaf"], len(held), len(spend["tx"]["outputs"]))
    return ruled_size(c, spend["part"], held.get("bond", 0), arbiter_of(spend["leaf"]), len(held))


def ruled_size(c, part, v1, role, inputs):
    outputs = [part + v1 > 0, c["amount"] - part + c["seller_bond"] > 0, fee_of(c, role) > 0]
    return reckoned("ruled", inputs, sum(outputs))


def arbiter_of(leaf):
    return "second_arbiter" if "second" in leaf else "arbiter"


def outputs_of(c, spend, held, trees):
    """What a spend pays to whom, as escrow.md says, given its fee."""
    v0, v1, fee, name = held.get("escrow", 0), held.get("bond", 0), spend["fee"], spend["name"]
    to = {party: c[f"{party}_party"]["destination"] for party in ("buyer", "seller")}
    if name == "payout":
        shares = [(to["buyer"], v0 + v1 - c["seller_bond"] - fee), (to["seller"], c["seller_bond"])]
    elif name == "refund":
        shares = [(to["buyer"], v1), (to["seller"], v0 - fee)]
    elif name == "timeout":
        shares = [(to["seller"], v0 - fee)] if v0 else [(to["buyer"], v1 - fee)]
    elif name == "extension":
        shares = [(trees[vault][0].hex(), value) for vault, value in (("escrow", v0 - fee), ("bond", v1)) if value]
    else:
        role = arbiter_of(spend["leaf"])
        shares = rule(c, to, divide(c, spend["part"], v0, v1, fee, role), role)
    return [{"script": script, "value": value} for script, value in shares if value]


def rule(c, to, division, role):
    return [(to["buyer"], division[0]), (to["seller"], division[1]), (c[role]["destination"], fee_of(c, role))]


def divide(c, part, v0, v1, fee, role):
    """What buyer and seller get by a verdict: their parts and bonds, less the costs."""
    amount, bond = c["amount"], c["seller_bond"]
    costs = fee_of(c, role) + fee + amount + bond - v0
    if part == amount:
        of_buyer = costs - min(costs, bond)
    elif part == 0:
        of_buyer = min(costs, v1)
    else:
        of_buyer = costs * part // amount
    buyer, seller = part + v1 - of_buyer, amount - part + bond - (costs - of_buyer)
    check(min(buyer, seller) >= 0 and max(buyer, seller) >= 546, "a verdict that leaves enough to divide")
    if buyer < 546:
        return 0, seller + buyer
    return (buyer + seller, 0) if seller < 546 else (buyer, seller)


# How far below the stated height a funding counts, and is looked for.
FUNDING_MARGIN = 144


def check_chain():
    """Which outputs count as fundings, as trades.md says, given what blocks and the pool hold."""
    agreed = {v["name"]: v for v in load("escrow.json")["cases"]}
    for v in load("chain.json")["cases"]:
        name, of = v["name"], agreed[v["contract"]]
        c, keys = dict(of["contract"], height=v["height"]), {role: bytes.fromhex(key) for role, key in of["keys"].items()}
        wanted = outputs_of_escrow(c, keys)
        equal([{"value": value, "script": script.hex()} for value, script in wanted], v["outputs"], f"{name}: outputs")
        lowest = max(0, c["height"] - FUNDING_MARGIN)
        for tx in v["txs"]:
            plain_tx, paid = strip(bytes.fromhex(tx["tx"]))
            equal(sha256(sha256(plain_tx))[::-1].hex(), tx["txid"], f"{name}: txid")
            places = [[at for at, output in enumerate(paid) if output == vault] for vault in wanted]
            # What no block holds, the next one could.
            block = v["tip"] + 1 if tx["height"] is None else tx["height"]
            funded = places[0][: min(map(len, places))] if block >= lowest else []
            equal(funded, tx["fundings"], f"{name}: fundings at {tx['height']}")


def tweaked_keys(keys, contract_hash):
    """The arbiters' keys in a contract."""
    tweak = lambda key: int.from_bytes(domain("exchange/arbiter-tweak/v1", key, contract_hash), "big")
    arbiters = (role for role in ("arbiter", "second_arbiter") if role in keys)
    return {role: xonly(add(lift_x(keys[role]), mul(tweak(keys[role]), G))) for role in arbiters}


def outputs_of_escrow(c, keys):
    """The outputs of a contract's escrow, each its value and its script: E0, and E1 if there is a buyer's bond."""
    tweaked = tweaked_keys(keys, domain("exchange/contract/v1", encode_contract(c)))
    internal = xonly(key_agg(sorted(b"\x02" + keys[role] for role in ("buyer", "seller"))))
    values = [(False, c["amount"] + c["seller_bond"]), (True, c["buyer_bond"])]
    point_of_tree = lambda is_bond: tree_of(c, is_bond, keys, tweaked, internal)[1]
    return [(value, b"\x51\x20" + xonly(point_of_tree(is_bond))) for is_bond, value in values if value]


def encode_contract(c):
    text = lambda value: le(len(value.encode()), 4) + value.encode()
    destination = lambda script: le(len(script) // 2, 4) + bytes.fromhex(script)
    party = lambda p: (
        bytes.fromhex(p["trade_key"])
        + bytes.fromhex(p["seal_key"])
        + destination(p["destination"])
        + bytes.fromhex(p["details"])
    )
    arbiter = lambda a: (
        b"".join(bytes.fromhex(a[f]) for f in ("advert", "author", "key", "seal_key"))
        + le(a["fee_ppm"], 4)
        + destination(a["destination"])
    )
    second = c["second_arbiter"]
    return b"".join(
        [
            *(bytes.fromhex(c[f]) for f in ("network", "offer", "trade", "accept", "buyer", "seller")),
            party(c["buyer_party"]),
            party(c["seller_party"]),
            arbiter(c["arbiter"]),
            b"\x01" + arbiter(second) if second else b"\x00",
            *(le(c[f], 8) for f in ("amount", "seller_bond", "buyer_bond")),
            c["currency"].encode().ljust(5, b"\x00"),
            le(c["price"], 8),
            le(c["cost"], 8),
            text(c["method"]),
            struct.pack("<HHH", c["arbitration_delay"], c["second_delay"], c["refund_delay"]),
            struct.pack("<II", c["confirmations"], c["height"]),
        ]
    )


def check_funding():
    """Computes, as funding.md says, the messages and the transaction from what each side brings."""
    for v in load("funding.json")["cases"]:
        name, sides = v["name"], {side: v[side] for side in ("seller", "buyer")}
        encode = lambda side: (
            le(len(side["inputs"]), 4)
            + b"".join(
                bytes.fromhex(i["txid"])[::-1] + le(i["vout"], 4) + bytes.fromhex(i["key"]) + le(i["height"], 4)
                for i in side["inputs"]
            )
            + le(len(side["change"]) // 2, 4)
            + bytes.fromhex(side["change"])
        )
        proposal = le(v["feerate"], 8) + le(v["height"], 4) + encode(sides["seller"])
        equal(proposal.hex(), v["proposal"], f"{name}: proposal")
        identifier = domain("exchange/funding-proposal/v1", proposal)
        equal(identifier.hex(), v["proposal_id"], f"{name}: proposal's id")
        outputs = [v["seller_output"], v["buyer_output"]]
        for side, brought in sides.items():
            output = v[f"{side}_output"]
            part = 21 + 230 * len(brought["inputs"]) + 4 * (9 + len(output["script"]) // 2)
            rest = lambda weight: held - output["value"] - -(-weight * v["feerate"] // 4)
            held = sum(i["value"] for i in brought["inputs"])
            check(rest(part) >= 0, f"{name}: the {side} brings enough")
            change = rest(part + 4 * (9 + len(brought["change"]) // 2))
            if change >= 546:
                outputs.append({"value": change, "script": brought["change"]})
        outputs.sort(key=lambda o: (o["value"], bytes.fromhex(o["script"])))
        inputs = [dict(i, sequence=0xFFFFFFFD, witness=[]) for side in sides.values() for i in side["inputs"]]
        inputs.sort(key=lambda i: (bytes.fromhex(i["txid"])[::-1], i["vout"]))
        tx = {"version": 3, "lock_time": v["height"], "inputs": inputs, "outputs": outputs}
        plain_tx = serialise(tx, False)
        equal(sha256(sha256(plain_tx))[::-1].hex(), v["txid"], f"{name}: txid")
        spent = [(i["value"], b"\x51\x20" + bytes.fromhex(i["key"])) for i in inputs]
        signatures = {}
        for at, i in enumerate(inputs):
            message = tagged(
                "TapSighash",
                b"\x00\x00" + le(3, 4) + le(v["height"], 4),
                sha256(b"".join(bytes.fromhex(o["txid"])[::-1] + le(o["vout"], 4) for o in inputs)),
                sha256(b"".join(le(value, 8) for value, _ in spent)),
                sha256(b"".join(var_bytes(script) for _, script in spent)),
                sha256(b"".join(le(o["sequence"], 4) for o in inputs)),
                sha256(b"".join(le(o["value"], 8) + var_bytes(bytes.fromhex(o["script"])) for o in outputs)),
                b"\x00" + le(at, 4),
            )
            equal(message.hex(), v["tx"]["inputs"][at]["sighash"], f"{name}: sighash {at}")
            # The witnesses stand before the lock time, one signature of 64 bytes each.
            signed = bytes.fromhex(v["signed"])
            place = len(signed) - 4 - 66 * (len(inputs) - at) + 2
            signature = signed[place : place + 64]
            equal(signed[place - 2 : place], b"\x01\x40", f"{name}: witness {at}")
            check(schnorr_verify(bytes.fromhex(i["key"]), message, signature), f"{name}: signature {at}")
            signatures[i["txid"], i["vout"]] = signature
        witnesses = b"".join(b"\x01\x40" + signatures[i["txid"], i["vout"]] for i in inputs)
        whole = plain_tx[:4] + b"\x00\x01" + plain_tx[4:-4] + witnesses + plain_tx[-4:]
        equal(whole.hex(), v["signed"], f"{name}: transaction")
        equal(3 * len(plain_tx) + len(whole), v["weight"], f"{name}: weight")
        buyers = [signatures[i["txid"], i["vout"]] for i in sides["buyer"]["inputs"]]
        answer = identifier + encode(sides["buyer"]) + le(len(buyers), 4) + b"".join(buyers)
        equal(answer.hex(), v["answer"], f"{name}: answer")


def check_keypath():
    file, cases = load("keypath.json"), {case["name"]: case for case in load("escrow.json")["cases"]}
    for v in file["valid"]:
        check_round(v, cases[v["name"]])
    check_refused_rounds(file["invalid"], file["valid"][-1], cases[file["valid"][-1]["name"]])


def aggregate_of(output, case):
    """The key that an output shows, from the keys of both and the tweak of its tree."""
    keys = sorted(b"\x02" + bytes.fromhex(case["keys"][role]) for role in ("buyer", "seller"))
    return KeyAgg(keys).tweaked(bytes.fromhex(output["tap_tweak"]), True)


def key_payout(case, v):
    """The payout by the key of both, as escrow.md says, and what it spends."""
    outputs = {output["vault"]: output for output in case["outputs"]}
    spent = [outputs[i["vault"]] for i in v["tx"]["inputs"]]
    held = {i["vault"]: i["value"] for i in v["tx"]["inputs"]}
    paid = outputs_of(case["contract"], {"name": "payout", "fee": v["fee"]}, held, None)
    inputs = [{**i, "sequence": 0xFFFFFFFD, "witness": []} for i in v["tx"]["inputs"]]
    return {"version": 3, "lock_time": 0, "inputs": inputs, "outputs": paid}, spent


def check_round(v, case):
    name = f"{v['name']}: by the key of both"
    tx, spent = key_payout(case, v)
    equal((tx["outputs"], [i["sequence"] for i in tx["inputs"]]), (v["tx"]["outputs"], [i["sequence"] for i in v["tx"]["inputs"]]), name)
    funded = next(spend for spend in case["spends"] if spend["name"] == "payout")["tx"]["inputs"]
    named = [(i["vault"], i["txid"], i["vout"], i["value"]) for i in v["tx"]["inputs"]]
    equal(named, [(i["vault"], i["txid"], i["vout"], i["value"]) for i in funded], f"{name}: inputs")
    size = 11 + 58 * len(spent) + 43 * len(tx["outputs"])
    equal(v["fee"], v["feerate"] * size, f"{name}: fee")
    scripts = [(i["value"], bytes.fromhex(output["script_pubkey"])) for i, output in zip(tx["inputs"], spent)]
    for at, (i, output) in enumerate(zip(v["tx"]["inputs"], spent)):
        message = sighash(tx, at, scripts, None)
        equal(message.hex(), i["sighash"], f"{name}: sighash of input {at}")
        aggregate = aggregate_of(output, case)
        equal(xonly(aggregate.point).hex(), output["output_key"], f"{name}: key of input {at}")
        equal(i["output_key"], output["output_key"], f"{name}: key of input {at}")
        parts, nonces = [], [bytes.fromhex(i[role]["public_nonce"]) for role in ("buyer", "seller")]
        session = Session(aggregate, nonces, message)
        for role, nonce in zip(("buyer", "seller"), nonces):
            numbers = [int.from_bytes(bytes.fromhex(number), "big") for number in i[role]["secret_nonces"]]
            equal(b"".join(plain(mul(number, G)) for number in numbers).hex(), nonce.hex(), f"{name}: nonce of the {role}")
            part = session.sign(numbers, int.from_bytes(bytes.fromhex(case["secrets"][role]), "big"))
            equal(part.to_bytes(32, "big").hex(), i[role]["partial_signature"], f"{name}: part of the {role}")
            check(session.holds(part, nonce, b"\x02" + bytes.fromhex(case["keys"][role])), f"{name}: equation of the {role}")
            parts.append(part)
        signature = session.signature(parts)
        equal(signature.hex(), i["signature"], f"{name}: signature of input {at}")
        check(schnorr_verify(bytes.fromhex(output["output_key"]), message, signature), f"{name}: input {at} by BIP-340")
        tx["inputs"][at]["witness"] = [signature.hex()]
    equal(serialise(tx, True).hex(), v["signed"], f"{name}: transaction")
    txid = sha256(sha256(serialise(tx, False)))
    equal(txid[::-1].hex(), v["txid"], f"{name}: txid")
    equal(-(-(3 * len(serialise(tx, False)) + len(serialise(tx, True))) // 4), v["vsize"], f"{name}: virtual size")
    check(v["vsize"] <= size, f"{name}: reckoned size")
    shown = lambda role, field: [bytes.fromhex(i[role][field]) for i in v["tx"]["inputs"]]
    listed = lambda items: le(len(items), 4) + b"".join(items)
    ask = le(v["fee"], 8) + txid + listed(shown("buyer", "public_nonce"))
    equal(ask.hex(), v["ask"], f"{name}: ask")
    equal(domain("exchange/ask/v1", ask).hex(), v["ask_id"], f"{name}: id of the ask")
    reply = domain("exchange/ask/v1", ask) + listed(shown("seller", "public_nonce")) + listed(shown("seller", "partial_signature"))
    equal(reply.hex(), v["reply"], f"{name}: reply")


def items_of(data, at, size):
    """A list of items of one size; returns them and where it ends."""
    count = int.from_bytes(data[at : at + 4], "little")
    end = at + 4 + count * size
    return [data[begin : begin + size] for begin in range(at + 4, end, size)], end


def check_refused_rounds(invalid, v, case):
    """Names the first rule that each message breaks, in the order in which escrow.md lists them."""
    count = len(v["tx"]["inputs"])
    size = 11 + 58 * count + 43 * len(v["tx"]["outputs"])
    are_nonces = lambda nonces: len(nonces) == count and all(None not in points_of(nonce) for nonce in nonces)
    for vector in invalid["asks"]:
        data = bytes.fromhex(vector["ask"])
        fee, spend, (nonces, _) = int.from_bytes(data[:8], "little"), data[8:40], items_of(data, 40, 66)
        tx, _ = key_payout(case, {**v, "fee": fee})
        if not size <= fee <= 500 * size:
            broken = "fee"
        elif sha256(sha256(serialise(tx, False))) != spend:
            broken = "spend"
        else:
            broken = None if are_nonces(nonces) else "nonces"
        equal(broken, vector["rule"], f"an ask with {vector['name']}")
    seller = b"\x02" + bytes.fromhex(case["keys"]["seller"])
    for vector in invalid["replies"]:
        data = bytes.fromhex(vector["reply"])
        nonces, end = items_of(data, 32, 66)
        parts, _ = items_of(data, end, 32)
        if data[:32].hex() != v["ask_id"]:
            broken = "ask"
        elif not are_nonces(nonces):
            broken = "nonces"
        else:
            holds = len(parts) == count
            for i, nonce, part, output in zip(v["tx"]["inputs"], nonces, parts, key_payout(case, v)[1]):
                mine = bytes.fromhex(i["buyer"]["public_nonce"])
                session = Session(aggregate_of(output, case), [mine, nonce], bytes.fromhex(i["sighash"]))
                holds = holds and session.holds(int.from_bytes(part, "big"), nonce, seller)
            broken = None if holds else "partial"
        equal(broken, vector["rule"], f"a reply with {vector['name']}")


def check_mail():
    contracts = {case["contract_hash"]: case["contract"] for case in load("escrow.json")["cases"]}
    groups = load("frost.json")
    contracts.update({one["contract_hash"]: one["contract"] for one in groups["decisions"]})
    members = [m["author"] for m in groups["groups"][0]["members"]]
    rounds = [one["round"] for one in groups["decisions"][0]["rounds"]]
    file = load("mail.json")
    equal([v["message"]["round"] for v in file["valid"] if "round" in v["message"]], rounds, "mail: the rounds of a group")
    for v in file["valid"]:
        a = v["address"]
        address = b"".join(
            [le(a["version"], 1)]
            + [bytes.fromhex(a[f]) for f in ("network", "trade", "contract", "sender", "recipient")]
            + [le(a["epoch"], 4), le(a["seq"], 4), bytes.fromhex(a["previous"]), bytes.fromhex(a["seen"])]
            + [le(a["time"], 8), bytes.fromhex(a["commitment"])]
        )
        equal(address.hex(), v["address_bytes"], "mail: address")
        sealed, plaintext = bytes.fromhex(v["sealed"]), bytes.fromhex(v["plaintext"])
        sealed_hash = domain("exchange/mail-sealed/v1", sealed)
        identifier = domain("exchange/mail-id/v1", domain("exchange/mail-address/v1", address), sealed_hash)
        equal(identifier.hex(), v["id"], "mail: id")
        message, signature = b"exchange/mail/v1" + identifier, bytes.fromhex(v["signature"])
        check(ed_verify(bytes.fromhex(a["sender"]), message, signature), "mail: signature")
        equal((address + le(len(sealed), 4) + sealed + signature).hex(), v["envelope"], "mail: envelope")
        commitment = domain("exchange/mail-commit/v1", bytes.fromhex(v["salt"]), plaintext)
        equal(commitment.hex(), a["commitment"], "mail: commitment")
        c = contracts[a["contract"]]
        check(keeps(bytes.fromhex(v["envelope"]), c, members), "mail: an envelope between two who may write to each other")
        key = seal_key_of(c, a["recipient"], members)
        equal(key, v["recipient_seal_key"], "mail: to whom it is sealed")
        inside = bytes.fromhex(v["salt"]) + le(len(plaintext), 4) + plaintext
        sealing = bytes.fromhex(key), b"exchange/mail/v1", address, sealing_padded(inside), bytes.fromhex(v["ikm_e"])
        equal(hpke_seal(*sealing).hex(), v["sealed"], "mail: sealed")
        mailbox = domain("exchange/mailbox/v1", bytes.fromhex(a["contract"]), bytes.fromhex(a["recipient"]))
        equal(mailbox.hex(), v["mailbox"], "mail: mailbox")
        equal(mail_message(v["message"]).hex(), plaintext.hex(), "mail: plaintext")


    first = load("escrow.json")["cases"][0]["contract"]
    for v in file["invalid"]:
        check(not keeps(bytes.fromhex(v["envelope"]), first, members), f"mail {v['name']} is accepted")


def keeps(envelope, c, members):
    """Whether an envelope is good, and between two roles of the contract or two members of its group."""
    address, count = envelope[:245], int.from_bytes(envelope[245:249], "little")
    sealed, signature = envelope[249 : 249 + count], envelope[249 + count :]
    if len(envelope) > 16_384 or len(signature) != 64 or address[0] != 1:
        return False
    network, trade, contract, sender, recipient = (address[a:b] for a, b in ((1, 5), (5, 37), (37, 69), (69, 101), (101, 133)))
    seq, previous = int.from_bytes(address[137:141], "little"), address[141:173]
    if seq > 255 or seq > 0 and previous == bytes(32):
        return False
    hashes = domain("exchange/mail-address/v1", address), domain("exchange/mail-sealed/v1", sealed)
    if not ed_verify(sender, b"exchange/mail/v1" + domain("exchange/mail-id/v1", *hashes), signature):
        return False
    contract_hash = domain("exchange/contract/v1", encode_contract(c))
    if (network.hex(), trade.hex(), contract) != (c["network"], c["trade"], contract_hash):
        return False
    roles = {c["buyer"]: "buyer", c["seller"]: "seller", c["arbiter"]["author"]: "arbiter"}
    is_group = c["arbiter"]["author"] in members
    roles.update({member: "arbiter" for member in members if is_group})
    one, other = roles.get(sender.hex()), roles.get(recipient.hex())
    return None not in (one, other) and (one != other or one == "arbiter" and is_group and sender != recipient)


def seal_key_of(c, author, members):
    """Whose key in the contract is his; that of a group is each member's."""
    for party in ("buyer", "seller"):
        if c[party] == author:
            return c[f"{party}_party"]["seal_key"]
    is_group = c["arbiter"]["author"] in members
    return c["arbiter"]["seal_key"] if author == c["arbiter"]["author"] or is_group and author in members else None


def mail_message(message):
    """Encodes a message; what a disclosure shows is checked as an arbiter would."""
    if "details" in message:
        salt, text = bytes.fromhex(message["details"]["salt"]), message["details"]["text"].encode()
        equal(domain("exchange/details/v1", salt, text).hex(), message["details"]["agreed"], "mail: details")
        return b"\x00" + salt + le(len(text), 4) + text
    if "chat" in message:
        text = message["chat"].encode()
        return b"\x01" + le(len(text), 4) + text
    if "ask" in message:
        return b"\x03" + bytes.fromhex(message["ask"])
    if "reply" in message:
        return b"\x04" + bytes.fromhex(message["reply"])
    for code, key in ((5, "round"), (6, "funding_proposal"), (7, "funding_answer")):
        if key in message:
            return le(code, 1) + bytes.fromhex(message[key])
    said = [(bytes.fromhex(one["id"]), bytes.fromhex(one["said"])) for one in message["disclosure"]]
    for identifier, data in said:
        address, sealed_hash, signature, opening = data[:245], data[245:277], data[277:341], data[341:]
        equal(domain("exchange/mail-id/v1", domain("exchange/mail-address/v1", address), sealed_hash), identifier, "mail: said")
        check(ed_verify(address[69:101], b"exchange/mail/v1" + identifier, signature), "mail: a signature of what was said")
        if opening[0]:
            equal(int.from_bytes(opening[33:37], "little"), len(opening[37:]), "mail: the words")
            equal(domain("exchange/mail-commit/v1", opening[1:33], opening[37:]), address[213:245], "mail: the words' commitment")
    return b"\x02" + le(len(said), 4) + b"".join(data for _, data in said)


# What a ciphersuite of RFC 9591 puts before what it hashes.
FROST = b"FROST-secp256k1-SHA256-TR-v1"


def hash_to_scalar(name, message):
    """hash_to_field of RFC 9380 to the order of secp256k1, by expand_message_xmd with SHA-256; one element of 48 bytes."""
    dst = FROST + name
    dst += le(len(dst), 1)
    first = sha256(bytes(64), message, b"\x00\x30\x00", dst)
    blocks = [sha256(first, b"\x01", dst)]
    blocks.append(sha256(bytes(a ^ b for a, b in zip(first, blocks[0])), b"\x02", dst))
    return int.from_bytes(b"".join(blocks)[:48], "big") % N


def compressed_point(data):
    point = lift_x(data[1:])
    return point if data[0] == 2 else (point[0], P - point[1])


def negated(point):
    return point[0], P - point[1]


def total(points):
    result = None
    for point in points:
        result = add(result, point)
    return result


def commitment_at(coefficients, place):
    """What a polynomial, given by the points of its coefficients, is at a place."""
    return total(mul(pow(place, k, N), point) for k, point in enumerate(coefficients))


def check_draw(place, coefficients, proof, what):
    identifier, first = place.to_bytes(32, "big"), coefficients[0]
    nonce, mu = b"\x02" + proof[:32], int.from_bytes(proof[32:], "big")
    c = hash_to_scalar(b"dkg", identifier + plain(first) + nonce)
    equal(add(mul(mu, G), mul(N - c, first)), compressed_point(nonce), f"{what}: proof of the member at {place}")


def moved(point, negate, tweak):
    return add(negated(point) if negate else point, mul(tweak, G))


def group_key(draws):
    """The key of a group and each member's point, from all draws by place."""
    key = total(coefficients[0] for coefficients in draws.values())
    tweak = int.from_bytes(tagged("TapTweak", xonly(key)), "big") % N
    shares = {i: total(commitment_at(coefficients, i) for coefficients in draws.values()) for i in draws}
    odd = key[1] % 2 == 1
    return moved(key, odd, tweak), {i: moved(share, odd, tweak) for i, share in shares.items()}


def check_frost():
    file = load("frost.json")
    v = file["key"]
    draws = {m["place"]: [compressed_point(bytes.fromhex(c)) for c in m["coefficients"]] for m in v["members"]}
    for m in v["members"]:
        equal(len(draws[m["place"]]), v["threshold"], "frost: coefficients")
        check_draw(m["place"], draws[m["place"]], bytes.fromhex(m["proof"]), "frost")
        for to, share in m["deals"].items():
            equal(mul(int(share, 16), G), commitment_at(draws[m["place"]], int(to)), f"frost: a share for {to}")
    key, shares = group_key(draws)
    equal(xonly(key).hex(), v["key"], "frost: key")
    for m in v["members"]:
        equal(plain(shares[m["place"]]).hex(), m["verifying_share"], "frost: point of a member's share")
    odd, tweak = key[1] % 2 == 1, int(v["tweak"], 16)
    key, shares = moved(key, odd, tweak), {i: moved(share, odd, tweak) for i, share in shares.items()}
    equal(xonly(key).hex(), v["tweaked_key"], "frost: tweaked key")
    check_signing(v, key, shares)
    groups = [check_formed(group, threshold) for group, threshold in zip(file["groups"], (2, 3))]
    equal(len(groups), len(file["groups"]), "frost: groups")
    for decision in file["decisions"]:
        check_decision(decision, groups[0])


def check_signing(v, key, shares):
    """Checks each share of a signature as RFC 9591 does, with the signs that BIP-340 asks for."""
    message, signature = bytes.fromhex(v["message"]), bytes.fromhex(v["signature"])
    signers = {s["place"]: s for s in v["signers"]}
    for place, s in signers.items():
        equal(plain(shares[place]).hex(), s["verifying_share"], "frost: tweaked point of a share")
    session = FrostSession(key, message, {i: bytes.fromhex(s["hiding"] + s["binding"]) for i, s in signers.items()})
    equal(xonly(session.nonce), signature[:32], "frost: nonce")
    for place, s in signers.items():
        session.check_share(place, shares[place], int(s["share"], 16), "frost")
    equal(sum(int(s["share"], 16) for s in signers.values()) % N, int.from_bytes(signature[32:], "big"), "frost: sum")
    check(schnorr_verify(xonly(key), message, signature), "frost: signature")


class FrostSession:
    """What some members sign, and the nonces of each by his place, hiding and binding (RFC 9591, section 5)."""

    def __init__(self, key, message, commitments):
        self.key = key
        listed = b"".join(place.to_bytes(32, "big") + pair for place, pair in sorted(commitments.items()))
        prefix = b"\x02" + xonly(key) + sha256(FROST + b"msg", message) + sha256(FROST + b"com", listed)
        factor = lambda place: hash_to_scalar(b"rho", prefix + place.to_bytes(32, "big"))
        self.nonces = {
            place: add(compressed_point(pair[:33]), mul(factor(place), compressed_point(pair[33:])))
            for place, pair in commitments.items()
        }
        self.nonce = total(self.nonces.values())
        self.c = int.from_bytes(tagged("BIP0340/challenge", xonly(self.nonce), xonly(key), message), "big") % N

    def check_share(self, place, point, share, what):
        """The equation of a share, `point` being that by which its member's shares are checked."""
        weight = 1
        for other in self.nonces:
            if other != place:
                weight = weight * other * pow(other - place, -1, N) % N
        of_nonce = negated(self.nonces[place]) if self.nonce[1] % 2 else self.nonces[place]
        of_key = negated(point) if self.key[1] % 2 else point
        equal(mul(share, G), add(of_nonce, mul(weight * self.c % N, of_key)), f"{what}: share of {place}")


def interpolated(points, at):
    """What a polynomial is at a place, by its values at as many others as it has coefficients."""
    result = 0
    for place, value in points.items():
        for other in points:
            if other != place:
                value = value * (at - other) * pow(place - other, -1, N) % N
        result += value
    return result % N


def check_formed(v, threshold):
    """Follows the records by which a group forms, and what is sealed in them, to its advert and to each member's part."""
    steps, authors, terms, advert = {1: {}, 2: {}, 3: {}}, [], None, None
    for record in map(bytes.fromhex, v["records"]):
        header, body = record[:134], BodyReader(record[198:])
        network, identifier = header[1:5], domain("exchange/record/v1", header)
        equal(domain("exchange/body/v1", body.data), header[94:126], "group: a record's body")
        check(ed_verify(header[5:37], b"exchange/sig/v1" + identifier, record[134:198]), "group: a record's signature")
        if header[89:91] == le(5, 2):
            advert = identifier, header[5:37], body.data
            continue
        step = body.number(1)
        if step == 0:
            equal(body.number(1), threshold, "group: threshold")
            group, authors = identifier, body.items(32)
            equal((authors, header[5:37] in authors), (sorted(set(authors)), True), "group: members")
            terms = body.rest()
        else:
            equal(body.bytes(32), group, "group: which one")
            check(authors.index(header[5:37]) + 1 not in steps[step], "group: one step of each kind")
            steps[step][authors.index(header[5:37]) + 1] = identifier, body
    places = range(1, len(authors) + 1)
    names = ("author", "seal_secret", "seal_part", "ikm_e")
    secrets = {m["place"]: {name: bytes.fromhex(m[name]) for name in names} for m in v["members"]}
    equal([secrets[place]["author"] for place in places], authors, "group: the members' secrets")
    draws, seal_keys, said = {}, {}, b""
    for place in places:
        join = steps[1][place][1]
        said += join.data[1:]
        seal_keys[place] = join.bytes(32)
        equal(x25519_public(secrets[place]["seal_secret"]), seal_keys[place], "group: a member's seal key")
        part = domain("exchange/group-seal-part/v1", group, secrets[place]["seal_part"])
        equal(join.bytes(32), part, "group: what a member commits to")
        draws[place] = list(map(compressed_point, join.items(33)))
        equal(len(draws[place]), threshold, "group: coefficients")
        check_draw(place, draws[place], join.rest(), "group")
    joined = domain("exchange/group-joins/v1", group, le(len(authors), 4), said)
    equal(joined.hex(), v["joined"], "group: what all said when they joined")
    shares = check_dealt(v, steps[2], group, joined, secrets, draws, seal_keys, [steps[1][place][0] for place in places])
    key, points = group_key(draws)
    equal(xonly(key).hex(), v["key"], "group: key")
    seal_secret = domain("exchange/group-seal/v1", group, *(secrets[place]["seal_part"] for place in places))
    equal(seal_secret.hex(), v["seal_secret"], "group: seal secret")
    unsigned = advert_of(group, terms, key, x25519_public(seal_secret), threshold, authors)
    message = b"exchange/group-advert/v1" + domain("exchange/group-advert/v1", network, unsigned)
    signatures, kept = b"", {}
    for place in places:
        confirm = steps[3][place][1]
        signature, kept[place], rest = confirm.bytes(64), confirm.counted(), confirm.rest()
        check(ed_verify(authors[place - 1], message, signature) and not rest, "group: a confirmation")
        signatures += signature
    equal(advert[0].hex(), v["advert"], "group: advert")
    whole = unsigned + le(len(authors), 4) + signatures
    equal((advert[1] in authors, advert[2].hex()), (True, whole.hex()), "group: what the advert says")
    check_kept(v, kept, group, secrets, seal_secret, draws, shares)
    reader = BodyReader(terms)
    reader.counted()
    arbiter = {
        "advert": v["advert"],
        "author": advert[1].hex(),
        "key": v["key"],
        "seal_key": x25519_public(seal_secret).hex(),
        "fee_ppm": reader.number(4),
        "destination": reader.counted().hex(),
    }
    return {"arbiter": arbiter, "key": key, "points": points}


def advert_of(group, terms, key, seal_key, threshold, authors):
    """What all members sign: the proposal's conditions with their keys between the name and the rest."""
    name = 4 + int.from_bytes(terms[:4], "little")
    advert = terms[:name] + xonly(key) + seal_key + terms[name:]
    return group + advert + le(threshold, 1) + le(len(authors), 4) + b"".join(authors)


def check_dealt(v, deals, group, joined, secrets, draws, seal_keys, ids):
    """Opens what each member dealt to each of the others; returns the shares, by dealer and recipient."""
    published, shares = {(one["from"], one["to"]): one for one in v["dealt"]}, {}
    for dealer, (_, deal) in deals.items():
        equal(deal.items(32), ids, "group: joins")
        others, all_sealed = [place for place in secrets if place != dealer], deal.items(304)
        equal(len(all_sealed), len(others), "group: sealed shares")
        for to, sealed in zip(others, all_sealed):
            what, one = f"group: what {dealer} dealt to {to}", published.pop((dealer, to))
            aad = group + le(dealer, 1) + le(to, 1) + joined
            equal(aad.hex(), one["aad"], f"{what}: place")
            info, inside = b"exchange/group-share/v1", bytes.fromhex(one["plaintext"])
            again = hpke_seal(seal_keys[to], info, aad, sealing_padded(inside), secrets[dealer]["ikm_e"])
            equal(again.hex(), sealed.hex(), what)
            equal(hpke_open(secrets[to]["seal_secret"], info, aad, sealed), sealing_padded(inside), f"{what}: opened")
            shares[dealer, to] = int.from_bytes(inside[:32], "big")
            equal(mul(shares[dealer, to], G), commitment_at(draws[dealer], to), f"{what}: share")
            equal(inside[32:], secrets[dealer]["seal_part"], f"{what}: part of the seal secret")
        check(deal.rest() == b"", "group: a deal ends")
    equal(published, {}, "group: everything was dealt")
    return shares


def check_kept(v, kept, group, secrets, seal_secret, draws, shares):
    """Makes each member's part from what was dealt to him and what he drew, and opens what he keeps of it."""
    published, (key, points) = {one["to"]: one for one in v["kept"]}, group_key(draws)
    drawn = total(coefficients[0] for coefficients in draws.values())
    tweak = int.from_bytes(tagged("TapTweak", xonly(drawn)), "big") % N
    for place, sealed in kept.items():
        what, one = f"group: what {place} keeps", published.pop(place)
        own = interpolated({to: shares[place, to] for to in secrets if to != place}, place)
        share = own + sum(shares[dealer, place] for dealer in secrets if dealer != place)
        share = ((N - share if drawn[1] % 2 else share) + tweak) % N
        inside = seal_secret + share.to_bytes(32, "big") + plain(key) + b"".join(plain(points[at]) for at in secrets)
        equal(mul(share, G), points[place], f"{what}: his point")
        equal(inside.hex(), one["plaintext"], what)
        aad = group + le(place, 1)
        equal(aad.hex(), one["aad"], f"{what}: place")
        info, mine = b"exchange/group-kept/v1", secrets[place]
        again = hpke_seal(x25519_public(mine["seal_secret"]), info, aad, sealing_padded(inside), mine["ikm_e"])
        equal(again.hex(), sealed.hex(), f"{what}: sealed")
        equal(len(sealed), 304 if len(secrets) <= 4 else 1072, f"{what}: length")
        equal(hpke_open(mine["seal_secret"], info, aad, sealed), sealing_padded(inside), f"{what}: opened")
    equal(published, {}, "group: everybody keeps his part")


def check_decision(v, group):
    """Computes what two members of a group say until they have decided, but for nonces and shares, which are checked."""
    c, name = v["contract"], f"group: {v['name']}"
    contract = encode_contract(c)
    equal(contract.hex(), v["contract_bytes"], f"{name}: contract")
    contract_hash = domain("exchange/contract/v1", contract)
    equal(contract_hash.hex(), v["contract_hash"], f"{name}: contract hash")
    check_named(c, v["records"] or {}, name)
    seat = {"first": 0, "second": 1}[v["seat"]]
    role = ("arbiter", "second_arbiter")[seat]
    equal(c[role], group["arbiter"], f"{name}: the arbiter is the group")
    key, points = tweaked_group(group, contract_hash)
    equal(xonly(key).hex(), v["arbiter_key"], f"{name}: key of the contract")
    asked, digests, gets = asked_of(c, v, contract_hash, seat)
    equal([digest.hex() for digest in digests], v["digests"], f"{name}: what is signed, in order")
    asked_hash = domain("exchange/frost-asked/v1", contract_hash, le(seat, 1), asked)
    equal(asked_hash.hex(), v["asked"], f"{name}: hash of what is asked")
    signatures = check_body(v, c, asked, gets, name)
    rounds = {}
    for one in v["rounds"]:
        data = BodyReader(bytes.fromhex(one["round"]))
        rounds[data.number(1)] = one["from"], data
    first, last = v["rounds"][0]["from"], v["rounds"][-1]["from"]
    expected = {0: first, 1: last, 2: first, 3: last}
    if 4 in rounds:
        check_shown(rounds[4][1].counted(), c, encoded_vaults(v["vaults"]), name)
        expected = {4: first, **expected}
    equal([(code, place) for code, (place, _) in rounds.items()], list(expected.items()), f"{name}: who says what")
    equal(rounds[0][1].rest(), asked, f"{name}: Ask")
    commit, sign, shares = (rounds[code][1] for code in (1, 2, 3))
    equal(commit.bytes(32), asked_hash, f"{name}: what is committed to")
    given = commit.items(66)
    equal(sign.bytes(32), asked_hash, f"{name}: what is to be signed")
    signers = sign.data[sign.at :]
    named = [(sign.number(1), sign.items(66)) for _ in range(sign.number(4))]
    equal([place for place, _ in named], sorted([first, last]), f"{name}: who signs")
    equal(dict(named)[last], given, f"{name}: who signs by the nonces that he gave")
    session_hash = domain("exchange/frost-session/v1", asked_hash, signers)
    equal((session_hash.hex(), session_hash), (v["session"], shares.bytes(32)), f"{name}: session")
    parts = shares.items(32)
    check(all(data.rest() == b"" for _, data in rounds.values()), f"{name}: a round ends")
    equal([len(given), len(parts), len(signatures)], [len(digests)] * 3, f"{name}: one of each for each digest")
    for at, (digest, part, signature) in enumerate(zip(digests, parts, signatures)):
        session = FrostSession(key, digest, {place: pairs[at] for place, pairs in named})
        session.check_share(last, points[last], int.from_bytes(part, "big"), f"{name}: digest {at}")
        equal(xonly(session.nonce), signature[:32], f"{name}: nonce of digest {at}")
        check(schnorr_verify(xonly(key), digest, signature), f"{name}: signature of digest {at}")


def tweaked_group(group, contract_hash):
    """The key of a contract, and the members' points by it."""
    key = group["key"]
    tweak = int.from_bytes(domain("exchange/arbiter-tweak/v1", xonly(key), contract_hash), "big")
    odd = key[1] % 2 == 1
    return moved(key, odd, tweak), {place: moved(point, odd, tweak) for place, point in group["points"].items()}


def check_named(c, records, name):
    """The contract names these records, and their authors."""
    named = {"offer": c["offer"], "take": c["trade"], "accept": c["accept"]}
    for kind, record in records.items():
        header = bytes.fromhex(record)[:134]
        equal(domain("exchange/record/v1", header).hex(), named[kind], f"{name}: {kind}")
        equal(header[1:5].hex(), c["network"], f"{name}: network")
        check(header[5:37].hex() in (c["buyer"], c["seller"]), f"{name}: whose {kind}")


def encoded_vaults(vaults):
    coin = lambda coin: bytes.fromhex(coin["txid"])[::-1] + le(coin["vout"], 4) + le(coin["value"], 8)
    return coin(vaults["escrow"]) + (b"\x01" + coin(vaults["bond"]) if vaults["bond"] else b"\x00")


def asked_of(c, v, contract_hash, seat):
    """What is asked for, the digests that are signed for it, and who gets how much by a ruling."""
    role = ("arbiter", "second_arbiter")[seat]
    keys = {"buyer": c["buyer_party"]["trade_key"], "seller": c["seller_party"]["trade_key"]}
    keys.update({role: c[role]["key"] for role in ("arbiter", "second_arbiter") if c[role]})
    keys = {role: bytes.fromhex(key) for role, key in keys.items()}
    tweaked = tweaked_keys(keys, contract_hash)
    internal = xonly(key_agg(sorted(b"\x02" + keys[role] for role in ("buyer", "seller"))))
    held = [(vault, v["vaults"][vault]) for vault in ("escrow", "bond") if v["vaults"][vault]]
    coins = [(coin, tree_of(c, vault == "bond", keys, tweaked, internal)) for vault, coin in held]
    spent = [(coin["value"], b"\x51\x20" + xonly(tree[1])) for coin, tree in coins]
    values = [c["amount"] + c["seller_bond"], c["buyer_bond"]]
    equal([value for value, _ in spent], [value for value in values if value], "group: what the escrow holds")
    v0, v1 = spent[0][0], sum(value for value, _ in spent[1:])
    gets = None
    if v["part"] is None:
        fee = v["feerate"] * reckoned("ruled", len(coins), len(coins))
        asked = b"\x01" + encoded_vaults(v["vaults"]) + le(fee, 8)
        outputs, parties = [(v0 - fee, spent[0][1]), *spent[1:]], ["buyer", "seller"]
    else:
        fee = v["feerate"] * ruled_size(c, v["part"], v1, role, len(coins))
        gets = divide(c, v["part"], v0, v1, fee, role)
        asked = b"\x00" + encoded_vaults(v["vaults"]) + le(gets[0], 8) + le(gets[1], 8)
        to = {party: c[f"{party}_party"]["destination"] for party in ("buyer", "seller")}
        outputs = [(value, bytes.fromhex(script)) for script, value in rule(c, to, gets, role) if value]
        parties = [party for party, value in zip(("buyer", "seller"), gets) if value]
    sequence = c[("arbitration_delay", "second_delay")[seat]]
    tx = {
        "version": 3,
        "lock_time": 0,
        "inputs": [{"txid": coin["txid"], "vout": coin["vout"], "sequence": sequence} for coin, _ in coins],
        "outputs": [{"value": value, "script": script.hex()} for value, script in outputs],
    }
    suffix = ("arbiter", "second")[seat]
    leaves = [(at, tree[2][f"{party}_{suffix}"]) for party in parties for at, (_, tree) in enumerate(coins)]
    return asked, [sighash(tx, at, spent, leaf) for at, leaf in leaves], gets


def check_body(v, c, asked, gets, name):
    """The record that comes of it: trade, vaults and numbers as they were asked for, then the signatures for each party."""
    body = BodyReader(bytes.fromhex(v["body"]))
    equal(body.bytes(31 + len(asked)), bytes.fromhex(c["trade"]) + asked[1:], f"{name}: the record's numbers")
    signatures = [body.items(64), body.items(64)]
    check(body.rest() == b"", f"{name}: the record ends")
    inputs = 2 if v["vaults"]["bond"] else 1
    counts = [inputs, inputs] if gets is None else [inputs if value else 0 for value in gets]
    equal(list(map(len, signatures)), counts, f"{name}: signatures for each who gets something")
    return signatures[0] + signatures[1]


def check_shown(record, c, vaults, name):
    """A release of these coins, signed by the seller."""
    header, body = record[:134], record[198:]
    signed = b"exchange/sig/v1" + domain("exchange/record/v1", header)
    check(ed_verify(bytes.fromhex(c["seller"]), signed, record[134:198]), f"{name}: the seller signed what is shown")
    equal((header[5:37].hex(), header[89:91]), (c["seller"], le(37, 2)), f"{name}: a release is shown")
    equal(body[: 32 + len(vaults)], bytes.fromhex(c["trade"]) + vaults, f"{name}: of these coins")


def check_bundle():
    """Verifies the bundle as audit.md says, but for what other vectors show: the contract and the script engine."""
    bundle = load("bundle.json")
    places, kinds = [], {}
    for data in (bytes.fromhex(text) for text in bundle["records"]):
        header, signature, body = data[:134], data[134:198], data[198:]
        identifier = domain("exchange/record/v1", header)
        check(ed_verify(header[5:37], b"exchange/sig/v1" + identifier, signature), "bundle: a record's signature")
        check(header[1:5].hex() == bundle["network"] and domain("exchange/body/v1", body) == header[94:126], "bundle: record")
        seq = int.from_bytes(header[41:49], "little")
        check(seq > 0 or ticket(header) >> 246 == 0, "bundle: a record's ticket")
        places.append((header[5:37], int.from_bytes(header[37:41], "little"), seq, identifier))
        kinds[int.from_bytes(header[89:91], "little")] = (identifier, body)
    check(places == sorted(set(places)), "bundle: the order of records")
    equal(kinds[32][0].hex(), bundle["trade"], "bundle: the trade is its bid")
    chain = bundle["chain"]
    headers = [bytes.fromhex(text) for text in chain["headers"]]
    genesis = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    equal(sha256(sha256(headers[0]))[::-1].hex(), genesis, "bundle: regtest's genesis")
    for before, header in zip(headers, headers[1:]):
        equal(header[4:36], sha256(sha256(before)), "bundle: headers join")
        equal(header[72:76], before[72:76], "bundle: the difficulty of regtest stays")
    for header in headers:
        check(int.from_bytes(sha256(sha256(header)), "little") <= 0x7FFFFF << 8 * 29, "bundle: work")
    (funding, outputs), (spend, payouts) = (check_inclusion(chain[part], headers) for part in ("funding", "spend"))
    script = b"\x51\x20"
    vout = next(at for at, (value, to) in enumerate(outputs) if to[:2] == script)
    equal(bech32m("bcrt", outputs[vout][1][2:]), bundle["escrow"], "bundle: the escrow's address")
    release = kinds[37][1]
    vaults = sha256(sha256(funding)) + le(vout, 4) + le(outputs[vout][0], 8) + b"\x00"
    equal(release[32:77], vaults, "bundle: what the seller released")
    fee = int.from_bytes(release[77:85], "little")
    equal([value for value, _ in payouts], [outputs[vout][0] - fee], "bundle: the payout is the released one")
    for message in bundle["transcript"]:
        address = b"\x01" + b"".join(bytes.fromhex(bundle[f]) for f in ("network", "trade", "contract"))
        address += bytes.fromhex(message["sender"]) + bytes.fromhex(message["recipient"])
        address += le(message["epoch"], 4) + le(message["seq"], 4) + bytes.fromhex(message["previous"])
        address += bytes.fromhex(message["seen"]) + le(message["time"], 8) + bytes.fromhex(message["commitment"])
        hashes = domain("exchange/mail-address/v1", address), bytes.fromhex(message["sealed_hash"])
        signed = b"exchange/mail/v1" + domain("exchange/mail-id/v1", *hashes)
        check(ed_verify(bytes.fromhex(message["sender"]), signed, bytes.fromhex(message["signature"])), "bundle: message")


def check_inclusion(inclusion, headers):
    """Follows a partial merkle tree (BIP-37); returns the transaction without its witness, and its outputs."""
    tx, proof = bytes.fromhex(inclusion["tx"]), bytes.fromhex(inclusion["proof"])
    header, count, hash_count = proof[:80], int.from_bytes(proof[80:84], "little"), proof[84]
    equal(header, headers[inclusion["height"]], "bundle: the proof's block")
    hashes = [proof[85 + 32 * at : 117 + 32 * at] for at in range(hash_count)]
    flags = proof[86 + 32 * hash_count :]
    bits = [byte >> at & 1 for byte in flags for at in range(8)]
    height = (count - 1).bit_length()
    matches = []

    def walk(level, position):
        flag = bits.pop(0)
        if level == 0 or not flag:
            found = hashes.pop(0)
            if level == 0 and flag:
                matches.append(found)
            return found
        left = walk(level - 1, 2 * position)
        wide = -(-count // (1 << level - 1))
        right = walk(level - 1, 2 * position + 1) if 2 * position + 1 < wide else left
        return sha256(sha256(left + right))

    equal(walk(height, 0), header[36:68], "bundle: the merkle root")
    plain_tx, outputs = strip(tx)
    equal(matches, [sha256(sha256(plain_tx))], "bundle: the transaction of the proof")
    return plain_tx, outputs


def strip(tx):
    """Returns a transaction without its witness, and its outputs. Short ones only: counts of one byte."""
    at = 6 if tx[4:6] == b"\x00\x01" else 4
    start, inputs = at, tx[at]
    at += 1
    for _ in range(inputs):
        at += 36 + 1 + tx[at + 36] + 4
    outputs, count = [], tx[at]
    at += 1
    for _ in range(count):
        size = tx[at + 8]
        outputs.append((int.from_bytes(tx[at : at + 8], "little"), tx[at + 9 : at + 9 + size]))
        at += 9 + size
    return tx[:4] + tx[start:at] + tx[-4:], outputs


# The sketch of specs/sync.md ------------------------------------------------------------------------------------------

U64 = 2**64 - 1


def draws(item):
    state = item
    while True:
        state = (state + 0x9E3779B97F4A7C15) & U64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & U64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & U64
        yield z ^ z >> 31


def cells_of(item, end):
    """The check of an item, and the cells in which it lies."""
    numbers = draws(item)
    item_check, cells, cell = next(numbers) & 0xFFFFFF, [], 0
    while cell < end:
        cells.append(cell)
        bound, draw, n = (cell + 1) * (cell + 2) << 32, (next(numbers) >> 32) + 1, cell + 1
        while n < end and (n + 1) * (n + 2) * draw < bound:
            n += 1
        cell = n
    return item_check, cells


def sketch_of(items, count):
    cells = [[0, 0, 0] for _ in range(count)]
    for item in items:
        item_check, lies_in = cells_of(item, count)
        for cell in lies_in:
            cells[cell] = [cells[cell][0] ^ item, cells[cell][1] ^ item_check, cells[cell][2] + 1]
    return cells


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def symbol(cell, place, heads):
    surplus = cell[2] - 2 * heads // (place + 2)
    return le(cell[0], 8) + le(cell[1], 3) + varint(2 * surplus if surplus >= 0 else -2 * surplus - 1)


def decode_difference(ours, theirs):
    cells = [[t[0] ^ o[0], t[1] ^ o[1], t[2] - o[2]] for o, t in zip(ours, theirs)]
    found, again = {1: [], -1: []}, True
    while again:
        again = False
        for place, (item, item_check, count) in enumerate(cells):
            own_check, lies_in = cells_of(item, len(cells))
            if count in (1, -1) and item_check == own_check and place in lies_in:
                found[count].append(item)
                for cell in lies_in:
                    c = cells[cell]
                    cells[cell] = [c[0] ^ item, c[1] ^ item_check, c[2] - count]
                again = True
    check(all(cell == [0, 0, 0] for cell in cells), "sync: the difference is whole")
    return found[-1], found[1]


def encode_head(h):
    frozen = b"\x00" if h["frozen"] is None else b"\x01" + bytes.fromhex(h["frozen"])
    log = bytes.fromhex(h["author"]) + le(h["epoch"], 4)
    return log + le(h["len"], 8) + bytes.fromhex(h["id"]) + le(h["time"], 8) + frozen


def check_sync():
    file = load("sync.json")
    salt, sketches, items = bytes.fromhex(file["salt"]), {}, {}
    for side in ("ours", "theirs"):
        heads, symbols = file[side]["heads"], file[side]["symbols"]
        items[side] = []
        for h in heads:
            frozen = bytes(32) if h["frozen"] is None else bytes.fromhex(h["frozen"])
            log = domain("exchange/sketch/log/v1", salt, bytes.fromhex(h["author"]), le(h["epoch"], 4))[:4]
            end = domain("exchange/sketch/head/v1", salt, le(h["len"], 8), bytes.fromhex(h["id"]), frozen)[:4]
            equal((log + end).hex(), h["item"], "sync: item")
            equal(encode_head(h).hex(), h["bytes"], "sync: head")
            items[side].append(int.from_bytes(log + end, "little"))
        sketches[side] = sketch_of(items[side], len(symbols))
        for place, (cell, published) in enumerate(zip(sketches[side], symbols)):
            equal(symbol(cell, place, len(heads)).hex(), published, f"sync: symbol {place} of {side}")
        ordered = sorted(heads, key=lambda h: (bytes.fromhex(h["author"]), h["epoch"]))
        state = [
            bytes.fromhex(h["author"]) + le(h["epoch"], 4) + le(h["len"], 8) + bytes.fromhex(h["id"])
            + (bytes(32) if h["frozen"] is None else bytes.fromhex(h["frozen"]))
            for h in ordered
        ]
        equal(domain("exchange/state/v1", *state).hex(), file[side]["state"], f"sync: state of {side}")
    found = decode_difference(sketches["ours"], sketches["theirs"])
    for side, other, decoded in (("ours", "theirs", found[0]), ("theirs", "ours", found[1])):
        equal(set(decoded), set(items[side]) - set(items[other]), f"sync: what only {side} has")
        equal({le(item, 8).hex() for item in decoded}, set(file["difference"][side]), f"sync: difference of {side}")
    check_messages(file, salt)
    check_frames(file["frames"])


def check_frames(published):
    """The length, big-endian, and the outer code of requests and answers."""
    digest, envelopes = bytes([0xD1] * 32), le(1, 4) + le(3, 4) + b"\xaa\xbb\xcc"
    requests = {
        "ledger": b"\x00\x07" + digest,
        "mail_fetch": b"\x01" + le(1, 4) + bytes([0xB0] * 32) + le(7, 8),
        "mail_put": b"\x02" + envelopes,
    }
    answers = {
        "ledger": b"\x00\x00",
        "mail": b"\x01" + le(1, 4) + envelopes + le(9, 8),
        "taken": b"\x02",
        "busy": b"\x03",
    }
    for kind, expected in (("requests", requests), ("answers", answers)):
        found = {name: (len(value).to_bytes(4, "big") + value).hex() for name, value in expected.items()}
        equal(found, {frame["name"]: frame["bytes"] for frame in published[kind]}, f"sync: frames of {kind}")


def check_messages(file, salt):
    digest, theirs = bytes([0xD1] * 32), file["theirs"]
    first, second = theirs["heads"][0], theirs["heads"][1]
    log = bytes.fromhex(second["author"]) + le(second["epoch"], 4)
    other, item = bytes.fromhex(first["item"]), bytes.fromhex(second["item"])
    record = le(3, 4) + b"\xaa\xbb\xcc"
    symbols = [cell for cell in sketch_of([int.from_bytes(bytes.fromhex(h["item"]), "little") for h in theirs["heads"]], 3)]
    symbols = le(3, 4) + b"".join(symbol(cell, place, 40) for place, cell in enumerate(symbols))
    requests = {
        "compare": b"\x00" + digest + le(32, 2),
        "symbols": b"\x01" + salt + le(32, 2) + le(100, 2),
        "items": b"\x02" + salt + le(2, 4) + item + varint(201) + other + varint(0),
        "heads": b"\x03\x01" + log + le(1000, 2),
        "ranges": b"\x04" + le(1, 4) + log + le(7, 8),
        "frozen": b"\x05" + le(1, 4) + log,
        "ids": b"\x06" + le(1, 4) + log + le(7, 8),
        "finished": b"\x07" + digest,
        "bodies": b"\x08" + le(2, 4) + bytes.fromhex(first["id"]) + bytes.fromhex(second["id"]),
        "forks": b"\x09\x01" + log + le(1000, 2),
    }
    answers = {
        "same": b"\x00",
        "differs": b"\x01\x01" + salt + le(40, 8) + symbols,
        "symbols": b"\x02" + symbols,
        "stale": b"\x03",
        "items": b"\x04" + le(3, 4) + b"\x00\x01" + encode_head(second) + b"\x02" + le(9, 8) + le(1, 4) + record,
        "heads": b"\x05" + le(1, 4) + encode_head(first),
        "records": b"\x06" + le(2, 4) + le(1, 4) + record + le(0, 4),
        "ids": b"\x07" + le(2, 4) + b"\x00\x01" + bytes.fromhex(first["id"]),
        "bodies": b"\x08" + le(2, 4) + b"\x00\x01" + record,
    }
    for kind, expected in (("requests", requests), ("answers", answers)):
        published = {message["name"]: message["bytes"] for message in file["messages"][kind]}
        equal({name: value.hex() for name, value in expected.items()}, published, f"sync: {kind}")


def check_published():
    file = load("bip327.json")
    for case in file["valid_test_cases"]:
        keys = [bytes.fromhex(file["pubkeys"][at]) for at in case["key_indices"]]
        equal(xonly(key_agg(keys)).hex(), case["expected"].lower(), "BIP-327 aggregation")


def check_published_signing():
    """The signing of BIP-327 above, by BIP-327's own vectors."""
    file = load("bip327_signing.json")
    pick = lambda part, name, indices: [bytes.fromhex(part[name][at]) for at in indices]
    for name in ("sign_verify", "tweak"):
        part = file[name]
        for case in part["valid_test_cases"]:
            aggregate = KeyAgg(pick(part, "pubkeys", case["key_indices"]))
            for tweak, is_xonly in zip(pick(part, "tweaks", case.get("tweak_indices", [])), case.get("is_xonly", [])):
                aggregate.tweaked(tweak, is_xonly)
            message = bytes.fromhex(part["msgs"][case["msg_index"]] if "msgs" in part else part["msg"])
            nonces = pick(part, "pnonces", case["nonce_indices"])
            session = Session(aggregate, nonces, message)
            expected, signer = int(case["expected"], 16), case["signer_index"]
            key, secret = aggregate.keys[signer], int(part["sk"], 16)
            check(session.holds(expected, nonces[signer], key), "BIP-327 verification")
            if key == plain(mul(secret, G)):
                known = bytes.fromhex(part["secnonces"][0] if "secnonces" in part else part["secnonce"])
                numbers = [int.from_bytes(known[at : at + 32], "big") for at in (0, 32)]
                equal(session.sign(numbers, secret), expected, "BIP-327 signing")
        for case in part.get("verify_fail_test_cases", []):
            nonces = pick(part, "pnonces", case["nonce_indices"])
            keys = pick(part, "pubkeys", case["key_indices"])
            session = Session(KeyAgg(keys), nonces, bytes.fromhex(part["msgs"][case["msg_index"]]))
            holds = session.holds(int(case["sig"], 16), nonces[case["signer_index"]], keys[case["signer_index"]])
            check(not holds, f"BIP-327 verification: {case['comment']}")
    part = file["sig_agg"]
    for case in part["valid_test_cases"]:
        aggregate = KeyAgg(pick(part, "pubkeys", case["key_indices"]))
        for tweak, is_xonly in zip(pick(part, "tweaks", case["tweak_indices"]), case["is_xonly"]):
            aggregate.tweaked(tweak, is_xonly)
        message = bytes.fromhex(part["msg"])
        session = Session(aggregate, pick(part, "pnonces", case["nonce_indices"]), message)
        signature = session.signature([int.from_bytes(s, "big") for s in pick(part, "psigs", case["psig_indices"])])
        equal(signature.hex(), case["expected"].lower(), "BIP-327 aggregation of signatures")
        check(schnorr_verify(xonly(aggregate.point), message, signature), "BIP-327 signature by BIP-340")
    part = file["nonce_agg"]
    for case in part["error_test_cases"]:
        read = [points_of(nonce) for nonce in pick(part, "pnonces", case["pnonce_indices"])]
        check(any(None in points for points in read), f"BIP-327 nonces: {case['comment']}")


if __name__ == "__main__":
    primitives = (check_published, check_published_signing, check_published_sealing)
    runs = (*primitives, check_records, check_state, check_retention, check_escrow, check_chain)
    for run in (*runs, check_keypath, check_funding, check_mail, check_sync, check_bundle, check_frost):
        run()
    files = "records.json, state.json, retention.json, escrow.json, chain.json, keypath.json, funding.json, mail.json, sync.json, bundle.json, frost.json"
    files += ", bip327.json, bip327_signing.json"
    print(f"{CHECKS} checks passed: {files}")
