"""Runs one claimed batch in a worker: an input, the model, a result, the next; no desktop.

    input ─► tensors ─► the model's run (in the thinking thread, under the gate) ─► JSON ─┐
      ▲                                                                                   ▼
      └── next ◄────────────────────────── `put` has the results kept, then the index (the checkpoint)

A result is a function of its input and the model, so computing one again, on whatever car, changes nothing: what was
not kept when the car was wanted is computed anew. An input that the model does not take has an error for a result.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.errors import IdlehandsError
from runtime.agent.protocol import Preempted
from runtime.backends.protocol import Model, StepResult
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.run import ClaimedRun, RunEnd, RunStopped
from runtime.store.manifest import TensorSpec

PUT_S, PUT_BYTES = 0.5, 64 * 1024  # results are kept so often, or when they are so many
RESULT_CAP_BYTES = 256 * 1024
INLINE = 256  # a tensor of more elements is told as base64


class BadInput(ValueError):
    """An input that is none for this model."""


@dataclass(kw_only=True)
class BatchRun(ClaimedRun):
    """A run over a batch's inputs, from the first that has no result. `memory.actions` is how many have one.

    `put` keeps results from a number on, and the checkpoint after them; it returns when they are in the store.
    """

    model: Model
    put: Callable[[int, tuple[bytes, ...], Checkpoint], Awaitable[None]]
    _results: list[bytes] = field(default_factory=list)
    _putting: asyncio.Task[None] | None = None
    _errors: int = 0

    async def _work(self) -> RunEnd:
        inputs = self.spec.batch.inputs
        self._errors = int.from_bytes(self.memory.state, "little")
        deadline_s = time.monotonic() + self.spec.limits.max_s
        put_s = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            for number in range(self.memory.actions, len(inputs)):
                if time.monotonic() > deadline_s:
                    return RunEnd("failed", f"the job's limit of {self.spec.limits.max_s:g} s is reached")
                made = await self._unless_stopped(
                    loop.run_in_executor(self.think, self._thinking, lambda given=inputs[number]: self._result(given))
                )
                if isinstance(made, Preempted):
                    raise RunStopped
                result, is_error = made
                self._results.append(result)
                self._errors += is_error
                is_much = sum(map(len, self._results)) >= PUT_BYTES
                if is_much or time.monotonic() - put_s >= PUT_S or number == len(inputs) - 1:
                    await self._unless_stopped(self._put())
                    put_s = time.monotonic()
            await self._unless_stopped(self._until_put())
        finally:
            if self._putting is not None:
                self._putting.cancel()
        bad = f", {self._errors} of them errors" if self._errors else ""
        return RunEnd("done", f"{len(inputs)} results{bad}")

    async def _put(self) -> None:
        """Hands the results on, one load at a time: the next are computed meanwhile."""
        await self._until_put()
        results, self._results = tuple(self._results), []
        self._putting = asyncio.ensure_future(self._keep(results))

    async def _until_put(self) -> None:
        if self._putting is not None:
            await asyncio.shield(self._putting)

    async def _keep(self, results: tuple[bytes, ...]) -> None:
        first, after = self.memory.actions, msgspec.structs.replace(self.memory)
        after.actions, after.state = first + len(results), self._errors.to_bytes(4, "little")
        after.decisions = after.actions
        checkpoint = Checkpoint(
            agent_kind=self.kind, bundle_sha256=self.bundle_sha256, state=msgspec.msgpack.encode(after)
        )
        await self.put(first, results, checkpoint)
        self.memory = after

    def _result(self, given: Mapping[str, Any]) -> tuple[bytes, bool] | Preempted:
        """In the thinking thread: returns an input's result as JSON and whether it is an error."""
        try:
            run = self.model.start({spec.name: tensor_of(given, spec) for spec in _expected(self.model, given)})
            while run.step(self.gate) is not StepResult.DONE:
                if self.gate is None or not self.gate.is_open():
                    return Preempted()
            data = msgspec.json.encode({"outputs": {name: told(array) for name, array in run.outputs().items()}})
        except (BadInput, ValueError, IdlehandsError) as error:
            return msgspec.json.encode({"error": str(error)}), True
        if len(data) > RESULT_CAP_BYTES:
            said = f"the result has {len(data)} bytes, at most {RESULT_CAP_BYTES} are kept"
            return msgspec.json.encode({"error": said}), True
        return data, False


def tensor_of(given: Mapping[str, Any], spec: TensorSpec) -> NDArray[Any]:
    """Returns one tensor of an input: nested lists of numbers, or {"shape": [...], "base64": "..."}, little-endian.

    Raises BadInput, in words for who wrote it.
    """
    value = given[spec.name]
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    try:
        if isinstance(value, Mapping):
            raw = base64.b64decode(value["base64"], validate=True)
            whole: NDArray[Any] = np.frombuffer(raw, dtype).reshape(value["shape"]).astype(spec.dtype)
            return whole
        array = np.array(value)
        if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, spec.dtype, "unsafe"):
            raise BadInput(f"input '{spec.name}' must be numbers, got {array.dtype.name}")
        made: NDArray[Any] = array.astype(spec.dtype)
    except (KeyError, TypeError, binascii.Error) as error:
        raise BadInput(f"input '{spec.name}' must be lists of numbers, or a table of shape and base64") from error
    except (ValueError, OverflowError) as error:
        raise BadInput(f"input '{spec.name}': {error}") from error
    if np.dtype(spec.dtype).kind in "iub" and not np.array_equal(made, array):
        raise BadInput(f"input '{spec.name}' must be {spec.dtype}, its numbers do not fit")
    return made


def told(array: NDArray[Any]) -> Any:
    """Returns a tensor as a result tells it: nested lists, or the table of `tensor_of` with its dtype."""
    if array.size <= INLINE and np.isfinite(array).all():
        return array.tolist()
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {"shape": list(array.shape), "dtype": array.dtype.name, "base64": base64.b64encode(raw).decode()}


def _expected(model: Model, given: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    wanted, got = {spec.name for spec in model.inputs}, set(given)
    if wanted != got:
        raise BadInput(f"expected the inputs {sorted(wanted)}, got {sorted(got)}")
    return model.inputs
