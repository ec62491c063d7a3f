/* Convolution, the meaning: every other conv_*.c equals this bit for bit. */
#include "graph/strict_float.h"
#include "graph/conv_unit.h"

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
        const ih_conv_unit u = ih_conv_unit_at(p, region, unit);
        for (int64_t px = u.px0; px < u.px1; px++)
            for (int64_t n = u.n0; n < u.n1; n++) {
                int32_t sum_x, acc;
                acc = dot(p, u.x + px * p[IH_conv_x_px], u.w + n / IH_GRAPH_LANES * block, (int)(n % IH_GRAPH_LANES), &sum_x);
                acc += u.bias[n] - (int32_t)p[IH_conv_w_zero] * sum_x;
                uint8_t *to_px = u.out + px * p[IH_conv_out_px];
                if (p[IH_conv_is_float]) {
                    ((float *)to_px)[n] = (float)acc * scale[n] + (float_bias ? float_bias[n] : 0.0f);
                } else {
                    uint8_t q = ih_requantise(acc, scale[n], (int32_t)p[IH_conv_out_zero]);
                    to_px[n] = lut ? lut[q] : q;
                }
            }
    }
}
