/* What a look takes from the pixels of its boxes, all boxes of a screen in one call; tests/kernels/frames/boxes_model.py is
 * the meaning in numpy. Boxes are x, y, w, h; what of them leaves the frame is not there. Colours are 0xRRGGBB.
 */
#ifndef IH_BOXES_H
#define IH_BOXES_H

#include "frames/frames.h"
#include "frames/pace.h"

#define IH_NO_COLOUR 0xFF000000u
#define IH_THUMB 10         /* pixels of a thumbnail's side */
#define IH_STRIP_HEIGHT 24  /* pixels */
#define IH_STRIP_INK 18     /* pixels: a taller line is shrunk before it becomes a strip */
#define IH_STRIP_MARGIN 4   /* empty columns at the left */

/* The colour in each box that differs most from its ground `papers` (count), the first of several: colours (count),
 * IH_NO_COLOUR for a box without a pixel. */
int ih_strongest(const ih_frame *frame, const int32_t (*boxes)[4], const uint32_t *papers, ptrdiff_t count, ih_pace *pace,
                 uint32_t *colours);

/* The largest difference of a channel from the ground (layout.h), of a face that is shaded downwards from that of each
 * row: contrast (h, w) of a box that lies in the frame. `keys` and `spare` (h * w) are overwritten. */
int ih_contrast(const ih_frame *frame, const int32_t box[4], ih_pace *pace, uint32_t *keys, uint32_t *spare,
                uint8_t *contrast);

/* CRC-32 (IEEE) of the blue, green and red bytes of each box, row by row: crcs (count). */
int ih_box_crcs(const ih_frame *frame, const int32_t (*boxes)[4], ptrdiff_t count, ih_pace *pace, uint32_t *crcs);

/* Keyed names of the content and size of each box: names (count, 16). `words` has room for half the pixels of the largest
 * box, and two. */
int ih_box_names(const ih_frame *frame, const int32_t (*boxes)[4], ptrdiff_t count, const uint64_t sip[2], ih_pace *pace,
                 uint64_t *words, uint8_t (*names)[IH_HASH_BYTES]);

/* How far samples of each box, and of one pixel around it, differ from its ground `fills` (count), in 0 … 1: thumbs
 * (count, IH_THUMB, IH_THUMB), each the mean of four samples. */
int ih_thumbnails(const ih_frame *frame, const int32_t (*boxes)[4], const uint32_t *fills, ptrdiff_t count, ih_pace *pace,
                  float *thumbs);

#endif
