"""A car's key and a fleet's, the same in every test run, and a run that they book."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.ledger.entry import Run

KEY = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
FLEET_KEY = Ed25519PrivateKey.from_private_bytes(b"f" * 32)


def a_run(number: int, **changes: Any) -> Run:
    run: dict[str, Any] = {
        "job": f"job-{number}",
        "owner_epoch": number,
        "gate_epochs": (3, 3),
        "model": "nav@1.0",
        "seconds": 2.0,
        "cpu_s": 1.5,
        "actions": number,
    }
    return Run(**{**run, **changes})
