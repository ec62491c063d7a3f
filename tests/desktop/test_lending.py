"""Which characters lie on which unused keycodes: two on each, and none is given away before all are forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.desktop.x11.lending import Lending, Stroke


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True), st.lists(st.integers(1, 60)), st.booleans())
def test_a_stroke_means_what_the_rows_say_until_it_is_forgotten(
    keycodes: list[int], keysyms: list[int], plain: bool
) -> None:
    lending, given_out = Lending(keycodes), {}
    for keysym in keysyms:
        if lending.stroke(keysym, plain=plain) is None:
            if not lending.room(plain=plain):
                lending.forget()
                given_out.clear()
            lending.lend(keysym, plain=plain)
        stroke = lending.stroke(keysym, plain=plain)
        assert stroke is not None
        assert not (plain and stroke.shift)
        given_out.setdefault(keysym, stroke)
        rows = lending.rows()
        for known, lent in given_out.items():
            assert rows[lent.keycode][lent.shift] == known


def test_plain_keys_go_first_and_a_chord_takes_no_shifted_one() -> None:
    lending = Lending([10, 11])
    assert [lending.lend(keysym) for keysym in (1, 2, 3)] == [Stroke(10, False), Stroke(11, False), Stroke(10, True)]
    assert lending.stroke(3) == Stroke(10, True)
    assert lending.stroke(3, plain=True) is None
    assert (lending.room(), lending.room(plain=True)) == (1, 0)
    assert lending.rows() == {10: (1, 3), 11: (2, 2)}
    assert lending.uses([Stroke(11, False)])
    assert not lending.uses([Stroke(12, False)])
