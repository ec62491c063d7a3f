/* Convolution for 256-bit vectors of 8 channels, one source for the instruction sets that have them. The includer sets the
 * target and defines CONV_NAME and STEP(acc, x, w): acc (8 x i32) += 4 u8 of `x` (in every lane) times the 4 s8 of each lane of w.
 */
#include "graph/strict_float.h"
#include "graph/graph.h"
#include <immintrin.h>

enum { TILE_PX = 4 };

/* The dot products of M pixels x 16 channels, from the bias. */
static inline __attribute__((always_inline)) void dots(const int64_t *p, const uint8_t *x, const int8_t *w, const int32_t *bias, int m,
                                                       __m256i acc[TILE_PX][2]) {
    const int64_t step = p[IH_conv_x_px], groups = (p[IH_conv_run_bytes] + 3) / 4;
    for (int i = 0; i < m; i++)
        for (int v = 0; v < 2; v++)
            acc[i][v] = _mm256_loadu_si256((const __m256i *)(bias + 8 * v));
    for (int64_t j = 0; j < p[IH_conv_runs_y]; j++)
        for (int64_t r = 0; r < p[IH_conv_runs_x]; r++) {
            const uint8_t *run = x + j * p[IH_conv_run_y] + r * p[IH_conv_run_x];
            for (int64_t k = 0; k < groups; k++, w += 64, run += 4) {
                const __m256i w0 = _mm256_loadu_si256((const __m256i *)w), w1 = _mm256_loadu_si256((const __m256i *)(w + 32));
                _Pragma("GCC unroll 4") for (int i = 0; i < m; i++) {
                    int32_t four;
                    __builtin_memcpy(&four, run + i * step, 4);
                    const __m256i px = _mm256_set1_epi32(four);
                    STEP(acc[i][0], px, w0);
                    STEP(acc[i][1], px, w1);
                }
            }
        }
}

static int32_t sum_of(const int64_t *p, const uint8_t *x) {
    int32_t sum = 0;
    for (int64_t j = 0; j < p[IH_conv_runs_y]; j++)
        for (int64_t r = 0; r < p[IH_conv_runs_x]; r++)
            for (int64_t k = 0; k < p[IH_conv_run_bytes]; k++)
                sum += x[j * p[IH_conv_run_y] + r * p[IH_conv_run_x] + k];
    return sum;
}

/* Ends one pixel's 16 channels, of which `lanes` are stored. */
static void finish(const int64_t *p, const __m256i *acc, int32_t zero_term, const float *scale, const float *float_bias,
                   const uint8_t *lut, uint8_t *out, int lanes) {
    union { __m256i v[2]; int32_t i[16]; float f[16]; } end;
    const __m256 low = _mm256_set1_ps((float)-p[IH_conv_out_zero]), high = _mm256_set1_ps((float)(255 - p[IH_conv_out_zero]));
    for (int v = 0; v < 2; v++) {
        const __m256i sum = _mm256_sub_epi32(acc[v], _mm256_set1_epi32(zero_term));
        __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(scale + 8 * v));
        if (p[IH_conv_is_float]) {
            y = _mm256_add_ps(y, float_bias ? _mm256_loadu_ps(float_bias + 8 * v) : _mm256_setzero_ps());
            end.v[v] = _mm256_castps_si256(y);
        } else {
            y = _mm256_min_ps(_mm256_max_ps(y, low), high);
            end.v[v] = _mm256_add_epi32(_mm256_cvtps_epi32(y), _mm256_set1_epi32((int32_t)p[IH_conv_out_zero]));
        }
    }
    if (p[IH_conv_is_float])
        __builtin_memcpy(out, end.f, (size_t)lanes * 4);
    else
        for (int l = 0; l < lanes; l++)
            out[l] = lut ? lut[end.i[l]] : (uint8_t)end.i[l];
}

void CONV_NAME(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const float *scale = (const float *)ih_at(region, p[IH_conv_scale]);
    const uint8_t *lut = p[IH_conv_lut] < 0 ? NULL : ih_at(region, p[IH_conv_lut]);
    const float *float_bias = p[IH_conv_float_bias] < 0 ? NULL : (const float *)ih_at(region, p[IH_conv_float_bias]);
    const int64_t block = p[IH_conv_runs_y] * p[IH_conv_runs_x] * ((p[IH_conv_run_bytes] + 3) / 4) * 64;
    const int64_t item = p[IH_conv_is_float] ? 4 : 1;
    for (int64_t unit = from; unit < to; unit++) {
        int64_t n0 = unit % p[IH_conv_n_chunks] * p[IH_conv_n_chunk], rest = unit / p[IH_conv_n_chunks];
        int64_t px0 = rest % p[IH_conv_line_chunks] * p[IH_conv_chunk_px], line = rest / p[IH_conv_line_chunks];
        int64_t image = line / p[IH_conv_lines];
        line %= p[IH_conv_lines];
        int64_t n1 = n0 + p[IH_conv_n_chunk] < p[IH_conv_n] ? n0 + p[IH_conv_n_chunk] : p[IH_conv_n];
        int64_t px1 = px0 + p[IH_conv_chunk_px] < p[IH_conv_line_px] ? px0 + p[IH_conv_chunk_px] : p[IH_conv_line_px];
        const int8_t *w = (const int8_t *)ih_at(region, p[IH_conv_w]) + image * p[IH_conv_w_image];
        const int32_t *bias = (const int32_t *)(ih_at(region, p[IH_conv_bias]) + image * p[IH_conv_bias_image]);
        const uint8_t *x = ih_at(region, p[IH_conv_x]) + image * p[IH_conv_x_image] + line * p[IH_conv_x_line];
        uint8_t *out = ih_at(region, p[IH_conv_out]) + image * p[IH_conv_out_image] + line * p[IH_conv_out_line];
        for (int64_t n = n0; n < n1; n += 16)
            for (int64_t px = px0; px < px1;) {
                const int m = px1 - px >= TILE_PX ? TILE_PX : 1;
                __m256i acc[TILE_PX][2];
                if (m == TILE_PX)
                    dots(p, x + px * p[IH_conv_x_px], w + n / 16 * block, bias + n, TILE_PX, acc);
                else
                    dots(p, x + px * p[IH_conv_x_px], w + n / 16 * block, bias + n, 1, acc);
                for (int i = 0; i < m; i++, px++) {
                    const int32_t zero_term =
                        p[IH_conv_w_zero] ? (int32_t)p[IH_conv_w_zero] * sum_of(p, x + px * p[IH_conv_x_px]) : 0;
                    finish(p, acc[i], zero_term, scale + n, float_bias ? float_bias + n : NULL, lut, out + px * p[IH_conv_out_px] + n * item,
                           (int)(n1 - n < 16 ? n1 - n : 16));
                }
            }
    }
}
