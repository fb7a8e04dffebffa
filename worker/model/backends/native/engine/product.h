// Matrix products: some rows at a time with a panel of columns, their sums in registers.
#pragma once

#include <utility>

#include "arithmetic.h"

namespace {

// Rows whose sums fit into the registers, beside a step of a panel.
#if defined(__AVX512F__)
constexpr int MOST_ROWS = 14;
#elif defined(__aarch64__)
constexpr int MOST_ROWS = 12;
#else
constexpr int MOST_ROWS = 6;
#endif

// A part of a product: some steps of a panel, whose sums are put to `sums` or added to what is there.
struct Part {
    const char *x, *panel;
    // From a step of the panel to the next.
    size_t step_bytes;
    int num_steps;
    const int32_t *start;
    float *sums;
    // From a row of sums to the next, in numbers.
    size_t sums_row;
    bool is_added;
};

// `X_ROW` is the distance between rows, in bytes: known to the compiler, it costs no register.
template <class A, int X_ROW, int ROWS> __attribute__((noinline)) void multiply_rows(const Part &part) {
    typename A::Sums sums[ROWS][2];
    const auto first = A::begin(part.start), second = A::begin(part.start ? part.start + LANES : nullptr);
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) sums[row][0] = first, sums[row][1] = second;
    const char *x = part.x, *w = part.panel;
    const size_t step_bytes = part.step_bytes;
    for (const char *end = x + part.num_steps * 4; x < end; x += 4, w += step_bytes) {
        const auto left = read<typename A::Sums>(w), right = read<typename A::Sums>(w + 4 * LANES);
#pragma GCC unroll 16
        for (int row = 0; row < ROWS; row++) {
            sums[row][0] = A::add(sums[row][0], x + row * X_ROW, left);
            sums[row][1] = A::add(sums[row][1], x + row * X_ROW, right);
        }
    }
    float *to = part.sums;
    const size_t sums_row = part.sums_row;
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++, to += sums_row) {
        Floats a = A::finish(sums[row][0]), b = A::finish(sums[row][1]);
        if (part.is_added) a += load(to), b += load(to + LANES);
        store(to, a), store(to + LANES, b);
    }
}

template <class A, int X_ROW> inline void multiply_some_rows(int num_rows, const Part &part) {
    using Kernel = void (*)(const Part &);
    static constexpr auto kernels = []<size_t... ROWS>(std::index_sequence<ROWS...>) {
        struct { Kernel of[MOST_ROWS]; } all{{multiply_rows<A, X_ROW, int(ROWS) + 1>...}};
        return all;
    }(std::make_index_sequence<MOST_ROWS>());
    kernels.of[num_rows - 1](part);
}

// Rows as a product reads them: in blocks of BLOCK_STEPS steps, `block_bytes` apart.
struct Rows {
    const char *first;
    size_t block_bytes;
};

// Weights by panels of PANEL columns, a panel by steps of four bytes for each column.
struct Weights {
    const char *first;
    // From a panel to the next.
    size_t panel_bytes;
    int num_columns, num_steps;
    // For each block and column what its sum begins with; null for 0. `start_row` is the distance between blocks.
    const int32_t *start;
    size_t start_row;
    // Columns come in runs of `run`, whose first columns are `run_apart` columns of the weights from each other.
    int run = num_columns, run_apart = 0;

    // The column of the weights.
    int place(int column) const { return column / run * run_apart + column % run; }
    const char *panel(int column) const { return first + size_t(place(column) / PANEL) * panel_bytes; }
};

// Brings the next panel into the second-level cache while one is multiplied.
class Prefetch {
    const char *next, *end;
    int lines;

  public:
    Prefetch(const Weights &w, int column, int num_parts) : next(w.panel(column + PANEL)) {
        const int bytes = column + PANEL < w.num_columns ? w.num_steps * PANEL_STEP_BYTES : 0;
        end = next + bytes, lines = (bytes / 64 + num_parts - 1) / num_parts;
    }
    void some() {
        for (int i = 0; i < lines && next < end; i++, next += 64) __builtin_prefetch(next, 0, 2);
    }
};

// Multiply rows with all columns. `finish(first, end, column, sums)` takes rows of PANEL sums; `strip` has room for one panel's.
template <class A, int X_ROW, class Finish> void multiply(const Rows &x, const Weights &w, int num_rows, float *strip, const Finish &finish) {
    const int num_parts = (num_rows + MOST_ROWS - 1) / MOST_ROWS, num_blocks = (w.num_steps + BLOCK_STEPS - 1) / BLOCK_STEPS;
    for (int column = 0; column < w.num_columns; column += PANEL) {
        Prefetch prefetch(w, column, num_parts * num_blocks);
        for (int block = 0; block < num_blocks; block++) {
            const int first_step = block * BLOCK_STEPS, num_steps = std::min(BLOCK_STEPS, w.num_steps - first_step);
            const int32_t *start = w.start ? w.start + block * w.start_row + w.place(column) : nullptr;
            const char *panel = w.panel(column) + size_t(first_step) * PANEL_STEP_BYTES;
            for (int part = 0; part < num_parts; part++) {
                const int row = num_rows * part / num_parts, end = num_rows * (part + 1) / num_parts;
                float *sums = num_blocks == 1 ? strip : strip + row * PANEL;
                prefetch.some();
                const char *from = x.first + block * x.block_bytes + size_t(row) * X_ROW;
                multiply_some_rows<A, X_ROW>(end - row, {from, panel, PANEL_STEP_BYTES, num_steps, start, sums, PANEL, block > 0});
                if (block == num_blocks - 1) finish(row, end, column, sums);
            }
        }
    }
}

} // namespace
