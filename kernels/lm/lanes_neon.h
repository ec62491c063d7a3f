/* Sixteen lanes on NEON: four registers. See lanes_avx2.h for what each name means.
 * With IH_LM_DOTPROD four products a lane are one instruction (ARMv8.2 dot product: Cortex-A76, A78AE); without, they are
 * widening multiplies. Both operands are signed: nibbles and six bits fit, and what was added to Q8_0 to
 * make it unsigned is taken away again (LARGE_IS_SIGNED). */
#ifndef IH_LM_LANES_H
#define IH_LM_LANES_H

#include <arm_neon.h>

#include "lm/scalar.h"

#define LANES static inline __attribute__((always_inline))
#define SCORE_ROWS 3  /* queries at once: four registers each, within 32 */
#define ATTEND_ROWS 3
#define ATTEND_WIDE 1
#define LARGE_IS_SIGNED 1
#ifdef IH_LM_I8MM
#define MATMUL_ROWS 4 /* tokens at once, in pairs */
#else
#define MATMUL_ROWS 3 /* tokens at once: four int and four float registers each, within 32 */
#endif

typedef struct { float32x4_t a, b, c, d; } vf;
typedef struct { int32x4_t a, b, c, d; } vi;
typedef struct { uint8x16_t a, b, c, d; } vw;

#define EACH1(type, op, x) (type){op((x).a), op((x).b), op((x).c), op((x).d)}
#define EACH2(type, op, x, y) (type){op((x).a, (y).a), op((x).b, (y).b), op((x).c, (y).c), op((x).d, (y).d)}

LANES vf vf_set(float x) { return (vf){vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}; }
LANES vf vf_zero(void) { return vf_set(0); }
LANES vf vf_load(const float *x) { return (vf){vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12)}; }
LANES vf vf_add(vf x, vf y) { return EACH2(vf, vaddq_f32, x, y); }
LANES vf vf_sub(vf x, vf y) { return EACH2(vf, vsubq_f32, x, y); }
LANES vf vf_mul(vf x, vf y) { return EACH2(vf, vmulq_f32, x, y); }
LANES vf vf_div(vf x, vf y) { return EACH2(vf, vdivq_f32, x, y); }
LANES vf vf_max(vf x, vf y) { return EACH2(vf, vmaxq_f32, x, y); }
LANES vf vf_min(vf x, vf y) { return EACH2(vf, vminq_f32, x, y); }
LANES vf vf_abs(vf x) { return EACH1(vf, vabsq_f32, x); }
LANES vf vf_swap_pairs(vf x) { return EACH1(vf, vrev64q_f32, x); }

LANES void vf_store(float *y, vf x)
{
    vst1q_f32(y, x.a), vst1q_f32(y + 4, x.b), vst1q_f32(y + 8, x.c), vst1q_f32(y + 12, x.d);
}

LANES vf vf_fma(vf x, vf y, vf z)
{
    return (vf){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}

LANES vf vf_load_f16(const uint16_t *x)
{
    const float16_t *at = (const float16_t *)x;
    return (vf){vcvt_f32_f16(vld1_f16(at)), vcvt_f32_f16(vld1_f16(at + 4)), vcvt_f32_f16(vld1_f16(at + 8)),
                vcvt_f32_f16(vld1_f16(at + 12))};
}

LANES void vf_store_f16(uint16_t *y, vf x)
{
    float16_t *at = (float16_t *)y;
    vst1_f16(at, vcvt_f16_f32(x.a)), vst1_f16(at + 4, vcvt_f16_f32(x.b));
    vst1_f16(at + 8, vcvt_f16_f32(x.c)), vst1_f16(at + 12, vcvt_f16_f32(x.d));
}

LANES float round_f16(float x)
{
    return vgetq_lane_f32(vcvt_f32_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
}

LANES vf vf_load_i8(const int8_t *x)
{
    int8x16_t bytes = vld1q_s8(x);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))};
}

/* The lanes first .. last as they are, the others zero. */
LANES vf vf_keep(vf x, int first, int last)
{
    float lane[16];
    vf_store(lane, x);
    for (int i = 0; i < 16; i++)
        lane[i] = i < first || i > last ? 0 : lane[i];
    return vf_load(lane);
}

/* The sum of all lanes, halves added to halves, as `tree` in reference.c. */
LANES float vf_tree(vf x)
{
    float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

LANES float vf_largest(vf x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d))); }
LANES vi vi_set(int32_t x) { return (vi){vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x)}; }
LANES vi vf_to_int(vf x) { return EACH1(vi, vcvtnq_s32_f32, x); } /* nearest, ties to even */
LANES vf vi_to_float(vi x) { return EACH1(vf, vcvtq_f32_s32, x); }
LANES int32_t vi_sum(vi x) { return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d))); }

/* The lanes as int8; they fit. */
LANES void vi_store_i8(int8_t *y, vi x)
{
    int16x8_t low = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)), high = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
    vst1q_s8(y, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

LANES float32x4_t power_of_two(int32x4_t n)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/* x * 2^n */
LANES vf vf_scale_by_power(vf x, vi n)
{
    return vf_mul(x, EACH1(vf, power_of_two, n));
}

LANES vw vw_load(const uint8_t *line)
{
    return (vw){vld1q_u8(line), vld1q_u8(line + 16), vld1q_u8(line + 32), vld1q_u8(line + 48)};
}

LANES vw vw_low(vw x)
{
    uint8x16_t mask = vdupq_n_u8(15);
    return (vw){vandq_u8(x.a, mask), vandq_u8(x.b, mask), vandq_u8(x.c, mask), vandq_u8(x.d, mask)};
}

LANES vw vw_high(vw x)
{
    return (vw){vshrq_n_u8(x.a, 4), vshrq_n_u8(x.b, 4), vshrq_n_u8(x.c, 4), vshrq_n_u8(x.d, 4)};
}

LANES int8x16_t broadcast_four(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* sum + four signed weights times four activations, in each of four rows. */
LANES int32x4_t dot_quarter(int32x4_t sum, int8x16_t weights, int8x16_t four)
{
#ifdef IH_LM_DOTPROD
    return vdotq_s32(sum, weights, four);
#else
    int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(four)), high = vmull_high_s8(weights, four);
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}

/* Weights below 128: the same bytes signed. */
LANES vi vi_dot_small(vi sum, vw w, const int8_t *x)
{
    int8x16_t four = broadcast_four(x);
    return (vi){dot_quarter(sum.a, vreinterpretq_s8_u8(w.a), four), dot_quarter(sum.b, vreinterpretq_s8_u8(w.b), four),
                dot_quarter(sum.c, vreinterpretq_s8_u8(w.c), four), dot_quarter(sum.d, vreinterpretq_s8_u8(w.d), four)};
}

/* Weights up to 255 are taken as w - 128, which is what they mean. */
LANES vw vw_load_large(const uint8_t *line)
{
    uint8x16_t flip = vdupq_n_u8(128);
    vw x = vw_load(line);
    return (vw){veorq_u8(x.a, flip), veorq_u8(x.b, flip), veorq_u8(x.c, flip), veorq_u8(x.d, flip)};
}

LANES vi vi_dot_large(vi sum, vw w, const int8_t *x) { return vi_dot_small(sum, w, x); }

#endif
