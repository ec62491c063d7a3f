/* The ink of a blob's letters, without what else is dark beside them: see ink.h. */
#include "frames/ink.h"

#include <string.h>

#define INK 40          /* of 255 in some channel: what differs so much from the ground is ink */
#define LEAST_CUT 8     /* rows of a blob in which a column may be a border beside the lines */
#define BORDER 0.95     /* of such a column is ink */
#define LEAST_CURSOR 4  /* columns of a block cursor, which is taller than wide, but at most so many times: */
#define TALLEST_CURSOR 2.6
#define NOT_ALONE 1.5   /* times the height of a cursor that joins its line to the one above */
#define LEAST_CARET 10  /* rows of a text cursor, which is at least so many times taller than wide, */
#define THINNEST_STEM 6
#define WIDEST_CARET 2  /* columns, */
#define CARET_ABOVE 1   /* and begins at least so many rows above all letters of its line */
#define SOFT_RIM 2      /* pixels from the edge of a soft letter to its ink, in its row */
#define MOST_PASSES 4   /* there and back over a blob, to find all ink that hangs together with letters */

/* Fills what differs from the ground. */
static int take_pixels(ih_pace *pace, ih_arena *arena, ih_ink *made)
{
    const size_t count = (size_t)(made->w * made->h);
    uint32_t *keys = ih_arena_take(arena, count, sizeof *keys), *spare = ih_arena_take(arena, count, sizeof *spare);
    made->contrast = ih_arena_take(arena, count, 1);
    made->at = ih_arena_take(arena, count, 1);
    if (!keys || !spare || !made->contrast || !made->at)
        return IH_ENOMEM;
    for (int64_t y = 0; y < made->h; y++) {
        uint32_t *row = keys + y * made->w;
        for (int64_t x = 0; x < made->w; x++)
            row[x] = ih_pixel(made->frame, made->left + x, made->top + y);
        if (ih_pace_stops(pace, made->w))
            return IH_PREEMPTED;
    }
    if (ih_ground(keys, count, spare, pace, &made->paper))
        return IH_PREEMPTED;
    const int shaded = ih_is_shaded(made->frame, made->left, made->top, made->w, made->h, made->paper);
    for (int64_t y = 0; y < made->h; y++) {
        const uint32_t ground = shaded ? ih_pixel(made->frame, made->left, made->top + y) : made->paper;
        uint8_t *contrast = made->contrast + y * made->w, *ink = made->at + y * made->w;
        for (int64_t x = 0; x < made->w; x++)
            contrast[x] = (uint8_t)ih_far_from(ih_pixel(made->frame, made->left + x, made->top + y), ground);
        for (int64_t x = 0; x < made->w; x++)
            ink[x] = contrast[x] >= INK;
        if (ih_pace_stops(pace, 2 * made->w))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

/* Clears columns that are a border beside the lines, which would join them. */
static int clear_borders(ih_ink *made, ih_pace *pace, ih_arena *arena)
{
    if (made->h < LEAST_CUT)
        return IH_DONE;
    int32_t *heights = ih_arena_take(arena, (size_t)made->w, sizeof *heights); /* how much of each column is ink */
    if (!heights)
        return IH_ENOMEM;
    memset(heights, 0, sizeof *heights * (size_t)made->w);
    for (int64_t y = 0; y < made->h; y++) {
        for (int64_t x = 0; x < made->w; x++)
            heights[x] += made->at[y * made->w + x];
        if (ih_pace_stops(pace, made->w / 4))
            return IH_PREEMPTED;
    }
    for (int64_t x = 0; x < made->w; x++) {
        if ((double)heights[x] / (double)made->h <= BORDER)
            continue;
        for (int64_t y = 0; y < made->h; y++)
            made->at[y * made->w + x] = 0;
        if (ih_pace_stops(pace, 2 * made->h))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

static int is_filled(const ih_ink *made, int64_t x, int64_t top, int64_t bottom, uint8_t with)
{
    for (int64_t y = top; y < bottom && x >= 0 && x < made->w; y++)
        if (made->at[y * made->w + x] != with)
            return 0;
    return x >= 0 && x < made->w ? 1 : !with;
}

/* How wide a block is whose left side is the upright stroke of rows top..bottom at x: a solid box with nothing beside, above
 * or below it. 0 for what is none. */
static int64_t block_width(const ih_ink *made, int64_t x, int64_t top, int64_t bottom)
{
    int64_t right = x;
    if (!is_filled(made, x - 1, top, bottom, 0))
        return 0;
    while (right < made->w && is_filled(made, right, top, bottom, 1) &&
           (top == 0 || !made->at[(top - 1) * made->w + right]) &&
           (bottom == made->h || !made->at[bottom * made->w + right]))
        right++;
    return is_filled(made, right, top, bottom, 0) ? right - x : 0;
}

/* Clears block cursors, as terminals have them, in what may be several lines: they are as high as the lines are apart, and
 * would join them. */
static int clear_cursors(ih_ink *made, ih_pace *pace)
{
    for (int64_t x = 0; x < made->w; x++) {
        for (int64_t top = 0, bottom; top < made->h; top = bottom + 1) {
            for (bottom = top; bottom < made->h && made->at[bottom * made->w + x]; bottom++)
                ;
            if (bottom - top < LEAST_CUT || (double)made->h < NOT_ALONE * (double)(bottom - top))
                continue;
            const int64_t w = block_width(made, x, top, bottom);
            if (w >= LEAST_CURSOR && w < bottom - top && (double)(bottom - top) <= TALLEST_CURSOR * (double)w)
                for (int64_t y = top; y < bottom; y++)
                    memset(made->at + y * made->w + x, 0, (size_t)w);
        }
        if (ih_pace_stops(pace, 2 * made->h))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

/* Whether ink at (x, y) has an edge of a letter at it: at the left or upper one of two pixels that differ, and to the left
 * of a soft letter, whose rim is no ink yet. */
static int is_edged(const ih_ink *made, const uint8_t *letters, int64_t x, int64_t y)
{
    const int64_t column = made->left + x, row = made->top + y, w = made->frame->w;
    for (int64_t from = ih_most(0, column - SOFT_RIM); from <= column; from++)
        if (letters[row * w + from])
            return 1;
    return row > 0 && letters[(row - 1) * w + column];
}

/* Keeps the ink of a row that lies beside what is kept in it or in the row `before` it (NULL: none). Returns whether there
 * was more. */
static int keep_row(const uint8_t *ink, const uint8_t *before, int64_t w, uint8_t *kept)
{
    int more = 0;
    for (int64_t k = 0; k < 2 * w; k++) { /* to the right, and back */
        const int64_t x = k < w ? k : 2 * w - 1 - k;
        if (!ink[x] || kept[x])
            continue;
        const int has_left = x > 0, has_right = x + 1 < w;
        if ((has_left && kept[x - 1]) || (has_right && kept[x + 1]) ||
            (before && (before[x] || (has_left && before[x - 1]) || (has_right && before[x + 1])))) {
            kept[x] = 1;
            more = 1;
        }
    }
    return more;
}

/* Clears ink that does not hang together with letters: the round corners of a ring around a field, a text cursor. */
static int clear_strange(ih_ink *made, const uint8_t *letters, ih_pace *pace, ih_arena *arena)
{
    const int64_t w = made->w, h = made->h;
    uint8_t *kept = ih_arena_take(arena, (size_t)(w * h), 1);
    int more = 0;
    if (!kept)
        return IH_ENOMEM;
    for (int64_t y = 0; y < h; y++) {
        for (int64_t x = 0; x < w; x++) {
            kept[y * w + x] = made->at[y * w + x] && is_edged(made, letters, x, y);
            more |= made->at[y * w + x] != kept[y * w + x];
        }
        if (ih_pace_stops(pace, 2 * w))
            return IH_PREEMPTED;
    }
    for (int pass = 0; pass < MOST_PASSES && more; pass++) {
        more = 0;
        for (int64_t i = 0; i < 2 * h; i++) { /* downwards, and back */
            const int64_t y = i < h ? i : 2 * h - 1 - i, from = i < h ? y - 1 : y + 1;
            const uint8_t *before = from >= 0 && from < h ? kept + from * w : NULL;
            more |= keep_row(made->at + y * w, before, w, kept + y * w);
            if (ih_pace_stops(pace, w))
                return IH_PREEMPTED;
        }
    }
    memcpy(made->at, kept, (size_t)(w * h));
    return IH_DONE;
}

/* The only stretch of ink in a column: [*top, *bottom). 0 if there is none, or several. */
static int only_stretch(const ih_ink *made, int64_t x, int64_t *top, int64_t *bottom)
{
    int64_t count = 0;
    for (int64_t y = 0; y < made->h; y++) {
        const int is_first = made->at[y * made->w + x] && (y == 0 || !made->at[(y - 1) * made->w + x]);
        count += is_first;
        *top = is_first ? y : *top;
        *bottom = made->at[y * made->w + x] ? y + 1 : *bottom;
    }
    return count == 1;
}

/* Clears a text cursor: the last stroke of a line, upright and thin, that begins above all its letters and ends below. */
static int clear_caret(ih_ink *made, ih_pace *pace)
{
    int64_t right = made->w, top = 0, bottom = 0, from = 0, to = 0;
    for (int64_t n = 0; right > 0 && !n; right -= !n) {
        for (int64_t y = 0; y < made->h; y++)
            n += made->at[y * made->w + right - 1];
        if (ih_pace_stops(pace, made->h))
            return IH_PREEMPTED;
    }
    if (right < 2 || !only_stretch(made, right - 1, &top, &bottom) || bottom - top < LEAST_CARET)
        return IH_DONE;
    int64_t left = right - 1;
    while (left > 0 && right - left <= WIDEST_CARET && only_stretch(made, left - 1, &from, &to) && from == top &&
           to == bottom)
        left--;
    int64_t first = -1, last = -1; /* rows of what else there is */
    for (int64_t y = 0; y < made->h; y++)
        if (memchr(made->at + y * made->w, 1, (size_t)left)) {
            first = first < 0 ? y : first;
            last = y;
        }
    const int is_thin = right - left <= WIDEST_CARET && bottom - top >= THINNEST_STEM * (right - left);
    if (is_thin && first >= top + CARET_ABOVE && last + 1 < bottom)
        for (int64_t y = top; y < bottom; y++)
            memset(made->at + y * made->w + left, 0, (size_t)(right - left));
    return ih_pace_stops(pace, made->w * 2 + made->h * 8) ? IH_PREEMPTED : IH_DONE;
}

int ih_take_ink(const ih_frame *frame, const int64_t box[4], const uint8_t *letters, ih_pace *pace, ih_arena *arena,
                ih_ink *made)
{
    *made = (ih_ink){.frame = frame, .left = ih_most(0, box[0] - 1), .top = ih_most(0, box[1] - 1)};
    made->w = ih_least(frame->w, made->left + box[2] + 2) - made->left;
    made->h = ih_least(frame->h, made->top + box[3] + 2) - made->top;
    int status = take_pixels(pace, arena, made);
    if (!status)
        status = clear_borders(made, pace, arena);
    if (!status)
        status = clear_cursors(made, pace);
    if (!status)
        status = clear_strange(made, letters, pace, arena);
    return status ? status : clear_caret(made, pace);
}
