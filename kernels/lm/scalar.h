/* Scalar arithmetic that every variant must agree with to the last bit: half precision, rounding, exp. */
#ifndef IH_LM_SCALAR_H
#define IH_LM_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float ih_bits_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t ih_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float ih_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 31)
        return ih_bits_f32(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    if (exponent == 0) { /* subnormal: fraction * 2^-24, exact */
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return ih_bits_f32(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Rounds to nearest, ties to even; too large becomes infinite. */
static inline uint16_t ih_f32_to_f16(float value)
{
    uint32_t bits = ih_f32_bits(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x1ff));
    if (size >= 0x477ff000) /* 65520 and above */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) { /* below 2^-14: subnormal; adding 0.5 leaves value * 2^24 in the low bits, rounded */
        uint32_t fraction = ih_f32_bits(ih_bits_f32(size) + 0.5f) - 0x3f000000;
        return (uint16_t)(sign | fraction);
    }
    return (uint16_t)(sign | ((size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13));
}

static inline float ih_round_f16(float value)
{
    return ih_f16_to_f32(ih_f32_to_f16(value));
}

/* To the nearest integer, ties to even, for |x| < 2^22; the same on every machine in its default rounding mode. */
static inline float ih_round_even(float x)
{
    volatile float shifted = x + 12582912.0f; /* volatile: nothing may be folded or fused here */
    return shifted - 12582912.0f;
}

/* exp by 2^n * p(r), |r| <= ln(2)/2; the coefficients are Cephes' expf (Moshier), error below 2 ulp. */
#define IH_EXP_MIN -87.0f
#define IH_EXP_MAX 88.0f
#define IH_EXP_LOG2E 1.44269504088896341f
#define IH_EXP_LN2_HIGH 0.693359375f
#define IH_EXP_LN2_LOW -2.12194440e-4f
#define IH_EXP_P0 1.9875691500e-4f
#define IH_EXP_P1 1.3981999507e-3f
#define IH_EXP_P2 8.3334519073e-3f
#define IH_EXP_P3 4.1665795894e-2f
#define IH_EXP_P4 1.6666665459e-1f
#define IH_EXP_P5 5.0000001201e-1f

static inline float ih_expf(float x)
{
    x = x < IH_EXP_MIN ? IH_EXP_MIN : x > IH_EXP_MAX ? IH_EXP_MAX : x;
    float n = ih_round_even(x * IH_EXP_LOG2E);
    float r = fmaf(n, -IH_EXP_LN2_HIGH, x);
    r = fmaf(n, -IH_EXP_LN2_LOW, r);
    float p = fmaf(IH_EXP_P0, r, IH_EXP_P1);
    p = fmaf(p, r, IH_EXP_P2);
    p = fmaf(p, r, IH_EXP_P3);
    p = fmaf(p, r, IH_EXP_P4);
    p = fmaf(p, r, IH_EXP_P5);
    p = fmaf(p, r * r, r + 1.0f);
    return p * ih_bits_f32((uint32_t)((int32_t)n + 127) << 23);
}

#endif
