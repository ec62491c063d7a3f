/* The table of variants and the choice among them: see variants.h. */
#include "common/variants.h"

#include <stddef.h>

static const struct {
    const char *name;
    uint32_t needed;
} variants[IH_VARIANT_COUNT] = {
#define IH_VARIANT_ROW(upper, lower, needed) {#lower, needed},
    IH_VARIANTS(IH_VARIANT_ROW)
#undef IH_VARIANT_ROW
};

const char *ih_variant_name(int variant)
{
    return variant >= 0 && variant < IH_VARIANT_COUNT ? variants[variant].name : NULL;
}

int ih_variant_runs(const void *const *table, int variant)
{
    if (variant < 0 || variant >= IH_VARIANT_COUNT || !table[variant])
        return 0;
    return (variants[variant].needed & ~ih_cpu_features()) == 0;
}

int ih_variant_best(const void *const *table)
{
    int best = IH_VARIANT_COUNT - 1;
    while (best > IH_VARIANT_SCALAR && !ih_variant_runs(table, best))
        best--;
    return best;
}
