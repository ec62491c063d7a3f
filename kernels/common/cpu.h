/* What this CPU (and its kernel: saved register state) can run, as bits. */
#ifndef IH_CPU_H
#define IH_CPU_H

#include <stdint.h>

/* X(feature): the name that `idlehands doctor` prints and, upper case, the bit IH_CPU_<FEATURE>. */
#define IH_CPU_FEATURES(X) \
    X(AVX2, avx2)          \
    X(FMA, fma)            \
    X(F16C, f16c)          \
    X(AVXVNNI, avxvnni)    \
    X(AVX512, avx512)      \
    X(AVX512VNNI, avx512vnni) \
    X(AVX512BF16, avx512bf16) \
    X(AMXINT8, amxint8)    \
    X(AMXBF16, amxbf16)    \
    X(NEON, neon)          \
    X(DOTPROD, dotprod)    \
    X(I8MM, i8mm)

enum ih_cpu_feature_index {
#define IH_CPU_INDEX(upper, lower) IH_CPU_##upper##_INDEX,
    IH_CPU_FEATURES(IH_CPU_INDEX)
#undef IH_CPU_INDEX
        IH_CPU_FEATURE_COUNT
};

enum ih_cpu_feature {
#define IH_CPU_BIT(upper, lower) IH_CPU_##upper = 1 << IH_CPU_##upper##_INDEX,
    IH_CPU_FEATURES(IH_CPU_BIT)
#undef IH_CPU_BIT
};

/* The features of this machine, found once. `avx512` stands for F, BW, VL and DQ together (Skylake-X, Zen 4 and later).
 * `amxint8`: the CPU has it and Linux gave this process its tile registers (8 KB more to save for a thread that uses them);
 * `amxbf16`: with it AMX-BF16, AVX512-BF16 and AVX512-FP16 (Sapphire Rapids and later have all). */
uint32_t ih_cpu_features(void);

#endif
