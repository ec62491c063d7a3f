/* Convolution for 256-bit vectors of 8 channels, one source for the instruction sets that have them. The includer sets the
 * target and defines CONV_NAME and STEP(acc, x, w): acc (8 x i32) += 4 u8 of `x` (in every lane) times the 4 s8 of each lane of w.
 */
#include "graph/strict_float.h"
#include "graph/graph.h"
#include <immintrin.h>

enum { TILE_PX = 4 };
typedef __m256i conv_acc[2];

/* The dot products of M pixels x 16 channels, from the bias. */
static inline __attribute__((always_inline)) void dots(const int64_t *p, const uint8_t *x, const int8_t *w, const int32_t *bias, int m,
                                                       conv_acc acc[TILE_PX]) {
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

#include "graph/conv_small_tiles_body.h"
