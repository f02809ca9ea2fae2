"""The zypper family, on what zypper 1.14 really said."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.rpm_support import (
    Answer,
    FakeShell,
    database,
    installed,
    item,
    load,
    package_files,
    secured,
    transitions,
)

family_zypper = load("family_zypper")
errors = load("errors")
model = load("model")

INSTALLED = database("alpha 1.0-1 noarch da", "beta 1:1.0-1 noarch db", "kernel-default 5.1-1 x86_64 dk")


def stream(text: str) -> str:
    return f"<?xml version='1.0'?>\n<stream>\n{text}</stream>\n"


def solvable(name: str, edition: str, arch: str = "noarch") -> str:
    return f'<solvable type="package" name="{name}" edition="{edition}" arch="{arch}" summary="s">\n</solvable>\n'


def summary(**groups: str) -> str:
    told = "".join(f"<{tag.replace('_', '-')}>\n{inner}</{tag.replace('_', '-')}>\n" for tag, inner in groups.items())
    prompt = '<prompt id="0">\n<text>Continue?</text>\n</prompt>\n<fileconflict-summary></fileconflict-summary>'
    return stream(f'<install-summary download-size="1" packages-to-change="3">\n{told}</install-summary>\n{prompt}')


def update(name: str, edition: str) -> str:
    source = '<source url="http://controller/rpm" alias="lab"/>'
    return f'<update kind="package" name="{name}" edition="{edition}" arch="noarch" edition-old="1">{source}</update>'


def patch(name: str, category: str, severity: str, date: int) -> str:
    return (
        f'<update kind="patch" name="{name}" edition="1" arch="noarch" status="needed" category="{category}" '
        f'severity="{severity}"><source url="u" alias="lab"/><issue-date time_t="{date}" text="t"/></update>'
    )


UPDATES = stream(f"<update-list>\n{update('alpha', '1.1-1')}{update('beta', '1:1.1-1')}</update-list>\n")
PATCHES = stream(
    f"<update-list>{patch('LAB-SA-1', 'security', 'important', 1790942400)}"
    f"{patch('LAB-BA-2', 'recommended', 'unspecified', 1791201600)}</update-list>"
)
PATCH_INFO = stream(
    '<message type="info">Repository  : lab\nName        : LAB-SA-1\nCategory    : security\nDescription : \n    d\n'
    "Provides    : patch:LAB-SA-1 = 1\nConflicts   : [2]\n"
    "    alpha.noarch &lt; 1.1-1\n    srcpackage:alpha &lt; 1.1-1\n"
    '</message>\n<message type="info">Name        : LAB-BA-2\nConflicts   : beta &lt; 1:1.1-1\n</message>\n'
)
REPOSITORIES = stream('<repo-list><repo alias="lab" name="Patch Lab" enabled="1"><url>u</url></repo></repo-list>')
FOUND = stream(
    '<search-result version="0.0"><solvable-list>\n'
    '<solvable status="installed" name="alpha" kind="package" edition="1.0-1" arch="noarch" '
    'repository="(System Packages)"/>\n'
    '<solvable status="other-version" name="alpha" kind="package" edition="1.1-1" arch="noarch" '
    'repository="Patch Lab"/>\n</solvable-list></search-result>'
)
PROBLEM = (
    4,
    stream(
        '<prompt id="1">\n<description>Problem: nothing provides newdep &gt;= 1 needed by gamma-1.1-1.noarch\n'
        " Solution 1: do not install gamma-1.1-1.noarch\n Solution 2: break it\n</description>\n"
        "<text>Choose from above solutions by number or cancel</text>\n</prompt>\n"
    ),
    "",
)
PRIMARY = (
    '<package type="rpm"><name>alpha</name><arch>noarch</arch><version epoch="0" ver="1.1" rel="1"/>'
    f'<checksum type="sha256" pkgid="YES">{"a" * 64}</checksum><size package="6037"/>'
    '<location href="pool/alpha-1.1-1.noarch.rpm"/></package>'
)


def family(tmp_path: Path, answers: dict[str, Any]) -> tuple[Any, FakeShell]:
    shell = FakeShell({**answers, "rpm -qa": answers.get("rpm -qa", INSTALLED)})
    made = family_zypper.FamilyZypper(shell)
    made.caches, made.pid_files = (str(tmp_path / "cache"),), ()
    for place in ("indexes", "locks", "auto_installed", "configuration", "history"):
        setattr(made, place, str(tmp_path / place))
    made.reboot_notes = (str(tmp_path / "reboot-needed"),)
    return made, shell


def files(folder: Path, *names: str) -> str:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return str(folder)


def write_index(tmp_path: Path) -> None:
    folder = tmp_path / "indexes/lab/repodata"
    folder.mkdir(parents=True)
    (folder / "p.xml.gz").write_bytes(gzip.compress(PRIMARY.encode()))
    (folder / "repomd.xml").write_text('<data type="primary"><location href="repodata/p.xml.gz"/></data>')


def test_installed_packages_have_marks(tmp_path: Path) -> None:
    (tmp_path / "auto_installed").write_text("# AutoInstalled\n#\nbeta\n#\n")
    (tmp_path / "locks").write_text("\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: al*\n\n")
    found = family(tmp_path, {})[0].installed()
    assert found[:2] == [installed("alpha", "1.0-1", held=True), installed("beta", "1:1.0-1", auto=True)]


def test_candidates_carry_their_advisories_and_files(tmp_path: Path) -> None:
    write_index(tmp_path)
    answers = {"zypper list-updates": UPDATES, "zypper list-patches": PATCHES, "zypper patch-info": PATCH_INFO}
    zypper, shell = family(tmp_path, answers)
    alpha, beta = zypper.candidates(zypper.installed())
    assert (alpha["classification"], alpha["severity"], alpha["published"]) == ("security", "important", 1790942400)
    assert (alpha["advisories"], alpha["origin"]) == (["LAB-SA-1"], "lab")
    assert (alpha["sha256"], alpha["size"], alpha["filename"]) == ("a" * 64, 6037, "alpha-1.1-1.noarch.rpm")
    assert (beta["classification"], beta["severity"], beta["from_version"]) == ("bugfix", "", "1:1.0-1")
    assert len(shell.called("patch-info")) == 1


def test_locked_candidate_is_shown_as_held(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("type: package\nmatch_type: exact\nsolvable_name: alpha\n")

    def updates(argv: list[str]) -> Answer:
        return UPDATES if "--all" in argv else stream(update("beta", "1:1.1-1"))

    zypper = family(tmp_path, {"zypper list-updates": updates})[0]
    assert {one["name"]: one["held"] for one in zypper.candidates(zypper.installed())} == {"alpha": True, "beta": False}


def test_dropped_version_is_not_described(tmp_path: Path) -> None:
    write_index(tmp_path)
    zypper = family(tmp_path, {"zypper search": FOUND, "zypper repos": REPOSITORIES})[0]
    (told,) = zypper.describe([item("alpha", "1.1-1", "1.0-1"), item("alpha", "1.0-1"), item("gone", "1-1")])
    assert (told["version"], told["origin"], told["sha256"]) == ("1.1-1", "lab", "a" * 64)


def test_transaction_is_predicted_from_the_locks_files_alone(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def predict(argv: list[str]) -> Answer:
        repositories = Path(argv[argv.index("--reposd-dir") + 1])
        (text,) = [path.read_text() for path in repositories.iterdir()]
        folder = Path(text.partition("baseurl=dir:")[2].partition("\n")[0])
        seen.append(sorted(path.name for path in folder.iterdir()))
        return summary(to_upgrade=solvable("alpha", "1.1-1"), to_install=solvable("newdep", "1.0-1"))

    folder = files(tmp_path / "packages", "alpha-1.1-1.noarch.rpm", "newdep-1.0-1.noarch.rpm", "other.rpm")
    zypper, shell = family(tmp_path, {"zypper --dry-run": predict})
    found = zypper.simulate([item("alpha", "1.1-1", "1.0-1")], [item("newdep", "1.0-1")], folder)
    assert transitions(found) == ["alpha 1.0-1 > 1.1-1", "newdep - > 1.0-1"]
    assert seen == [["alpha-1.1-1.noarch.rpm", "newdep-1.0-1.noarch.rpm"]]
    assert shell.called("--dry-run")[0][-1] == "alpha.noarch=1.1-1"  # dependencies come in where they are needed
    assert not [path for path in Path(folder).iterdir() if path.is_dir()]


def test_package_that_would_go_is_seen(tmp_path: Path) -> None:
    said = summary(to_upgrade=solvable("alpha", "1.1-1"), to_remove=solvable("beta", "1:1.0-1"))
    found = family(tmp_path, {"zypper --dry-run": said})[0].resolve([item("alpha", "1.1-1")])
    assert transitions(found) == ["alpha 1.0-1 > 1.1-1", "beta 1:1.0-1 > -"]


def test_what_zypper_cannot_do_is_a_problem_without_ways_out(tmp_path: Path) -> None:
    found = family(tmp_path, {"zypper --dry-run": PROBLEM})[0].resolve([item("gamma", "1.1-1")])
    assert found.problems == ["Problem: nothing provides newdep >= 1 needed by gamma-1.1-1.noarch"]


def test_new_dependency_is_asked_for_in_the_locked_version(tmp_path: Path) -> None:
    def predict(argv: list[str]) -> Answer:
        version = "1.0-1" if "newdep.noarch=1.0-1" in argv else "1.9-1"
        return summary(to_upgrade=solvable("alpha", "1.1-1"), to_install=solvable("newdep", version))

    offered = FOUND.replace(
        "</solvable-list>",
        '<solvable name="newdep" kind="package" edition="1.0-1" arch="noarch" repository="Patch Lab"/></solvable-list>',
    )
    zypper = family(tmp_path, {"zypper --dry-run": predict, "zypper search": offered, "zypper download": stream("")})[0]
    found = zypper.simulate([item("alpha", "1.1-1", "1.0-1")], [item("newdep", "1.0-1")], "")
    assert transitions(found) == ["alpha 1.0-1 > 1.1-1", "newdep - > 1.0-1"]


def test_version_that_no_repository_has_is_predicted_to_be_pushed(tmp_path: Path) -> None:
    zypper, shell = family(tmp_path, {"zypper search": FOUND})
    found = zypper.simulate([item("beta", "1:1.1-1", "1:1.0-1")], [], "")
    assert (transitions(found), found.problems) == (["beta 1:1.0-1 > 1:1.1-1"], [])
    assert shell.called("--dry-run") == []


def test_problem_that_a_pushed_file_solves_is_none(tmp_path: Path) -> None:
    offered = FOUND.replace("alpha", "gamma")
    zypper = family(tmp_path, {"zypper search": offered, "zypper --dry-run": PROBLEM})[0]
    found = zypper.simulate([item("gamma", "1.1-1", "1.0-1")], [item("newdep", "1.0-1"), item("other", "1-1")], "")
    assert (transitions(found), found.problems) == (["gamma - > 1.1-1", "newdep - > 1.0-1"], [])


@pytest.mark.parametrize(
    ("rc", "said", "words"),
    [
        (8, stream('<message type="error">%prein(alpha) scriptlet failed</message>'), "prein"),
        (7, "System management is locked by the application with pid 7 (zypper).\n", "locked by the application"),
    ],
)
def test_failed_installation_is_told(tmp_path: Path, rc: int, said: str, words: str) -> None:
    folder = files(tmp_path / "packages", "alpha-1.1-1.noarch.rpm")
    zypper = family(tmp_path, {"zypper install": (rc, said, "")})[0]
    with pytest.raises(errors.PatchError, match=words):
        zypper.install([item("alpha", "1.1-1")], [], folder, str(tmp_path / "log"))


def test_scriptlet_that_failed_is_named_from_the_history(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("# warning: %post(older-1-1) scriptlet failed, exit status 1\n")

    def act(_argv: list[str]) -> Answer:
        with (tmp_path / "history").open("a") as history:
            history.write("# warning: %post(alpha-1.1-1.noarch) scriptlet failed, exit status 3\n")
        return (107, summary(to_upgrade=solvable("alpha", "1.1-1")), "")

    folder = files(tmp_path / "packages", "alpha-1.1-1.noarch.rpm")
    zypper = family(tmp_path, {"zypper install": act})[0]
    with pytest.raises(errors.PatchError, match=r"%post\(alpha-1.1-1.noarch\)") as failed:
        zypper.install([item("alpha", "1.1-1")], [], folder, str(tmp_path / "log"))
    assert "older" not in failed.value.message


class Database:
    """An rpm database that a transaction changes."""

    def __init__(self, before: str, after: str) -> None:
        self.now, self.after = before, after

    def read(self, _argv: list[str]) -> Answer:
        return self.now

    def change(self, _argv: list[str]) -> Answer:
        self.now = self.after
        return summary()


OLD = database("alpha 1.0-1 noarch da")


def test_restore_is_one_transaction_of_old_files_and_removals(tmp_path: Path) -> None:
    state = Database(database("alpha 1.1-1 noarch dn", "newdep 1.0-1 noarch dd"), OLD)
    folder = files(tmp_path / "point", "alpha-1.0-1.noarch.rpm")
    zypper, shell = family(tmp_path, {"rpm -qa": state.read, "zypper install": state.change})
    zypper.restore([secured("alpha", "1.0-1")], ["newdep:noarch"], folder, str(tmp_path / "log"))
    assert shell.called("install")[0][-3:] == ["--oldpackage", "alpha.noarch=1.0-1", "!newdep.noarch=1.0-1"]
    zypper.restore([secured("alpha", "1.0-1")], ["newdep:noarch"], folder, str(tmp_path / "log"))
    assert len(shell.called("install")) == 1


def test_package_that_is_installed_twice_is_installed_again(tmp_path: Path) -> None:
    state = Database(database("alpha 1.0-1 noarch da", "alpha 1.1-1 noarch dn"), OLD)
    folder = files(tmp_path / "point", "alpha-1.0-1.noarch.rpm")
    zypper, shell = family(tmp_path, {"rpm -qa": state.read, "zypper install": state.change})
    zypper.restore([secured("alpha", "1.0-1")], [], folder, str(tmp_path / "log"))
    assert shell.called("install --force") != []


def test_restore_that_did_not_come_about_is_a_failure(tmp_path: Path) -> None:
    folder = files(tmp_path / "point", "alpha-1.0-1.noarch.rpm")
    answers = {"rpm -qa": database("alpha 1.1-1 noarch dn"), "zypper install": summary()}
    with pytest.raises(errors.PatchError, match=r"alpha:noarch is not 1\.0-1"):
        family(tmp_path, answers)[0].restore([secured("alpha", "1.0-1")], [], folder, str(tmp_path / "log"))


def fetching(*names: str) -> Callable[[list[str]], Answer]:
    """Answer `zypper download`: only these packages, of version 1.0-1, are to be had."""

    def answer(argv: list[str]) -> Answer:
        folder, told = Path(argv[argv.index("--pkg-cache-dir") + 1]), ""
        for name in names:
            path = folder / f"{name}-1.0-1.noarch.rpm"
            path.write_bytes(name.encode())
            told += (
                f"<download-result><solvable><kind>package</kind><name>{name}</name>"
                '<edition epoch="0" version="1.0" release="1"/><arch>noarch</arch></solvable>'
                f'<localfile path="{path}"/></download-result>'
            )
        return stream(told)

    return answer


def test_old_file_is_fetched_where_a_repository_has_it(tmp_path: Path) -> None:
    answers = {"zypper download": fetching("alpha"), "rpm -qp": package_files("alpha 1.0-1 noarch da")}
    packages = [installed("alpha", "1.0-1"), installed("beta", "1:1.0-1")]
    kept, lost = family(tmp_path, answers)[0].secure_old(packages, str(tmp_path / "point"))
    assert [(one.name, one.source) for one in kept] == [("alpha", "repository")]
    assert [one.name for one in lost] == ["beta"]
    assert (tmp_path / "point/alpha-1.0-1.noarch.rpm").read_bytes() == b"alpha"


def test_download_returns_what_no_repository_has(tmp_path: Path) -> None:
    wanted = [item("alpha", "1.0-1"), item("beta", "1.0-1")]
    assert family(tmp_path, {"zypper download": fetching("alpha")})[0].download(wanted, str(tmp_path)) == wanted[1:]


def test_download_with_a_bad_signature_is_refused(tmp_path: Path) -> None:
    said = stream('<message type="error">Signature verification failed for alpha-1.0-1.noarch.rpm</message>')
    with pytest.raises(errors.PatchError, match="Signature verification failed"):
        family(tmp_path, {"zypper download": said})[0].download([item("alpha", "1.0-1")], str(tmp_path))


def test_auto_marks_of_other_packages_stay(tmp_path: Path) -> None:
    (tmp_path / "auto_installed").write_text("# AutoInstalled\n#\nbeta\nstranger\n#\n")
    zypper, shell = family(tmp_path, {})
    zypper.give_marks(model.Marks(frozenset({"alpha:noarch"}), frozenset()), ["alpha:noarch", "beta:noarch"])
    assert (tmp_path / "auto_installed").read_text() == "# AutoInstalled\n#\nalpha\nstranger\n#\n"
    assert shell.called("addlock") == []


def test_lock_is_set_where_it_was_and_a_pattern_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("type: package\nmatch_type: glob\nsolvable_name: be*\n")
    zypper, shell = family(tmp_path, {})
    zypper.give_marks(model.Marks(frozenset(), frozenset({"alpha:noarch"})), ["alpha:noarch", "beta:noarch"])
    assert [call[-2:] for call in shell.called("zypper")] == [["addlock", "alpha"]]


@pytest.mark.parametrize(("text", "stays"), [("multiversion = provides:multiversion(kernel)\n", True), ("", False)])
def test_kernels_stay_beside_each_other_only_where_zypper_is_told_so(tmp_path: Path, text: str, stays: bool) -> None:
    (tmp_path / "configuration").write_text(text)
    assert family(tmp_path, {})[0].is_kernel("kernel-default") is stays


def test_reboot_is_asked_for_by_zypper(tmp_path: Path) -> None:
    (reason,) = family(tmp_path, {"zypper needs-rebooting": (102, "", "")})[0].reboot_reasons()
    assert "zypper needs-rebooting" in reason


def test_reboot_is_asked_for_by_a_package(tmp_path: Path) -> None:
    (tmp_path / "reboot-needed").touch()
    assert family(tmp_path, {})[0].reboot_reasons() == [f"{tmp_path}/reboot-needed is there"]


def test_index_that_cannot_be_read_anew_is_an_error(tmp_path: Path) -> None:
    zypper = family(tmp_path, {"zypper refresh": (4, stream('<message type="error">no route</message>'), "")})[0]
    with pytest.raises(errors.PatchError, match="no route"):
        zypper.refresh()
