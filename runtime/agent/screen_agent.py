"""The trained agent: proposes what can be pointed at, reads it, and lets a small network decide what to do.

    frame ─► layout ─► lines, widgets, shapes ─► read ─► a look (+ instruction, + memory of its own deeds)
                                                           └─► decider ─► a plan ─► an action, and how sure

It stops by itself: when nothing changes any more it fails, when it goes in circles it takes the next best plan, and
when it is not sure enough it asks.
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import GateClosed, GateToken
from runtime.agent.action_kinds import INDEX, KINDS, WAITS
from runtime.agent.assets import Assets
from runtime.agent.blocks import BlockFinder
from runtime.agent.contents import ByTiles
from runtime.agent.deciding import Decider, GramTable
from runtime.agent.deeds import Memory, keys_of, pack, unpack
from runtime.agent.elements import Element, ElementFinder, readable
from runtime.agent.errors import AssetMissing
from runtime.agent.features import forget_instructions, look_of
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import words_of
from runtime.agent.plans import Answer, Plan, apart, plan_of, random_answer
from runtime.agent.protocol import Decision, Preempted
from runtime.agent.small_reader import SmallReader
from runtime.agent.text_reader import TextReader
from runtime.desktop.frame import Frame
from runtime.wire.actions import Ask, Fail, Wait

READER, DECIDER, TABLE, SETTINGS = "read", "decide", "grams.npz", "agent.json"
_MOST_STEPS = 500
_MOST_SAME = 2  # the same action on the same screen, before another one is taken
_MOST_SAME_WAITS = 40  # a wait may be meant so
_MOST_UNCHANGED = 8  # actions in a row that change nothing
_PAUSE_MS = 200
_BLOT = 0.7  # of a spot's inner pixels are of one colour
_MOST_IN_BLOT = 3  # characters
Ablation = Literal["", "random", "no-memory"]


class Settings(msgspec.Struct, frozen=True):
    """What training found out besides weights. Chances are in 0 … 1.

    alphabet: the reader's characters. temperature: divides the logits, so that chances are frequencies. ask_below: a
    plan less sure is not carried out. guide_below: a job whose first plan is less sure is given to the rules.
    ablation: what is taken away, to measure what it is worth: "", "random" (chance chooses) or "no-memory".
    """

    alphabet: str
    temperature: float = 1.0
    ask_below: float = 0.0
    guide_below: float = 0.0
    ablation: Ablation = ""


@dataclass(frozen=True)
class Seen:
    """One look: its elements and their keys, with place and without."""

    elements: list[Element]
    keys: tuple[list[int], list[int]]


class ScreenAgent:
    """See the module. Confidence is the chance of the whole action, as the network sees it."""

    kind = "screen_agent"

    def __init__(self, reader: SmallReader, decider: Decider, settings: Settings) -> None:
        self._reader, self._decider, self._settings = reader, decider, settings
        self._finder, self._elements = BlockFinder(), ElementFinder()
        self._crcs: ByTiles[int] = ByTiles()
        self._rules = TextReader(reader)

    def decide(self, view: Frame, instruction: str, state: bytes, gate: GateToken | None) -> Decision | Preempted:
        """See runtime.agent.protocol.Agent."""
        memory = unpack(state)
        if gate is not None and not gate.is_open():
            return Preempted()
        if memory.step + memory.waited >= _MOST_STEPS:
            return Decision(Fail(f"not done after {_MOST_STEPS} actions"), state, 0.0)
        try:
            return self._decided(view, instruction, memory, gate)
        except GateClosed:
            return Preempted()

    def forget(self) -> None:
        """See runtime.agent.protocol.Agent."""
        self._finder, self._elements = BlockFinder(), ElementFinder()
        self._crcs.clear()
        self._reader.forget()
        self._rules.forget()
        forget_instructions()

    def see(self, view: Frame, gate: GateToken | None) -> Seen:
        """Returns what is on a screen. Raises GateClosed."""
        layout = self._finder.find(view, gate)
        blocks = readable(layout)
        readings = self._reader.read_all(view.pixels, [block.box for block in blocks], gate, view.hashes)
        elements = self._elements.find(view.pixels, layout, blocks, readings, gate)
        return Seen(elements, keys_of(view.pixels, elements, gate, view.hashes, self._crcs))

    def _decided(self, view: Frame, instruction: str, memory: Memory, gate: GateToken | None) -> Decision | Preempted:
        if memory.guided:
            return self._guided(view, instruction, memory, gate)
        seen = self.see(view, gate)
        if not seen.elements or not words_of(instruction):
            return _nothing_to_see(memory)
        answer = self._answer(view, seen, instruction, memory, gate)
        memory.observe(*seen.keys)
        memory.read(seen.elements)
        if _unchanged(memory) >= _MOST_UNCHANGED:
            return Decision(Fail(f"the last {_MOST_UNCHANGED} actions changed nothing"), pack(memory), 0.0)
        plan = self._plan(answer, seen, instruction, memory)
        if plan.confidence < self._settings.guide_below and memory.step == 0:
            memory.guided = True
            return self._guided(view, instruction, memory, gate)
        if plan.confidence < self._settings.ask_below:
            question = f"I am only {plan.confidence:.0%} sure of the next step: {plan.kind} {plan.label[:40]!r}".strip()
            return Decision(Ask(question), pack(memory), plan.confidence)
        plan = apart(plan, seen.elements, memory.places[-1] if memory.places else None)
        memory.record(plan.kind, plan.point, plan.end, plan.label)
        return Decision(plan.action, pack(memory), plan.confidence, depended_on(plan, seen.elements, view.pixels))

    def _answer(self, view: Frame, seen: Seen, instruction: str, memory: Memory, gate: GateToken | None) -> Answer:
        """Returns the network's chances, or what an ablation puts in their place. Raises GateClosed."""
        if self._settings.ablation == "random":
            return random_answer(len(seen.elements), zlib.crc32(f"{instruction}/{memory.step}".encode()))
        known = Memory() if self._settings.ablation == "no-memory" else memory
        return self._decider.answer(look_of(view.pixels, seen.elements, instruction, known, seen.keys, gate), gate)

    def _plan(self, answer: Answer, seen: Seen, instruction: str, memory: Memory) -> Plan:
        """Returns the likeliest plan that was not carried out on this very screen before."""
        kinds, target = answer.kinds.copy(), answer.target.copy()
        words = words_of(instruction)
        while True:
            current = Answer(**{**vars(answer), "target": target})
            plan = plan_of(current, seen.elements, words, instruction, self._settings.alphabet, kinds)
            most = _MOST_SAME_WAITS if plan.kind in WAITS else _MOST_SAME
            if memory.times(plan.kind, plan.point, plan.end, plan.label) < most or plan.confidence <= 0:
                return plan
            if plan.target >= 0 and (target > 1e-3).sum() > 1:
                target[plan.target] = 0
            else:
                kinds[INDEX[plan.kind]] = 0
            if not kinds.any():
                return Plan("fail", Fail("everything was tried"), 0.0)

    def _guided(self, view: Frame, instruction: str, memory: Memory, gate: GateToken | None) -> Decision | Preempted:
        """Lets the rules go on; they have a memory of their own."""
        decision = self._rules.decide(view, instruction, memory.guide, gate)
        if isinstance(decision, Preempted):
            return decision
        memory.step += not isinstance(decision.action, Wait)
        memory.waited += isinstance(decision.action, Wait)
        memory.guide = decision.state
        return dataclasses.replace(decision, state=pack(memory))


def depended_on(plan: Plan, elements: list[Element], pixels: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Returns the pixels that must still be as they were seen: the target's, with what it says.

    Of a target without text only its middle, so that one that moves a little can be hit; a pointer that only moves
    needs none. pixels: (h, w, 4), uint8.
    """
    if plan.target < 0 or plan.kind == "move":
        return None
    target = elements[plan.target]
    x, y, w, h = target.box
    if target.text and not is_blot(pixels, target):
        return x, y, w, h
    middle = Box(*plan.point, 0, 0).grown(min(w, h) // 6, x + w, y + h)
    return (middle.x, middle.y, middle.w, middle.h) if middle.area else (x, y, w, h)


def is_blot(pixels: NDArray[np.uint8], element: Element) -> bool:
    """Returns whether what was read as a few characters is a spot of one colour: a disc, or a part of one.

    Its inner three quarters are mostly of one colour, and that colour is not the ground around it; what is mostly of
    one colour in a letter's box is the ground. pixels: (h, w, 4), uint8.
    """
    if element.kind not in ("line", "word") or len(element.text) > _MOST_IN_BLOT:
        return False
    x, y, w, h = element.box
    centre = pixels[y + h // 2, x + w // 2, :3]
    inner = pixels[y + h // 8 : y + h - h // 8, x + w // 8 : x + w - w // 8, :3]
    rows = np.clip((y - 2, y + h + 1), 0, pixels.shape[0] - 1)
    columns = np.clip((x - 2, x + w + 1), 0, pixels.shape[1] - 1)
    around = pixels[rows][:, columns, :3]
    return bool((inner == centre).all(2).mean() >= _BLOT and (around != centre).any(2).sum() >= 2)


def _unchanged(memory: Memory) -> int:
    """Returns how many of the last actions, in a row, changed nothing; a wait is none."""
    count = 0
    for deed in reversed(memory.deeds):
        if deed.changed:
            break
        count += KINDS[deed.kind] not in WAITS
    return count


def _nothing_to_see(memory: Memory) -> Decision:
    """Waits a little for a screen on which something stands; then says so."""
    memory.waited += 1
    if memory.waited > 5:
        return Decision(Fail("there is nothing on the screen, or nothing was asked for"), pack(memory), 0.0)
    return Decision(Wait(_PAUSE_MS), pack(memory), 0.5)


def make(assets: Assets) -> ScreenAgent:
    """Returns the agent with the networks and settings of its bundle. Raises AssetMissing."""
    try:
        settings = msgspec.json.decode(assets.file(SETTINGS), type=Settings)
    except msgspec.MsgspecError as error:
        raise AssetMissing(f"{SETTINGS} in the bundle does not decode: {error}") from error
    reader = SmallReader(assets.model(READER), settings.alphabet)
    return ScreenAgent(
        reader, Decider(assets.model(DECIDER), GramTable.read(assets.file(TABLE)), settings.temperature), settings
    )
