// What an encoder is, what one pass takes and what is read of it: the plain data that every arithmetic shares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace {

// The parameters of a layer, in the order in which they come. Weights are laid out for their arithmetic, all others are fp32. The
// second row is for integers: what a channel is multiplied with on its way in, what a sum is multiplied with to become a number, what
// a sum begins with, and the largest integer of a row that enters each of the four products. The third row is for distances in
// attention, each null where there is none: see `Distances`. SETTINGS are numbers of the layer, as `Setting` has them.
enum Parameter {
    MIX_W, MIX_B, OUTPUT_W, OUTPUT_B, NORM_1_GAIN, NORM_1_BIAS, EXPAND_W, EXPAND_B, CONTRACT_W, CONTRACT_B, NORM_2_GAIN, NORM_2_BIAS,
    MIX_IN, OUTPUT_IN, EXPAND_IN, MIX_OUT, OUTPUT_OUT, EXPAND_OUT, CONTRACT_OUT, MIX_START, OUTPUT_START, EXPAND_START, CONTRACT_START, LIMITS,
    ROTARY, DISTANCE_BIAS, DISTANCE_KEYS, DISTANCE_QUERIES, DISTANCE_ROWS, SETTINGS,
    NUM_PARAMETERS
};
// The tokens that a token sees on either side, -1 for all; and whether the state becomes the norm after the layer, and not only what
// the next product reads: so it is in every layer whose norms come last, and in the last whose norms come first.
enum Setting { WINDOW, IS_NORMALIZED };
// The products, as LIMITS numbers them.
enum { MIX, OUTPUT, EXPAND, CONTRACT };

enum Activation { GELU, GELU_TANH, RELU, SILU };

struct Shape {
    int hidden, intermediate, num_heads, num_layers, activation;
    // The width of the embeddings where a linear map makes states of them; else 0.
    int embedding;
    // The expanded numbers of a gated feed-forward come in halves: 0 for none, 1 where the first is activated, 2 where the second is.
    int gate;
    // Whether products read a norm of the state, to which their results are added.
    int is_norm_first;
    // The longest text, and the rows of distances in disentangled attention.
    int longest, num_distances;
    // Columns that fill the state up to whole panels, always 0: a norm leaves them out.
    int num_filling;
    float epsilon, score_scale;

    int expanded() const { return gate ? 2 * intermediate : intermediate; }
};

// What attention adds for the distances of tokens; null for what there is not. For all heads, or for one.
struct Distances {
    // Cosines and sines of each position, `[longest, 2, width / 2]`.
    const float *rotary;
    // What is added to the score of a query and a key, by `key - query + longest - 1`.
    const float *bias;
    // Keys and queries of distances, in panels as weights are; and the row of a distance, by `query - key + longest - 1`.
    const float *keys, *queries;
    const int32_t *rows;
    int longest, num_rows, window;
    float scale;

    bool is_scored() const { return bias || keys || queries || window >= 0; }
};

inline Distances distances_of_layer(const Shape &s, const float *const *p) {
    const auto *rows = reinterpret_cast<const int32_t *>(p[DISTANCE_ROWS]);
    return {p[ROTARY], p[DISTANCE_BIAS], p[DISTANCE_KEYS], p[DISTANCE_QUERIES], rows, s.longest, s.num_distances, int(p[SETTINGS][WINDOW]), s.score_scale};
}
inline Distances distances_of_head(const Distances &all, int head, int width) {
    const auto own = [&](const float *x, size_t size) { return x ? x + head * size : nullptr; };
    Distances d = all;
    d.bias = own(d.bias, 2 * size_t(d.longest) - 1);
    d.keys = own(d.keys, size_t(d.num_rows) * width), d.queries = own(d.queries, size_t(d.num_rows) * width);
    return d;
}

// Heads that are computed together: their queries, keys and values stay in the cache.
inline int heads_of_a_part(const Shape &s) {
    const int fitting = 128 / (s.hidden / s.num_heads);
    int heads = fitting > 1 ? fitting : 1;
    while (s.num_heads % heads) heads--;
    return heads;
}

// Numbers of words and places are of the arithmetic's own format, the others fp32. Null: no places, no norm, no linear map.
struct EmbeddingTables {
    const void *words, *places;
    const float *gain, *bias, *projection, *projection_bias;
};

// A mix of layers by `weights`, `[layers + 1]`: `[T, H]` for each token, or fp32 `[n, H]` for each text, by its mean or its first token.
// With a head its logits, fp32, for each of these rows.
struct Reading {
    enum Pooling { TOKENS, MEAN, FIRST };
    const float *weights;
    // Null: the mix itself is the result.
    const void *head;
    void *out;
    // The first and the last layer that count.
    int pooling, first, last;

    // Whether rows are copied as they are.
    bool is_copied() const { return pooling == TOKENS && !head && first == last; }
};

// The texts of a group: the rows of text `i` begin at `starts[i]`; it is text `members[i]` of the batch, and row `r` belongs to place
// `places[r]` of the batch.
struct GroupTexts {
    const int *starts;
    const int64_t *members, *places;
    int num;

    int num_rows() const { return starts[num]; }
};

// The texts of a batch: ids lie end to end, text `i` from `starts[i]` to `starts[i + 1]`; group `g` has the texts
// `order[bounds[g]]` to `order[bounds[g + 1]]`.
struct Texts {
    const int64_t *ids, *starts, *order, *bounds;
    int64_t num_groups;
};

} // namespace
