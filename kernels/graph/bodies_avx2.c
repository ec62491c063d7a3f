/* The plain kernels (bodies.h) for AVX2. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "graph/strict_float.h"
#define BODY(name) ih_##name##_avx2
#include "graph/bodies.h"
#endif
