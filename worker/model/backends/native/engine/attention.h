// Attention within one text, in fp32: both of its products run in the kernels of `product.h`.
#pragma once

#include "product.h"
#include "shape.h"

namespace {

// Numbers of a row of queries, keys and values of some heads, or of a piece of the feed-forward.
constexpr int INNER_NUMBERS = 384;
constexpr int INNER_ROW = INNER_NUMBERS + 16;
constexpr int INNER_BYTES = 4 * INNER_ROW;
constexpr int WEIGHTS_ROW = ROW_BYTES / 4;

// What one thread needs for one head of one text: keys as panels of tokens, and of some queries their scores, which become weights; the
// scores of some queries with each distance, and of all keys.
struct AttentionSpace {
    float *keys, *weights, *mixed, *by_query, *by_key;

    static size_t padded(int length) { return size_t(length + PANEL - 1) / PANEL * PANEL; }
    static size_t num_blocks(int length) { return size_t(length + BLOCK_STEPS - 1) / BLOCK_STEPS; }
    static size_t bytes(int longest, int width, int num_distances) {
        const size_t for_distances = size_t(MOST_ROWS + longest) * num_distances;
        return 4 * (padded(longest) * width + num_blocks(longest) * MOST_ROWS * WEIGHTS_ROW + MOST_ROWS * width + for_distances);
    }
    AttentionSpace(char *memory, int length, int width, int num_distances)
        : keys(reinterpret_cast<float *>(memory)), weights(keys + padded(length) * width),
          mixed(weights + num_blocks(length) * MOST_ROWS * WEIGHTS_ROW), by_query(mixed + MOST_ROWS * width),
          by_key(by_query + MOST_ROWS * num_distances) {}

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

// Turn the scores of one query with the tokens from `begin` to `length` into weights, and return one over their sum.
inline float weigh(const AttentionSpace &space, int query, int begin, int length, float scale) {
    Ints lanes;
    for (int i = 0; i < LANES; i++) lanes[i] = i;
    const int whole = length / LANES * LANES, end = int(AttentionSpace::padded(length));
    const auto is_token = [&](int first) { return lanes + first < length; };
    Floats most = fill(-1e30f);
    for (int i = begin; i < whole; i += LANES) most = larger(load(space.weights_at(query, i)), most);
    if (whole < length) most = larger(is_token(whole) ? load(space.weights_at(query, whole)) : most, most);
    const Floats offset = fill(largest(most));
    Floats total{};
    for (int i = begin; i < end; i += LANES) {
        float *at = space.weights_at(query, i);
        Floats weight{};
        if (i < length) weight = exp_below_0((load(at) - offset) * scale);
        if (i >= whole) weight = is_token(i) ? weight : Floats{};
        total += weight;
        store(at, weight);
    }
    return 1 / sum(total);
}

// Turn pairs of numbers of the queries and keys of a text by the angles of their positions.
inline void rotate(float *q, int apart, int width, int length, const float *rotary) {
    const int half = width / 2;
    for (int token = 0; token < length; token++, rotary += width)
        for (float *x : {q + size_t(token) * INNER_ROW, q + size_t(token) * INNER_ROW + apart})
            for (int i = 0; i < half; i += LANES) {
                const Floats first = load(x + i), second = load(x + half + i), cosine = load(rotary + i), sine = load(rotary + half + i);
                store(x + i, first * cosine - second * sine);
                store(x + half + i, second * cosine + first * sine);
            }
}

// The scores of some rows with the distances that a text has.
inline void score_distances(const float *x, int num_rows, int width, int length, const float *laid_out, const Distances &d, float *scores) {
    const int first = d.rows[d.longest - length] / PANEL * PANEL, last = d.rows[d.longest + length - 2];
    for (int row = first; row <= last; row += PANEL) {
        const char *panel = reinterpret_cast<const char *>(laid_out + size_t(row) * width);
        multiply_some_rows<Fp32, INNER_BYTES>(
            num_rows, {reinterpret_cast<const char *>(x), panel, PANEL_STEP_BYTES, width, nullptr, scores + row, size_t(d.num_rows), false});
    }
}

// Add to the scores of some queries what the distances of tokens say.
inline void add_distances(const AttentionSpace &space, int first, int num_queries, int begin, int end, const Distances &d) {
    for (int i = 0; i < num_queries; i++) {
        const int query = first + i, zero = d.longest - 1;
        const int32_t *rows = d.rows ? d.rows + query + zero : nullptr;
        const float *bias = d.bias ? d.bias + zero - query : nullptr, *by_query = space.by_query + size_t(i) * d.num_rows;
        for (int token = begin; token < end; token++) {
            float &score = *space.weights_at(i, token);
            if (bias) score += bias[token];
            if (d.keys) score += by_query[rows[-token]];
            if (d.queries) score += space.by_key[size_t(token) * d.num_rows + rows[-token]];
            if (d.window >= 0 && (token < query - d.window || token > query + d.window)) score = -1e30f;
        }
    }
}

// One head of one text. `q` is its first query; keys and values lie `apart` and twice as far after it.
// `out(token, column, numbers)` takes LANES numbers of the head.
template <class Out> void attend(const float *q, int apart, int width, int length, char *memory, const Distances &distances, const Out &out) {
    const AttentionSpace space(memory, length, width, distances.num_rows);
    const float *k = q + apart, *v = q + 2 * apart;
    lay_out_keys(space, k, length, width);
    if (distances.queries)
        for (int token = 0; token < length; token += MOST_ROWS)
            score_distances(k + size_t(token) * INNER_ROW, std::min(MOST_ROWS, length - token), width, length, distances.queries, distances,
                            space.by_key + size_t(token) * distances.num_rows);
    const int num_parts = (length + MOST_ROWS - 1) / MOST_ROWS;
    for (int part = 0; part < num_parts; part++) {
        const int first = length * part / num_parts, num_queries = length * (part + 1) / num_parts - first;
        // The tokens that any of these queries sees; the first is where a block begins.
        const bool is_local = distances.window >= 0;
        const int begin = is_local ? std::max(0, first - distances.window) / BLOCK_STEPS * BLOCK_STEPS : 0;
        const int end = is_local ? std::min(length, first + num_queries + distances.window) : length;
        const float *own = q + size_t(first) * INNER_ROW;
        const char *queries = reinterpret_cast<const char *>(own);
        for (int token = begin; token < end; token += PANEL) {
            const char *panel = reinterpret_cast<const char *>(space.keys + token * width);
            multiply_some_rows<Fp32, INNER_BYTES>(
                num_queries, {queries, panel, PANEL_STEP_BYTES, width, nullptr, space.weights_at(0, token), WEIGHTS_ROW, false});
        }
        if (distances.keys) score_distances(own, num_queries, width, length, distances.keys, distances, space.by_query);
        if (distances.is_scored()) add_distances(space, first, num_queries, begin, end, distances);
        float shares[MOST_ROWS];
        for (int i = 0; i < num_queries; i++) shares[i] = weigh(space, i, begin, end, distances.scale);
        for (int token = begin; token < end; token += BLOCK_STEPS)
            for (int column = 0; column < width; column += PANEL) {
                const char *weights = reinterpret_cast<const char *>(space.weights_at(0, token));
                const char *values = reinterpret_cast<const char *>(v + size_t(token) * INNER_ROW + column);
                const int num_steps = std::min(BLOCK_STEPS, end - token);
                multiply_some_rows<Fp32, ROW_BYTES>(
                    num_queries, {weights, values, INNER_BYTES, num_steps, nullptr, space.mixed + column, size_t(width), token > begin});
            }
        for (int i = 0; i < num_queries; i++)
            for (int c = 0; c < width; c += LANES) out(first + i, c, load(space.mixed + i * width + c) * shares[i]);
    }
}

} // namespace
