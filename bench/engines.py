"""Every engine on every model that it loads, in one run: `bench graphs`, `bench lm` and `bench threads` on one page.

    python -m bench engines [--rounds N] [--plot FILE] [--no-threads] [--json]

A row is one engine at one task: CPU time (median, best, p99) and wall time of one inference or token, what that is in
int8 operations a second, and the share of the task's roof: the lower of the arithmetic peak and of the read bandwidth
times the task's operations a byte, both measured in this run. Load, peak memory (without the imports) and first token
stand in the first row of an engine and model. The plot (PNG) is a roofline with every engine on it.

Peers run in processes of their own from `.venv-peers` (`make bench-peers`); what does not load the same weights is
listed with its own words in `left_out`.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from bench import graphs, lm, threads
from bench.graph_models import models
from bench.measure import machine

OPS_A_TOKEN = 2 * 106.2e6
"""int8 operations of one token of SmolLM2-135M: twice its weights but the embedding, plus the head."""
TASKS = {"decode": (lm.DECODE, 1), "prefill": (1, lm.PREFILL), "first": (1, lm.FIRST)}
"""Question of `bench lm`: (inferences in it, tokens that share one reading of the weights)."""
OTHERS = {
    "ctranslate2": "import ctranslate2; ctranslate2.Generator({gguf!r})",
    "ncnn": "import ncnn; found = ncnn.Net().load_param({onnx!r}); assert found == 0, f'load_param returned {{found}}'",
}
"""Engines that read neither GGUF nor quantised ONNX: asked all the same, so that it is seen when one learns to."""


def spread_ms(seconds: list[float], inferences: int) -> dict[str, float]:
    ordered = sorted(1e3 * value / inferences for value in seconds)
    last = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return {"p50_ms": round(median(ordered), 3), "best_ms": round(ordered[0], 3), "p99_ms": round(last, 3)}


def graph_rows(report: dict[str, Any], peaks: dict[str, float]) -> list[dict[str, Any]]:
    """Returns the rows of `bench graphs` in this bench's columns."""
    rows = []
    for found in report["rows"]:
        name, engine = found["model"], found["engine"]
        path, shape, _ = models()[name]
        moved = path.stat().st_size + 4 * float(shape[0] * shape[1] * shape[2] * (shape[3] if len(shape) > 3 else 1))
        row = {
            "task": name,
            "engine": engine,
            **{key: found[f"cpu_{key}"] for key in ("p50_ms", "best_ms", "p99_ms")},
            "wall_ms": found["wall_p50_ms"],
            "gops": found["gops"],
            "ops_a_byte": round(2e9 * graphs.GIGA_MACS[name] / moved, 1),
            "times_native": found["times_native"],
        }
        extra = report["load_and_memory"].get(name, {})
        load = {"native": "native_cached_ms", "onnxruntime": "onnxruntime_ms", "openvino": "openvino_ms"}.get(engine)
        if load and extra.get(load) is not None:
            row |= {"load_ms": extra[load]}
        if extra.get(f"{engine}_peak_mb") is not None:
            row |= {"peak_mb": extra[f"{engine}_peak_mb"]}
        if engine == "native":
            row |= {"yield_p99_us": extra.get("yield_p99_us")}
        rows.append(with_roof(row, peaks))
    return rows


def lm_rows(report: dict[str, Any], peaks: dict[str, float]) -> list[dict[str, Any]]:
    """Returns a row for each engine and question of `bench lm`."""
    rows = []
    summary = {found["engine"]: found for found in report["rows"]}
    for task, (inferences, tokens) in TASKS.items():
        mine = median(report["samples"]["native"][f"{task}_cpu_s"])
        for engine, samples in report["samples"].items():
            cpu = samples[f"{task}_cpu_s"]
            ms = spread_ms(cpu, inferences)
            row = {
                "task": f"lm {task}",
                "engine": engine,
                **ms,
                "wall_ms": round(1e3 * median(samples[f"{task}_wall_s"]) / inferences, 3),
                "gops": round(OPS_A_TOKEN * tokens / ms["p50_ms"] / 1e6),
                "ops_a_byte": round(OPS_A_TOKEN * tokens / report["streamed_bytes"], 1),
                "times_native": round(median(cpu) / mine, 2),
            }
            if task == "decode":
                row |= {key: summary[engine][key] for key in ("load_ms", "peak_mb", "first_ms")}
                row |= {"yield_p99_us": report.get("yield_p99_us")} if engine == "native" else {}
            rows.append(with_roof(row, peaks))
    return rows


def with_roof(row: dict[str, Any], peaks: dict[str, float]) -> dict[str, Any]:
    """Adds the share of the roof: bandwidth times intensity, or the arithmetic peak, whichever is lower."""
    roof = min(peaks["read_gb_s"] * row["ops_a_byte"], max(peaks["vpdpbusd_gops"], peaks["tiles_gops"]))
    return row | {"pct_of_roof": round(100 * row["gops"] / roof, 1) if roof else None}


def left_out(python: Path, gguf: Path) -> dict[str, str]:
    """Returns what the engines that do not read these files say when they are given them."""
    onnx = models()["rec"][0]
    said = {}
    for name, code in OTHERS.items() if python.exists() else ():
        command = [python, "-c", code.format(gguf=str(gguf), onnx=str(onnx))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said[name] = "loads it: add it to the bench" if done.returncode == 0 else lines[-1] if lines else "died"
    return said


def plot(rows: list[dict[str, Any]], peaks: dict[str, float], target: Path) -> None:
    """Draws the roofline: operations a byte against operations a second, both logarithmic, a point for every row."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 7))
    intensities = sorted({row["ops_a_byte"] for row in rows})
    span = [intensities[0] / 2, intensities[-1] * 2]
    for name, key in (("AMX tiles", "tiles_gops"), ("vpdpbusd", "vpdpbusd_gops")):
        if peaks[key]:
            roof = [min(peaks["read_gb_s"] * x, peaks[key]) for x in span]
            knee = peaks[key] / peaks["read_gb_s"]
            axes.plot([span[0], knee, span[1]], [roof[0], peaks[key], peaks[key]], color="0.6", linewidth=1)
            axes.text(span[1], peaks[key], f"{name} {peaks[key]:.0f} GOP/s", ha="right", va="bottom", color="0.4")
    axes.text(span[0] * 1.1, peaks["read_gb_s"] * span[0] * 1.6, f"read {peaks['read_gb_s']:.1f} GB/s", color="0.4")
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    marks = "os^vDP*Xhp<>"
    for number, engine in enumerate(engines):
        own = [row for row in rows if row["engine"] == engine]
        axes.scatter([row["ops_a_byte"] for row in own], [row["gops"] for row in own], s=42, label=engine, zorder=3,
                     marker=marks[number % len(marks)])  # fmt: skip
    for task in dict.fromkeys(row["task"] for row in rows):
        best = max((row for row in rows if row["task"] == task), key=lambda row: float(row["gops"]))
        axes.annotate(task, (best["ops_a_byte"], best["gops"]), xytext=(0, 7), textcoords="offset points", ha="center")
    axes.set(xscale="log", yscale="log", xlim=span, xlabel="int8 operations a byte of weights and input",
             ylabel="GOP/s, one thread, CPU time")  # fmt: skip
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)
    pyplot.close(figure)


def run(argv: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog="bench engines", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="calls of each engine at each task (default 9)")
    parser.add_argument("--models", default="det,rec,rec_x8,vit,gemm", help="of `bench graphs`")
    parser.add_argument("--peers", type=Path, default=lm.ROOT / ".venv-peers")
    parser.add_argument("--plot", type=Path, default=lm.ROOT / "out" / "bench" / "engines.png")
    parser.add_argument("--no-threads", action="store_true", help="leave out the part with two threads")
    options = parser.parse_args(argv)
    rounds, python = str(options.rounds), options.peers / "bin" / "python"
    graph_report = graphs.run(["--rounds", rounds, "--models", options.models, "--peers", str(python)])
    lm_report = lm.run(["--rounds", str(max(2, options.rounds // 2)), "--samples", "--peers", str(options.peers)])
    peaks = {**graph_report["peaks"], "read_gb_s": lm_report["probe_gb_s"]}
    rows = graph_rows(graph_report, peaks) + lm_rows(lm_report, peaks)
    plot(rows, peaks, options.plot)
    return {
        "rows": rows,
        "peaks": peaks,
        **{key: lm_report[key] for key in ("constrained_tok_s", "llama_cpp_grammar_tok_s")},
        **({} if options.no_threads else {"threads": threads.run(["--rounds", str(4 * options.rounds)])["rows"]}),
        "left_out": left_out(python, lm.default_model()),
        "plot": str(options.plot),
        "machine": machine(),
    }
