/* Where neighbouring pixels differ in some channel: see layout.h. Two plain loops a row, which compilers turn into vectors of
 * whatever the machine has: which bytes differ, then one bit a pixel. */
#include "frames/layout.h"

#include <string.h>

#define LEAST 24             /* of 255: a toolkit's soft rim goes from white to grey in two steps of 25 and 13 */
#define CHANNELS 0x00010101u /* the padding byte is masked */
#define PART 256             /* pixels of a row that are looked at together */

/* Sets `bit` in edges (count) where first and second (count, 4) differ. */
static void differ(const uint8_t *restrict first, const uint8_t *restrict second, int count, uint8_t bit,
                   uint8_t *restrict edges)
{
    uint8_t apart[PART * 4];
    for (int i = 0; i < count * 4; i++) {
        const uint8_t a = first[i], b = second[i];
        apart[i] = (uint8_t)((a > b ? a : b) - (a > b ? b : a)) >= LEAST;
    }
    for (int i = 0; i < count; i++) {
        uint32_t whole;
        memcpy(&whole, apart + i * 4, 4);
        edges[i] |= (whole & CHANNELS) ? bit : 0;
    }
}

int ih_find_edges(const ih_frame *frame, int top, int left, int bottom, int right, ih_pace *pace, uint8_t *edges,
                  ptrdiff_t stride)
{
    for (int y = top; y < bottom; y++) {
        const uint8_t *row = frame->pixels + y * frame->stride;
        uint8_t *out = edges + y * stride;
        if (ih_pace_stops(pace, right - left))
            return IH_PREEMPTED;
        memset(out + left, 0, (size_t)(right - left));
        for (int x = left; x < right; x += PART) {
            const int count = (int)ih_least(PART, right - x), across = (int)ih_least(count, frame->w - 1 - x);
            const uint8_t *here = row + x * 4;
            differ(here, here + 4, across, IH_EDGE_ACROSS, out + x);
            if (y + 1 < frame->h)
                differ(here, here + frame->stride, count, IH_EDGE_DOWN, out + x);
        }
    }
    return IH_DONE;
}
