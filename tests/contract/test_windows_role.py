"""The scripts of the role `patch_windows`, and the lab's answers to them, are the same on both sides.

No PowerShell is run here: that a script does on Windows what the lab does for it, docs/verify-on-windows.md tries.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lab.windows import collection, product_scripts, update_tasks
from lab.windows.host import WindowsHost
from lab.windows.machine import Machine, usual_services
from lab.windows.process import Inner
from lab.windows.updates import Update, Updates

FILES = Path(__file__).resolve().parents[2] / "roles/patch_windows/files"
SCRIPTS = sorted(FILES.glob("*.ps1"))


@pytest.fixture
def host() -> WindowsHost:
    machine = Machine(name="win1")
    machine.add_services(usual_services())
    return WindowsHost(machine, Updates())


def test_the_lab_knows_every_script_and_no_other() -> None:
    assert {path.name for path in SCRIPTS} == set(product_scripts.DIGESTS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_the_one_that_the_lab_was_taught(path: Path) -> None:
    words = (
        "the script was edited: make the answer in lab/windows/product_scripts.py do the same, then write its digest"
    )
    assert product_scripts.digest(path.read_text()) == product_scripts.DIGESTS[path.name], words


def test_edited_script_fails_on_a_host_and_is_named(host: WindowsHost) -> None:
    text = (FILES / "look.ps1").read_text().replace("-MaxEvents 50", "-MaxEvents 51")
    answer = host.ask(text, "powershell", Inner(), {"Folder": r"C:\f", "Change": "CHG-1"})
    assert answer.rc == 1
    assert "look.ps1 is not the script that the lab knows" in answer.stderr
    assert host.journal.entries("unknown-script")


def test_look_answers_with_the_keys_that_the_script_writes(host: WindowsHost) -> None:
    text = (FILES / "look.ps1").read_text()
    answer = host.ask(text, "powershell", Inner(), {"Folder": r"C:\f", "Change": "CHG-1"})
    assert answer.result is not None
    written = re.search(r"\$document = @\{(.*?)\n\}", text, re.DOTALL)
    assert written
    assert set(json.loads(str(answer.result["json"]))) == set(re.findall(r"^    (\w+) = ", written[1], re.MULTILINE))


def test_search_answers_with_the_keys_that_the_script_writes() -> None:
    text = (FILES / "search.ps1").read_text()
    written = re.search(r"^    @\{\n(.*?)\n    \}", text, re.DOTALL | re.MULTILINE)
    assert written
    told = product_scripts.described(Update(kb="KB1", title="Update (KB1)"))
    assert set(told) == set(re.findall(r"^        (\w+) = ", written[1], re.MULTILINE))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_strict_and_asks_nobody(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# patch_windows/{path.name}: ")
    assert text.isascii(), "PowerShell 5.1 reads a file without a byte order mark in the host's own code page"
    assert "Set-StrictMode -Version Latest" in text
    assert "$ErrorActionPreference = 'Stop'" in text
    assert not re.search(r"Read-Host|-Confirm\b|Out-Host|Write-Host", text)
    assert max(map(len, text.splitlines())) <= 140


def test_scripts_name_what_win_updates_leaves_running_as_it_does() -> None:
    text = collection.text("win_updates")
    assert '$pipeName = "Ansible.Windows.WinUpdates-$taskId"' in text
    assert '$cancelId = "Global\\Ansible.Windows.WinUpdates-$taskId"' in text


@pytest.mark.parametrize(
    ("expected", "refused", "journal"), [(0, True, b"one\n"), (4, False, b"one\ntwo\n"), (-1, False, b"one\ntwo\n")]
)
def test_record_writes_nothing_where_another_has_written(
    host: WindowsHost, expected: int, refused: bool, journal: bytes
) -> None:
    host.machine.files.write(r"C:\f\journal.jsonl", b"one\n")
    work = {"append": ["two"], "write": [{"name": "claim.json", "text": "{}"}], "remove": []}
    text = (FILES / "record.ps1").read_text()
    given = {"Folder": r"C:\f", "Expected": expected, "Work": json.dumps(work)}
    told = host.ask(text, "powershell", Inner(), given)
    assert told.result is not None
    assert json.loads(str(told.result["json"])) == {"refused": refused, "bytes": len(journal)}
    assert host.machine.files.read(r"C:\f\journal.jsonl") == journal
    assert (host.machine.files.read(r"C:\f\claim.json") is None) is refused


def test_record_leads_out_of_no_folder(host: WindowsHost) -> None:
    work = {"append": [], "write": [{"name": r"..\evil", "text": ""}], "remove": []}
    given = {"Folder": r"C:\f", "Expected": -1, "Work": json.dumps(work)}
    assert host.ask((FILES / "record.ps1").read_text(), "powershell", Inner(), given).rc == 1


def test_win_updates_matches_title_and_kb_as_one_text() -> None:
    text = collection.text("win_updates")
    assert "$matchList = ($updateInfo.title + $updateInfo.kb)" in text, "look at patch_windows.updates.expressions"
    assert "$entry -imatch $matchEntry" in text
    update = Update(kb="KB1", title="Update (KB1)")
    assert update_tasks.matches(update, [r"\AUpdate \(KB1\)KB1\Z"])
    assert not update_tasks.matches(update, ["^KB1$"])
