/* Convolution, the meaning: every other conv_*.c equals this bit for bit. */
#include "graph/strict_float.h"
#include "graph/graph.h"

/* Input rows that one pixel sums over; the last 4-group of a run may be short, its weights are zero there. */
static int32_t dot(const int64_t *p, const uint8_t *x, const int8_t *w, int lane, int32_t *sum_x) {
    const int64_t bytes = p[IH_conv_run_bytes];
    int32_t acc = 0, sum = 0;
    for (int64_t j = 0; j < p[IH_conv_runs_y]; j++)
        for (int64_t i = 0; i < p[IH_conv_runs_x]; i++) {
            const uint8_t *run = x + j * p[IH_conv_run_y] + i * p[IH_conv_run_x];
            for (int64_t k = 0; k < bytes; k++) {
                acc += run[k] * w[(k / 4) * (IH_GRAPH_LANES * 4) + lane * 4 + k % 4];
                sum += run[k];
            }
            w += (bytes + 3) / 4 * (IH_GRAPH_LANES * 4);
        }
    *sum_x = sum;
    return acc;
}

void ih_conv_scalar(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float *scale = (const float *)ih_at(region, p[IH_conv_scale]);
    const uint8_t *lut = p[IH_conv_lut] < 0 ? NULL : ih_at(region, p[IH_conv_lut]);
    const float *float_bias = p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias]);
    const int64_t block = p[IH_conv_runs_y] * p[IH_conv_runs_x] * ((p[IH_conv_run_bytes] + 3) / 4) * IH_GRAPH_LANES * 4;
    for (int64_t unit = from; unit < to; unit++) {
        int64_t n0 = unit % p[IH_conv_n_chunks] * p[IH_conv_n_chunk], rest = unit / p[IH_conv_n_chunks];
        int64_t px0 = rest % p[IH_conv_line_chunks] * p[IH_conv_chunk_px], line = rest / p[IH_conv_line_chunks];
        int64_t image = line / p[IH_conv_lines];
        line %= p[IH_conv_lines];
        int64_t n1 = n0 + p[IH_conv_n_chunk] < p[IH_conv_n] ? n0 + p[IH_conv_n_chunk] : p[IH_conv_n];
        int64_t px1 = px0 + p[IH_conv_chunk_px] < p[IH_conv_line_px] ? px0 + p[IH_conv_chunk_px] : p[IH_conv_line_px];
        const int8_t *w = (const int8_t *)ih_at(region, p[IH_conv_w]) + image * p[IH_conv_w_image];
        const int32_t *bias = (const int32_t *)(ih_at(region, p[IH_conv_bias]) + image * p[IH_conv_bias_image]);
        const uint8_t *x = ih_at(region, p[IH_conv_x]) + image * p[IH_conv_x_image] + line * p[IH_conv_x_line];
        uint8_t *out = ih_at(region, p[IH_conv_out]) + image * p[IH_conv_out_image] + line * p[IH_conv_out_line];
        for (int64_t px = px0; px < px1; px++)
            for (int64_t n = n0; n < n1; n++) {
                int32_t sum_x, acc;
                acc = dot(p, x + px * p[IH_conv_x_px], w + n / IH_GRAPH_LANES * block, (int)(n % IH_GRAPH_LANES), &sum_x);
                acc += bias[n] - (int32_t)p[IH_conv_w_zero] * sum_x;
                uint8_t *to_px = out + px * p[IH_conv_out_px];
                if (p[IH_conv_is_float]) {
                    ((float *)to_px)[n] = (float)acc * scale[n] + (float_bias ? float_bias[n] : 0.0f);
                } else {
                    uint8_t q = ih_requantise(acc, scale[n], (int32_t)p[IH_conv_out_zero]);
                    to_px[n] = lut ? lut[q] : q;
                }
            }
    }
}
