// The encoder's layers in vector registers, for one group of texts at a time: what a group needs between two products stays in the
// second-level cache of its thread.
#pragma once

#include <algorithm>
#include <type_traits>

#include "attention.h"
#include "entering.h"
#include "profile.h"
#include "shape.h"
#include "team.h"

namespace {

// The rows of one group of texts on their way through the layers.
template <class A> class Group {
    static constexpr bool IS_FP32 = std::is_same_v<A, Fp32>;

    using Number = typename A::Number;

  public:
    // What each thread has of its own: queries, keys and values of some heads, or a piece of the feed-forward, which are never needed at
    // once; sums of a panel; room for attention.
    struct Own {
        float *inner, *strip;
        char *space;
    };

  private:
    const Shape &shape;
    const int num_rows;
    const size_t outer_row;
    // The threads that compute the group; null for one.
    Team *const team;
    const Items items;
    // The state, and what attention gives; the sums of a product that is added to the state.
    float *x, *attended, *sums;
    Entering<A> x_in;
    // Pieces of the feed-forward, and what the integers of a row are multiplied with.
    Number *pieces;
    float *x_steps, *piece_steps;
    Own own;

    static constexpr size_t numbers_of_a_piece(int num_rows) { return IS_FP32 ? size_t(num_rows) * INNER_ROW : Entering<A>::count(INNER_NUMBERS, num_rows); }
    Carver carve(Carver memory) {
        const int H = shape.hidden;
        x = memory.take<float>(num_rows * outer_row);
        sums = memory.take<float>(num_rows * outer_row);
        x_in = {memory.take<Number>(Entering<A>::count(H, num_rows)), size_t(num_rows) * ROW_BYTES};
        // As other numbers, the results of attention have entered the product before a sum is written.
        attended = IS_FP32 ? memory.take<float>(Entering<A>::count(H, num_rows)) : sums;
        x_steps = memory.take<float>(num_rows);
        piece_steps = memory.take<float>(size_t(items.num_held) * num_rows);
        if (!IS_FP32 || team) pieces = memory.take<Number>(items.num_held * numbers_of_a_piece(num_rows));
        return memory;
    }

  public:
    // Held by a thread while it computes: nothing.
    struct Guard {};

    static Own take_own(const Shape &, int num_tokens, Carver memory) {
        return {memory.take<float>(size_t(num_tokens) * INNER_ROW), memory.take<float>(size_t(num_tokens) * PANEL), memory.take<char>(0)};
    }
    static size_t own_bytes(const Shape &s, int num_tokens, int longest) {
        return size_t(take_own(s, num_tokens, Carver(nullptr)).space) + AttentionSpace::bytes(longest, s.hidden / s.num_heads, s.num_distances);
    }
    static size_t bytes(const Shape &s, int num_tokens, int longest, Team *team) {
        return size_t(Group(s, num_tokens, nullptr, team).own.inner) + own_bytes(s, num_tokens, longest);
    }
    Group(const Shape &shape, int num_tokens, char *memory, Team *team)
        : shape(shape), num_rows(num_tokens), outer_row(shape.hidden + 16), team(team), items(shape, num_tokens, team, INNER_NUMBERS),
          own(take_own(shape, num_tokens, carve(Carver(memory)))) {
        if constexpr (IS_FP32)
            if (!team) pieces = own.inner;
    }

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
            normalize(row, width, 0, tables.gain, tables.bias, [&](int c, Floats number) { store(own.inner + size_t(row) * INNER_ROW + c, number); });
        else
            become_norm(row, tables.gain, tables.bias, p[MIX_IN], limit(p, MIX), true);
    }

    // Narrow embeddings become states.
    void project(const EmbeddingTables &tables, const float *const *p) {
        const Weights w{reinterpret_cast<const char *>(tables.projection), size_t(shape.embedding) * PANEL_STEP_BYTES, shape.hidden, shape.embedding, nullptr, 0};
        multiply<Fp32, INNER_BYTES>({reinterpret_cast<const char *>(own.inner), BLOCK_BYTES}, w, num_rows, own.strip, [&](int row, int end, int c, const float *s) {
            for (; row < end; row++, s += PANEL)
                for (int k = 0; k < PANEL; k += LANES) store(x + row * outer_row + c + k, load(s + k) + load(tables.projection_bias + c + k));
        });
        for (int row = 0; row < num_rows; row++) enter_state(row, x + row * outer_row, p[MIX_IN], limit(p, MIX));
    }

    // `starts` are those of the texts in this group; `next` are the parameters of the next layer; `read(row)` reads a finished row.
    template <class Read> void pass(const float *const *p, const int *starts, int num_texts, const float *const *next, const Read &read) {
        const int H = shape.hidden;
        divide(team, items.num_heads, [&](int item, const Own &own) { attend_heads(p, item, starts, num_texts, own); }, own);
        if constexpr (!IS_FP32) {
            divide_rows([&](int row) { x_steps[row] = enter(x_in, row, attended + row * outer_row, H, p[OUTPUT_IN], limit(p, OUTPUT)); });
            end_of(REST);
        }
        const Rows rows = IS_FP32 ? Rows{reinterpret_cast<const char *>(attended), size_t(num_rows) * ROW_BYTES} : x_in.rows();
        divide(team, items.num_columns, [&](int item, const Own &own) {
            const int column = item * items.columns;
            const Weights w = weights(p[OUTPUT_W], H, H, p[OUTPUT_START], column, items.columns_of(item));
            add_product<ROW_BYTES>(rows, w, column, p[OUTPUT_OUT], x_steps, false, own);
        }, own);
        end_of(PRODUCTS);
        add_and_normalize(p[OUTPUT_B], p[NORM_1_GAIN], p[NORM_1_BIAS], p[EXPAND_IN], limit(p, EXPAND), !shape.is_norm_first, [](int) {});
        end_of(NORMS);
        for (int first = 0; first < items.num_pieces; first += items.num_held) {
            const int num = std::min(items.num_held, items.num_pieces - first);
            divide(team, num, [&](int held, const Own &own) { expand_piece(p, first + held, held, own); }, own);
            divide(team, items.num_columns, [&](int item, const Own &own) {
                for (int held = 0; held < num; held++) contract(p, first + held, held, item, own);
            }, own);
            end_of(PRODUCTS);
        }
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

    // Some heads of all texts.
    void attend_heads(const float *const *p, int item, const int *starts, int num_texts, const Own &own) {
        const int H = shape.hidden, width = H / shape.num_heads, numbers = items.heads * width, first = item * numbers, whole = items.heads_of_a_part * width;
        // Queries of all heads of a part come before its keys, and these before its values.
        const int place = first / whole * 3 * whole + first % whole;
        Weights w = weights(p[MIX_W], H, 3 * H, p[MIX_START], place, 3 * numbers);
        w.run = numbers, w.run_apart = whole;
        multiply_state(w, p[MIX_OUT] + place, p[MIX_B] + place, own.inner, own, [](float *to, Floats x) { store(to, x); });
        end_of(PRODUCTS);
        const Distances distances = distances_of_layer(shape, p);
        for (int i = 0; i < num_texts; i++)
            for (int head = 0; head < items.heads; head++) {
                float *q = own.inner + size_t(starts[i]) * INNER_ROW + head * width;
                const int length = starts[i + 1] - starts[i];
                if (distances.rotary) rotate(q, numbers, width, length, distances.rotary);
                const Distances own_distances = distances_of_head(distances, item * items.heads + head, width);
                attend(q, numbers, width, length, own.space, own_distances, [&](int token, int c, Floats numbers) {
                    const int row = starts[i] + token, column = first + head * width + c;
                    if constexpr (IS_FP32)
                        store(Entering<A>{attended, size_t(num_rows) * ROW_BYTES}.at(row, column), numbers);
                    else
                        store(attended + row * outer_row + column, numbers);
                });
            }
        end_of(ATTENTION);
    }

    // Multiply the state; `take(to, numbers)` puts the numbers to rows of `inner`.
    template <class Take> void multiply_state(const Weights &w, const float *scale, const float *bias, float *inner, const Own &own, const Take &take) {
        multiply<A, ROW_BYTES>(x_in.rows(), w, num_rows, own.strip, [&](int row, int end, int c, const float *s) {
            const int place = w.place(c);
            for (; row < end; row++, s += PANEL)
                for (int k = 0; k < PANEL; k += LANES)
                    take(inner + size_t(row) * INNER_ROW + c + k, number(load(s + k), scale + place + k, x_steps[row]) + load(bias + place + k));
        });
    }
    static Floats number(Floats sums, const float *scale, float step) {
        if constexpr (!IS_INTEGER<A>) return sums;
        return sums * (load(scale) * step);
    }

    Entering<A> piece_at(int held) const {
        return {pieces + held * numbers_of_a_piece(num_rows), IS_FP32 ? size_t(BLOCK_BYTES) : size_t(num_rows) * ROW_BYTES};
    }

    // A piece of the feed-forward's inner row.
    void expand_piece(const float *const *p, int piece, int held, const Own &own) {
        const int first = piece * INNER_NUMBERS, width = items.numbers_of(piece), activated = first + (shape.gate == 2 ? shape.intermediate : 0);
        float *inner = own.inner;
        if constexpr (IS_FP32) inner = piece_at(held).first;
        const auto expand = [&](int first, const auto &take) {
            const Weights w = weights(p[EXPAND_W], shape.hidden, shape.expanded(), p[EXPAND_START], first, width);
            multiply_state(w, p[EXPAND_OUT] + first, p[EXPAND_B] + first, inner, own, take);
        };
        switch (shape.activation) {
        case GELU: expand(activated, [](float *to, Floats x) { store(to, gelu(x)); }); break;
        case GELU_TANH: expand(activated, [](float *to, Floats x) { store(to, gelu_tanh(x)); }); break;
        case RELU: expand(activated, [](float *to, Floats x) { store(to, larger(Floats{}, x)); }); break;
        case SILU: expand(activated, [](float *to, Floats x) { store(to, silu(x)); }); break;
        }
        if (shape.gate) expand(first + (shape.gate == 1 ? shape.intermediate : 0), [](float *to, Floats x) { store(to, load(to) * x); });
        end_of(PRODUCTS);
        if constexpr (!IS_FP32) {
            for (int row = 0; row < num_rows; row++)
                piece_steps[held * num_rows + row] = enter_activations(piece_at(held), row, inner + size_t(row) * INNER_ROW, width, limit(p, CONTRACT), shape.gate);
            end_of(REST);
        }
    }

    // What a piece adds to some columns of the outer row.
    void contract(const float *const *p, int piece, int held, int item, const Own &own) {
        const int H = shape.hidden, first = piece * INNER_NUMBERS, column = item * items.columns;
        Weights w = weights(p[CONTRACT_W], shape.intermediate, H, nullptr, column, items.columns_of(item));
        w.first += size_t(first) / A::NUMBERS_OF_A_STEP * PANEL_STEP_BYTES;
        w.num_steps = items.numbers_of(piece) / A::NUMBERS_OF_A_STEP;
        // A piece is one block.
        if (p[CONTRACT_START]) w.start = reinterpret_cast<const int32_t *>(p[CONTRACT_START]) + size_t(piece) * H + column;
        // Bytes of a piece have scales of their own.
        const float *scale = p[CONTRACT_OUT] + (IS_BYTES<A> ? size_t(piece) * H : 0);
        add_product<IS_FP32 ? INNER_BYTES : ROW_BYTES>(piece_at(held).rows(), w, column, scale, piece_steps + held * num_rows, piece > 0, own);
    }

    // Put a product into `sums` from a column on, or add it to them.
    template <int X_ROW>
    void add_product(const Rows &rows, const Weights &w, int column, const float *scale, const float *steps, bool is_added, const Own &own) {
        multiply<A, X_ROW>(rows, w, num_rows, own.strip, [&](int row, int end, int c, const float *s) {
            c += column;
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
            if constexpr (!IS_INTEGER<A>) put(x_in.at(row, c), number);
        });
        if constexpr (IS_INTEGER<A>) x_steps[row] = enter(x_in, row, out, shape.hidden, in_scale, limit);
    }

    // The products read a row of numbers.
    void enter_state(int row, const float *numbers, const float *in_scale, float limit) {
        x_steps[row] = enter(x_in, row, numbers, shape.hidden, in_scale, limit);
    }

    template <class Each> void divide_rows(const Each &each) {
        divide(team, items.num_rows, [&](int item, const Own &) {
            for (int row = item * items.rows; row < std::min(num_rows, (item + 1) * items.rows); row++) each(row);
        }, own);
    }

    // To the state the sums and a shift are added, and it becomes the norm of that, where it `is_state`.
    template <class Read>
    void add_and_normalize(const float *shift, const float *gain, const float *bias, const float *in_scale, float limit, bool is_state, const Read &read) {
        divide_rows([&](int row) {
            float *numbers = sums + row * outer_row;
            for (int c = 0; c < shape.hidden; c += LANES) store(numbers + c, load(numbers + c) + (load(x + row * outer_row + c) + load(shift + c)));
            become_norm(row, gain, bias, in_scale, limit, is_state);
            read(row);
        });
    }
};

} // namespace
