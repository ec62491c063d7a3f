/* The AVX-VNNI variant: as AVX2, with four products a lane in one instruction (client cores since Alder Lake). */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx2,avxvnni,f16c,fma")

#define IH_LM_AVXVNNI
#include "lm/lanes_avx2.h"

#include <cpuid.h>

#define VARIANT avxvnni
#define MACS_PER_US 70000

/* CPUID 7.1 EAX bit 4; gcc 12's __builtin_cpu_supports does not know the name. */
static int supported(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")
        && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

#include "lm/variant.h"
#endif
