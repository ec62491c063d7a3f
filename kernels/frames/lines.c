/* Letters joined to blobs, blobs joined across the spaces of their own size, and blobs cut into lines: see layout.h. */
#include "frames/ink.h"

#include <stdlib.h>
#include <string.h>

#define LETTER_GAP 4    /* pixels between letters, and between words of small fonts */
#define LEAST_BLOB 4    /* pixels in one direction */
#define LEAST_JOINING 12 /* pixels: lower blobs have the gap above already */
#define THIN 3          /* rows: a dot, an accent or an underline of a neighbour */

typedef struct {
    int64_t x, y, w, h, order;
    int is_alive;
} blob;

static int by_left(const void *a, const void *b)
{
    const blob *first = a, *second = b;
    if (first->x != second->x)
        return first->x < second->x ? -1 : 1;
    return first->order < second->order ? -1 : 1;
}

/* Whether a border stands between a blob and one right of it: an upright edge as high as the rows that they share. */
static int is_parted(const ih_edges *edges, const blob *one, const blob *other)
{
    const int64_t top = ih_most(one->y, other->y), bottom = ih_least(one->y + one->h, other->y + other->h);
    for (int64_t x = one->x + one->w; x < other->x; x++) {
        int64_t y = top;
        while (y < bottom && edges->at[y * edges->stride + x] == IH_EDGE_ACROSS)
            y++;
        if (y == bottom)
            return 1;
    }
    return 0;
}

/* The first blob, in order of left edges, that goes on the line of `one` after a space of its own size (larger fonts have
 * wider spaces); -1 without one. The gap is at most 1/1.8 of the taller, which is at most twice as tall;
 * no border stands in it. */
static int64_t follower(const ih_edges *edges, const blob *blobs, int64_t count, int64_t index)
{
    const blob *one = &blobs[index];
    int64_t low = index, high = count; /* a joined blob keeps its left edge, so the order stays */
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (blobs[middle].x < one->x + one->w)
            low = middle + 1;
        else
            high = middle;
    }
    for (int64_t k = low; k < count && 1.8 * (double)(blobs[k].x - one->x - one->w) <= (double)(2 * one->h); k++) {
        const int64_t gap = blobs[k].x - one->x - one->w;
        const int64_t shared = ih_least(blobs[k].y + blobs[k].h, one->y + one->h) - ih_most(blobs[k].y, one->y);
        const int64_t lower = ih_least(blobs[k].h, one->h), taller = ih_most(blobs[k].h, one->h);
        if (blobs[k].is_alive && k != index && 1.8 * (double)gap <= (double)taller && 10 * shared >= 7 * lower &&
            2 * lower >= taller && !is_parted(edges, one, &blobs[k]))
            return k;
    }
    return -1;
}

static int join_words(const ih_edges *edges, blob *blobs, int64_t count, ih_pace *pace)
{
    qsort(blobs, (size_t)count, sizeof *blobs, by_left);
    for (int64_t i = 0; i < count; i++) {
        blob *one = &blobs[i];
        int64_t other;
        while (one->is_alive && one->h >= LEAST_JOINING && (other = follower(edges, blobs, count, i)) >= 0) {
            const int64_t right = ih_most(one->x + one->w, blobs[other].x + blobs[other].w);
            const int64_t bottom = ih_most(one->y + one->h, blobs[other].y + blobs[other].h);
            one->y = ih_least(one->y, blobs[other].y);
            one->w = right - one->x;
            one->h = bottom - one->y;
            blobs[other].is_alive = 0;
            if (ih_pace_stops(pace, 200))
                return IH_PREEMPTED;
        }
        if (ih_pace_stops(pace, 100))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

typedef struct {
    int64_t start, end; /* [start, end) */
} stretch;

/* Where a blob is cut, and what that is found by. */
typedef struct {
    uint8_t *filled;  /* (the longer side): of rows, then of columns */
    stretch *rows;    /* (h): of lines */
    stretch *columns; /* (w): of parts of a line */
} cuts;

/* The stretches of what is filled, joined over fewer than `gap` empty places. Returns how many. */
static int64_t stretches(const uint8_t *filled, int64_t count, int64_t gap, stretch *found)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!filled[i])
            continue;
        if (n && i - found[n - 1].end < gap)
            found[n - 1].end = i + 1;
        else
            found[n++] = (stretch){i, i + 1};
    }
    return n;
}

/* The rows of lines: what is thin goes to the line above it where it is near. */
static int find_bands(const ih_ink *ink, cuts *made, ih_pace *pace, int64_t *bands)
{
    for (int64_t y = 0; y < ink->h; y++) {
        made->filled[y] = memchr(ink->at + y * ink->w, 1, (size_t)ink->w) != NULL;
        if (ih_pace_stops(pace, ink->w / 16))
            return IH_PREEMPTED;
    }
    const int64_t count = stretches(made->filled, ink->h, 1, made->rows);
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        const stretch band = made->rows[i];
        stretch *above = n ? &made->rows[n - 1] : NULL;
        if (above && (band.end - band.start <= THIN || above->end - above->start <= THIN) &&
            band.start - above->end <= THIN)
            above->end = band.end;
        else
            made->rows[n++] = band;
    }
    *bands = n;
    return IH_DONE;
}

/* The parts of a line: gaps as wide as it is high part them. */
static int find_parts(const ih_ink *ink, stretch band, cuts *made, ih_pace *pace, int64_t *parts)
{
    memset(made->filled, 0, (size_t)ink->w);
    for (int64_t y = band.start; y < band.end; y++) {
        for (int64_t x = 0; x < ink->w; x++)
            made->filled[x] |= ink->at[y * ink->w + x];
        if (ih_pace_stops(pace, ink->w / 8))
            return IH_PREEMPTED;
    }
    *parts = stretches(made->filled, ink->w, ih_most(8, band.end - band.start), made->columns);
    return IH_DONE;
}

typedef struct {
    int64_t first, last, rows; /* with letters in them */
    int64_t x, y, strongest;   /* the strongest ink */
} letters;

/* Looks at the ink in a part of the blob, without level strokes of `rule` pixels or more. */
static int look_at_letters(const ih_ink *ink, stretch band, stretch part, int64_t rule, ih_pace *pace, letters *found)
{
    *found = (letters){-1, -1, 0, 0, 0, -1};
    for (int64_t y = band.start; y < band.end; y++) {
        const uint8_t *at = ink->at + y * ink->w, *contrast = ink->contrast + y * ink->w;
        for (int64_t x = part.start, end; x < part.end; x = end) {
            for (end = x; end < part.end && at[end]; end++)
                ;
            if (end == x || end - x >= rule) {
                end = end == x ? x + 1 : end;
                continue;
            }
            found->first = found->first < 0 ? y : found->first;
            found->rows += found->last != y;
            found->last = y;
            for (; x < end; x++)
                if (contrast[x] > found->strongest) {
                    found->strongest = contrast[x];
                    found->x = x;
                    found->y = y;
                }
        }
        if (ih_pace_stops(pace, 2 * (part.end - part.start)))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

static int add_line(const ih_ink *ink, stretch band, stretch part, ih_pace *pace, ih_layout_items *texts)
{
    const int64_t rule = ih_most(12, 5 * (band.end - band.start) / 4); /* an underline of this line or the last */
    letters found;
    if (look_at_letters(ink, band, part, rule, pace, &found))
        return IH_PREEMPTED;
    if (found.rows == 0 && look_at_letters(ink, band, part, ink->w + 1, pace, &found))
        return IH_PREEMPTED;
    if (found.rows == 0 || (found.rows < 2 && part.end - part.start < 2))
        return IH_DONE;
    const int64_t box[4] = {ink->left + part.start, ink->top + found.first, part.end - part.start,
                            found.last - found.first + 1};
    const uint32_t colour = ih_pixel(ink->frame, ink->left + found.x, ink->top + found.y);
    return ih_append(texts, box, IH_KIND_TEXT, colour, ink->paper);
}

/* Cuts a blob into its lines: rows without ink part them. */
static int split_lines(const ih_frame *frame, const blob *one, const uint8_t *letters, ih_pace *pace, ih_arena *arena,
                       ih_layout_items *texts)
{
    ih_ink ink;
    int status = ih_take_ink(frame, (int64_t[4]){one->x, one->y, one->w, one->h}, letters, pace, arena, &ink);
    if (status)
        return status;
    cuts made = {
        .filled = ih_arena_take(arena, (size_t)ih_most(ink.w, ink.h), 1),
        .rows = ih_arena_take(arena, (size_t)ink.h, sizeof *made.rows),
        .columns = ih_arena_take(arena, (size_t)ink.w, sizeof *made.columns),
    };
    if (!made.filled || !made.rows || !made.columns)
        return IH_ENOMEM;
    int64_t bands = 0, parts = 0;
    status = find_bands(&ink, &made, pace, &bands);
    for (int64_t i = 0; i < bands && !status; i++) {
        status = find_parts(&ink, made.rows[i], &made, pace, &parts);
        for (int64_t k = 0; k < parts && !status; k++)
            status = add_line(&ink, made.rows[i], made.columns[k], pace, texts);
    }
    return status;
}

int ih_find_lines(const ih_frame *frame, const ih_edges *edges, const uint8_t *letters, ih_pace *pace, ih_arena *arena,
                  ih_layout_items *texts)
{
    ih_components parts;
    int status = ih_find_components(letters, frame->w, frame->h, frame->w, LETTER_GAP, pace, arena, &parts);
    blob *blobs = status ? NULL : ih_arena_take(arena, (size_t)parts.count, sizeof *blobs);
    int64_t count = 0;
    if (!blobs)
        return status ? status : IH_ENOMEM;
    for (int64_t k = 0; k < parts.count; k++) {
        const int64_t *box = parts.boxes[k];
        if (box[2] >= LEAST_BLOB || box[3] >= LEAST_BLOB) {
            blobs[count] = (blob){box[0], box[1], box[2], box[3], count, 1};
            count++;
        }
    }
    status = join_words(edges, blobs, count, pace);
    for (int64_t i = 0; i < count && !status; i++) {
        const size_t used = arena->used;
        if (blobs[i].is_alive)
            status = split_lines(frame, &blobs[i], letters, pace, arena, texts);
        arena->used = used;
    }
    return status;
}
