"""Carry one job to its end, whatever becomes of those who wait for it: ``python -m … JOBDIR``, secrets on stdin.

Nothing heavy is imported here, and ansible-runner only once the job is ours: a start is time in the window.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import logs
from orchestrator.adapters.ansible.brake import Brake
from orchestrator.adapters.ansible.jobdir import MARKER, JobDir, boot_id
from orchestrator.adapters.ansible.recorder import Recorder
from orchestrator.adapters.ansible.redaction import Redactor
from orchestrator.adapters.ansible.tally import first_lines
from orchestrator.adapters.ansible.verdict import (
    DIED,
    FINISHED,
    NOT_STARTED,
    STOPPED,
    TIMED_OUT,
    Verdict,
    in_words,
    now,
    texts,
    write_result,
)
from orchestrator.logs import FORM, LogForm, LogLevel, LogSettings

if TYPE_CHECKING:
    from ansible_runner import Runner

_LOG = logging.getLogger(__name__)

HOST_KEYS = "ANSIBLE_HOST_KEY_CHECKING"
_CALLBACKS = Path(__file__).with_name("callbacks")


def main() -> int:
    """Carry the job in the folder that the first argument names; do nothing where somebody else does or did."""
    job = JobDir(Path(sys.argv[1]).absolute())
    secrets = json.loads(sys.stdin.buffer.read())
    _keep_to_ourselves(secrets.get("place"))
    _let_go_of_the_caller()
    with job.held() as free:
        if not free or job.started.exists():
            return 0
        scratch = _scratch(job)
        facts = {"pid": os.getpid(), "boot_id": boot_id(), "at": now(), "scratch": str(scratch)}
        try:
            if job.begin(facts):
                with logs.about(change=str(job.read(job.order).get("change", "")), job=job.path.name):
                    _carry(job, scratch, secrets)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if job.trouble.exists() and not job.trouble.stat().st_size:
        job.trouble.unlink()
    return 0


def _carry(job: JobDir, scratch: Path, secrets: dict[str, object]) -> None:
    order = job.read(job.order)
    password = str(secrets.get("vault_password") or "")
    redactor = Redactor([*texts(secrets.get("redact")), password])
    # Whoever waits for the job reads the last line that is here: only trouble is told.
    logs.begin(LogSettings(LogForm(os.environ.get(FORM, LogForm.TEXT))), least=LogLevel.WARNING, mask=redactor.text)
    recorder = Recorder(job, redactor)
    brake = Brake(job, texts(order.get("hosts")))
    signal.signal(signal.SIGTERM, lambda *_: brake.ask())
    given = secrets.get("variables")
    variables = {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    if password:
        variables["ANSIBLE_VAULT_PASSWORD_FILE"] = _in_memory(password)
    settings = _settings(job, order, scratch, variables)
    write_result(job, recorder, redactor, _run(settings, recorder, brake))


def _run(settings: dict[str, object], recorder: Recorder, brake: Brake) -> Verdict:
    if brake.is_asked:
        return Verdict(NOT_STARTED, None, "The job was stopped before it began.")
    try:
        runner = _runner(settings, recorder, brake)
    except Exception as error:
        _LOG.exception("ansible-runner could not begin the job")
        return Verdict(NOT_STARTED, None, f"ansible-runner could not begin the job: {in_words(error)}")
    try:
        runner.run()
    except Exception as error:
        brake.end_ansible()
        _LOG.exception("ansible-runner failed in the middle of the job")
        return Verdict(DIED, None, f"ansible-runner failed in the middle of the job: {in_words(error)}")
    if runner.canceled:
        return Verdict(STOPPED, None, "The job was stopped, as asked." + _still_at_work(brake))
    if runner.timed_out:
        told = f"Ansible was ended at the time limit of {settings['timeout']} s."
        return Verdict(TIMED_OUT, None, told + _still_at_work(brake))
    if recorder.tally.is_complete:
        return Verdict(FINISHED, runner.rc, "")
    # Without a code it did not end by itself: killed by hand, or by a machine short of memory.
    return Verdict(DIED if runner.rc is None else FINISHED, runner.rc, _why_incomplete(runner.rc, recorder))


def _runner(settings: dict[str, object], recorder: Recorder, brake: Brake) -> Runner:
    from ansible_runner import Runner, RunnerConfig

    config = RunnerConfig(**settings)
    config.prepare()
    config.suppress_output_file = True
    config.pexpect_timeout = 0.5
    if HOST_KEYS not in os.environ:
        # ansible-runner turns the check of host keys off unless told otherwise; here ansible.cfg decides.
        del config.env[HOST_KEYS]

    def handle(event: dict[str, object]) -> bool:
        brake.watch(event)
        recorder.record(event)
        return False

    return Runner(config, event_handler=handle, cancel_callback=brake.is_due)


def _settings(job: JobDir, order: dict[str, object], scratch: Path, more: Mapping[str, str]) -> dict[str, object]:
    root = Path(str(order["content_root"]))
    variables = {
        **more,
        MARKER: str(job.path),
        "ANSIBLE_CALLBACK_PLUGINS": str(_CALLBACKS),
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{order['programs']}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    return {
        "private_data_dir": str(job.path),
        "artifact_dir": str(scratch),
        "ident": "run",
        "project_dir": str(root),
        "playbook": str(order["playbook"]),
        "inventory": [str(root / "inventories" / str(order["environment"])), str(job.inventory)],
        # A play for other hosts than the batch would touch hosts that nobody has leased.
        "limit": "patch_batch,localhost",
        "forks": order["forks"],
        "timeout": order["timeout"],
        "envvars": variables,
        # Facts stay in memory, unless ansible.cfg says otherwise; ansible-runner would write them down.
        "fact_cache_type": "",
        "quiet": True,
        "suppress_env_files": True,
    }


def _in_memory(secret: str) -> str:
    """Return a path under which this user's processes can read the secret while this one lives; no disk has it."""
    descriptor = os.memfd_create("vault-password")
    os.write(descriptor, secret.encode())
    # Ansible runs a password file that is executable, which memory files are at first.
    os.fchmod(descriptor, 0o400)
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _scratch(job: JobDir) -> Path:
    """Make the folder where ansible-runner passes unmasked events on: in memory, where the machine has that."""
    in_memory = Path("/dev", "shm")
    return Path(tempfile.mkdtemp(prefix="orchestrator-", dir=in_memory if os.access(in_memory, os.W_OK) else job.path))


def _keep_to_ourselves(place: object) -> None:
    """Hold the lock of our place, and leave it to none of our children: some of them live on after us."""
    if isinstance(place, int):
        os.set_inheritable(place, False)


def _let_go_of_the_caller() -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.chdir("/")


def _still_at_work(brake: Brake) -> str:
    hosts = ", ".join(brake.at_work)
    return f" Still at work then, to be asked what became of it: {hosts}." if hosts else ""


def _why_incomplete(rc: int | None, recorder: Recorder) -> str:
    how = "was killed" if rc is None else f"ended with {rc}"
    return first_lines(f"ansible-playbook {how} before the end of the playbook.\n{recorder.saying()}")


if __name__ == "__main__":
    sys.exit(main())
