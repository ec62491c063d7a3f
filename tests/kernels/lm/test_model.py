"""The whole engine: against a float64 forward pass, and against itself however the work is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.lm.gguf import GgufError
from kernels.lm.model import LanguageModel, Runner, Sampling, Session, exact_variants, variants
from tests.kernels.lm.synthetic import Synthetic, synthetic_model

PROMPT = [3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9, 32, 38, 46, 26, 43, 3, 0, 49, 11]


def logits_of(model: LanguageModel, tokens: list[int], **options: object) -> np.ndarray:
    """The logits after every token, fed one at a time."""
    session, runner = Session(model, 64, **options), Runner(model, 1)  # type: ignore[arg-type]
    rows = []
    for token in tokens:
        session.feed([token])
        assert runner.run([session])
        rows.append(session.logits)
    return np.array(rows)


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert np.sqrt(((got - expected) ** 2).mean()) <= tolerance * np.sqrt((expected**2).mean())


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize(
    ("kind", "head", "tolerance"),
    # f16 keys and values, and their rounding, are all that F32 loses; 8-bit activations cost about 1 % a layer
    [("F32", "F32", 2e-3), ("F16", "F16", 2e-3), ("Q8_0", "Q8_0", 0.04), ("Q4_0", "Q8_0", 0.04), ("Q4_1", "F16", 0.04)],
)
def test_engine_agrees_with_a_float64_forward_pass(
    variant: str, kind: str, head: str, tolerance: float, tmp_path: Path
) -> None:
    made = synthetic_model(kind, head, tied=kind != "Q4_0")
    model = LanguageModel.load(made.write(tmp_path), tmp_path / "cache", variant=variant)
    assert_close(logits_of(model, PROMPT), made.forward(PROMPT), tolerance)


def test_six_bit_matrices_run(tmp_path: Path) -> None:
    made = synthetic_model("Q6_K", "Q6_K", embd=256, ffn=512, layers=1)
    model = LanguageModel.load(made.write(tmp_path), tmp_path / "cache")
    assert_close(logits_of(model, PROMPT), made.forward(PROMPT), 0.04)


def test_every_exact_variant_gives_the_same_bits(tiny: Synthetic, tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    models = [LanguageModel.load(path, tmp_path / "cache", variant=name) for name in exact_variants()]
    for kv in ("f16", "int8"):
        for window in (0, 7):
            first, *others = (logits_of(model, PROMPT, kv=kv, window=window) for model in models)
            assert all(other.tobytes() == first.tobytes() for other in others)


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize("batch", [2, 3, 7, 16, 20])
def test_prefill_in_batches_gives_the_bits_of_one_at_a_time(model: LanguageModel, kv: str, batch: int) -> None:
    session, runner = Session(model, 64, kv), Runner(model, batch)  # type: ignore[arg-type]
    session.ask(PROMPT)
    assert runner.run([session])
    assert session.tokens == PROMPT
    assert session.logits.tobytes() == logits_of(model, PROMPT, kv=kv)[-1].tobytes()


def test_sessions_run_together_give_the_bits_of_each_alone(model: LanguageModel) -> None:
    prompts = [PROMPT, PROMPT[5:], PROMPT[::-1], [7]]
    alone = []
    for prompt in prompts:
        session = model.session(64)
        session.ask(prompt)
        Runner(model).run([session])
        alone.append(session)
    together = [model.session(64) for _ in prompts]
    runner = Runner(model, 13)
    for session, prompt in zip(together, prompts, strict=True):
        session.ask(prompt)
    runner.run(together)
    for _ in range(5):
        for one, other in zip(alone, together, strict=True):
            assert one.logits.tobytes() == other.logits.tobytes()
            token = one.sample(Sampling())
            one.feed([token])
            other.feed([token])
            Runner(model).run([one])
        runner.run(together)


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_a_stopped_run_goes_on_with_the_same_bits(model: LanguageModel, budget: int) -> None:
    session, runner = model.session(64), Runner(model, 8)
    session.ask(PROMPT)
    stops = 0
    while not runner.run([session], chunk_budget=budget):
        stops += 1
    assert stops > 20 / budget
    assert session.logits.tobytes() == logits_of(model, PROMPT)[-1].tobytes()


def test_a_closed_gate_stops_before_any_work(model: LanguageModel) -> None:
    session, runner = model.session(64), Runner(model)
    session.ask(PROMPT)
    assert not runner.run([session], CLOSED)
    assert session.tokens == []
    assert session.waiting == PROMPT
    assert runner.run([session])


class _Closed:
    """A gate whose word is all zeros: never open."""

    def __init__(self) -> None:
        from kernels.gate import _gate

        self.token = _gate.Token(_gate.Word(bytearray(64)), 1)

    @property
    def address(self) -> int:
        return self.token.address


CLOSED = _Closed()


def test_a_stopped_run_may_be_abandoned(model: LanguageModel) -> None:
    session, other, runner = model.session(64), model.session(64), Runner(model)
    session.ask(PROMPT)
    other.ask([1])
    assert not runner.run([session], chunk_budget=3)
    with pytest.raises(ValueError, match="stopped midway"):
        runner.run([other])
    runner.abandon()
    assert runner.run([other])
    assert runner.run([session])
    assert session.logits.tobytes() == logits_of(model, PROMPT)[-1].tobytes()


def test_what_a_cache_begins_with_is_not_computed_again(model: LanguageModel) -> None:
    session, runner = model.session(64), Runner(model)
    assert session.ask(PROMPT) == 0
    runner.run([session])
    changed = [*PROMPT[:12], 1, 2, 3]
    assert session.ask(changed) == 12
    assert session.waiting == [1, 2, 3]
    runner.run([session])
    assert session.logits.tobytes() == logits_of(model, changed)[-1].tobytes()
    assert session.ask(changed) == len(changed) - 1, "the last is fed again for its logits"


def test_a_checkpoint_of_token_ids_goes_on_as_the_run_would_have(
    model: LanguageModel, tiny: Synthetic, tmp_path: Path
) -> None:
    sampling = Sampling(temperature=0.9, top_p=0.95, seed=11)
    session, runner = model.session(64), Runner(model)
    session.ask(PROMPT)
    at_checkpoint: list[int] = []
    for step in range(20):
        runner.run([session])
        if step == 8:
            at_checkpoint = list(session.tokens)
        session.feed([session.sample(sampling)])
    elsewhere = LanguageModel.load(tiny.write(tmp_path), tmp_path / "cache", variant=variants()[0])
    resumed, other = elsewhere.session(64), Runner(elsewhere)
    resumed.ask(at_checkpoint)
    for _ in range(12):
        other.run([resumed])
        resumed.feed([resumed.sample(sampling)])
    assert resumed.tokens + resumed.waiting == session.tokens + session.waiting


@pytest.mark.parametrize("window", [4, 16, 19])
def test_a_window_forgets_what_is_old(tiny: Synthetic, tmp_path: Path, window: int) -> None:
    made = synthetic_model("F32", "F32")
    model = LanguageModel.load(made.write(tmp_path), tmp_path / "cache")
    long = PROMPT * 12  # goes round the ring
    session, runner = model.session(window=window), Runner(model)
    session.ask(long)
    runner.run([session])
    assert_close(session.logits, made.forward(long, window)[-1], 2e-3)
    one_by_one = logits_of(model, long, window=window)
    assert session.logits.tobytes() == one_by_one[-1].tobytes()


def test_an_int8_cache_is_half_as_large_and_close(model: LanguageModel) -> None:
    exact, small = logits_of(model, PROMPT), logits_of(model, PROMPT, kv="int8")
    assert_close(small, exact, 0.05)
    assert model.session(64, kv="int8").native.size < 0.7 * model.session(64).native.size


def test_a_fork_goes_its_own_way(model: LanguageModel) -> None:
    session, runner = model.session(64), Runner(model)
    session.ask(PROMPT)
    runner.run([session])
    other = session.fork()
    session.feed([1])
    other.feed([2])
    runner.run([session, other])
    assert session.logits.tobytes() == logits_of(model, [*PROMPT, 1])[-1].tobytes()
    assert other.logits.tobytes() == logits_of(model, [*PROMPT, 2])[-1].tobytes()


def test_wiped_sessions_hold_nothing(model: LanguageModel) -> None:
    session, runner = model.session(64), Runner(model)
    session.ask(PROMPT)
    runner.run([session])
    session.wipe()
    assert not session.tokens
    assert not session.waiting
    assert not session.logits.any()
    session.ask(PROMPT)
    runner.run([session])
    assert session.logits.tobytes() == logits_of(model, PROMPT)[-1].tobytes()


def test_bad_requests_are_refused_and_change_nothing(model: LanguageModel) -> None:
    session, runner = model.session(32), Runner(model)
    with pytest.raises(ValueError, match="at least one token"):
        session.ask([])
    with pytest.raises(ValueError, match="exceed 32"):
        session.feed([1] * 33)
    session.feed([50])
    with pytest.raises(ValueError, match="token 50 is not in the vocabulary of 50"):
        runner.run([session])
    session.ask([1])
    assert runner.run([session])
    with pytest.raises(ValueError, match="kv is 'f8'"):
        model.session(32, kv="f8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="top_p"):
        Sampling(top_p=0.0)


def test_the_tokeniser_comes_from_the_file(model: LanguageModel) -> None:
    ids = model.tokenizer.encode("in the hat").ids
    assert model.tokenizer.decode(ids) == "in the hat"
    assert model.tokenizer.id_to_token(ids[0]) == "in"
    assert model.packed.special == {"eos": 49}


def test_a_file_without_a_tokeniser_says_so(tmp_path: Path) -> None:
    made = synthetic_model(extra={"tokenizer.ggml.model": "llama"})
    with pytest.raises(GgufError, match="tokeniser 'llama'"):
        LanguageModel.load(made.write(tmp_path), tmp_path / "cache")


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_bits_of_one(model: LanguageModel, threads: int) -> None:
    alone, shared = model.session(64), model.session(64)
    one, many = Runner(model, 8), Runner(model, 8)
    many.threads = threads
    for tokens in (PROMPT, *[[token] for token in PROMPT]):
        for session, runner in ((alone, one), (shared, many)):
            session.feed(tokens)
            assert runner.run([session])
        assert alone.logits.tobytes() == shared.logits.tobytes()


def test_a_stopped_run_goes_on_with_another_number_of_threads(model: LanguageModel) -> None:
    whole, cut = model.session(64), model.session(64)
    for session in (whole, cut):
        session.feed(PROMPT)
    assert Runner(model).run([whole])
    runner, stops = Runner(model), 0
    while not runner.run([cut], chunk_budget=3 if stops < 5 else 0, threads=1 + stops % 3):
        stops += 1
    assert stops == 5
    assert cut.logits.tobytes() == whole.logits.tobytes()
