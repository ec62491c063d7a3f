"""Tensors at compile time: strided views of planned buffers, as numpy's but with a quantisation and without the data.

Transpose, slice, squeeze, broadcast and most reshapes change only the view; an op that needs another memory order
    copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kernels.graph.errors import UnsupportedModelError

ITEM_BYTES = {"u8": 1, "f32": 4, "i32": 4, "i64": 8}


@dataclass(frozen=True)
class Quant:
    """real = (q - zero) * scale, q in 0..255. Signed tensors are held with 128 added to both q and zero."""

    scale: float
    zero: int


@dataclass(eq=False)
class Buffer:
    """A stretch of one region. An arena buffer gets its offset when the whole list of ops is known."""

    region: int
    size: int
    offset: int = -1
    first: int = -1  # the op that first touches it, and the last
    last: int = -1
    writers: list[int] = field(default_factory=list)
    readers: list[int] = field(default_factory=list)
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)  # border of an image: top, left, bottom, right
    interior: tuple[int, int] = (0, 0)  # height and width inside that border


Dims = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class View:
    """dims and strides in elements, in the order of the model's axes (an image is N, C, H, W, whatever its memory
    order).

    `up` repeats axes 2 and 3 that many times (nearest-neighbour enlargement not carried out yet): dims are the
    enlarged ones, strides those of the small image.
    """

    buffer: Buffer
    dims: Dims
    strides: Dims
    dtype: str
    offset: int = 0  # elements
    quant: Quant | None = None
    up: tuple[int, int] = (1, 1)

    @property
    def elements(self) -> int:
        return count(self.dims)


def count(dims: Dims) -> int:
    """Returns the number of elements of `dims`."""
    total = 1
    for dim in dims:
        total *= dim
    return total


def row_major(dims: Dims) -> Dims:
    """Returns the strides of a packed tensor whose last axis is innermost."""
    return ordered(dims, tuple(range(len(dims))))


def ordered(dims: Dims, order: tuple[int, ...]) -> Dims:
    """Returns the strides of a packed tensor with its axes in memory in `order`, outermost first."""
    strides = [0] * len(dims)
    step = 1
    for axis in reversed(order):
        strides[axis] = step
        step *= dims[axis]
    return tuple(strides)


def memory_order(view: View) -> tuple[int, ...]:
    """Returns the axes of `view` from outermost to innermost (axes of one element go where they were)."""
    return tuple(sorted(range(len(view.dims)), key=lambda axis: (-view.strides[axis], axis)))


def transpose(view: View, perm: tuple[int, ...]) -> View | None:
    if view.up != (1, 1):
        return None
    return replace(view, dims=tuple(view.dims[a] for a in perm), strides=tuple(view.strides[a] for a in perm))


def slice_axis(view: View, axis: int, start: int, length: int, step: int) -> View | None:
    if view.up != (1, 1):
        return None
    dims, strides = list(view.dims), list(view.strides)
    offset = view.offset + start * strides[axis]
    dims[axis], strides[axis] = length, strides[axis] * step
    return replace(view, dims=tuple(dims), strides=tuple(strides), offset=offset)


def broadcast(view: View, dims: Dims) -> View:
    """Returns `view` as `dims` by numpy's rules: missing leading axes and axes of 1 get stride 0."""
    missing = len(dims) - len(view.dims)
    padded, strides = (1,) * missing + view.dims, (0,) * missing + view.strides
    if missing < 0 or any(have not in (1, want) for have, want in zip(padded, dims, strict=False)):
        raise UnsupportedModelError(f"a tensor of shape {list(view.dims)} does not broadcast to {list(dims)}")
    if view.up != (1, 1):
        return view
    return replace(
        view, dims=dims, strides=tuple(0 if h != w else s for h, w, s in zip(padded, dims, strides, strict=False))
    )


def reshape(view: View, dims: Dims) -> View | None:
    """Returns `view` with the new `dims`, or None when that needs a copy."""
    if view.up != (1, 1):
        return None
    old = [(d, s) for d, s in zip(view.dims, view.strides, strict=False) if d != 1]
    strides = [0] * len(dims)
    new = [i for i, d in enumerate(dims) if d != 1]
    oi = ni = 0
    while oi < len(old) and ni < len(new):
        oj, nj = oi + 1, ni + 1
        have, want = old[oi][0], dims[new[ni]]
        while have != want:
            if have < want:
                if oj == len(old):
                    return None
                have *= old[oj][0]
                oj += 1
            else:
                if nj == len(new):
                    return None
                want *= dims[new[nj]]
                nj += 1
        for a, b in zip(old[oi : oj - 1], old[oi + 1 : oj], strict=False):
            if a[1] != b[1] * b[0]:
                return None
        step = old[oj - 1][1]
        for i in reversed(new[ni:nj]):
            strides[i] = step
            step *= dims[i]
        oi, ni = oj, nj
    return replace(view, dims=dims, strides=tuple(strides))


def enlarge(view: View, fy: int, fx: int) -> View | None:
    """Returns the image `view` (N, C, H, W) enlarged by whole factors, without carrying it out."""
    if len(view.dims) != 4 or view.up != (1, 1):
        return None
    n, c, h, w = view.dims
    return replace(view, dims=(n, c, h * fy, w * fx), up=(fy, fx))


def split_up(view: View, up: tuple[int, int]) -> View:
    """Returns `view` (N, C, H, W) as (N, C, H/fy, fy, W/fx, fx), so that enlarged and plain views have like axes."""
    fy, fx = up
    n, c, h, w = view.dims
    sn, sc, sh, sw = view.strides
    strides = (sn, sc, sh, 0, sw, 0) if view.up == up else (sn, sc, sh * fy, sh, sw * fx, sw)
    return replace(view, dims=(n, c, h // fy, fy, w // fx, fx), strides=strides, up=(1, 1))
