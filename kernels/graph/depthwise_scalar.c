/* Depthwise convolution, the meaning: w is (kh * kw, c). */
#include "graph/strict_float.h"
#include "graph/graph.h"

void ih_depthwise_scalar(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t c = p[IH_depthwise_c];
    const int8_t *w = (const int8_t *)ih_at(region, p[IH_depthwise_w]);
    const int32_t *bias = (const int32_t *)ih_at(region, p[IH_depthwise_bias]);
    const float *scale = (const float *)ih_at(region, p[IH_depthwise_scale]);
    const uint8_t *lut = p[IH_depthwise_lut] < 0 ? NULL : ih_at(region, p[IH_depthwise_lut]);
    const int64_t pairs = (p[IH_depthwise_lines] + 1) / 2;
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t px0 = unit % p[IH_depthwise_line_chunks] * p[IH_depthwise_chunk_px], rest = unit / p[IH_depthwise_line_chunks];
        const int64_t px1 = px0 + p[IH_depthwise_chunk_px] < p[IH_depthwise_line_px] ? px0 + p[IH_depthwise_chunk_px] : p[IH_depthwise_line_px];
        const int64_t image = rest / pairs, line0 = rest % pairs * 2;
        for (int64_t line = line0; line < line0 + 2 && line < p[IH_depthwise_lines]; line++) {
            const uint8_t *x = ih_at(region, p[IH_depthwise_x]) + image * p[IH_depthwise_x_image] +
                               line * p[IH_depthwise_stride_y] * p[IH_depthwise_x_row];
            uint8_t *out = ih_at(region, p[IH_depthwise_out]) + image * p[IH_depthwise_out_image] + line * p[IH_depthwise_out_line];
            for (int64_t px = px0; px < px1; px++)
                for (int64_t ch = 0; ch < c; ch++) {
                    int32_t acc = bias[ch];
                    for (int64_t j = 0; j < p[IH_depthwise_kh]; j++)
                        for (int64_t i = 0; i < p[IH_depthwise_kw]; i++)
                            acc += w[(j * p[IH_depthwise_kw] + i) * c + ch] *
                                   x[j * p[IH_depthwise_dilation_y] * p[IH_depthwise_x_row] +
                                     (px * p[IH_depthwise_stride_x] + i * p[IH_depthwise_dilation_x]) * p[IH_depthwise_x_px] + ch];
                    uint8_t q = ih_requantise(acc, scale[ch], (int32_t)p[IH_depthwise_out_zero]);
                    out[px * p[IH_depthwise_out_px] + ch] = lut ? lut[q] : q;
                }
        }
    }
}
