// The encoder's layers on the tile registers, for one group of texts at a time: what a group needs between two products stays in the
// second-level cache of its thread.
#pragma once

#include <type_traits>

#include "../engine/entering.h"
#include "../engine/profile.h"
#include "../engine/shape.h"
#include "../engine/team.h"
#include "attention.h"
#include "numbers.h"
#ifdef GIST_TILES

namespace {
namespace tiles {

// The rows of one group of texts on their way through the layers. IS_8_BIT: what enters a product is bytes.
template <bool IS_8_BIT> class Group {
    using Product = std::conditional_t<IS_8_BIT, Signed, Bf16>;
    using Contraction = std::conditional_t<IS_8_BIT, Unsigned, Bf16>;
    using Input = std::conditional_t<IS_8_BIT, int8_t, uint16_t>;
    using Piece = std::conditional_t<IS_8_BIT, uint8_t, uint16_t>;
    using Sum = typename Product::Sum;
    // Numbers of the feed-forward's inner row that are computed together; bytes of a piece have scales of their own.
    static constexpr int PIECE = 384;

    const Shape &shape;
    const int num_rows;
    // From a row to the next, in numbers.
    const size_t outer_row, inner_row;
    // The threads that compute this group; null for one.
    Team *const team;
    const Items items;
    // The state.
    uint16_t *x;
    // What the products read: the state, what attention gives, some pieces of the feed-forward, which `num_held` are there at a time.
    Input *x_in, *attended;
    Piece *pieces;
    float *x_steps, *piece_steps, *sums;

  public:
    // What each thread has of its own: queries, keys and values of a part of the heads, or a piece of the feed-forward: the two are
    // never needed at once. And the room for attention.
    struct Own {
        uint16_t *inner;
        char *space;
    };

  private:
    Own own;

    // Tiles read past the end of a group by as much.
    static size_t rows_of(int num_tokens) { return size_t(num_tokens + 31) / 32 * 32 + 32; }
    // Rows lie a line further apart than they are long: at 768 bytes, the rows of a tile would crowd a part of the cache.
    static size_t apart(size_t width) { return width + 64 / sizeof(Input); }
    static size_t inner_width(const Shape &s) { return apart(std::max(3 * heads_of_a_part(s) * (s.hidden / s.num_heads), PIECE)); }
    Carver carve(Carver memory) {
        const size_t rows = rows_of(num_rows);
        x = memory.take<uint16_t>(rows * outer_row);
        if constexpr (IS_8_BIT)
            x_in = memory.take<int8_t>(rows * outer_row);
        else
            x_in = x;
        attended = memory.take<Input>(rows * outer_row);
        x_steps = memory.take<float>(rows);
        piece_steps = memory.take<float>(items.num_held * rows);
        sums = memory.take<float>(rows * outer_row);
        if (IS_8_BIT || team) pieces = memory.take<Piece>(items.num_held * rows * inner_row);
        return memory;
    }

  public:
    // Held by a thread while it computes.
    using Guard = TileShape;

    static Own take_own(const Shape &s, int num_tokens, Carver memory) {
        return {memory.take<uint16_t>(rows_of(num_tokens) * inner_width(s)), memory.take<char>(0)};
    }
    static size_t own_bytes(const Shape &s, int num_tokens, int longest) {
        return size_t(take_own(s, num_tokens, Carver(nullptr)).space) + std::max(AttentionSpace<32>::bytes(longest), AttentionSpace<64>::bytes(longest));
    }
    static size_t bytes(const Shape &s, int num_tokens, int longest, Team *team) {
        return size_t(Group(s, num_tokens, nullptr, team).own.inner) + own_bytes(s, num_tokens, longest);
    }
    Group(const Shape &shape, int num_tokens, char *memory, Team *team)
        : shape(shape), num_rows(num_tokens), outer_row(apart(shape.hidden)), inner_row(inner_width(shape)), team(team), items(shape, num_tokens, team, PIECE),
          own(take_own(shape, num_tokens, carve(Carver(memory)))) {
        if constexpr (!IS_8_BIT)
            if (!team) pieces = own.inner;
    }

    const uint16_t *row(int i) const { return x + i * outer_row; }

    void embed(int row, int64_t word, int64_t place, const EmbeddingTables &tables, const float *const *p) {
        const int H = shape.hidden;
        alignas(64) float numbers[4096];
        const uint16_t *words = static_cast<const uint16_t *>(tables.words) + word * H, *places = static_cast<const uint16_t *>(tables.places) + place * H;
        become_norm(row, numbers, tables.gain, tables.bias, p[MIX_IN], [&](int c) { return _mm512_add_ps(widen_16(words + c), widen_16(places + c)); });
    }

    // The embeddings of encoders on tiles are states.
    void project(const EmbeddingTables &, const float *const *) {}

    // `starts` are those of the texts in this group; `next` are the parameters of the next layer; `read(row)` reads a finished row.
    template <class Read> void pass(const float *const *p, const int *starts, int num_texts, const float *const *next, const Read &read) {
        const int H = shape.hidden;
        divide(team, items.num_heads, [&](int item, const Own &own) { attend(p, item, starts, num_texts, own); }, own);
        divide(team, items.num_columns, [&](int item, const Own &) {
            const int column = item * items.columns;
            add_product<Product>((const char *)attended, outer_row, weights(p[OUTPUT_W], H, items.columns_of(item), column), column, p[OUTPUT_OUT], nullptr, false);
        }, own);
        end_of(PRODUCTS);
        add_and_normalize(p[OUTPUT_B], p[NORM_1_GAIN], p[NORM_1_BIAS], p[EXPAND_IN], [](int) {});
        end_of(NORMS);
        for (int first = 0; first < items.num_pieces; first += items.num_held) {
            const int num = std::min(items.num_held, items.num_pieces - first);
            divide(team, num, [&](int held, const Own &own) { expand(p, first + held, held, own); }, own);
            divide(team, items.num_columns, [&](int item, const Own &) {
                for (int held = 0; held < num; held++) contract(p, first + held, held, item);
            }, own);
            end_of(PRODUCTS);
        }
        add_and_normalize(p[CONTRACT_B], p[NORM_2_GAIN], p[NORM_2_BIAS], next[MIX_IN], read);
        end_of(NORMS);
    }

  private:
    static Weights weights(const float *laid_out, int inputs, int outputs, int first_output = 0) {
        const int num_steps = inputs * Product::BYTES / STEP_BYTES;
        const size_t panel_bytes = size_t(num_steps) * PANEL_STEP_BYTES;
        return {(const char *)laid_out + first_output / BLOCK * panel_bytes, panel_bytes, outputs, num_steps};
    }

    // Some heads of all texts.
    void attend(const float *const *p, int item, const int *starts, int num_texts, const Own &own) {
        const int H = shape.hidden, width = H / shape.num_heads, numbers = items.heads * width, first = item * numbers, whole = items.heads_of_a_part * width;
        // Queries of all heads of a part come before its keys, and these before its values.
        const int place = first / whole * 3 * whole + first % whole;
        const float *scale = IS_8_BIT ? p[MIX_OUT] + place : nullptr, *bias = p[MIX_B] + place;
        Weights w = weights(p[MIX_W], H, 3 * numbers, place);
        w.run = numbers, w.run_apart = whole;
        multiply_in(w, scale, bias, [&](int row, int c, __m512 low, __m512 high) {
            narrow_32(own.inner + row * inner_row + c, low, high);
        });
        end_of(PRODUCTS);
        for (int i = 0; i < num_texts; i++)
            for (int head = 0; head < items.heads; head++) {
                const auto out = [&](int token, int c, __m512 low, __m512 high) {
                    give(starts[i] + token, first + head * width + c, low, high, p[OUTPUT_IN]);
                };
                const uint16_t *q = own.inner + starts[i] * inner_row + head * width;
                if (width == 32)
                    attend_tiled<32>(q, inner_row, numbers, starts[i + 1] - starts[i], own.space, out);
                else
                    attend_tiled<64>(q, inner_row, numbers, starts[i + 1] - starts[i], own.space, out);
            }
        settle();
        end_of(ATTENTION);
    }

    void give(int row, int column, __m512 low, __m512 high, const float *in_scale) {
        Input *to = attended + row * outer_row + column;
        if constexpr (IS_8_BIT) {
            signed_bytes(to, _mm512_mul_ps(low, _mm512_loadu_ps(in_scale + column)));
            signed_bytes(to + 16, _mm512_mul_ps(high, _mm512_loadu_ps(in_scale + column + 16)));
        } else
            narrow_32(to, low, high);
    }

    // Multiply the state; `take(row, column, low, high)` takes 32 numbers.
    template <class Take> void multiply_in(const Weights &w, const float *scale, const float *bias, const Take &take) {
        multiply<Product>((const char *)x_in, outer_row * sizeof(Input), w, num_rows, [&](int first, int end, int c, const Sum *s) {
            const int place = w.place(c);
            const __m512 bias_low = _mm512_loadu_ps(bias + place), bias_high = _mm512_loadu_ps(bias + place + 16);
            __m512 scale_low, scale_high;
            if constexpr (IS_8_BIT) scale_low = _mm512_loadu_ps(scale + place), scale_high = _mm512_loadu_ps(scale + place + 16);
            for (int row = first; row < end; row++, s += BLOCK) {
                const float step = IS_8_BIT ? x_steps[row] : 1.0f;
                take(row, c, number(s, scale_low, bias_low, step), number(s + 16, scale_high, bias_high, step));
            }
        });
    }

    Piece *piece_at(int held) const { return pieces + held * rows_of(num_rows) * inner_row; }
    float *steps_at(int held) const { return piece_steps + held * rows_of(num_rows); }

    // A piece of the feed-forward's inner row.
    void expand(const float *const *p, int piece, int held, const Own &own) {
        const int first = piece * PIECE, width = items.numbers_of(piece);
        const float *scale = IS_8_BIT ? p[EXPAND_OUT] + first : nullptr, *bias = p[EXPAND_B] + first;
        multiply_in(weights(p[EXPAND_W], shape.hidden, width, first), scale, bias, [&](int row, int c, __m512 low, __m512 high) {
            if constexpr (IS_8_BIT) {
                const __m512h numbers = coarse_gelu_32(halve_32(low, high));
                _mm512_storeu_ph(own.inner + row * inner_row + c, numbers);
            } else
                narrow_32(piece_at(held) + row * inner_row + c, gelu_16(low), gelu_16(high));
        });
        end_of(PRODUCTS);
        if constexpr (IS_8_BIT) {
            for (int row = 0; row < num_rows; row++) quantize_row(own.inner + row * inner_row, piece_at(held) + row * inner_row, steps_at(held) + row, width);
            settle();
            end_of(REST);
        }
    }

    // What a piece adds to some columns of the outer row.
    void contract(const float *const *p, int piece, int held, int item) {
        const int H = shape.hidden, first = piece * PIECE, width = items.numbers_of(piece), column = item * items.columns;
        Weights w = weights(p[CONTRACT_W], shape.intermediate, items.columns_of(item), column);
        w.first += size_t(first) * Product::BYTES / STEP_BYTES * PANEL_STEP_BYTES;
        w.num_steps = width * Product::BYTES / STEP_BYTES;
        const float *scale = IS_8_BIT ? p[CONTRACT_OUT] + size_t(piece) * H : nullptr;
        add_product<Contraction>((const char *)piece_at(held), inner_row, w, column, scale, steps_at(held), piece > 0);
    }

    // Put a product into `sums`, or add it to them; sums of bytes count by column, and by row where rows have steps of their own.
    template <class P> void add_product(const char *rows, size_t row, const Weights &w, int column, const float *scale, const float *row_scale, bool is_added) {
        if constexpr (!IS_8_BIT)
            multiply_into<P>(sums + column, outer_row, is_added, rows, row * sizeof(Input), w, num_rows);
        else
            multiply<P>(rows, row, w, num_rows, [&](int first, int end, int c, const Sum *s) {
                c += column;
                const __m512 scales[] = {_mm512_loadu_ps(scale + c), _mm512_loadu_ps(scale + c + 16)};
                for (int row = first; row < end; row++, s += BLOCK) {
                    const __m512 step = _mm512_set1_ps(row_scale ? row_scale[row] : 1.0f);
                    for (int half = 0; half < 2; half++) {
                        float *to = sums + row * outer_row + c + half * 16;
                        const __m512 number = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(s + half * 16)), step);
                        const __m512 before = is_added ? _mm512_loadu_ps(to) : _mm512_setzero_ps();
                        _mm512_storeu_ps(to, _mm512_fmadd_ps(number, scales[half], before));
                    }
                }
            });
    }

    static __m512 number(const Sum *s, __m512 scale, __m512 bias, float step) {
        if constexpr (IS_8_BIT)
            return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(s)), _mm512_mul_ps(scale, _mm512_set1_ps(step)), bias);
        else
            return _mm512_add_ps(_mm512_load_ps(s), bias);
    }

    // A row of the state becomes the norm of the numbers that `of(column)` gives, for which there is room in `numbers`. As bytes, its own
    // step takes its largest to the last.
    template <class Of> void become_norm(int row, float *numbers, const float *gain, const float *bias, const float *in_scale, const Of &of) {
        const int H = shape.hidden;
        Moments moments;
        for (int c = 0; c < H; c += 32)
            for (int chain = 0; chain < 2; chain++) {
                const __m512 number = of(c + 16 * chain);
                _mm512_storeu_ps(numbers + c + 16 * chain, number);
                moments.add(chain, number);
            }
        __m512 largest = _mm512_setzero_ps();
        moments.normalize(numbers, H, gain, bias, shape.epsilon, [&](int c, __m512 z) {
            narrow_16(x + row * outer_row + c, z);
            if constexpr (IS_8_BIT) {
                const __m512 scaled = _mm512_mul_ps(z, _mm512_loadu_ps(in_scale + c));
                _mm512_storeu_ps(numbers + c, scaled);
                // The larger of the two sizes.
                largest = _mm512_range_ps(largest, scaled, 0b1011);
            }
        });
        if constexpr (IS_8_BIT) {
            x_steps[row] = std::max(_mm512_reduce_max_ps(largest), 1e-20f) / 127;
            const __m512 factor = _mm512_set1_ps(1 / x_steps[row]);
            for (int c = 0; c < H; c += 64) signed_bytes_64(x_in + row * outer_row + c, numbers + c, factor);
        }
    }

    // The state becomes the norm of itself, the sums and a shift.
    template <class Read> void add_and_normalize(const float *shift, const float *gain, const float *bias, const float *in_scale, const Read &read) {
        divide(team, items.num_rows, [&](int item, const Own &) {
            for (int row = item * items.rows; row < std::min(num_rows, (item + 1) * items.rows); row++) {
                float *numbers = sums + row * outer_row;
                const uint16_t *before = x + row * outer_row;
                become_norm(row, numbers, gain, bias, in_scale, [&](int c) {
                    return _mm512_add_ps(_mm512_loadu_ps(numbers + c), _mm512_add_ps(widen_16(before + c), _mm512_loadu_ps(shift + c)));
                });
                read(row);
            }
            settle();
        }, own);
    }
};

} // namespace tiles
} // namespace
#endif
