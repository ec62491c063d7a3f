/* What a look takes from the pixels of its boxes: see boxes.h. */
#pragma GCC optimize("fp-contract=off") /* no fused multiply-add: places are cut as numpy cuts them */
#include "frames/boxes.h"
#include "frames/layout.h"

#define GRID (2 * IH_THUMB)

int ih_strongest(const ih_frame *frame, const int32_t (*boxes)[4], const uint32_t *papers, ptrdiff_t count, ih_pace *pace,
                 uint32_t *colours)
{
    for (ptrdiff_t k = 0; k < count; k++) {
        const int64_t left = ih_most(0, boxes[k][0]), right = ih_least(frame->w, (int64_t)boxes[k][0] + boxes[k][2]);
        const int64_t bottom = ih_least(frame->h, (int64_t)boxes[k][1] + boxes[k][3]);
        int64_t strongest = -1;
        colours[k] = IH_NO_COLOUR;
        for (int64_t y = ih_most(0, boxes[k][1]); y < bottom; y++) {
            for (int64_t x = left; x < right; x++) {
                const uint32_t pixel = ih_pixel(frame, x, y);
                const int64_t here = ih_far_from(pixel, papers[k]);
                if (here > strongest) {
                    strongest = here;
                    colours[k] = pixel;
                }
            }
            if (ih_pace_stops(pace, 2 * (right - left)))
                return IH_PREEMPTED;
        }
    }
    return IH_DONE;
}

int ih_contrast(const ih_frame *frame, const int32_t box[4], ih_pace *pace, uint32_t *keys, uint32_t *spare,
                uint8_t *contrast)
{
    const int64_t w = box[2], h = box[3];
    uint32_t paper = 0;
    for (int64_t y = 0; y < h; y++) {
        for (int64_t x = 0; x < w; x++)
            keys[y * w + x] = ih_pixel(frame, box[0] + x, box[1] + y);
        if (ih_pace_stops(pace, w))
            return IH_PREEMPTED;
    }
    if (ih_ground(keys, (size_t)(w * h), spare, pace, &paper))
        return IH_PREEMPTED;
    const int shaded = ih_is_shaded(frame, box[0], box[1], w, h, paper);
    for (int64_t y = 0; y < h; y++) {
        const uint32_t ground = shaded ? ih_pixel(frame, box[0], box[1] + y) : paper;
        for (int64_t x = 0; x < w; x++)
            contrast[y * w + x] = (uint8_t)ih_far_from(ih_pixel(frame, box[0] + x, box[1] + y), ground);
        if (ih_pace_stops(pace, 2 * w))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}

/* Tables of CRC-32 for six bytes at once (Kounavis and Berry, "Novel table lookup-based algorithms for high-performance
 * CRC generation", 2008): made for each call, in less time than a small box takes. */
typedef uint32_t crc_tables[6][256];

static void make_tables(crc_tables tables)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        tables[0][byte] = crc;
    }
    for (int step = 1; step < 6; step++)
        for (int byte = 0; byte < 256; byte++) {
            const uint32_t before = tables[step - 1][byte];
            tables[step][byte] = before >> 8 ^ tables[0][before & 255];
        }
}

static uint32_t crc_of_row(const crc_tables tables, const uint8_t *row, int64_t w, uint32_t crc)
{
    int64_t x = 0;
    for (; x + 2 <= w; x += 2) {
        const uint8_t *p = row + x * 4;
        const uint64_t first = (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16;
        const uint64_t second = (uint64_t)p[4] | (uint64_t)p[5] << 8 | (uint64_t)p[6] << 16;
        const uint64_t six = (first | second << 24) ^ crc;
        crc = tables[5][six & 255] ^ tables[4][six >> 8 & 255] ^ tables[3][six >> 16 & 255] ^ tables[2][six >> 24 & 255] ^
              tables[1][six >> 32 & 255] ^ tables[0][six >> 40 & 255];
    }
    for (int byte = 0; x < w && byte < 3; byte++)
        crc = crc >> 8 ^ tables[0][(crc ^ row[x * 4 + byte]) & 255];
    return crc;
}

int ih_box_crcs(const ih_frame *frame, const int32_t (*boxes)[4], ptrdiff_t count, ih_pace *pace, uint32_t *crcs)
{
    crc_tables tables;
    make_tables(tables);
    for (ptrdiff_t k = 0; k < count; k++) {
        const int64_t left = ih_most(0, boxes[k][0]), right = ih_least(frame->w, (int64_t)boxes[k][0] + boxes[k][2]);
        const int64_t bottom = ih_least(frame->h, (int64_t)boxes[k][1] + boxes[k][3]);
        uint32_t crc = ~0u;
        for (int64_t y = ih_most(0, boxes[k][1]); y < bottom && left < right; y++) {
            crc = crc_of_row(tables, frame->pixels + y * frame->stride + left * 4, right - left, crc);
            if (ih_pace_stops(pace, 3 * (right - left)))
                return IH_PREEMPTED;
        }
        crcs[k] = ~crc;
    }
    return IH_DONE;
}

int ih_box_names(const ih_frame *frame, const int32_t (*boxes)[4], ptrdiff_t count, const uint64_t sip[2], ih_pace *pace,
                 uint64_t *words, uint8_t (*names)[IH_HASH_BYTES])
{
    for (ptrdiff_t k = 0; k < count; k++) {
        const int64_t left = ih_most(0, boxes[k][0]), right = ih_least(frame->w, (int64_t)boxes[k][0] + boxes[k][2]);
        const int64_t top = ih_most(0, boxes[k][1]), bottom = ih_least(frame->h, (int64_t)boxes[k][1] + boxes[k][3]);
        const int64_t w = ih_most(0, right - left), h = ih_most(0, bottom - top);
        size_t n = 1, half = 0;
        words[0] = (uint64_t)w | (uint64_t)h << 32;
        for (int64_t y = top; y < top + h; y++) {
            for (int64_t x = left; x < left + w; x++, half ^= 1)
                if (half)
                    words[n++] |= (uint64_t)ih_pixel(frame, x, y) << 32;
                else
                    words[n] = ih_pixel(frame, x, y);
            if (ih_pace_stops(pace, 6 * w)) /* with what the hash takes of it */
                return IH_PREEMPTED;
        }
        ih_siphash_128(words, n + half, sip, names[k]);
    }
    return IH_DONE;
}

/* The pixel of a sample: a place of one axis of the grid, cut at the frame. */
static int64_t sample_at(float start, float size, int step, int64_t limit)
{
    const float place = ((float)step + 0.5f) / (float)GRID * size;
    return ih_most(0, ih_least(limit - 1, (int64_t)(start + place)));
}

int ih_thumbnails(const ih_frame *frame, const int32_t (*boxes)[4], const uint32_t *fills, ptrdiff_t count, ih_pace *pace,
                  float *thumbs)
{
    for (ptrdiff_t k = 0; k < count; k++) {
        const float x = (float)(boxes[k][0] - 1), y = (float)(boxes[k][1] - 1);
        const float w = (float)(boxes[k][2] + 2), h = (float)(boxes[k][3] + 2);
        int64_t columns[GRID];
        float far[GRID][GRID];
        for (int i = 0; i < GRID; i++)
            columns[i] = sample_at(x, w, i, frame->w);
        for (int j = 0; j < GRID; j++) {
            const int64_t row = sample_at(y, h, j, frame->h);
            for (int i = 0; i < GRID; i++)
                far[j][i] = (float)ih_far_from(ih_pixel(frame, columns[i], row), fills[k]) / 255.0f;
        }
        for (int j = 0; j < IH_THUMB; j++)
            for (int i = 0; i < IH_THUMB; i++) {
                const float upper = far[2 * j][2 * i] + far[2 * j][2 * i + 1];
                const float lower = far[2 * j + 1][2 * i] + far[2 * j + 1][2 * i + 1];
                *thumbs++ = (upper + lower) / 4.0f;
            }
        if (ih_pace_stops(pace, 4 * GRID * GRID))
            return IH_PREEMPTED;
    }
    return IH_DONE;
}
