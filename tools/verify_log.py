#!/usr/bin/env python3
"""verify_log.py: verifies an exported event log without a database.

  verify_log.py log EXPORT [CHECKPOINT ...]
      recomputes the hash of every event, follows the chain of each stream, and
      compares the Merkle tree with each checkpoint (a file)
  verify_log.py inclusion CHECKPOINT PROOF
      checks that a leaf is in the tree of a checkpoint; PROOF is JSON with
      leaf_index, hash (of the event, hex) and proof (a list of hex hashes)
  verify_log.py consistency OLD_CHECKPOINT NEW_CHECKPOINT PROOF
      checks that the one tree begins with the other; PROOF is a JSON list of hex
      hashes

EXPORT is what SELECT * FROM eventsource.export_log() prints, - for standard input.
With --key KEY in front (a verifier key as signed_note.py prints it; also more than
one), each checkpoint must be a note that one of these keys has signed; signatures of
others, such as witnesses, count for nothing. Without, signatures are not looked at.

Prints a line for each event that is not ok, then a summary; exits 0 if all is well,
1 if something was tampered with or is malformed, 2 if it was called wrongly or has to
do with what it cannot judge.

Python 3, standard library only; written from the documented formats (src/log/chain.c,
RFC 6962, C2SP tlog-checkpoint) and sharing no code with the extension.
"""

import base64
import bisect
import hashlib
import json
import os
import re
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from signed_note import Key, Misuse, Wrong, check_signatures, decode_base64, read_note  # noqa: E402

EMPTY_HASH = bytes(32)


# ---- the chain: src/log/chain.c says how an event is encoded ----

class Number(str):
    """A number as it was written: its scale is hashed."""


def encode_string(value):
    data = value.encode("utf-8")
    return struct.pack(">I", len(data)) + data


def encode_json(value):
    """A JSON value in the chain's encoding; recursion is as deep as the value."""
    if value is None:
        return b"n"
    if value is True:
        return b"t"
    if value is False:
        return b"f"
    if isinstance(value, Number):
        return b"#" + encode_string(value)
    if isinstance(value, str):
        return b'"' + encode_string(value)
    if isinstance(value, list):
        return b"[" + struct.pack(">I", len(value)) + b"".join(map(encode_json, value))
    keys = sorted(value, key=lambda key: (len(key.encode("utf-8")), key.encode("utf-8")))
    return b"{" + struct.pack(">I", len(keys)) + b"".join(
        encode_string(key) + encode_json(value[key]) for key in keys)


def field(number, tag, data):
    if data is None:
        return struct.pack(">BBI", number, 0, 0)
    return struct.pack(">BBI", number, ord(tag), len(data)) + data


def whole(value):
    """A number, which must be an integer and written as one."""
    if not isinstance(value, Number) or not re.fullmatch(r"0|-?[1-9][0-9]{0,18}", value):
        raise Wrong("a number is not an integer")
    return int(value)


def hash_of(value):
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise Wrong("a hash is not one")
    return bytes.fromhex(value)


def integer(value):
    return struct.pack(">q", whole(value))


def text(value):
    return None if value is None else value.encode("utf-8")


# Number, tag, name in the export, encoding.
FIELDS = (
    (1, "i", "position", integer),
    (2, "t", "stream", text),
    (5, "t", "subject", text),
    (6, "i", "version", integer),
    (7, "t", "type", text),
    (8, "i", "schema_version", integer),
    (9, "j", "data", encode_json),
    (10, "j", "metadata", encode_json),
    (11, "t", "actor", text),
    (12, "t", "recorded_by", text),
    (13, "t", "reason", text),
    (14, "t", "from_state", text),
    (15, "t", "to_state", text),
    (16, "b", "is_synthetic", lambda value: bytes([whole(value)])),
    (17, "z", "occurred_at", integer),
    (18, "z", "recorded_at", integer),
    (32, "t", "machine", text),
)
MAY_BE_NULL = {"reason", "from_state", "to_state", "machine", "actor", "data", "metadata"}


def event_hash(log_id, event, previous):
    parts = [b"ES\x01", log_id, previous]
    for number, tag, name, encode in FIELDS:
        value = event[name]
        if value is None and name not in MAY_BE_NULL:
            raise Wrong(f"{name} is null")
        parts.append(field(number, tag, encode(value)))
    if whole(event["flags"]) != 0:
        parts.append(field(33, "i", integer(event["flags"])))
    if event.get("commitment") is not None:
        parts.append(field(34, "c", hash_of(event["commitment"])))
    return hashlib.sha256(b"".join(parts)).digest()


def left_digest(log_id, event):
    """Of what an erasure has left of an event: src/log/chain.c."""
    parts = [b"\x12", event_hash(log_id, event, hash_of(event["hash"]))]
    personal = event.get("personal", [])
    parts.append(struct.pack(">I", len(personal)))
    for item in personal:
        parts += [encode_string(item["path"]), hash_of(item["commit"])]
        parts += [b"r", encode_json(item["value"])] if "value" in item else [b"o"]
    return hashlib.sha256(b"".join(parts)).digest()


def is_replaced(event):
    return any("value" in item for item in event.get("personal", []))


def commitment_of(personal):
    commits = b"".join(hash_of(item["commit"]) for item in personal)
    return hashlib.sha256(b"\x11" + struct.pack(">I", len(personal)) + commits).hexdigest()


# ---- erasures: what the log says of them, and what they left ----

class Account:
    """Of one subject: the newest erasure that is for good, and whether it is hidden."""

    def __init__(self):
        self.mode = None
        self.upto = self.hidden_upto = self.met = 0
        self.left, self.parts = set(), ""

    def enter(self, event):
        data = event["data"]
        if event["type"] == "erasure_part":
            self.parts += "".join(data["left"])
            return
        parts, self.parts = self.parts, ""
        if event["type"] == "erasure_reverted":
            self.hidden_upto = 0
            return
        self.hidden_upto = whole(data["upto"]) if data["mode"] == "soft" else 0
        if data["mode"] != "soft":
            self.mode, self.upto = data["mode"], whole(data["upto"])
            hashes = parts + "".join(data["left"])
            self.left = {hash_of(hashes[i:i + 64]).hex() for i in range(0, len(hashes), 64)}

    def problem(self, event, digest):
        position = whole(event["position"])
        erased, replaced = event.get("erased"), is_replaced(event)
        if erased and not (self.mode == "hard" and position <= self.upto):
            return "it is a tombstone, but no erasure of its subject accounts for it"
        if replaced and position > self.upto:
            return "personal fields were taken away, but no erasure of its subject accounts for it"
        if event.get("hidden") and position > self.hidden_upto:
            return "personal fields are hidden, but no erasure of its subject accounts for it"
        if "commitment" in event and not event.get("hidden") and position <= self.hidden_upto:
            return "personal fields are shown, though an erasure of its subject has hidden them"
        if self.mode is None:
            return None
        if position > self.upto:
            return "it is about a subject that was erased before"
        if not erased and self.mode == "hard":
            return "its data is there, though an erasure of its subject has taken it away"
        if not erased and "commitment" not in event:
            return None
        self.met += 1
        if digest().hex() not in self.left:
            return "it is not what the erasure of its subject has left"
        return None


NO_ACCOUNT = Account()


# ---- retention: what it says that it took out of the log ----

class Range:
    """Positions from lower on and below upper, of which so many are gone."""

    def __init__(self, data):
        self.lower, self.upper, self.pruned = (whole(data[name]) for name in ("lower", "upper", "pruned"))
        self.digest = hash_of(data["digest"])
        self.seen, self.seen_digest = 0, EMPTY_HASH
        if self.lower >= self.upper:
            raise Wrong("a range has no positions")

    def add(self, position, entry):
        self.seen += 1
        self.seen_digest = hashlib.sha256(b"\x13" + self.seen_digest + struct.pack(">q", position) + entry).digest()

    def problem(self):
        if self.seen == self.pruned and self.seen_digest == self.digest:
            return None
        return (f"what is gone between positions {self.lower} and {self.upper - 1} ({self.seen} events) "
                f"is not what retention took out there ({self.pruned})")


class Ranges:
    """The newest word on each position: segments are merged, and pruned again."""

    def __init__(self):
        self.ranges = []  # in order; none has a part of another
        self.at = 0

    def enter(self, data):
        new = Range(data)
        first = bisect.bisect_right([item.upper for item in self.ranges], new.lower)
        last = bisect.bisect_left([item.lower for item in self.ranges], new.upper)
        self.ranges[first:last] = [new]

    def add(self, position, entry):
        """False: nothing accounts for it."""
        while self.at < len(self.ranges) and self.ranges[self.at].upper <= position:
            self.at += 1
        if self.at == len(self.ranges) or position < self.ranges[self.at].lower:
            return False
        self.ranges[self.at].add(position, entry)
        return True


# ---- the tree: RFC 6962, section 2.1 ----

def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """Grows by a leaf at a time; keeps the roots of its perfect trees."""

    def __init__(self):
        self.size = 0
        self.nodes = []

    def add(self, leaf):
        size = self.size
        while size & 1:
            leaf = node_hash(self.nodes.pop(), leaf)
            size >>= 1
        self.nodes.append(leaf)
        self.size += 1

    def root(self):
        if not self.nodes:
            return hashlib.sha256(b"").digest()
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = node_hash(node, root)
        return root


def root_of_inclusion(index, size, leaf, proof):
    """The root that a proof of inclusion leads to: RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        raise Wrong(f"there is no leaf {index} in a tree of {size}")
    node, last = index, size - 1
    result = leaf
    for sibling in proof:
        if last == 0:
            raise Wrong("the proof is too long")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node != 0:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise Wrong("the proof is too short")
    return result


def check_consistency(old_size, old_root, new_size, new_root, proof):
    """RFC 9162, section 2.1.4.2."""
    if old_size > new_size:
        raise Wrong(f"the log shrank from {old_size} to {new_size} events")
    if old_size == new_size or old_size == 0:
        if proof:
            raise Wrong("the proof is too long")
        if old_size == new_size and old_root != new_root:
            raise Wrong("two trees of the same size have different roots")
        return
    proof = list(proof)
    if old_size & (old_size - 1) == 0:
        proof.insert(0, old_root)
    if not proof:
        raise Wrong("the proof is too short")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = proof[0]
    for sibling in proof[1:]:
        if last == 0:
            raise Wrong("the proof is too long")
        if node & 1 or node == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not node & 1 and node != 0:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise Wrong("the proof is too short")
    if old != old_root or new != new_root:
        raise Wrong("the new tree does not begin with the old one")


# ---- checkpoints: C2SP tlog-checkpoint ----

KEYS = []  # those that must have signed


class Malformed(Exception):
    """Nothing can be said of it but that it is not what it should be."""


class Checkpoint:
    def __init__(self, path):
        try:
            text, signatures = read_note(path)
        except UnicodeDecodeError as error:
            raise Malformed(f"{path}: not a checkpoint: {error}") from None
        lines = text.split("\n")
        if len(lines) < 4 or lines[0] == "" or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]) \
                or any(ord(c) < 32 for line in lines for c in line):
            raise Malformed(f"{path}: not a checkpoint")
        try:
            self.root = decode_base64(lines[2])
        except Wrong:
            self.root = b""
        if len(self.root) != 32:
            raise Malformed(f"{path}: not a checkpoint: the root is not a hash in base64")
        if KEYS:
            check_signatures(path, text, signatures, KEYS)
        self.path = path
        self.origin = lines[0]
        self.size = int(lines[1])


# ---- the log ----

class Log:
    """Reads an export, event by event."""

    def __init__(self, checkpoints):
        self.id = None
        self.tree = Tree()
        self.heads = {}
        self.pruned = set()
        self.ranges = Ranges()
        self.heads_beyond = {}
        self.accounts = {}
        self.position = 0
        self.counts = {"ok": 0, "redacted": 0, "tampered": 0}
        self.wanted = {}
        self.roots = {}
        for checkpoint in checkpoints:
            self.wanted.setdefault(checkpoint.size, []).append(checkpoint)
        self.at_size()

    def at_size(self):
        if self.tree.size in self.wanted:
            self.roots[self.tree.size] = self.tree.root()

    def header(self, line):
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", line["log"]):
            raise Wrong("the identity of the log is not one")
        log_id = bytes.fromhex(line["log"].replace("-", ""))
        if whole(line["format"]) != 1 or (self.id is not None and self.id != log_id):
            raise Wrong("the export is of another format, or of several logs")
        self.id = log_id
        self.origin = "eventsource/log/" + line["log"]

    def beyond(self, event):
        """An account of something before, from behind the end of what is exported."""
        stream, version = event["stream"], whole(event["version"])
        if not stream.startswith(("$erasure-", "$retention-")):
            raise Wrong("what is behind the end of the export accounts for nothing")
        # Of exports that were put together, what was beyond the end of one may be in the next.
        last_version, previous = max(heads.get(stream, (0, EMPTY_HASH)) for heads in (self.heads, self.heads_beyond))
        stored = hash_of(event["hash"])
        if version != last_version + 1 or event_hash(self.id, event, previous) != stored:
            self.counts["tampered"] += 1
            print(f"tampered: position {event['position']}, {stream} version {version}: "
                  "hash does not match the event and the one before it")
        self.heads_beyond[stream] = (version, stored)

    def event(self, event):
        status, problem = "ok", None
        stream, version, position = event["stream"], whole(event["version"]), whole(event["position"])
        stored = hash_of(event["hash"])
        last_version, previous = self.heads.get(stream, (0, EMPTY_HASH))
        if stream not in self.heads and "previous" in event:
            # The stream's first events were pruned; the last of them is among these.
            previous = hash_of(event["previous"])
            last_version = version - 1 if previous in self.pruned else 0
        if position <= self.position:
            status, problem = "tampered", f"position does not follow {self.position}"
        elif version != last_version + 1:
            status, problem = "tampered", f"version does not follow {last_version}"
        elif not event.get("erased") and event_hash(self.id, event, previous) != stored:
            status, problem = "tampered", "hash does not match the event and the one before it"
        if problem is None:
            status, problem = self.erasure(event)
        self.heads[stream] = (version, stored)
        self.position = max(self.position, position)
        self.leaf(stored)
        self.counts[status] += 1
        if problem is not None:
            print(f"{status}: position {position}, {stream} version {version}: {problem}")

    def leaf(self, entry):
        self.tree.add(leaf_hash(entry))
        self.at_size()

    def pruned_event(self, line):
        entry = hash_of(line["pruned"])
        if whole(line["position"]) <= self.position:
            raise Wrong("a pruned event is out of order")
        self.position = whole(line["position"])
        self.pruned.add(entry)
        self.leaf(entry)
        if not self.ranges.add(self.position, entry):
            self.counts["tampered"] += 1
            print(f"tampered: position {self.position}: it is gone, but nothing that retention did accounts for it")

    def erasure(self, event):
        """Whether what was taken from an event, and nothing else, is what an erasure says."""
        account = NO_ACCOUNT
        if not event["stream"].startswith("$"):
            account = self.accounts.get(event["subject"], NO_ACCOUNT)
        if "commitment" in event and "personal" not in event:
            return "tampered", "its personal fields are missing"
        if "commitment" in event and commitment_of(event["personal"]) != event["commitment"]:
            return "tampered", "personal fields are not those that were recorded"
        problem = account.problem(event, lambda: left_digest(self.id, event))
        if problem is not None:
            return "tampered", problem
        return "redacted" if event.get("erased") or is_replaced(event) else "ok", None

    def look_for_account(self, line):
        """Accounts come after what they account for: they are looked for first."""
        if '"type":"erasure_' not in line and '"type":"events_pruned"' not in line:
            return
        event = parse(line)
        if event.get("stream") == "$retention-log" and event["type"] == "events_pruned":
            try:
                self.ranges.enter(event["data"])
            except MALFORMED + (Wrong,):
                pass
        elif event.get("stream", "").startswith("$erasure-") \
                and event["type"] in ("erasure_part", "erasure_completed", "erasure_reverted"):
            try:
                self.accounts.setdefault(event["subject"], Account()).enter(event)
            except MALFORMED:
                pass  # what no erasure says accounts for nothing; and it is not what its hash is of

    def account_for_erased(self):
        """The events that erasures have left are all there, unless some are pruned."""
        problems = 0
        for subject, account in sorted(self.accounts.items()):
            if account.met < len(account.left) and not self.pruned:
                problems += 1
                print(f"tampered: {len(account.left) - account.met} event(s) that the erasure of "
                      f"{subject} has left are missing")
        return problems

    def account_for_pruned(self):
        problems = [item.problem() for item in self.ranges.ranges if item.problem() is not None]
        for problem in problems:
            print(f"tampered: {problem}")
        return len(problems)

    def line(self, line):
        if "format" in line:
            self.header(line)
        elif self.id is None:
            raise Wrong("the export does not begin with its header")
        elif "pruned" in line:
            self.pruned_event(line)
        elif "beyond" in line:
            self.beyond(line)
        else:
            self.event(line)

    def compare(self):
        problems = 0
        for size, checkpoints in sorted(self.wanted.items()):
            for checkpoint in checkpoints:
                problem = None
                if self.id is not None and checkpoint.origin != self.origin:
                    problem = f"it is of another log: {checkpoint.origin}"
                elif size not in self.roots:
                    problem = f"it is of {size} events, and there are {self.tree.size}"
                elif self.roots[size] != checkpoint.root:
                    problem = f"the first {size} events are other ones"
                if problem is not None:
                    problems += 1
                    print(f"tampered: checkpoint {checkpoint.path}: {problem}")
        return problems


def parse(line):
    return json.loads(line, parse_int=Number, parse_float=Number, parse_constant=refuse_constant,
                      object_pairs_hook=members)


def members(pairs):
    """Of two members of the same name one reader of JSON may take the one, another the other."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Wrong("an object has two members of the same name")
    return result


def refuse_constant(name):
    raise Wrong(f"{name} is no JSON number")


def open_twice(path):
    """A file that can be read twice."""
    if path != "-":
        return open(path, encoding="utf-8", newline="\n")
    file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")
    sys.stdin.reconfigure(encoding="utf-8", newline="\n")
    shutil.copyfileobj(sys.stdin, file)
    return file


def verify_log(path, checkpoint_paths):
    log = Log([Checkpoint(path) for path in checkpoint_paths])
    with open_twice(path) as file:
        for read in (log.look_for_account, lambda line: log.line(parse(line))):
            file.seek(0)
            for number, line in enumerate(file, 1):
                try:
                    read(line)
                except Wrong as error:
                    raise Wrong(f"line {number}: {error}") from None
                except MALFORMED as error:
                    raise Malformed(f"line {number}: {type(error).__name__}: {error}") from None
    if log.id is None:
        raise Malformed("there is nothing in it: an export begins with a line that names the log")
    problems = log.account_for_erased() + log.account_for_pruned() + log.compare()
    print(f"{log.tree.size} events: " + ", ".join(f"{n} {status}" for status, n in log.counts.items()) +
          (f", {len(log.pruned)} pruned" if log.pruned else ""))
    print(f"root {base64.b64encode(log.tree.root()).decode()}")
    return problems == 0 and log.counts["tampered"] == 0


def read_proof(path, kind):
    with open(path, encoding="utf-8") as file:
        try:
            proof = parse(file.read())
        except ValueError as error:
            raise Misuse(f"{path} is no JSON: {error}") from None
    if not isinstance(proof, kind) or (kind is dict and not {"leaf_index", "hash", "proof"} <= proof.keys()):
        raise Misuse(f"{path} is not a proof of this kind")
    return proof


def hashes_of(value):
    if not isinstance(value, list):
        raise Wrong("the proof is no list")
    return [hash_of(item.removeprefix("\\x")) for item in value]


def verify_inclusion(checkpoint_path, proof_path):
    checkpoint, proof = Checkpoint(checkpoint_path), read_proof(proof_path, dict)
    if "size" in proof and whole(proof["size"]) != checkpoint.size:
        raise Misuse(f"the proof is for a tree of {proof['size']}, and the checkpoint is of {checkpoint.size}: "
                     f"ask for inclusion_proof(position, {checkpoint.size})")
    entry = hashes_of([proof["hash"]])[0]
    root = root_of_inclusion(whole(proof["leaf_index"]), checkpoint.size, leaf_hash(entry),
                             hashes_of(proof["proof"]))
    if root != checkpoint.root:
        raise Wrong("the proof does not lead to the root of the checkpoint")
    print(f"leaf {proof['leaf_index']} is in the tree of {checkpoint.size}")
    return True


def verify_consistency(old_path, new_path, proof_path):
    old, new = Checkpoint(old_path), Checkpoint(new_path)
    if old.origin != new.origin:
        raise Wrong("the checkpoints are of different logs")
    check_consistency(old.size, old.root, new.size, new.root, hashes_of(read_proof(proof_path, list)))
    print(f"the tree of {new.size} begins with that of {old.size}")
    return True


# What malformed input runs into.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError, struct.error, Malformed)

COMMANDS = {
    "log": (1, None, lambda path, *rest: verify_log(path, rest)),
    "inclusion": (2, 2, verify_inclusion),
    "consistency": (3, 3, verify_consistency),
}


def main(arguments):
    sys.setrecursionlimit(20000)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    KEYS.clear()
    try:
        while len(arguments) > 1 and arguments[0] == "--key":
            KEYS.append(Key(arguments[1]))
            arguments = arguments[2:]
        command = COMMANDS.get(arguments[0]) if arguments else None
        count = len(arguments) - 1
        if command is None or count < command[0] or (command[1] is not None and count > command[1]):
            raise Misuse(__doc__)
        return 0 if command[2](*arguments[1:]) else 1
    except Wrong as error:
        print(f"tampered: {error}")
        return 1
    except MALFORMED as error:
        print(f"malformed: {error}")
        return 1
    except (OSError, Misuse) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
