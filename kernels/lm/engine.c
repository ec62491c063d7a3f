/* Runs one step: a list of ops a layer, each cut into items, and the gate polled between short chunks of items.
 *
 *   embed · { norm, qkv, store, attend, pack, o, norm, gate + up, swiglu, down } x layers · norm, head
 *
 * Where the variant has wide kernels, the tokens of long prompts come first in a step and take those: their attention is an op
 * of its own, and gate, up and swiglu are one. What an op has nothing to do for has no items.
 *
 * The cursor (op, item) is all there is to a stop: a chunk is done once, wholly, so that going on later gives the same bits.
 * Items of an op are independent; with more than one thread they are shared out (common/pool.h). Products of one input make
 * one op, so that there are fewer ends at which threads wait for each other.
 */
#include "common/pool.h"
#include "lm/ops.h"

enum {
    OP_NORM_ATTN,
    OP_QKV,
    OP_STORE,
    OP_ATTEND_WIDE,
    OP_ATTEND,
    OP_PACK_ATTN,
    OP_O,
    OP_NORM_FFN,
    OP_GATED_WIDE,
    OP_GATE_UP,
    OP_SWIGLU,
    OP_DOWN,
    OPS_A_LAYER,
};

#define STREAM_BYTES_PER_US 12000 /* a low guess at the rate of reading weights from memory */
#define SHARED_PART 4       /* an op is shared out when it takes more than a chunk / this: joining costs about 1 us */
#define CHUNKS_A_THREAD 4   /* of a shared op, so that threads of unequal speed end together */

typedef struct {
    const ih_lm_matrix *w;
    const float *values; /* its float input, that of the wide tokens, and its output */
    const uint16_t *wide;
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
        found[0] = (product){&l->q, s->normed, s->wide_x, s->query, heads, 0};
        found[1] = (product){&l->k, s->normed, s->wide_x, s->key, kv, 0};
        found[2] = (product){&l->v, s->normed, s->wide_x, s->value, kv, 0};
        return 3;
    case OP_O:
        found[0] = (product){&l->o, s->normed, s->wide_x, s->x, (size_t)m->n_embd, 1};
        return 1;
    case OP_GATE_UP:
        found[0] = (product){&l->gate, s->normed, s->wide_x, s->gate, (size_t)m->n_ffn, 0};
        found[1] = (product){&l->up, s->normed, s->wide_x, s->up, (size_t)m->n_ffn, 0};
        return 2;
    case OP_DOWN:
        found[0] = (product){&l->down, s->gate, s->wide_ffn, s->x, (size_t)m->n_embd, 1};
        return 1;
    default:
        return 0;
    }
}

static int32_t least(int64_t a, int64_t b)
{
    int64_t less = a < b ? a : b;
    return less < 1 ? 1 : less < INT32_MAX ? (int32_t)less : INT32_MAX;
}

/* Panels of `w` that are done between two polls for `tokens` tokens. */
static int32_t panels_a_chunk(const ih_lm_step *s, const ih_lm_matrix *w, int32_t tokens)
{
    int64_t macs = (int64_t)s->variant->macs_per_us * IH_LM_CHUNK_US / (w->type < IH_LM_Q6_K ? 1 : 8);
    int64_t by_bytes = (int64_t)STREAM_BYTES_PER_US * IH_LM_CHUNK_US / (int64_t)ih_lm_panel_bytes(w->type, w->cols);
    return tokens ? least(macs / ((int64_t)IH_LM_PANEL * w->cols * tokens), by_bytes) : INT32_MAX;
}

/* The same for wide tokens: whole pairs of panels. */
static int32_t wide_panels_a_chunk(const ih_lm_step *s, const ih_lm_matrix *w)
{
    if (!s->n_wide)
        return INT32_MAX;
    int64_t macs = (int64_t)s->variant->wide->macs_per_us * IH_LM_CHUNK_US;
    int64_t by_bytes = (int64_t)STREAM_BYTES_PER_US * IH_LM_CHUNK_US / (int64_t)ih_lm_panel_bytes(w->type, w->cols);
    int32_t panels = least(macs / ((int64_t)IH_LM_PANEL * w->cols * s->n_wide), by_bytes);
    return panels < 2 ? 2 : panels / 2 * 2;
}

/* Rows of `width` floats that the element-wise ops do between two polls. */
static int32_t rows_a_chunk(const ih_lm_step *s, int32_t width)
{
    int64_t rows = (int64_t)s->variant->macs_per_us * IH_LM_CHUNK_US / ((int64_t)width * 200);
    return rows < 1 ? 1 : (int32_t)rows;
}

static int32_t heads_a_chunk(const ih_lm_step *s, const ih_lm_model *m)
{
    int32_t longest = 0;
    for (int32_t t = 0; t < s->n_tokens; t++)
        longest = s->positions[t] > longest ? s->positions[t] : longest;
    int64_t macs = (int64_t)s->variant->macs_per_us * IH_LM_CHUNK_US / 4, share = m->n_head / m->n_kv_head;
    int64_t heads = macs / ((int64_t)(longest + 16) * 2 * m->head_dim * share), tile = IH_LM_QUERIES / share;
    if (tile > 1 && heads > tile) /* whole tiles */
        heads -= heads % tile;
    return heads < 1 ? 1 : (int32_t)heads;
}

/* Units of tokens of the wide attention: the fewer, the longer its rows. */
static int32_t units_a_chunk(const ih_lm_step *s)
{
    int32_t longest = 0;
    for (int32_t t = 0; t < s->n_wide; t++)
        longest = s->positions[t] > longest && attends_wide(s, t) ? s->positions[t] : longest;
    return longest < WIDE_POSITIONS / 4 ? 4 : longest < WIDE_POSITIONS / 2 ? 2 : 1;
}

static int32_t narrow_attention_items(const ih_lm_step *s, const ih_lm_model *m)
{
    for (int32_t t = 0; t < s->n_tokens; t++)
        if (!attends_wide(s, t))
            return s->n_tokens * m->n_kv_head;
    return 0;
}

/* How many items an op has, and how many make a chunk. */
static int32_t items_of(const place *at, int32_t op, int32_t *chunk)
{
    const ih_lm_model *m = at->model;
    const ih_lm_step *s = at->step;
    int32_t narrow = s->n_tokens - s->n_wide;
    product p[PRODUCTS_AN_OP];
    int count = products_of(at, op, p);
    if (op == OP_GATED_WIDE) {
        *chunk = wide_panels_a_chunk(s, &at->layer->gate) / 2;
        return s->n_wide ? ih_lm_panels(&at->layer->gate) : 0;
    }
    if (count) {
        int32_t items = 0;
        *chunk = INT32_MAX;
        for (int i = 0; i < count; i++) {
            *chunk = least(*chunk, panels_a_chunk(s, p[i].w, narrow));
            if (op != OP_GATE_UP)
                *chunk = least(*chunk, wide_panels_a_chunk(s, p[i].w));
            items += ih_lm_panels(p[i].w);
        }
        return op == OP_GATE_UP && !narrow ? 0 : items;
    }
    if (op == OP_ATTEND_WIDE) {
        *chunk = s->n_wide ? units_a_chunk(s) : 1;
        return (s->n_wide + WIDE_UNIT - 1) / WIDE_UNIT * m->n_kv_head;
    }
    if (op == OP_ATTEND) {
        *chunk = heads_a_chunk(s, m);
        return narrow_attention_items(s, m);
    }
    *chunk = rows_a_chunk(s, op == OP_SWIGLU ? m->n_ffn : m->n_embd);
    return op == OP_SWIGLU ? narrow : s->n_tokens;
}

/* Panels [begin, end) of the products of an op, counted over all of them. */
static void work_products(const place *at, int worker, int32_t op, const product *p, int count, int32_t begin, int32_t end)
{
    ih_lm_step *s = at->step;
    int32_t wide = op == OP_GATE_UP ? 0 : s->n_wide, narrow = s->n_tokens - s->n_wide;
    for (int i = 0; i < count && end > 0; i++) {
        const ih_lm_matrix *w = p[i].w;
        int32_t panels = ih_lm_panels(w), from = begin > 0 ? begin : 0, to = end < panels ? end : panels;
        if (from < to && wide)
            s->variant->wide->matmul(w, p[i].wide, wide, from, to, p[i].out, p[i].out_stride, p[i].add,
                                     s->wide_scratch + (size_t)worker * s->wide_stride);
        if (from < to && narrow) {
            ih_lm_input x = narrow_input(s, p[i].values + (size_t)s->n_wide * w->cols, w->cols, narrow);
            s->variant->matmul[w->type](w, &x, from, to, p[i].out + s->n_wide * p[i].out_stride, p[i].out_stride, p[i].add);
        }
        begin -= panels, end -= panels;
    }
}

static void work_row(const place *at, int32_t op, int32_t t)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    int32_t heads = m->n_head * m->head_dim;
    if (op == OP_NORM_ATTN) {
        op_norm(at, at->layer->attn_norm, t);
    } else if (op == OP_STORE) {
        op_store(at, t);
    } else if (op == OP_PACK_ATTN) {
        pack_row(s, s->normed + (size_t)t * heads, heads, t);
    } else if (op == OP_NORM_FFN) {
        op_norm(at, at->layer->ffn_norm, t);
    } else { /* OP_SWIGLU: the items are the narrow tokens */
        float *ffn = s->gate + (size_t)(s->n_wide + t) * m->n_ffn;
        s->variant->swiglu(ffn, s->up + (size_t)(s->n_wide + t) * m->n_ffn, m->n_ffn, ffn);
        pack_row(s, ffn, m->n_ffn, s->n_wide + t);
    }
}

static void work(const place *at, int worker, int32_t op, int32_t begin, int32_t end)
{
    ih_lm_step *s = at->step;
    const ih_lm_layer *l = at->layer;
    product p[PRODUCTS_AN_OP];
    int count = products_of(at, op, p);
    if (count) {
        work_products(at, worker, op, p, count, begin, end);
    } else if (op == OP_GATED_WIDE) {
        s->variant->wide->gated(&l->gate, &l->up, s->wide_x, s->n_wide, begin, end, s->wide_ffn,
                                s->wide_scratch + (size_t)worker * s->wide_stride);
    } else if (op == OP_ATTEND_WIDE) {
        op_attend_wide(at, worker, begin, end);
    } else if (op == OP_ATTEND) {
        op_attend(at, worker, begin, end);
    } else {
        for (int32_t t = begin; t < end; t++)
            work_row(at, op, t);
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
    int32_t body = m->n_layer * OPS_A_LAYER;
    if (op > 0 && op <= body) {
        work(at, worker, (op - 1) % OPS_A_LAYER, begin, end);
    } else if (op == 0) {
        for (int32_t t = begin; t < end; t++)
            op_embed(at, t);
    } else if (op == body + 1) {
        for (int32_t i = begin; i < end; i++)
            op_norm_output(at, i);
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
