"""A Llama on a CUDA device: its weights, rooms to answer in, and a token's launches of the kernels in lm.cu.

GGUF ──arrange──► weights on the device, once ─┐
                                               ├─► one token: launches on a stream, captured once a room as a graph
room (KV cache, activations, state) ───────────┘      feed     a token of the prompt: no head
                                                      choose   the head's largest row becomes the next token
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.lm_weights import BLOCK, Arranged, arrange, in_groups
from kernels.lm.cache import rope_frequencies, vector
from kernels.lm.config import LlamaConfig, read_config
from kernels.lm.gguf import Gguf, Tensor
from runtime.backends.cuda.device import Buffer, CudaError, Device, Function, Graph, Stream
from runtime.backends.cuda.transfer import put

THREADS = 256  # of a block, as in lm.cu
STATE = 4  # int32 before the tokens: position, tokens of the prompt, what was chosen last, 0
_FEW_LANES, _FEW_BLOCKS = 8, 64  # narrow rows share a warp, so that its lanes have work; not yet measured on a device


class Matrix(NamedTuple):
    """A matrix on the device; see lm.cu for what lies where."""

    q: Buffer
    scale: Buffer
    rows: int
    blocks: int
    is_int4: bool

    @property
    def lanes(self) -> int:
        """Lanes of a warp that share a row."""
        return _FEW_LANES if self.blocks <= _FEW_BLOCKS else 32

    @property
    def grid(self) -> int:
        """Blocks of threads that do all rows."""
        return -(-self.rows * self.lanes // THREADS)

    @property
    def name(self) -> str:
        return "int4" if self.is_int4 else "int8"

    def from_row(self, first: int) -> tuple[np.uint64, np.uint64]:
        """Returns where `q` and `scale` begin for row `first`."""
        q_bytes, scale_bytes = (16, 4) if self.is_int4 else (32, 2)
        at = first * self.blocks
        return np.uint64(self.q.address + at * q_bytes), np.uint64(self.scale.address + at * scale_bytes)


@dataclass(frozen=True)
class Layer:
    """One layer's weights; products of one input are one matrix where their kinds allow it."""

    attn_norm: Buffer
    qkv: tuple[Matrix, ...]
    o: Matrix
    ffn_norm: Buffer
    gate_up: tuple[Matrix, ...]
    down: Matrix


@dataclass(eq=False)
class Room:
    """What one answer needs besides the weights. `told` is the state as the host last saw it."""

    capacity: int
    buffers: dict[str, Buffer]
    told: NDArray[np.uint8]
    asked: NDArray[np.uint8]
    graphs: dict[bool, Graph | None] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.buffers.values())


class Llama:
    """A model on the device. Raises GgufError: not a Llama, or of kinds that the kernels do not take; CudaError.

    `codes`: (first, count) of the rows of the head that may be chosen.
    """

    def __init__(
        self,
        device: Device,
        stream: Stream,
        functions: dict[str, Function],
        gguf: Gguf,
        codes: tuple[int, int] = (0, 0),
    ) -> None:
        self.device, self.stream, self.functions = device, stream, functions
        self.config = read_config(gguf)
        self.first_code, self.codes = codes[0], codes[1] or self.config.n_vocab
        self._held: list[Buffer] = []
        self._frequencies = rope_frequencies(gguf, self.config)
        self._angles: dict[int, Buffer] = {}
        try:
            self._load(gguf)
        except BaseException:
            self.close()
            raise

    @property
    def weights_bytes(self) -> int:
        """Memory of the device that the weights take."""
        return sum(buffer.nbytes for buffer in self._held)

    def close(self) -> None:
        """Gives the weights' memory back. Rooms are their makers'."""
        for buffer in self._held:
            self.device.free(buffer)
        self._held.clear()
        self._angles.clear()

    def room(self, capacity: int) -> Room:
        """Returns room for one answer of up to `capacity` positions with its prompt. Raises CudaError."""
        if capacity not in self._angles:
            self._angles[capacity] = self._put(self._turns(capacity))
        room = Room(capacity, {}, self.device.pinned(4 * STATE), self.device.pinned(4 * (STATE + capacity + 1)))
        try:
            for name, nbytes in room_bytes(self.config, capacity).items():
                room.buffers[name] = self.device.alloc(nbytes)
            self.wipe(room)
        except BaseException:
            self.leave(room)
            raise
        return room

    def leave(self, room: Room) -> None:
        """Gives a room's memory back."""
        room.graphs.clear()
        for buffer in room.buffers.values():
            self.device.free(buffer)
        room.buffers.clear()
        self.device.unpin(room.told)
        self.device.unpin(room.asked)

    def begin(self, room: Room, prompt: Sequence[int]) -> None:
        """Queues a prompt's coming; the first token of it is next."""
        asked = room.asked.view(np.int32)
        asked[:] = 0
        asked[1] = len(prompt)
        asked[STATE : STATE + len(prompt)] = prompt
        self.stream.upload(room.buffers["state"], room.asked)

    def token(self, room: Room, *, chooses: bool) -> None:
        """Queues one token: what stands at the room's position is computed, and with `chooses` the one after it chosen.

        Afterwards `room.told` has the state, and the chosen token in its third place.
        """
        if chooses not in room.graphs:
            try:
                room.graphs[chooses] = self.stream.capture(lambda: self._queue(room, chooses))
            except CudaError:  # a binding that cannot capture: its launches are queued each time
                room.graphs[chooses] = None
        graph = room.graphs[chooses]
        if graph is None:
            self._queue(room, chooses)
        else:
            self.stream.replay(graph)

    def wipe(self, room: Room) -> None:
        """Queues zeros over everything that an answer left, and waits for them."""
        for buffer in room.buffers.values():
            self._launch(
                "ih_lm_wipe", min(1024, -(-buffer.nbytes // 16 // THREADS)), buffer, np.int64(buffer.nbytes // 16)
            )
        room.asked[:] = 0
        self.stream.download(room.told, room.buffers["state"])
        self.stream.wait()

    def _queue(self, room: Room, chooses: bool) -> None:
        at, config = room.buffers, self.config
        embedding, n = self.embedding, np.int32(config.n_embd)
        kind = np.int32(embedding.is_int4)
        tokens = np.uint64(at["state"].address + 4 * STATE)
        self._launch(
            "ih_lm_embed",
            -(-config.n_embd // THREADS),
            embedding.q,
            embedding.scale,
            kind,
            tokens,
            at["state"],
            at["x"],
            n,
        )
        for number, layer in enumerate(self.layers):
            self._layer(room, layer, number)
        if chooses:
            self._norm(room, self.output_norm)
            rows = Matrix(self.head.q, self.head.scale, self.codes, self.head.blocks, self.head.is_int4)
            shape = (np.int32(rows.rows), np.int32(rows.blocks), np.int32(rows.lanes))
            first = self.head.from_row(self.first_code)
            self._launch(f"ih_lm_choose_{rows.name}", rows.grid, *first, at["q"], at["step"], at["best"], *shape)
        self._launch("ih_lm_next", 1, at["state"], tokens, at["best"], np.int32(self.first_code), threads=1)
        self.stream.download(room.told, at["state"])

    def _layer(self, room: Room, layer: Layer, number: int) -> None:
        at, config, capacity = room.buffers, self.config, np.int32(room.capacity)
        heads, kv_heads, head = config.n_head, config.n_kv_head, config.head_dim
        wide, cache_bytes = heads * head, kv_heads * room.capacity * head * 2
        keys, values = (np.uint64(at[name].address + number * cache_bytes) for name in ("keys", "values"))
        sizes = np.int32(heads), np.int32(kv_heads), np.int32(head), np.int32(config.rope_dim)
        self._norm(room, layer.attn_norm)
        self._product(room, layer.qkv, "qkv")
        angles = self._angles[room.capacity]
        turned = heads + 2 * kv_heads
        self._launch("ih_lm_turn", turned, at["qkv"], angles, at["state"], keys, values, *sizes, capacity)
        share, scale = np.int32(heads // kv_heads), np.float32(1 / np.sqrt(np.float32(head)))
        memory = (keys, values, at["state"], at["scores"], at["mixed"])
        self._launch("ih_lm_attend", heads, at["qkv"], *memory, share, np.int32(head), capacity, scale)
        self._pack(room, at["mixed"].address, 0, wide)
        self._product(room, (layer.o,), "x", adds=True)
        self._norm(room, layer.ffn_norm)
        self._product(room, layer.gate_up, "ffn")
        self._pack(room, at["ffn"].address + 4 * config.n_ffn, at["ffn"].address, config.n_ffn)
        self._product(room, (layer.down,), "x", adds=True)

    def _norm(self, room: Room, weight: Buffer) -> None:
        at, config = room.buffers, self.config
        n, epsilon = np.int32(config.n_embd), np.float32(config.epsilon)
        self._launch("ih_lm_norm", 1, at["x"], weight, n, epsilon, at["q"], at["step"])

    def _pack(self, room: Room, values: int, gates: int, n: int) -> None:
        blocks = -(-n // BLOCK // (THREADS // 32))
        at = room.buffers
        self._launch("ih_lm_pack", blocks, np.uint64(values), np.uint64(gates), np.int32(n), at["q"], at["step"])

    def _product(self, room: Room, parts: Sequence[Matrix], to: str, *, adds: bool = False) -> None:
        at, row = room.buffers, 0
        for part in parts:
            y = np.uint64(at[to].address + 4 * row)
            shape = (np.int32(part.rows), np.int32(part.blocks), np.int32(part.lanes), np.int32(adds))
            self._launch(f"ih_lm_product_{part.name}", part.grid, part.q, part.scale, at["q"], at["step"], y, *shape)
            row += part.rows

    def _launch(self, name: str, blocks: int, *arguments: Any, threads: int = THREADS) -> None:
        self.stream.launch(self.functions[name], (max(1, blocks), 1, 1), (threads, 1, 1), arguments)

    def _load(self, gguf: Gguf) -> None:
        config = self.config
        heads, kv = config.n_head * config.head_dim, config.n_kv_head * config.head_dim

        def norm(name: str) -> Buffer:
            return self._put(vector(gguf, name, config.n_embd))

        def matrices(names: dict[str, tuple[int, int]]) -> tuple[Matrix, ...]:
            tensors = [gguf.matrix(f"{name}.weight", *shape) for name, shape in names.items()]
            return tuple(self._matrix(group) for group in in_groups(tensors))

        layers = []
        for number in range(config.n_layer):
            at = f"blk.{number}."
            qkv = {f"{at}attn_q": (heads, config.n_embd), f"{at}attn_k": (kv, config.n_embd)}
            wide = {f"{at}ffn_gate": (config.n_ffn, config.n_embd), f"{at}ffn_up": (config.n_ffn, config.n_embd)}
            layers.append(
                Layer(
                    norm(f"{at}attn_norm.weight"),
                    matrices(qkv | {f"{at}attn_v": (kv, config.n_embd)}),
                    matrices({f"{at}attn_output": (config.n_embd, heads)})[0],
                    norm(f"{at}ffn_norm.weight"),
                    matrices(wide),
                    matrices({f"{at}ffn_down": (config.n_embd, config.n_ffn)})[0],
                )
            )
        self.layers = tuple(layers)
        self.output_norm = norm("output_norm.weight")
        self.embedding = matrices({"token_embd": (config.n_vocab, config.n_embd)})[0]
        self.head = self.embedding if config.tied else matrices({"output": (config.n_vocab, config.n_embd)})[0]

    def _matrix(self, tensors: Sequence[Tensor]) -> Matrix:
        arranged: Arranged = arrange(tensors)
        q, scale = self._put(arranged.q), self._put(arranged.scale)
        return Matrix(q, scale, arranged.rows, arranged.cols // BLOCK, arranged.is_int4)

    def _put(self, array: NDArray[Any]) -> Buffer:
        made = put(self.device, self.stream, array)
        self._held.append(made)
        return made

    def _turns(self, capacity: int) -> NDArray[np.float32]:
        angles = np.arange(capacity, dtype=np.float64)[:, None] * self._frequencies
        return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)


def room_bytes(config: LlamaConfig, capacity: int) -> dict[str, int]:
    """Returns what a room for `capacity` positions takes, each part a multiple of 16 bytes."""
    heads, kv = config.n_head * config.head_dim, config.n_kv_head * config.head_dim
    widest = max(config.n_embd, config.n_ffn, heads)
    cache = config.n_layer * kv * capacity * 2
    sizes = {"keys": cache, "values": cache, "x": 4 * config.n_embd, "qkv": 4 * (heads + 2 * kv), "mixed": 4 * heads}
    sizes |= {"ffn": 8 * config.n_ffn, "q": widest, "step": widest // BLOCK * 8, "scores": 4 * config.n_head * capacity}
    sizes |= {"state": 4 * (STATE + capacity + 1), "best": 8}
    return {name: -(-nbytes // 16) * 16 for name, nbytes in sizes.items()}


def weights_bytes(gguf: Gguf) -> Iterator[int]:
    """Yields about what each tensor takes on the device: what it takes in the file, Q4_0's scales doubled."""
    for tensor in gguf.tensors.values():
        yield tensor.data.nbytes * (20 if tensor.kind == "Q4_0" else 18) // 18
