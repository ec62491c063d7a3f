/* Sixteen lanes on AVX2: two registers. The names here are what rows.h, matmul.h and attend.h are written on:
 * vf sixteen floats, vi sixteen int32, vw one line of 64 weight bytes. Defined for AVX-VNNI too (IH_LM_AVXVNNI). */
#ifndef IH_LM_LANES_H
#define IH_LM_LANES_H

#include <immintrin.h>

#include "lm/scalar.h"

#define LANES static inline __attribute__((always_inline))
#define SCORE_ROWS 3
#define ATTEND_ROWS 3  /* queries at once: a register pair for each sum, within 16 registers */
#define MATMUL_ROWS 2  /* tokens at once: an int and a float pair each */
#define ATTEND_WIDE 1  /* vectors of V at once */

typedef struct { __m256 a, b; } vf;
typedef struct { __m256i a, b; } vi;
typedef struct { __m256i a, b; } vw;

#define EACH(type, op, x, y) (type){op((x).a, (y).a), op((x).b, (y).b)}

LANES vf vf_set(float x) { return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LANES vf vf_zero(void) { return vf_set(0); }
LANES vf vf_load(const float *x) { return (vf){_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
LANES void vf_store(float *y, vf x) { _mm256_storeu_ps(y, x.a), _mm256_storeu_ps(y + 8, x.b); }
LANES vf vf_add(vf x, vf y) { return EACH(vf, _mm256_add_ps, x, y); }
LANES vf vf_sub(vf x, vf y) { return EACH(vf, _mm256_sub_ps, x, y); }
LANES vf vf_mul(vf x, vf y) { return EACH(vf, _mm256_mul_ps, x, y); }
LANES vf vf_div(vf x, vf y) { return EACH(vf, _mm256_div_ps, x, y); }
LANES vf vf_max(vf x, vf y) { return EACH(vf, _mm256_max_ps, x, y); }
LANES vf vf_min(vf x, vf y) { return EACH(vf, _mm256_min_ps, x, y); }
LANES vf vf_fma(vf x, vf y, vf z) { return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }

LANES vf vf_abs(vf x)
{
    __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    return (vf){_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
}

LANES vf vf_swap_pairs(vf x) { return (vf){_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)}; }

LANES vf vf_load_f16(const uint16_t *x)
{
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + 8)))};
}

LANES void vf_store_f16(uint16_t *y, vf x)
{
    _mm_storeu_si128((__m128i *)y, _mm256_cvtps_ph(x.a, 0));
    _mm_storeu_si128((__m128i *)(y + 8), _mm256_cvtps_ph(x.b, 0));
}

LANES float round_f16(float x) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtps_ph(_mm_set_ss(x), 0))); }

LANES vf vf_load_i8(const int8_t *x)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)x);
    return (vf){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}

/* The lanes first .. last as they are, the others zero. */
LANES vf vf_keep(vf x, int first, int last)
{
    __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
    __m256i from = _mm256_set1_epi32(first - 1), to = _mm256_set1_epi32(last + 1);
    __m256i a = _mm256_and_si256(_mm256_cmpgt_epi32(low, from), _mm256_cmpgt_epi32(to, low));
    __m256i b = _mm256_and_si256(_mm256_cmpgt_epi32(high, from), _mm256_cmpgt_epi32(to, high));
    return (vf){_mm256_and_ps(x.a, _mm256_castsi256_ps(a)), _mm256_and_ps(x.b, _mm256_castsi256_ps(b))};
}

/* The sum of all lanes, halves added to halves, as `tree` in reference.c. */
LANES float vf_tree(vf x)
{
    __m256 a = _mm256_add_ps(x.a, x.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

LANES float vf_largest(vf x)
{
    __m256 a = _mm256_max_ps(x.a, x.b);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

LANES vi vi_set(int32_t x) { return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
LANES vi vf_to_int(vf x) { return (vi){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; } /* nearest, ties to even */
LANES vf vi_to_float(vi x) { return (vf){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }

LANES int32_t vi_sum(vi x)
{
    __m256i a = _mm256_add_epi32(x.a, x.b);
    __m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}

/* The lanes as int8; they fit. */
LANES void vi_store_i8(int8_t *y, vi x)
{
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    _mm_storeu_si128((__m128i *)y, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

/* x * 2^n */
LANES vf vf_scale_by_power(vf x, vi n)
{
    __m256i bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(n.a, bias), 23), b = _mm256_slli_epi32(_mm256_add_epi32(n.b, bias), 23);
    return vf_mul(x, (vf){_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)});
}

LANES vw vw_load(const uint8_t *line)
{
    return (vw){_mm256_loadu_si256((const __m256i *)line), _mm256_loadu_si256((const __m256i *)(line + 32))};
}

LANES vw vw_low(vw x)
{
    __m256i mask = _mm256_set1_epi8(15);
    return (vw){_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}

LANES vw vw_high(vw x)
{
    return vw_low((vw){_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)});
}


LANES __m256i broadcast_four(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* sum + four unsigned weights, small enough that two products fit 16 bits, times x[0..4), in each of eight rows. */
LANES __m256i dot_half(__m256i sum, __m256i weights, __m256i four)
{
#ifdef IH_LM_AVXVNNI
    return _mm256_dpbusd_avx_epi32(sum, weights, four);
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, four), _mm256_set1_epi16(1)));
#endif
}

LANES vi vi_dot_small(vi sum, vw weights, const int8_t *x)
{
    __m256i four = broadcast_four(x);
    return (vi){dot_half(sum.a, weights.a, four), dot_half(sum.b, weights.b, four)};
}

#ifdef IH_LM_AVXVNNI
#define LARGE_IS_SIGNED 0
LANES vw vw_load_large(const uint8_t *line) { return vw_load(line); }
LANES vi vi_dot_large(vi sum, vw weights, const int8_t *x) { return vi_dot_small(sum, weights, x); }
#else
#define LARGE_IS_SIGNED 1

/* Weights up to 255 are taken as w - 128, which is what they mean: then |w| <= 128 and vpmaddubsw cannot saturate. */
LANES vw vw_load_large(const uint8_t *line)
{
    __m256i flip = _mm256_set1_epi8(-128);
    vw x = vw_load(line);
    return (vw){_mm256_xor_si256(x.a, flip), _mm256_xor_si256(x.b, flip)};
}

LANES vi vi_dot_large(vi sum, vw w, const int8_t *x)
{
    __m256i four = broadcast_four(x);
    return (vi){dot_half(sum.a, _mm256_abs_epi8(w.a), _mm256_sign_epi8(four, w.a)),
                dot_half(sum.b, _mm256_abs_epi8(w.b), _mm256_sign_epi8(four, w.b))};
}
#endif

#endif
