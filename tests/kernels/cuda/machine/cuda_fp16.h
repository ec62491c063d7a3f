/* Half precision as CUDA has it, by the native engine's own conversions (kernels/lm/scalar.h). */
#pragma once
#include "lm/scalar.h"

struct __half { uint16_t bits; };
static inline __half __ushort_as_half(unsigned short bits) { return __half{bits}; }
static inline unsigned short __half_as_ushort(__half value) { return value.bits; }
static inline float __half2float(__half value) { return ih_f16_to_f32(value.bits); }
static inline __half __float2half_rn(float value) { return __half{ih_f32_to_f16(value)}; }
