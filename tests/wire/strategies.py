"""Arbitrary messages within their limits, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from runtime.wire import actions as a
from runtime.wire import messages as m
from runtime.wire.tables import CloseReason, Encoding, Outcome

count = st.integers(0, 2**63 - 1)
pixel = st.integers(-65536, 65535)
side = st.integers(1, 16_384)
name = st.text(max_size=40)
text = st.text(max_size=60)
chord = st.text(min_size=1, max_size=20)
modifiers = st.lists(chord, max_size=3).map(tuple)
button = st.sampled_from(a.Button)
features = st.lists(name, max_size=3).map(tuple)

inputs = st.one_of(
    st.builds(a.Move, pixel, pixel),
    st.builds(a.Click, pixel, pixel, button, st.integers(1, 4), modifiers),
    st.builds(a.Drag, st.lists(st.tuples(pixel, pixel), min_size=1, max_size=5).map(tuple), button, modifiers),
    st.builds(a.Scroll, pixel, pixel, st.integers(-1000, 1000), st.integers(-1000, 1000)),
    st.builds(a.Type, text),
    st.builds(a.Key, chord),
    st.builds(a.Hold, chord),
    st.builds(a.Release, chord),
)
verdicts = st.one_of(
    st.builds(a.Wait, st.integers(0, 60_000)),
    st.builds(a.Done, text),
    st.builds(a.Fail, text),
    st.builds(a.Ask, text),
)
precondition = st.builds(
    a.Precondition, pixel, pixel, st.integers(1, 65535), st.integers(1, 65535), st.binary(min_size=16, max_size=16)
)
hello = st.builds(m.Hello, count, name, count, st.binary(max_size=32), name, name, features, count)
act = st.builds(m.Act, name, count, count, count, st.one_of(inputs, verdicts), st.one_of(st.none(), precondition))
bye = st.builds(m.Bye, st.sampled_from(CloseReason).map(int), text)
heartbeat = st.builds(m.Heartbeat, count)


def view(data: bytes) -> memoryview:
    """Returns `data` as the fields of a frame part hold it."""
    return memoryview(data)


def messages_from_car() -> st.SearchStrategy[m.FromCar]:
    """Anything that a car could say, in any order and with any numbers."""
    corner = st.integers(0, 16_384)
    return st.one_of(
        hello,
        st.builds(m.Credit, st.integers(1, m.MAX_CREDIT)),
        act,
        heartbeat,
        bye,
        st.builds(m.Interest, corner, corner, corner, corner),
    )


def messages_from_desktop() -> st.SearchStrategy[m.FromDesktop]:
    """Anything that a desktop could say."""
    tiles = st.integers(0, 4).flatmap(lambda n: st.binary(min_size=20 * n, max_size=20 * n)).map(view)
    data = st.binary(max_size=300).map(view)
    return st.one_of(
        st.builds(
            m.HelloAnswer,
            st.integers(0, 3),
            count,
            side,
            side,
            st.binary(min_size=16, max_size=32),
            count,
            count,
            st.sampled_from(Outcome),
            features,
        ),
        st.builds(m.FramePart, count, side, side, count, count, tiles, st.sampled_from(Encoding), data, st.booleans()),
        st.builds(m.ActResult, count, st.sampled_from(Outcome), count, count, count),
        st.builds(m.Takeover, st.booleans()),
        heartbeat,
        bye,
    )
