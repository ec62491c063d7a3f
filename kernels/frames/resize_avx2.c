/* The resize with AVX2. The horizontal and quantising parts are also the AVX-512 variant's: they are bound by shuffles
 * inside 128-bit lanes, which wider registers do not make faster. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "frames/frames.h"

#include <immintrin.h>

static inline __m256i load(const void *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

static inline void store(void *at, __m256i value)
{
    _mm256_storeu_si256((__m256i *)at, value);
}

/* Eight pixels of one output row; unrolled where `taps` is a constant. */
static inline __attribute__((always_inline)) void vertical_8(const uint8_t *rows, ptrdiff_t stride, int taps,
                                                             const int16_t *weights, int bias, int16_t *v)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i low = _mm256_set1_epi16((int16_t)bias), high = low;
    for (int tap = 0; tap < taps; tap++) {
        __m256i pixels = load(rows + tap * stride), weight = _mm256_set1_epi16(weights[tap]);
        low = _mm256_add_epi16(low, _mm256_mulhi_epu16(_mm256_unpacklo_epi8(zero, pixels), weight));
        high = _mm256_add_epi16(high, _mm256_mulhi_epu16(_mm256_unpackhi_epi8(zero, pixels), weight));
    }
    store(v, _mm256_permute2x128_si256(low, high, 0x20));
    store(v + 16, _mm256_permute2x128_si256(low, high, 0x31));
}

static inline __attribute__((always_inline)) void vertical(const uint8_t *rows, ptrdiff_t stride, int taps,
                                                           const int16_t *weights, int bias, int w,
                                                           int16_t *v)
{
    for (int x = 0; x + 8 <= w; x += 8)
        vertical_8(rows + 4 * x, stride, taps, weights, bias, v + 4 * x);
    if (w % 8) /* the last eight once more, as far as they are new */
        vertical_8(rows + 4 * (w - 8), stride, taps, weights, bias, v + 4 * (w - 8));
}

void ih_vertical_avx2(const uint8_t *rows, ptrdiff_t stride, int taps, const int16_t *weights, int bias, int w,
                      int16_t *v)
{
    if (w < 8)
        ih_vertical_scalar(rows, stride, taps, weights, bias, w, v);
    else if (taps == 2)
        vertical(rows, stride, 2, weights, bias, w, v);
    else if (taps == 3)
        vertical(rows, stride, 3, weights, bias, w, v);
    else if (taps == 4)
        vertical(rows, stride, 4, weights, bias, w, v);
    else
        vertical(rows, stride, taps, weights, bias, w, v);
}

/* Eight pixels of one output row that is the mean of `n` rows: two rows at a time by PMADDUBSW with ones. */
static inline __attribute__((always_inline)) void box_8(const uint8_t *rows, ptrdiff_t stride, int n, ih_box box,
                                                        int16_t *v)
{
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi8(1);
    const __m256i multiplier = _mm256_set1_epi16((int16_t)box.multiplier);
    const __m128i shift = _mm_cvtsi32_si128(box.shift);
    __m256i low = zero, high = zero;
    for (int row = 0; row < n; row += 2) {
        const int is_pair = row + 1 < n;
        __m256i a = load(rows + row * stride), b = is_pair ? load(rows + (row + 1) * stride) : zero;
        low = _mm256_add_epi16(low, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), ones));
        high = _mm256_add_epi16(high, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), ones));
    }
    low = _mm256_mulhi_epu16(_mm256_sll_epi16(low, shift), multiplier);
    high = _mm256_mulhi_epu16(_mm256_sll_epi16(high, shift), multiplier);
    store(v, _mm256_permute2x128_si256(low, high, 0x20));
    store(v + 16, _mm256_permute2x128_si256(low, high, 0x31));
}

static inline __attribute__((always_inline)) void boxes(const uint8_t *rows, ptrdiff_t stride, int n, ih_box box, int w,
                                                        int16_t *v)
{
    for (int x = 0; x + 8 <= w; x += 8)
        box_8(rows + 4 * x, stride, n, box, v + 4 * x);
    if (w % 8)
        box_8(rows + 4 * (w - 8), stride, n, box, v + 4 * (w - 8));
}

void ih_box_avx2(const uint8_t *rows, ptrdiff_t stride, ih_box box, int w, int16_t *v)
{
    if (w < 8)
        ih_box_scalar(rows, stride, box, w, v);
    else if (box.rows == 2)
        boxes(rows, stride, 2, box, w, v);
    else if (box.rows == 3)
        boxes(rows, stride, 3, box, w, v);
    else
        boxes(rows, stride, box.rows, box, w, v);
}

/* Four taps of four channels: the sums of one output pixel, still apart by tap. */
static inline __attribute__((always_inline)) __m256i by_tap(const int16_t *pixels, const int16_t *weights, int taps)
{
    __m256i sum = _mm256_mulhrs_epi16(load(pixels), load(weights));
    for (int tap = 4; tap < taps; tap += 4)
        sum = _mm256_add_epi16(sum, _mm256_mulhrs_epi16(load(pixels + 4 * tap), load(weights + 4 * tap)));
    return sum;
}

static inline __attribute__((always_inline)) void horizontal(const int16_t *v, const ih_axis *axis, int taps,
                                                             int from, int until, int16_t *h)
{
    const int16_t *weights = ih_axis_weights(axis, from);
    const int16_t *const end = axis->weights + (ptrdiff_t)axis->period * taps * 4;
    int o = from;
    for (; o + 4 <= until; o += 4) {
        const int32_t *first = axis->first + o;
        __m256i a = by_tap(v + 4 * (ptrdiff_t)first[0], weights, taps);
        __m256i b = by_tap(v + 4 * (ptrdiff_t)first[1], weights + 4 * taps, taps);
        __m256i c = by_tap(v + 4 * (ptrdiff_t)first[2], weights + 8 * taps, taps);
        __m256i d = by_tap(v + 4 * (ptrdiff_t)first[3], weights + 12 * taps, taps);
        /* taps (0 + 1 of a, 0 + 1 of b | 2 + 3 of a, 2 + 3 of b), then the two halves */
        __m256i ab = _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        __m256i cd = _mm256_add_epi16(_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
        __m256i low = _mm256_permute2x128_si256(ab, cd, 0x20), high = _mm256_permute2x128_si256(ab, cd, 0x31);
        store(h + 4 * o, _mm256_add_epi16(low, high));
        weights += 16 * taps; /* the period is a multiple of four */
        if (weights == end)
            weights = axis->weights;
    }
    ih_horizontal_scalar(v, axis, o, until, h);
}

void ih_horizontal_avx2(const int16_t *v, const ih_axis *axis, int from, int until, int16_t *h)
{
    if (axis->taps == 4)
        horizontal(v, axis, 4, from, until, h);
    else
        horizontal(v, axis, axis->taps, from, until, h);
}

typedef struct constants {
    __m256i multiplier, offset;
    __m128i shift;
} constants;

static inline constants constants_of(const ih_quantise *q)
{
    return (constants){
        .multiplier = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)q->multiplier)),
        .offset = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)q->offset)),
        .shift = _mm_cvtsi32_si128(q->shift),
    };
}

static inline __m256i scaled(__m256i h, const constants *k)
{
    __m256i product = _mm256_mulhrs_epi16(h, k->multiplier);
    return _mm256_sra_epi16(_mm256_adds_epi16(product, k->offset), k->shift);
}

/* Eight pixels: the bytes of B and G (8 each), and of R and X. */
static inline __attribute__((always_inline)) void planes_8(const int16_t *h, const constants *k, int is_unsigned,
                                                           __m128i *bg, __m128i *rx)
{
    const __m256i by_channel = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, /**/
                                                0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256i first = scaled(load(h), k), second = scaled(load(h + 16), k);
    __m256i bytes = is_unsigned ? _mm256_packus_epi16(first, second) : _mm256_packs_epi16(first, second);
    bytes = _mm256_shuffle_epi8(bytes, by_channel); /* low lane: pixels 0 1 4 5, high lane: 2 3 6 7 */
    __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    *bg = _mm_unpacklo_epi16(low, high);
    *rx = _mm_unpackhi_epi16(low, high);
}

static inline __attribute__((always_inline)) void quantise(const int16_t *h, int n, const ih_quantise *q,
                                                           int is_unsigned, uint8_t *const plane[3])
{
    uint8_t *const b = plane[q->plane_of[0]], *const g = plane[q->plane_of[1]], *const r = plane[q->plane_of[2]];
    const constants k = constants_of(q);
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i bg0, rx0, bg1, rx1;
        planes_8(h + 4 * i, &k, is_unsigned, &bg0, &rx0);
        planes_8(h + 4 * i + 32, &k, is_unsigned, &bg1, &rx1);
        _mm_storeu_si128((__m128i *)(b + i), _mm_unpacklo_epi64(bg0, bg1));
        _mm_storeu_si128((__m128i *)(g + i), _mm_unpackhi_epi64(bg0, bg1));
        _mm_storeu_si128((__m128i *)(r + i), _mm_unpacklo_epi64(rx0, rx1));
    }
    uint8_t *const rest[3] = {plane[0] + i, plane[1] + i, plane[2] + i};
    ih_quantise_scalar(h + 4 * i, n - i, q, rest);
}

void ih_quantise_avx2(const int16_t *h, int n, const ih_quantise *q, uint8_t *const plane[3])
{
    if (q->is_unsigned)
        quantise(h, n, q, 1, plane);
    else
        quantise(h, n, q, 0, plane);
}

#define V(op) _mm256_##op
#define vec __m256i
#include "frames/thirds_body.h"

/* The lanes 0, 3.. of a, 1, 4.. of b, 2, 5 of c. */
static inline __m256i pick(__m256i a, __m256i b, __m256i c)
{
    return _mm256_blend_epi32(_mm256_blend_epi32(a, b, 0x92), c, 0x24);
}

static inline __attribute__((always_inline)) void thirds_8(const uint8_t *rows, ptrdiff_t stride,
                                                           const __m256i weight[3], const constants *k, int is_unsigned,
                                                           uint8_t *const plane[3], int o)
{
    const __m256i by_1 = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0), by_2 = _mm256_setr_epi32(2, 3, 4, 5, 6, 7, 0, 1);
    const __m128i by_channel = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i in_order = _mm_setr_epi8(0, 3, 6, 1, 4, 7, 2, 5, 8, 11, 14, 9, 12, 15, 10, 13);
    __m256i ones[3], twos[3], low = _mm256_setzero_si256(), high = low;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        __m256i a = load(rows + 32 * i), b = load(rows + stride + 32 * i), c = load(rows + 2 * stride + 32 * i);
        __m256i odd = _mm256_xor_si256(a, b);
        ones[i] = _mm256_xor_si256(odd, c);
        twos[i] = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(odd, c));
    }
    __m256i one = pick(ones[0], ones[1], ones[2]), two = pick(twos[0], twos[1], twos[2]);
    add_pixels(one, two, weight[0], &low, &high);
    one = _mm256_permutevar8x32_epi32(pick(ones[2], ones[0], ones[1]), by_1);
    two = _mm256_permutevar8x32_epi32(pick(twos[2], twos[0], twos[1]), by_1);
    add_pixels(one, two, weight[1], &low, &high);
    one = _mm256_permutevar8x32_epi32(pick(ones[1], ones[2], ones[0]), by_2);
    two = _mm256_permutevar8x32_epi32(pick(twos[1], twos[2], twos[0]), by_2);
    add_pixels(one, two, weight[2], &low, &high);
    low = scaled(low, k), high = scaled(high, k);
    __m256i bytes = is_unsigned ? _mm256_packus_epi16(low, high) : _mm256_packs_epi16(low, high);
    bytes = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(by_channel));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    bytes = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(in_order)); /* B and G, R and X */
    const __m128i bg = _mm256_castsi256_si128(bytes), rx = _mm256_extracti128_si256(bytes, 1);
    _mm_storel_epi64((__m128i *)(plane[0] + o), bg);
    _mm_storel_epi64((__m128i *)(plane[1] + o), _mm_unpackhi_epi64(bg, bg));
    _mm_storel_epi64((__m128i *)(plane[2] + o), rx);
}

static inline __attribute__((always_inline)) void thirds_of(const uint8_t *rows, const uint8_t *soon, ptrdiff_t stride,
                                                            int n, const __m256i weight[3], const constants *k,
                                                            int is_unsigned, uint8_t *const plane[3])
{
    for (int o = 0; o < n; o += 16, rows += 192, soon += 192) {
        for (int row = 0; row < 3; row++)
            for (int at = 0; at < 192; at += 64) {
                _mm_prefetch((const char *)(rows + row * stride + at + IH_THIRDS_NEAR), _MM_HINT_T0);
                _mm_prefetch((const char *)(soon + row * stride + at), _MM_HINT_T1);
            }
        thirds_8(rows, stride, weight, k, is_unsigned, plane, o);
        thirds_8(rows + 96, stride, weight, k, is_unsigned, plane, o + 8);
    }
}

void ih_thirds_avx2(const uint8_t *rows, const uint8_t *soon, ptrdiff_t stride, const ih_axis *along, int n,
                    const ih_quantise *q, uint8_t *const plane[3])
{
    uint8_t *const by_channel[3] = {plane[q->plane_of[0]], plane[q->plane_of[1]], plane[q->plane_of[2]]};
    const constants k = constants_of(q);
    __m256i weight[3];
    for (int pixel = 0; pixel < 3; pixel++)
        weight[pixel] = _mm256_set1_epi16(along->weights[4 * pixel]);
    if (q->is_unsigned)
        thirds_of(rows, soon, stride, n, weight, &k, 1, by_channel);
    else
        thirds_of(rows, soon, stride, n, weight, &k, 0, by_channel);
}
#endif
