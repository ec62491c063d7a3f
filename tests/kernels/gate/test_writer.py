"""The writer of the gate word: the epoch never falls, one writer at a time, a stopped writer cannot stay open."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.gate.word import LEASE_MAX_NS, GateReader, GateWordError, State, boottime_ns
from kernels.gate.writer import EPOCH_MAX, GateWriter
from tests.kernels.python_command import python_command

LEASE_NS = 150_000_000


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_ns = boottime_ns()

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def writer(path: Path, clock: ManualClock) -> Iterator[GateWriter]:
    with GateWriter(path, clock=clock) as writer:
        yield writer


def publish_open(writer: GateWriter, clock: ManualClock) -> int:
    return writer.publish(State.OPEN, [], clock.now_ns + LEASE_NS).gate_epoch


def test_a_new_file_is_64_bytes_closed_and_starting(writer: GateWriter, path: Path) -> None:
    assert path.stat().st_size == 64
    assert path.stat().st_mode & 0o022 == 0
    reading = GateReader(path).read()
    assert (reading.state, reading.reasons, reading.gate_epoch) == (State.CLOSED, ("starting",), 1)


def test_open_is_seen_by_readers_and_tokens(writer: GateWriter, path: Path, clock: ManualClock) -> None:
    reader = GateReader(path)
    token = reader.token(writer.gate_epoch)
    for _ in range(100):  # a busy machine can sleep through a lease: then the writer's clock moves on, and it renews
        clock.now_ns = boottime_ns()
        reading = writer.publish(State.OPEN, [], clock.now_ns + LEASE_NS, duty_permille=500, max_threads=3)
        assert reader.read() == reading
        token = reader.token(reading.gate_epoch)
        if token.is_open():
            break
    else:
        pytest.fail("the gate was never seen open")
    writer.publish(State.DRAINING, ["occupied"], 0)
    assert not token.is_open()
    clock.now_ns = boottime_ns()
    writer.publish(State.OPEN, [], clock.now_ns + LEASE_NS)
    assert not token.is_open(), "an epoch that was closed once never opens again"


def test_the_epoch_grows_at_every_closing_and_only_there(writer: GateWriter, clock: ManualClock) -> None:
    epochs = [writer.gate_epoch]
    for state, reasons in (
        (State.WARMING, ["dwell"]),
        (State.OPEN, []),
        (State.OPEN, []),
        (State.DRAINING, ["moving"]),
        (State.CLOSED, ["moving"]),
        (State.OPEN, []),
        (State.FAULTED, ["fault"]),
    ):
        epochs.append(writer.publish(state, reasons, clock.now_ns + LEASE_NS).gate_epoch)
    assert epochs == [1, 1, 1, 1, 2, 2, 2, 3]


def test_a_writer_that_was_stopped_starts_at_warming(writer: GateWriter, clock: ManualClock) -> None:
    epoch = publish_open(writer, clock)
    clock.now_ns += LEASE_NS  # to the nanosecond: the lease ends at its end
    reading = writer.publish(State.OPEN, [], clock.now_ns + LEASE_NS)
    assert (reading.state, reading.reasons) == (State.WARMING, ("bridge_was_stopped",))
    assert reading.gate_epoch == epoch + 1
    assert publish_open(writer, clock) == epoch + 1


def test_a_writer_in_time_stays_open(writer: GateWriter, clock: ManualClock) -> None:
    epoch = publish_open(writer, clock)
    clock.now_ns += LEASE_NS - 1
    assert publish_open(writer, clock) == epoch


def test_a_second_writer_is_refused_until_the_first_is_gone(writer: GateWriter, path: Path) -> None:
    with pytest.raises(GateWordError, match="another bridge writes"):
        GateWriter(path)
    assert GateReader(path).read().reasons == ("starting",)
    writer.close()
    GateWriter(path).close()


def test_restarts_raise_the_epoch_and_keep_the_file(path: Path, clock: ManualClock) -> None:
    seen = []
    inode = None
    for _ in range(3):
        writer = GateWriter(path, clock=clock)
        inode = inode or path.stat().st_ino
        seen.append(publish_open(writer, clock))
        writer.close()
        seen.append(GateReader(path).read().gate_epoch)
    assert seen == sorted(set(seen))
    assert path.stat().st_ino == inode


def test_a_reboot_keeps_the_epoch_by_minimum_epoch(path: Path) -> None:
    with GateWriter(path, minimum_epoch=41) as writer:
        assert writer.gate_epoch == 42
    with GateWriter(path, minimum_epoch=3) as writer:
        assert writer.gate_epoch == 43


CRASH = """
import os, sys
from kernels.gate.word import State, boottime_ns
from kernels.gate.writer import GateWriter
writer = GateWriter(sys.argv[1])
writer.publish(State.OPEN, [], boottime_ns() + 150_000_000)
os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_frees_the_file_and_the_next_epoch_is_higher(path: Path) -> None:
    subprocess.run([*python_command(), "-c", CRASH, str(path)], check=False)
    reading = GateReader(path).read()
    assert reading.state is State.OPEN
    with path.open("r+b") as file:  # ... and it was killed inside the seqlock
        file.seek(8)
        seq = int.from_bytes(file.read(4), "little")
        file.seek(8)
        file.write((seq | 1).to_bytes(4, "little"))
    assert GateReader(path).read().state is State.FAULTED
    with GateWriter(path) as writer:
        assert writer.gate_epoch == reading.gate_epoch + 1
        assert GateReader(path).read().reasons == ("starting",)


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * 64)
    for content, message in ((b"x" * 63, "63 bytes"), (b"x" * 64, "is not a gate word")):
        other.write_bytes(content)
        with pytest.raises(GateWordError, match=message):
            GateWriter(other)
        assert other.read_bytes() == content
    path.symlink_to(other)
    with pytest.raises(GateWordError, match="symbolic link"):
        GateWriter(path)
    with pytest.raises(GateWordError, match="cannot be written"):
        GateWriter(tmp_path)
    with pytest.raises(GateWordError, match="cannot be written"):
        GateWriter(tmp_path / "absent" / "gate")
    assert other.read_bytes() == b"x" * 64


def test_a_file_that_others_may_write_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o666)
    with pytest.raises(GateWordError, match="only its owner writes"):
        GateWriter(path)


def test_a_file_of_a_writer_that_died_while_creating_is_taken_over(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o644)
    with GateWriter(path) as writer:
        assert writer.gate_epoch == 1


def test_an_impossible_epoch_is_refused(path: Path) -> None:
    with GateWriter(path, minimum_epoch=EPOCH_MAX - 1):
        pass
    with pytest.raises(GateWordError, match="impossible gate_epoch"):
        GateWriter(path)


def test_programming_errors_change_nothing(writer: GateWriter, clock: ManualClock, path: Path) -> None:
    publish_open(writer, clock)
    before = path.read_bytes()
    lease = clock.now_ns + LEASE_NS
    for state, reasons, lease_ns, extra in (
        (State.OPEN, ["moving"], lease, {}),
        (State.CLOSED, [], lease, {}),
        (State.CLOSED, ["no such reason"], lease, {}),
        (State.OPEN, [], clock.now_ns + LEASE_MAX_NS + 1, {}),
        (State.OPEN, [], -1, {}),
        (State.OPEN, [], lease, {"duty_permille": 1001}),
        (State.OPEN, [], lease, {"max_threads": 65536}),
        (State.OPEN, [], lease, {"power_budget_mW": -1}),
    ):
        with pytest.raises(ValueError, match=r"reason|lease|must be in"):
            writer.publish(state, reasons, lease_ns, **extra)
        assert path.read_bytes() == before


def test_close_closes_the_gate_and_may_be_repeated(path: Path) -> None:
    writer = GateWriter(path)
    epoch = writer.publish(State.OPEN, [], boottime_ns() + LEASE_NS).gate_epoch
    writer.close()
    writer.close()
    reading = GateReader(path).read()
    assert (reading.state, reading.gate_epoch) == (State.CLOSED, epoch + 1)
    with pytest.raises(ValueError, match="is closed"):
        writer.publish(State.CLOSED, ["fault"], 0)


STEPS = st.lists(st.tuples(st.sampled_from(list(State)), st.integers(0, LEASE_NS), st.integers(0, 2 * LEASE_NS)))
Steps = list[tuple[State, int, int]]


@given(steps=STEPS)
@settings(deadline=None)
def test_no_token_outlives_a_closing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[State, int, int]]
) -> None:
    """Whatever is published and however long the writer sleeps: an epoch that was not open once is dead for good."""
    clock = ManualClock()
    path = tmp_path_factory.mktemp("gate") / "word"
    dead: set[int] = set()
    with GateWriter(path, clock=clock) as writer:
        last = writer.gate_epoch
        was_open = False
        lease_until_ns = 0
        for state, lease_ns, pause_ns in steps:
            clock.now_ns += pause_ns
            if was_open and lease_until_ns <= clock.now_ns:
                dead.add(last)  # readers saw the lease run out
            lease_until_ns = clock.now_ns + lease_ns
            reading = writer.publish(state, [] if state is State.OPEN else ["fault"], lease_until_ns)
            assert reading.gate_epoch >= last
            if was_open and reading.state is not State.OPEN:
                dead.add(last)
            last, was_open = reading.gate_epoch, reading.state is State.OPEN
            if reading.is_open(clock.now_ns):
                assert reading.gate_epoch not in dead


def test_it_takes_ownership_by_descriptor_not_by_name(writer: GateWriter, path: Path, clock: ManualClock) -> None:
    """Someone moves the file away under a running writer: its readers still hear it."""
    reader = GateReader(path)
    os.rename(path, path.with_name("moved"))
    publish_open(writer, clock)
    assert reader.read().state is State.OPEN
