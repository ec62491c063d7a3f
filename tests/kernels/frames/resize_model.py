"""The resize written a second time: in exact fractions (its meaning) and in the fixed point of resize.h (its bits)."""

from __future__ import annotations

from fractions import Fraction
from math import floor, gcd

import numpy as np
from numpy.typing import NDArray


def overlaps(n_in: int, n_out: int) -> list[dict[int, Fraction]]:
    """The exact weights of one axis: by output pixel, {input pixel: weight}."""
    if n_out > n_in:
        rows = []
        for o in range(n_out):
            at = sorted([Fraction(0), Fraction(2 * o + 1, 2) * n_in / n_out - Fraction(1, 2), Fraction(n_in - 1)])[1]
            low = min(floor(at), max(n_in - 2, 0))
            rows.append({low: 1 - (at - low), low + 1: at - low} if n_in > 1 else {0: Fraction(1)})
        return rows
    ratio = Fraction(n_in, n_out)
    return [
        {
            k: min(Fraction(k + 1), (o + 1) * ratio) - max(Fraction(k), o * ratio)
            for k in range(floor(o * ratio), -(-(o + 1) * n_in // n_out))
        }
        for o in range(n_out)
    ]


def matrix(n_in: int, n_out: int) -> NDArray[np.float64]:
    """The exact weights as a matrix (n_out, n_in) whose rows add up to 1."""
    weights = np.zeros((n_out, n_in))
    for o, row in enumerate(overlaps(n_in, n_out)):
        total = sum(row.values())
        for k, weight in row.items():
            weights[o, k] = float(weight / total)
    return weights


def exact(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float64]:
    """Levels (3, h, w) in the order B, G, R, in double precision."""
    down, along = matrix(frame.shape[0], size[0]), matrix(frame.shape[1], size[1])
    return np.stack([down @ frame[:, :, c].astype(float) @ along.T for c in range(3)])


def q15(n_in: int, n_out: int) -> list[dict[int, int]]:
    """The fixed-point weights: cumulative sums rounded (area), the second of two rounded (linear); 32768 is 32767."""
    table = []
    for row in overlaps(n_in, n_out):
        total = sum(row.values())
        until = [floor(sum(list(row.values())[: i + 1]) / total * 32768 + Fraction(1, 2)) for i in range(len(row))]
        if n_out > n_in and n_in > 1:
            second = floor(list(row.values())[1] * 32768 + Fraction(1, 2))
            until = [32768 - second, 32768]
        weights = np.diff([0, *until])
        table.append({k: min(int(weight), 32767) for k, weight in zip(row, weights, strict=True) if weight})
    return table


def fixed(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.int64]:
    """H (h, w, 4): 1/128 levels, as the kernels have it before they quantise."""
    v = np.zeros((size[0], frame.shape[1], 4), np.int64)
    for o, row in enumerate(q15(frame.shape[0], size[0])):
        if frame.shape[0] % size[0] == 0:
            v[o] = sum(frame[k].astype(np.int64) for k in row) << (shift := 8 - (len(row) - 1).bit_length())
            v[o] = v[o] * round(Fraction(128 << 16, len(row) << shift)) >> 16
            continue
        lost = sum(1 - Fraction(gcd(weight, 256), 256) for weight in row.values()) / 2  # by the shifts, on average
        v[o] = floor(lost + Fraction(1, 2)) + sum(
            (frame[k].astype(np.int64) * weight) >> 8 for k, weight in row.items()
        )
    h = np.zeros((*size, 4), np.int64)
    for o, row in enumerate(q15(frame.shape[1], size[1])):
        h[:, o] = sum((v[:, k] * weight + (1 << 14)) >> 15 for k, weight in row.items())
    return h
