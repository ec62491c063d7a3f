/* What the boxes of a screen are to each other: see relations.h. */
#pragma GCC optimize("fp-contract=off") /* no fused multiply-add: places are compared as numpy compares them */
#include "frames/relations.h"
#include "frames/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNED 3        /* pixels: left edges and sizes that are equal */
#define OF_ONE_FILL 24   /* of the sum of three channels */
#define SAME_SIZE 0.03f  /* hundreds of pixels */
#define FARTHEST 2.0f    /* of a distance as attention sees it */

/* Whether two boxes share at least half of the lower one's rows. */
static int in_row(const int32_t one[4], const int32_t other[4])
{
    const int64_t top = ih_most(one[1], other[1]);
    const int64_t bottom = ih_least((int64_t)one[1] + one[3], (int64_t)other[1] + other[3]);
    return 2 * (bottom - top) >= ih_least(one[3], other[3]);
}

void ih_count_like(const int32_t (*boxes)[4], const int32_t *kinds, const uint8_t (*fills)[3], const int32_t *lines,
                   ptrdiff_t count, int32_t (*counts)[IH_COUNTS])
{
    memset(counts, 0, (size_t)count * sizeof *counts);
    for (ptrdiff_t i = 0; i < count; i++) {
        const int32_t *one = boxes[i];
        int32_t *made = counts[i];
        for (ptrdiff_t j = 0; j < count; j++) {
            const int32_t *other = boxes[j];
            const int is_before = j < i;
            made[IH_OF_LINE_BEFORE] += is_before && lines[i] >= 0 && lines[i] == lines[j];
            if (kinds[i] != kinds[j])
                continue;
            const int row = in_row(one, other), column = labs((long)one[0] - other[0]) <= ALIGNED;
            const int size = labs((long)one[2] - other[2]) <= ALIGNED && labs((long)one[3] - other[3]) <= ALIGNED;
            int apart = 0;
            for (int channel = 0; channel < 3; channel++)
                apart += abs(fills[i][channel] - fills[j][channel]);
            made[IH_IN_ROW_BEFORE] += row && other[0] < one[0];
            made[IH_IN_ROW] += row;
            made[IH_IN_COLUMN_BEFORE] += column && other[1] < one[1];
            made[IH_IN_COLUMN] += column;
            made[IH_OF_SIZE] += size;
            made[IH_OF_SIZE_BEFORE] += size && is_before;
            made[IH_OF_FILL] += apart <= OF_ONE_FILL;
            made[IH_OF_KIND_BEFORE] += is_before;
        }
    }
}

void ih_nearest(const int32_t (*boxes)[4], const uint8_t *chosen, ptrdiff_t count, int64_t *nearest, uint8_t *beside)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        const int32_t *one = boxes[i];
        int64_t least_gap = INT64_MAX, least_far = INT64_MAX, closest = 0;
        nearest[i] = 0;
        for (ptrdiff_t j = 0; j < count; j++) {
            const int32_t *other = boxes[j];
            if (!chosen[j])
                continue;
            const int64_t gap = ih_most((int64_t)one[0] - other[0] - other[2], (int64_t)other[0] - one[0] - one[2]);
            if (gap >= 0 && gap < least_gap && in_row(one, other)) {
                least_gap = gap;
                nearest[i] = j;
            }
            const int64_t across = 2 * ((int64_t)one[0] - other[0]) + one[2] - other[2];
            const int64_t down = 2 * ((int64_t)one[1] - other[1]) + one[3] - other[3];
            if (across * across + down * down < least_far) {
                least_far = across * across + down * down;
                closest = j;
            }
        }
        beside[i] = least_gap < INT64_MAX;
        nearest[i] = beside[i] ? nearest[i] : closest;
    }
}

void ih_smallest_around(const int32_t (*boxes)[4], const uint8_t *holders, ptrdiff_t count, int is_larger, int64_t *found)
{
    for (ptrdiff_t j = 0; j < count; j++) {
        const int64_t x = (int64_t)boxes[j][0] + boxes[j][2] / 2, y = (int64_t)boxes[j][1] + boxes[j][3] / 2;
        const int64_t own = (int64_t)boxes[j][2] * boxes[j][3];
        int64_t smallest = INT64_MAX;
        found[j] = -1;
        for (ptrdiff_t i = 0; i < count; i++) {
            const int32_t *box = boxes[i];
            const int64_t area = (int64_t)box[2] * box[3];
            if (holders[i] && box[0] <= x && x < (int64_t)box[0] + box[2] && box[1] <= y && y < (int64_t)box[1] + box[3] &&
                (area > own || !is_larger) && area < smallest) {
                smallest = area;
                found[j] = i;
            }
        }
    }
}

/* Whether two stretches share at least half of the shorter one. */
static int is_shared(float start, float size, float other, float its_size)
{
    const float common = fminf(start + size, other + its_size) - fmaxf(start, other);
    return 2 * common >= fminf(size, its_size);
}

/* Whether the first box holds the middle of the second and is larger. */
static int is_around(const float one[4], const float other[4])
{
    const float x = other[0] + other[2] / 2, y = other[1] + other[3] / 2;
    return one[0] <= x && x < one[0] + one[2] && one[1] <= y && y < one[1] + one[3] && one[2] * one[3] > other[2] * other[3];
}

void ih_box_pairs(const float (*places)[4], const int64_t *spelled, const float (*links)[2], ptrdiff_t count,
                  ptrdiff_t plane, ptrdiff_t row, float *pairs)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        const float *one = places[i];
        const float x = one[0] + one[2] / 2, y = one[1] + one[3] / 2;
        float *made = pairs + i * row, nearest_right = INFINITY, nearest_below = INFINITY;
        ptrdiff_t right = -1, below = -1;
        for (ptrdiff_t j = 0; j < count; j++) {
            const float *other = places[j];
            const float across = other[0] + other[2] / 2 - x, down = other[1] + other[3] / 2 - y;
            const int rows = is_shared(one[1], one[3], other[1], other[3]);
            const int columns = is_shared(one[0], one[2], other[0], other[2]);
            const int around = is_around(one, other), inside = is_around(other, one);
            made[5 * plane + j] = fmaxf(-FARTHEST, fminf(FARTHEST, across / 2));
            made[6 * plane + j] = fmaxf(-FARTHEST, fminf(FARTHEST, down / 2));
            made[7 * plane + j] = (float)rows;
            made[8 * plane + j] = (float)columns;
            made[9 * plane + j] = (float)around;
            made[10 * plane + j] = (float)inside;
            if (rows && across > 0 && across < nearest_right && !around && !inside) {
                nearest_right = across;
                right = j;
            }
            if (columns && down > 0 && down < nearest_below && !around && !inside) {
                nearest_below = down;
                below = j;
            }
            made[16 * plane + j] = spelled[i] > 0 && spelled[i] == spelled[j];
            made[17 * plane + j] = fabsf(one[2] - other[2]) < SAME_SIZE && fabsf(one[3] - other[3]) < SAME_SIZE;
            made[25 * plane + j] = links[i][0] >= 0 && links[i][0] == links[j][0];
        }
        if (right >= 0)
            made[11 * plane + right] = 1;
        if (below >= 0)
            made[12 * plane + below] = 1;
        if (links[i][1] >= 0 && links[i][1] < (float)count)
            made[24 * plane + (ptrdiff_t)links[i][1]] = 1;
    }
}
