"""The signing key is readable by nobody else, signs what it is given, and hands over to the next one."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.evidence import keys
from orchestrator.adapters.evidence.keys import Algorithm, PublicKey, SigningKey, current, make, read_signature, rotate
from orchestrator.adapters.evidence.strict import Malformed, parse
from orchestrator.adapters.evidence.trust import read_pins
from orchestrator.domain.canonical import canonical
from orchestrator.domain.evidence import checkpoint_line, next_checkpoint
from orchestrator.errors import EvidenceRefused, InvalidInput, Refused, Unavailable

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=100)
DOCUMENT = b'{"what":"a document"}'


@pytest.mark.parametrize("algorithm", Algorithm)
def test_what_was_signed_is_verified_by_the_public_half(tmp_path: Path, algorithm: Algorithm) -> None:
    key = make(tmp_path / "keys", at=NOW, algorithm=algorithm)
    public = PublicKey.from_pem((tmp_path / "keys" / keys.PUBLIC).read_bytes())
    signature = read_signature(parse(key.sign(DOCUMENT)))
    assert signature.algorithm == algorithm
    assert signature.is_made_by(public, DOCUMENT)
    assert not signature.is_made_by(public, DOCUMENT + b" ")


@pytest.mark.parametrize("algorithm", Algorithm)
def test_openssl_verifies_the_same(tmp_path: Path, algorithm: Algorithm) -> None:
    key = make(tmp_path / "keys", at=NOW, algorithm=algorithm)
    (tmp_path / "document").write_bytes(DOCUMENT)
    (tmp_path / "signature").write_bytes(base64.b64decode(json.loads(key.sign(DOCUMENT))["signature"]))
    public, how = tmp_path / "keys" / keys.PUBLIC, ["-rawin", "-in", "document", "-sigfile", "signature"]
    digest = ["-digest", "sha256"] if algorithm is Algorithm.ECDSA_P256 else []
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), *how, *digest]
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0


def test_fingerprint_is_what_openssl_and_sha256sum_print(tmp_path: Path) -> None:
    key = make(tmp_path, at=NOW)
    shell = f"openssl pkey -pubin -in {keys.PUBLIC} -outform DER | sha256sum"
    printed = subprocess.run(["sh", "-c", shell], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert key.public.fingerprint == f"sha256:{printed.split()[0]}"


def test_private_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    make(tmp_path / "keys", at=NOW)
    assert (tmp_path / "keys" / keys.PRIVATE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_private_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    make(tmp_path, at=NOW)
    (tmp_path / keys.PRIVATE).chmod(mode)
    with pytest.raises(Refused, match="can be read by others"):
        SigningKey.load(tmp_path / keys.PRIVATE)


def test_private_key_behind_a_link_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path, at=NOW)
    (tmp_path / "link.pem").symlink_to(tmp_path / keys.PRIVATE)
    with pytest.raises(Unavailable, match=r"link\.pem"):
        SigningKey.load(tmp_path / "link.pem")


def test_key_never_shows_itself(tmp_path: Path) -> None:
    key = make(tmp_path, at=NOW)
    assert repr(key) == f"SigningKey({key.public.fingerprint})"


def test_second_key_is_not_made_over_the_first(tmp_path: Path) -> None:
    first = make(tmp_path, at=NOW)
    with pytest.raises(Refused, match="rotate"):
        make(tmp_path, at=NOW)
    assert current(tmp_path).public == first.public


def test_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=keys.PRIVATE):
        current(tmp_path)


def test_key_of_another_kind_does_not_sign_evidence() -> None:
    made = subprocess.run(
        ["openssl", "ecparam", "-genkey", "-name", "secp384r1", "-noout"], capture_output=True, check=True
    )
    public = subprocess.run(["openssl", "ec", "-pubout"], input=made.stdout, capture_output=True, check=True).stdout
    with pytest.raises(InvalidInput, match="for neither"):
        PublicKey.from_pem(public)


def test_rotation_replaces_the_key_and_drops_the_old_private_half(tmp_path: Path) -> None:
    old = make(tmp_path, at=NOW)
    new = rotate(tmp_path, at=LATER)
    assert current(tmp_path).public == new.public != old.public
    assert sorted(p.name for p in tmp_path.iterdir()) == [keys.HISTORY, keys.PRIVATE, keys.PUBLIC]
    assert PublicKey.from_pem((tmp_path / keys.PUBLIC).read_bytes()) == new.public


def test_pinned_old_key_leads_to_every_later_one(tmp_path: Path) -> None:
    chain = [make(tmp_path, at=NOW).public]
    chain += [rotate(tmp_path, at=LATER, algorithm=Algorithm.ECDSA_P256).public, rotate(tmp_path, at=LATER).public]
    pins = read_pins([chain[0].fingerprint], history=tmp_path / keys.HISTORY)
    assert set(pins.keys) == {public.fingerprint for public in chain}
    assert [pins.keys[public.fingerprint].retired != "" for public in chain] == [True, True, False]


def test_pinned_new_key_does_not_lead_back(tmp_path: Path) -> None:
    make(tmp_path, at=NOW)
    new = rotate(tmp_path, at=LATER)
    pins = read_pins([new.public.fingerprint], history=tmp_path / keys.HISTORY)
    assert set(pins.keys) == {new.public.fingerprint}


def test_history_in_which_a_key_was_slipped_in_is_refused(tmp_path: Path) -> None:
    old, stranger = make(tmp_path / "ours", at=NOW), make(tmp_path / "theirs", at=NOW)
    rotate(tmp_path / "ours", at=LATER)
    history = json.loads((tmp_path / "ours" / keys.HISTORY).read_bytes())
    history[1] |= {"key": stranger.public.fingerprint, "public": stranger.public.pem}
    (tmp_path / "forged.json").write_bytes(canonical(history))
    with pytest.raises(EvidenceRefused, match="at key 2: it is not signed by the key before it"):
        read_pins([old.public.fingerprint], history=tmp_path / "forged.json")


def test_interrupted_rotation_is_finished_where_the_history_names_the_new_key(tmp_path: Path) -> None:
    make(tmp_path, at=NOW)
    old_pem = (tmp_path / keys.PRIVATE).read_bytes()
    new = rotate(tmp_path, at=LATER)
    (tmp_path / keys.PRIVATE).rename(tmp_path / keys._NEXT)
    (tmp_path / keys.PRIVATE).write_bytes(old_pem)
    (tmp_path / keys.PRIVATE).chmod(0o600)
    assert current(tmp_path).public == new.public


def test_interrupted_rotation_is_dropped_where_the_history_does_not(tmp_path: Path) -> None:
    old, stray = make(tmp_path / "keys", at=NOW), make(tmp_path / "stray", at=NOW)
    (tmp_path / "stray" / keys.PRIVATE).rename(tmp_path / "keys" / keys._NEXT)
    assert current(tmp_path / "keys").public == old.public != stray.public
    assert rotate(tmp_path / "keys", at=LATER).public != stray.public


@pytest.mark.parametrize(
    "document",
    [
        b'{"algorithm":"ed25519","key":"sha256:00","signature":"AAA"}',
        b'{"algorithm":"ed25519","key":"sha256:00","signature":"A A="}',
        b'{"algorithm":"ed25519","key":"sha256:00","signature":"AB=="}',
        b'{"algorithm":"ed25519","key":"sha256:00"}',
        b'{"algorithm":1,"key":"sha256:00","signature":"AAAA"}',
        b"[]",
    ],
)
def test_what_is_no_signature_document_is_malformed(document: bytes) -> None:
    with pytest.raises(Malformed):
        read_signature(parse(document))


def outside(folder: Path, key: SigningKey, *documents: bytes) -> Path:
    lines = [checkpoint_line(document, key.sign(document)) for document in documents]
    (folder / "outside.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder / "outside.jsonl"


def test_checkpoints_sent_outside_are_read_as_a_series(tmp_path: Path) -> None:
    key = make(tmp_path, at=NOW)
    first = canonical(next_checkpoint([], at=NOW, previous=None))
    second = canonical(next_checkpoint([], at=LATER, previous=first))
    pins = read_pins([tmp_path / keys.PUBLIC], checkpoints=outside(tmp_path, key, first, second))
    assert pins.checkpoints == {1: first, 2: second}


def test_checkpoints_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    key = make(tmp_path, at=NOW)
    first = canonical(next_checkpoint([], at=NOW, previous=None))
    other = canonical(next_checkpoint([], at=LATER, previous=None))
    with pytest.raises(EvidenceRefused, match="two different checkpoints 1"):
        read_pins([tmp_path / keys.PUBLIC], checkpoints=outside(tmp_path, key, first, other))
    after_other = canonical(next_checkpoint([], at=LATER, previous=other))
    with pytest.raises(EvidenceRefused, match="checkpoint 2 does not follow checkpoint 1"):
        read_pins([tmp_path / keys.PUBLIC], checkpoints=outside(tmp_path, key, first, after_other))


def test_checkpoint_signed_by_a_stranger_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "ours", at=NOW)
    stranger = make(tmp_path / "theirs", at=NOW)
    document = canonical(next_checkpoint([], at=NOW, previous=None))
    with pytest.raises(EvidenceRefused, match="checkpoint 1 is not signed by a pinned key"):
        read_pins([tmp_path / "ours" / keys.PUBLIC], checkpoints=outside(tmp_path, stranger, document))


def test_allowed_signers_are_read_with_and_without_options(tmp_path: Path) -> None:
    file = tmp_path / "allowed_signers"
    file.write_text(
        '# people\nben namespaces="patch-orchestrator" ssh-ed25519 AAAA ben@desk\n\nben,cleo ssh-rsa BBBB\n'
    )
    assert read_pins(signers=file).signers == {
        "ben": frozenset({"ssh-ed25519 AAAA", "ssh-rsa BBBB"}),
        "cleo": frozenset({"ssh-rsa BBBB"}),
    }


def test_line_that_names_no_key_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "allowed_signers").write_text("ben\n")
    with pytest.raises(InvalidInput, match="allowed_signers:1"):
        read_pins(signers=tmp_path / "allowed_signers")
