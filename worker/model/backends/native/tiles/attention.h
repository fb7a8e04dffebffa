// Attention within one text on the tile registers: scores, weights and sums of up to 16 queries at a time.
#pragma once

#include "products.h"
#ifdef GIST_TILES

#include <cmath>
#include <type_traits>

namespace {
namespace tiles {

// 2 to the power of t, for t <= 0, to 4e-5: a weight is kept in bf16, which is a hundred times coarser.
inline __m512 exp2_below_0(__m512 t) {
    // Below this the processor would take many times as long over each number.
    t = _mm512_max_ps(t, _mm512_set1_ps(-126.0f));
    const __m512 n = _mm512_roundscale_ps(t, 0), r = _mm512_sub_ps(t, n);
    __m512 p = _mm512_fmadd_ps(r, _mm512_set1_ps(0.0096181291f), _mm512_set1_ps(0.0555041087f));
    for (const float c : {0.2402265069f, 0.6931471806f, 1.0f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
    return _mm512_scalef_ps(p, n);
}

// Sixteen rows of sixteen pairs become sixteen columns.
inline void transpose_16(__m512i *r) {
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            r[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + j + 2]);
            r[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + j + 2]);
        }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            t[8 * j + i] = _mm512_shuffle_i32x4(r[8 * j + i], r[8 * j + i + 4], 0x88);
            t[8 * j + i + 4] = _mm512_shuffle_i32x4(r[8 * j + i], r[8 * j + i + 4], 0xdd);
        }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

// What one thread needs for one head of one text; D is the width of the head.
template <int D> struct AttentionSpace {
    static constexpr int STEPS = D / 32, TILES = D / 16;
    // So many queries take each step together: one alone would wait for the tiles, the tiles for it.
    static constexpr int QUERIES = 64;
    int length, num_blocks, num_pairs_of_blocks;
    __m512i *keys, *values;
    float *scores, *mixed;
    uint16_t *weights;

    static size_t bytes(int longest) {
        const size_t padded = (longest + 31) / 32 * 32;
        return padded * D * 2 * 2 + QUERIES * (padded * (4 + 2) + D * 4) + 256;
    }
    AttentionSpace(char *memory, int length)
        : length(length), num_blocks((length + 15) / 16), num_pairs_of_blocks((length + 31) / 32) {
        const size_t padded = size_t(num_pairs_of_blocks) * 32;
        keys = reinterpret_cast<__m512i *>(memory);
        values = reinterpret_cast<__m512i *>(memory + padded * D * 2);
        scores = reinterpret_cast<float *>(memory + padded * D * 4);
        mixed = scores + QUERIES * padded;
        weights = reinterpret_cast<uint16_t *>(mixed + QUERIES * D);
    }
    int row() const { return num_pairs_of_blocks * 32; }
};

// Lay out the keys as columns, and the values by pairs of tokens; `row` is the distance between tokens, in numbers.
template <int D> void lay_out(const AttentionSpace<D> &s, const uint16_t *k, const uint16_t *v, size_t row) {
    const __m512i zero = _mm512_setzero_si512();
    const auto at = [&](const uint16_t *x, int token) { return token < s.length ? _mm512_loadu_si512(x + token * row) : zero; };
    for (int block = 0; block < s.num_blocks; block++)
        for (int step = 0; step < s.STEPS; step++) {
            __m512i *r = s.keys + (block * s.STEPS + step) * 16;
            for (int i = 0; i < 16; i++) r[i] = at(k + step * 32, block * 16 + i);
            transpose_16(r);
        }
    // Numbers i of two tokens side by side: the first sixteen, and the others.
    alignas(64) static const auto order = [] {
        struct { uint16_t of[2][32]; } a;
        for (int half = 0; half < 2; half++)
            for (int i = 0; i < 16; i++) a.of[half][2 * i] = half * 16 + i, a.of[half][2 * i + 1] = 32 + half * 16 + i;
        return a;
    }();
    const __m512i low = _mm512_loadu_si512(order.of[0]), high = _mm512_loadu_si512(order.of[1]);
    for (int token = 0; token < s.num_pairs_of_blocks * 32; token += 2)
        for (int step = 0; step < s.STEPS; step++) {
            const __m512i a = at(v + step * 32, token), b = at(v + step * 32, token + 1);
            __m512i *to = s.values + size_t(token / 32 * s.TILES + 2 * step) * 16 + token % 32 / 2;
            to[0] = _mm512_permutex2var_epi16(a, low, b);
            to[16] = _mm512_permutex2var_epi16(a, high, b);
        }
    settle();
}

template <int D> void score(const AttentionSpace<D> &s, const uint16_t *q, size_t row, float *scores) {
    _tile_loadd(4, q, row * 2);
    if constexpr (D == 64) _tile_loadd(5, q + 32, row * 2);
    for (int block = 0; block < s.num_blocks; block++) {
        const __m512i *keys = s.keys + block * s.STEPS * 16;
        _tile_zero(0);
        _tile_loadd(6, keys, 64);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (D == 64) {
            _tile_loadd(6, keys + 16, 64);
            _tile_dpbf16ps(0, 5, 6);
        }
        _tile_stored(0, scores + block * 16, s.row() * 4);
    }
}

// Turn the scores of one query into weights, and return one over their sum.
template <int D> float weigh(const AttentionSpace<D> &s, int query) {
    const float *scores = s.scores + query * s.row();
    uint16_t *weights = s.weights + query * s.row();
    const float log2_scale = 1.44269504f / std::sqrt(float(D));
    const __mmask16 tail = __mmask16(0xffff >> (s.num_blocks * 16 - s.length));
    const int last = s.num_blocks - 1;
    __m512 largest = _mm512_mask_loadu_ps(_mm512_set1_ps(-1e30f), tail, scores + last * 16), total = _mm512_setzero_ps();
    for (int i = 0; i < last; i++) largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + i * 16));
    const __m512 scale = _mm512_set1_ps(log2_scale), offset = _mm512_set1_ps(_mm512_reduce_max_ps(largest) * log2_scale);
    for (int i = 0; i < s.num_pairs_of_blocks * 2; i++) {
        __m512 weight = _mm512_setzero_ps();
        if (i <= last) weight = exp2_below_0(_mm512_fmsub_ps(_mm512_loadu_ps(scores + i * 16), scale, offset));
        if (i == last) weight = _mm512_maskz_mov_ps(tail, weight);
        total = _mm512_add_ps(total, weight);
        _mm256_storeu_si256((__m256i *)(weights + i * 16), (__m256i)_mm512_cvtneps_pbh(weight));
    }
    return 1 / _mm512_reduce_add_ps(total);
}

// The values of every token, summed by the weights of 16 queries.
template <int D> void mix(const AttentionSpace<D> &s, const uint16_t *weights, float *mixed) {
    clear_sums();
    for (int block = 0; block < s.num_pairs_of_blocks; block++) {
        const __m512i *values = s.values + size_t(block) * s.TILES * 16;
        _tile_loadd(4, weights + block * 32, s.row() * 2);
        _tile_loadd(6, values, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, values + 16, 64);
        _tile_dpbf16ps(1, 4, 7);
        if constexpr (D == 64) {
            _tile_loadd(6, values + 32, 64);
            _tile_dpbf16ps(2, 4, 6);
            _tile_loadd(7, values + 48, 64);
            _tile_dpbf16ps(3, 4, 7);
        }
    }
    _tile_stored(0, mixed, D * 4);
    _tile_stored(1, mixed + 16, D * 4);
    if constexpr (D == 64) {
        _tile_stored(2, mixed + 32, D * 4);
        _tile_stored(3, mixed + 48, D * 4);
    }
}

// One head of one text. `q` is its first query, `row` the distance between tokens; `out(token, column, values)` takes 32 of the head.
template <int D, class Out>
void attend_tiled(const uint16_t *q, size_t row, int width, int length, char *memory, const Out &out) {
    const AttentionSpace<D> s(memory, length);
    lay_out<D>(s, q + width, q + 2 * width, row);
    for (int first = 0; first < length; first += s.QUERIES) {
        const int num_queries = std::min(s.QUERIES, length - first);
        for (int i = 0; i < num_queries; i += 16) score<D>(s, q + (first + i) * row, row, s.scores + i * s.row());
        settle();
        float shares[s.QUERIES];
        for (int i = 0; i < num_queries; i++) shares[i] = weigh<D>(s, i);
        settle();
        for (int i = 0; i < num_queries; i += 16) mix<D>(s, s.weights + i * s.row(), s.mixed + i * D);
        settle();
        for (int i = 0; i < num_queries; i++)
            for (int c = 0; c < D; c += 32) {
                const __m512 share = _mm512_set1_ps(shares[i]);
                out(first + i, c, _mm512_mul_ps(_mm512_loadu_ps(s.mixed + i * D + c), share),
                    _mm512_mul_ps(_mm512_loadu_ps(s.mixed + i * D + c + 16), share));
            }
    }
}

} // namespace tiles
} // namespace
#endif
