"""What an auditor knows beforehand: pinned keys and their successors, checkpoints sent outside, people's keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.evidence.keys import PublicKey, Signature, read_history_entries, read_signature
from orchestrator.adapters.evidence.strict import Malformed, Object, entry, moment, parse_lines, sha256, text
from orchestrator.domain.canonical import canonical
from orchestrator.domain.evidence import read_checkpoint
from orchestrator.errors import EvidenceRefused, InvalidInput, Unavailable

_ENTRY = frozenset({"algorithm", "at", "key", "public", "signature"})
_LINE = frozenset({"checkpoint", "signature"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key whose signatures count, until the moment at which the next one took its place ("" while it signs)."""

    public: PublicKey
    retired: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What evidence is held against.

    ``keys`` go by fingerprint, ``named`` are the fingerprints that were asked for. ``checkpoints`` are canonical
    documents by ``seq``, None where the auditor holds none. ``signers`` are people's OpenSSH keys (type and blob) by
    name, None where the bundle's own list has to do.
    """

    keys: Mapping[str, TrustedKey] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    checkpoints: Mapping[int, bytes] | None = None
    signers: Mapping[str, frozenset[str]] | None = None

    def signer(self, signature: Signature, document: bytes) -> TrustedKey | None:
        """Return the trusted key that a signature names, or None. Raises Malformed where it then does not hold."""
        trusted = self.keys.get(signature.key)
        if trusted and not signature.is_made_by(trusted.public, document):
            raise Malformed(f"the signature is not the one of {signature.key}, which it names, for these bytes")
        return trusted

    def why_unknown(self, signer: str) -> str:
        """Return in words why this fingerprint is not trusted."""
        if not self.named:
            return f"it names the key {signer}, and no key was pinned"
        if signer in self.named:
            return (
                f"the fingerprint {signer} is pinned, but the key itself was not given (--key FILE, or --history FILE)"
            )
        return f"it is signed by {signer}, which is none of the pinned keys and follows from none of them"


def read_pins(
    keys: Sequence[str | Path] = (),
    *,
    history: Path | None = None,
    checkpoints: Path | None = None,
    signers: Path | None = None,
) -> Pins:
    """Read what the auditor holds: keys as PEM files or ``sha256:…`` fingerprints, and files got out of band.

    Raises InvalidInput or Unavailable for what cannot be read, EvidenceRefused for a series that contradicts itself.
    """
    fingerprints = {str(key) for key in keys if str(key).startswith("sha256:")}
    given = [PublicKey.from_pem(_read(Path(key))) for key in keys if str(key) not in fingerprints]
    trusted = {public.fingerprint: TrustedKey(public=public) for public in given}
    named = fingerprints | trusted.keys()
    if history is not None:
        trusted |= _follow(read_history_entries(history), frozenset(named), history)
    return Pins(
        keys=trusted,
        named=tuple(sorted(named)),
        checkpoints=_read_checkpoints(checkpoints, trusted) if checkpoints else None,
        signers=_read_signers(signers) if signers else None,
    )


def _follow(history: Sequence[Object], named: frozenset[str], path: Path) -> dict[str, TrustedKey]:
    """Follow the history from the pinned keys on; what comes before them in it is not trusted through them."""
    trusted: dict[str, TrustedKey] = {}
    before: TrustedKey | None = None
    for number, fields in enumerate(history, start=1):
        try:
            public = _entry_key(fields)
            at = moment(fields, "at")
            if before is not None:
                _require_link(fields, before.public)
                trusted[before.public.fingerprint] = TrustedKey(public=before.public, retired=at)
        except (Malformed, InvalidInput) as error:
            raise EvidenceRefused(f"the key history {path} does not hold at key {number}: {error}.") from error
        if before is None and public.fingerprint not in named:
            continue
        before = TrustedKey(public=public)
        trusted[public.fingerprint] = before
    return trusted


def _entry_key(fields: Object) -> PublicKey:
    entry(fields, "the entry", _ENTRY)
    public = PublicKey.from_pem(text(fields, "public").encode())
    if (text(fields, "key"), text(fields, "algorithm")) != (public.fingerprint, public.algorithm):
        raise Malformed("the public key is not the one that the entry names")
    return public


def _require_link(fields: Object, before: PublicKey) -> None:
    body = canonical({key: value for key, value in fields.items() if key != "signature"})
    if not read_signature(fields["signature"]).is_made_by(before, body):
        raise Malformed("it is not signed by the key before it")


def _read_checkpoints(path: Path, trusted: Mapping[str, TrustedKey]) -> dict[int, bytes]:
    """Read the checkpoints that were sent outside; those signed by keys that nobody pinned are refused."""
    series: dict[int, bytes] = {}
    try:
        for line in parse_lines(_read(path)):
            fields = entry(line, "a line", _LINE)
            document = canonical(fields["checkpoint"])
            seq = read_checkpoint(document).seq
            signature = read_signature(fields["signature"])
            signer = trusted.get(signature.key)
            if trusted and (signer is None or not signature.is_made_by(signer.public, document)):
                raise Malformed(f"checkpoint {seq} is not signed by a pinned key")
            if series.setdefault(seq, document) != document:
                raise Malformed(f"there are two different checkpoints {seq}")
        _require_series(series)
    except (Malformed, ValueError) as error:
        raise EvidenceRefused(f"the checkpoints in {path} do not hold: {error}.") from error
    return series


def _require_series(series: Mapping[int, bytes]) -> None:
    for seq, document in series.items():
        earlier = series.get(seq - 1)
        if earlier is not None and read_checkpoint(document).prev != sha256(earlier):
            raise Malformed(f"checkpoint {seq} does not follow checkpoint {seq - 1}")


def _read_signers(path: Path) -> dict[str, frozenset[str]]:
    """Read an OpenSSH allowed-signers file: names, options (ignored), key type, key."""
    found: dict[str, set[str]] = {}
    for number, line in enumerate(_read(path).decode(errors="replace").splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        at = next((at for at, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-", "sk-"))), 0)
        if not 1 <= at <= 2 or len(words) < at + 2:
            raise InvalidInput(f"{path}:{number}: not a line of allowed signers: NAME [OPTIONS] TYPE KEY.")
        for name in words[0].split(","):
            found.setdefault(name, set()).add(" ".join(words[at : at + 2]))
    return {name: frozenset(keys) for name, keys in found.items()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.") from error
