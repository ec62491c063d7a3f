"""Float ONNX to int8: weights s8 per channel, activations u8 per tensor, as QuantizeLinear/DequantizeLinear pairs.

    float ─► opset 17 ─► folded (constants, batch norms) ─► ranges from a calibration set ─► probe each layer alone
                                                             ─► all but the layers to keep float ─► int8 + report

Each Conv or MatMul with constant weights is also quantised alone and the output compared with the float one: the report
names the layers that hurt most. They stay float, worst first, as long as `score` says that the whole loses too much.
Per-channel QDQ needs opset 13; onnxruntime's kernels and shape inference are at their best from 14, so older models
(PP-OCRv4 is opset 12) pass through the version converter first.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from models.onnx_session import session_of
from runtime.errors import RuntimeFault

OPSET = 17
LAYER_TYPES = ("Conv", "MatMul", "Gemm")

Feeds = dict[str, NDArray[Any]]
Score = Callable[[onnxruntime.InferenceSession], float]


class QuantisationFailed(RuntimeFault):
    """A model cannot be quantised: it is no ONNX file, has no layer for it, or the calibration set does not fit."""

    next_step = "give a float ONNX model of opset 7 or newer and arrays of its inputs' names, shapes and dtypes"


@dataclass(frozen=True)
class Layer:
    """`snr_db`: power of the float outputs over that of the error when this layer alone is int8. Lower is worse."""

    name: str
    kind: str
    snr_db: float


@dataclass(frozen=True)
class Report:
    """Before and after. `score_*` are what the caller's measure says (None without one), `snr_db` of the whole."""

    float_bytes: int
    int8_bytes: int
    float_ms: float
    int8_ms: float
    snr_db: float
    score_float: float | None
    score_int8: float | None
    quantised: int
    kept_float: tuple[str, ...]
    most_sensitive: tuple[Layer, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def quantize(
    source: Path,
    target: Path,
    calibration: Sequence[Feeds],
    *,
    score: Score | None = None,
    most_lost: float = 0.01,
    keep_float: Iterable[str] = (),
    float_results: Iterable[str] = (),
    most_kept: int = 8,
    shapes: dict[str, Sequence[int]] | None = None,
    percentile: float | None = None,
) -> Report:
    """Writes the int8 form of the float model `source` to `target` (atomically) and returns the report.

    calibration: inputs by name, as the model takes them, at least one. score: higher is better, 1.0 = perfect; when the
    int8 model loses more than `most_lost` of it, the most sensitive layers are kept float, two more at a time, up to
    `most_kept`. keep_float: layers never quantised. float_results: types of layers whose operands are int8 and whose
    results are not rounded again, for where a bias, a sum or a choice follows. shapes: static input shapes to fix.
    percentile: None takes the whole range that calibration saw, e.g. 99.99 cuts outliers.
    Raises QuantisationFailed.
    """
    if not calibration:
        raise QuantisationFailed("the calibration set is empty")
    with tempfile.TemporaryDirectory(prefix="idlehands-quantise-") as folder:
        prepared = _prepare(source, Path(folder) / "prepared.onnx", shapes)
        model = onnx.load(prepared)
        layers = _layers(model)
        if not layers:
            raise QuantisationFailed(f"{source}: it has no {'/'.join(LAYER_TYPES)} with constant weights")
        ranges = _ranges(prepared, calibration, percentile, Path(folder))
        expected = _outputs(session_of(prepared), calibration[:8])
        float_results = tuple(float_results)
        ranking = _probe(prepared, layers, ranges, float_results, calibration[:8], expected, Path(folder))
        session = session_of(prepared)
        score_float = None if score is None else score(session)
        kept = list(dict.fromkeys(keep_float))
        order = [layer.name for layer in ranking if layer.name not in kept]
        built = Path(folder) / "int8.onnx"
        while True:
            chosen = [name for name, _ in layers if name not in kept]
            _build(prepared, chosen, ranges, float_results, built)
            int8 = session_of(built)
            score_int8 = None if score is None else score(int8)
            enough = score_float is None or score_int8 is None or score_float - score_int8 <= most_lost
            if enough or len(kept) >= most_kept or not order:
                break
            kept.extend(order[:2])
            order = order[2:]
        report = Report(
            float_bytes=source.stat().st_size,
            int8_bytes=built.stat().st_size,
            float_ms=_milliseconds(session, calibration[0]),
            int8_ms=_milliseconds(int8, calibration[0]),
            snr_db=_snr_db(expected, _outputs(int8, calibration[:8])),
            score_float=score_float,
            score_int8=score_int8,
            quantised=len(chosen),
            kept_float=tuple(kept),
            most_sensitive=tuple(ranking[:8]),
        )
        _replace(built, target)
    return report


def _prepare(source: Path, prepared: Path, shapes: dict[str, Sequence[int]] | None) -> Path:
    """Converts to OPSET, fixes input shapes, and lets onnxruntime fold constants and batch norms into convolutions."""
    try:
        model = onnx.load(source)
        if model.opset_import[0].version < OPSET:
            model = onnx.version_converter.convert_version(model, OPSET)
        for value in model.graph.input:
            for axis, size in enumerate((shapes or {}).get(value.name, ())):
                value.type.tensor_type.shape.dim[axis].Clear()
                value.type.tensor_type.shape.dim[axis].dim_value = size
        if shapes:
            del model.graph.value_info[:]
        converted = prepared.with_name("converted.onnx")
        onnx.save(model, converted)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(prepared)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(converted, options, providers=["CPUExecutionProvider"])
    except (OSError, ValueError, RuntimeError, onnx.onnx_cpp2py_export.checker.ValidationError) as error:
        raise QuantisationFailed(f"{source}: it does not load as ONNX: {error}") from error
    except Exception as error:  # protobuf and onnxruntime raise types of their own
        if type(error).__module__.split(".")[0] in ("google", "onnx", "onnxruntime"):
            raise QuantisationFailed(f"{source}: it does not load as ONNX: {error}") from error
        raise
    return prepared


def _layers(model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Returns (name, type) of every layer that multiplies by constant weights, in graph order."""
    constants = {value.name for value in model.graph.initializer}
    return [
        (node.name, node.op_type)
        for node in model.graph.node
        if node.op_type in LAYER_TYPES and node.input[1] in constants
    ]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


def _ranges(prepared: Path, calibration: Sequence[Feeds], percentile: float | None, folder: Path) -> TensorsData:
    method = CalibrationMethod.MinMax if percentile is None else CalibrationMethod.Percentile
    extra = {} if percentile is None else {"percentile": percentile, "symmetric": False}
    calibrator = create_calibrator(
        prepared,
        list(LAYER_TYPES),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=method,
        extra_options=extra,
    )
    calibrator.set_execution_providers(["CPUExecutionProvider"])
    try:
        calibrator.collect_data(_Reader(calibration))
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            raise QuantisationFailed(f"the calibration set does not fit the model: {error}") from error
        raise
    return calibrator.compute_data()


def _build(
    prepared: Path, chosen: Sequence[str], ranges: TensorsData, float_results: Sequence[str], target: Path
) -> None:
    """Writes the model with the layers named in `chosen` in int8."""
    quantizer = QDQQuantizer(
        onnx.load(prepared),
        True,  # per channel
        False,  # reduce_range: only for CPUs without VNNI, and it costs accuracy
        QuantType.QInt8,
        QuantType.QUInt8,
        ranges,
        list(chosen),
        [],
        list(LAYER_TYPES),
        {
            "DedicatedQDQPair": False,
            "QDQKeepRemovableActivations": False,
            "OpTypesToExcludeOutputQuantization": list(float_results),
        },
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target), False)


def _probe(
    prepared: Path,
    layers: Sequence[tuple[str, str]],
    ranges: TensorsData,
    float_results: Sequence[str],
    feeds: Sequence[Feeds],
    expected: list[NDArray[Any]],
    folder: Path,
) -> list[Layer]:
    """Quantises each layer alone; returns them from the most to the least sensitive."""
    ranking = []
    probe = folder / "probe.onnx"
    for name, kind in layers:
        _build(prepared, [name], ranges, float_results, probe)
        ranking.append(Layer(name, kind, _snr_db(expected, _outputs(session_of(probe), feeds))))
    return sorted(ranking, key=lambda layer: layer.snr_db)


def _outputs(session: onnxruntime.InferenceSession, feeds: Sequence[Feeds]) -> list[NDArray[Any]]:
    return [output.astype(np.float64) for feed in feeds for output in session.run(None, feed)]


def _snr_db(expected: list[NDArray[Any]], got: list[NDArray[Any]]) -> float:
    signal = sum(float(np.square(value).sum()) for value in expected)
    noise = sum(float(np.square(value - other).sum()) for value, other in zip(expected, got, strict=True))
    return 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30)))


def _milliseconds(session: onnxruntime.InferenceSession, feeds: Feeds) -> float:
    import time

    session.run(None, feeds)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def _replace(built: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(built.read_bytes())
    os.replace(part, target)
