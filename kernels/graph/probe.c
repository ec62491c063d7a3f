/* The ceilings that benches compare with: how many int8 operations a second this core can do by dot products, and by tiles. */
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

#define PEAK_TILE_LOOPS 100000

/* Four independent products of 16 x 64 times 64 x 16, over and over. */
__attribute__((target("amx-tile,amx-int8"))) static double peak_tiles(void) {
    static const struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } config
        __attribute__((aligned(64))) = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    const double started = seconds();
    for (int k = 0; k < PEAK_TILE_LOOPS; k++) {
        _tile_dpbusd(0, 4, 5);
        _tile_dpbusd(1, 4, 5);
        _tile_dpbusd(2, 4, 5);
        _tile_dpbusd(3, 4, 5);
    }
    const double spent = seconds() - started;
    _tile_release();
    return 2.0 * 4 * 16 * 16 * 64 * PEAK_TILE_LOOPS / spent * 1e-9;
}

double ih_graph_peak_tiles_gops(void) { return ih_cpu_features() & IH_CPU_AMXINT8 ? peak_tiles() : 0.0; }
#else
double ih_graph_peak_gops(void) { return 0.0 * seconds(); }
double ih_graph_peak_tiles_gops(void) { return 0.0; }
#endif
