"""The second load packs nothing; a cache that is damaged, foreign or cannot be written does no harm."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kernels.graph import model as model_module
from kernels.graph import plan as plan_module
from kernels.graph.errors import GraphError
from kernels.graph.model import GraphModel, StepResult
from tests.kernels.graph.qdq import Array, Builder

SHAPE = (1, 3, 8, 10)


def model(seed: int = 0) -> bytes:
    b = Builder(seed)
    x = b.q(b.input("x", ["n", 3, 8, 10]), 0.05, 100)
    b.output(b.q(b.conv(x, 0.05, 3, 16, pads=[1, 1, 1, 1]), 0.3, 0))
    return b.model()


def result(graph: GraphModel, batch: int = 1) -> Array:
    run = graph.start({"x": np.random.default_rng(2).uniform(-4, 4, (batch, *SHAPE[1:])).astype(np.float32)})
    assert run.step() is StepResult.DONE
    return next(iter(run.outputs().values()))


def test_a_second_load_compiles_and_parses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = result(GraphModel.load(model(), cache_dir=tmp_path))

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(model_module, "make_plan", refuse)
    monkeypatch.setattr(model_module, "read_onnx", refuse)
    np.testing.assert_array_equal(result(GraphModel.load(model(), cache_dir=tmp_path)), wanted)


def test_a_new_shape_after_a_cached_load_packs_no_weights_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result(GraphModel.load(model(), cache_dir=tmp_path))
    wanted = result(GraphModel.load(model()), batch=2)
    from kernels.graph import products

    def refuse(*_: object) -> bytes:
        raise AssertionError("packed again")

    monkeypatch.setattr(products, "pack_dense", refuse)
    np.testing.assert_array_equal(result(GraphModel.load(model(), cache_dir=tmp_path), batch=2), wanted)
    assert plan_module.make_plan is not None


@pytest.mark.parametrize("suffix", ["plan", "weights"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_files_are_not_used(tmp_path: Path, suffix: str, damage: str) -> None:
    wanted = result(GraphModel.load(model(), cache_dir=tmp_path))
    (path,) = tmp_path.glob(f"*.{suffix}")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":  # the weights' head is checked; the weights are numbers, no places
        content[60 if suffix == "weights" else len(content) // 2] ^= 1
    elif damage == "empty":
        content = bytearray()
    path.write_bytes(content)
    np.testing.assert_array_equal(result(GraphModel.load(model(), cache_dir=tmp_path)), wanted)


def test_plans_of_lost_weights_are_not_used(tmp_path: Path) -> None:
    """The plan alone survived: its places refer to weights that are packed anew, perhaps elsewhere."""
    wanted = result(GraphModel.load(model(), cache_dir=tmp_path))
    for path in tmp_path.glob("*.weights"):
        path.unlink()
    np.testing.assert_array_equal(result(GraphModel.load(model(), cache_dir=tmp_path)), wanted)


def test_models_do_not_mix(tmp_path: Path) -> None:
    for seed in (0, 1):
        np.testing.assert_array_equal(
            result(GraphModel.load(model(seed), cache_dir=tmp_path)), result(GraphModel.load(model(seed)))
        )
    assert len(list(tmp_path.glob("*.weights"))) == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # no half-written files are left


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert result(GraphModel.load(model(), cache_dir=blocked)).shape == (1, 16, 8, 10)


def test_a_known_hash_spares_reading_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model())
    sha256 = hashlib.sha256(model()).hexdigest()
    wanted = result(GraphModel.load(path, cache_dir=tmp_path, sha256=sha256))
    path.unlink()
    np.testing.assert_array_equal(result(GraphModel.load(path, cache_dir=tmp_path, sha256=sha256)), wanted)
    with pytest.raises(GraphError, match="cannot be read"):
        GraphModel.load(path, cache_dir=tmp_path)
    with pytest.raises(GraphError, match="cannot be read"):
        GraphModel.load(path, cache_dir=tmp_path, sha256="00" * 32)


def test_all_who_load_a_model_share_its_packed_weights(tmp_path: Path) -> None:
    result(GraphModel.load(model(), cache_dir=tmp_path))
    (weights,) = tmp_path.glob("*.weights")
    loaded = [GraphModel.load(model(), cache_dir=tmp_path) for _ in range(3)]
    maps = Path("/proc/self/maps").read_text().splitlines()
    assert sum(str(weights) in line and " r--s " in line for line in maps) == len(loaded)
    weights.unlink()  # what is mapped stays
    np.testing.assert_array_equal(result(loaded[0]), result(loaded[2]))
