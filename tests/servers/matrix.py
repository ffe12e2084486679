"""The servers that obskit is tested under, each as a command, and what a served app did before it was gone."""

import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from ports import free_port
from processes import Process, Service, environment, parsed

from receiver import until

APPS = Path(__file__).parent / "apps"
UVICORN = "-m uvicorn {app} --fd {fd}"
GUNICORN = "-m gunicorn {app} -k uvicorn_worker.UvicornWorker -b fd://{fd}"
HYPERCORN = "-m hypercorn {app} -b fd://{fd}"
GRANIAN = "-m granian --interface asgi --port {port} {app}"

#: {name: (workers, arguments of the interpreter)}. The loop is uvloop where the server chooses, except as named.
SERVERS = {
    "uvicorn": (1, UVICORN),
    "uvicorn, asyncio": (1, UVICORN + " --loop asyncio"),
    "uvicorn --workers": (4, UVICORN + " --workers 4"),
    "uvicorn --reload": (1, UVICORN + " --reload"),
    "gunicorn": (4, GUNICORN + " -w 4"),
    "gunicorn --preload": (4, GUNICORN + " -w 4 --preload"),
    "hypercorn": (1, HYPERCORN),
    "hypercorn -w": (4, HYPERCORN + " -w 4"),
    "hypercorn -w, uvloop": (4, HYPERCORN + " -w 4 -k uvloop"),
    "granian": (1, GRANIAN),
    "granian, uvloop": (1, GRANIAN + " --loop uvloop"),
    "granian --workers": (4, GRANIAN + " --workers 4"),
}
#: What each worker says, once, when it serves and obeys SIGTERM.
UP = (b"Application startup complete", b"Running on http", b"Started worker-")


class Served(Service):
    """An app of this folder under one of the servers, or under what other arguments name.

    Args:
        server: a name of :data:`SERVERS`, or arguments of the interpreter.
        workers: how many these other arguments start.
        app: module and variable.
        more: arguments beside these.
        folder: where the app's module is.
    """

    def __init__(self, server, app="served:app", *more, workers=1, folder=APPS, variables=None):
        self.workers, arguments = SERVERS.get(server, (workers, server))
        wanted, inherited = {"app": app}, ()
        with ExitStack() as until_it_runs:
            if "{port}" in arguments:  # it cannot be given a socket
                self.port = wanted["port"] = free_port()
            else:
                listener = until_it_runs.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
                self.port, wanted["fd"] = listener.getsockname()[1], listener.fileno()
                inherited = (listener.fileno(),)
            command = [each.format_map(wanted) for each in [*arguments.split(), *more]]
            path = os.pathsep.join(filter(None, (str(folder), environment().get("PYTHONPATH"))))
            variables = {"PYTHONPATH": path, **(variables or {})}
            Process.__init__(self, *command, variables=variables, inherited=inherited, cwd=folder)

    def family(self):
        """The pids of its descendants, but for multiprocessing's own, which ends after them."""
        listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        known = {self.popen.pid}
        for pid, parent, *_ in sorted(rows, key=lambda row: int(row[0])):
            if int(parent) in known:
                known.add(int(pid))
        return {
            int(pid)
            for pid, _, *args in rows
            if int(pid) in known - {self.popen.pid} and "resource_tracker" not in args[0]
        }

    def end_all(self):
        """Have it gone with all that it has started; for teardown."""
        family = self.family() if self.popen.poll() is None else set()
        self.end()
        for pid in alive(family):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def all_up(self):
        """Wait for every worker to say that it serves: SIGTERM to one that is about to start is the server's affair."""
        until(lambda: sum((self.output + self.errors.encode()).count(each) for each in UP) >= self.workers, 60)
        return self.ready()


class Load:
    """Clients that send without a pause, on connections that they keep, until the service is gone."""

    def __init__(self, service, clients=12):
        self.answered = []
        self.pids = Counter()
        self._port = service.port
        self._threads = [threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self, client):
        for attempt in range(10_000):
            connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                connection.connect()
            except OSError:
                return
            with suppress(OSError, HTTPException):
                for number in range(50):  # then another connection, and perhaps another worker
                    request_id = f"{client}-{attempt}-{number}"
                    connection.request("GET", f"/work/{number}", headers={"x-request-id": request_id})
                    response = connection.getresponse()
                    if response.status == 200 and response.read() == str(number).encode():
                        self.answered.append(request_id)
                        self.pids[response.headers["x-pid"]] += 1
            connection.close()

    def ended(self):
        """The ids of the requests whose whole response has come, once all clients have given up."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        assert len(self.answered) == len(set(self.answered))
        return set(self.answered)


def alive(pids):
    """Those of `pids` that have not ended; one that nobody has waited for has."""
    return {pid for pid in pids if _state(pid) not in ("", "Z")}


def _state(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def json_lines(output):
    """The lines of `output` that are JSON objects; what a server's parent prints is its own."""
    return parsed(b"".join(line for line in output.splitlines(keepends=True) if line.startswith(b"{")))
