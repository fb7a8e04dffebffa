// The encoder's layers in vector registers, for one group of texts at a time: what a group needs between two products stays in the
// second-level cache of its thread.
#pragma once

#include <algorithm>
#include <type_traits>

#include "attention.h"
#include "profile.h"
#include "shape.h"

namespace {

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

// The rows of one group of texts on their way through the layers.
template <class A> class Group {
    static constexpr bool IS_FP32 = std::is_same_v<A, Fp32>;
    // Integers have a step for each row and a scale for each column; other numbers enter a product as they are.
    static constexpr bool IS_INTEGER = std::is_same_v<typename A::Sums, Ints>;
    static constexpr bool IS_BYTES = sizeof(typename A::Number) == 1;
    // GELU is never below this.
    static constexpr float LEAST_ACTIVATION = -0.1703f;

    const Shape &shape;
    const int num_rows, num_heads;
    const size_t outer_row;
    // The state, and what attention gives; the sums of a product that is added to the state.
    float *x, *attended, *sums;
    // Queries, keys and values of a part of the heads, or a piece of the feed-forward: the two are never needed at once.
    float *inner;
    Entering<A> x_in, piece_in;
    // What the integers of a row are multiplied with.
    float *x_steps, *piece_steps, *strip;
    char *space;

    void carve(Carver &memory) {
        const int H = shape.hidden;
        x = memory.take<float>(num_rows * outer_row);
        sums = memory.take<float>(num_rows * outer_row);
        x_in = {memory.take<typename A::Number>(Entering<A>::count(H, num_rows)), size_t(num_rows) * ROW_BYTES};
        inner = memory.take<float>(size_t(num_rows) * INNER_ROW);
        if constexpr (IS_FP32)
            attended = memory.take<float>(Entering<A>::count(H, num_rows)), piece_in = {inner, BLOCK_BYTES};
        else
            // As integers it has entered the product before a sum is written.
            attended = sums, piece_in = {memory.take<typename A::Number>(Entering<A>::count(INNER_NUMBERS, num_rows)), size_t(num_rows) * ROW_BYTES};
        x_steps = memory.take<float>(num_rows);
        piece_steps = memory.take<float>(num_rows);
        strip = memory.take<float>(size_t(num_rows) * PANEL);
        space = memory.take<char>(0);
    }

  public:
    // Held by a thread while it computes: nothing.
    struct Guard {};

    static size_t bytes(const Shape &s, int num_tokens, int longest) {
        Carver memory(nullptr);
        const Group group(s, num_tokens, memory);
        return memory.bytes() + AttentionSpace::bytes(longest, s.hidden / s.num_heads, s.num_distances);
    }
    Group(const Shape &shape, int num_tokens, Carver &&memory) : Group(shape, num_tokens, memory) {}
    Group(const Shape &shape, int num_tokens, Carver &memory)
        : shape(shape), num_rows(num_tokens), num_heads(heads_of_a_part(shape)), outer_row(shape.hidden + 16) {
        carve(memory);
    }
    Group(const Shape &shape, int num_tokens, char *memory) : Group(shape, num_tokens, Carver(memory)) {}

    const float *row(int i) const { return x + i * outer_row; }

    void embed(int row, int64_t word, int64_t place, const EmbeddingTables &tables, const float *const *p) {
        const int width = shape.embedding ? shape.embedding : shape.hidden;
        const float *words = static_cast<const float *>(tables.words) + word * width;
        float *numbers = sums + row * outer_row;
        if (tables.places) {
            const float *places = static_cast<const float *>(tables.places) + place * width;
            for (int c = 0; c < width; c += LANES) store(numbers + c, load(words + c) + load(places + c));
        } else
            std::memcpy(numbers, words, size_t(width) * 4);
        if (!tables.gain)
            std::memcpy(x + row * outer_row, numbers, size_t(width) * 4);
        else if (shape.embedding)
            normalize(row, width, 0, tables.gain, tables.bias, [&](int c, Floats number) { store(inner + size_t(row) * INNER_ROW + c, number); });
        else
            become_norm(row, tables.gain, tables.bias, p[MIX_IN], limit(p, MIX), true);
    }

    // Narrow embeddings become states.
    void project(const EmbeddingTables &tables, const float *const *p) {
        const Weights w{reinterpret_cast<const char *>(tables.projection), size_t(shape.embedding) * PANEL_STEP_BYTES, shape.hidden, shape.embedding, nullptr, 0};
        multiply<Fp32, INNER_BYTES>({reinterpret_cast<const char *>(inner), BLOCK_BYTES}, w, num_rows, strip, [&](int row, int end, int c, const float *s) {
            for (; row < end; row++, s += PANEL)
                for (int k = 0; k < PANEL; k += LANES) store(x + row * outer_row + c + k, load(s + k) + load(tables.projection_bias + c + k));
        });
        for (int row = 0; row < num_rows; row++) enter_state(row, x + row * outer_row, p[MIX_IN], limit(p, MIX));
    }

    // `starts` are those of the texts in this group; `next` are the parameters of the next layer; `read(row)` reads a finished row.
    template <class Read> void pass(const float *const *p, const int *starts, int num_texts, const float *const *next, const Read &read) {
        const int H = shape.hidden;
        for (int head = 0; head < shape.num_heads; head += num_heads) attend_part(p, head, starts, num_texts);
        Rows rows{reinterpret_cast<const char *>(attended), size_t(num_rows) * ROW_BYTES};
        if constexpr (!IS_FP32) {
            for (int row = 0; row < num_rows; row++) x_steps[row] = enter(x_in, row, attended + row * outer_row, H, p[OUTPUT_IN], limit(p, OUTPUT));
            rows = x_in.rows();
            end_of(REST);
        }
        add_product<ROW_BYTES>(rows, weights(p[OUTPUT_W], H, H, p[OUTPUT_START]), p[OUTPUT_OUT], x_steps, false);
        end_of(PRODUCTS);
        add_and_normalize(p[OUTPUT_B], p[NORM_1_GAIN], p[NORM_1_BIAS], p[EXPAND_IN], limit(p, EXPAND), !shape.is_norm_first, [](int) {});
        end_of(NORMS);
        for (int first = 0; first < shape.intermediate; first += INNER_NUMBERS)
            feed_forward(p, first, std::min(INNER_NUMBERS, shape.intermediate - first));
        add_and_normalize(p[CONTRACT_B], p[NORM_2_GAIN], p[NORM_2_BIAS], next[MIX_IN], limit(next, MIX), p[SETTINGS][IS_NORMALIZED], read);
        end_of(NORMS);
    }

  private:
    static float limit(const float *const *p, int product) { return IS_FP32 ? 0.0f : p[LIMITS][product]; }
    static Weights weights(const float *laid_out, int inputs, int outputs, const float *start = nullptr, int first_output = 0, int num_outputs = 0) {
        const int num_steps = inputs / A::NUMBERS_OF_A_STEP;
        const size_t panel_bytes = size_t(num_steps) * PANEL_STEP_BYTES;
        const int32_t *starts = reinterpret_cast<const int32_t *>(start);
        return {reinterpret_cast<const char *>(laid_out) + first_output / PANEL * panel_bytes, panel_bytes,
                num_outputs ? num_outputs : outputs, num_steps, starts ? starts + first_output : nullptr, size_t(outputs)};
    }

    // Write a row of numbers; as integers, its own step, which is returned, takes its largest to `limit`.
    static float enter(const Entering<A> &to, int row, const float *numbers, int width, const float *in_scale, float limit) {
        if constexpr (!IS_INTEGER) {
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
            if constexpr (IS_BYTES)
                put(to.at(row, c), whole + 128.0f);
            else
                put(to.at(row, c), whole);
        }
        return step;
    }
    static void put(int16_t *to, Floats x) { write(to, __builtin_convertvector(round_to_ints(x), Shorts)); }
    static void put(uint8_t *to, Floats x) { write(to, __builtin_convertvector(round_to_ints(x), Bytes)); }
    static void put(float *to, Floats x) { store(to, x); }
#ifdef GIST_BF16
    static void put(uint16_t *to, Floats x) { write(to, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
#endif

    // Some heads of all texts.
    void attend_part(const float *const *p, int first_head, const int *starts, int num_texts) {
        const int H = shape.hidden, width = H / shape.num_heads, own = num_heads * width, first = first_head * width;
        multiply_state(weights(p[MIX_W], H, 3 * H, p[MIX_START], 3 * first, 3 * own), p[MIX_OUT] + 3 * first, p[MIX_B] + 3 * first, [](float *to, Floats x) { store(to, x); });
        end_of(PRODUCTS);
        const Distances distances = distances_of_layer(shape, p);
        for (int i = 0; i < num_texts; i++)
            for (int head = 0; head < num_heads; head++) {
                float *q = inner + size_t(starts[i]) * INNER_ROW + head * width;
                const int length = starts[i + 1] - starts[i];
                if (distances.rotary) rotate(q, own, width, length, distances.rotary);
                attend(q, own, width, length, space, distances_of_head(distances, first_head + head, width), [&](int token, int c, Floats numbers) {
                    const int row = starts[i] + token, column = first + head * width + c;
                    if constexpr (IS_FP32)
                        store(Entering<A>{attended, size_t(num_rows) * ROW_BYTES}.at(row, column), numbers);
                    else
                        store(attended + row * outer_row + column, numbers);
                });
            }
        end_of(ATTENTION);
    }

    // Multiply the state; `take(to, numbers)` puts the numbers to the inner rows.
    template <class Take> void multiply_state(const Weights &w, const float *scale, const float *bias, const Take &take) {
        multiply<A, ROW_BYTES>(x_in.rows(), w, num_rows, strip, [&](int row, int end, int c, const float *s) {
            for (; row < end; row++, s += PANEL)
                for (int k = 0; k < PANEL; k += LANES)
                    take(inner + size_t(row) * INNER_ROW + c + k, number(load(s + k), scale + c + k, x_steps[row]) + load(bias + c + k));
        });
    }
    static Floats number(Floats sums, const float *scale, float step) {
        if constexpr (!IS_INTEGER) return sums;
        return sums * (load(scale) * step);
    }

    // Multiply the state with some outputs of the first product of the feed-forward.
    template <class Take> void expand(const float *const *p, int first, int width, const Take &take) {
        multiply_state(weights(p[EXPAND_W], shape.hidden, shape.expanded(), p[EXPAND_START], first, width), p[EXPAND_OUT] + first, p[EXPAND_B] + first, take);
    }

    // Some numbers of the inner row, and what they add to the outer one.
    void feed_forward(const float *const *p, int first, int width) {
        const int H = shape.hidden, activated = first + (shape.gate == 2 ? shape.intermediate : 0);
        switch (shape.activation) {
        case GELU: expand(p, activated, width, [](float *to, Floats x) { store(to, gelu(x)); }); break;
        case GELU_TANH: expand(p, activated, width, [](float *to, Floats x) { store(to, gelu_tanh(x)); }); break;
        case RELU: expand(p, activated, width, [](float *to, Floats x) { store(to, larger(Floats{}, x)); }); break;
        case SILU: expand(p, activated, width, [](float *to, Floats x) { store(to, silu(x)); }); break;
        }
        if (shape.gate) expand(p, first + (shape.gate == 1 ? shape.intermediate : 0), width, [](float *to, Floats x) { store(to, load(to) * x); });
        end_of(PRODUCTS);
        if constexpr (!IS_FP32) {
            for (int row = 0; row < num_rows; row++) piece_steps[row] = enter_piece(row, width, limit(p, CONTRACT));
            end_of(REST);
        }
        Weights w = weights(p[CONTRACT_W], shape.intermediate, H);
        w.first += size_t(first) / A::NUMBERS_OF_A_STEP * PANEL_STEP_BYTES;
        w.num_steps = width / A::NUMBERS_OF_A_STEP;
        // A piece is one block.
        if (p[CONTRACT_START]) w.start = reinterpret_cast<const int32_t *>(p[CONTRACT_START]) + size_t(first / INNER_NUMBERS) * H;
        // Bytes of a piece have scales of their own.
        const float *scale = p[CONTRACT_OUT] + (IS_BYTES ? size_t(first / INNER_NUMBERS) * H : 0);
        add_product<IS_FP32 ? INNER_BYTES : ROW_BYTES>(piece_in.rows(), w, scale, piece_steps, first > 0);
        end_of(PRODUCTS);
    }

    // Bytes of an activation count from its minimum, which uses all of them; those of a gated one are shifted like a state's.
    float enter_piece(int row, int width, float limit) {
        const float *numbers = inner + size_t(row) * INNER_ROW;
        if (!IS_BYTES || shape.gate) return enter(piece_in, row, numbers, width, nullptr, limit);
        Floats most = fill(0.0f);
        for (int c = 0; c < width; c += LANES) most = larger(load(numbers + c), most);
        const float step = (largest(most) - LEAST_ACTIVATION) / 255;
        const Floats factor = fill(1 / step), offset = fill(-LEAST_ACTIVATION / step);
        for (int c = 0; c < width; c += LANES) put(piece_in.at(row, c), load(numbers + c) * factor + offset);
        return step;
    }

    // Put a product into `sums`, or add it to them.
    template <int X_ROW> void add_product(const Rows &rows, const Weights &w, const float *scale, const float *steps, bool is_added) {
        multiply<A, X_ROW>(rows, w, num_rows, strip, [&](int row, int end, int c, const float *s) {
            for (; row < end; row++, s += PANEL)
                for (int k = 0; k < PANEL; k += LANES) {
                    float *to = sums + row * outer_row + c + k;
                    const Floats own = number(load(s + k), scale + c + k, steps[row]);
                    store(to, is_added ? load(to) + own : own);
                }
        });
    }

    // The norm of a row of `sums`; `take(column, numbers)` takes LANES numbers.
    template <class Take> void normalize(int row, int width, int num_filling, const float *gain, const float *bias, const Take &take) const {
        const int count = width - num_filling;
        const float *numbers = sums + row * outer_row;
        Floats total{}, squares{};
        for (int c = 0; c < width; c += LANES) total += load(numbers + c);
        const float mean = sum(total) / count;
        for (int c = 0; c < width; c += LANES) {
            const Floats centred = load(numbers + c) - mean;
            squares += centred * centred;
        }
        const float factor = 1 / std::sqrt((sum(squares) - num_filling * mean * mean) / count + shape.epsilon);
        for (int c = 0; c < width; c += LANES) take(c, (load(numbers + c) - mean) * factor * load(gain + c) + load(bias + c));
    }

    // The products read the norm of a row of `sums`; the state becomes the norm too, or the row itself.
    void become_norm(int row, const float *gain, const float *bias, const float *in_scale, float limit, bool is_state) {
        float *numbers = sums + row * outer_row, *state = x + row * outer_row, *out = is_state ? state : numbers;
        if (!is_state) std::memcpy(state, numbers, size_t(shape.hidden) * 4);
        normalize(row, shape.hidden, shape.num_filling, gain, bias, [&](int c, Floats number) {
            store(out + c, number);
            if constexpr (!IS_INTEGER) put(x_in.at(row, c), number);
        });
        if constexpr (IS_INTEGER) x_steps[row] = enter(x_in, row, out, shape.hidden, in_scale, limit);
    }

    // The products read a row of numbers.
    void enter_state(int row, const float *numbers, const float *in_scale, float limit) {
        x_steps[row] = enter(x_in, row, numbers, shape.hidden, in_scale, limit);
    }

    // To the state the sums and a shift are added, and it becomes the norm of that, where it `is_state`.
    template <class Read>
    void add_and_normalize(const float *shift, const float *gain, const float *bias, const float *in_scale, float limit, bool is_state, const Read &read) {
        const int H = shape.hidden;
        for (int row = 0; row < num_rows; row++) {
            float *numbers = sums + row * outer_row;
            for (int c = 0; c < H; c += LANES) store(numbers + c, load(numbers + c) + (load(x + row * outer_row + c) + load(shift + c)));
            become_norm(row, gain, bias, in_scale, limit, is_state);
            read(row);
        }
    }
};

} // namespace
