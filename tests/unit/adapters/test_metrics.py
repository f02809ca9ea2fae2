"""Prometheus reads what we write."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.adapters.metrics.prometheus import Exposition
from orchestrator.domain.metrics import Measure, Sample
from orchestrator.errors import Unavailable

MEASURES = (
    Measure(name="changes", help="Changes by state.", samples=(Sample({"state": 'a "b"\n\\'}, 2),)),
    Measure(name="audit_events", help="Events.", samples=(Sample({}, 7),), is_counter=True),
    Measure(name="nothing", help="Nothing.", samples=()),
)


def parsed(text: str) -> dict[str, tuple[str, list[tuple[dict[str, str], float]]]]:
    families = text_string_to_metric_families(text)
    return {f.name: (f.type, [(s.labels, s.value) for s in f.samples]) for f in families}


def test_text_says_what_was_measured() -> None:
    assert parsed(Exposition(lambda: MEASURES).text().decode()) == {
        "orchestrator_changes": ("gauge", [({"state": 'a "b"\n\\'}, 2.0)]),
        "orchestrator_audit_events": ("counter", [({}, 7.0)]),
        "orchestrator_nothing": ("gauge", []),
    }


def test_text_is_measured_anew_each_time() -> None:
    values = iter((1, 2))
    exposition = Exposition(lambda: [Measure(name="x", help="", samples=(Sample({}, next(values)),))])
    assert [parsed(exposition.text().decode())["orchestrator_x"][1][0][1] for _ in range(2)] == [1, 2]


def test_file_is_there_whole_and_for_everybody(tmp_path: Path) -> None:
    Exposition(lambda: MEASURES).write(tmp_path / "orchestrator.prom")
    assert [path.name for path in tmp_path.iterdir()] == ["orchestrator.prom"]
    assert (tmp_path / "orchestrator.prom").stat().st_mode & 0o777 == 0o644
    assert b"orchestrator_audit_events_total 7.0" in (tmp_path / "orchestrator.prom").read_bytes()


def test_file_that_cannot_be_written_is_said_and_the_old_one_stays(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be written to"):
        Exposition(lambda: MEASURES).write(tmp_path / "nowhere" / "x.prom")
    (tmp_path / "x.prom").write_text("old")

    def fails() -> tuple[Measure, ...]:
        raise Unavailable("the database is away")

    with pytest.raises(Unavailable):
        Exposition(fails).write(tmp_path / "x.prom")
    assert (tmp_path / "x.prom").read_text() == "old"
