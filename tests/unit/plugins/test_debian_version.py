"""Debian versions in the order that dpkg gives them."""

import subprocess
from itertools import pairwise

import pytest

from tests.unit.plugins.rpm_support import load

compare = load("debian_version").compare

ASCENDING = [
    "0~~",
    "0~~a",
    "0~",
    "0",
    "0a",
    "0+deb",
    "1.0~rc1-1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+deb12u1",
    "1.0-1.1",
    "1.0-2",
    "1.0.1-1",
    "1.2",
    "1.10",
    "2026b-0+deb12u1",
    "2026f-0+deb12u1",
    "1:0.1",
    "2:0~1",
]


@pytest.mark.parametrize(("left", "right"), list(pairwise(ASCENDING)))
def test_order_is_dpkgs(left: str, right: str) -> None:
    assert compare(left, right) < 0 < compare(right, left)
    assert compare(left, left) == 0
    assert subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=False).returncode == 0


def test_leading_zeros_do_not_count() -> None:
    assert compare("1.01-0", "1.1") == 0
