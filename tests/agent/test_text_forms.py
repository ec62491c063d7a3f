"""Forms of a text: keys for a pattern, a colour's code, a word without the sign after it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.agent.text_forms import as_colour, as_keys, bare


@pytest.mark.parametrize(
    ("text", "keys"),
    [("11/17/2012", "11172012"), ("1/7/2012", "01072012"), ("3:54 PM", "0354pm"), ("12:05am", "1205am"), ("--", "")],
)
def test_keys_for_a_pattern_have_no_signs_and_numbers_of_two_digits(text: str, keys: str) -> None:
    assert as_keys(text) == keys


def test_a_colour_has_a_code_and_another_word_has_none() -> None:
    assert as_colour("Magenta") == "FF00FF"
    assert as_colour("navy") == "000080"
    assert as_colour("table") == ""


@given(st.text(max_size=20))
def test_a_bare_text_is_never_empty_unless_it_was_and_loses_signs_at_its_end_alone(text: str) -> None:
    made = bare(text)
    assert text.strip().startswith(made)
    assert bool(made) == bool(text.strip())
    assert set(text.strip()[len(made) :]) <= set(".,;:!?")
    assert all(sign.isdigit() or not sign.isspace() for sign in as_keys(text))
