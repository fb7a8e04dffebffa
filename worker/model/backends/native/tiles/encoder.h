// The encoder's layers on the tile registers, for one group of texts at a time: what a group needs between two products stays in the
// second-level cache of its thread.
#pragma once

#include <type_traits>

#include "../engine/profile.h"
#include "../engine/shape.h"
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
    using Sum = typename Product::Sum;
    // Numbers of the feed-forward's inner row that are computed together; bytes of a piece have scales of their own.
    static constexpr int PIECE = 384;

    const Shape &shape;
    const int num_rows, num_heads;
    // From a row to the next, in numbers.
    const size_t outer_row, inner_row;
    // The state; queries, keys and values of a part of the heads, or a piece of the feed-forward: the two are never needed at once.
    uint16_t *x, *inner;
    // What the products read: the state, what attention gives, the piece in bytes.
    Input *x_in, *attended;
    uint8_t *piece_in;
    float *x_steps, *steps, *sums;
    char *space;

    // Tiles read past the end of a group by as much.
    static size_t rows_of(int num_tokens) { return size_t(num_tokens + 31) / 32 * 32 + 32; }
    // Rows lie a line further apart than they are long: at 768 bytes, the rows of a tile would crowd a part of the cache.
    static size_t apart(size_t width) { return width + 64 / sizeof(Input); }
    static size_t inner_width(const Shape &s) { return apart(std::max(3 * heads_of_a_part(s) * (s.hidden / s.num_heads), PIECE)); }
    // Buffers lie apart by a little more than they are long, lest the same places of all of them meet in the cache.
    static size_t round(size_t bytes) { return (bytes + 63) / 64 * 64 + 320; }
    template <class T> static T *take(char *&memory, size_t count) {
        T *taken = reinterpret_cast<T *>(memory);
        memory += round(count * sizeof(T));
        return taken;
    }

  public:
    // Held by a thread while it computes.
    using Guard = TileShape;

    static size_t bytes(const Shape &s, int num_tokens, int longest) {
        const size_t rows = rows_of(num_tokens), outer = rows * apart(s.hidden), inner = rows * inner_width(s);
        const size_t own = 3 * round(outer * 2) + 2 * round(inner * 2) + 2 * round(rows * 4) + round(outer * 4);
        return own + round(std::max(AttentionSpace<32>::bytes(longest), AttentionSpace<64>::bytes(longest)));
    }
    Group(const Shape &shape, int num_tokens, char *memory) : shape(shape), num_rows(num_tokens), num_heads(heads_of_a_part(shape)), outer_row(apart(shape.hidden)), inner_row(inner_width(shape)) {
        const size_t rows = rows_of(num_tokens);
        x = take<uint16_t>(memory, rows * outer_row);
        if constexpr (IS_8_BIT)
            x_in = take<int8_t>(memory, rows * outer_row);
        else
            x_in = x;
        attended = take<Input>(memory, rows * outer_row);
        inner = take<uint16_t>(memory, rows * inner_row);
        piece_in = IS_8_BIT ? take<uint8_t>(memory, rows * inner_row) : nullptr;
        x_steps = take<float>(memory, rows);
        steps = take<float>(memory, rows);
        sums = take<float>(memory, rows * outer_row);
        space = memory;
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
        for (int head = 0; head < shape.num_heads; head += num_heads) attend(p, head, starts, num_texts);
        add_product<Product>((const char *)attended, outer_row, weights(p[OUTPUT_W], H, H), p[OUTPUT_OUT], nullptr, false);
        end_of(PRODUCTS);
        add_and_normalize(p[OUTPUT_B], p[NORM_1_GAIN], p[NORM_1_BIAS], p[EXPAND_IN], [](int) {});
        end_of(NORMS);
        for (int first = 0; first < shape.intermediate; first += PIECE) feed_forward(p, first, std::min(PIECE, shape.intermediate - first));
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
    void attend(const float *const *p, int first_head, const int *starts, int num_texts) {
        const int H = shape.hidden, width = H / shape.num_heads, own = num_heads * width, first = first_head * width;
        const float *scale = IS_8_BIT ? p[MIX_OUT] + 3 * first : nullptr, *bias = p[MIX_B] + 3 * first;
        multiply_in(weights(p[MIX_W], H, 3 * own, 3 * first), scale, bias, [&](int row, int c, __m512 low, __m512 high) {
            narrow_32(inner + row * inner_row + c, low, high);
        });
        end_of(PRODUCTS);
        for (int i = 0; i < num_texts; i++)
            for (int head = 0; head < num_heads; head++) {
                const auto out = [&](int token, int c, __m512 low, __m512 high) {
                    give(starts[i] + token, first + head * width + c, low, high, p[OUTPUT_IN]);
                };
                const uint16_t *q = inner + starts[i] * inner_row + head * width;
                if (width == 32)
                    attend_tiled<32>(q, inner_row, own, starts[i + 1] - starts[i], space, out);
                else
                    attend_tiled<64>(q, inner_row, own, starts[i + 1] - starts[i], space, out);
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
            const __m512 bias_low = _mm512_loadu_ps(bias + c), bias_high = _mm512_loadu_ps(bias + c + 16);
            __m512 scale_low, scale_high;
            if constexpr (IS_8_BIT) scale_low = _mm512_loadu_ps(scale + c), scale_high = _mm512_loadu_ps(scale + c + 16);
            for (int row = first; row < end; row++, s += BLOCK) {
                const float step = IS_8_BIT ? x_steps[row] : 1.0f;
                take(row, c, number(s, scale_low, bias_low, step), number(s + 16, scale_high, bias_high, step));
            }
        });
    }

    // Some numbers of the inner row, and what they add to the outer one.
    void feed_forward(const float *const *p, int first, int width) {
        const int H = shape.hidden;
        const float *scale = IS_8_BIT ? p[EXPAND_OUT] + first : nullptr, *bias = p[EXPAND_B] + first;
        multiply_in(weights(p[EXPAND_W], H, width, first), scale, bias, [&](int row, int c, __m512 low, __m512 high) {
            uint16_t *to = inner + row * inner_row + c;
            if constexpr (IS_8_BIT) {
                const __m512h numbers = coarse_gelu_32(halve_32(low, high));
                _mm512_storeu_ph(to, numbers);
            } else
                narrow_32(to, gelu_16(low), gelu_16(high));
        });
        const char *activated = (const char *)inner;
        end_of(PRODUCTS);
        if constexpr (IS_8_BIT) {
            for (int row = 0; row < num_rows; row++) quantize_row(row, width);
            settle();
            end_of(REST);
            activated = (const char *)piece_in;
        }
        Weights w = weights(p[CONTRACT_W], shape.intermediate, H);
        w.first += size_t(first) * Product::BYTES / STEP_BYTES * PANEL_STEP_BYTES;
        w.num_steps = width * Product::BYTES / STEP_BYTES;
        const float *contract_scale = IS_8_BIT ? p[CONTRACT_OUT] + size_t(first / PIECE) * H : nullptr;
        add_product<Contraction>(activated, inner_row, w, contract_scale, steps, first > 0);
        end_of(PRODUCTS);
    }

    // Put a product into `sums`, or add it to them; sums of bytes count by column, and by row where rows have steps of their own.
    template <class P> void add_product(const char *rows, size_t row, const Weights &w, const float *scale, const float *row_scale, bool is_added) {
        if constexpr (!IS_8_BIT)
            multiply_into<P>(sums, outer_row, is_added, rows, row * sizeof(Input), w, num_rows);
        else
            multiply<P>(rows, row, w, num_rows, [&](int first, int end, int c, const Sum *s) {
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

    // Each row's own step takes its largest number to the last byte; the first byte is `LEAST_GELU`.
    void quantize_row(int row, int width) {
        const uint16_t *numbers = inner + row * inner_row;
        uint8_t *bytes = piece_in + row * inner_row;
        // In two chains: none waits for the one before.
        __m512h largest[] = {_mm512_loadu_ph(numbers), _mm512_loadu_ph(numbers + 32)};
        for (int c = 64; c < width; c += 64)
            for (int chain = 0; chain < 2; chain++) largest[chain] = _mm512_max_ph(largest[chain], _mm512_loadu_ph(numbers + c + 32 * chain));
        steps[row] = (float(_mm512_reduce_max_ph(_mm512_max_ph(largest[0], largest[1]))) - LEAST_GELU) / 255;
        const __m512h factor = _mm512_set1_ph(1 / steps[row]), offset = _mm512_set1_ph(-LEAST_GELU / steps[row]);
        const auto whole = [&](int c) { return _mm512_cvtph_epi16(_mm512_fmadd_ph(_mm512_loadu_ph(numbers + c), factor, offset)); };
        // Packing works on quarters of a register.
        const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
        for (int c = 0; c < width; c += 64)
            _mm512_storeu_si512(bytes + c, _mm512_permutexvar_epi64(order, _mm512_packus_epi16(whole(c), whole(c + 32))));
    }

    // The state becomes the norm of itself, the sums and a shift.
    template <class Read> void add_and_normalize(const float *shift, const float *gain, const float *bias, const float *in_scale, const Read &read) {
        const int H = shape.hidden;
        for (int row = 0; row < num_rows; row++) {
            float *numbers = sums + row * outer_row;
            const uint16_t *before = x + row * outer_row;
            become_norm(row, numbers, gain, bias, in_scale, [&](int c) {
                return _mm512_add_ps(_mm512_loadu_ps(numbers + c), _mm512_add_ps(widen_16(before + c), _mm512_loadu_ps(shift + c)));
            });
            read(row);
        }
        settle();
    }
};

} // namespace tiles
} // namespace
#endif
