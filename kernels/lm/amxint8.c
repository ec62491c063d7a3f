/* The AMX variant: as AVX-512 VNNI, with the products of sixteen tokens and more on tiles (Xeon since Sapphire Rapids). */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma,amx-tile,amx-int8")

#include "lm/lanes_avx512.h"

#define VARIANT amxint8
#define MACS_PER_US 320000
#define NEEDS (IH_CPU_AVX512 | IH_CPU_AVX512VNNI | IH_CPU_FMA | IH_CPU_F16C | IH_CPU_AMXINT8)
#define HAS_TILES

#include "lm/variant.h"
#endif
