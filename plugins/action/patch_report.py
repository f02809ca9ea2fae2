"""Hand a report to the orchestrator without asking the host anything."""

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """`patch_report: {report: …}`; runs on the controller and changes nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        return dict(result, changed=False, report=self._task.args["report"])
