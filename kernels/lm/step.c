/* A step's scratch, and how many tokens it should have. */
#include "lm/lm.h"

#define WIDE_CHUNK_US 32 /* of two panels, where a prompt is as long as it may be */
#define WIDE_MOST 512    /* tokens: longer steps gain nothing, as unpacking the weights is then a tenth of the work */

static size_t up_to(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int32_t widest(const ih_lm_model *m)
{
    return (int32_t)max_size(max_size(m->n_embd, m->n_ffn), (size_t)m->n_head * m->head_dim);
}

static int is_wide_type(const ih_lm_matrix *w)
{
    return w->type == IH_LM_Q4_0 || w->type == IH_LM_Q4_1 || w->type == IH_LM_Q8_0;
}

int ih_lm_is_wide(const ih_lm_model *model, const ih_lm_variant *variant)
{
    int is_wide = variant->wide != NULL;
    for (int32_t i = 0; is_wide && i < model->n_layer; i++) {
        const ih_lm_layer *l = &model->layers[i];
        const ih_lm_matrix *const all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t w = 0; w < sizeof all / sizeof *all; w++)
            is_wide &= is_wide_type(all[w]);
        is_wide &= l->gate.type == l->up.type;
    }
    return is_wide;
}

int32_t ih_lm_wide_tokens(const ih_lm_model *model, const ih_lm_step *step)
{
    int32_t wide = 0;
    if (!ih_lm_is_wide(model, step->variant))
        return 0;
    for (int32_t t = 1, run = 1; t <= step->n_tokens; t++, run++) {
        int goes_on = t < step->n_tokens && step->sequences[t] == step->sequences[t - 1]
            && step->positions[t] == step->positions[t - 1] + 1;
        if (goes_on)
            continue;
        if (run < IH_LM_WIDE_LEAST)
            break;
        wide = t, run = 0;
    }
    return wide;
}

int32_t ih_lm_batch_limit(const ih_lm_model *model, const ih_lm_variant *variant, int wide)
{
    int is_wide = wide && ih_lm_is_wide(model, variant);
    int64_t macs = is_wide ? (int64_t)variant->wide->macs_per_us * WIDE_CHUNK_US / 2 : (int64_t)variant->macs_per_us * IH_LM_CHUNK_US;
    int64_t tokens = macs / ((int64_t)IH_LM_PANEL * widest(model)), most = is_wide ? WIDE_MOST : 128;
    return tokens < 1 ? 1 : tokens > most ? most : (int32_t)tokens;
}

/* Gives out `bytes` of an arena in cache lines; with a NULL base it only counts. */
static void *carve(uint8_t *base, size_t *used, size_t bytes)
{
    void *at = base ? base + *used : NULL;
    *used += up_to(bytes, 64);
    return at;
}

static void carve_wide(ih_lm_step *step, const ih_lm_model *m, uint8_t *base, size_t *used)
{
    size_t t = up_to((size_t)step->max_tokens, 16), heads = (size_t)m->n_head * m->head_dim;
    int32_t rows = IH_LM_WIDE_RUN * (m->n_head / m->n_kv_head);
    size_t products = (size_t)widest(m) / IH_LM_BLOCK * 2048, attention = step->variant->wide->attend_bytes(rows, m->head_dim);
    step->wide_x = carve(base, used, t * max_size(m->n_embd, heads) * 2);
    step->wide_ffn = carve(base, used, t * m->n_ffn * 2);
    step->wide_stride = up_to(max_size(products, attention), 64);
    step->wide_scratch = carve(base, used, (size_t)step->max_threads * step->wide_stride);
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
    if (ih_lm_is_wide(m, step->variant))
        carve_wide(step, m, base, &used);
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

const ih_lm_variant *ih_lm_variant_at(int32_t index)
{
#define POINTER(name) &ih_lm_##name,
    static const ih_lm_variant *const all[] = {IH_LM_VARIANTS(POINTER)};
    return index >= 0 && index < (int32_t)(sizeof all / sizeof *all) ? all[index] : NULL;
}
