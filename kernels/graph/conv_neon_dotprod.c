/* Convolution for aarch64 with dot products (Cortex-A76 and later, Orin's A78AE): sdot multiplies s8 by s8, so activations are
 * flipped to x - 128 and the bias holds 128 * sum(w) more (ih_graph_variant.signed_activations). */
#if defined(__aarch64__)
#include "graph/strict_float.h"
#pragma GCC target("arch=armv8.2-a+dotprod")
#include <arm_neon.h>

#define STEP(acc, w, x) acc = vdotq_s32(acc, w, x)
#define CONV_NAME ih_conv_neon_dotprod
#include "graph/conv_neon_body.h"
#endif
