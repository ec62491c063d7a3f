"""The simplest agent that really acts from pixels: clicks what stands on the screen in reading order until it answers.

    look ─► something other than the last target changed? ── yes ─► done
                     │ no
                     └─► click the next target not clicked yet; none left ─► fail

It reads nothing and understands no instruction: a floor for the others, and enough for a page with one button.
"""

from __future__ import annotations

import zlib

import msgspec

from kernels.gate.word import GateClosed, GateToken
from runtime.agent.assets import Assets
from runtime.agent.blocks import BlockFinder, Layout
from runtime.agent.errors import StateUnreadable
from runtime.agent.geometry import Box, reading_order
from runtime.agent.protocol import Decision, Preempted
from runtime.desktop.frame import Frame
from runtime.wire.actions import Click, Done, Fail

_MOST_TARGETS = 1000
_HALO = 6  # pixels around a clicked target in which a focus ring or a pressed look is no answer


class _State(msgspec.Struct, array_like=True):
    clicked: list[tuple[int, int, int, int]] = []
    seen: list[int] = []  # CRC-32 of the boxes around the last target


class BlockClicker:
    """See the module. Confidence is 1/targets: it picks blindly."""

    kind = "block_clicker"

    def __init__(self) -> None:
        self._finder = BlockFinder()

    def decide(self, view: Frame, instruction: str, state: bytes, gate: GateToken | None) -> Decision | Preempted:
        """See runtime.agent.protocol.Agent. The instruction is not read."""
        if gate is not None and not gate.is_open():
            return Preempted()
        memory = _unpack(state)
        try:
            layout = self._finder.find(view, gate)
        except GateClosed:
            return Preempted()
        if memory.clicked and _signature(layout, Box(*memory.clicked[-1])) != memory.seen:
            return Decision(Done(), state, 1.0)
        clicked = {tuple(box) for box in memory.clicked}
        targets = [box for box in find_targets(layout) if box not in clicked]
        if not targets or len(clicked) >= _MOST_TARGETS:
            return Decision(Fail("nothing on the screen answered a click"), state, 1.0)
        target = targets[0]
        x, y = target.centre
        memory = _State([*memory.clicked, target], _signature(layout, target))
        return Decision(
            Click(x, y), msgspec.msgpack.encode(memory), 1 / len(targets), (target.x, target.y, target.w, target.h)
        )

    def forget(self) -> None:
        """See runtime.agent.protocol.Agent."""
        self._finder = BlockFinder()


def make(assets: Assets) -> BlockClicker:
    """Returns the agent; it needs no model."""
    return BlockClicker()


def find_targets(layout: Layout) -> list[Box]:
    """Returns what may be clicked, in reading order: boxes and rings, and text that stands in none of them."""
    most = layout.width * layout.height // 8
    shapes = [shape.box for shape in layout.shapes if shape.kind != "figure" and shape.box.area <= most]
    loose = [text.box for text in layout.texts if not any(shape.contains(text.box, 2) for shape in shapes)]
    inner = [box for box in shapes if not any(box != other and box.contains(other) for other in shapes)]
    found = inner + loose
    return [found[index] for index in reading_order(found)]


def _signature(layout: Layout, target: Box) -> list[int]:
    """Returns the sorted CRC-32 of every box that stands clear of `target`."""
    halo = target.grown(_HALO, layout.width, layout.height)
    boxes = [text.box for text in layout.texts] + [shape.box for shape in layout.shapes]
    return sorted({zlib.crc32(repr(tuple(box)).encode()) for box in boxes if not box.meets(halo)})[:_MOST_TARGETS]


def _unpack(state: bytes) -> _State:
    if not state:
        return _State()
    try:
        return msgspec.msgpack.decode(state, type=_State)
    except msgspec.MsgspecError as error:
        raise StateUnreadable(
            f"the state of agent 'block_clicker' ({len(state)} bytes) does not decode: {error}"
        ) from error
