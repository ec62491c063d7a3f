/* The layout of packed matrices: sizes of panels, and rows read back. lm.h has the byte table. */
#include "lm/lm.h"
#include "lm/scalar.h"

size_t ih_lm_panel_bytes(int32_t type, int32_t cols)
{
    size_t blocks = (size_t)cols / IH_LM_BLOCK;
    switch (type) {
    case IH_LM_Q4_0:
        return (blocks + 1) / 2 * 576;
    case IH_LM_Q4_1:
        return blocks * 320;
    case IH_LM_Q8_0:
        return (blocks + 1) / 2 * 1088;
    case IH_LM_Q6_K:
        return blocks * 640;
    case IH_LM_F16:
        return blocks * 1024;
    default:
        return blocks * 2048;
    }
}

int32_t ih_lm_panels(const ih_lm_matrix *w)
{
    return (w->rows + IH_LM_PANEL - 1) / IH_LM_PANEL;
}

static float half_of(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return ih_f16_to_f32(half);
}

/* Columns [32 b, 32 b + 32) of row r of a panel. */
static void block_row(int32_t type, const uint8_t *panel, size_t b, int r, float *y)
{
    const uint8_t *pair, *lines;
    float scale, low[2];
    switch (type) {
    case IH_LM_Q4_1:
    case IH_LM_Q4_0:
        if (type == IH_LM_Q4_1) {
            pair = panel + b * 320, lines = pair + 64;
            scale = half_of(pair + 2 * r), low[0] = half_of(pair + 32 + 2 * r);
        } else {
            pair = panel + b / 2 * 576, lines = pair + 64 + b % 2 * 256;
            scale = half_of(pair + b % 2 * 32 + 2 * r), low[0] = -8 * scale;
        }
        for (int c = 0; c < 16; c++) {
            uint8_t nibbles = lines[c / 4 * 64 + 4 * r + c % 4];
            y[c] = scale * (float)(nibbles & 15) + low[0];
            y[c + 16] = scale * (float)(nibbles >> 4) + low[0];
        }
        return;
    case IH_LM_Q8_0:
        pair = panel + b / 2 * 1088, lines = pair + 64 + b % 2 * 512;
        scale = half_of(pair + b % 2 * 32 + 2 * r);
        for (int c = 0; c < IH_LM_BLOCK; c++)
            y[c] = scale * (float)(lines[c / 4 * 64 + 4 * r + c % 4] - 128);
        return;
    case IH_LM_Q6_K:
        lines = panel + b * 640 + 128;
        memcpy(&low[0], panel + b * 640 + 4 * r, 4);
        memcpy(&low[1], panel + b * 640 + 64 + 4 * r, 4);
        for (int c = 0; c < IH_LM_BLOCK; c++)
            y[c] = low[c / 16] * (float)(lines[c / 4 * 64 + 4 * r + c % 4] - 32);
        return;
    case IH_LM_F16:
        for (int c = 0; c < IH_LM_BLOCK; c++)
            y[c] = half_of(panel + b * 1024 + (size_t)c * 32 + 2 * r);
        return;
    default:
        for (int c = 0; c < IH_LM_BLOCK; c++)
            memcpy(&y[c], panel + b * 2048 + (size_t)c * 64 + 4 * r, 4);
    }
}

void ih_lm_row(const ih_lm_matrix *w, int32_t row, float *y)
{
    const uint8_t *panel = w->data + (size_t)(row / IH_LM_PANEL) * ih_lm_panel_bytes(w->type, w->cols);
    for (int32_t b = 0; b < w->cols / IH_LM_BLOCK; b++)
        block_row(w->type, panel, (size_t)b, row % IH_LM_PANEL, y + (size_t)b * IH_LM_BLOCK);
}
