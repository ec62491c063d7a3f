"""The wide kernels of long prompts: near to exact arithmetic, and the same bits whatever else runs beside them.

Only where a variant has them (AMX bf16); their memory accesses are checked by check_variants.c under sanitizers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.lm import _lm
from kernels.lm.model import LanguageModel, Runner, Session, exact_variants, variants
from kernels.lm.repack import TYPES
from tests.kernels.lm.synthetic import Synthetic, synthetic_model
from tests.kernels.lm.test_kernels import packed
from tests.kernels.lm.test_model import assert_close

WIDE = [name for name in variants() if name not in exact_variants()]
pytestmark = pytest.mark.skipif(not WIDE, reason="no variant of this machine has wide kernels")

ADDING = 2e-6
"""Of the sum of the absolute products: what adding them up in float may cost."""
BF16 = 0.03
"""Of the output's size: what bf16 costs a small model, whose 8-bit activations cost 0.04."""
PROMPT = [int(token) for token in np.random.default_rng(7).integers(0, 50, 600)]


def to_bf16(x: np.ndarray, ties_up: bool) -> np.ndarray:
    """Rounds float32 to bf16, ties to even or away from zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = bits + (0x8000 if ties_up else 0x7FFF + (bits >> 16 & 1))
    return (rounded.astype(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("wide")
    return LanguageModel.load(synthetic_model().write(folder), folder / "cache", variant=WIDE[-1])


def logits_after(
    model: LanguageModel, tokens: list[int], parts: list[int] | None = None, **options: object
) -> np.ndarray:
    """The logits after all of `tokens`, fed in parts of the given lengths."""
    session, runner = Session(model, 640, **options), Runner(model)  # type: ignore[arg-type]
    at = 0
    for count in parts or [len(tokens)]:
        session.feed(tokens[at : at + count])
        assert runner.run([session])
        at += count
    assert session.tokens == tokens
    return session.logits


@pytest.mark.parametrize("variant", WIDE)
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
@pytest.mark.parametrize(
    ("tokens", "rows", "cols"), [(1, 16, 32), (16, 48, 544), (37, 32, 64), (48, 80, 1600), (150, 16, 96)]
)
def test_product_is_that_of_values_rounded_to_bf16(variant: str, kind: str, tokens: int, rows: int, cols: int) -> None:
    panels, values = packed(kind, rows, cols, seed=tokens)
    rng = np.random.default_rng(tokens)
    x = (rng.normal(size=(tokens, cols)) * 10 ** rng.uniform(-3, 3, (tokens, 1))).astype(np.float32)
    rounded = to_bf16(values.astype(np.float16).astype(np.float32), ties_up=True)
    exact, size = to_bf16(x, ties_up=False) @ rounded.T, np.abs(x) @ np.abs(values).T
    y = np.full((tokens, rows), np.nan, np.float32)
    _lm.matmul_wide(variant, TYPES.index(kind), panels, x, y)
    assert (np.abs(y - exact) <= ADDING * size + 1e-9).all()
    start = rng.normal(size=y.shape).astype(np.float32)
    added = start.copy()
    _lm.matmul_wide(variant, TYPES.index(kind), panels, x, added, add=True)
    assert (np.abs(added - exact - start) <= ADDING * (size + 1)).all()
    alone = np.full((1, rows), np.nan, np.float32)
    _lm.matmul_wide(variant, TYPES.index(kind), panels, x[-1:], alone)
    assert alone.tobytes() == y[-1:].tobytes(), "a token's bits are its own"


@pytest.mark.parametrize("variant", exact_variants())
def test_an_exact_variant_has_none(variant: str) -> None:
    panels, _ = packed("Q4_1", 16, 32)
    with pytest.raises(ValueError, match="no wide kernel"):
        _lm.matmul_wide(variant, 1, panels, np.zeros((1, 32), np.float32), np.zeros((1, 16), np.float32))


@pytest.mark.parametrize("count", [16, 257, 600])
@pytest.mark.parametrize(
    ("kind", "kv", "window"), [("Q4_1", "f16", 0), ("Q8_0", "int8", 0), ("Q4_0", "f16", 19), ("Q4_1", "int8", 300)]
)
def test_engine_agrees_with_a_float64_forward_pass(kind: str, window: int, count: int, kv: str, tmp_path: Path) -> None:
    made = synthetic_model(kind, "F32")
    model = LanguageModel.load(made.write(tmp_path), tmp_path / "cache", variant=WIDE[-1])
    assert model.native.wide_least(model.variant) == 16
    got = logits_after(model, PROMPT[:count], kv=kv, window=window)
    assert_close(got, made.forward(PROMPT[:count], window)[-1], BF16 if kv == "f16" else 2 * BF16)


@pytest.mark.parametrize("shape", [{"heads": 2, "kv_heads": 1, "embd": 160}, {"heads": 2, "kv_heads": 2, "embd": 96}])
def test_heads_need_not_be_whole_blocks(shape: dict[str, int], tmp_path: Path) -> None:
    made = synthetic_model("Q4_1", "F32", **shape)
    model = LanguageModel.load(made.write(tmp_path), tmp_path / "cache", variant=WIDE[-1])
    assert_close(logits_after(model, PROMPT[:40]), made.forward(PROMPT[:40])[-1], BF16)


@pytest.mark.parametrize("parts", [[16, 184], [100, 100], [57, 143], [17] * 10 + [30]])
def test_cuts_into_long_parts_give_the_same_bits(wide: LanguageModel, parts: list[int]) -> None:
    assert logits_after(wide, PROMPT[:200], parts).tobytes() == logits_after(wide, PROMPT[:200]).tobytes()


def test_what_runs_beside_a_session_does_not_change_its_bits(wide: LanguageModel) -> None:
    """Sessions that write beside one that reads a prompt keep the bits of the exact kernels."""
    prompts = [PROMPT[:50], PROMPT[100:103], PROMPT[200:300], PROMPT[9:10]]
    runner, together = Runner(wide), [wide.session(640) for _ in prompts]
    for session, prompt in zip(together, prompts, strict=True):
        session.ask(prompt)
    assert runner.run(together)
    for session, prompt in zip(together, prompts, strict=True):
        assert session.logits.tobytes() == logits_after(wide, prompt).tobytes()
    writing, alone = wide.session(640), wide.session(640)
    for session in (writing, alone):
        session.ask(PROMPT[:5])
        Runner(wide).run([session])
    together[0].feed(PROMPT[50:90])
    for session in (writing, alone):
        session.feed([3])
    assert runner.run([writing, together[0]])
    assert Runner(wide).run([alone])
    assert writing.logits.tobytes() == alone.logits.tobytes()
    assert together[0].logits.tobytes() == logits_after(wide, PROMPT[:90], [50, 40]).tobytes()


def test_short_parts_have_the_bits_of_the_exact_variants(wide: LanguageModel, tiny: Synthetic, tmp_path: Path) -> None:
    exact = LanguageModel.load(tiny.write(tmp_path), tmp_path / "cache", variant=exact_variants()[-1])
    parts = [15, 1, 7, 15]
    assert logits_after(wide, PROMPT[:38], parts).tobytes() == logits_after(exact, PROMPT[:38]).tobytes()


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_a_stopped_run_goes_on_with_the_same_bits(wide: LanguageModel, budget: int) -> None:
    session, runner, stops = wide.session(640), Runner(wide), 0
    session.ask(PROMPT[:150])
    while not runner.run([session], chunk_budget=budget):
        stops += 1
    assert stops > 10 / budget
    assert session.logits.tobytes() == logits_after(wide, PROMPT[:150]).tobytes()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_bits_of_one(wide: LanguageModel, threads: int) -> None:
    session, runner = wide.session(640), Runner(wide)
    runner.threads = threads
    session.ask(PROMPT[:300])
    assert runner.run([session])
    assert session.logits.tobytes() == logits_after(wide, PROMPT[:300]).tobytes()


@pytest.mark.parametrize("kind", ["F16", "F32"])
def test_other_matrices_stay_with_the_exact_kernels(kind: str, tmp_path: Path) -> None:
    made = synthetic_model(kind, kind)
    path = made.write(tmp_path)
    first, second = (
        LanguageModel.load(path, tmp_path / "cache", variant=name) for name in (WIDE[-1], exact_variants()[-1])
    )
    assert first.native.wide_least(first.variant) == 0
    assert logits_after(first, PROMPT[:60]).tobytes() == logits_after(second, PROMPT[:60]).tobytes()
