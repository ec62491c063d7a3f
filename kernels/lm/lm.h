/* The language-model hall: what its C files share. One call of ih_lm_run() is one step: all tokens of a request through
 * all layers, with the gate polled between short pieces of work.
 *
 *   GGUF --gguf.py, repack.py--> stream of panels --engine.c--> logits --sample.c--> token
 *
 * A weight matrix (rows, cols) is stored as *panels* of sixteen interleaved rows, so that a vector's lanes are rows and
 * lanes are never mixed: every variant adds up in the same order and is equal to reference.c bit for bit, floats too.
 * One panel is a sequence of blocks of 32 columns; a block is, in bytes:
 *
 *   Q4_1  64: f16 scale[16], f16 min[16]   256: nibbles, line j of 4: byte 4r+b = column 4j+b | column 16+4j+b << 4, row r
 *   Q4_0  as two blocks together: 64: f16 scale[2][16], then 2 x 256 of nibbles (an odd last block is padded)
 *   Q8_0  as two blocks together: 64: f16 scale[2][16], then 2 x 512: line j of 8: byte 4r+b = column 4j+b, plus 128
 *   Q6_K  128: f32 scale[2][16] (one for each 16 columns: d * sub-scale, exact)   512: as Q8_0, plus 32
 *   F16   1024: f16 value[32][16], column by column     F32  2048: f32 value[32][16]
 *
 * All layers lie in one stream in the order of use, so that a prefetch running ahead never misses the next tensor.
 */
#ifndef IH_LM_H
#define IH_LM_H

#include "common/gate_word.h"

#include <stddef.h>
#include <stdint.h>

#define IH_LM_PANEL 16 /* rows interleaved in a panel, and lanes of every vector here */
#define IH_LM_BLOCK 32 /* columns that share a scale */

enum ih_lm_type { IH_LM_Q4_0, IH_LM_Q4_1, IH_LM_Q8_0, IH_LM_Q6_K, IH_LM_F16, IH_LM_F32, IH_LM_TYPES };

typedef struct ih_lm_matrix {
    const uint8_t *data; /* (ceil(rows / 16), ih_lm_panel_bytes()) */
    int32_t type, rows, cols;
} ih_lm_matrix;

/* The activations of a step's tokens, quantised in blocks of 32: value = scale * q. */
typedef struct ih_lm_input {
    const int8_t *q;           /* (cols / 32, tokens, 32) */
    const float *scale;        /* (cols / 32, tokens), rounded through f16 as in GGML's Q8_0 and Q8_1 blocks */
    const float *scaled_sum;   /* (cols / 32, tokens): scale * sum(q), rounded through f16: times a Q4_1 block's min */
    const int32_t *neg128;     /* (cols / 32, tokens): -128 * sum(q): undoes the offset of unsigned weights */
    const int32_t *half;       /* (cols / 32, tokens): sum of the first sixteen q */
    const float *values;       /* (tokens, cols): for F16 and F32 matrices */
    int32_t tokens, cols;
} ih_lm_input;

/* One layer's and one KV head's part of a sequence's cache. Positions go round a ring of `groups` groups of sixteen. */
typedef struct ih_lm_kv {
    void *k;        /* (groups, head_dim, 16): lanes are positions */
    void *v;        /* (groups * 16, head_dim) */
    float *k_scale; /* (groups * 16); NULL for f16 */
    float *v_scale;
    int32_t groups, head_dim;
} ih_lm_kv;

enum ih_lm_kv_type { IH_LM_KV_F16, IH_LM_KV_I8 };

#define IH_LM_QUERIES 12 /* most queries that one call of `attend` takes */

/* Queries that share a KV head. Query i sees the positions first[i] .. last[i]. */
typedef struct ih_lm_queries {
    const float *q[IH_LM_QUERIES];  /* (head_dim,) each */
    float *out[IH_LM_QUERIES];      /* (head_dim,) each */
    int32_t first[IH_LM_QUERIES], last[IH_LM_QUERIES];
    int32_t count;
    float scale;
    float *scores; /* scratch, (IH_LM_QUERIES, score_stride) */
    size_t score_stride;
} ih_lm_queries;

/* y[t * y_stride + row] = (add ? y : 0) + sum over the columns, for the rows of panels [begin, end). */
typedef void ih_lm_matmul_fn(const ih_lm_matrix *w, const ih_lm_input *x, int32_t begin, int32_t end, float *y,
                             size_t y_stride, int add);

/* A run of a prompt's tokens at consecutive positions of one sequence, and the heads that share one KV head. */
typedef struct ih_lm_prompt {
    const float *q; /* (tokens, stride): a token's `share` heads of head_dim lie side by side */
    float *out;     /* as q */
    size_t stride;
    int32_t tokens, share, position, window;
    float scale;
} ih_lm_prompt;

/* Kernels for a prompt, where the hardware multiplies whole tiles of bf16: as near to exact arithmetic as the others and nearer,
 * but not the same bits. A token's bits depend on its own row alone, and on its positions' spans, whatever it runs with.
 * Packed activations are bf16, (tokens / 16, cols / 32, 16, 32), the columns of a block in an order of the variant's own. */
typedef struct ih_lm_wide {
    int32_t macs_per_us;
    void (*pack)(const float *x, int32_t n, int32_t t, uint16_t *y); /* n columns become row t */
    /* y = or += x times w for the panels [begin, end); w is Q4_0, Q4_1 or Q8_0. `scratch` has ih_lm_wide_bytes(). */
    void (*matmul)(const ih_lm_matrix *w, const uint16_t *x, int32_t tokens, int32_t begin, int32_t end, float *y, size_t y_stride,
                   int add, void *scratch);
    /* y (packed) = silu(x times gate) * (x times up), for the panels [begin, end) of both, which have one type. */
    void (*gated)(const ih_lm_matrix *gate, const ih_lm_matrix *up, const uint16_t *x, int32_t tokens, int32_t begin, int32_t end,
                  uint16_t *y, void *scratch);
    void (*attend)(const ih_lm_kv *kv, int kv_type, const ih_lm_prompt *run, void *scratch);
    size_t (*attend_bytes)(int32_t rows, int32_t head_dim); /* of its scratch, for so many (token, head) */
} ih_lm_wide;

#define IH_LM_WIDE_LEAST 16 /* tokens of one sequence in a step that are worth whole tiles */
#define IH_LM_WIDE_RUN 32   /* tokens that `attend` takes at once */
#define IH_LM_CHUNK_US 20   /* of work aimed at between two polls; the promise is IH_GATE_POLL_NS */

/* One instruction set's kernels. reference.c is their meaning. */
typedef struct ih_lm_variant {
    const char *name;
    int (*supported)(void);
    int32_t macs_per_us; /* a low guess at its int8 rate on one core: sets how much is done between two polls */
    ih_lm_matmul_fn *matmul[IH_LM_TYPES];
    /* One block of 32 floats to q[32]; returns nothing that depends on other blocks. */
    void (*quantise)(const float *x, int8_t *q, float *scale, float *scaled_sum, int32_t *neg128, int32_t *half);
    void (*rmsnorm)(const float *x, const float *weight, int32_t n, float epsilon, float *y);
    /* In place over n floats: x[2i], x[2i+1] turned by the angle whose cos and sin stand (doubled, signed) in c and s. */
    void (*rope)(float *x, const float *c, const float *s, int32_t n);
    void (*swiglu)(const float *gate, const float *up, int32_t n, float *y); /* y = gate / (1 + exp(-gate)) * up */
    void (*to_f16)(const float *x, int32_t n, uint16_t *y);
    void (*attend[2])(const ih_lm_kv *kv, const ih_lm_queries *queries); /* by enum ih_lm_kv_type */
    const ih_lm_wide *wide; /* NULL: prompts take the kernels above, with the bits of any other cut and instruction set */
} ih_lm_variant;

/* X(name): every variant that this build may carry, fastest last. A variant of another architecture is not compiled. */
#if defined(__x86_64__)
#define IH_LM_VARIANTS(X) X(reference) X(avx2) X(avxvnni) X(avx512vnni) X(amxint8) X(amxbf16)
#elif defined(__aarch64__)
#define IH_LM_VARIANTS(X) X(reference) X(neon) X(dotprod) X(i8mm)
#else
#define IH_LM_VARIANTS(X) X(reference)
#endif
#define IH_LM_DECLARE(name) extern const ih_lm_variant ih_lm_##name;
IH_LM_VARIANTS(IH_LM_DECLARE)

const ih_lm_variant *ih_lm_variant_at(int32_t index); /* NULL past the end */

typedef struct ih_lm_layer {
    const float *attn_norm, *ffn_norm; /* (n_embd,) */
    ih_lm_matrix q, k, v, o, gate, up, down;
} ih_lm_layer;

typedef struct ih_lm_model {
    int32_t n_layer, n_embd, n_ffn, n_head, n_kv_head, head_dim, rope_dim, n_vocab;
    float epsilon;
    const double *rope_frequency; /* (rope_dim / 2,), radians a position */
    ih_lm_layer *layers;
    ih_lm_matrix embed, head;
    const float *out_norm;
} ih_lm_model;

/* A sequence's KV cache. All its memory belongs to the caller. */
typedef struct ih_lm_sequence {
    uint8_t *k, *v;            /* (n_layer, n_kv_head, groups * 16 * head_dim) elements */
    float *k_scale, *v_scale;  /* (n_layer, n_kv_head, groups * 16); NULL for f16 */
    int32_t kv_type, groups, window; /* window: positions that a token sees, itself included; 0 = all */
} ih_lm_sequence;

/* One step: what is asked, how far it has come, and its scratch. */
typedef struct ih_lm_step {
    int32_t n_tokens, n_wide;          /* the first n_wide tokens take the variant's wide kernels: ih_lm_wide_tokens() */
    const int32_t *tokens, *positions; /* (n_tokens,) */
    ih_lm_sequence **sequences;        /* (n_tokens,) */
    int32_t n_outputs;
    const int32_t *outputs;            /* (n_outputs,) indices of the tokens whose logits are wanted */
    int32_t n_head_panels;             /* -1: the whole head; else only these panels, in this order */
    const int32_t *head_panels;
    float *logits;                     /* (n_outputs, logits_stride) */
    size_t logits_stride;

    int32_t op, item;                  /* the cursor: item `item` of op `op` comes next */
    int32_t chunk_budget;              /* > 0: return IH_PREEMPTED after this many chunks, whatever the gate says */

    const ih_lm_variant *variant;
    int32_t max_tokens, max_threads;
    size_t score_stride;
    float *x, *normed, *query, *key, *value, *gate, *up; /* (max_tokens, width) each */
    float *rope_cos, *rope_sin;                          /* (max_tokens, rope_dim) */
    float *scores;                                       /* (max_threads, IH_LM_QUERIES, score_stride) */
    int8_t *q;
    float *scale, *scaled_sum;
    int32_t *neg128, *half;
    uint16_t *wide_x, *wide_ffn;       /* packed: (max_tokens, width) */
    uint8_t *wide_scratch;             /* (max_threads, wide_stride) */
    size_t wide_stride;
} ih_lm_step;

size_t ih_lm_panel_bytes(int32_t type, int32_t cols);
int32_t ih_lm_panels(const ih_lm_matrix *w);
/* Row `row` of a matrix as floats: the embedding lookup. */
void ih_lm_row(const ih_lm_matrix *w, int32_t row, float *y);

/* Bytes of scratch that a step of at most max_tokens over at most max_positions needs, and its carving. Both read
 * step->max_tokens and step->max_threads. */
size_t ih_lm_step_bytes(const ih_lm_step *step, const ih_lm_model *model, int32_t max_positions);
void ih_lm_step_carve(ih_lm_step *step, const ih_lm_model *model, int32_t max_positions, void *scratch);
/* Whether the variant's wide kernels run this model. */
int ih_lm_is_wide(const ih_lm_model *model, const ih_lm_variant *variant);
/* How many of a step's tokens they take: the leading runs of at least IH_LM_WIDE_LEAST consecutive tokens of one sequence. */
int32_t ih_lm_wide_tokens(const ih_lm_model *model, const ih_lm_step *step);
/* The largest batch of which one panel is still a short piece of work between two polls; if `wide`, one that is all prompt. */
int32_t ih_lm_batch_limit(const ih_lm_model *model, const ih_lm_variant *variant, int wide);

/* Runs the step on from its cursor, with up to `threads` threads (at most max_threads) and the same bits for any number of
 * them: IH_DONE, or IH_PREEMPTED when the gate closed (call again to go on). */
int ih_lm_run(const ih_lm_model *model, ih_lm_step *step, const ih_gate *gate, int32_t threads);

typedef struct ih_lm_sampling {
    float temperature; /* 0: greedy */
    int32_t top_k;     /* 0: all */
    float top_p, min_p;
    uint64_t seed;
} ih_lm_sampling;

/* Draws an index of logits[n]; `at` is the position, so that (seed, position) alone fix the draw. `scratch` has 2n floats. */
int32_t ih_lm_sample(const float *logits, int32_t n, const ih_lm_sampling *sampling, uint64_t at, float *scratch);
int32_t ih_lm_argmax(const float *x, int32_t n);

#endif
