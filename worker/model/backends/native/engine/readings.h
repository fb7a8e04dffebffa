// What is read of the states of a group: a mix of layers, for each token or for each text, and what a head makes of it.
#pragma once

#include "encoder.h"

namespace {

// A linear map and, unless it is the last of its head, GELU. The weights are laid out for fp32; a head's norm is part of its first.
struct HeadLayer {
    const void *weights;
    const float *bias;
    int inputs, outputs;
};
struct Head {
    const HeadLayer *layers;
    int num_layers, num_logits;
    float epsilon;
};

// Computes a head for some rows, in fp32.
class HeadReader {
    int H, num_filling;
    float *strip;
    // The rows on their way through the layers.
    Entering<Fp32> entering[2];

  public:
    static int widest(const Head &head, int hidden) {
        int width = hidden;
        for (int k = 0; k < head.num_layers; k++) width = std::max(width, head.layers[k].outputs);
        return width;
    }
    HeadReader(int hidden, int num_filling, int num_rows, int width, Carver &memory) : H(hidden), num_filling(num_filling) {
        strip = memory.take<float>(size_t(num_rows) * PANEL);
        for (auto &rows : entering) rows = {memory.take<float>(Entering<Fp32>::count(width, num_rows)), size_t(num_rows) * ROW_BYTES};
    }
    static size_t bytes(int hidden, int num_rows, int width) {
        Carver memory(nullptr);
        const HeadReader reader(hidden, 0, num_rows, width, memory);
        return memory.bytes();
    }

    // Put the logits for some rows to their places; null: in order.
    void read(const Head &head, const float *rows, int num_rows, const int64_t *places, float *out) const {
        for (int row = 0; row < num_rows; row++) normalize(entering[0], row, rows + size_t(row) * H, head.epsilon);
        for (int k = 0; k < head.num_layers; k++) {
            const HeadLayer &layer = head.layers[k];
            const Entering<Fp32> &to = entering[(k + 1) % 2];
            const bool is_last = k == head.num_layers - 1;
            const Weights w{static_cast<const char *>(layer.weights), size_t(layer.inputs) * PANEL_STEP_BYTES, layer.outputs, layer.inputs, nullptr, 0};
            multiply<Fp32, ROW_BYTES>(entering[k % 2].rows(), w, num_rows, strip, [&](int row, int end, int c, const float *s) {
                for (; row < end; row++, s += PANEL)
                    for (int i = 0; i < PANEL; i += LANES) {
                        const Floats number = load(s + i) + load(layer.bias + c + i);
                        if (is_last)
                            give(out + (places ? places[row] : row) * head.num_logits, head.num_logits, c + i, number);
                        else
                            store(to.at(row, c + i), gelu(number));
                    }
            });
        }
    }

  private:
    static void give(float *to, int num_logits, int first, Floats logits) {
        float numbers[LANES];
        store(numbers, logits);
        for (int i = 0; i < LANES && first + i < num_logits; i++) to[first + i] = numbers[i];
    }

    void normalize(const Entering<Fp32> &to, int row, const float *numbers, float epsilon) const {
        Floats total{}, squares{};
        for (int c = 0; c < H; c += LANES) total += load(numbers + c);
        const int count = H - num_filling;
        const float mean = sum(total) / count;
        for (int c = 0; c < H; c += LANES) squares += (load(numbers + c) - mean) * (load(numbers + c) - mean);
        const float factor = 1 / std::sqrt((sum(squares) - num_filling * mean * mean) / count + epsilon);
        for (int c = 0; c < H; c += LANES) store(to.at(row, c), (load(numbers + c) - mean) * factor);
    }
};

template <class G> class Gathering {
    const G &group;
    const GroupTexts &texts;
    const Reading *readings;
    const int num_readings, H;
    // Of each reading: the rows that are mixed, or the texts that are pooled.
    Carver memory;
    float *mixed;
    HeadReader heads;

    size_t rows_of_a_reading() const { return size_t(texts.num_rows()) * H; }
    static int widest(const Shape &s, const Reading *readings, int num_readings) {
        int width = s.hidden;
        for (int i = 0; i < num_readings; i++)
            if (readings[i].head) width = std::max(width, HeadReader::widest(*static_cast<const Head *>(readings[i].head), s.hidden));
        return width;
    }

  public:
    static size_t bytes(const Shape &s, const Reading *readings, int num_readings, int num_tokens) {
        Carver memory(nullptr);
        memory.take<float>(size_t(num_readings) * num_tokens * s.hidden);
        return memory.bytes() + HeadReader::bytes(s.hidden, num_tokens, widest(s, readings, num_readings));
    }
    Gathering(const Shape &s, const G &group, const GroupTexts &texts, const Reading *readings, int num_readings, char *memory)
        : group(group), texts(texts), readings(readings), num_readings(num_readings), H(s.hidden), memory(memory),
          mixed(this->memory.take<float>(size_t(num_readings) * texts.num_rows() * H)),
          heads(H, s.num_filling, texts.num_rows(), widest(s, readings, num_readings), this->memory) {}

    // Read a row of a layer.
    void row(int layer, int row) const {
        for (int i = 0; i < num_readings; i++) {
            const Reading &reading = readings[i];
            if (reading.pooling != Reading::TOKENS || reading.weights[layer] == 0) continue;
            if (reading.is_copied())
                std::memcpy(static_cast<float *>(reading.out) + texts.places[row] * H, group.row(row), size_t(H) * 4);
            else
                mix(mixed_row(i, row), group.row(row), 1, reading.weights[layer], layer == reading.first);
        }
    }

    // Read all texts of a layer.
    void layer(int layer) const {
        for (int i = 0; i < num_readings; i++) {
            const Reading &reading = readings[i];
            if (reading.pooling == Reading::TOKENS || reading.weights[layer] == 0) continue;
            for (int text = 0; text < texts.num; text++) {
                const int first = texts.starts[text], num_rows = reading.pooling == Reading::MEAN ? texts.starts[text + 1] - first : 1;
                mix(mixed_row(i, text), group.row(first), num_rows, reading.weights[layer] / num_rows, layer == reading.first);
            }
        }
    }

    void finish() const {
        for (int i = 0; i < num_readings; i++) {
            const Reading &reading = readings[i];
            const bool is_pooled = reading.pooling != Reading::TOKENS;
            const int num_rows = is_pooled ? texts.num : texts.num_rows();
            const int64_t *places = is_pooled ? texts.members : texts.places;
            float *out = static_cast<float *>(reading.out);
            if (reading.head)
                heads.read(*static_cast<const Head *>(reading.head), mixed_row(i, 0), num_rows, places, out);
            else if (!reading.is_copied())
                for (int row = 0; row < num_rows; row++) std::memcpy(out + places[row] * H, mixed_row(i, row), size_t(H) * 4);
        }
    }

  private:
    float *mixed_row(int reading, int row) const { return mixed + reading * rows_of_a_reading() + size_t(row) * H; }

    // Add some rows of the state, times a share, to a row of a reading.
    void mix(float *to, const float *first, int num_rows, float share, bool is_first) const {
        const size_t apart = group.row(1) - group.row(0);
        for (int c = 0; c < H; c += LANES) {
            Floats total = load(first + c);
            for (int row = 1; row < num_rows; row++) total += load(first + row * apart + c);
            store(to + c, is_first ? total * share : load(to + c) + total * share);
        }
    }
};

} // namespace
