#!/usr/bin/env python3
"""Checks specs/vectors/escrow.json and psbt.json with embit, a Bitcoin library that shares nothing with the exchange: each
descriptor leads to the published script and addresses, each leaf to the output, and each signed spend satisfies the leaf that
it shows, by signatures over the sighash that embit computes. Of each partially signed transaction it signs, by what the file
says and the signer's master key alone, and completes the published spend by its own signatures.

Run it with the python of tests/python/build.sh, as `make test` does.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from embit import bip32, ec, hashes
from embit.descriptor import Descriptor
from embit.networks import NETWORKS
from embit.psbt import PSBT
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
    return bytes([len(data)]) + data if len(data) < 253 else sys.exit("wrong: more than 252 bytes")


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
CHECKS = 0


def check_funding(funding):
    """A transaction without inputs, which looks like one with witnesses, so that embit does not read it."""
    output = funding["value"].to_bytes(8, "little") + compact(bytes.fromhex(funding["script"]))
    tx = (2).to_bytes(4, "little") + b"\x00\x01" + output + bytes(4)
    psbt = b"psbt\xff" + b"\x01\x00" + compact(tx) + b"\x00" + b"\x00"
    check(base64.b64decode(funding["psbt"]) == psbt, "what a wallet elsewhere adds its coins to")


def check_key(what, case, signer):
    """The key of a trade is a child of the account that the user gives, by the number that the ledger shows."""
    digest = hashlib.sha256(b"exchange/signer-index/v1" + bytes.fromhex(case["nonce"])).digest()
    check(int.from_bytes(digest[:4], "big") >> 1 == case["index"], f"{what}: index")
    origin, account = signer["account"][1:].split("]")
    fingerprint, path = origin.split("/", 1)
    key = bip32.HDKey.from_string(account).derive([2, case["index"]])
    check(key.xonly().hex() == case["key"], f"{what}: key")
    return fingerprint, f"{path}/2/{case['index']}"


def check_file(what, case, published, origin, scripts, master):
    psbt = PSBT.from_string(published["psbt"])
    check(psbt.to_string() == published["psbt"], f"{what}: nothing but what is named")
    check(psbt.tx.txid().hex() == published["txid"], f"{what}: id")
    for at, (scope, fields) in enumerate(zip(psbt.inputs, published["inputs"])):
        check_scope(f"{what}: input {at}", case, scope, fields, origin, scripts)
    check(psbt.sign_with(master) == len(psbt.inputs), f"{what}: embit signs each input once")
    signed, tx = PSBT.from_string(published["signed"]), Transaction.from_string(published["tx"])
    spent = [Script(bytes.fromhex(fields["witness_utxo"]["script"])) for fields in published["inputs"]]
    values = [fields["witness_utxo"]["value"] for fields in published["inputs"]]
    for at, scope in enumerate(psbt.inputs):
        check_signature(f"{what}: input {at}", scope, signed.inputs[at], tx, at, spent, values)


def check_scope(what, case, scope, fields, origin, scripts):
    """What an input says is what is published, and leads from the leaf to the output."""
    utxo, leaf, derivation = fields["witness_utxo"], fields["tap_leaf_script"], fields["tap_bip32_derivation"]
    check((scope.utxo.value, scope.utxo.script_pubkey.data.hex()) == (utxo["value"], utxo["script"]), f"{what}: utxo")
    check(scope.utxo.script_pubkey.data in scripts, f"{what}: the output is one of the escrow")
    control, script = bytes.fromhex(leaf["control_block"]), bytes.fromhex(leaf["script"])
    check(scope.taproot_scripts == {control: script + bytes([leaf["leaf_version"]])}, f"{what}: one leaf")
    check(output_of(script, control) == scope.utxo.script_pubkey.data, f"{what}: the leaf leads to the output")
    internal, root = control[1:33], bytes.fromhex(fields["tap_merkle_root"])
    check(scope.taproot_internal_key.xonly() == internal == bytes.fromhex(fields["tap_internal_key"]), f"{what}: internal")
    check(scope.taproot_merkle_root == root, f"{what}: root")
    tweaked = ec.PublicKey.from_xonly(internal).taproot_tweak(root)
    check(b"\x51\x20" + tweaked.xonly() == scope.utxo.script_pubkey.data, f"{what}: the root leads to the output")
    ((key, (leaves, path)),) = scope.taproot_bip32_derivations.items()
    hash_of = hashes.tagged_hash("TapLeaf", bytes([leaf["leaf_version"]]) + compact(script))
    check(key.xonly().hex() == derivation["key"] == case["key"], f"{what}: key")
    check(leaves == [hash_of] and derivation["leaf_hashes"] == [hash_of.hex()], f"{what}: the leaf's hash")
    written = (path.fingerprint.hex(), bip32.path_to_str(path.derivation).replace("m/", ""))
    check(written == origin == (derivation["fingerprint"], derivation["path"].replace("'", "h")), f"{what}: origin")
    check(scope.sighash_type is None and fields["sighash_type"] is None, f"{what}: SIGHASH_DEFAULT")
    check(bytes.fromhex(derivation["key"]) in script, f"{what}: the leaf asks for the key")


def check_signature(what, scope, published, tx, at, spent, values):
    """The published spend holds the signature that came back, and holds as well with embit's own in its place."""
    ((place, own),) = scope.taproot_sigs.items()
    check(list(published.taproot_sigs) == [place], f"{what}: one signature comes back")
    *stack, leaf, control = tx.vin[at].witness.items
    check(scope.taproot_scripts == {control: leaf + b"\xc0"}, f"{what}: the spend shows the leaf")
    check(stack.count(published.taproot_sigs[place]) == 1, f"{what}: the spend holds what came back")
    sighash = tx.sighash_taproot(at, spent, values, ext_flag=1, script=Script(leaf), leaf_version=0xC0)
    check(satisfies(list(stack), leaf, tx.vin[at].sequence, sighash), f"{what}: witness")
    stack[stack.index(published.taproot_sigs[place])] = own
    check(satisfies(list(stack), leaf, tx.vin[at].sequence, sighash), f"{what}: witness by embit's signature")


vectors = json.loads((VECTORS / "psbt.json").read_text())
check_funding(vectors["funding"])
for case in vectors["cases"]:
    origin = check_key(case["name"], case, vectors["signer"])
    scripts = [bytes.fromhex(output["script_pubkey"]) for output in case["outputs"]]
    for output, script in zip(case["outputs"], scripts):
        found = Descriptor.from_string(output["descriptor"]).script_pubkey().data
        check(found == script, f"{case['name']}: descriptor of {output['vault']}")
    master = bip32.HDKey.from_string(vectors["signer"]["master"])
    for published in case["files"]:
        check_file(f"{case['name']}: {published['name']}", case, published, origin, scripts, master)
print(f"{CHECKS} values of psbt.json agree with embit")
