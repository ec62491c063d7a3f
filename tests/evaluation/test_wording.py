"""Other words say the same: quotes and names stay, chance is the seed's, and no two frames are alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.evaluation.wording import FRAMES, VERBS, WORDINGS, worded

INSTRUCTION = 'Enter "click here" into the text field and press Submit.'


def test_quotes_and_names_stay() -> None:
    told = {worded(INSTRUCTION, "paraphrased", str(seed)) for seed in range(200)}
    assert len(told) > 40
    assert all('"click here"' in one and "Submit" in one for one in told)
    assert any("press Submit" not in one for one in told)
    assert any(not one.lower().count("enter ") for one in told)


def test_there_are_twenty_frames() -> None:
    assert len(set(FRAMES)) == 20
    assert all(("{0}" in frame) != ("{1}" in frame) for frame in FRAMES)


def test_the_seed_decides() -> None:
    for wording in WORDINGS:
        assert worded(INSTRUCTION, wording, "7") == worded(INSTRUCTION, wording, "7")
    assert worded(INSTRUCTION, "plain", "7") == INSTRUCTION


@given(st.text(max_size=200), st.sampled_from(WORDINGS), st.text(max_size=5))
def test_any_text_can_be_worded(text: str, wording: str, seed: str) -> None:
    told = worded(text, wording, seed)
    if wording == "shuffled":
        assert sorted(told.split()) == sorted(text.split())
    if wording == "paraphrased":
        assert all(quoted in told for quoted in re.findall(r'"[^"]*"', text))


def test_no_verb_stands_for_itself() -> None:
    assert all(verb not in others for verb, others in VERBS.items())


def test_another_wording_is_refused() -> None:
    with pytest.raises(ValueError, match="none of plain"):
        worded(INSTRUCTION, "sung", "1")
