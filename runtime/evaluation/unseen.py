"""The rules for pages that no training may look at: only what is committed is measured, and every run is written down.

    models/screen_agent/unseen.jsonl   one line a run: when, commit, agent, bundle, seeds, and the row of each page

No pictures are taken and nothing is said of single episodes, so that nobody can learn from them, by accident or not.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from runtime.errors import RuntimeFault

ROOT = Path(__file__).parents[2]
LOG = ROOT / "models" / "screen_agent" / "unseen.jsonl"
# What decides how an agent acts; the rest of the tree may be worked on meanwhile.
MEASURED = ("runtime/agent", "kernels", "models/bundles")


class NotCommitted(RuntimeFault):
    """Pages that nobody may train on are only worked with code and models that are committed."""

    next_step = "commit the agent's code and its bundle in models/bundles first; then the run can be told apart"


def committed(bundle: Path | None) -> str:
    """Returns the commit that holds the agent's code and `bundle`. Raises NotCommitted."""
    if bundle is not None and bundle.resolve().parent != (ROOT / "models" / "bundles").resolve():
        raise NotCommitted(f"{bundle} is not in models/bundles")
    changed = _git("status", "--porcelain", "--", *MEASURED)
    if changed:
        raise NotCommitted(f"not committed: {', '.join(line[3:] for line in changed.splitlines()[:5])}")
    return _git("rev-parse", "HEAD").strip()


def head() -> str | None:
    """Returns the commit of the tree, with a plus if it has changes; None outside a checkout."""
    try:
        return _git("rev-parse", "HEAD").strip() + ("+" if _git("status", "--porcelain", "--", *MEASURED) else "")
    except NotCommitted:
        return None


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_down(report: dict[str, Any], log: Path = LOG) -> None:
    """Appends a run to the log: the report without anything about single episodes."""
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"when": when, **report}) + "\n")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ("git", "-C", str(ROOT), *arguments), capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NotCommitted(f"{ROOT} is no git checkout, so that nobody could tell what was measured") from error
