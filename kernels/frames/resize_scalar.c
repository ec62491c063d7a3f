/* The reference of the resize: resize.h, line by line. */
#include "frames/frames.h"

static int16_t round_q15(int value, int weight)
{
    return (int16_t)((value * weight + (1 << 14)) >> 15);
}

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

void ih_vertical_scalar(const uint8_t *rows, ptrdiff_t stride, int taps, const int16_t *weights, int bias,
                        int w, int16_t *v)
{
    for (int i = 0; i < 4 * w; i++) {
        int sum = bias;
        for (int tap = 0; tap < taps; tap++)
            sum += (rows[tap * stride + i] * weights[tap]) >> 8;
        v[i] = (int16_t)sum;
    }
}

void ih_box_scalar(const uint8_t *rows, ptrdiff_t stride, ih_box box, int w, int16_t *v)
{
    for (int i = 0; i < 4 * w; i++) {
        uint32_t sum = 0;
        for (int row = 0; row < box.rows; row++)
            sum += rows[row * stride + i];
        v[i] = (int16_t)((sum << box.shift) * box.multiplier >> 16);
    }
}

void ih_horizontal_scalar(const int16_t *v, const ih_axis *axis, int from, int until, int16_t *h)
{
    for (int o = from; o < until; o++) {
        const int16_t *weights = ih_axis_weights(axis, o);
        for (int channel = 0; channel < 4; channel++) {
            int sum = 0;
            for (int tap = 0; tap < axis->taps; tap++)
                sum += round_q15(v[4 * (axis->first[o] + tap) + channel],
                                 weights[4 * tap + channel]);
            h[4 * o + channel] = (int16_t)sum;
        }
    }
}

void ih_quantise_scalar(const int16_t *h, int n, const ih_quantise *quantise, uint8_t *const plane[3])
{
    const int low = quantise->is_unsigned ? 0 : -128, high = quantise->is_unsigned ? 255 : 127;
    for (int i = 0; i < n; i++)
        for (int channel = 0; channel < 3; channel++) {
            int scaled = round_q15(h[4 * i + channel], quantise->multiplier[channel]);
            int moved = clamp(scaled + quantise->offset[channel], INT16_MIN, INT16_MAX);
            plane[quantise->plane_of[channel]][i] = (uint8_t)clamp(moved >> quantise->shift, low, high);
        }
}
