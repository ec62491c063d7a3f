/* The walks of the resize: a whole frame, with or without the hashes of its tiles, and many boxes. */
#include "frames/frames.h"

#include <string.h>

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

ptrdiff_t ih_resize_scratch_bytes(int w_in, int w_out)
{
    return ((ptrdiff_t)w_in + IH_RESIZE_PAD + w_out) * 8;
}

enum { PIECE = 256 }; /* input pixels; a multiple of 16 */
enum { AHEAD = 16 };  /* rows that are fetched ahead */
enum { THIRDS_AHEAD = 9 };
enum { BAND = 192 };  /* input pixels that are hashed, then resized: whole tiles, whole steps of ih_thirds_fn */

/* The outputs from `from` (a multiple of 16) that need no input pixel from `end` on; all that are left at the end. */
static int outputs_within(const ih_axis *along, int from, int end)
{
    if (end == along->n_in)
        return along->n_out;
    while (from + 16 < along->n_out && along->first[from + 15] + along->taps <= end)
        from += 16;
    return from;
}

/* What the shifts of the vertical sums lose on average: a weight with z low zero bits leaves multiples of 2^z / 256. */
static int vertical_bias(const int16_t *weights, int taps)
{
    int lost = 0; /* in 1/512 */
    for (int tap = 0; tap < taps; tap++) {
        const int weight = weights[tap] | 256;
        lost += 256 - (weight & -weight);
    }
    return (lost + 256) / 512;
}

/* Asks for every third row, from `third`, of what will be read soon. */
static void fetch(const uint8_t *rows, ptrdiff_t stride, int taps, int bytes, int third)
{
    for (int row = third; row < taps; row += 3)
        for (int at = 0; at < bytes; at += 64)
            __builtin_prefetch(rows + row * stride + at, 0, 2);
}

/* Output row `o` of the part of the frame at (x, y), in pieces of some hundred pixels: a piece is worked on within the
 * caches while the rows `ahead` are on their way, a third of them asked for before each of the three steps (all in the
 * vertical one, a whole row at a time, is 1.4 times slower: memory idles in the other two). */
static void output_row(const ih_frames_ops *ops, const ih_frame *frame, int x, int y, const ih_axis *down,
                       const ih_axis *along, const ih_quantise *quantise, int o, int ahead, int16_t *scratch,
                       uint8_t *out)
{
    const int16_t *weights = ih_axis_weights(down, o);
    int first = y + down->first[o], taps = down->taps;
    while (taps > 1 && weights[taps - 1] == 0)
        taps--;
    while (taps > 1 && weights[0] == 0)
        weights++, first++, taps--;
    const int is_box = down->n_in % down->n_out == 0, bias = is_box ? 0 : vertical_bias(weights, taps);
    const ih_box box = ih_box_of(taps);
    const uint8_t *rows = frame->pixels + first * frame->stride + 4 * (ptrdiff_t)x;
    const int fetched = ahead && first + ahead + taps <= frame->h ? taps : 0;
    int16_t *v = scratch, *h = scratch + 4 * ((ptrdiff_t)along->n_in + IH_RESIZE_PAD);
    const ptrdiff_t plane_bytes = (ptrdiff_t)down->n_out * along->n_out;
    uint8_t *row = out + (ptrdiff_t)o * along->n_out;
    for (int begin = 0, from = 0; from < along->n_out;) {
        const int end = along->n_in - begin < PIECE + PIECE / 4 ? along->n_in : begin + PIECE;
        const int until = outputs_within(along, from, end);
        uint8_t *const plane[3] = {row + from, row + from + plane_bytes, row + from + 2 * plane_bytes};
        const uint8_t *piece = rows + 4 * (ptrdiff_t)begin, *soon = piece + ahead * frame->stride;
        const int bytes = 4 * (end - begin);
        fetch(soon, frame->stride, fetched, bytes, 0);
        if (is_box)
            ops->box(piece, frame->stride, box, end - begin, v + 4 * (ptrdiff_t)begin);
        else
            ops->vertical(piece, frame->stride, taps, weights, bias, end - begin, v + 4 * (ptrdiff_t)begin);
        fetch(soon, frame->stride, fetched, bytes, 1);
        ops->horizontal(v, along, from, until, h);
        fetch(soon, frame->stride, fetched, bytes, 2);
        ops->quantise(h + 4 * (ptrdiff_t)from, until - from, quantise, plane);
        begin = end;
        from = until;
    }
}

static int is_thirds(const ih_frames_ops *ops, const ih_axis *down, const ih_axis *along)
{
    return ops->thirds && down->n_in == 3 * down->n_out && along->n_in == 3 * along->n_out && along->n_out % 16 == 0;
}

/* The outputs from..until of row `o` of a frame that shrinks threefold. The next row of the planes is fetched too: they
 * do not stay in the caches from frame to frame, and waiting stores made the pass 5 % slower. */
static void third_row(const ih_frames_ops *ops, const ih_frame *frame, const ih_axis *along,
                      const ih_quantise *quantise, int o, int from, int until, uint8_t *out)
{
    const uint8_t *rows = frame->pixels + 3 * o * frame->stride + 12 * (ptrdiff_t)from;
    const int ahead = 3 * o + THIRDS_AHEAD + 3 <= frame->h ? THIRDS_AHEAD : 0;
    const ptrdiff_t plane_bytes = (ptrdiff_t)(frame->h / 3) * along->n_out;
    uint8_t *row = out + (ptrdiff_t)o * along->n_out + from;
    uint8_t *const plane[3] = {row, row + plane_bytes, row + 2 * plane_bytes};
    for (int p = 0; p < 3; p++)
        for (int at = 0; at < until - from; at += 64)
            __builtin_prefetch(plane[p] + along->n_out + at, 1, 2);
    ops->thirds(rows, rows + ahead * frame->stride, frame->stride, along, until - from, quantise, plane);
}

static void clear_padding(int16_t *scratch, int w_in)
{
    memset(scratch + 4 * (ptrdiff_t)w_in, 0, IH_RESIZE_PAD * 8); /* weights there are 0, but they are read */
}

/* Rows of output between two looks at the gate: about 20 us of work. */
static int rows_a_look(const ih_axis *down, const ih_axis *along)
{
    const int64_t pixels = (int64_t)along->n_in * down->taps + 4 * along->n_out;
    return most(1, (int)(60000 / pixels));
}

int ih_resize(int variant, const ih_frame *frame, const ih_axis *down, const ih_axis *along,
              const ih_quantise *quantise, const ih_gate *gate, int16_t *scratch, uint8_t *out)
{
    const ih_frames_ops *ops = ih_frames_ops_of(variant);
    const int look = rows_a_look(down, along), ahead = most(down->taps, AHEAD), thirds = is_thirds(ops, down, along);
    clear_padding(scratch, frame->w);
    for (int o = 0; o < down->n_out; o++) {
        if (o % look == 0 && !ih_gate_is_open(gate))
            return IH_PREEMPTED;
        if (thirds)
            third_row(ops, frame, along, quantise, o, 0, along->n_out, out);
        else
            output_row(ops, frame, 0, 0, down, along, quantise, o, ahead, scratch, out);
    }
    return IH_DONE;
}

int ih_resize_and_hash(int variant, const ih_frame *frame, const ih_axis *down, const ih_axis *along,
                       const ih_quantise *quantise, const ih_gate *gate, const ih_tile_key *key, int16_t *scratch,
                       ih_tile_sums *sums, uint8_t *out, uint8_t *hashes)
{
    const ih_frames_ops *ops = ih_frames_ops_of(variant);
    const int ahead = most(down->taps, AHEAD), thirds = is_thirds(ops, down, along), band = thirds ? BAND : frame->w;
    int o = 0;
    clear_padding(scratch, frame->w);
    for (int slab = 0; slab * IH_TILE_ROWS < frame->h; slab++) {
        const int hashed = least((slab + 1) * IH_TILE_ROWS, frame->h);
        if (slab % 2 == 0 && !ih_gate_is_open(gate))
            return IH_PREEMPTED;
        int until = o;
        while (until < down->n_out && down->first[until] + down->taps <= hashed)
            until++;
        for (int x = 0, end; x < frame->w; x = end) { /* what is hashed is resized while it is in the L1 cache */
            end = least(x + band, frame->w);
            ih_tile_slab(ops, frame, slab, x / IH_TILE, ih_tiles_along(end), key, sums, hashes);
            for (int row = o; row < until; row++)
                if (thirds)
                    third_row(ops, frame, along, quantise, row, x / 3, end / 3, out);
                else
                    output_row(ops, frame, 0, 0, down, along, quantise, row, ahead, scratch, out);
        }
        o = until;
    }
    return IH_DONE;
}

int ih_crop_resize(int variant, const ih_frame *frame, const int32_t (*boxes)[4], int count, int h_out, int w_out,
                   const ih_quantise *quantise, const ih_gate *gate, int16_t *scratch, void *axis_memory, uint8_t *out)
{
    for (int i = 0; i < count; i++) {
        const int x = boxes[i][0], y = boxes[i][1], w = boxes[i][2], h = boxes[i][3];
        const ptrdiff_t along_bytes = ih_axis_bytes(w, w_out, 1);
        ih_axis along, down;
        ih_axis_build(&along, w, w_out, 1, axis_memory);
        ih_axis_build(&down, h, h_out, 0, (uint8_t *)axis_memory + along_bytes);
        clear_padding(scratch, w);
        const int look = rows_a_look(&down, &along);
        for (int o = 0; o < h_out; o++) {
            if (o % look == 0 && !ih_gate_is_open(gate))
                return IH_PREEMPTED;
            output_row(ih_frames_ops_of(variant), frame, x, y, &down, &along, quantise, o, 0, scratch,
                       out + (ptrdiff_t)i * 3 * h_out * w_out);
        }
    }
    return IH_DONE;
}
