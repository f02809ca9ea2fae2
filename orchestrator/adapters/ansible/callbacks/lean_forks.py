"""Spare Ansible's workers what was loaded before the first of them was forked: it is in use until the end.

Otherwise each worker looks through all of it for garbage, and so makes a copy of its own of nearly every page: a fifth
of what a play costs the controller. Runs inside `ansible-playbook`.
"""

from __future__ import annotations

import gc

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Takes what is there when a playbook begins out of the reach of Python's garbage collector."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lean_forks"

    def v2_playbook_on_start(self, playbook: object) -> None:
        """Freeze what was imported and read so far."""
        gc.freeze()
