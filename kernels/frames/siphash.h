/* SipHash-2-4 with 128 bits of output over whole 64-bit words, for one message or for eight side by side.
 *
 * Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012; the 128-bit form as in the authors'
 * reference code. Included by each variant's file, whose target pragma then decides what the eight lanes become.
 */
#ifndef IH_SIPHASH_H
#define IH_SIPHASH_H

#include "frames/tile_hash.h"

#define IH_SIP_ROTATE(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))
#define IH_SIP_ROUND(v0, v1, v2, v3)                                                       \
    do {                                                                                   \
        v0 += v1; v1 = IH_SIP_ROTATE(v1, 13); v1 ^= v0; v0 = IH_SIP_ROTATE(v0, 32);        \
        v2 += v3; v3 = IH_SIP_ROTATE(v3, 16); v3 ^= v2;                                    \
        v0 += v3; v3 = IH_SIP_ROTATE(v3, 21); v3 ^= v0;                                    \
        v2 += v1; v1 = IH_SIP_ROTATE(v1, 17); v1 ^= v2; v2 = IH_SIP_ROTATE(v2, 32);        \
    } while (0)

/* The body for a word type: uint64_t, or a vector of eight. MESSAGE(i) is word i. LOW and HIGH get the two halves. */
#define IH_SIP_BODY(word, MESSAGE, count, sip, LOW, HIGH)                                                  \
    do {                                                                                                   \
        const word zero = {0};                                                                             \
        word v0 = zero + (0x736f6d6570736575u ^ (sip)[0]), v1 = zero + (0x646f72616e646f6du ^ (sip)[1] ^ 0xee); \
        word v2 = zero + (0x6c7967656e657261u ^ (sip)[0]), v3 = zero + (0x7465646279746573u ^ (sip)[1]);   \
        for (size_t i_ = 0; i_ <= (count); i_++) {                                                         \
            word m_ = zero + ((uint64_t)(count) * 8 << 56); /* the last block: the length */                \
            if (i_ < (count))                                                                              \
                m_ = MESSAGE(i_);                                                                          \
            v3 ^= m_;                                                                                      \
            IH_SIP_ROUND(v0, v1, v2, v3);                                                                  \
            IH_SIP_ROUND(v0, v1, v2, v3);                                                                  \
            v0 ^= m_;                                                                                      \
        }                                                                                                  \
        v2 ^= 0xee;                                                                                        \
        for (int i_ = 0; i_ < 4; i_++)                                                                     \
            IH_SIP_ROUND(v0, v1, v2, v3);                                                                  \
        LOW = v0 ^ v1 ^ v2 ^ v3;                                                                           \
        v1 ^= 0xdd;                                                                                        \
        for (int i_ = 0; i_ < 4; i_++)                                                                     \
            IH_SIP_ROUND(v0, v1, v2, v3);                                                                  \
        HIGH = v0 ^ v1 ^ v2 ^ v3;                                                                          \
    } while (0)

/* Eight messages of IH_TILE_WORDS words side by side, in the registers that the includer's target has. */
static inline void ih_siphash_batch(const uint64_t words[IH_TILE_WORDS][IH_TILE_BATCH], const uint64_t sip[2],
                                    uint8_t out[IH_TILE_BATCH][IH_HASH_BYTES])
{
    typedef uint64_t lanes __attribute__((vector_size(8 * IH_TILE_BATCH), aligned(8), may_alias));
    lanes low, high;
#define IH_SIP_LANES(i) (*(const lanes *)words[i])
    IH_SIP_BODY(lanes, IH_SIP_LANES, (size_t)IH_TILE_WORDS, sip, low, high);
#undef IH_SIP_LANES
    for (int tile = 0; tile < IH_TILE_BATCH; tile++) {
        uint64_t hash[2] = {low[tile], high[tile]};
        __builtin_memcpy(out[tile], hash, sizeof hash);
    }
}

#endif
