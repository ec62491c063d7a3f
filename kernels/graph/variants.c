/* The instruction sets that this build has, best first. */
#include "graph/graph.h"

static int always(void) { return 1; }

const ih_graph_variant ih_graph_scalar = {
    .name = "scalar", .is_supported = always, .signed_activations = 0, .macs_per_ns = 0.4,
    .kernel = {ih_conv_scalar, ih_depthwise_scalar, ih_ewise_scalar, ih_copy_scalar, ih_halo_scalar, ih_pool_scalar,
               ih_mean_scalar, ih_rows_scalar, ih_pack_scalar, ih_conv_f32_scalar},
};

#define IH_VARIANT_ROW(name) &ih_graph_##name,
static const ih_graph_variant *const table[] = {IH_GRAPH_VARIANTS(IH_VARIANT_ROW)};

const ih_graph_variant *ih_graph_variant_at(int index) {
    return index >= 0 && index < (int)(sizeof table / sizeof *table) ? table[index] : NULL;
}
