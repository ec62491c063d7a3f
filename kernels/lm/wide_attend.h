/* Attention of a run of a prompt's tokens on AMX bf16 tiles: see struct ih_lm_wide in lm.h. Included after wide_products.h.
 *
 * Rows are (token, head) of one KV head, tokens slowest. Positions come in spans of SPAN, counted from position 0, each with
 * keys and values turned into tiles once for all rows; between spans a row keeps its largest score, its sum and its output,
 * as in flash attention (Dao 2022). So a row's bits depend on its own positions only, not on how a prompt was cut. */

enum { SPAN = 256 };

typedef struct spread { /* an item's scratch */
    uint8_t *keys;   /* (SPAN / 16, depth, TILE_BYTES): pairs of the head's dimensions x 16 positions */
    uint8_t *values; /* (SPAN / 32, head_dim / 16, TILE_BYTES): pairs of positions x 16 dimensions */
    uint8_t *queries; /* (rows / 16, depth, TILE_BYTES) */
    uint8_t *weights; /* (SPAN / 32, TILE_BYTES): 16 rows x 32 positions */
    float *scores;   /* (16, SPAN) */
    float *out;      /* (rows, head_dim) */
    float *largest, *sum; /* (rows,) */
    int32_t depth, rows; /* blocks of 32 dimensions, and rows: whole tiles of sixteen */
} spread;

static size_t attend_wide_bytes(int32_t rows, int32_t head_dim)
{
    size_t depth = (size_t)(head_dim + 31) / 32, tiles = (size_t)(rows + 15) / 16, hd = (size_t)head_dim;
    return (SPAN / 16 * depth + SPAN / 32 * (hd / 16) + tiles * depth + SPAN / 32) * TILE_BYTES + 64 * SPAN + tiles * 16 * (hd + 2) * 4;
}

static spread spread_out(uint8_t *at, int32_t rows, int32_t head_dim)
{
    spread s = {.depth = (head_dim + 31) / 32, .rows = (rows + 15) / 16 * 16};
    s.keys = at, at += (size_t)SPAN / 16 * s.depth * TILE_BYTES;
    s.values = at, at += (size_t)SPAN / 32 * (head_dim / 16) * TILE_BYTES;
    s.queries = at, at += (size_t)s.rows / 16 * s.depth * TILE_BYTES;
    s.weights = at, at += SPAN / 32 * TILE_BYTES;
    s.scores = (float *)at, at += 64 * SPAN;
    s.out = (float *)at, at += (size_t)s.rows * head_dim * 4;
    s.largest = (float *)at, s.sum = s.largest + s.rows;
    return s;
}

/* Sixteen cached elements as floats. */
LANES vf cached_wide(const void *cache, size_t at, int kv_type)
{
    return kv_type == IH_LM_KV_F16 ? vf_load_f16((const uint16_t *)cache + at) : vf_load_i8((const int8_t *)cache + at);
}

/* Word pairs (low[i], high[i]) as bf16. */
LANES void store_pairs(vf low, vf high, uint8_t *to)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
                                           19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_store_si512(to, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low)));
}

/* The positions [from, from + 16 groups) as tiles; those outside of [first, last] have no value, whatever the ring holds. */
LANES void spread_keys(const ih_lm_kv *kv, int kv_type, const spread *s, int32_t from, int32_t groups)
{
    int32_t hd = kv->head_dim;
    for (int32_t g = 0; g < groups; g++) {
        size_t group = (size_t)((from / 16 + g) % kv->groups), at = group * hd * 16;
        vf scale = kv_type == IH_LM_KV_I8 ? vf_load(kv->k_scale + group * 16) : vf_set(1.0f);
        uint8_t *to = s->keys + (size_t)g * s->depth * TILE_BYTES;
        for (int32_t d = 0; d < 32 * s->depth; d += 2, to += 64) {
            vf low = d < hd ? cached_wide(kv->k, at + 16 * (size_t)d, kv_type) : vf_zero();
            vf high = d < hd ? cached_wide(kv->k, at + 16 * (size_t)d + 16, kv_type) : vf_zero();
            if (kv_type == IH_LM_KV_I8)
                low = vf_mul(low, scale), high = vf_mul(high, scale);
            store_pairs(low, high, to);
        }
    }
}

LANES void spread_values(const ih_lm_kv *kv, int kv_type, const spread *s, int32_t from, int32_t groups, int32_t first, int32_t last)
{
    int32_t hd = kv->head_dim, ring = kv->groups * 16, tiles = hd / 16;
    for (int32_t i = 0; i < 16 * groups; i += 2) {
        uint8_t *to = s->values + (size_t)(i / 32) * tiles * TILE_BYTES + i % 32 / 2 * 64;
        int32_t slot = (from + i) % ring; /* its neighbour is the next: the ring is of whole groups */
        float scale[2];
        for (int j = 0; j < 2; j++)
            scale[j] = from + i + j < first || from + i + j > last ? 0 : kv_type == IH_LM_KV_I8 ? kv->v_scale[slot + j] : 1;
        for (int32_t d = 0; d < tiles; d++) {
            size_t at = (size_t)slot * hd + 16 * (size_t)d;
            vf low = scale[0] != 0 ? vf_mul(cached_wide(kv->v, at, kv_type), vf_set(scale[0])) : vf_zero();
            vf high = scale[1] != 0 ? vf_mul(cached_wide(kv->v, at + hd, kv_type), vf_set(scale[1])) : vf_zero();
            store_pairs(low, high, to + (size_t)d * TILE_BYTES);
        }
    }
}

/* Queries as tiles, times the scale and log2(e): scores are exponents of 2. */
static void spread_queries(const ih_lm_prompt *run, const spread *s, int32_t head_dim)
{
    vf scale = vf_set(run->scale * IH_EXP_LOG2E);
    for (int32_t row = 0; row < s->rows; row++) {
        uint8_t *to = s->queries + (size_t)(row / 16) * s->depth * TILE_BYTES + row % 16 * 64;
        int32_t token = row / run->share;
        const float *q = run->q + token * run->stride + (size_t)(row % run->share) * head_dim;
        for (int32_t d = 0; d < 32 * s->depth; d += 32, to += TILE_BYTES) {
            int is_row = token < run->tokens;
            vf low = is_row ? vf_mul(vf_load(q + d), scale) : vf_zero();
            vf high = is_row && d + 16 < head_dim ? vf_mul(vf_load(q + d + 16), scale) : vf_zero();
            _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
    }
}

/* scores (16, SPAN) of a tile of rows and the first 16 groups positions of the span, two groups at a time. */
LANES void score_rows(const spread *s, int32_t tile, int32_t groups)
{
    const uint8_t *queries = s->queries + (size_t)tile * s->depth * TILE_BYTES;
    for (int32_t g = 0; g < groups; g += 2) {
        const uint8_t *keys = s->keys + (size_t)g * s->depth * TILE_BYTES;
        _tile_zero(0);
        _tile_zero(1);
        for (int32_t d = 0; d < s->depth; d++) {
            _tile_loadd(4, queries + (size_t)d * TILE_BYTES, 64);
            _tile_loadd(6, keys + (size_t)d * TILE_BYTES, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, keys + (size_t)(s->depth + d) * TILE_BYTES, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        _tile_stored(0, s->scores + 16 * g, 4 * SPAN);
        _tile_stored(1, s->scores + 16 * g + 16, 4 * SPAN);
    }
}

/* Which of the sixteen positions from 16 g lie in [low, high]. */
LANES __mmask16 seen_of(int32_t g, int32_t low, int32_t high)
{
    int32_t from = low - 16 * g, to = high - 16 * g;
    if (from <= 0 && to >= 15)
        return 0xffff;
    return from > 15 || to < 0 ? 0 : (__mmask16)((2u << (to > 15 ? 15 : to)) - (1u << (from < 0 ? 0 : from)));
}

/* Row i of the scores to weights; the positions [low, high] of the span are seen. Returns what the row had so far is times. */
LANES float soften_row(const spread *s, int32_t tile, int i, int32_t groups, int32_t low, int32_t high)
{
    const float *scores = s->scores + i * SPAN;
    float *largest = s->largest + 16 * tile + i, *sum = s->sum + 16 * tile + i;
    uint8_t *weights = s->weights + 64 * i;
    vf top = vf_set(*largest), total = vf_zero();
    for (int32_t g = 0; g < groups; g++)
        top = _mm512_mask_max_ps(top, seen_of(g, low, high), top, vf_load(scores + 16 * g));
    float now = vf_largest(top);
    top = vf_set(now);
    for (int32_t g = 0; g < groups; g += 2) {
        vf weight[2];
        for (int j = 0; j < 2; j++) {
            vf power = exp2_wide(vf_sub(vf_load(scores + 16 * (g + j)), top));
            weight[j] = _mm512_maskz_mov_ps(seen_of(g + j, low, high), power);
            total = vf_add(total, weight[j]);
        }
        _mm512_store_si512(weights + (size_t)(g / 2) * TILE_BYTES, (__m512i)_mm512_cvtne2ps_pbh(weight[1], weight[0]));
    }
    float kept = *largest == -INFINITY ? 0 : exp2f(*largest - now);
    *sum = *sum * kept + vf_tree(total);
    *largest = now;
    return kept;
}

/* out (16, head_dim) += weights times values, four tiles of the head at a time. */
LANES void mix_rows(const spread *s, int32_t tile, int32_t groups, int32_t head_dim)
{
    int32_t tiles = head_dim / 16;
    float *out = s->out + (size_t)tile * 16 * head_dim;
    size_t stride = 4 * (size_t)head_dim;
    int32_t d = 0;
    for (; d + 4 <= tiles; d += 4) {
        _tile_loadd(0, out + 16 * d, stride);
        _tile_loadd(1, out + 16 * d + 16, stride);
        _tile_loadd(2, out + 16 * d + 32, stride);
        _tile_loadd(3, out + 16 * d + 48, stride);
        for (int32_t g = 0; g < groups / 2; g++) {
            const uint8_t *values = s->values + ((size_t)g * tiles + d) * TILE_BYTES;
            _tile_loadd(4, s->weights + (size_t)g * TILE_BYTES, 64);
            _tile_loadd(5, values, 64);
            _tile_dpbf16ps(0, 4, 5);
            _tile_loadd(6, values + TILE_BYTES, 64);
            _tile_dpbf16ps(1, 4, 6);
            _tile_loadd(7, values + 2 * TILE_BYTES, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_loadd(5, values + 3 * TILE_BYTES, 64);
            _tile_dpbf16ps(3, 4, 5);
        }
        _tile_stored(0, out + 16 * d, stride);
        _tile_stored(1, out + 16 * d + 16, stride);
        _tile_stored(2, out + 16 * d + 32, stride);
        _tile_stored(3, out + 16 * d + 48, stride);
    }
    for (; d < tiles; d++) {
        _tile_loadd(0, out + 16 * d, stride);
        for (int32_t g = 0; g < groups / 2; g++) {
            _tile_loadd(4, s->weights + (size_t)g * TILE_BYTES, 64);
            _tile_loadd(5, s->values + ((size_t)g * tiles + d) * TILE_BYTES, 64);
            _tile_dpbf16ps(0, 4, 5);
        }
        _tile_stored(0, out + 16 * d, stride);
    }
}

/* The positions that row `row` sees: first .. last. */
LANES void sees(const ih_lm_prompt *run, int32_t row, int32_t *first, int32_t *last)
{
    int32_t token = row / run->share;
    *last = run->position + (token < run->tokens ? token : run->tokens - 1);
    *first = run->window && *last >= run->window ? *last - run->window + 1 : 0;
}

/* One span's part of a tile of rows. */
LANES void attend_tile(const ih_lm_prompt *run, const spread *s, int32_t tile, int32_t span, int32_t head_dim)
{
    int32_t first, last, none;
    sees(run, 16 * tile, &first, &none);
    sees(run, 16 * tile + 15, &none, &last);
    if (last < span || first >= span + SPAN)
        return;
    int32_t groups = last - span < SPAN ? (last - span + 32) / 32 * 2 : SPAN / 16;
    float *out = s->out + (size_t)tile * 16 * head_dim;
    score_rows(s, tile, groups);
    __asm__ volatile("" ::: "memory");
    for (int i = 0; i < 16; i++) {
        sees(run, 16 * tile + i, &first, &last);
        int32_t low = first < span ? 0 : first - span, high = last - span < SPAN ? last - span : SPAN - 1;
        if (low >= SPAN || high < 0) { /* another row of the tile sees something */
            for (int32_t g = 0; g < groups / 2; g++)
                _mm512_store_si512(s->weights + (size_t)g * TILE_BYTES + 64 * i, _mm512_setzero_si512());
            continue;
        }
        vf kept = vf_set(soften_row(s, tile, i, groups, low, high));
        for (int32_t d = 0; d < head_dim; d += 16)
            vf_store(out + i * head_dim + d, vf_mul(vf_load(out + i * head_dim + d), kept));
    }
    __asm__ volatile("" ::: "memory");
    mix_rows(s, tile, groups, head_dim);
    __asm__ volatile("" ::: "memory");
}

LANES void attend_run(const ih_lm_kv *kv, int kv_type, const ih_lm_prompt *run, void *scratch)
{
    int32_t hd = kv->head_dim, first, none, last = run->position + run->tokens - 1;
    spread s = spread_out(scratch, run->tokens * run->share, hd);
    sees(run, 0, &first, &none);
    spread_queries(run, &s, hd);
    memset(s.out, 0, (size_t)s.rows * hd * 4);
    for (int32_t row = 0; row < s.rows; row++)
        s.largest[row] = -INFINITY, s.sum[row] = 0;
    for (int32_t span = first / SPAN * SPAN; span <= last; span += SPAN) {
        int32_t groups = last - span < SPAN ? (last - span + 32) / 32 * 2 : SPAN / 16;
        spread_keys(kv, kv_type, &s, span, groups);
        spread_values(kv, kv_type, &s, span, groups, first, last);
        __asm__ volatile("" ::: "memory");
        for (int32_t tile = 0; tile < s.rows / 16; tile++)
            attend_tile(run, &s, tile, span, hd);
    }
    for (int32_t row = 0; row < run->tokens * run->share; row++) {
        float *out = run->out + row / run->share * run->stride + (size_t)(row % run->share) * hd;
        vf inverse = vf_set(1.0f / s.sum[row]);
        for (int32_t d = 0; d < hd; d += 16)
            vf_store(out + d, vf_mul(vf_load(s.out + (size_t)row * hd + d), inverse));
    }
}

static void attend_wide(const ih_lm_kv *kv, int kv_type, const ih_lm_prompt *run, void *scratch)
{
    _tile_loadconfig(&whole_tiles);
    if (kv_type == IH_LM_KV_F16)
        attend_run(kv, IH_LM_KV_F16, run, scratch);
    else
        attend_run(kv, IH_LM_KV_I8, run, scratch);
    _tile_release();
}
