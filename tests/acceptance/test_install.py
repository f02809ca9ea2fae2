"""The wheel alone: installed into a new environment it founds a site with everything that a site starts from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the command of a wheel that was built from this tree and installed where nothing else is."""
    if not UV.exists():
        pytest.skip("needs uv beside Python: script/bootstrap --dev installs it")
    folder = tmp_path_factory.mktemp("fresh")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(".venv", ".git", "__pycache__", "tests", "lab", "demo", "benchmarks")
    shutil.copytree(ROOT, source, ignore=unwanted)
    build = [str(UV), "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", str(folder)]
    _run([*build, str(source)])
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    _run([str(UV), "venv", "--python", sys.executable, str(folder / "venv")])
    python = str(folder / "venv/bin/python")
    lock = ["-r", str(ROOT / "requirements.lock")]
    # What was installed for the tests is in the cache, unless uv could not get it: then pip could.
    offline = [str(UV), "pip", "install", "--offline", "--python", python, *lock]
    if subprocess.run(offline, env=_environment(), capture_output=True, check=False).returncode:
        _run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *lock])
    _run([str(UV), "pip", "install", "--offline", "--python", python, str(wheel)])
    return folder / "venv/bin/orchestrator"


def test_a_wheel_founds_a_site_and_its_doctor_speaks(orchestrator: Path, tmp_path: Path) -> None:
    site, state = tmp_path / "site", tmp_path / "state"
    said = _run([str(orchestrator), "init", str(site), "--state", str(state)], cwd=tmp_path)
    assert str(state / "signing-key.pub.pem") in said
    for folder in ("playbooks", "roles", "change_templates", "inventories/staging", "inventories/production"):
        assert any((site / folder).iterdir()), folder
    assert {path.name for path in (ROOT / "playbooks").glob("*.yml")} == {
        p.name for p in (site / "playbooks").iterdir()
    }
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    assert roles == {path.name for path in (site / "roles").iterdir()}
    modules = {path.name for path in (ROOT / "plugins/modules").glob("*.py")}
    assert modules == {path.name for path in (site / "plugins/modules").glob("*.py")}
    assert {file.stat().st_mode & 0o077 for file in (state / "signing-key.pem", state / "site.key")} == {0}

    templates = _run([str(orchestrator), "template", "list"], cwd=site)
    assert "linux-security-patch" in templates
    doctor = subprocess.run(
        [str(orchestrator), "doctor"], cwd=site, env=_environment(), capture_output=True, text=True, check=False
    )
    # A site without hosts and without somebody to approve is not ready, and the doctor says so.
    assert doctor.returncode == 1, doctor.stdout + doctor.stderr
    assert "ansible-core" in doctor.stdout
    assert "give somebody the role approver" in doctor.stdout
    assert "Traceback" not in doctor.stderr


def _run(argv: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def _environment() -> dict[str, str]:
    """Return an environment in which nothing of this tree is found by chance."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ORCHESTRATOR_"))}
    return given | {"COLUMNS": "250"}
