"""The dnf family, on what dnf 4 really said."""

import hashlib
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

family_dnf = load("family_dnf")
errors = load("errors")
model = load("model")

INSTALLED = database(
    "alpha 1.0-1 noarch da",
    "beta 1:1.0-1 noarch db",
    "gamma 1.0-1 noarch dc",
    "kernel-core 5.1-1 noarch dk",
    "gpg-pubkey 1-1 (none)",
)
REASONS = "alpha:noarch\tuser\nbeta:noarch\tdependency\ngamma:noarch\tweak-dependency\nkernel-core:noarch\tuser\n"
OFFERS = (
    "alpha\tnoarch\t0\t1.1\t1\tlab\t6037\tpool/alpha-1.1-1.noarch.rpm\t(2, b'\\xf31.\\x86\\x9cZm\\xa9;\\xa4\\xff.%"
    "\\xe4p\\xe0(\\x8e\\xb9\\x1bf\\xf2F\\x7f\\xbd+&\\x8b\\xce\\xd0U\\x1e')\n"
    "beta\tnoarch\t1\t1.1\t1\tlab\t6057\tpool/beta-1.1-1.noarch.rpm\t(none)\n"
)
LISTED = """\
Updating Subscription Management repositories.
LAB-SA-2026:0001 Important/Sec. alpha-1.1-1.noarch
LAB-SA-2026:0009 Critical/Sec.  alpha-1.9-1.noarch
LAB-BA-2026:0002 bugfix         beta-1:1.1-1.noarch
LAB-BA-2026:0002 bugfix         gamma-1.1-1.noarch
"""
TOLD = """\
===============================================================================
  alpha security update
===============================================================================
  Update ID: LAB-SA-2026:0001
       Type: security
    Updated: 2026-10-02 12:00:00
       CVEs: CVE-2026-1
Description: Type: enhancement
           : Severity: Low
   Severity: Important

===============================================================================
  beta bugfix update
===============================================================================
  Update ID: LAB-BA-2026:0002
       Type: bugfix
    Updated: 2026-10-05 12:00:00
Description: d
   Severity: None
"""
HEAD = "=" * 80 + "\n Package   Architecture   Version   Repository   Size\n" + "=" * 80 + "\n"
UPGRADE = (
    "No match for argument: /p/newdep-1.0-1.noarch.rpm\nDependencies resolved.\n"
    + HEAD
    + """\
Installing:
 kernel-core         noarch         5.2-1            @commandline         6.0 k
Upgrading:
 alpha               noarch         1.1-1            @commandline         5.9 k
 beta-with-a-name-that-is-so-long-that-it-has-a-line-of-its-own
                     noarch         1:1.1-1          @commandline         5.9 k
Installing dependencies:
 newdep              noarch         1.0-1            @commandline          13

Transaction Summary
================================================================================
Install  2 Packages
Upgrade  2 Packages

Total size: 24 k
Operation aborted.
"""
)
OBSOLETES = (
    HEAD
    + """\
Installing:
 epsilon          noarch          1.0-1             @commandline          6.0 k
     replacing  beta.noarch 1:1.0-1
Upgrading:
 alpha            noarch          1.2-1             @commandline          5.9 k

Transaction Summary
"""
)
BROKEN = (
    1,
    "",
    "Error: \n Problem: cannot install the best update candidate for package gamma-1.0-1.noarch\n"
    "  - nothing provides newdep >= 1 needed by gamma-1.1-1.noarch\n",
)
SKIPPED = (
    HEAD
    + """\
Skipping packages with broken dependencies:
 gamma           noarch           1.1-1            @commandline           6.1 k

Transaction Summary
"""
)
BACK = (
    HEAD
    + """\
Removing:
 newdep            noarch         1.0-1             @@commandline          13
Downgrading:
 alpha             noarch         1.0-1             @commandline          5.9 k

Transaction Summary
"""
)


def family(tmp_path: Path, answers: dict[str, Any]) -> tuple[Any, FakeShell]:
    found = {"repoquery --installed": REASONS, **answers, "rpm -qa": answers.get("rpm -qa", INSTALLED)}
    shell = FakeShell(found)
    made = family_dnf.FamilyDnf(shell)
    made.configuration = str(tmp_path / "dnf.conf")
    made.versionlock = str(tmp_path / "versionlock.conf")
    made.caches = (str(tmp_path / "cache"),)
    made.pid_files = ()
    made.reboot_notes = (str(tmp_path / "reboot-required"),)
    return made, shell


def test_installed_packages_have_marks_and_keys_are_none(tmp_path: Path) -> None:
    (tmp_path / "dnf.conf").write_text("[main]\nexcludepkgs=al*, nothing\n")
    found = family(tmp_path, {})[0].installed()
    assert found == [
        installed("alpha", "1.0-1", held=True),
        installed("beta", "1:1.0-1", auto=True),
        installed("gamma", "1.0-1", auto=True),
        installed("kernel-core", "5.1-1"),
    ]


def test_candidates_carry_their_advisories(tmp_path: Path) -> None:
    answers = {"repoquery --upgrades": OFFERS, "updateinfo list": LISTED, "updateinfo info": TOLD}
    dnf = family(tmp_path, answers)[0]
    alpha, beta = dnf.candidates(dnf.installed())
    assert (alpha["classification"], alpha["severity"], alpha["published"]) == ("security", "important", 1790942400)
    assert alpha["advisories"] == ["LAB-SA-2026:0001"]  # the other one speaks of a version newer than the offered one
    assert (alpha["filename"], alpha["origin"], alpha["size"]) == ("alpha-1.1-1.noarch.rpm", "lab", 6037)
    assert alpha["sha256"].startswith("f3312e869c5a6da9")
    assert (beta["classification"], beta["severity"], beta["from_version"]) == ("bugfix", "", "1:1.0-1")


def test_versionlocked_candidate_is_shown_as_held(tmp_path: Path) -> None:
    (tmp_path / "versionlock.conf").write_text(f"[main]\nenabled=1\nlocklist={tmp_path}/list\n")
    (tmp_path / "list").write_text("# kept by hand\nalpha-0:1.0-1.*\n")
    dnf = family(tmp_path, {"repoquery --upgrades": OFFERS})[0]
    packages = dnf.installed()
    assert [one.name for one in packages if one.held] == ["alpha"]
    assert [(one["name"], one["held"]) for one in dnf.candidates(packages)] == [("alpha", True), ("beta", False)]


def test_lock_on_another_version_holds_the_package_too(tmp_path: Path) -> None:
    (tmp_path / "versionlock.conf").write_text(f"[main]\nenabled=1\nlocklist={tmp_path}/list\n")
    (tmp_path / "list").write_text("kernel-core-0:5.0-1.*\n!beta-1:1.1-*\n")
    assert [one.name for one in family(tmp_path, {})[0].installed() if one.held] == ["kernel-core"]


def test_excluded_version_holds_the_candidate_not_the_package(tmp_path: Path) -> None:
    (tmp_path / "dnf.conf").write_text("[main]\nexclude=alpha-1.1*\n")
    dnf = family(tmp_path, {"repoquery --upgrades": OFFERS})[0]
    assert not any(one.held for one in dnf.installed())
    assert [one["held"] for one in dnf.candidates(dnf.installed())] == [True, False]


def test_transaction_is_read_from_dnfs_table(tmp_path: Path) -> None:
    dnf, shell = family(tmp_path, {"dnf upgrade": (1, UPGRADE, "Package newdep not installed, cannot update it.\n")})
    found = dnf.simulate([item("alpha", "1.1-1", "1.0-1")], [item("newdep", "1.0-1")], "/p")
    assert transitions(found) == [
        "alpha 1.0-1 > 1.1-1",
        "beta-with-a-name-that-is-so-long-that-it-has-a-line-of-its-own - > 1:1.1-1",
        "kernel-core 5.1-1 > 5.2-1",
        "newdep - > 1.0-1",
    ]
    assert found.problems == []
    (call,) = shell.called("upgrade")
    assert {"--setopt=tsflags=test", "--disablerepo=*", "/p/alpha-1.1-1.noarch.rpm"} <= set(call)


def test_obsoleted_package_is_seen_to_go(tmp_path: Path) -> None:
    dnf = family(tmp_path, {"dnf upgrade": OBSOLETES})[0]
    found = dnf.simulate([item("alpha", "1.2-1")], [], "/p")
    assert transitions(found) == ["alpha 1.0-1 > 1.2-1", "beta 1:1.0-1 > -", "epsilon - > 1.0-1"]


@pytest.mark.parametrize(
    ("answer", "words"), [(BROKEN, "nothing provides newdep >= 1"), (SKIPPED, "would leave gamma-1.1-1.noarch out")]
)
def test_what_dnf_cannot_do_is_a_problem(tmp_path: Path, answer: Answer, words: str) -> None:
    (problem,) = family(tmp_path, {"dnf upgrade": answer})[0].simulate([item("gamma", "1.1-1")], [], "/p").problems
    assert words in problem


def test_new_dependency_is_asked_for_in_the_locked_version(tmp_path: Path) -> None:
    newest = UPGRADE.replace("newdep              noarch         1.0-1", "newdep              noarch         1.9-1")
    offers = "".join(
        f"{name}\tnoarch\t0\t{version}\t1\tlab\t1\tf\t-\n" for name, version in (("alpha", "1.1"), ("newdep", "1.0"))
    )
    answers = {"dnf repoquery --qf": offers, "--assumeno upgrade": newest, "--assumeno install": UPGRADE}
    dnf, shell = family(tmp_path, answers)
    found = dnf.simulate([item("alpha", "1.1-1", "1.0-1")], [item("newdep", "1.0-1"), item("other", "3-1")], "")
    assert "newdep - > 1.0-1" in transitions(found)
    assert shell.called("install")[0][-2:] == ["alpha-0:1.1-1.noarch", "newdep-0:1.0-1.noarch"]


def test_version_that_no_repository_has_is_predicted_to_be_pushed(tmp_path: Path) -> None:
    said = (1, "No match for argument: gamma-0:1.1-1.noarch\n" + UPGRADE, "")
    dnf, shell = family(tmp_path, {"dnf repoquery --upgrades": "", "dnf repoquery": OFFERS, "dnf upgrade": said})
    found = dnf.simulate([item("alpha", "1.1-1", "1.0-1"), item("gamma", "1.1-1", "1.0-1")], [], "")
    assert "gamma 1.0-1 > 1.1-1" in transitions(found)
    assert found.problems == []
    assert not any("gamma" in word for word in shell.called("upgrade")[0])


def test_scriptlet_that_failed_is_a_failure_although_dnf_says_success(tmp_path: Path) -> None:
    said = "warning: %post(alpha-1.1-1.noarch) scriptlet failed, exit status 3\nComplete!\n"
    dnf = family(tmp_path, {"dnf upgrade": said})[0]
    with pytest.raises(errors.PatchError, match=r"%post\(alpha-1.1-1.noarch\) scriptlet failed"):
        dnf.install([item("alpha", "1.1-1")], [], "/p", str(tmp_path / "log"))


def test_failed_installation_tells_dnfs_last_words(tmp_path: Path) -> None:
    dnf = family(tmp_path, {"dnf upgrade": (1, "Running transaction\n", "Error: Transaction failed\n")})[0]
    with pytest.raises(errors.PatchError, match="Transaction failed"):
        dnf.install([item("alpha", "1.1-1")], [], "/p", str(tmp_path / "log"))
    assert "Transaction failed" in (tmp_path / "log").read_text()


def test_nothing_to_install_starts_nothing(tmp_path: Path) -> None:
    dnf, shell = family(tmp_path, {})
    dnf.install([], [item("newdep", "1.0-1")], "/p", str(tmp_path / "log"))
    assert shell.called("dnf") == []


def test_dnf_5_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dnf").symlink_to("dnf5")
    monkeypatch.setattr(family_dnf.FamilyDnf, "program", str(tmp_path / "dnf"))
    with pytest.raises(errors.PatchError, match="dnf 5"):
        family(tmp_path, {})


class Database:
    """An rpm database that a transaction changes."""

    def __init__(self, before: str, after: str) -> None:
        self.now, self.after = before, after

    def read(self, _argv: list[str]) -> Answer:
        return self.now

    def change(self, _argv: list[str]) -> Answer:
        self.now = self.after
        return "Complete!\n"


PATCHED = database("alpha 1.1-1 noarch dn", "newdep 1.0-1 noarch dd")
OLD = database("alpha 1.0-1 noarch da")


def test_restore_is_one_transaction_of_old_files_and_removals(tmp_path: Path) -> None:
    state = Database(PATCHED, OLD)
    dnf, shell = family(tmp_path, {"rpm -qa": state.read, "dnf shell": state.change})
    dnf.restore([secured("alpha", "1.0-1")], ["newdep:noarch"], "/point", str(tmp_path / "log"))
    script = shell.inputs[shell.calls.index(shell.called("shell")[0])]
    assert script == "install /point/alpha-1.0-1.noarch.rpm\nremove newdep-0:1.0-1.noarch\nrun\n"


def test_restore_of_what_is_back_does_nothing(tmp_path: Path) -> None:
    dnf, shell = family(tmp_path, {"rpm -qa": OLD})
    dnf.restore([secured("alpha", "1.0-1")], ["newdep:noarch"], "/point", str(tmp_path / "log"))
    assert shell.called("shell") == []


def test_restore_that_dnfs_shell_only_pretends_to_do_is_a_failure(tmp_path: Path) -> None:
    dnf = family(tmp_path, {"rpm -qa": PATCHED, "dnf shell": "Error: no\nComplete!\n"})[0]
    with pytest.raises(errors.PatchError, match=r"alpha:noarch is not 1\.0-1, newdep:noarch is still there"):
        dnf.restore([secured("alpha", "1.0-1")], ["newdep:noarch"], "/point", str(tmp_path / "log"))


def test_package_that_is_installed_twice_is_put_back_by_rpm(tmp_path: Path) -> None:
    twice = database("alpha 1.0-1 noarch da", "alpha 1.1-1 noarch dn")
    state = Database(twice, OLD)
    dnf, shell = family(tmp_path, {"rpm -qa": state.read, "rpm --replacepkgs": state.change})
    back = [secured("alpha", "1.0-1")]
    assert dnf.check_health() == ["alpha:noarch is installed in two versions: a transaction broke off"]
    assert transitions(dnf.simulate_restore(back, [], "/point")) == ["alpha 1.1-1 > 1.0-1"]
    dnf.restore(back, [], "/point", str(tmp_path / "log"))
    assert shell.called("--replacepkgs")[0][-1] == "/point/alpha-1.0-1.noarch.rpm"


def test_restore_is_predicted_from_the_same_script(tmp_path: Path) -> None:
    dnf = family(tmp_path, {"rpm -qa": PATCHED, "dnf shell": BACK})[0]
    found = dnf.simulate_restore([secured("alpha", "1.0-1")], ["newdep:noarch"], "/point")
    assert transitions(found) == ["alpha 1.1-1 > 1.0-1", "newdep 1.0-1 > -"]


def test_old_file_is_secured_from_the_cache_when_it_is_the_very_build(tmp_path: Path) -> None:
    cached = tmp_path / "cache/lab/packages/alpha-1.0-1.noarch.rpm"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"old")
    dnf, shell = family(tmp_path, {"rpm -qp": package_files("alpha 1.0-1 noarch da")})
    kept, lost = dnf.secure_old([installed("alpha", "1.0-1")], str(tmp_path / "point"))
    digest = hashlib.sha256(b"old").hexdigest()
    assert kept == [model.Secured("alpha", "noarch", "1.0-1", "alpha-1.0-1.noarch.rpm", digest, "cache")]
    assert (lost, shell.called("reinstall")) == ([], [])
    assert (tmp_path / "point/alpha-1.0-1.noarch.rpm").read_bytes() == b"old"


def test_old_file_is_fetched_and_another_build_of_it_refused(tmp_path: Path) -> None:
    def fetch(argv: list[str]) -> Answer:
        folder = Path(argv[argv.index("--downloaddir") + 1])
        for name in ("alpha-1.0-1", "gamma-1.0-1"):
            (folder / f"{name}.noarch.rpm").write_bytes(name.encode())
        return ""

    files = package_files("alpha 1.0-1 noarch da", "gamma 1.0-1 noarch rebuilt")
    dnf, shell = family(tmp_path, {"rpm -qp": files, "dnf reinstall": fetch})
    packages = [installed("alpha", "1.0-1"), installed("beta", "1:1.0-1"), installed("gamma", "1.0-1")]
    kept, lost = dnf.secure_old(packages, str(tmp_path / "point"))
    assert [(one.name, one.source) for one in kept] == [("alpha", "repository")]
    assert [(one.name, one.reason.split(",")[0][:40]) for one in lost] == [
        ("beta", "neither the package cache nor a reposito"),
        ("gamma", "what the repository has under this versi"),
    ]
    assert len(shell.called("reinstall")) == 1


def test_download_returns_what_no_repository_has(tmp_path: Path) -> None:
    def fetch(argv: list[str]) -> Answer:
        (Path(argv[argv.index("--downloaddir") + 1]) / "alpha-1.1-1.noarch.rpm").write_bytes(b"new")
        return (1, "", "Error: Unable to find a match: beta\n")

    dnf = family(tmp_path, {"rpm -qp": package_files("alpha 1.1-1 noarch dn"), "dnf install": fetch})[0]
    wanted = [item("alpha", "1.1-1", "1.0-1"), item("beta", "1:1.1-1", "1:1.0-1")]
    assert dnf.download(wanted, str(tmp_path)) == wanted[1:]
    assert (tmp_path / "alpha-1.1-1.noarch.rpm").read_bytes() == b"new"


def test_download_with_a_bad_signature_is_refused(tmp_path: Path) -> None:
    said = (1, "", "Error: GPG check FAILED\nsslverify: 1\nuser_agent: libdnf\n")
    dnf = family(tmp_path, {"dnf install": said})[0]
    with pytest.raises(errors.PatchError, match=r"Error: GPG check FAILED$"):
        dnf.download([item("alpha", "1.1-1", "1.0-1")], str(tmp_path))


def test_marks_are_changed_only_where_they_differ(tmp_path: Path) -> None:
    dnf, shell = family(tmp_path, {})
    dnf.give_marks(model.Marks(frozenset({"alpha:noarch"}), frozenset()), ["alpha:noarch", "beta:noarch"])
    assert [call[-3:] for call in shell.called("mark")] == [
        ["mark", "remove", "alpha.noarch"],
        ["mark", "install", "beta.noarch"],
    ]


def test_reboot_is_asked_for_by_needs_restarting(tmp_path: Path) -> None:
    said = "Core libraries or services have been updated since boot-up:\n  * glibc\n\nReboot is required.\n"
    assert family(tmp_path, {"dnf needs-restarting": (1, said, "")})[0].reboot_reasons() == [
        "glibc was updated since the boot"
    ]


def test_reboot_is_not_asked_for_when_nothing_says_so(tmp_path: Path) -> None:
    assert family(tmp_path, {"dnf needs-restarting": "Reboot should not be necessary.\n"})[0].reboot_reasons() == []


def test_reboot_is_found_out_without_the_plugin(tmp_path: Path) -> None:
    answers = {
        "dnf needs-restarting": (1, "", "No such command: needs-restarting.\n"),
        "rpm -qa": database("glibc 2-1 x86_64 d 99999999999"),
    }
    assert family(tmp_path, answers)[0].reboot_reasons() == ["glibc was updated since the boot"]


def test_damaged_database_is_told(tmp_path: Path) -> None:
    dnf = family(tmp_path, {"rpm --verifydb": (1, "", "error: rpmdbNextIterator: skipping h#3\n")})[0]
    assert dnf.check_health() == ["rpm --verifydb: error: rpmdbNextIterator: skipping h#3"]


def test_index_that_cannot_be_read_anew_is_an_error(tmp_path: Path) -> None:
    dnf = family(tmp_path, {"dnf makecache": (1, "", "Error: Failed to download metadata for repo 'lab'\n")})[0]
    with pytest.raises(errors.PatchError, match="Failed to download metadata"):
        dnf.refresh()


def test_digest_that_the_index_does_not_say_is_found_out_from_the_file(tmp_path: Path) -> None:
    def fetch(argv: list[str]) -> Answer:
        (Path(argv[argv.index("--downloaddir") + 1]) / "beta-1.1-1.noarch.rpm").write_bytes(b"new")
        return ""

    answers = {"rpm -qp": package_files("beta 1:1.1-1 noarch dn"), "dnf install": fetch, "dnf repoquery": OFFERS}
    (told,) = family(tmp_path, answers)[0].describe([item("beta", "1:1.1-1", "1:1.0-1")])
    assert (told["sha256"], told["size"]) == (hashlib.sha256(b"new").hexdigest(), 3)
