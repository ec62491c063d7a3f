/* The ops of a step but for the matrix products (ops.c): each works on items, and engine.c says which and how many.
 *
 * The first n_wide tokens of a step, those of long prompts, take the variant's wide kernels; the others are numbered from
 * there in the quantised activations.
 */
#ifndef IH_LM_OPS_H
#define IH_LM_OPS_H

#include "lm/lm.h"

#define WIDE_UNIT 8          /* tokens that make an item of the wide attention */
#define WIDE_POSITIONS 2048  /* that it sees at most: more would be too long a piece of work between two polls */

typedef struct {
    const ih_lm_model *model;
    ih_lm_step *step;
    const ih_lm_layer *layer;
    int32_t index; /* of the layer */
} place;

ih_lm_input narrow_input(const ih_lm_step *s, const float *values, int32_t cols, int32_t tokens);
/* Row t of `n` columns becomes an input of the products that follow. */
void pack_row(ih_lm_step *s, const float *row, int32_t n, int32_t t);

void op_embed(const place *at, int32_t t);
/* The norm of row t of s->x, packed. */
void op_norm(const place *at, const float *weight, int32_t t);
/* The norm of the token of output i, quantised for the head. */
void op_norm_output(const place *at, int32_t i);
void op_store(const place *at, int32_t t);
/* Items: one KV head of one token, tokens varying fastest; those that attend wide are passed over. */
void op_attend(const place *at, int worker, int32_t begin, int32_t end);
/* Items: one KV head of WIDE_UNIT of the first n_wide tokens. */
void op_attend_wide(const place *at, int worker, int32_t begin, int32_t end);
int attends_wide(const ih_lm_step *s, int32_t t);
/* Items: panels of the head, or of those that are asked for. */
void op_head(const place *at, int32_t begin, int32_t end);

#endif
