// The arithmetics of a product: what a row holds, what a step of four bytes multiplies, and what its sums are.
#pragma once

#include "lanes.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// Steps that one call of a kernel takes: a panel's part then stays in the first-level cache, and integer sums are short.
constexpr int BLOCK_STEPS = 192;
constexpr int BLOCK_BYTES = 4 * BLOCK_STEPS;
// Rows of a block lie a line further apart than they are long, so that they do not crowd a part of the cache.
constexpr int ROW_BYTES = BLOCK_BYTES + 64;
// Columns of a panel, and what it advances by in a step.
constexpr int PANEL = 2 * LANES;
constexpr int PANEL_STEP_BYTES = 4 * PANEL;

struct Fp32 {
    using Number = float;
    using Sums = Floats;
    static constexpr int NUMBERS_OF_A_STEP = 1;
    static Sums begin(const int32_t *) { return Sums{}; }
    static Sums add(Sums sums, const char *x, Sums w) { return sums + w * read<float>(x); }
    static Floats finish(Sums sums) { return sums; }
};

#if defined(__AVX2__)
#define GIST_INT16 1
#if defined(__AVX512F__)
using Register = __m512i;
inline Register spread(const char *x) { return _mm512_set1_epi32(read<int32_t>(x)); }
#else
using Register = __m256i;
inline Register spread(const char *x) { return _mm256_set1_epi32(read<int32_t>(x)); }
#endif

// Pairs of numbers of up to 16 bits; the largest are chosen so that the sums of a block cannot overflow.
struct Int16 {
    using Number = int16_t;
    using Sums = Ints;
    static constexpr int NUMBERS_OF_A_STEP = 2;
    static Sums begin(const int32_t *) { return Sums{}; }
    static Sums add(Sums sums, const char *x, Sums w) {
#if defined(__AVX512VNNI__)
        return (Sums)_mm512_dpwssd_epi32((Register)sums, spread(x), (Register)w);
#elif defined(__AVX512BW__)
        return sums + (Sums)_mm512_madd_epi16(spread(x), (Register)w);
#elif defined(__AVXVNNI__)
        return (Sums)_mm256_dpwssd_avx_epi32((Register)sums, spread(x), (Register)w);
#else
        return sums + (Sums)_mm256_madd_epi16(spread(x), (Register)w);
#endif
    }
    static Floats finish(Sums sums) { return __builtin_convertvector(sums, Floats); }
};
#endif

// Processors with tiles multiply bf16 there.
#if defined(__AVX512BF16__) && !defined(__AMX_TILE__)
#define GIST_BF16 1
// Pairs of numbers in bf16, added up in fp32.
struct Bf16 {
    using Number = uint16_t;
    using Sums = Floats;
    static constexpr int NUMBERS_OF_A_STEP = 2;
    static Sums begin(const int32_t *) { return Sums{}; }
    static Sums add(Sums sums, const char *x, Sums w) { return (Sums)_mm512_dpbf16_ps((__m512)sums, (__m512bh)spread(x), (__m512bh)w); }
    static Floats finish(Sums sums) { return sums; }
};
#endif

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define GIST_INT8 1
// Quadruples of bytes, unsigned times signed; `start` takes off what a shift of the unsigned ones adds.
struct Int8 {
    using Number = uint8_t;
    using Sums = Ints;
    static constexpr int NUMBERS_OF_A_STEP = 4;
    static Sums begin(const int32_t *start) { return start ? read<Sums>(start) : Sums{}; }
    static Sums add(Sums sums, const char *x, Sums w) {
#if defined(__AVX512VNNI__)
        return (Sums)_mm512_dpbusd_epi32((Register)sums, spread(x), (Register)w);
#else
        return (Sums)_mm256_dpbusd_avx_epi32((Register)sums, spread(x), (Register)w);
#endif
    }
    static Floats finish(Sums sums) { return __builtin_convertvector(sums, Floats); }
};
#endif

} // namespace
