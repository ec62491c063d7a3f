/* What the boxes of a screen are to each other, every one against every other; tests/kernels/frames/relations_model.py is the
 * meaning in numpy. Boxes are x, y, w, h. A screen has some hundred of them: a call takes less than a gate's poll.
 */
#ifndef IH_RELATIONS_H
#define IH_RELATIONS_H

#include <stddef.h>
#include <stdint.h>

enum { IH_IN_ROW_BEFORE, IH_IN_ROW, IH_IN_COLUMN_BEFORE, IH_IN_COLUMN, IH_OF_SIZE, IH_OF_SIZE_BEFORE, IH_OF_FILL,
       IH_OF_KIND_BEFORE, IH_OF_LINE_BEFORE, IH_COUNTS };

/* How many boxes of its kind are in the row, in the column, of the size, of the fill of each, how many of them before it (to
 * the left, above, or in their order), and how many words of its line: counts (count, IH_COUNTS). A line is -1 for none. */
void ih_count_like(const int32_t (*boxes)[4], const int32_t *kinds, const uint8_t (*fills)[3], const int32_t *lines,
                   ptrdiff_t count, int32_t (*counts)[IH_COUNTS]);

/* Of the `chosen` boxes the nearest to each: the one with the least gap in its row, else the one whose centre is nearest; the
 * first of several, 0 where none is chosen. `beside` tells whether it is in its row. */
void ih_nearest(const int32_t (*boxes)[4], const uint8_t *chosen, ptrdiff_t count, int64_t *nearest, uint8_t *beside);

/* The box of least area among the `holders` that holds the centre of each, the first of several, -1 without one; where
 * `is_larger`, of those that are larger than it. */
void ih_smallest_around(const int32_t (*boxes)[4], const uint8_t *holders, ptrdiff_t count, int is_larger, int64_t *found);

/* Relations that bias attention (runtime/agent/pairs.py): channels 5-12, 16, 17, 24 and 25 of `pairs`, which is zero, whose
 * channels are `plane` and whose rows are `row` floats apart. `places` are boxes in hundreds of pixels, `spelled` numbers of
 * their texts (0: none), `links` a number (-1: none) and a counterpart's place (-1: none). */
void ih_box_pairs(const float (*places)[4], const int64_t *spelled, const float (*links)[2], ptrdiff_t count,
                  ptrdiff_t plane, ptrdiff_t row, float *pairs);

#endif
