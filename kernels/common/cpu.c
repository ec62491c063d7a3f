/* CPU detection: see cpu.h. libgcc also checks that the kernel saves the wide registers (XGETBV). */
#include "common/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

static int has_avxvnni(void)
{
    /* gcc 12's __builtin_cpu_supports knows "avxvnni"; clang 14's does not, so: leaf 7, subleaf 1, EAX bit 4. */
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}

uint32_t ih_cpu_features(void)
{
    uint32_t found = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) {
        found |= IH_CPU_AVX2;
        found |= has_avxvnni() ? IH_CPU_AVXVNNI : 0;
    }
    found |= __builtin_cpu_supports("fma") ? IH_CPU_FMA : 0;
    found |= __builtin_cpu_supports("f16c") ? IH_CPU_F16C : 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq")) {
        found |= IH_CPU_AVX512;
        found |= __builtin_cpu_supports("avx512vnni") ? IH_CPU_AVX512VNNI : 0;
        found |= __builtin_cpu_supports("avx512bf16") ? IH_CPU_AVX512BF16 : 0;
    }
    return found;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#define HWCAP_ASIMD_BIT (1UL << 1)
#define HWCAP_ASIMDDP_BIT (1UL << 20)
#define HWCAP2_I8MM_BIT (1UL << 13)

uint32_t ih_cpu_features(void)
{
    uint32_t found = 0;
    unsigned long hwcap = getauxval(AT_HWCAP);
    if (hwcap & HWCAP_ASIMD_BIT) {
        found |= IH_CPU_NEON;
        found |= hwcap & HWCAP_ASIMDDP_BIT ? IH_CPU_DOTPROD : 0;
        found |= getauxval(AT_HWCAP2) & HWCAP2_I8MM_BIT ? IH_CPU_I8MM : 0;
    }
    return found;
}

#else

uint32_t ih_cpu_features(void)
{
    return 0;
}

#endif
