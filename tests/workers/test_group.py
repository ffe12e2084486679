"""Which processes are workers of one service: found by who started them, never by a parent pid alone."""

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from obskit.export import _group
from obskit.export._group import Group, find_group, is_alive, pid_namespace


class RealArbiter(Arbiter):
    """An arbiter as it stands on the stack, nothing started."""

    def __init__(self):
        pass

    def load(self):
        return find_group(None, "orders")

    def spawn(self, ppid):
        return RealWorker(ppid).load()


class RealWorker(Worker):
    def __init__(self, ppid):
        self.ppid = ppid

    def load(self):
        return find_group(None, "orders")


def test_a_process_of_its_own_has_no_group():
    assert find_group(None, "orders") is None


def test_gunicorns_arbiter_is_about_to_have_workers():
    group = RealArbiter().load()
    assert (group.parent, group.forming) == (os.getpid(), True)


def test_gunicorns_workers_are_known_by_their_arbiter():
    group = RealArbiter().spawn(os.getppid())
    assert (group.parent, group.forming) == (os.getppid(), False)
    assert RealArbiter().spawn(os.getpid()).name == RealArbiter().load().name


@pytest.mark.parametrize("other", [("shop", "orders"), ("eu", "stock")])
def test_a_name_and_the_services_name_make_a_group(other):
    assert find_group("eu", "orders") == find_group("eu", "orders")
    assert find_group("eu", "orders") != find_group(*other)
    assert find_group("eu", "orders").parent is None


STARTED = """
import json, multiprocessing, sys
from obskit.export._group import find_group

def tell(pipe):
    group = find_group(None, "orders")
    pipe.send([group.name, group.parent, group.forming])

def two(method):
    context = multiprocessing.get_context(method)
    for _ in range(2):
        here, there = context.Pipe()
        child = context.Process(target=tell, args=(there,))
        child.start()
        yield here.recv()
        child.join()

if __name__ == "__main__":
    import os
    print(json.dumps([os.getpid(), *two("spawn"), *two("fork")]))
"""


def test_children_of_one_multiprocessing_parent_are_one_group_however_started(tmp_path):
    script = tmp_path / "started.py"
    script.write_text(textwrap.dedent(STARTED))

    def run():
        return json.loads(subprocess.run([sys.executable, script], capture_output=True, check=True).stdout)

    (first, *of_first), (second, *of_second) = run(), run()  # by one shell, so to speak
    assert {tuple(group[1:]) for group in of_first} == {(first, False)}
    assert {tuple(group[1:]) for group in of_second} == {(second, False)}
    assert len({group[0] for group in of_first}) == len({group[0] for group in of_second}) == 1
    assert of_first[0][0] != of_second[0][0]


def test_one_pid_used_again_is_another_parent(monkeypatch):
    class Parent:
        pid = 7

    monkeypatch.setattr(multiprocessing, "parent_process", Parent)
    one = find_group(None, "orders")
    monkeypatch.setattr(multiprocessing.current_process(), "authkey", b"another")
    assert (one.parent, find_group(None, "orders").parent) == (7, 7)
    assert one.name != find_group(None, "orders").name


def test_whether_a_process_lives():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert (is_alive(os.getpid()), is_alive(1), is_alive(ended.pid)) == (True, True, False)


def test_a_name_is_fit_for_a_file_and_tells_the_namespace():
    name = find_group("any/thing \n", "ord\0ers").name
    assert name.split("-")[:3] == ["named", pid_namespace(), "0"]
    assert name.replace("-", "").isalnum()


def test_where_the_system_does_not_tell_names_are_the_same_in_all_workers(monkeypatch, tmp_path):
    monkeypatch.setattr(_group, "Path", lambda path: tmp_path / path.lstrip("/"))
    assert pid_namespace() == "host"
    assert _group._start_of(os.getpid()) == ""
    assert isinstance(find_group("eu", "orders"), Group)
