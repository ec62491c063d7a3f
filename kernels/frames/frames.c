/* The table of the hall's variants. */
#include "frames/frames.h"

static const ih_frames_ops ops_scalar = {
    ih_tile_group_scalar, ih_tile_finish_scalar, ih_vertical_scalar, ih_box_scalar, ih_horizontal_scalar, ih_quantise_scalar,
};
#if defined(__x86_64__)
static const ih_frames_ops ops_avx2 = {
    ih_tile_group_avx2, ih_tile_finish_avx2, ih_vertical_avx2, ih_box_avx2, ih_horizontal_avx2, ih_quantise_avx2,
};
static const ih_frames_ops ops_avx512 = {
    ih_tile_group_avx512, ih_tile_finish_avx512, ih_vertical_avx512, ih_box_avx512, ih_horizontal_avx2, ih_quantise_avx2,
};
#elif defined(__aarch64__)
static const ih_frames_ops ops_neon = {
    ih_tile_group_neon, ih_tile_finish_neon, ih_vertical_neon, ih_box_neon, ih_horizontal_neon, ih_quantise_neon,
};
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
