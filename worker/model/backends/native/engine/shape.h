// What an encoder is, what one pass takes and what is read of it: the plain data that every arithmetic shares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace {

// The parameters of a layer, in the order in which they come. Weights are laid out for their arithmetic, all others are fp32. The
// second row is for integers: what a channel is multiplied with on its way in, what a sum is multiplied with to become a number, what
// a sum begins with, and the largest integer of a row that enters each of the four products.
enum Parameter {
    MIX_W, MIX_B, OUTPUT_W, OUTPUT_B, NORM_1_GAIN, NORM_1_BIAS, EXPAND_W, EXPAND_B, CONTRACT_W, CONTRACT_B, NORM_2_GAIN, NORM_2_BIAS,
    MIX_IN, OUTPUT_IN, EXPAND_IN, MIX_OUT, OUTPUT_OUT, EXPAND_OUT, CONTRACT_OUT, MIX_START, OUTPUT_START, EXPAND_START, LIMITS,
    NUM_PARAMETERS
};
// The products, as LIMITS numbers them.
enum { MIX, OUTPUT, EXPAND, CONTRACT };

enum Activation { GELU, GELU_TANH, RELU };

struct Shape {
    int hidden, intermediate, num_heads, num_layers, activation;
    float epsilon;
};

// Heads that are computed together: their queries, keys and values stay in the cache.
inline int heads_of_a_part(const Shape &s) {
    const int fitting = 128 / (s.hidden / s.num_heads);
    int heads = fitting > 1 ? fitting : 1;
    while (s.num_heads % heads) heads--;
    return heads;
}

// Numbers of the tables are of the arithmetic's own format.
struct EmbeddingTables {
    const void *words, *places;
    const float *gain, *bias;
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
