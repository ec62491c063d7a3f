/* The table of variants and the choice among them: see variants.h. */
#include "common/variants.h"

#include <stdatomic.h>
#include <stddef.h>

static const struct {
    const char *name;
    uint32_t needed;
} variants[IH_VARIANT_COUNT] = {
#define IH_VARIANT_ROW(upper, lower, needed) {#lower, needed},
    IH_VARIANTS(IH_VARIANT_ROW)
#undef IH_VARIANT_ROW
};

static uint32_t features(void)
{
    /* CPUID traps under a hypervisor (about 30 µs): asked once. The top bit marks "asked". */
    static _Atomic uint32_t cached;
    uint32_t found = atomic_load_explicit(&cached, memory_order_relaxed);
    if (!found) {
        found = ih_cpu_features() | 1u << 31;
        atomic_store_explicit(&cached, found, memory_order_relaxed);
    }
    return found;
}

const char *ih_variant_name(int variant)
{
    return variant >= 0 && variant < IH_VARIANT_COUNT ? variants[variant].name : NULL;
}

int ih_variant_runs(const void *const *table, int variant)
{
    if (variant < 0 || variant >= IH_VARIANT_COUNT || !table[variant])
        return 0;
    return (variants[variant].needed & ~features()) == 0;
}

int ih_variant_best(const void *const *table)
{
    int best = IH_VARIANT_COUNT - 1;
    while (best > IH_VARIANT_SCALAR && !ih_variant_runs(table, best))
        best--;
    return best;
}
