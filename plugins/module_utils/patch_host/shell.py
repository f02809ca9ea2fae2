"""Run programs in a fixed environment; the one place that starts processes, so that tests can put a fake in."""

import os
import subprocess
import typing

ENVIRONMENT = {
    "LC_ALL": "C",
    "LANGUAGE": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "APT_LISTCHANGES_FRONTEND": "none",
    # needrestart lists what should be restarted and never asks or restarts by itself.
    "NEEDRESTART_MODE": "l",
    "NEEDRESTART_SUSPEND": "1",
    "UCF_FORCE_CONFFOLD": "1",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

Completed = typing.NamedTuple("Completed", [("rc", int), ("out", str), ("err", str)])


class Shell:
    """Runs argument lists, never a command line. Nothing that it starts can ask a question (stdin is empty)."""

    def run(self, argv, timeout=None, environment=None, stdin="", cwd="/"):
        """Return (rc, out, err); rc 127 when there is no such program, 124 when a *reading* program took too long.

        A program that changes packages must be run without `timeout`: it is never killed.
        """
        try:
            done = subprocess.run(
                argv,
                input=stdin.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(_inherited(), **dict(ENVIRONMENT, **(environment or {}))),
                timeout=timeout,
                cwd=cwd,
                check=False,
            )
        except FileNotFoundError:
            return Completed(127, "", "%s: not found" % argv[0])
        except subprocess.TimeoutExpired:
            return Completed(124, "", "%s: no answer within %s s" % (argv[0], timeout))
        return Completed(done.returncode, _text(done.stdout), _text(done.stderr))

    def has(self, program):
        """Whether the program is there."""
        return any(os.access(os.path.join(folder, program), os.X_OK) for folder in ENVIRONMENT["PATH"].split(":"))


def _inherited():
    """Keep what a site sets for its package managers (proxies), drop the rest of the login's environment."""
    wanted = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HOME", "SYSTEMD_OFFLINE")
    return {key: value for key, value in os.environ.items() if key in wanted or key.lower() in wanted}


def _text(data):
    return data.decode("utf-8", "replace")
