// Attention within one text, in fp32: both of its products run in the kernels of `product.h`.
#pragma once

#include "product.h"

namespace {

// Numbers of a row of queries, keys and values of some heads, or of a piece of the feed-forward.
constexpr int INNER_NUMBERS = 384;
constexpr int INNER_ROW = INNER_NUMBERS + 16;
constexpr int INNER_BYTES = 4 * INNER_ROW;
constexpr int WEIGHTS_ROW = ROW_BYTES / 4;

// What one thread needs for one head of one text: keys as panels of tokens, and of some queries their scores, which become weights.
struct AttentionSpace {
    float *keys, *weights, *mixed;

    static size_t padded(int length) { return size_t(length + PANEL - 1) / PANEL * PANEL; }
    static size_t num_blocks(int length) { return size_t(length + BLOCK_STEPS - 1) / BLOCK_STEPS; }
    static size_t bytes(int longest, int width) {
        return 4 * (padded(longest) * width + num_blocks(longest) * MOST_ROWS * WEIGHTS_ROW + MOST_ROWS * width);
    }
    AttentionSpace(char *memory, int length, int width)
        : keys(reinterpret_cast<float *>(memory)), weights(keys + padded(length) * width),
          mixed(weights + num_blocks(length) * MOST_ROWS * WEIGHTS_ROW) {}

    float *weights_at(int query, int token) const {
        return weights + (token / BLOCK_STEPS * MOST_ROWS + query) * WEIGHTS_ROW + token % BLOCK_STEPS;
    }
};

// Keys become columns; columns past the last token are zeros.
inline void lay_out_keys(const AttentionSpace &space, const float *k, int length, int width) {
    for (int first = 0; first < length; first += PANEL) {
        float *panel = space.keys + first * width;
        const int num_tokens = std::min(PANEL, length - first);
        if (num_tokens < PANEL) std::memset(panel, 0, size_t(width) * PANEL_STEP_BYTES);
        for (int token = 0; token < num_tokens; token++) {
            const float *key = k + size_t(first + token) * INNER_ROW;
            for (int i = 0; i < width; i++) panel[i * PANEL + token] = key[i];
        }
    }
}

// Turn the scores of one query into weights, and return one over their sum.
inline float weigh(const AttentionSpace &space, int query, int length, float scale) {
    Ints lanes;
    for (int i = 0; i < LANES; i++) lanes[i] = i;
    const int whole = length / LANES * LANES, end = int(AttentionSpace::padded(length));
    const auto is_token = [&](int first) { return lanes + first < length; };
    Floats most = fill(-1e30f);
    for (int i = 0; i < whole; i += LANES) most = larger(load(space.weights_at(query, i)), most);
    if (whole < length) most = larger(is_token(whole) ? load(space.weights_at(query, whole)) : most, most);
    const Floats offset = fill(largest(most));
    Floats total{};
    for (int i = 0; i < end; i += LANES) {
        float *at = space.weights_at(query, i);
        Floats weight{};
        if (i < length) weight = exp_below_0((load(at) - offset) * scale);
        if (i >= whole) weight = is_token(i) ? weight : Floats{};
        total += weight;
        store(at, weight);
    }
    return 1 / sum(total);
}

// One head of one text. `q` is its first query; keys and values lie `apart` and twice as far after it.
// `out(token, column, numbers)` takes LANES numbers of the head.
template <class Out> void attend(const float *q, int apart, int width, int length, char *memory, const Out &out) {
    const AttentionSpace space(memory, length, width);
    const float scale = 1 / std::sqrt(float(width)), *k = q + apart, *v = q + 2 * apart;
    lay_out_keys(space, k, length, width);
    const int num_parts = (length + MOST_ROWS - 1) / MOST_ROWS;
    for (int part = 0; part < num_parts; part++) {
        const int first = length * part / num_parts, num_queries = length * (part + 1) / num_parts - first;
        const char *queries = reinterpret_cast<const char *>(q + size_t(first) * INNER_ROW);
        for (int token = 0; token < length; token += PANEL) {
            const char *panel = reinterpret_cast<const char *>(space.keys + token * width);
            multiply_some_rows<Fp32, INNER_BYTES>(
                num_queries, {queries, panel, PANEL_STEP_BYTES, width, nullptr, space.weights_at(0, token), WEIGHTS_ROW, false});
        }
        float shares[MOST_ROWS];
        for (int i = 0; i < num_queries; i++) shares[i] = weigh(space, i, length, scale);
        for (int token = 0; token < length; token += BLOCK_STEPS)
            for (int column = 0; column < width; column += PANEL) {
                const char *weights = reinterpret_cast<const char *>(space.weights_at(0, token));
                const char *values = reinterpret_cast<const char *>(v + size_t(token) * INNER_ROW + column);
                const int num_steps = std::min(BLOCK_STEPS, length - token);
                multiply_some_rows<Fp32, ROW_BYTES>(
                    num_queries, {weights, values, INNER_BYTES, num_steps, nullptr, space.mixed + column, size_t(width), token > 0});
            }
        for (int i = 0; i < num_queries; i++)
            for (int c = 0; c < width; c += LANES) out(first + i, c, load(space.mixed + i * width + c) * shares[i]);
    }
}

} // namespace
