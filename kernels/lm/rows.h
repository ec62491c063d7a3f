/* The kernels over rows of floats, on sixteen lanes (lanes_*.h); equal to reference.c to the last bit.
 * Included once by each variant's file, after its lanes. */

LANES vf vf_exp(vf x)
{
    x = vf_min(vf_max(x, vf_set(IH_EXP_MIN)), vf_set(IH_EXP_MAX));
    vi whole = vf_to_int(vf_mul(x, vf_set(IH_EXP_LOG2E)));
    vf n = vi_to_float(whole);
    vf r = vf_fma(n, vf_set(-IH_EXP_LN2_HIGH), x);
    r = vf_fma(n, vf_set(-IH_EXP_LN2_LOW), r);
    vf p = vf_fma(vf_set(IH_EXP_P0), r, vf_set(IH_EXP_P1));
    p = vf_fma(p, r, vf_set(IH_EXP_P2));
    p = vf_fma(p, r, vf_set(IH_EXP_P3));
    p = vf_fma(p, r, vf_set(IH_EXP_P4));
    p = vf_fma(p, r, vf_set(IH_EXP_P5));
    p = vf_fma(p, vf_mul(r, r), vf_add(r, vf_set(1.0f)));
    return vf_scale_by_power(p, whole);
}

static void quantise(const float *x, int8_t *q, float *scale, float *scaled_sum, int32_t *neg128, int32_t *half)
{
    vf low = vf_load(x), high = vf_load(x + 16);
    float largest = vf_largest(vf_max(vf_abs(low), vf_abs(high)));
    float step = largest / 127.0f, inverse = largest > 0 ? 127.0f / largest : 0;
    vf top = vf_set(127.0f), bottom = vf_set(-127.0f);
    /* max first, with the bound second: a NaN becomes -127 */
    vi a = vf_to_int(vf_min(vf_max(vf_mul(low, vf_set(inverse)), bottom), top));
    vi b = vf_to_int(vf_min(vf_max(vf_mul(high, vf_set(inverse)), bottom), top));
    vi_store_i8(q, a);
    vi_store_i8(q + 16, b);
    int32_t first = vi_sum(a), sum = first + vi_sum(b);
    *scale = round_f16(step);
    *scaled_sum = round_f16(step * (float)sum);
    *neg128 = -128 * sum;
    *half = first;
}

static void rmsnorm(const float *x, const float *weight, int32_t n, float epsilon, float *y)
{
    vf sum = vf_zero();
    for (int32_t i = 0; i < n; i += 16)
        sum = vf_fma(vf_load(x + i), vf_load(x + i), sum);
    vf scale = vf_set(1.0f / sqrtf(vf_tree(sum) / (float)n + epsilon));
    for (int32_t i = 0; i < n; i += 16)
        vf_store(y + i, vf_mul(vf_mul(vf_load(x + i), scale), vf_load(weight + i)));
}

static void rope(float *x, const float *c, const float *s, int32_t n)
{
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        vf here = vf_load(x + i);
        vf_store(x + i, vf_fma(here, vf_load(c + i), vf_mul(vf_swap_pairs(here), vf_load(s + i))));
    }
    for (; i < n; i += 2) {
        float even = x[i], odd = x[i + 1];
        x[i] = fmaf(even, c[i], odd * s[i]);
        x[i + 1] = fmaf(odd, c[i + 1], even * s[i + 1]);
    }
}

static void swiglu(const float *gate, const float *up, int32_t n, float *y)
{
    for (int32_t i = 0; i < n; i += 16) {
        vf g = vf_load(gate + i);
        vf bottom = vf_add(vf_set(1.0f), vf_exp(vf_sub(vf_zero(), g)));
        vf_store(y + i, vf_mul(vf_div(g, bottom), vf_load(up + i)));
    }
}

static void to_f16(const float *x, int32_t n, uint16_t *y)
{
    for (int32_t i = 0; i < n; i += 16)
        vf_store_f16(y + i, vf_load(x + i));
}
