"""One peer engine in a process of its own, asked by `bench.lm` over JSON lines. Runs in the peers' venv, without ours.

python lm_peers.py llama.cpp|ik_llama.cpp|"openvino genai" MODEL.gguf
{"do": "eval", "tokens": [...], "at": 0}                   feeds tokens from position `at`, as one batch
{"do": "greedy", "at": n, "first": id, "count": c}         feeds c tokens, each the most likely after the one before
{"do": "logits", "tokens": [...], "out": "file.npy"}       teacher-forced: float32 logits after every token
{"do": "grammar", "tokens": [...], "gbnf": "..."}          writes one sentence of a grammar after the tokens, greedily
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CONTEXT = 1024


class LlamaCpp:
    """llama-cpp-python over its low-level calls: one thread, f16 cache, flash attention as asked."""

    def __init__(self, path: str, flash: bool) -> None:
        from llama_cpp import llama_cpp as api

        self.api: Any = api
        api.llama_backend_init()
        quiet = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(quiet, ctypes.c_void_p(0))
        self.quiet = quiet
        model = api.llama_model_default_params()
        # Its AMX buffers (0.3.36) end in SIGILL: tilezero without a tile configuration. Q4_1 has no other repacking.
        model.use_extra_bufts = False
        self.model = api.llama_model_load_from_file(path.encode(), model)
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = CONTEXT
        params.n_threads = params.n_threads_batch = 1
        params.flash_attn_type = 1 if flash else 0
        self.context = api.llama_init_from_model(self.model, params)
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))

    def forget(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), False)

    def eval(self, tokens: list[int], at: int, every: bool = False) -> None:
        batch = self.api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, at + i, 1, 0
            batch.logits[i] = every or i == len(tokens) - 1
        if self.api.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")
        self.api.llama_batch_free(batch)

    def logits(self, index: int) -> np.ndarray:
        pointer = self.api.llama_get_logits_ith(self.context, index)
        return np.ctypeslib.as_array(pointer, (self.vocabulary,))

    def write_by_grammar(self, tokens: list[int], gbnf: str) -> dict[str, Any]:
        """Writes one sentence of `gbnf`; the prompt's feeding is not counted, but for its last token."""
        api, vocabulary = self.api, self.api.llama_model_get_vocab(self.model)
        chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_grammar(vocabulary, gbnf.encode(), b"root"))
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_greedy())
        self.forget()
        self.eval(tokens[:-1], 0)
        cpu, last, at = time.process_time(), tokens[-1], len(tokens) - 1
        while not api.llama_vocab_is_eog(vocabulary, last):
            self.eval([last], at)
            last, at = api.llama_sampler_sample(chain, self.context, -1), at + 1
        spent = time.process_time() - cpu
        api.llama_sampler_free(chain)
        return {"cpu_s": spent, "count": at - len(tokens) + 1}


class IkLlamaCpp(LlamaCpp):
    """ik-llama-cpp-python the same way: weights repacked at load, flash attention (its fastest setting here)."""

    def __init__(self, path: str, flash: bool) -> None:
        from ik_llama_cpp import _ctypes_api as api

        self.api = api
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.repack_tensors, params.use_mmap = True, False
        self.model = api.llama_model_load_from_file(path.encode(), params)
        context = api.llama_context_default_params()
        context.n_ctx = context.n_batch = context.n_ubatch = CONTEXT
        context.n_threads = context.n_threads_batch = 1
        context.flash_attn = flash
        self.context = api.llama_init_from_model(self.model, context)
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))

    def forget(self) -> None:
        self.api.llama_kv_cache_clear(self.context)


class OpenVinoGenAi:
    """OpenVINO GenAI, which converts the GGUF as it loads it. It takes a whole prompt and gives tokens, no logits."""

    def __init__(self, path: str, flash: bool) -> None:
        import openvino
        import openvino_genai as api

        self.api, self.openvino, self.flash = api, openvino, flash
        self.pipeline = api.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=1)

    def write(self, tokens: list[int], count: int) -> list[int]:
        """Returns `count` tokens, the most likely after `tokens`."""
        ids = np.array([tokens], np.int64)
        prompt = self.api.TokenizedInputs(self.openvino.Tensor(ids), self.openvino.Tensor(np.ones_like(ids)))
        config = self.pipeline.get_generation_config()
        config.max_new_tokens = config.min_new_tokens = count
        config.do_sample, config.ignore_eos, config.num_beams = False, True, 1
        return list(self.pipeline.generate(prompt, config).tokens[0])


def answer_whole(engine: OpenVinoGenAi, request: dict[str, Any]) -> dict[str, Any]:
    """The same questions of an engine that only takes whole prompts; it decodes after a prompt of `at` tokens."""
    cpu, wall = time.process_time(), time.perf_counter()
    if request["do"] == "greedy":
        prompt = [request["first"]] * max(1, request["at"])
        last = engine.write(prompt, request["count"])[-1]
    else:
        last = engine.write(request["tokens"], 1)[-1]
    spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    return {**spent, "last": last, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """VmHWM: unlike ru_maxrss, it does not carry over what the parent had when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def answer(engine: LlamaCpp, request: dict[str, Any]) -> dict[str, Any]:
    if request["at"] == 0:
        engine.forget()
    if request["do"] == "grammar":
        return engine.write_by_grammar(request["tokens"], request["gbnf"])
    cpu, wall = time.process_time(), time.perf_counter()
    if request["do"] == "eval":
        engine.eval(request["tokens"], request["at"])
        last = int(engine.logits(-1).argmax())
    elif request["do"] == "greedy":
        last = request["first"]
        for i in range(request["count"]):
            engine.eval([last], request["at"] + i)
            last = int(engine.logits(-1).argmax())
    else:
        tokens = request["tokens"]
        engine.eval(tokens, 0, every=True)
        np.save(request["out"], np.stack([engine.logits(i) for i in range(len(tokens))]))
        last = 0
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "last": last,
        "peak_mb": peak_mb(),
    }


def main() -> None:
    name, path = sys.argv[1:3]
    imported_mb = peak_mb()
    kind: Any = OpenVinoGenAi if name.startswith("openvino") else IkLlamaCpp if name.startswith("ik") else LlamaCpp
    __import__({OpenVinoGenAi: "openvino_genai", IkLlamaCpp: "ik_llama_cpp", LlamaCpp: "llama_cpp"}[kind])
    reply: Any = answer_whole if kind is OpenVinoGenAi else answer
    start = time.perf_counter()
    engine = kind(path, flash="flash" in name)
    print(json.dumps({"load_ms": 1e3 * (time.perf_counter() - start), "imported_mb": imported_mb}), flush=True)
    for line in sys.stdin:
        print(json.dumps(reply(engine, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
