#!/usr/bin/env python3
"""signed_note.py: checkpoints as signed notes (C2SP signed-note), with Ed25519 keys.

  signed_note.py key NAME PUBLIC_KEY
      prints the verifier key (name+hash+base64) of a public key: a file as openssl
      (PEM, DER) or ssh-keygen write it, or the 32 bytes
  signed_note.py note CHECKPOINT KEY SIGNATURE
      prints the signed note of a checkpoint and of a signature of it that was made
      elsewhere (a file with its 64 bytes), once it has found that it is one
  signed_note.py verify NOTE KEY ...
      checks that one of the keys has signed a note, and none of them something else

Exits 0 if all is well, 1 if a signature or a note is not what it should be, 2 if it
was called wrongly or a file cannot be read. It never sees a private key.

Python 3, standard library only; written from RFC 8032 and C2SP signed-note.
"""

import base64
import hashlib
import sys


class Wrong(Exception):
    """What was handed in cannot be verified, or does not verify."""


class Misuse(Exception):
    """What was handed in cannot be judged."""


# ---- signatures: Ed25519, RFC 8032, section 5.1 ----

P = 2 ** 255 - 19
ORDER = 2 ** 252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    """The x of a point, or None; section 5.1.3."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * SQRT_MINUS_1 % P
    if (x * x - square) % P != 0:
        return None
    return P - x if x & 1 != sign else x


def decode_point(data):
    """A point as (X, Y, Z, T) with x = X/Z, y = Y/Z, x * y = T/Z, or None."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def add_points(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar > 0:
        if scalar & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        scalar >>= 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def signature_is_valid(public_key, message, signature):
    """Section 5.1.7. Nothing here is secret, so time may tell what it likes."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, commitment = decode_point(public_key), decode_point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    left = multiply(scalar, BASE)
    right = add_points(commitment, multiply(int.from_bytes(digest, "little") % ORDER, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and \
        (left[1] * right[2] - right[1] * left[2]) % P == 0


# ---- notes: C2SP signed-note ----

ED25519 = 1
MAX_SIGNATURES = 100


def decode_base64(value):
    """Strictly: what decodes to the same bytes is not always the same text."""
    try:
        data = base64.b64decode(value.encode("ascii"), validate=True)
    except ValueError:
        data = None
    if data is None or base64.b64encode(data).decode() != value:
        raise Wrong("something is not base64")
    return data


def key_hash(name, key):
    return hashlib.sha256(name.encode("utf-8") + b"\n" + key).digest()[:4]


def is_name(name):
    return name != "" and "+" not in name and not any(c.isspace() for c in name)


class Key:
    """A verifier key as text: name+hash+base64 of the algorithm and the key."""

    def __init__(self, value):
        parts = value.split("+", 2)
        if len(parts) != 3 or not is_name(parts[0]):
            raise Misuse(f"{value}: a verifier key is name+hash+base64")
        self.name = parts[0]
        try:
            key = decode_base64(parts[2])
        except Wrong:
            key = b""
        if len(key) != 33 or key[0] != ED25519 or decode_point(key[1:]) is None:
            raise Misuse(f"{value}: not an Ed25519 key")
        self.hash = key_hash(self.name, key)
        if self.hash.hex() != parts[1]:
            raise Misuse(f"{value}: the hash is not that of the key")
        self.public_key = key[1:]


def split_note(path, data):
    """Text and signatures, as (name, hash, signature)."""
    text, separator, rest = data.rpartition("\n\n")
    if not separator:
        return data, []
    if rest != "" and not rest.endswith("\n"):
        raise Wrong(f"{path}: the last signature is cut off")
    lines = rest.split("\n")[:-1]
    if len(lines) > MAX_SIGNATURES:
        raise Wrong(f"{path}: too many signatures")
    signatures = []
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or not is_name(parts[1]):
            raise Wrong(f"{path}: a signature is not one")
        signature = decode_base64(parts[2])
        if len(signature) < 5:
            raise Wrong(f"{path}: a signature is too short")
        signatures.append((parts[1], signature[:4], signature[4:]))
    return text + "\n", signatures


def check_signatures(path, text, signatures, keys):
    """At least one known key has signed it, and none of them something else."""
    found = 0
    for name, which, signature in signatures:
        for key in keys:
            if key.name != name or key.hash != which:
                continue
            if not signature_is_valid(key.public_key, text.encode("utf-8"), signature):
                raise Wrong(f"{path}: the signature of {name} is not one of this checkpoint")
            found += 1
    if found == 0:
        raise Wrong(f"{path}: none of the known keys has signed it")


def read_note(path):
    with open(path, encoding="utf-8", newline="") as file:
        return split_note(path, file.read())


# ---- commands ----

def public_key_of(path):
    """The 32 bytes of a key; a SubjectPublicKeyInfo of RFC 8410 ends with them."""
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(b"-----BEGIN PUBLIC KEY-----"):
        data = base64.b64decode(b"".join(data.split(b"\n")[1:-2]))
    elif data.startswith(b"ssh-ed25519 "):
        data = base64.b64decode(data.split()[1])[-32:]
    if data.startswith(bytes.fromhex("302a300506032b6570032100")):
        data = data[12:]
    if len(data) != 32:
        raise Misuse(f"{path}: not an Ed25519 public key")
    return data


def print_key(name, path):
    key = bytes([ED25519]) + public_key_of(path)
    value = f"{name}+{key_hash(name, key).hex()}+{base64.b64encode(key).decode()}"
    Key(value)
    print(value)
    return True


def print_note(checkpoint_path, key, signature_path):
    key, (text, _) = Key(key), read_note(checkpoint_path)
    with open(signature_path, "rb") as file:
        signature = file.read()
    if not signature_is_valid(key.public_key, text.encode("utf-8"), signature):
        raise Wrong(f"{signature_path}: not a signature of this checkpoint by {key.name}")
    sys.stdout.write(f"{text}\n\u2014 {key.name} {base64.b64encode(key.hash + signature).decode()}\n")
    return True


def print_verified(path, *keys):
    check_signatures(path, *read_note(path), [Key(key) for key in keys])
    print(f"{path} is signed")
    return True


COMMANDS = {"key": (2, 2, print_key), "note": (3, 3, print_note), "verify": (2, 100, print_verified)}


def main(arguments):
    least, most, command = COMMANDS.get(arguments[0] if arguments else "", (1, 0, None))
    if not least <= len(arguments) - 1 <= most:
        print(__doc__, file=sys.stderr)
        return 2
    sys.stdout.reconfigure(encoding="utf-8")
    try:
        return 0 if command(*arguments[1:]) else 1
    except (Wrong, UnicodeDecodeError) as error:
        print(f"tampered: {error}")
        return 1
    except (OSError, ValueError, Misuse) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
