/* Compares every variant that this machine runs with reference.c, bit for bit, on random inputs. Stands alone, so that it
 * also runs under qemu (ARM) and under ASan and UBSan. Prints what it compared; exits 1 at the first difference. */
#include "lm/lm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLS = 768, PANELS = 3, MOST = 13, HEAD = 64, GROUPS = 4 };

static uint64_t state = 88172645463325252u;

static uint32_t draw(void) /* xorshift64 (Marsaglia 2003) */
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static float draw_float(float size)
{
    return ((float)(draw() >> 8) * 0x1p-24f - 0.5f) * size;
}

static void *fresh(size_t bytes)
{
    void *at = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!at)
        exit(2);
    memset(at, 0, bytes);
    return at;
}

static void same(const char *variant, const char *what, const void *a, const void *b, size_t bytes)
{
    if (memcmp(a, b, bytes)) {
        printf("%s: %s differs from the reference\n", variant, what);
        exit(1);
    }
}

/* Random bytes, with halves and floats that are small numbers where a block has its scales. */
static void fill_panel(uint8_t *at, int32_t type, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)draw();
    size_t every = type == IH_LM_Q4_1 ? 320 : type == IH_LM_Q4_0 ? 576 : type == IH_LM_Q8_0 ? 1088 : 640;
    for (size_t i = 0; i < bytes; i += every) {
        if (type == IH_LM_Q6_K)
            for (int j = 0; j < 32; j++) {
                float scale = draw_float(1);
                memcpy(at + i + 4 * j, &scale, 4);
            }
        for (int j = 0; type < IH_LM_Q6_K && j < 32; j++)
            at[i + 2 * j + 1] = (uint8_t)(0x28 + draw() % 8); /* f16 near 0.03 .. 0.5 */
    }
    if (type == IH_LM_Q6_K)
        for (size_t i = 0; i < bytes; i++)
            at[i] = i % 640 < 128 ? at[i] : at[i] & 63;
    if (type == IH_LM_F16)
        for (size_t i = 1; i < bytes; i += 2)
            at[i] = (uint8_t)(0x28 + draw() % 8);
    if (type == IH_LM_F32)
        for (size_t i = 0; i < bytes; i += 4) {
            float value = draw_float(2);
            memcpy(at + i, &value, 4);
        }
}

static void check_products(const ih_lm_variant *v, int32_t type, int32_t cols, int32_t tokens)
{
    size_t bytes = ih_lm_panel_bytes(type, cols), count = (size_t)cols / 32 * tokens, out = (size_t)tokens * PANELS * 16;
    uint8_t *panels = fresh(PANELS * bytes);
    float *x = fresh((size_t)tokens * cols * 4), *y[2] = {fresh(out * 4), fresh(out * 4)};
    for (int p = 0; p < PANELS; p++)
        fill_panel(panels + p * bytes, type, bytes);
    for (size_t i = 0; i < (size_t)tokens * cols; i++)
        x[i] = draw_float(8);
    const ih_lm_variant *both[2] = {&ih_lm_reference, v};
    for (int which = 0; which < 2; which++) {
        int8_t *q = fresh(count * 32);
        float *scale = fresh(count * 4), *sum = fresh(count * 4);
        int32_t *neg = fresh(count * 4), *half = fresh(count * 4);
        for (int32_t t = 0; t < tokens; t++)
            for (int32_t b = 0; b < cols / 32; b++) {
                size_t at = (size_t)b * tokens + t;
                both[which]->quantise(x + (size_t)t * cols + 32 * b, q + 32 * at, scale + at, sum + at, neg + at, half + at);
            }
        ih_lm_matrix w = {panels, type, PANELS * 16, cols};
        ih_lm_input in = {q, scale, sum, neg, half, x, tokens, cols};
        both[which]->matmul[type](&w, &in, 0, PANELS, y[which], PANELS * 16, 0);
        both[which]->matmul[type](&w, &in, 1, 2, y[which], PANELS * 16, 1);
        free(q), free(scale), free(sum), free(neg), free(half);
    }
    same(v->name, "matmul", y[0], y[1], out * 4);
    free(panels), free(x), free(y[0]), free(y[1]);
}

static void check_rows(const ih_lm_variant *v)
{
    float x[96], w[96], a[96], b[96], c[96], s[96];
    for (int i = 0; i < 96; i++)
        x[i] = draw_float(40), w[i] = draw_float(4), c[i] = draw_float(2), s[i] = draw_float(2);
    ih_lm_reference.rmsnorm(x, w, 96, 1e-5f, a), v->rmsnorm(x, w, 96, 1e-5f, b);
    same(v->name, "rmsnorm", a, b, sizeof a);
    ih_lm_reference.swiglu(x, w, 96, a), v->swiglu(x, w, 96, b);
    same(v->name, "swiglu", a, b, sizeof a);
    memcpy(a, x, sizeof a), memcpy(b, x, sizeof b);
    ih_lm_reference.rope(a, c, s, 90), v->rope(b, c, s, 90);
    same(v->name, "rope", a, b, sizeof a);
}

static void check_attention(const ih_lm_variant *v, int kv_type, int32_t head_dim, int32_t count)
{
    size_t slots = GROUPS * 16, values = slots * head_dim, bytes = values * (kv_type == IH_LM_KV_F16 ? 2 : 1);
    uint8_t *k = fresh(bytes), *val = fresh(bytes);
    float scales[2][GROUPS * 16], *q = fresh((size_t)count * head_dim * 4), *out[2], *scores = fresh(IH_LM_QUERIES * 96 * 4);
    for (size_t i = 0; i < values; i++) {
        float one = draw_float(2), two = draw_float(2);
        k[i] = (uint8_t)(one * 60), val[i] = (uint8_t)(two * 60);
    }
    for (size_t i = 0; kv_type == IH_LM_KV_F16 && i < values; i++) {
        uint16_t half[2] = {(uint16_t)(0x3000 + draw() % 0xc00), (uint16_t)(0xb000 + draw() % 0xc00)};
        memcpy(k + 2 * i, &half[draw() % 2], 2), memcpy(val + 2 * i, &half[draw() % 2], 2);
    }
    for (size_t i = 0; i < slots; i++)
        scales[0][i] = draw_float(0.1f), scales[1][i] = draw_float(0.1f);
    for (size_t i = 0; i < (size_t)count * head_dim; i++)
        q[i] = draw_float(4);
    ih_lm_kv kv = {k, val, scales[0], scales[1], GROUPS, head_dim};
    for (int which = 0; which < 2; which++) {
        out[which] = fresh((size_t)count * head_dim * 4);
        ih_lm_queries qs = {.count = count, .scale = 0.125f, .scores = scores, .score_stride = 96};
        for (int i = 0; i < count; i++) {
            qs.q[i] = q + (size_t)i * head_dim, qs.out[i] = out[which] + (size_t)i * head_dim;
            qs.first[i] = 41 + i, qs.last[i] = 78 + 2 * i; /* goes round the ring of 64 */
        }
        (which ? v : &ih_lm_reference)->attend[kv_type](&kv, &qs);
    }
    same(v->name, "attend", out[0], out[1], (size_t)count * head_dim * 4);
    free(k), free(val), free(q), free(out[0]), free(out[1]), free(scores);
}

/* Wide kernels differ by what bf16 rounds: within this of the root mean square of the reference's values. */
#define WIDE_TOLERANCE 0.05

static void near(const char *variant, const char *what, const float *a, const float *b, size_t count)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++)
        difference += (a[i] - b[i]) * (double)(a[i] - b[i]), size += a[i] * (double)a[i];
    if (!(difference <= WIDE_TOLERANCE * WIDE_TOLERANCE * size)) {
        printf("%s: %s is not near the reference\n", variant, what);
        exit(1);
    }
}

/* Exact-sized buffers, so that a sanitizer sees what is read or written beyond. Gate and up are one matrix, down the result. */
static void check_wide_products(const ih_lm_variant *v, int32_t type, int32_t cols, int32_t tokens)
{
    size_t bytes = ih_lm_panel_bytes(type, cols), whole = (size_t)(tokens + 15) / 16 * 16, rows = (PANELS + 1) * 16;
    uint8_t *panels = fresh((PANELS + 1) * bytes), *scratch = fresh((size_t)cols * 64);
    uint16_t *packed = fresh(whole * cols * 2), *gated = fresh(whole * rows * 2), *expected = fresh(whole * rows * 2);
    float *x = fresh((size_t)tokens * cols * 4), *y = fresh(tokens * rows * 4), *z = fresh(tokens * rows * 4);
    for (int p = 0; p <= PANELS; p++)
        fill_panel(panels + p * bytes, type, bytes);
    ih_lm_matrix w = {panels, type, (int32_t)rows, cols};
    for (int32_t t = 0; t < tokens; t++) {
        for (int32_t i = 0; i < cols; i++)
            x[t * (size_t)cols + i] = draw_float(0.5f);
        v->wide->pack(x + (size_t)t * cols, cols, t, packed);
        for (size_t r = 0; r < rows; r++) {
            float *weights = fresh((size_t)cols * 4);
            ih_lm_row(&w, (int32_t)r, weights);
            for (int32_t i = 0; i < cols; i++)
                y[t * rows + r] += x[t * (size_t)cols + i] * weights[i];
            free(weights);
        }
    }
    v->wide->matmul(&w, packed, tokens, 0, 3, z, rows, 0, scratch);
    v->wide->matmul(&w, packed, tokens, 3, 4, z, rows, 0, scratch);
    near(v->name, "matmul", y, z, tokens * rows);
    v->wide->matmul(&w, packed, tokens, 0, PANELS + 1, z, rows, 1, scratch);
    for (size_t i = 0; i < tokens * rows; i++)
        z[i] /= 2;
    near(v->name, "matmul added", y, z, tokens * rows);
    v->wide->gated(&w, &w, packed, tokens, 0, 3, gated, scratch);
    v->wide->gated(&w, &w, packed, tokens, 3, PANELS + 1, gated, scratch);
    for (int32_t t = 0; t < tokens; t++) {
        ih_lm_reference.swiglu(y + t * rows, y + t * rows, (int32_t)rows, z + t * rows);
        v->wide->pack(z + t * rows, (int32_t)rows, t, expected);
    }
    for (size_t i = 0; i < (size_t)tokens * rows; i++) { /* bf16 back to float, in the packed order of both */
        size_t t = i / rows, c = i % rows, at = (t / 16 * (rows / 32) + c / 32) * 512 + t % 16 * 32 + c % 32;
        uint32_t bits[2] = {(uint32_t)expected[at] << 16, (uint32_t)gated[at] << 16};
        memcpy(y + i, &bits[0], 4), memcpy(z + i, &bits[1], 4);
    }
    near(v->name, "gated", y, z, (size_t)tokens * rows);
    free(panels), free(scratch), free(packed), free(gated), free(expected), free(x), free(y), free(z);
}

static void check_wide_attention(const ih_lm_variant *v, int kv_type, int32_t head_dim, int32_t tokens, int32_t window)
{
    enum { SHARE = 3, RING = 21, START = 290 };
    size_t slots = RING * 16, values = slots * head_dim, bytes = values * (kv_type == IH_LM_KV_F16 ? 2 : 1), stride = (size_t)SHARE * head_dim;
    uint8_t *k = fresh(bytes), *val = fresh(bytes), *scratch = fresh(v->wide->attend_bytes(SHARE * tokens, head_dim));
    float *scales = fresh(2 * slots * 4), *q = fresh(tokens * stride * 4), *out[2] = {fresh(tokens * stride * 4), fresh(tokens * stride * 4)};
    float *scores = fresh(2 * slots * 4 + 256);
    for (size_t i = 0; i < values; i++) {
        uint16_t half[2] = {(uint16_t)(0x3000 + draw() % 0xc00), (uint16_t)(0xb000 + draw() % 0xc00)};
        if (kv_type == IH_LM_KV_F16)
            memcpy(k + 2 * i, &half[draw() % 2], 2), memcpy(val + 2 * i, &half[draw() % 2], 2);
        else
            k[i] = (uint8_t)(draw_float(2) * 60), val[i] = (uint8_t)(draw_float(2) * 60);
    }
    for (size_t i = 0; i < 2 * slots; i++)
        scales[i] = draw_float(0.05f);
    for (size_t i = 0; i < tokens * stride; i++)
        q[i] = draw_float(4);
    ih_lm_kv kv = {k, val, scales, scales + slots, RING, head_dim};
    ih_lm_prompt prompt = {q, out[1], stride, tokens, SHARE, START, window, 0.125f};
    v->wide->attend(&kv, kv_type, &prompt, scratch);
    for (int32_t i = 0; i < tokens * SHARE; i++) {
        int32_t last = START + i / SHARE;
        ih_lm_queries one = {.count = 1, .scale = 0.125f, .scores = scores, .score_stride = 2 * slots};
        one.q[0] = q + (size_t)i * head_dim, one.out[0] = out[0] + (size_t)i * head_dim;
        one.first[0] = window && last >= window ? last - window + 1 : 0, one.last[0] = last;
        ih_lm_reference.attend[kv_type](&kv, &one);
    }
    near(v->name, "wide attention", out[0], out[1], tokens * stride);
    free(k), free(val), free(scratch), free(scales), free(q), free(out[0]), free(out[1]), free(scores);
}

static void check_wide(const ih_lm_variant *v)
{
    for (int32_t type = 0; type < IH_LM_Q6_K; type++) {
        check_wide_products(v, type, 32, 1);
        check_wide_products(v, type, 96, 16);
        check_wide_products(v, type, 160, 37);
        check_wide_products(v, type, COLS, 50);
    }
    for (int kv_type = 0; kv_type < 2; kv_type++)
        for (int32_t tokens = 1; tokens <= IH_LM_WIDE_RUN; tokens += 5) {
            check_wide_attention(v, kv_type, HEAD, tokens, 0);
            check_wide_attention(v, kv_type, HEAD + 16, tokens, 40);
        }
    printf("%s: wide kernels near\n", v->name);
}

int main(void)
{
    for (int32_t n = 0; ih_lm_variant_at(n); n++) {
        const ih_lm_variant *v = ih_lm_variant_at(n);
        if (!v->supported()) {
            printf("%s: not on this machine\n", v->name);
            continue;
        }
        for (int32_t type = 0; type < IH_LM_TYPES; type++)
            for (int32_t tokens = 1; tokens <= MOST; tokens++)
                check_products(v, type, type == IH_LM_Q6_K ? COLS : COLS / 8 + 32 * (tokens % 3), tokens);
        for (int32_t type = 0; type < IH_LM_Q6_K; type++) { /* whole tiles, a rest, and more blocks and tokens than fit at once */
            check_products(v, type, COLS / 8, 16);
            check_products(v, type, COLS / 8 + 32, 37);
            check_products(v, type, COLS * 3, 16);
            check_products(v, type, COLS * 3 - 32, 150);
        }
        for (int i = 0; i < 20; i++)
            check_rows(v);
        for (int32_t count = 1; count <= IH_LM_QUERIES; count++)
            for (int kv_type = 0; kv_type < 2; kv_type++)
                check_attention(v, kv_type, count % 2 ? HEAD : HEAD + 16, count % 8 + 1);
        printf("%s: equal\n", v->name);
        if (v->wide)
            check_wide(v);
    }
    return 0;
}
