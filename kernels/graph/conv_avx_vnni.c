/* Convolution for AVX-VNNI (256-bit vpdpbusd in VEX encoding, Alder Lake and later). */
#if defined(__x86_64__)
#pragma GCC target("avx2,avxvnni")
#include <immintrin.h>

#define STEP(acc, x, w) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(w))
#define CONV_NAME ih_conv_avx_vnni
#include "graph/conv_pairs_body.h"
#endif
