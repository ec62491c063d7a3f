/* Convolution for aarch64 without dot products (Cortex-A53, A72): widening multiplies of s8, pairs added up. Activations are
 * flipped to x - 128 as for conv_neon_dotprod.c. */
#if defined(__aarch64__)
#include "graph/strict_float.h"
#include <arm_neon.h>

static inline int32x4_t dot4(int32x4_t acc, int8x16_t w, int8x16_t x) {
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x)), high = vmull_high_s8(w, x);
    return vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}
#define STEP(acc, w, x) acc = dot4(acc, w, x)
#define CONV_NAME ih_conv_neon
#include "graph/conv_neon_body.h"
#endif
