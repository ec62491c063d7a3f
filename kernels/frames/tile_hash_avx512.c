/* The tile hash with AVX-512: a block of 16 pixels is one register, the eleven sums stay in registers. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")
#include "frames/frames.h"
#include "frames/siphash.h"

#include <immintrin.h>

static inline __m512i nh(__m512i sum, __m512i symbol, uint64_t key)
{
    __m512i keyed = _mm512_add_epi32(symbol, _mm512_set1_epi64((long long)key));
    return _mm512_add_epi64(sum, _mm512_mul_epu32(keyed, _mm512_srli_epi64(keyed, 32)));
}

void ih_tile_group_avx512(const uint8_t *rows, ptrdiff_t stride, int blocks, const uint64_t keys[][IH_TILE_SYMBOLS],
                          const uint8_t *next, ih_tile_sums sums)
{
    const __m512i colours = _mm512_set1_epi32(0x00ffffff);
    __m512i sum[IH_TILE_SYMBOLS];
#pragma GCC unroll 11
    for (int s = 0; s < IH_TILE_SYMBOLS; s++)
        sum[s] = _mm512_loadu_si512(sums[s]);
    for (int c = 0; c < blocks; c++) {
        const uint64_t *key = keys[c];
        __m512i p = _mm512_setzero_si512(), q = p, r = p;
#pragma GCC unroll 8
        for (int i = 0; i < IH_TILE_ROWS; i++) {
            __m512i pixels = _mm512_and_si512(_mm512_loadu_si512(rows + 64 * c + i * stride), colours);
            _mm_prefetch((const char *)(next + 64 * c + i * stride), _MM_HINT_T1);
            p = _mm512_add_epi32(p, pixels);
            q = _mm512_add_epi32(q, p);
            r = _mm512_add_epi32(r, q);
            sum[i] = nh(sum[i], pixels, key[i]);
        }
        sum[8] = nh(sum[8], p, key[8]);
        sum[9] = nh(sum[9], q, key[9]);
        sum[10] = nh(sum[10], r, key[10]);
    }
#pragma GCC unroll 11
    for (int s = 0; s < IH_TILE_SYMBOLS; s++)
        _mm512_storeu_si512(sums[s], sum[s]);
}

/* Modulo 2^64; _mm512_reduce_add_epi64 adds signed numbers, whose overflow is undefined. */
static inline uint64_t sum_of_lanes(__m512i lanes)
{
    __m256i four = _mm256_add_epi64(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    __m128i two = _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    return (uint64_t)_mm_extract_epi64(two, 0) + (uint64_t)_mm_extract_epi64(two, 1);
}

void ih_tile_finish_avx512(const ih_tile_sums *sums, const uint64_t sizes[IH_TILE_BATCH], const ih_tile_key *key,
                           uint8_t out[IH_TILE_BATCH][IH_HASH_BYTES])
{
    uint64_t words[IH_TILE_WORDS][IH_TILE_BATCH];
    for (int tile = 0; tile < IH_TILE_BATCH; tile++) {
        words[0][tile] = sizes[tile];
        for (int s = 0; s < IH_TILE_SYMBOLS; s++) {
            __m512i keyed = _mm512_add_epi32(_mm512_loadu_si512(sums[tile][s]), _mm512_loadu_si512(key->fold[s]));
            __m512i product = _mm512_mul_epu32(keyed, _mm512_srli_epi64(keyed, 32));
            words[1 + s][tile] = sum_of_lanes(product);
        }
    }
    ih_siphash_batch((const uint64_t(*)[IH_TILE_BATCH])words, key->tile_sip, out);
}
#endif
