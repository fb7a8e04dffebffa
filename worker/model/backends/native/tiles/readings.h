// What somebody reads of the states: a mix of layers, for each token or for each text, gathered while a group of texts is at hand; and
// what a head makes of it.
#pragma once

#include "encoder.h"
#ifdef GIST_TILES

namespace {
namespace tiles {

// Thirty-two numbers in fp32, those at even places apart from those at odd ones: so they are widened fastest.
struct Halves {
    __m512 even, odd;

    explicit Halves(const uint16_t *p) {
        const __m512i both = _mm512_loadu_si512(p);
        even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        odd = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(0xffff0000)));
    }
};

// A head: a norm, a hidden layer with GELU (none where `width` is 0), and logits. The norm's gain and bias are part of what comes next,
// and what it subtracts and divides by comes after the product, by a row's mean and deviation: `totals` are those of its weights. The
// weight of a logit is the sum of two numbers in bf16: of the 32 columns of a panel, sixteen hold what the others leave over.
struct Head {
    const char *hidden_w;
    const float *hidden_totals, *hidden_b;
    const char *output_w;
    const float *output_totals, *output_b;
    int width, num_logits;
    float epsilon;
};

// What the readings have gathered of one group.
template <bool IS_8_BIT> class Gathering {
    const Group<IS_8_BIT> &group;
    const GroupTexts &texts;
    const Reading *readings;
    const int num_readings, H;
    // From a row to the next, and from the rows of a reading to those of the next, in numbers.
    const size_t apart, all_rows;
    // Of each reading: a text's mix, and the rows that a head reads.
    float *pooled;
    uint16_t *mixed, *hidden;
    // Of each row of the head that is asked.
    float *means, *factors;

    static size_t rows_of(int num_tokens) { return size_t(num_tokens + 31) / 32 * 32 + 32; }
    static int widest(const Reading *readings, int num_readings) {
        int width = 0;
        for (int i = 0; i < num_readings; i++)
            if (readings[i].head) width = std::max(width, static_cast<const Head *>(readings[i].head)->width);
        return width + 32;
    }

  public:
    static size_t bytes(const Shape &s, const Reading *readings, int num_readings, int num_tokens) {
        const size_t own = num_readings * (s.hidden + 32) * (sizeof(float) + 2), shared = widest(readings, num_readings) * 2 + 2 * sizeof(float);
        return rows_of(num_tokens) * (own + shared);
    }
    Gathering(const Shape &s, const Group<IS_8_BIT> &group, const GroupTexts &texts, const Reading *readings, int num_readings, char *memory)
        : group(group), texts(texts), readings(readings), num_readings(num_readings), H(s.hidden), apart(s.hidden + 32), all_rows(rows_of(texts.num_rows()) * apart) {
        const size_t rows = rows_of(texts.num_rows());
        pooled = reinterpret_cast<float *>(memory);
        means = pooled + num_readings * all_rows;
        factors = means + rows;
        mixed = reinterpret_cast<uint16_t *>(factors + rows);
        hidden = mixed + num_readings * all_rows;
    }

    // Read a row of a layer, which is close now.
    void row(int layer, int row) const {
        for (int i = 0; i < num_readings; i++) {
            const Reading &it = readings[i];
            if (it.pooling != Reading::TOKENS || it.weights[layer] == 0) continue;
            if (it.is_copied())
                std::memcpy(static_cast<uint16_t *>(it.out) + texts.places[row] * H, group.row(row), size_t(H) * 2);
            else
                mix(mixed + i * all_rows + row * apart, group.row(row), it.weights[layer], layer == it.first);
        }
    }

    // Read all texts of a layer.
    void layer(int number) const {
        pool(number, Reading::MEAN);
        pool(number, Reading::FIRST);
    }

    void finish() const {
        for (int i = 0; i < num_readings; i++) {
            const Reading &it = readings[i];
            uint16_t *rows = mixed + i * all_rows;
            if (it.pooling != Reading::TOKENS && it.head) {
                for (int text = 0; text < texts.num; text++)
                    for (int c = 0; c < H; c += 16) narrow_16(rows + text * apart + c, _mm512_loadu_ps(pooled_row(i, text) + c));
                ask(*static_cast<const Head *>(it.head), rows, texts.num, texts.members, static_cast<float *>(it.out));
            } else if (it.head)
                ask(*static_cast<const Head *>(it.head), rows, texts.num_rows(), texts.places, static_cast<float *>(it.out));
            else if (it.pooling == Reading::TOKENS && !it.is_copied())
                for (int row = 0; row < texts.num_rows(); row++)
                    std::memcpy(static_cast<uint16_t *>(it.out) + texts.places[row] * H, rows + row * apart, size_t(H) * 2);
        }
    }

  private:
    void mix(uint16_t *to, const uint16_t *from, float weight, bool is_first) const {
        alignas(64) static const auto order = [] {
            struct { uint16_t of[32]; } a;
            for (int i = 0; i < 16; i++) a.of[2 * i] = i, a.of[2 * i + 1] = 16 + i;
            return a;
        }();
        const __m512i in_order = _mm512_load_si512(order.of);
        const __m512 factor = _mm512_set1_ps(weight);
        for (int c = 0; c < H; c += 32) {
            const Halves x(from + c), before(to + c);
            const __m512 even = is_first ? _mm512_mul_ps(x.even, factor) : _mm512_fmadd_ps(x.even, factor, before.even);
            const __m512 odd = is_first ? _mm512_mul_ps(x.odd, factor) : _mm512_fmadd_ps(x.odd, factor, before.odd);
            _mm512_storeu_si512(to + c, _mm512_permutexvar_epi16(in_order, (__m512i)_mm512_cvtne2ps_pbh(odd, even)));
        }
    }

    float *pooled_row(int reading, int text) const {
        return readings[reading].head ? pooled + reading * all_rows + size_t(text) * H : static_cast<float *>(readings[reading].out) + texts.members[text] * H;
    }

    // Sum up each text once for all who read it pooled like this.
    void pool(int layer, int pooling) const {
        const auto is_read = [&](const Reading &it) { return it.pooling == pooling && it.weights[layer] != 0; };
        if (std::none_of(readings, readings + num_readings, is_read)) return;
        for (int text = 0; text < texts.num; text++)
            for (int c = 0; c < H; c += 64) {
                const int first = texts.starts[text], num_rows = pooling == Reading::MEAN ? texts.starts[text + 1] - first : 1;
                __m512 totals[4] = {};
                for (int row = first; row < first + num_rows; row++)
                    for (int k = 0; k < 4; k += 2) {
                        const Halves x(group.row(row) + c + k * 16);
                        totals[k] = _mm512_add_ps(totals[k], x.even), totals[k + 1] = _mm512_add_ps(totals[k + 1], x.odd);
                    }
                in_order(totals), in_order(totals + 2);
                for (int i = 0; i < num_readings; i++)
                    if (is_read(readings[i])) add(totals, readings[i].weights[layer] / num_rows, pooled_row(i, text) + c, layer == readings[i].first);
            }
    }

    // Even and odd ones become the first and the last sixteen.
    static void in_order(__m512 *halves) {
        const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        const __m512 even = halves[0], odd = halves[1];
        halves[0] = _mm512_permutex2var_ps(even, low, odd), halves[1] = _mm512_permutex2var_ps(even, high, odd);
    }

    static void add(const __m512 *totals, float share, float *to, bool is_first) {
        for (int k = 0; k < 4; k++) {
            const __m512 before = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(to + k * 16);
            _mm512_storeu_ps(to + k * 16, _mm512_fmadd_ps(totals[k], _mm512_set1_ps(share), before));
        }
    }

    // Put a head's logits for some rows to their places.
    void ask(const Head &head, const uint16_t *rows, int num_rows, const int64_t *places, float *out) const {
        for (int row = 0; row < num_rows; row++) measure(row, rows + row * apart, head.epsilon);
        settle();
        if (head.width) {
            const size_t hidden_apart = head.width + 32;
            multiply<Bf16>((const char *)rows, apart * 2, weights(head.hidden_w, H, head.width), num_rows, [&](int row, int end, int c, const float *s) {
                for (uint16_t *to = hidden + row * hidden_apart + c; row < end; row++, to += hidden_apart, s += BLOCK) {
                    const auto number = [&](int k) { return normalized(row, _mm512_load_ps(s + k), head.hidden_totals + c + k, head.hidden_b + c + k); };
                    narrow_32(to, gelu_16(number(0)), gelu_16(number(16)));
                }
            });
            // What the hidden layer gives is no longer to be normalised.
            std::fill(means, means + num_rows, 0.0f), std::fill(factors, factors + num_rows, 1.0f);
        }
        const char *read = (const char *)(head.width ? hidden : rows);
        const int width = head.width ? head.width : H, num_panels = (head.num_logits + 15) / 16;
        multiply<Bf16>(read, (width + 32) * 2, weights(head.output_w, width, num_panels * BLOCK), num_rows, [&](int row, int end, int c, const float *s) {
            const int first = c / 2, num = std::min(16, head.num_logits - first);
            for (end = std::min(end, num_rows); row < end; row++, s += BLOCK) {
                const __m512 sum = _mm512_add_ps(_mm512_load_ps(s), _mm512_load_ps(s + 16));
                const __m512 logits = normalized(row, sum, head.output_totals + first, head.output_b + first);
                _mm512_mask_storeu_ps(out + places[row] * head.num_logits + first, __mmask16(0xffff >> (16 - num)), logits);
            }
        });
    }

    void measure(int row, const uint16_t *numbers, float epsilon) const {
        __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
        for (int c = 0; c < H; c += 32) {
            const Halves x(numbers + c);
            total = _mm512_add_ps(total, _mm512_add_ps(x.even, x.odd));
            squares = _mm512_fmadd_ps(x.even, x.even, _mm512_fmadd_ps(x.odd, x.odd, squares));
        }
        means[row] = _mm512_reduce_add_ps(total) / H;
        factors[row] = 1 / std::sqrt(std::max(0.0f, _mm512_reduce_add_ps(squares) / H - means[row] * means[row]) + epsilon);
    }

    __m512 normalized(int row, __m512 sum, const float *totals, const float *bias) const {
        const __m512 centred = _mm512_fnmadd_ps(_mm512_set1_ps(means[row]), _mm512_loadu_ps(totals), sum);
        return _mm512_fmadd_ps(centred, _mm512_set1_ps(factors[row]), _mm512_loadu_ps(bias));
    }

    static Weights weights(const char *laid_out, int inputs, int outputs) {
        const int num_steps = inputs * Bf16::BYTES / STEP_BYTES;
        return {laid_out, size_t(num_steps) * PANEL_STEP_BYTES, outputs, num_steps};
    }
};

} // namespace tiles
} // namespace
#endif
