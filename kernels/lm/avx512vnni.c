/* The AVX-512 VNNI variant: sixteen lanes are one register, four products a lane one instruction. */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")

#include "lm/lanes_avx512.h"

#define VARIANT avx512vnni
#define MACS_PER_US 160000
#define NEEDS (IH_CPU_AVX512 | IH_CPU_AVX512VNNI | IH_CPU_FMA | IH_CPU_F16C)

#include "lm/variant.h"
#endif
