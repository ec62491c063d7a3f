/* Resize of a BGRX frame to quantised planes: the arithmetic, the same bits everywhere, and its ops.
 *
 *   frame u8 ──vertical──► V u15 (w, 4) ──horizontal──► H u15 (out_w, 4) ──quantise──► planes i8 or u8
 *
 *   weights   of one axis: Q15, they add up to 32768 (one that is 32768 alone is 32767)
 *   vertical  V = bias + sum of (pixel * weight) >> 8             1/128 of a level; bias: what >> 8 loses on average
 *             of an axis that shrinks n-fold, n whole: V = ((sum of pixels << shift) * multiplier) >> 16, see ih_box
 *   horizontal H = sum of (V * weight + 2^14) >> 15
 *   quantise  q = saturate8(saturate16(((H * multiplier + 2^14) >> 15) + offset) >> shift)
 *
 * An axis that shrinks averages the area under an output pixel (a box of the exact, fractional extent: antialiased); one
 * that grows is linear between pixel centres. All of it is 16-bit lanes: (a * b + 2^14) >> 15 is PMULHRSW and SQRDMULH,
 * (a << 8) * b >> 16 is PMULHUW and, of a << 7, SQDMULH. No intermediate can overflow while an axis shrinks at most
 * 64-fold: V <= 32640 + 33, and H adds at most 33 to it.
 */
#ifndef IH_RESIZE_H
#define IH_RESIZE_H

#include <stddef.h>
#include <stdint.h>

enum {
    IH_RESIZE_SHRINK_MAX = 64,
    IH_RESIZE_PAD = 80, /* pixels that V is longer than the row: whole registers are stored, whole taps loaded */
    IH_RESIZE_TAPS_AT_ONCE = 4,
};

/* Which input pixels make each output pixel of one axis, and by how much.
 *
 * Weights repeat after n_out / gcd(n_in, n_out) output pixels: 640 of 1920 need one row of the table, 800 of 1920 five.
 * (The whole table of a row, 20 KB, would push the rows themselves out of the L1 cache.) */
typedef struct ih_axis {
    int n_in, n_out;
    int taps;               /* per output pixel; those not needed have weight 0 */
    int repeat;             /* times that each weight is stored: 1 (vertical) or 4 (horizontal, one a channel) */
    int period;             /* rows of the table, a multiple of 4; output pixel o has row o % period */
    int32_t *first;         /* (n_out): first input pixel; horizontally first + taps may pass the end by taps */
    int16_t *weights;       /* (period, taps, repeat) */
} ih_axis;

static inline const int16_t *ih_axis_weights(const ih_axis *axis, int o)
{
    return axis->weights + (ptrdiff_t)(o % axis->period) * axis->taps * axis->repeat;
}

/* From levels 0..255 to the tensor's integers; index = channel of the frame: B, G, R, X. */
typedef struct ih_quantise {
    int16_t multiplier[4], offset[4];
    int shift;
    int is_unsigned;
    int plane_of[4]; /* the plane of the output that takes the channel; X's is not used */
} ih_quantise;

/* Bytes that the tables of an axis need at most; IH_EINVAL (negative) if it shrinks more than 64-fold. */
ptrdiff_t ih_axis_bytes(int n_in, int n_out, int is_horizontal);

/* Fills `axis`, its tables at `memory` (ih_axis_bytes, aligned to 32). */
void ih_axis_build(ih_axis *axis, int n_in, int n_out, int is_horizontal, void *memory);

/* V (w, 4) of one output row: `taps` rows, `stride` bytes apart, their weights, and the bias to begin with.
 * Stores up to IH_RESIZE_PAD pixels of anything behind. */
typedef void ih_vertical_fn(const uint8_t *rows, ptrdiff_t stride, int taps, const int16_t *weights, int bias,
                            int w, int16_t *v);

/* The mean of `rows` pixels, in 1/128 of a level: n << shift lies in 129..256, so that the sum stays a 16-bit number and
 * multiplier = 128 / (n << shift) in Q16 is one. No product a pixel: half the work of weights. */
typedef struct ih_box {
    int rows;
    int shift;
    uint16_t multiplier;
} ih_box;

static inline ih_box ih_box_of(int rows)
{
    ih_box box = {.rows = rows, .shift = 0};
    while (rows << box.shift <= 128)
        box.shift++;
    const unsigned denominator = (unsigned)rows << box.shift;
    box.multiplier = (uint16_t)(((128u << 17) / denominator + 1) / 2);
    return box;
}

/* The same as ih_vertical_fn with equal weights. */
typedef void ih_box_fn(const uint8_t *rows, ptrdiff_t stride, ih_box box, int w, int16_t *v);

/* H (n_out, 4) of one output row, the pixels from..until of it (`from` a multiple of 4); v is followed by IH_RESIZE_PAD
 * pixels of anything. */
typedef void ih_horizontal_fn(const int16_t *v, const ih_axis *axis, int from, int until, int16_t *h);

/* The three steps at once where both axes shrink threefold: n outputs (a multiple of 16) of one row of three planes, from
 * 3 * n pixels of three rows at `rows`. As many at `soon` will be read soon; it may be `rows`.
 *
 *   rows      a + b + c = ones + 2 * twos, bit by bit: what follows has two registers of bytes, not six of words
 *   pixels    three registers of 8 or 16 pixels hold in each lane a first, a second and a third pixel of an output: two
 *             blends pick those of a kind, turning by one or two lanes brings those of an output together
 *   V         t = 32 * sum, V = t + (t * 21846 >> 16): ih_box, whose multiplier of t has 17 bits
 *   order     output o is in lane 3 * o of 8 or 16, until the last shuffle of bytes
 */
typedef void ih_thirds_fn(const uint8_t *rows, const uint8_t *soon, ptrdiff_t stride, const ih_axis *along, int n,
                          const ih_quantise *quantise, uint8_t *const plane[3]);

enum { IH_THIRDS_NEAR = 1536 }; /* bytes of a row that are fetched ahead once more, into the L1 cache: 3-7 % faster */

/* One row of three planes from H (n, 4); plane[p] is where plane p's row begins. */
typedef void ih_quantise_fn(const int16_t *h, int n, const ih_quantise *quantise, uint8_t *const plane[3]);

#endif
