/* Convolution and matrix product on AMX tiles: 16 pixels x 64 inputs times 64 inputs x 16 channels in 16 cycles, eight times
 * the rate of vpdpbusd.
 *
 *   A   inputs of 16 pixels, read where they lie: 64 bytes of a run at once, and what is left of it as a narrower tile
 *   B   packed weights as they are: sixteen groups of (16 channels, 4 inputs) are one tile, a rest has fewer rows
 *   C   two tiles of pixels; stored, and ended as any other accumulators (conv_end_avx512.h) while the next two are computed:
 *       what a tile stored cannot be loaded before it has reached the cache
 *
 * Gathering the inputs first, to save the narrow tiles, was slower than vpdpbusd. A tile's rows are always sixteen pixels: the
 * last ones of a chunk are computed twice, chunks of fewer are left to vpdpbusd, as are inputs so few that it is faster.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,amx-tile,amx-int8")
#include "graph/strict_float.h"
#include "graph/conv_end_avx512.h"
#include "graph/conv_unit.h"

enum { TILE = 16, STEP = 64, MOST_PX = 2 * TILE };

/* Tile registers: the intrinsics paste the number into the instruction. REST: of the narrower tiles. */
#define C0 0
#define C1 1
#define A0 2
#define A1 3
#define B0 4
#define REST_A0 5
#define REST_A1 6
#define REST_B0 7

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* Whether tiles beat vpdpbusd, in cycles for 16 pixels and 16 channels: 16 a step, some for loading, storing and loading again. */
static int is_worth_it(int64_t runs, int64_t run_bytes) {
    const int64_t steps = runs * ((run_bytes + STEP - 1) / STEP);
    return steps * 21 + 64 < runs * run_bytes * 2;
}

/* Dot products of 16 or 32 pixels and 16 channels into sums (pixel, 16). */
static inline __attribute__((always_inline)) void tiles(const tile_args *t, const uint8_t *x, const int8_t *w, int two, int32_t *sums) {
    const int64_t bytes = t->groups * 4, whole = bytes / STEP * STEP, step = t->x_px;
    _tile_zero(C0);
    if (two)
        _tile_zero(C1);
    for (int64_t j = 0; j < t->runs_y; j++)
        for (int64_t i = 0; i < t->runs_x; i++) {
            const uint8_t *run = x + j * t->run_y + i * t->run_x;
            for (int64_t k = 0; k < whole; k += STEP, w += STEP * TILE) {
                _tile_loadd(B0, w, STEP);
                _tile_loadd(A0, run + k, step);
                _tile_dpbusd(C0, A0, B0);
                if (two) {
                    _tile_loadd(A1, run + k + TILE * step, step);
                    _tile_dpbusd(C1, A1, B0);
                }
            }
            if (whole == bytes)
                continue;
            _tile_loadd(REST_B0, w, STEP);
            _tile_loadd(REST_A0, run + whole, step);
            _tile_dpbusd(C0, REST_A0, REST_B0);
            if (two) {
                _tile_loadd(REST_A1, run + whole + TILE * step, step);
                _tile_dpbusd(C1, REST_A1, REST_B0);
            }
            w += (bytes - whole) * TILE;
        }
    _tile_stored(C0, sums, STEP);
    if (two)
        _tile_stored(C1, sums + TILE * 16, STEP);
}

/* Sums that wait to be ended. */
typedef struct pending {
    const int32_t *sums, *term;
    int px, lanes; /* px: 0 if there are none */
    int64_t n;
    uint8_t *out;
} pending;

/* What all chunks of a call have in common. */
typedef struct ends {
    const int32_t *bias;
    const float *scale, *float_bias;
} ends;

/* Bias, zero points, requantisation and storing of 16 channels. */
static void finish(const tile_args *t, const ends *end, const pending *p) {
    const __m512i bias = _mm512_loadu_si512(end->bias + p->n);
    tile_args part = *t;
    part.scale = end->scale + p->n, part.float_bias = end->float_bias ? end->float_bias + p->n : NULL;
    part.lanes = p->lanes;
    for (int i = 0; i < p->px; i += 4) {
        __m512i acc[4];
        for (int k = 0; k < 4; k++) {
            acc[k] = _mm512_add_epi32(_mm512_load_si512(p->sums + (i + k) * 16), bias);
            if (t->w_zero)
                acc[k] = _mm512_sub_epi32(acc[k], _mm512_set1_epi32(p->term[i + k]));
        }
        part.out = p->out + i * t->out_px;
        if (t->is_float)
            store_f32(&part, acc, 4, 0);
        else
            store_u8(&part, acc, 4, 0);
    }
}

/* Pixels [px0, px1), at least sixteen, of channels [n0, n1). */
static void chunk(tile_args *t, const ends *end, const uint8_t *x, uint8_t *out, int64_t px0, int64_t px1, int64_t n0, int64_t n1,
                  const int8_t *w) {
    int32_t sums[2][MOST_PX * 16] __attribute__((aligned(64))), term[2][MOST_PX];
    pending last = {0};
    int half = 0, block = 0;
    for (int64_t px = px0; px < px1; block ^= 1) {
        const int two = px1 - px >= MOST_PX, m = two ? MOST_PX : TILE;
        px = px1 - px < TILE ? px1 - TILE : px; /* some again */
        t->x = x + px * t->x_px;
        if (t->w_zero)
            zero_terms(t, m, term[block]);
        for (int64_t n = n0; n < n1; n += TILE, half ^= 1) {
            if (two)
                tiles(t, t->x, w + n / 16 * t->w_block, 1, sums[half]);
            else
                tiles(t, t->x, w + n / 16 * t->w_block, 0, sums[half]);
            if (last.px)
                finish(t, end, &last);
            last = (pending){sums[half], term[block], m, (int)(n1 - n < TILE ? n1 - n : TILE), n,
                             out + px * t->out_px + n * (t->is_float ? 4 : 1)};
        }
        px += m;
    }
    finish(t, end, &last);
}

void ih_conv_amx_int8(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    tile_args t = {.x_px = p[IH_conv_x_px], .run_y = p[IH_conv_run_y], .run_x = p[IH_conv_run_x], .runs_y = p[IH_conv_runs_y],
                   .runs_x = p[IH_conv_runs_x], .groups = (p[IH_conv_run_bytes] + 3) / 4, .run_bytes = (int32_t)p[IH_conv_run_bytes],
                   .out_px = p[IH_conv_out_px], .w_zero = (int32_t)p[IH_conv_w_zero], .out_zero = (int32_t)p[IH_conv_out_zero],
                   .is_float = (int32_t)p[IH_conv_is_float], .lut = p[IH_conv_lut] < 0 ? NULL : ih_at(region, p[IH_conv_lut])};
    const int rest = (int)(t.groups * 4 % STEP);
    if (!is_worth_it(t.runs_y * t.runs_x, t.groups * 4)) {
        ih_conv_avx512_vnni(p, region, from, to);
        return;
    }
    const tile_config config __attribute__((aligned(64))) = {
        .palette = 1,
        .row_bytes = {STEP, STEP, STEP, STEP, STEP, (uint16_t)rest, (uint16_t)rest, rest ? STEP : 0},
        .rows = {TILE, TILE, TILE, TILE, TILE, rest ? TILE : 0, rest ? TILE : 0, (uint8_t)(rest / 4)},
    };
    t.w_block = t.runs_y * t.runs_x * t.groups * 64;
    ends end = {NULL, (const float *)ih_at(region, p[IH_conv_scale]),
                p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias])};
    __asm__ volatile("" ::"m"(config) : "memory"); /* gcc's intrinsics say neither that all of it is read, nor what tiles read */
    _tile_loadconfig(&config);
    for (int64_t unit = from; unit < to; unit++) {
        const ih_conv_unit u = ih_conv_unit_at(p, region, unit);
        if (u.px1 - u.px0 < TILE) {
            ih_conv_avx512_vnni(p, region, unit, unit + 1);
            continue;
        }
        end.bias = u.bias;
        chunk(&t, &end, u.x, u.out, u.px0, u.px1, u.n0, u.n1, u.w);
    }
    _tile_release();
}
#endif
