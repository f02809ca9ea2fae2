"""Versions of rpm packages: how they are written and which is newer."""

import random
import shutil
import subprocess

import pytest

from tests.unit.plugins.rpm_support import load

versions = load("rpm_versions")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0-1", "1.1-1"),
        ("1.9-1", "1.10-1"),
        ("2.0-1", "1:1.0-1"),
        ("1.0-1.el9", "1.0-1.el9_4.2"),
        ("1.0~rc1-1", "1.0-1"),
        ("1.0-1", "1.0^git1-1"),
        ("1.0^git1-1", "1.0.1-1"),
        ("1.0a-1", "1.0.1-1"),
        ("5.14.0-427.el9", "5.14.0-503.el9"),
    ],
)
def test_newer_version_is_newer_both_ways_round(older: str, newer: str) -> None:
    assert versions.compare_versions(older, newer) == -1
    assert versions.compare_versions(newer, older) == 1


@pytest.mark.parametrize(
    ("left", "right"), [("1.0-1", "1.0-1"), ("0:1.0-1", "1.0-1"), ("1.05-1", "1.5-1"), ("1.0", "1.0-7")]
)
def test_equal_versions_are_equal(left: str, right: str) -> None:
    assert versions.compare_versions(left, right) == 0


@pytest.mark.skipif(not shutil.which("rpm"), reason="rpm itself is not installed here")
def test_order_is_rpms_own_on_random_versions() -> None:
    chance = random.Random(7)
    pairs = [tuple("".join(chance.choices("0129aAzZ.~^+_", k=chance.randint(1, 7))) for _ in "ab") for _ in range(400)]
    for part in (pairs[:200], pairs[200:]):
        asked = " ".join(f"print(rpm.vercmp('{left}','{right}')) print(' ')" for left, right in part)
        said = subprocess.run(["rpm", "--eval", "%{lua: " + asked + "}"], capture_output=True, text=True, check=True)
        assert [versions.compare_parts(*pair) for pair in part] == [int(word) for word in said.stdout.split()]


def test_versions_are_sorted_by_age() -> None:
    assert sorted(["1:0.1-1", "1.10-1", "1.9-1"], key=versions.sort_key) == ["1.9-1", "1.10-1", "1:0.1-1"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("alpha-1.1-1.noarch", ("alpha", "1.1-1", "noarch")),
        ("bind-utils-32:9.16.23-18.el9.x86_64", ("bind-utils", "32:9.16.23-18.el9", "x86_64")),
        ("a-b-0:1-2.i686", ("a-b", "1-2", "i686")),
    ],
)
def test_full_name_is_taken_apart(text: str, parts: tuple[str, str, str]) -> None:
    assert versions.split_nevra(text) == parts
