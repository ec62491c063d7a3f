/* Convolution for AVX2. vpmaddubsw saturates its 16-bit pair sums, so bytes are widened and multiplied exactly by vpmaddwd. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include <immintrin.h>

/* lanes of 4 products: the even and odd pairs of bytes as 16-bit numbers, zero- and sign-extended in place */
static inline __m256i dot4(__m256i acc, __m256i x, __m256i w) {
    const __m256i x_even = _mm256_and_si256(x, _mm256_set1_epi16(255)), x_odd = _mm256_srli_epi16(x, 8);
    const __m256i w_even = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), w_odd = _mm256_srai_epi16(w, 8);
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x_even, w_even));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x_odd, w_odd));
}
#define STEP(acc, x, w) acc = dot4(acc, x, w)
#define CONV_NAME ih_conv_avx2
#include "graph/conv_pairs_body.h"
#endif
