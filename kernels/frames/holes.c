/* The rectangular holes in the edges of one component: fields and cells that share borders. See layout.h.
 *
 * A hole is a connected edge-free place that does not reach the rim of the component's box. What is free of edges is told
 * from the gaps between the component's own runs, row by row: no picture of it is made. A hole counts as a rectangle when its
 * four sides are straight.
 */
#include "frames/layout.h"

#define LEAST_HOLE 7     /* pixels; smaller enclosed places are the insides of letters */
#define SIDE_COVERED 0.7 /* of each side of a hole */
#define NEAR 2           /* rows or columns from a side: the outermost of a hole with rounded corners may be short */

typedef struct {
    int64_t top[NEAR], bottom[NEAR]; /* how much of the outermost rows is free: a label may stand in them */
    int64_t left, right;             /* how many runs reach the outermost columns */
} sides;

/* The gaps of each row of the component's box, in reading order and relative to it. */
static int find_gaps(const ih_components *parts, int64_t number, ih_pace *pace, ih_runs *gaps)
{
    const int64_t *box = parts->boxes[number], w = box[2];
    int64_t i = parts->first[number], end = parts->first[number + 1];
    ptrdiff_t n = 0;
    for (int64_t row = 0; row < box[3]; row++) {
        int64_t from = 0;
        for (; i < end && parts->runs.row[parts->members[i]] == box[1] + row; i++) {
            const int64_t run = parts->members[i], start = parts->runs.start[run] - box[0];
            if (start > from) {
                gaps->row[n] = row;
                gaps->start[n] = from;
                gaps->end[n++] = start;
            }
            from = parts->runs.end[run] - box[0];
            if (ih_pace_stops(pace, 4))
                return IH_PREEMPTED;
        }
        if (from < w) {
            gaps->row[n] = row;
            gaps->start[n] = from;
            gaps->end[n++] = w;
        }
    }
    gaps->count = n;
    return IH_DONE;
}

static int look_at_sides(const ih_runs *gaps, const int64_t *labels, int64_t holes, int64_t (*boxes)[5], ih_pace *pace,
                         sides *found)
{
    for (int64_t k = 0; k < holes; k++)
        found[k] = (sides){0};
    for (ptrdiff_t i = 0; i < gaps->count; i++) {
        const int64_t *box = boxes[labels[i]], length = gaps->end[i] - gaps->start[i];
        sides *own = &found[labels[i]];
        const int64_t below = gaps->row[i] - box[1], above = box[1] + box[3] - 1 - gaps->row[i];
        if (below < NEAR)
            own->top[below] += length;
        if (above < NEAR)
            own->bottom[above] += length;
        own->left += gaps->start[i] < box[0] + NEAR;
        own->right += gaps->end[i] > box[0] + box[2] - NEAR;
        if (ih_pace_stops(pace, 5))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

static int is_rectangle(const int64_t box[5], const sides *own, int64_t width, int64_t height)
{
    const int64_t x = box[0], y = box[1], w = box[2], h = box[3];
    if (x == 0 || y == 0 || x + w == width || y + h == height || w < LEAST_HOLE || h < LEAST_HOLE || 2 * box[4] < w * h)
        return 0;
    const int64_t top = ih_most(own->top[0], own->top[1]), bottom = ih_most(own->bottom[0], own->bottom[1]);
    return (double)top / (double)w >= SIDE_COVERED && (double)bottom / (double)w >= SIDE_COVERED &&
           (double)own->left / (double)h >= SIDE_COVERED && (double)own->right / (double)h >= SIDE_COVERED;
}

int ih_find_holes(const ih_components *parts, int64_t number, ih_pace *pace, ih_arena *arena, int64_t (*found)[4],
                  size_t room, size_t *count)
{
    const int64_t width = parts->boxes[number][2], height = parts->boxes[number][3];
    const size_t most = (size_t)(parts->first[number + 1] - parts->first[number] + height);
    ih_runs gaps = {ih_arena_take(arena, most, 8), ih_arena_take(arena, most, 8), ih_arena_take(arena, most, 8), 0};
    int64_t *labels = ih_arena_take(arena, most, sizeof *labels), holes;
    if (!gaps.row || !gaps.start || !gaps.end || !labels)
        return IH_ENOMEM;
    if (find_gaps(parts, number, pace, &gaps) || ih_runs_label(&gaps, 0, pace, labels, &holes))
        return IH_PREEMPTED;
    int64_t(*boxes)[5] = ih_arena_take(arena, (size_t)holes, sizeof *boxes);
    sides *own = ih_arena_take(arena, (size_t)holes, sizeof *own);
    if (!boxes || !own)
        return IH_ENOMEM;
    if (ih_runs_bounds(&gaps, labels, holes, pace, boxes) || look_at_sides(&gaps, labels, holes, boxes, pace, own))
        return IH_PREEMPTED;
    for (int64_t k = 0; k < holes; k++) {
        if (ih_pace_stops(pace, 3))
            return IH_PREEMPTED;
        if (!is_rectangle(boxes[k], &own[k], width, height))
            continue;
        if (*count == room)
            return IH_ENOMEM;
        for (int i = 0; i < 4; i++)
            found[*count][i] = boxes[k][i];
        ++*count;
    }
    return IH_DONE;
}
