/* Sixteen lanes on AVX-512: one register. See lanes_avx2.h for what each name means. */
#ifndef IH_LM_LANES_H
#define IH_LM_LANES_H

#include <immintrin.h>

#include "lm/scalar.h"

#define LANES static inline __attribute__((always_inline))
#define SCORE_ROWS 12  /* queries at once: a register each */
#define ATTEND_ROWS 6  /* queries at once: times four registers of V, within 32 */
#define ATTEND_WIDE 4
#define LARGE_IS_SIGNED 0
#define MATMUL_ROWS 12 /* tokens at once: an int and a float register each, within 32 */

typedef __m512 vf;
typedef __m512i vi;

LANES vf vf_zero(void) { return _mm512_setzero_ps(); }
LANES vf vf_set(float x) { return _mm512_set1_ps(x); }
LANES vf vf_load(const float *x) { return _mm512_loadu_ps(x); }
LANES void vf_store(float *y, vf x) { _mm512_storeu_ps(y, x); }
LANES vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
LANES vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
LANES vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
LANES vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
LANES vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
LANES vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
LANES vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
LANES vf vf_abs(vf a) { return _mm512_abs_ps(a); }
LANES vf vf_swap_pairs(vf a) { return _mm512_permute_ps(a, 0xb1); }
LANES vf vf_load_f16(const uint16_t *x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x)); }
LANES void vf_store_f16(uint16_t *y, vf x) { _mm256_storeu_si256((__m256i *)y, _mm512_cvtps_ph(x, 0)); }
LANES vf vf_load_i8(const int8_t *x) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)x))); }
LANES vi vf_to_int(vf x) { return _mm512_cvtps_epi32(x); } /* nearest, ties to even */
LANES vf vi_to_float(vi x) { return _mm512_cvtepi32_ps(x); }
LANES void vi_store_i8(int8_t *y, vi x) { _mm_storeu_si128((__m128i *)y, _mm512_cvtepi32_epi8(x)); }

LANES vf vf_scale_by_power(vf x, vi n)
{
    return _mm512_mul_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23)));
}

LANES float round_f16(float x) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtps_ph(_mm_set_ss(x), 0))); }

/* One line of 64 weight bytes: four columns of sixteen rows. */
typedef __m512i vw;
LANES vw vw_load(const uint8_t *line) { return _mm512_loadu_si512(line); }
LANES vw vw_low(vw x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
LANES vw vw_high(vw x) { return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)); }
LANES vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }

/* sum + four unsigned weights times x[0..4), for each row. The intrinsic makes gcc 12 spill the accumulators. */
LANES vi vi_dot_small(vi sum, vw weights, const int8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(weights), "m"(*(const int32_t(*)[1])x));
    return sum;
}

LANES vw vw_load_large(const uint8_t *line) { return vw_load(line); }
LANES vi vi_dot_large(vi sum, vw weights, const int8_t *x) { return vi_dot_small(sum, weights, x); }

/* The lanes first .. last as they are, the others zero. */
LANES vf vf_keep(vf x, int first, int last)
{
    return _mm512_maskz_mov_ps((__mmask16)((2u << last) - (1u << first)), x);
}

LANES float vf_tree(vf x)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

LANES float vf_largest(vf x) { return _mm512_reduce_max_ps(x); }
LANES int32_t vi_sum(vi x) { return _mm512_reduce_add_epi32(x); }

#endif
