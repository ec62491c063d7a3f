/* Products of a prompt on AMX bf16 tiles: see struct ih_lm_wide in lm.h. Included once, after matmul_tiles.h, by the variant that has them.
 *
 *   weights   f16 scale (and min) times the nibble, one rounding to f16 and one to bf16; two panels at a time, unpacked into
 *             `bytes` while the first tokens are multiplied, and used from the second cache by all others
 *   A         16 tokens x 32 columns as they lie in x      B  16 rows of (two columns x 16 rows of weights)
 *   C         32 tokens x 32 rows of sums in float, kept in tiles over all columns
 *
 * The columns of a block stand in the order that falls out of shifting a line of nibbles (wide_order), in A and B alike. */

enum { WIDE = 16 /* tokens of a tile */, TILE_BYTES = 1024, EARLY = 3 /* blocks unpacked before one is used: its stores have left for the cache */ };

static const tile_config whole_tiles __attribute__((aligned(64))) = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {WIDE, WIDE, WIDE, WIDE, WIDE, WIDE, WIDE, WIDE},
};

/* What a pair of words holds: pair 4j + i are the columns c and c + 2, c = 4j + i/2 + 16 (i%2). */
static const uint16_t wide_order[32] __attribute__((aligned(64))) = {
    0, 2,  16, 18, 1, 3,  17, 19, 4,  6,  20, 22, 5,  7,  21, 23,
    8, 10, 24, 26, 9, 11, 25, 27, 12, 14, 28, 30, 13, 15, 29, 31,
};

#define WEIGHT_SHIFT 8 /* weights are unpacked times 2^8: what f16 cannot hold is then below 2^-22 or above 255 */

/* f16 to bf16, to nearest: the exponent's bias grows by 112, less the weights' shift. */
LANES __m512i bf16_of_f16(__m512h x)
{
    __m512i eighth = _mm512_mulhrs_epi16(_mm512_castph_si512(x), _mm512_set1_epi16(1 << 12));
    return _mm512_add_epi16(_mm512_and_si512(eighth, _mm512_set1_epi16((short)0x8fff)),
                            _mm512_set1_epi16((112 - WEIGHT_SHIFT) << 7));
}

/* Sixteen f16, twice each side by side and shifted. */
LANES __m512h twice_f16(const uint8_t *at)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
    wide = _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
    return _mm512_mul_ph(_mm512_castsi512_ph(wide), _mm512_set1_ph((_Float16)(1 << WEIGHT_SHIFT)));
}

/* The nibbles' values as f16, twice: a word's fifth bit belongs to the next nibble. Q4_0's are 8 less. */
LANES __m512i nibble_values(int offset)
{
    __m512i iota = _mm512_and_si512(
        _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_set1_epi16(15));
    return _mm512_castph_si512(_mm512_cvtepi16_ph(_mm512_sub_epi16(iota, _mm512_set1_epi16((short)offset))));
}

LANES void unpack_nibbles_wide(const uint8_t *lines, __m512i values, __m512h scale, __m512h min, int has_min, uint8_t *out)
{
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i line = _mm512_loadu_si512(lines + 64 * j);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m512h q = _mm512_castsi512_ph(_mm512_permutexvar_epi16(i ? _mm512_srli_epi16(line, 4 * i) : line, values));
            __m512h w = has_min ? _mm512_fmadd_ph(q, scale, min) : _mm512_mul_ph(q, scale);
            _mm512_store_si512(out + 64 * (4 * j + i), bf16_of_f16(w));
        }
    }
}

LANES void unpack_bytes_wide(const uint8_t *lines, __m512h scale, uint8_t *out)
{
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m512i line = _mm512_loadu_si512(lines + 64 * j);
        __m512i even = _mm512_and_si512(line, _mm512_set1_epi16(255)), odd = _mm512_srli_epi16(line, 8);
        for (int i = 0; i < 2; i++) {
            __m512i centred = _mm512_sub_epi16(i ? odd : even, _mm512_set1_epi16(128));
            __m512h w = _mm512_mul_ph(_mm512_cvtepi16_ph(centred), scale);
            _mm512_store_si512(out + 64 * (4 * (j % 4) + 2 * i + j / 4), bf16_of_f16(w));
        }
    }
}

/* Block b of a panel as a tile: (16 pairs of columns, 16 rows, 2). `type` is a constant where this is inlined. */
LANES void unpack_block(int type, const uint8_t *panel, int32_t b, uint8_t *out)
{
    const uint8_t *scales = block_scales(type, panel, b), *lines = block_lines(type, panel, b);
    if (type == IH_LM_Q4_1)
        unpack_nibbles_wide(lines, nibble_values(0), twice_f16(scales), twice_f16(scales + 32), 1, out);
    else if (type == IH_LM_Q4_0)
        unpack_nibbles_wide(lines, nibble_values(8), twice_f16(scales), twice_f16(scales), 0, out);
    else
        unpack_bytes_wide(lines, twice_f16(scales), out);
}

typedef struct wide_product {
    const uint8_t *panel[2], *next[2]; /* the second is NULL where there is but one */
    const uint16_t *x;                 /* (tokens / 16, blocks, 16, 32) */
    uint8_t *bytes;                    /* (blocks, 2, TILE_BYTES) */
    int32_t blocks;
} wide_product;

/* Sums of up to 2 x 2 tiles: c[i][j] (16, c_stride) is for tile of tokens first + i and panel j. They begin with what c holds
 * if `add`, and blocks are unpacked on the way if `unpack`. `type`, `rows` and `columns` are constants where this is inlined. */
LANES void multiply(int type, int rows, int columns, int unpack, const wide_product *p, int32_t first, float *const c[2][2],
                    size_t c_stride, int add)
{
    const uint16_t *a = p->x + (size_t)first * p->blocks * (TILE_BYTES / 2), *a2 = a + (size_t)p->blocks * (TILE_BYTES / 2);
    size_t stride = 4 * c_stride;
    if (unpack)
        for (int32_t b = 0; b < EARLY && b < p->blocks; b++)
            for (int j = 0; j < columns; j++)
                unpack_block(type, p->panel[j], b, p->bytes + (size_t)(2 * b + j) * TILE_BYTES);
    __asm__ volatile("" ::: "memory"); /* gcc's tile intrinsics do not say that they read memory */
#define BEGIN(tile, i, j)                        \
    if (add)                                     \
        _tile_loadd(tile, c[i][j], stride);      \
    else                                         \
        _tile_zero(tile);
    BEGIN(0, 0, 0)
    if (columns > 1) {
        BEGIN(1, 0, 1)
    }
    if (rows > 1) {
        BEGIN(2, 1, 0)
        if (columns > 1) {
            BEGIN(3, 1, 1)
        }
    }
#undef BEGIN
    for (int32_t b = 0; b < p->blocks; b++) {
        if (unpack && b + EARLY < p->blocks)
            for (int j = 0; j < columns; j++)
                unpack_block(type, p->panel[j], b + EARLY, p->bytes + (size_t)(2 * (b + EARLY) + j) * TILE_BYTES);
        if (unpack)
            for (int j = 0; j < columns; j++)
                fetch_block(type, p->next[j], b);
        __asm__ volatile("" ::: "memory");
        const uint8_t *line = p->bytes + (size_t)b * 2 * TILE_BYTES;
        _tile_loadd(4, a + (size_t)b * (TILE_BYTES / 2), 64);
        _tile_loadd(6, line, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (columns > 1) {
            _tile_loadd(7, line + TILE_BYTES, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (rows > 1) {
            _tile_loadd(5, a2 + (size_t)b * (TILE_BYTES / 2), 64);
            _tile_dpbf16ps(2, 5, 6);
            if (columns > 1)
                _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c[0][0], stride);
    if (columns > 1)
        _tile_stored(1, c[0][1], stride);
    if (rows > 1) {
        _tile_stored(2, c[1][0], stride);
        if (columns > 1)
            _tile_stored(3, c[1][1], stride);
    }
    __asm__ volatile("" ::: "memory");
}

LANES void multiply_any(int type, int rows, int columns, int unpack, const wide_product *p, int32_t first, float *const c[2][2],
                        size_t c_stride, int add)
{
#define CASE(r, k, u)                                                   \
    if (rows == r && columns == k && !unpack == !u)                     \
        multiply(type, r, k, u, p, first, c, c_stride, add)
    CASE(2, 2, 0);
    else CASE(2, 2, 1);
    else CASE(1, 2, 0);
    else CASE(1, 2, 1);
    else CASE(2, 1, 0);
    else CASE(2, 1, 1);
    else CASE(1, 1, 0);
    else CASE(1, 1, 1);
#undef CASE
}

/* y (tokens, y_stride) = or += x times the rows of one or two panels; the last tile of tokens may be a part of one. */
LANES void panels_wide(int type, int columns, const wide_product *p, int32_t tokens, float *y, size_t y_stride, int add)
{
    float part[2][WIDE * WIDE] __attribute__((aligned(64)));
    int32_t tiles = tokens / WIDE, rest = tokens % WIDE, t = 0;
    for (; t < tiles; t += 2) {
        float *row = y + (size_t)t * WIDE * y_stride, *row2 = row + WIDE * y_stride;
        float *c[2][2] = {{row, row + WIDE}, {row2, row2 + WIDE}};
        multiply_any(type, tiles - t > 1 ? 2 : 1, columns, t == 0, p, t, c, y_stride, add);
    }
    if (!rest)
        return;
    float *c[2][2] = {{part[0], part[1]}, {part[0], part[1]}}, *row = y + (size_t)tiles * WIDE * y_stride;
    for (int i = 0; add && i < rest; i++)
        for (int j = 0; j < columns; j++)
            vf_store(part[j] + WIDE * i, vf_load(row + i * y_stride + WIDE * j));
    multiply_any(type, 1, columns, tiles == 0, p, tiles, c, WIDE, add);
    for (int i = 0; i < rest; i++)
        for (int j = 0; j < columns; j++)
            vf_store(row + i * y_stride + WIDE * j, vf_load(part[j] + WIDE * i));
}

LANES void matmul_wide_type(int type, const ih_lm_matrix *w, const uint16_t *x, int32_t tokens, int32_t begin, int32_t end,
                            float *y, size_t y_stride, int add, uint8_t *scratch)
{
    size_t bytes = ih_lm_panel_bytes(type, w->cols);
    const uint8_t *last = w->data + (size_t)(ih_lm_panels(w) - 1) * bytes;
    for (int32_t p = begin; p < end; p += 2) {
        const uint8_t *panel = w->data + (size_t)p * bytes, *next = panel + 2 * bytes;
        wide_product product = {{panel, panel + bytes}, {next < last ? next : last, next + bytes < last ? next + bytes : last},
                                x, scratch, w->cols / IH_LM_BLOCK};
        if (end - p > 1)
            panels_wide(type, 2, &product, tokens, y + (size_t)p * IH_LM_PANEL, y_stride, add);
        else
            panels_wide(type, 1, &product, tokens, y + (size_t)p * IH_LM_PANEL, y_stride, add);
    }
}

static void matmul_wide(const ih_lm_matrix *w, const uint16_t *x, int32_t tokens, int32_t begin, int32_t end, float *y,
                        size_t y_stride, int add, void *scratch)
{
    _tile_loadconfig(&whole_tiles);
    if (w->type == IH_LM_Q4_1)
        matmul_wide_type(IH_LM_Q4_1, w, x, tokens, begin, end, y, y_stride, add, scratch);
    else if (w->type == IH_LM_Q4_0)
        matmul_wide_type(IH_LM_Q4_0, w, x, tokens, begin, end, y, y_stride, add, scratch);
    else
        matmul_wide_type(IH_LM_Q8_0, w, x, tokens, begin, end, y, y_stride, add, scratch);
    _tile_release();
}

/* Where row t of n columns begins, and the distance in words between its blocks of 32. */
LANES uint16_t *row_wide(uint16_t *y, int32_t n, int32_t t)
{
    return y + (size_t)(t / WIDE) * (n / IH_LM_BLOCK) * (TILE_BYTES / 2) + t % WIDE * 32;
}

static void pack_wide(const float *x, int32_t n, int32_t t, uint16_t *y)
{
    __m512i order = _mm512_load_si512(wide_order);
    uint16_t *row = row_wide(y, n, t);
    for (int32_t b = 0; b < n / IH_LM_BLOCK; b++) {
        __m512i pair = (__m512i)_mm512_cvtne2ps_pbh(vf_load(x + 32 * b + 16), vf_load(x + 32 * b));
        _mm512_store_si512(row + (size_t)b * (TILE_BYTES / 2), _mm512_permutexvar_epi16(order, pair));
    }
}

/* 2^x for |x| <= 126 (beyond, as for the bound), by Taylor's polynomial over [-1/2, 1/2]: error below 2^-14, where bf16 has 2^-9. */
LANES vf exp2_wide(vf x)
{
    x = vf_min(vf_max(x, vf_set(-126.0f)), vf_set(126.0f));
    vf whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = vf_sub(x, whole);
    vf p = vf_fma(vf_set(9.6181291e-3f), r, vf_set(5.5504109e-2f));
    p = vf_fma(p, r, vf_set(2.4022651e-1f));
    p = vf_fma(p, r, vf_set(6.9314718e-1f));
    p = vf_fma(p, r, vf_set(1.0f));
    return _mm512_scalef_ps(p, whole);
}

/* y's columns [16 p, 16 p + 16) of `count` tokens from `first`: silu(gate) * up. A panel is half a block: every other pair. */
LANES void gate_wide(const float *gate, const float *up, int32_t first, int32_t count, int32_t n, int32_t p, uint16_t *y)
{
    static const uint16_t half[32] __attribute__((aligned(64))) = {
        0, 2,  0, 2,  1, 3,  1, 3,  4,  6,  4,  6,  5,  7,  5,  7,
        8, 10, 8, 10, 9, 11, 9, 11, 12, 14, 12, 14, 13, 15, 13, 15,
    };
    __m512i order = _mm512_load_si512(half);
    __mmask16 mine = p % 2 ? 0xaaaa : 0x5555;
    for (int32_t i = 0; i < count; i++) {
        vf g = vf_load(gate + WIDE * i), bottom = vf_add(vf_set(1.0f), exp2_wide(vf_mul(g, vf_set(-(float)IH_EXP_LOG2E))));
        vf value = vf_mul(vf_mul(g, vf_load(up + WIDE * i)), _mm512_rcp14_ps(bottom));
        __m512i words = _mm512_castsi256_si512((__m256i)_mm512_cvtneps_pbh(value));
        uint16_t *row = row_wide(y, n, first + i) + (size_t)(p / 2) * (TILE_BYTES / 2);
        _mm512_mask_storeu_epi32(row, mine, _mm512_permutexvar_epi16(order, words));
    }
}

LANES void gated_wide_type(int type, const ih_lm_matrix *gate, const ih_lm_matrix *up, const uint16_t *x, int32_t tokens,
                           int32_t begin, int32_t end, uint16_t *y, uint8_t *scratch)
{
    float sums[2][2][WIDE * WIDE] __attribute__((aligned(64)));
    float *const c[2][2] = {{sums[0][0], sums[0][1]}, {sums[1][0], sums[1][1]}};
    size_t bytes = ih_lm_panel_bytes(type, gate->cols);
    int32_t tiles = (tokens + WIDE - 1) / WIDE, last = ih_lm_panels(gate) - 1;
    for (int32_t p = begin; p < end; p++) {
        size_t at = (size_t)p * bytes, next = (size_t)(p < last ? p + 1 : last) * bytes;
        wide_product product = {{gate->data + at, up->data + at}, {gate->data + next, up->data + next}, x, scratch,
                                gate->cols / IH_LM_BLOCK};
        for (int32_t t = 0; t < tiles; t += 2) {
            int rows = tiles - t > 1 ? 2 : 1;
            multiply_any(type, rows, 2, t == 0, &product, t, c, WIDE, 0);
            for (int i = 0; i < rows; i++) {
                int32_t first = (t + i) * WIDE;
                gate_wide(sums[i][0], sums[i][1], first, tokens - first < WIDE ? tokens - first : WIDE, gate->rows, p, y);
            }
        }
    }
}

static void gated_wide(const ih_lm_matrix *gate, const ih_lm_matrix *up, const uint16_t *x, int32_t tokens, int32_t begin,
                       int32_t end, uint16_t *y, void *scratch)
{
    _tile_loadconfig(&whole_tiles);
    if (gate->type == IH_LM_Q4_1)
        gated_wide_type(IH_LM_Q4_1, gate, up, x, tokens, begin, end, y, scratch);
    else if (gate->type == IH_LM_Q4_0)
        gated_wide_type(IH_LM_Q4_0, gate, up, x, tokens, begin, end, y, scratch);
    else
        gated_wide_type(IH_LM_Q8_0, gate, up, x, tokens, begin, end, y, scratch);
    _tile_release();
}
