/* Matrix products on sixteen lanes: a panel of sixteen rows times a tile of tokens; equal to reference.c to the last bit.
 * One source for decode (a tile of 1, bound by reading the weights) and prefill (bound by the dot products).
 * Included once by each variant's file, after its lanes. */

#define STREAMING 4 /* tokens: with more, the dot products take longer than the reading */

/* Asks for a block's lines in their order, just before they are used. The loads below run out of order, which keeps the
 * hardware's stream prefetcher from seeing a stream; these do not wait for anything. Measured on Zen 4, share of the read
 * probe (Q4_1, Q8_0): none 0.89, 0.74; this 0.97, 0.96; 256 bytes ahead 0.96, 0.85; 4 KB ahead 0.85, 0.60. */
LANES void touch(const uint8_t *at, size_t bytes)
{
#pragma GCC unroll 16
    for (size_t line = 0; line < bytes; line += 64)
        __builtin_prefetch(at + line, 0, 0);
}

/* In what follows `count` tokens make a tile; it is a constant wherever these are inlined. */
#ifdef IH_LM_I8MM
#include "lm/dots_i8mm.h"
#else
LANES void dot_nibbles(vi *isum, int count, const uint8_t *lines, const int8_t *q)
{
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vw line = vw_load(lines + 64 * j), low = vw_low(line), high = vw_high(line);
#pragma GCC unroll 16
        for (int i = 0; i < count; i++)
            isum[i] = vi_dot_small(isum[i], low, q + IH_LM_BLOCK * i + 4 * j);
#pragma GCC unroll 16
        for (int i = 0; i < count; i++)
            isum[i] = vi_dot_small(isum[i], high, q + IH_LM_BLOCK * i + 4 * j + 16);
    }
}

/* Lines [from, to) of bytes; `large` where a byte may be above 127 (Q8_0). */
LANES void dot_bytes(vi *isum, int count, const uint8_t *lines, const int8_t *q, int from, int to, int large)
{
#pragma GCC unroll 8
    for (int j = from; j < to; j++) {
        vw line = large ? vw_load_large(lines + 64 * j) : vw_load(lines + 64 * j);
#pragma GCC unroll 16
        for (int i = 0; i < count; i++) {
            const int8_t *x = q + IH_LM_BLOCK * i + 4 * j;
            isum[i] = large ? vi_dot_large(isum[i], line, x) : vi_dot_small(isum[i], line, x);
        }
    }
}

#endif

/* sum += isum * (row scale * token scale) */
LANES void add_scaled(vf *sum, const vi *isum, int count, vf row_scale, const float *scale)
{
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        sum[i] = vf_fma(vi_to_float(isum[i]), vf_mul(row_scale, vf_set(scale[i])), sum[i]);
}

LANES void block_q4_1(vf *sum, int count, const uint8_t *block, const ih_lm_input *x, size_t at)
{
    vi isum[MATMUL_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        isum[i] = vi_set(0);
    dot_nibbles(isum, count, block + 64, x->q + at * IH_LM_BLOCK);
    add_scaled(sum, isum, count, vf_load_f16((const uint16_t *)block), x->scale + at);
    vf min = vf_load_f16((const uint16_t *)(block + 32));
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        sum[i] = vf_fma(min, vf_set(x->scaled_sum[at + i]), sum[i]);
}

LANES void block_q4_0(vf *sum, int count, const uint8_t *scales, const uint8_t *lines, const ih_lm_input *x, size_t at)
{
    vi isum[MATMUL_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        isum[i] = vi_set(x->neg128[at + i] / 16); /* exact: -8 * sum(q) */
    dot_nibbles(isum, count, lines, x->q + at * IH_LM_BLOCK);
    add_scaled(sum, isum, count, vf_load_f16((const uint16_t *)scales), x->scale + at);
}

LANES void block_q8_0(vf *sum, int count, const uint8_t *scales, const uint8_t *lines, const ih_lm_input *x, size_t at)
{
    vi isum[MATMUL_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        isum[i] = vi_set(LARGE_IS_SIGNED ? 0 : x->neg128[at + i]);
    dot_bytes(isum, count, lines, x->q + at * IH_LM_BLOCK, 0, 8, 1);
    add_scaled(sum, isum, count, vf_load_f16((const uint16_t *)scales), x->scale + at);
}

LANES void block_q6_k(vf *sum, int count, const uint8_t *block, const ih_lm_input *x, size_t at)
{
    vi isum[MATMUL_ROWS];
    const int8_t *q = x->q + at * IH_LM_BLOCK;
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        isum[i] = vi_set(-32 * x->half[at + i]);
    dot_bytes(isum, count, block + 128, q, 0, 4, 0);
    add_scaled(sum, isum, count, vf_load((const float *)block), x->scale + at);
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        isum[i] = vi_set(x->neg128[at + i] / 4 + 32 * x->half[at + i]); /* exact: -32 * the sum of the rest */
    dot_bytes(isum, count, block + 128, q, 4, 8, 0);
    add_scaled(sum, isum, count, vf_load((const float *)(block + 64)), x->scale + at);
}

LANES void block_floats(vf *sum, int count, const uint8_t *block, int halves, const float *values, size_t stride)
{
    for (int c = 0; c < IH_LM_BLOCK; c++) {
        vf weight = halves ? vf_load_f16((const uint16_t *)block + 16 * c) : vf_load((const float *)block + 16 * c);
#pragma GCC unroll 16
        for (int i = 0; i < count; i++)
            sum[i] = vf_fma(weight, vf_set(values[i * stride + c]), sum[i]);
    }
}

/* One panel times the tokens t .. t + count. `type` and `count` are constants wherever this is inlined. */
LANES void panel_tile(int type, int count, const uint8_t *panel, const ih_lm_input *x, int32_t t, float *y, size_t y_stride,
                      int add)
{
    vf sum[MATMUL_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        sum[i] = vf_zero();
    size_t bytes = type == IH_LM_Q4_0 ? 256 : type == IH_LM_Q4_1 ? 320 : type == IH_LM_Q8_0 ? 512 : 640;
    for (int32_t b = 0; b < x->cols / IH_LM_BLOCK; b++) {
        size_t at = (size_t)b * x->tokens + t;
        const uint8_t *block = panel + (size_t)b * bytes, *pair = panel + (size_t)(b / 2) * (2 * bytes + 64);
        if (count <= STREAMING && (type == IH_LM_Q4_1 || type == IH_LM_Q6_K))
            touch(block, bytes);
        else if (count <= STREAMING && type < IH_LM_F16)
            touch(pair + (b % 2 ? 64 + bytes : 0), b % 2 ? bytes : 64 + bytes);
        if (type == IH_LM_Q4_1)
            block_q4_1(sum, count, block, x, at);
        else if (type == IH_LM_Q4_0)
            block_q4_0(sum, count, pair + b % 2 * 32, pair + 64 + b % 2 * 256, x, at);
        else if (type == IH_LM_Q8_0)
            block_q8_0(sum, count, pair + b % 2 * 32, pair + 64 + b % 2 * 512, x, at);
        else if (type == IH_LM_Q6_K)
            block_q6_k(sum, count, block, x, at);
        else
            block_floats(sum, count, panel + (size_t)b * (type == IH_LM_F16 ? 1024 : 2048), type == IH_LM_F16,
                         x->values + (size_t)t * x->cols + (size_t)b * IH_LM_BLOCK, (size_t)x->cols);
    }
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) {
        float *out = y + (t + i) * y_stride;
        vf_store(out, add ? vf_add(vf_load(out), sum[i]) : sum[i]);
    }
}

/* The rest of the tokens in tiles of `count`, where a tile of that size is worth its code. */
#define TILE(type, count, worth)                                                                        \
    if (worth)                                                                                          \
        for (; x->tokens - t >= (count); t += (count))                                                  \
            panel_tile(type, (worth) ? (count) : 1, panel, x, t, y + (size_t)p * IH_LM_PANEL, y_stride, add)

/* The types that models are mostly made of have all tile sizes, the others two. */
#define MATMUL(name, type, common)                                                                                            \
    static void name(const ih_lm_matrix *w, const ih_lm_input *x, int32_t begin, int32_t end, float *y, size_t y_stride, int add) \
    {                                                                                                                         \
        size_t bytes = ih_lm_panel_bytes(type, w->cols);                                                                      \
        for (int32_t p = begin; p < end; p++) {                                                                               \
            const uint8_t *panel = w->data + (size_t)p * bytes;                                                               \
            int32_t t = 0;                                                                                                    \
            TILE(type, MATMUL_ROWS, common || MATMUL_ROWS <= 4);                                                              \
            TILE(type, 8, common && MATMUL_ROWS > 8);                                                                         \
            TILE(type, 4, MATMUL_ROWS > 4);                                                                                   \
            TILE(type, 2, common && MATMUL_ROWS > 4);                                                                         \
            TILE(type, 1, 1);                                                                                                 \
        }                                                                                                                     \
    }

MATMUL(matmul_q4_0, IH_LM_Q4_0, 1)
MATMUL(matmul_q4_1, IH_LM_Q4_1, 1)
MATMUL(matmul_q8_0, IH_LM_Q8_0, 1)
MATMUL(matmul_q6_k, IH_LM_Q6_K, 0)
MATMUL(matmul_f16, IH_LM_F16, 0)
MATMUL(matmul_f32, IH_LM_F32, 0)
