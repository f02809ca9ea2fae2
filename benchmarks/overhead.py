"""What change control costs: a patch wave through us against a playbook written by hand, on the same hosts in turn.

Four production hosts of the lab, the security updates that are really pending, canary and a second wave, reboots where
required. Before each run the hosts are put back to the same snapshot. Wall time of the run alone, staging not counted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import yaml

from benchmarks._telling import arguments, tell
from lab.instance import Lab

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
LIMIT = 1.15
STAGING, PRODUCTION = ("stage1",), ("web1", "web2", "web3", "web4")
REQUEST = """\
template: linux-security-patch
parameters:
  production: web
  window_start: now
  canary: 1
  wave: 100%
  soak: 0s
"""


def main() -> int:
    """Measure, print the figures and tell by the exit code whether the limit holds."""
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    lab = Lab("bench-overhead", say=_say)
    if reason := lab.can_run():
        _say(reason)
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as scratch:
        try:
            figures = _measure(lab, Path(scratch), options.pairs)
        finally:
            lab.destroy()
    return _tell(figures, keep=options.keep)


def _measure(lab: Lab, folder: Path, pairs: int) -> list[tuple[float, float]]:
    lab.destroy()
    lab.up_many([*STAGING, *PRODUCTION], groups=("web",))
    site = _site(lab, folder)
    change = _scheduled(site, folder)
    plan = json.loads(_orchestrator(site, "change", "plan", change, "--json"))
    by_hand = _by_hand(lab, folder, plan)
    for host in PRODUCTION:
        lab.snapshot(host, "before")
    state = folder / "state"
    shutil.copytree(state, folder / "state.before", symlinks=True)
    found = []
    for number in range(1, pairs + 1):
        hand = _timed([str(PROGRAMS / "ansible-playbook"), *by_hand], cwd=ROOT)
        _put_back(lab)
        ours = _timed([str(PROGRAMS / "orchestrator"), "change", "start", change, "--yes"], cwd=site)
        _put_back(lab)
        shutil.rmtree(state)
        shutil.copytree(folder / "state.before", state, symlinks=True)
        _say(f"pair {number}: ours {ours:.1f} s, by hand {hand:.1f} s, ratio {ours / hand:.2f}")
        found.append((ours, hand))
    return found


def _site(lab: Lab, folder: Path) -> Path:
    site = folder / "site"
    _run([str(PROGRAMS / "orchestrator"), "init", str(site), "--state", str(folder / "state")], cwd=folder)
    everything = yaml.safe_load(lab.inventory())["all"]
    for environment, names in (("staging", STAGING), ("production", PRODUCTION)):
        inventory = site / "inventories" / environment
        shutil.rmtree(inventory)
        inventory.mkdir()
        hosts = {name: everything["hosts"][name] for name in names}
        group = {"web": {"hosts": {name: {} for name in names}}}
        document = {"all": {"hosts": hosts, "vars": everything["vars"], "children": group}}
        (inventory / "hosts.yml").write_text(yaml.safe_dump(document))
    people = [_person(folder, "rae", ["engineer"]), _person(folder, "cora", ["approver"])]
    account = os.environ.get("SUDO_USER") or os.environ.get("USER") or "root"
    people.append({"name": "olga", "roles": ["operator", "engineer"], "account": account})
    (site / "people.yml").write_text(yaml.safe_dump({"people": people}))
    (folder / "request.yml").write_text(REQUEST)
    return site


def _person(folder: Path, name: str, roles: list[str]) -> dict[str, object]:
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], cwd=folder)
    return {"name": name, "roles": roles, "account": f"{name}-account", "keys": [(folder / f"{name}.pub").read_text()]}


def _scheduled(site: Path, folder: Path) -> str:
    submitted = _orchestrator(
        site, "change", "submit", str(folder / "request.yml"), "--key", str(folder / "rae"), "--json"
    )
    change = str(json.loads(submitted)["change"])
    _say(f"{change}: staging, which is not measured")
    _orchestrator(site, "change", "stage", change, "--yes")
    digest = json.loads(_orchestrator(site, "change", "plan", change, "--json"))["digest"]
    vote = ("--plan", digest, "--reason", "benchmark", "--key", str(folder / "cora"))
    _orchestrator(site, "change", "approve", change, *vote)
    _orchestrator(site, "change", "schedule", change, "--yes")
    return change


def _by_hand(lab: Lab, folder: Path, plan: dict[str, object]) -> list[str]:
    hosts = plan["plan"]["hosts"]  # type: ignore[index]
    everything = yaml.safe_load(lab.inventory())["all"]
    inventory: dict[str, object] = {}
    for host in hosts:
        inventory[host["host"]] = everything["hosts"][host["host"]] | {
            "old_versions": [f"{i['name']}={i['from_version']}" for i in host["items"]],
            "new_versions": [f"{i['name']}={i['version']}" for i in host["items"]],
            "reboot_anyway": True,
        }
    document = {"production": {"hosts": inventory, "vars": everything["vars"]}}
    (folder / "by-hand.yml").write_text(yaml.safe_dump(document))
    return ["-i", str(folder / "by-hand.yml"), str(ROOT / "benchmarks" / "overhead_by_hand" / "patch.yml")]


def _put_back(lab: Lab) -> None:
    for host in PRODUCTION:
        lab.restore(host, "before")


def _timed(argv: Sequence[str], *, cwd: Path) -> float:
    began = time.monotonic()
    _run(argv, cwd=cwd)
    return time.monotonic() - began


def _orchestrator(site: Path, *words: str) -> str:
    return _run([str(PROGRAMS / "orchestrator"), *words], cwd=site)


def _run(argv: Sequence[str], *, cwd: Path) -> str:
    env = os.environ | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def _tell(pairs: list[tuple[float, float]], *, keep: bool) -> int:
    ratios = [ours / hand for ours, hand in pairs]
    ratio = round(median(ratios), 3)
    figures = {
        "ours_s": [round(ours, 1) for ours, _ in pairs],
        "by_hand_s": [round(hand, 1) for _, hand in pairs],
        "ratios": [round(one, 3) for one in ratios],
        "ratio": ratio,
        "hosts": len(PRODUCTION),
    }
    return tell("overhead", figures, {"ratio": LIMIT}, holds=ratio <= LIMIT, keep=keep)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
