"""A car's receipts on their way to the fleet: what is not counter-signed is sent, again and again, until it is.

    ledger ──waiting──► Parcel ──► fleet ──► Answer ──► Ledger.keep ──► `idlehands ledger verify` counts it

Nothing is kept here but what was booked since the last look: the ledger on the disk says what is waiting, so that a
crash, a long outage or books that the fleet lost cost nothing but sending again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from runtime.fleet.books import PARCEL_CAP, Answer, Parcel
from runtime.fleet.connection import Connection
from runtime.fleet.errors import CredentialsError
from runtime.fleet.streams import RECEIPT
from runtime.jobs.store import JobStoreError
from runtime.ledger.audit import receipts, waiting
from runtime.ledger.entry import Entry
from runtime.ledger.ledger import Ledger, LedgerError
from runtime.ledger.receipt import Receipt, ReceiptError

log = logging.getLogger("idlehands.fleet")
LOOK_S = 1.0
AWAY_PAUSE_S, LAST_PAUSE_S = 8.0, 300.0
QUEUE_CAP = 1000  # more than this is read from the disk again


def fleet_key(credentials: Path | None) -> Collection[str] | None:
    """Returns the keys of which one must counter-sign, as the fleet's authority gave them to this car.

    None, where the fleet has no identities at all, takes any. Raises CredentialsError.
    """
    if credentials is None:
        return None
    try:
        return frozenset((credentials / "fleet.pub").read_text().split())
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"the fleet's key {credentials}/fleet.pub cannot be read: {error}") from error


class Mailer:
    """Sends the receipts of `ledger` over `connection` and keeps the answers, from `start` to `stop`."""

    def __init__(self, ledger: Ledger, connection: Connection, fleet: Collection[str] | None = None) -> None:
        self._ledger, self._connection, self._fleet = ledger, connection, fleet
        self._booked: deque[Receipt] = deque()  # filled by the thread that books, emptied by the loop
        self._queue: deque[Receipt] = deque()  # the loop's own: consecutive, oldest first
        self._is_behind = True  # more may be waiting on the disk than is in the two
        self._pause_s = LOOK_S
        self._task: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, in the running loop."""
        self._ledger.on_booked = self._hear
        self._task = asyncio.create_task(self._send_all())

    async def stop(self) -> None:
        """Ends, with the ledger let go of; what was not answered is sent when a car starts with this ledger again."""
        self._ledger.on_booked = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._keeping is not None:  # a thread cannot be stopped, and the ledger is closed next
            await asyncio.gather(self._keeping, return_exceptions=True)

    def _hear(self, entry: Entry) -> None:
        """Hears of a new entry, on the disk already, in whatever thread booked it."""
        if len(self._booked) < QUEUE_CAP:
            self._booked.append(Receipt(entry=entry))
        else:
            self._is_behind = True

    async def _send_all(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s)
            if not self._connection.is_up:
                continue
            try:
                if self._is_behind:
                    await self._read(lambda: waiting(self._ledger.folder))
                while self._next():
                    await self._send_some()
                    self._pause_s = LOOK_S
            except JobStoreError as error:  # the fleet is away, or its books are
                log.info("receipts wait: %s", error.message)
                self._pause_s = min(2 * self._pause_s, AWAY_PAUSE_S)
            except (LedgerError, ReceiptError, msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("receipts wait: %s", error)
                self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)

    async def _read(self, find: Callable[[], Iterator[Receipt]]) -> None:
        """Queues what the disk has. What was heard of before is on it; what is booked from here on is heard of."""
        self._is_behind = False
        self._booked.clear()
        try:
            self._queue = deque(await asyncio.to_thread(lambda: list(islice(find(), QUEUE_CAP))))
        except BaseException:
            self._is_behind = True
            raise
        if len(self._queue) == QUEUE_CAP:
            self._is_behind = True

    def _next(self) -> bool:
        """Returns whether something is queued, with what was booked meanwhile behind it, if nothing lies between."""
        while self._booked and not self._is_behind:
            receipt = self._booked.popleft()
            if not self._queue or receipt.entry.n > self._queue[-1].entry.n:
                self._queue.append(receipt)
        return bool(self._queue)

    async def _send_some(self) -> None:
        """Sends one parcel and keeps what is answered. Raises ReceiptError where the fleet will not go on."""
        parcel = tuple(islice(self._queue, PARCEL_CAP))
        subject = f"{RECEIPT}{self._connection.address.name}"
        message = await self._connection.request(subject, msgspec.json.encode(Parcel(parcel)))
        answer = msgspec.json.decode(message.data, type=Answer)
        signed = [
            msgspec.structs.replace(receipt, countersignature=word)
            for receipt, word in zip(parcel, answer.countersignatures, strict=False)
        ]
        if signed:
            self._keeping = asyncio.create_task(asyncio.to_thread(self._ledger.keep, *signed, fleet=self._fleet))
            await asyncio.shield(self._keeping)
            for _ in signed:
                self._queue.popleft()
        if answer.refused:
            raise ReceiptError(f"the fleet refuses a receipt of this car: {answer.refused}")
        if len(signed) < len(parcel):
            await self._begin_at(answer.wanted)

    async def _begin_at(self, wanted: int) -> None:
        """The fleet misses receipts that it answered once: it lost its books. They are sent again."""
        log.warning("the fleet wants this car's receipts from number %d on again", wanted)
        await self._read(
            lambda: (
                msgspec.structs.replace(receipt, countersignature=None)
                for receipt in receipts(self._ledger.folder)
                if receipt.entry.n >= wanted
            )
        )
        self._is_behind = True  # what else waits is looked for when these are through
        if not self._queue or self._queue[0].entry.n != wanted:
            raise ReceiptError(f"the fleet wants receipt {wanted}, which is not in {self._ledger.folder}")
