/* What one unit of a convolution works on (see IH_PARAMS_CONV): a chunk of pixels of an output line, a chunk of channels. */
#ifndef IH_GRAPH_CONV_UNIT_H
#define IH_GRAPH_CONV_UNIT_H

#include "graph/graph.h"

typedef struct ih_conv_unit {
    const uint8_t *x; /* of the line's first pixel */
    uint8_t *out;
    const int8_t *w;     /* of the image: all its channels */
    const int32_t *bias; /* ″ */
    int64_t px0, px1, n0, n1;
} ih_conv_unit;

static inline ih_conv_unit ih_conv_unit_at(const int64_t *p, uint8_t *const *region, int64_t unit) {
    const int64_t n0 = unit % p[IH_conv_n_chunks] * p[IH_conv_n_chunk], row = unit / p[IH_conv_n_chunks];
    const int64_t px0 = row % p[IH_conv_line_chunks] * p[IH_conv_chunk_px], line = row / p[IH_conv_line_chunks] % p[IH_conv_lines];
    const int64_t image = row / p[IH_conv_line_chunks] / p[IH_conv_lines];
    const int64_t n1 = n0 + p[IH_conv_n_chunk], px1 = px0 + p[IH_conv_chunk_px];
    return (ih_conv_unit){
        .x = ih_at(region, p[IH_conv_x]) + image * p[IH_conv_x_image] + line * p[IH_conv_x_line],
        .out = ih_at(region, p[IH_conv_out]) + image * p[IH_conv_out_image] + line * p[IH_conv_out_line],
        .w = (const int8_t *)ih_at(region, p[IH_conv_w]) + image * p[IH_conv_w_image],
        .bias = (const int32_t *)(ih_at(region, p[IH_conv_bias]) + image * p[IH_conv_bias_image]),
        .px0 = px0,
        .px1 = px1 < p[IH_conv_line_px] ? px1 : p[IH_conv_line_px],
        .n0 = n0,
        .n1 = n1 < p[IH_conv_n] ? n1 : p[IH_conv_n],
    };
}

#endif
