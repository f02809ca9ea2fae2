"""Make a new site: the repository that people edit, and the state folder that they do not."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.adapters.evidence.keys import PUBLIC, make
from orchestrator.adapters.identity.caller import calling_account
from orchestrator.adapters.store import upgrade
from orchestrator.errors import Refused
from orchestrator.settings import FILE, Settings, load_settings

_CONTENT = ("ansible.cfg", "change_templates", "inventories", "playbooks", "plugins", "roles")
_UNWANTED = shutil.ignore_patterns("__pycache__", "molecule", ".*", "*.pyc")

_SETTINGS = """# The settings of this site. Every key has a default but the name; see docs/settings.md.
[site]
name = "{name}"
{paths}
# [ansible]
# forks = 20
# vault_password = {{file = "/etc/patch-orchestrator/vault-password"}}

# A snapshot tool as a rollback provider, named in a host's variable patch_rollback or in a template:
# [rollback.vm-snapshot]
# take = ["snapshot-tool", "create", "{{host}}", "{{label}}"]
# restore = ["snapshot-tool", "revert", "{{host}}", "{{label}}"]
# release = ["snapshot-tool", "delete", "{{host}}", "{{label}}"]
# class = "exact"

[evidence]
# Where signed checkpoints go besides the database: another machine's file system, so that nobody who owns this
# machine can rewrite the past unseen.
# checkpoint_file = "/mnt/audit/checkpoints.jsonl"
"""

_PEOPLE = """# The people of this site. A person signs with one of the keys; the account is the one they log in with.
# Roles: viewer, engineer (submit, stage), operator (schedule, start, pause, close), approver (vote), auditor, admin;
# any other word names a seat that a change's approval policy may ask for, such as cab or service-owner.
people:
  - name: {account}
    roles: [engineer, operator]
    account: {account}
    keys: []
  # - name: somebody-else
  #   full_name: Somebody Else
  #   roles: [approver]
  #   account: somebody-else
  #   keys: ["ssh-ed25519 AAAA… somebody-else"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made: the state folder, and the public key that auditors pin."""

    state: Path
    public_key: Path
    fingerprint: str


def make_site(folder: Path, state: Path | None, *, at: datetime) -> Made:
    """Make a site in a new or empty folder. Raises Refused where there is something in it."""
    folder = folder.expanduser().absolute()
    if folder.exists() and any(child.name != ".git" for child in folder.iterdir()):
        raise Refused(f"{folder} is not empty: a site begins in a new folder. Name another one.")
    if state is not None and state.expanduser().absolute().is_relative_to(folder):
        raise Refused("the state (keys, database) must lie outside of the site's folder: --state DIR")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _CONTENT:
        _copy(starting_content() / name, folder / name)
    paths = f'\n[paths]\nstate = "{state.expanduser().absolute()}"\n' if state is not None else ""
    (folder / FILE).write_text(_SETTINGS.format(name=_site_name(folder), paths=paths))
    (folder / "people.yml").write_text(_PEOPLE.format(account=calling_account().account))
    (folder / ".gitignore").write_text("*.retry\n__pycache__/\n")
    return _make_state(load_settings(folder), at)


def _site_name(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "site"


def starting_content() -> Path:
    """Return where the playbooks, roles and templates lie that a site starts from: in the wheel, or in the sources."""
    here = Path(__file__).parent
    packed = here / "starting_content"
    return packed if packed.is_dir() else here.parent


def _make_state(settings: Settings, at: datetime) -> Made:
    state = settings.state
    if state.exists() and any(state.iterdir()):
        raise Refused(f"the state folder {state} is not empty: it belongs to another site. Choose one: --state DIR")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    state.chmod(0o700)
    key = make(settings.signing_key.parent, at=at)
    descriptor = os.open(state / "site.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    upgrade(settings.database.url)
    _begin_history(settings.site)
    return Made(state=state, public_key=settings.signing_key.parent / PUBLIC, fingerprint=key.public.fingerprint)


def _begin_history(site: Path) -> None:
    """Make the folder a git repository where git is at hand; who wrote the content is read from there."""
    if shutil.which("git") and not (site / ".git").exists():
        subprocess.run(["git", "init", "--quiet", str(site)], check=False, capture_output=True)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=_UNWANTED, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
