"""Every job on a real application can be done, and its effect is there after it was done and not before.

What is done here is scripted: keys alone, through the product's own connector. Applications that are not installed
are skipped; `make eval-desktop` installs them all.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from runtime.desktop.protocol import Step
from runtime.desktop.x11.desktop import X11Desktop
from runtime.evaluation.desktop_jobs import JOBS, DesktopJob, Scene, has_effect
from runtime.evaluation.desktop_trial import WINDOW_MANAGER, managed, program, server, shown
from runtime.wire.actions import Action, Key, Type

TAB, SPACE = Key("tab"), Key("space")
HANDS: dict[str, tuple[Action, ...]] = {
    "calculator": (Type("78+5="), Key("enter")),
    "editor": (Type("meeting at noon"), Key("ctrl+s")),
    "terminal": (Type("echo ready > state.txt"), Key("enter")),
    "tk-form": (TAB, Type("Ann Miller"), TAB, Type("Oslo"), TAB, SPACE, TAB, TAB, SPACE),
    "qt-form": (Type("blue lamp"), TAB, Type("12"), TAB, SPACE, TAB, SPACE),
    "gtk-dialog": (Type("north gate"), Key("enter")),
    "web-form-1080p": (TAB, Type("Ann Miller"), TAB, Type("3"), TAB, SPACE, TAB, TAB, SPACE),
    "spreadsheet": (Key("down"), Key("down"), Key("right"), Type("135"), Key("enter"), Key("ctrl+s")),
}


def test_every_job_is_worked_here() -> None:
    assert [job.name for job in JOBS] == list(HANDS)
    assert len(JOBS) >= 8


@pytest.mark.desktop
@pytest.mark.timeout(120)
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_the_effect_comes_with_the_deed(job: DesktopJob, tmp_path: Path) -> None:
    lacking = [*job.missing(), *(name for name in WINDOW_MANAGER[:1] if shutil.which(name) is None)]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    asyncio.run(play(job, tmp_path))


async def play(job: DesktopJob, folder: Path) -> None:
    with server("x11", job.size, folder) as (display, _):
        scene = Scene(display, folder, job.size)
        job.before(scene)
        with job.serves(scene), program(WINDOW_MANAGER, scene):
            await managed(display)
            with program(job.command(scene), scene):
                await shown(display)
                assert not job.effect(scene), "the effect is there before anything was done"
                desktop = X11Desktop(display, folder)
                for seq, action in enumerate(HANDS[job.name], 1):
                    desktop.apply(action, None, Step(1, 1, seq))
                    await asyncio.sleep(0.7)  # a toolkit has no way to say that it has taken a key
                desktop.close()
                assert has_effect(job, scene)
