/* Kernels over rows of f32: softmax, layer norm, reductions. Sums run in 16 lanes, then over the lanes, in this order on
 * every machine. */
enum { IH_ROWS_SOFTMAX, IH_ROWS_LAYER_NORM, IH_ROWS_MEAN, IH_ROWS_SUM, IH_ROWS_MAX };

static float BODY(rows_fold)(const float *lane) {
    float a[8], b[4];
    for (int i = 0; i < 8; i++)
        a[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++)
        b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* sum of (x - mean)^k, k = 1 or 2 */
static float BODY(rows_sum)(const float *x, int64_t n, float mean, int squared) {
    float lane[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) {
            float d = x[i + l] - mean;
            lane[l] += squared ? d * d : d;
        }
    for (int l = 0; i + l < n; l++) {
        float d = x[i + l] - mean;
        lane[l] += squared ? d * d : d;
    }
    return BODY(rows_fold)(lane);
}

static float BODY(rows_max)(const float *x, int64_t n) {
    float lane[64], best = x[0]; /* four vectors: a comparison waits for the last */
    for (int l = 0; l < 64; l++)
        lane[l] = x[0];
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int l = 0; l < 64; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    for (int width = 32; width >= 16; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] = lane[l + width] > lane[l] ? lane[l + width] : lane[l];
    for (int l = 0; l < 16; l++)
        best = lane[l] > best ? lane[l] : best;
    return best;
}

static void BODY(rows_softmax)(float *restrict out, const float *restrict x, int64_t n) {
    float top = BODY(rows_max)(x, n);
    float lane[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) {
            out[i + l] = ih_exp(x[i + l] - top);
            lane[l] += out[i + l];
        }
    for (int64_t k = i; k < n; k++)
        out[k] = ih_exp(x[k] - top);
    for (int l = 0; i + l < n; l++)
        lane[l] += out[i + l];
    const float total = BODY(rows_fold)(lane);
    for (i = 0; i < n; i++)
        out[i] = out[i] / total;
}

static void BODY(rows_layer_norm)(float *out, const float *x, int64_t n, const float *w, const float *b, float epsilon) {
    float mean = BODY(rows_sum)(x, n, 0.0f, 0) / (float)n;
    float deviation = __builtin_sqrtf(BODY(rows_sum)(x, n, mean, 1) / (float)n + epsilon);
    for (int64_t i = 0; i < n; i++)
        out[i] = (x[i] - mean) / deviation * w[i];
    if (b)
        for (int64_t i = 0; i < n; i++)
            out[i] += b[i];
}

void BODY(rows)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float *w = p[IH_rows_w] < 0 ? NULL : (const float *)ih_at(region, p[IH_rows_w]);
    const float *b = p[IH_rows_b] < 0 ? NULL : (const float *)ih_at(region, p[IH_rows_b]);
    const int64_t n = p[IH_rows_row];
    int64_t end = to * p[IH_rows_unit_rows];
    end = end < p[IH_rows_rows] ? end : p[IH_rows_rows];
    for (int64_t y = from * p[IH_rows_unit_rows]; y < end; y++) {
        const float *x = (const float *)ih_at(region, p[IH_rows_x]) + y * p[IH_rows_x_stride];
        float *out = (float *)ih_at(region, p[IH_rows_out]) + y * p[IH_rows_out_stride];
        switch (p[IH_rows_kind]) {
        case IH_ROWS_SOFTMAX: BODY(rows_softmax)(out, x, n); break;
        case IH_ROWS_LAYER_NORM: BODY(rows_layer_norm)(out, x, n, w, b, ih_bits_f32(p[IH_rows_epsilon])); break;
        case IH_ROWS_MEAN: out[0] = BODY(rows_sum)(x, n, 0.0f, 0) / (float)n; break;
        case IH_ROWS_SUM: out[0] = BODY(rows_sum)(x, n, 0.0f, 0); break;
        case IH_ROWS_MAX: out[0] = BODY(rows_max)(x, n); break;
        }
    }
}
