"""A TensorRT that computes on this machine: the same calls, on a HostDevice (runtime/backends/cuda/host.py).

It parses with onnx, keeps the model as its "engine", and runs it by onnxruntime when the stream comes to it. So what
stands on TensorRT's API is tested where there is no GPU: keys, caches, shapes, buffers, graphs, preemption.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from runtime.backends.cuda.host import HostDevice

MAGIC = b"HOST ENGINE 1\n"


class TensorIOMode(Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(Enum):
    FLOAT = "float32"
    HALF = "float16"
    INT8 = "int8"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"


class ILogger:
    def log(self, severity: Any, text: str) -> None:
        raise NotImplementedError


class HostTensorRT:
    """Stands for the module. `builds` counts engines that were built; `version` may be changed between loads."""

    def __init__(self, device: HostDevice, version: str = "1.0", *, has_runtime_cache: bool = False) -> None:
        self.device, self.__version__ = device, version
        self.builds = 0
        self.times_seen: list[bytes] = []
        self.ILogger, self.TensorIOMode = ILogger, TensorIOMode
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.ComputeCapability = SimpleNamespace(SM89=89)
        self.has_runtime_cache = has_runtime_cache

    def Builder(self, logger: ILogger) -> Builder:
        return Builder(self)

    def OnnxParser(self, network: Network, logger: ILogger) -> OnnxParser:
        return OnnxParser(network)

    def Runtime(self, logger: ILogger) -> Runtime:
        return Runtime(self)


class Network:
    """What a parser fills."""

    def __init__(self) -> None:
        self.data = b""
        self.inputs: list[Any] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, number: int) -> NetworkInput:
        return NetworkInput(self.inputs[number])


class NetworkInput:
    """A tensor as ONNX declares it; an open dimension is -1."""

    def __init__(self, declared: Any) -> None:
        self.name = declared.name
        self._dims = declared.type.tensor_type.shape.dim

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in self._dims)

    def get_dimension_name(self, axis: int) -> str:
        return str(self._dims[axis].dim_param)


class OnnxParser:
    """Takes what onnxruntime takes."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, number: int) -> str:
        return self._errors[number]

    def parse(self, data: bytes) -> bool:
        try:
            _session(data)
        except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions have no base of their own
            self._errors.append(str(error))
            return False
        self._network.data, self._network.inputs = data, list(onnx.load_from_string(data).graph.input)
        return True


class BuilderConfig:
    """Remembers what it was told."""

    def __init__(self, library: HostTensorRT) -> None:
        self._library = library
        self.profile: dict[str, tuple[tuple[int, ...], ...]] = {}
        self.timing: TimingCache | None = None
        self.num_compute_capabilities = 0
        self.capabilities: dict[int, Any] = {}

    def create_timing_cache(self, times: bytes) -> TimingCache:
        self._library.times_seen.append(times)
        return TimingCache(times)

    def set_timing_cache(self, timing: TimingCache, ignore_mismatch: bool) -> bool:
        self.timing = timing
        return True

    def set_compute_capability(self, capability: Any, number: int) -> None:
        self.capabilities[number] = capability

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profile = profile.shapes


class TimingCache:
    def __init__(self, times: bytes) -> None:
        self.times = times

    def serialize(self) -> bytes:
        return self.times


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = shapes


class Builder:
    """Builds by writing the model down."""

    def __init__(self, library: HostTensorRT) -> None:
        self._library = library

    def create_network(self, flags: int) -> Network:
        return Network()

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig(self._library)

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytes:
        self._library.builds += 1
        if config.timing is not None:
            config.timing.times += b"timed;"
        head = {"version": self._library.__version__, "profile": config.profile}
        return MAGIC + json.dumps(head).encode() + b"\n" + network.data


class Runtime:
    """Takes engines of its own version only, as the real one does."""

    def __init__(self, library: HostTensorRT) -> None:
        self._library = library

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if not plan.startswith(MAGIC):
            return None
        head, _, data = plan[len(MAGIC) :].partition(b"\n")
        said = json.loads(head)
        return Engine(self._library, data, said["profile"]) if said["version"] == self._library.__version__ else None


class Engine:
    """A model; its weights are held on the device as the engine lives."""

    def __init__(self, library: HostTensorRT, data: bytes, profile: dict[str, Any]) -> None:
        self.library, self.profile = library, profile
        self.session = _session(data)
        self._tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self._weights = library.device.alloc(len(data))
        self.num_io_tensors = len(self._tensors)

    def __del__(self) -> None:
        weights = getattr(self, "_weights", None)
        if weights is not None:
            self.library.device.free(weights)

    def get_tensor_name(self, index: int) -> str:
        return str(self._tensors[index].name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        is_input = any(one.name == name for one in self.session.get_inputs())
        return TensorIOMode.INPUT if is_input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        said = self.tensor(name).type
        return {"tensor(float)": DataType.FLOAT, "tensor(int64)": DataType.INT64, "tensor(int32)": DataType.INT32}[said]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.tensor(name).shape)

    def tensor(self, name: str) -> Any:
        return next(one for one in self._tensors if one.name == name)

    def create_execution_context(self, config: Any = None) -> ExecutionContext:
        return ExecutionContext(self)


class ExecutionContext:
    """Reads and writes at addresses, as the real one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        least, _, most = self._engine.profile.get(name, (shape, shape, shape))
        is_right = all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
        if is_right:
            self._shapes[name] = tuple(shape)
        return is_right

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        sizes = {
            dim: size
            for one in self._engine.session.get_inputs()
            for dim, size in zip(one.shape, self._shapes[one.name], strict=True)
        }
        return tuple(sizes.get(dim, dim) for dim in self._engine.tensor(name).shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self._engine.library.device.streams[stream].enqueue(self._execute)
        return True

    def _execute(self) -> None:
        engine = self._engine
        feeds = {one.name: self._array(one.name) for one in engine.session.get_inputs()}
        names = [one.name for one in engine.session.get_outputs()]
        for name, value in zip(names, engine.session.run(names, feeds), strict=True):
            self._array(name)[:] = value

    def _array(self, name: str) -> Any:
        shape, dtype = self.get_tensor_shape(name), np.dtype(self._engine.get_tensor_dtype(name).value)
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._engine.library.device.at(self._addresses[name], nbytes).view(dtype).reshape(shape)


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
