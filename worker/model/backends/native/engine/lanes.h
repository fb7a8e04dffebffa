// Vector registers of LANES numbers, by GCC's vector extensions: the compiler splits them where the processor's registers are shorter.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int16_t Shorts __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

// Any register or number from any address.
template <class V> inline V read(const void *p) {
    typedef V Unaligned __attribute__((aligned(1), may_alias));
    return *static_cast<const Unaligned *>(p);
}
template <class V> inline void write(void *p, V x) {
    typedef V Unaligned __attribute__((aligned(1), may_alias));
    *static_cast<Unaligned *>(p) = x;
}
inline Floats load(const float *p) { return read<Floats>(p); }
inline void store(float *p, Floats x) { write(p, x); }
inline Floats fill(float x) { return Floats{} + x; }
// The second argument where one of the two is not a number.
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
inline Floats absolute(Floats x) { return (Floats)((Ints)x & 0x7fffffff); }

template <class Combine> inline float reduce(Floats x, const Combine &combine) {
    float numbers[LANES];
    store(numbers, x);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) numbers[i] = combine(numbers[i], numbers[i + width]);
    return numbers[0];
}
inline float sum(Floats x) {
    return reduce(x, [](float a, float b) { return a + b; });
}
inline float largest(Floats x) {
    return reduce(x, [](float a, float b) { return a > b ? a : b; });
}

// The nearest whole numbers, for sizes below 2^22: after the addition they are the lowest bits.
inline Ints round_to_ints(Floats x) { return (Ints)(x + 12582912.0f) - 0x4b400000; }

// exp(x) for x <= 0, to 2e-7: 2^n by the exponent's bits, 2^r for r in [-1/2, 1/2] by a polynomial.
inline Floats exp_below_0(Floats x) {
    const Floats t = larger(x, fill(-87.0f)) * 1.44269504f;
    const Floats shifted = t + 12582912.0f, r = t - (shifted - 12582912.0f);
    Floats p = r * 0.0013333558f + 0.0096181291f;
    for (const float c : {0.0555041087f, 0.2402265069f, 0.6931471806f, 1.0f}) p = p * r + c;
    return (Floats)((Ints)p + ((Ints)shifted << 23));
}

// GELU as max(x, 0) less a fall-off, which depends on |x| alone and ends at 5: a polynomial around 2.5, to 2e-6 ...
inline Floats gelu(Floats x) {
    const Floats t = smaller(absolute(x), fill(5.0f)) * 0.4f - 1.0f;
    Floats p = t * -2.544437569e-02f + 7.232652583e-03f;
    for (const float c : {1.315901507e-01f, -9.251749085e-02f, -2.514085510e-01f, 3.452813709e-01f, 7.726433976e-02f, -4.908128783e-01f,
                          4.189891278e-01f, -1.737596642e-02f, -2.569681931e-01f, 2.326666748e-01f, -9.402215603e-02f, 1.552543632e-02f})
        p = p * t + c;
    return larger(Floats{}, x) - p;
}
// ... and in the approximation by tanh, which some publishers use: x / (1 + exp(-2y)).
inline Floats gelu_tanh(Floats x) {
    const Floats y = x * (x * x * 0.0713548163f + 1.5957691216f), tail = exp_below_0(-absolute(y));
    return x * (y < 0.0f ? tail : fill(1.0f)) / (1.0f + tail);
}
// x / (1 + exp(-x)).
inline Floats silu(Floats x) {
    const Floats tail = exp_below_0(-absolute(x));
    return x * (x < 0.0f ? tail : fill(1.0f)) / (1.0f + tail);
}

} // namespace
