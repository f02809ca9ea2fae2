"""OpenSSH public keys as text: told from other things, and read out of key files and signatures.

Formats: RFC 4253 6.6 (key blobs), PROTOCOL.key (private key files) and PROTOCOL.sshsig of OpenSSH.
"""

from __future__ import annotations

import base64
import binascii
import struct

KINDS = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)

_PRIVATE_MAGIC = b"openssh-key-v1\0"
_SIGNATURE_MAGIC = b"SSHSIG"


def what_is_wrong_with(key: str) -> str:
    """Return why the text is no OpenSSH public key (``kind base64 comment`` on one line), or an empty text."""
    if "PRIVATE KEY" in key:
        return "this is a private key: take it out of here, make a new pair, and give the line of its .pub file"
    words = key.split()
    if len(key.splitlines()) != 1 or len(words) < 2 or words[0] not in KINDS:
        return f"not an OpenSSH public key: that is one line and begins with one of {', '.join(sorted(KINDS))}"
    try:
        kind = _string(base64.b64decode(words[1], validate=True), 0)[0].decode("ascii")
    except ValueError:
        return f"the part after {words[0]} is damaged: copy the whole line of the .pub file"
    if kind != words[0]:
        return f"the key is named {words[0]} but is of another kind: copy the whole line of the .pub file"
    return ""


def is_public_key(text: str) -> bool:
    """Tell whether the text is one OpenSSH public key."""
    return not what_is_wrong_with(text)


def bare(key: str) -> str:
    """Return kind and base64 without the comment."""
    return " ".join(key.split()[:2])


def key_in_private_file(text: str) -> str:
    """Return the public key that an OpenSSH private key file carries in the clear, or an empty text.

    Older private key files (PEM) carry none.
    """
    blob = _unarmored(text, "OPENSSH PRIVATE KEY")
    try:
        at = len(_PRIVATE_MAGIC)
        for _ in ("cipher", "key derivation", "its options"):
            _, at = _string(blob, at)
        count_size = 4
        return _as_text(_string(blob, at + count_size)[0]) if blob.startswith(_PRIVATE_MAGIC) else ""
    except ValueError:
        return ""


def key_in_signature(armored: str) -> str:
    """Return the public key that an SSH signature names. Raises ValueError."""
    blob = _unarmored(armored, "SSH SIGNATURE")
    if not blob.startswith(_SIGNATURE_MAGIC):
        raise ValueError("not an SSH signature")
    version_size = 4
    return _as_text(_string(blob, len(_SIGNATURE_MAGIC) + version_size)[0])


def _unarmored(text: str, label: str) -> bytes:
    begin, end = f"-----BEGIN {label}-----", f"-----END {label}-----"
    if begin not in text or end not in text:
        return b""
    try:
        return base64.b64decode("".join(text.split(begin, 1)[1].split(end, 1)[0].split()), validate=True)
    except binascii.Error:
        return b""


def _as_text(blob: bytes) -> str:
    return f"{_string(blob, 0)[0].decode('ascii')} {base64.b64encode(blob).decode('ascii')}"


def _string(blob: bytes, at: int) -> tuple[bytes, int]:
    """Return the length-prefixed string at this place, and the place after it. Raises ValueError."""
    try:
        (length,) = struct.unpack_from(">I", blob, at)
    except struct.error:
        raise ValueError("too short") from None
    start = at + struct.calcsize(">I")
    if start + length > len(blob):
        raise ValueError("too short")
    return blob[start : start + length], start + length
