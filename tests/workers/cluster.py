"""Servers with several workers, as the tests see them."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from ports import free_port
from processes import Service

from receiver import until

APPS = Path(__file__).parent / "apps"
#: Where the apps of these tests are found.
PATH = {"PYTHONPATH": os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])}
UVICORN_WORKER = ("-k", "uvicorn_worker.UvicornWorker")
SETUPS = {
    "uvicorn": ("-m", "uvicorn", "counted:app", "--fd", "{fd}", "--workers", "{workers}"),
    "gunicorn": ("-m", "gunicorn", *UVICORN_WORKER, "-b", "fd://{fd}", "-w", "{workers}", "counted:app"),
    "gunicorn preload": (
        *("-m", "gunicorn", "--preload", *UVICORN_WORKER),
        *("-b", "fd://{fd}", "-w", "{workers}", "counted:app"),
    ),
    "hypercorn": ("-m", "hypercorn", "-b", "fd://{fd}", "-w", "{workers}", "counted:app"),
    "granian": (
        *("-m", "granian", "--interface", "asgi", "--port", "{port}", "--workers", "{workers}"),
        *("--respawn-failed-workers", "--respawn-interval", "0.1", "counted:app"),
    ),
}


class Cluster(Service):
    """A server with workers."""

    def __init__(self, setup, *arguments, workers=3, variables=None):
        self.setup = setup
        self.workers = workers
        port = free_port()
        command = [part.replace("{workers}", str(workers)).replace("{port}", str(port)) for part in SETUPS[setup]]
        super().__init__(None, *command, *arguments, variables={**PATH, **(variables or {})})
        if setup == "granian":
            self.port = port

    def work(self, number=0):
        """One request that is counted; the pid of the worker that served it."""
        status, _, body = self.get(f"/work/{number}")
        assert status == 200
        return json.loads(body)["pid"]

    def warm(self):
        """Requests until each worker has served one: the pids, and how many requests that took."""
        self.ready()
        pids, count = set(), 0

        def all_served():
            nonlocal count
            count += 1
            pids.add(self.work())
            return len(pids) == self.workers

        until(all_served, 40, every=0.005)
        return pids, count

    def value(self, name, **labels):
        """The sum of the samples of that name and those labels, of a scrape."""
        return value(self.scrape(), name, **labels)

    def folder(self):
        """The folder of its group: where one of its workers has files."""
        [found] = {path.parent for pid in children(self.popen.pid) for path in bases().glob(f"*/{pid}-*.cells")}
        return found

    def end(self):
        """Have all of it gone: a server that is killed leaves its workers behind."""
        if self.popen.poll() is None:
            workers = children(self.popen.pid)
            self.popen.kill()
            for pid in workers:
                with suppress(ProcessLookupError):
                    self.kill(pid)
        self.wait()

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)


def value(samples, name, **labels):
    return sum(sample.value for sample in samples.get(name, ()) if labels.items() <= sample.labels.items())


def bases():
    return Path("/dev/shm") / f"obskit-{os.getuid()}"  # noqa: S108


def children(pid):
    """Pids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid):
    """What a process has open; it may open and close files meanwhile."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield str(entry.readlink())
