"""The fleet's service that answers cars' receipts, beside the servers: `fleet up` runs it, `fleet books` for a cluster.

    ih.receipt.CAR ─► queue ─► as many parcels as wait, one commit (books.py, a thread) ─► an answer each

Several that answer would each have books of their own, so one runs at a time; while none does the cars keep what they
have. What a car sent is answered after it is on the disk, never before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import msgspec
import nats.errors
from nats.aio.msg import Msg

from runtime.fleet.books import Books, BooksError
from runtime.fleet.connection import Connection
from runtime.fleet.streams import RECEIPT

log = logging.getLogger("idlehands.fleet")
AT_ONCE = 200
LOOK_S = 0.5


class Bookkeeper:
    """Answers with `books` over `connection`, an operator's that is kept open."""

    def __init__(self, connection: Connection, books: Books) -> None:
        self._connection, self._books = connection, books
        self._parcels: asyncio.Queue[Msg] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to listen, in the running loop, and again after every client that the connection makes anew."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._answer())]

    async def stop(self) -> None:
        """Ends; parcels under way are not answered, and come again. The books are closed by who opened them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        heard_by = None
        while True:
            client = self._connection.client
            if client is not heard_by and self._connection.is_up:
                with contextlib.suppress(nats.errors.Error, OSError):
                    await client.subscribe(f"{RECEIPT}*", cb=self._parcels.put)
                    heard_by = client
            await asyncio.sleep(LOOK_S)

    async def _answer(self) -> None:
        while True:
            messages = [await self._parcels.get()]
            while len(messages) < AT_ONCE and not self._parcels.empty():
                messages.append(self._parcels.get_nowait())
            parcels = [(message.subject.removeprefix(RECEIPT), message.data) for message in messages]
            taking = asyncio.create_task(asyncio.to_thread(self._books.take, parcels, time.time_ns()))
            try:
                answers = await asyncio.shield(taking)
            except BooksError as error:
                log.error("%s", error)  # no answer: the cars send it again
                continue
            except asyncio.CancelledError:
                await asyncio.gather(taking, return_exceptions=True)  # the file is let go of before it is closed
                raise
            for message, answer in zip(messages, answers, strict=True):
                if answer.refused:
                    log.warning("a receipt of %s was refused: %s", message.subject, answer.refused)
                with contextlib.suppress(nats.errors.Error, OSError):
                    await message.respond(msgspec.json.encode(answer))
