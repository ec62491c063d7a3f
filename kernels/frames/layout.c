/* The layout of a screen, part after part: see layout.h. */
#include "frames/layout.h"

#include <stdlib.h>

/* The runs of each component together, in reading order: a counting sort by label. */
static int gather_members(ih_pace *pace, ih_components *found)
{
    for (int64_t k = 0; k <= found->count; k++)
        found->first[k] = 0;
    for (ptrdiff_t i = 0; i < found->runs.count; i++)
        found->first[found->labels[i] + 1]++;
    if (ih_pace_stops(pace, found->runs.count + found->count))
        return IH_PREEMPTED;
    for (int64_t k = 0; k < found->count; k++)
        found->first[k + 1] += found->first[k];
    for (ptrdiff_t i = 0; i < found->runs.count; i++)
        found->members[found->first[found->labels[i]]++] = i;
    for (int64_t k = found->count; k > 0; k--)
        found->first[k] = found->first[k - 1];
    found->first[0] = 0;
    return ih_pace_stops(pace, 2 * found->runs.count) ? IH_PREEMPTED : IH_DONE;
}

int ih_find_components(const uint8_t *mask, ptrdiff_t stride, int h, int w, int bridge, ih_pace *pace, ih_arena *arena,
                       ih_components *found)
{
    ptrdiff_t room;
    int status = ih_runs_count(mask, stride, h, w, pace, &room);
    if (status)
        return status;
    const size_t count = (size_t)room;
    found->runs = (ih_runs){ih_arena_take(arena, count, 8), ih_arena_take(arena, count, 8),
                            ih_arena_take(arena, count, 8), room};
    found->labels = ih_arena_take(arena, count, sizeof *found->labels);
    found->members = ih_arena_take(arena, count, sizeof *found->members);
    if (!found->runs.row || !found->runs.start || !found->runs.end || !found->labels || !found->members)
        return IH_ENOMEM;
    status = ih_runs_find(mask, stride, h, w, bridge, pace, &found->runs);
    if (!status)
        status = ih_runs_label(&found->runs, 1, pace, found->labels, &found->count);
    if (status)
        return status;
    found->first = ih_arena_take(arena, (size_t)found->count + 1, sizeof *found->first);
    found->boxes = ih_arena_take(arena, (size_t)found->count, sizeof *found->boxes);
    found->kinds = ih_arena_take(arena, (size_t)found->count, sizeof *found->kinds);
    if (!found->first || !found->boxes || !found->kinds)
        return IH_ENOMEM;
    status = ih_runs_bounds(&found->runs, found->labels, found->count, pace, found->boxes);
    return status ? status : gather_members(pace, found);
}

int ih_append(ih_layout_items *items, const int64_t box[4], int kind, uint32_t colour, uint32_t paper)
{
    if (items->count == items->room)
        return IH_ENOMEM;
    items->items[items->count] = (ih_layout_item){(int32_t)box[0], (int32_t)box[1], (int32_t)box[2], (int32_t)box[3],
                                                  kind, colour, paper, (int32_t)items->count};
    items->count++;
    return IH_DONE;
}

static int by_place(const void *a, const void *b)
{
    const ih_layout_item *first = a, *second = b;
    if (first->y != second->y)
        return first->y < second->y ? -1 : 1;
    if (first->x != second->x)
        return first->x < second->x ? -1 : 1;
    if (first->w != second->w)
        return first->w < second->w ? -1 : 1;
    return first->order < second->order ? -1 : 1;
}

/* A sixteenth of what is left of the arena. */
static int take_items(ih_arena *arena, ih_layout_items *items)
{
    items->count = 0;
    items->room = (arena->size - arena->used) / 16 / sizeof *items->items;
    items->items = ih_arena_take(arena, items->room, sizeof *items->items);
    return items->items ? IH_DONE : IH_ENOMEM;
}

int ih_find_layout(const ih_frame *frame, const ih_edges *edges, ih_pace *pace, ih_arena *arena, ih_layout_items *texts,
                   ih_layout_items *shapes)
{
    ih_components parts;
    if (take_items(arena, texts) || take_items(arena, shapes))
        return IH_ENOMEM;
    uint8_t *letters = ih_arena_take(arena, (size_t)edges->h * (size_t)edges->w, 1);
    if (!letters)
        return IH_ENOMEM;
    int status = ih_find_components(edges->at, edges->stride, edges->h, edges->w, 0, pace, arena, &parts);
    if (!status)
        status = ih_find_kinds(edges, &parts, pace);
    if (!status)
        status = ih_find_letters(edges, &parts, pace, letters);
    if (!status)
        status = ih_find_shapes(frame, &parts, pace, arena, letters, shapes);
    if (!status)
        status = ih_find_lines(frame, edges, letters, pace, arena, texts);
    if (status)
        return status;
    qsort(texts->items, texts->count, sizeof *texts->items, by_place);
    qsort(shapes->items, shapes->count, sizeof *shapes->items, by_place);
    return IH_DONE;
}
