"""What every agent promises, run over every agent of the table."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from runtime.agent.assets import NoAssets
from runtime.agent.errors import AgentUnknown, AssetMissing, StateUnreadable
from runtime.agent.protocol import STATE_LIMIT_BYTES, Agent, Decision, Preempted, make_agent
from runtime.desktop.frame import Frame
from runtime.wire.actions import ACTIONS, Action, Ask, Done, Fail, Wait, position
from tests.agent.readers import assets_for, kinds
from tests.agent.screens import Canvas

INSTRUCTION = 'Enter "Ann" into the text field and press Submit.'


class ShutGate:
    """Stands for a token whose gate has closed."""

    def is_open(self) -> bool:
        return False


@pytest.fixture(params=kinds())
def agent(request: pytest.FixtureRequest) -> Agent:
    return make_agent(request.param, assets_for(request.param))


def form(pressed: bool = False) -> Frame:
    canvas = Canvas()
    canvas.text(20, 18, "Name")
    canvas.box(20, 40, 150, 24)
    canvas.box(20, 90, 100, 30, fill=(225, 225, 225))
    canvas.text(45, 98, "Submit")
    if pressed:
        canvas.text(20, 150, "Thank you, it was sent.", 16)
    return canvas.frame()


def decided(agent: Agent, view: Frame, state: bytes) -> Decision:
    decision = agent.decide(view, INSTRUCTION, state, None)
    assert isinstance(decision, Decision)
    return decision


def test_it_has_the_kind_it_was_made_for(agent: Agent) -> None:
    assert agent.kind in kinds()


def test_decisions_are_of_the_vocabulary_and_on_the_screen(agent: Agent) -> None:
    view, state = form(), b""
    acted = waited = 0
    while acted < 12 and waited < 200:
        decision = decided(agent, view, state)
        assert isinstance(decision.action, ACTIONS)
        msgspec.msgpack.decode(msgspec.msgpack.encode(decision.action), type=Action)
        assert 0 <= decision.confidence <= 1
        assert len(decision.state) <= STATE_LIMIT_BYTES
        at = position(decision.action)
        assert at is None or (0 <= at[0] < view.width and 0 <= at[1] < view.height)
        if decision.region is not None:
            x, y, w, h = decision.region
            assert x >= 0
            assert y >= 0
            assert w > 0
            assert h > 0
            assert x + w <= view.width
            assert y + h <= view.height
        if isinstance(decision.action, Done | Fail | Ask):
            break
        is_wait = isinstance(decision.action, Wait)
        acted, waited = acted + (not is_wait), waited + is_wait
        state = decision.state
    else:
        pytest.fail("an unchanging screen must end an agent within twelve actions and two hundred waits")


def test_it_is_a_pure_function_of_its_arguments(agent: Agent) -> None:
    first = decided(agent, form(), b"")
    later = decided(agent, form(pressed=True), first.state)
    fresh = make_agent(agent.kind, assets_for(agent.kind))
    assert decided(fresh, form(pressed=True), first.state) == later
    assert decided(agent, form(), b"") == first
    agent.forget()
    assert decided(agent, form(), b"") == first


def test_a_closed_gate_preempts_it_and_changes_nothing(agent: Agent) -> None:
    first = decided(agent, form(), b"")
    assert agent.decide(form(), INSTRUCTION, b"", ShutGate()) == Preempted()  # type: ignore[arg-type]
    assert decided(agent, form(), b"") == first


@pytest.mark.parametrize("state", [b"\xc1", b"garbage", b"\x93\x01\x02", b"\x00" * 100])
def test_a_foreign_state_is_refused(agent: Agent, state: bytes) -> None:
    with pytest.raises(StateUnreadable):
        agent.decide(form(), INSTRUCTION, state, None)


def test_the_frame_is_left_as_it_was(agent: Agent) -> None:
    view = form()
    before = view.pixels.copy()
    view.pixels.setflags(write=False)
    decided(agent, view, b"")
    assert (view.pixels == before).all()


def test_an_empty_screen_is_no_accident(agent: Agent) -> None:
    view = dataclasses.replace(Canvas(64, 64).frame(), frame_id=7)
    state = b""
    for _ in range(12):
        decision = decided(agent, view, state)
        state = decision.state
        if isinstance(decision.action, Done | Fail):
            return
    pytest.fail("an empty screen must end an agent within twelve steps")


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(AgentUnknown, match="block_clicker"):
        make_agent("mind_reader", NoAssets())


def test_an_agent_without_its_models_says_which() -> None:
    with pytest.raises(AssetMissing, match="recognise"):
        make_agent("text_reader", NoAssets())
