"""The settings of serve, its workers and the desktop connector, as tables (firmware_bridge/settings.py reads them).

    [daemon]    idlehands serve: where its state, sockets and gate word are
    [worker]    what a worker may use, and how it leaves
    [desktop]   idlehands desktop: what it works, where it listens and keeps its journal
    [fleet]     the servers that jobs come from, besides the local queue
    [ledger]    what is assumed where nothing measures
    [prices]    what the owner is paid and pays: `idlehands ledger statement`
    [relay]     idlehands relay: where it listens and what it lets its users do

The bridge's settings and the gate's policy are files of their own: the worker's user cannot write them.
`idlehands doctor --settings` prints these tables as a documented file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from firmware_bridge.settings import load, parse, setting

SETTINGS_PATH = Path("/etc/idlehands/idlehands.toml")


def _state_folder() -> str:
    if os.geteuid() == 0:
        return "/var/lib/idlehands"
    return str(Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "idlehands")


def _runtime_folder() -> str:
    if os.geteuid() == 0:
        return "/run/idlehands"
    return str(Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/idlehands-{os.geteuid()}") / "idlehands")


@dataclass(frozen=True)
class Daemon:
    """idlehands serve. Empty paths mean the default below the state folder or the runtime folder."""

    state_folder: str = setting("", doc="Jobs, ledger, identity and installed models. Default: /var/lib/idlehands")
    runtime_folder: str = setting("", doc="Sockets. Default: /run/idlehands")
    gate_word: str = setting("", doc="The bridge's gate word. Default: gate in the runtime folder")
    metrics: str = setting("", doc="Prometheus metrics: 'unix:/path', '127.0.0.1:port', or empty for none")
    log_level: str = setting("info", doc="How much is logged.", choices=("debug", "info", "warning", "error"))
    models_quota_MiB: int = setting(
        0, doc="What installed models may take on the disk; 0: all that is free.", unit="MiB", low=0, high=1 << 24
    )
    lease_s: float = setting(10.0, doc="A job's lease; renewed every third of it.", unit="s", low=1, high=600)
    max_attempts: int = setting(5, doc="A job that failed its worker this often is poison.", low=1, high=100)

    @property
    def state(self) -> Path:
        return Path(self.state_folder or _state_folder())

    @property
    def run(self) -> Path:
        return Path(self.runtime_folder or _runtime_folder())

    @property
    def gate_word_path(self) -> Path:
        return Path(self.gate_word) if self.gate_word else self.run / "gate"

    @property
    def control_path(self) -> Path:
        return self.run / "control"

    @property
    def jobs_path(self) -> Path:
        return self.state / "jobs.sqlite"

    @property
    def ledger_path(self) -> Path:
        return self.state / "ledger"

    @property
    def identity_folder(self) -> Path:
        return self.state / "identity"

    @property
    def fleet_folder(self) -> Path:
        return self.state / "fleet"

    @property
    def device_path(self) -> Path:
        return self.state / "device.json"

    @property
    def models_folder(self) -> Path:
        return self.state / "models"


@dataclass(frozen=True)
class Worker:
    """What a worker may use, and how it leaves."""

    sessions: int = setting(1, doc="Desktops worked on at once by one worker.", low=1, high=64)
    threads: int = setting(
        1,
        doc="Compute threads; the gate word may allow fewer. Sessions share them as lanes, one session has all.",
        low=1,
        high=64,
    )
    memory_MiB: int = setting(
        1024,
        doc="All models of a worker together; idle ones are given up for others, one that needs more is refused.",
        unit="MiB",
        low=128,
        high=65536,
    )
    resident: str = setting("", doc="Models, with commas between, that are loaded at the start and never given up.")
    together: int = setting(
        8,
        doc="Decisions of sessions that share a model are made at once, at most so many, where that was measured to be "
        "faster (`idlehands doctor`); 1: never.",
        low=1,
        high=8,
    )
    decision_ms: float = setting(
        50.0, doc="What a decision is taken to cost until some were seen.", unit="ms", low=0.1, high=60000
    )
    hold_s: float = setting(
        5.0,
        doc="A closing that is not urgent keeps the paused run this long before the worker ends.",
        unit="s",
        low=0,
        high=600,
    )
    idle_s: float = setting(60.0, doc="A worker without a job ends after this.", unit="s", low=0, high=86400)
    grace_s: float = setting(
        0.2, doc="A worker that must leave and does not is killed after this.", unit="s", low=0.01, high=30
    )


@dataclass(frozen=True)
class Desktop:
    """idlehands desktop, beside the desktop that is worked on."""

    listen: str = setting(
        "tls://127.0.0.1:7461",
        doc="Where the car connects: tls://host:port, relay://host:port/TOKEN (both sides dial out) or unix:/path",
    )
    rfb: str = setting("", doc="A VNC server to work instead of an X display: host:port")
    rfb_password_file: str = setting("", doc="The file whose first line is that server's password")
    rfb_user: str = setting("", doc="The user to name to a VNC server that asks for one (VeNCrypt)")
    rfb_certificate: str = setting("", doc="The certificate (PEM) that the VNC server must show (VeNCrypt X509)")
    rfb_jpeg_quality: int = setting(
        0, doc="Pictures of this quality from that server; 0: exact pixels, which preconditions need.", low=0, high=10
    )
    require_grant: bool = setting(
        False, doc="Only jobs with a grant of this desktop's owner may come (`idlehands desktop grant`)"
    )
    state_folder: str = setting("", doc="Journal, identity and who is trusted. Default: desktop below the state folder")

    @property
    def state(self) -> Path:
        return Path(self.state_folder) if self.state_folder else Path(_state_folder()) / "desktop"


@dataclass(frozen=True)
class Ledger:
    """What the ledger assumes where nothing measures."""

    awake_power_W: float = setting(
        275.0,
        doc="What the rest of the car draws while it is awake only for work (250-300 W were published of a Tesla).\n"
        "0 where the computer has a supply of its own and the car sleeps on.",
        unit="W",
        low=0,
        high=2000,
    )
    busy_core_W: float = setting(
        2.5, doc="A core at work, where no rail is measured; such joules are marked.", unit="W", low=0, high=100
    )


@dataclass(frozen=True)
class Prices:
    """What the owner is paid and pays. The pay is what was agreed with the fleet; nothing is assumed of it."""

    currency: str = setting("EUR", doc="How amounts are named; nothing is converted.")
    per_hour: float = setting(0.0, doc="Pay for an hour of work.", unit="currency/h", low=0, high=1e4)
    per_action: float = setting(0.0, doc="Pay for an action on a desktop.", unit="currency", low=0, high=1e4)
    per_compute_kWh: float = setting(0.0, doc="Pay for computing energy.", unit="currency/kWh", low=0, high=1e4)
    electricity_per_kWh: float = setting(
        0.29,
        doc="What the owner pays at the wall (Eurostat: 0.2872 a kWh, the EU's households in 2024).",
        unit="currency/kWh",
        low=0,
        high=1e3,
    )
    charging_efficiency_pct: float = setting(
        88.0, doc="Of the energy at the wall, what reaches the battery.", unit="%", low=10, high=100
    )
    battery_wear_per_kWh: float = setting(
        0.11,
        doc="What a kWh through the battery costs in wear (a pack of 60 kWh for 10,000, worn after 1,500 cycles).",
        unit="currency/kWh",
        low=0,
        high=1e3,
    )


@dataclass(frozen=True)
class Relay:
    """idlehands relay: where cars and desktops meet that can both only dial out. It sees TLS and keeps nothing."""

    listen: str = setting("0.0.0.0:7462", doc="Where both sides connect: host:port")
    max_links: int = setting(4000, doc="Links at once; a pair has two.", low=2, high=100_000)
    waiting_a_token: int = setting(4, doc="Sides that may wait under one token.", low=1, high=64)
    joins_a_minute: int = setting(60, doc="Joins from one address.", low=1, high=1_000_000)
    pair_bytes_per_s: float = setting(
        4e6, doc="What one pair may carry, both ways together.", unit="B/s", low=1e3, high=1e9
    )
    idle_s: float = setting(30.0, doc="A pair that is silent for so long is ended.", unit="s", low=1, high=3600)


@dataclass(frozen=True)
class Fleet:
    """Jobs from a fleet's servers, beside the local queue. No server: none."""

    server: str = setting("", doc="The fleet's servers: tls://host:port, several with commas. Empty: no fleet")
    credentials: str = setting("", doc="Folder with ca.pem, cert.pem, key.pem, user.creds. Empty: none, for tests")
    name: str = setting("", doc="This car's name at the fleet. Default: the name of the machine")
    region: str = setting("", doc="Region whose jobs it takes, besides those for any")
    device_class: str = setting("", doc="Device class whose jobs it takes, besides those for any")
    ping_s: float = setting(20.0, doc="A link that is silent for two of these is lost.", unit="s", low=1, high=600)
    news_s: float = setting(
        0.25,
        doc="It asks for jobs of a new kind within this time, each car at its own moment; 100,000 cars want about 10.",
        unit="s",
        low=0,
        high=600,
    )

    @property
    def car_name(self) -> str:
        return self.name or os.uname().nodename.split(".")[0]


@dataclass(frozen=True)
class Config:
    """The settings of everything but the bridge."""

    daemon: Daemon = field(default_factory=Daemon)
    worker: Worker = field(default_factory=Worker)
    desktop: Desktop = field(default_factory=Desktop)
    ledger: Ledger = field(default_factory=Ledger)
    fleet: Fleet = field(default_factory=Fleet)
    prices: Prices = field(default_factory=Prices)
    relay: Relay = field(default_factory=Relay)


def load_config(path: str | None, overrides: dict[str, object] | None = None) -> Config:
    """Returns the settings of `path`, of /etc/idlehands/idlehands.toml if that is there, or the defaults.

    `overrides` maps dotted keys to values that go first (flags). Raises SettingsError as firmware_bridge.settings does.
    """
    if path is None and not SETTINGS_PATH.exists():
        return parse("", Config, where="flags", overrides=overrides)
    return load(path or SETTINGS_PATH, Config, overrides=overrides)
