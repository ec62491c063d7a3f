/* What stands on a screen, from its pixels and their edges: lines of text, and shapes. Integers and a few exact fractions,
 * so every machine finds the same; tests/kernels/frames/layout_model.py is the meaning in numpy.
 *
 *     pixels ─► edges ─► runs ─► components ─► kinds ─┬─► boxes, rings, figures, holes with straight sides ─► shapes
 *                                                     └─► letters: the rest ─► joined across gaps ─► cut into lines
 *
 *     layout.c    components, the order of the parts       outlines.c   kinds: a straight side, an ellipse, a letter
 *     edges.c     where neighbours differ                  letters.c    the mask of what may be letters
 *     holes.c     boxes that share borders                 lines.c      blobs joined to lines and cut into lines
 *     colours.c   the commonest colour                     ink.c        what of a blob is ink of letters
 *
 * Whatever can take long takes an ih_pace and returns IH_PREEMPTED; memory is an ih_arena's, else IH_ENOMEM.
 */
#ifndef IH_LAYOUT_H
#define IH_LAYOUT_H

#include "frames/arena.h"
#include "frames/frames.h"
#include "frames/pace.h"
#include "frames/runs.h"

#include <string.h>

enum ih_edge { IH_EDGE_ACROSS = 1, IH_EDGE_DOWN = 2 }; /* a pixel differs from its right neighbour, the one below */
enum ih_layout_kind { IH_KIND_TEXT, IH_KIND_LINE, IH_KIND_BOX, IH_KIND_RING, IH_KIND_FIGURE };

typedef struct ih_edges { /* (h, w) of enum ih_edge, rows `stride` bytes apart */
    const uint8_t *at;
    ptrdiff_t stride;
    int h, w;
} ih_edges;

/* A line of text or a shape; colours are 0xRRGGBB. */
typedef struct ih_layout_item {
    int32_t x, y, w, h, kind;
    uint32_t colour; /* ink of a line, fill of a shape */
    uint32_t paper;  /* of a line, else 0 */
    int32_t order;   /* in which it was found */
} ih_layout_item;

typedef struct ih_layout_items {
    ih_layout_item *items;
    size_t count, room;
} ih_layout_items;

typedef struct ih_components {
    ih_runs runs;
    int64_t *labels; /* (runs) */
    int64_t *first;  /* (count + 1): the runs of component k are members[first[k]..first[k + 1]), in reading order */
    int64_t *members;
    int64_t (*boxes)[5]; /* (count): x, y, w, h, pixels */
    uint8_t *kinds;      /* (count) */
    int64_t count;
} ih_components;

/* Fills edges (the frame's h, w; rows `stride` bytes apart) in rows top..bottom and columns left..right, exclusive. */
int ih_find_edges(const ih_frame *frame, int top, int left, int bottom, int right, ih_pace *pace, uint8_t *edges,
                  ptrdiff_t stride);

/* All texts and shapes of a frame, each in order of top edge, left edge, width. Their memory is the arena's. */
int ih_find_layout(const ih_frame *frame, const ih_edges *edges, ih_pace *pace, ih_arena *arena, ih_layout_items *texts,
                   ih_layout_items *shapes);

/* The parts, in their order. */
int ih_find_components(const uint8_t *mask, ptrdiff_t stride, int h, int w, int bridge, ih_pace *pace, ih_arena *arena,
                       ih_components *found);
int ih_find_kinds(const ih_edges *edges, const ih_components *parts, ih_pace *pace);
int ih_find_letters(const ih_edges *edges, const ih_components *parts, ih_pace *pace, uint8_t *letters);
int ih_find_shapes(const ih_frame *frame, const ih_components *parts, ih_pace *pace, ih_arena *arena, uint8_t *letters,
                   ih_layout_items *shapes);
int ih_find_lines(const ih_frame *frame, const ih_edges *edges, const uint8_t *letters, ih_pace *pace, ih_arena *arena,
                  ih_layout_items *texts);

/* Appends to `boxes` (x, y, w, h) the holes of component `number` that are rectangles, relative to its own box. */
int ih_find_holes(const ih_components *parts, int64_t number, ih_pace *pace, ih_arena *arena, int64_t (*boxes)[4],
                  size_t room, size_t *count);

/* The commonest of `count` > 0 keys, the least of several. `spare` (count) is overwritten. */
int ih_commonest(uint32_t *keys, size_t count, uint32_t *spare, ih_pace *pace, uint32_t *found);

/* The ground of `count` > 0 pixels: the commonest colour of the commonest shade. Where it runs from one colour to another no
 * single one may be as common as the ink. `keys` and `spare` (count) are overwritten. */
int ih_ground(uint32_t *keys, size_t count, uint32_t *spare, ih_pace *pace, uint32_t *found);

/* Whether the ground of a box in the frame runs from one colour at its top to another at its bottom, as a button's shaded
 * face does: both ends of each row have one colour, which goes on from row to row and is never far from the commonest,
 * `paper`. Each row's ground is the colour of its ends then. */
int ih_is_shaded(const ih_frame *frame, int64_t left, int64_t top, int64_t w, int64_t h, uint32_t paper);

/* The commonest colour on a grid of samples inside a box: its ground, whatever is written on it. */
uint32_t ih_fill_of(const ih_frame *frame, const int64_t box[4]);

/* Appends one item; IH_ENOMEM where there is no room. */
int ih_append(ih_layout_items *items, const int64_t box[4], int kind, uint32_t colour, uint32_t paper);

static inline uint32_t ih_pixel(const ih_frame *frame, ptrdiff_t x, ptrdiff_t y)
{
    uint32_t pixel; /* one load of four bytes, so that loops over pixels become vectors; all our machines are little-endian */
    memcpy(&pixel, frame->pixels + y * frame->stride + x * 4, 4);
    return pixel & 0x00FFFFFFu;
}

static inline uint32_t ih_apart(uint32_t a, uint32_t b, int shift)
{
    const int32_t difference = (int32_t)(a >> shift & 255) - (int32_t)(b >> shift & 255);
    return (uint32_t)(difference < 0 ? -difference : difference);
}

/* The largest difference of a channel of two colours. */
static inline uint32_t ih_far_from(uint32_t a, uint32_t b)
{
    const uint32_t blue = ih_apart(a, b, 0), green = ih_apart(a, b, 8), red = ih_apart(a, b, 16);
    const uint32_t most = blue > green ? blue : green;
    return most > red ? most : red;
}

static inline int64_t ih_least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t ih_most(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
