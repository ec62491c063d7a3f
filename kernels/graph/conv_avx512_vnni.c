/* Convolution and matrix product by vpdpbusd on 512-bit vectors: lanes are 16 output channels, rows are pixels.
 *
 *   tile   M pixels x V vectors: each step loads V vectors of weights and broadcasts 4 inputs of each of M pixels
 *   V      3 (M = 8), 2 (12), 1.5 (12), 1 (12), 0.5 (12): a half is a 256-bit vector, so that 8 channels cost half
 *
 * gcc 12 spills the accumulators when vpdpbusd is an intrinsic (26-47 % of the peak), so that one instruction is inline
 * assembly.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")
#include "graph/strict_float.h"
#include "graph/conv_end_avx512.h"
#include "graph/conv_unit.h"

#define DOT512(acc, u8, s8) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8))
#define DOT256(acc, u8, s8) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8))

/* Four channels of one pixel, broadcast as they lie: at any address. */
typedef int32_t __attribute__((aligned(1), may_alias)) loose_i32;

/* The tile of M pixels: FULL whole vectors, then HALF (0 or 1) 256-bit ones. Fully unrolled: all counts are constants. */
#define TILE(M, FULL, HALF)                                                                                           \
    static void tile_##M##_##FULL##_##HALF(const tile_args *t) {                                                      \
        __m512i acc[(FULL) + (HALF)][M];                                                                              \
        __m256i half[M];                                                                                              \
        int32_t term[M];                                                                                              \
        if (t->w_zero)                                                                                                \
            zero_terms(t, M, term);                                                                                   \
        _Pragma("GCC unroll 16") for (int i = 0; i < M; i++) {                                                        \
            _Pragma("GCC unroll 4") for (int v = 0; v < FULL; v++) {                                                  \
                acc[v][i] = _mm512_loadu_si512(t->bias + 16 * v);                                                     \
                if (t->w_zero)                                                                                        \
                    acc[v][i] = _mm512_sub_epi32(acc[v][i], _mm512_set1_epi32(term[i]));                              \
            }                                                                                                         \
            if (HALF) {                                                                                               \
                half[i] = _mm256_loadu_si256((const __m256i *)(t->bias + 16 * FULL));                                 \
                if (t->w_zero)                                                                                        \
                    half[i] = _mm256_sub_epi32(half[i], _mm256_set1_epi32(term[i]));                                  \
            }                                                                                                         \
        }                                                                                                             \
        const int8_t *w = t->w;                                                                                       \
        const int64_t step = t->x_px, block = t->w_block;                                                             \
        for (int64_t j = 0; j < t->runs_y; j++)                                                                       \
            for (int64_t r = 0; r < t->runs_x; r++) {                                                                 \
                const uint8_t *x0 = t->x + j * t->run_y + r * t->run_x, *x1 = x0 + 3 * step, *x2 = x1 + 3 * step,     \
                              *x3 = x2 + 3 * step;                                                                    \
                for (int64_t k = 0; k < t->groups; k++) {                                                             \
                    __m512i wv[(FULL) + 1];                                                                           \
                    __m256i wh = _mm256_setzero_si256();                                                              \
                    _Pragma("GCC unroll 4") for (int v = 0; v < FULL; v++) wv[v] = _mm512_loadu_si512(w + v * block); \
                    if (HALF)                                                                                         \
                        wh = _mm256_loadu_si256((const __m256i *)(w + FULL * block));                                 \
                    _Pragma("GCC unroll 16") for (int i = 0; i < M; i++) {                                            \
                        const uint8_t *px = (i < 3 ? x0 : i < 6 ? x1 : i < 9 ? x2 : x3) + (i % 3) * step;             \
                        if (FULL) {                                                                                   \
                            __m512i x = _mm512_set1_epi32(*(const loose_i32 *)px);                                    \
                            _Pragma("GCC unroll 4") for (int v = 0; v < FULL; v++) DOT512(acc[v][i], x, wv[v]);       \
                            if (HALF)                                                                                 \
                                DOT256(half[i], _mm512_castsi512_si256(x), wh);                                       \
                        } else {                                                                                      \
                            __m256i x = _mm256_set1_epi32(*(const loose_i32 *)px);                                    \
                            DOT256(half[i], x, wh);                                                                   \
                        }                                                                                             \
                    }                                                                                                 \
                    w += 64;                                                                                          \
                    x0 += 4, x1 += 4, x2 += 4, x3 += 4;                                                               \
                }                                                                                                     \
            }                                                                                                         \
        if (HALF)                                                                                                     \
            _Pragma("GCC unroll 16") for (int i = 0; i < M; i++) acc[FULL][i] = _mm512_castsi256_si512(half[i]);      \
        _Pragma("GCC unroll 4") for (int v = 0; v < (FULL) + (HALF); v++) {                                           \
            if (t->is_float)                                                                                          \
                store_f32(t, acc[v], M, v);                                                                           \
            else                                                                                                      \
                store_u8(t, acc[v], M, v);                                                                            \
        }                                                                                                             \
    }

#define TILES_8(F, H) TILE(1, F, H) TILE(2, F, H) TILE(3, F, H) TILE(4, F, H) TILE(5, F, H) TILE(6, F, H) TILE(7, F, H) TILE(8, F, H)
#define TILES_12(F, H) TILES_8(F, H) TILE(9, F, H) TILE(10, F, H) TILE(11, F, H) TILE(12, F, H)
TILES_8(3, 0)
TILES_12(2, 0)
TILES_12(1, 1)
TILES_12(1, 0)
TILES_12(0, 1)

typedef void tile_fn(const tile_args *);
#define ROW_8(F, H) tile_1_##F##_##H, tile_2_##F##_##H, tile_3_##F##_##H, tile_4_##F##_##H, tile_5_##F##_##H, tile_6_##F##_##H, \
        tile_7_##F##_##H, tile_8_##F##_##H
#define ROW_12(F, H) ROW_8(F, H), tile_9_##F##_##H, tile_10_##F##_##H, tile_11_##F##_##H, tile_12_##F##_##H

/* By width in halves (8 channels): the tiles, by pixels. */
typedef struct shape {
    int halves, most;
    tile_fn *tile[12];
} shape;
static const shape shapes[] = {
    {6, 8, {ROW_8(3, 0)}}, {4, 12, {ROW_12(2, 0)}}, {3, 12, {ROW_12(1, 1)}}, {2, 12, {ROW_12(1, 0)}}, {1, 12, {ROW_12(0, 1)}},
};

/* The widest tile for what is left of the channels, such that an odd half comes last: 5 halves are 2 + 3, 7 are 4 + 3. */
static const shape *widest(int64_t halves) {
    static const uint8_t choice[] = {4, 4, 3, 2, 1, 3, 0, 1, 1}; /* 0..8 halves */
    return &shapes[halves <= 8 ? choice[halves] : 0];
}

/* All pixels [px0, px1) of a line, for channels [n0, n1); a block of weights stays in the first cache over the pixels. */
static void chunk(tile_args *t, const uint8_t *x, uint8_t *out, int64_t px0, int64_t px1, int64_t n0, int64_t n1, const int8_t *w,
                  const int32_t *bias, const float *scale, const float *float_bias) {
    for (int64_t n = n0; n < n1;) {
        const shape *s = widest((n1 - n + 7) / 8);
        t->w = w + n / 16 * t->w_block;
        t->bias = bias + n;
        t->scale = scale + n;
        t->float_bias = float_bias ? float_bias + n : NULL;
        const int64_t wide = s->halves * 8;
        t->lanes = (int)(n1 - n < wide ? n1 - n : wide);
        const int64_t tiles = (px1 - px0 + s->most - 1) / s->most;
        int64_t px = px0;
        for (int64_t i = 0; i < tiles; i++) { /* even tiles: 30 pixels are 10 + 10 + 10, not 12 + 12 + 6 */
            int64_t m = (px1 - px + tiles - i - 1) / (tiles - i);
            t->x = x + px * t->x_px;
            t->out = out + px * t->out_px + n * (t->is_float ? 4 : 1);
            s->tile[m - 1](t);
            px += m;
        }
        n += wide;
    }
}

void ih_conv_avx512_vnni(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float *scale = (const float *)ih_at(region, p[IH_conv_scale]);
    const float *float_bias = p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias]);
    tile_args t = {.x_px = p[IH_conv_x_px], .run_y = p[IH_conv_run_y], .run_x = p[IH_conv_run_x], .runs_y = p[IH_conv_runs_y],
                   .runs_x = p[IH_conv_runs_x], .groups = (p[IH_conv_run_bytes] + 3) / 4, .run_bytes = (int32_t)p[IH_conv_run_bytes],
                   .out_px = p[IH_conv_out_px], .w_zero = (int32_t)p[IH_conv_w_zero], .out_zero = (int32_t)p[IH_conv_out_zero],
                   .is_float = (int32_t)p[IH_conv_is_float], .lut = p[IH_conv_lut] < 0 ? NULL : ih_at(region, p[IH_conv_lut])};
    t.w_block = t.runs_y * t.runs_x * t.groups * 64;
    for (int64_t unit = from; unit < to; unit++) {
        const ih_conv_unit u = ih_conv_unit_at(p, region, unit);
        chunk(&t, u.x, u.out, u.px0, u.px1, u.n0, u.n1, u.w, u.bias, scale, float_bias);
    }
}
#endif
