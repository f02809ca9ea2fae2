"""What every patch module begins and ends with: its arguments, the values it works on, and how it fails."""

import typing

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.family import family_for
from ansible.module_utils.patch_host.job import Job, parse_job
from ansible.module_utils.patch_host.journal import Journal
from ansible.module_utils.patch_host.locked_files import LockedFiles
from ansible.module_utils.patch_host.model import Family
from ansible.module_utils.patch_host.point import Point
from ansible.module_utils.patch_host.shell import Shell


class Host(typing.NamedTuple):
    """The host as a module works on it. `options` are the module's own arguments, `told` what `tell` was given."""

    job: Job
    family: typing.Optional[Family]
    journal: Journal
    files: LockedFiles
    point: Point
    options: typing.Dict[str, typing.Any]
    check_mode: bool
    told: typing.List[typing.Dict[str, typing.Any]]

    def tell(self, report, changed=False):
        """Hand a report to the orchestrator, whatever becomes of the module afterwards."""
        self.told.append({"changed": changed, "report": report})

    def begin(self, step):
        self.journal.begin(self.job.token, self.job.change, step)

    def end(self, step, outcome, detail=""):
        self.journal.end(self.job.token, self.job.change, step, outcome, detail)


def run_module(act, options=None, supports_check_mode=False, needs_family=True):
    """Run `act(host)`, which returns the module's result, as an Ansible module.

    What the host was told to `tell` comes first among the reports; more than one are given as the results of a loop
    are. Expected failures end in one sentence and what there is to report, never in a stack trace.
    """
    arguments = {"job": {"type": "dict", "required": True}, "family": {"type": "str", "default": ""}}
    module = AnsibleModule(
        argument_spec=dict(arguments, **(options or {})),
        supports_check_mode=supports_check_mode,
        no_log=True,  # whole locks do not belong into the host's syslog, too
    )
    # The job can hold hundreds of packages; Ansible would send it back with each result.
    invocation = {"module_args": {"change": module.params["job"].get("change", ""), "family": module.params["family"]}}
    told = []
    try:
        result = act(_host(module, needs_family, told))
    except PatchError as error:
        module.fail_json(msg=error.message, invocation=invocation, **_with_reports({"report": error.report}, told))
    except OSError as error:
        module.fail_json(
            msg="The host's files were to be read or written, but: %s. Look for a full or read-only file system."
            % error,
            invocation=invocation,
            **_with_reports({"report": {}}, told),
        )
    module.exit_json(invocation=invocation, **_with_reports(result, told))


def _with_reports(result, told):
    """Return a module's result with all that it told: one report as `report`, several as `results`."""
    own = [{"changed": result.get("changed", False), "report": result["report"]}] if result.get("report") else []
    reports = told + own
    others = {name: value for name, value in result.items() if name != "report"}
    if len(reports) > 1:
        return dict(others, results=reports)
    return dict(others, report=reports[0]["report"] if reports else {})


def _host(module, needs_family, told):
    job = parse_job(module.params["job"])
    return Host(
        job=job,
        family=family_for(module.params["family"], Shell()) if needs_family else None,
        journal=Journal(),
        files=LockedFiles(),
        point=Point(job.change),
        options=module.params,
        check_mode=module.check_mode,
        told=told,
    )


def guarded(host, step, act):
    """Run `act()` inside a step that has begun; where it fails the journal says so before the failure goes on."""
    try:
        return act()
    except PatchError as error:
        host.end(step, "failed", error.message)
        raise
    except OSError as error:
        host.end(step, "failed", str(error))
        raise
