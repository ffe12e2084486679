"""Being told of imports: of those that are watched, once they are done, and without a trace afterwards."""

import importlib
import sys
import threading
import zipfile
from types import SimpleNamespace

import pytest

from obskit import _guard
from obskit._pipeline import Pipeline
from obskit.instrumentation import _clients
from obskit.instrumentation._clients import Clients
from obskit.instrumentation._imports import ImportWatch
from obskit.instrumentation._outbound import TooOldError
from obskit.instrumentation._outgoing import Outgoing


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where modules stand that nobody has imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def told():
    return []


@pytest.fixture
def watch(told):
    """Watches ``watched`` and ``watched.part``; tells the name, and whether the module was there to its end."""
    watch = ImportWatch(
        ["watched", "watched.part"], lambda name: told.append((name, hasattr(sys.modules[name], "END")))
    )
    watch.start()
    yield watch
    watch.stop()


def test_a_watched_module_is_told_of_once_it_has_been_executed(folder, watch, told):
    (folder / "watched.py").write_text("import unwatched\nEND = 1")
    (folder / "unwatched.py").write_text("")
    import watched

    importlib.import_module("watched")
    assert told == [("watched", True)]
    assert "exec_module" not in vars(watched.__loader__)


def test_parts_of_a_package_are_told_of_by_their_full_name(folder, watch, told):
    (folder / "watched").mkdir()
    (folder / "watched/__init__.py").write_text("from watched import part\nEND = 1")
    (folder / "watched/part.py").write_text("END = 1")
    import watched  # noqa: F401

    assert told == [("watched.part", True), ("watched", True)]


def test_a_module_in_a_zip_file(folder, watch, told, monkeypatch):
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("watched.py", "import beside\nEND = 1")
        archive.writestr("beside.py", "")
    monkeypatch.syspath_prepend(str(folder / "all.zip"))
    import watched

    assert told == [("watched", True)]
    assert "exec_module" not in vars(watched.__loader__)


def test_after_stop_nothing_is_told(folder, watch, told):
    (folder / "watched.py").write_text("END = 1")
    before = list(sys.meta_path)
    watch.stop()
    watch.stop()
    assert sys.meta_path == before[1:]
    import watched  # noqa: F401

    assert told == []


def test_a_module_that_is_only_looked_for_is_not_told_of(folder, watch, told):
    (folder / "watched.py").write_text("END = 1")
    assert importlib.util.find_spec("watched") is not None
    assert told == []
    import watched  # noqa: F401

    assert told == [("watched", True)]


def test_a_module_that_is_not_there(folder, watch, told):
    with pytest.raises(ModuleNotFoundError, match="watched"):
        importlib.import_module("watched")
    assert told == []


def test_a_module_that_fails_fails_as_it_would_and_may_be_imported_again(folder, watch, told):
    (folder / "watched.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("watched")
    (folder / "watched.py").write_text("END = 1  # longer than before")
    importlib.import_module("watched")
    assert told == [("watched", True)]


def test_two_that_watch_the_same_are_both_told(folder, watch, told):
    (folder / "watched.py").write_text("END = 1")
    second = ImportWatch(["watched"], lambda name: told.append("second"))
    second.start()
    import watched

    second.stop()
    assert sorted(map(str, told)) == ["('watched', True)", "second"]
    assert "exec_module" not in vars(watched.__loader__)


def test_many_threads_import_it_once(folder, watch, told):
    (folder / "watched.py").write_text("import time\ntime.sleep(0.01)\nEND = 1")
    threads = [threading.Thread(target=importlib.import_module, args=("watched",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [("watched", True)]


def test_a_loader_that_cannot_be_listened_to_loads_all_the_same(folder, watch, told, contained_errors, monkeypatch):
    class Fixed:
        __slots__ = ()

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            module.END = 1

    class Finder:
        def find_spec(self, name, path, target=None):
            return importlib.machinery.ModuleSpec(name, Fixed()) if name == "watched" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path[:1], Finder(), *sys.meta_path[1:]])
    import watched

    assert watched.END == 1
    assert told == []
    assert [component for component, _ in contained_errors] == ["clients"]
    contained_errors.clear()


# -- the clients that are wanted ---------------------------------------------------------------------------------------


@pytest.fixture
def odd(folder, monkeypatch):
    """A library that obskit supports, and nobody has imported; what instruments it is the test's to say."""
    (folder / "obskit_odd.py").write_text("")
    monkeypatch.setitem(_clients._CONTRIB, "obskit_odd", "opentelemetry.instrumentation.odd")
    monkeypatch.setattr(_clients, "SUPPORTED", ("obskit_odd",))
    instrumentation = SimpleNamespace(observed=lambda: True)
    monkeypatch.setitem(sys.modules, "obskit.instrumentation.obskit_odd", instrumentation)
    return instrumentation


@pytest.fixture
def clients(odd):
    clients = Clients(Pipeline(), None, Outgoing((), ()))
    clients.install()
    yield clients
    clients.restore()


def test_a_library_comes_while_obskit_is_wired(odd, clients):
    made = []

    def instrument(outbound):
        made.append(outbound.library)
        return lambda: made.append("restored")

    odd.instrument = instrument
    assert clients.installed == []
    import obskit_odd  # noqa: F401

    clients.look()
    assert made == clients.installed == ["obskit_odd"]
    clients.restore()
    assert made == ["obskit_odd", "restored"]


FAULTS = {"too old": (TooOldError("it has no seam"), 0), "too new": (AttributeError("gone"), 1)}


@pytest.mark.parametrize(("fault", "contained"), FAULTS.values(), ids=FAULTS)
def test_a_library_that_cannot_be_observed_is_said_once(fault, contained, odd, clients, contained_errors, caplog):
    def instrument(outbound):
        raise fault

    odd.instrument = instrument
    import obskit_odd  # noqa: F401

    clients.look()
    assert clients.installed == []
    assert [component for component, _ in contained_errors] == ["obskit_odd"] * contained
    said = [record.getMessage() for record in caplog.records if "not observed" in record.getMessage()]
    assert said == ["calls by obskit_odd are not observed: it has no seam"] * (not contained)
    contained_errors.clear()
    del _guard.errors["obskit_odd"]
