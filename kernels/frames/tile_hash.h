/* The keyed 128-bit hash of a 64x64 tile of a BGRX frame: what it is, and what each instruction set gives.
 *
 * Encode - hash - combine (Nandi, "On the minimum number of multiplications necessary for universal hash functions",
 * FSE 2014; Apple, "HalftimeHash", arXiv 2104.08865), made for pixels:
 *
 *   m[r][x]   the tile's pixels, u32 with the padding byte cleared, padded with zeros to 8 rows x 16 pixels
 *   encode    each column of 8 rows is a codeword of 11 symbols: the 8 pixels and
 *             P = sum m[r]   Q = sum (8-r) m[r]   R = sum (8-r)(9-r)/2 m[r]          (mod 2^32: running sums of sums)
 *   hash      NH (Black et al., "UMAC", CRYPTO 1999) of each symbol under keys of its own, in 8 lanes of pixel pairs:
 *             N[s][lane] = sum over groups of 8 rows g and blocks of 16 pixels c
 *                          of (sym[x] + nh[g][c][s][0] mod 2^32) * (sym[x+1] + nh[g][c][s][1] mod 2^32)   (mod 2^64)
 *   fold      y[s] = sum over lanes of (lo N + fold[s][lane][0] mod 2^32) * (hi N + fold[s][lane][1] mod 2^32)
 *   finish    SipHash-2-4 with 128 bits of output (Aumasson, Bernstein, 2012) of the words (w | h << 32), y[0..10]
 *
 * Bound. Pixels are below 2^24, so every minor of the three checks times a difference stays below 2^32 and the code has
 * distance 4 (tests/kernels/frames/test_tile_hash.py proves it by enumeration): two different tiles differ in at least
 * four symbols, each of which collides with probability at most 2^-32 in NH and 2^-32 in the fold, independently. A page
 * that does not know the key makes two tiles of its choice equal with probability at most 2^-124, plus what a
 * distinguisher of SipHash gains. The finish is a PRF, so that hashes that leak do not give the key away.
 *
 * Everything is adds, 32x32->64 multiplications and shifts, so that all instruction sets have it; four passes of plain
 * NH (UMAC-128) have the same bound for twice the work, AES rounds have no bound and need an extension on Arm.
 */
#ifndef IH_TILE_HASH_H
#define IH_TILE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum {
    IH_TILE = 64,
    IH_TILE_ROWS = 8,        /* rows of a codeword */
    IH_TILE_BLOCK = 16,      /* pixels of a block: 8 lanes of pairs */
    IH_TILE_GROUPS = 8,      /* IH_TILE / IH_TILE_ROWS */
    IH_TILE_BLOCKS = 4,      /* IH_TILE / IH_TILE_BLOCK */
    IH_TILE_SYMBOLS = 11,    /* 8 rows, P, Q, R */
    IH_TILE_LANES = 8,
    IH_TILE_WORDS = 12,      /* what is finished: the size and 11 symbols */
    IH_TILE_BATCH = 8,       /* tiles that are finished at once */
    IH_HASH_BYTES = 16,
};

/* Expanded from the session's key by SHAKE-256 (kernels/frames/tiles.py); little-endian. */
typedef struct ih_tile_key {
    uint64_t nh[IH_TILE_GROUPS][IH_TILE_BLOCKS][IH_TILE_SYMBOLS]; /* low word: even pixels, high word: odd pixels */
    uint64_t fold[IH_TILE_SYMBOLS][IH_TILE_LANES];
    uint64_t tile_sip[2];
    uint64_t region_sip[2];
} ih_tile_key;

/* What a tile has gathered so far: N[s][lane]. */
typedef uint64_t ih_tile_sums[IH_TILE_SYMBOLS][IH_TILE_LANES];

/* Adds one group of 8 rows x `blocks` x 16 pixels, rows `stride` bytes apart, to `sums`, under the group's keys
 * nh (blocks, 11). `next` is as large a piece of memory that will be read soon; it may be `rows`. */
typedef void ih_tile_group_fn(const uint8_t *rows, ptrdiff_t stride, int blocks,
                              const uint64_t nh[][IH_TILE_SYMBOLS], const uint8_t *next, ih_tile_sums sums);

/* Folds and finishes a batch of tiles; sums (8, 11, 8), sizes (8): w | h << 32, out (8, 16). */
typedef void ih_tile_finish_fn(const ih_tile_sums *sums, const uint64_t sizes[IH_TILE_BATCH], const ih_tile_key *key,
                               uint8_t out[IH_TILE_BATCH][IH_HASH_BYTES]);

#endif
