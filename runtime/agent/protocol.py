"""The seam between the runner of jobs and what decides, and the table of agents.

    runner: capture ─► decide(frame, instruction, state, gate) ─► Decision ─► act on the desktop, keep `state` ─► …
                                                              └► Preempted (the gate closed: `state` stays as it was)

An agent is a pure function of its arguments: what it remembers is in `state`, which the runner keeps, checkpoints and
hands to another car. Caches it may have, keyed by content, so that they change when an answer comes and never which.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

from kernels.gate.word import GateToken
from runtime.agent.assets import Assets
from runtime.agent.errors import AgentUnknown
from runtime.desktop.frame import Frame
from runtime.wire.actions import Action

STATE_LIMIT_BYTES = 30 * 1024  # a checkpoint of 64 KiB holds two: before and after the action under way

AGENTS = {
    "block_clicker": "runtime.agent.block_clicker:make",
    "random_clicker": "runtime.agent.random_clicker:make",
    "screen_agent": "runtime.agent.screen_agent:make",
    "text_reader": "runtime.agent.text_reader:make",
}


@dataclass(frozen=True)
class Decision:
    """One action and why it may be taken.

    `state` is for the next call, at most STATE_LIMIT_BYTES. `confidence` is in 0 … 1. `region` (x, y, w, h in pixels of
    the frame) is what the action depends on: the desktop refuses the action when those pixels have changed.
    """

    action: Action
    state: bytes
    confidence: float
    region: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Preempted:
    """The gate closed before the decision was made; nothing was decided. Call again with the same arguments."""


class Agent(Protocol):
    """What decides. `kind` names it in the table, in bundles and in checkpoints."""

    kind: str

    def decide(self, view: Frame, instruction: str, state: bytes, gate: GateToken | None) -> Decision | Preempted:
        """Returns the next action for `view`. `state` is b"" at first, then the last decision's.

        Raises StateUnreadable when `state` is not this agent's.
        """
        ...

    def forget(self) -> None:
        """Drops everything that was seen: caches hold pixels and text of a desktop, which must not outlive its job."""
        ...


class Maker(Protocol):
    def __call__(self, assets: Assets) -> Agent: ...


def check_kind(kind: str) -> None:
    """Raises AgentUnknown for a kind that is not in the table."""
    if kind not in AGENTS:
        raise AgentUnknown(f"there is no agent {kind!r}; the agents are {', '.join(sorted(AGENTS))}")


def make_agent(kind: str, assets: Assets) -> Agent:
    """Returns a new agent of `kind`; it takes the models and files it needs from `assets`.

    Raises AgentUnknown for a kind that is not in the table; whatever `assets` raises for a missing model.
    """
    check_kind(kind)
    module, _, name = AGENTS[kind].partition(":")
    make = cast(Maker, getattr(importlib.import_module(module), name))
    return make(assets)
