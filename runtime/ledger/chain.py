"""A car's chain of entries, wherever it is kept: the ledger's file, or the memory of a client that sends it away. Pure.

chain = Chain(key)
entry = chain.entry(run, at_ns)     signed, and follows the last one that was taken
chain.take(entry)                   it is kept: the next one follows it
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.ledger.entry import START, Entry, Run, read_line

# A core at work, the order of magnitude of a car computer's (NVIDIA's nvpmodel tables: Jetson Orin's 8 to 12 cores draw
# 10 to 30 W at full clocks). Only for estimates, and every entry made with it says so.
BUSY_CORE_W = 2.5


class Chain:
    """Makes the entries of the car whose `key` this is, after entry `n` with the hash `previous`."""

    def __init__(
        self, key: Ed25519PrivateKey, *, n: int = 0, previous: str = START, busy_core_W: float = BUSY_CORE_W
    ) -> None:
        self.n, self.previous = n, previous
        self._key, self._busy_core_W = key, busy_core_W

    def entry(self, run: Run, at_ns: int) -> Entry:
        """Returns the entry of `run` that follows the last one taken, booked at `at_ns` (UTC).

        Raises ValueError for amounts that no run can use, and for names that do not fit into a line.
        """
        joules = run.cpu_s * self._busy_core_W if run.joules is None else run.joules
        battery_joules = (joules + run.awake_joules) * run.battery_share
        amounts = (run.seconds, run.cpu_s, joules, run.awake_joules, battery_joules)
        if not all(0 <= amount < float("inf") for amount in amounts) or run.battery_share > 1 or run.actions < 0:
            raise ValueError(f"no run can use this: {run}")
        seconds, cpu_s, joules, awake, battery = (round(float(amount), 6) for amount in amounts)
        entry = Entry(
            n=self.n + 1,
            at_ns=at_ns,
            job=run.job,
            owner_epoch=run.owner_epoch,
            gate_epochs=run.gate_epochs,
            model=run.model,
            seconds=seconds,
            cpu_s=cpu_s,
            actions=run.actions,
            joules=joules,
            is_estimated=run.joules is None,
            awake_joules=awake,
            battery_joules=battery,
            car=START,
            previous=self.previous,
        ).sealed(self._key)
        if read_line(entry.line()[:-1]) is None:
            raise ValueError(f"job {run.job!r} or model {run.model!r} does not fit into a line of the ledger")
        return entry

    def take(self, entry: Entry) -> None:
        """The entry is kept: what comes next follows it."""
        self.n, self.previous = entry.n, entry.hash
