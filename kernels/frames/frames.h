/* The hall of frame kernels: its ops per variant, and what the doorway calls.
 *
 * A frame is BGRX uint8 (h, w, 4); rows may be any `stride` bytes apart, pixels of a row lie together.
 */
#ifndef IH_FRAMES_H
#define IH_FRAMES_H

#include "common/gate_word.h"
#include "common/variants.h"
#include "frames/resize.h"
#include "frames/tile_hash.h"

typedef struct ih_frame {
    const uint8_t *pixels; /* (h, w, 4), the rows `stride` bytes apart */
    int h, w;
    ptrdiff_t stride;
} ih_frame;

typedef struct ih_frames_ops {
    ih_tile_group_fn *tile_group;
    ih_tile_finish_fn *tile_finish;
    ih_vertical_fn *vertical;
    ih_box_fn *box;
    ih_horizontal_fn *horizontal;
    ih_quantise_fn *quantise;
    ih_thirds_fn *thirds; /* NULL: the three steps do */
} ih_frames_ops;

extern const void *const ih_frames_table[IH_VARIANT_COUNT]; /* ih_frames_ops or NULL */

static inline const ih_frames_ops *ih_frames_ops_of(int variant)
{
    return ih_frames_table[variant];
}

static inline int ih_tiles_along(int pixels)
{
    return (pixels + IH_TILE - 1) / IH_TILE;
}

/* Elements of the arena of sums that a frame `w` pixels wide needs: its tiles along, rounded up to whole batches. */
static inline int ih_tile_arena(int w)
{
    return (ih_tiles_along(w) + IH_TILE_BATCH - 1) / IH_TILE_BATCH * IH_TILE_BATCH;
}

/* Hashes of all tiles, row by row; hashes (ceil(h/64), ceil(w/64), 16); arena of ih_tile_arena(w) sums.
 * IH_PREEMPTED between two groups of rows. */
int ih_tile_hashes(int variant, const ih_frame *frame, const ih_tile_key *key, const ih_gate *gate,
                   ih_tile_sums *arena, uint8_t *hashes);

/* The same in steps of 8 rows from the top and of some tiles along, from..until, for a pass that does more with them while
 * they are near: adds the rows 8 * slab.. to the arena; after the last of a row of tiles writes that row's hashes. */
void ih_tile_slab(const ih_frames_ops *ops, const ih_frame *frame, int slab, int from, int until,
                  const ih_tile_key *key, ih_tile_sums *arena, uint8_t *hashes);

/* Marks the tiles whose hash differs; mask (count), hashes and previous (count, 16). Returns how many differ. */
int ih_tiles_differ(const uint8_t *hashes, const uint8_t *previous, int count, uint8_t *mask);

/* The hash of a region's pixels whatever its size: `tiles` (count, 16) are the hashes of the region as a frame. */
void ih_region_hash(const uint8_t *tiles, int count, int h, int w, const ih_tile_key *key, uint8_t out[IH_HASH_BYTES]);

/* SipHash-2-4-128 of whole words. */
void ih_siphash_128(const uint64_t *words, size_t count, const uint64_t sip[2], uint8_t out[IH_HASH_BYTES]);

/* Bytes of the scratch of a resize from rows of w_in pixels to rows of w_out; aligned to 32. */
ptrdiff_t ih_resize_scratch_bytes(int w_in, int w_out);

/* Resizes the frame to planes out (3, down.n_out, along.n_out). IH_PREEMPTED between rows. */
int ih_resize(int variant, const ih_frame *frame, const ih_axis *down, const ih_axis *along,
              const ih_quantise *quantise, const ih_gate *gate, int16_t *scratch, uint8_t *out);

/* The same and ih_tile_hashes in one pass: eight rows are hashed, then resized while they are near. */
int ih_resize_and_hash(int variant, const ih_frame *frame, const ih_axis *down, const ih_axis *along,
                       const ih_quantise *quantise, const ih_gate *gate, const ih_tile_key *key, int16_t *scratch,
                       ih_tile_sums *arena, uint8_t *out, uint8_t *hashes);

/* Resizes each box (x, y, w, h; inside the frame) to out (count, 3, h_out, w_out); scratch for the widest box and
 * axis_memory for the largest tables of both axes. */
int ih_crop_resize(int variant, const ih_frame *frame, const int32_t (*boxes)[4], int count, int h_out, int w_out,
                   const ih_quantise *quantise, const ih_gate *gate, int16_t *scratch, void *axis_memory, uint8_t *out);

#define IH_DECLARE_FRAMES(variant)                   \
    ih_tile_group_fn ih_tile_group_##variant;        \
    ih_tile_finish_fn ih_tile_finish_##variant;      \
    ih_vertical_fn ih_vertical_##variant;            \
    ih_box_fn ih_box_##variant;                      \
    ih_horizontal_fn ih_horizontal_##variant;        \
    ih_quantise_fn ih_quantise_##variant;            \
    ih_thirds_fn ih_thirds_##variant;
IH_DECLARE_FRAMES(scalar)
IH_DECLARE_FRAMES(avx2)
IH_DECLARE_FRAMES(avx512)
IH_DECLARE_FRAMES(neon)

#endif
