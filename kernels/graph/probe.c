/* The ceiling that benches compare with: how many int8 operations a second this core's dot-product instruction can do. */
#include "graph/graph.h"
#include "common/cpu.h"
#include <time.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#if defined(__x86_64__)
#include <immintrin.h>
#define PEAK_LOOPS 2000000

/* 24 independent accumulators, nothing but vpdpbusd: what a perfect kernel would reach. */
__attribute__((target("avx512f,avx512vnni"))) static double peak_vnni(void) {
    __m512i acc[24], x = _mm512_set1_epi8(1), w = _mm512_set1_epi8(2);
    _Pragma("GCC unroll 24") for (int i = 0; i < 24; i++)
        acc[i] = _mm512_setzero_si512();
    const double started = seconds();
    for (int k = 0; k < PEAK_LOOPS; k++)
        _Pragma("GCC unroll 24") for (int i = 0; i < 24; i++)
            __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(acc[i]) : "v"(x), "v"(w));
    const double spent = seconds() - started;
    return 2.0 * 64 * 24 * PEAK_LOOPS / spent * 1e-9;
}

double ih_graph_peak_gops(void) {
    const uint32_t need = IH_CPU_AVX512 | IH_CPU_AVX512VNNI;
    return (ih_cpu_features() & need) == need ? peak_vnni() : 0.0;
}
#else
double ih_graph_peak_gops(void) { return 0.0 * seconds(); }
#endif
