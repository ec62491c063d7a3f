/* Moving and pooling: strided copies, borders, windows, whole-image means, packing of a moving operand. */

static void BODY(copy_row)(uint8_t *out, int64_t o, const uint8_t *x, int64_t s, int64_t n, int64_t size) {
    if (s == 1 && o == 1 && size == 1 && n >= 16 && n <= 64) { /* pixels: a call would cost more than the copy */
        for (int64_t i = 0; i + 16 <= n; i += 16)
            __builtin_memcpy(out + i, x + i, 16);
        __builtin_memcpy(out + n - 16, x + n - 16, 16);
    } else if (s == 1 && o == 1) {
        __builtin_memcpy(out, x, (size_t)(n * size));
    } else if (size == 1) {
        for (int64_t i = 0; i < n; i++)
            out[i * o] = x[i * s];
    } else if (size == 4) {
        for (int64_t i = 0; i < n; i++)
            ((uint32_t *)out)[i * o] = ((const uint32_t *)x)[i * s];
    } else {
        for (int64_t i = 0; i < n; i++)
            __builtin_memcpy(out + i * o * size, x + i * s * size, (size_t)size);
    }
}

#ifndef BODY_TABLE
#define BODY_TABLE(out, x, n, lut)                                                                                    \
    for (int64_t i = 0; i < (n); i++)                                                                                 \
    (out)[i] = (lut)[(x)[i]]
#endif

/* Through a table of 256 bytes, or of 256 floats (a quantised result going out as f32). */
static void BODY(copy_table)(uint8_t *out, int64_t o, const uint8_t *x, int64_t s, int64_t n, const uint8_t *lut, int64_t size) {
    if (size == 1 && o == 1 && s == 1) {
        BODY_TABLE(out, x, n, lut);
    } else if (size == 1)
        for (int64_t i = 0; i < n; i++)
            out[i * o] = lut[x[i * s]];
    else
        for (int64_t i = 0; i < n; i++)
            ((float *)out)[i * o] = ((const float *)lut)[x[i * s]];
}

void BODY(copy)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t *d = p + IH_copy_d0, *s = p + IH_copy_s0, *o = p + IH_copy_o0, size = p[IH_copy_size];
    const uint8_t *lut = p[IH_copy_lut] < 0 ? NULL : ih_at(region, p[IH_copy_lut]);
    const int64_t out_size = lut ? p[IH_copy_lut_size] : size;
    const uint8_t *x = ih_at(region, p[IH_copy_x]);
    uint8_t *out = ih_at(region, p[IH_copy_out]);
    const int64_t chunk = p[IH_copy_chunk], chunks = p[IH_copy_chunks], s_row = p[IH_copy_s_row], o_row = p[IH_copy_o_row];
    int64_t index[5], rest = from / chunks, x_at = 0, out_at = 0, i = from % chunks * chunk;
    for (int k = 4; k >= 0; k--) {
        index[k] = rest % d[k];
        rest /= d[k];
        x_at += index[k] * s[k];
        out_at += index[k] * o[k];
    }
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t n = i + chunk < p[IH_copy_row] ? chunk : p[IH_copy_row] - i;
        uint8_t *out_row = out + (out_at + i * o_row) * out_size;
        const uint8_t *x_row = x + (x_at + i * s_row) * size;
        if (lut)
            BODY(copy_table)(out_row, o_row, x_row, s_row, n, lut, out_size);
        else
            BODY(copy_row)(out_row, o_row, x_row, s_row, n, size);
        i += chunk;
        if (i < p[IH_copy_row])
            continue;
        i = 0;
        for (int k = 4; k >= 0; k--) { /* the next row */
            x_at += s[k];
            out_at += o[k];
            if (++index[k] < d[k])
                break;
            x_at -= d[k] * s[k];
            out_at -= d[k] * o[k];
            index[k] = 0;
        }
    }
}

void BODY(halo)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t px = p[IH_halo_px], left = p[IH_halo_left] * px, right = p[IH_halo_right] * px, width = p[IH_halo_width] * px;
    const int64_t pitch = left + width + right;
    const int value = (int)p[IH_halo_value];
    for (int64_t image = from; image < to; image++) {
        uint8_t *inside = ih_at(region, p[IH_halo_out]) + image * p[IH_halo_image];
        uint8_t *first = inside - p[IH_halo_top] * pitch - left, *below = inside + p[IH_halo_height] * pitch - left;
        __builtin_memset(first, value, (size_t)(p[IH_halo_top] * pitch));
        __builtin_memset(below, value, (size_t)(p[IH_halo_bottom] * pitch));
        for (int64_t y = 0; y < p[IH_halo_height]; y++) {
            __builtin_memset(inside + y * pitch - left, value, (size_t)left);
            __builtin_memset(inside + y * pitch + width, value, (size_t)right);
        }
    }
}

enum { IH_POOL_MEAN, IH_POOL_MAX, IH_POOL_BLOCK = 256 };

/* One tap of a window into `acc`, n channels. */
static void BODY(pool_tap)(const int64_t *p, float *restrict acc, const uint8_t *px, int64_t c0, int64_t n) {
    const float *f32 = (const float *)px + c0, scale = ih_bits_f32(p[IH_pool_in_scale]);
    const int32_t zero = (int32_t)p[IH_pool_in_zero];
    float here[IH_POOL_BLOCK];
    for (int64_t k = 0; k < n; k++)
        here[k] = p[IH_pool_in_float] ? f32[k] : (float)((int32_t)px[c0 + k] - zero) * scale;
    if (p[IH_pool_kind] == IH_POOL_MEAN)
        for (int64_t k = 0; k < n; k++)
            acc[k] += here[k];
    else
        for (int64_t k = 0; k < n; k++)
            acc[k] = here[k] > acc[k] ? here[k] : acc[k];
}

void BODY(pool)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t c = p[IH_pool_c], width = p[IH_pool_width], height = p[IH_pool_height], line_px = p[IH_pool_line_px];
    const float scale = ih_bits_f32(p[IH_pool_out_scale]), zero = (float)p[IH_pool_out_zero];
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t px = unit % line_px, line = unit / line_px % p[IH_pool_lines], image = unit / line_px / p[IH_pool_lines];
        const uint8_t *x = ih_at(region, p[IH_pool_x]) + image * p[IH_pool_x_image];
        uint8_t *out = ih_at(region, p[IH_pool_out]) + image * p[IH_pool_out_image] + line * p[IH_pool_out_line] + px * p[IH_pool_out_px];
        int64_t y0 = line * p[IH_pool_stride_y] - p[IH_pool_pad_y], y1 = y0 + p[IH_pool_kh];
        int64_t x0 = px * p[IH_pool_stride_x] - p[IH_pool_pad_x], x1 = x0 + p[IH_pool_kw];
        y0 = y0 < 0 ? 0 : y0;
        y1 = y1 > height ? height : y1;
        x0 = x0 < 0 ? 0 : x0;
        x1 = x1 > width ? width : x1;
        const float count = (float)(p[IH_pool_count_pad] ? p[IH_pool_kh] * p[IH_pool_kw] : (y1 - y0) * (x1 - x0));
        for (int64_t c0 = 0; c0 < c; c0 += IH_POOL_BLOCK) {
            const int64_t n = c - c0 < IH_POOL_BLOCK ? c - c0 : IH_POOL_BLOCK;
            float acc[IH_POOL_BLOCK];
            for (int64_t k = 0; k < n; k++)
                acc[k] = p[IH_pool_kind] == IH_POOL_MAX ? -3.4e38f : 0.0f;
            for (int64_t y = y0; y < y1; y++)
                for (int64_t i = x0; i < x1; i++)
                    BODY(pool_tap)(p, acc, x + y * p[IH_pool_x_row] + i * p[IH_pool_x_px], c0, n);
            for (int64_t k = 0; k < n && p[IH_pool_kind] == IH_POOL_MEAN; k++)
                acc[k] /= count;
            if (p[IH_pool_out_float])
                __builtin_memcpy((float *)out + c0, acc, (size_t)n * 4);
            else
                BODY_QUANTISE(out + c0, acc, n, scale, zero);
        }
    }
}

/* 255 * 256 rows still fit u16 twice over: rows are added in u16 and moved to u32 every 256. */
static void BODY(mean_rows)(uint32_t *sums, const uint8_t *x, int64_t row, int64_t pitch, int64_t width, int64_t c) {
    uint16_t part[512];
    for (int64_t c0 = 0; c0 < c; c0 += 512) {
        const int64_t n = c - c0 < 512 ? c - c0 : 512;
        for (int64_t y = 0; y < row; y++)
            for (int64_t x0 = 0; x0 < width; x0 += 256) {
                const int64_t x1 = x0 + 256 < width ? x0 + 256 : width;
                for (int64_t k = 0; k < n; k++)
                    part[k] = 0;
                for (int64_t i = x0; i < x1; i++) {
                    const uint8_t *px = x + y * pitch + i * c + c0;
                    for (int64_t k = 0; k < n; k++)
                        part[k] = (uint16_t)(part[k] + px[k]);
                }
                for (int64_t k = 0; k < n; k++)
                    sums[c0 + k] += part[k];
            }
    }
}

#ifndef BODY_ADD_LOOKUP
#define BODY_ADD_LOOKUP(sums, x, n, table)                                                                            \
    for (int64_t k = 0; k < (n); k++)                                                                                 \
    (sums)[k] += (table)[(x)[k]]
#endif

/* The same over what a table makes of the bytes, pixel after pixel. */
static void BODY(mean_table)(float *restrict sums, const uint8_t *x, int64_t rows, int64_t pitch, int64_t width, int64_t c,
                             const float *restrict table) {
    for (int64_t y = 0; y < rows; y++)
        for (int64_t i = 0; i < width; i++) {
            const uint8_t *px = x + y * pitch + i * c;
            BODY_ADD_LOOKUP(sums, px, c, table);
        }
}

void BODY(mean)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t c = p[IH_mean_c], count = p[IH_mean_height] * p[IH_mean_width];
    const float scale = ih_bits_f32(p[IH_mean_in_scale]);
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t image = unit / p[IH_mean_bands], band = unit % p[IH_mean_bands];
        uint32_t *sums = (uint32_t *)ih_at(region, p[IH_mean_sums]) + image * c;
        const uint8_t *x = ih_at(region, p[IH_mean_x]) + image * p[IH_mean_x_image];
        int64_t y0 = band * p[IH_mean_band_rows], y1 = y0 + p[IH_mean_band_rows];
        y1 = y1 < p[IH_mean_height] ? y1 : p[IH_mean_height];
        if (band == 0)
            __builtin_memset(sums, 0, (size_t)c * 4);
        if (p[IH_mean_table] >= 0) {
            const float *table = (const float *)ih_at(region, p[IH_mean_table]);
            BODY(mean_table)((float *)sums, x + y0 * p[IH_mean_x_row], y1 - y0, p[IH_mean_x_row], p[IH_mean_width], c, table);
            for (int64_t k = 0; band == p[IH_mean_bands] - 1 && k < c; k++)
                ((float *)ih_at(region, p[IH_mean_out]))[image * c + k] = ((float *)sums)[k] / (float)count;
            continue;
        }
        BODY(mean_rows)(sums, x + y0 * p[IH_mean_x_row], y1 - y0, p[IH_mean_x_row], p[IH_mean_width], c);
        if (band == p[IH_mean_bands] - 1)
            for (int64_t k = 0; k < c; k++) {
                int64_t centred = (int64_t)sums[k] - p[IH_mean_in_zero] * count;
                ((float *)ih_at(region, p[IH_mean_out]))[image * c + k] = (float)centred * scale / (float)count;
            }
    }
}

/* B of A x B when both move: 16 columns a unit, -128 so that it fits s8; bias carries both zero points:
 * sum (a - za)(b - zb) = sum a b' - za sum b' - zb' sum a + k za zb', b' = b - 128, zb' = zb - 128. */
void BODY(pack)(const int64_t *p, uint8_t *const *region, int64_t from, int64_t to) {
    const int64_t k = p[IH_pack_k], n = p[IH_pack_n], groups = (k + 3) / 4, blocks = (n + 15) / 16;
    const int32_t za = (int32_t)p[IH_pack_a_zero], zb = (int32_t)p[IH_pack_x_zero] - 128;
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t image = unit / blocks, block = unit % blocks, n0 = block * 16;
        const uint8_t *x = ih_at(region, p[IH_pack_x]) + image / p[IH_pack_d1] * p[IH_pack_x0] +
                           image % p[IH_pack_d1] * p[IH_pack_x1] + n0 * p[IH_pack_x_n];
        int8_t *w = (int8_t *)ih_at(region, p[IH_pack_w]) + image * p[IH_pack_w_image] + block * groups * 64;
        int32_t *bias = (int32_t *)(ih_at(region, p[IH_pack_bias]) + image * p[IH_pack_bias_image]) + n0;
        const int64_t lanes = n - n0 < 16 ? n - n0 : 16;
        int32_t sum[16] = {0};
        for (int64_t g = 0; g < groups; g++)
            for (int64_t l = 0; l < 16; l++)
                for (int64_t j = 0; j < 4; j++) {
                    const int64_t at = g * 4 + j;
                    int32_t value = at < k && l < lanes ? x[at * p[IH_pack_x_k] + l * p[IH_pack_x_n]] - 128 : 0;
                    w[g * 64 + l * 4 + j] = (int8_t)value;
                    sum[l] += value;
                }
        for (int64_t l = 0; l < lanes; l++)
            bias[l] = (int32_t)k * za * zb - (za - (p[IH_pack_a_flip] ? 128 : 0)) * sum[l];
    }
}
