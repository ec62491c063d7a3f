/* Convolution for 128-bit vectors of 4 channels, one source for the ARM instruction sets. The includer sets the target and
 * defines CONV_NAME, and STEP(acc, w, x): acc (4 x i32) += 4 s8 of `x` (in every lane, flipped to x - 128) times the 4 s8 of each
 * lane of w; or, with OWN_DOTS, `dots` as a whole. */
#include "graph/graph.h"
#include <arm_neon.h>

enum { TILE_PX = 4 };
typedef int32x4_t conv_acc[4];

#ifdef OWN_DOTS
static void dots(const int64_t *p, const uint8_t *x, const int8_t *w, const int32_t *bias, int m, conv_acc acc[TILE_PX]);
#endif

#ifndef OWN_DOTS
static inline __attribute__((always_inline)) void dots(const int64_t *p, const uint8_t *x, const int8_t *w, const int32_t *bias, int m,
                                                       conv_acc acc[TILE_PX]) {
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

#include "graph/conv_small_tiles_body.h"
