"""Carry out an act in a process that outlives the connection, the task's timeout and the login session.

dpkg and rpm must never be killed half way. The act therefore runs in a child of its own session and, where systemd
allows it, of its own scope; the module only waits for it. When the module has to give up waiting, the child goes on,
finishes and writes the journal's end itself.
"""

import json
import os
import select
import signal
import sys
import time

from ansible.module_utils.patch_host.errors import PatchError


def carry_out(act, timeout, shell, log):
    """Run `act()` (which returns a dictionary) and return its result; raise its `PatchError` here.

    Raises `PatchError` when it takes longer than `timeout` seconds; the act is then still at work.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live_on(act, writing, shell, log)
    os.close(writing)
    answer = _read_until(reading, time.time() + timeout)
    if answer is None:
        raise PatchError(
            "The transaction was still at work after %d s and goes on (process %d). Nothing was killed. Look again "
            "with verify.yml: its journal shows the end." % (timeout, child)
        )
    os.waitpid(child, 0)
    return _result(answer, log)


def _live_on(act, writing, shell, log):
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Whoever waits for the module's output must not wait for this process, too.
    nothing = os.open(os.devnull, os.O_RDWR)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    _own_scope(shell)
    try:
        answer = {"result": act()}
    except PatchError as error:
        answer = {"error": error.message, "report": error.report}
    except BaseException as error:
        # Printed to the log; the module tells it in one sentence.
        import traceback

        traceback.print_exc()
        answer = {"error": "The transaction broke off: %s: %s. See %s." % (type(error).__name__, error, log)}
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        _write(writing, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _own_scope(shell):
    """Leave the login's control group: a connection that ends may take everything in it along (sshd@.service)."""
    me = str(os.getpid())
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    scope = ["patch-orchestrator-%s.scope" % me, "fail", "1", "PIDs", "au", "1", me, "0"]
    call = ["busctl", "--quiet", "--timeout=5", "call", *manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", *scope]
    shell.run(call, timeout=10)


def _write(descriptor, data):
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except OSError:
            return  # nobody listens any more; the journal has the outcome


def _read_until(reading, deadline):
    chunks = []
    while True:
        left = deadline - time.time()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return None
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def _result(answer, log):
    if not answer:
        raise PatchError(
            "The transaction's process ended without a word (out of memory? machine going down?). Outcome unknown: "
            "look with verify.yml; the output is in %s." % log
        )
    told = json.loads(answer.decode())
    if "error" in told:
        raise PatchError(told["error"], told.get("report"))
    return told["result"]
