"""Offers: a message says that a job may be taken. Each lane is one shared pull consumer on the work queue.

    publish ─► lane ─► pull ─► (held: its owner is heard from) ─► ack: the job is over     nak: another may take it

An offer that nobody answers comes again after ack_wait, an offer too many is harmless: what counts is the job's record.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from runtime.fleet.connection import REQUEST_S, Connection
from runtime.fleet.errors import FleetAway
from runtime.fleet.records import Lane
from runtime.fleet.streams import OFFER, OFFERS

ACK, NAK, PROGRESS = b"+ACK", b"-NAK", b"+WPI"


@dataclass(frozen=True)
class Offer:
    """A job that may be taken; `ack` is the subject where it is answered, also by another process."""

    job: str
    ack: str
    lane: Lane


class Offers:
    """The lanes' offers over one connection. One pull a lane is under way at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = ""
        self._inbox_of: object = None
        self._number = 0
        self._draining: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, _Pull] = {}  # by the lane's subject
        self._losses = 0
        connection.on_lost.append(self._lose)

    async def publish(self, lane: Lane, job: str, message_id: str = "") -> None:
        """Offers a job. The same `message_id` within two minutes is the same offer."""
        headers = {"Nats-Msg-Id": message_id} if message_id else {}
        await self._connection.write(OFFER + lane.subject, job.encode(), headers)

    async def pull(self, lanes: Iterable[Lane], wait_s: float = 0.0, until: asyncio.Event | None = None) -> list[Offer]:
        """Returns an offer of each lane that has one, waiting for one up to `wait_s`, at most until `until` is set.

        A pull that waits has an inbox of its own, which is drained at its end: the server then drops what still waits
        there, so that no offer goes to a car that is busy by now, and one that was on its way is given back.
        """
        if wait_s <= 0:
            if self._inbox_of is not self._connection.client:  # at first, and after a client was given up
                self._inbox_of = self._connection.client
                self._inbox = self._connection.client.new_inbox()
                await self._connection.client.subscribe(f"{self._inbox}.*", cb=self._hear)
            return await self._pull(lanes, 0.0, self._inbox)
        inbox = self._connection.client.new_inbox()
        subscription = await self._connection.client.subscribe(f"{inbox}.*", cb=self._hear)
        try:
            return await self._pull(lanes, wait_s, inbox, until)
        finally:
            task = asyncio.create_task(_drain(subscription))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _pull(
        self, lanes: Iterable[Lane], wait_s: float, inbox: str, until: asyncio.Event | None = None
    ) -> list[Offer]:
        asked = [self._ask(lane, wait_s, inbox) for lane in lanes if lane.subject not in self._waiting]
        if not asked:
            return []
        for sent, _ in asked:
            await sent
        answers = [answer for _, answer in asked]
        ended: set[asyncio.Future[Offer | None]] = set()
        losses = self._losses
        stopping = asyncio.create_task((until or asyncio.Event()).wait())
        give_up_s = asyncio.get_running_loop().time() + wait_s + REQUEST_S
        try:
            while len(ended) < len(answers) and not any(answer.result() for answer in ended):
                left_s = give_up_s - asyncio.get_running_loop().time()
                if left_s <= 0 or losses != self._losses:
                    raise FleetAway("the fleet's server did not answer a pull")
                waiting = {*answers} - ended
                watched: set[asyncio.Future[Any]] = {*waiting, stopping}
                await asyncio.wait(watched, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                ended |= {answer for answer in waiting if answer.done()}
                if stopping.done():
                    break
            if losses != self._losses:
                raise FleetAway("the link was lost under a pull")
            return [offer for answer in answers if answer.done() and (offer := answer.result()) is not None]
        finally:
            stopping.cancel()
            self._forget(answers)

    async def answer(self, ack: str, word: bytes, delay_s: float = 0.0) -> None:
        """Answers an offer: ACK, NAK (again, after `delay_s`) or PROGRESS. May be lost: then it comes again.

        A NAK is waited for, so that whoever pulls next finds the offer.
        """
        if not ack:
            return
        if word != NAK:
            await self._connection.say(ack, word)
            return
        body = word + b' {"delay": %d}' % int(delay_s * 1e9) if delay_s > 0 else word
        with contextlib.suppress(FleetAway):
            await self._connection.request(ack, body)

    def _ask(self, lane: Lane, wait_s: float, inbox: str) -> tuple[Awaitable[None], asyncio.Future[Offer | None]]:
        answer: asyncio.Future[Offer | None] = asyncio.get_running_loop().create_future()
        self._number += 1
        self._waiting[lane.subject] = _Pull(lane, str(self._number), answer)
        form = {"batch": 1, "expires": int(wait_s * 1e9)} if wait_s > 0 else {"batch": 1, "no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{OFFERS}.{lane.consumer}"
        reply = f"{inbox}.{self._number}"
        return self._connection.client.publish(subject, json.dumps(form).encode(), reply=reply), answer

    def _lose(self) -> None:
        """The link is lost: the server forgets what waited there, so nothing is waited for here."""
        self._losses += 1
        for pull in self._waiting.values():
            if not pull.answer.done():
                pull.answer.set_result(None)

    def _forget(self, answers: list[asyncio.Future[Offer | None]]) -> None:
        self._waiting = {key: pull for key, pull in self._waiting.items() if pull.answer not in answers}

    async def _hear(self, message: Msg) -> None:
        """A pulled message comes under its own subject, the status of a pull that got none under the inbox's."""
        if not message.subject.startswith(OFFER):
            number = message.subject.rpartition(".")[2]
            for pull in self._waiting.values():
                if pull.number == number and not pull.answer.done():
                    pull.answer.set_result(None)
            return
        known = self._waiting.get(message.subject.removeprefix(OFFER))
        if known is None or known.answer.done():  # too late: nobody waits for it any more
            await self.answer(message.reply, NAK)
        else:
            known.answer.set_result(Offer(message.data.decode(), message.reply, known.lane))


async def _drain(subscription: Subscription) -> None:
    with contextlib.suppress(nats.errors.Error, OSError):
        await subscription.drain()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Pull:
    """A pull under way; `number` is the last token of its inbox."""

    lane: Lane
    number: str
    answer: asyncio.Future[Offer | None]
