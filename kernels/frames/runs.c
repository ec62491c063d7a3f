/* Runs, their components, boxes and pixels: see runs.h. Components are a union-find whose root is its first run. */
#include "frames/runs.h"

#include <string.h>

int ih_runs_count(const uint8_t *mask, ptrdiff_t stride, ptrdiff_t h, ptrdiff_t w, ih_pace *pace, ptrdiff_t *count)
{
    *count = 0;
    for (ptrdiff_t y = 0; y < h; y++) {
        const uint8_t *line = mask + y * stride;
        int32_t starts = w > 0 && line[0];
        for (ptrdiff_t x = 1; x < w; x++)
            starts += (line[x] != 0) & (line[x - 1] == 0);
        *count += starts;
        if (ih_pace_stops(pace, w / 4))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

/* Returns the first x from `x` on where line (w) is set, or w: eight pixels at a time. */
static ptrdiff_t skip_clear(const uint8_t *line, ptrdiff_t x, ptrdiff_t w)
{
    for (uint64_t eight; x + 8 <= w; x += 8) {
        memcpy(&eight, line + x, 8);
        if (eight)
            break;
    }
    while (x < w && !line[x])
        x++;
    return x;
}

static ptrdiff_t skip_set(const uint8_t *line, ptrdiff_t x, ptrdiff_t w)
{
    const uint8_t *clear = memchr(line + x, 0, (size_t)(w - x));
    return clear ? clear - line : w;
}

int ih_runs_find(const uint8_t *mask, ptrdiff_t stride, ptrdiff_t h, ptrdiff_t w, int64_t bridge, ih_pace *pace,
                 ih_runs *runs)
{
    const ptrdiff_t room = runs->count;
    ptrdiff_t n = 0;
    for (ptrdiff_t y = 0; y < h; y++) {
        const uint8_t *line = mask + y * stride;
        const ptrdiff_t first = n;
        if (ih_pace_stops(pace, w / 4))
            return IH_PREEMPTED;
        for (ptrdiff_t x = skip_clear(line, 0, w); x < w; x = skip_clear(line, x, w)) {
            const ptrdiff_t start = x;
            x = skip_set(line, x, w);
            if (n > first && start - runs->end[n - 1] <= bridge) {
                runs->end[n - 1] = x;
                continue;
            }
            if (n == room)
                return IH_EINVAL;
            runs->row[n] = y;
            runs->start[n] = start;
            runs->end[n++] = x;
        }
    }
    runs->count = n;
    return IH_DONE;
}

static int64_t root_of(int64_t *parent, int64_t i)
{
    while (parent[i] != i)
        i = parent[i] = parent[parent[i]];
    return i;
}

static void unite(int64_t *parent, int64_t a, int64_t b)
{
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a < b)
        parent[b] = a;
    else
        parent[a] = b;
}

int ih_runs_label(const ih_runs *runs, int diagonal, ih_pace *pace, int64_t *labels, int64_t *components)
{
    const int64_t *row = runs->row, *start = runs->start, *end = runs->end, reach = diagonal ? 0 : 1;
    const ptrdiff_t count = runs->count;
    int64_t found = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        labels[i] = i; /* parents first */
        if (ih_pace_stops(pace, 1))
            return IH_PREEMPTED;
    }
    for (ptrdiff_t i = 0, low = 0; i < count; i++) {
        const int64_t below = row[i] + 1;
        while (low < count && (row[low] < below || (row[low] == below && end[low] < start[i] + reach)))
            low++;
        for (ptrdiff_t k = low; k < count && row[k] == below && start[k] + reach <= end[i]; k++)
            unite(labels, i, k);
        if (ih_pace_stops(pace, 10)) /* a run meets about two */
            return IH_PREEMPTED;
    }
    for (ptrdiff_t i = 0; i < count; i++) { /* a parent comes before its child: it has its number already */
        labels[i] = labels[i] == i ? found++ : labels[labels[i]];
        if (ih_pace_stops(pace, 2))
            return IH_PREEMPTED;
    }
    *components = found;
    return IH_DONE;
}

int ih_runs_bounds(const ih_runs *runs, const int64_t *labels, int64_t components, ih_pace *pace, int64_t (*boxes)[5])
{
    for (int64_t k = 0; k < components; k++) {
        boxes[k][0] = boxes[k][1] = INT64_MAX;
        boxes[k][2] = boxes[k][3] = boxes[k][4] = 0;
    }
    for (ptrdiff_t i = 0; i < runs->count; i++) { /* left, top, right, bottom */
        if (labels[i] < 0 || labels[i] >= components)
            return IH_EINVAL;
        if (ih_pace_stops(pace, 3))
            return IH_PREEMPTED;
        int64_t *box = boxes[labels[i]], row = runs->row[i], start = runs->start[i], end = runs->end[i];
        box[0] = start < box[0] ? start : box[0];
        box[1] = row < box[1] ? row : box[1];
        box[2] = end > box[2] ? end : box[2];
        box[3] = row + 1 > box[3] ? row + 1 : box[3];
        box[4] += end - start;
    }
    for (int64_t k = 0; k < components; k++) {
        if (boxes[k][0] == INT64_MAX)
            return IH_EINVAL; /* a number that no run has */
        boxes[k][2] -= boxes[k][0];
        boxes[k][3] -= boxes[k][1];
    }
    return IH_DONE;
}

int ih_runs_paint(const ih_runs *runs, const uint8_t *chosen, ih_pace *pace, uint8_t *mask, int64_t h, int64_t w)
{
    for (ptrdiff_t i = 0; i < runs->count; i++) {
        if (!chosen[i])
            continue;
        const int64_t row = runs->row[i], start = runs->start[i], end = runs->end[i];
        if (row < 0 || row >= h || start < 0 || end < start || end > w)
            return IH_EINVAL;
        memset(mask + row * w + start, 1, (size_t)(end - start));
        if (ih_pace_stops(pace, 5 + (end - start) / 16))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}
