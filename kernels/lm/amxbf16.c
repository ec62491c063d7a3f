/* As the AMX variant for int8, with prompts on bf16 tiles (Xeon since Sapphire Rapids): see struct ih_lm_wide. */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx512fp16,f16c,fma,amx-tile,amx-int8,amx-bf16")

#include "lm/lanes_avx512.h"

#define VARIANT amxbf16
#define MACS_PER_US 320000
#define WIDE_MACS_PER_US 800000
#define NEEDS (IH_CPU_AVX512 | IH_CPU_AVX512VNNI | IH_CPU_FMA | IH_CPU_F16C | IH_CPU_AMXINT8 | IH_CPU_AMXBF16)
#define HAS_TILES
#define HAS_WIDE

#include "lm/variant.h"
#endif
