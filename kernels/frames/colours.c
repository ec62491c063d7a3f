/* The commonest colour, and the ground, of a few hundred or a few million pixels: see layout.h. Colours are counted in a
 * small table; pictures with more of them than it holds are sorted. */
#include "frames/layout.h"

#include <string.h>

#define SLOTS 4096  /* a power of two; half of them are filled at most */
#define SHADES 4096 /* 16 of each channel */
#define EVEN 24     /* of 255: neighbours that differ less are no edge */
#define FARTHEST 96 /* of 255: what differs more from the commonest colour is another ground */

typedef struct {
    uint32_t key, count;
} tally;

static uint32_t shade_of(uint32_t colour)
{
    return (colour >> 12 & 0xF00) | (colour >> 8 & 0xF0) | (colour >> 4 & 0xF);
}

static uint32_t slot_of(const tally *table, uint32_t mask, uint32_t key)
{
    uint32_t slot = key * 2654435761u >> 16 & mask;
    while (table[slot].count && table[slot].key != key)
        slot = (slot + 1) & mask;
    return slot;
}

/* 1 and the answer in `found`, 0 when there are too many colours, or IH_PREEMPTED as a negative number. */
static int count_few(const uint32_t *keys, size_t count, ih_pace *pace, uint32_t *found)
{
    tally table[SLOTS];
    uint32_t mask = SLOTS - 1, filled = 0, best = 0;
    while (mask > 63 && mask >= 4 * count)
        mask >>= 1;
    memset(table, 0, sizeof table[0] * (mask + 1));
    for (size_t i = 0; i < count;) {
        const uint32_t key = keys[i];
        size_t end = i + 1;
        while (end < count && end - i < 4096 && keys[end] == key)
            end++;
        const uint32_t slot = slot_of(table, mask, key);
        if (!table[slot].count && 2 * ++filled > mask + 1)
            return 0;
        table[slot].key = key;
        table[slot].count += (uint32_t)(end - i);
        if (ih_pace_stops(pace, 4 + (int64_t)(end - i)))
            return -IH_PREEMPTED;
        i = end;
    }
    for (uint32_t slot = 0; slot <= mask; slot++)
        if (table[slot].count > best || (table[slot].count == best && best && table[slot].key < *found)) {
            best = table[slot].count;
            *found = table[slot].key;
        }
    return 1;
}

/* Sorts keys of 24 bits by `shift`'s byte into `out`. */
static int sort_by_byte(const uint32_t *keys, size_t count, int shift, ih_pace *pace, uint32_t *out)
{
    size_t at[256] = {0}, sum = 0;
    for (size_t i = 0; i < count; i++) {
        at[keys[i] >> shift & 255]++;
        if (i % 1024 == 0 && ih_pace_stops(pace, 1024))
            return IH_PREEMPTED;
    }
    for (int i = 0; i < 256; i++) {
        const size_t here = at[i];
        at[i] = sum;
        sum += here;
    }
    for (size_t i = 0; i < count; i++) {
        out[at[keys[i] >> shift & 255]++] = keys[i];
        if (i % 1024 == 0 && ih_pace_stops(pace, 2048))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

int ih_commonest(uint32_t *keys, size_t count, uint32_t *spare, ih_pace *pace, uint32_t *found)
{
    const int few = count_few(keys, count, pace, found);
    if (few)
        return few > 0 ? IH_DONE : IH_PREEMPTED;
    if (sort_by_byte(keys, count, 0, pace, spare) || sort_by_byte(spare, count, 8, pace, keys) ||
        sort_by_byte(keys, count, 16, pace, spare))
        return IH_PREEMPTED;
    size_t best = 0;
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && spare[end] == spare[i]; end++)
            if (ih_pace_stops(pace, 1))
                return IH_PREEMPTED;
        if (ih_pace_stops(pace, 2))
            return IH_PREEMPTED;
        if (end - i > best) {
            best = end - i;
            *found = spare[i];
        }
    }
    return IH_DONE;
}

int ih_ground(uint32_t *keys, size_t count, uint32_t *spare, ih_pace *pace, uint32_t *found)
{
    uint32_t tallies[SHADES] = {0};
    size_t kept = 0, best = 0;
    for (size_t i = 0; i < count; i++) {
        tallies[shade_of(keys[i])]++;
        if (i % 1024 == 0 && ih_pace_stops(pace, 1024))
            return IH_PREEMPTED;
    }
    for (size_t shade = 1; shade < SHADES; shade++)
        if (tallies[shade] > tallies[best])
            best = shade;
    for (size_t i = 0; i < count; i++) {
        if (shade_of(keys[i]) == best)
            keys[kept++] = keys[i];
        if (i % 1024 == 0 && ih_pace_stops(pace, 1024))
            return IH_PREEMPTED;
    }
    return ih_commonest(keys, kept, spare, pace, found);
}

int ih_is_shaded(const ih_frame *frame, int64_t left, int64_t top, int64_t w, int64_t h, uint32_t paper)
{
    if (w <= 0 || h <= 0)
        return 0;
    for (int64_t y = top; y < top + h; y++) {
        const uint32_t end = ih_pixel(frame, left, y);
        if (ih_far_from(end, ih_pixel(frame, left + w - 1, y)) > EVEN || ih_far_from(end, paper) > FARTHEST ||
            (y > top && ih_far_from(end, ih_pixel(frame, left, y - 1)) > EVEN))
            return 0;
    }
    return ih_far_from(ih_pixel(frame, left, top), ih_pixel(frame, left, top + h - 1)) > EVEN;
}

static uint32_t turned(uint32_t colour) /* 0xRRGGBB to 0xBBGGRR and back */
{
    return (colour & 255) << 16 | (colour & 0xFF00) | colour >> 16;
}

uint32_t ih_fill_of(const ih_frame *frame, const int64_t box[4])
{
    const int64_t x = box[0], y = box[1], w = box[2], h = box[3];
    const int64_t down = ih_most(1, h / 12), along = ih_most(1, w / 12);
    uint32_t keys[512], spare[512], found = 0; /* 19 samples a side at most: of 23 pixels all but 4 */
    size_t count = 0;
    for (int64_t row = y + h / 8; row < y + h - h / 8 && row < frame->h; row += down)
        for (int64_t column = x + w / 8; column < x + w - w / 8 && column < frame->w; column += along)
            keys[count++] = turned(ih_pixel(frame, column, row)); /* of several, the least in this order */
    ih_pace none = {NULL, 0};
    if (count)
        ih_commonest(keys, count, spare, &none, &found);
    return turned(found);
}
