"""The expected failures of the patch modules; each carries what the orchestrator needs to go on."""


class PatchError(Exception):
    """Something stood in the way: the message says what was asked, what stood in the way, what to do next.

    `report` is handed to the orchestrator with the failed task. It has a `kind` and may be empty.
    """

    def __init__(self, message, report=None):
        super().__init__(message)
        self.message = message
        self.report = report or {}


class Refused(PatchError):
    """The host refuses a step, because somebody else holds it or a newer orchestrator was seen."""

    def __init__(self, message, claim=None):
        super().__init__(message, {"kind": "refused", "reason": message, "claim": claim or {}})
