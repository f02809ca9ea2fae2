"""What the lock means on a host, and when a predicted transaction is refused."""

from typing import Any

import pytest

from tests.unit.plugins.rpm_support import load

lock = load("lock")
model = load("model")
parse_job = load("job").parse_job
compare = load("debian_version").compare
PatchError = load("errors").PatchError


def item(name: str, version: str = "2", arch: str = "amd64") -> Any:
    return model.Item(name, arch, version, "", "0" * 64, f"{name}.deb", 1)


def package(name: str, version: str = "1", arch: str = "amd64") -> Any:
    return model.Package(name, arch, version, False, False)


def job(**more: Any) -> Any:
    return parse_job({"change": "CHG-1", **more})


def upgrade(name: str, version: str = "2") -> Any:
    return model.Transition(name, "amd64", "1", version)


def test_only_older_packages_are_work() -> None:
    items = [item("old"), item("same"), item("newer"), item("absent"), item("became-all", arch="all")]
    installed = [package("old"), package("same", "2"), package("newer", "3"), package("became-all")]
    upgrades, available = lock.split_items(items, installed, compare)
    assert [one.name for one in upgrades] == ["old", "became-all"]
    assert [one.name for one in available] == ["absent"]


def test_foreign_architecture_is_another_package() -> None:
    upgrades, available = lock.split_items([item("lib", arch="i386")], [package("lib")], compare)
    assert (upgrades, [one.arch for one in available]) == ([], ["i386"])


@pytest.mark.parametrize(
    ("transitions", "more", "held", "told"),
    [
        ([upgrade("a"), model.Transition("b", "amd64", "1", "")], {}, set(), "would remove b:amd64"),
        ([upgrade("a"), upgrade("b")], {}, set(), "b:amd64 2, which is not in the lock"),
        ([upgrade("a", "3")], {}, set(), "a:amd64 3 instead of 2"),
        ([upgrade("a")], {"exclude": ["a*"]}, set(), "a:amd64 is on the exclude list"),
        ([upgrade("a")], {}, {"a"}, "a:amd64 is on hold"),
        ([], {}, {"a"}, "a:amd64 is on hold"),
        ([], {}, set(), "a:amd64 would stay as it is"),
    ],
)
def test_transaction_that_is_not_the_lock_is_refused(
    transitions: list[Any], more: dict[str, Any], held: set[str], told: str
) -> None:
    problems = lock.judge(model.Simulation(transitions, []), [item("a")], [], job(**more), held)
    assert len(problems) == 1
    assert told in problems[0]


def test_transaction_that_is_the_lock_is_not_refused() -> None:
    simulation = model.Simulation([upgrade("a"), model.Transition("dep", "amd64", "", "2")], [])
    assert lock.judge(simulation, [item("a")], [item("dep"), item("unused")], job(), set()) == []


def test_difference_is_what_changed() -> None:
    found = lock.difference([package("a"), package("b")], [package("a", "2"), package("c")])
    assert [tuple(one) for one in found] == [
        ("a", "amd64", "1", "2"),
        ("b", "amd64", "1", ""),
        ("c", "amd64", "", "1"),
    ]


def test_job_names_all_of_its_mistakes() -> None:
    wrong = {"name": "a b", "arch": "amd64", "version": "1", "filename": "../x", "sha256": "12", "size": "many"}
    with pytest.raises(PatchError) as told:
        parse_job({"change": "no/name", "reboot": "perhaps", "token": {"counter": "x"}, "items": [wrong]})
    for part in ("change:", "reboot:", "token.counter", "items[0].name", ".filename", ".sha256", ".size"):
        assert part in told.value.message
