/* Convolution and matrix product by vpdpbusd on 512-bit vectors: lanes are 16 output channels, rows are pixels.
 *
 *   tile   M pixels x V vectors: each step loads V vectors of weights and broadcasts 4 inputs of each of M pixels
 *   V      3 (M = 8), 2 (12), 1.5 (12), 1 (12), 0.5 (12): a half is a 256-bit vector, so that 8 channels cost half
 *
 * gcc 12 spills the accumulators when vpdpbusd is an intrinsic (26-47 % of the peak), so that one instruction is inline
 * assembly. Requantisation packs four pixels' accumulators into one vector: 4 x 16 int32 -> 64 u8, through the table if any.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")
#include "graph/strict_float.h"
#include "graph/graph.h"
#include <immintrin.h>

#define DOT512(acc, u8, s8) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8))
#define DOT256(acc, u8, s8) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8))

/* What a tile needs; strides in bytes. */
typedef struct tile_args {
    const uint8_t *x;
    int64_t x_px, run_y, run_x, runs_y, runs_x, groups; /* groups: 4-byte steps of a run */
    const int8_t *w;
    int64_t w_block; /* to the next 16 channels */
    const int32_t *bias;
    const float *scale, *float_bias;
    uint8_t *out;
    int64_t out_px;
    int32_t w_zero, run_bytes;
    int32_t out_zero, is_float;
    const uint8_t *lut;
    int lanes; /* channels that are stored, of 16 * vectors */
} tile_args;

/* w_zero * sum(x) of each pixel, for weights with a zero point */
static void zero_terms(const tile_args *t, int m, int32_t *term) {
    for (int i = 0; i < m; i++) {
        int32_t sum = 0;
        for (int64_t j = 0; j < t->runs_y; j++)
            for (int64_t r = 0; r < t->runs_x; r++) {
                const uint8_t *run = t->x + i * t->x_px + j * t->run_y + r * t->run_x;
                for (int64_t k = 0; k < t->run_bytes; k++)
                    sum += run[k];
            }
        term[i] = t->w_zero * sum;
    }
}

static inline __m512i through_table(__m512i v, const uint8_t *lut) {
    __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut), v, _mm512_loadu_si512(lut + 64));
    __m512i high = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut + 128), v, _mm512_loadu_si512(lut + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high);
}

/* Four pixels x 16 channels of accumulators -> u8, pixel i in 128-bit lane i. Packs saturate as the clamp would. */
static inline __m512i requantise(__m512i a, __m512i b, __m512i c, __m512i d, __m512 scale, __m512i zero, const uint8_t *lut) {
    a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(a), scale));
    b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(b), scale));
    c = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(c), scale));
    d = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(d), scale));
    __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero), cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero);
    __m512i bytes = _mm512_packus_epi16(ab, cd); /* lane j: pixels' channels 4j..4j+3, pixel by pixel */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    bytes = _mm512_permutexvar_epi32(order, bytes);
    return lut ? through_table(bytes, lut) : bytes;
}

static inline void store_u8(const tile_args *t, const __m512i *acc, int m, int v) {
    const int lanes = t->lanes - 16 * v >= 16 ? 16 : t->lanes - 16 * v;
    const __mmask16 mask = (__mmask16)((1u << lanes) - 1);
    const __m512 scale = _mm512_loadu_ps(t->scale + 16 * v);
    const __m512i zero = _mm512_set1_epi16((short)t->out_zero);
    uint8_t *out = t->out + 16 * v;
    for (int i = 0; i < m; i += 4) {
        const __m512i none = _mm512_setzero_si512();
        __m512i q = requantise(acc[i], i + 1 < m ? acc[i + 1] : none, i + 2 < m ? acc[i + 2] : none, i + 3 < m ? acc[i + 3] : none,
                               scale, zero, t->lut);
        if (lanes == 16) {
            _mm_storeu_si128((__m128i *)(out + i * t->out_px), _mm512_castsi512_si128(q));
            if (i + 1 < m)
                _mm_storeu_si128((__m128i *)(out + (i + 1) * t->out_px), _mm512_extracti32x4_epi32(q, 1));
            if (i + 2 < m)
                _mm_storeu_si128((__m128i *)(out + (i + 2) * t->out_px), _mm512_extracti32x4_epi32(q, 2));
            if (i + 3 < m)
                _mm_storeu_si128((__m128i *)(out + (i + 3) * t->out_px), _mm512_extracti32x4_epi32(q, 3));
        } else {
            _mm_mask_storeu_epi8(out + i * t->out_px, mask, _mm512_castsi512_si128(q));
            if (i + 1 < m)
                _mm_mask_storeu_epi8(out + (i + 1) * t->out_px, mask, _mm512_extracti32x4_epi32(q, 1));
            if (i + 2 < m)
                _mm_mask_storeu_epi8(out + (i + 2) * t->out_px, mask, _mm512_extracti32x4_epi32(q, 2));
            if (i + 3 < m)
                _mm_mask_storeu_epi8(out + (i + 3) * t->out_px, mask, _mm512_extracti32x4_epi32(q, 3));
        }
    }
}

static inline void store_f32(const tile_args *t, const __m512i *acc, int m, int v) {
    const int lanes = t->lanes - 16 * v >= 16 ? 16 : t->lanes - 16 * v;
    const __mmask16 mask = (__mmask16)((1u << lanes) - 1);
    const __m512 scale = _mm512_loadu_ps(t->scale + 16 * v);
    const __m512 bias = t->float_bias ? _mm512_loadu_ps(t->float_bias + 16 * v) : _mm512_setzero_ps();
    for (int i = 0; i < m; i++) {
        __m512 y = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[i]), scale), bias);
        _mm512_mask_storeu_ps((float *)(t->out + i * t->out_px) + 16 * v, mask, y);
    }
}

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
        int64_t n0 = unit % p[IH_conv_n_chunks] * p[IH_conv_n_chunk], rest = unit / p[IH_conv_n_chunks];
        int64_t px0 = rest % p[IH_conv_line_chunks] * p[IH_conv_chunk_px], line = rest / p[IH_conv_line_chunks];
        int64_t image = line / p[IH_conv_lines];
        line %= p[IH_conv_lines];
        int64_t n1 = n0 + p[IH_conv_n_chunk] < p[IH_conv_n] ? n0 + p[IH_conv_n_chunk] : p[IH_conv_n];
        int64_t px1 = px0 + p[IH_conv_chunk_px] < p[IH_conv_line_px] ? px0 + p[IH_conv_chunk_px] : p[IH_conv_line_px];
        chunk(&t, ih_at(region, p[IH_conv_x]) + image * p[IH_conv_x_image] + line * p[IH_conv_x_line],
              ih_at(region, p[IH_conv_out]) + image * p[IH_conv_out_image] + line * p[IH_conv_out_line], px0, px1, n0, n1,
              (const int8_t *)ih_at(region, p[IH_conv_w]) + image * p[IH_conv_w_image],
              (const int32_t *)(ih_at(region, p[IH_conv_bias]) + image * p[IH_conv_bias_image]), scale, float_bias);
    }
}
#endif
