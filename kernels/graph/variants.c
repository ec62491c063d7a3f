/* The instruction sets that this build has, best first. */
#include "common/cpu.h"
#include "graph/graph.h"

static int always(void) { return 1; }

const ih_graph_variant ih_graph_scalar = {
    .name = "scalar", .is_supported = always, .signed_activations = 0, .macs_per_ns = 0.4, .tile_px = 24,
    .kernel = {ih_conv_scalar, ih_depthwise_scalar, ih_ewise_scalar, ih_copy_scalar, ih_halo_scalar, ih_pool_scalar,
               ih_mean_scalar, ih_rows_scalar, ih_pack_scalar, ih_conv_f32_scalar, ih_planes_scalar},
};

#if defined(__x86_64__)
static int has_avx512_vnni(void) {
    const uint32_t need = IH_CPU_AVX512 | IH_CPU_AVX512VNNI;
    return (ih_cpu_features() & need) == need && __builtin_cpu_supports("avx512vbmi");
}

#define IH_AVX512_KERNELS ih_ewise_avx512, ih_copy_avx512, ih_halo_avx512, ih_pool_avx512, ih_mean_avx512, ih_rows_avx512, \
        ih_pack_avx512, ih_conv_f32_avx512, ih_planes_avx512

static int has_amx_int8(void) { return has_avx512_vnni() && (ih_cpu_features() & IH_CPU_AMXINT8) != 0; }

/* Depthwise convolutions have nothing to multiply by tiles. */
const ih_graph_variant ih_graph_amx_int8 = {
    .name = "amx_int8", .is_supported = has_amx_int8, .signed_activations = 0, .macs_per_ns = 350, .tile_px = 32,
    .kernel = {ih_conv_amx_int8, ih_depthwise_avx512_vnni, IH_AVX512_KERNELS},
};

const ih_graph_variant ih_graph_avx512_vnni = {
    .name = "avx512_vnni", .is_supported = has_avx512_vnni, .signed_activations = 0, .macs_per_ns = 150, .tile_px = 24,
    .kernel = {ih_conv_avx512_vnni, ih_depthwise_avx512_vnni, IH_AVX512_KERNELS},
};

static int has_avx2(void) { return (ih_cpu_features() & IH_CPU_AVX2) != 0; }
static int has_avx_vnni(void) { return has_avx2() && (ih_cpu_features() & IH_CPU_AVXVNNI) != 0; }

#define IH_AVX2_KERNELS ih_ewise_avx2, ih_copy_avx2, ih_halo_avx2, ih_pool_avx2, ih_mean_avx2, ih_rows_avx2, ih_pack_avx2, \
        ih_conv_f32_avx2, ih_planes_avx2

const ih_graph_variant ih_graph_avx_vnni = {
    .name = "avx_vnni", .is_supported = has_avx_vnni, .signed_activations = 0, .macs_per_ns = 60, .tile_px = 24,
    .kernel = {ih_conv_avx_vnni, ih_depthwise_avx2, IH_AVX2_KERNELS},
};

const ih_graph_variant ih_graph_avx2 = {
    .name = "avx2", .is_supported = has_avx2, .signed_activations = 0, .macs_per_ns = 25, .tile_px = 24,
    .kernel = {ih_conv_avx2, ih_depthwise_avx2, IH_AVX2_KERNELS},
};
#endif

#if defined(__aarch64__)
static int has_neon(void) { return (ih_cpu_features() & IH_CPU_NEON) != 0; }
static int has_dotprod(void) { return (ih_cpu_features() & IH_CPU_DOTPROD) != 0; }
static int has_i8mm(void) { return has_dotprod() && (ih_cpu_features() & IH_CPU_I8MM) != 0; }

/* Depthwise has no use for flipped activations: the reference reads them as they are. */
#define IH_SCALAR_KERNELS ih_depthwise_scalar, ih_ewise_scalar, ih_copy_scalar, ih_halo_scalar, ih_pool_scalar, ih_mean_scalar, \
        ih_rows_scalar, ih_pack_scalar, ih_conv_f32_scalar, ih_planes_scalar

const ih_graph_variant ih_graph_neon = {
    .name = "neon", .is_supported = has_neon, .signed_activations = 1, .macs_per_ns = 4, .tile_px = 24,
    .kernel = {ih_conv_neon, IH_SCALAR_KERNELS},
};
const ih_graph_variant ih_graph_neon_dotprod = {
    .name = "neon_dotprod", .is_supported = has_dotprod, .signed_activations = 1, .macs_per_ns = 15, .tile_px = 24,
    .kernel = {ih_conv_neon_dotprod, IH_SCALAR_KERNELS},
};
const ih_graph_variant ih_graph_neon_i8mm = {
    .name = "neon_i8mm", .is_supported = has_i8mm, .signed_activations = 0, .macs_per_ns = 25, .tile_px = 24,
    .kernel = {ih_conv_neon_i8mm, IH_SCALAR_KERNELS},
};
#endif

#define IH_VARIANT_ROW(name) &ih_graph_##name,
static const ih_graph_variant *const table[] = {IH_GRAPH_VARIANTS(IH_VARIANT_ROW)};

const ih_graph_variant *ih_graph_variant_at(int index) {
    return index >= 0 && index < (int)(sizeof table / sizeof *table) ? table[index] : NULL;
}
