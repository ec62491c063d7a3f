/* The NEON variant, for ARMv8.0 cores: sixteen lanes are four registers. */
#if defined(__aarch64__)
#pragma GCC optimize("fp-contract=off") /* only what is written as a fused operation is fused */

#include "lm/lanes_neon.h"

#define VARIANT neon
#define MACS_PER_US 8000
#define NEEDS (IH_CPU_NEON)

#include "lm/variant.h"
#endif
