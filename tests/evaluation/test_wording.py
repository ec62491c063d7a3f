"""Other words say the same: quotes and names stay, chance is the seed's, and no two frames are alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.evaluation.wording import FRAMES, VERBS, WORDINGS, families, family_of, worded

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


def test_every_family_has_twenty_templates_of_its_own() -> None:
    assert len(families()) >= 5
    for name, family in families().items():
        assert len(set(family["templates"])) == 20, name
        assert all(("{0}" in one) != ("{1}" in one) for one in family["templates"]), name
    verbs = [verb for family in families().values() for verb in family["verbs"]]
    assert len(verbs) == len(set(verbs))


def test_a_family_is_known_by_its_longest_verb_and_its_templates_are_used() -> None:
    assert family_of("Click on the button.") == ("press", "click on")
    assert family_of("Clicking is fun") is None
    told = {worded("Click on the link.", "paraphrased", str(seed)) for seed in range(400)}
    assert told == {template.format("the link.") for template in families()["press"]["templates"]}


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
