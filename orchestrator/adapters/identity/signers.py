"""Statements signed and verified with ``ssh-keygen -Y``, and the choice of the key to sign with."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.adapters.identity.caller import calling_account
from orchestrator.adapters.identity.people_file import NAME, read_people
from orchestrator.adapters.identity.public_keys import bare, is_public_key, key_in_private_file, key_in_signature
from orchestrator.domain.canonical import canonical
from orchestrator.domain.identity import People, Person, SignedStatement, Statement
from orchestrator.errors import InvalidInput, Unavailable

#: What the signatures are for: one made for another purpose is never good for this one.
NAMESPACE = "patch-orchestrator"

KEY_VARIABLE = "ORCHESTRATOR_SSH_KEY"

_DEFAULT_FILES = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
_SECONDS = 20


class SiteSigners:
    """The people of ``people.yml`` and their SSH signatures.

    Wherever a key file is asked for, it may be a private key file, a ``.pub`` file whose private half the ssh-agent
    holds, or the text of such a public key itself.
    """

    def __init__(self, people_file: Path, *, environ: Mapping[str, str] = os.environ) -> None:
        self._people_file = people_file
        self._environ = environ

    def people(self) -> People:
        """Return the people whom the site knows now. Raises InvalidInput with every mistake in the file."""
        return read_people(self._people_file)

    def sign(self, statement: Statement, key_file: str) -> SignedStatement:
        """Sign with the private key in that file, or with the agent's for a public key.

        A passphrase is asked for on the terminal. Raises Unavailable where the key cannot be used.
        """
        with tempfile.TemporaryDirectory(prefix="orchestrator-sign-") as folder:
            # A file instead of standard input, which stays the terminal: ssh-keygen asks for the passphrase there.
            message = Path(folder, "statement")
            message.write_bytes(canonical(statement))
            key = _as_file(key_file, Path(folder))
            stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
            command = ["-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(message)]
            finished = _keygen(command, stdin=stdin, environ=self._environ)
            if finished.returncode != 0:
                raise Unavailable(_why_not_signed(key_file, key, finished.stderr))
            signature = Path(folder, "statement.sig").read_text(encoding="ascii")
        # Read from the signature, since reading it from an old private key file would ask for the passphrase again.
        return SignedStatement(statement=statement, signature=signature, key=key_in_signature(signature))

    def public_key(self, key_file: str) -> str:
        """Return the OpenSSH public key, without comment, that belongs to a key file. Raises Unavailable."""
        if is_public_key(key_file):
            return bare(key_file)
        file = Path(key_file).expanduser()
        text = _read_key(file)
        if is_public_key(text.strip()):
            return bare(text)
        beside = file.with_name(f"{file.name}.pub")
        if found := key_in_private_file(text) or (_read_key(beside).strip() if beside.exists() else ""):
            return bare(found)
        raise Unavailable(
            f"the public key that belongs to {file} is not known: it is not in the file, and there is no {beside}. "
            f"Write it: ssh-keygen -y -f {file} > {beside}"
        )

    def is_valid(self, signed: SignedStatement) -> bool:
        """Tell whether the signature is good for the statement and made by ``signed.key``."""
        signer = signed.statement.signer
        if not NAME.fullmatch(signer) or not is_public_key(signed.key):
            return False
        with tempfile.TemporaryDirectory(prefix="orchestrator-verify-") as folder:
            allowed, signature = Path(folder, "allowed_signers"), Path(folder, "signature")
            allowed.write_text(f'{signer} namespaces="{NAMESPACE}" {bare(signed.key)}\n', encoding="ascii")
            signature.write_text(signed.signature, encoding="utf-8", errors="replace")
            command = ["-Y", "verify", "-f", str(allowed), "-I", signer, "-n", NAMESPACE, "-s", str(signature)]
            finished = _keygen(command, message=canonical(signed.statement), environ=self._environ)
        return finished.returncode == 0

    def default_key(self) -> str:
        """Return the key to sign with where none was named: ``ORCHESTRATOR_SSH_KEY``, or the one that people.yml knows.

        Looked for are the agent's keys and the usual files under ``~/.ssh``. Raises Unavailable where there is none,
        InvalidInput where keys of several people are at hand and none of them belongs to the calling account.
        """
        if named := self._environ.get(KEY_VARIABLE, ""):
            return named
        people = self.people()
        owned: dict[str, str] = {}
        for key_file, key in self._keys_at_hand():
            if person := people.with_key(key):
                owned.setdefault(person.name, key_file)
        caller = people.with_account(calling_account(self._environ).account)
        return _choose(owned, caller, self._people_file)

    def _keys_at_hand(self) -> Iterator[tuple[str, str]]:
        """Yield key files with their public keys: files first, since they can be named to the person."""
        home = Path(self._environ.get("HOME") or Path.home())
        for name in _DEFAULT_FILES:
            for file in (home / ".ssh" / name, home / ".ssh" / f"{name}.pub"):
                key = self._public_key_or_none(file)
                if key and (file.suffix != ".pub" or key in self._agent_keys()):
                    yield str(file), key
        for key in self._agent_keys():
            yield key, key

    def _public_key_or_none(self, file: Path) -> str:
        try:
            return self.public_key(str(file)) if file.exists() else ""
        except Unavailable:
            return ""

    def _agent_keys(self) -> Sequence[str]:
        if "SSH_AUTH_SOCK" not in self._environ:
            return ()
        try:
            listed = _run(["ssh-add", "-L"], environ=self._environ)
        except (OSError, subprocess.TimeoutExpired):
            return ()
        lines = listed.stdout.decode(errors="replace").splitlines()
        return [bare(line) for line in lines if is_public_key(line)]


def _choose(owned: Mapping[str, str], caller: Person | None, people_file: Path) -> str:
    if caller is not None and caller.name in owned:
        return owned[caller.name]
    if len(owned) == 1:
        return next(iter(owned.values()))
    if owned:
        raise InvalidInput(
            f"keys of several people are at hand here ({', '.join(sorted(owned))}), so who signs has to be said: "
            f"name the key file with --key or in {KEY_VARIABLE}."
        )
    raise Unavailable(
        f"signing needs an SSH key that {people_file} knows, and neither the ssh-agent nor ~/.ssh holds one. "
        f"Load it (ssh-add FILE), name it with --key or in {KEY_VARIABLE}, or have its public key entered there. "
        "Under sudo the agent is often out of reach: sign as yourself."
    )


def _as_file(key_file: str, folder: Path) -> Path:
    if is_public_key(key_file):
        literal = folder / "key.pub"
        literal.write_text(f"{bare(key_file)}\n", encoding="ascii")
        return literal
    file = Path(key_file).expanduser()
    _read_key(file)
    return file


def _read_key(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Unavailable(
            f"the SSH key {file} cannot be read: {error.strerror}. "
            f"Name the private key file, or a .pub file whose private half the ssh-agent holds ({KEY_VARIABLE})."
        ) from error


def _why_not_signed(asked: str, key: Path, stderr: bytes) -> str:
    said = stderr.decode(errors="replace")
    if "UNPROTECTED PRIVATE KEY" in said or "bad permissions" in said:
        return f"ssh-keygen refuses the key {asked}, since others may read it. Take that away: chmod 600 {key}"
    if "No private key found" in said:
        shown = asked if len(asked.split()) == 1 else bare(asked)
        return f"the ssh-agent does not hold the private half of {shown}. Load it (ssh-add FILE), or name its file."
    if "incorrect passphrase" in said:
        return f"the passphrase for {asked} was wrong, or there was no terminal to ask for it. Load it: ssh-add {key}"
    if "Couldn't load public key" in said:
        return f"ssh-keygen finds no public key for {asked}. Write it: ssh-keygen -y -f {key} > {key}.pub"
    lines = [line for line in said.splitlines() if line and not line.startswith("Signing")]
    return f"ssh-keygen could not sign with {asked}: {lines[-1] if lines else 'it gave no reason'}."


def _keygen(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    message: bytes | None = None,
    stdin: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    try:
        if message is None:
            # No time limit: a person types a passphrase or touches a security key.
            return subprocess.run(
                ["ssh-keygen", *arguments], stdin=stdin, capture_output=True, env=environ, check=False
            )
        return _run(["ssh-keygen", *arguments], environ=environ, message=message)
    except FileNotFoundError as error:
        raise Unavailable(
            "signatures are made and checked by ssh-keygen, which is not installed here. "
            "Install OpenSSH's client (Debian: apt-get install openssh-client)."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"ssh-keygen did not answer within {_SECONDS} seconds. Try again.") from error


def _run(
    command: Sequence[str], *, environ: Mapping[str, str], message: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=message, capture_output=True, env=environ, check=False, timeout=_SECONDS)
