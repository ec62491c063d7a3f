/* What kind of thing each component is: see layout.h. A closed outline runs along the sides of its box, or around an
 * ellipse; a rule is long and thin; what is too tall for letters is a figure; the rest may be text. */
#pragma GCC optimize("fp-contract=off") /* no fused multiply-add: places are rounded as numpy rounds them */
#include "frames/layout.h"

#include <math.h>

#define STRAIGHT 24     /* pixels: what is longer and thin is a rule, not a letter */
#define TALLEST_TEXT 64 /* pixels */
#define SIDE_STRAIGHT 0.5  /* of each side of a box; rounded corners take the rest (a 13-pixel box to tick has 7) */
#define LONG_STRAIGHT 0.8  /* of the long sides of a low, wide box, whose corners may take more of its short ones: */
#define SHORT_STRAIGHT 0.4 /* a button of 15 pixels with corners of 4 */
#define WIDE_BOX 2         /* times as wide as high */
#define LETTER_SPACING 0.1 /* of a letter's height: a small ring or box this near to a glyph is a glyph itself */
#define LEAST_OUTLINE 9    /* pixels */
#define LARGEST_GLYPH 40   /* pixels of a ring or box that may be a letter */

/* The share of a row, or of a column, of edges that are just `bit`. */
static double straight_share(const ih_edges *edges, int64_t x, int64_t y, int64_t count, ptrdiff_t step, uint8_t bit)
{
    const uint8_t *at = edges->at + y * edges->stride + x;
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++)
        found += at[i * step] == bit;
    return (double)found / (double)count;
}

/* The sides of a box are straight: level edges above and below, upright ones left and right; a word's rim is neither. */
static int is_box(const ih_edges *edges, const int64_t box[4])
{
    const int64_t x = box[0], y = box[1], w = box[2], h = box[3];
    double top = 0, bottom = 0, left = 0, right = 0;
    for (int i = 0; i < 3; i++) {
        top = fmax(top, straight_share(edges, x, y + i, w, 1, IH_EDGE_DOWN));
        bottom = fmax(bottom, straight_share(edges, x, y + h - 1 - i, w, 1, IH_EDGE_DOWN));
    }
    if (fmin(top, bottom) < SIDE_STRAIGHT)
        return 0;
    for (int i = 0; i < 3; i++) {
        left = fmax(left, straight_share(edges, x + i, y, h, edges->stride, IH_EDGE_ACROSS));
        right = fmax(right, straight_share(edges, x + w - 1 - i, y, h, edges->stride, IH_EDGE_ACROSS));
    }
    const int is_long = w >= WIDE_BOX * h && fmin(top, bottom) >= LONG_STRAIGHT;
    return fmin(left, right) >= (is_long ? SHORT_STRAIGHT : SIDE_STRAIGHT);
}

static int any_edge(const ih_edges *edges, int64_t x, int64_t y, int64_t w, int64_t h)
{
    for (int64_t row = y; row < y + h; row++)
        for (int64_t column = x; column < x + w; column++)
            if (edges->at[row * edges->stride + column])
                return 1;
    return 0;
}

/* Whether strokes run from the middle to the rim, as in a cross or a star; a dot in the middle does not. */
static int is_crossed(const ih_edges *edges, const int64_t box[4], ih_pace *pace)
{
    const double w = (double)box[2], h = (double)box[3];
    int64_t between = 0, set = 0;
    for (int64_t y = 0; y < box[3]; y++) {
        const uint8_t *row = edges->at + (box[1] + y) * edges->stride + box[0];
        const double down = ((double)y - h / 2 + 0.5) / (h / 2);
        for (int64_t x = 0; x < box[2]; x++) {
            const double radius = hypot(down, ((double)x - w / 2 + 0.5) / (w / 2));
            const int is_between = radius >= 0.45 && radius <= 0.7;
            between += is_between;
            set += is_between && row[x];
        }
        if (ih_pace_stops(pace, 12 * box[2]))
            return -IH_PREEMPTED;
    }
    return between && (double)set / (double)between > 0.45;
}

/* Of every 15 degrees, in float64 as they are computed: rounding a place that lies half-way hangs on the last bit. */
static const double cosines[24] = {
    1.0, 0.9659258262890683, 0.8660254037844387, 0.7071067811865476,
    0.5000000000000001, 0.25881904510252096, 6.123233995736766e-17, -0.25881904510252063,
    -0.4999999999999998, -0.7071067811865475, -0.8660254037844385, -0.9659258262890682,
    -1.0, -0.9659258262890684, -0.8660254037844388, -0.7071067811865479,
    -0.5000000000000004, -0.2588190451025215, -1.8369701987210297e-16, 0.2588190451025203,
    0.49999999999999933, 0.7071067811865474, 0.8660254037844384, 0.9659258262890681,
};
static const double sines[24] = {
    0.0, 0.25881904510252074, 0.49999999999999994, 0.7071067811865475,
    0.8660254037844386, 0.9659258262890682, 1.0, 0.9659258262890683,
    0.8660254037844387, 0.7071067811865476, 0.5000000000000003, 0.258819045102521,
    1.2246467991473532e-16, -0.25881904510252035, -0.4999999999999997, -0.7071067811865471,
    -0.8660254037844384, -0.9659258262890681, -1.0, -0.9659258262890684,
    -0.866025403784439, -0.7071067811865477, -0.5000000000000004, -0.25881904510252157,
};

static int64_t clipped(double value, int64_t size)
{
    return ih_most(0, ih_least(size - 1, (int64_t)rint(value)));
}

/* 1, 0, or IH_PREEMPTED as a negative number. */
static int is_ring(const ih_edges *edges, const int64_t box[4], ih_pace *pace)
{
    const int64_t x = box[0], y = box[1], w = box[2], h = box[3];
    const int64_t corner = ih_most(1, (int64_t)rint(0.1 * (double)ih_least(w, h)));
    const double half_w = (double)w / 2, half_h = (double)h / 2;
    int hits = 0;
    if (any_edge(edges, x, y, corner, corner) || any_edge(edges, x + w - corner, y, corner, corner) ||
        any_edge(edges, x, y + h - corner, corner, corner) ||
        any_edge(edges, x + w - corner, y + h - corner, corner, corner))
        return 0;
    for (int angle = 0; angle < 24; angle++) {
        int hit = 0;
        for (int inset = 0; inset < 3; inset++) {
            const int64_t across = clipped(half_w - 0.5 + (half_w - 0.5 - inset) * cosines[angle], w);
            const int64_t down = clipped(half_h - 0.5 + (half_h - 0.5 - inset) * sines[angle], h);
            hit |= edges->at[(y + down) * edges->stride + x + across];
        }
        hits += hit != 0;
    }
    if ((double)hits / 24 < 0.9)
        return 0;
    const int crossed = is_crossed(edges, box, pace);
    return crossed < 0 ? crossed : !crossed;
}

/* Of enum ih_layout_kind, or IH_PREEMPTED as a negative number. */
static int kind_of(const ih_edges *edges, const int64_t box[4], ih_pace *pace)
{
    const int64_t w = box[2], h = box[3];
    if ((w >= STRAIGHT && h <= 4) || (h >= STRAIGHT && w <= 4) || (h >= STRAIGHT / 2 && w <= 2))
        return IH_KIND_LINE;
    if (w >= LEAST_OUTLINE && h >= LEAST_OUTLINE) {
        if (ih_pace_stops(pace, 6 * (w + h)))
            return -IH_PREEMPTED;
        if (is_box(edges, box))
            return IH_KIND_BOX;
        const int64_t apart = h > w ? h - w : w - h;
        const int ring = apart <= ih_most(2, w / 10) && w >= 10 ? is_ring(edges, box, pace) : 0;
        if (ring)
            return ring < 0 ? ring : IH_KIND_RING;
    }
    return h > TALLEST_TEXT || (w > 4 * TALLEST_TEXT && h > TALLEST_TEXT / 2) ? IH_KIND_FIGURE : IH_KIND_TEXT;
}

/* Marks a kind that is to become text: until all are looked at, whether others are letters is told by what they were. */
#define DEMOTED 0x80

static int kind_as_it_was(const ih_components *parts, int64_t number)
{
    return parts->kinds[number] & ~DEMOTED;
}

/* Whether a small ring or box stands among letters as one of them (an O, a 0, a D). Boxes may stand in a row; rings that
 * touch are a word. */
static int is_glyph(const ih_components *parts, int64_t number)
{
    const int64_t *box = parts->boxes[number], x = box[0], y = box[1], w = box[2], h = box[3];
    const int64_t spacing = ih_most(1, (int64_t)rint(LETTER_SPACING * (double)h));
    const int is_ring = kind_as_it_was(parts, number) == IH_KIND_RING;
    for (int64_t k = 0; k < parts->count && parts->boxes[k][1] < y + h; k++) { /* components come by their top edges */
        const int64_t *text = parts->boxes[k];
        const int kind = kind_as_it_was(parts, k);
        if (kind != IH_KIND_TEXT && !(is_ring && kind == IH_KIND_RING))
            continue;
        const int64_t beside = ih_most(text[0], x) - ih_least(text[0] + text[2], x + w);
        const int64_t shared = ih_least(text[1] + text[3], y + h) - ih_most(text[1], y);
        if (beside >= 0 && beside <= spacing && 2 * shared >= h && (double)text[3] * 1.35 >= (double)h)
            return 1;
    }
    return 0;
}

int ih_find_kinds(const ih_edges *edges, const ih_components *parts, ih_pace *pace)
{
    for (int64_t k = 0; k < parts->count; k++) {
        const int kind = kind_of(edges, parts->boxes[k], pace);
        if (kind < 0 || ih_pace_stops(pace, 5))
            return IH_PREEMPTED;
        parts->kinds[k] = (uint8_t)kind;
    }
    for (int64_t k = 0; k < parts->count; k++) {
        const int is_outline = parts->kinds[k] == IH_KIND_BOX || parts->kinds[k] == IH_KIND_RING;
        if (!is_outline || parts->boxes[k][2] > LARGEST_GLYPH || parts->boxes[k][3] > LARGEST_GLYPH)
            continue;
        if (ih_pace_stops(pace, 2 * k)) /* those above it; a few thousand at most */
            return IH_PREEMPTED;
        if (is_glyph(parts, k))
            parts->kinds[k] |= DEMOTED;
    }
    for (int64_t k = 0; k < parts->count; k++)
        if (parts->kinds[k] & DEMOTED)
            parts->kinds[k] = IH_KIND_TEXT;
    return IH_DONE;
}
