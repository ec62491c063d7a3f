"""The page of results: what a bench returned stands there, sections that are not measured anew stay."""

from __future__ import annotations

import json
from pathlib import Path

from bench.results import run, sections


def test_a_page_is_made_of_what_benches_returned_and_kept_in_part(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    where = {"cpu": "a core", "cpus": 2, "load_1min": 0.1}
    for name, p50 in (("frames", 1.5), ("session", 2.29)):
        rows = [{"what": f"{name} | it", "p50_ms": p50, "note": None}, {"what": "peer", "p50_ms": 3.0}]
        result = {"rows": rows, "machine": where, "kept": {"misses": 0, "series": [[1, 2]]}}
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
        run(["--from", f"{name}={tmp_path / name}.json", "--page", str(page)])
    text = page.read_text()
    assert "| what | p50_ms | note |\n| --- | --- | --- |\n| frames / it | 1.5 |  |\n| peer | 3 |  |" in text
    assert "a core, 2 cores, load 0.1" in text
    assert "* kept: misses 0" in text
    assert "series" not in text
    assert list(sections(text)) == ["frames", "session"]
    assert "<svg" in (tmp_path / "pictures" / "session.svg").read_text()
    rows = [{"case": "one", "what": what, "p50_ms": 1.0} for what in ("ours", "theirs")]
    (tmp_path / "gate.json").write_text(json.dumps({"rows": rows, "machine": where}))
    run(["--from", f"gate={tmp_path / 'gate.json'}", "--page", str(page)])
    drawn = (tmp_path / "pictures" / "gate.svg").read_text()
    assert "one ours" in drawn, "each row has a bar, also where its first word is another's"
    assert "one theirs" in drawn
    before = sections(text)["frames"]
    rows = [{"what": "anew", "p50_ms": 9.0}]
    (tmp_path / "session.json").write_text(json.dumps({"rows": rows, "machine": where}))
    run(["--from", f"session={tmp_path / 'session.json'}", "--page", str(page)])
    assert sections(page.read_text())["frames"].strip() == before.strip()
    assert "anew" in page.read_text()
    assert "2.29" not in page.read_text()
