/* The AVX2 variant: sixteen lanes are two registers, four products a lane take vpmaddubsw or vpmaddwd. */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx2,f16c,fma")

#include "lm/lanes_avx2.h"

#define VARIANT avx2
#define MACS_PER_US 40000
#define NEEDS (IH_CPU_AVX2 | IH_CPU_FMA | IH_CPU_F16C)

#include "lm/variant.h"
#endif
