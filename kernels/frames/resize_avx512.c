/* The vertical part of the resize with AVX-512: all that touches the whole frame. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")
#include "frames/frames.h"

#include <immintrin.h>

/* Sixteen pixels: unpacking left the first two of each lane in `low`, the other two in `high`. */
static inline void store_32(int16_t *v, __m512i low, __m512i high)
{
    const __m512i front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    _mm512_storeu_si512(v, _mm512_permutex2var_epi64(low, front, high));
    _mm512_storeu_si512(v + 32, _mm512_permutex2var_epi64(low, back, high));
}

/* Sixteen pixels of one output row, or those in `mask`; unrolled where `taps` is a constant. */
static inline __attribute__((always_inline)) void vertical_16(const uint8_t *rows, ptrdiff_t stride, int taps,
                                                              const int16_t *weights, int bias, __mmask16 mask,
                                                              int16_t *v)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i low = _mm512_set1_epi16((int16_t)bias), high = low;
    for (int tap = 0; tap < taps; tap++) {
        __m512i pixels = _mm512_maskz_loadu_epi32(mask, rows + tap * stride), weight = _mm512_set1_epi16(weights[tap]);
        low = _mm512_add_epi16(low, _mm512_mulhi_epu16(_mm512_unpacklo_epi8(zero, pixels), weight));
        high = _mm512_add_epi16(high, _mm512_mulhi_epu16(_mm512_unpackhi_epi8(zero, pixels), weight));
    }
    store_32(v, low, high);
}

static inline __attribute__((always_inline)) void vertical(const uint8_t *rows, ptrdiff_t stride, int taps,
                                                           const int16_t *weights, int bias, int w,
                                                           int16_t *v)
{
    int x = 0;
    for (; x + 16 <= w; x += 16)
        vertical_16(rows + 4 * x, stride, taps, weights, bias, 0xffff, v + 4 * x);
    if (x < w) /* stores into the padding of v */
        vertical_16(rows + 4 * x, stride, taps, weights, bias, (__mmask16)((1u << (w - x)) - 1), v + 4 * x);
}

void ih_vertical_avx512(const uint8_t *rows, ptrdiff_t stride, int taps, const int16_t *weights, int bias, int w,
                        int16_t *v)
{
    if (taps == 2)
        vertical(rows, stride, 2, weights, bias, w, v);
    else if (taps == 3)
        vertical(rows, stride, 3, weights, bias, w, v);
    else if (taps == 4)
        vertical(rows, stride, 4, weights, bias, w, v);
    else
        vertical(rows, stride, taps, weights, bias, w, v);
}

/* Sixteen pixels of one output row that is the mean of `n` rows: two rows at a time by PMADDUBSW with ones. */
static inline __attribute__((always_inline)) void box_16(const uint8_t *rows, ptrdiff_t stride, int n, ih_box box,
                                                         __mmask16 mask, int16_t *v)
{
    const __m512i zero = _mm512_setzero_si512(), ones = _mm512_set1_epi8(1);
    const __m512i multiplier = _mm512_set1_epi16((int16_t)box.multiplier);
    const __m128i shift = _mm_cvtsi32_si128(box.shift);
    __m512i low = zero, high = zero;
    for (int row = 0; row < n; row += 2) {
        const int is_pair = row + 1 < n;
        __m512i a = _mm512_maskz_loadu_epi32(mask, rows + row * stride);
        __m512i b = is_pair ? _mm512_maskz_loadu_epi32(mask, rows + (row + 1) * stride) : zero;
        low = _mm512_add_epi16(low, _mm512_maddubs_epi16(_mm512_unpacklo_epi8(a, b), ones));
        high = _mm512_add_epi16(high, _mm512_maddubs_epi16(_mm512_unpackhi_epi8(a, b), ones));
    }
    low = _mm512_mulhi_epu16(_mm512_sll_epi16(low, shift), multiplier);
    high = _mm512_mulhi_epu16(_mm512_sll_epi16(high, shift), multiplier);
    store_32(v, low, high);
}

static inline __attribute__((always_inline)) void boxes(const uint8_t *rows, ptrdiff_t stride, int n, ih_box box, int w,
                                                        int16_t *v)
{
    int x = 0;
    for (; x + 16 <= w; x += 16)
        box_16(rows + 4 * x, stride, n, box, 0xffff, v + 4 * x);
    if (x < w) /* stores into the padding of v */
        box_16(rows + 4 * x, stride, n, box, (__mmask16)((1u << (w - x)) - 1), v + 4 * x);
}

void ih_box_avx512(const uint8_t *rows, ptrdiff_t stride, ih_box box, int w, int16_t *v)
{
    if (box.rows == 2)
        boxes(rows, stride, 2, box, w, v);
    else if (box.rows == 3)
        boxes(rows, stride, 3, box, w, v);
    else
        boxes(rows, stride, box.rows, box, w, v);
}
#endif
