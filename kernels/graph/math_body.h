/* Float functions in plain arithmetic, without calls or branches, so that loops over them vectorise and every
 * instruction set computes the same bits. */
#ifndef IH_GRAPH_MATH_BODY_H
#define IH_GRAPH_MATH_BODY_H

/* Rounds to even, |x| < 2^22: adding 1.5 * 2^23 leaves no bits below the point. */
static inline float ih_round(float x) {
    return (x + 12582912.0f) - 12582912.0f;
}

static inline float ih_clampf(float x, float low, float high) {
    x = x > low ? x : low; /* a NaN becomes `low` */
    return x < high ? x : high;
}

/* e^x within 2 ulp; range reduction by ln 2 in two parts and the polynomial of Cephes expf (Moshier). */
static inline float ih_exp(float x) {
    x = ih_clampf(x, -87.0f, 88.0f);
    float n = ih_round(x * 1.44269504088896341f);
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    union { int32_t i; float f; } power = {.i = ((int32_t)n + 127) << 23};
    return y * power.f;
}

static inline float ih_sigmoid(float x) {
    float e = ih_exp(x < 0 ? x : -x); /* of -|x|: never overflows */
    float r = 1.0f / (1.0f + e);
    return x < 0 ? e * r : r;
}

static inline float ih_tanh(float x) {
    float a = x < 0 ? -x : x, e = ih_exp(-2.0f * a), far = (1.0f - e) / (1.0f + e), s = x * x;
    /* near zero the difference cancels: Cephes tanhf */
    float near = -5.70498872745e-3f;
    near = near * s + 2.06390887954e-2f;
    near = near * s + -5.37397155531e-2f;
    near = near * s + 1.33314422036e-1f;
    near = near * s + -3.33332819422e-1f;
    near = near * s * a + a;
    float y = a < 0.625f ? near : far;
    return x < 0 ? -y : y;
}

/* Polynomials of N. Juffa's erff (max error about 1 ulp with fused multiply-add, 2 without). */
static inline float ih_erf(float x) {
    float t = x < 0 ? -x : x, s = x * x;
    float r = -1.72853470e-5f * t + 3.83197126e-4f, u = -3.88396438e-3f * t + 2.42546219e-2f;
    r = r * s + u;
    r = r * t + -1.06777877e-1f;
    r = r * t + -6.34846687e-1f;
    r = r * t + -1.28717512e-1f;
    r = r * t - t;
    float far = 1.0f - ih_exp(r);
    far = x < 0 ? -far : far;
    float q = -5.96761703e-4f;
    q = q * s + 4.99119423e-3f;
    q = q * s + -2.67681349e-2f;
    q = q * s + 1.12819925e-1f;
    q = q * s + -3.76125336e-1f;
    q = q * s + 1.28379166e-1f;
    float near = q * x + x;
    return t > 0.927734375f ? far : near;
}

static inline uint8_t ih_quantise(float x, float scale, float zero) {
    return (uint8_t)(int32_t)(ih_round(ih_clampf(x / scale, -zero, 255.0f - zero)) + zero);
}

#endif
