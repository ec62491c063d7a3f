"""The floor of every measurement: clicks anything that may be clicked, by chance, ten times.

It finds targets as the block clicker does. Chance is a hash of the instruction and of how many clicks there were, so
that the agent stays a pure function and a run can be repeated.
"""

from __future__ import annotations

import zlib

from kernels.gate.word import GateToken
from runtime.agent.assets import Assets
from runtime.agent.block_clicker import find_targets
from runtime.agent.blocks import BlockFinder
from runtime.agent.errors import StateUnreadable
from runtime.agent.protocol import Decision, Preempted
from runtime.desktop.frame import Frame
from runtime.wire.actions import Click, Fail, Wait

MOST_CLICKS = 10  # as many as any single page of a job needs; a screen that never answers must end it
_LOOK_AGAIN_MS = 50
_COUNT_BYTES = 4


class RandomClicker:
    """See the module. Confidence is 1/targets, which is what it is worth."""

    kind = "random_clicker"

    def __init__(self) -> None:
        self._finder = BlockFinder()

    def decide(self, view: Frame, instruction: str, state: bytes, gate: GateToken | None) -> Decision | Preempted:
        """See runtime.agent.protocol.Agent."""
        if gate is not None and not gate.is_open():
            return Preempted()
        if len(state) not in (0, _COUNT_BYTES):
            raise StateUnreadable(
                f"the state of agent 'random_clicker' has {len(state)} bytes, expected {_COUNT_BYTES}"
            )
        clicks = int.from_bytes(state, "little")
        if clicks >= MOST_CLICKS:
            return Decision(Fail(f"not done after {MOST_CLICKS} random clicks"), state, 0.0)
        after = (clicks + 1).to_bytes(_COUNT_BYTES, "little")
        targets = find_targets(self._finder.find(view))
        if not targets:
            return Decision(Wait(_LOOK_AGAIN_MS), after, 0.0)
        target = targets[zlib.crc32(state, zlib.crc32(instruction.encode())) % len(targets)]
        x, y = target.centre
        return Decision(Click(x, y), after, 1 / len(targets), (target.x, target.y, target.w, target.h))

    def forget(self) -> None:
        """See runtime.agent.protocol.Agent."""
        self._finder = BlockFinder()


def make(assets: Assets) -> RandomClicker:
    """Returns the agent; it needs no model."""
    return RandomClicker()
