/* Convolution and matrix product on AMX tiles: 16 pixels x 64 inputs times 64 inputs x 16 channels in 16 cycles, eight times
 * the rate of vpdpbusd.
 *
 *   A   inputs of 16 pixels, read where they lie: 64 bytes of a run at once, and what is left of it as a narrower tile
 *   B   packed weights as they are: sixteen groups of (16 channels, 4 inputs) are one tile, a rest has fewer rows
 *   C   2 x 2 tiles of pixels and channels, so that four products take two loads of weights; they begin as the bias, are
 *       stored, and are ended once the next four are computed: what a tile stored cannot be loaded before it has reached the
 *       cache
 *
 * Of a step's inputs the first are loaded twice: with registers of their own for both it was at times 1.4 times slower, on a
 * host that is shared, and never more than 1.1 times faster. Gathering the inputs first, to save the narrow tiles and lines
 * that lie across two, gained nothing; nor did ending the last four between the steps of the next. A tile's rows are always
 * sixteen pixels: some are computed twice at the end of a chunk; chunks of fewer are left to vpdpbusd, as are inputs so few
 * that it is faster.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,amx-tile,amx-int8")
#include "graph/strict_float.h"
#include "graph/conv_end_avx512.h"
#include "graph/conv_unit.h"

enum { TILE = 16, STEP = 64, PAIR = 2 * TILE, SPAN_PX = 256, LONG_BYTES = 512,
       SPAN_BYTES = 24576 /* of input: what all channels read stays in the first cache */ };

/* Tile registers: the intrinsics paste the number into the instruction. REST: of the narrower tiles. */
#define C00 0
#define C01 1 /* pixels 0, channels 1 */
#define C10 2
#define C11 3
#define A 4
#define B 5
#define REST_A 6
#define REST_B 7

/* A step of a block: its inputs at x (and `second` further), its weights at w0 and w1. */
#define STEP_OF(A, B, x, w0, w1)                                                                                      \
    do {                                                                                                              \
        _tile_loadd(B, w0, STEP);                                                                                     \
        _tile_loadd(A, x, step);                                                                                      \
        _tile_dpbusd(C00, A, B);                                                                                      \
        if (rows == 2) {                                                                                              \
            _tile_loadd(A, x + second, step);                                                                         \
            _tile_dpbusd(C10, A, B);                                                                                  \
        }                                                                                                             \
        if (cols == 2) {                                                                                              \
            _tile_loadd(B, w1, STEP);                                                                                 \
            if (rows == 2) {                                                                                          \
                _tile_dpbusd(C11, A, B);                                                                              \
                _tile_loadd(A, x, step);                                                                              \
            }                                                                                                         \
            _tile_dpbusd(C01, A, B);                                                                                  \
        }                                                                                                             \
    } while (0)

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* Whether tiles beat vpdpbusd, in cycles for 16 pixels and 16 channels: 16 a step, some for storing and loading again. */
static int is_worth_it(int64_t runs, int64_t run_bytes) {
    const int64_t steps = runs * ((run_bytes + STEP - 1) / STEP);
    return steps * 16 + 16 < runs * run_bytes * 2;
}

/* Where a block's operands lie: `rows` of 16 pixels (at x[0] and x[1]) times `cols` of 16 channels. */
typedef struct operands {
    const uint8_t *x[2];
    const int8_t *w;
    const int32_t *bias;
} operands;

/* The dot products of a block, onto the bias, into sums (rows, 16 pixels, cols * 16). Specialised by the last two. */
static inline __attribute__((always_inline)) void tiles(const tile_args *t, const operands *o, int32_t *sums, int rows, int cols) {
    const int64_t bytes = t->groups * 4, whole = bytes / STEP * STEP, step = t->x_px, line = cols * STEP;
    const uint8_t *x0 = o->x[0];
    const int64_t second = o->x[1] - x0;
    const int8_t *w0 = o->w, *w1 = w0 + t->w_block;
    _tile_loadd(C00, o->bias, 0);
    if (cols == 2)
        _tile_loadd(C01, o->bias + TILE, 0);
    if (rows == 2)
        _tile_loadd(C10, o->bias, 0);
    if (rows == 2 && cols == 2)
        _tile_loadd(C11, o->bias + TILE, 0);
    for (int64_t j = 0; j < t->runs_y; j++)
        for (int64_t i = 0; i < t->runs_x; i++) {
            const uint8_t *run = x0 + j * t->run_y + i * t->run_x;
            for (int64_t k = 0; k < whole; k += STEP, w0 += STEP * TILE, w1 += STEP * TILE)
                STEP_OF(A, B, run + k, w0, w1);
            if (whole == bytes)
                continue;
            STEP_OF(REST_A, REST_B, run + whole, w0, w1);
            w0 += (bytes - whole) * TILE, w1 += (bytes - whole) * TILE;
        }
    _tile_stored(C00, sums, line);
    if (cols == 2)
        _tile_stored(C01, sums + TILE, line);
    if (rows == 2)
        _tile_stored(C10, sums + TILE * TILE * cols, line);
    if (rows == 2 && cols == 2)
        _tile_stored(C11, sums + TILE * TILE * cols + TILE, line);
}

/* Sums that wait to be ended. */
typedef struct pending {
    const int32_t *sums, *term[2]; /* term: of each row of tiles */
    uint8_t *out[2];
    int rows, cols, lanes; /* rows: 0 if there are none */
    const float *scale, *float_bias;
} pending;

/* Sixteen pixels of 32 channels -> u8, two pixels to a vector. What it needs is held in locals: bytes that are stored could be
 * anything's, as far as the compiler knows. */
static inline __attribute__((always_inline)) void finish_u8(const tile_args *t, const pending *p, int row, int has_lut, int has_zero) {
    const int32_t *sums = p->sums + row * TILE * PAIR, *term = p->term[row];
    const int64_t step = t->out_px;
    const __m512 scale[2] = {_mm512_loadu_ps(p->scale), _mm512_loadu_ps(p->scale + TILE)};
    const __m512i zero = _mm512_set1_epi16((short)t->out_zero);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __mmask32 mask = (__mmask32)((1ull << p->lanes) - 1);
    __m512i lut[4];
    for (int i = 0; has_lut && i < 4; i++)
        lut[i] = _mm512_loadu_si512(t->lut + 64 * i);
    uint8_t *out = p->out[row];
    for (int i = 0; i < TILE; i += 2, out += 2 * step) {
        __m512i q[4];
        _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) {
            __m512i acc = _mm512_load_si512(sums + i * PAIR + k * TILE);
            if (has_zero)
                acc = _mm512_sub_epi32(acc, _mm512_set1_epi32(term[i + k / 2]));
            q[k] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale[k % 2]));
        }
        const __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero);
        const __m512i second = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero);
        __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
        if (has_lut) {
            const __m512i low = _mm512_permutex2var_epi8(lut[0], bytes, lut[1]), high = _mm512_permutex2var_epi8(lut[2], bytes, lut[3]);
            bytes = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high);
        }
        _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(bytes));
        _mm256_mask_storeu_epi8(out + step, mask, _mm512_extracti64x4_epi64(bytes, 1));
    }
}

/* Sixteen pixels of up to 32 channels -> f32. */
static inline __attribute__((always_inline)) void finish_f32(const tile_args *t, const pending *p, int row, int cols, int has_zero) {
    const int32_t *sums = p->sums + row * TILE * TILE * cols, *term = p->term[row];
    const int64_t step = t->out_px;
    __m512 scale[2], bias[2];
    __mmask16 mask[2];
    for (int c = 0; c < cols; c++) {
        scale[c] = _mm512_loadu_ps(p->scale + c * TILE);
        bias[c] = p->float_bias ? _mm512_loadu_ps(p->float_bias + c * TILE) : _mm512_setzero_ps();
        mask[c] = (__mmask16)(p->lanes - c * TILE < TILE ? (1u << (p->lanes - c * TILE)) - 1 : 0xffff);
    }
    uint8_t *out = p->out[row];
    for (int i = 0; i < TILE; i++, out += step)
        for (int c = 0; c < cols; c++) {
            __m512i acc = _mm512_load_si512(sums + (i * cols + c) * TILE);
            if (has_zero)
                acc = _mm512_sub_epi32(acc, _mm512_set1_epi32(term[i]));
            const __m512 y = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale[c]), bias[c]);
            _mm512_mask_storeu_ps((float *)out + c * TILE, mask[c], y);
        }
}

/* Sixteen pixels of up to 16 channels -> u8: what is left where channels are no multiple of 32. */
static void finish_narrow(const tile_args *t, const pending *p, int row) {
    tile_args part = *t;
    part.scale = p->scale, part.lanes = p->lanes;
    for (int i = 0; i < TILE; i += 4) {
        __m512i acc[4];
        for (int k = 0; k < 4; k++) {
            acc[k] = _mm512_load_si512(p->sums + (row * TILE + i + k) * TILE);
            if (t->w_zero)
                acc[k] = _mm512_sub_epi32(acc[k], _mm512_set1_epi32(p->term[row][i + k]));
        }
        part.out = p->out[row] + i * t->out_px;
        store_u8(&part, acc, 4, 0);
    }
}

/* Zero points, requantisation and storing of a block. */
static void finish(const tile_args *t, const pending *p) {
    for (int row = 0; row < p->rows; row++) {
        if (t->is_float && p->cols == 2)
            t->w_zero ? finish_f32(t, p, row, 2, 1) : finish_f32(t, p, row, 2, 0);
        else if (t->is_float)
            t->w_zero ? finish_f32(t, p, row, 1, 1) : finish_f32(t, p, row, 1, 0);
        else if (p->cols == 1)
            finish_narrow(t, p, row);
        else if (t->w_zero)
            t->lut ? finish_u8(t, p, row, 1, 1) : finish_u8(t, p, row, 0, 1);
        else
            t->lut ? finish_u8(t, p, row, 1, 0) : finish_u8(t, p, row, 0, 0);
    }
}

/* What all chunks of a call have in common. */
typedef struct ends {
    const float *scale, *float_bias;
} ends;

/* Pixels [px0, px1) of a unit, at least sixteen and at most SPAN_PX: all of them for a block of channels, so that both stay in
 * the first cache. */
static void span(const tile_args *t, const ends *end, const ih_conv_unit *u, int64_t px0, int64_t px1) {
    int32_t sums[2][PAIR * PAIR] __attribute__((aligned(64))), term[SPAN_PX];
    const int64_t item = t->is_float ? 4 : 1, bytes = t->groups * 4;
    pending last = {0};
    int half = 0;
    if (t->w_zero) {
        tile_args all = *t;
        all.x = u->x + px0 * t->x_px;
        zero_terms(&all, (int)(px1 - px0), term);
    }
    /* two columns of that many weights would not stay in the first cache beside the pixels */
    const int64_t wide = bytes % STEP == 0 && t->runs_y * t->runs_x * bytes >= LONG_BYTES ? TILE : PAIR;
    for (int64_t n = u->n0; n < u->n1; n += wide)
        for (int64_t px = px0; px < px1; px += PAIR, half ^= 1) {
            /* the last tile's pixels are some of the last but one's again */
            const int rows = px1 - px > TILE ? 2 : 1, cols = wide == PAIR && u->n1 - n > TILE ? 2 : 1;
            const int64_t a = px1 - px < TILE ? px1 - TILE : px, b = rows == 1 ? a : px1 - px < PAIR ? px1 - TILE : px + TILE;
            const operands o = {{u->x + a * t->x_px, u->x + b * t->x_px}, u->w + n / TILE * t->w_block, u->bias + n};
            if (rows == 2 && cols == 2)
                tiles(t, &o, sums[half], 2, 2);
            else if (rows == 2)
                tiles(t, &o, sums[half], 2, 1);
            else if (cols == 2)
                tiles(t, &o, sums[half], 1, 2);
            else
                tiles(t, &o, sums[half], 1, 1);
            finish(t, &last);
            last = (pending){sums[half], {term + a - px0, term + b - px0},
                             {u->out + a * t->out_px + n * item, u->out + b * t->out_px + n * item}, rows, cols,
                             (int)(u->n1 - n < wide ? u->n1 - n : wide), end->scale + n, end->float_bias ? end->float_bias + n : NULL};
        }
    finish(t, &last);
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
        .row_bytes = {STEP, STEP, STEP, STEP, STEP, STEP, (uint16_t)rest, rest ? STEP : 0},
        .rows = {TILE, TILE, TILE, TILE, TILE, TILE, rest ? TILE : 0, (uint8_t)(rest / 4)},
    };
    t.w_block = t.runs_y * t.runs_x * t.groups * 64;
    const int64_t fits = SPAN_BYTES / (t.runs_y * t.runs_x * t.groups * 4) / PAIR * PAIR;
    const int64_t most = fits < PAIR ? PAIR : fits < SPAN_PX - PAIR ? fits : SPAN_PX - PAIR;
    const ends end = {(const float *)ih_at(region, p[IH_conv_scale]),
                      p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias])};
    __asm__ volatile("" ::"m"(config) : "memory"); /* gcc's intrinsics say neither that all of it is read, nor what tiles read */
    _tile_loadconfig(&config);
    for (int64_t unit = from; unit < to; unit++) {
        const ih_conv_unit u = ih_conv_unit_at(p, region, unit);
        if (u.px1 - u.px0 < TILE) {
            ih_conv_avx512_vnni(p, region, unit, unit + 1);
            continue;
        }
        for (int64_t px = u.px0, to_px; px < u.px1; px = to_px) {
            to_px = u.px1 - px < most + TILE ? u.px1 : px + most; /* sixteen pixels are left, or none */
            span(&t, &end, &u, px, to_px);
        }
    }
    _tile_release();
}
#endif
