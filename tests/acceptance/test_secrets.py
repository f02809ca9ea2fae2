"""Secrets are in none of it: planted ones are looked for in every byte that a whole change leaves behind."""

from __future__ import annotations

import gzip
import io
import sqlite3
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest

from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

#: What must not be found, by what it is.
SECRETS = {
    "become password": "Bq7-sudo-xWv93kTz",
    "vault password": "Vault-unlock-5tGb8nHm",
    "vaulted value": 'shop-db "p4ss" 2wSx6yHn',
    "no_log result": "host-token-9oLp3eDc",
}
TOKEN = "/root/token"
#: A task that is careless with a vaulted value, and one that is careful with what a host answers.
TASKS = f"""
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


@pytest.fixture(scope="module")
def site(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site that has carried a change from request to close, with secrets wherever there may be one."""
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", "w1", packages=("labapp",), user="patchpw", sudo_password=SECRETS["become password"])
    for name in ("s1", "w1"):
        park[name].run("sh", "-c", f"echo {SECRETS['no_log result']} >{TOKEN}")
    park.lab.repository.publish(Package(name="labapp", version="1.1"))
    folder = tmp_path_factory.mktemp("secrets")
    site = Site.found(folder)
    unlock = folder / "vault-password"
    unlock.write_text(SECRETS["vault password"] + "\n")
    unlock.chmod(0o600)
    settings = site.folder / "orchestrator.toml"
    settings.write_text(settings.read_text() + f'\n[ansible]\nvault_password = {{file = "{unlock}"}}\n')
    for environment, name in (("staging", "s1"), ("production", "w1")):
        site.inventory(environment, park.lab, {name: {}})
        variables = site.folder / "inventories" / environment / "group_vars" / "all.yml"
        variables.parent.mkdir()
        vaulted = {"ansible_become_password": "become password", "shop_password": "vaulted value"}
        text = "".join(f"{key}: {vault(unlock, SECRETS[what])}" for key, what in vaulted.items())
        variables.write_text(text)
    for playbook in ("patch", "restore"):
        file = site.folder / "playbooks" / f"{playbook}.yml"
        file.write_text(file.read_text() + TASKS)
    change = site.scheduled({})
    assert site.run(change).state is ChangeState.SUCCEEDED
    site.give("change", "show", change)
    site.give("audit", "trail", change)
    site.give("audit", "export", change)
    site.give("change", "close", change, "--yes")
    return site


def test_no_secret_is_in_anything_that_a_change_leaves_behind(site: Site, park: Park, tmp_path: Path) -> None:
    assert park["w1"].version("labapp") == "1.1"
    back_up(site.state / "orchestrator.db", tmp_path / "backup.db")
    site.give("backup", "create", str(tmp_path / "backup.tar.gz"))
    site.give("metrics")
    said = tmp_path / "said.txt"
    said.write_text("\n".join(site.transcript))
    files = [path for root in (site.folder, site.state, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert {"trail.jsonl", "plan.json", "database.sqlite"} <= {
        Path(where).name for file in files for where, _ in contents(file)
    }
    found = [
        f"{what} in {where}"
        for file in files
        for where, content in contents(file)
        for what, secret in SECRETS.items()
        if any(form in content for form in forms(secret))
    ]
    assert found == []


def test_the_search_would_find_what_is_there(site: Site, tmp_path: Path) -> None:
    """What the careless task said is in the record, without the secret; and a secret that is planted is found."""
    told = [content for file in (site.state / "jobs").rglob("*") if file.is_file() for _, content in contents(file)]
    assert any(b"The password is " in content for content in told)
    planted = tmp_path / "planted.tar.gz"
    inner = gzip.compress(SECRETS["vaulted value"].encode())
    with tarfile.open(planted, "w:gz") as bundle:
        member = tarfile.TarInfo("tasks/one.jsonl.gz")
        member.size = len(inner)
        bundle.addfile(member, io.BytesIO(inner))
    assert any(SECRETS["vaulted value"].encode() in content for _, content in contents(planted))


def vault(password_file: Path, secret: str) -> str:
    """Return a value as ansible-vault writes it for a variable."""
    program = str(Path(sys.executable).with_name("ansible-vault"))
    argv = [program, "encrypt_string", "--vault-password-file", str(password_file), "--stdin-name", "x"]
    text = subprocess.run(argv, input=secret, capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in text.splitlines()[1:]]
    return "!vault |\n" + indent("\n".join(lines), "  ") + "\n"


def forms(secret: str) -> tuple[bytes, ...]:
    """Return the ways in which a text may stand in a file."""
    escaped = secret.replace('"', '\\"')
    return secret.encode(), escaped.encode(), escaped.replace("\\", "\\\\").encode()


def back_up(database: Path, target: Path) -> None:
    with sqlite3.connect(database) as source, sqlite3.connect(target) as copy:
        source.backup(copy)
    source.close()
    copy.close()


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
