/* Convolution for aarch64 with int8 matrix multiplies: usmmla takes two pixels (u8, as they are) times two channels times
 * eight inputs. Two groups of packed weights, zipped, are its second operand; a last odd group meets zeros. */
#if defined(__aarch64__)
#include "graph/strict_float.h"
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")

#define OWN_DOTS
#define CONV_NAME ih_conv_neon_i8mm
#include "graph/conv_neon_body.h"

enum { CHANNEL_PAIRS = 8 };

/* Eight inputs (or the last four, and zeros) of pixel px and of its neighbour. */
static inline uint8x16_t two_px(const uint8_t *run, int64_t step, int bytes) {
    uint8_t both[16] = {0};
    __builtin_memcpy(both, run, (size_t)bytes);
    __builtin_memcpy(both + 8, run + step, (size_t)bytes);
    return vld1q_u8(both);
}

static inline void two_groups(int32x4_t acc[][CHANNEL_PAIRS], int pairs, const int8_t *w, int has_odd, const uint8_t *run, int64_t step) {
    for (int q = 0; q < 4; q++) { /* four channels */
        const int32x4_t even = vreinterpretq_s32_s8(vld1q_s8(w + 16 * q));
        const int32x4_t odd = has_odd ? vreinterpretq_s32_s8(vld1q_s8(w + 64 + 16 * q)) : vdupq_n_s32(0);
        const int8x16_t low = vreinterpretq_s8_s32(vzip1q_s32(even, odd)), high = vreinterpretq_s8_s32(vzip2q_s32(even, odd));
        for (int i = 0; i < pairs; i++) {
            const uint8x16_t px = two_px(run + 2 * i * step, step, has_odd ? 8 : 4);
            acc[i][2 * q] = vusmmlaq_s32(acc[i][2 * q], px, low);
            acc[i][2 * q + 1] = vusmmlaq_s32(acc[i][2 * q + 1], px, high);
        }
    }
}

/* One pixel is computed as two equal ones. */
static void dots(const int64_t *p, const uint8_t *x, const int8_t *w, const int32_t *bias, int m, int32x4_t acc[TILE_PX][4]) {
    const int64_t step = m > 1 ? p[IH_conv_x_px] : 0, groups = (p[IH_conv_run_bytes] + 3) / 4;
    const int pairs = m > 1 ? TILE_PX / 2 : 1;
    int32x4_t sum[TILE_PX / 2][CHANNEL_PAIRS];
    for (int i = 0; i < pairs; i++)
        for (int c = 0; c < CHANNEL_PAIRS; c++)
            sum[i][c] = vcombine_s32(vld1_s32(bias + 2 * c), vld1_s32(bias + 2 * c));
    for (int64_t j = 0; j < p[IH_conv_runs_y]; j++)
        for (int64_t r = 0; r < p[IH_conv_runs_x]; r++) {
            const uint8_t *run = x + j * p[IH_conv_run_y] + r * p[IH_conv_run_x];
            for (int64_t k = 0; k < groups; k += 2, w += 128, run += 8)
                two_groups(sum, pairs, w, k + 1 < groups, run, step);
            w -= groups % 2 * 64;
        }
    for (int i = 0; i < m; i++)
        for (int v = 0; v < 4; v++) {
            const int32x4_t a = sum[i / 2][2 * v], b = sum[i / 2][2 * v + 1];
            acc[i][v] = i % 2 ? vcombine_s32(vget_high_s32(a), vget_high_s32(b)) : vcombine_s32(vget_low_s32(a), vget_low_s32(b));
        }
}
#endif
