"""Each role's Molecule scenario, on lab hosts: converge, converge again without a change, verify."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.pytest_plugin import temporary_lab

ROOT = Path(__file__).parents[2]
ROLES = sorted(scenario.parents[2].name for scenario in ROOT.glob("roles/*/molecule/default/molecule.yml"))


@pytest.mark.lab
@pytest.mark.molecule
@pytest.mark.parametrize("role", ROLES)
def test_role_converges_and_a_second_time_changes_nothing(role: str, tmp_path: Path) -> None:
    # Molecule knows what it made by the name of the role's folder, and would meet that of a run that was killed.
    with temporary_lab("molecule") as lab:
        mine = {"MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path), "PATCH_LAB_INSTANCE": lab.name, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["molecule", "test"],
            cwd=ROOT / "roles" / role,
            env=os.environ | mine | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_family_has_a_scenario() -> None:
    assert {"patch_apt", "patch_dnf", "patch_zypper"} <= set(ROLES)
