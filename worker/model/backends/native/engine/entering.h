// Numbers that enter a product, in the format of its arithmetic, and the memory that they lie in.
#pragma once

#include <algorithm>
#include <type_traits>

#include "product.h"

namespace {

// Integers have a step for each row and a scale for each column; other numbers enter a product as they are.
template <class A> constexpr bool IS_INTEGER = std::is_same_v<typename A::Sums, Ints>;
template <class A> constexpr bool IS_BYTES = sizeof(typename A::Number) == 1;
// GELU is never below this.
constexpr float LEAST_ACTIVATION = -0.1703f;

// Takes one buffer after the other from a piece of memory. Buffers lie apart by a little more than they are long, lest the same places
// of all of them meet in the cache.
class Carver {
    char *at;

  public:
    explicit Carver(char *memory) : at(memory) {}
    template <class T> T *take(size_t count) {
        T *taken = reinterpret_cast<T *>(at);
        at += (count * sizeof(T) + 63) / 64 * 64 + 320;
        return taken;
    }
    size_t bytes() const { return size_t(at - static_cast<char *>(nullptr)); }
};

// Numbers that enter a product: rows in blocks, in the format of the arithmetic.
template <class A> struct Entering {
    using Number = typename A::Number;
    static constexpr int BLOCK = BLOCK_STEPS * A::NUMBERS_OF_A_STEP;
    Number *first;
    size_t block_bytes;

    static size_t count(int width, int num_rows) { return size_t(width + BLOCK - 1) / BLOCK * num_rows * (ROW_BYTES / sizeof(Number)); }
    Number *at(int row, int column) const {
        char *block = reinterpret_cast<char *>(first) + column / BLOCK * block_bytes;
        return reinterpret_cast<Number *>(block + size_t(row) * ROW_BYTES) + column % BLOCK;
    }
    Rows rows() const { return {reinterpret_cast<const char *>(first), block_bytes}; }
};

inline void put(int16_t *to, Floats x) { write(to, __builtin_convertvector(round_to_ints(x), Shorts)); }
inline void put(uint8_t *to, Floats x) { write(to, __builtin_convertvector(round_to_ints(x), Bytes)); }
inline void put(float *to, Floats x) { store(to, x); }
#ifdef GIST_BF16
inline void put(uint16_t *to, Floats x) { write(to, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
#endif

// Write a row of numbers; as integers, its own step, which is returned, takes its largest to `limit`.
template <class A> float enter(const Entering<A> &to, int row, const float *numbers, int width, const float *in_scale, float limit) {
    if constexpr (!IS_INTEGER<A>) {
        for (int c = 0; c < width; c += LANES) put(to.at(row, c), load(numbers + c));
        return 1;
    }
    const auto scaled = [&](int c) { return in_scale ? load(numbers + c) * load(in_scale + c) : load(numbers + c); };
    Floats most = fill(1e-20f);
    for (int c = 0; c < width; c += LANES) most = larger(absolute(scaled(c)), most);
    const float step = largest(most) / limit;
    const Floats factor = fill(1 / step);
    for (int c = 0; c < width; c += LANES) {
        const Floats whole = scaled(c) * factor;
        if constexpr (IS_BYTES<A>)
            put(to.at(row, c), whole + 128.0f);
        else
            put(to.at(row, c), whole);
    }
    return step;
}

// Bytes of an activation count from its minimum, which uses all of them; those of a gated one are shifted like a state's.
template <class A> float enter_activations(const Entering<A> &to, int row, const float *numbers, int width, float limit, bool is_gated) {
    if (!IS_BYTES<A> || is_gated) return enter(to, row, numbers, width, nullptr, limit);
    Floats most = fill(0.0f);
    for (int c = 0; c < width; c += LANES) most = larger(load(numbers + c), most);
    const float step = (largest(most) - LEAST_ACTIVATION) / 255;
    const Floats factor = fill(1 / step), offset = fill(-LEAST_ACTIVATION / step);
    for (int c = 0; c < width; c += LANES) put(to.at(row, c), load(numbers + c) * factor + offset);
    return step;
}

} // namespace
