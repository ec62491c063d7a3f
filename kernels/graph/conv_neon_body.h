/* Convolution for 128-bit vectors of 4 channels, one source for the ARM instruction sets. The includer sets the target and
 * defines CONV_NAME, and STEP(acc, w, x): acc (4 x i32) += 4 s8 of `x` (in every lane, flipped to x - 128) times the 4 s8 of each
 * lane of w; or, with OWN_DOTS, `dots` as a whole. */
#include "graph/graph.h"
#include <arm_neon.h>

enum { TILE_PX = 4 };

#ifdef OWN_DOTS
static void dots(const int64_t *p, const uint8_t *x, const int8_t *w, const int32_t *bias, int m, int32x4_t acc[TILE_PX][4]);
#endif

#ifndef OWN_DOTS
static inline __attribute__((always_inline)) void dots(const int64_t *p, const uint8_t *x, const int8_t *w, const int32_t *bias, int m,
                                                       int32x4_t acc[TILE_PX][4]) {
    const int64_t step = p[IH_conv_x_px], groups = (p[IH_conv_run_bytes] + 3) / 4;
    for (int i = 0; i < m; i++)
        for (int v = 0; v < 4; v++)
            acc[i][v] = vld1q_s32(bias + 4 * v);
    for (int64_t j = 0; j < p[IH_conv_runs_y]; j++)
        for (int64_t r = 0; r < p[IH_conv_runs_x]; r++) {
            const uint8_t *run = x + j * p[IH_conv_run_y] + r * p[IH_conv_run_x];
            for (int64_t k = 0; k < groups; k++, w += 64, run += 4) {
                const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16), w2 = vld1q_s8(w + 32), w3 = vld1q_s8(w + 48);
                for (int i = 0; i < m; i++) {
                    uint32_t four;
                    __builtin_memcpy(&four, run + i * step, 4);
                    const int8x16_t px = vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
                    STEP(acc[i][0], w0, px);
                    STEP(acc[i][1], w1, px);
                    STEP(acc[i][2], w2, px);
                    STEP(acc[i][3], w3, px);
                }
            }
        }
}
#endif

static int32_t sum_of(const int64_t *p, const uint8_t *x) {
    int32_t sum = 0;
    for (int64_t j = 0; j < p[IH_conv_runs_y]; j++)
        for (int64_t r = 0; r < p[IH_conv_runs_x]; r++)
            for (int64_t k = 0; k < p[IH_conv_run_bytes]; k++)
                sum += x[j * p[IH_conv_run_y] + r * p[IH_conv_run_x] + k];
    return sum;
}

static void finish(const int64_t *p, const int32x4_t *acc, int32_t zero_term, const float *scale, const float *float_bias,
                   const uint8_t *lut, uint8_t *out, int lanes) {
    int32_t q[16];
    float f[16];
    const float zero = (float)p[IH_conv_out_zero];
    for (int v = 0; v < 4; v++) {
        float32x4_t y = vmulq_f32(vcvtq_f32_s32(vsubq_s32(acc[v], vdupq_n_s32(zero_term))), vld1q_f32(scale + 4 * v));
        if (p[IH_conv_is_float]) {
            vst1q_f32(f + 4 * v, vaddq_f32(y, float_bias ? vld1q_f32(float_bias + 4 * v) : vdupq_n_f32(0)));
        } else {
            y = vminq_f32(vmaxq_f32(y, vdupq_n_f32(-zero)), vdupq_n_f32(255.0f - zero));
            vst1q_s32(q + 4 * v, vaddq_s32(vcvtnq_s32_f32(y), vdupq_n_s32((int32_t)p[IH_conv_out_zero])));
        }
    }
    if (p[IH_conv_is_float])
        __builtin_memcpy(out, f, (size_t)lanes * 4);
    else
        for (int l = 0; l < lanes; l++)
            out[l] = lut ? lut[q[l]] : (uint8_t)q[l];
}

void CONV_NAME(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float *scale = (const float *)ih_at(region, p[IH_conv_scale]);
    const uint8_t *lut = p[IH_conv_lut] < 0 ? NULL : ih_at(region, p[IH_conv_lut]);
    const float *float_bias = p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias]);
    const int64_t block = p[IH_conv_runs_y] * p[IH_conv_runs_x] * ((p[IH_conv_run_bytes] + 3) / 4) * 64;
    const int64_t item = p[IH_conv_is_float] ? 4 : 1;
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
        for (int64_t n = n0; n < n1; n += 16)
            for (int64_t px = px0; px < px1;) {
                const int m = px1 - px >= TILE_PX ? TILE_PX : 1;
                int32x4_t acc[TILE_PX][4];
                if (m == TILE_PX)
                    dots(p, x + px * p[IH_conv_x_px], w + n / 16 * block, bias + n, TILE_PX, acc);
                else
                    dots(p, x + px * p[IH_conv_x_px], w + n / 16 * block, bias + n, 1, acc);
                for (int i = 0; i < m; i++, px++) {
                    const int32_t zero_term =
                        p[IH_conv_w_zero] ? (int32_t)p[IH_conv_w_zero] * sum_of(p, x + px * p[IH_conv_x_px]) : 0;
                    finish(p, acc[i], zero_term, scale + n, float_bias ? float_bias + n : NULL, lut, out + px * p[IH_conv_out_px] + n * item,
                           (int)(n1 - n < 16 ? n1 - n : 16));
                }
            }
    }
}
