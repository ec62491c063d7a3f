/* The meaning of every kernel, in plain loops. Each fast variant gives the same bits: integers exactly, and floats because
 * the order of additions is fixed here: lanes are rows (or positions), and are mixed only by `tree`. */
#pragma GCC optimize("fp-contract=off") /* only what is written as fmaf is fused */

#include "lm/lm.h"
#include "lm/scalar.h"

/* Sixteen partial sums to one: halves are added to halves. */
static float tree(float lane[IH_LM_PANEL])
{
    for (int width = IH_LM_PANEL / 2; width; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

static uint16_t half_at(const uint8_t *at, int index)
{
    uint16_t half;
    memcpy(&half, at + 2 * index, sizeof half);
    return half;
}

static float float_at(const uint8_t *at, int index)
{
    float value;
    memcpy(&value, at + 4 * index, sizeof value);
    return value;
}

/* Sum of w * q over columns [from, to) of a block, row r; `lines` are the block's unsigned bytes or nibbles. */
static int32_t dot_bytes(const uint8_t *lines, const int8_t *q, int r, int from, int to)
{
    int32_t sum = 0;
    for (int c = from; c < to; c++)
        sum += lines[c / 4 * 64 + 4 * r + c % 4] * q[c];
    return sum;
}

static int32_t dot_nibbles(const uint8_t *lines, const int8_t *q, int r)
{
    int32_t sum = 0;
    for (int c = 0; c < 16; c++) {
        uint8_t pair = lines[c / 4 * 64 + 4 * r + c % 4];
        sum += (pair & 15) * q[c] + (pair >> 4) * q[c + 16];
    }
    return sum;
}

typedef struct { /* one block of one token's activations */
    const int8_t *q;
    float scale, scaled_sum;
    int32_t neg128, half;
} block_input;

static float row_q4_1(const uint8_t *block, int r, const block_input *x, float sum)
{
    float isum = (float)dot_nibbles(block + 64, x->q, r);
    sum = fmaf(isum, ih_f16_to_f32(half_at(block, r)) * x->scale, sum);
    return fmaf(ih_f16_to_f32(half_at(block + 32, r)), x->scaled_sum, sum);
}

static float row_q4_0(const uint8_t *scales, const uint8_t *lines, int r, const block_input *x, float sum)
{
    float isum = (float)(dot_nibbles(lines, x->q, r) + x->neg128 / 16);
    return fmaf(isum, ih_f16_to_f32(half_at(scales, r)) * x->scale, sum);
}

static float row_q8_0(const uint8_t *scales, const uint8_t *lines, int r, const block_input *x, float sum)
{
    float isum = (float)(dot_bytes(lines, x->q, r, 0, 32) + x->neg128);
    return fmaf(isum, ih_f16_to_f32(half_at(scales, r)) * x->scale, sum);
}

static float row_q6_k(const uint8_t *block, int r, const block_input *x, float sum)
{
    int32_t rest = x->neg128 / -128 - x->half;
    float low = (float)(dot_bytes(block + 128, x->q, r, 0, 16) - 32 * x->half);
    float high = (float)(dot_bytes(block + 128, x->q, r, 16, 32) - 32 * rest);
    sum = fmaf(low, float_at(block, r) * x->scale, sum);
    return fmaf(high, float_at(block + 64, r) * x->scale, sum);
}

static float row_quantised(const ih_lm_matrix *w, const uint8_t *panel, int r, const ih_lm_input *x, int32_t token)
{
    float sum = 0;
    for (int32_t b = 0; b < w->cols / IH_LM_BLOCK; b++) {
        size_t at = (size_t)b * x->tokens + token;
        block_input in = {x->q + at * IH_LM_BLOCK, x->scale[at], x->scaled_sum[at], x->neg128[at], x->half[at]};
        const uint8_t *pair;
        switch (w->type) {
        case IH_LM_Q4_1:
            sum = row_q4_1(panel + (size_t)b * 320, r, &in, sum);
            break;
        case IH_LM_Q4_0:
            pair = panel + (size_t)(b / 2) * 576;
            sum = row_q4_0(pair + b % 2 * 32, pair + 64 + b % 2 * 256, r, &in, sum);
            break;
        case IH_LM_Q8_0:
            pair = panel + (size_t)(b / 2) * 1088;
            sum = row_q8_0(pair + b % 2 * 32, pair + 64 + b % 2 * 512, r, &in, sum);
            break;
        default:
            sum = row_q6_k(panel + (size_t)b * 640, r, &in, sum);
        }
    }
    return sum;
}

static float row_floats(const ih_lm_matrix *w, const uint8_t *panel, int r, const ih_lm_input *x, int32_t token)
{
    const float *values = x->values + (size_t)token * x->cols;
    float sum = 0;
    for (int32_t c = 0; c < w->cols; c++) {
        size_t at = (size_t)c * IH_LM_PANEL + r;
        float weight = w->type == IH_LM_F16 ? ih_f16_to_f32(half_at(panel + 2 * at, 0)) : float_at(panel + 4 * at, 0);
        sum = fmaf(weight, values[c], sum);
    }
    return sum;
}

static void matmul(const ih_lm_matrix *w, const ih_lm_input *x, int32_t begin, int32_t end, float *y, size_t y_stride, int add)
{
    size_t bytes = ih_lm_panel_bytes(w->type, w->cols);
    int quantised = w->type < IH_LM_F16;
    for (int32_t p = begin; p < end; p++)
        for (int32_t t = 0; t < x->tokens; t++)
            for (int r = 0; r < IH_LM_PANEL; r++) {
                const uint8_t *panel = w->data + (size_t)p * bytes;
                float sum = quantised ? row_quantised(w, panel, r, x, t) : row_floats(w, panel, r, x, t);
                float *out = y + t * y_stride + (size_t)p * IH_LM_PANEL + r;
                *out = add ? *out + sum : sum;
            }
}

/* As GGML's quantize_row_q8_0/q8_1 on x86: the largest becomes 127, nearest even, scale and sum kept in f16. */
static void quantise(const float *x, int8_t *q, float *scale, float *scaled_sum, int32_t *neg128, int32_t *half)
{
    float largest = 0;
    for (int i = 0; i < IH_LM_BLOCK; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float step = largest / 127.0f, inverse = largest > 0 ? 127.0f / largest : 0;
    int32_t sum[2] = {0, 0};
    for (int i = 0; i < IH_LM_BLOCK; i++) {
        float level = ih_round_even(x[i] * inverse);
        level = level > -127.0f ? level : -127.0f; /* a NaN becomes -127 */
        q[i] = (int8_t)(level < 127.0f ? level : 127.0f);
        sum[i / 16] += q[i];
    }
    *scale = ih_round_f16(step);
    *scaled_sum = ih_round_f16(step * (float)(sum[0] + sum[1]));
    *neg128 = -128 * (sum[0] + sum[1]);
    *half = sum[0];
}

static void rmsnorm(const float *x, const float *weight, int32_t n, float epsilon, float *y)
{
    float lane[IH_LM_PANEL] = {0};
    for (int32_t i = 0; i < n; i++)
        lane[i % IH_LM_PANEL] = fmaf(x[i], x[i], lane[i % IH_LM_PANEL]);
    float scale = 1.0f / sqrtf(tree(lane) / (float)n + epsilon);
    for (int32_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static void rope(float *x, const float *c, const float *s, int32_t n)
{
    for (int32_t i = 0; i < n; i += 2) {
        float even = x[i], odd = x[i + 1];
        x[i] = fmaf(even, c[i], odd * s[i]);
        x[i + 1] = fmaf(odd, c[i + 1], even * s[i + 1]);
    }
}

static void swiglu(const float *gate, const float *up, int32_t n, float *y)
{
    for (int32_t i = 0; i < n; i++)
        y[i] = gate[i] / (1.0f + ih_expf(-gate[i])) * up[i];
}

static void to_f16(const float *x, int32_t n, uint16_t *y)
{
    for (int32_t i = 0; i < n; i++)
        y[i] = ih_f32_to_f16(x[i]);
}

/* Element `at` of a cache: f16, or int8 whose scale is applied elsewhere. */
static float cached(const void *cache, size_t at, int kv_type)
{
    return kv_type == IH_LM_KV_F16 ? ih_f16_to_f32(((const uint16_t *)cache)[at]) : (float)((const int8_t *)cache)[at];
}

static void attend_one(const ih_lm_kv *kv, int kv_type, const float *q, int32_t first, int32_t last, float scale, float *scores,
                       float *out)
{
    int32_t ring = kv->groups * IH_LM_PANEL, hd = kv->head_dim;
    float largest = -INFINITY, lane[IH_LM_PANEL] = {0};
    for (int32_t p = first; p <= last; p++) {
        int32_t slot = p % ring;
        float dot = 0;
        for (int32_t d = 0; d < hd; d++)
            dot = fmaf(cached(kv->k, ((size_t)(slot / 16) * hd + d) * 16 + slot % 16, kv_type), q[d], dot);
        dot *= scale;
        if (kv_type == IH_LM_KV_I8)
            dot *= kv->k_scale[slot];
        scores[p - first] = dot;
        largest = dot > largest ? dot : largest;
    }
    for (int32_t p = first; p <= last; p++) {
        scores[p - first] = ih_expf(scores[p - first] - largest);
        lane[p % 16] += scores[p - first];
        if (kv_type == IH_LM_KV_I8)
            scores[p - first] *= kv->v_scale[p % ring];
    }
    float inverse = 1.0f / tree(lane);
    for (int32_t d = 0; d < hd; d++) {
        float sum = 0;
        for (int32_t p = first; p <= last; p++)
            sum = fmaf(scores[p - first], cached(kv->v, (size_t)(p % ring) * hd + d, kv_type), sum);
        out[d] = sum * inverse;
    }
}

static void attend_f16(const ih_lm_kv *kv, const ih_lm_queries *qs)
{
    for (int32_t i = 0; i < qs->count; i++)
        attend_one(kv, IH_LM_KV_F16, qs->q[i], qs->first[i], qs->last[i], qs->scale, qs->scores, qs->out[i]);
}

static void attend_i8(const ih_lm_kv *kv, const ih_lm_queries *qs)
{
    for (int32_t i = 0; i < qs->count; i++)
        attend_one(kv, IH_LM_KV_I8, qs->q[i], qs->first[i], qs->last[i], qs->scale, qs->scores, qs->out[i]);
}

static int supported(void)
{
    return 1;
}

const ih_lm_variant ih_lm_reference = {
    .name = "scalar",
    .supported = supported,
    .macs_per_us = 500,
    .matmul = {matmul, matmul, matmul, matmul, matmul, matmul},
    .quantise = quantise,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .swiglu = swiglu,
    .to_f16 = to_f16,
    .attend = {attend_f16, attend_i8},
};
