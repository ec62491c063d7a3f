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

/* Output row `o` of the part of the frame at (x, y). */
static void output_row(const ih_frames_ops *ops, const ih_frame *frame, int x, int y, const ih_axis *down,
                       const ih_axis *along, const ih_quantise *quantise, int o, int16_t *scratch, uint8_t *out)
{
    const int16_t *weights = ih_axis_weights(down, o);
    int first = y + down->first[o], taps = down->taps;
    while (taps > 1 && weights[taps - 1] == 0)
        taps--;
    while (taps > 1 && weights[0] == 0)
        weights++, first++, taps--;
    const uint8_t *rows = frame->pixels + first * frame->stride + 4 * (ptrdiff_t)x;
    const uint8_t *next = first + 2 * taps <= frame->h ? rows + taps * frame->stride : rows;
    int16_t *v = scratch, *h = scratch + 4 * ((ptrdiff_t)along->n_in + IH_RESIZE_PAD);
    const ptrdiff_t plane_bytes = (ptrdiff_t)down->n_out * along->n_out;
    uint8_t *const row = out + (ptrdiff_t)o * along->n_out;
    uint8_t *const plane[3] = {row, row + plane_bytes, row + 2 * plane_bytes};
    ops->vertical(rows, frame->stride, taps, weights, vertical_bias(weights, taps),
                  along->n_in, next, v);
    ops->horizontal(v, along, h);
    ops->quantise(h, along->n_out, quantise, plane);
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
    const int look = rows_a_look(down, along);
    clear_padding(scratch, frame->w);
    for (int o = 0; o < down->n_out; o++) {
        if (o % look == 0 && !ih_gate_is_open(gate))
            return IH_PREEMPTED;
        output_row(ih_frames_ops_of(variant), frame, 0, 0, down, along, quantise, o, scratch, out);
    }
    return IH_DONE;
}

int ih_resize_and_hash(int variant, const ih_frame *frame, const ih_axis *down, const ih_axis *along,
                       const ih_quantise *quantise, const ih_gate *gate, const ih_tile_key *key, int16_t *scratch,
                       ih_tile_sums *sums, uint8_t *out, uint8_t *hashes)
{
    const ih_frames_ops *ops = ih_frames_ops_of(variant);
    int o = 0;
    clear_padding(scratch, frame->w);
    for (int slab = 0; slab * IH_TILE_ROWS < frame->h; slab++) {
        const int hashed = least((slab + 1) * IH_TILE_ROWS, frame->h);
        if (slab % 2 == 0 && !ih_gate_is_open(gate))
            return IH_PREEMPTED;
        ih_tile_slab(ops, frame, slab, key, sums, hashes);
        for (; o < down->n_out && down->first[o] + down->taps <= hashed; o++)
            output_row(ops, frame, 0, 0, down, along, quantise, o, scratch, out);
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
            output_row(ih_frames_ops_of(variant), frame, x, y, &down, &along, quantise, o, scratch,
                       out + (ptrdiff_t)i * 3 * h_out * w_out);
        }
    }
    return IH_DONE;
}
