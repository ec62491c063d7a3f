/* Compares the ARM convolutions that this core has with the reference on random shapes; run under qemu by test_neon.py.
 * Prints the first difference and exits 1, or exits 0. */
#include "graph/graph.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;
static uint32_t random_below(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}

enum { REGION_BYTES = 1 << 20, OUT_AT = 0, SCALE_AT = 0, LUT_AT = 4096, FLOAT_BIAS_AT = 8192, BIAS_AT = 12288, FLIPPED_AT = 16384 };

int main(void) {
    static uint8_t x[REGION_BYTES], w[REGION_BYTES], constants[REGION_BYTES], wanted[REGION_BYTES], found[REGION_BYTES];
    for (int round = 0; round < 300; round++) {
        const int c = 1 + (int)random_below(40), n = 1 + (int)random_below(50), kh = 1 + (int)random_below(3), kw = 1 + (int)random_below(3);
        const int lines = 1 + (int)random_below(4), px = 1 + (int)random_below(9), width = px + kw - 1, run = kw * c;
        const int groups = (run + 3) / 4, is_float = (int)random_below(2);
        const int64_t block = (int64_t)kh * groups * 64;
        for (int i = 0; i < REGION_BYTES / 8; i++)
            x[i] = (uint8_t)random_below(256);
        memset(w, 0, (size_t)((n + 15) / 16 * block));
        int32_t *bias = (int32_t *)(constants + BIAS_AT), *flipped = (int32_t *)(constants + FLIPPED_AT);
        float *scale = (float *)(constants + SCALE_AT), *float_bias = (float *)(constants + FLOAT_BIAS_AT);
        for (int o = 0; o < n; o++) {
            int32_t sum = 0;
            for (int j = 0; j < kh; j++)
                for (int k = 0; k < run; k++) {
                    int8_t value = (int8_t)(random_below(255) - 127);
                    w[o / 16 * block + (j * groups + k / 4) * 64 + o % 16 * 4 + k % 4] = (uint8_t)value;
                    sum += value;
                }
            bias[o] = (int32_t)random_below(10000) - 5000;
            flipped[o] = bias[o] + 128 * sum;
            scale[o] = 1e-4f * (float)(1 + random_below(100));
            float_bias[o] = (float)random_below(100) / 7.0f;
        }
        for (int i = 0; i < 256; i++)
            constants[LUT_AT + i] = (uint8_t)random_below(256);
        int64_t p[IH_GRAPH_PARAMS] = {0};
        p[IH_conv_x_line] = (int64_t)width * c, p[IH_conv_x_px] = c, p[IH_conv_runs_y] = kh, p[IH_conv_run_y] = (int64_t)width * c;
        p[IH_conv_runs_x] = 1, p[IH_conv_run_bytes] = run, p[IH_conv_w] = 1LL << 56, p[IH_conv_w_zero] = (int64_t)random_below(3) - 1;
        p[IH_conv_scale] = (2LL << 56) + SCALE_AT, p[IH_conv_lut] = random_below(2) ? (2LL << 56) + LUT_AT : -1;
        p[IH_conv_float_bias] = (2LL << 56) + FLOAT_BIAS_AT, p[IH_conv_out] = 3LL << 56, p[IH_conv_is_float] = is_float;
        p[IH_conv_out_px] = n * (is_float ? 4 : 1), p[IH_conv_out_line] = px * p[IH_conv_out_px], p[IH_conv_out_zero] = random_below(256);
        p[IH_conv_images] = 1, p[IH_conv_lines] = lines, p[IH_conv_line_px] = px, p[IH_conv_n] = n, p[IH_conv_chunk_px] = px;
        p[IH_conv_line_chunks] = 1, p[IH_conv_n_chunk] = n, p[IH_conv_n_chunks] = 1;
        memset(wanted, 0, REGION_BYTES);
        uint8_t *reference[4] = {x, w, constants, wanted}, *ours[4] = {x, w, constants, found};
        p[IH_conv_bias] = (2LL << 56) + BIAS_AT;
        ih_conv_scalar(p, reference, 0, lines);
        for (int v = 0; ih_graph_variant_at(v); v++) {
            const ih_graph_variant *variant = ih_graph_variant_at(v);
            if (!variant->is_supported())
                continue;
            p[IH_conv_bias] = (2LL << 56) + (variant->signed_activations ? FLIPPED_AT : BIAS_AT);
            memset(found, 0, REGION_BYTES);
            variant->kernel[IH_OP_CONV](p, ours, 0, lines);
            for (int64_t i = 0; i < lines * p[IH_conv_out_line]; i++)
                if (wanted[i] != found[i]) {
                    printf("%s, round %d: byte %lld is %d, expected %d (c %d n %d)\n", variant->name, round, (long long)i, found[i],
                           wanted[i], c, n);
                    return 1;
                }
            if (!round)
                printf("%s\n", variant->name);
        }
    }
    return 0;
}
