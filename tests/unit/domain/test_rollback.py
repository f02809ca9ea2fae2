"""What a rollback point promises, and when a machine may be put back without a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.rollback import RollbackClass as C
from orchestrator.domain.rollback import Statefulness as S
from orchestrator.domain.rollback import best, package_class, why_not_by_itself, worst

ORDER = [C.EXACT, C.PACKAGE, C.NONE]
CLASSES = st.lists(st.sampled_from(C), min_size=1)


@given(CLASSES)
def test_best_and_worst_are_the_ends_of_one_order(classes: list[C]) -> None:
    assert best(classes) is ORDER[min(map(ORDER.index, classes))]
    assert worst(classes) is ORDER[max(map(ORDER.index, classes))]


def test_no_provider_promises_nothing_and_no_item_spoils_nothing() -> None:
    assert best([]) is C.NONE
    assert worst([]) is C.EXACT


@pytest.mark.parametrize(
    "name", ["libc6", "glibc-common", "dbus", "postgresql-15", "postgresql", "slapd", "mariadb-server-10.11"]
)
def test_one_package_without_a_way_back_is_enough(name: str) -> None:
    assert package_class(["openssl", name]) is C.NONE


@pytest.mark.parametrize("name", ["openssl", "postgresql-client-15", "libdbus-1-3", "systemd-timesyncd"])
def test_packages_that_only_sound_like_one_can_be_taken_back(name: str) -> None:
    assert package_class([name]) is C.PACKAGE


def test_site_says_itself_what_has_no_way_back() -> None:
    assert package_class(["libc6"], deny=()) is C.PACKAGE
    assert package_class(["our-ledger"], deny=("our-*",)) is C.NONE


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("rollback_class", [C.PACKAGE, C.NONE])
def test_packages_go_back_by_themselves_on_any_host(rollback_class: C, state: S) -> None:
    assert why_not_by_itself(rollback_class, state, out_of_service=False) == ""


@pytest.mark.parametrize(
    ("state", "in_service", "out_of_service"),
    [(S.STATELESS, True, True), (S.STATEFUL, False, True), (S.REPLICATED, False, True), (S.DIRECTORY, False, False)],
)
def test_machine_goes_back_by_itself_only_where_no_data_is_lost(
    state: S, in_service: bool, out_of_service: bool
) -> None:
    assert (why_not_by_itself(C.EXACT, state, out_of_service=False) == "") is in_service
    assert (why_not_by_itself(C.EXACT, state, out_of_service=True) == "") is out_of_service
