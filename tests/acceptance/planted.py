"""Secrets that a test plants wherever a site may have one, and the search for them in every byte of a file."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import indent

from lab.instance import Lab
from tests.acceptance.site import Site

#: What must not be found, by what it is.
SECRETS = {
    "become password": "Bq7-sudo-xWv93kTz",
    "vault password": "Vault-unlock-5tGb8nHm",
    "vaulted value": 'shop-db "p4ss" 2wSx6yHn',
    "no_log result": "host-token-9oLp3eDc",
}
TOKEN = "/root/token"
#: Tasks that are careless with a vaulted value, and one that is careful with what a host answers.
_TASKS = f"""
- name: What the site adds
  hosts: patch_batch
  gather_facts: false
  become: true
  tasks:
    - name: Tell the shop's password to everybody
      ansible.builtin.debug:
        msg: "The password is {{{{ shop_password }}}}, and again {{{{ shop_password | b64encode | b64decode }}}}"
    - name: Fail with the password in the message, and go on
      ansible.builtin.command: "false {{{{ shop_password | quote }}}}"
      register: careless
      changed_when: false
      failed_when: false
    - name: Read a token
      ansible.builtin.command: cat {TOKEN}
      no_log: true
      changed_when: false
"""


def plant(site: Site, lab: Lab, unlock: Path, hosts: Iterable[str]) -> None:
    """Plant the secrets in a site that has its inventories; ``unlock`` becomes the file with the vault password."""
    unlock.write_text(SECRETS["vault password"] + "\n")
    unlock.chmod(0o600)
    settings = site.folder / "orchestrator.toml"
    settings.write_text(settings.read_text() + f'\n[ansible]\nvault_password = {{file = "{unlock}"}}\n')
    vaulted = {"ansible_become_password": "become password", "shop_password": "vaulted value"}
    text = "".join(f"{key}: {_vaulted(unlock, SECRETS[what])}" for key, what in vaulted.items())
    for environment in ("staging", "production"):
        variables = site.folder / "inventories" / environment / "group_vars" / "all.yml"
        variables.parent.mkdir()
        variables.write_text(text)
    for playbook in ("patch", "restore"):
        file = site.folder / "playbooks" / f"{playbook}.yml"
        file.write_text(file.read_text() + _TASKS)
    for name in hosts:
        lab.run(name, ["sh", "-c", f"echo {SECRETS['no_log result']} >{TOKEN}"])


def found_in(files: Iterable[Path]) -> list[str]:
    """Return which secret is where: in the files, and in everything that is packed into them."""
    return [
        f"{what} in {where}"
        for file in files
        for where, content in contents(file)
        for what, secret in SECRETS.items()
        if any(form in content for form in _forms(secret))
    ]


def pack(target: Path, secret: str) -> Path:
    """Hide a secret in a compressed member of a compressed archive."""
    inner = gzip.compress(secret.encode())
    with tarfile.open(target, "w:gz") as bundle:
        member = tarfile.TarInfo("tasks/one.jsonl.gz")
        member.size = len(inner)
        bundle.addfile(member, io.BytesIO(inner))
    return target


def contents(file: Path) -> Iterator[tuple[str, bytes]]:
    """Give a file's bytes, and those of everything packed into it."""
    yield from _unpacked(str(file), file.read_bytes())


def _unpacked(where: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield where, content
    if content.startswith(b"\x1f\x8b"):
        yield from _unpacked(where.removesuffix(".gz"), zlib.decompressobj(wbits=31).decompress(content))
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(content)) as bundle:
            for member in bundle:
                inside = bundle.extractfile(member)
                if inside is not None:
                    yield from _unpacked(f"{where}/{member.name}", inside.read())


def _forms(secret: str) -> tuple[bytes, ...]:
    """Return the ways in which a text may stand in a file."""
    escaped = secret.replace('"', '\\"')
    return secret.encode(), escaped.encode(), escaped.replace("\\", "\\\\").encode()


def _vaulted(password_file: Path, secret: str) -> str:
    """Return a value as ansible-vault writes it for a variable."""
    program = str(Path(sys.executable).with_name("ansible-vault"))
    argv = [program, "encrypt_string", "--vault-password-file", str(password_file), "--stdin-name", "x"]
    text = subprocess.run(argv, input=secret, capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in text.splitlines()[1:]]
    return "!vault |\n" + indent("\n".join(lines), "  ") + "\n"
