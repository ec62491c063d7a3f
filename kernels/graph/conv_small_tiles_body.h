/* A convolution in tiles of TILE_PX pixels x 16 channels, for instruction sets with few registers. Before this the includer
 * defines CONV_NAME, TILE_PX, the type conv_acc (16 x i32), and
 *     dots(p, x, w, bias, m, acc)     the dot products of m pixels (TILE_PX or 1), from the bias
 *     finish(p, acc, zero_term, scale, float_bias, lut, out, lanes)     ends one pixel, of whose channels `lanes` are stored */
#include "graph/conv_unit.h"

static int32_t sum_of(const int64_t *p, const uint8_t *x) {
    int32_t sum = 0;
    for (int64_t j = 0; j < p[IH_conv_runs_y]; j++)
        for (int64_t r = 0; r < p[IH_conv_runs_x]; r++)
            for (int64_t k = 0; k < p[IH_conv_run_bytes]; k++)
                sum += x[j * p[IH_conv_run_y] + r * p[IH_conv_run_x] + k];
    return sum;
}

void CONV_NAME(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float *scale = (const float *)ih_at(region, p[IH_conv_scale]);
    const uint8_t *lut = p[IH_conv_lut] < 0 ? NULL : ih_at(region, p[IH_conv_lut]);
    const float *float_bias = p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias]);
    const int64_t block = p[IH_conv_runs_y] * p[IH_conv_runs_x] * ((p[IH_conv_run_bytes] + 3) / 4) * 64;
    const int64_t item = p[IH_conv_is_float] ? 4 : 1, x_px = p[IH_conv_x_px];
    for (int64_t unit = from; unit < to; unit++) {
        const ih_conv_unit u = ih_conv_unit_at(p, region, unit);
        for (int64_t n = u.n0; n < u.n1; n += 16)
            for (int64_t px = u.px0; px < u.px1;) {
                const int m = u.px1 - px >= TILE_PX ? TILE_PX : 1;
                conv_acc acc[TILE_PX];
                if (m == TILE_PX)
                    dots(p, u.x + px * x_px, u.w + n / 16 * block, u.bias + n, TILE_PX, acc);
                else
                    dots(p, u.x + px * x_px, u.w + n / 16 * block, u.bias + n, 1, acc);
                for (int i = 0; i < m; i++, px++) {
                    const int32_t zero_term = p[IH_conv_w_zero] ? (int32_t)p[IH_conv_w_zero] * sum_of(p, u.x + px * x_px) : 0;
                    finish(p, acc[i], zero_term, scale + n, float_bias ? float_bias + n : NULL, lut,
                           u.out + px * p[IH_conv_out_px] + n * item, (int)(u.n1 - n < 16 ? u.n1 - n : 16));
                }
            }
    }
}
