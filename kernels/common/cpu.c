/* CPU detection: see cpu.h. libgcc also checks that the kernel saves the wide registers (XGETBV). */
#include "common/cpu.h"

#include <stdatomic.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static int has_avxvnni(void)
{
    /* gcc 12's __builtin_cpu_supports knows "avxvnni"; clang 14's does not, so: leaf 7, subleaf 1, EAX bit 4. */
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}

/* Leaf 7, EDX: AMX-TILE and AMX-INT8. Linux (5.16) hands the tile registers only to a process that asks; it asks for all its
 * threads. Refused by an older kernel, and where a thread's signal stack is too small for the larger frame. */
static int has_amx_int8(void)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx >> 24 & 1) || !(edx >> 25 & 1))
        return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Leaf 7, EDX: AMX-BF16 and AVX512-FP16; subleaf 1, EAX: AVX512-BF16. */
static int has_bf16_and_fp16(void)
{
    unsigned eax, ebx, ecx, edx, more;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 22 & 1) && (edx >> 23 & 1)
        && __get_cpuid_count(7, 1, &more, &ebx, &ecx, &edx) && (more >> 5 & 1);
}

static uint32_t find_features(void)
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
        if (has_amx_int8())
            found |= IH_CPU_AMXINT8 | (has_bf16_and_fp16() ? IH_CPU_AMXBF16 : 0);
    }
    return found;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#define HWCAP_ASIMD_BIT (1UL << 1)
#define HWCAP_ASIMDDP_BIT (1UL << 20)
#define HWCAP2_I8MM_BIT (1UL << 13)

static uint32_t find_features(void)
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

static uint32_t find_features(void)
{
    return 0;
}

#endif

uint32_t ih_cpu_features(void)
{
    /* CPUID traps under a hypervisor (about 30 us): asked once. The top bit marks "asked". */
    static _Atomic uint32_t cached;
    uint32_t found = atomic_load_explicit(&cached, memory_order_relaxed);
    if (!found) {
        found = find_features() | 1u << 31;
        atomic_store_explicit(&cached, found, memory_order_relaxed);
    }
    return found & ~(1u << 31);
}
