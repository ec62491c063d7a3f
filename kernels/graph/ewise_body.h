/* The element-wise machine: a straight-line float program over blocks of a row that stay in the first cache.
 *
 * Fused chains of Add, Mul, Clip, activations between two quantised tensors run here when they have more than one
 * operand; a chain with one operand is a table of 256 bytes instead (made by running it here, once, at load).
 * The order of operations and the roundings are those of the ONNX nodes, one by one.
 */
typedef float ih_ewise_register[IH_EWISE_BLOCK];

enum { IH_EWISE_SPREAD = 768 }; /* floats that a repeated leaf is spread out to; a longer period is read where it lies */

static void BODY(ewise_load_u8)(float *restrict to, const uint8_t *restrict x, int64_t n, float scale, int32_t zero) {
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)((int32_t)x[i] - zero) * scale;
}

#ifndef BODY_LOOKUP
#define BODY_LOOKUP(to, x, n, table)                                                                                  \
    for (int64_t i = 0; i < (n); i++)                                                                                 \
    (to)[i] = (table)[(x)[i]]
#endif

static void BODY(ewise_load_bytes)(float *restrict to, const ih_ewise_leaf *leaf, uint8_t *const *region, const uint8_t *x, int64_t n) {
    if (leaf->is_u8 == 2) {
        const float *table = (const float *)ih_at(region, leaf->zero);
        BODY_LOOKUP(to, x, n, table);
    } else {
        BODY(ewise_load_u8)(to, x, n, leaf->scale, (int32_t)leaf->zero);
    }
}

/* A periodic leaf over and over, so that a block may start at any phase. */
static void BODY(ewise_spread)(float *restrict to, const ih_ewise_leaf *leaf, uint8_t *const *region, const uint8_t *base, int64_t at) {
    const int64_t period = leaf->period;
    if (leaf->is_u8)
        BODY(ewise_load_bytes)(to, leaf, region, base + at, period);
    else
        __builtin_memcpy(to, (const float *)base + at, (size_t)period * 4);
    for (int64_t i = period; i < period + IH_EWISE_BLOCK; i++)
        to[i] = to[i - period];
}

/* Returns where elements [first, first + n) of a leaf's row are as floats: in place, or loaded into `to`. */
static const float *BODY(ewise_load)(float *restrict to, const float *spread, const ih_ewise_leaf *leaf, uint8_t *const *region,
                                     int64_t at, int64_t first, int64_t n) {
    const uint8_t *base = ih_at(region, leaf->ref);
    const float *f32 = (const float *)base + at;
    if (leaf->mode == IH_LEAF_FLAT) {
        if (!leaf->is_u8)
            return f32 + first;
        BODY(ewise_load_bytes)(to, leaf, region, base + at + first, n);
        return to;
    }
    if (leaf->mode == IH_LEAF_PERIODIC && leaf->period + IH_EWISE_BLOCK <= IH_EWISE_SPREAD)
        return spread + first % leaf->period;
    const int64_t whole = leaf->mode == IH_LEAF_REPEAT ? leaf->period * leaf->times : 0;
    for (int64_t done = 0; done < n;) {
        const int64_t phase = (first + done) % leaf->period, room = leaf->period - phase;
        const int64_t some = room < n - done ? room : n - done;
        const int64_t from = phase + (whole ? (first + done) / whole * leaf->period : 0);
        if (leaf->is_u8)
            BODY(ewise_load_bytes)(to + done, leaf, region, base + at + from, some);
        else
            __builtin_memcpy(to + done, f32 + from, (size_t)some * 4);
        done += some;
    }
    return to;
}

#define EACH(expression)                                                                                              \
    for (int64_t i = 0; i < n; i++)                                                                                   \
        to[i] = (expression);                                                                                         \
    break

static void BODY(ewise_instruction)(int op, float *restrict to, const float *a, const float *b, int64_t n) {
    switch (op) {
    case IH_EW_ADD: EACH(a[i] + b[i]);
    case IH_EW_SUB: EACH(a[i] - b[i]);
    case IH_EW_MUL: EACH(a[i] * b[i]);
    case IH_EW_DIV: EACH(a[i] / b[i]);
    case IH_EW_MIN: EACH(a[i] < b[i] ? a[i] : b[i]);
    case IH_EW_MAX: EACH(a[i] > b[i] ? a[i] : b[i]);
    case IH_EW_NEG: EACH(-a[i]);
    case IH_EW_ABS: EACH(a[i] < 0 ? -a[i] : a[i]);
    case IH_EW_SQRT: EACH(__builtin_sqrtf(a[i]));
    case IH_EW_EXP: EACH(ih_exp(a[i]));
    case IH_EW_ERF: EACH(ih_erf(a[i]));
    case IH_EW_TANH: EACH(ih_tanh(a[i]));
    case IH_EW_SIGMOID: EACH(ih_sigmoid(a[i]));
    case IH_EW_SQUARE: EACH(a[i] * a[i]);
    case IH_EW_ROUND: EACH(ih_round(a[i]));
    }
}
#undef EACH

#ifndef BODY_QUANTISE
#define BODY_QUANTISE(out, x, n, scale, zero)                                                                         \
    for (int64_t i = 0; i < (n); i++)                                                                                 \
    (out)[i] = ih_quantise((x)[i], scale, zero)
#endif

/* Stores elements [first, first + n) of a row: contiguous, or in stretches of `segment` that lie `segment_step` apart. */
static void BODY(ewise_store)(const int64_t *p, uint8_t *out, int64_t at, int64_t first, const float *x, int64_t n) {
    const int64_t segment = p[IH_ewise_segment];
    uint8_t q[IH_EWISE_BLOCK] __attribute__((aligned(64)));
    if (p[IH_ewise_out_kind] != 1) {
        float *to = (float *)out + at + first;
        int64_t i = 0;
        for (; i + 16 <= n; i += 16) /* by vectors: gcc makes `rep movs` of a copy that it knows to be short */
            __builtin_memcpy(to + i, x + i, 64);
        for (; i < n; i++)
            to[i] = x[i];
        return;
    }
    const float scale = ih_bits_f32(p[IH_ewise_out_scale]), zero = (float)p[IH_ewise_out_zero];
    if (!segment) {
        BODY_QUANTISE(out + at + first, x, n, scale, zero);
        return;
    }
    BODY_QUANTISE(q, x, n, scale, zero);
    for (int64_t i = 0; i < n;) {
        const int64_t within = (first + i) % segment, some = segment - within < n - i ? segment - within : n - i;
        uint8_t *to = out + at + (first + i) / segment * p[IH_ewise_segment_step] + within;
        __builtin_memcpy(to, q + i, (size_t)some);
        i += some;
    }
}

void BODY(ewise)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const ih_ewise_instruction *program = (const ih_ewise_instruction *)ih_at(region, p[IH_ewise_program]);
    const ih_ewise_leaf *leaf = (const ih_ewise_leaf *)ih_at(region, p[IH_ewise_leaf_table]);
    const int64_t d1 = p[IH_ewise_d1], d2 = p[IH_ewise_d2], d3 = p[IH_ewise_d3], row = p[IH_ewise_row];
    const int64_t chunk = p[IH_ewise_chunk], chunks = p[IH_ewise_chunks], leaves = p[IH_ewise_leaves];
    uint8_t *out = ih_at(region, p[IH_ewise_out]);
    ih_ewise_register r[IH_EWISE_REGS] __attribute__((aligned(64)));
    float spread[IH_EWISE_SPREADS][IH_EWISE_SPREAD];
    const float *at_register[IH_EWISE_REGS];
    int64_t held[IH_EWISE_REGS]; /* where the constant leaves were loaded from last: mostly where they are again */
    for (int i = 0; i < IH_EWISE_REGS; i++) {
        at_register[i] = r[i];
        held[i] = -1;
    }
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t y = unit / chunks, x0 = unit % chunks * chunk, x1 = x0 + chunk < row ? x0 + chunk : row;
        const int64_t i3 = y % d3, i2 = y / d3 % d2, i1 = y / d3 / d2 % d1, i0 = y / d3 / d2 / d1;
        const int64_t at = i0 * p[IH_ewise_o0] + i1 * p[IH_ewise_o1] + i2 * p[IH_ewise_o2] + i3 * p[IH_ewise_o3];
        for (int64_t l = 0; l < leaves; l++) { /* what is the same for the whole unit */
            const int64_t start = i0 * leaf[l].s0 + i1 * leaf[l].s1 + i2 * leaf[l].s2 + i3 * leaf[l].s3;
            const uint8_t *base = ih_at(region, leaf[l].ref);
            if (start == held[l])
                continue;
            held[l] = start;
            if (leaf[l].mode == IH_LEAF_SCALAR) {
                float value;
                if (leaf[l].is_u8)
                    BODY(ewise_load_bytes)(&value, &leaf[l], region, base + start, 1);
                else
                    value = ((const float *)base)[start];
                for (int64_t i = 0; i < IH_EWISE_BLOCK; i++)
                    r[l][i] = value;
            } else if (leaf[l].mode == IH_LEAF_PERIODIC && leaf[l].period + IH_EWISE_BLOCK <= IH_EWISE_SPREAD) {
                BODY(ewise_spread)(spread[leaf[l].spread], &leaf[l], region, base, start);
            }
        }
        for (int64_t x = x0; x < x1; x += IH_EWISE_BLOCK) {
            const int64_t n = x1 - x < IH_EWISE_BLOCK ? x1 - x : IH_EWISE_BLOCK;
            for (int64_t l = 0; l < leaves; l++)
                if (leaf[l].mode != IH_LEAF_SCALAR)
                    at_register[l] = BODY(ewise_load)(r[l], spread[leaf[l].spread], &leaf[l], region,
                                                      i0 * leaf[l].s0 + i1 * leaf[l].s1 + i2 * leaf[l].s2 + i3 * leaf[l].s3, x, n);
            for (int64_t k = 0; k < p[IH_ewise_instructions]; k++)
                BODY(ewise_instruction)(program[k].op, r[program[k].to], at_register[program[k].a], at_register[program[k].b], n);
            BODY(ewise_store)(p, out, at, x, at_register[p[IH_ewise_result]], n);
        }
    }
}

/* Bytes of c planes side by side, as pixels; with c known the compiler makes shuffles of it. */
#define IH_INTERLEAVE(c)                                                                                              \
    for (int64_t i = 0; i < n; i++)                                                                                   \
        for (int k = 0; k < (c); k++)                                                                                 \
            out[i * (c) + k] = q[k][i];

void BODY(planes)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float scale = ih_bits_f32(p[IH_planes_out_scale]), zero = (float)p[IH_planes_out_zero];
    const int64_t c = p[IH_planes_c], width = p[IH_planes_width], lines = p[IH_planes_lines];
    uint8_t q[4][IH_EWISE_BLOCK] __attribute__((aligned(64)));
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t image = unit / lines, line = unit % lines;
        const float *x = (const float *)ih_at(region, p[IH_planes_x]) + image * p[IH_planes_x_image] + line * p[IH_planes_x_line];
        uint8_t *restrict out = ih_at(region, p[IH_planes_out]) + image * p[IH_planes_out_image] + line * p[IH_planes_out_line];
        for (int64_t x0 = 0; x0 < width; x0 += IH_EWISE_BLOCK, out += IH_EWISE_BLOCK * c) {
            const int64_t n = width - x0 < IH_EWISE_BLOCK ? width - x0 : IH_EWISE_BLOCK;
            for (int64_t k = 0; k < c; k++) {
                BODY_QUANTISE(q[k], x + k * p[IH_planes_x_plane] + x0, n, scale, zero);
            }
            if (c == 3) {
                IH_INTERLEAVE(3)
            } else if (c == 4) {
                IH_INTERLEAVE(4)
            } else {
                IH_INTERLEAVE(2)
            }
        }
    }
}
#undef IH_INTERLEAVE
