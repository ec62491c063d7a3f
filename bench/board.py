"""One command on a board: every backend on every bundle, with what the board says of itself meanwhile; saved, compared.

    python -m bench board                     everything, then a soak of 30 minutes
    python -m bench board --soak-s 60 --baseline out/board/before.json

latency    of runs, interleaved over the backends; the first run by itself
tokens     of language models, per second
joules     of a run by the board's input rail (or RAPL), None where nothing measures it; of an action: one decision of
           the text reader on a screen that it has not seen
yield      from the closing of a real gate word to the return of a run that was under way
soak       one model without pause: times, temperatures, clocks; throttling is the last tenth's median over the first's
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.measure import Samples, interleaved, machine
from bench.ocr import frame_of
from bench.ocr import install as install_reader
from bench.plots import bars, lines
from bench.sensors import Board, Recorder, total_mW
from kernels.gate.word import GateReader, State, boottime_ns
from kernels.gate.writer import GateWriter
from models.text_reader.screens import screen
from runtime.agent.protocol import AGENTS, make_agent
from runtime.backends.protocol import BACKENDS, BackendError, Limits, Model, StepResult, make_backend
from runtime.config.config import load_config
from runtime.daemon.assets import BundleAssets
from runtime.store.bundle import Bundle
from runtime.store.models import ModelStore

OPEN_SIZES = {"n": 1, "rows": 64, "width": 320, "prompt": 32}  # of open dimensions, by their names
HEIGHTS = (48, 64, 320)  # of open images, the first that the model takes: a line of text, or a multiple of 32
WORSE = 1.10  # than the baseline: what is told as a regression
LEASE_NS = 150_000_000


def run(argv: list[str]) -> dict[str, Any]:
    """Returns rows of models and backends, the soak, warnings, and what got worse than the baseline."""
    chosen = _arguments(argv)
    board = Board(chosen.root)
    identity = board.identity()
    warnings = mode_warnings(identity["power_mode"], chosen.mode)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="idlehands-board-") as folder:
        bundles = _bundles(chosen, Path(folder))
        limits = Limits(threads=chosen.threads, cache_folder=Path(folder, "cache"))
        loaded, absent = load_all(bundles, limits)
        rows = [measure(board, name, one.model, one.feed, chosen) for name, one in loaded.items()]
        latencies(rows, loaded, chosen.rounds)
        acting = [action(board, bundle, limits, chosen.rounds) for bundle in bundles if bundle.manifest.kind in AGENTS]
        soak = soaked(board, *_heaviest(rows, loaded), chosen.soak_s) if chosen.soak_s and loaded else {}
        for one in loaded.values():
            one.model.close()
    result = {
        "rows": rows,
        "actions": acting,
        "board": identity,
        "reading": vars(board.read()),
        "absent": absent,
        "soak": soak,
        "warnings": warnings,
        "machine": machine(),
    }
    if chosen.baseline:
        result["worse"] = compared(rows, json.loads(chosen.baseline.read_text())["rows"])
    result["saved"] = _save(result, chosen.out)
    return result


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench board")
    parser.add_argument("--soak-s", type=float, default=1800.0, help="length of the soak (default 1800)")
    parser.add_argument("--rounds", type=int, default=50, help="runs of each model and backend (default 50)")
    parser.add_argument("--yields", type=int, default=20, help="closings of the gate under a run (default 20)")
    parser.add_argument("--threads", type=int, default=1, help="compute threads (default 1)")
    parser.add_argument("--mode", default="", help="the power mode that is wanted; default: one called MAXN…")
    parser.add_argument("--store", type=Path, help="installed models; default: the settings', and the committed bundle")
    parser.add_argument("--out", type=Path, default=Path("out/board"), help="where results and plots go")
    parser.add_argument("--baseline", type=Path, help="an earlier result to compare with")
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)  # another sysfs, for tests
    return parser.parse_args(argv)


def mode_warnings(mode: str, wanted: str) -> list[str]:
    """Returns what is wrong with the power mode, for numbers that shall be compared."""
    if mode == "none":
        return []
    if mode == "unknown":
        return ["nvpmodel does not say which power mode is on: run as root, or compare with care"]
    is_right = mode == wanted if wanted else mode.upper().startswith("MAXN")
    said = wanted or "MAXN"
    return (
        [] if is_right else [f"the power mode is {mode}, expected {said}: sudo nvpmodel -m 0, then sudo jetson_clocks"]
    )


def _bundles(chosen: argparse.Namespace, folder: Path) -> list[Bundle]:
    root = chosen.store or load_config(None).daemon.models_folder
    store = ModelStore(root)
    found = [store.get(one.name, one.version) for one in store.list_models() if one.is_active and not one.problem]
    return found or [install_reader(folder)]


class Loaded(NamedTuple):
    """A model, and the inputs that it is measured with: those of the same model's other backends too."""

    model: Model
    feed: dict[str, Any]


def load_all(bundles: list[Bundle], limits: Limits) -> tuple[dict[str, Loaded], dict[str, str]]:
    """Returns ("bundle/role backend": model) of all that load and run here, and why the others do not."""
    loaded: dict[str, Loaded] = {}
    absent: dict[str, str] = {}
    for bundle in bundles:
        for role in bundle.manifest.models:
            height = 0
            for backend in BACKENDS:
                name = f"{bundle.reference}/{role} {backend}"
                if backend == "null":
                    continue
                try:
                    model = make_backend(backend).load(bundle, limits, role)
                    height = height or fitting_height(model)
                    loaded[name] = Loaded(model, feed_of(model, height))
                except BackendError as error:
                    absent[name] = error.message
    return loaded, absent


def fitting_height(model: Model) -> int:
    """Returns the first of HEIGHTS with which the model runs. Raises BackendError of the last if there is none."""
    for height in HEIGHTS:
        try:
            _once(model, feed_of(model, height))
            return height
        except BackendError:
            if height == HEIGHTS[-1]:
                raise
    raise AssertionError("HEIGHTS is empty")


def feed_of(model: Model, height: int) -> dict[str, Any]:
    """Returns inputs of the model's shapes, the same each time; open images are `height` high."""
    rng = np.random.default_rng(7)
    feed = {}
    for spec in model.inputs:
        shape = [
            size if isinstance(size, int) else _open_size(size, axis, height) for axis, size in enumerate(spec.shape)
        ]
        if spec.dtype.startswith("float"):
            feed[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
        else:
            feed[spec.name] = rng.integers(1, 100, shape).astype(spec.dtype)
    return feed


def _open_size(name: str, axis: int, height: int) -> int:
    return OPEN_SIZES.get(name, (1, 3, height, 320)[axis] if axis < 4 else 1)


def measure(board: Board, name: str, model: Model, feed: dict[str, Any], chosen: argparse.Namespace) -> dict[str, Any]:
    """Returns a row: the first run that is measured, energy, tokens, yield. Latencies are added by `latencies`."""
    began_ns = time.perf_counter_ns()
    outputs = _once(model, feed)
    first_ms = (time.perf_counter_ns() - began_ns) / 1e6
    with Recorder(board, every_s=0.05) as recorder:
        began_s = time.monotonic()
        count = 0
        while count < chosen.rounds or time.monotonic() - began_s < 0.5:
            _once(model, feed)
            count += 1
        seconds = time.monotonic() - began_s
    joules = recorder.joules()
    tokens = outputs["tokens"].size if set(outputs) == {"tokens"} else 0
    return {
        "model": name,
        "first_ms": round(first_ms, 3),
        "joules": None if joules is None else round(joules / count, 5),
        "tokens_s": round(tokens * count / seconds, 1) if tokens else None,
        "hottest_C": recorder.hottest_C(),
        **yields(model, feed, chosen.yields),
        "resident_MiB": round(model.resident_bytes / 2**20, 1),
    }


def latencies(rows: list[dict[str, Any]], loaded: dict[str, Loaded], rounds: int) -> None:
    """Puts the percentiles of interleaved runs into the rows."""

    def calls(one: Loaded) -> Callable[[int], object]:
        return lambda _: _once(one.model, one.feed)

    samples = interleaved({name: calls(one) for name, one in loaded.items()}, rounds=rounds)
    for row in rows:
        row.update(samples[row["model"]].row())


def _once(model: Model, feed: dict[str, Any]) -> dict[str, Any]:
    run = model.start(feed)
    assert run.step(None) is StepResult.DONE
    return run.outputs()


def yields(model: Model, feed: dict[str, Any], count: int) -> dict[str, Any]:
    """Closes a gate at random moments of runs; returns how long they worked on. Runs that were over count not."""
    rng = random.Random(5)
    began_ns = time.perf_counter_ns()
    _once(model, feed)
    length_s = (time.perf_counter_ns() - began_ns) / 1e9
    seen: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        writer = GateWriter(Path(folder, "gate"))
        reader = GateReader(Path(folder, "gate"))
        for _ in range(count * 5):
            if len(seen) == count:
                break
            epoch = writer.publish(State.OPEN, [], boottime_ns() + LEASE_NS).gate_epoch
            closed: list[int] = []

            def close(closed: list[int] = closed) -> None:
                writer.publish(State.CLOSED, ["moving"], 0)
                closed.append(time.perf_counter_ns())

            timer = threading.Timer(rng.uniform(0.1, 0.9) * min(length_s, LEASE_NS / 2e9), close)
            run, token = model.start(feed), reader.token(epoch)
            timer.start()
            stopped = run.step(token)
            stopped_ns = time.perf_counter_ns()
            timer.join()
            if stopped is StepResult.PREEMPTED and closed:
                seen.append(max(0, stopped_ns - closed[0]))
        writer.close()
    if not seen:
        return {"yield_p50_ms": None, "yield_most_ms": None}
    samples = Samples(tuple(seen))
    return {
        "yield_p50_ms": round(samples.percentile_ms(50), 3),
        "yield_most_ms": round(samples.percentile_ms(100), 3),
    }


def action(board: Board, bundle: Bundle, limits: Limits, rounds: int) -> dict[str, Any]:
    """Returns what decisions of the bundle's agent take and cost, each on a screen of its own."""
    agent = make_agent(bundle.manifest.kind, BundleAssets(bundle, limits))
    frames = [frame_of(screen(640, 480, 500 + number, most_texts=20).pixels) for number in range(rounds)]
    times = []
    with Recorder(board, every_s=0.05) as recorder:
        for frame in frames:
            began_ns = time.perf_counter_ns()
            agent.decide(frame, 'Click on the "OK" button.', b"", None)
            times.append(time.perf_counter_ns() - began_ns)
    joules = recorder.joules()
    return {
        "agent": f"{agent.kind} with {bundle.reference}",
        **Samples(tuple(times)).row(),
        "joules": None if joules is None else round(joules / rounds, 4),
    }


def _heaviest(rows: list[dict[str, Any]], loaded: dict[str, Loaded]) -> tuple[str, Loaded]:
    name = max(rows, key=lambda row: row["p50_ms"])["model"]
    return name, loaded[name]


def soaked(board: Board, name: str, one: Loaded, seconds: float) -> dict[str, Any]:
    """Runs one model for `seconds`; returns its times in tenths, and what the board showed. Says how far it is."""
    times: list[tuple[float, float]] = []
    said_s = 0.0
    with Recorder(board, every_s=max(0.1, seconds / 600)) as recorder:
        began_s = time.monotonic()
        while (at_s := time.monotonic() - began_s) < seconds or not times:
            run_ns = time.perf_counter_ns()
            _once(one.model, one.feed)
            times.append((at_s, (time.perf_counter_ns() - run_ns) / 1e6))
            if at_s - said_s > 30:
                said_s = at_s
                print(f"soak: {at_s:.0f} of {seconds:.0f} s, {len(times)} runs", file=sys.stderr, flush=True)
    tenth = max(1, len(times) // 10)
    first, last = (float(np.median([ms for _, ms in part])) for part in (times[:tenth], times[-tenth:]))
    begin_s = recorder.readings[0].at_s
    every = max(1, len(times) // 300)
    return {
        "model": name,
        "seconds": seconds,
        "runs": len(times),
        "throttling": round(last / first, 3),
        "joules": recorder.joules(),
        "run_ms": [(round(at_s, 2), round(ms, 3)) for at_s, ms in times[::every]],
        "hottest_C": [
            (round(seen.at_s - begin_s, 2), max(seen.zones_C.values())) for seen in recorder.readings if seen.zones_C
        ],
        "power_mW": [
            (round(seen.at_s - begin_s, 2), power)
            for seen in recorder.readings
            if (power := total_mW(seen.rails_mW)) is not None
        ],
        "clocks_MHz": [
            (round(seen.at_s - begin_s, 2), min(seen.clocks_MHz.values()))
            for seen in recorder.readings
            if seen.clocks_MHz
        ],
    }


def compared(rows: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[str]:
    """Returns what is worse than in the baseline by more than a tenth, in words; models that are new or gone too."""
    known = {row["model"]: row for row in before}
    found = [f"{name} is gone" for name in known if name not in {row["model"] for row in rows}]
    for row in rows:
        for key in ("p50_ms", "p99_ms", "joules", "yield_most_ms"):
            old, new = known.get(row["model"], {}).get(key), row.get(key)
            if old and new and new > old * WORSE:
                found.append(f"{row['model']}: {key} {new:.4g}, was {old:.4g}")
    return found


def _save(result: dict[str, Any], folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    name = "-".join(f"{result['board']['device']} {result['board']['power_mode']}".split()).replace("/", "-")
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1))
    heights = {row["model"]: row["p50_ms"] for row in result["rows"]}
    (folder / f"{name}-latency.svg").write_text(bars("median run", "ms", heights))
    if result["soak"]:
        soak = result["soak"]
        for key, unit in (("run_ms", "ms"), ("hottest_C", "°C"), ("power_mW", "mW"), ("clocks_MHz", "MHz")):
            if soak[key]:
                (folder / f"{name}-{key}.svg").write_text(lines(f"soak: {key}", unit, "s", {soak["model"]: soak[key]}))
    return str(folder / f"{name}.json")
