"""A VNC desktop from the command line: limits, log, grants and fence are the connector's, whatever the desktop is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.config.config import Desktop as DesktopSettings
from runtime.desktop.errors import DisplayUnreachable, LimitsError
from runtime.desktop.log import LOG_FILE, verify
from runtime.desktop.remote import RemoteDesktop
from runtime.desktop.serve import serve_rfb
from runtime.transport.dial import dial
from runtime.wire.actions import Click, Precondition, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.test_rfb import PASSWORD, Vnc, needs_xvnc

pytestmark = pytest.mark.desktop


def served(folder: Path, story: Callable[[RemoteDesktop], Awaitable[None]]) -> list[dict[str, Any]]:
    """Serves an Xvnc with a password, has a car tell `story` on it; returns what the connector told."""
    vnc = Vnc(folder, "VncAuth")
    (folder / "secret").write_text(PASSWORD + "\n")
    (folder / "desk").mkdir()
    (folder / "desk" / "limits.toml").write_text("[limits]\nforbidden_text = ['hunter2']\n")
    settings = DesktopSettings(
        listen=f"unix:{folder}/socket",
        state_folder=str(folder / "desk"),
        rfb=vnc.address,
        rfb_password_file=str(folder / "secret"),
    )
    events: list[dict[str, Any]] = []

    async def main() -> None:
        listening = asyncio.Event()

        def tell(event: dict[str, Any]) -> None:
            events.append(event)
            if event["event"] == "listening":
                listening.set()

        serving = asyncio.ensure_future(serve_rfb(settings, None, tell))
        await listening.wait()
        stream = await dial(settings.listen)
        async with await RemoteDesktop.connect(stream, job="job", owner_epoch=1) as remote:
            await remote.next_frame()
            await story(remote)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    try:
        asyncio.run(asyncio.wait_for(main(), 30))
    finally:
        vnc.close()
    return events


@needs_xvnc
def test_a_car_works_a_vnc_desktop_under_its_owner_s_limits(tmp_path: Path) -> None:
    async def story(remote: RemoteDesktop) -> None:
        region = (10, 10, 20, 20)
        clicked = await remote.act(Click(15, 15), Precondition(*region, remote.hash_region(*region)))
        assert clicked.outcome is Outcome.applied
        stale = await remote.act(Click(15, 15), Precondition(*region, bytes(16)))
        assert stale.reason == Refusal.changed_pixels
        assert (await remote.act(Type("hello"))).outcome is Outcome.applied
        assert (await remote.act(Type("hunter2"))).reason == Refusal.limits_text

    events = served(tmp_path, story)
    assert [event["outcome"] for event in events if event["event"] == "action"] == [
        "applied",
        "refused",
        "applied",
        "refused",
    ]
    assert verify(tmp_path / "desk" / LOG_FILE).records >= len(events)
    assert "hello" not in (tmp_path / "desk" / LOG_FILE).read_text()
    assert json.dumps(events)


def test_what_a_vnc_desktop_cannot_hold_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text("[limits]\nwindows = ['Mail']\n")
    settings = DesktopSettings(state_folder=str(tmp_path), rfb="127.0.0.1:1")
    with pytest.raises(LimitsError, match="names no windows"):
        asyncio.run(serve_rfb(settings, None, lambda event: None))
    (tmp_path / "limits.toml").unlink()
    with pytest.raises(DisplayUnreachable, match="password's file"):
        asyncio.run(
            serve_rfb(
                DesktopSettings(state_folder=str(tmp_path), rfb="127.0.0.1:1", rfb_password_file="/nowhere"),
                None,
                lambda event: None,
            )
        )
