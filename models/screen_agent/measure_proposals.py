"""How many of the oracles' targets the proposals hit, by task: an element's centre, or one of its cells, lies in it.

python -m models.screen_agent.measure_proposals EPISODES READER.onnx --episodes 10
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from models.screen_agent.episodes import load, tasks_in, unpack_frame
from models.screen_agent.labelled import bit, elements_of, label_of
from models.screen_agent.local_model import LocalModel
from models.screen_agent.reading_texts import ALPHABET
from runtime.agent.action_kinds import KINDS, POINTED
from runtime.agent.blocks import BlockFinder
from runtime.agent.plans import CENTRE, SOURCES
from runtime.agent.small_reader import SmallReader


def measure(episodes: Path, reader: SmallReader, task: str, most: int) -> dict[str, Any]:
    """Returns counts of steps by what was found, for one task."""
    found: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    elements_seen = 0
    began = time.process_time()
    for episode in load(episodes, [task], most):
        finder = BlockFinder()
        for step in episode.steps:
            elements = elements_of(unpack_frame(step, episode), finder, reader)
            elements_seen += len(elements)
            label = label_of(step, elements, episode.instruction)
            found["steps"] += 1
            if label.kind < 0:
                found["no kind"] += 1
                kinds[
                    type(step.label).__name__ + str(getattr(step.label, "chord", getattr(step.label, "text", "")))
                ] += 1
                continue
            kind = KINDS[label.kind]
            kinds[kind] += 1
            if kind in POINTED:
                for name, cells in (
                    (("target", label.targets), ("end", label.ends)) if kind == "drag" else (("target", label.targets),)
                ):
                    at_centre = bool((cells & bit(CENTRE)).any())
                    found[name] += 1
                    found[f"{name} centre"] += int(at_centre)
                    found[f"{name} cell"] += int(cells.any() and not at_centre)
            if kind == "type":
                found["text " + (SOURCES[label.text_from] if label.text_from >= 0 else "unknown")] += 1
    spent_ms = 1000 * (time.process_time() - began) / max(1, found["steps"])
    return {
        "task": task,
        **found,
        "kinds": dict(kinds.most_common(8)),
        "ms": round(spent_ms, 1),
        "elements": elements_seen // max(1, found["steps"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("episodes", type=Path)
    parser.add_argument("reader", type=Path)
    parser.add_argument("--episodes-each", type=int, default=8)
    parser.add_argument("--tasks", default="")
    chosen = parser.parse_args()
    reader = SmallReader(LocalModel(chosen.reader), ALPHABET)
    total: dict[str, int] = defaultdict(int)
    for task in chosen.tasks.split(",") if chosen.tasks else tasks_in(chosen.episodes):
        row = measure(chosen.episodes, reader, task, chosen.episodes_each)
        print(json.dumps(row), flush=True)
        for name in ("target", "target centre", "target cell", "end", "end centre", "end cell"):
            total[name] += row.get(name, 0)
    print(json.dumps(total))


if __name__ == "__main__":
    main()
