"""An agent must not know the pages that it is measured on: neither their names nor words that only they use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.evaluation.miniwob import task_lists

AGENT = Path(__file__).parent.parent.parent / "runtime" / "agent"
PAGE_WORDS = ("miniwob", "wob_", "jquery", "sync-task", "utterance", "episode", "lorem", "160", "210")


@pytest.mark.parametrize("source", sorted(AGENT.rglob("*.py")), ids=lambda path: path.name)
def test_no_page_is_named(source: Path) -> None:
    text = source.read_text(encoding="utf-8").lower()
    names = {name for tasks in task_lists().values() for name in tasks}
    found = [name for name in names if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]
    found += [word for word in PAGE_WORDS if re.search(rf"(?<![\w.]){re.escape(word)}(?![\w])", text)]
    assert not found
