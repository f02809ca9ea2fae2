"""async_status: how a job in the background stands."""

from lab.windows.arguments import ModuleFailed
from lab.windows.host import WindowsHost
from lab.windows.tasks import Result, Task, simulates


@simulates("async_status", "jid mode", private="_async_dir")
def async_status(host: WindowsHost, task: Task) -> Result:
    job_id = str(task["jid"])
    job = host.jobs.get(job_id)
    if job is None:
        where = task.get("_async_dir")
        raise ModuleFailed(f"could not find job at '{where}'", ansible_job_id=job_id, started=1, finished=1)
    if task["mode"] == "cleanup":
        del host.jobs[job_id]
        return {"ansible_job_id": job_id, "erased": job["results_file"]}
    return dict(job)
