/* What ih_thirds_fn does at any width of vectors: V(op) is an instruction on a `vec`. */

/* Adds to H of the outputs (the first two of each 128-bit lane in `low`, the others in `high`) a pixel of each. */
static inline void add_pixels(vec ones, vec twos, vec weight, vec *low, vec *high)
{
    const vec times_32 = V(set1_epi16)(64 << 8 | 32), third = V(set1_epi16)(21846);
    vec a = V(maddubs_epi16)(V(unpacklo_epi8)(ones, twos), times_32);
    vec b = V(maddubs_epi16)(V(unpackhi_epi8)(ones, twos), times_32);
    a = V(add_epi16)(a, V(mulhi_epu16)(a, third));
    b = V(add_epi16)(b, V(mulhi_epu16)(b, third));
    *low = V(add_epi16)(*low, V(mulhrs_epi16)(a, weight));
    *high = V(add_epi16)(*high, V(mulhrs_epi16)(b, weight));
}
