/* Variants of a kernel: one table of names, one choice at run time, one way to force another in tests.
 *
 *   <op>_scalar.c   the reference: short, obvious, the meaning of the op
 *   <op>_avx2.c     one instruction set a file, `#pragma GCC target("avx2")` on top, empty on other machines
 *   ...
 *   a hall's ops    a struct of function pointers per variant; the hall's table holds NULL where it has none:
 *
 *       static const void *const table[IH_VARIANT_COUNT] = {[IH_VARIANT_SCALAR] = &ops_scalar, ...};
 *       const struct my_ops *ops = table[ih_variant_best(table)];
 *
 * The choice is an argument of each call (an index, IH_VARIANT_BEST for the best), never an environment variable.
 */
#ifndef IH_VARIANTS_H
#define IH_VARIANTS_H

#include "common/cpu.h"

/* X(UPPER, name, features needed), from plain to best: the best that a hall has and the CPU runs is chosen. */
#define IH_VARIANTS(X)                                                         \
    X(SCALAR, scalar, 0)                                                       \
    X(AVX2, avx2, IH_CPU_AVX2 | IH_CPU_FMA | IH_CPU_F16C)                      \
    X(AVXVNNI, avxvnni, IH_CPU_AVX2 | IH_CPU_FMA | IH_CPU_F16C | IH_CPU_AVXVNNI) \
    X(AVX512, avx512, IH_CPU_AVX512)                                           \
    X(AVX512VNNI, avx512vnni, IH_CPU_AVX512 | IH_CPU_AVX512VNNI)               \
    X(AVX512BF16, avx512bf16, IH_CPU_AVX512 | IH_CPU_AVX512VNNI | IH_CPU_AVX512BF16) \
    X(NEON, neon, IH_CPU_NEON)                                                 \
    X(DOTPROD, dotprod, IH_CPU_NEON | IH_CPU_DOTPROD)                          \
    X(I8MM, i8mm, IH_CPU_NEON | IH_CPU_DOTPROD | IH_CPU_I8MM)

enum ih_variant {
    IH_VARIANT_BEST = -1,
#define IH_VARIANT_INDEX(upper, lower, needed) IH_VARIANT_##upper,
    IH_VARIANTS(IH_VARIANT_INDEX)
#undef IH_VARIANT_INDEX
        IH_VARIANT_COUNT
};

/* NULL for an index that is no variant. */
const char *ih_variant_name(int variant);

/* Whether `table` (IH_VARIANT_COUNT entries) has `variant` and this CPU can run it. */
int ih_variant_runs(const void *const *table, int variant);

/* The best one that runs; every hall has the scalar one. */
int ih_variant_best(const void *const *table);

#endif
