/* A blob's pixels against its ground, and which of them are ink of letters. */
#ifndef IH_INK_H
#define IH_INK_H

#include "frames/layout.h"

/* In the frame's coordinates `left`, `top`; (h, w) bytes each. */
typedef struct ih_ink {
    const ih_frame *frame;
    int64_t left, top, w, h;
    uint8_t *contrast; /* the largest difference of a channel */
    uint8_t *at;       /* 1: ink of a letter */
    uint32_t paper;
} ih_ink;

/* Takes the pixels of `box` (x, y, w, h) and one around it, and clears what is no ink of `letters` (the frame's mask of their
 * edges): borders, cursors, corners of rings. */
int ih_take_ink(const ih_frame *frame, const int64_t box[4], const uint8_t *letters, ih_pace *pace, ih_arena *arena,
                ih_ink *made);

#endif
