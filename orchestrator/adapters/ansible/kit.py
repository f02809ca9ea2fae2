"""The folder with which hosts are put back by plain ``ansible-playbook``, with the orchestrator gone.

The old packages lie on the hosts themselves, so the kit carries none: it holds the playbook, the roles and plugins it
runs, a static inventory with each host's job, the hosts' SSH keys, and the snapshot tools' exact commands.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from orchestrator.adapters.ansible import kit_inventory, kit_text
from orchestrator.adapters.ansible.defaults import read_config
from orchestrator.adapters.ansible.installations import programs_of
from orchestrator.adapters.ansible.lookups import Lookup
from orchestrator.adapters.ansible.programs import Programs
from orchestrator.adapters.ansible.site_files import SiteFiles, site_files
from orchestrator.adapters.ansible.vault import lookups_of
from orchestrator.domain.canonical import Plain
from orchestrator.domain.inventory import Environment, Host, Secret
from orchestrator.domain.plan import PatchPlan
from orchestrator.errors import Unavailable

#: Returns the command line that puts a host's machine back to its snapshot for a change.
RestoreLine = Callable[[Host, str], Sequence[str]]

#: The jobs lie in files of so many hosts, so that new tokens for a few of thousands rewrite a few of them.
_IN_A_FILE = 50
_HOSTS = "inventory/hosts.yml"
_MARK = ".kit.json"
#: What belongs to the controller, not to the person with the kit.
_LEFT_OUT = ("vault_password_file", "vault_identity_list", "log_path", "callbacks_enabled", "callback_whitelist")
_SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderKit:
    """Implements ``ports.RollbackKit`` in ``state``/kits/CHANGE.

    ``frozen`` returns the folder of a frozen content by its digest; ``restore_lines`` has an entry for each provider
    that works by commands on the controller; ``vault_password`` is for inventory plugins that need one to be asked;
    ``installations`` are the Ansible installations that some hosts need.
    """

    state: Path
    frozen: Callable[[str], Path]
    restore_lines: Mapping[str, RestoreLine] = field(default_factory=dict)
    vault_password: Secret = field(default_factory=lambda: Secret(""))
    environment: Environment = Environment.PRODUCTION
    installations: Mapping[str, Path] = field(default_factory=dict)

    def write(self, plan: PatchPlan, hosts: Mapping[str, Host], patch_jobs: Mapping[str, Mapping[str, Plain]]) -> Path:
        """Write the kit, or complete it; return its folder.

        The first time everything is written and tried; later, for the same plan, only the jobs are, so that it holds
        the newest tokens and costs the window nothing. Raises Unavailable where no usable kit can be written.
        """
        folder = self.state / "kits" / plan.change
        # Shards of one change write their tokens side by side.
        with _alone(folder):
            written = _mark(_read(folder / _MARK))
            if written.plan == plan.digest:
                for path, content in _jobs(plan, hosts, patch_jobs, written.hosts, folder).items():
                    _put(folder / path, content)
            else:
                known = self._write_all(folder, plan, hosts, patch_jobs)
                _put(folder / _MARK, json.dumps({"plan": plan.digest, "hosts": sorted(known)}).encode())
        return folder

    def _write_all(
        self, folder: Path, plan: PatchPlan, hosts: Mapping[str, Host], patch_jobs: Mapping[str, Mapping[str, Plain]]
    ) -> frozenset[str]:
        root = self.frozen(plan.content.digest)
        files = site_files(root)
        programs = Programs(folder=root, vault_password=self.vault_password)
        inventory = kit_inventory.exported(programs, self.environment, files)
        known = kit_inventory.host_names(inventory)
        lost = sorted(hosts.keys() - known)
        if lost:
            raise Unavailable(
                f"no rollback kit can be written for {plan.change}: the frozen inventory has no {', '.join(lost[:10])}."
            )
        jobs = _jobs(plan, hosts, patch_jobs, known)
        made = self._texts(folder, plan, hosts, kit_inventory.variable_files(self.environment, files), inventory) | {
            _HOSTS: inventory.encode(),
            **jobs,
            "ansible.cfg": _ansible_cfg(root),
            "known_hosts": _known_hosts(hosts.values(), self.state / "known_hosts"),
        }
        _lay_out(folder, made, _copies(files, self.environment))
        self._try(folder, plan, {host for content in jobs.values() for host in kit_inventory.batch_hosts(content)})
        return known

    def _try(self, folder: Path, plan: PatchPlan, wanted: set[str]) -> None:
        """Have each Ansible load the playbook and name its hosts, as it would for the person who types the command."""
        listed: set[str] = set()
        for installation in plan.installations:
            programs = Programs(folder=folder, programs=programs_of(self.installations, installation))
            answer = programs.run([*kit_text.command(plan, installation), "--list-hosts"])
            if answer.rc:
                raise _useless(folder, plan, answer.reason)
            listed |= {line.strip() for line in answer.out.splitlines()}
        if not wanted <= listed:
            raise _useless(folder, plan, f"restore.yml leaves out {', '.join(sorted(wanted - listed)[:10])}")

    def _texts(
        self, folder: Path, plan: PatchPlan, hosts: Mapping[str, Host], variables: Mapping[str, Path], inventory: str
    ) -> dict[str, bytes]:
        facts = kit_text.Facts(
            folder=folder,
            plan=plan,
            hosts=tuple(hosts.values()),
            snapshots=self._snapshots(plan, hosts),
            programs={name: programs_of(self.installations, name) for name in plan.installations},
            kept=_kept([inventory, *map(_text, variables.values())]),
            is_vaulted=any("$ANSIBLE_VAULT" in text for text in (inventory, *map(_text, variables.values()))),
        )
        found = {"README.txt": kit_text.readme(facts).encode()}
        if facts.snapshots:
            found["restore-snapshots.sh"] = kit_text.snapshot_script(facts).encode()
        return found

    def _snapshots(self, plan: PatchPlan, hosts: Mapping[str, Host]) -> dict[str, dict[str, Sequence[str]]]:
        found = {}
        for one in plan.hosts:
            tools = [name for name in one.providers if name in self.restore_lines and one.host in hosts]
            if tools:
                host = hosts[one.host]
                found[one.host] = {name: self.restore_lines[name](host, plan.change) for name in tools}
        return found


def _lay_out(folder: Path, made: Mapping[str, bytes], copied: Mapping[str, Path]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / _MARK).unlink(missing_ok=True)
    _sweep(folder, {*made, *copied})
    for path, content in made.items():
        _put(folder / path, content, executable=path.endswith(".sh"))
    for path, file in copied.items():
        _put(folder / path, file.read_bytes(), executable=bool(file.stat().st_mode & stat.S_IXUSR))


def _copies(files: SiteFiles, environment: Environment) -> dict[str, Path]:
    code = {
        path: file
        for path, file in files.content.items()
        if path != "ansible.cfg" and not path.startswith("inventories/")
    }
    variables = kit_inventory.variable_files(environment, files)
    return code | {f"inventory/{path}": file for path, file in variables.items()}


def _ansible_cfg(root: Path) -> bytes:
    config = read_config(root / "ansible.cfg")
    for section in ("defaults", "ssh_connection"):
        if not config.has_section(section):
            config.add_section(section)
    for option in _LEFT_OUT:
        config.remove_option("defaults", option)
    config.set("defaults", "inventory", "inventory")
    # The first mention wins in ssh, and these come before what the hosts' own variables say: their file of known hosts
    # may be gone together with the orchestrator.
    known = '-o "UserKnownHostsFile=known_hosts ~/.ssh/known_hosts"'
    config.set("ssh_connection", "ssh_args", f"{known} {config.get('ssh_connection', 'ssh_args', fallback=_SSH_ARGS)}")
    text = io.StringIO()
    config.write(text)
    return text.getvalue().encode()


def _known_hosts(hosts: Iterable[Host], pinned: Path) -> bytes:
    """Return the keys that the site has pinned, and those in the files that hosts are checked against."""
    files = {Path(host.connection.known_hosts or "~/.ssh/known_hosts").expanduser() for host in hosts}
    lines = [line for file in (pinned, *sorted(files)) for line in _read(file).splitlines() if line.strip()]
    return b"".join(line + b"\n" for line in dict.fromkeys(lines))


def _jobs(
    plan: PatchPlan,
    hosts: Mapping[str, Host],
    patch_jobs: Mapping[str, Mapping[str, Plain]],
    known: frozenset[str],
    folder: Path | None = None,
) -> dict[str, bytes]:
    """Return the sources that have these jobs, by path; with what the folder's say of other hosts already."""
    by_file: dict[int, dict[str, Mapping[str, Plain]]] = {}
    for name, job in patch_jobs.items():
        by_file.setdefault(plan.places.get(name, len(plan.hosts)) // _IN_A_FILE, {})[name] = job
    found = {}
    for number, jobs in by_file.items():
        path = f"inventory/patch_batch-{number + 1:03}.json"
        named = [hosts[name] for name in jobs if name in hosts]
        beside = plan.hosts[number * _IN_A_FILE : (number + 1) * _IN_A_FILE]
        installations = {} if plan.installations == ("",) else {host.host: host.ansible for host in beside}
        before = _read(folder / path) if folder else b""
        found[path] = kit_inventory.batch(named, jobs, known, before, installations)
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others out of the folder, threads of this process too."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _useless(folder: Path, plan: PatchPlan, reason: str) -> Unavailable:
    return Unavailable(
        f"the rollback kit of {plan.change} in {folder} cannot be used, so no host may be touched: {reason}"
    )


def _sweep(folder: Path, wanted: set[str]) -> None:
    """Remove what an earlier plan of the same change left."""
    for file in sorted(folder.rglob("*"), reverse=True):
        if file.is_dir() and not file.is_symlink():
            if not any(file.iterdir()):
                file.rmdir()
        elif str(file.relative_to(folder)) not in wanted:
            file.unlink()


def _put(file: Path, content: bytes, *, executable: bool = False) -> None:
    """Write a private file in one piece, where it is not there already."""
    mode = 0o700 if executable else 0o600
    if _read(file) == content and file.exists():
        file.chmod(mode)
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    draft.rename(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """For which plan a kit was written in full, and the hosts that its inventory knows."""

    plan: str = ""
    hosts: frozenset[str] = frozenset()


@lru_cache(maxsize=4)
def _mark(content: bytes) -> _Written:
    """Read the mark of a kit; every shard of a change does, and it names all of its hosts."""
    try:
        found = json.loads(content)
        return _Written(plan=found["plan"], hosts=frozenset(found["hosts"]))
    except (ValueError, KeyError, TypeError):
        return _Written()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _kept(texts: Sequence[str]) -> tuple[Lookup, ...]:
    found = {lookup for text in texts for lookup in lookups_of(text)}
    return tuple(sorted(found, key=lambda lookup: (lookup.kind, lookup.target)))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
