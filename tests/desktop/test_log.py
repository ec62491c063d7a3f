"""The session log: whatever is changed, left out, moved or forged in it, verifying says where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.desktop.errors import LogError
from runtime.desktop.log import LOG_FILE, SessionLog, hash_of, read_log, verify
from runtime.desktop.pictures import FOLDER, keep_picture, render
from runtime.wire.actions import Click, Drag, Type
from tests.desktop.test_session import Place, run


def written(folder: Path, count: int = 5) -> Path:
    log = SessionLog(folder)
    for number in range(count):
        log.append({"event": "action", "at_ns": number, "kind": "click"})
    log.close()
    return folder / LOG_FILE


def test_a_log_holds_together_over_restarts(tmp_path: Path) -> None:
    path = written(tmp_path)
    written(tmp_path, 2)
    verified = verify(path)
    assert (verified.records, verified.sealed) == (9, 9)
    assert verify(path, verified.key) == verified


def test_what_came_after_the_last_seal_is_told(tmp_path: Path) -> None:
    log = SessionLog(tmp_path)
    log.append({"event": "session_closed"})
    log.append({"event": "action"})
    assert (verify(log.path).records, verify(log.path).sealed) == (3, 2)


@given(st.data())
def test_any_change_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = written(tmp_path_factory.mktemp("log"))
    lines = path.read_text().splitlines()
    index = data.draw(st.integers(0, len(lines) - 2))
    match data.draw(st.sampled_from(["change", "drop", "swap", "repeat"])):
        case "change":
            record = json.loads(lines[index])
            record["at_ns"] = 99
            if data.draw(st.booleans()):
                record["hash"] = hash_of(record)
            lines[index] = json.dumps(record)
        case "drop":
            del lines[index]
        case "swap":
            lines[index], lines[index + 1] = lines[index + 1], lines[index]
        case _:
            lines.insert(index, lines[index])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(LogError, match="record"):
        verify(path)


def test_a_log_that_was_written_anew_is_not_by_our_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    key = verify(written(tmp_path / "a")).key
    forged = written(tmp_path / "b")
    with pytest.raises(LogError, match="seal is not by the key"):
        verify(forged, key)


def test_a_torn_last_line_is_cut_and_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    with open(path, "a") as file:
        file.write('{"n": 7, "half')
    SessionLog(tmp_path).close()
    assert [record["event"] for record in read_log(path)][-2:] == ["torn", "seal"]
    verify(path)


def test_a_session_is_logged_with_what_was_seen_and_filmed(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    log = SessionLog(tmp_path / "log")

    async def story(place: Place) -> None:
        place.connector.camera = lambda pixels, action: keep_picture(tmp_path / "log", pixels, action)
        place.connector.events = log.append
        remote = await place.connect()
        for action in (Click(20, 20), Click(20, 110), Type("secret"), Drag(((5, 5), (250, 150))), Click(999, 0)):
            await remote.act(action)
            await remote.settle(quiet_ms=5, at_most_ms=50)
        await remote.bye()
        await place.ended()

    run(tmp_path, story)
    log.close()
    records = list(read_log(log.path))
    actions = [record for record in records if record["event"] == "action"]
    assert [record["kind"] for record in actions] == ["click", "click", "type", "drag", "click"]
    assert all(len(record["seen"]) == 32 for record in actions)
    assert "secret" not in log.path.read_text()
    assert verify(log.path).sealed == len(records)
    for name in ("strip.png", "strip.html"):
        assert render(records, tmp_path / "log", tmp_path / name) == 5
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.width > 1000
    assert (tmp_path / "strip.html").read_text().count("<img") == 5
    picture = tmp_path / "log" / FOLDER / f"{actions[0]['picture']}.png"
    picture.write_bytes(b"another")
    with pytest.raises(LogError, match="was changed"):
        render(records, tmp_path / "log", tmp_path / "strip.png")
