/* Depthwise convolution for AVX2: 16 channels at once as 16-bit numbers, two kernel taps to a multiply-add (vpmaddwd). */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "graph/strict_float.h"
#include "graph/graph.h"
#include <immintrin.h>

enum { MAX_TAPS = 64 };

static inline __m256i wide_u8(const uint8_t *x) { return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)x)); }
static inline __m256i wide_s8(const int8_t *w) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w)); }

/* Requantises 16 channels; acc holds channels 0-3, 8-11 and 4-7, 12-15, as unpacking leaves them. */
static void finish(const int64_t *p, __m256i low, __m256i high, const float *scale, const uint8_t *lut, uint8_t *out) {
    int32_t q[16];
    const int32_t zero = (int32_t)p[IH_depthwise_out_zero];
    const __m256 least = _mm256_set1_ps((float)-zero), most = _mm256_set1_ps((float)(255 - zero));
    __m256i acc[2] = {_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
    for (int v = 0; v < 2; v++) {
        __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[v]), _mm256_loadu_ps(scale + 8 * v));
        y = _mm256_min_ps(_mm256_max_ps(y, least), most);
        _mm256_storeu_si256((__m256i *)(q + 8 * v), _mm256_add_epi32(_mm256_cvtps_epi32(y), _mm256_set1_epi32(zero)));
    }
    for (int l = 0; l < 16; l++)
        out[l] = lut ? lut[q[l]] : (uint8_t)q[l];
}

/* One pixel's 16 channels; tap t reads at[t]. */
static void pixel(const int64_t *p, const uint8_t *x, const int64_t *at, int64_t taps, const int8_t *w, const int32_t *bias,
                  const float *scale, const uint8_t *lut, uint8_t *out) {
    const int64_t c = p[IH_depthwise_c];
    const __m256i b0 = _mm256_loadu_si256((const __m256i *)bias), b1 = _mm256_loadu_si256((const __m256i *)(bias + 8));
    __m256i low = _mm256_permute2x128_si256(b0, b1, 0x20), high = _mm256_permute2x128_si256(b0, b1, 0x31);
    for (int64_t t = 0; t < taps; t += 2) {
        const int pair = t + 1 < taps;
        const __m256i x0 = wide_u8(x + at[t]), x1 = pair ? wide_u8(x + at[t + 1]) : _mm256_setzero_si256();
        const __m256i w0 = wide_s8(w + t * c), w1 = pair ? wide_s8(w + (t + 1) * c) : _mm256_setzero_si256();
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(x0, x1), _mm256_unpacklo_epi16(w0, w1)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(x0, x1), _mm256_unpackhi_epi16(w0, w1)));
    }
    finish(p, low, high, scale, lut, out);
}

static void line_of(const int64_t *p, uint8_t *const *region, int64_t image, int64_t line, int64_t px0, int64_t px1) {
    const int64_t c = p[IH_depthwise_c], taps = p[IH_depthwise_kh] * p[IH_depthwise_kw];
    const int8_t *w = (const int8_t *)ih_at(region, p[IH_depthwise_w]);
    const int32_t *bias = (const int32_t *)ih_at(region, p[IH_depthwise_bias]);
    const float *scale = (const float *)ih_at(region, p[IH_depthwise_scale]);
    const uint8_t *lut = p[IH_depthwise_lut] < 0 ? NULL : ih_at(region, p[IH_depthwise_lut]);
    const uint8_t *x = ih_at(region, p[IH_depthwise_x]) + image * p[IH_depthwise_x_image] + line * p[IH_depthwise_stride_y] * p[IH_depthwise_x_row];
    uint8_t *out = ih_at(region, p[IH_depthwise_out]) + image * p[IH_depthwise_out_image] + line * p[IH_depthwise_out_line];
    int64_t at[MAX_TAPS];
    for (int64_t t = 0; t < taps; t++)
        at[t] = t / p[IH_depthwise_kw] * p[IH_depthwise_dilation_y] * p[IH_depthwise_x_row] +
                t % p[IH_depthwise_kw] * p[IH_depthwise_dilation_x] * p[IH_depthwise_x_px];
    for (int64_t px = px0; px < px1; px++)
        for (int64_t c0 = 0; c0 < c; c0 += 16) {
            const int64_t from = c0 + 16 <= c ? c0 : c - 16; /* the last block overlaps the one before */
            pixel(p, x + px * p[IH_depthwise_stride_x] * p[IH_depthwise_x_px] + from, at, taps, w + from, bias + from, scale + from, lut,
                  out + px * p[IH_depthwise_out_px] + from);
        }
}

void ih_depthwise_avx2(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t pairs = (p[IH_depthwise_lines] + 1) / 2;
    if (p[IH_depthwise_c] < 16 || p[IH_depthwise_kh] * p[IH_depthwise_kw] > MAX_TAPS) {
        ih_depthwise_scalar(p, region, from, to);
        return;
    }
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t px0 = unit % p[IH_depthwise_line_chunks] * p[IH_depthwise_chunk_px], rest = unit / p[IH_depthwise_line_chunks];
        const int64_t end = px0 + p[IH_depthwise_chunk_px], px1 = end < p[IH_depthwise_line_px] ? end : p[IH_depthwise_line_px];
        for (int64_t line = rest % pairs * 2; line < rest % pairs * 2 + 2 && line < p[IH_depthwise_lines]; line++)
            line_of(p, region, rest / pairs, line, px0, px1);
    }
}
#endif
