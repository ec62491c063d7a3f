/* The table of the hall's variants. */
#include "frames/frames.h"

#define OPS(variant) \
    static const ih_frames_ops ops_##variant = {ih_tile_group_##variant, ih_tile_finish_##variant}

OPS(scalar);
#if defined(__x86_64__)
OPS(avx2);
OPS(avx512);
#elif defined(__aarch64__)
OPS(neon);
#endif

const void *const ih_frames_table[IH_VARIANT_COUNT] = {
    [IH_VARIANT_SCALAR] = &ops_scalar,
#if defined(__x86_64__)
    [IH_VARIANT_AVX2] = &ops_avx2,
    [IH_VARIANT_AVX512] = &ops_avx512,
#elif defined(__aarch64__)
    [IH_VARIANT_NEON] = &ops_neon,
#endif
};
