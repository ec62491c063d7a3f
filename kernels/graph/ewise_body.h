/* The element-wise machine: a straight-line float program over blocks of a row that stay in the first cache.
 *
 * Fused chains of Add, Mul, Clip, activations between two quantised tensors run here when they have more than one
 * operand; a chain with one operand is a table of 256 bytes instead (made by running it here, once, at load).
 * The order of operations and the roundings are those of the ONNX nodes, one by one.
 */
typedef float ih_ewise_register[IH_EWISE_BLOCK];

static void BODY(ewise_load_u8)(float *to, const uint8_t *x, int64_t n, float scale, int32_t zero) {
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)((int32_t)x[i] - zero) * scale;
}

static void BODY(ewise_load)(float *to, const ih_ewise_leaf *leaf, const uint8_t *base, int64_t at, int64_t first, int64_t n) {
    const float *f32 = (const float *)base;
    if (leaf->mode == IH_LEAF_SCALAR) {
        float value = leaf->is_u8 ? (float)((int32_t)base[at] - (int32_t)leaf->zero) * leaf->scale : f32[at];
        for (int64_t i = 0; i < n; i++)
            to[i] = value;
        return;
    }
    for (int64_t done = 0; done < n;) {
        int64_t from = leaf->mode == IH_LEAF_FLAT ? first + done : (first + done) % leaf->period;
        int64_t some = leaf->mode == IH_LEAF_FLAT ? n - done : leaf->period - from;
        some = some < n - done ? some : n - done;
        if (leaf->is_u8)
            BODY(ewise_load_u8)(to + done, base + at + from, some, leaf->scale, (int32_t)leaf->zero);
        else
            __builtin_memcpy(to + done, f32 + at + from, (size_t)some * 4);
        done += some;
    }
}

#define EACH(expression)                                                                                              \
    for (int64_t i = 0; i < n; i++)                                                                                   \
        to[i] = (expression);                                                                                         \
    break

static void BODY(ewise_instruction)(const ih_ewise_instruction *op, ih_ewise_register *r, int64_t n) {
    float *restrict to = r[op->to];
    const float *a = r[op->a], *b = r[op->b];
    switch (op->op) {
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

static void BODY(ewise_store)(const int64_t *p, uint8_t *out, int64_t at, const float *x, int64_t n) {
    if (p[IH_ewise_out_kind] == 1) {
        float scale = ih_bits_f32(p[IH_ewise_out_scale]), zero = (float)p[IH_ewise_out_zero];
        for (int64_t i = 0; i < n; i++)
            out[at + i] = ih_quantise(x[i], scale, zero);
    } else {
        __builtin_memcpy((float *)out + at, x, (size_t)n * 4);
    }
}

void BODY(ewise)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const ih_ewise_instruction *program = (const ih_ewise_instruction *)ih_at(region, p[IH_ewise_program]);
    const ih_ewise_leaf *leaf = (const ih_ewise_leaf *)ih_at(region, p[IH_ewise_leaf_table]);
    const int64_t d1 = p[IH_ewise_d1], d2 = p[IH_ewise_d2], d3 = p[IH_ewise_d3], row = p[IH_ewise_row];
    const int64_t chunk = p[IH_ewise_chunk], chunks = p[IH_ewise_chunks];
    uint8_t *out = ih_at(region, p[IH_ewise_out]);
    ih_ewise_register r[IH_EWISE_REGS] __attribute__((aligned(64)));
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t y = unit / chunks, x0 = unit % chunks * chunk, x1 = x0 + chunk < row ? x0 + chunk : row;
        const int64_t i3 = y % d3, i2 = y / d3 % d2, i1 = y / d3 / d2 % d1, i0 = y / d3 / d2 / d1;
        const int64_t at = i0 * p[IH_ewise_o0] + i1 * p[IH_ewise_o1] + i2 * p[IH_ewise_o2] + i3 * p[IH_ewise_o3];
        for (int64_t x = x0; x < x1; x += IH_EWISE_BLOCK) {
            const int64_t n = x1 - x < IH_EWISE_BLOCK ? x1 - x : IH_EWISE_BLOCK;
            for (int64_t l = 0; l < p[IH_ewise_leaves]; l++)
                if (x == x0 || leaf[l].mode != IH_LEAF_SCALAR)
                    BODY(ewise_load)(r[leaf[l].to], &leaf[l], ih_at(region, leaf[l].ref),
                                     i0 * leaf[l].s0 + i1 * leaf[l].s1 + i2 * leaf[l].s2 + i3 * leaf[l].s3, x, n);
            for (int64_t k = 0; k < p[IH_ewise_instructions]; k++)
                BODY(ewise_instruction)(&program[k], r, n);
            BODY(ewise_store)(p, out, at + x, r[p[IH_ewise_result]], n);
        }
    }
}
