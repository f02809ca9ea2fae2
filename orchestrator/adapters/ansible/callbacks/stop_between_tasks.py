"""Ansible's own half of the brake: its main process begins no task for anybody once somebody wants the job to end.

Only here is it certain that nothing of the next task has begun; the supervisor reads of it a moment later, and ends
the process that waits here. Runs inside `ansible-playbook`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ansible.plugins.callback import CallbackBase

_ASKED = Path(os.environ.get("ORCHESTRATOR_JOB", os.devnull), "stop")


class CallbackModule(CallbackBase):
    """Waits at the beginning of each task while the job's folder holds the file `stop`."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "stop_between_tasks"

    def v2_playbook_on_task_start(self, task: object, is_conditional: bool) -> None:
        """Wait to be ended, instead of beginning a task."""
        _wait_while_asked()

    def v2_playbook_on_handler_task_start(self, task: object) -> None:
        """Wait to be ended, instead of beginning a handler."""
        _wait_while_asked()


def _wait_while_asked() -> None:
    while _ASKED.exists():
        time.sleep(0.2)
