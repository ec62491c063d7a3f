/* The AVX-VNNI variant: as AVX2, with four products a lane in one instruction (client cores since Alder Lake). */
#if defined(__x86_64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("avx2,avxvnni,f16c,fma")

#define IH_LM_AVXVNNI
#include "lm/lanes_avx2.h"

#define VARIANT avxvnni
#define MACS_PER_US 70000
#define NEEDS (IH_CPU_AVX2 | IH_CPU_FMA | IH_CPU_F16C | IH_CPU_AVXVNNI)

#include "lm/variant.h"
#endif
