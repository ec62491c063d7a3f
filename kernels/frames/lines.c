/* Letters joined to blobs, blobs joined across the spaces of their own size, and blobs cut into lines: see layout.h. */
#include "frames/layout.h"

#include <stdlib.h>
#include <string.h>

#define LETTER_GAP 4    /* pixels between letters, and between words of small fonts */
#define LEAST_BLOB 4    /* pixels in one direction */
#define LEAST_JOINING 12 /* pixels: lower blobs have the gap above already */
#define INK 40          /* of 255 in some channel: what differs so much from the ground is ink */
#define LEAST_CUT 8     /* rows of a blob in which a column may be a border beside the lines */
#define BORDER 0.95     /* of such a column is ink */
#define THIN 3          /* rows: a dot, an accent or an underline of a neighbour */
#define LEAST_CURSOR 4  /* columns of a block cursor, which is taller than wide, but at most so many times: */
#define TALLEST_CURSOR 2.6
#define NOT_ALONE 1.5   /* times the height of a cursor that joins its line to the one above */
#define LEAST_CARET 10  /* rows of a text cursor, which is at least so many times taller than wide, */
#define THINNEST_STEM 6
#define WIDEST_CARET 2  /* columns, */
#define CARET_ABOVE 1   /* and begins at least so many rows above all letters of its line */
#define SOFT_RIM 2      /* pixels from the edge of a soft letter to its ink, in its row */
#define MOST_PASSES 4    /* there and back over a blob, to find all ink that hangs together with letters */

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

/* A blob's pixels against its ground, in the frame's coordinates `left`, `top`. */
typedef struct {
    const ih_frame *frame;
    int64_t left, top, w, h;
    uint8_t *contrast; /* (h, w): the largest difference of a channel */
    uint8_t *ink;      /* (h, w) */
    uint8_t *kept;     /* (h, w): ink that hangs together with letters */
    uint8_t *filled;   /* (the longer side): of rows, then of columns */
    int32_t *heights;  /* (w): how much of each column is ink */
    stretch *rows;     /* (h): of lines */
    stretch *columns;  /* (w): of parts of a line */
    uint32_t paper;
} crop;

static int take_crop(const ih_frame *frame, ih_pace *pace, ih_arena *arena, crop *made)
{
    const size_t count = (size_t)(made->w * made->h);
    uint32_t *keys = ih_arena_take(arena, count, sizeof *keys), *spare = ih_arena_take(arena, count, sizeof *spare);
    made->contrast = ih_arena_take(arena, count, 1);
    made->ink = ih_arena_take(arena, count, 1);
    made->kept = ih_arena_take(arena, count, 1);
    made->filled = ih_arena_take(arena, (size_t)ih_most(made->w, made->h), 1);
    made->heights = ih_arena_take(arena, (size_t)made->w, sizeof *made->heights);
    made->rows = ih_arena_take(arena, (size_t)made->h, sizeof *made->rows);
    made->columns = ih_arena_take(arena, (size_t)made->w, sizeof *made->columns);
    if (!keys || !spare || !made->contrast || !made->ink || !made->kept || !made->filled || !made->heights || !made->rows ||
        !made->columns)
        return IH_ENOMEM;
    for (int64_t y = 0; y < made->h; y++) {
        uint32_t *row = keys + y * made->w;
        for (int64_t x = 0; x < made->w; x++)
            row[x] = ih_pixel(frame, made->left + x, made->top + y);
        if (ih_pace_stops(pace, made->w))
            return IH_PREEMPTED;
    }
    if (ih_ground(keys, count, spare, pace, &made->paper))
        return IH_PREEMPTED;
    const int shaded = ih_is_shaded(frame, made->left, made->top, made->w, made->h, made->paper);
    for (int64_t y = 0; y < made->h; y++) {
        const uint32_t ground = shaded ? ih_pixel(frame, made->left, made->top + y) : made->paper;
        uint8_t *contrast = made->contrast + y * made->w, *ink = made->ink + y * made->w;
        for (int64_t x = 0; x < made->w; x++)
            contrast[x] = (uint8_t)ih_far_from(ih_pixel(frame, made->left + x, made->top + y), ground);
        for (int64_t x = 0; x < made->w; x++)
            ink[x] = contrast[x] >= INK;
        if (ih_pace_stops(pace, 2 * made->w))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

/* Clears columns that are a border beside the lines, which would join them. */
static int clear_borders(crop *made, ih_pace *pace)
{
    if (made->h < LEAST_CUT)
        return IH_DONE;
    memset(made->heights, 0, sizeof *made->heights * (size_t)made->w);
    for (int64_t y = 0; y < made->h; y++) {
        for (int64_t x = 0; x < made->w; x++)
            made->heights[x] += made->ink[y * made->w + x];
        if (ih_pace_stops(pace, made->w / 4))
            return IH_PREEMPTED;
    }
    for (int64_t x = 0; x < made->w; x++) {
        if ((double)made->heights[x] / (double)made->h <= BORDER)
            continue;
        for (int64_t y = 0; y < made->h; y++)
            made->ink[y * made->w + x] = 0;
        if (ih_pace_stops(pace, 2 * made->h))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

static int is_filled(const crop *made, int64_t x, int64_t top, int64_t bottom, uint8_t with)
{
    for (int64_t y = top; y < bottom && x >= 0 && x < made->w; y++)
        if (made->ink[y * made->w + x] != with)
            return 0;
    return x >= 0 && x < made->w ? 1 : !with;
}

/* How wide a block is whose left side is the upright stroke of rows top..bottom at x: a solid box with nothing beside, above
 * or below it. 0 for what is none. */
static int64_t block_width(const crop *made, int64_t x, int64_t top, int64_t bottom)
{
    int64_t right = x;
    if (!is_filled(made, x - 1, top, bottom, 0))
        return 0;
    while (right < made->w && is_filled(made, right, top, bottom, 1) &&
           (top == 0 || !made->ink[(top - 1) * made->w + right]) &&
           (bottom == made->h || !made->ink[bottom * made->w + right]))
        right++;
    return is_filled(made, right, top, bottom, 0) ? right - x : 0;
}

/* Clears block cursors, as terminals have them, in what may be several lines: they are as high as the lines are apart, and
 * would join them. */
static int clear_cursors(crop *made, ih_pace *pace)
{
    for (int64_t x = 0; x < made->w; x++) {
        for (int64_t top = 0, bottom; top < made->h; top = bottom + 1) {
            for (bottom = top; bottom < made->h && made->ink[bottom * made->w + x]; bottom++)
                ;
            if (bottom - top < LEAST_CUT || (double)made->h < NOT_ALONE * (double)(bottom - top))
                continue;
            const int64_t w = block_width(made, x, top, bottom);
            if (w >= LEAST_CURSOR && w < bottom - top && (double)(bottom - top) <= TALLEST_CURSOR * (double)w)
                for (int64_t y = top; y < bottom; y++)
                    memset(made->ink + y * made->w + x, 0, (size_t)w);
        }
        if (ih_pace_stops(pace, 2 * made->h))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

/* Whether ink at (x, y) has an edge of a letter at it: at the left or upper one of two pixels that differ, and to the left
 * of a soft letter, whose rim is no ink yet. */
static int is_edged(const crop *made, const uint8_t *letters, int64_t x, int64_t y)
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
static int clear_strange(crop *made, const uint8_t *letters, ih_pace *pace)
{
    const int64_t w = made->w, h = made->h;
    int more = 0;
    for (int64_t y = 0; y < h; y++) {
        for (int64_t x = 0; x < w; x++) {
            made->kept[y * w + x] = made->ink[y * w + x] && is_edged(made, letters, x, y);
            more |= made->ink[y * w + x] != made->kept[y * w + x];
        }
        if (ih_pace_stops(pace, 2 * w))
            return IH_PREEMPTED;
    }
    for (int pass = 0; pass < MOST_PASSES && more; pass++) {
        more = 0;
        for (int64_t i = 0; i < 2 * h; i++) { /* downwards, and back */
            const int64_t y = i < h ? i : 2 * h - 1 - i, from = i < h ? y - 1 : y + 1;
            const uint8_t *before = from >= 0 && from < h ? made->kept + from * w : NULL;
            more |= keep_row(made->ink + y * w, before, w, made->kept + y * w);
            if (ih_pace_stops(pace, w))
                return IH_PREEMPTED;
        }
    }
    memcpy(made->ink, made->kept, (size_t)(w * h));
    return IH_DONE;
}

/* The only stretch of ink in a column: [*top, *bottom). 0 if there is none, or several. */
static int only_stretch(const crop *made, int64_t x, int64_t *top, int64_t *bottom)
{
    int64_t count = 0;
    for (int64_t y = 0; y < made->h; y++) {
        const int is_first = made->ink[y * made->w + x] && (y == 0 || !made->ink[(y - 1) * made->w + x]);
        count += is_first;
        *top = is_first ? y : *top;
        *bottom = made->ink[y * made->w + x] ? y + 1 : *bottom;
    }
    return count == 1;
}

/* Clears a text cursor: the last stroke of a line, upright and thin, that begins above all its letters and ends below. */
static int clear_caret(crop *made, ih_pace *pace)
{
    int64_t right = made->w, top = 0, bottom = 0, from = 0, to = 0;
    for (int64_t n = 0; right > 0 && !n; right -= !n) {
        for (int64_t y = 0; y < made->h; y++)
            n += made->ink[y * made->w + right - 1];
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
        if (memchr(made->ink + y * made->w, 1, (size_t)left)) {
            first = first < 0 ? y : first;
            last = y;
        }
    const int is_thin = right - left <= WIDEST_CARET && bottom - top >= THINNEST_STEM * (right - left);
    if (is_thin && first >= top + CARET_ABOVE && last + 1 < bottom)
        for (int64_t y = top; y < bottom; y++)
            memset(made->ink + y * made->w + left, 0, (size_t)(right - left));
    return ih_pace_stops(pace, made->w * 2 + made->h * 8) ? IH_PREEMPTED : IH_DONE;
}

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
static int find_bands(crop *made, ih_pace *pace, int64_t *bands)
{
    for (int64_t y = 0; y < made->h; y++) {
        made->filled[y] = memchr(made->ink + y * made->w, 1, (size_t)made->w) != NULL;
        if (ih_pace_stops(pace, made->w / 16))
            return IH_PREEMPTED;
    }
    const int64_t count = stretches(made->filled, made->h, 1, made->rows);
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
static int find_parts(crop *made, stretch band, ih_pace *pace, int64_t *parts)
{
    memset(made->filled, 0, (size_t)made->w);
    for (int64_t y = band.start; y < band.end; y++) {
        for (int64_t x = 0; x < made->w; x++)
            made->filled[x] |= made->ink[y * made->w + x];
        if (ih_pace_stops(pace, made->w / 8))
            return IH_PREEMPTED;
    }
    *parts = stretches(made->filled, made->w, ih_most(8, band.end - band.start), made->columns);
    return IH_DONE;
}

typedef struct {
    int64_t first, last, rows; /* with letters in them */
    int64_t x, y, strongest;   /* the strongest ink */
} letters;

/* Looks at the ink in a part of the crop, without level strokes of `rule` pixels or more. */
static int look_at_letters(const crop *made, stretch band, stretch part, int64_t rule, ih_pace *pace, letters *found)
{
    *found = (letters){-1, -1, 0, 0, 0, -1};
    for (int64_t y = band.start; y < band.end; y++) {
        const uint8_t *ink = made->ink + y * made->w, *contrast = made->contrast + y * made->w;
        for (int64_t x = part.start, end; x < part.end; x = end) {
            for (end = x; end < part.end && ink[end]; end++)
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

static int add_line(const crop *made, stretch band, stretch part, ih_pace *pace, ih_layout_items *texts)
{
    const int64_t rule = ih_most(12, 5 * (band.end - band.start) / 4); /* an underline of this line or the last */
    letters found;
    if (look_at_letters(made, band, part, rule, pace, &found))
        return IH_PREEMPTED;
    if (found.rows == 0 && look_at_letters(made, band, part, made->w + 1, pace, &found))
        return IH_PREEMPTED;
    if (found.rows == 0 || (found.rows < 2 && part.end - part.start < 2))
        return IH_DONE;
    const int64_t box[4] = {made->left + part.start, made->top + found.first, part.end - part.start,
                            found.last - found.first + 1};
    const uint32_t ink = ih_pixel(made->frame, made->left + found.x, made->top + found.y);
    return ih_append(texts, box, IH_KIND_TEXT, ink, made->paper);
}

/* Cuts a blob into its lines: rows without ink part them. */
static int split_lines(const ih_frame *frame, const blob *one, const uint8_t *letters, ih_pace *pace, ih_arena *arena,
                       ih_layout_items *texts)
{
    crop made = {.frame = frame, .left = ih_most(0, one->x - 1), .top = ih_most(0, one->y - 1)};
    made.w = ih_least(frame->w, made.left + one->w + 2) - made.left;
    made.h = ih_least(frame->h, made.top + one->h + 2) - made.top;
    int status = take_crop(frame, pace, arena, &made);
    int64_t bands = 0, parts = 0;
    if (!status)
        status = clear_borders(&made, pace);
    if (!status)
        status = clear_cursors(&made, pace);
    if (!status)
        status = clear_strange(&made, letters, pace);
    if (!status)
        status = clear_caret(&made, pace);
    if (!status)
        status = find_bands(&made, pace, &bands);
    for (int64_t i = 0; i < bands && !status; i++) {
        status = find_parts(&made, made.rows[i], pace, &parts);
        for (int64_t k = 0; k < parts && !status; k++)
            status = add_line(&made, made.rows[i], made.columns[k], pace, texts);
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
