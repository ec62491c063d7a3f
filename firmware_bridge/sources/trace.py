"""The trace source: replays a trace on any clock, waits at its cues, and records any other source."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO

from firmware_bridge.clock import Clock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Quality, Reading, Value
from firmware_bridge.signals import SIGNALS
from firmware_bridge.sources.cues import Cues
from firmware_bridge.sources.protocol import Source
from firmware_bridge.sources.table import SourceUrl
from firmware_bridge.sources.trace_file import DEFAULT_REPEAT_MS, Moment, Trace, header_line, moment_line, read_trace


def open_trace(url: SourceUrl) -> TraceSource:
    """Returns the source of `trace:FILE?cues=FIFO&end=hold|stop`."""
    url.check_options("cues", "end")
    end = url.options.get("end", "stop")
    if end not in ("hold", "stop"):
        raise SourceError(f"source {url.text}: end must be hold or stop, got {end!r}")
    trace = read_trace(url.path)
    cues = Cues(url.options["cues"]) if "cues" in url.options else None
    return TraceSource(trace, url=url.text, take_cue=cues.take if cues else None, holds_end=end == "hold", cues=cues)


class Player:
    """The pure part: walks a trace and says what is due at a time. Time stands still at a cue.

    `position_ns` is the time within the trace; `due(now_ns)` gives the readings since the last call, stamped with the
    time of the clock at which they were due.
    """

    def __init__(self, trace: Trace, start_ns: int, take_cue: Callable[[str], bool] | None, *, holds_end: bool) -> None:
        self._trace = trace
        self._offset_ns = start_ns  # clock time = trace time + offset
        self._take_cue = take_cue
        self._holds_end = holds_end
        self._next = 0
        self._values: dict[str, tuple[Value, Quality]] = {}
        self._period_ns = trace.repeat_ns or int(DEFAULT_REPEAT_MS * 1e6)
        self._repeat_ns: int | None = start_ns + trace.repeat_ns if trace.repeat_ns else None
        self.cue = ""  # what it waits for now

    @property
    def is_over(self) -> bool:
        return self._next >= len(self._trace.moments) and not self._holds_end

    def wake_ns(self) -> int:
        """Returns the clock time at which something is due next."""
        times = [] if self._repeat_ns is None else [self._repeat_ns]
        if not self.cue and self._next < len(self._trace.moments):
            times.append(self._trace.moments[self._next].time_ns + self._offset_ns)
        return min(times)

    def due(self, now_ns: int) -> Iterator[Reading]:
        """Yields, in time order, every reading that was due up to `now_ns`."""
        if self.cue and self._take_cue is not None and self._take_cue(self.cue):
            self._leave_cue(now_ns)
        while not self.is_over and (at_ns := self.wake_ns()) <= now_ns:
            moment = self._trace.moments[self._next] if self._next < len(self._trace.moments) else None
            if moment is not None and not self.cue and moment.time_ns + self._offset_ns == at_ns:
                yield from self._play(moment, at_ns, now_ns)
            else:
                self._repeat_ns = at_ns + self._period_ns
                yield from self._stamped(self._values, at_ns)

    def _play(self, moment: Moment, at_ns: int, now_ns: int) -> Iterator[Reading]:
        self._next += 1
        said = {name: (value, moment.quality) for name, value in moment.readings.items()}
        self._values.update(said)
        for name in moment.silent:
            self._values.pop(name, None)
        yield from self._stamped(said, at_ns)
        if moment.cue and self._take_cue is not None and not self._take_cue(moment.cue):
            self.cue = moment.cue
            self._held_from_ns = at_ns
        if (self.cue or self._next >= len(self._trace.moments)) and self._repeat_ns is None:
            self._repeat_ns = at_ns + self._period_ns

    def _leave_cue(self, now_ns: int) -> None:
        self._offset_ns += now_ns - self._held_from_ns
        self.cue = ""
        if not self._trace.repeat_ns and self._next < len(self._trace.moments):
            self._repeat_ns = None

    def _stamped(self, values: dict[str, tuple[Value, Quality]], at_ns: int) -> Iterator[Reading]:
        for name, (value, quality) in values.items():
            yield Reading(name, value, SIGNALS[name].unit, at_ns, quality)


class TraceSource:
    """Replays `trace`. Without `take_cue` the cues in it are passed over; with `holds_end` the last readings stay."""

    def __init__(
        self,
        trace: Trace,
        *,
        url: str = "trace:",
        take_cue: Callable[[str], bool] | None = None,
        holds_end: bool = False,
        cues: Cues | None = None,
    ) -> None:
        self.url = url
        self.trace = trace
        self._take_cue = take_cue
        self._holds_end = holds_end
        self._cues = cues

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        """Yields the trace's readings from now on."""
        player = Player(self.trace, clock.now_ns(), self._take_cue, holds_end=self._holds_end)
        try:
            while not player.is_over:
                await clock.sleep_until(player.wake_ns())
                for reading in player.due(clock.now_ns()):
                    yield reading
        finally:
            if self._cues is not None:
                self._cues.close()


class Recorder:
    """A source that passes another one through and writes what it says as a trace; line by line, so that a kill leaves
    a trace whose last line may be cut off and no more."""

    def __init__(self, source: Source, path: str | Path) -> None:
        self.url = source.url
        self._source = source
        self._path = Path(path)

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        try:
            file: IO[str] = open(self._path, "w", encoding="utf-8", buffering=1)  # noqa: ASYNC230, SIM115 - a log
        except OSError as error:
            raise SourceError(f"the recording {self._path} cannot be written: {error.strerror}") from error
        with file:
            file.write(header_line(f"recorded from {self.url}") + "\n")
            start_ns = clock.now_ns()
            last_ns = 0
            async for reading in self._source.readings(clock):
                # A source may hand over readings a little out of order; a trace's times must not fall.
                last_ns = max(last_ns, reading.source_time_ns - start_ns)
                file.write(moment_line(Moment(last_ns, {reading.name: reading.value}, reading.quality)) + "\n")
                yield reading
