/* The tile hash with NEON: two lanes at a time; the narrowing moves split pixel pairs for the widening multiply-add. */
#if defined(__aarch64__)
#include "frames/frames.h"
#include "frames/siphash.h"

#include <arm_neon.h>

static inline uint64x2_t nh(uint64x2_t sum, uint32x4_t symbol, uint64_t key)
{
    uint64x2_t keyed = vreinterpretq_u64_u32(vaddq_u32(symbol, vreinterpretq_u32_u64(vdupq_n_u64(key))));
    return vmlal_u32(sum, vmovn_u64(keyed), vshrn_n_u64(keyed, 32));
}

static inline uint64_t fold(const uint64_t *sum, const uint64_t *key)
{
    uint64x2_t total = vdupq_n_u64(0);
    for (int pair = 0; pair < IH_TILE_LANES; pair += 2) {
        uint32x4_t lanes = vreinterpretq_u32_u64(vld1q_u64(sum + pair));
        uint64x2_t keyed = vreinterpretq_u64_u32(vaddq_u32(lanes, vreinterpretq_u32_u64(vld1q_u64(key + pair))));
        total = vmlal_u32(total, vmovn_u64(keyed), vshrn_n_u64(keyed, 32));
    }
    return vaddvq_u64(total);
}

void ih_tile_group_neon(const uint8_t *rows, ptrdiff_t stride, int blocks, const uint64_t keys[][IH_TILE_SYMBOLS],
                        const uint8_t *next, ih_tile_sums sums)
{
    const uint32x4_t colours = vdupq_n_u32(0x00ffffff);
    for (int quarter = 0; quarter < 4; quarter++) {
        uint64x2_t sum[IH_TILE_SYMBOLS];
#pragma GCC unroll 11
        for (int s = 0; s < IH_TILE_SYMBOLS; s++)
            sum[s] = vld1q_u64(sums[s] + 2 * quarter);
        for (int c = 0; c < blocks; c++) {
            const ptrdiff_t at = 64 * c + 16 * quarter;
            const uint64_t *key = keys[c];
            uint32x4_t p = vdupq_n_u32(0), q = p, r = p;
#pragma GCC unroll 8
            for (int i = 0; i < IH_TILE_ROWS; i++) {
                uint32x4_t pixels = vandq_u32(vreinterpretq_u32_u8(vld1q_u8(rows + at + i * stride)), colours);
                if (!quarter)
                    __builtin_prefetch(next + at + i * stride, 0, 2);
                p = vaddq_u32(p, pixels);
                q = vaddq_u32(q, p);
                r = vaddq_u32(r, q);
                sum[i] = nh(sum[i], pixels, key[i]);
            }
            sum[8] = nh(sum[8], p, key[8]);
            sum[9] = nh(sum[9], q, key[9]);
            sum[10] = nh(sum[10], r, key[10]);
        }
#pragma GCC unroll 11
        for (int s = 0; s < IH_TILE_SYMBOLS; s++)
            vst1q_u64(sums[s] + 2 * quarter, sum[s]);
    }
}

void ih_tile_finish_neon(const ih_tile_sums *sums, const uint64_t sizes[IH_TILE_BATCH], const ih_tile_key *key,
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
