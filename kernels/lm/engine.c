/* Runs one step: a list of ops a layer, each cut into items, and the gate polled between short chunks of items.
 *
 *   embed · { norm, qkv, store, attend, quantise, o, norm, gate + up, swiglu, down } x layers · norm, head
 *
 * The cursor (op, item) is all there is to a stop: a chunk is done once, wholly, so that going on later gives the same bits.
 * Items of an op are independent; with more than one thread they are shared out (common/pool.h). Products of one input make
 * one op, so that there are fewer ends at which threads wait for each other.
 */
#include "common/pool.h"
#include "lm/lm.h"
#include "lm/scalar.h"

enum {
    OP_NORM_ATTN,
    OP_QKV,
    OP_STORE,
    OP_ATTEND,
    OP_PACK_ATTN,
    OP_O,
    OP_NORM_FFN,
    OP_GATE_UP,
    OP_SWIGLU,
    OP_DOWN,
    OPS_A_LAYER,
};

#define CHUNK_US 20           /* aimed at between two polls; the promise is IH_GATE_POLL_NS */
#define STREAM_BYTES_PER_US 12000 /* a low guess at the rate of reading weights from memory */
#define SHARED_PART 4       /* an op is shared out when it takes more than CHUNK_US / this: joining costs about 1 us */
#define CHUNKS_A_THREAD 4   /* of a shared op, so that threads of unequal speed end together */

typedef struct {
    const ih_lm_model *model;
    ih_lm_step *step;
    const ih_lm_layer *layer;
    int32_t index; /* of the layer */
} place;

/* --- sizes ------------------------------------------------------------------------------------------------------- */

static size_t up_to(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t ih_lm_panel_bytes(int32_t type, int32_t cols)
{
    size_t blocks = (size_t)cols / IH_LM_BLOCK;
    switch (type) {
    case IH_LM_Q4_0:
        return (blocks + 1) / 2 * 576;
    case IH_LM_Q4_1:
        return blocks * 320;
    case IH_LM_Q8_0:
        return (blocks + 1) / 2 * 1088;
    case IH_LM_Q6_K:
        return blocks * 640;
    case IH_LM_F16:
        return blocks * 1024;
    default:
        return blocks * 2048;
    }
}

int32_t ih_lm_panels(const ih_lm_matrix *w)
{
    return (w->rows + IH_LM_PANEL - 1) / IH_LM_PANEL;
}

const ih_lm_variant *ih_lm_variant_at(int32_t index)
{
#define POINTER(name) &ih_lm_##name,
    static const ih_lm_variant *const all[] = {IH_LM_VARIANTS(POINTER)};
    return index >= 0 && index < (int32_t)(sizeof all / sizeof *all) ? all[index] : NULL;
}

static int32_t widest(const ih_lm_model *m)
{
    return (int32_t)max_size(max_size(m->n_embd, m->n_ffn), (size_t)m->n_head * m->head_dim);
}

int32_t ih_lm_batch_limit(const ih_lm_model *model, const ih_lm_variant *variant)
{
    int64_t macs = (int64_t)variant->macs_per_us * CHUNK_US;
    int64_t tokens = macs / ((int64_t)IH_LM_PANEL * widest(model));
    return tokens < 1 ? 1 : tokens > 128 ? 128 : (int32_t)tokens;
}

/* Gives out `bytes` of an arena in cache lines; with a NULL base it only counts. */
static void *carve(uint8_t *base, size_t *used, size_t bytes)
{
    void *at = base ? base + *used : NULL;
    *used += up_to(bytes, 64);
    return at;
}

static size_t carve_all(ih_lm_step *step, const ih_lm_model *m, int32_t positions, uint8_t *base)
{
    size_t used = 0, t = (size_t)step->max_tokens, blocks = (size_t)widest(m) / IH_LM_BLOCK;
    size_t heads = up_to((size_t)m->n_head * m->head_dim, IH_LM_PANEL);
    size_t kv = up_to((size_t)m->n_kv_head * m->head_dim, IH_LM_PANEL);
    step->score_stride = up_to((size_t)positions, 16) + 32;
    step->x = carve(base, &used, t * m->n_embd * 4);
    step->normed = carve(base, &used, t * max_size(m->n_embd, heads) * 4); /* also attention's output */
    step->query = carve(base, &used, t * heads * 4);
    step->key = carve(base, &used, t * kv * 4);
    step->value = carve(base, &used, t * kv * 4);
    step->gate = carve(base, &used, t * m->n_ffn * 4);
    step->up = carve(base, &used, t * m->n_ffn * 4);
    step->rope_cos = carve(base, &used, t * m->rope_dim * 4);
    step->rope_sin = carve(base, &used, t * m->rope_dim * 4);
    step->scores = carve(base, &used, (size_t)step->max_threads * IH_LM_QUERIES * step->score_stride * 4);
    step->q = carve(base, &used, t * blocks * IH_LM_BLOCK);
    step->scale = carve(base, &used, t * blocks * 4);
    step->scaled_sum = carve(base, &used, t * blocks * 4);
    step->neg128 = carve(base, &used, t * blocks * 4);
    step->half = carve(base, &used, t * blocks * 4);
    return used;
}

size_t ih_lm_step_bytes(const ih_lm_step *step, const ih_lm_model *model, int32_t max_positions)
{
    ih_lm_step counted = *step;
    return carve_all(&counted, model, max_positions, NULL);
}

void ih_lm_step_carve(ih_lm_step *step, const ih_lm_model *model, int32_t max_positions, void *scratch)
{
    carve_all(step, model, max_positions, scratch);
}

/* --- rows of a matrix -------------------------------------------------------------------------------------------- */

static float half_of(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return ih_f16_to_f32(half);
}

/* Columns [32 b, 32 b + 32) of row r of a panel. */
static void block_row(int32_t type, const uint8_t *panel, size_t b, int r, float *y)
{
    const uint8_t *pair, *lines;
    float scale, low[2];
    switch (type) {
    case IH_LM_Q4_1:
    case IH_LM_Q4_0:
        if (type == IH_LM_Q4_1) {
            pair = panel + b * 320, lines = pair + 64;
            scale = half_of(pair + 2 * r), low[0] = half_of(pair + 32 + 2 * r);
        } else {
            pair = panel + b / 2 * 576, lines = pair + 64 + b % 2 * 256;
            scale = half_of(pair + b % 2 * 32 + 2 * r), low[0] = -8 * scale;
        }
        for (int c = 0; c < 16; c++) {
            uint8_t nibbles = lines[c / 4 * 64 + 4 * r + c % 4];
            y[c] = scale * (float)(nibbles & 15) + low[0];
            y[c + 16] = scale * (float)(nibbles >> 4) + low[0];
        }
        return;
    case IH_LM_Q8_0:
        pair = panel + b / 2 * 1088, lines = pair + 64 + b % 2 * 512;
        scale = half_of(pair + b % 2 * 32 + 2 * r);
        for (int c = 0; c < IH_LM_BLOCK; c++)
            y[c] = scale * (float)(lines[c / 4 * 64 + 4 * r + c % 4] - 128);
        return;
    case IH_LM_Q6_K:
        lines = panel + b * 640 + 128;
        memcpy(&low[0], panel + b * 640 + 4 * r, 4);
        memcpy(&low[1], panel + b * 640 + 64 + 4 * r, 4);
        for (int c = 0; c < IH_LM_BLOCK; c++)
            y[c] = low[c / 16] * (float)(lines[c / 4 * 64 + 4 * r + c % 4] - 32);
        return;
    case IH_LM_F16:
        for (int c = 0; c < IH_LM_BLOCK; c++)
            y[c] = half_of(panel + b * 1024 + (size_t)c * 32 + 2 * r);
        return;
    default:
        for (int c = 0; c < IH_LM_BLOCK; c++)
            memcpy(&y[c], panel + b * 2048 + (size_t)c * 64 + 4 * r, 4);
    }
}

void ih_lm_row(const ih_lm_matrix *w, int32_t row, float *y)
{
    const uint8_t *panel = w->data + (size_t)(row / IH_LM_PANEL) * ih_lm_panel_bytes(w->type, w->cols);
    for (int32_t b = 0; b < w->cols / IH_LM_BLOCK; b++)
        block_row(w->type, panel, (size_t)b, row % IH_LM_PANEL, y + (size_t)b * IH_LM_BLOCK);
}

/* --- ops: each works on items [begin, end) ------------------------------------------------------------------------ */

static ih_lm_input input(const ih_lm_step *s, const float *values, int32_t cols, int32_t tokens)
{
    ih_lm_input x = {s->q, s->scale, s->scaled_sum, s->neg128, s->half, values, tokens, cols};
    return x;
}

/* Quantises row t of `tokens` rows into the block-major activations. */
static void quantise_row(ih_lm_step *s, const float *row, int32_t cols, int32_t t, int32_t tokens)
{
    for (int32_t b = 0; b < cols / IH_LM_BLOCK; b++) {
        size_t at = (size_t)b * tokens + t;
        s->variant->quantise(row + (size_t)b * IH_LM_BLOCK, s->q + at * IH_LM_BLOCK, s->scale + at, s->scaled_sum + at,
                             s->neg128 + at, s->half + at);
    }
}

static void op_embed(const place *at, int32_t t)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    ih_lm_row(&m->embed, s->tokens[t], s->x + (size_t)t * m->n_embd);
    float *c = s->rope_cos + (size_t)t * m->rope_dim, *sn = s->rope_sin + (size_t)t * m->rope_dim;
    for (int32_t i = 0; i < m->rope_dim / 2; i++) {
        double angle = s->positions[t] * m->rope_frequency[i];
        c[2 * i] = c[2 * i + 1] = (float)cos(angle);
        sn[2 * i + 1] = (float)sin(angle);
        sn[2 * i] = -sn[2 * i + 1];
    }
}

static void norm_row(const place *at, const float *x, const float *weight, int32_t t, int32_t tokens)
{
    const ih_lm_model *m = at->model;
    float *y = at->step->normed + (size_t)t * m->n_embd;
    at->step->variant->rmsnorm(x, weight, m->n_embd, m->epsilon, y);
    quantise_row(at->step, y, m->n_embd, t, tokens);
}

/* Turns one head's part of q or k by the token's angles; only the first rope_dim of a head turn. */
static void turn(const place *at, float *heads, int32_t n_heads, int32_t t)
{
    const ih_lm_model *m = at->model;
    const ih_lm_step *s = at->step;
    for (int32_t h = 0; h < n_heads; h++)
        s->variant->rope(heads + (size_t)h * m->head_dim, s->rope_cos + (size_t)t * m->rope_dim,
                         s->rope_sin + (size_t)t * m->rope_dim, m->rope_dim);
}

static ih_lm_kv cache_of(const place *at, const ih_lm_sequence *seq, int32_t kv_head)
{
    const ih_lm_model *m = at->model;
    size_t head = (size_t)at->index * m->n_kv_head + kv_head, slots = (size_t)seq->groups * 16;
    size_t bytes = head * slots * m->head_dim * (seq->kv_type == IH_LM_KV_F16 ? 2 : 1);
    int scaled = seq->kv_type == IH_LM_KV_I8;
    ih_lm_kv kv = {seq->k + bytes, seq->v + bytes, scaled ? seq->k_scale + head * slots : NULL,
                   scaled ? seq->v_scale + head * slots : NULL, seq->groups, m->head_dim};
    return kv;
}

static void store_f16(const place *at, const ih_lm_kv *kv, int32_t slot, const float *k, const float *v)
{
    int32_t hd = kv->head_dim;
    uint16_t row[256], *cache = (uint16_t *)kv->k + (size_t)(slot / 16) * hd * 16 + slot % 16;
    at->step->variant->to_f16(k, hd, row);
    for (int32_t d = 0; d < hd; d++)
        cache[(size_t)d * 16] = row[d];
    at->step->variant->to_f16(v, hd, (uint16_t *)kv->v + (size_t)slot * hd);
}

/* One scale a head and position: 127 for the largest. */
static float quantise_head(const float *x, int32_t n, int8_t *y, size_t stride)
{
    float largest = 0;
    for (int32_t i = 0; i < n; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float inverse = largest > 0 ? 127.0f / largest : 0;
    for (int32_t i = 0; i < n; i++) {
        float level = rintf(x[i] * inverse);
        y[(size_t)i * stride] = (int8_t)(level > -127.0f ? (level < 127.0f ? level : 127.0f) : -127.0f);
    }
    return largest / 127.0f;
}

static void op_store(const place *at, int32_t t)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    ih_lm_sequence *seq = s->sequences[t];
    int32_t slot = s->positions[t] % (seq->groups * 16);
    size_t hd = (size_t)m->head_dim;
    float *key = s->key + t * m->n_kv_head * hd;
    turn(at, s->query + t * m->n_head * hd, m->n_head, t);
    turn(at, key, m->n_kv_head, t);
    for (int32_t h = 0; h < m->n_kv_head; h++) {
        ih_lm_kv kv = cache_of(at, seq, h);
        const float *k = key + h * hd, *v = s->value + (t * m->n_kv_head + h) * hd;
        if (seq->kv_type == IH_LM_KV_F16) {
            store_f16(at, &kv, slot, k, v);
        } else {
            kv.k_scale[slot] = quantise_head(k, m->head_dim, (int8_t *)kv.k + (slot / 16 * hd * 16 + slot % 16), 16);
            kv.v_scale[slot] = quantise_head(v, m->head_dim, (int8_t *)kv.v + slot * hd, 1);
        }
    }
}

static void attend(const place *at, ih_lm_queries *qs, int32_t t, int32_t kv_head)
{
    ih_lm_sequence *seq = at->step->sequences[t];
    ih_lm_kv kv = cache_of(at, seq, kv_head);
    at->step->variant->attend[seq->kv_type](&kv, qs);
    qs->count = 0;
}

/* An item is one KV head of one token, tokens varying fastest, so that the queries of neighbouring tokens of one sequence
 * share a pass over the keys. Each worker has scores of its own. */
static void op_attend(const place *at, int worker, int32_t begin, int32_t end)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    int32_t share = m->n_head / m->n_kv_head;
    ih_lm_queries qs = {.scale = 1.0f / sqrtf((float)m->head_dim), .score_stride = s->score_stride};
    qs.scores = s->scores + (size_t)worker * IH_LM_QUERIES * s->score_stride;
    for (int32_t item = begin; item < end; item++) {
        int32_t kv_head = item / s->n_tokens, t = item % s->n_tokens;
        int32_t position = s->positions[t], window = s->sequences[t]->window;
        for (int32_t j = 0; j < share; j++) {
            size_t head = ((size_t)t * m->n_head + (size_t)kv_head * share + j) * m->head_dim;
            if (qs.count == IH_LM_QUERIES)
                attend(at, &qs, t, kv_head);
            qs.q[qs.count] = s->query + head;
            qs.out[qs.count] = s->normed + head;
            qs.first[qs.count] = window && position >= window ? position - window + 1 : 0;
            qs.last[qs.count++] = position;
        }
        int ends = item + 1 == end || t + 1 == s->n_tokens || s->sequences[t + 1] != s->sequences[t];
        if (ends || qs.count + share > IH_LM_QUERIES)
            attend(at, &qs, t, kv_head);
    }
}

static void op_head(const place *at, int32_t begin, int32_t end)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    ih_lm_input x = input(s, s->normed, m->n_embd, s->n_outputs);
    ih_lm_matmul_fn *matmul = s->variant->matmul[m->head.type];
    if (s->n_head_panels < 0) {
        matmul(&m->head, &x, begin, end, s->logits, s->logits_stride, 0);
        return;
    }
    for (int32_t i = begin; i < end; i++) { /* panel head_panels[i] goes to columns [16 i, 16 i + 16) */
        ih_lm_matrix one = m->head;
        one.data += (size_t)s->head_panels[i] * ih_lm_panel_bytes(one.type, one.cols);
        matmul(&one, &x, 0, 1, s->logits + (size_t)i * IH_LM_PANEL, s->logits_stride, 0);
    }
}

/* --- the program ------------------------------------------------------------------------------------------------- */

typedef struct {
    const ih_lm_matrix *w;
    const float *values; /* its float input, and output */
    float *out;
    size_t out_stride;
    int add;
} product;

enum { PRODUCTS_AN_OP = 3 };

/* The matrix products that make up `op`, all of one input; returns how many. */
static int products_of(const place *at, int32_t op, product *found)
{
    const ih_lm_model *m = at->model;
    const ih_lm_layer *l = at->layer;
    ih_lm_step *s = at->step;
    size_t heads = (size_t)m->n_head * m->head_dim, kv = (size_t)m->n_kv_head * m->head_dim;
    switch (op) {
    case OP_QKV:
        found[0] = (product){&l->q, s->normed, s->query, heads, 0};
        found[1] = (product){&l->k, s->normed, s->key, kv, 0};
        found[2] = (product){&l->v, s->normed, s->value, kv, 0};
        return 3;
    case OP_O:
        found[0] = (product){&l->o, s->normed, s->x, (size_t)m->n_embd, 1};
        return 1;
    case OP_GATE_UP:
        found[0] = (product){&l->gate, s->normed, s->gate, (size_t)m->n_ffn, 0};
        found[1] = (product){&l->up, s->normed, s->up, (size_t)m->n_ffn, 0};
        return 2;
    case OP_DOWN:
        found[0] = (product){&l->down, s->gate, s->x, (size_t)m->n_embd, 1};
        return 1;
    default:
        return 0;
    }
}

/* Panels of `w` that are done between two polls for `tokens` tokens. */
static int32_t panels_a_chunk(const ih_lm_step *s, const ih_lm_matrix *w, int32_t tokens)
{
    int64_t macs = (int64_t)s->variant->macs_per_us * CHUNK_US / (w->type < IH_LM_Q6_K ? 1 : 8);
    int64_t by_work = macs / ((int64_t)IH_LM_PANEL * w->cols * tokens);
    int64_t by_bytes = (int64_t)STREAM_BYTES_PER_US * CHUNK_US / (int64_t)ih_lm_panel_bytes(w->type, w->cols);
    int64_t panels = by_work < by_bytes ? by_work : by_bytes;
    return panels < 1 ? 1 : (int32_t)panels;
}

/* Rows of `width` floats that the element-wise ops do between two polls. */
static int32_t rows_a_chunk(const ih_lm_step *s, int32_t width)
{
    int64_t rows = (int64_t)s->variant->macs_per_us * CHUNK_US / ((int64_t)width * 200);
    return rows < 1 ? 1 : (int32_t)rows;
}

static int32_t heads_a_chunk(const ih_lm_step *s, const ih_lm_model *m)
{
    int32_t longest = 0;
    for (int32_t t = 0; t < s->n_tokens; t++)
        longest = s->positions[t] > longest ? s->positions[t] : longest;
    int64_t macs = (int64_t)s->variant->macs_per_us * CHUNK_US / 4, share = m->n_head / m->n_kv_head;
    int64_t heads = macs / ((int64_t)(longest + 16) * 2 * m->head_dim * share), tile = IH_LM_QUERIES / share;
    if (tile > 1 && heads > tile) /* whole tiles */
        heads -= heads % tile;
    return heads < 1 ? 1 : (int32_t)heads;
}

/* How many items an op has, and how many make a chunk. */
static int32_t items_of(const place *at, int32_t op, int32_t *chunk)
{
    const ih_lm_model *m = at->model;
    const ih_lm_step *s = at->step;
    product p[PRODUCTS_AN_OP];
    int count = products_of(at, op, p);
    if (count) {
        int32_t items = 0;
        *chunk = INT32_MAX;
        for (int i = 0; i < count; i++) {
            int32_t here = panels_a_chunk(s, p[i].w, s->n_tokens);
            *chunk = here < *chunk ? here : *chunk;
            items += ih_lm_panels(p[i].w);
        }
        return items;
    }
    if (op == OP_ATTEND) {
        *chunk = heads_a_chunk(s, m);
        return s->n_tokens * m->n_kv_head;
    }
    *chunk = rows_a_chunk(s, op == OP_SWIGLU ? m->n_ffn : m->n_embd);
    return s->n_tokens;
}

/* Panels [begin, end) of the products of an op, counted over all of them. */
static void work_products(const place *at, const product *p, int count, int32_t begin, int32_t end)
{
    ih_lm_step *s = at->step;
    for (int i = 0; i < count && end > 0; i++) {
        int32_t panels = ih_lm_panels(p[i].w), from = begin > 0 ? begin : 0, to = end < panels ? end : panels;
        if (from < to) {
            ih_lm_input x = input(s, p[i].values, p[i].w->cols, s->n_tokens);
            s->variant->matmul[p[i].w->type](p[i].w, &x, from, to, p[i].out, p[i].out_stride, p[i].add);
        }
        begin -= panels, end -= panels;
    }
}

static void work(const place *at, int worker, int32_t op, int32_t begin, int32_t end)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    product p[PRODUCTS_AN_OP];
    int count = products_of(at, op, p);
    if (count) {
        work_products(at, p, count, begin, end);
        return;
    }
    if (op == OP_ATTEND) {
        op_attend(at, worker, begin, end);
        return;
    }
    for (int32_t t = begin; t < end; t++) {
        float *ffn = s->gate + (size_t)t * m->n_ffn, *x = s->x + (size_t)t * m->n_embd;
        int32_t heads = m->n_head * m->head_dim;
        if (op == OP_NORM_ATTN) {
            norm_row(at, x, at->layer->attn_norm, t, s->n_tokens);
        } else if (op == OP_STORE) {
            op_store(at, t);
        } else if (op == OP_PACK_ATTN) {
            quantise_row(s, s->normed + (size_t)t * heads, heads, t, s->n_tokens);
        } else if (op == OP_NORM_FFN) {
            norm_row(at, x, at->layer->ffn_norm, t, s->n_tokens);
        } else { /* OP_SWIGLU */
            s->variant->swiglu(ffn, s->up + (size_t)t * m->n_ffn, m->n_ffn, ffn);
            quantise_row(s, ffn, m->n_ffn, t, s->n_tokens);
        }
    }
}

/* Op numbers of a step: 0 is the embedding, then the layers', then the last norm and the head. */
static int32_t step_items(place *at, int32_t op, int32_t *chunk)
{
    const ih_lm_model *m = at->model;
    const ih_lm_step *s = at->step;
    int32_t body = m->n_layer * OPS_A_LAYER;
    if (op == 0) {
        *chunk = rows_a_chunk(s, m->n_embd * 4);
        return s->n_tokens;
    }
    if (op <= body) {
        at->index = (op - 1) / OPS_A_LAYER;
        at->layer = &m->layers[at->index];
        return items_of(at, (op - 1) % OPS_A_LAYER, chunk);
    }
    if (op == body + 1) {
        *chunk = rows_a_chunk(s, m->n_embd);
        return s->n_outputs;
    }
    if (!s->n_outputs)
        return 0;
    *chunk = panels_a_chunk(s, &m->head, s->n_outputs);
    return s->n_head_panels < 0 ? ih_lm_panels(&m->head) : s->n_head_panels;
}

static void step_work(const place *at, int worker, int32_t op, int32_t begin, int32_t end)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    int32_t body = m->n_layer * OPS_A_LAYER;
    if (op > 0 && op <= body) {
        work(at, worker, (op - 1) % OPS_A_LAYER, begin, end);
    } else if (op == 0) {
        for (int32_t t = begin; t < end; t++)
            op_embed(at, t);
    } else if (op == body + 1) {
        for (int32_t i = begin; i < end; i++)
            norm_row(at, s->x + (size_t)s->outputs[i] * m->n_embd, m->out_norm, i, s->n_outputs);
    } else {
        op_head(at, begin, end);
    }
}

static void shared_work(void *context, int worker, int64_t begin, int64_t end)
{
    const place *at = context;
    step_work(at, worker, at->step->op, (int32_t)begin, (int32_t)end);
}

/* Items that a thread claims at once. */
static int32_t fair_chunk(int32_t chunk, int32_t items, int threads)
{
    int32_t fair = items / (threads * CHUNKS_A_THREAD);
    fair = fair < chunk ? fair : chunk;
    return fair < 1 ? 1 : fair;
}

/* Runs the items of the op under the cursor that are left. */
static int run_op(place *at, const ih_gate *gate, int threads, int32_t *budget_used)
{
    ih_lm_step *s = at->step;
    int32_t chunk = 1, items = step_items(at, s->op, &chunk), left = items - s->item;
    if (threads > 1 && !s->chunk_budget && left > 1 && (int64_t)left * SHARED_PART > chunk) {
        s->item = (int32_t)ih_pool_run(threads, shared_work, at, s->item, items, fair_chunk(chunk, left, threads), gate);
        return s->item < items ? IH_PREEMPTED : IH_DONE;
    }
    while (s->item < items) {
        if (!ih_gate_is_open(gate) || (s->chunk_budget > 0 && (*budget_used)++ == s->chunk_budget))
            return IH_PREEMPTED;
        int32_t end = items - s->item > chunk ? s->item + chunk : items;
        step_work(at, 0, s->op, s->item, end);
        s->item = end;
    }
    return IH_DONE;
}

int ih_lm_run(const ih_lm_model *model, ih_lm_step *step, const ih_gate *gate, int32_t threads)
{
    place at = {.model = model, .step = step};
    int32_t ops = model->n_layer * OPS_A_LAYER + 3, budget_used = 0;
    int status = IH_DONE;
    threads = ih_pool_enter(threads < step->max_threads ? threads : step->max_threads);
    while (step->op < ops && status == IH_DONE) {
        status = run_op(&at, gate, threads, &budget_used);
        if (status == IH_DONE)
            step->op++, step->item = 0;
    }
    ih_pool_leave(threads);
    return status;
}
