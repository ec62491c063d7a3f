"""Errors of agents.

RuntimeFault
└── AgentFault
    ├── AgentUnknown      no such kind in the table
    ├── StateUnreadable   a checkpoint of another agent, or damaged
    └── AssetMissing      the bundle lacks a model or file that the agent needs
"""

from __future__ import annotations

from runtime.errors import RuntimeFault


class AgentFault(RuntimeFault):
    """An agent cannot work with what it was given."""


class AgentUnknown(AgentFault):
    """A job or a bundle names a kind of agent that this build does not have."""

    next_step = "name one of the agents listed, or install the version that has it"


class StateUnreadable(AgentFault):
    """The state in a checkpoint was written by another agent or another version, or is damaged."""

    next_step = "submit the job anew; its checkpoint cannot be continued"


class AssetMissing(AgentFault):
    """A bundle does not hold a model or a file that its kind of agent needs, or holds it in another shape."""

    next_step = "install a bundle of the agent's own kind ('idlehands model list' shows the kinds)"
