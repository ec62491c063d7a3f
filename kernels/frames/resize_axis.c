/* The weights of one axis of a resize, in integers: the overlaps of input and output pixels are exact fractions. */
#include "common/gate_word.h"
#include "frames/resize.h"

#include <string.h>

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

static int taps_of(int n_in, int n_out)
{
    if (n_out > n_in)
        return least(2, n_in);
    if (n_in % n_out == 0)
        return n_in / n_out;
    int taps = 0;
    for (int64_t o = 0; o < n_out; o++) {
        int64_t first = o * n_in / n_out, end = ((o + 1) * n_in + n_out - 1) / n_out;
        taps = most(taps, (int)(end - first));
    }
    return taps;
}

static int padded(int taps, int is_horizontal)
{
    return is_horizontal ? (taps + IH_RESIZE_TAPS_AT_ONCE - 1) / IH_RESIZE_TAPS_AT_ONCE * IH_RESIZE_TAPS_AT_ONCE : taps;
}

/* Rows of the table: area weights repeat, linear ones do not at the two ends; vertical ones are clamped at the end. */
static int period_of(int n_in, int n_out, int is_horizontal)
{
    int a = n_in, b = n_out;
    while (b) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    int period = n_out / a;
    while (period % 4)
        period *= 2;
    return is_horizontal && n_out <= n_in ? period : n_out;
}

ptrdiff_t ih_axis_bytes(int n_in, int n_out, int is_horizontal)
{
    if (n_in < 1 || n_out < 1 || n_in > (int64_t)n_out * IH_RESIZE_SHRINK_MAX)
        return IH_EINVAL;
    const int period = period_of(n_in, n_out, is_horizontal);
    ptrdiff_t weights = (ptrdiff_t)period * padded(taps_of(n_in, n_out), is_horizontal) * (is_horizontal ? 4 : 1) * 2;
    ptrdiff_t first = (ptrdiff_t)n_out * 4;
    return (weights + 31) / 32 * 32 + (first + 31) / 32 * 32;
}

static void put(ih_axis *axis, int o, int tap, int weight)
{
    int16_t *at = axis->weights + ((ptrdiff_t)o * axis->taps + tap) * axis->repeat;
    for (int i = 0; i < axis->repeat; i++)
        at[i] = (int16_t)least(weight, INT16_MAX);
}

/* Input pixel k covers [k * n_out, (k + 1) * n_out), output pixel o [o * n_in, (o + 1) * n_in), in shares of both. */
static void area_weights(ih_axis *axis, int o, int first, int taps)
{
    const int64_t begin = (int64_t)o * axis->n_in, end = begin + axis->n_in;
    int before = 0; /* the weights so far, rounded as one sum: so they add up */
    for (int tap = 0; tap < taps; tap++) {
        int64_t covered = (int64_t)(first + tap + 1) * axis->n_out;
        covered = (covered < end ? covered : end) - begin;
        int until = covered <= 0 ? 0 : (int)((covered * 65536 + axis->n_in) / (2 * (int64_t)axis->n_in));
        put(axis, o, tap, until - before);
        before = until;
    }
}

/* Between the centres of two input pixels: the centre of o lies at ((2o + 1) * n_in / n_out - 1) / 2. */
static void linear(ih_axis *axis, int o, int taps)
{
    const int64_t unit = 2 * (int64_t)axis->n_out, last = (axis->n_in - 1) * unit;
    int64_t at = (2 * (int64_t)o + 1) * axis->n_in - axis->n_out;
    at = at < 0 ? 0 : at > last ? last : at;
    const int first = least((int)(at / unit), axis->n_in - taps);
    const int second = (int)(((at - first * unit) * 65536 + unit) / (2 * unit));
    axis->first[o] = first;
    put(axis, o, 0, 32768 - second);
    if (taps > 1)
        put(axis, o, 1, second);
}

void ih_axis_build(ih_axis *axis, int n_in, int n_out, int is_horizontal, void *memory)
{
    const int taps = taps_of(n_in, n_out);
    *axis = (ih_axis){
        .n_in = n_in,
        .n_out = n_out,
        .taps = padded(taps, is_horizontal),
        .repeat = is_horizontal ? 4 : 1,
        .period = period_of(n_in, n_out, is_horizontal),
        .weights = memory,
    };
    ptrdiff_t bytes = (ptrdiff_t)axis->period * axis->taps * axis->repeat * 2;
    axis->first = (int32_t *)((uint8_t *)memory + (bytes + 31) / 32 * 32);
    memset(memory, 0, (size_t)bytes);
    for (int o = 0; o < n_out; o++) {
        if (n_out > n_in) {
            linear(axis, o, taps);
            continue;
        }
        /* Rows below the frame must not be read; behind a row of V there is padding. */
        const int first = (int)((int64_t)o * n_in / n_out);
        axis->first[o] = is_horizontal ? first : least(first, n_in - taps);
        if (o < axis->period)
            area_weights(axis, o, axis->first[o], taps);
    }
}
