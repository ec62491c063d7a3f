"""Language models behind the seam of backends: the same answer however often it was preempted, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.backends.protocol import Limits, Model, ModelRefused, StepResult, load_model
from runtime.store.bundle import Bundle
from tests.backends.made import CountedGate, installed
from tests.kernels.lm.synthetic import synthetic_model


def a_bundle(folder: Path, data: bytes, **options: int | str) -> Bundle:
    folder.mkdir(exist_ok=True)
    model = {"file": "model.gguf", "backends": ["native"], "options": {"native": options}}
    return installed(folder, {"model.gguf": data}, {"model": model}, kind="causal_lm")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("lm"), synthetic_model().raw, max_tokens=9, context=64)


@pytest.fixture
def model(bundle: Bundle, tmp_path: Path) -> Model:
    return load_model(bundle, Limits(cache_folder=tmp_path))[1]


def prompt(*tokens: int) -> dict[str, NDArray[Any]]:
    return {"tokens": np.array(tokens, np.int32)}


def test_an_answer_is_the_same_however_often_it_was_preempted(model: Model) -> None:
    whole = model.start(prompt(3, 1, 4))
    assert whole.step(None) is StepResult.DONE
    answer = whole.outputs()["tokens"]
    assert (answer.shape, answer.dtype.name) == ((9,), "int32")
    again = model.start(prompt(3, 1, 4))
    assert again.step(CountedGate(0).as_token()) is StepResult.PREEMPTED
    with pytest.raises(ValueError, match="not done"):
        again.outputs()
    assert again.step(None) is StepResult.DONE
    assert np.array_equal(again.outputs()["tokens"], answer)
    other = model.start(prompt(7))
    other.step(None)
    assert not np.array_equal(other.outputs()["tokens"], answer)


def test_a_stop_token_ends_the_answer(tmp_path: Path, model: Model) -> None:
    run = model.start(prompt(3, 1, 4))
    run.step(None)
    answer = run.outputs()["tokens"].tolist()
    data = synthetic_model().raw
    stopping = load_model(a_bundle(tmp_path, data, max_tokens=9, context=64, stop_token=answer[2]), Limits())[1]
    run = stopping.start(prompt(3, 1, 4))
    run.step(None)
    assert run.outputs()["tokens"].tolist() == answer[: answer.index(answer[2]) + 1]


def test_only_codes_are_chosen_if_there_are_any(tmp_path: Path) -> None:
    data = synthetic_model(kind="Q8_0").raw
    free = load_model(a_bundle(tmp_path / "free", data, max_tokens=9), Limits())[1].start(prompt(3, 1, 4))
    coded = load_model(a_bundle(tmp_path / "coded", data, max_tokens=9, first_code=19, codes=14), Limits())[1]
    found = []
    for run in (free, coded.start(prompt(3, 1, 4))):
        run.step(None)
        found.append(run.outputs()["tokens"].tolist())
    assert set(found[1]) <= set(range(19, 33))
    assert not set(found[0]) <= set(range(19, 33)), "it would have said something else"
    alone = load_model(a_bundle(tmp_path / "alone", data, max_tokens=3, first_code=20, codes=1), Limits())[1]
    run = alone.start(prompt(3))
    run.step(None)
    assert run.outputs()["tokens"].tolist() == [20] * 3
    with pytest.raises(ModelRefused, match="the model has tokens 0 to 49"):
        load_model(a_bundle(tmp_path / "many", data, first_code=40, codes=11), Limits())


@pytest.mark.parametrize(
    ("tokens", "said"),
    [((), "at least one token"), ((50,), "from 0 to 49"), ((-1,), "from 0 to 49"), ((1,) * 56, "56 [+] 9 tokens")],
)
def test_prompts_that_cannot_be(model: Model, tokens: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model.start(prompt(*tokens))


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"max_tokens": "9"}, {"context": -2}, {"mood": 1}])
def test_options_that_are_wrong(tmp_path: Path, options: dict[str, int | str]) -> None:
    with pytest.raises(ModelRefused, match=r"options\.native must be integers like"):
        load_model(a_bundle(tmp_path, synthetic_model().raw, **options), Limits())


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="model 'model'"):
        load_model(a_bundle(tmp_path, b"GGUF but not really"), Limits())


def test_nothing_stays_of_a_model_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(own))
    model = load_model(a_bundle(tmp_path, synthetic_model().raw, context=64), Limits())[1]
    assert list(own.iterdir())
    model.close()
    assert not list(own.iterdir())
    with pytest.raises(ValueError, match="closed"):
        model.start(prompt(1))
