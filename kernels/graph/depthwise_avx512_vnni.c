/* Depthwise convolution by vpdpbusd on 256-bit vectors: 32 channels at once, four input rows to a 32-bit group.
 *
 *   column   rows r0..r3 of one input pixel, unpacked byte by byte: [r0 r1 r2 r3] for each channel, four vectors
 *   pair     two output lines share the columns: line 1 uses weights that start one row lower (pack.py)
 *   fold     8 or 16 channels: 4 or 2 neighbouring pixels lie side by side in the 32 lanes, with repeated weights
 *
 * 512-bit vectors would gain nothing here: Zen 4 runs them as two halves, and 48 or 240 channels fill 32 lanes better.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")
#include "graph/strict_float.h"
#include "graph/graph.h"
#include <immintrin.h>

#define DOT(acc, u8, s8) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "m"(s8))

enum { MAX_ROWS = 12, MAX_BLOCKS = 64, TILE_BYTES = 24576 /* of input: what all channel blocks read stays in the first cache */ };

/* Bias and scale of one block of 32 lanes, in the order in which unpacking leaves the channels. */
typedef struct ends {
    __m256i bias[4];
    __m256 scale[4];
} ends;

typedef struct lines_args {
    const uint8_t *row[MAX_ROWS]; /* input rows of the first output pixel, this block's channels */
    int64_t tap, step;            /* bytes to the next kernel column, to the next output pixel */
    int64_t kw, groups, px;
    const int8_t *w; /* (groups, kw, lines, 4, 32) of this block */
    const ends *end;
    int32_t zero;
    const uint8_t *lut;
    uint8_t *out[2];
    int64_t out_step;
    int lanes, last_lanes; /* bytes stored of each pixel, and of the last */
} lines_args;

static inline __attribute__((always_inline)) void column(__m256i *c, const uint8_t *const *row, int64_t at) {
    __m256i a = _mm256_loadu_si256((const __m256i *)(row[0] + at)), b = _mm256_loadu_si256((const __m256i *)(row[1] + at));
    __m256i d = _mm256_loadu_si256((const __m256i *)(row[2] + at)), e = _mm256_loadu_si256((const __m256i *)(row[3] + at));
    __m256i ab0 = _mm256_unpacklo_epi8(a, b), ab1 = _mm256_unpackhi_epi8(a, b);
    __m256i de0 = _mm256_unpacklo_epi8(d, e), de1 = _mm256_unpackhi_epi8(d, e);
    c[0] = _mm256_unpacklo_epi16(ab0, de0);
    c[1] = _mm256_unpackhi_epi16(ab0, de0);
    c[2] = _mm256_unpacklo_epi16(ab1, de1);
    c[3] = _mm256_unpackhi_epi16(ab1, de1);
}

static inline __attribute__((always_inline)) __m256i requantise(const __m256i *acc, const lines_args *t) {
    __m256i q[4];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[i]), t->end->scale[i]));
    const __m256i zero = _mm256_set1_epi16((short)t->zero);
    __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
    __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), zero);
    return _mm256_packus_epi16(low, high);
}

static inline __attribute__((always_inline)) __m512i through_table(__m512i v, const uint8_t *lut) {
    __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut), v, _mm512_loadu_si512(lut + 64));
    __m512i high = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut + 128), v, _mm512_loadu_si512(lut + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high);
}

static inline __attribute__((always_inline)) void store(const lines_args *t, const __m256i (*acc)[4], int lines, int64_t px) {
    __m256i first = requantise(acc[0], t), second = lines == 2 ? requantise(acc[1], t) : first;
    if (t->lut) {
        __m512i both = through_table(_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1), t->lut);
        first = _mm512_castsi512_si256(both);
        second = _mm512_extracti64x4_epi64(both, 1);
    }
    const int lanes = px == t->px - 1 ? t->last_lanes : t->lanes;
    uint8_t *out0 = t->out[0] + px * t->out_step, *out1 = t->out[1] + px * t->out_step;
    if (lanes == 32) {
        _mm256_storeu_si256((__m256i *)out0, first);
        if (lines == 2)
            _mm256_storeu_si256((__m256i *)out1, second);
    } else {
        const __mmask32 mask = (__mmask32)((1ull << lanes) - 1);
        _mm256_mask_storeu_epi8(out0, mask, first);
        if (lines == 2)
            _mm256_mask_storeu_epi8(out1, mask, second);
    }
}

/* One output pixel of `lines` lines, any stride; the weights are packed for `packed` lines. */
static inline __attribute__((always_inline)) void one(const lines_args *t, int64_t px, int lines, int packed) {
    __m256i acc[2][4], c[4];
    _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++)
        _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) acc[l][q] = t->end->bias[q];
    const __m256i *w = (const __m256i *)t->w;
    for (int64_t g = 0; g < t->groups; g++)
        for (int64_t i = 0; i < t->kw; i++, w += 4 * packed) {
            column(c, t->row + 4 * g, px * t->step + i * t->tap);
            _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++)
                _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) DOT(acc[l][q], c[q], w[4 * l + q]);
        }
    store(t, acc, lines, px);
}

/* Two neighbouring pixels of two lines, a tap as far apart as a pixel: each column serves both, each weight is loaded once. */
static inline __attribute__((always_inline)) void two(const lines_args *t, int64_t px, int64_t kw) {
    __m256i acc[2][2][4], a[4], b[4]; /* pixel, line, quarter */
    _Pragma("GCC unroll 2") for (int l = 0; l < 2; l++)
        _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) acc[0][l][q] = acc[1][l][q] = t->end->bias[q];
    const __m256i *w = (const __m256i *)t->w;
    for (int64_t g = 0; g < t->groups; g++) {
        column(a, t->row + 4 * g, px * t->step);
        _Pragma("GCC unroll 5") for (int64_t i = 0; i < kw; i++, w += 8) {
            column(b, t->row + 4 * g, px * t->step + (i + 1) * t->tap);
            _Pragma("GCC unroll 2") for (int l = 0; l < 2; l++)
                _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) {
                    const __m256i taps = _mm256_loadu_si256(w + 4 * l + q);
                    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc[0][l][q]) : "v"(a[q]), "v"(taps));
                    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc[1][l][q]) : "v"(b[q]), "v"(taps));
                }
            _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) a[q] = b[q];
        }
    }
    store(t, acc[0], 2, px);
    store(t, acc[1], 2, px + 1);
}

static void block_lines(const lines_args *t, int lines, int packed, int is_plain) {
    int64_t px = 0;
    if (lines == 2 && is_plain && t->kw == 3)
        for (; px + 2 <= t->px; px += 2)
            two(t, px, 3);
    else if (lines == 2 && is_plain && t->kw == 5)
        for (; px + 2 <= t->px; px += 2)
            two(t, px, 5);
    if (lines == 2)
        for (; px < t->px; px++)
            one(t, px, 2, 2);
    else if (packed == 2)
        for (; px < t->px; px++)
            one(t, px, 1, 2);
    else
        for (; px < t->px; px++)
            one(t, px, 1, 1);
}

/* `fold` repeats a pixel's channels. */
static void ends_of(ends *t, const int32_t *bias, const float *scale, int64_t c, int fold) {
    int32_t b[32];
    float s[32];
    for (int i = 0; i < 32; i++) {
        const int64_t from = fold > 1 ? i % c : i;
        b[i] = from < c ? bias[from] : 0;
        s[i] = from < c ? scale[from] : 0.0f;
    }
    for (int q = 0; q < 4; q++) {
        t->bias[q] = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(b + 16 + 4 * q)), _mm_loadu_si128((const __m128i *)(b + 4 * q)));
        t->scale[q] = _mm256_set_m128(_mm_loadu_ps(s + 16 + 4 * q), _mm_loadu_ps(s + 4 * q));
    }
}

static void lines_of(const int64_t *p, uint8_t *const *region, const ends *end, int64_t image, int64_t line, int lines, int pair,
                     int64_t from_px, int64_t to_px) {
    const int64_t c = p[IH_depthwise_c], kh = p[IH_depthwise_kh], kw = p[IH_depthwise_kw], fold = p[IH_depthwise_fold];
    const int64_t row = p[IH_depthwise_x_row] * p[IH_depthwise_dilation_y], wide = c * fold < 32 ? c * fold : 32;
    const int64_t blocks = fold > 1 || c <= 32 ? 1 : (c + 31) / 32, px = to_px - from_px;
    lines_args t = {.tap = p[IH_depthwise_x_px] * p[IH_depthwise_dilation_x], .kw = kw, .zero = (int32_t)p[IH_depthwise_out_zero],
                    .lut = p[IH_depthwise_lut] < 0 ? NULL : ih_at(region, p[IH_depthwise_lut]), .lanes = (int)wide};
    t.step = p[IH_depthwise_x_px] * p[IH_depthwise_stride_x] * fold;
    t.out_step = p[IH_depthwise_out_px] * fold;
    t.px = (px + fold - 1) / fold;
    t.groups = (kh + pair + 3) / 4;
    const uint8_t *x = ih_at(region, p[IH_depthwise_x]) + image * p[IH_depthwise_x_image] +
                       line * p[IH_depthwise_stride_y] * p[IH_depthwise_x_row] + from_px * p[IH_depthwise_stride_x] * p[IH_depthwise_x_px];
    uint8_t *out = ih_at(region, p[IH_depthwise_out]) + image * p[IH_depthwise_out_image] + line * p[IH_depthwise_out_line] +
                   from_px * p[IH_depthwise_out_px];
    const int8_t *w = (const int8_t *)ih_at(region, p[IH_depthwise_w_packed]);
    const int64_t last_row = kh - 1 + (lines == 2 ? 1 : 0), px_bytes = (kh + 1) * t.step;
    const int64_t all = t.px, tile = TILE_BYTES / px_bytes > 8 ? TILE_BYTES / px_bytes / 2 * 2 : 8;
    for (int64_t px0 = 0; px0 < all; px0 += tile)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t c0 = b * 32 + 32 <= c || blocks == 1 ? b * 32 : c - 32; /* the last block overlaps the one before */
            t.end = &end[b];
            t.px = all - px0 < tile ? all - px0 : tile;
            t.last_lanes = px0 + t.px == all && px % fold ? (int)(px % fold * c) : (int)wide;
            for (int64_t r = 0; r < t.groups * 4; r++) /* rows past the last have zero weights */
                t.row[r] = x + c0 + (r < last_row ? r : last_row) * row + px0 * t.step;
            t.w = w + b * kw * t.groups * (1 + pair) * 128;
            t.out[0] = out + c0 + px0 * t.out_step;
            t.out[1] = t.out[0] + p[IH_depthwise_out_line]; /* not written where there is one line */
            block_lines(&t, lines, 1 + pair, t.tap == t.step);
        }
}

void ih_depthwise_avx512_vnni(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t pairs = (p[IH_depthwise_lines] + 1) / 2;
    const int pair = (int)p[IH_depthwise_pair];
    const int64_t c = p[IH_depthwise_c], fold = p[IH_depthwise_fold], blocks = fold > 1 || c <= 32 ? 1 : (c + 31) / 32;
    if ((p[IH_depthwise_kh] + pair + 3) / 4 * 4 > MAX_ROWS || blocks > MAX_BLOCKS) {
        ih_depthwise_scalar(p, region, from, to);
        return;
    }
    ends end[MAX_BLOCKS];
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t c0 = b * 32 + 32 <= c || blocks == 1 ? b * 32 : c - 32;
        ends_of(&end[b], (const int32_t *)ih_at(region, p[IH_depthwise_bias]) + c0, (const float *)ih_at(region, p[IH_depthwise_scale]) + c0,
                c - c0, (int)fold);
    }
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t px0 = unit % p[IH_depthwise_line_chunks] * p[IH_depthwise_chunk_px], rest = unit / p[IH_depthwise_line_chunks];
        const int64_t stop = px0 + p[IH_depthwise_chunk_px], px1 = stop < p[IH_depthwise_line_px] ? stop : p[IH_depthwise_line_px];
        const int64_t image = rest / pairs, line = rest % pairs * 2, is_two = line + 1 < p[IH_depthwise_lines];
        if (pair) {
            lines_of(p, region, end, image, line, is_two ? 2 : 1, 1, px0, px1);
        } else {
            lines_of(p, region, end, image, line, 1, 0, px0, px1);
            if (is_two)
                lines_of(p, region, end, image, line + 1, 1, 0, px0, px1);
        }
    }
}
#endif
