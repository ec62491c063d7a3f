/* From logits to a token: top-k, top-p, min-p, then temperature, in llama.cpp's default order. The draw depends only on
 * (seed, position), so that a run taken up elsewhere from its token ids goes on as it would have.
 */
#include "lm/lm.h"
#include "lm/scalar.h"

#define FAR_BELOW 30.0f /* a logit this far below the best weighs exp(-30) = 1e-13: less than a float's sum can show */

int32_t ih_lm_argmax(const float *x, int32_t n)
{
    float lane[64], best = -INFINITY;
    int32_t i = 0;
    for (int j = 0; j < 64; j++)
        lane[j] = -INFINITY;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 64; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    for (int j = 0; j < 64; j++)
        best = lane[j] > best ? lane[j] : best;
    for (i = 0; i < n; i++)
        if (x[i] == best)
            return i;
    return 0; /* only NaNs */
}

/* SplitMix64 (Steele, Lea, Flood 2014) as a hash of (seed, position): uniform in [0, 1). */
static double uniform(uint64_t seed, uint64_t at)
{
    uint64_t z = seed + (at + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* A heap of indices, the largest logit (then the lowest index) on top. */
static int above(const float *x, int32_t a, int32_t b)
{
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

static void sift_down(const float *x, int32_t *heap, int32_t size, int32_t at)
{
    int32_t moved = heap[at];
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= size)
            break;
        if (child + 1 < size && above(x, heap[child + 1], heap[child]))
            child++;
        if (!above(x, heap[child], moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static int32_t pop(const float *x, int32_t *heap, int32_t size)
{
    int32_t top = heap[0];
    heap[0] = heap[size - 1];
    sift_down(x, heap, size - 1, 0);
    heap[size - 1] = top; /* so that what was popped stands at the end, best last */
    return top;
}

/* Sum of the weights that top-p takes its share of: those of the best `count` (0: all). */
static double weight_of(const float *x, const int32_t *ids, int32_t n, float best)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += ih_expf(x[ids[i]] - best);
    return sum;
}

/* Orders ids[n] so that the last `kept` (returned) are the best by top-k and top-p. */
static int32_t keep_best(const float *x, int32_t *ids, int32_t n, const ih_lm_sampling *s, float best)
{
    int32_t limit = s->top_k > 0 && s->top_k < n ? s->top_k : n, kept = 0;
    for (int32_t i = n / 2 - 1; i >= 0; i--)
        sift_down(x, ids, n, i);
    if (limit < n)
        for (; kept < limit; kept++)
            pop(x, ids, n - kept);
    if (!(s->top_p < 1.0f))
        return limit < n ? limit : n;
    double total = limit < n ? weight_of(x, ids + n - limit, limit, best) : weight_of(x, ids, n, best), sum = 0;
    for (int32_t i = 0; i < limit; i++) {
        int32_t id = limit < n ? ids[n - 1 - i] : pop(x, ids, n - i);
        sum += ih_expf(x[id] - best);
        if (sum >= s->top_p * total)
            return i + 1;
    }
    return limit;
}

int32_t ih_lm_sample(const float *x, int32_t n, const ih_lm_sampling *s, uint64_t at, float *scratch)
{
    int32_t greedy = ih_lm_argmax(x, n);
    float best = x[greedy];
    if (!(s->temperature > 0) || !(best > -INFINITY) || best == INFINITY)
        return greedy;
    int32_t *ids = (int32_t *)scratch, count = 0;
    float *weight = scratch + n;
    for (int32_t i = 0; i < n; i++)
        if (x[i] > best - FAR_BELOW)
            ids[count++] = i;
    int ordered = (s->top_k > 0 && s->top_k < count) || s->top_p < 1.0f;
    int32_t kept = ordered ? keep_best(x, ids, count, s, best) : count;
    ids += count - kept;
    double total = 0;
    for (int32_t i = 0; i < kept; i++) {
        int enough = !(s->min_p > 0) || ih_expf(x[ids[i]] - best) >= s->min_p;
        weight[i] = enough ? ih_expf((x[ids[i]] - best) / s->temperature) : 0;
        total += weight[i];
    }
    double left = uniform(s->seed, at) * total;
    for (int32_t i = 0; i < kept; i++) {
        left -= weight[i];
        if (left < 0 && weight[i] > 0)
            return ids[i];
    }
    return greedy;
}
