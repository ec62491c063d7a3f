/* The AVX2 variant: sixteen lanes are two registers, four products a lane take vpmaddubsw or vpmaddwd. */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx2,f16c,fma")

#include "lm/lanes_avx2.h"

#define VARIANT avx2
#define MACS_PER_US 40000

static int supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

#include "lm/variant.h"
#endif
