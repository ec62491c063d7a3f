/* The dot products of matmul.h by smmla: two tokens times two rows times eight columns in one instruction. An odd token takes
 * sdot. Included by i8mm.c in place of matmul.h's own. */

enum { PAIRS_MOST = MATMUL_ROWS / 2, ROW_PAIRS = IH_LM_PANEL / 2 };

typedef int32x4_t pair_sums[ROW_PAIRS]; /* of two tokens: [token][row], row pairs in order */

LANES int8x16_t zip_low(uint8x16_t even, uint8x16_t odd)
{
    return vreinterpretq_s8_u32(vzip1q_u32(vreinterpretq_u32_u8(even), vreinterpretq_u32_u8(odd)));
}

LANES int8x16_t zip_high(uint8x16_t even, uint8x16_t odd)
{
    return vreinterpretq_s8_u32(vzip2q_u32(vreinterpretq_u32_u8(even), vreinterpretq_u32_u8(odd)));
}

/* Two lines (eight columns of sixteen rows) times `pairs` pairs of tokens, whose columns begin at q. */
LANES void dot_two_lines(pair_sums *sum, int pairs, vw even, vw odd, const int8_t *q)
{
    int8x16_t rows[ROW_PAIRS] = {
        zip_low(even.a, odd.a), zip_high(even.a, odd.a), zip_low(even.b, odd.b), zip_high(even.b, odd.b),
        zip_low(even.c, odd.c), zip_high(even.c, odd.c), zip_low(even.d, odd.d), zip_high(even.d, odd.d),
    };
    for (int p = 0; p < pairs; p++) {
        const int8_t *x = q + 2 * IH_LM_BLOCK * p;
        int8x16_t two = vcombine_s8(vld1_s8(x), vld1_s8(x + IH_LM_BLOCK));
        for (int r = 0; r < ROW_PAIRS; r++)
            sum[p][r] = vmmlaq_s32(sum[p][r], two, rows[r]);
    }
}

LANES int32x4_t first_token(int32x4_t a, int32x4_t b)
{
    return vcombine_s32(vget_low_s32(a), vget_low_s32(b));
}

LANES int32x4_t second_token(int32x4_t a, int32x4_t b)
{
    return vcombine_s32(vget_high_s32(a), vget_high_s32(b));
}

/* Adds the sums of pairs of tokens to those of each. */
LANES void add_pairs(vi *isum, const pair_sums *sum, int pairs)
{
    for (int p = 0; p < pairs; p++) {
        const int32x4_t *s = sum[p];
        vi one = {first_token(s[0], s[1]), first_token(s[2], s[3]), first_token(s[4], s[5]), first_token(s[6], s[7])};
        vi two = {second_token(s[0], s[1]), second_token(s[2], s[3]), second_token(s[4], s[5]), second_token(s[6], s[7])};
        isum[2 * p] = EACH2(vi, vaddq_s32, isum[2 * p], one);
        isum[2 * p + 1] = EACH2(vi, vaddq_s32, isum[2 * p + 1], two);
    }
}

LANES void dot_nibbles(vi *isum, int count, const uint8_t *lines, const int8_t *q)
{
    pair_sums sum[PAIRS_MOST] = {{{0}}};
    for (int j = 0; j < 4; j += 2) {
        vw even = vw_load(lines + 64 * j), odd = vw_load(lines + 64 * (j + 1));
        dot_two_lines(sum, count / 2, vw_low(even), vw_low(odd), q + 4 * j);
        dot_two_lines(sum, count / 2, vw_high(even), vw_high(odd), q + 4 * j + 16);
        for (int i = count & ~1; i < count; i++) {
            const int8_t *x = q + IH_LM_BLOCK * i + 4 * j;
            isum[i] = vi_dot_small(vi_dot_small(isum[i], vw_low(even), x), vw_low(odd), x + 4);
            isum[i] = vi_dot_small(vi_dot_small(isum[i], vw_high(even), x + 16), vw_high(odd), x + 20);
        }
    }
    add_pairs(isum, (const pair_sums *)sum, count / 2);
}

/* Lines [from, to) of bytes, an even number of them; `large` where a byte may be above 127 (Q8_0). */
LANES void dot_bytes(vi *isum, int count, const uint8_t *lines, const int8_t *q, int from, int to, int large)
{
    pair_sums sum[PAIRS_MOST] = {{{0}}};
    for (int j = from; j < to; j += 2) {
        const uint8_t *at = lines + 64 * j;
        vw even = large ? vw_load_large(at) : vw_load(at), odd = large ? vw_load_large(at + 64) : vw_load(at + 64);
        dot_two_lines(sum, count / 2, even, odd, q + 4 * j);
        for (int i = count & ~1; i < count; i++) {
            const int8_t *x = q + IH_LM_BLOCK * i + 4 * j;
            isum[i] = vi_dot_small(vi_dot_small(isum[i], even, x), odd, x + 4);
        }
    }
    add_pairs(isum, (const pair_sums *)sum, count / 2);
}
