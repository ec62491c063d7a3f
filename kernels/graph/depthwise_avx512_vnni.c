/* Depthwise convolution by vpdpbusd: 64 or 32 channels at once, four input rows to a 32-bit group.
 *
 *   column   rows r0..r3 of one input pixel, unpacked byte by byte: [r0 r1 r2 r3] for each channel, four vectors
 *   pair     two output lines share the columns: line 1 uses weights that start a stride lower (pack.py)
 *   fold     8, 16 or 32 channels: 8, 4 or 2 neighbouring pixels lie side by side in the 64 lanes, with repeated weights
 *   block    64 channels; a last one of 32 where that holds what is left, as 96 channels fill three of 32 better
 *
 * Instructions are what it is bound by: on Sapphire Rapids 512-bit vectors take half the time of 256-bit ones. Where they run
 * as two halves (Zen 4, not measured) there are no more halves than 32 lanes at once would take.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")
#include "graph/strict_float.h"
#include "graph/graph.h"
#include <immintrin.h>

enum { MAX_ROWS = 12, MAX_BLOCKS = 32, WIDE = 64, NARROW = 32,
       TILE_BYTES = 24576 /* of input: what all channel blocks read stays in the first cache */ };

typedef struct lines_args {
    const uint8_t *row[MAX_ROWS]; /* input rows of the first output pixel, this block's channels */
    int64_t tap, step;            /* bytes to the next kernel column, to the next output pixel */
    int64_t kw, groups, px;
    const int8_t *w; /* (groups, kw, lines, 4, lanes) of this block */
    int32_t zero;
    const uint8_t *lut;
    uint8_t *out[2];
    int64_t out_step;
    uint64_t mask, last_mask; /* bytes stored of each pixel, and of the last */
} lines_args;

static inline __attribute__((always_inline)) __m512i through_table(__m512i v, const uint8_t *lut) {
    __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut), v, _mm512_loadu_si512(lut + 64));
    __m512i high = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut + 128), v, _mm512_loadu_si512(lut + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high);
}

static inline __attribute__((always_inline)) void halves_through_table(__m256i *v, int lines, const uint8_t *lut) {
    const __m512i both = through_table(_mm512_inserti64x4(_mm512_castsi256_si512(v[0]), v[lines - 1], 1), lut);
    v[0] = _mm512_castsi512_si256(both);
    v[lines - 1] = _mm512_extracti64x4_epi64(both, 1);
}

#define LANES 64
#define NAME(name) name##_wide
#define V(op) _mm512_##op
#define LOAD(at) _mm512_loadu_si512(at)
#define STORE(at, lanes, v) _mm512_mask_storeu_epi8(at, lanes, v)
#define THROUGH_TABLE(v, lines, lut) \
    _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++) v[l] = through_table(v[l], lut)
#define vec __m512i
#define vecf __m512
#include "graph/depthwise_block_body.h"
#undef LANES
#undef NAME
#undef V
#undef LOAD
#undef STORE
#undef THROUGH_TABLE
#undef vec
#undef vecf

#define LANES 32
#define NAME(name) name##_narrow
#define V(op) _mm256_##op
#define LOAD(at) _mm256_loadu_si256((const __m256i *)(at))
#define STORE(at, lanes, v) _mm256_mask_storeu_epi8(at, (__mmask32)(lanes), v)
#define THROUGH_TABLE(v, lines, lut) halves_through_table(v, lines, lut)
#define vec __m256i
#define vecf __m256
#include "graph/depthwise_block_body.h"

/* Blocks of 64 channels, then perhaps one of 32: `wide` of the first kind, from channel `first` (a last one overlaps). */
typedef struct blocks {
    int64_t c, wide;
    int is_narrow; /* the last */
} blocks;

static blocks blocks_of(int64_t c) {
    const int is_narrow = c % WIDE > 0 && c % WIDE <= NARROW;
    return (blocks){c, c / WIDE + (c % WIDE > NARROW), is_narrow};
}

static int64_t first_channel(const blocks *all, int64_t block) {
    const int64_t lanes = block < all->wide ? WIDE : NARROW, at = block * WIDE;
    return at + lanes <= all->c || all->c < lanes ? at : all->c - lanes;
}

typedef struct block_ends {
    ends_wide wide[MAX_BLOCKS];
    ends_narrow narrow;
} block_ends;

static uint64_t first_lanes(int64_t lanes) { return lanes >= 64 ? ~0ull : (1ull << lanes) - 1; }

static void lines_of(const int64_t *p, uint8_t *const *region, const blocks *all, const block_ends *end, int64_t image, int64_t line,
                     int lines, int64_t from_px, int64_t to_px) {
    const int64_t kh = p[IH_depthwise_kh], kw = p[IH_depthwise_kw], fold = p[IH_depthwise_fold], pair = p[IH_depthwise_pair];
    const int64_t c = p[IH_depthwise_c], row = p[IH_depthwise_x_row] * p[IH_depthwise_dilation_y], px = to_px - from_px;
    const int packed = pair ? 2 : 1;
    lines_args t = {.tap = p[IH_depthwise_x_px] * p[IH_depthwise_dilation_x], .kw = kw, .zero = (int32_t)p[IH_depthwise_out_zero],
                    .lut = p[IH_depthwise_lut] < 0 ? NULL : ih_at(region, p[IH_depthwise_lut])};
    t.step = p[IH_depthwise_x_px] * p[IH_depthwise_stride_x] * fold;
    t.out_step = p[IH_depthwise_out_px] * fold;
    t.groups = (kh + pair + 3) / 4;
    const uint8_t *x = ih_at(region, p[IH_depthwise_x]) + image * p[IH_depthwise_x_image] +
                       line * p[IH_depthwise_stride_y] * p[IH_depthwise_x_row] + from_px * p[IH_depthwise_stride_x] * p[IH_depthwise_x_px];
    uint8_t *out = ih_at(region, p[IH_depthwise_out]) + image * p[IH_depthwise_out_image] + line * p[IH_depthwise_out_line] +
                   from_px * p[IH_depthwise_out_px];
    const int64_t last_row = kh - 1 + (lines == 2 ? pair : 0), px_bytes = (kh + 1) * t.step, count = all->wide + all->is_narrow;
    const int64_t folded = (px + fold - 1) / fold, tile = TILE_BYTES / px_bytes > 8 ? TILE_BYTES / px_bytes / 2 * 2 : 8;
    for (int64_t px0 = 0; px0 < folded; px0 += tile) {
        t.w = (const int8_t *)ih_at(region, p[IH_depthwise_w_packed]);
        t.px = folded - px0 < tile ? folded - px0 : tile;
        for (int64_t b = 0; b < count; b++) {
            const int64_t c0 = first_channel(all, b), lanes = b < all->wide ? WIDE : NARROW;
            t.mask = first_lanes(all->c - c0 < lanes ? all->c - c0 : lanes);
            t.last_mask = px0 + t.px == folded && px % fold ? first_lanes(px % fold * c) : t.mask;
            for (int64_t r = 0; r < t.groups * 4; r++) /* rows past the last have zero weights */
                t.row[r] = x + c0 + (r < last_row ? r : last_row) * row + px0 * t.step;
            t.out[0] = out + c0 + px0 * t.out_step;
            t.out[1] = t.out[0] + p[IH_depthwise_out_line]; /* not written where there is one line */
            if (b < all->wide)
                block_lines_wide(&t, &end->wide[b], lines, packed, t.tap == t.step);
            else
                block_lines_narrow(&t, &end->narrow, lines, packed, t.tap == t.step);
            t.w += kw * t.groups * packed * 4 * lanes;
        }
    }
}

void ih_depthwise_avx512_vnni(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t pairs = (p[IH_depthwise_lines] + 1) / 2, pair = p[IH_depthwise_pair];
    const int64_t c = p[IH_depthwise_c], fold = p[IH_depthwise_fold];
    const blocks all = blocks_of(c * fold); /* of more than one pixel: 64 */
    if ((p[IH_depthwise_kh] + pair + 3) / 4 * 4 > MAX_ROWS || all.wide > MAX_BLOCKS) {
        ih_depthwise_scalar(p, region, from, to);
        return;
    }
    const int32_t *bias = (const int32_t *)ih_at(region, p[IH_depthwise_bias]);
    const float *scale = (const float *)ih_at(region, p[IH_depthwise_scale]);
    block_ends end;
    for (int64_t b = 0; b < all.wide; b++)
        end.wide[b] = ends_of_wide(bias + first_channel(&all, b), scale + first_channel(&all, b), c - first_channel(&all, b), (int)fold);
    if (all.is_narrow) {
        const int64_t c0 = first_channel(&all, all.wide);
        end.narrow = ends_of_narrow(bias + c0, scale + c0, c - c0, (int)fold);
    }
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t px0 = unit % p[IH_depthwise_line_chunks] * p[IH_depthwise_chunk_px], rest = unit / p[IH_depthwise_line_chunks];
        const int64_t stop = px0 + p[IH_depthwise_chunk_px], px1 = stop < p[IH_depthwise_line_px] ? stop : p[IH_depthwise_line_px];
        const int64_t image = rest / pairs, line = rest % pairs * 2, is_two = line + 1 < p[IH_depthwise_lines];
        lines_of(p, region, &all, &end, image, line, is_two && pair ? 2 : 1, px0, px1);
        if (is_two && !pair)
            lines_of(p, region, &all, &end, image, line + 1, 1, px0, px1);
    }
}
#endif
