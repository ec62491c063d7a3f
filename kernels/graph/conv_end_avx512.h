/* What becomes of a tile's accumulators on 512-bit vectors: requantised to u8 (through a table, if any) or scaled to float.
 * Four pixels' accumulators are packed into one vector: 4 x 16 int32 -> 64 u8. For files whose target has AVX-512 VBMI. */
#include "graph/graph.h"
#include <immintrin.h>

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
