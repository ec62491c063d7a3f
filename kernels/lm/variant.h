/* All kernels of one variant, on the lanes included before it. Included once by each variant's file, with VARIANT (its
 * name), MACS_PER_US and NEEDS (bits of enum ih_cpu_feature) defined, HAS_TILES where it has AMX, HAS_WIDE where for bf16 too. */

#include "common/cpu.h"
#include "lm/lm.h"

#include "lm/rows.h"

#include "lm/matmul.h"
#ifdef HAS_TILES
#include "lm/matmul_tiles.h"
#endif

#ifdef HAS_WIDE
#include "lm/wide_products.h"

#include "lm/wide_attend.h"

static const ih_lm_wide wide = {
    .macs_per_us = WIDE_MACS_PER_US,
    .pack = pack_wide,
    .matmul = matmul_wide,
    .gated = gated_wide,
    .attend = attend_wide,
    .attend_bytes = attend_wide_bytes,
};
#endif

#define NAME(name) name##_f16
#define KV_TYPE uint16_t
#define LOAD_KV vf_load_f16
#define SCALED 0
#include "lm/attend.h"
#undef NAME
#undef KV_TYPE
#undef LOAD_KV
#undef SCALED

#define NAME(name) name##_i8
#define KV_TYPE int8_t
#define LOAD_KV vf_load_i8
#define SCALED 1
#include "lm/attend.h"

#define JOIN(a, b) a##b
#define PUBLIC(name) JOIN(ih_lm_, name)
#define TEXT(name) #name
#define QUOTED(name) TEXT(name)

static int supported(void)
{
    return (ih_cpu_features() & NEEDS) == NEEDS;
}

const ih_lm_variant PUBLIC(VARIANT) = {
    .name = QUOTED(VARIANT),
    .supported = supported,
    .macs_per_us = MACS_PER_US,
#ifdef HAS_TILES
    .matmul = {matmul_q4_0_tiles, matmul_q4_1_tiles, matmul_q8_0_tiles, matmul_q6_k, matmul_f16, matmul_f32},
#else
    .matmul = {matmul_q4_0, matmul_q4_1, matmul_q8_0, matmul_q6_k, matmul_f16, matmul_f32},
#endif
    .quantise = quantise,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .swiglu = swiglu,
    .to_f16 = to_f16,
    .attend = {attend_f16, attend_i8},
#ifdef HAS_WIDE
    .wide = &wide,
#endif
};
