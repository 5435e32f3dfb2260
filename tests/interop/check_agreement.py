#!/usr/bin/env python3
"""Judges specs/vectors/agreement.json and trades.json from the text of specs/: from sets of records, and from what blocks and the
pool show, to the standing of an offer, contracts, facts, the outputs that count and the phase. With nothing but Python's standard
library and the primitives of check_vectors.py; it shares no code with the exchange. Run it without arguments.
"""

from functools import cached_property

import check_vectors as base
from check_vectors import (
    MAX_FROZEN, add, domain, encode_contract, equal, check, fee_of, key_agg, le, lift_x, load, mul, schnorr_verify, serialise,
    sha256, sighash, tree_of, walk_log, xonly,
)

# How many records about something are looked at.
MAX_FACTS = 64
MAX_NAMED, MAX_EXTENSIONS = 4, 3
FUNDING_MARGIN, DISPUTE_MARGIN = 144, 1008
DUST = 546
GROUP_ADVERT, GROUP_STEP, ADVERT, OFFER, REVOKE, TAKE, ACCEPT = 5, 6, 2, 16, 17, 32, 33
CANCEL, FUNDED, PAYMENT_SENT, RELEASE, CLOSED, DISPUTE, RULING, EXTEND = range(34, 42)
KNOWN = {*range(1, 7), 16, 17, *range(32, 42)}
SEATS = {"first": "arbiter", "second": "second_arbiter"}


# Bodies (kinds.md) ----------------------------------------------------------------------------------------------------


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def id(self):
        return self.take(32)

    def bytes(self):
        return self.take(self.number(4))

    def list(self, read):
        return [read() for _ in range(self.number(4))]

    def option(self, read):
        return read() if self.number(1) else None

    def outpoint(self):
        return self.take(32), self.number(4)

    def coin(self):
        return self.outpoint(), self.number(8)

    def vaults(self):
        return self.coin(), self.option(self.coin)

    def signatures(self):
        return self.list(lambda: self.take(64))

    def half(self):
        return {"vaults": self.vaults(), "fee": self.number(8), "signatures": self.signatures()}

    def party(self):
        return {"trade_key": self.id(), "seal_key": self.id(), "destination": self.bytes(), "details": self.id()}

    def advert(self):
        said = {"name": self.bytes(), "key": self.id(), "seal_key": self.id(), "fee_ppm": self.number(4)}
        said |= {"destination": self.bytes(), "max_amount": self.number(8)}
        return said | {"languages": self.list(self.bytes), "currencies": self.list(lambda: self.take(5)), "terms": self.bytes()}

    def offer(self):
        said = {"side": self.number(1), "currency": self.take(5), "price": self.number(8), "min": self.number(8), "max": self.number(8)}
        said |= {"methods": self.list(self.bytes), "terms": self.bytes(), "arbiters": self.list(self.id)}
        said |= {name: self.number(4) for name in ("seller_bond_ppm", "buyer_bond_ppm")}
        said |= {name: self.number(2) for name in ("arbitration_delay", "second_delay", "refund_delay")}
        return said | {"automatic": self.number(1), "expires": self.number(8)}

    def take_body(self):
        said = {"offer": self.id(), "amount": self.number(8), "method": self.number(1), "arbiter": self.number(1)}
        return said | {"second_arbiter": self.option(lambda: self.number(1)), "nonce": self.id(), "party": self.party()}

    def step(self):
        variant = self.number(1)
        return {"variant": variant, "group": self.id() if variant else None}

    def group_advert(self):
        said = {"group": self.id(), "advert": self.advert(), "threshold": self.number(1)}
        return said | {"members": self.list(self.id), "signatures": self.signatures()}

    def ruling(self):
        said = {"trade": self.id(), "vaults": self.vaults(), "to_buyer": self.number(8), "to_seller": self.number(8)}
        return said | {"with_buyer": self.signatures(), "with_seller": self.signatures()}

    def extend(self):
        said = {"trade": self.id(), "vaults": self.vaults(), "fee": self.number(8)}
        return said | {"with_buyer": self.signatures(), "with_seller": self.signatures()}


BODIES = {
    ADVERT: Reader.advert,
    GROUP_ADVERT: Reader.group_advert,
    GROUP_STEP: Reader.step,
    OFFER: Reader.offer,
    REVOKE: lambda r: {"offer": r.id()},
    TAKE: Reader.take_body,
    ACCEPT: lambda r: {"trade": r.id(), "offer": r.id(), "height": r.number(4), "party": r.party()},
    CANCEL: lambda r: {"trade": r.id(), "refund": r.option(r.half)},
    FUNDED: lambda r: {"trade": r.id(), "outpoint": r.outpoint()},
    PAYMENT_SENT: lambda r: {"trade": r.id()},
    RELEASE: lambda r: {"trade": r.id(), "payout": r.half()},
    CLOSED: lambda r: {"trade": r.id(), "spend": r.id()},
    DISPUTE: lambda r: {"trade": r.id()},
    RULING: Reader.ruling,
    EXTEND: Reader.extend,
}


class Record:
    def __init__(self, data):
        number = lambda at, size: int.from_bytes(data[at : at + size], "little")
        self.id = domain("exchange/record/v1", data[:134])
        self.network, self.author, self.epoch, self.seq = data[1:5], data[5:37], number(37, 4), number(41, 8)
        self.backlink, self.time, self.kind, self.is_critical = data[49:81], number(81, 8), number(89, 2), data[91] & 1 == 1
        self.log, self.place = (self.author, self.epoch), (self.author, self.epoch, self.seq, self.id)
        read, reader = BODIES.get(self.kind), Reader(data[198:])
        self.said = read(reader) if read else {}
        # Of a step of a group only its group is read.
        check(read is None or self.kind == GROUP_STEP or reader.at == len(reader.data), "a body is its fields")

    def subjects(self):
        """What it is about: an offer, a trade, an offer and a trade, or a group."""
        named = {REVOKE: ["offer"], ACCEPT: ["offer", "trade"], GROUP_ADVERT: ["group"], GROUP_STEP: ["group"]}
        fields = named.get(self.kind, ["trade"] if self.kind in range(CANCEL, EXTEND + 1) else [])
        return {self.said[field] for field in fields}


# The ledger (records.md, offers.md) -----------------------------------------------------------------------------------


class Log:
    """A log: its chain, then what is frozen of it."""

    def __init__(self, records):
        length, _, _, frozen = walk_log({(r.seq, r.id): (r.backlink, r.time) for r in records})
        check(len(frozen) <= MAX_FROZEN, "more is frozen than is kept")
        self.fork = length if frozen else None
        chain = [r for r in records if r.seq < length]
        self.records = chain + [r for r in records if r.id in set(frozen)]
        unknown = [r.seq for r in chain if r.is_critical and r.kind not in KNOWN]
        self.critical = min(unknown, default=None)

    def is_frozen(self, record):
        return self.fork is not None and record.seq >= self.fork

    def gives_rights(self, record):
        return not self.is_frozen(record) and (self.critical is None or self.critical >= record.seq)


class Ledger:
    def __init__(self, records):
        logs = {}
        for record in records:
            logs.setdefault(record.log, []).append(record)
        self.logs = {log: Log(of) for log, of in logs.items()}
        self.records = {r.id: r for log in self.logs.values() for r in log.records}
        self.ordered = sorted(self.records.values(), key=lambda r: r.place)

    def about(self, subject, is_meant):
        """The first records about a subject of those that are meant, by place."""
        return [r for r in self.ordered if is_meant(r) and subject in r.subjects()][:MAX_FACTS]

    def has_rights(self, record):
        return self.logs[record.log].gives_rights(record)

    def is_frozen(self, record):
        return self.logs[record.log].is_frozen(record)

    def is_forked(self, author):
        return any(log.fork is not None for (by, _), log in self.logs.items() if by == author)

    def decisions(self, offer):
        """The Accepts and Revokes of an offer in its log."""
        about = self.about(offer.id, lambda r: r.log == offer.log)
        return [r for r in about if r.kind in (ACCEPT, REVOKE) and r.said["offer"] == offer.id]

    def is_withdrawn_elsewhere(self, offer):
        return any(r.kind == REVOKE for r in self.about(offer.id, lambda r: r.author == offer.author))

    def standing(self, offer):
        decisions = self.decisions(offer)
        if decisions:
            first = decisions[0]
            return {"accepted": first.said["trade"].hex()} if first.kind == ACCEPT else "withdrawn"
        if self.is_withdrawn_elsewhere(offer) or not self.has_rights(offer) or self.is_forked(offer.author):
            return "withdrawn"
        return "open"


# Bid and contract (trades.md) -----------------------------------------------------------------------------------------


class Arbiter:
    def __init__(self, record):
        self.record, self.members = record, [record.author]
        self.advert = record.said
        if record.kind == GROUP_ADVERT:
            self.advert, self.members = record.said["advert"], record.said["members"]

    def homes(self):
        """In which log each of its speakers entered a trade."""
        return {m: self.record.log if m == self.record.author else (m, 0) for m in self.members}

    def described(self):
        a = self.advert
        return {
            "advert": self.record.id.hex(), "author": self.record.author.hex(), "key": a["key"].hex(), "seal_key": a["seal_key"].hex(),
            "fee_ppm": a["fee_ppm"], "destination": a["destination"].hex(),
        }


def differ(items):
    return len(set(items)) == len(items)


class Bid:
    def __init__(self, ledger, take):
        self.ledger, self.take, self.trade = ledger, take, take.id
        bid = take.said
        self.offer = ledger.records[bid["offer"]]
        offer = self.offer.said
        places = [bid["arbiter"]] + ([] if bid["second_arbiter"] is None else [bid["second_arbiter"]])
        check(differ(places) and bid["method"] < len(offer["methods"]), "a bid chooses what there is")
        self.arbiters = [Arbiter(ledger.records[offer["arbiters"][place]]) for place in places]
        self.maker, self.taker = self.offer.author, take.author
        self.buyer, self.seller = (self.taker, self.maker) if offer["side"] else (self.maker, self.taker)
        speakers = [member for arbiter in self.arbiters for member in arbiter.members]
        check(differ([self.maker, self.taker, *speakers]), "all are different")
        most = min([offer["max"], *(arbiter.advert["max_amount"] for arbiter in self.arbiters)])
        check(offer["min"] <= bid["amount"] <= most, "the amount is one of the offer's")
        check(self.offer.time - 7200 <= take.time < offer["expires"], "the bid comes in time")
        self.keys = [arbiter.advert["key"] for arbiter in self.arbiters] + [bid["party"]["trade_key"]]
        self.destinations = [arbiter.advert["destination"] for arbiter in self.arbiters] + [bid["party"]["destination"]]
        check(differ(self.keys) and differ(self.destinations), "keys and destinations are different")
        self.homes = {self.maker: self.offer.log, self.taker: take.log}
        for arbiter in self.arbiters:
            self.homes |= arbiter.homes()

    def role_of(self, author):
        """buyer, seller, or as which arbiter somebody speaks."""
        for role, of in {"buyer": [self.buyer], "seller": [self.seller]}.items():
            if author in of:
                return role
        for seat, arbiter in zip(SEATS, self.arbiters):
            if author in arbiter.members:
                return seat
        return None

    def bond(self, side):
        return -(-self.take.said["amount"] * self.offer.said[f"{side}_bond_ppm"] // 1_000_000)

    def contract(self, accept):
        """The contract that an acceptance makes, None if it breaks a rule."""
        offer, bid, body = self.offer.said, self.take.said, accept.said
        mine, theirs = body["party"], bid["party"]
        if accept.log != self.offer.log or accept.time >= offer["expires"]:
            return None
        if not differ([*self.keys, mine["trade_key"]]) or not differ([*self.destinations, mine["destination"]]):
            return None
        if any(is_small(party["seal_key"]) for party in (mine, theirs)):
            return None
        buyers, sellers = (theirs, mine) if offer["side"] else (mine, theirs)
        party = lambda p: {name: value.hex() for name, value in p.items()}
        amount = bid["amount"]
        seconds = self.arbiters[1].described() if len(self.arbiters) > 1 else None
        return {
            "network": self.offer.network.hex(), "offer": self.offer.id.hex(), "trade": self.trade.hex(), "accept": accept.id.hex(),
            "buyer": self.buyer.hex(), "seller": self.seller.hex(), "buyer_party": party(buyers), "seller_party": party(sellers),
            "arbiter": self.arbiters[0].described(), "second_arbiter": seconds,
            "amount": amount, "seller_bond": self.bond("seller"), "buyer_bond": self.bond("buyer"),
            "currency": offer["currency"].rstrip(b"\x00").decode(), "price": offer["price"],
            "cost": -(-offer["price"] * amount // 100_000_000), "method": offer["methods"][bid["method"]].decode(),
            **{name: offer[name] for name in ("arbitration_delay", "second_delay", "refund_delay")},
            "confirmations": 1 if amount < 1_000_000 else 3 if amount < 10_000_000 else 6, "height": body["height"],
        }

    def agreement(self):
        """The contract, and whether the trade is void."""
        ledger, decisions = self.ledger, self.ledger.decisions(self.offer)
        void = not ledger.has_rights(self.offer) or not ledger.has_rights(self.take)
        of_chain = [r for r in decisions if not ledger.is_frozen(r)]
        candidates = of_chain[:1] or decisions
        accept = next((r for r in candidates if r.kind == ACCEPT and r.said["trade"] == self.trade), None)
        if accept is not None:
            contract = self.contract(accept)
            return contract, void or contract is None or not ledger.has_rights(accept)
        if decisions or ledger.is_withdrawn_elsewhere(self.offer):
            return None, True
        return None, void or ledger.is_forked(self.maker) or ledger.is_forked(self.taker)


def is_small(key):
    """Whether an X25519 key is of small order: eight times its point, by X alone, is nothing (RFC 7748)."""
    p = base.P25519
    x, z = int.from_bytes(key, "little") % 2**255 % p, 1
    for _ in range(3):
        a, b = (x + z) ** 2 % p, (x - z) ** 2 % p
        x, z = a * b % p, (a - b) * (a + 121_665 * (a - b)) % p
    return z == 0


# The escrow (escrow.md) -----------------------------------------------------------------------------------------------


class Escrow:
    """Its outputs, what is signed for them, and what a transaction does with them."""

    def __init__(self, c):
        self.c, self.hash = c, domain("exchange/contract/v1", encode_contract(c))
        key = lambda field, name: bytes.fromhex(c[field][name])
        self.keys = {"buyer": key("buyer_party", "trade_key"), "seller": key("seller_party", "trade_key")}
        self.to = {"buyer": c["buyer_party"]["destination"], "seller": c["seller_party"]["destination"]}
        self.tweaked = {}
        for role in filter(c.get, SEATS.values()):
            tweak = domain("exchange/arbiter-tweak/v1", key(role, "key"), self.hash)
            self.tweaked[role] = xonly(add(lift_x(key(role, "key")), mul(int.from_bytes(tweak, "big"), base.G)))
        internal = xonly(key_agg(sorted(b"\x02" + self.keys[role] for role in ("buyer", "seller"))))
        self.values = [c["amount"] + c["seller_bond"], c["buyer_bond"]]
        # Of each vault its output key, script, leaves by name, and the control block of each.
        self.trees = []
        for is_bond in (False, True)[: 2 if c["buyer_bond"] else 1]:
            _, point, scripts, _, paths = tree_of(c, is_bond, self.keys, self.tweaked, internal)
            control = {leaf: bytes([0xC0 | point[1] % 2]) + internal + path for leaf, path in paths.items()}
            self.trees.append((xonly(point), b"\x51\x20" + xonly(point), scripts, control))

    def delay(self, leaf):
        c = self.c
        if leaf in (None, "both"):
            return 0
        return c["refund_delay" if leaf == "refund" else "second_delay" if "second" in leaf else "arbitration_delay"]

    def signers(self, vault, leaf):
        """Whose signatures lie on the stack, from below."""
        buyer, seller = self.keys["buyer"], self.keys["seller"]
        if leaf == "both":
            return [seller, buyer]
        if leaf == "refund":
            return [buyer if vault else seller]
        return [self.tweaked["second_arbiter" if "second" in leaf else "arbiter"], self.keys[leaf.split("_")[0]]]

    def fits(self, vaults):
        """Whether vaults hold no more than was put in, and no bond that there is not."""
        escrow, bond = vaults
        return escrow[1] <= self.values[0] and (bond is None or (len(self.trees) == 2 and bond[1] <= self.values[1]))

    def draft(self, vaults, sequence, outputs):
        coins = [coin for coin in vaults if coin]
        inputs = [{"txid": o[0][::-1].hex(), "vout": o[1], "sequence": sequence, "witness": []} for o, _ in coins]
        outputs = [{"value": value, "script": script} for script, value in outputs if value]
        return {"version": 3, "lock_time": 0, "inputs": inputs, "outputs": outputs}

    def are_good(self, tx, vaults, leaf, signatures, key):
        spent = [(coin[1], tree[1]) for coin, tree in zip(vaults, self.trees) if coin]
        if len(signatures) != len(spent):
            return False
        messages = [sighash(tx, at, spent, self.trees[at][2][leaf]) for at in range(len(spent))]
        return all(schnorr_verify(key, message, signature) for message, signature in zip(messages, signatures))

    def is_good_half(self, half, to):
        """A half of a payout (to the buyer) is the seller's, of a refund (to the seller) the buyer's."""
        vaults, fee = half["vaults"], half["fee"]
        if not self.fits(vaults):
            return False
        v0, v1, bond = vaults[0][1], vaults[1][1] if vaults[1] else 0, self.c["seller_bond"]
        if to == "buyer":
            shares, others = [(self.to["buyer"], v0 + v1 - bond - fee), (self.to["seller"], bond)], bond > 0
        else:
            shares, others = [(self.to["buyer"], v1), (self.to["seller"], v0 - fee)], vaults[1] is not None
        inputs = 2 if vaults[1] else 1
        size = 11 + 116 * inputs + 43 * (1 + others)
        if not size <= fee <= 100 * size or any(value < 0 or 0 < value < DUST for _, value in shares):
            return False
        tx = self.draft(vaults, 0xFFFFFFFD, shares)
        return self.are_good(tx, vaults, "both", half["signatures"], self.keys["seller" if to == "buyer" else "buyer"])

    def leaf_of(self, seat, party):
        return f"{party}_{'arbiter' if seat == 'first' else 'second'}"

    def is_good_ruling(self, seat, ruling):
        vaults, role = ruling["vaults"], SEATS[seat]
        gets, fee_of_his = {"buyer": ruling["to_buyer"], "seller": ruling["to_seller"]}, fee_of(self.c, role)
        if not self.fits(vaults) or not any(gets.values()) or any(0 < value < DUST for value in gets.values()):
            return False
        inputs = 2 if vaults[1] else 1
        held = vaults[0][1] + (vaults[1][1] if vaults[1] else 0)
        shares = [(self.to["buyer"], gets["buyer"]), (self.to["seller"], gets["seller"]), (self.c[role]["destination"], fee_of_his)]
        size = lambda outputs: 11 + 125 * inputs + 43 * outputs
        fee = held - sum(value for _, value in shares)
        if not size(sum(value > 0 for _, value in shares)) <= fee <= 100 * size(3):
            return False
        tx = self.draft(vaults, self.delay(self.leaf_of(seat, "buyer")), shares)
        for party, value in gets.items():
            signatures = ruling[f"with_{party}"]
            if not value and signatures:
                return False
            if value and not self.are_good(tx, vaults, self.leaf_of(seat, party), signatures, self.tweaked[role]):
                return False
        return True

    def is_good_extension(self, seat, extend):
        vaults, fee = extend["vaults"], extend["fee"]
        inputs = 2 if vaults[1] else 1
        size = 11 + (125 + 43) * inputs
        if not self.fits(vaults) or not size <= fee <= 100 * size or vaults[0][1] - fee < DUST:
            return False
        shares = [(tree[1].hex(), coin[1]) for tree, coin in zip(self.trees, vaults) if coin]
        shares[0] = (shares[0][0], shares[0][1] - fee)
        tx = self.draft(vaults, self.delay(self.leaf_of(seat, "buyer")), shares)
        key = self.tweaked[SEATS[seat]]
        return all(self.are_good(tx, vaults, self.leaf_of(seat, p), extend[f"with_{p}"], key) for p in ("buyer", "seller"))

    def fundings(self, tx):
        """The vaults of each funding in a transaction."""
        wanted = list(zip(self.values, (tree[1].hex() for tree in self.trees)))
        places = [[((tx.txid, at), value) for at, out in enumerate(tx.outputs) if out == (value, script)] for value, script in wanted]
        return [(coins[0], coins[1] if len(coins) > 1 else None) for coins in zip(*places)]

    def revealed(self, vault, witness):
        """Which leaf an input shows: none for the key of both, False for a script that the tree does not have."""
        items = witness[:-1] if len(witness) > 1 and witness[-1][:1] == b"\x50" else witness
        if len(items) < 2:
            return None
        return next((leaf for leaf, script in self.trees[vault][2].items() if script == items[-2]), False)

    def meaning(self, tx, vaults):
        """What a spend means."""
        inputs = {i["outpoint"]: i for i in tx.inputs}
        spent = [(vault, inputs[coin[0]]) for vault, coin in enumerate(vaults) if coin and coin[0] in inputs]
        leaves = [self.revealed(vault, i["witness"]) for vault, i in spent]
        if leaves[0] == "refund":
            return "timeout"
        if spent[0][0] != 0 or len(spent) != len(tx.inputs) or len(set(leaves)) > 1 or leaves[0] is False:
            return "foreign"
        bond = vaults[1] if len(spent) == 2 else None
        buyer, seller, paid = self.to["buyer"], self.to["seller"], tx.outputs
        if leaves[0] in (None, "both"):
            # The winner's output holds whatever the fee left of it.
            ways = {"payout": (buyer, seller, self.c["seller_bond"]), "refund": (seller, buyer, bond[1] if bond else 0)}
            for name, (winner, loser, kept) in ways.items():
                to_loser = (kept, loser)
                rest = [out for out in paid if out != to_loser] if kept else paid
                if [script for _, script in rest] == [winner] and len(paid) == (2 if kept else 1):
                    return name
            return "foreign"
        made = self.extended(tx, (vaults[0], bond))
        if made is not None:
            return "extension"
        role = "second_arbiter" if "second" in leaves[0] else "arbiter"
        his = self.c[role]["destination"]
        is_his = sum(value for value, script in paid if script == his) == fee_of(self.c, role)
        return "ruling" if is_his and all(script in (buyer, seller, his) for _, script in paid) else "foreign"

    def extended(self, tx, vaults):
        """The vaults that an extension makes of others, None if it is none."""
        scripts = [tree[1].hex() for tree, coin in zip(self.trees, vaults) if coin]
        if [script for _, script in tx.outputs] != scripts or tx.outputs[0][0] >= vaults[0][1]:
            return None
        if vaults[1] and tx.outputs[1][0] != vaults[1][1]:
            return None
        made = [((tx.txid, at), value) for at, (value, _) in enumerate(tx.outputs)]
        return made[0], made[1] if vaults[1] else None

    def could_be_next(self, tx, vaults, height, tip):
        """Whether a transaction of the pool could be in the next block."""
        left, spent = {coin[0]: (vault, coin[1]) for vault, coin in enumerate(vaults) if coin}, []
        for i in tx.inputs:
            vault, value = left.pop(i["outpoint"], (None, 0))
            if vault is None or i["script"] or value > self.values[vault]:
                return False
            spent.append((vault, value))
        leaves = {self.signed_leaf(tx, at, spent) for at in range(len(tx.inputs))}
        if len(leaves) != 1 or False in leaves:
            return False
        delay = self.delay(leaves.pop())
        for i in tx.inputs:
            sequence = i["sequence"]
            blocks = sequence & 0xFFFF
            if sequence >> 31:
                if delay:
                    return False
            elif sequence >> 22 & 1 or blocks < delay or (tip + 1 if height is None else height) + blocks > tip + 1:
                return False
        is_final = tx.lock_time < 500_000_000 and tx.lock_time <= tip
        return tx.version >= 2 and (is_final or all(i["sequence"] == 0xFFFFFFFF for i in tx.inputs))

    def signed_leaf(self, tx, at, spent):
        """The leaf by which an input is signed, None for the key of both, False if it is not signed as it must be."""
        vault, witness = spent[at][0], tx.inputs[at]["witness"]
        key, _, scripts, control = self.trees[vault]
        prevouts = [(value, self.trees[of][1]) for of, value in spent]
        is_signed = lambda key, leaf, signature: len(signature) == 64 and schnorr_verify(
            key, sighash(tx.described(), at, prevouts, scripts[leaf] if leaf else None), signature
        )
        if len(witness) == 1:
            return None if is_signed(key, None, witness[0]) else False
        leaf = next((leaf for leaf, script in scripts.items() if witness[-2:] == [script, control[leaf]]), None)
        if leaf is None:
            return False
        keys, signatures = self.signers(vault, leaf), witness[:-2]
        good = len(keys) == len(signatures) and all(is_signed(k, leaf, s) for k, s in zip(keys, signatures))
        return leaf if good else False


class Transaction:
    def __init__(self, data):
        self.data, self.at = data, 0
        self.version = self.number(4)
        is_segwit = data[4:6] == b"\x00\x01"
        self.at += 2 if is_segwit else 0
        self.inputs = [self.input() for _ in range(self.compact())]
        self.outputs = [self.output() for _ in range(self.compact())]
        for i in self.inputs:
            i["witness"] = [self.take(self.compact()) for _ in range(self.compact())] if is_segwit else []
        self.lock_time = self.number(4)
        check(self.at == len(data), "a transaction ends where it ends")
        check(not any(i["script"] for i in self.inputs), "no input of these has a script")
        self.txid = sha256(sha256(serialise(self.described(), False)))

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def compact(self):
        first = self.number(1)
        return first if first < 0xFD else self.number({0xFD: 2, 0xFE: 4, 0xFF: 8}[first])

    def input(self):
        return {"outpoint": (self.take(32), self.number(4)), "script": self.take(self.compact()), "sequence": self.number(4)}

    def output(self):
        value = self.number(8)
        return value, self.take(self.compact()).hex()

    def described(self):
        """As check_vectors.py describes transactions."""
        inputs = [
            {"txid": i["outpoint"][0][::-1].hex(), "vout": i["outpoint"][1], "sequence": i["sequence"], "witness": []} for i in self.inputs
        ]
        outputs = [{"value": value, "script": script} for value, script in self.outputs]
        return {"version": self.version, "lock_time": self.lock_time, "inputs": inputs, "outputs": outputs}


# Facts (trades.md) ----------------------------------------------------------------------------------------------------


def no_facts():
    once = ("funded", "funded_at_home", "buyer_closed", "seller_closed")
    said = ("buyer_cancel", "seller_cancel", "payment_sent", "buyer_dispute", "seller_dispute")
    lists = ("buyer_funded", "releases", "refunds", "rulings", "extensions")
    return {name: None for name in once} | {name: False for name in said} | {name: [] for name in lists}


def facts_of(bid, escrow):
    facts, ledger = no_facts(), bid.ledger
    for author in sorted(bid.homes):
        home = bid.homes[author]
        at_home = ledger.about(bid.trade, lambda r: r.log == home)
        of_all = ledger.about(bid.trade, lambda r: r.author == author)
        for record in at_home + [r for r in of_all if r.log != home]:
            hear(facts, bid, escrow, bid.role_of(author), record, record.log == home)
    for name in ("rulings", "extensions"):
        facts[name].sort(key=lambda said: said[0])
    return facts


def hear(facts, bid, escrow, role, record, is_home):
    """Adds what a record says, if it is its author's to say."""
    kind, said = record.kind, record.said
    if said.get("trade") != bid.trade:
        return
    is_party = role in ("buyer", "seller")

    def once(name, value):
        if facts[name] is None:
            facts[name] = value

    def add_half(name, half, to):
        if escrow and half not in facts[name] and escrow.is_good_half(half, to):
            facts[name].append(half)

    def add_ruled(name, is_good):
        known = any(seat == role and other["vaults"] == said["vaults"] for seat, other in facts[name])
        if escrow and not known and is_good(role, said):
            facts[name].append((role, said))

    if kind == CANCEL and is_party:
        facts[f"{role}_cancel"] = True
        if role == "buyer" and said["refund"]:
            add_half("refunds", said["refund"], "seller")
    elif kind == FUNDED and role == "seller":
        once("funded", said["outpoint"])
        if is_home:
            once("funded_at_home", said["outpoint"])
    elif kind == FUNDED and role == "buyer" and bid.bond("buyer"):
        named = facts["buyer_funded"]
        if said["outpoint"] not in named and len(named) < MAX_NAMED:
            named.append(said["outpoint"])
    elif kind == PAYMENT_SENT and role == "buyer":
        facts["payment_sent"] = True
    elif kind == RELEASE and role == "seller":
        add_half("releases", said["payout"], "buyer")
    elif kind == CLOSED and is_party:
        once(f"{role}_closed", said["spend"])
    elif kind == DISPUTE and is_party:
        facts[f"{role}_dispute"] = True
    elif kind == RULING and role in SEATS and escrow:
        add_ruled("rulings", escrow.is_good_ruling)
    elif kind == EXTEND and role in SEATS and escrow:
        add_ruled("extensions", escrow.is_good_extension)


# The chain and the phase (trades.md) ----------------------------------------------------------------------------------


class Funding:
    def __init__(self, vaults, height, extends=None):
        self.vaults, self.height, self.extends, self.outpoint = vaults, height, extends, vaults[0][0]


class Spend:
    def __init__(self, txid, outpoints, means, height):
        self.txid, self.outpoints, self.means, self.height = txid, outpoints, means, height


def gather(escrow, tip, seen):
    """What transactions do with an escrow: fundings, those of extensions too, and spends."""
    fundings, spends = [], {}
    for tx, height in seen:
        if (tip + 1 if height is None else height) >= max(0, escrow.c["height"] - FUNDING_MARGIN):
            fundings += [Funding(vaults, height) for vaults in escrow.fundings(tx)]
    for funding in fundings:  # which grows by what extensions make
        for tx, height in seen:
            outpoints = {i["outpoint"] for i in tx.inputs}
            if tx.txid in spends or not outpoints & {coin[0] for coin in funding.vaults if coin}:
                continue
            if height is None and not escrow.could_be_next(tx, funding.vaults, funding.height, tip):
                continue
            means = escrow.meaning(tx, funding.vaults)
            spends[tx.txid] = Spend(tx.txid, outpoints, means, height)
            if means == "extension":
                bond = funding.vaults[1] if funding.vaults[1] and funding.vaults[1][0] in outpoints else None
                fundings.append(Funding(escrow.extended(tx, (funding.vaults[0], bond)), height, funding.outpoint))
    return fundings, list(spends.values())


class View:
    """Everything that decides where a trade stands."""

    def __init__(self, contract, void, facts, tip, fundings=(), spends=()):
        self.contract, self.void, self.facts, self.tip = contract, void, facts, tip
        self.fundings, self.spends = list(fundings), list(spends)

    def is_buried(self, height):
        return height is not None and self.tip + 1 - height >= self.contract["confirmations"]

    def lineage(self, funding):
        lineage = [funding]
        while lineage[-1].extends is not None:
            lineage.append(next(f for f in self.fundings if f.outpoint == lineage[-1].extends))
        return lineage

    def root(self, funding):
        return self.lineage(funding)[-1]

    def spends_of(self, outpoint):
        return [spend for spend in self.spends if outpoint in spend.outpoints]

    def held(self, funding):
        """The vaults of a funding: without the buyer's bond once a block shows that it left alone."""
        escrow, bond = funding.vaults
        gone = bond and any(s.height is not None and escrow[0] not in s.outpoints for s in self.spends_of(bond[0]))
        return escrow, None if gone else bond

    def is_early(self, funding):
        height = self.root(funding).height
        return height is not None and height < self.contract["height"]

    def is_turn(self, seat, funding):
        if seat == "first":
            return True
        return funding.height is not None and self.tip >= funding.height + self.contract["second_delay"] - 1

    def rank(self, funding):
        """The row of the table of fundings."""
        facts, held = self.facts, self.held(funding)
        is_of = lambda vaults: vaults in (funding.vaults, held)
        spends = self.spends_of(funding.outpoint)
        timeouts = [s for s in spends if s.means == "timeout"]
        payouts = [s for s in spends if s.means == "payout"]
        others = [s for s in spends if s.means not in ("timeout", "payout")]
        is_released = bool(payouts) or any(is_of(half["vaults"]) for half in facts["releases"])
        ruled = [said["vaults"] for seat, said in facts["rulings"] + facts["extensions"] if self.is_turn(seat, funding)]
        is_signed = is_released or any(map(is_of, [half["vaults"] for half in facts["refunds"]] + ruled))
        if not self.is_buried(funding.height):
            return 10 if funding.height is None else 9
        if any(self.is_buried(s.height) for s in payouts):
            return 1
        if self.root(funding).outpoint in facts["buyer_funded"]:
            return 2
        if any(s.height is not None for s in timeouts) or self.is_early(funding):
            return 8
        if is_released and all(s.height is None for s in others):
            return 3
        if any(self.is_buried(s.height) for s in others):
            return 4
        if payouts or others or is_signed or funding.extends is not None:
            return 5
        return 6 if facts["funded"] == funding.outpoint else 7

    @cached_property
    def funding(self):
        """The funding that counts."""
        if self.contract is None:
            return None
        counts = lambda f: f.extends is None or self.is_buried(f.height)
        replaced = {f.extends for f in self.fundings if f.extends is not None and self.is_buried(f.height)}
        current = [f for f in self.fundings if counts(f) and f.outpoint not in replaced]

        def order(funding):
            root = self.root(funding)
            return self.rank(funding), root.height if root.height is not None else 1 << 32, root.outpoint

        return min(current, key=order, default=None)

    @property
    def vaults(self):
        return self.funding and self.held(self.funding)

    @property
    def spend(self):
        spends = self.spends_of(self.funding.outpoint) if self.funding else []
        confirmed = [s for s in spends if s.height is not None]
        return next(iter(confirmed or sorted(spends, key=lambda s: s.txid)), None)

    def counting(self, name):
        """Whose ruling, or extension, of the vaults counts now."""
        if self.funding is None:
            return None
        seats = [seat for seat, said in self.facts[name] if said["vaults"] == self.vaults and self.is_turn(seat, self.funding)]
        return min(seats, default=None)

    @property
    def extensions(self):
        return len(self.lineage(self.funding)) - 1 if self.funding else 0

    @property
    def is_named(self):
        if self.funding is None:
            return False
        root, facts = self.root(self.funding).outpoint, self.facts
        return (facts["funded"] == root == facts["funded_at_home"]) or root in facts["buyer_funded"]

    @property
    def is_doubtful(self):
        if self.funding is None:
            return False
        root = self.root(self.funding)
        others = [f.height for f in self.fundings if f.extends is None and f is not root and f.height is not None]
        return self.is_early(root) or any(root.height is None or height <= root.height for height in others)

    def is_disputed(self):
        facts, height = self.facts, self.funding and self.funding.height
        is_late = height is not None and self.tip >= height + self.contract["refund_delay"] - DISPUTE_MARGIN
        says_so = facts["buyer_dispute"] or facts["seller_dispute"] or (facts["payment_sent"] and is_late)
        return says_so or self.extensions > 0

    def phase(self):
        facts = self.facts
        cancelled = facts["buyer_cancel"] or facts["seller_cancel"]
        held = {"funding", "funded", "paid", "disputed", "ruled", "released", "refunding"}
        seen = lambda *means: self.spend is not None and self.spend.means in means
        buried = lambda *means: seen(*means) and self.is_buried(self.spend.height)
        signed = lambda name: self.vaults is not None and any(half["vaults"] == self.vaults for half in facts[name])
        rows = [
            ({"bid"}, lambda: self.contract is not None, "agreed"),
            ({"bid"}, lambda: self.void, "void"),
            ({"bid"}, lambda: cancelled, "cancelled"),
            ({"agreed", "void", "cancelled"}, lambda: self.funding is not None, "funding"),
            ({"agreed"}, lambda: self.void, "void"),
            ({"agreed"}, lambda: cancelled, "cancelled"),
            (held, lambda: buried("payout"), "closed"),
            (held, lambda: buried("refund", "timeout"), "refunded"),
            (held, lambda: buried("ruling"), "settled"),
            (held, lambda: buried("foreign"), "lost"),
            ({"funding"}, lambda: self.is_buried(self.funding.height), "funded"),
            ({"funded"}, lambda: seen("payout"), "released"),
            ({"funded"}, lambda: seen("refund", "timeout"), "refunding"),
            ({"funded"}, lambda: seen("ruling"), "ruled"),
            ({"funded"}, lambda: signed("releases"), "released"),
            ({"funded"}, lambda: signed("refunds"), "refunding"),
            ({"funded"}, lambda: facts["payment_sent"], "paid"),
            ({"funded", "paid"}, self.is_disputed, "disputed"),
            ({"disputed"}, lambda: self.counting("rulings") is not None, "ruled"),
        ]
        phase, walked = "bid", True
        while walked:
            walked = next((to for phases, holds, to in rows if phase in phases and holds()), None)
            phase = walked or phase
        return phase


# The vectors ----------------------------------------------------------------------------------------------------------


def shown_outpoint(outpoint):
    return outpoint and f"{outpoint[0][::-1].hex()}:{outpoint[1]}"


def shown_vaults(vaults):
    coin = lambda coin: coin and {"outpoint": shown_outpoint(coin[0]), "value": coin[1]}
    return vaults and {"escrow": coin(vaults[0]), "bond": coin(vaults[1])}


def shown_facts(facts):
    half = lambda half: {"vaults": shown_vaults(half["vaults"]), "fee": half["fee"]}
    txid = lambda txid: txid and txid[::-1].hex()
    shown = {
        "funded": shown_outpoint(facts["funded"]),
        "funded_at_home": shown_outpoint(facts["funded_at_home"]),
        "buyer_funded": list(map(shown_outpoint, facts["buyer_funded"])),
        "releases": list(map(half, facts["releases"])),
        "refunds": list(map(half, facts["refunds"])),
        "buyer_closed": txid(facts["buyer_closed"]),
        "seller_closed": txid(facts["seller_closed"]),
        "rulings": [
            {"by": seat, "vaults": shown_vaults(r["vaults"]), "to_buyer": r["to_buyer"], "to_seller": r["to_seller"]}
            for seat, r in facts["rulings"]
        ],
        "extensions": [{"by": seat, "vaults": shown_vaults(e["vaults"]), "fee": e["fee"]} for seat, e in facts["extensions"]],
    }
    return facts | shown


def check_agreement():
    file = load("agreement.json")
    pool = {identifier: Record(bytes.fromhex(data)) for identifier, data in file["records"].items()}
    for identifier, record in pool.items():
        equal(record.id.hex(), identifier, "agreement: id of a record")
    for case in file["cases"]:
        name = f"agreement: {case['name']}"
        ledger = Ledger([pool[identifier] for identifier in case["records"]])
        seen = [(Transaction(bytes.fromhex(tx["tx"])), tx["height"]) for tx in case["txs"]]
        equal(ledger.standing(pool[case["offer"]]), case["standing"], f"{name}: standing of the offer")
        for published in case["trades"]:
            judged = judge(ledger, pool[published["trade"]], case["tip"], seen)
            equal(sorted(judged), sorted(published), f"{name}: what is told")
            for field, value in judged.items():
                equal(value, published[field], f"{name}: {field} of {published['trade'][:8]}")


ESCROWS = {}


def escrow_of(contract):
    """The escrow of a contract, computed once."""
    encoded = encode_contract(contract)
    if encoded not in ESCROWS:
        ESCROWS[encoded] = Escrow(contract)
    return ESCROWS[encoded]


def judge(ledger, take, tip, seen):
    bid = Bid(ledger, take)
    contract, void = bid.agreement()
    escrow = contract and escrow_of(contract)
    facts = facts_of(bid, escrow)
    view = View(contract, void, facts, tip, *(gather(escrow, tip, seen) if escrow else ()))
    spends = {spend.txid: spend.means for spend in view.spends}
    holds = lambda tx: sorted(f.outpoint[1] for f in view.fundings if f.outpoint[0] == tx.txid)
    authors = [bid.seller, *(arbiter.record.author for arbiter in bid.arbiters)]
    extension = view.counting("extensions") if view.extensions < MAX_EXTENSIONS else None
    return {
        "trade": take.id.hex(),
        "contract": escrow and escrow.hash.hex(),
        "void": void,
        "forked": any(map(ledger.is_forked, authors)),
        "facts": shown_facts(facts),
        "txs": {tx.txid[::-1].hex(): {"holds": holds(tx), "means": spends.get(tx.txid)} for tx, _ in seen},
        "vaults": shown_vaults(view.vaults),
        "spend": view.spend and view.spend.txid[::-1].hex(),
        "ruling": view.counting("rulings"),
        "extension": extension,
        "named": view.is_named,
        "doubtful": view.is_doubtful,
        "phase": view.phase(),
    }


def check_trades():
    """The phases of scenes, from what they hand in: outputs by their names, and depths instead of heights."""
    file, tip = load("trades.json"), 100_000
    height = lambda confirmations: tip + 1 - confirmations if confirmations else None
    vaults = lambda name: ((name, 0), None)
    for scene in file["scenes"]:
        # The delays are the defaults of offers.md.
        contract = {"confirmations": file["confirmations_needed"], "height": 0, "second_delay": 1008, "refund_delay": 4320}
        flags = ("buyer_cancel", "seller_cancel", "payment_sent", "buyer_dispute", "seller_dispute")
        facts = no_facts() | {name: scene[name] for name in flags}
        for name in ("releases", "refunds"):
            facts[name] = [{"vaults": vaults(about)} for about in scene[name]]
        facts["rulings"] = [(ruling["by"], {"vaults": vaults(ruling["about"])}) for ruling in scene["rulings"]]
        fundings, spends = [], []

        def add_output(name, confirmations, spend, extends=None):
            fundings.append(Funding(vaults(name), height(confirmations), extends))
            if spend:
                spends.append(Spend(name, {name}, spend["path"], height(spend["confirmations"])))

        if scene["funding_confirmations"] is not None:
            add_output("escrow", scene["funding_confirmations"], scene["spend"])
        if scene["extension_confirmations"] is not None:
            add_output("extension", scene["extension_confirmations"], None, "escrow")
        if "second_funding" in scene:
            second = scene["second_funding"]
            facts["funded"] = "escrow"
            add_output("second funding", second["confirmations"], second["spend"])
        view = View(contract if scene["accepted"] else None, scene["void"], facts, tip, fundings, spends)
        equal(view.phase(), scene["phase"], f"trades: {scene['name']}")


if __name__ == "__main__":
    for run in (check_agreement, check_trades):
        run()
    print(f"{base.CHECKS} checks passed: agreement.json, trades.json")
