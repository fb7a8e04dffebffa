// Sixteen numbers at a time: portable vector code, which the compiler splits where registers are shorter.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;
// Below every score; its exponential is 0.
constexpr float NEVER = -1e30f;

using f32 = float;
struct bf16 {
    uint16_t bits;
};
typedef f32 f32x16 __attribute__((vector_size(64), aligned(4)));
typedef int32_t i32x16 __attribute__((vector_size(64), aligned(4)));
typedef uint32_t u32x16 __attribute__((vector_size(64), aligned(4)));
typedef uint16_t u16x16 __attribute__((vector_size(32), aligned(2)));
typedef uint8_t u8x16 __attribute__((vector_size(16), aligned(1)));

template <class V> inline V read(const void *p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline f32 widen(f32 x) { return x; }
inline f32 widen(bf16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    return read<f32>(&bits);
}
inline f32x16 load(const f32 *p) { return read<f32x16>(p); }
inline f32x16 load(const bf16 *p) { return (f32x16)(__builtin_convertvector(read<u16x16>(p), u32x16) << 16); }

inline void store(f32 *p, f32x16 x) { std::memcpy(p, &x, sizeof x); }
inline void store(bf16 *p, f32x16 x) {
#ifdef __AVX512BF16__
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)x);
#else
    // To the nearest, ties to even; what is not a number stays so.
    const u32x16 bits = (u32x16)x;
    const u32x16 nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const u16x16 rounded = __builtin_convertvector((u32x16)(x == x) & nearest | ~(u32x16)(x == x) & 0x7fc0u, u16x16);
#endif
    std::memcpy(p, &rounded, sizeof rounded);
}

inline f32 sum(f32x16 x) {
    f32 total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
}

// exp(x) for x <= 0, to 2e-7: 2^n by the exponent's bits, 2^r for r in [-1/2, 1/2] by a polynomial.
inline f32x16 exp_of(f32x16 x) {
    x = x < -87.0f ? f32x16{} - 87.0f : x;
    const f32x16 t = x * 1.44269504f;
    const f32x16 n = (t + 12582912.0f) - 12582912.0f;
    const f32x16 r = t - n;
    f32x16 p = r * 0.0013333558f + 0.0096181291f;
    p = p * r + 0.0555041087f;
    p = p * r + 0.2402265069f;
    p = p * r + 0.6931471806f;
    p = p * r + 1.0f;
    return p * (f32x16)((__builtin_convertvector(n, i32x16) + 127) << 23);
}

// Adding this number leaves the nearest integer in the lowest bits.
inline u8x16 to_bytes(f32x16 x) {
    x = x < 0.0f ? f32x16{} : (x > 255.0f ? f32x16{} + 255.0f : x);
    return __builtin_convertvector((u32x16)(x + 8388608.0f) & 0xffu, u8x16);
}
inline void store_bytes(uint8_t *p, f32x16 x) {
    const u8x16 bytes = to_bytes(x);
    std::memcpy(p, &bytes, sizeof bytes);
}

// x * P(X <= x) for a standard normal X, to 3e-7 (Abramowitz and Stegun 7.1.26 for the error function).
inline f32x16 gelu(f32x16 x) {
    const f32x16 z = (x < 0.0f ? -x : x) * 0.70710678f;
    const f32x16 t = 1.0f / (1.0f + 0.3275911f * z);
    f32x16 p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const f32x16 tail = 0.5f * p * t * exp_of(-z * z);
    return x * (x < 0.0f ? tail : 1.0f - tail);
}

} // namespace
