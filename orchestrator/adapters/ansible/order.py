"""Write down what is to be run, once and for all, before anything of it begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from orchestrator.adapters.ansible.installations import PLAYBOOK_PROGRAM
from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.domain.canonical import Plain, digest
from orchestrator.domain.job import Job
from orchestrator.errors import Refused, Unavailable


def is_placed(folder: JobDir, job: Job) -> bool:
    """Tell whether the job was begun before: then what it was begun with stands, whatever is asked for now.

    Whoever goes on after a crash asks with a newer token, and perhaps for fewer hosts. Raises Refused where the id
    stands for another work.
    """
    known = folder.read(folder.order)
    if not known:
        return False
    if known.get("work") != _work(job):
        raise Refused(f"job {job.id} was asked for before, as something else: see {folder.order}. Use a new id.")
    return folder.started.exists() or folder.is_carried()


def place(folder: JobDir, job: Job, root: Path, forks: int, programs: Path) -> None:
    """Put the order and the generated inventory into the job's folder; ``programs`` has the commands that run it.

    Raises Unavailable, with nothing written, where the content or Ansible is missing.
    """
    playbook = _checked(job, root, programs)
    folder.create()
    folder.write(folder.inventory, _inventory(job))
    order = {
        "id": job.id,
        "work": _work(job),
        "change": job.change,
        "playbook": str(playbook),
        "environment": job.environment.value,
        "content": job.content,
        "content_root": str(root),
        "hosts": [host.host for host in job.hosts],
        "timeout": job.timeout,
        "forks": forks,
        "ansible": next((host.ansible for host in job.hosts), ""),
        "programs": str(programs),
    }
    folder.write(folder.order, order)


def search_path(given: str, programs: Path) -> str:
    """Return a PATH with an installation's commands in front: a console script's own folder is rarely in it."""
    return os.pathsep.join((str(programs), given or os.defpath))


def _checked(job: Job, root: Path, programs: Path) -> Path:
    playbook = next((p for p in (root / "playbooks" / job.playbook, root / job.playbook) if p.is_file()), None)
    if playbook is None or root.resolve() not in playbook.resolve().parents:
        raise Unavailable(f"job {job.id} asks for {job.playbook}, which is not among the playbooks of {root}.")
    for needed in (root / "ansible.cfg", root / "inventories" / job.environment.value):
        if not needed.exists():
            raise Unavailable(f"job {job.id} needs {needed}, which is not there: freeze the content again.")
    if not shutil.which(PLAYBOOK_PROGRAM, path=str(programs)):
        raise Unavailable(f"{programs} has no {PLAYBOOK_PROGRAM}: install ansible-core there. See: orchestrator doctor")
    return playbook


def _inventory(job: Job) -> dict[str, object]:
    hosts = {host.host: {"patch_job": _literal(host.patch_job)} for host in job.hosts}
    return {"patch_batch": {"hosts": hosts}}


def _literal(value: Mapping[str, Plain] | Plain) -> object:
    """Return a value in which Ansible evaluates nothing: names and versions come from the hosts themselves."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value} if any(mark in value for mark in ("{{", "{%", "{#")) else value
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(item) for item in value]
    return value


def _work(job: Job) -> str:
    """Return what stays the same about a job however often it is asked for."""
    return digest([job.id, job.change, job.playbook, job.environment, job.content])
