"""The table of signal sources: URL scheme -> factory, imported when it is used (the bridge stays small)."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from urllib.parse import parse_qsl

from firmware_bridge.errors import SourceError
from firmware_bridge.sources.protocol import Source


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A source's URL taken apart: `scheme:path?option=value`."""

    text: str
    scheme: str
    path: str
    options: dict[str, str]

    def check_options(self, *known: str) -> None:
        """Raises SourceError for an option that the source does not have."""
        for option in self.options:
            if option not in known:
                near = difflib.get_close_matches(option, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(known) or 'none'}"
                raise SourceError(f"source {self.text}: no option is called {option!r}; {hint}")


# scheme -> (module:function, form, what it reads). The function takes a SourceUrl and returns a Source.
_HERE = "firmware_bridge.sources."
SOURCES: dict[str, tuple[str, str, str]] = {
    "can": (_HERE + "can:open_can", "can:INTERFACE/CHANNEL?map=CAR", "a CAN bus, listen-only"),
    "canlog": (_HERE + "can_log:open_can_log", "canlog:FILE?map=CAR&end=hold", "a candump, BLF or ASC log"),
    "clock": (_HERE + "wall_clock:open_wall_clock", "clock:", "the local time of day, for the owner's hours"),
    "consent": (_HERE + "consent:open_consent", "consent:FILE?key=FILE&seen=FILE", "the owner's signed consent"),
    "flags": (_HERE + "flags:open_flags", "flags:FOLDER", "files with true or false, written by other services"),
    "kuksa": (_HERE + "kuksa:open_kuksa", "kuksa:HOST:PORT?ca=FILE&token=FILE", "a KUKSA databroker (kuksa.val.v2)"),
    "sysfs": (_HERE + "sysfs:open_sysfs", "sysfs:?every_ms=200&zones=cpu,gpu", "the computer's own sensors"),
    "trace": (_HERE + "trace:open_trace", "trace:FILE?cues=FIFO&end=hold", "a recorded trace"),
}


def parse_url(text: str) -> SourceUrl:
    """Takes a URL apart. Raises SourceError for a scheme that the table does not have."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SOURCES:
        forms = ", ".join(form for _, form, _ in SOURCES.values())
        raise SourceError(f"source {text!r}: no scheme is called {scheme!r}", next_step=f"there are: {forms}")
    path, _, query = rest.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise SourceError(f"source {text!r}: options must look like ?name=value&name=value") from error
    return SourceUrl(text, scheme, path.removeprefix("//") if rest.startswith("///") else path, options)


def open_source(text: str) -> Source:
    """Returns the source of a URL. Raises SourceError (or a kind of it) if it cannot be opened."""
    url = parse_url(text)
    module, _, function = SOURCES[url.scheme][0].partition(":")
    try:
        factory = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        raise SourceError(
            f"source {text!r} needs the Python package {error.name!r}, which is not installed",
            next_step="pip install 'idlehands[vehicle]'",
        ) from error
    source: Source = factory(url)
    return source
