"""What instructions mean, without a screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.agent.instruction import Goal, parse


def brief(instruction: str) -> list[tuple[object, ...]]:
    return [
        tuple(part for part in (goal.verb, *goal.names, goal.value, goal.label) if part) for goal in parse(instruction)
    ]


@pytest.mark.parametrize(
    ("instruction", "goals"),
    [
        ('Click on the "Save as" button.', [("click", "Save as")]),
        ("Click on Tab #3.", [("click", "Tab #3")]),
        ('Enter "Ann" into the text field and press Send.', [("type", "Ann"), ("click", "Send")]),
        (
            'Enter the username "ann" and the password "S3c ret" into the text fields and press log in.',
            [("type", "ann", "username"), ("type", "S3c ret", "password"), ("click", "log in")],
        ),
        (
            "Select Ghana, New Zealand from the list and click OK.",
            [("select", "Ghana", "New Zealand"), ("click", "OK")],
        ),
        ("Select File > Export > PDF", [("select", "File", "Export", "PDF")]),
        ("Select nothing and click Send.", [("select",), ("click", "Send")]),
        ("Enter 04/12/2013 as the date and hit submit.", [("type", "04/12/2013", "date"), ("click", "submit")]),
        ("Enter 8:05 PM as the time and press submit.", [("type", "8:05 PM", "time"), ("click", "submit")]),
        ('Close the window by clicking the "x".', [("click", "x")]),
        ("Open the section below and click send.", [("look", "section"), ("click", "send")]),
        ('Switch between the tabs to find and click on the link "amet".', [("seek", "tab"), ("click", "amet")]),
        (
            "Click button ONE, wait 2 seconds, then click button TWO.",
            [("click", "ONE"), ("wait", "2 seconds"), ("click", "TWO")],
        ),
        ("The weather is fine today.", []),
        ("", []),
    ],
)
def test_clauses_become_goals(instruction: str, goals: list[tuple[str, ...]]) -> None:
    assert brief(instruction) == goals


@pytest.mark.parametrize(
    ("instruction", "kind", "ordinal"),
    [
        ("Focus into the 3rd input textbox.", "field", 3),
        ("Check the second radio button.", "radio", 2),
        ("Click the last checkbox.", "tick", -1),
        ("Find and click the 9th search result.", "result", 9),
        ('Click on a "textarea" widget.', "area", 0),
    ],
)
def test_kinds_and_places(instruction: str, kind: str, ordinal: int) -> None:
    goal = parse(instruction)[-1]
    assert (goal.kind, goal.ordinal) == (kind, ordinal)


@pytest.mark.parametrize(
    ("instruction", "source", "names"),
    [
        ("Find the 3rd word in the paragraph, type that into the textbox and press OK.", "word", ("3",)),
        ("Solve the problem and type your answer into the textbox.", "sum", ("problem",)),
        ("Enter the value of Last name into the text field and press Send.", "value", ("Last name",)),
        ('Enter an item that starts with "Ger" and ends with "ny".', "complete", ("ny",)),
    ],
)
def test_values_that_are_on_the_screen(instruction: str, source: str, names: tuple[str, ...]) -> None:
    goal = next(goal for goal in parse(instruction) if goal.verb == "type")
    assert (goal.source, goal.names) == (source, names)


def test_a_condition_is_waited_for() -> None:
    (goal,) = parse("Sell 3 shares when the price is greater than $1,057.60.")
    assert goal.names == ("Sell",)
    assert goal.until == ("price", "more", 1057.6)


@given(st.text(max_size=200))
def test_no_text_is_an_accident(instruction: str) -> None:
    assert all(isinstance(goal, Goal) for goal in parse(instruction))
