"""A client that shares no code with ours works a desktop: PROTOCOL.md is enough, both sides do not merely agree."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.transport.dial import listen
from runtime.transport.identity import Identity
from runtime.transport.stream import Stream
from runtime.wire.actions import Click
from runtime.wire.messages import Act, Credit, Hello
from runtime.wire.session import Closed, Transmit
from runtime.wire.session_desktop import DesktopSession, Known
from runtime.wire.tables import CloseReason, Outcome
from runtime.wire.tiles import FAST, LOCAL, SLOW, Packing, TilePacker
from tests.transport.links import identities
from tests.wire.test_tiles import hashes_of, screen
from tests.wire.write_vectors import PROTOCOL, protocol

CLIENT = Path(__file__).parents[2] / "examples" / "plain_client.py"


async def serve(stream: Stream, pixels: NDArray[np.uint8], packing: Packing, heard: list[object]) -> None:
    """The smallest honest desktop: shows one screen and applies every click on paper."""
    clock = asyncio.get_running_loop().time
    session, packer = DesktopSession(int(clock() * 1e9)), TilePacker(packing)
    height, width = pixels.shape[:2]
    while data := await stream.receive():
        for event in session.receive(data, int(clock() * 1e9)):
            heard.append(event)
            if isinstance(event, Transmit):
                await stream.send(event.data)
            elif isinstance(event, Hello):
                known = Known(7, 41, Outcome.applied)
                for answer in session.answer(known, session=1, width=width, height=height, tile_key=bytes(16)):
                    assert isinstance(answer, Transmit)
                    await stream.send(answer.data)
            elif isinstance(event, Credit):
                for part in packer.parts(1, pixels, hashes_of(pixels), captured_ns=1, capture_us=1):
                    await stream.send(session.send_part(part))
            elif isinstance(event, Act):
                await stream.send(session.send_result(event.seq, Outcome.applied))
            elif isinstance(event, Closed):
                await stream.send(session.send_bye(event.reason))


@pytest.mark.parametrize("packing", [LOCAL, FAST, SLOW], ids=["raw", "zstd", "zstd, slow"])
@pytest.mark.parametrize("scheme", ["unix", "tls"])
def test_the_plain_client_sees_the_screen_and_clicks(tmp_path: Path, scheme: str, packing: Packing) -> None:
    pixels = screen(333, 200)
    heard: list[object] = []

    async def main() -> dict[str, object]:
        car, desktop = identities(tmp_path)
        url = f"unix:{tmp_path}/s" if scheme == "unix" else "tls://127.0.0.1:0"
        server = await listen(url, desktop, lambda stream: serve(stream, pixels, packing, heard))
        extra = ["--identity", str(car.folder)] if scheme == "tls" else []
        client = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), server.address, "job-1", "7", "secret", *extra, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(client.communicate(), 60)
        await server.close()
        assert client.returncode == 0
        told: dict[str, object] = json.loads(out)
        return told

    told = asyncio.run(main())
    assert told == {
        "last": [41, Outcome.applied],
        "frame": 1,
        "bgr_sha256": hashlib.sha256(np.ascontiguousarray(pixels[..., :3]).tobytes()).hexdigest(),
        "seq": 42,
        "outcome": Outcome.applied,
        "reason": 0,
        "end": CloseReason.job_over,
    }
    hello = next(event for event in heard if isinstance(event, Hello))
    assert hello == Hello(1, "job-1", 7, b"secret", "plain client", "none", ("zstd",))
    assert [event.action for event in heard if isinstance(event, Act)] == [Click(166, 100)]


def test_the_plain_client_shares_no_code_with_ours() -> None:
    text = CLIENT.read_text()
    assert "import runtime" not in text
    assert "from runtime" not in text
    assert len(text.splitlines()) < 160


def test_protocol_md_is_what_the_code_says() -> None:
    assert protocol() == PROTOCOL.read_text(), "run python -m tests.wire.write_vectors"


def test_an_identity_of_the_tests_is_a_real_one(tmp_path: Path) -> None:
    assert isinstance(identities(tmp_path)[0], Identity)
