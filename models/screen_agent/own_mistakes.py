"""Demonstrations on the agent's own mistakes: now and then it acts itself, the oracle says what would have been right.

    frame ─┬─► oracle ─► the label                                     what is wrong is let through when it can be made
           └─► the bundle's agent ─► what it would do ─► right? wrong? ─► good, and held back when it ends the episode

A network that only ever saw an oracle's way does not know the screens to which its own mistakes lead: each one leads to
more. These episodes hold them, with the way back. (Ross et al., "A reduction of imitation learning and structured
prediction to no-regret online learning", AISTATS 2011.)
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import tile_hashes
from models.screen_agent.disturb import MOVES_ONLY, UNDISTURBED
from models.screen_agent.labelled import places_of, remember
from models.screen_agent.oracles.oracle import Move
from models.screen_agent.workplace import Workplace
from runtime.agent.action_kinds import POINTED, kind_of
from runtime.agent.deeds import Memory, pack
from runtime.agent.elements import Element
from runtime.agent.protocol import Preempted
from runtime.agent.screen_agent import ScreenAgent, make
from runtime.backends.protocol import Limits
from runtime.daemon.assets import BundleAssets
from runtime.desktop.episodes import Box, Shown, pack_frame
from runtime.desktop.frame import Frame
from runtime.evaluation.miniwob import GRADED_SUCCESS, task_lists
from runtime.store.bundle import Bundle, checked_parts, open_source
from runtime.store.manifest import decode_manifest
from runtime.wire.actions import INPUTS, Action, Key, Type, Wait

_KEY = bytes(16)
_MOST_IN_A_ROW = 2  # mistakes, before the oracle has a turn
_MOST_IN_ALL = 8
_LONGEST_WAIT_MS = 300
_SAME_CENTRE = 6  # pixels
# Menus of the browser, other tabs and windows: the oracle would not see them.
_NEVER = frozenset({"right-click", "middle-click", "ctrl-click", "shift-click", "key ctrl+s", "key ctrl+u"})
# Of those where a disturbance would spoil everything: an end is held back here, and the rest can be made good.
_FORGIVING = frozenset({"click-widget", "focus-text", "focus-text-2", "click-button-sequence", "use-spinner"})

# What ends an episode without success while the guard is on is counted, and the page goes on.
GUARD = """(() => {
  const end = core.endEpisode;
  window.ihGuard = {least: null, held: 0};
  core.endEpisode = function (...given) {
    if (ihGuard.least !== null && !(given[0] >= ihGuard.least)) { ihGuard.held++; return; }
    end.apply(core, given);
  };
})()"""


def guarded(least: float | None) -> str:
    """Returns JavaScript that holds back ends below `least` (None: none), and gives how many were since the last."""
    return (
        f"(() => {{ const held = ihGuard.held; ihGuard.held = 0; ihGuard.least = {least or 'null'}; return held; }})()"
    )


def unpacked(path: Path, folder: Path) -> Bundle:
    """Unpacks a bundle, signed or not, into `folder`; its hashes are checked. Raises BundleError."""
    with open_source(path) as source:
        head = source.head()[0]
        manifest = decode_manifest(head)
        for entry, parts in source.files(manifest):
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(checked_parts(manifest, entry, parts)))
    return Bundle(folder, manifest, hashlib.sha256(head).hexdigest(), folder / "no-device-key")


@dataclass
class Counts:
    """What came of the agent's own acts: right ones, mistakes that were let through, and those that were held back."""

    right: int = 0
    wrong: int = 0
    held: int = 0


class OwnAgent:
    """The agent of an unpacked bundle, which acts with `share` of the steps. Its memory is of what was really done."""

    def __init__(self, bundle: Bundle, share: float) -> None:
        self._agent: ScreenAgent = make(BundleAssets(bundle, Limits()))
        self._share = share
        self.counts = Counts()
        self.begin("")

    def begin(self, instruction: str) -> None:
        """Forgets the episode before."""
        self._agent.forget()
        self._instruction, self._memory = instruction, Memory()
        self._elements: list[Element] = []
        self._number = self._in_a_row = self._in_all = 0

    def would(self, pixels: NDArray[np.uint8]) -> Action | None:
        """Returns what the agent would do about this screen, None for nothing. Call once a step, then `did`."""
        clean = np.ascontiguousarray(pixels).copy()
        clean[..., 3] = 0
        hashes = tile_hashes(clean, _KEY)
        self._number += 1
        frame = Frame(self._number, clean, np.ones(hashes.shape[:2], dtype=np.bool_), hashes, 0, 0)
        seen = self._agent.see(frame, None)
        decision = self._agent.decide(frame, self._instruction, pack(self._memory), None)
        assert not isinstance(decision, Preempted), "without a gate nothing preempts"
        self._memory.observe(*seen.keys)
        self._memory.read(seen.elements)
        self._elements = seen.elements
        return decision.action if isinstance(decision.action, (*INPUTS, Wait)) else None

    def did(self, taken: Action) -> None:
        """Tells what was really done."""
        remember(self._memory, taken, self._elements)

    def lets(self, task: str, act: Action, move: Move, rng: random.Random) -> bool:
        """Returns whether `act` is carried out in place of the oracle's move."""
        if agrees(act, move):
            self._in_a_row = 0
            return rng.random() < self._share
        spent = self._in_a_row >= _MOST_IN_A_ROW or self._in_all >= _MOST_IN_ALL
        if spent or rng.random() >= self._share or not can_be_made_good(task, act):
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        self._in_all += 1
        return True


def can_be_made_good(task: str, act: Action) -> bool:
    """Returns whether a page goes on after a wrong `act`, but for an end that is held back."""
    kind = kind_of(act)
    if kind is None or kind in _NEVER or task in UNDISTURBED or (isinstance(act, Wait) and act.ms > _LONGEST_WAIT_MS):
        return False
    return kind == "move" or task not in MOVES_ONLY - _FORGIVING


def agrees(act: Action, move: Move) -> bool:
    """Returns whether `act` does what the oracle's move does."""
    kind = kind_of(act)
    if kind is None or kind != kind_of(move.label):
        return False
    if isinstance(act, Type):
        return isinstance(move.label, Type) and act.text == move.label.text
    if isinstance(act, Key | Wait) or kind not in POINTED:
        return True
    point, end = places_of(act)
    if kind.startswith("drag-around"):
        return math.dist(point, places_of(move.label)[0]) <= _SAME_CENTRE
    return holds(move.targets, point) and (kind != "drag" or holds(move.ends, end))


def holds(boxes: list[Box], point: tuple[int, int]) -> bool:
    return any(x <= point[0] < x + w and y <= point[1] < y + h for x, y, w, h in boxes)


async def let_act(place: Workplace, own: OwnAgent, act: Action, move: Move, frame: bytes, task: str) -> Shown | None:
    """Lets the agent act. Returns the step; None when it was held back and the page shows `frame` as before."""
    is_right = agrees(act, move)
    least = GRADED_SUCCESS if task in task_lists()["graded"] else 1.0
    await place.browser.evaluate(guarded(None if is_right else least))
    is_applied = await place.apply(act)
    if is_applied and not isinstance(act, Wait):
        await place.settle()
    held = await place.browser.evaluate(guarded(None))
    own.counts.held += held
    if not is_applied or (held and pack_frame(place.frame()) == frame):
        return None
    own.counts.right += is_right
    own.counts.wrong += not is_right
    own.did(act)
    return Shown(frame, act if is_right else move.label, move.targets, move.ends, move.text_source, act, not is_right)
