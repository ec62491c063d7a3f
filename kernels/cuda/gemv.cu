/* Products of quantised weights with one vector: decode at batch 1, where every weight is read once and the memory's
 * bandwidth is the whole cost. kernels/cuda/reference.py is what they mean, to the bit.
 *
 *   ih_gemv_int8   y[r] = float(sum_k w[r][k] * x[k]) * w_scale[r] * x_scale          w int8 (rows, k), x int8 (k)
 *   ih_gemv_int4   y[r] = sum_b float(sum_{k in b} (q - 8) * x[k]) * scale[r][b] * x_scale
 *                  q: 4 bits, (rows, k / 2); byte j of a block of 32 has value j in its low half and j + 16 in its high
 *                  one, as in GGUF; scale float (rows, k / 32)
 *   ih_action_head a decision's last step in one launch: logits = ih_gemv_int8 over the head's rows, a group of rows for
 *                  each thing that is decided (action, pointer, words); of each group the largest logit, and its row
 *
 * One warp a row; a lane reads 16 bytes at a time, so a warp reads 512 bytes of a row in one go. Sums within a row and
 * block are integers, so their order is free; blocks of int4 are added in one fixed tree: the same bits everywhere.
 */
#include "warp.cuh"

/* The row's integer sum, in every lane. k is a multiple of 16; weights are read past the first cache, once. */
static __device__ __forceinline__ int row_int8(const int8_t *w, const int8_t *x, int k)
{
    const int lane = threadIdx.x & 31;
    const int4 *row = reinterpret_cast<const int4 *>(w), *vector = reinterpret_cast<const int4 *>(x);
    int sum = 0;
#pragma unroll 4
    for (int at = lane; at < k / 16; at += 32)
        sum = dot16(__ldcs(row + at), __ldg(vector + at), sum);
    return warp_sum(sum);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
ih_gemv_int8(const int8_t *w, const float *w_scale, const int8_t *x, float x_scale, float *y, int rows, int k)
{
    const int r = blockIdx.x * WARPS + threadIdx.x / 32;
    if (r >= rows)
        return;
    const int sum = row_int8(w + (int64_t)r * k, x, k);
    if ((threadIdx.x & 31) == 0)
        y[r] = __fmul_rn(__fmul_rn((float)sum, w_scale[r]), x_scale);
}

/* A lane takes whole blocks of 32 values: 16 bytes of weights, 32 of x. */
extern "C" __global__ void __launch_bounds__(WARPS * 32)
ih_gemv_int4(const uint8_t *q, const float *scale, const int8_t *x, float x_scale, float *y, int rows, int k)
{
    const int lane = threadIdx.x & 31, blocks = k / 32;
    const int r = blockIdx.x * WARPS + threadIdx.x / 32;
    if (r >= rows)
        return;
    const int4 *row = reinterpret_cast<const int4 *>(q) + (int64_t)r * blocks;
    const float *scales = scale + (int64_t)r * blocks;
    const int4 *vector = reinterpret_cast<const int4 *>(x);
    float total = 0;
#pragma unroll 2
    for (int b = lane; b < blocks; b += 32) {
        const int4 both = __ldcs(row + b), low = __ldg(vector + 2 * b), high = __ldg(vector + 2 * b + 1);
        const int halves[4] = {both.x, both.y, both.z, both.w};
        const int lows[4] = {low.x, low.y, low.z, low.w}, highs[4] = {high.x, high.y, high.z, high.w};
        int sum = 0, ones = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sum = dot4(halves[i] & 0x0f0f0f0f, lows[i], sum);
            sum = dot4(halves[i] >> 4 & 0x0f0f0f0f, highs[i], sum);
            ones = dot4(0x01010101, lows[i], ones);
            ones = dot4(0x01010101, highs[i], ones);
        }
        total = __fadd_rn(total, __fmul_rn((float)(sum - 8 * ones), scales[b]));
    }
    total = warp_sum(total);
    if (lane == 0)
        y[r] = __fmul_rn(total, x_scale);
}

/* Reads n * 16 bytes and does next to nothing with them: the ceiling that the others are compared with. */
extern "C" __global__ void __launch_bounds__(WARPS * 32) ih_read_probe(const int4 *data, int *out, int64_t n)
{
    int seen = 0;
    const int64_t stride = (int64_t)gridDim.x * blockDim.x;
#pragma unroll 8
    for (int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; at < n; at += stride) {
        const int4 value = __ldcs(data + at);
        seen |= value.x ^ value.y ^ value.z ^ value.w;
    }
    if (seen == 0x5eed)
        out[0] = seen;
}

/* best: of each group (uint64): the ordered bits of its largest logit << 32 | ~its row in the group; set to 0 before.
 * Equal logits: the lowest row. first[g] .. first[g + 1] are the rows of group g. */
extern "C" __global__ void __launch_bounds__(WARPS * 32)
ih_action_head(const int8_t *w, const float *w_scale, const float *bias, const int8_t *x, float x_scale,
               const int *first, int groups, float *logits, unsigned long long *best, int rows, int k)
{
    const int r = blockIdx.x * WARPS + threadIdx.x / 32;
    if (r >= rows)
        return;
    const int sum = row_int8(w + (int64_t)r * k, x, k);
    if ((threadIdx.x & 31) != 0)
        return;
    const float logit = __fadd_rn(__fmul_rn(__fmul_rn((float)sum, w_scale[r]), x_scale), bias[r]);
    logits[r] = logit;
    int group = 0;
    while (group + 1 < groups && r >= first[group + 1])
        group++;
    const uint32_t row = (uint32_t)(r - first[group]);
    atomicMax(best + group, choice(logit, row));
}
