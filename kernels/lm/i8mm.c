/* The NEON int8 matrix-multiply variant (ARMv8.6: Cortex-A78C, X1C, A510 and later): two tokens times two rows at once. */
#if defined(__aarch64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")

#define IH_LM_DOTPROD
#define IH_LM_I8MM
#include "lm/lanes_neon.h"

#define VARIANT i8mm
#define MACS_PER_US 60000
#define NEEDS (IH_CPU_DOTPROD | IH_CPU_I8MM)

#include "lm/variant.h"
#endif
