"""The installation's signing key: made once, readable by nobody else, and followed by the next one.

A folder holds `signing-key.pem` (private, 0600), `signing-key.pub.pem` and `key-history.json`, in which each key is
signed by the one before it, so that whoever pinned an old key can follow to the new one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from orchestrator.adapters.evidence.strict import Malformed, Object, entry, parse, text
from orchestrator.domain.canonical import Plain, canonical
from orchestrator.errors import InvalidInput, Refused, Unavailable

PRIVATE, PUBLIC, HISTORY = "signing-key.pem", "signing-key.pub.pem", "key-history.json"

_NEXT = "signing-key.next.pem"
_SIGNATURE = frozenset({"algorithm", "key", "signature"})
_Private: TypeAlias = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_Public: TypeAlias = Ed25519PublicKey | ec.EllipticCurvePublicKey


class Algorithm(StrEnum):
    """How documents are signed; the second one is for sites that are bound to FIPS 140."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256-sha256"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a signing key that auditors pin."""

    key: _Public

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read a public key. Raises InvalidInput."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInput("this is no public key in PEM form (-----BEGIN PUBLIC KEY-----).") from error
        if isinstance(key, Ed25519PublicKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key)
        raise InvalidInput(f"evidence is signed with {' or '.join(Algorithm)}; this public key is for neither.")

    @property
    def algorithm(self) -> Algorithm:
        """Return how this key signs."""
        return Algorithm.ED25519 if isinstance(self.key, Ed25519PublicKey) else Algorithm.ECDSA_P256

    @property
    def pem(self) -> str:
        """Return the key in PEM form."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def fingerprint(self) -> str:
        """Return `sha256:` and the sha256, in hexadecimal, of the key's SubjectPublicKeyInfo in DER form."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "sha256:" + hashlib.sha256(der).hexdigest()

    def has_signed(self, document: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's, for exactly these bytes."""
        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(signature, document)
            else:
                self.key.verify(signature, document, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key with which checkpoints and bundles are signed; it never shows itself."""

    _key: _Private

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a private key. Raises Refused where others can read the file, Unavailable where it is no key."""
        raw = _read_private(path)
        try:
            key = load_pem_private_key(raw, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Unavailable(
                f"{path} holds no unencrypted private key in PEM form; restore it from backup."
            ) from error
        if isinstance(key, Ed25519PrivateKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key)
        raise Unavailable(f"{path} is neither an {' nor an '.join(Algorithm)} key; restore the right one from backup.")

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint})"

    @property
    def public(self) -> PublicKey:
        """Return the half that may be shown."""
        return PublicKey(self._key.public_key())

    def sign(self, document: bytes) -> bytes:
        """Return the signature document for these bytes: canonical JSON of algorithm, key id and signature."""
        if isinstance(self._key, Ed25519PrivateKey):
            made = self._key.sign(document)
        else:
            made = self._key.sign(document, ec.ECDSA(hashes.SHA256()))
        public = self.public
        encoded = base64.b64encode(made).decode()
        return canonical({"algorithm": public.algorithm, "key": public.fingerprint, "signature": encoded})


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature document: how, with which key, and the signature itself."""

    algorithm: str
    key: str
    signature: bytes

    def is_made_by(self, public: PublicKey, document: bytes) -> bool:
        """Tell whether this key made the signature for exactly these bytes, in the way that is named."""
        named = self.key == public.fingerprint and self.algorithm == public.algorithm
        return named and public.has_signed(document, self.signature)


def read_signature(value: Plain) -> Signature:
    """Return the signature that a signature document says. Raises Malformed."""
    fields = entry(value, "the signature", _SIGNATURE)
    encoded = text(fields, "signature")
    try:
        made = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("signature is not base64") from error
    if base64.b64encode(made).decode() != encoded:
        raise Malformed("signature is not base64 as the format writes it")
    return Signature(algorithm=text(fields, "algorithm"), key=text(fields, "key"), signature=made)


def make(folder: Path, *, at: datetime, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
    """Make the installation's first key in this folder (0700). Raises Refused where there is one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _new(algorithm)
    try:
        _write_private(folder / PRIVATE, key)
    except FileExistsError as error:
        raise Refused(
            f"{folder / PRIVATE} exists: bundles that it signed can only be verified with it. "
            "To have a new key, rotate; the old one then signs the new one."
        ) from error
    _publish(folder, key, [_history_entry(key.public, at, signer=None)])
    return key


def current(folder: Path) -> SigningKey:
    """Return the key that signs now; a rotation that was interrupted is finished first. Raises Unavailable, Refused."""
    following = folder / _NEXT
    if following.exists():
        key = SigningKey.load(following)
        if read_history_entries(folder / HISTORY)[-1].get("key") == key.public.fingerprint:
            _publish(folder, key, read_history_entries(folder / HISTORY))
            following.replace(folder / PRIVATE)
        else:
            following.unlink()
    return SigningKey.load(folder / PRIVATE)


def rotate(folder: Path, *, at: datetime, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
    """Replace the key by a new one that the old one signs; the old private key is gone afterwards.

    1. The new key is written beside the old one.  2. The history names it, signed by the old one: from here on it is
    the installation's key, and `current` finishes what an interruption left.  3. It takes the old one's place.
    """
    old = current(folder)
    history = read_history_entries(folder / HISTORY)
    new = _new(algorithm)
    _write_private(folder / _NEXT, new)
    _replace(folder / HISTORY, canonical([*history, _history_entry(new.public, at, signer=old)]))
    return current(folder)


def read_history_entries(path: Path) -> list[Object]:
    """Return the entries of a key history, unverified. Raises Unavailable, InvalidInput."""
    try:
        value = parse(path.read_bytes())
        found = [entry(each, "an entry") for each in value] if isinstance(value, list) else []
    except OSError as error:
        raise Unavailable(f"the key history {path} cannot be read: {error.strerror}.") from error
    except Malformed as error:
        raise InvalidInput(f"{path} is no key history: it {error}.") from error
    if not found:
        raise InvalidInput(f"{path} is no key history: it names no key.")
    return found


def _new(algorithm: Algorithm) -> SigningKey:
    if algorithm is Algorithm.ED25519:
        return SigningKey(Ed25519PrivateKey.generate())
    return SigningKey(ec.generate_private_key(ec.SECP256R1()))


def _history_entry(public: PublicKey, at: datetime, *, signer: SigningKey | None) -> Object:
    body: dict[str, object] = {"algorithm": public.algorithm, "at": at, "key": public.fingerprint, "public": public.pem}
    signature = parse(signer.sign(canonical(body))) if signer else None
    return entry(parse(canonical({**body, "signature": signature})), "the entry")


def _publish(folder: Path, key: SigningKey, history: list[Object]) -> None:
    _replace(folder / PUBLIC, key.public.pem.encode())
    _replace(folder / HISTORY, canonical(history))


def _write_private(path: Path, key: SigningKey) -> None:
    pem = key._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise Unavailable(f"the signing key {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"the signing key {path} is not a plain file.")
        if found.st_mode & 0o077:
            raise Refused(
                f"the signing key {path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o}), so anybody "
                f"may have a copy: rotate it, or, if you are sure that nobody has, chmod 600 {path}."
            )
        return file.read()
