/* Float convolution and matrix product, for the parts of a model that are not quantised.
 *
 * Every output is bias + x[0] w[0] + x[1] w[1] + ..., one product after the other and each rounded by itself, so all ways
 * to compute it give the same bits: 32 outputs of four rows together; a few vectors of pixels of few outputs; or plainly.
 */
#if defined(__AVX512F__) /* a vector is a register: what is wider goes through memory at every step */
enum { IH_F32_VECTOR = 16 };
#elif defined(__AVX__)
enum { IH_F32_VECTOR = 8 };
#else
enum { IH_F32_VECTOR = 4 };
#endif
typedef float ih_f32v __attribute__((vector_size(IH_F32_VECTOR * 4), aligned(4), may_alias));

/* packed: products of one output, at most; few: pixels of few outputs that are computed together */
enum { IH_F32_LANES = 32, IH_F32_PACKED = 256, IH_F32_FEW = IH_F32_VECTOR == 16 ? 16 : 2 * IH_F32_VECTOR };

/* The rows of one image that a call computes; a row is a pixel of a convolution or a line of a product. */
typedef struct {
    const float *x, *w, *bias;
    float *out;
    int64_t line, px, rows; /* where it begins, and how many */
} BODY(f32_rows);

static void BODY(conv_f32_plain)(const int64_t *p, const float *x, const float *w, const float *bias, float *out, int64_t lanes) {
    float acc[IH_F32_LANES];
    const int64_t w_n = p[IH_conv_f32_w_n];
    for (int64_t i = 0; i < lanes; i++)
        acc[i] = bias ? bias[i] : 0.0f;
    for (int64_t j = 0; j < p[IH_conv_f32_runs_y]; j++)
        for (int64_t i = 0; i < p[IH_conv_f32_runs_x]; i++) {
            const float *run = x + j * p[IH_conv_f32_run_y] + i * p[IH_conv_f32_run_x];
            for (int64_t k = 0; k < p[IH_conv_f32_run_floats]; k++, w += p[IH_conv_f32_w_k])
                for (int64_t lane = 0; lane < lanes; lane++)
                    acc[lane] += run[k * p[IH_conv_f32_x_k]] * w[lane * w_n];
        }
    __builtin_memcpy(out, acc, (size_t)lanes * 4);
}

/* Four rows of 32 outputs, of which `lanes` are kept, two vectors of them at a time; w (products, 32) floats with rows `w_k`
 * apart. */
static void BODY(conv_f32_tile)(const int64_t *p, const float *const x[4], const float *w, int64_t w_k, const float *bias,
                                float *const out[4], int64_t lanes) {
    float first[IH_F32_LANES] __attribute__((aligned(64))) = {0};
    if (bias)
        __builtin_memcpy(first, bias, (size_t)lanes * 4);
    for (int64_t lane = 0; lane < lanes; lane += 2 * IH_F32_VECTOR) {
        const float *row = w + lane;
        ih_f32v a0 = *(ih_f32v *)(first + lane), b0 = *(ih_f32v *)(first + lane + IH_F32_VECTOR), a1 = a0, b1 = b0, a2 = a0,
                b2 = b0, a3 = a0, b3 = b0;
        for (int64_t j = 0; j < p[IH_conv_f32_runs_y]; j++)
            for (int64_t i = 0; i < p[IH_conv_f32_runs_x]; i++) {
                int64_t at = j * p[IH_conv_f32_run_y] + i * p[IH_conv_f32_run_x];
                for (int64_t k = 0; k < p[IH_conv_f32_run_floats]; k++, row += w_k, at += p[IH_conv_f32_x_k]) {
                    const ih_f32v wa = *(const ih_f32v *)row, wb = *(const ih_f32v *)(row + IH_F32_VECTOR);
                    a0 += x[0][at] * wa;
                    b0 += x[0][at] * wb;
                    a1 += x[1][at] * wa;
                    b1 += x[1][at] * wb;
                    a2 += x[2][at] * wa;
                    b2 += x[2][at] * wb;
                    a3 += x[3][at] * wa;
                    b3 += x[3][at] * wb;
                }
            }
        const int64_t kept = lanes - lane < 2 * IH_F32_VECTOR ? lanes - lane : 2 * IH_F32_VECTOR;
        float both[2 * IH_F32_VECTOR] __attribute__((aligned(64)));
#define STORE(row, a, b)                                                                                              \
    *(ih_f32v *)both = a;                                                                                             \
    *(ih_f32v *)(both + IH_F32_VECTOR) = b;                                                                           \
    __builtin_memcpy(out[row] + lane, both, (size_t)kept * 4)
        STORE(0, a0, b0);
        STORE(1, a1, b1);
        STORE(2, a2, b2);
        STORE(3, a3, b3);
#undef STORE
    }
}

/* All rows for the outputs [n0, n0 + lanes). Weights that do not lie in whole rows of 32 are laid out so first, where there
 * are rows enough to use them. */
static void BODY(conv_f32_block)(const int64_t *p, const BODY(f32_rows) *part, int64_t n0, int64_t lanes) {
    float packed[IH_F32_PACKED * IH_F32_LANES] __attribute__((aligned(64)));
    const int64_t w_n = p[IH_conv_f32_w_n], products = p[IH_conv_f32_runs_y] * p[IH_conv_f32_runs_x] * p[IH_conv_f32_run_floats];
    const float *w = part->w + n0 * w_n, *bias = part->bias ? part->bias + n0 : NULL;
    int64_t w_k = p[IH_conv_f32_w_k], line = part->line, px = part->px;
    const int in_rows = w_n == 1 && lanes == IH_F32_LANES, plain = !in_rows && (part->rows < 4 || products > IH_F32_PACKED);
    if (!in_rows && !plain) {
        for (int64_t k = 0; k < products; k++)
            for (int64_t i = 0; i < IH_F32_LANES; i++)
                packed[k * IH_F32_LANES + i] = i < lanes ? w[k * w_k + i * w_n] : 0.0f;
        w = packed;
        w_k = IH_F32_LANES;
    }
    for (int64_t row = 0; row < part->rows; row += 4) {
        const float *x[4];
        float *out[4];
        const int64_t count = part->rows - row < 4 ? part->rows - row : 4;
        for (int64_t i = 0; i < 4; i++) { /* the last one again where there are no four left */
            x[i] = part->x + line * p[IH_conv_f32_x_line] + px * p[IH_conv_f32_x_px];
            out[i] = part->out + line * p[IH_conv_f32_out_line] + px * p[IH_conv_f32_out_px] + n0;
            if (i + 1 < count) {
                px = px + 1 == p[IH_conv_f32_line_px] ? 0 : px + 1;
                line += px == 0;
            }
        }
        px = px + 1 == p[IH_conv_f32_line_px] ? 0 : px + 1;
        line += px == 0;
        if (!plain)
            BODY(conv_f32_tile)(p, x, w, w_k, bias, out, lanes);
        for (int64_t i = 0; plain && i < count; i++)
            BODY(conv_f32_plain)(p, x[i], w, bias, out[i], lanes);
    }
}

/* Few outputs of pixels that lie together, from planes to planes: four outputs of IH_F32_FEW pixels at once. */
static void BODY(conv_f32_few)(const int64_t *p, const BODY(f32_rows) *part) {
    enum { VECTORS = IH_F32_FEW / IH_F32_VECTOR };
    const int64_t n = p[IH_conv_f32_n], width = p[IH_conv_f32_line_px], w_n = p[IH_conv_f32_w_n], lines = part->rows / width;
    for (int64_t line = part->line; line < part->line + lines; line++)
        for (int64_t n0 = 0; n0 < n; n0 += 4)
            for (int64_t px = 0; px < width; px += IH_F32_FEW) {
                const int64_t count = width - px < IH_F32_FEW ? width - px : IH_F32_FEW, last = n - 1 - n0;
                const int64_t step[4] = {0, last < 1 ? last : 1, last < 2 ? last : 2, last < 3 ? last : 3}; /* the last again */
                const float *x = part->x + line * p[IH_conv_f32_x_line] + px, *w = part->w + n0 * w_n;
                float *out = part->out + line * p[IH_conv_f32_out_line] + px + n0 * p[IH_conv_f32_out_n];
                const float *bias = part->bias ? part->bias + n0 : NULL;
                const ih_f32v none = {0};
                ih_f32v acc[4][VECTORS], here[VECTORS];
                for (int lane = 0; lane < 4; lane++)
                    for (int v = 0; v < VECTORS; v++)
                        acc[lane][v] = (bias ? bias[step[lane]] : 0) - none; /* minus nothing: a bias of -0 stays what it is */
                for (int64_t k = 0; k < p[IH_conv_f32_run_floats]; k++, w += p[IH_conv_f32_w_k], x += p[IH_conv_f32_x_k]) {
                    if (count == IH_F32_FEW)
                        for (int v = 0; v < VECTORS; v++)
                            here[v] = *(const ih_f32v *)(x + v * IH_F32_VECTOR);
                    else {
                        for (int v = 0; v < VECTORS; v++)
                            here[v] = none;
                        __builtin_memcpy(here, x, (size_t)count * 4);
                    }
                    for (int lane = 0; lane < 4; lane++)
                        for (int v = 0; v < VECTORS; v++)
                            acc[lane][v] += here[v] * w[step[lane] * w_n];
                }
                for (int64_t lane = 0; lane <= last && lane < 4; lane++)
                    __builtin_memcpy(out + lane * p[IH_conv_f32_out_n], acc[lane], (size_t)count * 4);
            }
}

void BODY(conv_f32)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t n = p[IH_conv_f32_n], d1 = p[IH_conv_f32_image_d1], lines = p[IH_conv_f32_lines];
    const int few = p[IH_conv_f32_out_n] != 1; /* the compiler lays out planes where few of them are made of planes */
    while (from < to) {
        const int64_t image = from / lines, i0 = image / d1, i1 = image % d1, end = (image + 1) * lines < to ? (image + 1) * lines : to;
        const BODY(f32_rows) part = {
            .x = (const float *)ih_at(region, p[IH_conv_f32_x]) + i0 * p[IH_conv_f32_x_image] + i1 * p[IH_conv_f32_x_image1],
            .w = (const float *)ih_at(region, p[IH_conv_f32_w]) + i0 * p[IH_conv_f32_w_image] + i1 * p[IH_conv_f32_w_image1],
            .bias = p[IH_conv_f32_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_f32_bias]),
            .out = (float *)ih_at(region, p[IH_conv_f32_out]) + i0 * p[IH_conv_f32_out_image] + i1 * p[IH_conv_f32_out_image1],
            .line = from % lines,
            .rows = (end - from) * p[IH_conv_f32_line_px],
        };
        for (int64_t n0 = 0; n0 < n && !few; n0 += IH_F32_LANES)
            BODY(conv_f32_block)(p, &part, n0, n - n0 < IH_F32_LANES ? n - n0 : IH_F32_LANES);
        if (few)
            BODY(conv_f32_few)(p, &part);
        from = end;
    }
}
