/* The resize with NEON: SQDMULH of pixel << 7 is the vertical product, SQRDMULH the rounded one. */
#if defined(__aarch64__)
#include "frames/frames.h"

#include <arm_neon.h>

static inline int16x8_t low_7(uint8x16_t pixels)
{
    return vreinterpretq_s16_u16(vshll_n_u8(vget_low_u8(pixels), 7));
}

static inline int16x8_t high_7(uint8x16_t pixels)
{
    return vreinterpretq_s16_u16(vshll_high_n_u8(pixels, 7));
}

static inline void vertical_4(const uint8_t *rows, ptrdiff_t stride, int taps, const int16_t *weights, int bias,
                              int16_t *v)
{
    int16x8_t low = vdupq_n_s16((int16_t)bias), high = low;
    for (int tap = 0; tap < taps; tap++) {
        uint8x16_t pixels = vld1q_u8(rows + tap * stride);
        low = vaddq_s16(low, vqdmulhq_n_s16(low_7(pixels), weights[tap]));
        high = vaddq_s16(high, vqdmulhq_n_s16(high_7(pixels), weights[tap]));
    }
    vst1q_s16(v, low);
    vst1q_s16(v + 8, high);
}

void ih_vertical_neon(const uint8_t *rows, ptrdiff_t stride, int taps, const int16_t *weights, int bias, int w,
                      int16_t *v)
{
    if (w < 4) {
        ih_vertical_scalar(rows, stride, taps, weights, bias, w, v);
        return;
    }
    for (int x = 0; x + 4 <= w; x += 4) {
        vertical_4(rows + 4 * x, stride, taps, weights, bias, v + 4 * x);
    }
    if (w % 4) /* the last four once more, as far as they are new */
        vertical_4(rows + 4 * (w - 4), stride, taps, weights, bias, v + 4 * (w - 4));
}

static inline int16x8_t mean(uint16x8_t sum, ih_box box)
{
    uint16x8_t shifted = vshlq_u16(sum, vdupq_n_s16((int16_t)box.shift));
    uint32x4_t low = vmull_n_u16(vget_low_u16(shifted), box.multiplier);
    uint32x4_t high = vmull_high_n_u16(shifted, box.multiplier);
    return vreinterpretq_s16_u16(vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high)));
}

static inline void box_4(const uint8_t *rows, ptrdiff_t stride, ih_box box, int16_t *v)
{
    uint16x8_t low = vdupq_n_u16(0), high = low;
    for (int row = 0; row < box.rows; row++) {
        uint8x16_t pixels = vld1q_u8(rows + row * stride);
        low = vaddw_u8(low, vget_low_u8(pixels));
        high = vaddw_high_u8(high, pixels);
    }
    vst1q_s16(v, mean(low, box));
    vst1q_s16(v + 8, mean(high, box));
}

void ih_box_neon(const uint8_t *rows, ptrdiff_t stride, ih_box box, int w, int16_t *v)
{
    if (w < 4) {
        ih_box_scalar(rows, stride, box, w, v);
        return;
    }
    for (int x = 0; x + 4 <= w; x += 4) {
        box_4(rows + 4 * x, stride, box, v + 4 * x);
    }
    if (w % 4) /* the last four once more, as far as they are new */
        box_4(rows + 4 * (w - 4), stride, box, v + 4 * (w - 4));
}

void ih_horizontal_neon(const int16_t *v, const ih_axis *axis, int from, int until, int16_t *h)
{
    const int16_t *weights = ih_axis_weights(axis, from);
    const int16_t *const end = axis->weights + (ptrdiff_t)axis->period * axis->taps * 4;
    for (int o = from; o < until; o++) {
        const int16_t *pixels = v + 4 * (ptrdiff_t)axis->first[o];
        int16x8_t sum = vdupq_n_s16(0);
        for (int tap = 0; tap < axis->taps; tap += 2, weights += 8) /* two pixels at a time */
            sum = vaddq_s16(sum, vqrdmulhq_s16(vld1q_s16(pixels + 4 * tap), vld1q_s16(weights)));
        if (weights == end)
            weights = axis->weights;
        vst1_s16(h + 4 * o, vadd_s16(vget_low_s16(sum), vget_high_s16(sum)));
    }
}

void ih_quantise_neon(const int16_t *h, int n, const ih_quantise *q, uint8_t *const plane[3])
{
    const int16x8_t shift = vdupq_n_s16((int16_t)-q->shift);
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        int16x8x4_t pixels = vld4q_s16(h + 4 * i);
        for (int channel = 0; channel < 3; channel++) {
            int16x8_t scaled = vqrdmulhq_n_s16(pixels.val[channel], q->multiplier[channel]);
            int16x8_t moved = vshlq_s16(vqaddq_s16(scaled, vdupq_n_s16(q->offset[channel])), shift);
            uint8x8_t bytes = q->is_unsigned ? vqmovun_s16(moved) : vreinterpret_u8_s8(vqmovn_s16(moved));
            vst1_u8(plane[q->plane_of[channel]] + i, bytes);
        }
    }
    uint8_t *const rest[3] = {plane[0] + i, plane[1] + i, plane[2] + i};
    ih_quantise_scalar(h + 4 * i, n - i, q, rest);
}
#endif
