/* Matrix products on AMX tiles, for sixteen tokens and more; equal to reference.c to the last bit, as integers are exact and
 * the floats are added up block by block in its order. The rest of the tokens take the vector kernels of matmul.h.
 *
 *   A  16 tokens x 32 columns of one block, as they lie     B  the block's 8 lines (4 columns x 16 rows), nibbles unpacked
 *   C  16 tokens x 16 rows of sums of one block, stored, and scaled while the next block is multiplied
 *
 * gcc's tile intrinsics do not say that they read memory: what is written before them needs the barrier below. */

enum { TILE_TOKENS = 16, TILE_LINES = 8, SLICE = 64 /* blocks unpacked at once */, GROUP = 128 /* tokens that use them */,
       AHEAD = 7 /* blocks multiplied before one is scaled: what a tile stored can be loaded only once it is in the cache */ };

#define TILE_C 0
#define TILE_A 1
#define TILE_B 2

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config tiles_of_a_block __attribute__((aligned(64))) = {
    .palette = 1,
    .row_bytes = {64, IH_LM_BLOCK, 64},
    .rows = {TILE_TOKENS, TILE_TOKENS, TILE_LINES},
};

/* Where a block's scales are, and its lines of bytes. */
LANES const uint8_t *block_scales(int type, const uint8_t *panel, int32_t b)
{
    return type == IH_LM_Q4_1 ? panel + (size_t)b * 320 : panel + (size_t)(b / 2) * (type == IH_LM_Q4_0 ? 576 : 1088) + b % 2 * 32;
}

LANES const uint8_t *block_lines(int type, const uint8_t *panel, int32_t b)
{
    if (type == IH_LM_Q4_1)
        return panel + (size_t)b * 320 + 64;
    return type == IH_LM_Q4_0 ? panel + (size_t)(b / 2) * 576 + 64 + b % 2 * 256 : panel + (size_t)(b / 2) * 1088 + 64 + b % 2 * 512;
}

LANES void unpack_nibbles(const uint8_t *lines, uint8_t *bytes)
{
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vw line = vw_load(lines + 64 * j);
        _mm512_store_si512(bytes + 64 * j, vw_low(line));
        _mm512_store_si512(bytes + 64 * (j + 4), vw_high(line));
    }
}

/* The integer sums of block b into sums (16 tokens, 16 rows). */
#define MULTIPLY(sums, b)                                                                                      \
    do {                                                                                                       \
        _tile_zero(TILE_C);                                                                                    \
        _tile_loadd(TILE_A, x->q + ((size_t)(b)*x->tokens + t) * IH_LM_BLOCK, IH_LM_BLOCK);                    \
        _tile_loadd(TILE_B, type == IH_LM_Q8_0 ? block_lines(type, panel, b) : bytes + (size_t)((b)-from) * 512, 64); \
        _tile_dpbsud(TILE_C, TILE_A, TILE_B);                                                                  \
        _tile_stored(TILE_C, sums, 64);                                                                        \
    } while (0)

/* Asks for a block of the panel that comes next, while this one is multiplied. */
LANES void fetch_block(int type, const uint8_t *panel, int32_t b)
{
    const uint8_t *lines = block_lines(type, panel, b);
    for (int line = type == IH_LM_Q4_1 ? -1 : 0; line < (type == IH_LM_Q8_0 ? 8 : 4); line++)
        __builtin_prefetch(lines + 64 * line, 0, 2);
}

/* total (16 tokens, 16 rows) += blocks [from, to) of the tokens t .. t + 16; `type` is a constant where this is inlined. */
LANES void tile_blocks(int type, const uint8_t *panel, const uint8_t *next, const uint8_t *bytes, const ih_lm_input *x, int32_t t,
                       int32_t from, int32_t to, float *total)
{
    int32_t sums[AHEAD + 1][TILE_TOKENS * 16] __attribute__((aligned(64)));
    vf sum[TILE_TOKENS];
#pragma GCC unroll 16
    for (int i = 0; i < TILE_TOKENS; i++)
        sum[i] = vf_load(total + 16 * i);
    for (int32_t b = from; b < to && b < from + AHEAD; b++)
        MULTIPLY(sums[b & AHEAD], b);
    for (int32_t b = from; b < to; b++) {
        if (b + AHEAD < to)
            MULTIPLY(sums[(b + AHEAD) & AHEAD], b + AHEAD);
        if (t == 0)
            fetch_block(type, next, b);
        size_t at = (size_t)b * x->tokens + t;
        const uint8_t *scales = block_scales(type, panel, b);
        vf row_scale = vf_load_f16((const uint16_t *)scales);
        vf min = type == IH_LM_Q4_1 ? vf_load_f16((const uint16_t *)(scales + 32)) : vf_zero();
        const int32_t *found = sums[b & AHEAD];
#pragma GCC unroll 16
        for (int i = 0; i < TILE_TOKENS; i++) {
            vi isum = _mm512_load_si512(found + 16 * i);
            if (type != IH_LM_Q4_1) /* undoes the offset of the unsigned weights */
                isum = _mm512_add_epi32(isum, vi_set(type == IH_LM_Q4_0 ? x->neg128[at + i] / 16 : x->neg128[at + i]));
            sum[i] = vf_fma(vi_to_float(isum), vf_mul(row_scale, vf_set(x->scale[at + i])), sum[i]);
            if (type == IH_LM_Q4_1)
                sum[i] = vf_fma(min, vf_set(x->scaled_sum[at + i]), sum[i]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < TILE_TOKENS; i++)
        vf_store(total + 16 * i, sum[i]);
}

/* The first tokens of a panel, sixteen at a time; returns how many. The caller has loaded the tile configuration. */
LANES int32_t panel_tiles(int type, const uint8_t *panel, const uint8_t *next, const ih_lm_input *x, float *y, size_t y_stride, int add)
{
    uint8_t bytes[SLICE * 512] __attribute__((aligned(64)));
    float total[GROUP * 16] __attribute__((aligned(64)));
    int32_t blocks = x->cols / IH_LM_BLOCK, whole = x->tokens / TILE_TOKENS * TILE_TOKENS;
    for (int32_t first = 0; first < whole; first += GROUP) {
        int32_t last = whole - first < GROUP ? whole : first + GROUP;
        memset(total, 0, (size_t)(last - first) * 64);
        for (int32_t from = 0; from < blocks; from += SLICE) {
            int32_t to = blocks - from < SLICE ? blocks : from + SLICE;
            for (int32_t b = from; type != IH_LM_Q8_0 && b < to && (first == 0 || blocks > SLICE); b++)
                unpack_nibbles(block_lines(type, panel, b), bytes + (size_t)(b - from) * 512);
            __asm__ volatile("" ::: "memory");
            for (int32_t t = first; t < last; t += TILE_TOKENS)
                tile_blocks(type, panel, next, bytes, x, t, from, to, total + (size_t)(t - first) * 16);
        }
        for (int32_t t = first; t < last; t++) {
            float *out = y + (size_t)t * y_stride;
            vf sum = vf_load(total + (size_t)(t - first) * 16);
            vf_store(out, add ? vf_add(vf_load(out), sum) : sum);
        }
    }
    return whole;
}

#define MATMUL_TILES(name, type, rest)                                                                                        \
    static void name(const ih_lm_matrix *w, const ih_lm_input *x, int32_t begin, int32_t end, float *y, size_t y_stride, int add) \
    {                                                                                                                         \
        if (x->tokens < TILE_TOKENS) {                                                                                        \
            rest(w, x, begin, end, y, y_stride, add);                                                                         \
            return;                                                                                                           \
        }                                                                                                                     \
        size_t bytes = ih_lm_panel_bytes(type, w->cols);                                                                      \
        _tile_loadconfig(&tiles_of_a_block);                                                                                  \
        for (int32_t p = begin; p < end; p++) {                                                                               \
            const uint8_t *panel = w->data + (size_t)p * bytes;                                                               \
            float *out = y + (size_t)p * IH_LM_PANEL;                                                                         \
            int32_t t = panel_tiles(type, panel, p + 1 < end ? panel + bytes : panel, x, out, y_stride, add);                 \
            for (; x->tokens - t >= 4; t += 4)                                                                                \
                panel_tile(type, 4, panel, x, t, out, y_stride, add);                                                         \
            for (; t < x->tokens; t++)                                                                                        \
                panel_tile(type, 1, panel, x, t, out, y_stride, add);                                                         \
        }                                                                                                                     \
        _tile_release();                                                                                                      \
    }

MATMUL_TILES(matmul_q4_0_tiles, IH_LM_Q4_0, matmul_q4_0)
MATMUL_TILES(matmul_q4_1_tiles, IH_LM_Q4_1, matmul_q4_1)
MATMUL_TILES(matmul_q8_0_tiles, IH_LM_Q8_0, matmul_q8_0)
