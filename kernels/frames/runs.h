/* Connected components of a mask by horizontal runs; all of it in integers, one pass each, the scalar code is the meaning.
 *
 *     mask row:  . X X X . . X X .      runs: [start, end) of a row, in reading order; gaps up to `bridge` are closed
 *     runs of neighbouring rows belong together when they touch, diagonals included if `diagonal`
 *
 * Runs are three arrays (count) int64: row, start, end. Each function looks at its caller's gate and returns IH_PREEMPTED
 * where it is closed; begun again it does everything anew.
 */
#ifndef IH_RUNS_H
#define IH_RUNS_H

#include "frames/pace.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ih_runs {
    int64_t *row, *start, *end; /* (count) each */
    ptrdiff_t count;
} ih_runs;

/* How many runs mask (h, w; rows `stride` bytes apart), set where it is not 0, has before any gap is closed: what
 * ih_runs_find needs room for. */
int ih_runs_count(const uint8_t *mask, ptrdiff_t stride, ptrdiff_t h, ptrdiff_t w, ih_pace *pace, ptrdiff_t *count);

/* Fills `runs`, whose count says how much room its arrays have, and then how many runs there are. IH_EINVAL if there is
 * none. */
int ih_runs_find(const uint8_t *mask, ptrdiff_t stride, ptrdiff_t h, ptrdiff_t w, int64_t bridge, ih_pace *pace,
                 ih_runs *runs);

/* Numbers the components of runs in reading order, in the order of their first runs: labels (count). */
int ih_runs_label(const ih_runs *runs, int diagonal, ih_pace *pace, int64_t *labels, int64_t *components);

/* boxes (components, 5): x, y, w, h, pixels. IH_EINVAL if a label is none of 0..components-1. */
int ih_runs_bounds(const ih_runs *runs, const int64_t *labels, int64_t components, ih_pace *pace, int64_t (*boxes)[5]);

/* Sets the pixels of the runs that are chosen (count) in mask (h, w), which was 0. IH_EINVAL if a run leaves the mask. */
int ih_runs_paint(const ih_runs *runs, const uint8_t *chosen, ih_pace *pace, uint8_t *mask, int64_t h, int64_t w);

#endif
