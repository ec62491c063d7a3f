/* Depthwise convolution of one block of LANES channels, on vectors of LANES bytes: see depthwise_avx512_vnni.c, which includes
 * this for 64 and for 32 lanes with V(op), the intrinsics' prefix, and the types vec (bytes), vecf (f32). */

/* Bias and scale of a block, in the order in which unpacking leaves the channels. */
typedef struct NAME(ends) {
    vec bias[4];
    vecf scale[4];
} NAME(ends);

static inline __attribute__((always_inline)) void NAME(column)(vec *c, const uint8_t *const *row, int64_t at) {
    const vec a = LOAD(row[0] + at), b = LOAD(row[1] + at), d = LOAD(row[2] + at), e = LOAD(row[3] + at);
    const vec ab0 = V(unpacklo_epi8)(a, b), ab1 = V(unpackhi_epi8)(a, b), de0 = V(unpacklo_epi8)(d, e), de1 = V(unpackhi_epi8)(d, e);
    c[0] = V(unpacklo_epi16)(ab0, de0);
    c[1] = V(unpackhi_epi16)(ab0, de0);
    c[2] = V(unpacklo_epi16)(ab1, de1);
    c[3] = V(unpackhi_epi16)(ab1, de1);
}

static inline __attribute__((always_inline)) vec NAME(requantise)(const vec *acc, const NAME(ends) *end, int32_t out_zero) {
    vec q[4];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
        q[i] = V(cvtps_epi32)(V(mul_ps)(V(cvtepi32_ps)(acc[i]), end->scale[i]));
    const vec zero = V(set1_epi16)((short)out_zero);
    const vec low = V(adds_epi16)(V(packs_epi32)(q[0], q[1]), zero), high = V(adds_epi16)(V(packs_epi32)(q[2], q[3]), zero);
    return V(packus_epi16)(low, high);
}

static inline __attribute__((always_inline)) void NAME(store)(const lines_args *t, const NAME(ends) *end, const vec (*acc)[4], int lines,
                                                              int64_t px) {
    const uint64_t lanes = px == t->px - 1 ? t->last_mask : t->mask;
    vec out[2];
    _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++) out[l] = NAME(requantise)(acc[l], end, t->zero);
    if (t->lut)
        THROUGH_TABLE(out, lines, t->lut);
    _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++) STORE(t->out[l] + px * t->out_step, lanes, out[l]);
}

/* One output pixel of `lines` lines, any stride; the weights are packed for `packed` lines. */
static inline __attribute__((always_inline)) void NAME(one)(const lines_args *t, const NAME(ends) *end, int64_t px, int lines, int packed) {
    vec acc[2][4], c[4];
    _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++)
        _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) acc[l][q] = end->bias[q];
    const vec *w = (const vec *)t->w;
    for (int64_t g = 0; g < t->groups; g++)
        for (int64_t i = 0; i < t->kw; i++, w += 4 * packed) {
            NAME(column)(c, t->row + 4 * g, px * t->step + i * t->tap);
            _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++)
                _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++)
                    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc[l][q]) : "v"(c[q]), "m"(w[4 * l + q]));
        }
    NAME(store)(t, end, acc, lines, px);
}

/* Two neighbouring pixels, a tap as far apart as a pixel: each column serves both, each weight is loaded once. */
static inline __attribute__((always_inline)) void NAME(two)(const lines_args *t, const NAME(ends) *end, int64_t px, int64_t kw, int lines) {
    vec acc[2][2][4], a[4], b[4]; /* pixel, line, quarter */
    _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++)
        _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) acc[0][l][q] = acc[1][l][q] = end->bias[q];
    const vec *w = (const vec *)t->w;
    for (int64_t g = 0; g < t->groups; g++) {
        NAME(column)(a, t->row + 4 * g, px * t->step);
        _Pragma("GCC unroll 5") for (int64_t i = 0; i < kw; i++, w += 4 * lines) {
            NAME(column)(b, t->row + 4 * g, px * t->step + (i + 1) * t->tap);
            _Pragma("GCC unroll 2") for (int l = 0; l < lines; l++)
                _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) {
                    const vec taps = LOAD(w + 4 * l + q);
                    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc[0][l][q]) : "v"(a[q]), "v"(taps));
                    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc[1][l][q]) : "v"(b[q]), "v"(taps));
                }
            _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) a[q] = b[q];
        }
    }
    NAME(store)(t, end, acc[0], lines, px);
    NAME(store)(t, end, acc[1], lines, px + 1);
}

/* `fold` repeats a pixel's channels. */
static NAME(ends) NAME(ends_of)(const int32_t *bias, const float *scale, int64_t c, int fold) {
    int32_t b[LANES];
    float s[LANES];
    for (int i = 0; i < LANES; i++) {
        const int quarter = i / (LANES / 4), half = i % (LANES / 4) / 4, lane = half * 16 + quarter * 4 + i % 4;
        const int64_t from = fold > 1 ? lane % c : lane;
        b[i] = from < c ? bias[from] : 0;
        s[i] = from < c ? scale[from] : 0.0f;
    }
    NAME(ends) end;
    for (int q = 0; q < 4; q++) {
        end.bias[q] = LOAD(b + q * (LANES / 4));
        end.scale[q] = V(loadu_ps)(s + q * (LANES / 4));
    }
    return end;
}

static void NAME(block_lines)(const lines_args *t, const NAME(ends) *end, int lines, int packed, int is_plain) {
    int64_t px = 0;
    if (lines == packed && is_plain)
        for (; px + 2 <= t->px && (t->kw == 3 || t->kw == 5); px += 2) {
            if (lines == 2)
                t->kw == 3 ? NAME(two)(t, end, px, 3, 2) : NAME(two)(t, end, px, 5, 2);
            else
                t->kw == 3 ? NAME(two)(t, end, px, 3, 1) : NAME(two)(t, end, px, 5, 1);
        }
    if (lines == 2)
        for (; px < t->px; px++)
            NAME(one)(t, end, px, 2, 2);
    else if (packed == 2)
        for (; px < t->px; px++)
            NAME(one)(t, end, px, 1, 2);
    else
        for (; px < t->px; px++)
            NAME(one)(t, end, px, 1, 1);
}
