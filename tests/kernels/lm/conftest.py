"""A small random model, loaded once for all tests of this folder that only read it. test_wide.py has its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.lm.model import LanguageModel, exact_variants
from tests.kernels.lm.synthetic import Synthetic, synthetic_model


@pytest.fixture(scope="session")
def tiny() -> Synthetic:
    return synthetic_model()


@pytest.fixture(scope="session")
def model(tiny: Synthetic, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder: Path = tmp_path_factory.mktemp("lm")
    return LanguageModel.load(tiny.write(folder), folder / "cache", variant=exact_variants()[-1])
