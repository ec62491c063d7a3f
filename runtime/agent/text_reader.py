"""The agent that reads: does what the instruction names, on what it reads on the screen, and remembers what it did.

    instruction ─► goals ──┐
    frame ─► blocks ─► lines, widgets ─► the goal in hand ─► one action
                                            │ its name is nowhere to be seen
                                            └─► look elsewhere: open, scroll, turn the page (`searching.py`)

It is the baseline for trained agents and their fallback. It knows widgets by their looks and names by their text.
"""

from __future__ import annotations

from kernels.gate.word import GateClosed, GateToken
from runtime.agent.acts import Act
from runtime.agent.assets import Assets
from runtime.agent.blocks import BlockFinder
from runtime.agent.doing import confirm, do
from runtime.agent.instruction import parse
from runtime.agent.matching import find
from runtime.agent.memory import Memory, pack, unpack
from runtime.agent.protocol import Decision, Preempted
from runtime.agent.reading import Screen
from runtime.agent.recognition import LineReader, Reader, read_alphabet
from runtime.desktop.frame import Frame
from runtime.wire.actions import Done, Fail, Wait

RECOGNISER, ALPHABET = "recognise", "alphabet.txt"
_MOST_STEPS = 200


class TextReader:
    """See the module. Confidence is how well the name matched what was read."""

    kind = "text_reader"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._finder = BlockFinder()

    def decide(self, view: Frame, instruction: str, state: bytes, gate: GateToken | None) -> Decision | Preempted:
        """See runtime.agent.protocol.Agent."""
        memory = unpack(state)
        if gate is not None and not gate.is_open():
            return Preempted()
        goals = parse(instruction)
        if not goals:
            return Decision(Fail("the instruction names nothing that this agent knows how to do"), state, 0.0)
        if memory.step >= _MOST_STEPS:
            return Decision(Fail(f"not done after {_MOST_STEPS} actions"), state, 0.0)
        try:
            screen = Screen(view, self._finder, self._reader, gate)
            act = self._act(screen, instruction, memory)
        except GateClosed:
            return Preempted()
        memory.step += not isinstance(act.action, Wait)
        memory.screen = screen.digest
        region = None if act.region is None else act.region.grown(0, view.width, view.height)
        return Decision(act.action, pack(memory), act.confidence, None if region is None else tuple(region))  # type: ignore[arg-type]

    def forget(self) -> None:
        """See runtime.agent.protocol.Agent."""
        self._finder = BlockFinder()
        self._reader.forget()
        find.cache_clear()
        parse.cache_clear()

    def _act(self, screen: Screen, instruction: str, memory: Memory) -> Act:
        goals = parse(instruction)
        while memory.goal < len(goals):
            act = do(screen, goals, memory)
            if act is not None:
                return act
            memory.next_goal()
        act = confirm(screen, goals, memory)
        if act is None and memory.missing:
            return Act(Fail(f"{memory.missing!r} was not to be found on the screen"), confidence=0.0)
        return act or Act(Done())


def make(assets: Assets) -> TextReader:
    """Returns the agent with the recogniser and the alphabet of its bundle."""
    return TextReader(LineReader(assets.model(RECOGNISER), read_alphabet(assets.file(ALPHABET))))
