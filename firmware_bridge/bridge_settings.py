"""The bridge's own settings: where it reads, where it writes, how often it looks. The policy is a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.settings import setting


@dataclass(frozen=True)
class BridgeSettings:
    """The process that reads the vehicle and alone writes the gate word."""

    sources: tuple[str, ...] = setting((), doc="signal sources, as URLs; `idlehands bridge --help` lists the schemes")
    policy_file: str = setting("/etc/idlehands/policy.toml", doc="the policy (TOML); it must exist")
    runtime_dir: str = setting("/run/idlehands", doc="the gate word `gate` and the status `bridge.json` are here")
    state_dir: str = setting("/var/lib/idlehands-bridge", doc="what survives a reboot: gate_epoch, journal, energy")
    evaluate_every_ms: float = setting(
        20.0,
        unit="ms",
        low=1,
        high=20,
        doc="the policy is evaluated at every change of a signal, and at least so often",
    )
    status_every_ms: float = setting(250.0, unit="ms", low=50, high=5000, doc="how often the status file is written")
    journal_MiB: float = setting(8.0, unit="MiB", low=0.1, high=1024, doc="size of the journal; twice this is on disk")

    @property
    def gate_path(self) -> Path:
        return Path(self.runtime_dir) / "gate"

    @property
    def status_path(self) -> Path:
        return Path(self.runtime_dir) / "bridge.json"

    @property
    def epoch_path(self) -> Path:
        return Path(self.state_dir) / "epoch.json"

    @property
    def energy_path(self) -> Path:
        return Path(self.state_dir) / "energy.json"

    @property
    def parkings_path(self) -> Path:
        return Path(self.state_dir) / "parkings.json"

    @property
    def journal_path(self) -> Path:
        return Path(self.state_dir) / "journal.jsonl"
