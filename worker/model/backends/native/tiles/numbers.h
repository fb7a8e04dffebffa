// What is done to numbers between two products on tiles, a register of them at a time: formats, bytes, GELU, layer norm.
#pragma once

#include "products.h"
#ifdef GIST_TILES

#include <cmath>

namespace {
namespace tiles {

inline __m512 widen_16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
inline void narrow_16(uint16_t *p, __m512 x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(x)); }
inline void narrow_32(uint16_t *p, __m512 low, __m512 high) { _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low)); }
inline void signed_bytes(int8_t *p, __m512 x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x))); }
// Sixty-four numbers times a factor, as bytes: packing works on quarters of a register, which are put in order at the end.
inline void signed_bytes_64(int8_t *p, const float *x, __m512 factor) {
    const auto whole = [&](int first) { return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + first), factor)); };
    const __m512i low = _mm512_packs_epi32(whole(0), whole(16)), high = _mm512_packs_epi32(whole(32), whole(48));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high)));
}

// GELU to 2e-4: x * (1/2 + u * P(u * u)), u being x held between -4 and 4, fitted to the least largest error.
inline __m512 gelu_16(__m512 x) {
    const __m512 u = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.0f)), _mm512_set1_ps(-4.0f)), z = _mm512_mul_ps(u, u);
    __m512 p = _mm512_set1_ps(2.2781425747e-08f);
    for (const float c : {-1.5986014186e-06f, 4.7955497320e-05f, -8.1401521099e-04f, 8.7723867403e-03f, -6.4573106538e-02f, 0.39788334566f})
        p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(c));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(u, p, _mm512_set1_ps(0.5f)));
}
// Thirty-two numbers in fp16, which keeps three bits more than bf16.
inline __m512h halve_32(__m512 low, __m512 high) {
    const __m256i halves[] = {(__m256i)_mm512_cvtxps_ph(low), (__m256i)_mm512_cvtxps_ph(high)};
    return _mm512_castsi512_ph(_mm512_inserti64x4(_mm512_castsi256_si512(halves[0]), halves[1], 1));
}
// GELU to 4e-3, a quarter of a usual step of what becomes bytes: max(x, 0) less a polynomial of |x|, held below 3.2.
inline __m512h coarse_gelu_32(__m512h x) {
    const __m512h size = _mm512_min_ph(_mm512_abs_ph(x), _mm512_set1_ph(3.2f));
    __m512h p = _mm512_set1_ph(-2.12587127e-2f);
    for (const float c : {1.85267925e-1f, -5.43270370e-1f, 5.38832826e-1f, -1.66757020e-3f}) p = _mm512_fmadd_ph(p, size, _mm512_set1_ph(c));
    // In this order, what is not a number stays so.
    return _mm512_sub_ph(_mm512_max_ph(_mm512_setzero_ph(), x), p);
}
// GELU is never below this, less what the fit is wrong by.
constexpr float LEAST_GELU = -0.1703f;

// Each row's own step takes its largest number to the last byte; the first byte is `LEAST_GELU`.
inline void quantize_row(const uint16_t *numbers, uint8_t *bytes, float *step, int width) {
    // In two chains: none waits for the one before.
    __m512h largest[] = {_mm512_loadu_ph(numbers), _mm512_loadu_ph(numbers + 32)};
    for (int c = 64; c < width; c += 64)
        for (int chain = 0; chain < 2; chain++) largest[chain] = _mm512_max_ph(largest[chain], _mm512_loadu_ph(numbers + c + 32 * chain));
    *step = (float(_mm512_reduce_max_ph(_mm512_max_ph(largest[0], largest[1]))) - LEAST_GELU) / 255;
    const __m512h factor = _mm512_set1_ph(1 / *step), offset = _mm512_set1_ph(-LEAST_GELU / *step);
    const auto whole = [&](int c) { return _mm512_cvtph_epi16(_mm512_fmadd_ph(_mm512_loadu_ph(numbers + c), factor, offset)); };
    // Packing works on quarters of a register.
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    for (int c = 0; c < width; c += 64)
        _mm512_storeu_si512(bytes + c, _mm512_permutexvar_epi64(order, _mm512_packus_epi16(whole(c), whole(c + 32))));
}

// The sums of a row's numbers and of their squares, in two chains: an addition takes as long as several that wait for nothing.
class Moments {
    __m512 totals[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, squares[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};

  public:
    void add(int chain, __m512 x) {
        totals[chain] = _mm512_add_ps(totals[chain], x), squares[chain] = _mm512_fmadd_ps(x, x, squares[chain]);
    }
    // A layer norm of the row, whose numbers are at hand.
    template <class Out> void normalize(const float *row, int width, const float *gain, const float *bias, float epsilon, const Out &out) const {
        const float mean = _mm512_reduce_add_ps(_mm512_add_ps(totals[0], totals[1])) / width;
        const float variance = std::max(0.0f, _mm512_reduce_add_ps(_mm512_add_ps(squares[0], squares[1])) / width - mean * mean);
        const __m512 factor = _mm512_set1_ps(1 / std::sqrt(variance + epsilon)), offset = _mm512_set1_ps(mean);
        for (int c = 0; c < width; c += 16) {
            const __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + c), offset), factor);
            out(c, _mm512_fmadd_ps(x, _mm512_loadu_ps(gain + c), _mm512_loadu_ps(bias + c)));
        }
    }
};

} // namespace tiles
} // namespace
#endif
