/* The ops of a step but for the matrix products: see ops.h. */
#include "lm/ops.h"
#include "lm/scalar.h"

ih_lm_input narrow_input(const ih_lm_step *s, const float *values, int32_t cols, int32_t tokens)
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

void pack_row(ih_lm_step *s, const float *row, int32_t n, int32_t t)
{
    if (t < s->n_wide)
        s->variant->wide->pack(row, n, t, s->wide_x);
    else
        quantise_row(s, row, n, t - s->n_wide, s->n_tokens - s->n_wide);
}

void op_embed(const place *at, int32_t t)
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

void op_norm(const place *at, const float *weight, int32_t t)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    float *y = s->normed + (size_t)t * m->n_embd;
    s->variant->rmsnorm(s->x + (size_t)t * m->n_embd, weight, m->n_embd, m->epsilon, y);
    pack_row(s, y, m->n_embd, t);
}

void op_norm_output(const place *at, int32_t i)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    float *y = s->normed + (size_t)i * m->n_embd;
    s->variant->rmsnorm(s->x + (size_t)s->outputs[i] * m->n_embd, m->out_norm, m->n_embd, m->epsilon, y);
    quantise_row(s, y, m->n_embd, i, s->n_outputs);
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

void op_store(const place *at, int32_t t)
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

int attends_wide(const ih_lm_step *s, int32_t t)
{
    int32_t window = s->sequences[t]->window;
    return t < s->n_wide && (s->positions[t] < WIDE_POSITIONS || (window && window <= WIDE_POSITIONS / 2));
}

/* Tokens vary fastest, so that the queries of neighbouring tokens of one sequence share a pass over the keys. Each worker has
 * scores of its own. */
void op_attend(const place *at, int worker, int32_t begin, int32_t end)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    int32_t share = m->n_head / m->n_kv_head;
    ih_lm_queries qs = {.scale = 1.0f / sqrtf((float)m->head_dim), .score_stride = s->score_stride};
    qs.scores = s->scores + (size_t)worker * IH_LM_QUERIES * s->score_stride;
    for (int32_t item = begin; item < end; item++) {
        int32_t kv_head = item / s->n_tokens, t = item % s->n_tokens;
        int32_t position = s->positions[t], window = s->sequences[t]->window;
        if (attends_wide(s, t))
            continue;
        for (int32_t j = 0; j < share; j++) {
            size_t head = ((size_t)t * m->n_head + (size_t)kv_head * share + j) * m->head_dim;
            if (qs.count == IH_LM_QUERIES)
                attend(at, &qs, t, kv_head);
            qs.q[qs.count] = s->query + head;
            qs.out[qs.count] = s->normed + head;
            qs.first[qs.count] = window && position >= window ? position - window + 1 : 0;
            qs.last[qs.count++] = position;
        }
        int ends = item + 1 == end || t + 1 == s->n_tokens || s->sequences[t + 1] != s->sequences[t] || attends_wide(s, t + 1);
        if (ends || qs.count + share > IH_LM_QUERIES)
            attend(at, &qs, t, kv_head);
    }
}

/* Neighbouring units make one run, as far as they are of one sequence: keys and values are turned into tiles once a run. */
void op_attend_wide(const place *at, int worker, int32_t begin, int32_t end)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    int32_t units = (s->n_wide + WIDE_UNIT - 1) / WIDE_UNIT, share = m->n_head / m->n_kv_head, until;
    size_t stride = (size_t)m->n_head * m->head_dim;
    for (int32_t item = begin; item < end; item = until) {
        int32_t kv_head = item / units, t = item % units * WIDE_UNIT, count;
        until = end < (kv_head + 1) * units ? end : (kv_head + 1) * units;
        int32_t last = t + (until - item) * WIDE_UNIT < s->n_wide ? t + (until - item) * WIDE_UNIT : s->n_wide;
        for (; t < last; t += count) {
            ih_lm_sequence *seq = s->sequences[t];
            for (count = 1; t + count < last && count < IH_LM_WIDE_RUN && s->sequences[t + count] == seq
                            && s->positions[t + count] == s->positions[t] + count
                            && attends_wide(s, t + count) == attends_wide(s, t); count++)
                ;
            if (!attends_wide(s, t))
                continue;
            ih_lm_kv kv = cache_of(at, seq, kv_head);
            size_t head = t * stride + (size_t)kv_head * share * m->head_dim;
            ih_lm_prompt run = {s->query + head, s->normed + head, stride, count, share, s->positions[t], seq->window,
                                1.0f / sqrtf((float)m->head_dim)};
            s->variant->wide->attend(&kv, seq->kv_type, &run, s->wide_scratch + (size_t)worker * s->wide_stride);
        }
    }
}

void op_head(const place *at, int32_t begin, int32_t end)
{
    const ih_lm_model *m = at->model;
    ih_lm_step *s = at->step;
    ih_lm_input x = narrow_input(s, s->normed, m->n_embd, s->n_outputs);
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

