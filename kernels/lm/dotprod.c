/* The NEON dot-product variant, for ARMv8.2 cores such as the Cortex-A78AE: four products a lane in one instruction. */
#if defined(__aarch64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("arch=armv8.2-a+dotprod")

#define IH_LM_DOTPROD
#include "lm/lanes_neon.h"

#define VARIANT dotprod
#define MACS_PER_US 40000
#define NEEDS (IH_CPU_DOTPROD)

#include "lm/variant.h"
#endif
