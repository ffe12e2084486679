from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import tty
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_process import run_script

from obskit.export import writer as writer_module
from obskit.export._turn import Turn
from obskit.export.writer import LineWriter

AMPLE = 20.0


def line(number, size=60, thread=0):
    head = b"%d %d " % (thread, number)
    return head + b"x" * (size - len(head) - 1) + b"\n"


def dropped(writer):
    return {reason: count for reason, count in writer.tally.dropped.items() if count}


def assert_adds_up(writer, *, queued=0):
    tally = writer.tally
    assert tally.produced == tally.exported + sum(tally.dropped.values()) + queued


def wait_until(condition):
    deadline = time.monotonic() + AMPLE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Reader(threading.Thread):
    """Reads a descriptor to its end, at its own pace."""

    def __init__(self, fd, size=65536, pause=0.0):
        super().__init__(daemon=True)
        self.fd, self.size, self.pause, self.read = fd, size, pause, bytearray()
        self.start()

    def run(self):
        with contextlib.suppress(OSError):  # a pty ends so
            while data := os.read(self.fd, self.size):
                self.read += data
                if self.pause:
                    time.sleep(self.pause)

    def lines(self):
        self.join(AMPLE)
        assert not self.is_alive()
        return bytes(self.read).splitlines(keepends=True)


class Pipe:
    def __init__(self):
        self.r, self.w = os.pipe()
        self.open = {self.r, self.w}

    def close(self, *fds):
        for fd in fds or tuple(self.open):
            self.open.discard(fd)
            os.close(fd)

    def fill(self):
        os.set_blocking(self.w, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.w, b"\n" * 4096)
        os.set_blocking(self.w, True)

    def waiting(self):
        return bool(select.select([self.r], [], [], 0)[0])


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def make_writer():
    made = []

    def make(fd, **options):
        made.append(LineWriter(fd, **options))
        return made[-1]

    yield make
    for writer in made:
        writer.close(0)
        if writer._thread is not None:
            writer._thread.join(AMPLE)


# -- what goes in comes out --------------------------------------------------------------------------------------


def test_lines_come_out_of_a_pipe_in_order_and_are_counted(pipe, make_writer):
    writer, reader = make_writer(pipe.w), Reader(pipe.r)
    lines = [line(number) for number in range(3000)]
    for one in lines:
        writer.write(one)
    assert writer.flush(AMPLE)
    assert (writer.tally.produced, writer.tally.exported, writer.tally.queued) == (3000, 3000, 0)
    assert writer.bytes_written == sum(map(len, lines))
    assert writer.close(AMPLE)
    pipe.close(pipe.w)
    assert reader.lines() == lines


def test_lines_go_to_a_file(tmp_path, make_writer):
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as file:
        writer = make_writer(file.fileno(), max_line=2**20)
        lines = [line(number, size) for number, size in enumerate([60, 5000, 600_000, 70, 300_000] * 3)]
        for one in lines:
            writer.write(one)
        assert writer.close(AMPLE)
    assert path.read_bytes() == b"".join(lines)
    assert_adds_up(writer)


def test_lines_go_to_a_terminal(make_writer):
    main, child = pty.openpty()
    tty.setraw(child)
    writer, reader = make_writer(child), Reader(main)
    lines = [line(number, 200) for number in range(300)]
    for one in lines:
        writer.write(one)
    assert writer.close(AMPLE)
    wait_until(lambda: len(reader.read) == 300 * 200)
    os.close(child)
    assert reader.lines() == lines
    os.close(main)


def test_lines_go_to_a_socket_in_pieces_of_whole_lines_that_fit_a_pipe(make_writer):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps each write() apart
    with ours, theirs:
        writer = make_writer(ours.fileno())
        lines = [line(number, 30 + 37 * number % 900) for number in range(400)]
        pieces = []
        reading = threading.Thread(target=lambda: pieces.extend(iter(lambda: theirs.recv(2**20), b"")), daemon=True)
        reading.start()
        for one in [*lines, line(400, 10_000), line(401)]:
            writer.write(one)
        assert writer.close(AMPLE)
        ours.shutdown(socket.SHUT_RDWR)
        reading.join(AMPLE)
    assert b"".join(pieces) == b"".join([*lines, line(400, 10_000), line(401)])
    assert max(map(len, pieces)) <= select.PIPE_BUF
    small = [piece for piece in pieces if not piece.endswith(b"x") and not piece.startswith((b"x", b"0 400 "))]
    assert all(piece.endswith(b"\n") for piece in small)
    assert len(small) < 100  # several lines a piece


@given(st.lists(st.binary(max_size=300), max_size=30))
@settings(max_examples=50, deadline=None)
def test_each_write_is_exactly_one_line(given_lines):
    pipe = Pipe()
    reader, writer = Reader(pipe.r), LineWriter(pipe.w, interval=0)
    for one in given_lines:
        writer.write(one)
    assert writer.close(AMPLE)
    pipe.close(pipe.w)
    reader.join(AMPLE)
    expected = [one.removesuffix(b"\n").replace(b"\n", b" ") for one in given_lines]
    assert bytes(reader.read).split(b"\n") == [*expected, b""]
    pipe.close()
    assert_adds_up(writer)


@given(
    st.lists(st.integers(10, 20_000), min_size=1, max_size=25), st.sampled_from([7, 512, 4096, 65536]), st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_lines_of_any_size_come_out_whole_whatever_the_reader_does(sizes, read_size, nap):
    pipe = Pipe()
    fcntl.fcntl(pipe.w, fcntl.F_SETPIPE_SZ, 4096)
    reader, writer = Reader(pipe.r, read_size, 0.0005 if nap and read_size > 7 else 0.0), LineWriter(pipe.w, interval=0)
    lines = [line(number, size) for number, size in enumerate(sizes)]
    for one in lines:
        writer.write(one)
    assert writer.close(AMPLE)
    pipe.close(pipe.w)
    assert reader.lines() == lines
    pipe.close()


def test_many_threads_lose_nothing_and_keep_their_order(pipe, make_writer):
    writer, reader = make_writer(pipe.w, max_bytes=2**26), Reader(pipe.r)
    start = threading.Barrier(8)

    def work(thread):
        start.wait(AMPLE)
        for number in range(2000):
            writer.write(line(number, 20 + number % 200, thread))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(AMPLE)
    assert writer.close(AMPLE)
    pipe.close(pipe.w)
    numbers = defaultdict(list)
    for one in reader.lines():
        thread, number = map(int, one.split()[:2])
        assert one == line(number, 20 + number % 200, thread)
        numbers[thread].append(number)
    assert numbers == {thread: list(range(2000)) for thread in range(8)}
    assert writer.tally.exported == writer.tally.produced == 16_000


SHARING = textwrap.dedent("""
    import sys
    from obskit.export.writer import LineWriter
    name, count, sizes = sys.argv[1].encode(), int(sys.argv[2]), [int(size) for size in sys.argv[3].split(",")]
    writer = LineWriter(1, max_bytes=2**30)
    for number in range(count):
        writer.write(b"<%s %d %s>\\n" % (name, number, name * sizes[number % len(sizes)]))
    sys.exit(not writer.close(60))
""")
HOLDING = textwrap.dedent("""
    import fcntl, os, time
    fcntl.lockf(1, fcntl.LOCK_EX)
    os.write(2, b"held")
    time.sleep(60)
""")


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(3000, "0,10,1499"), (400, "50000,20,4060,8192,300")],
    ids=["lines that a pipe takes in one piece", "longer ones among them"],
)
def test_processes_that_share_a_pipe_do_not_tear_each_others_lines(pipe, count, sizes):
    reader = Reader(pipe.r)
    processes = [
        subprocess.Popen([sys.executable, "-c", SHARING, name, str(count), sizes], stdout=pipe.w) for name in "abcd"
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    pipe.close(pipe.w)
    lines = reader.lines()
    assert len(lines) == 4 * count
    for one in lines:
        assert one.startswith(b"<")
        assert one.endswith(b">\n")
        name, _, padding = one[1:-2].split(b" ")
        assert set(padding) <= set(name)


@pytest.fixture
def holder(pipe):
    """A process that has the turn and does nothing with it, as one that is stopped in a debugger."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING], stdout=pipe.w, stderr=subprocess.PIPE)
    assert process.stderr.read(4) == b"held"
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def test_a_turn_that_nobody_uses_ends(pipe, make_writer, holder):
    writer = make_writer(pipe.w, interval=0)
    writer.write(line(0))
    assert writer.flush(AMPLE)
    assert os.read(pipe.r, 65536) == line(0)


def test_a_turn_ends_with_its_process(pipe, make_writer, holder):
    pipe.fill()  # so that patience would not end
    writer = make_writer(pipe.w, interval=0)
    writer.write(line(0))
    assert not writer.flush(0.1)
    holder.kill()
    reader = Reader(pipe.r)
    assert writer.flush(AMPLE)
    wait_until(lambda: reader.read.endswith(line(0)))


def test_close_waits_for_no_turn_beyond_its_deadline(pipe, make_writer, holder):
    pipe.fill()
    writer = make_writer(pipe.w, interval=0)
    writer.write(line(0))
    assert writer.close(0.2) is False
    writer._thread.join(AMPLE)
    assert not writer._thread.is_alive()


def test_where_there_are_no_such_locks_everybody_writes_at_once():
    turn = Turn(10**6)  # no descriptor
    turn.take(writable=lambda: True, given_up=lambda: False)
    turn.give()
    assert not turn._possible


# -- when lines leave --------------------------------------------------------------------------------------------


def test_lines_gather_until_somebody_asks_for_them(pipe, make_writer):
    writer = make_writer(pipe.w, interval=600)
    for number in range(3):
        writer.write(line(number))
    assert not select.select([pipe.r], [], [], 0.1)[0]
    assert writer.tally.queued == 3
    assert writer.flush(AMPLE)
    assert os.read(pipe.r, 65536) == line(0) + line(1) + line(2)


def test_lines_leave_after_the_interval(pipe, make_writer):
    writer = make_writer(pipe.w, interval=0.01)
    for number in range(20):  # again and again: no wake-up is lost
        writer.write(line(number))
        assert select.select([pipe.r], [], [], AMPLE)[0]
        assert os.read(pipe.r, 65536) == line(number)


def test_a_half_full_buffer_leaves_at_once(pipe, make_writer):
    writer = make_writer(pipe.w, interval=600, max_bytes=2000)
    for number in range(17):
        writer.write(line(number))
    assert select.select([pipe.r], [], [], AMPLE)[0]
    assert os.read(pipe.r, 65536).startswith(line(0))


def test_an_idle_writer_sleeps(pipe, make_writer):
    writer = make_writer(pipe.w)
    assert writer._thread is None  # and has no thread before its first line
    writer.write(line(0))
    assert writer.flush(AMPLE)
    with open(f"/proc/self/task/{writer._thread.native_id}/status") as status:  # noqa: PTH123
        before = [row for row in status if "ctxt_switches" in row]
    time.sleep(0.3)
    with open(f"/proc/self/task/{writer._thread.native_id}/status") as status:  # noqa: PTH123
        after = [row for row in status if "ctxt_switches" in row]
    wakes = sum(int(b.split()[1]) - int(a.split()[1]) for a, b in zip(before, after, strict=True))
    assert wakes <= 3  # it may just have been on its way to sleep


def test_write_through_gets_a_line_out_before_a_signal_kills():
    script = """
        import os, signal
        from obskit.export.writer import LineWriter
        writer = LineWriter(1, interval=600)
        writer.write(b"before\\n")
        writer.write_through()
        for number in range(50):
            writer.write(b"line %d\\n" % number)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run_script(script)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.splitlines() == [b"before", *(b"line %d" % number for number in range(50))]


def test_write_through_waits_little_in_all_where_nobody_reads_and_recovers(pipe, make_writer):
    pipe.fill()
    writer = make_writer(pipe.w)
    began = time.monotonic()
    writer.write_through()
    for number in range(300):
        writer.write(line(number))
    assert time.monotonic() - began < 5  # 300 times the first wait would be 30 seconds
    assert writer.tally.queued == 300
    reader = Reader(pipe.r)
    assert writer.flush(AMPLE)
    for number in range(300, 310):
        writer.write(line(number))
    wait_until(lambda: bytes(reader.read).endswith(line(309)))


# -- where lines cannot leave ------------------------------------------------------------------------------------


def test_a_pipe_that_nobody_reads_never_holds_up_the_application(pipe, make_writer):
    pipe.fill()
    writer = make_writer(pipe.w, max_bytes=60 * 1000)
    began = time.monotonic()
    for number in range(3000):
        writer.write(line(number))
    assert not writer.flush(0.01)
    assert dropped(writer) == {"buffer_full": 2000}
    assert writer.tally.queued == 1000
    assert not writer.close(0.2)
    assert time.monotonic() - began < 10
    assert dropped(writer) == {"buffer_full": 2000, "shutdown": 1000}
    assert_adds_up(writer)
    writer._thread.join(AMPLE)
    assert not writer._thread.is_alive()
    assert set(os.read(pipe.r, 2**20)) == {ord("\n")}  # nothing of it came out after all


def test_the_new_line_is_the_one_dropped_and_room_is_taken_again(pipe, make_writer):
    pipe.fill()
    writer = make_writer(pipe.w, max_bytes=60 * 10, interval=0)
    for number in range(20):
        writer.write(line(number))
    assert dropped(writer) == {"buffer_full": 10}
    reader = Reader(pipe.r)
    assert writer.flush(AMPLE)
    writer.write(line(20))
    assert writer.close(AMPLE)
    pipe.close(pipe.w)
    assert b"".join(reader.lines()).lstrip(b"\n") == b"".join(map(line, [*range(10), 20]))
    assert_adds_up(writer)


def test_close_in_the_middle_of_a_long_line_gives_it_up(pipe, make_writer):
    writer = make_writer(pipe.w, max_line=2**20, interval=0)
    writer.write(line(0, 2**19))
    wait_until(pipe.waiting)
    writer.write(line(1))
    assert not writer.close(0.1)
    writer._thread.join(AMPLE)
    pipe.close(pipe.w)
    assert line(0, 2**19).startswith(b"".join(Reader(pipe.r).lines()))
    assert dropped(writer) == {"shutdown": 2}
    assert writer.tally.produced == 2


def test_a_reader_that_left(pipe, make_writer):
    writer = make_writer(pipe.w, interval=600)
    for number in range(200):
        writer.write(line(number))
    pipe.close(pipe.r)
    assert writer.flush(AMPLE)
    writer.write(line(200))
    assert dropped(writer) == {"closed_pipe": 201}
    assert writer.flush(AMPLE)
    assert writer.close(AMPLE)
    writer.write(line(201))
    assert dropped(writer) == {"closed_pipe": 201, "shutdown": 1}
    assert_adds_up(writer)
    assert writer.bytes_written == 0


def test_a_reader_that_leaves_while_the_writer_waits_for_it(pipe, make_writer):
    pipe.fill()
    writer = make_writer(pipe.w, interval=0)
    writer.write(line(0))
    time.sleep(0.05)
    pipe.close(pipe.r)
    assert writer.flush(AMPLE)
    assert dropped(writer) == {"closed_pipe": 1}


def test_a_socket_whose_other_end_left(make_writer):
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        writer = make_writer(ours.fileno())
        writer.write(line(0))
        assert writer.close(AMPLE)
    assert dropped(writer) == {"closed_pipe": 1}


def test_a_closed_descriptor(pipe, make_writer):
    pipe.close(pipe.w)
    writer = make_writer(pipe.w)
    writer.write(line(0))
    assert writer.close(AMPLE)
    assert dropped(writer) == {"closed_pipe": 1}


def test_a_full_disk(make_writer):
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        writer = make_writer(full.fileno())
        for number in range(100):
            writer.write(line(number))
        assert writer.flush(AMPLE)
        assert dropped(writer) == {"io_error": 100}
        writer.write(line(100))
        assert writer.close(AMPLE)
    assert dropped(writer) == {"io_error": 101}
    assert_adds_up(writer)
    assert writer.bytes_written == 0


def test_a_line_torn_by_a_full_disk_spoils_no_other(tmp_path):
    path = tmp_path / "log"
    script = """
        import resource, sys
        from obskit.export.writer import LineWriter
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (250, hard))
        with open(sys.argv[1], "ab", buffering=0) as file:
            writer = LineWriter(file.fileno(), interval=600)
            for number in range(5):
                writer.write(b"%d" % number * 99 + b"\\n")
            assert writer.flush(20)
            assert (writer.tally.exported, writer.tally.dropped["io_error"]) == (2, 3), vars(writer.tally)
            assert writer.bytes_written == 250
            writer.write(b"lost\\n")  # still full: not even the newline fits
            assert writer.flush(20)
            assert (writer.tally.exported, writer.tally.dropped["io_error"]) == (2, 4)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            writer.write(b"after\\n")
            writer.write(b"more\\n")
            assert writer.close(20)
            assert (writer.tally.exported, writer.tally.dropped["io_error"], writer.tally.queued) == (4, 4, 0)
    """.replace("vars(writer.tally)", "writer.tally.dropped").replace("sys.argv[1]", repr(str(path)))
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b"0" * 99 + b"\n" + b"1" * 99 + b"\n" + b"2" * 50 + b"\nafter\nmore\n"


def test_a_line_too_long_is_dropped_whole(pipe, make_writer):
    writer = make_writer(pipe.w, max_line=100)
    for size in (100, 101, 60):
        writer.write(line(size, size))
    assert writer.close(AMPLE)
    assert os.read(pipe.r, 65536) == line(100, 100) + line(60, 60)
    assert dropped(writer) == {"too_long": 1}
    assert_adds_up(writer)


# -- the shared descriptor ---------------------------------------------------------------------------------------


def test_the_descriptor_stays_blocking(pipe, make_writer):
    pipe.fill()
    writer = make_writer(pipe.w, interval=0)
    for number in range(100):
        writer.write(line(number, 5000))
        assert os.get_blocking(pipe.w)
    reader = Reader(pipe.r)
    while not writer.flush(0.001):
        assert os.get_blocking(pipe.w)
    assert writer.close(AMPLE)
    assert os.get_blocking(pipe.w)
    pipe.close(pipe.w)
    assert reader.lines()[-1] == line(99, 5000)


def test_another_process_may_have_made_it_nonblocking(make_writer):
    ours, theirs = socket.socketpair()  # takes part of a write when nearly full
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer = make_writer(ours.fileno(), interval=0)
        lines = [line(number, 9000) for number in range(60)]
        for one in lines:
            writer.write(one)
        assert not writer.flush(0.05)
        reader = Reader(theirs.fileno(), 3000)
        assert writer.close(AMPLE)
        ours.shutdown(socket.SHUT_WR)
        assert reader.lines() == lines


def test_a_nonblocking_descriptor_that_refuses_is_tried_again(pipe, make_writer, monkeypatch):
    # What happens when another process takes the room between poll() and write(): too rare to wait for.
    refusals, write = [1, 2], os.write

    def refuse_twice(fd, data):
        if refusals:
            refusals.pop()
            raise BlockingIOError
        return write(fd, data)

    monkeypatch.setattr(os, "write", refuse_twice)
    writer = make_writer(pipe.w)
    writer.write(line(0))
    assert writer.close(AMPLE)
    assert refusals == []
    assert os.read(pipe.r, 65536) == line(0)


# -- life and death ----------------------------------------------------------------------------------------------


def test_closing_is_final_and_may_be_repeated(pipe, make_writer):
    writer = make_writer(pipe.w)
    writer.write(line(0))
    assert writer.close(AMPLE)
    assert not writer._thread.is_alive()
    writer.write(line(1))
    assert writer.flush(0)
    assert writer.close(0)
    assert writer.close(float("inf"))
    assert dropped(writer) == {"shutdown": 1}
    assert os.read(pipe.r, 65536) == line(0)


def test_closing_a_writer_that_never_wrote_starts_nothing(pipe):
    threads = threading.active_count()
    writer = LineWriter(pipe.w)
    assert writer.flush(0)
    assert writer.close(0)
    assert threading.active_count() == threads


def test_a_closed_writer_can_be_forgotten(pipe):
    before = len(writer_module._live)
    writer = LineWriter(pipe.w)
    writer.write(line(0))
    assert writer.close(AMPLE)
    del writer
    gc.collect()
    assert len(writer_module._live) <= before


def test_a_forked_child_starts_empty_and_writes(pipe):
    script = """
        import os, sys
        from obskit.export.writer import LineWriter
        writer = LineWriter(1, interval=600)
        closed = LineWriter(1)
        closed.close(1)
        writer.write(b"parent one\\n")
        with writer._lock:                       # as another thread would hold it
            pid = os.fork()
        if pid == 0:
            tally = writer.tally
            ok = (tally.produced, tally.exported, tally.queued, writer.bytes_written) == (0, 0, 0, 0)
            writer.write(b"child\\n")
            ok = ok and writer.close(20) and (tally.produced, tally.exported) == (1, 1)
            closed.write(b"no\\n")
            ok = ok and closed.tally.dropped["shutdown"] == 1
            os._exit(0 if ok else 3)
        status = os.waitpid(pid, 0)[1]
        writer.write(b"parent two\\n")
        assert writer.close(20)
        assert writer.tally.exported == 2
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.splitlines()) == [b"child", b"parent one", b"parent two"]


def test_the_interpreter_exits_although_nobody_reads(pipe):
    pipe.fill()
    script = """
        from obskit.export.writer import LineWriter
        writer = LineWriter(1, interval=0)
        for _ in range(10):
            writer.write(b"x" * 5000 + b"\\n")
        writer.flush(0.1)
    """
    done = run_script(script, stdout=pipe.w, stderr=subprocess.PIPE, capture_output=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_child_that_is_killed_leaves_whole_lines(pipe):
    script = textwrap.dedent("""
        from obskit.export.writer import LineWriter
        writer = LineWriter(1, interval=0.001)
        number = 0
        while True:
            writer.write(b"%d " % number * 50 + b"\\n")
            number += 1
    """)
    reader = Reader(pipe.r)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=pipe.w)
    pipe.close(pipe.w)
    wait_until(lambda: len(reader.read) > 2**20)
    process.kill()
    process.wait(AMPLE)
    for one in reader.lines():
        assert one.endswith(b"\n")
        assert len(set(one.split())) == 1


def test_signal_handlers_may_write_and_flush_at_any_moment():
    # In a process of its own: coverage's tracer holds a lock of its own that is not reentrant.
    script = """
        import signal, time
        from obskit.export.writer import LineWriter
        writer = LineWriter(1, interval=0.001)
        flushed = []

        def handler(*_):
            writer.write(b"handler\\n")
            flushed.append(writer.flush(20))

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        number, deadline = 0, time.monotonic() + 30
        while len(flushed) < 200 and time.monotonic() < deadline:
            writer.write(b"main\\n")
            number += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(flushed) >= 200 and all(flushed)
        assert writer.close(20)
        assert writer.tally.exported == writer.tally.produced == number + len(flushed)
    """
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(done.stdout.splitlines()) == {b"main", b"handler"}


def test_write_never_raises(pipe, make_writer, contained_errors):
    writer = make_writer(pipe.w)
    writer.write(None)
    assert [component for component, _ in contained_errors] == ["writer"]
    contained_errors.clear()
    writer.write(line(0))
    assert writer.close(AMPLE)
    assert_adds_up(writer)


def test_a_line_waits_when_no_thread_can_start(pipe, make_writer, contained_errors, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    writer = make_writer(pipe.w)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.write(line(0))
    assert len(contained_errors) == 1
    contained_errors.clear()
    assert not writer.flush(0)
    writer.write(line(1))
    assert writer.close(AMPLE)
    assert os.read(pipe.r, 65536) == line(0) + line(1)


def test_a_fault_of_its_own_does_not_end_the_thread(pipe, make_writer, contained_errors, monkeypatch):
    writer = make_writer(pipe.w, interval=0)

    def fail(count):
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(writer, "_drain", fail)
    writer.write(line(0))
    wait_until(lambda: contained_errors)
    contained_errors.clear()
    writer.write(line(1))
    assert writer.close(AMPLE)
    assert os.read(pipe.r, 65536) == line(0) + line(1)
