/* The table of the hall's variants. */
#include "frames/frames.h"

#define IH_FRAMES_OPS(tiles, vertical, along, thirds)                                                               \
    {                                                                                                               \
        ih_tile_group_##tiles, ih_tile_finish_##tiles, ih_vertical_##vertical, ih_box_##vertical,                   \
            ih_horizontal_##along, ih_quantise_##along, thirds,                                                     \
    }

static const ih_frames_ops ops_scalar = IH_FRAMES_OPS(scalar, scalar, scalar, NULL);
#if defined(__x86_64__)
static const ih_frames_ops ops_avx2 = IH_FRAMES_OPS(avx2, avx2, avx2, ih_thirds_avx2);
static const ih_frames_ops ops_avx512 = IH_FRAMES_OPS(avx512, avx512, avx2, ih_thirds_avx512);
#elif defined(__aarch64__)
static const ih_frames_ops ops_neon = IH_FRAMES_OPS(neon, neon, neon, NULL);
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
