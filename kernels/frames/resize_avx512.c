/* What touches the whole frame, with AVX-512: the vertical part of the resize, and thirds. */
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

typedef struct thirds {
    __m512i weight[3]; /* of the first, second and third pixel of an output */
    __m512i multiplier, offset, shift;
} thirds;

#define V(op) _mm512_##op
#define vec __m512i
#include "frames/thirds_body.h"

/* The lanes 0, 3.. of a, 1, 4.. of b, 2, 5.. of c. */
static inline __m512i pick(__m512i a, __m512i b, __m512i c)
{
    return _mm512_mask_mov_epi32(_mm512_mask_mov_epi32(a, 0x2492, b), 0x4924, c);
}

static inline __m512i scaled(__m512i h, const thirds *k)
{
    return _mm512_srav_epi16(_mm512_adds_epi16(_mm512_mulhrs_epi16(h, k->multiplier), k->offset), k->shift);
}

/* Sixteen outputs of each plane, in lanes of 128 bits: B, G, R, X. */
static inline __m512i planes_16(__m512i low, __m512i high, const thirds *k, int is_unsigned)
{
    const __m128i by_channel = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i in_order = _mm_setr_epi8(0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14, 1, 4, 7, 10, 13);
    const __m512i transposed = _mm512_cvtepu8_epi32(by_channel);
    low = scaled(low, k), high = scaled(high, k);
    __m512i bytes = is_unsigned ? _mm512_packus_epi16(low, high) : _mm512_packs_epi16(low, high);
    bytes = _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(by_channel));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(transposed, bytes), _mm512_broadcast_i32x4(in_order));
}

static inline __attribute__((always_inline)) void thirds_of(const uint8_t *rows, const uint8_t *soon, ptrdiff_t stride,
                                                            int n, const thirds *k, int is_unsigned,
                                                            uint8_t *const plane[3])
{
    for (int o = 0; o < n; o += 16, rows += 192, soon += 192) {
        __m512i ones[3], twos[3], low = _mm512_setzero_si512(), high = low;
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            for (int row = 0; row < 3; row++) {
                _mm_prefetch((const char *)(rows + row * stride + 64 * i + IH_THIRDS_NEAR), _MM_HINT_T0);
                _mm_prefetch((const char *)(soon + row * stride + 64 * i), _MM_HINT_T1);
            }
            __m512i a = _mm512_loadu_si512(rows + 64 * i), b = _mm512_loadu_si512(rows + stride + 64 * i);
            __m512i c = _mm512_loadu_si512(rows + 2 * stride + 64 * i);
            ones[i] = _mm512_ternarylogic_epi32(a, b, c, 0x96); /* a ^ b ^ c */
            twos[i] = _mm512_ternarylogic_epi32(a, b, c, 0xe8); /* two of them */
        }
        __m512i one = pick(ones[0], ones[2], ones[1]), two = pick(twos[0], twos[2], twos[1]);
        add_pixels(one, two, k->weight[0], &low, &high);
        one = pick(ones[1], ones[0], ones[2]), two = pick(twos[1], twos[0], twos[2]);
        add_pixels(_mm512_alignr_epi32(one, one, 1), _mm512_alignr_epi32(two, two, 1), k->weight[1], &low, &high);
        one = pick(ones[2], ones[1], ones[0]), two = pick(twos[2], twos[1], twos[0]);
        add_pixels(_mm512_alignr_epi32(one, one, 2), _mm512_alignr_epi32(two, two, 2), k->weight[2], &low, &high);
        __m512i bytes = planes_16(low, high, k, is_unsigned);
        _mm_storeu_si128((__m128i *)(plane[0] + o), _mm512_castsi512_si128(bytes));
        _mm_storeu_si128((__m128i *)(plane[1] + o), _mm512_extracti32x4_epi32(bytes, 1));
        _mm_storeu_si128((__m128i *)(plane[2] + o), _mm512_extracti32x4_epi32(bytes, 2));
    }
}

void ih_thirds_avx512(const uint8_t *rows, const uint8_t *soon, ptrdiff_t stride, const ih_axis *along, int n,
                      const ih_quantise *q, uint8_t *const plane[3])
{
    uint8_t *const by_channel[3] = {plane[q->plane_of[0]], plane[q->plane_of[1]], plane[q->plane_of[2]]};
    thirds k;
    for (int pixel = 0; pixel < 3; pixel++)
        k.weight[pixel] = _mm512_set1_epi16(along->weights[4 * pixel]);
    k.multiplier = _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)q->multiplier));
    k.offset = _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)q->offset));
    k.shift = _mm512_set1_epi16((int16_t)q->shift);
    if (q->is_unsigned)
        thirds_of(rows, soon, stride, n, &k, 1, by_channel);
    else
        thirds_of(rows, soon, stride, n, &k, 0, by_channel);
}
#endif
