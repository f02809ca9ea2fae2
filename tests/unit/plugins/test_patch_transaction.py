"""Exactly the lock and exactly back: the transaction and the rollback point, on a package manager that is not there."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.rpm_support import FakeShell, load

model = load("model")
point_module = load("point")
transaction = load("transaction")
locked_files = load("locked_files")
parse_job = load("job").parse_job
item_of = load("job").item_of
compare = load("debian_version").compare
PatchError = load("errors").PatchError

BYTES = {name: f"{name} 2".encode() for name in ("app", "lib", "dep", "linux-image-7")}


class FakeFamily(model.Family):  # type: ignore[misc, name-defined]
    """Packages in a dictionary; a transaction does what it is told, and `also` on top of that."""

    name = "fake"

    def __init__(self, **versions: str) -> None:
        super().__init__(FakeShell({}))
        self.versions = {name.replace("_", "-"): version for name, version in versions.items()}
        self.auto: set[str] = set()
        self.held: set[str] = set()
        self.also: dict[str, str] = {}
        self.needs: dict[str, str] = {}
        self.lost: set[str] = set()
        self.fails = False
        self.broken: list[str] = []
        self.at_work: list[str] = []
        self.transactions = 0

    @classmethod
    def detect(cls, shell: Any) -> bool:
        return True

    def architecture(self) -> str:
        return "amd64"

    def installed(self) -> list[Any]:
        return [model.Package(n, "amd64", v, n in self.auto, n in self.held) for n, v in sorted(self.versions.items())]

    def compare(self, left: str, right: str) -> int:
        found: int = compare(left, right)
        return found

    def refresh(self) -> None: ...

    def candidates(self, installed: Any) -> list[Any]:
        return []

    def describe(self, items: Any) -> list[Any]:
        return []

    def resolve(self, upgrades: Any) -> Any:
        return model.Simulation([], [])

    def simulate(self, upgrades: Any, available: Any, folder: str) -> Any:
        needed = [one for one in available if self.needs.get(one.name)]
        return self._predict({one.name: one.version for one in [*upgrades, *needed]})

    def download(self, items: Any, folder: str) -> list[Any]:
        for one in items:
            (Path(folder) / one.filename).write_bytes(BYTES[one.name])
        return []

    def secure_old(self, packages: Any, folder: str) -> tuple[list[Any], list[Any]]:
        secured, missing = [], []
        for one in packages:
            if one.name in self.lost:
                missing.append(model.Missing(one.name, one.arch, one.version, "nobody has it"))
                continue
            (Path(folder) / f"{one.name}.deb").write_text(one.version)
            sha256 = hashlib.sha256(one.version.encode()).hexdigest()
            secured.append(model.Secured(one.name, one.arch, one.version, f"{one.name}.deb", sha256, "cache"))
        return secured, missing

    def install(self, upgrades: Any, available: Any, folder: str, log: str) -> None:
        predicted = self.simulate(upgrades, available, folder).transitions
        self._do({one.name: one.new for one in predicted} | self.also)

    def simulate_restore(self, back: Any, remove: Any, folder: str) -> Any:
        return self._predict({one.name: one.version for one in back} | {name.split(":")[0]: "" for name in remove})

    def restore(self, back: Any, remove: Any, folder: str, log: str) -> None:
        self._do({one.name: one.version for one in back} | {name.split(":")[0]: "" for name in remove})

    def give_marks(self, marks: Any, names: Any) -> None:
        plain = {name.split(":")[0] for name in names}
        self.auto = (self.auto - plain) | {name.split(":")[0] for name in marks.auto & names}
        self.held = (self.held - plain) | {name.split(":")[0] for name in marks.held & names}

    def lock_holders(self) -> list[str]:
        return [self.at_work.pop()] if self.at_work else []

    def check_health(self) -> list[str]:
        return [*self.broken, *self.lock_holders()]

    def is_kernel(self, name: str) -> bool:
        return name.startswith("linux-image-")

    def newest_kernel(self) -> str:
        return ""

    def reboot_reasons(self) -> list[str]:
        return []

    def _predict(self, wanted: dict[str, str]) -> Any:
        moves = [model.Transition(n, "amd64", self.versions.get(n, ""), v) for n, v in sorted(wanted.items())]
        return model.Simulation(moves, [])

    def _do(self, wanted: dict[str, str]) -> None:
        self.transactions += 1
        for name, version in wanted.items():
            self.versions.pop(name, None)
            if version:
                self.versions[name] = version
            self.auto.discard(name)
        if self.fails:
            raise PatchError("the manager ended with 100.")


class Change:
    """A job, the locked files and a point on a fake host."""

    def __init__(self, folder: Path, family: FakeFamily, *names: str) -> None:
        items = [
            {"name": name, "arch": "amd64", "version": "2", "filename": f"{name}_2.deb", "size": 1,
             "sha256": hashlib.sha256(BYTES[name]).hexdigest()}
            for name in names
        ]  # fmt: skip
        self.family = family
        self.job = parse_job({"change": "CHG-1", "items": items})
        self.files = locked_files.LockedFiles(str(folder))
        self.point = point_module.Point("CHG-1", str(folder))

    def protect(self) -> Any:
        locked = {item.name for item in self.job.items}
        old = [one for one in self.family.installed() if one.name in locked and one.version != "2"]
        self.files.fetch(self.family, self.job.items)
        return self.point.take(self.family, old)

    def patch(self) -> Any:
        return transaction.patch(self.job, self.family, self.files, self.point)

    def restore(self) -> Any:
        return transaction.restore(self.family, self.point)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that were slept, which pass at once."""
    naps: list[float] = []
    monkeypatch.setattr(transaction.time, "sleep", naps.append)
    return naps


def test_patch_and_restore_are_one_transaction_each_and_idempotent(tmp_path: Path) -> None:
    family = FakeFamily(app="1", lib="1", other="1")
    family.auto = {"lib"}
    family.needs = {"dep": "yes"}
    change = Change(tmp_path, family, "app", "lib", "dep")
    change.protect()
    assert len(change.patch()["actual"]) == 3
    assert family.auto == {"lib", "dep"}
    assert change.patch()["actual"] == []

    family.held = {"app"}
    assert len(change.restore()["actual"]) == 3
    assert family.versions == {"app": "1", "lib": "1", "other": "1"}
    assert (family.auto, family.held) == ({"lib"}, set())
    assert change.restore()["actual"] == []
    assert family.transactions == 2


def test_package_manager_at_work_is_waited_for(slept: list[float]) -> None:
    family = FakeFamily(app="1")
    family.at_work = ["apt-get is at work"] * 3
    transaction.require_health(family)
    assert len(slept) == 3


def test_package_manager_that_stays_at_work_is_told(slept: list[float]) -> None:
    family = FakeFamily(app="1")
    family.at_work = ["apt-get is at work"] * 1000
    with pytest.raises(PatchError, match="apt-get is at work"):
        transaction.require_health(family)
    assert sum(slept) == 30


def test_broken_packages_are_refused_at_once(slept: list[float]) -> None:
    family = FakeFamily(app="1")
    family.broken = ["app is half configured"]
    with pytest.raises(PatchError, match="not well: app is half configured"):
        transaction.require_health(family)
    assert slept == []


def test_damaged_file_is_not_installed(tmp_path: Path) -> None:
    change = Change(tmp_path, FakeFamily(app="1"), "app")
    change.protect()
    (tmp_path / "packages/app_2.deb").write_text("something else")
    with pytest.raises(PatchError, match="sha256"):
        change.patch()
    assert change.family.transactions == 0


def test_transaction_that_did_more_than_predicted_fails_and_says_what(tmp_path: Path) -> None:
    family = FakeFamily(app="1", other="1")
    family.also = {"other": ""}
    change = Change(tmp_path, family, "app")
    change.protect()
    with pytest.raises(PatchError, match="unexpected other:amd64") as told:
        change.patch()
    assert told.value.report["unexpected"] == [{"name": "other", "arch": "amd64", "from": "1", "to": ""}]


def test_failure_reports_what_was_changed_all_the_same(tmp_path: Path) -> None:
    family = FakeFamily(app="1")
    family.fails = True
    change = Change(tmp_path, family, "app")
    change.protect()
    with pytest.raises(PatchError, match="ended with 100") as told:
        change.patch()
    assert told.value.report["actual"] == [{"name": "app", "arch": "amd64", "from": "1", "to": "2"}]


def test_point_is_kept_once_the_host_may_be_half_patched(tmp_path: Path) -> None:
    family = FakeFamily(app="1", lib="1")
    change = Change(tmp_path, family, "app", "lib")
    first, taken = change.protect()
    assert (taken, first["class"]) == (True, "package")
    family.versions["app"] = "2"
    again, taken = change.protect()
    assert (taken, again) == (False, first)
    family.versions["lib"] = "2"
    change.restore()
    assert family.versions == {"app": "1", "lib": "1"}


def test_package_that_somebody_updated_meanwhile_is_secured_anew(tmp_path: Path) -> None:
    family = FakeFamily(app="1")
    change = Change(tmp_path, family, "app")
    change.protect()
    family.versions["app"] = "1.5"
    _report, taken = change.protect()
    assert taken
    change.patch()
    change.restore()
    assert family.versions == {"app": "1.5"}


def test_kernel_that_was_added_stays(tmp_path: Path) -> None:
    family = FakeFamily(app="1")
    family.needs = {"linux-image-7": "yes"}
    change = Change(tmp_path, family, "app", "linux-image-7")
    change.protect()
    change.patch()
    change.restore()
    assert family.versions == {"app": "1", "linux-image-7": "2"}


def test_kernel_replaced_in_place_makes_the_point_none_and_is_not_taken_back(tmp_path: Path) -> None:
    family = FakeFamily(app="1", linux_image_7="1")
    change = Change(tmp_path, family, "app", "linux-image-7")
    report, _taken = change.protect()
    assert report["class"] == "none"
    assert [one["reason"] for one in report["missing"]] == ["a kernel is never taken back"]
    change.patch()
    change.restore()
    assert family.versions == {"app": "1", "linux-image-7": "2"}


def test_package_whose_old_file_nobody_has_is_named_and_the_others_go_back(tmp_path: Path) -> None:
    family = FakeFamily(app="1", lib="1")
    family.lost = {"lib"}
    change = Change(tmp_path, family, "app", "lib")
    report, _taken = change.protect()
    assert (report["class"], [one["name"] for one in report["missing"]]) == ("none", ["lib"])
    change.patch()
    with pytest.raises(PatchError, match="lib:amd64"):
        change.restore()
    assert family.versions == {"app": "1", "lib": "2"}


def test_restore_without_a_point_says_so(tmp_path: Path) -> None:
    with pytest.raises(PatchError, match="no rollback point"):
        Change(tmp_path, FakeFamily(app="1"), "app").restore()


def test_damaged_old_file_is_not_put_back(tmp_path: Path) -> None:
    change = Change(tmp_path, FakeFamily(app="1"), "app")
    change.protect()
    change.patch()
    (tmp_path / "points/CHG-1/app.deb").write_text("something else")
    with pytest.raises(PatchError, match="damaged"):
        change.restore()
    assert change.family.versions == {"app": "2"}


def test_file_of_another_content_is_fetched_again_and_never_counted(tmp_path: Path) -> None:
    family = FakeFamily(app="1")
    files = locked_files.LockedFiles(str(tmp_path))
    item = item_of(
        {
            "name": "app",
            "arch": "amd64",
            "version": "2",
            "filename": "a.deb",
            "sha256": hashlib.sha256(b"x").hexdigest(),
        }
    )
    assert files.fetch(family, [item]) == {}
    assert not (tmp_path / "packages/a.deb").exists()
