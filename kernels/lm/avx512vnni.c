/* The AVX-512 VNNI variant: sixteen lanes are one register, four products a lane one instruction. */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")

#include "lm/lanes_avx512.h"

#define VARIANT avx512vnni
#define MACS_PER_US 160000

static int supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

#include "lm/variant.h"
#endif
