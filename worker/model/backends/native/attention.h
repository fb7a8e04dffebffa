// Attention within each text of a packed batch.
//
// One thread takes one head of one text at a time: its keys are laid out in blocks of 16 for the vector units, and its queries pass
// over them a few at a time, in the manner of any softmax(QK'/sqrt(D))V whose scores fit into the first-level cache. Sums are fp32
// whatever the numbers in memory are. bf16 products take two numbers at a time where the processor does (AVX512-BF16).
#pragma once

#include <algorithm>
#include <cstdlib>

#include "vectors.h"

namespace {

// How keys, values and probabilities are multiplied: one number at a time, exactly, in fp32 ...
template <class T> struct Singles {
    using Probability = f32;
    using Unit = f32;
    using Lane = f32x16;
    static constexpr int WIDTH = 1;
    static Unit unit(const T *p, int i) { return widen(p[i]); }
    static Unit unit(const f32 *p, int i, int) { return p[i]; }
    static f32x16 multiply(f32x16 total, Unit a, Lane b) { return total + a * b; }
    static Lane values(const T *v, const T *) { return load(v); }
};

#ifdef __AVX512BF16__
// ... or two neighbours at a time, in bf16.
struct Pairs {
    using Probability = bf16;
    using Unit = int32_t;
    using Lane = __m512i;
    static constexpr int WIDTH = 2;
    static Unit unit(const bf16 *p, int i) { return read<int32_t>(p + 2 * i); }
    static Unit unit(const bf16 *p, int i, int) { return unit(p, i); }
    static f32x16 multiply(f32x16 total, Unit a, Lane b) {
        return (f32x16)_mm512_dpbf16_ps((__m512)total, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
    }
    static Lane values(const bf16 *v, const bf16 *next) {
        const __m512i low = _mm512_cvtepu16_epi32(read<__m256i>(v));
        const __m512i high = next ? _mm512_cvtepu16_epi32(read<__m256i>(next)) : _mm512_setzero_si512();
        return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
    }
};
template <class T> struct Products : Singles<T> {};
template <> struct Products<bf16> : Pairs {};
#else
template <class T> struct Products : Singles<T> {};
#endif

// Where one thread keeps one head of one text.
template <class T, int D> struct Scratch {
    using P = Products<T>;
    // Queries that pass together: as many as leave their sums in registers.
    static constexpr int QUERIES = 256 / D;
    static constexpr int STEPS = D / P::WIDTH;
    static constexpr int BLOCKS = D / LANES;
    int length, num_blocks;
    typename P::Lane *keys, *values;
    f32 *scores;
    typename P::Probability *weights;

    static size_t bytes(int64_t longest) {
        const size_t padded = (longest + LANES - 1) / LANES * LANES;
        return padded * D * 8 + QUERIES * padded * 8 + 64;
    }
    Scratch(char *memory, int length) : length(length), num_blocks((length + LANES - 1) / LANES) {
        const size_t padded = size_t(num_blocks) * LANES;
        keys = reinterpret_cast<typename P::Lane *>(memory);
        values = reinterpret_cast<typename P::Lane *>(memory + padded * D * 4);
        scores = reinterpret_cast<f32 *>(memory + padded * D * 8);
        weights = reinterpret_cast<typename P::Probability *>(scores + QUERIES * padded);
    }
    int padded() const { return num_blocks * LANES; }
};

// Lay out keys by blocks of 16 and values by pairs or singles of tokens; `row` is the distance between tokens.
template <class T, int D> void lay_out(const Scratch<T, D> &s, const T *k, const T *v, int row) {
    using P = Products<T>;
    std::memset((void *)(s.keys + (s.num_blocks - 1) * s.STEPS), 0, sizeof(typename P::Lane) * s.STEPS);
    auto *units = reinterpret_cast<typename P::Unit *>(s.keys);
    for (int t = 0; t < s.length; t++)
        for (int step = 0; step < s.STEPS; step++)
            units[(t / LANES * s.STEPS + step) * LANES + t % LANES] = P::unit(k + size_t(t) * row, step);
    for (int t = 0; t < s.length; t += P::WIDTH)
        for (int c = 0; c < s.BLOCKS; c++) {
            const T *here = v + size_t(t) * row + c * LANES;
            s.values[t / P::WIDTH * s.BLOCKS + c] = P::values(here, t + 1 < s.length ? here + row : nullptr);
        }
}

// The scores of some queries against every key, scaled; places past the end are NEVER.
template <class T, int D> void score(const Scratch<T, D> &s, const T *const *queries, f32 scale) {
    using P = Products<T>;
    for (int block = 0; block < s.num_blocks; block++) {
        f32x16 total[s.QUERIES] = {};
        for (int step = 0; step < s.STEPS; step++) {
            const auto key = s.keys[block * s.STEPS + step];
            for (int q = 0; q < s.QUERIES; q++) total[q] = P::multiply(total[q], P::unit(queries[q], step), key);
        }
        for (int q = 0; q < s.QUERIES; q++) store(s.scores + q * s.padded() + block * LANES, total[q] * scale);
    }
    for (int q = 0; q < s.QUERIES; q++)
        std::fill(s.scores + q * s.padded() + s.length, s.scores + (q + 1) * s.padded(), NEVER);
}

// Turn the scores of one query into weights whose sum is returned.
template <class T, int D> f32 weigh(const Scratch<T, D> &s, int q) {
    const f32 *scores = s.scores + q * s.padded();
    f32x16 largest = load(scores);
    for (int i = LANES; i < s.padded(); i += LANES) {
        const f32x16 x = load(scores + i);
        largest = x > largest ? x : largest;
    }
    f32 top = largest[0];
    for (int i = 1; i < LANES; i++) top = std::max(top, largest[i]);
    f32x16 total = {};
    for (int i = 0; i < s.padded(); i += LANES) {
        const f32x16 weight = exp_of(load(scores + i) - top);
        store(s.weights + q * s.padded() + i, weight);
        total += weight;
    }
    return sum(total);
}

// The values of every token, summed by the weights of some queries.
template <class T, int D> void mix(const Scratch<T, D> &s, f32x16 (*mixed)[D / LANES]) {
    using P = Products<T>;
    for (int step = 0; step < (s.length + P::WIDTH - 1) / P::WIDTH; step++)
        for (int q = 0; q < s.QUERIES; q++) {
            const auto weight = P::unit(s.weights + q * s.padded(), step, 0);
            for (int c = 0; c < s.BLOCKS; c++) mixed[q][c] = P::multiply(mixed[q][c], weight, s.values[step * s.BLOCKS + c]);
        }
}

// Where a head's results go: as they are, or as bytes, each number times its channel's scale, rounded, plus 128.
template <class T> struct Plain {
    T *out;
    void operator()(size_t place, int, f32x16 x) const { store(out + place, x); }
};
struct Quantizing {
    uint8_t *out;
    const f32 *scale;
    void operator()(size_t place, int channel, f32x16 x) const { store_bytes(out + place, x * load(scale + channel) + 128.0f); }
};

// One head of one text: `qkv` points at its first query, `H` is the width of all heads.
template <class T, int D, class Out>
void attend_head(const T *qkv, const Out &out, size_t token, int head, int length, int H, char *memory) {
    const Scratch<T, D> s(memory, length);
    const f32 scale = 1 / std::sqrt(f32(D));
    lay_out<T, D>(s, qkv + H, qkv + 2 * H, 3 * H);
    for (int first = 0; first < length; first += s.QUERIES) {
        const T *queries[s.QUERIES];
        for (int q = 0; q < s.QUERIES; q++) queries[q] = qkv + size_t(std::min(first + q, length - 1)) * 3 * H;
        score<T, D>(s, queries, scale);
        f32 total[s.QUERIES];
        for (int q = 0; q < s.QUERIES; q++) total[q] = weigh<T, D>(s, q);
        f32x16 mixed[s.QUERIES][D / LANES] = {};
        mix<T, D>(s, mixed);
        for (int q = 0; q < s.QUERIES && first + q < length; q++)
            for (int c = 0; c < s.BLOCKS; c++) {
                const int channel = head * D + c * LANES;
                out((token + first + q) * H + channel, channel, mixed[q][c] / total[q]);
            }
    }
}

template <class T, int D, class Out>
int attend(const T *qkv, const Out &out, const int64_t *starts, int64_t num_texts, int num_heads, int num_threads) {
    int64_t longest = 0;
    for (int64_t i = 0; i < num_texts; i++) longest = std::max(longest, starts[i + 1] - starts[i]);
    const int H = num_heads * D;
    int failed = 0;
#pragma omp parallel num_threads(num_threads)
    {
        char *memory = static_cast<char *>(std::aligned_alloc(64, (Scratch<T, D>::bytes(longest) + 63) / 64 * 64));
        if (!memory) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
#pragma omp for collapse(2) schedule(dynamic, 8)
        for (int64_t i = 0; i < num_texts; i++)
            for (int head = 0; head < num_heads; head++)
                if (const int length = int(starts[i + 1] - starts[i]); memory && length)
                    attend_head<T, D>(qkv + starts[i] * 3 * H + head * D, out, size_t(starts[i]), head, length, H, memory);
        std::free(memory);
    }
    return failed;
}

template <class T, class Out>
int attend_by_width(const T *qkv, const Out &out, const int64_t *starts, int64_t n, int num_heads, int width, int num_threads) {
    if (width == 32) return attend<T, 32>(qkv, out, starts, n, num_heads, num_threads);
    if (width == 64) return attend<T, 64>(qkv, out, starts, n, num_heads, num_threads);
    return 2;
}

} // namespace
