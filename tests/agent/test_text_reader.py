"""The text reader on drawn screens: which action it takes, and where. The committed int8 models read."""

from __future__ import annotations

import pytest

from runtime.agent.instruction import parse
from runtime.agent.matching import find
from runtime.agent.protocol import Decision
from runtime.agent.text_reader import TextReader, make
from runtime.desktop.frame import Frame
from runtime.wire.actions import Action, Click, Done, Fail, Key, Move, Scroll, Type, Wait
from tests.agent.readers import reader_assets
from tests.agent.screens import Canvas


@pytest.fixture(scope="module")
def agent() -> TextReader:
    return make(reader_assets())


def actions(agent: TextReader, instruction: str, *screens: Frame, most: int = 12) -> list[Action]:
    """Returns what the agent does on the screens in turn (the last one stays), until it is done; waits left out."""
    state, done = b"", []
    for turn in range(most * 4):
        view = screens[min(turn, len(screens) - 1)]
        decision = agent.decide(view, instruction, state, None)
        assert isinstance(decision, Decision)
        state = decision.state
        if not isinstance(decision.action, Wait):
            done.append(decision.action)
        if isinstance(decision.action, Done | Fail) or len(done) == most:
            break
    return done


def at(x: int, y: int, w: int, h: int, action: Action) -> bool:
    return isinstance(action, Click | Move | Scroll) and x <= action.x < x + w and y <= action.y < y + h


def form(scale: int = 1, width: int = 320, height: int = 240) -> Frame:
    canvas = Canvas(width, height)
    canvas.text(20, 14, "Username")
    canvas.box(20, 34, 150, 24)
    canvas.text(20, 68, "Password")
    canvas.box(20, 88, 150, 24)
    canvas.box(20, 140, 100, 30, fill=(225, 225, 225))
    canvas.text(48, 147, "Login")
    return canvas.frame()


def test_it_fills_in_the_fields_by_their_labels_and_presses_the_button(agent: TextReader) -> None:
    done = actions(
        agent, 'Enter the password "x9" and the username "ann" into the text fields and press login.', form()
    )
    assert at(20, 88, 150, 24, done[0])
    assert done[1] == Type("x9")
    assert at(20, 34, 150, 24, done[2])
    assert done[3] == Type("ann")
    assert at(20, 140, 100, 30, done[4])
    assert done[5] == Done()


def test_a_large_screen_is_no_different(agent: TextReader) -> None:
    done = actions(agent, "Press login.", form(width=1920, height=1080))
    assert at(20, 140, 100, 30, done[0])


def test_it_ticks_the_box_beside_a_name_and_no_other(agent: TextReader) -> None:
    canvas = Canvas()
    for row, name in enumerate(["kD3pX", "apples", "Wednesday", "kB3pX"]):
        canvas.box(20, 20 + 30 * row, 13, 13)
        canvas.text(42, 18 + 30 * row, name)
    done = actions(agent, "Select Wednesday, kB3pX.", canvas.frame())
    assert [at(20, 20 + 30 * row, 13, 13, action) for row, action in zip((2, 3), done, strict=False)] == [True, True]
    assert done[2] == Done()


def test_light_on_dark_is_read_as_well(agent: TextReader) -> None:
    canvas = Canvas(paper=(25, 28, 34))
    canvas.text(30, 30, "Discard changes", 12, ink=(235, 235, 235))
    canvas.text(30, 70, "Keep editing", 12, ink=(235, 235, 235))
    (first, *_) = actions(agent, 'Click on "Keep editing".', canvas.frame())
    assert at(25, 65, 100, 25, first)


def test_a_link_is_told_from_the_same_word_in_the_text(agent: TextReader) -> None:
    canvas = Canvas()
    canvas.text(20, 30, "All terms apply. Read the")
    canvas.text(20, 60, "terms", ink=(0, 0, 238))
    canvas.text(70, 60, "before you agree.")
    (first, *_) = actions(agent, 'Click on the link "terms".', canvas.frame())
    assert at(18, 55, 45, 22, first)


def test_what_a_menu_hides_is_opened_by_pointing(agent: TextReader) -> None:
    closed, opened = Canvas(), Canvas()
    for canvas in (closed, opened):
        canvas.text(20, 30, "Export")
        canvas.text(20, 60, "Print")
    opened.text(150, 30, "Spreadsheet")
    done = actions(agent, "Select Export > Spreadsheet", closed.frame(), closed.frame(), opened.frame())
    assert isinstance(done[0], Move)
    assert at(15, 25, 60, 25, done[0])
    assert at(145, 25, 110, 25, done[1])


def test_a_pattern_in_a_field_takes_digits_alone(agent: TextReader) -> None:
    canvas = Canvas()
    canvas.box(20, 40, 150, 26)
    canvas.text(28, 45, "mm/dd/yyyy")
    done = actions(agent, "Enter 04/12/2013 as the date.", canvas.frame())
    assert done[1] == Type("04122013")


def test_what_is_nowhere_is_looked_for_and_then_left(agent: TextReader) -> None:
    canvas = Canvas()
    canvas.text(20, 30, "Tab #1")
    canvas.text(90, 30, "Tab #2")
    canvas.text(20, 90, "nothing here")
    done = actions(agent, 'Switch between the tabs to find and click on the link "zebra".', canvas.frame())
    assert at(15, 25, 60, 25, done[0])
    assert at(85, 25, 60, 25, done[1])
    assert isinstance(done[-1], Fail)
    assert "zebra" in done[-1].reason


def test_it_forgets_what_it_saw(agent: TextReader) -> None:
    actions(agent, "Press login.", form())
    assert find.cache_info().currsize
    assert parse.cache_info().currsize
    agent.forget()
    assert find.cache_info().currsize == 0
    assert parse.cache_info().currsize == 0


def test_copying_is_done_by_keys(agent: TextReader) -> None:
    canvas = Canvas()
    canvas.box(20, 20, 200, 80)
    canvas.text(26, 26, "first line of it")
    canvas.text(26, 46, "second line")
    canvas.box(20, 120, 150, 24)
    done = actions(agent, "Copy the text in the textarea, paste it into the textbox.", canvas.frame())
    assert [action for action in done if isinstance(action, Key)] == [Key("ctrl+a"), Key("ctrl+c"), Key("ctrl+v")]


def test_a_sum_is_computed(agent: TextReader) -> None:
    canvas = Canvas()
    canvas.text(30, 30, "17 - 25 =", 26)
    canvas.box(180, 30, 60, 34)
    done = actions(agent, "Solve the problem and type your answer into the textbox.", canvas.frame())
    assert Type("-8") in done
