#!/usr/bin/env python3
"""verifier.py TOOLS EXPORT CHECKPOINT OLD_CHECKPOINT INCLUSION CONSISTENCY: known vectors for
what tools/ verifies with, and malformed input of every kind: never a traceback, and "ok" only
where the input says what it said before. ES_FUZZ_COUNT is the number of inputs (1500)."""

import contextlib
import io
import json
import os
import random
import sys
import tempfile

sys.path.insert(0, sys.argv[1])
import signed_note as note  # noqa: E402
import verify_log as verifier  # noqa: E402

failures = 0
numbers = 0


def ok(is_so, name, detail=""):
    global failures, numbers
    numbers += 1
    if not is_so:
        failures += 1
        print(f"not ok {numbers} - {name} {detail}")


# RFC 8032, section 7.1: public key, message, signature.
ED25519 = (
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd"
     "25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2"
     "eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c1"
     "5e9716ed28dc027beceea1ec40a"),
)

# The one of golang.org/x/mod/sumdb/note.
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNED = "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
WITNESS = "\u2014 EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"


def vectors():
    for number, (key, message, signature) in enumerate(ED25519, 1):
        key, message, signature = (bytes.fromhex(x) for x in (key, message, signature))
        ok(note.signature_is_valid(key, message, signature), f"RFC 8032, test {number}")
        ok(not note.signature_is_valid(key, message + b"x", signature), "of this message alone")
        for bit in (0, 255, 256, 300, 511):
            changed = bytearray(signature)
            changed[bit // 8] ^= 1 << bit % 8
            ok(not note.signature_is_valid(key, message, bytes(changed)), f"bit {bit} of a signature")
        # The same modulo the order of the group.
        high = (int.from_bytes(signature[32:], "little") + note.ORDER).to_bytes(32, "little")
        ok(not note.signature_is_valid(key, message, signature[:32] + high), "a scalar above the order")
    ok(note.decode_point(b"\xff" * 32) is None, "a y above the prime")
    ok(note.decode_point((1).to_bytes(31, "little") + b"\x80") is None, "zero has no sign")


def is_signed(text, *keys):
    try:
        note.check_signatures("note", *note.split_note("note", text), [note.Key(key) for key in keys])
    except note.Wrong:
        return False
    return True


def notes():
    good = TEXT + "\n" + SIGNED
    ok(is_signed(good, KEY), "a known note")
    ok(is_signed(TEXT + "\n" + WITNESS + SIGNED, KEY), "signatures of others are passed over")
    ok(not is_signed(TEXT + "\n" + WITNESS, KEY), "and count for nothing")
    ok(not is_signed(TEXT, KEY), "no signature at all")
    ok(not is_signed("x" + good, KEY), "another text")
    ok(not is_signed(good[:-1], KEY), "a signature cut off")
    ok(not is_signed(good.replace("JnAM=", "JnAN="), KEY), "base64 that is another way to write it")
    ok(not is_signed(good.replace("ZJkuB", "ZJkuC"), KEY), "a signature of a known key that is none")
    ok(not is_signed(TEXT + "\n" + SIGNED + SIGNED.replace("ZJkuB", "ZJkuC"), KEY), "a wrong one beside a right one")
    ok(not is_signed(TEXT + "\n" + SIGNED * 101, KEY), "too many")
    for bad in ("", "x", "a+b", "a+b+c", KEY + "=", KEY.replace("c74f", "c74e"), KEY.replace("Peter", "Pe ter"),
                KEY.replace("ARpc", "BBpc"), "+" + KEY):
        try:
            note.Key(bad)
            ok(False, "a key that is none", bad)
        except note.Misuse:
            ok(True, "")


def refuses(function, *arguments):
    try:
        function(*arguments)
    except note.Wrong:
        return True
    return False


def ranges():
    """What retention says: the newest word on each position."""
    def account(lower, upper, positions):
        item = verifier.Range({"lower": verifier.Number(lower), "upper": verifier.Number(upper),
                               "pruned": verifier.Number(len(positions)), "digest": "0" * 64})
        for position in positions:
            item.add(position, bytes([position] * 32))
        return {"lower": verifier.Number(lower), "upper": verifier.Number(upper),
                "pruned": verifier.Number(len(positions)), "digest": item.seen_digest.hex()}

    def problems(accounts, positions):
        all_of_them = verifier.Ranges()
        for item in accounts:
            all_of_them.enter(item)
        strays = [position for position in positions if not all_of_them.add(position, bytes([position] * 32))]
        return strays, sum(item.problem() is not None for item in all_of_them.ranges)

    two = [account(1, 11, [2, 3]), account(11, 21, [12]), account(1, 11, [2, 3, 5])]
    ok(problems(two, [2, 3, 5, 12]) == ([], 0), "the newest word counts")
    ok(problems(two, [2, 3, 12]) == ([], 1), "one that should be gone")
    ok(problems(two, [2, 3, 4, 12]) == ([], 1), "another is gone")
    ok(problems(two, [2, 3, 5, 12, 13]) == ([], 1), "one more is gone")
    ok(problems(two, [2, 3, 5, 12, 21]) == ([21], 0), "one is gone where nothing was said")
    ok(problems(two + [account(1, 21, [2, 3, 5, 12, 13])], [2, 3, 5, 12, 13]) == ([], 0), "merged, and more is gone")
    ok(problems([], []) == ([], 0), "nothing is gone")
    ok(problems([], [1]) == ([1], 0), "one is gone, and nothing was said")
    ok(refuses(verifier.Ranges().enter, dict(two[0], upper=verifier.Number(1))), "a range of nothing")


def beyond():
    """Exports put together, each of which ended with what was not final yet."""
    log, number = verifier.Log([]), verifier.Number
    log.id = bytes(16)
    events, previous = [], verifier.EMPTY_HASH
    for version in (1, 2, 3):
        event = {name: None for _, _, name, _ in verifier.FIELDS}
        event.update({name: number(version) for name in ("position", "version", "schema_version", "occurred_at", "recorded_at")},
                     stream="$retention-log", subject="$retention-log", type="x", recorded_by="r",
                     is_synthetic=number(0), flags=number(0))
        previous = verifier.event_hash(log.id, event, previous)
        events.append(dict(event, hash=previous.hex()))
    for event, is_beyond in ((0, True), (0, False), (1, False), (2, True), (2, False)):
        log.line(dict(events[event], **({"beyond": number(1)} if is_beyond else {})))
    ok(log.counts == {"ok": 3, "redacted": 0, "tampered": 0}, "accounts that were beyond the end, and then were not", log.counts)


# ---- malformed input ----

TOKENS = (b"null", b"0", b"-0", b"1e3", b"1e999", b"1.0", b"01", b"9223372036854775808", b"NaN", b'""', b'"', b"{}", b"[]",
          b"\\ud800", b"\x00", b"\xff", b"\n", b"\n\n", b" ", b"\\", b"[" * 30000, b'{"a":' * 30000, "\u2014 a b\n".encode(), b"=",
          b'"erased":1,', b'"hidden":1,', b'"personal":[],', b'"position":1,', b'"pruned":"' + b"0" * 64 + b'",', b'"format":1,', b'"beyond":1,')


def change(data):
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at = random.randrange(len(data) + 1)
        what = random.randrange(6)
        if what == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif what == 1:
            del data[at:at + random.choice((1, 2, 10, 1000))]
        elif what == 2:
            data[at:at] = random.choice(TOKENS)
        elif what == 3:
            data[at:at] = data[random.randrange(len(data) + 1):][:random.choice((1, 8, 100))]
        elif what == 4:
            lines = bytes(data).split(b"\n")
            a, b = random.randrange(len(lines)), random.randrange(len(lines))
            lines[a], lines[b] = lines[b], lines[a]
            data = bytearray(b"\n".join(lines))
        else:
            data[at:at + 1] = str(random.randrange(300)).encode()
    return bytes(data)


def run(arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        return verifier.main(arguments), out.getvalue()


def meaning(command, path, data):
    """What the input says, as far as this command asks."""
    text = data.decode()
    if "checkpoint" in os.path.basename(path) or "old" in os.path.basename(path):
        # Unsigned; what log it is of is of interest where there are two.
        return note.split_note("", text)[0].split("\n")[1 if command == "inclusion" else 0:3]
    if command == "log":
        return [json.loads(line, parse_int=str, parse_float=str) for line in text.split("\n") if line]
    value = json.loads(text, parse_int=str, parse_float=str)
    return value if command == "consistency" else [value[key] for key in ("leaf_index", "hash", "proof")]


def fuzz(count, export, checkpoint, old, inclusion, consistency):
    commands = (("log", export, checkpoint), ("inclusion", checkpoint, inclusion),
                ("consistency", old, checkpoint, consistency))
    for command in commands:
        ok(run(list(command))[0] == 0, f"{command[0]}, unchanged", run(list(command))[1])
    results = {0: 0, 1: 0, 2: 0}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "changed")
        for number in range(count):
            command = list(random.choice(commands))
            which = random.randrange(1, len(command))
            original = command[which]
            with open(original, "rb") as file:
                before = file.read()
            after = change(before)
            with open(path, "wb") as file:
                file.write(after)
            command[which] = path
            try:
                code, said = run(command)
            except BaseException as error:  # whatever it is, it is one too many
                ok(False, f"{command[0]} {which}: {type(error).__name__}", repr(after[:300]))
                continue
            results[code] += 1
            if code == 0:
                was, now = (meaning(command[0], original, data) for data in (before, after))
                ok(was == now, f"{command[0]} {which}: ok, though changed", repr(after[-300:]))
    print(f"# {count} malformed inputs: {results[0]} say the same, {results[1]} refused, {results[2]} not judged")


random.seed(int(os.environ.get("ES_FUZZ_SEED") or 770001))
vectors()
notes()
ranges()
beyond()
fuzz(int(os.environ.get("ES_FUZZ_COUNT") or 1500), *sys.argv[2:7])
print(f"# {numbers} checks, {failures} failed")
sys.exit(failures > 0)
