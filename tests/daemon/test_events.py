"""Events: followers hear their job and what has none, and one that does not read is cut off."""

from __future__ import annotations

from runtime.daemon.events import FOLLOWER_QUEUE, Events


def test_a_follower_hears_its_job_and_the_daemon() -> None:
    events = Events()
    queue = events.follow("a")
    events.publish("claimed", "a", owner_epoch=1)
    events.publish("claimed", "b")
    events.publish("gate", state="open")
    heard = [queue.get_nowait() for _ in range(queue.qsize())]
    assert [(event.kind, event.job) for event in heard if event is not None] == [("claimed", "a"), ("gate", "")]


def test_a_follower_of_all_hears_first_how_the_gate_stands() -> None:
    events = Events()
    events.publish("gate", stands=True, state="warming")
    events.publish("gate", stands=True, state="open")
    all_jobs, one_job = events.follow(""), events.follow("a")
    events.publish("claimed", "a")
    heard = [all_jobs.get_nowait() for _ in range(all_jobs.qsize())]
    assert [(event.kind, event.detail) for event in heard if event is not None] == [
        ("gate", b'{"state":"open"}'),
        ("claimed", b"{}"),
    ]
    assert one_job.qsize() == 1


def test_a_follower_that_does_not_read_is_cut_off() -> None:
    events = Events()
    lazy, busy = events.follow(""), events.follow("other")
    for number in range(FOLLOWER_QUEUE + 1):
        events.publish("action", "job", seq=number)
    assert lazy.qsize() == FOLLOWER_QUEUE
    last = [lazy.get_nowait() for _ in range(FOLLOWER_QUEUE)][-1]
    assert last is None
    assert busy.empty()
