/* The tile hash with AVX2: four lanes at a time, so that the eleven sums stay in the sixteen registers. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "frames/frames.h"
#include "frames/siphash.h"

#include <immintrin.h>

static inline __m256i nh(__m256i sum, __m256i symbol, uint64_t key)
{
    __m256i keyed = _mm256_add_epi32(symbol, _mm256_set1_epi64x((long long)key));
    return _mm256_add_epi64(sum, _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32)));
}

static inline uint64_t fold(const uint64_t *sum, const uint64_t *key)
{
    __m256i total = _mm256_setzero_si256();
    for (int half = 0; half < 2; half++) {
        __m256i lanes = _mm256_loadu_si256((const __m256i *)(sum + 4 * half));
        __m256i keyed = _mm256_add_epi32(lanes, _mm256_loadu_si256((const __m256i *)(key + 4 * half)));
        total = _mm256_add_epi64(total, _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32)));
    }
    __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    return (uint64_t)_mm_extract_epi64(pair, 0) + (uint64_t)_mm_extract_epi64(pair, 1);
}

void ih_tile_group_avx2(const uint8_t *rows, ptrdiff_t stride, int blocks, const uint64_t keys[][IH_TILE_SYMBOLS],
                        const uint8_t *next, ih_tile_sums sums)
{
    const __m256i colours = _mm256_set1_epi32(0x00ffffff);
    for (int half = 0; half < 2; half++) {
        __m256i sum[IH_TILE_SYMBOLS];
#pragma GCC unroll 11
        for (int s = 0; s < IH_TILE_SYMBOLS; s++)
            sum[s] = _mm256_loadu_si256((const __m256i *)(sums[s] + 4 * half));
        for (int c = 0; c < blocks; c++) {
            const ptrdiff_t at = 64 * c + 32 * half;
            const uint64_t *key = keys[c];
            __m256i p = _mm256_setzero_si256(), q = p, r = p;
#pragma GCC unroll 8
            for (int i = 0; i < IH_TILE_ROWS; i++) {
                const uint8_t *here = rows + at + i * stride;
                __m256i pixels = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)here), colours);
                if (!half)
                    _mm_prefetch((const char *)(next + at + i * stride), _MM_HINT_T1);
                p = _mm256_add_epi32(p, pixels);
                q = _mm256_add_epi32(q, p);
                r = _mm256_add_epi32(r, q);
                sum[i] = nh(sum[i], pixels, key[i]);
            }
            sum[8] = nh(sum[8], p, key[8]);
            sum[9] = nh(sum[9], q, key[9]);
            sum[10] = nh(sum[10], r, key[10]);
        }
#pragma GCC unroll 11
        for (int s = 0; s < IH_TILE_SYMBOLS; s++)
            _mm256_storeu_si256((__m256i *)(sums[s] + 4 * half), sum[s]);
    }
}

void ih_tile_finish_avx2(const ih_tile_sums *sums, const uint64_t sizes[IH_TILE_BATCH], const ih_tile_key *key,
                         uint8_t out[IH_TILE_BATCH][IH_HASH_BYTES])
{
    uint64_t words[IH_TILE_WORDS][IH_TILE_BATCH];
    for (int tile = 0; tile < IH_TILE_BATCH; tile++) {
        words[0][tile] = sizes[tile];
        for (int s = 0; s < IH_TILE_SYMBOLS; s++)
            words[1 + s][tile] = fold(sums[tile][s], key->fold[s]);
    }
    ih_siphash_batch((const uint64_t(*)[IH_TILE_BATCH])words, key->tile_sip, out);
}
#endif
