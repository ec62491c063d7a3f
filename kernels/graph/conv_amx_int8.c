/* Convolution and matrix product on AMX tiles: 16 pixels x 64 inputs times 64 inputs x 16 channels in 16 cycles, eight times
 * the rate of vpdpbusd.
 *
 *   A   pixels' inputs: read where they lie if a pixel is one run of whole 64-byte steps, else gathered into L1 first, all
 *       runs side by side and the last step filled up with zeros
 *   B   packed weights as they are: sixteen groups of (16 channels, 4 inputs) are one tile. The last step may read past the
 *       block's end; it meets A's zeros there
 *   C   2 x 2 tiles = 32 pixels x 32 channels, stored and ended as any other accumulators (conv_end_avx512.h)
 *
 * gcc's tile intrinsics do not say that they read memory: what is written before them needs the barrier below.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,amx-tile,amx-int8")
#include "graph/strict_float.h"
#include "graph/conv_end_avx512.h"

enum { TILE = 16, STEP = 64, MOST_PX = 2 * TILE, GATHER_BYTES = 65536, FEWEST_INPUTS = 32 };

/* Tile registers: the intrinsics paste the number into the instruction. */
#define C00 0
#define C01 1
#define C10 2
#define C11 3
#define A0 4
#define A1 5
#define B0 6
#define B1 7

#define MEMORY_BARRIER() __asm__ volatile("" ::: "memory")

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config config __attribute__((aligned(64))) = {
    .palette = 1,
    .row_bytes = {STEP, STEP, STEP, STEP, STEP, STEP, STEP, STEP},
    .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE},
};

/* The runs of one pixel side by side; `to` has `padded` bytes, and may be written up to 64 bytes further. */
static inline void gather_px(const tile_args *t, const uint8_t *x, uint8_t *to, int64_t padded) {
    const int64_t bytes = t->groups * 4;
    _mm512_storeu_si512(to + padded - STEP, _mm512_setzero_si512());
    for (int64_t j = 0; j < t->runs_y; j++)
        for (int64_t i = 0; i < t->runs_x; i++, to += bytes) {
            const uint8_t *run = x + j * t->run_y + i * t->run_x;
            int64_t k = 0;
            for (; k + STEP <= bytes; k += STEP)
                _mm512_storeu_si512(to + k, _mm512_loadu_si512(run + k));
            const __mmask64 rest = (1ull << (bytes - k)) - 1;
            _mm512_mask_storeu_epi8(to + k, rest, _mm512_maskz_loadu_epi8(rest, run + k));
        }
}

/* Dot products of up to 32 pixels (rows of `a`) and 32 channels into sums[channels / 16][pixel][16]. */
static inline __attribute__((always_inline)) void tiles(const uint8_t *a, int64_t a_px, const int8_t *w, int64_t w_block, int64_t steps,
                                                        int two_px, int two_n, int32_t *sums) {
    _tile_zero(C00);
    if (two_n)
        _tile_zero(C01);
    if (two_px)
        _tile_zero(C10);
    if (two_px && two_n)
        _tile_zero(C11);
    for (int64_t s = 0; s < steps; s++, a += STEP, w += STEP * TILE) {
        _tile_loadd(A0, a, a_px);
        _tile_loadd(B0, w, STEP);
        _tile_dpbusd(C00, A0, B0);
        if (two_n) {
            _tile_loadd(B1, w + w_block, STEP);
            _tile_dpbusd(C01, A0, B1);
        }
        if (two_px) {
            _tile_loadd(A1, a + TILE * a_px, a_px);
            _tile_dpbusd(C10, A1, B0);
            if (two_n)
                _tile_dpbusd(C11, A1, B1);
        }
    }
    _tile_stored(C00, sums, STEP);
    if (two_px)
        _tile_stored(C10, sums + TILE * 16, STEP);
    if (two_n)
        _tile_stored(C01, sums + MOST_PX * 16, STEP);
    if (two_px && two_n)
        _tile_stored(C11, sums + (MOST_PX + TILE) * 16, STEP);
}

/* Bias, zero points, requantisation and storing of `m` pixels x 16 channels. */
static void finish(const tile_args *t, const int32_t *sums, const int32_t *term, int m, int v) {
    const __m512i bias = _mm512_loadu_si512(t->bias + 16 * v);
    tile_args part = *t;
    for (int i = 0; i < m; i += 4) {
        __m512i acc[4];
        const int some = m - i < 4 ? m - i : 4;
        for (int k = 0; k < some; k++) {
            acc[k] = _mm512_add_epi32(_mm512_load_si512(sums + (i + k) * 16), bias);
            if (t->w_zero)
                acc[k] = _mm512_sub_epi32(acc[k], _mm512_set1_epi32(term[i + k]));
        }
        part.out = t->out + i * t->out_px;
        if (t->is_float)
            store_f32(&part, acc, some, v);
        else if (some == 4)
            store_u8(&part, acc, 4, v);
        else
            store_u8(&part, acc, some, v);
    }
}

/* `m` pixels (at most 32), channels [n0, n1). */
static void pixels(tile_args *t, const uint8_t *a, int64_t a_px, int64_t steps, int m, int64_t n0, int64_t n1, const int8_t *w,
                   const int32_t *bias, const float *scale, const float *float_bias, uint8_t *out) {
    int32_t sums[2 * MOST_PX * 16] __attribute__((aligned(64))), term[MOST_PX];
    if (t->w_zero)
        zero_terms(t, m, term);
    for (int64_t n = n0; n < n1; n += 2 * TILE) {
        const int two_n = n1 - n > TILE, two_px = m > TILE;
        const int8_t *block = w + n / 16 * t->w_block;
        MEMORY_BARRIER();
        if (two_px && two_n)
            tiles(a, a_px, block, t->w_block, steps, 1, 1, sums);
        else if (two_n)
            tiles(a, a_px, block, t->w_block, steps, 0, 1, sums);
        else if (two_px)
            tiles(a, a_px, block, t->w_block, steps, 1, 0, sums);
        else
            tiles(a, a_px, block, t->w_block, steps, 0, 0, sums);
        t->bias = bias + n, t->scale = scale + n, t->float_bias = float_bias ? float_bias + n : NULL;
        t->lanes = (int)(n1 - n < 2 * TILE ? n1 - n : 2 * TILE);
        t->out = out + n * (t->is_float ? 4 : 1);
        finish(t, sums, term, m, 0);
        if (two_n)
            finish(t, sums + MOST_PX * 16, term, m, 1);
    }
}

void ih_conv_amx_int8(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float *scale = (const float *)ih_at(region, p[IH_conv_scale]);
    const float *float_bias = p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias]);
    tile_args t = {.x_px = p[IH_conv_x_px], .run_y = p[IH_conv_run_y], .run_x = p[IH_conv_run_x], .runs_y = p[IH_conv_runs_y],
                   .runs_x = p[IH_conv_runs_x], .groups = (p[IH_conv_run_bytes] + 3) / 4, .run_bytes = (int32_t)p[IH_conv_run_bytes],
                   .out_px = p[IH_conv_out_px], .w_zero = (int32_t)p[IH_conv_w_zero], .out_zero = (int32_t)p[IH_conv_out_zero],
                   .is_float = (int32_t)p[IH_conv_is_float], .lut = p[IH_conv_lut] < 0 ? NULL : ih_at(region, p[IH_conv_lut])};
    const int64_t inputs = t.runs_y * t.runs_x * t.groups * 4, steps = (inputs + STEP - 1) / STEP, padded = steps * STEP;
    const int64_t fit = GATHER_BYTES / padded; /* pixels */
    if (inputs < FEWEST_INPUTS || fit < TILE) {
        ih_conv_avx512_vnni(p, region, from, to);
        return;
    }
    t.w_block = inputs * 16;
    const int in_place = t.runs_y * t.runs_x == 1 && inputs % STEP == 0, at_once = in_place || fit >= MOST_PX ? MOST_PX : TILE;
    uint8_t gathered[GATHER_BYTES + STEP] __attribute__((aligned(64)));
    _tile_loadconfig(&config);
    for (int64_t unit = from; unit < to; unit++) {
        int64_t n0 = unit % p[IH_conv_n_chunks] * p[IH_conv_n_chunk], rest = unit / p[IH_conv_n_chunks];
        int64_t px0 = rest % p[IH_conv_line_chunks] * p[IH_conv_chunk_px], line = rest / p[IH_conv_line_chunks];
        int64_t image = line / p[IH_conv_lines];
        line %= p[IH_conv_lines];
        int64_t n1 = n0 + p[IH_conv_n_chunk] < p[IH_conv_n] ? n0 + p[IH_conv_n_chunk] : p[IH_conv_n];
        int64_t px1 = px0 + p[IH_conv_chunk_px] < p[IH_conv_line_px] ? px0 + p[IH_conv_chunk_px] : p[IH_conv_line_px];
        const uint8_t *x = ih_at(region, p[IH_conv_x]) + image * p[IH_conv_x_image] + line * p[IH_conv_x_line];
        uint8_t *out = ih_at(region, p[IH_conv_out]) + image * p[IH_conv_out_image] + line * p[IH_conv_out_line];
        const int8_t *w = (const int8_t *)ih_at(region, p[IH_conv_w]) + image * p[IH_conv_w_image];
        const int32_t *bias = (const int32_t *)(ih_at(region, p[IH_conv_bias]) + image * p[IH_conv_bias_image]);
        for (int64_t px = px0; px < px1;) {
            int m = (int)(px1 - px < at_once ? px1 - px : at_once);
            if (in_place && m > TILE && m < MOST_PX) /* a tile where it lies, then the rest */
                m = TILE;
            const uint8_t *a = x + px * t.x_px;
            int64_t a_px = t.x_px;
            t.x = a;
            if (!in_place || m % TILE) { /* a tile's rows past the last pixel would read past the image */
                for (int i = 0; i < m; i++)
                    gather_px(&t, a + i * t.x_px, gathered + i * padded, padded);
                a = gathered, a_px = padded;
            }
            pixels(&t, a, a_px, steps, m, n0, n1, w, bias, scale, float_bias, out + px * t.out_px);
            px += m;
        }
    }
    _tile_release();
}
#endif
