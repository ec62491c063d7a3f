/* The mask of edges that may be letters, and the shapes that are left: see layout.h. */
#include "frames/layout.h"

#include <string.h>

#define STRAIGHT 24       /* pixels: a component narrower than that holds no fields */
#define LEAST_STROKE 12   /* pixels of a level or upright edge that is a border, not a letter's stem */
#define THICKEST 3        /* pixels from one side of a border to the other, where text may touch it */
#define DEEPEST 6         /* pixels from a field's rim to the ring in it that shows its focus */
#define WIDE 48           /* pixels: a wider component is more than a letter, so that straight lines in it are not stems */
#define LEAST_LABELLED 28 /* pixels: a smaller box holds a tick or an icon, no label, */
#define LEAST_WIDER 3     /* pixels: but where it is so much wider than high, as a day of a calendar is */
#define LEAST_JOINED 12   /* pixels: lower components cannot hold a field */
#define LOWEST_HOLE 7     /* rows: a component has at most a hole for so many gaps */

typedef struct {
    uint8_t *at; /* (h, w) */
    ptrdiff_t w, h;
} mask;

/* Clears columns left..right of rows top..bottom, as far as they lie in the mask. */
static void clear(const mask *letters, int64_t left, int64_t top, int64_t right, int64_t bottom)
{
    left = ih_most(0, left);
    right = ih_least(letters->w, right);
    for (int64_t y = ih_most(0, top); y < ih_least(letters->h, bottom) && left < right; y++)
        memset(letters->at + y * letters->w + left, 0, (size_t)(right - left));
}

/* The other side of a border, whose edge is broken where text touches it: clears what there is of it within THICKEST of an
 * edge of `kind` at (x, y) that goes on for `count` pixels, upright or level, if that is half of it or more. `reach`, unless
 * NULL, is set to how far the last of them is to the left or above, and to the right or below. */
static int clear_beside(const ih_edges *edges, int64_t x, int64_t y, int64_t count, int kind, ih_pace *pace,
                        const mask *letters, int64_t reach[2])
{
    const int64_t down = kind == IH_EDGE_ACROSS, across = !down;
    for (int64_t apart = -THICKEST; apart <= THICKEST; apart++) {
        const int64_t left = x + apart * down, top = y + apart * across;
        int64_t same = 0;
        if (left < 0 || top < 0 || left >= edges->w || top >= edges->h || !apart)
            continue;
        for (int64_t i = 0; i < count; i++)
            same += edges->at[(top + i * down) * edges->stride + left + i * across] == kind;
        if (2 * same < count)
            continue;
        for (int64_t i = 0; i < count; i++)
            if (edges->at[(top + i * down) * edges->stride + left + i * across] == kind)
                letters->at[(top + i * down) * letters->w + left + i * across] = 0;
        if (reach)
            reach[apart > 0] = ih_most(reach[apart > 0], apart > 0 ? apart : -apart);
    }
    return ih_pace_stops(pace, 2 * THICKEST * count) ? IH_PREEMPTED : IH_DONE;
}

/* Clears the pixels of one component that lie on long level or upright edges: borders and rules that text may touch. A
 * stretch of one kind of edge lies in one component, so each is met once, at its first pixel. */
static int clear_straight(const ih_edges *edges, const ih_components *parts, int64_t number, ih_pace *pace,
                          const mask *letters)
{
    for (int64_t i = parts->first[number]; i < parts->first[number + 1]; i++) {
        const int64_t run = parts->members[i], y = parts->runs.row[run];
        const uint8_t *row = edges->at + y * edges->stride;
        for (int64_t x = parts->runs.start[run], end; x < parts->runs.end[run]; x = end) {
            end = x + 1;
            if (row[x] == IH_EDGE_DOWN) {
                while (end < parts->runs.end[run] && row[end] == IH_EDGE_DOWN)
                    end++;
                if (end - x >= LEAST_STROKE) {
                    clear(letters, x, y, end, y + 1);
                    if (clear_beside(edges, x, y, end - x, IH_EDGE_DOWN, pace, letters, NULL))
                        return IH_PREEMPTED;
                }
            } else if (row[x] == IH_EDGE_ACROSS && (y == 0 || row[x - edges->stride] != IH_EDGE_ACROSS)) {
                int64_t bottom = y + 1;
                while (bottom < edges->h && edges->at[bottom * edges->stride + x] == IH_EDGE_ACROSS)
                    bottom++;
                if (bottom - y >= LEAST_STROKE) {
                    clear(letters, x, y, x + 1, bottom);
                    if (clear_beside(edges, x, y, bottom - y, IH_EDGE_ACROSS, pace, letters, NULL))
                        return IH_PREEMPTED;
                }
                if (ih_pace_stops(pace, 4 * (bottom - y)))
                    return IH_PREEMPTED;
            }
        }
        if (ih_pace_stops(pace, 5 + 2 * (parts->runs.end[run] - parts->runs.start[run])))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

/* The upright side of a ring that shows a field's focus, in the field's own border at x: two thirds of its `count` pixels or
 * more, `inward` 1 or -1 to the right or left. Raises *reach to how far in it goes. */
static int clear_ring(const ih_edges *edges, int64_t x, int64_t y, int64_t count, int inward, ih_pace *pace,
                      const mask *letters, int64_t *reach)
{
    for (int64_t apart = THICKEST + 1; apart <= DEEPEST; apart++) {
        const int64_t side = x + apart * inward;
        int64_t same = 0, beside[2] = {0, 0};
        if (side < 0 || side >= edges->w)
            break;
        for (int64_t i = 0; i < count; i++)
            same += edges->at[(y + i) * edges->stride + side] == IH_EDGE_ACROSS;
        if (3 * same < 2 * count)
            continue;
        clear(letters, side, y, side + 1, y + count);
        if (clear_beside(edges, side, y, count, IH_EDGE_ACROSS, pace, letters, beside))
            return IH_PREEMPTED;
        *reach = ih_most(*reach, apart + beside[inward > 0]);
    }
    return ih_pace_stops(pace, (DEEPEST - THICKEST) * count) ? IH_PREEMPTED : IH_DONE;
}

/* The four sides of a box and its corners, which are round the farther in the thicker its border is. */
static int clear_rim(const ih_edges *edges, const int64_t box[4], ih_pace *pace, const mask *letters)
{
    const int64_t x = box[0], y = box[1], w = box[2], h = box[3], rim = ih_least(w, h) >= 18 ? 4 : 3;
    int64_t left[2] = {0, 0}, right[2] = {0, 0};
    clear(letters, x, y, x + w, y + 2);
    clear(letters, x, y + h - 2, x + w, y + h);
    clear(letters, x, y, x + 2, y + h);
    clear(letters, x + w - 2, y, x + w, y + h);
    if (clear_beside(edges, x, y, h, IH_EDGE_ACROSS, pace, letters, left) ||
        clear_ring(edges, x, y, h, 1, pace, letters, &left[1]) ||
        clear_beside(edges, x + w - 1, y, h, IH_EDGE_ACROSS, pace, letters, right) ||
        clear_ring(edges, x + w - 1, y, h, -1, pace, letters, &right[0]))
        return IH_PREEMPTED;
    for (int corner = 0; corner < 4; corner++) {
        const int64_t wide = rim + (corner & 1 ? right[0] : left[1]), high = ih_most(rim, ih_least(wide, h / 3));
        const int64_t from = corner & 1 ? x + w - wide : x, top = corner & 2 ? y + h - high : y;
        clear(letters, from, top, from + wide, top + high);
    }
    return IH_DONE;
}

static int may_hold_letters(const ih_components *parts, int64_t number)
{
    const int64_t *box = parts->boxes[number];
    const int kind = parts->kinds[number];
    return kind != IH_KIND_RING && kind != IH_KIND_LINE &&
           (kind != IH_KIND_BOX || ih_most(box[2], box[3]) >= LEAST_LABELLED || box[2] - box[3] >= LEAST_WIDER);
}

/* All but rings, rules, rims of boxes, and straight lines of what is wide. What stands in a box may touch its rim (a label
 * one pixel from it does), so the inside of a box stays. */
int ih_find_letters(const ih_edges *edges, const ih_components *parts, ih_pace *pace, uint8_t *letters)
{
    const mask all = {letters, edges->w, edges->h};
    for (int y = 0; y < edges->h; y++) {
        memset(letters + (ptrdiff_t)y * edges->w, 0, (size_t)edges->w);
        if (ih_pace_stops(pace, edges->w / 8))
            return IH_PREEMPTED;
    }
    for (int64_t k = 0; k < parts->count; k++)
        for (int64_t i = parts->first[k]; may_hold_letters(parts, k) && i < parts->first[k + 1]; i++) {
            const int64_t run = parts->members[i], start = parts->runs.start[run], length = parts->runs.end[run] - start;
            memset(letters + parts->runs.row[run] * edges->w + start, 1, (size_t)length);
            if (ih_pace_stops(pace, 5 + length / 16))
                return IH_PREEMPTED;
        }
    for (int64_t k = 0; k < parts->count; k++) /* a border's other side may lie in another component */
        if (may_hold_letters(parts, k) && ih_most(parts->boxes[k][2], parts->boxes[k][3]) >= WIDE &&
            clear_straight(edges, parts, k, pace, &all))
            return IH_PREEMPTED;
    for (int64_t k = 0; k < parts->count; k++)
        if (parts->kinds[k] == IH_KIND_BOX) {
            if (clear_rim(edges, parts->boxes[k], pace, &all) || ih_pace_stops(pace, 20 + 2 * parts->boxes[k][3]))
                return IH_PREEMPTED;
        }
    return IH_DONE;
}

/* The boxes of a component whose borders touch each other; those borders are wiped from the letters. */
static int part_joined(const ih_frame *frame, const ih_components *parts, int64_t number, ih_pace *pace, ih_arena *arena,
                       const mask *letters, ih_layout_items *shapes)
{
    const int64_t *box = parts->boxes[number];
    const size_t used = arena->used;
    const size_t room = (size_t)(parts->first[number + 1] - parts->first[number] + box[3]) / LOWEST_HOLE + 1;
    int64_t(*holes)[4] = ih_arena_take(arena, room, sizeof *holes);
    size_t count = 0;
    int status = holes ? ih_find_holes(parts, number, pace, arena, holes, room, &count) : IH_ENOMEM;
    for (size_t i = 0; i < count && !status; i++) {
        const int64_t left = box[0] + holes[i][0], top = box[1] + holes[i][1], w = holes[i][2], h = holes[i][3];
        const int64_t own[4] = {left - 1, top - 1, w + 2, h + 2};
        clear(letters, left - 2, top - 2, left + w + 2, top);
        clear(letters, left - 2, top + h, left + w + 2, top + h + 2);
        clear(letters, left - 2, top, left, top + h);
        clear(letters, left + w, top, left + w + 2, top + h);
        status = ih_append(shapes, own, IH_KIND_BOX, ih_fill_of(frame, own), 0);
        if (!status && ih_pace_stops(pace, 500 + h))
            status = IH_PREEMPTED;
    }
    arena->used = used;
    return status;
}

int ih_find_shapes(const ih_frame *frame, const ih_components *parts, ih_pace *pace, ih_arena *arena, uint8_t *letters,
                   ih_layout_items *shapes)
{
    const mask all = {letters, frame->w, frame->h};
    for (int64_t k = 0; k < parts->count; k++) {
        const int64_t *box = parts->boxes[k];
        const int kind = parts->kinds[k];
        const size_t before = shapes->count;
        int status = IH_DONE;
        if (kind != IH_KIND_RING && kind != IH_KIND_LINE && box[2] >= STRAIGHT && box[3] >= LEAST_JOINED)
            status = part_joined(frame, parts, k, pace, arena, &all, shapes);
        if (status)
            return status;
        const size_t holes = shapes->count - before;
        if (kind == IH_KIND_BOX && holes == 1) {
            const ih_layout_item *hole = &shapes->items[before];
            if (2 * (int64_t)hole->w * hole->h >= box[2] * box[3])
                shapes->count = before; /* it is the inside of the box; a smaller one is something in it */
        }
        if (kind == IH_KIND_BOX ? holes > 1 : kind != IH_KIND_RING && kind != IH_KIND_FIGURE)
            continue;
        status = ih_append(shapes, box, kind, ih_fill_of(frame, box), 0);
        if (status)
            return status;
        if (ih_pace_stops(pace, 500))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}
