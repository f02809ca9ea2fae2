"""What recording costs: CPU time of a run through us, through plain ansible-runner and by ansible-playbook alone.

200 hosts x 4 tasks that do nothing on local connections: hardly any work, so that recording is as large a part as it
can be. CPU seconds (user and system, all processes) of each way, one after the other, and the median of the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks._telling import arguments, tell

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
LIMIT = 1.05
WAYS = ("ours", "plain", "bare")

PLAYBOOK = """\
- name: Do nothing four times
  hosts: patch_batch
  gather_facts: false
  tasks:
    - name: Say who it is
      ansible.builtin.debug:
        msg: "this is {{ inventory_hostname }} of {{ patch_job.change }}"
    - name: Remember something
      ansible.builtin.set_fact:
        greeting: "hello {{ inventory_hostname }}"
    - name: Check that it is so
      ansible.builtin.assert:
        that: greeting is defined
        quiet: true
    - name: Say it
      ansible.builtin.debug:
        var: greeting
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run took, in seconds."""

    cpu: float
    wall: float


def main() -> int:
    """Measure, print the figures and tell by the exit code whether the limit holds."""
    options = _options()
    if options.child:
        _run_child(options.child, Path(options.folder), options.hosts, options.forks)
        return 0
    costs = _measure(options.pairs, options.hosts, options.forks)
    figures = _figures(costs, options)
    holds = figures["ours_to_plain"] <= LIMIT
    return tell("recording", figures, {"ours_to_plain": LIMIT}, holds=holds, keep=options.keep)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--forks", type=int, default=20)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(pairs: int, hosts: int, forks: int) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="recording-") as name:
        folder = Path(name)
        _write_content(folder / "content", hosts)
        for number in range(1, pairs + 1):
            # Who goes first alternates: a machine that slows down must not favour one of them.
            for way in WAYS if number % 2 else WAYS[::-1]:
                cost = _cost(way, folder, hosts, forks)
                costs[way].append(cost)
                print(f"pair {number} of {pairs}: {way:5}  {cost.cpu:6.2f} s CPU  {cost.wall:6.2f} s", flush=True)
    return costs


def _cost(way: str, folder: Path, hosts: int, forks: int) -> Cost:
    """Run one way in a process of its own and return what it and all its descendants used."""
    for left in ("jobs", "private"):
        shutil.rmtree(folder / left, ignore_errors=True)
    command = [sys.executable, __file__, "--child", way, "--folder", str(folder)]
    begun = time.monotonic()
    with (folder / "output").open("w") as output:
        asked = [*command, "--hosts", str(hosts), "--forks", str(forks)]
        child = subprocess.Popen(asked, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{way} ended with {child.returncode}:\n{(folder / 'output').read_text()[-2000:]}")
    return Cost(cpu=usage.ru_utime + usage.ru_stime, wall=time.monotonic() - begun)


def _figures(costs: dict[str, list[Cost]], options: argparse.Namespace) -> dict[str, float]:
    cpu = {way: [cost.cpu for cost in costs[way]] for way in WAYS}
    figures = {f"{way}_cpu_seconds": median(cpu[way]) for way in WAYS}
    figures |= {f"{way}_wall_seconds": median(cost.wall for cost in costs[way]) for way in WAYS}
    for one, other in (("ours", "plain"), ("ours", "bare"), ("plain", "bare")):
        figures[f"{one}_to_{other}"] = median(a / b for a, b in zip(cpu[one], cpu[other], strict=True))
    rounded = {name: round(value, 3) for name, value in figures.items()}
    return rounded | {"pairs": options.pairs, "hosts": options.hosts} | _versions()


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("ansible-core", "ansible-runner")}


# What each way does, in a process of its own.


def _run_child(way: str, folder: Path, hosts: int, forks: int) -> None:
    if way == "ours":
        _run_ours(folder, hosts, forks)
    else:
        (_run_plain if way == "plain" else _run_bare)(folder, forks)


def _run_ours(folder: Path, hosts: int, forks: int) -> None:
    from orchestrator.adapters.ansible.runner import SupervisedRunner
    from orchestrator.domain.inventory import Environment
    from orchestrator.domain.job import HostJob, HostOutcome, Job, JobStatus

    runner = SupervisedRunner(jobs=folder / "jobs", content_root=lambda _: folder / "content", forks=forks)
    batch = tuple(HostJob(host=name, patch_job=_patch_job()) for name in _names(hosts))
    job = Job(
        id="recording",
        change="CHG-0001",
        playbook="nothing.yml",
        environment=Environment.STAGING,
        content="0" * 64,
        hosts=batch,
        timeout=600,
    )
    result = runner.run(job)
    if result.status is not JobStatus.FINISHED or {host.outcome for host in result.hosts} != {HostOutcome.OK}:
        raise SystemExit(f"the run did not succeed: {result.status} {result.message}")


def _run_plain(folder: Path, forks: int) -> None:
    import ansible_runner

    content = folder / "content"
    os.environ["PATH"] = f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    private = folder / "private"
    private.mkdir()
    (private / "project").symlink_to(content)
    result = ansible_runner.run(
        private_data_dir=str(private),
        playbook="playbooks/nothing.yml",
        inventory=[str(content / "inventories" / "staging"), str(folder / "content" / "batch.json")],
        forks=forks,
        envvars={"ANSIBLE_CONFIG": str(content / "ansible.cfg")},
    )
    if result.rc:
        raise SystemExit(f"ansible-runner ended with {result.rc}")


def _run_bare(folder: Path, forks: int) -> None:
    content = folder / "content"
    sources = ["-i", str(content / "inventories" / "staging"), "-i", str(content / "batch.json")]
    command = [str(PROGRAMS / "ansible-playbook"), *sources, "--forks", str(forks)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(content / "ansible.cfg")}
    subprocess.run([*command, "playbooks/nothing.yml"], cwd=content, env=environment, check=True)


def _write_content(content: Path, hosts: int) -> None:
    for folder in ("playbooks", "inventories/staging", "inventories/production"):
        (content / folder).mkdir(parents=True)
    (content / "ansible.cfg").write_text("[defaults]\nhost_key_checking = True\n")
    (content / "playbooks" / "nothing.yml").write_text(PLAYBOOK)
    variables = "[all:vars]\nansible_connection=local\nansible_python_interpreter=/usr/bin/python3\n"
    (content / "inventories" / "staging" / "hosts.ini").write_text("\n".join(_names(hosts)) + "\n" + variables)
    batch = {"patch_batch": {"hosts": {name: {"patch_job": _patch_job()} for name in _names(hosts)}}}
    (content / "batch.json").write_text(json.dumps(batch))


def _names(hosts: int) -> list[str]:
    return [f"host{number:04}" for number in range(1, hosts + 1)]


def _patch_job() -> dict[str, str]:
    return {"change": "CHG-0001", "family": "apt"}


if __name__ == "__main__":
    sys.exit(main())
