/* Float convolution and matrix product, for the parts of a model that are not quantised. */

static void BODY(conv_f32_add)(float *acc, float x, const float *w, int64_t w_n, int64_t n) {
    if (w_n == 1)
        for (int64_t i = 0; i < n; i++)
            acc[i] += x * w[i];
    else
        for (int64_t i = 0; i < n; i++)
            acc[i] += x * w[i * w_n];
}

void BODY(conv_f32)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    enum { BLOCK = 64 };
    const float *bias = p[IH_conv_f32_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_f32_bias]);
    const int64_t n = p[IH_conv_f32_n], d1 = p[IH_conv_f32_image_d1];
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t image = unit / p[IH_conv_f32_lines], line = unit % p[IH_conv_f32_lines];
        const int64_t i0 = image / d1, i1 = image % d1;
        const float *x = (const float *)ih_at(region, p[IH_conv_f32_x]) + i0 * p[IH_conv_f32_x_image] +
                         i1 * p[IH_conv_f32_x_image1] + line * p[IH_conv_f32_x_line];
        const float *w = (const float *)ih_at(region, p[IH_conv_f32_w]) + i0 * p[IH_conv_f32_w_image] + i1 * p[IH_conv_f32_w_image1];
        float *out = (float *)ih_at(region, p[IH_conv_f32_out]) + i0 * p[IH_conv_f32_out_image] +
                     i1 * p[IH_conv_f32_out_image1] + line * p[IH_conv_f32_out_line];
        for (int64_t px = 0; px < p[IH_conv_f32_line_px]; px++, x += p[IH_conv_f32_x_px], out += p[IH_conv_f32_out_px])
            for (int64_t n0 = 0; n0 < n; n0 += BLOCK) {
                const int64_t lanes = n - n0 < BLOCK ? n - n0 : BLOCK;
                float acc[BLOCK];
                for (int64_t i = 0; i < lanes; i++)
                    acc[i] = bias ? bias[n0 + i] : 0.0f;
                const float *wk = w + n0 * p[IH_conv_f32_w_n];
                for (int64_t j = 0; j < p[IH_conv_f32_runs_y]; j++)
                    for (int64_t i = 0; i < p[IH_conv_f32_runs_x]; i++) {
                        const float *run = x + j * p[IH_conv_f32_run_y] + i * p[IH_conv_f32_run_x];
                        for (int64_t k = 0; k < p[IH_conv_f32_run_floats]; k++, wk += p[IH_conv_f32_w_k])
                            BODY(conv_f32_add)(acc, run[k * p[IH_conv_f32_x_k]], wk, p[IH_conv_f32_w_n], lanes);
                    }
                __builtin_memcpy(out + n0, acc, (size_t)lanes * 4);
            }
    }
}
