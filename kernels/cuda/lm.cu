/* A Llama's next token, whole on the device: every weight is read once, and only the token comes back.
 *
 *   embed · { norm, product (q k v), turn, attend, pack, product (o), norm, product (gate up), pack, product (down) } × layers
 *   · norm, choose, next        where the token is one of the prompt, `choose` is left out
 *
 * What moves from token to token lies in `state` (position, tokens of the prompt), so that one captured graph does them all.
 * Weights lie as kernels/cuda/lm_weights.py arranges them, in blocks of 32 values of a row:
 *   4 bits   q (rows, k / 2): byte j of a block has value j in its low half and j + 16 in its high one;
 *            scale (rows, k / 32): f16 d in the low half, f16 m in the high one; a value is d * q + m
 *   8 bits   q (rows, k), scale (rows, k / 32) f16 d; a value is d * q
 * Activations are int8 by the same blocks, each with its step and step * (the sum of its integers).
 */
#include "warp.cuh"
#include <cuda_fp16.h>

#define THREADS (WARPS * 32)

static __device__ __forceinline__ float half_of(uint32_t bits)
{
    return __half2float(__ushort_as_half((unsigned short)bits));
}

/* exp as kernels/lm/scalar.h has it (Cephes' expf, below 2 ulp), so that its bits are no toolkit's. */
static __device__ __forceinline__ float exp_of(float x)
{
    x = fminf(fmaxf(x, -87.0f), 88.0f);
    const float n = rintf(__fmul_rn(x, 1.44269504088896341f));
    float r = __fmaf_rn(n, -0.693359375f, x);
    r = __fmaf_rn(n, 2.12194440e-4f, r);
    float p = __fmaf_rn(1.9875691500e-4f, r, 1.3981999507e-3f);
    p = __fmaf_rn(p, r, 8.3334519073e-3f);
    p = __fmaf_rn(p, r, 4.1665795894e-2f);
    p = __fmaf_rn(p, r, 1.6666665459e-1f);
    p = __fmaf_rn(p, r, 5.0000001201e-1f);
    p = __fmaf_rn(p, __fmul_rn(r, r), __fadd_rn(r, 1.0f));
    return __fmul_rn(p, __uint_as_float((uint32_t)((int)n + 127) << 23));
}

/* A warp's 32 values, one a lane, as block b of the activations. */
static __device__ __forceinline__ void pack_block(float value, int b, int8_t *q, float2 *step)
{
    const int lane = threadIdx.x & 31;
    const float largest = warp_max(fabsf(value));
    const float inverse = largest > 0 ? __fdiv_rn(127.0f, largest) : 0.0f;
    const float level = fminf(fmaxf(rintf(__fmul_rn(value, inverse)), -127.0f), 127.0f);
    const int whole = (int)level, sum = warp_sum(whole);
    const float scale = __fdiv_rn(largest, 127.0f);
    q[b * 32 + lane] = (int8_t)whole;
    if (lane == 0)
        step[b] = make_float2(scale, __fmul_rn(scale, (float)sum));
}

/* --- products ---------------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ float block_int4(const int4 *q, const uint32_t *scale, const int4 *x, const float2 *step,
                                                   int b, float total)
{
    const int4 both = __ldcs(q + b), low = __ldg(x + 2 * b), high = __ldg(x + 2 * b + 1);
    const uint32_t pair = __ldcs(scale + b);
    const float2 of_x = __ldg(step + b);
    int sum = dot16(make_int4(both.x & 0x0f0f0f0f, both.y & 0x0f0f0f0f, both.z & 0x0f0f0f0f, both.w & 0x0f0f0f0f), low, 0);
    sum = dot16(make_int4(both.x >> 4 & 0x0f0f0f0f, both.y >> 4 & 0x0f0f0f0f, both.z >> 4 & 0x0f0f0f0f,
                          both.w >> 4 & 0x0f0f0f0f),
                high, sum);
    total = __fmaf_rn((float)sum, __fmul_rn(half_of(pair & 0xffff), of_x.x), total);
    return __fmaf_rn(half_of(pair >> 16), of_x.y, total);
}

static __device__ __forceinline__ float block_int8(const int4 *q, const uint16_t *scale, const int4 *x, const float2 *step,
                                                   int b, float total)
{
    int sum = dot16(__ldcs(q + 2 * b), __ldg(x + 2 * b), 0);
    sum = dot16(__ldcs(q + 2 * b + 1), __ldg(x + 2 * b + 1), sum);
    return __fmaf_rn((float)sum, __fmul_rn(half_of(__ldcs(scale + b)), __ldg(&step[b].x)), total);
}

/* The sum of row r in each of its `lanes` lanes, which take its blocks in turn. */
template <bool IS_INT4>
static __device__ __forceinline__ float row_of(const void *q, const void *scale, const int8_t *x, const float2 *step, int r,
                                               int blocks, int lanes)
{
    const int4 *vector = reinterpret_cast<const int4 *>(x);
    float total = 0;
    if (IS_INT4) {
        const int4 *row = static_cast<const int4 *>(q) + (int64_t)r * blocks;
        const uint32_t *scales = static_cast<const uint32_t *>(scale) + (int64_t)r * blocks;
#pragma unroll 2
        for (int b = threadIdx.x & (lanes - 1); b < blocks; b += lanes)
            total = block_int4(row, scales, vector, step, b, total);
    } else {
        const int4 *row = static_cast<const int4 *>(q) + (int64_t)r * blocks * 2;
        const uint16_t *scales = static_cast<const uint16_t *>(scale) + (int64_t)r * blocks;
#pragma unroll 2
        for (int b = threadIdx.x & (lanes - 1); b < blocks; b += lanes)
            total = block_int8(row, scales, vector, step, b, total);
    }
    return warp_sum(total, lanes);
}

/* y = W x, or y += W x. A row has `lanes` lanes; a block of threads does THREADS / lanes rows. */
template <bool IS_INT4>
static __device__ __forceinline__ void product(const void *q, const void *scale, const int8_t *x, const float2 *step, float *y,
                                               int rows, int blocks, int lanes, int adds)
{
    const int r = (blockIdx.x * THREADS + threadIdx.x) / lanes;
    const float sum = row_of<IS_INT4>(q, scale, x, step, r < rows ? r : rows - 1, blocks, lanes);
    if (r < rows && (threadIdx.x & (lanes - 1)) == 0)
        y[r] = adds ? __fadd_rn(y[r], sum) : sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_product_int4(const void *q, const void *scale, const int8_t *x, const float2 *step, float *y, int rows, int blocks,
                   int lanes, int adds)
{
    product<true>(q, scale, x, step, y, rows, blocks, lanes, adds);
}

extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_product_int8(const void *q, const void *scale, const int8_t *x, const float2 *step, float *y, int rows, int blocks,
                   int lanes, int adds)
{
    product<false>(q, scale, x, step, y, rows, blocks, lanes, adds);
}

/* The head and the choice of its largest row in one: logits never reach memory. One atomic a block of threads. */
template <bool IS_INT4>
static __device__ __forceinline__ void choose(const void *q, const void *scale, const int8_t *x, const float2 *step,
                                              unsigned long long *best, int rows, int blocks, int lanes)
{
    __shared__ unsigned long long found[WARPS];
    const int r = (blockIdx.x * THREADS + threadIdx.x) / lanes;
    const float logit = row_of<IS_INT4>(q, scale, x, step, r < rows ? r : rows - 1, blocks, lanes);
    unsigned long long mine = r < rows ? choice(logit, (uint32_t)r) : 0;
    for (int apart = 16; apart >= lanes; apart >>= 1) {
        const unsigned long long other = __shfl_xor_sync(FULL, mine, apart);
        mine = other > mine ? other : mine;
    }
    if ((threadIdx.x & 31) == 0)
        found[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < WARPS; w++)
            mine = found[w] > mine ? found[w] : mine;
        atomicMax(best, mine);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_choose_int4(const void *q, const void *scale, const int8_t *x, const float2 *step, unsigned long long *best, int rows,
                  int blocks, int lanes)
{
    choose<true>(q, scale, x, step, best, rows, blocks, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_choose_int8(const void *q, const void *scale, const int8_t *x, const float2 *step, unsigned long long *best, int rows,
                  int blocks, int lanes)
{
    choose<false>(q, scale, x, step, best, rows, blocks, lanes);
}

/* --- between the products ---------------------------------------------------------------------------------------- */

/* x = the embedding of the token that stands at the position; a thread a column. */
extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_embed(const uint8_t *q, const void *scale, int is_int4, const int *tokens, const int *state, float *x, int n)
{
    const int c = blockIdx.x * THREADS + threadIdx.x, b = c / 32, within = c % 32;
    if (c >= n)
        return;
    const int64_t row = tokens[state[0]], at = row * (n / 32) + b;
    if (is_int4) {
        const uint32_t pair = static_cast<const uint32_t *>(scale)[at];
        const int both = q[at * 16 + within % 16], value = within < 16 ? both & 15 : both >> 4;
        x[c] = __fmaf_rn((float)value, half_of(pair & 0xffff), half_of(pair >> 16));
    } else {
        const float value = (float)reinterpret_cast<const int8_t *>(q)[row * n + c];
        x[c] = __fmul_rn(value, half_of(static_cast<const uint16_t *>(scale)[at]));
    }
}

/* The activations of x / rms(x) * weight; one block of threads. */
extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_norm(const float *x, const float *weight, int n, float epsilon, int8_t *q, float2 *step)
{
    __shared__ float sums[WARPS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += THREADS)
        sum = __fmaf_rn(x[i], x[i], sum);
    sum = warp_sum(sum);
    if (lane == 0)
        sums[warp] = sum;
    __syncthreads();
    sum = sums[0];
    for (int w = 1; w < WARPS; w++)
        sum = __fadd_rn(sum, sums[w]);
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(sum, (float)n), epsilon)));
    for (int b = warp; b < n / 32; b += WARPS)
        pack_block(__fmul_rn(__fmul_rn(x[b * 32 + lane], scale), weight[b * 32 + lane]), b, q, step);
}

/* The activations of x, or, with gates, of x * silu(gate); a warp a block of values. */
extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_pack(const float *x, const float *gate, int n, int8_t *q, float2 *step)
{
    const int lane = threadIdx.x & 31, b = blockIdx.x * WARPS + threadIdx.x / 32;
    if (b >= n / 32)
        return;
    float value = x[b * 32 + lane];
    if (gate) {
        const float g = gate[b * 32 + lane];
        value = __fmul_rn(__fdiv_rn(g, __fadd_rn(1.0f, exp_of(-g))), value);
    }
    pack_block(value, b, q, step);
}

/* Turns the queries in place, and puts turned keys and values into the cache (KV heads, capacity, head) as f16. A block of
 * threads a head of `qkv` (queries, keys, values), a thread a pair; `angles` (capacity, turned / 2) are cosines and sines. */
extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_turn(float *qkv, const float2 *angles, const int *state, uint16_t *keys, uint16_t *values, int heads, int kv_heads,
           int head, int turned, int capacity)
{
    const int h = blockIdx.x, i = threadIdx.x, position = state[0];
    if (2 * i >= head)
        return;
    float even = qkv[h * head + 2 * i], odd = qkv[h * head + 2 * i + 1];
    if (h < heads + kv_heads && 2 * i < turned) {
        const float2 angle = angles[(int64_t)position * (turned / 2) + i];
        const float was = even;
        even = __fmaf_rn(was, angle.x, -__fmul_rn(odd, angle.y));
        odd = __fmaf_rn(odd, angle.x, __fmul_rn(was, angle.y));
    }
    if (h < heads) {
        qkv[h * head + 2 * i] = even;
        qkv[h * head + 2 * i + 1] = odd;
        return;
    }
    const int kv = (h - heads) % kv_heads;
    uint16_t *to = (h < heads + kv_heads ? keys : values) + ((int64_t)kv * capacity + position) * head + 2 * i;
    to[0] = __half_as_ushort(__float2half_rn(even));
    to[1] = __half_as_ushort(__float2half_rn(odd));
}

/* All warps' values, in every thread: the largest, or their sum. `shared` may be used again after the next of these. */
static __device__ __forceinline__ float block_of(float value, float *shared, bool is_sum)
{
    value = is_sum ? warp_sum(value) : warp_max(value);
    __syncthreads();
    if ((threadIdx.x & 31) == 0)
        shared[threadIdx.x / 32] = value;
    __syncthreads();
    value = shared[0];
    for (int w = 1; w < WARPS; w++)
        value = is_sum ? __fadd_rn(value, shared[w]) : fmaxf(value, shared[w]);
    return value;
}

/* A block of threads a head: scores by warps, weights by threads, values by groups of threads, each with every so many-th
 * position; the groups are added in order. `scores` (heads, capacity) is room to work in. */
extern "C" __global__ void __launch_bounds__(THREADS)
ih_lm_attend(const float *query, const uint16_t *keys, const uint16_t *values, const int *state, float *scores, float *out,
             int share, int head, int capacity, float scale)
{
    __shared__ float shared[THREADS];
    const int h = blockIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x / 32, count = state[0] + 1;
    const float *q = query + h * head;
    const uint16_t *k = keys + (int64_t)(h / share) * capacity * head, *v = values + (int64_t)(h / share) * capacity * head;
    float *score = scores + (int64_t)h * capacity, largest = -INFINITY, sum = 0, mixed = 0;
    for (int p = warp; p < count; p += WARPS) {
        float dot = 0;
        for (int d = lane; d < head; d += 32)
            dot = __fmaf_rn(half_of(k[(int64_t)p * head + d]), q[d], dot);
        dot = __fmul_rn(warp_sum(dot), scale);
        largest = fmaxf(largest, dot);
        if (lane == 0)
            score[p] = dot;
    }
    largest = block_of(largest, shared, false); /* has everybody wait for the scores */
    for (int p = threadIdx.x; p < count; p += THREADS) {
        score[p] = exp_of(__fadd_rn(score[p], -largest));
        sum = __fadd_rn(sum, score[p]);
    }
    sum = block_of(sum, shared, true);
    const int groups = THREADS / head, group = threadIdx.x / head, d = threadIdx.x % head;
    if (group < groups)
        for (int p = group; p < count; p += groups)
            mixed = __fmaf_rn(score[p], half_of(v[(int64_t)p * head + d]), mixed);
    __syncthreads();
    shared[threadIdx.x] = mixed;
    __syncthreads();
    if (group)
        return;
    for (int g = 1; g < groups; g++)
        mixed = __fadd_rn(mixed, shared[g * head + d]);
    out[h * head + d] = __fdiv_rn(mixed, sum);
}

/* Ends a token: what was chosen follows it, unless the prompt says what does; one thread. `first` is the head's first row.
 * state: position, tokens of the prompt, what was chosen last, 0. */
extern "C" __global__ void ih_lm_next(int *state, int *tokens, unsigned long long *best, int first)
{
    const int position = state[0] + 1;
    if (position >= state[1])
        state[2] = tokens[position] = first + (int)~(uint32_t)*best;
    *best = 0;
    state[0] = position;
}

/* Nothing stays of an answer. */
extern "C" __global__ void __launch_bounds__(THREADS) ih_lm_wipe(int4 *data, int64_t n)
{
    for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < n; at += (int64_t)gridDim.x * THREADS)
        data[at] = make_int4(0, 0, 0, 0);
}
