/* Attention of a few queries that share a KV head, on sixteen lanes; equal to reference.c to the last bit, however the
 * queries are grouped: scores are kept whole, so that no running maximum rescales what was added before.
 * Included twice by each variant's file, for f16 and for int8, with NAME, KV_TYPE, LOAD_KV and SCALED defined. */

#ifndef HEAD_DIM_MAX
#define HEAD_DIM_MAX 256
#endif

/* Scores of `count` queries and sixteen positions; lanes are positions. `count` is a constant where this is inlined. */
LANES void NAME(score_tile)(const ih_lm_kv *kv, int32_t slot_group, const ih_lm_queries *qs, const float *q, int from,
                            int count, size_t at)
{
    const KV_TYPE *k = (const KV_TYPE *)kv->k + (size_t)slot_group * kv->head_dim * 16;
    vf sum[SCORE_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < count; i++)
        sum[i] = vf_zero();
    for (int32_t d = 0; d < kv->head_dim; d++) {
        vf key = LOAD_KV(k + (size_t)d * 16);
#pragma GCC unroll 16
        for (int i = 0; i < count; i++)
            sum[i] = vf_fma(key, vf_set(q[(size_t)i * HEAD_DIM_MAX + d]), sum[i]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) {
        vf score = vf_mul(sum[i], vf_set(qs->scale));
        if (SCALED)
            score = vf_mul(score, vf_load(kv->k_scale + (size_t)slot_group * 16));
        vf_store(qs->scores + (from + i) * qs->score_stride + at, score);
    }
}

/* Turns a query's scores into weights; lanes outside of first .. last become zero. Returns 1 / sum. */
static float NAME(soften)(const ih_lm_kv *kv, float *scores, int32_t base, int32_t first, int32_t last)
{
    int32_t from = first / 16, to = last / 16;
    vf largest = vf_set(-INFINITY), sum = vf_zero();
    for (int32_t g = from; g <= to; g++) {
        int low = g == from ? first % 16 : 0, high = g == to ? last % 16 : 15;
        vf here = vf_load(scores + (size_t)(g - base) * 16);
        if (low > 0 || high < 15) { /* what is not seen must not be the largest */
            float lane[16];
            vf_store(lane, here);
            for (int i = 0; i < 16; i++)
                lane[i] = i < low || i > high ? -INFINITY : lane[i];
            here = vf_load(lane);
        }
        largest = vf_max(largest, here);
    }
    vf top = vf_set(vf_largest(largest));
    for (int32_t g = from; g <= to; g++) {
        float *at = scores + (size_t)(g - base) * 16;
        vf weight = vf_exp(vf_sub(vf_load(at), top));
        weight = vf_keep(weight, g == from ? first % 16 : 0, g == to ? last % 16 : 15);
        sum = vf_add(sum, weight);
        if (SCALED)
            weight = vf_mul(weight, vf_load(kv->v_scale + (size_t)(g % kv->groups) * 16));
        vf_store(at, weight);
    }
    return 1.0f / vf_tree(sum);
}

/* out = weights times V for `count` queries and `wide` registers of the head; both constants where this is inlined. */
LANES void NAME(mix_tile)(const ih_lm_kv *kv, const ih_lm_queries *qs, int from, int count, int wide, int32_t d, int32_t base,
                          int32_t first, int32_t last, const float *inverse)
{
    int32_t ring = kv->groups * 16, slot = first % ring;
    const float *scores = qs->scores + from * qs->score_stride - (size_t)base * 16;
    vf sum[ATTEND_ROWS * ATTEND_WIDE];
#pragma GCC unroll 24
    for (int i = 0; i < count * wide; i++)
        sum[i] = vf_zero();
    for (int32_t p = first; p <= last; p++) {
        const KV_TYPE *v = (const KV_TYPE *)kv->v + (size_t)slot * kv->head_dim + d;
        vf value[ATTEND_WIDE];
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            value[j] = LOAD_KV(v + 16 * j);
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            vf weight = vf_set(scores[i * qs->score_stride + p]);
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++)
                sum[i * wide + j] = vf_fma(weight, value[j], sum[i * wide + j]);
        }
        slot = slot + 1 == ring ? 0 : slot + 1;
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            vf_store(qs->out[from + i] + d + 16 * j, vf_mul(sum[i * wide + j], vf_set(inverse[from + i])));
}

/* The largest tile that fits: `most`, or 3, 2, 1. */
LANES int NAME(tile_of)(int left, int most)
{
    return left >= most ? most : left > 3 ? 3 : left;
}

#define EACH_COUNT(X, most, argument) \
    {                                \
        if (count == most)           \
            X(most, argument);       \
        else if (count == 3)         \
            X(3, argument);          \
        else if (count == 2)         \
            X(2, argument);          \
        else                         \
            X(1, argument);          \
    }

static void NAME(scores)(const ih_lm_kv *kv, const ih_lm_queries *qs, int32_t base, int32_t end)
{
    float q[IH_LM_QUERIES * HEAD_DIM_MAX]; /* side by side: one address and constant offsets in the inner loop */
    for (int i = 0; i < qs->count; i++)
        memcpy(q + (size_t)i * HEAD_DIM_MAX, qs->q[i], (size_t)kv->head_dim * sizeof(float));
    for (int32_t g = base; g <= end; g++)
        for (int from = 0, count; from < qs->count; from += count) {
            count = NAME(tile_of)(qs->count - from, SCORE_ROWS);
#define SCORE(n, at) NAME(score_tile)(kv, g % kv->groups, qs, q + (size_t)from * HEAD_DIM_MAX, from, n, at)
            EACH_COUNT(SCORE, SCORE_ROWS, (size_t)(g - base) * 16)
#undef SCORE
        }
}

static void NAME(mix)(const ih_lm_kv *kv, const ih_lm_queries *qs, int32_t base, const float *inverse)
{
    for (int from = 0, count; from < qs->count; from += count) {
        count = NAME(tile_of)(qs->count - from, ATTEND_ROWS);
        int32_t first = qs->first[from], last = qs->last[from];
        for (int i = 1; i < count; i++) {
            first = qs->first[from + i] < first ? qs->first[from + i] : first;
            last = qs->last[from + i] > last ? qs->last[from + i] : last;
        }
        int32_t d = 0;
#define MIX(n, wide) NAME(mix_tile)(kv, qs, from, n, wide, d, base, first, last, inverse)
        for (; d + 16 * ATTEND_WIDE <= kv->head_dim; d += 16 * ATTEND_WIDE)
            EACH_COUNT(MIX, ATTEND_ROWS, ATTEND_WIDE)
        for (; d < kv->head_dim; d += 16)
            EACH_COUNT(MIX, ATTEND_ROWS, 1)
#undef MIX
    }
}

static void NAME(attend)(const ih_lm_kv *kv, const ih_lm_queries *qs)
{
    int32_t base = qs->first[0], end = qs->last[0];
    float inverse[IH_LM_QUERIES];
    for (int i = 1; i < qs->count; i++) {
        base = qs->first[i] < base ? qs->first[i] : base;
        end = qs->last[i] > end ? qs->last[i] : end;
    }
    base /= 16, end /= 16;
    NAME(scores)(kv, qs, base, end);
    for (int i = 0; i < qs->count; i++) {
        float *scores = qs->scores + i * qs->score_stride;
        for (int32_t at = 0; at < (qs->first[i] / 16 - base) * 16; at++)
            scores[at] = 0;
        for (int32_t at = (qs->last[i] / 16 + 1 - base) * 16; at < (end + 1 - base) * 16; at++)
            scores[at] = 0;
        inverse[i] = NAME(soften)(kv, scores, base, qs->first[i], qs->last[i]);
    }
    NAME(mix)(kv, qs, base, inverse);
}
#undef EACH_COUNT
