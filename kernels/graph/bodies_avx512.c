/* The plain kernels (bodies.h) for AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,prefer-vector-width=512")
#include "graph/strict_float.h"
#include "graph/graph.h"
#include <immintrin.h>

/* Quantises by the reciprocal, 64 elements at once: differs from the division by at most 2 ulp, which matters only next to a
 * half; there, about once in 75 times, the division decides. Packing saturates as the clamp would, once nothing is too large
 * for an int32; a NaN, as the second operand of min, stays one and becomes the lower bound. */
static inline void quantise_64(uint8_t *out, const float *x, float scale, float zero) {
    const __m512 inverse = _mm512_set1_ps(1.0f / scale), divisor = _mm512_set1_ps(scale), high = _mm512_set1_ps(255.0f - zero);
    const __m512i offset = _mm512_set1_epi16((short)zero);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512 y[4], away = _mm512_setzero_ps();
    for (int i = 0; i < 4; i++) {
        y[i] = _mm512_min_ps(high, _mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), inverse));
        away = _mm512_range_ps(away, _mm512_reduce_ps(y[i], _MM_FROUND_TO_NEAREST_INT), 11 /* the larger, without its sign */);
    }
    if (__builtin_expect(_mm512_cmp_ps_mask(away, _mm512_set1_ps(0.4995f), _CMP_GT_OQ) != 0, 0))
        for (int i = 0; i < 4; i++)
            y[i] = _mm512_min_ps(high, _mm512_div_ps(_mm512_loadu_ps(x + 16 * i), divisor));
    const __m512i low = _mm512_packs_epi32(_mm512_cvtps_epi32(y[0]), _mm512_cvtps_epi32(y[1]));
    const __m512i rest = _mm512_packs_epi32(_mm512_cvtps_epi32(y[2]), _mm512_cvtps_epi32(y[3]));
    const __m512i q = _mm512_packus_epi16(_mm512_adds_epi16(low, offset), _mm512_adds_epi16(rest, offset));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, q));
}

static inline void quantise_row(uint8_t *out, const float *x, int64_t n, float scale, float zero) {
    for (; n >= 64; n -= 64, x += 64, out += 64)
        quantise_64(out, x, scale, zero);
    const __m512 inverse = _mm512_set1_ps(1.0f / scale), divisor = _mm512_set1_ps(scale);
    const __m512 low = _mm512_set1_ps(-zero), high = _mm512_set1_ps(255.0f - zero), near_half = _mm512_set1_ps(0.4995f);
    const __m512i offset = _mm512_set1_epi32((int)zero);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        /* max first with the bound second, so that a NaN becomes the lower bound */
        __m512 y = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(v, inverse), low), high);
        const __m512 away = _mm512_abs_ps(_mm512_sub_ps(y, _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT)));
        if (__builtin_expect(_mm512_cmp_ps_mask(away, near_half, _CMP_GT_OQ) != 0, 0))
            y = _mm512_min_ps(_mm512_max_ps(_mm512_div_ps(v, divisor), low), high);
        const __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(y), offset);
        _mm512_mask_cvtepi32_storeu_epi8(out + i, mask, q);
    }
}
#define BODY_QUANTISE(out, x, n, scale, zero) quantise_row(out, x, n, scale, zero)
/* 64 bytes at once: the table is four registers. */
static inline void table_row(uint8_t *out, const uint8_t *x, int64_t n, const uint8_t *lut) {
    const __m512i t0 = _mm512_loadu_si512(lut), t1 = _mm512_loadu_si512(lut + 64), t2 = _mm512_loadu_si512(lut + 128),
                  t3 = _mm512_loadu_si512(lut + 192);
    for (int64_t i = 0; i < n; i += 64) {
        const __mmask64 mask = n - i >= 64 ? ~0ull : (1ull << (n - i)) - 1;
        const __m512i v = _mm512_maskz_loadu_epi8(mask, x + i);
        const __m512i low = _mm512_permutex2var_epi8(t0, v, t1), high = _mm512_permutex2var_epi8(t2, v, t3);
        _mm512_mask_storeu_epi8(out + i, mask, _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high));
    }
}
#define BODY_TABLE(out, x, n, lut) table_row(out, x, n, lut)
/* Sixteen floats at once of a table of 256, and the same added up. */
static inline __m512 lookup_16(const uint8_t *x, __mmask16 mask, const float *table) {
    return _mm512_i32gather_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, x)), table, 4);
}
static inline void lookup_row(float *to, const uint8_t *x, int64_t n, const float *table) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        _mm512_mask_storeu_ps(to + i, mask, lookup_16(x + i, mask, table));
    }
}
static inline void add_lookup_row(float *sums, const uint8_t *x, int64_t n, const float *table) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        _mm512_mask_storeu_ps(sums + i, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, sums + i), lookup_16(x + i, mask, table)));
    }
}
#define BODY_LOOKUP(to, x, n, table) lookup_row(to, x, n, table)
#define BODY_ADD_LOOKUP(sums, x, n, table) add_lookup_row(sums, x, n, table)
#define BODY(name) ih_##name##_avx512
#include "graph/bodies.h"
#endif
