"""Names are found through the mistakes of reading, and not where they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.agent.matching import find, similarity


@pytest.mark.parametrize(
    ("name", "text", "least"),
    [
        ("Submit", "Submit", 1.0),
        ("Ultrices", "UItrices elementum elit,", 0.9),
        ("DIo0", "Dlo0", 0.9),
        ("OK", "ok", 0.85),
        ("Last name", "Lastname", 0.99),
        ("amet", "Lorem ipsum dolor sit amet.", 0.95),
    ],
)
def test_it_is_found(name: str, text: str, least: float) -> None:
    assert find(name, text).score >= least


@pytest.mark.parametrize(("name", "text"), [("Submit", "Cancel"), ("Tab #2", "Help"), ("x", ""), ("", "x")])
def test_it_is_not_found(name: str, text: str) -> None:
    assert find(name, text).score < 0.7


def test_the_whole_line_beats_a_part_and_a_word_beats_its_middle() -> None:
    assert find("am", "am").score > find("am", "I am").score > find("am", "example").score


@given(
    st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Zs")), min_size=1, max_size=12),
    st.text(max_size=20),
)
def test_a_text_that_holds_the_name_scores_at_least_as_high_as_its_edges_allow(name: str, around: str) -> None:
    match = find(name, f"{around} {name}")
    assert match.score >= 0.7
    assert 0 <= match.start < match.end


@given(st.text(max_size=15), st.text(max_size=15))
def test_scores_are_shares(first: str, second: str) -> None:
    assert find(first, second).score <= 1
    assert 0 <= similarity(first, second) <= 1
