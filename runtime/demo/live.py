"""The demo's live view in a terminal: gate and reason, the job at work, actions a second, latency, tasks so far."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runtime.demo.report import Recording, percentiles, task_rows
from runtime.evaluation.watch import Watch

COLOURS = {"open": "bold green", "warming": "yellow", "draining": "yellow"}


class LiveView:
    """Draws while `with` lasts; silent where `quiet`, plain lines where stderr is no terminal."""

    def __init__(self, watch: Watch, quiet: bool) -> None:
        self._watch = watch
        self._quiet = quiet
        self._recording: Recording | None = None
        self._began_s = time.monotonic()
        self._act = "starting"
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveView:
        if not self._quiet and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def act(self, text: str) -> None:
        """Says which part of the play is on."""
        self._act = text
        if not self._quiet and not self._console.is_terminal:
            self._console.print(f"{time.monotonic() - self._began_s:6.1f} s  {text}", highlight=False)

    def update(self, recording: Recording) -> None:
        self._recording = recording

    def _draw(self) -> Group:
        state, reasons = self._watch.gate
        gate = Text.assemble("gate   ", (state, COLOURS.get(state, "bold red")), f"  {', '.join(reasons)}")
        lines = [Text(f"idlehands demo   {time.monotonic() - self._began_s:.0f} s   {self._act}", style="bold"), gate]
        recording = self._recording
        if recording is None:
            return Group(*lines)
        actions = [action for episode in recording.episodes for action in episode.actions]
        busy_s = sum(episode.elapsed_s for episode in recording.episodes) or 1.0
        latency = percentiles(action.times["total_us"] / 1000 for action in actions)
        lines.append(
            Text(
                f"jobs   {recording.jobs_over} over of {recording.jobs_submitted}    actions {len(actions)},"
                f" {len(actions) / busy_s:.1f} a second of work, p50 {latency['p50']} ms, p99 {latency['p99']} ms"
            )
        )
        return Group(*lines, task_table(recording))


def task_table(recording: Recording) -> Table:
    table = Table()
    for column in ("task", "episodes", "success", "raw 1", "raw > 0", "interrupted", "episode p50 s"):
        table.add_column(column)
    for row in task_rows(recording):
        table.add_row(
            str(row["name"]),
            str(row["episodes"]),
            str(row["successes"]),
            str(row["raw_1"]),
            str(row["raw_above_0"]),
            str(row["interrupted"]),
            str(row["episode_s_p50"]),
        )
    return table
