/* The walk over a frame around the tile hash: eight rows at a time through all tiles of a row, then their finish.
 *
 * Eight streams of consecutive memory are what caches and prefetchers like; going tile by tile (64 streams of 256
 * bytes, a page each) took 0.9 ms instead of 0.4 for a 1080p frame that comes from memory.
 */
#include "frames/frames.h"
#include "frames/siphash.h"

#include <string.h>

void ih_siphash_128(const uint64_t *words, size_t count, const uint64_t sip[2], uint8_t out[IH_HASH_BYTES])
{
    uint64_t hash[2];
#define WORD(i) words[i]
    IH_SIP_BODY(uint64_t, WORD, count, sip, hash[0], hash[1]);
#undef WORD
    memcpy(out, hash, sizeof hash);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Eight rows of a tile, some of them or some pixels missing: from a copy padded with zeros. */
static void ragged_group(const ih_frames_ops *ops, const uint8_t *rows, ptrdiff_t stride, int h, int w,
                         const uint64_t keys[][IH_TILE_SYMBOLS], ih_tile_sums sums)
{
    uint8_t padded[IH_TILE_ROWS][IH_TILE * 4] = {{0}};
    for (int row = 0; row < h; row++)
        memcpy(padded[row], rows + row * stride, (size_t)w * 4);
    const int blocks = (w + IH_TILE_BLOCK - 1) / IH_TILE_BLOCK;
    ops->tile_group(padded[0], sizeof padded[0], blocks, keys, padded[0], sums);
}

static void finish_row(const ih_frames_ops *ops, const ih_frame *frame, int tile_row, const ih_tile_key *key,
                       ih_tile_sums *sums, uint8_t *hashes)
{
    const int columns = ih_tiles_along(frame->w), h = least(IH_TILE, frame->h - tile_row * IH_TILE);
    hashes += (size_t)tile_row * columns * IH_HASH_BYTES;
    for (int first = 0; first < columns; first += IH_TILE_BATCH) {
        uint64_t sizes[IH_TILE_BATCH] = {0};
        uint8_t batch[IH_TILE_BATCH][IH_HASH_BYTES];
        const int count = least(IH_TILE_BATCH, columns - first);
        for (int i = 0; i < count; i++)
            sizes[i] = (uint64_t)least(IH_TILE, frame->w - (first + i) * IH_TILE) | (uint64_t)h << 32;
        ops->tile_finish((const ih_tile_sums *)sums + first, sizes, key, batch);
        memcpy(hashes + (size_t)first * IH_HASH_BYTES, batch, (size_t)count * IH_HASH_BYTES);
    }
}

void ih_tile_slab(const ih_frames_ops *ops, const ih_frame *frame, int slab, int from, int until,
                  const ih_tile_key *key, ih_tile_sums *sums, uint8_t *hashes)
{
    const int first = slab * IH_TILE_ROWS, group = slab % IH_TILE_GROUPS, h = least(IH_TILE_ROWS, frame->h - first);
    const uint8_t *rows = frame->pixels + first * frame->stride + from * IH_TILE * 4;
    const ptrdiff_t ahead = first + 2 * IH_TILE_ROWS <= frame->h ? IH_TILE_ROWS * frame->stride : 0;
    if (group == 0 && from == 0)
        memset(sums, 0, sizeof *sums * (size_t)ih_tile_arena(frame->w));
    for (int column = from; column < until; column++, rows += IH_TILE * 4) {
        const int w = least(IH_TILE, frame->w - column * IH_TILE);
        if (h < IH_TILE_ROWS || w % IH_TILE_BLOCK)
            ragged_group(ops, rows, frame->stride, h, w, key->nh[group], sums[column]);
        else
            ops->tile_group(rows, frame->stride, w / IH_TILE_BLOCK, key->nh[group], rows + ahead, sums[column]);
    }
    if (until == ih_tiles_along(frame->w) && (group == IH_TILE_GROUPS - 1 || first + h == frame->h))
        finish_row(ops, frame, slab / IH_TILE_GROUPS, key, sums, hashes);
}

int ih_tile_hashes(int variant, const ih_frame *frame, const ih_tile_key *key, const ih_gate *gate,
                   ih_tile_sums *sums, uint8_t *hashes)
{
    for (int slab = 0; slab * IH_TILE_ROWS < frame->h; slab++) {
        if (slab % 2 == 0 && !ih_gate_is_open(gate)) /* 5 us of work at 1080p, on a slow core 50 */
            return IH_PREEMPTED;
        ih_tile_slab(ih_frames_ops_of(variant), frame, slab, 0, ih_tiles_along(frame->w), key, sums, hashes);
    }
    return IH_DONE;
}

int ih_tiles_differ(const uint8_t *hashes, const uint8_t *previous, int count, uint8_t *mask)
{
    int changed = 0;
    for (int i = 0; i < count; i++) {
        mask[i] = memcmp(hashes + i * IH_HASH_BYTES, previous + i * IH_HASH_BYTES, IH_HASH_BYTES) != 0;
        changed += mask[i];
    }
    return changed;
}

void ih_region_hash(const uint8_t *tiles, int count, int h, int w, const ih_tile_key *key, uint8_t out[IH_HASH_BYTES])
{
    /* A chain of PRFs: (size, hash so far) with each tile's hash. Regions are small; most have one tile. */
    uint64_t words[5] = {(uint64_t)w | (uint64_t)h << 32, 0, 0, 0, 0};
    for (int i = 0; i < count; i++) {
        memcpy(words + 3, tiles + (size_t)i * IH_HASH_BYTES, IH_HASH_BYTES);
        ih_siphash_128(words, 5, key->region_sip, out);
        memcpy(words + 1, out, IH_HASH_BYTES);
    }
}
