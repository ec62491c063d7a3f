"""What an agent's success owes to one of its parts: the same evaluation with that part taken away.

    paraphrased · shuffled   the instruction is said otherwise (wording.py)
    random                   the decider's choice is replaced by chance among what the proposals offer
    no-memory                the decider sees every look as if it were the first

The last two are settings of the agent's bundle, so a copy of the bundle is made with them; nothing of it is committed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from runtime.agent.screen_agent import SETTINGS
from runtime.errors import RuntimeFault
from runtime.store.bundle import open_source, pack
from runtime.store.manifest import decode_manifest

OF_WORDING = ("paraphrased", "shuffled")
OF_BUNDLE = ("random", "no-memory")
ABLATIONS = (*OF_WORDING, *OF_BUNDLE)
_OF_PACKING = ("format", "files")  # of a manifest; the rest describes the bundle


class NothingToAblate(RuntimeFault):
    """An ablation was asked for of an agent that has no such part."""

    next_step = "take --agent screen_agent, whose bundle has a decider and a memory"


def ablated(bundle: Path, ablation: str, target: Path) -> Path:
    """Writes a copy of `bundle` without a part (one of OF_BUNDLE) to `target`, unsigned. Raises NothingToAblate."""
    with tempfile.TemporaryDirectory(prefix="idlehands-ablation-") as name, open_source(bundle) as source:
        folder = Path(name)
        head = source.head()[0]
        manifest = decode_manifest(head)
        for entry, parts in source.files(manifest):
            path = folder / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(parts))
        if not (folder / SETTINGS).exists():
            raise NothingToAblate(f"{bundle.name} has no {SETTINGS}")
        settings = json.loads((folder / SETTINGS).read_bytes())
        (folder / SETTINGS).write_text(json.dumps({**settings, "ablation": ablation}))
        description = {name: value for name, value in json.loads(head).items() if name not in _OF_PACKING}
        target.unlink(missing_ok=True)
        pack(folder, target, description=description)
    return target
