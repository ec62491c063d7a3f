/* What all our CUDA kernels stand on: four products at once, sums over a warp in one fixed tree, floats in integer order.
 * Everything is rounded where it is written (nvcc --fmad=false, __fmaf_rn where it is meant): the same bits on every device. */
#pragma once
#include <cstdint>

#define WARPS 8 /* of a block */
#define FULL 0xffffffffu

static __device__ __forceinline__ int dot4(int a, int b, int c)
{
#if __CUDA_ARCH__ >= 610
    return __dp4a(a, b, c);
#else
#error "a device without dp4a is none of ours"
#endif
}

static __device__ __forceinline__ int dot16(int4 w, int4 x, int sum)
{
    sum = dot4(w.x, x.x, sum);
    sum = dot4(w.y, x.y, sum);
    sum = dot4(w.z, x.z, sum);
    return dot4(w.w, x.w, sum);
}

/* Every lane gets the sum; integers, so any tree will do. */
static __device__ __forceinline__ int warp_sum(int value)
{
    for (int step = 16; step; step >>= 1)
        value += __shfl_xor_sync(FULL, value, step);
    return value;
}

/* Over groups of `lanes` lanes (a power of two). One fixed tree: at distance lanes / 2, .. 2, 1, always lower + upper. */
static __device__ __forceinline__ float warp_sum(float value, int lanes = 32)
{
    const int lane = threadIdx.x & 31;
    for (int step = lanes / 2; step; step >>= 1) {
        const float other = __shfl_xor_sync(FULL, value, step);
        value = lane & step ? __fadd_rn(other, value) : __fadd_rn(value, other);
    }
    return value;
}

static __device__ __forceinline__ float warp_max(float value)
{
    for (int step = 16; step; step >>= 1)
        value = fmaxf(value, __shfl_xor_sync(FULL, value, step));
    return value;
}

/* Greater floats have greater bits; 0 is below all of them. */
static __device__ __forceinline__ uint32_t ordered(float value)
{
    const uint32_t bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* A logit and its row as one number: the largest logit is the largest, among equals that of the lowest row. */
static __device__ __forceinline__ unsigned long long choice(float logit, uint32_t row)
{
    return (unsigned long long)ordered(logit) << 32 | (uint32_t)~row;
}
