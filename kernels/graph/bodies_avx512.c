/* The plain kernels (bodies.h) for AVX-512. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
#include "graph/strict_float.h"
#define BODY(name) ih_##name##_avx512
#include "graph/bodies.h"
#endif
