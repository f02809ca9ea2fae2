"""What a person is shown of a change's hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cli import show
from orchestrator.domain.run import HostStatus
from tests.fakes.values import run


def test_host_that_is_left_drained_is_told_so_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    failed = replace(run("web1", HostStatus.FAILED), drained=True, reason="nginx.service")
    show.hosts([failed, run("web2", HostStatus.DONE)])
    told = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("web")}
    assert "nginx.service; still drained" in told["web1"]
    assert "drained" not in told["web2"]
