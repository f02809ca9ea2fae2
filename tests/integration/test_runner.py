"""The runner with real Ansible, on hosts that are this machine."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.jobdir import JobDir, processes_of
from orchestrator.adapters.ansible.runner import SupervisedRunner
from orchestrator.domain.inventory import Environment, Secret
from orchestrator.domain.job import HostJob, HostOutcome, Job, JobResult, JobStatus
from orchestrator.errors import InvalidInput, Refused, Unavailable
from tests.acceptance.machines import held_still
from tests.processes import state_of
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


class Site:
    """A tiny site: a few hosts that are this machine, and playbooks that a test writes."""

    def __init__(self, path: Path) -> None:
        self.path, self.content, self.jobs = path, path / "content", path / "state" / "jobs"
        for folder in ("playbooks", "inventories/staging/group_vars", "inventories/production"):
            (self.content / folder).mkdir(parents=True)
        (self.content / "ansible.cfg").write_text("[defaults]\ngather_facts = False\n")
        self.inventory("web[1:9]", "lost ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=9")

    def inventory(self, *hosts: str) -> None:
        common = "[all:vars]\nansible_connection=local\nansible_python_interpreter=/usr/bin/python3\n"
        (self.content / "inventories/staging/hosts.ini").write_text("\n".join(hosts) + "\n" + common)

    def playbook(self, tasks: str) -> None:
        head = "- hosts: patch_batch\n  gather_facts: false\n  tasks:\n"
        (self.content / "playbooks/act.yml").write_text(head + textwrap.indent(textwrap.dedent(tasks), "    "))

    def runner(self, *, vault_password: str = "", secrets: tuple[str, ...] = (), forks: int = 5) -> SupervisedRunner:
        return SupervisedRunner(
            jobs=self.jobs,
            content_root=lambda _: self.content,
            forks=forks,
            vault_password=Secret(vault_password),
            secrets=tuple(map(Secret, secrets)),
        )

    def job(self, *hosts: str, name: str = "job-1", timeout: int = 60, **patch_job: str) -> Job:
        return Job(
            id=name,
            change="CHG-0001",
            playbook="act.yml",
            environment=Environment.STAGING,
            content="0" * 64,
            hosts=tuple(HostJob(host=host, patch_job=dict(patch_job)) for host in hosts),
            timeout=timeout,
        )

    def folder(self, name: str = "job-1") -> JobDir:
        return JobDir(self.jobs / name)

    def supervisor(self, name: str = "job-1") -> int:
        found = until(lambda: self.folder(name).read(self.folder(name).started).get("pid"))
        assert isinstance(found, int)
        return found

    def scratch(self) -> Path:
        return Path(str(self.folder().read(self.folder().started)["scratch"]))

    @property
    def gate(self) -> str:
        """A line of shell that ends when the gate is opened: what a test waits for has come to pass by then."""
        return f"while [ ! -e {self.path}/open ]; do sleep 0.1; done"

    def open_gate(self) -> None:
        (self.path / "open").touch()

    def log(self) -> list[str]:
        file = self.path / "log"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    for job in found.jobs.glob("*"):
        for process in processes_of(JobDir(job)):
            os.kill(process, signal.SIGKILL)


def test_each_host_gets_its_outcome_and_a_rescued_failure_is_none(site: Site) -> None:
    site.playbook("""
        - name: Report
          ansible.builtin.set_fact:
            seen: "{{ patch_job.word }} on {{ inventory_hostname }}"
        - block:
            - ansible.builtin.command: "false"
          rescue:
            - ansible.builtin.command: "true"
        - ansible.builtin.command: "false"
          ignore_errors: true
        - name: Tell
          ansible.builtin.command: "{{ 'false' if inventory_hostname == 'web2' else 'true' }}"
        """)
    result = site.runner().run(site.job("web1", "web2", "lost", word="hello"))
    assert result.status is JobStatus.FINISHED
    assert {name: host.outcome for name, host in result.by_host.items()} == {
        "web1": HostOutcome.OK,
        "web2": HostOutcome.FAILED,
        "lost": HostOutcome.UNREACHABLE,
    }
    assert (result.by_host["web2"].task, result.by_host["web1"].changed) == ("Tell", 4)
    assert "refused" in result.by_host["lost"].message.lower()


def test_reports_come_back_in_order(site: Site) -> None:
    module = site.content / "library" / "tell.py"
    module.parent.mkdir()
    module.write_text(
        "import json, sys\n"
        "from ansible.module_utils.basic import AnsibleModule\n"
        "m = AnsibleModule({'kind': {}, 'fail': {'type': 'bool'}})\n"
        "r = {'kind': m.params['kind'], 'size': 1.0}\n"
        "m.fail_json('no', report=r) if m.params['fail'] else m.exit_json(changed=True, report=r)\n"
    )
    (site.content / "ansible.cfg").write_text("[defaults]\nlibrary = library\n")
    site.playbook("""
        - {name: One, tell: {kind: scan}}
        - {name: Two, tell: {kind: "{{ item }}"}, loop: [a, b]}
        - {name: Three, tell: {kind: refused, fail: true}}
        """)
    host = site.runner().run(site.job("web1")).by_host["web1"]
    assert [report["kind"] for report in host.reports] == ["scan", "a", "b", "refused"]
    assert host.reports[0] == {"kind": "scan", "size": 1}
    assert (host.outcome, host.task, host.message) == (HostOutcome.FAILED, "Three", "no")


def test_what_a_host_says_is_never_a_template_and_workers_do_not_look_for_garbage_in_what_was_loaded(
    site: Site,
) -> None:
    plugin = site.content / "playbooks/filter_plugins/frozen.py"
    plugin.parent.mkdir()
    plugin.write_text(
        "import gc\n"
        "class FilterModule:\n"
        "    def filters(self):\n"
        "        return {'objects_frozen': lambda _: gc.get_freeze_count()}\n"
    )
    site.playbook("""
        - ansible.builtin.shell: "cat > {{ patch_job.file }}; echo {{ 0 | objects_frozen }} > {{ patch_job.count }}"
          args: {stdin: "{{ patch_job.word }}"}
        """)
    word = "{{ lookup('pipe', 'id') }}"
    site.runner().run(site.job("web1", word=word, file=str(site.path / "out"), count=str(site.path / "count")))
    assert (site.path / "out").read_text().strip() == word
    assert int((site.path / "count").read_text()) > 50_000


def test_batch_and_controller_are_within_reach_and_no_other_host(site: Site) -> None:
    (site.content / "playbooks/act.yml").write_text(
        "".join(
            f"- hosts: {hosts}\n  gather_facts: false\n  tasks:\n"
            f"    - ansible.builtin.shell: echo {{{{ inventory_hostname }}}} >> {site.path}/log\n"
            for hosts in ("all", "localhost")
        )
    )
    site.runner().run(site.job("web1"))
    assert site.log() == ["web1", "localhost"]


def test_a_second_run_returns_the_first_result_also_with_a_newer_token(site: Site) -> None:
    site.playbook(f"- ansible.builtin.shell: echo ran >> {site.path}/log")
    first = site.runner().run(site.job("web1"))
    assert site.runner().run(site.job("web1")) == first == site.runner().result("job-1")
    newer = replace(site.job("web1"), hosts=(HostJob(host="web1", patch_job={"token": {"counter": 2}}),))
    assert site.runner().run(newer) == first
    assert site.log() == ["ran"]


def test_an_id_stands_for_one_work_only(site: Site) -> None:
    site.playbook(f"- ansible.builtin.shell: {site.gate}")
    caller = threading.Thread(target=site.runner().run, args=(site.job("web1"),))
    caller.start()
    site.supervisor()
    with pytest.raises(Refused, match="Use a new id"):
        site.runner().run(replace(site.job("web1"), change="CHG-9999"))
    site.open_gate()
    caller.join()


def test_an_ansible_that_was_killed_is_told(site: Site) -> None:
    site.playbook("- ansible.builtin.command: sleep 2")
    results: list[JobResult] = []
    caller = threading.Thread(target=lambda: results.append(site.runner().run(site.job("web1"))))
    caller.start()
    until(lambda: site.folder().progress.exists() and "web1" in site.folder().progress.read_text())
    os.kill(min(processes_of(site.folder())), signal.SIGKILL)
    caller.join()
    assert (results[0].status, results[0].rc) == (JobStatus.DIED, None)
    assert "ansible-playbook was killed" in results[0].message
    assert results[0].by_host["web1"].outcome is HostOutcome.NOTHING


def test_two_callers_at_once_run_it_once(site: Site) -> None:
    site.playbook(f"- ansible.builtin.shell: echo ran >> {site.path}/log; sleep 1")
    results: list[JobResult] = []
    callers = [threading.Thread(target=lambda: results.append(site.runner().run(site.job("web1")))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 4
    assert all(result == results[0] for result in results)
    assert site.log() == ["ran"]


def test_nothing_is_known_of_a_job_that_never_was(site: Site) -> None:
    assert site.runner().result("job-1") is None
    assert not site.runner().is_running("job-1")
    with pytest.raises(InvalidInput, match="cannot be the id"):
        site.runner().result("../job-1")


def test_a_job_that_lacks_its_playbook_is_not_begun(site: Site) -> None:
    with pytest.raises(Unavailable, match=r"act\.yml, which is not among the playbooks"):
        site.runner().run(site.job("web1"))
    site.playbook("- ansible.builtin.command: 'true'")
    assert site.runner().run(site.job("web1")).status is JobStatus.FINISHED


def test_a_playbook_that_cannot_be_read_says_why(site: Site) -> None:
    site.playbook("- ansible.builtin.no_such_module: {}")
    result = site.runner().run(site.job("web1"))
    assert (result.status, result.by_host["web1"].outcome) == (JobStatus.FINISHED, HostOutcome.NOTHING)
    assert result.rc != 0
    assert "no_such_module" in result.message


def test_the_waiting_caller_is_called_each_second_and_may_leave(site: Site) -> None:
    site.playbook(f"- ansible.builtin.shell: sleep 2.5; echo ran >> {site.path}/log")
    calls: list[float] = []

    def leave() -> None:
        calls.append(time.monotonic())
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.runner().run(site.job("web1"), on_wait=leave)
    assert 0.9 < calls[1] - calls[0] < 3
    assert site.runner().is_running("job-1")
    result = site.runner().result("job-1")
    assert result is not None
    assert result.status is JobStatus.FINISHED
    assert site.log() == ["ran"]


def test_the_job_outlives_a_killed_caller(site: Site) -> None:
    site.playbook(f"- ansible.builtin.shell: sleep 2; echo ran >> {site.path}/log")
    code = f"""
        from pathlib import Path
        from tests.integration.test_runner import Site
        site = Site.__new__(Site)
        site.path, site.content, site.jobs = (Path(p) for p in {[str(site.path), str(site.content), str(site.jobs)]})
        site.runner().run(site.job("web1"))
        """
    caller = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, start_new_session=True)
    site.supervisor()
    os.killpg(caller.pid, signal.SIGKILL)
    caller.wait()
    result = site.runner().run(site.job("web1"))
    assert result.status is JobStatus.FINISHED
    assert site.log() == ["ran"]


def test_a_dead_supervisor_is_told_and_its_leftovers_are_waited_for(site: Site) -> None:
    site.playbook(f"""
        - {{name: First, ansible.builtin.shell: "echo one >> {site.path}/log"}}
        - {{name: Second, ansible.builtin.shell: "sleep 3; echo two >> {site.path}/log"}}
        - {{name: Third, ansible.builtin.shell: "echo three >> {site.path}/log"}}
        """)
    caller = threading.Thread(target=lambda: results.append(site.runner().run(site.job("web1"))))
    results: list[JobResult] = []
    caller.start()
    supervisor = site.supervisor()
    until(lambda: site.log() == ["one"])
    until(lambda: "Second" in site.folder().progress.read_text())
    os.kill(supervisor, signal.SIGKILL)
    caller.join()
    assert site.log() == ["one", "two"], "the hosts' work is waited for, and nothing further begins"
    (result,) = results
    assert (result.status, result.rc) == (JobStatus.DIED, None)
    assert result.by_host["web1"].outcome is HostOutcome.NOTHING
    assert result.by_host["web1"].changed == 2, "the result that reached nobody was found in the scratch folder"
    assert site.runner().run(site.job("web1")) == result
    assert site.log() == ["one", "two"]
    assert not site.scratch().exists()


def test_stop_ends_between_tasks(site: Site) -> None:
    site.playbook(f"""
        - {{name: First, ansible.builtin.shell: "{site.gate}; echo one >> {site.path}/log"}}
        - {{name: Second, ansible.builtin.shell: "echo two >> {site.path}/log"}}
        """)
    results: list[JobResult] = []
    caller = threading.Thread(target=lambda: results.append(site.runner().run(site.job("web1", "web2"))))
    caller.start()
    until(lambda: site.folder().progress.exists() and "web2" in site.folder().progress.read_text())
    site.runner().stop("job-1")
    site.open_gate()
    caller.join()
    (result,) = results
    assert result.status is JobStatus.STOPPED
    assert {host.outcome for host in result.hosts} == {HostOutcome.NOTHING}
    assert {host.changed for host in result.hosts} == {1}, "what the hosts were doing is recorded"
    assert site.log() == ["one", "one"]


def test_stop_is_heard_where_the_supervisor_is_slow(site: Site) -> None:
    site.playbook(f"""
        - {{name: First, ansible.builtin.shell: "{site.gate}; echo one >> {site.path}/log"}}
        - {{name: Second, ansible.builtin.shell: "echo two >> {site.path}/log"}}
        """)
    results: list[JobResult] = []
    caller = threading.Thread(target=lambda: results.append(site.runner().run(site.job("web1"))))
    caller.start()
    until(lambda: site.folder().progress.exists() and "web1" in site.folder().progress.read_text())
    with held_still(site.supervisor()):
        site.runner().stop("job-1")
        site.open_gate()
        until(lambda: site.log() == ["one"])
        time.sleep(3)
    caller.join()
    assert results[0].status is JobStatus.STOPPED
    assert results[0].by_host["web1"].changed == 1
    assert site.log() == ["one"]


def test_stop_keeps_hosts_that_wait_for_their_turn_from_beginning(site: Site) -> None:
    site.playbook(f'- ansible.builtin.shell: "{site.gate}; echo {{{{ inventory_hostname }}}} >> {site.path}/log"')
    results: list[JobResult] = []
    runner = site.runner(forks=2)
    caller = threading.Thread(target=lambda: results.append(runner.run(site.job(*(f"web{n}" for n in range(1, 6))))))
    caller.start()
    until(lambda: site.folder().progress.exists() and "web2" in site.folder().progress.read_text())
    os.kill(site.supervisor(), signal.SIGTERM)
    until(lambda: "T" in map(state_of, processes_of(site.folder())))
    site.open_gate()
    caller.join()
    assert results[0].status is JobStatus.STOPPED
    assert sorted(site.log()) == ["web1", "web2"]
    assert "web1, web2" in results[0].message


def test_a_job_stopped_before_it_began_never_begins(site: Site) -> None:
    site.playbook(f"- ansible.builtin.shell: echo ran >> {site.path}/log")
    site.runner().stop("job-1")
    assert site.runner().result("job-1") is None
    assert site.runner().run(site.job("web1")).status is JobStatus.NOT_STARTED
    assert site.log() == []


def test_the_time_limit_ends_the_run(site: Site) -> None:
    site.playbook("- ansible.builtin.command: sleep 60")
    begun = time.monotonic()
    result = site.runner().run(site.job("web1", timeout=8))
    assert time.monotonic() - begun < 40
    assert (result.status, result.by_host["web1"].outcome) == (JobStatus.TIMED_OUT, HostOutcome.NOTHING)
    assert "web1" in result.message


def test_no_file_of_a_job_is_open_to_others(site: Site) -> None:
    site.playbook("- ansible.builtin.command: 'true'")
    result = site.runner().run(site.job("web1"))
    files = [site.folder().path, *site.folder().path.rglob("*")]
    assert [str(f) for f in files if f.stat().st_mode & 0o077] == []
    assert {f.name for f in files[1:]} == {
        "job.json", "lock", "started", "inventory.json", "events.jsonl.gz",
        "reports.jsonl", "progress.jsonl", "tasks.json", "stdout.log", "result.json",
    }  # fmt: skip
    kinds = {a.kind: site.jobs.parent / a.path for a in result.artifacts}
    assert set(kinds) == {"events", "reports", "tasks", "output"}
    assert all(file.is_file() for file in kinds.values())
    (row,) = json.loads(kinds["tasks"].read_text())
    assert (row["host"], row["outcome"]) == ("web1", "changed")
    (task,) = result.tasks
    assert (task.host, task.outcome, task.action) == ("web1", "changed", "ansible.builtin.command")


def test_planted_secrets_are_nowhere_in_the_record(site: Site) -> None:
    vault, become, inline, extra = "vault-Pa55 word", 'become"\\Pa55', "inline-s3cret-value", "Extra/Tok en'55"
    hidden, key = "h1dden-by-no-log", "-----BEGIN KEY-----\nMIIEabcdef0123456789\nzzzzYYYYxxxx\n-----END KEY-----"
    variables = site.content / "inventories/staging/group_vars"
    (variables / "all.yml").write_text(
        f"ansible_become_password: {json.dumps(become)}\nquiet: {hidden}\n"
        + _vaulted(vault, inline, "--name", "inline")
    )
    (variables / "patch_batch.yml").write_text(
        _vaulted(vault, json.dumps({"database": {"password": "Fi1e-pass"}, "key": key}))
    )
    site.playbook(f"""
        - {{name: Say, ansible.builtin.debug: {{msg: "{{{{ inline }}}} {{{{ database }}}}"}}}}
        - {{name: Become, ansible.builtin.debug: {{var: ansible_become_password}}}}
        - {{name: Key, ansible.builtin.command: {{argv: [cat], stdin: "{{{{ key }}}}"}}}}
        - {{name: Encode, ansible.builtin.command: {{argv: [echo, "{{{{ ('user:' ~ inline) | b64encode }}}}"]}}}}
        - {{name: Extra, ansible.builtin.command: {{argv: [echo, {json.dumps(extra)}]}}}}
        - {{name: Hidden, ansible.builtin.command: "echo {{{{ quiet }}}}", no_log: true}}
        - {{name: "Task {{{{ inline }}}}", ansible.builtin.command: echo}}
        - {{name: Fail, ansible.builtin.fail: {{msg: "{{{{ inline }}}} {{{{ key }}}} {{{{ database.password }}}}"}}}}
        """)
    result = site.runner(vault_password=vault, secrets=(extra,)).run(site.job("web1"))
    assert result.by_host["web1"].task == "Fail"
    assert "***" in result.by_host["web1"].message
    record = b"".join(
        gzip.decompress(f.read_bytes()) if f.suffix == ".gz" else f.read_bytes() for f in site.folder().path.rglob("*")
    )
    assert b"Encode" in record
    planted = [vault, become, inline, extra, "Fi1e-pass", hidden, "MIIEabcdef0123456789", "zzzzYYYYxxxx"]
    spelled = [form for text in planted for form in (text, json.dumps(text)[1:-1])]
    spelled += [base64.b64encode(f"user:{inline}".encode()).decode()[8:-4]]
    assert [text for text in spelled if text.encode() in record] == []
    assert not site.scratch().exists()


def test_a_value_vaulted_with_another_password_is_refused_by_place(site: Site) -> None:
    site.playbook("- ansible.builtin.command: 'true'")
    file = site.content / "inventories/staging/group_vars/all.yml"
    file.write_text("a: 1\n" + _vaulted("another", "value", "--name", "b"))
    with pytest.raises(InvalidInput, match=r"group_vars/all.yml:2:1: it is vaulted with another password"):
        site.runner(vault_password="mine").run(site.job("web1"))


def _vaulted(password: str, text: str, *options: str) -> str:
    """Return the text as Ansible's own command encrypts it."""
    command = [str(PROGRAMS / "ansible-vault"), "encrypt_string", "--vault-password-file", "/dev/stdin", *options, text]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    return done.stdout if options else textwrap.dedent(done.stdout.partition("\n")[2])


@pytest.mark.parametrize("written", ["yaml", "ini", "vaulted"])
def test_passwords_that_the_inventory_looks_up_reach_ansible_and_no_record(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("WINDOWS_PASSWORD", "hunter2-from-the-variable")
    monkeypatch.setenv("UNTOLD", "nobody-said-so")
    file = tmp_path / "password"
    file.write_text("hunter2-from-the-file\n")
    kept = {
        "ansible_password": "{{ lookup('ansible.builtin.env', 'WINDOWS_PASSWORD') }}",
        "other_password": f"{{{{ lookup('ansible.builtin.file', '{file}') }}}}",
    }
    group = site.content / "inventories/staging/group_vars/all.yml"
    if written == "ini":
        lines = "\n".join(f'{name}="{value}"' for name, value in kept.items())
        site.inventory("web1", "[all:vars]", lines)
    else:
        group.write_text(json.dumps(kept))
    if written == "vaulted":
        secret = tmp_path / "vault"
        secret.write_text("pw")
        argv = [str(PROGRAMS / "ansible-vault"), "encrypt", "--vault-password-file", str(secret), str(group)]
        subprocess.run(argv, check=True, capture_output=True)
    site.playbook("""
        - ansible.builtin.debug:
            msg: "{{ ansible_password }} and {{ other_password }} and {{ lookup('env', 'UNTOLD') }}."
        - ansible.builtin.assert:
            that:
              - ansible_password == 'hunter2' + '-from-the-variable'
              - other_password == 'hunter2' + '-from-the-file'
    """)
    result = site.runner(vault_password="pw").run(site.job("web1"))
    assert result.by_host["web1"].outcome is HostOutcome.OK
    told = b"".join(
        gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
        for found in site.jobs.rglob("*")
        if found.is_file()
    )
    assert b"*** and *** and ." in told
    assert b"hunter2-from" not in told
