/* The reference of the tile hash: tile_hash.h, line by line. */
#include "frames/frames.h"

static uint32_t pixel_at(const uint8_t *row, int x)
{
    return row[4 * x] | (uint32_t)row[4 * x + 1] << 8 | (uint32_t)row[4 * x + 2] << 16; /* the padding byte left out */
}

static uint64_t nh(uint32_t low, uint32_t high, uint64_t key)
{
    return (uint64_t)(uint32_t)(low + (uint32_t)key) * (uint32_t)(high + (uint32_t)(key >> 32));
}

static void encode(const uint8_t *rows, ptrdiff_t stride, int x, uint32_t symbol[IH_TILE_SYMBOLS])
{
    uint32_t p = 0, q = 0, r = 0;
    for (int i = 0; i < IH_TILE_ROWS; i++) {
        symbol[i] = pixel_at(rows + i * stride, x);
        p += symbol[i];
        q += p;
        r += q;
    }
    symbol[8] = p;
    symbol[9] = q;
    symbol[10] = r;
}

void ih_tile_group_scalar(const uint8_t *rows, ptrdiff_t stride, int blocks, const uint64_t keys[][IH_TILE_SYMBOLS],
                          const uint8_t *next, ih_tile_sums sums)
{
    (void)next;
    for (int c = 0; c < blocks; c++)
        for (int lane = 0; lane < IH_TILE_LANES; lane++) {
            uint32_t even[IH_TILE_SYMBOLS], odd[IH_TILE_SYMBOLS];
            encode(rows, stride, IH_TILE_BLOCK * c + 2 * lane, even);
            encode(rows, stride, IH_TILE_BLOCK * c + 2 * lane + 1, odd);
            for (int s = 0; s < IH_TILE_SYMBOLS; s++)
                sums[s][lane] += nh(even[s], odd[s], keys[c][s]);
        }
}

void ih_tile_finish_scalar(const ih_tile_sums *sums, const uint64_t sizes[IH_TILE_BATCH], const ih_tile_key *key,
                           uint8_t out[IH_TILE_BATCH][IH_HASH_BYTES])
{
    for (int tile = 0; tile < IH_TILE_BATCH; tile++) {
        uint64_t words[IH_TILE_WORDS] = {sizes[tile]};
        for (int s = 0; s < IH_TILE_SYMBOLS; s++)
            for (int lane = 0; lane < IH_TILE_LANES; lane++) {
                uint64_t sum = sums[tile][s][lane];
                words[1 + s] += nh((uint32_t)sum, (uint32_t)(sum >> 32), key->fold[s][lane]);
            }
        ih_siphash_128(words, IH_TILE_WORDS, key->tile_sip, out[tile]);
    }
}
