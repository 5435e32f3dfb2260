#!/usr/bin/env python3
"""Checks specs/vectors/escrow.json with embit, a Bitcoin library that shares nothing with the exchange: each descriptor leads
to the published script and addresses, each leaf to the output, and each signed spend satisfies the leaf that it shows, by
signatures over the sighash that embit computes.

Run it with the python of tests/python/build.sh, as `make test` does.
"""

import json
import sys
from pathlib import Path

from embit import ec, hashes
from embit.descriptor import Descriptor
from embit.networks import NETWORKS
from embit.script import Script
from embit.transaction import Transaction
from embit.util import secp256k1

VECTORS = Path(__file__).resolve().parents[2] / "specs" / "vectors"
NETWORK_NAMES = {"bitcoin": "main", "testnet": "test", "signet": "signet", "regtest": "regtest"}
CHECKS = 0
# The operations of the escrow's leaves.
PUSH_KEY, CHECKSIG, CHECKSIGVERIFY, CSV = 0x20, 0xAC, 0xAD, 0xB2
# A sequence with this bit is no relative lock (BIP-68).
DISABLED = 1 << 31


def check(condition, what):
    global CHECKS
    CHECKS += 1
    if not condition:
        sys.exit(f"wrong: {what}")


def compact(data):
    return bytes([len(data)]) + data if len(data) < 253 else sys.exit("wrong: a leaf of more than 252 bytes")


def output_of(leaf, control):
    """The script to which a leaf leads by its control block (BIP-341)."""
    node = hashes.tagged_hash("TapLeaf", bytes([control[0] & 0xFE]) + compact(leaf))
    for at in range(33, len(control), 32):
        node = hashes.tagged_hash("TapBranch", b"".join(sorted((node, control[at : at + 32]))))
    internal, tweak = control[1:33], hashes.tagged_hash("TapTweak", control[1:33] + node)
    output = secp256k1.ec_pubkey_serialize(secp256k1.ec_pubkey_add(secp256k1.ec_pubkey_parse(b"\x02" + internal), tweak))
    check(control[0] & 1 == output[0] & 1, "the parity in a control block")
    return b"\x51\x20" + output[1:]


def satisfies(stack, leaf, sequence, message):
    """Runs a leaf of the escrow: keys whose signatures must hold, and a relative lock."""
    at, key, number = 0, None, None
    while at < len(leaf):
        code, at = leaf[at], at + 1
        if 1 <= code <= PUSH_KEY:
            pushed, at = leaf[at : at + code], at + code
            key, number = (pushed, None) if code == PUSH_KEY else (None, int.from_bytes(pushed, "little"))
        elif 0x51 <= code <= 0x60:
            number = code - 0x50
        elif code in (CHECKSIG, CHECKSIGVERIFY):
            signature = stack.pop()
            if len(signature) != 64 or not ec.PublicKey.from_xonly(key).schnorr_verify(ec.SchnorrSig(signature), message):
                return False
        elif code == CSV:
            if sequence & DISABLED or sequence & 0xFFFF < number:
                return False
        else:
            sys.exit(f"wrong: a leaf holds the operation {code:#x}")
    return not stack


def check_spend(name, scripts, spend):
    what = f"{name}: {spend['name']}"
    tx = Transaction.from_string(spend["signed"])
    check(tx.txid().hex() == spend["txid"], f"{what}: id")
    inputs = spend["tx"]["inputs"]
    check(len(tx.vin) == len(inputs), f"{what}: inputs")
    spent, values = [scripts[each["vault"]] for each in inputs], [each["value"] for each in inputs]
    check(sum(values) - sum(out.value for out in tx.vout) == spend["fee"], f"{what}: fee")
    for at, published in enumerate(inputs):
        check_input(f"{what}: input {at}", tx, at, spent, values, published["sighash"])


def check_input(what, tx, at, spent, values, published):
    stack = tx.vin[at].witness.items
    if len(stack) == 1:
        # The key path: the output's own key signs.
        leaf, sighash = spent[at].data[1:] + bytes([CHECKSIG]), lambda: tx.sighash_taproot(at, spent, values)
    else:
        *stack, leaf, control = stack
        check(output_of(leaf, control) == spent[at].data, f"{what}: the leaf leads to the output")
        sighash = lambda: tx.sighash_taproot(at, spent, values, ext_flag=1, script=Script(leaf), leaf_version=0xC0)
    check(sighash().hex() == published, f"{what}: sighash")
    check(satisfies(list(stack), leaf, tx.vin[at].sequence, sighash()), f"{what}: witness")
    tx.vout[0].value -= 1
    tx.clear_cache()
    check(not satisfies(list(stack), leaf, tx.vin[at].sequence, sighash()), f"{what}: another output is signed for")
    tx.vout[0].value += 1
    tx.clear_cache()


def check_output(name, output):
    script = Script(bytes.fromhex(output["script_pubkey"]))
    descriptor = Descriptor.from_string(output["descriptor"])
    check(descriptor.script_pubkey().data == script.data, f"{name}: descriptor")
    for network, address in output["addresses"].items():
        check(script.address(NETWORKS[NETWORK_NAMES[network]]) == address, f"{name}: address on {network}")
    for leaf in output["leaves"]:
        script_of, control = bytes.fromhex(leaf["script"]), bytes.fromhex(leaf["control_block"])
        check(output_of(script_of, control) == script.data, f"{name}: leaf {leaf['name']}")
    return script


for case in json.loads((VECTORS / "escrow.json").read_text())["cases"]:
    scripts = {output["vault"]: check_output(f"{case['name']}: {output['vault']}", output) for output in case["outputs"]}
    for spend in case["spends"]:
        check_spend(case["name"], scripts, spend)
print(f"{CHECKS} values of escrow.json agree with embit")
