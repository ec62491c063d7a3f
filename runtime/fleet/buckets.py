"""Keys on the fleet's servers: read the last value with its revision, write or delete only if that is still the last.

This is the one primitive that ownership stands on. An acknowledgement does not fence, so none is used for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from nats.aio.msg import Msg

from runtime.fleet.connection import NO_MESSAGE, REQUEST_S, WRONG_REVISION, Connection
from runtime.fleet.errors import FleetAway, Refusal

PAGE = 512


class Conflict(Exception):
    """Somebody else wrote the key in between: read it again and decide anew. Never leaves this floor."""


@dataclass(frozen=True)
class Entry:
    """A key's last value; `revision` is its sequence in the stream."""

    key: str
    value: bytes
    revision: int


class Bucket:
    """The keys of one stream below a prefix."""

    def __init__(self, connection: Connection, stream: str, prefix: str) -> None:
        self._connection = connection
        self._stream, self._prefix = stream, prefix

    async def get(self, key: str) -> Entry | None:
        """Returns the last value, None if there is none."""
        answer = await self._connection.request(f"$JS.API.DIRECT.GET.{self._stream}.{self._prefix}{key}")
        headers = answer.headers or {}
        if "Nats-Sequence" not in headers:
            if headers.get("Status") == "404":
                return None
            raise FleetAway(f"the fleet's server did not answer for {key}: {headers.get('Status', 'no status')}")
        return Entry(key, answer.data, int(headers["Nats-Sequence"]))

    async def put(self, key: str, value: bytes, revision: int, ttl_s: int = 0) -> int:
        """Writes over `revision` (0: there is none yet) and returns the new one. Raises Conflict."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        if ttl_s:
            headers["Nats-TTL"] = f"{ttl_s}s"
        try:
            return await self._connection.write(self._prefix + key, value, headers)
        except Refusal as error:
            if error.code == WRONG_REVISION:
                raise Conflict from error
            raise

    async def delete(self, revision: int) -> bool:
        """Deletes the value of that revision; False if it is no longer there. It leaves no marker behind."""
        try:
            await self._connection.call(f"STREAM.MSG.DELETE.{self._stream}", {"seq": revision, "no_erase": True})
        except Refusal as error:
            if error.code in (NO_MESSAGE, 10043, 10057):  # gone already, under each of the names that servers have
                return False
            raise
        return True

    async def purge(self, key: str) -> None:
        """Removes a key as if it had never been."""
        await self._connection.call(f"STREAM.PURGE.{self._stream}", {"filter": self._prefix + key})

    async def scan(self, filter_: str = "*") -> AsyncIterator[Entry]:
        """Yields every key, page after page, with no consumer on the server; a key changed meanwhile comes again."""
        inbox = self._connection.client.new_inbox()
        sequence = 1
        queue: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await self._connection.client.subscribe(inbox, cb=_put_into(queue))
        try:
            while sequence:
                form = {"seq": sequence, "batch": PAGE, "next_by_subj": f"{self._prefix}{filter_}"}
                await self._connection.client.publish(
                    f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(form).encode(), reply=inbox
                )
                sequence = 0
                async for entry in self._page(queue):
                    yield entry
                    sequence = entry.revision + 1
        finally:
            await subscription.unsubscribe()

    async def _page(self, queue: asyncio.Queue[Msg]) -> AsyncIterator[Entry]:
        while True:
            try:
                message = await asyncio.wait_for(queue.get(), REQUEST_S)
            except (TimeoutError, asyncio.TimeoutError) as error:
                raise FleetAway("the fleet's server stopped in the middle of a listing") from error
            headers = message.headers or {}
            if "Nats-Sequence" not in headers:  # the end of the page (204), or nothing more (404)
                return
            key = headers["Nats-Subject"].removeprefix(self._prefix)
            yield Entry(key, message.data, int(headers["Nats-Sequence"]))


def _put_into(queue: asyncio.Queue[Msg]) -> Callable[[Msg], Awaitable[None]]:
    async def put(message: Msg) -> None:
        queue.put_nowait(message)

    return put
