// Matrix products on the processor's tile registers (AMX), 32 rows by 32 columns at a time; 16 rows where no more are left.
//
// Whatever the numbers are, a step of a product takes 64 bytes of each row: 32 numbers in bf16, 64 in 8 bits. Weights are laid out
// by panels of 32 columns, a panel by steps, a step as two tiles of 16 columns (`amx_layout.py`).
#pragma once

#if defined(__AMX_BF16__) && defined(__AMX_INT8__) && defined(__AVX512BF16__) && defined(__AVX512FP16__)
#define GIST_TILES 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {
namespace tiles {

constexpr int BLOCK = 32;
constexpr int TILE_BYTES = 1024;
constexpr int STEP_BYTES = 64;
// Columns of a panel times the bytes of a step: what a panel advances by in a step.
constexpr int PANEL_STEP_BYTES = BLOCK * STEP_BYTES;

// Linux gives the tile registers to a process that asks for them.
inline bool has_tiles() {
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    static const bool granted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return granted;
}

// The shape of the tiles of this thread while it lives; the matrix library of others keeps its own, and finds it again.
class TileShape {
    struct alignas(64) Shape {
        uint8_t palette = 0, start_row = 0, reserved[14] = {};
        uint16_t bytes[16] = {};
        uint8_t rows[16] = {};
    };
    Shape before;

  public:
    TileShape() {
        _tile_storeconfig(&before);
        Shape ours;
        ours.palette = 1;
        for (int i = 0; i < 8; i++) ours.bytes[i] = 64, ours.rows[i] = 16;
        _tile_loadconfig(&ours);
    }
    ~TileShape() {
        if (before.palette)
            _tile_loadconfig(&before);
        else
            _tile_release();
    }
};

// The compiler does not know what tile loads read: what was stored before must be in memory by then.
inline void settle() { asm volatile("" ::: "memory"); }

struct Bf16 {
    using Sum = float;
    static constexpr int BYTES = 2;
    static void multiply_first() { _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); }
    static void multiply_second() { _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7); }
};
// Signed bytes by signed bytes, and unsigned by signed.
struct Signed {
    using Sum = int32_t;
    static constexpr int BYTES = 1;
    static void multiply_first() { _tile_dpbssd(0, 4, 6); _tile_dpbssd(1, 4, 7); }
    static void multiply_second() { _tile_dpbssd(2, 5, 6); _tile_dpbssd(3, 5, 7); }
};
struct Unsigned {
    using Sum = int32_t;
    static constexpr int BYTES = 1;
    static void multiply_first() { _tile_dpbusd(0, 4, 6); _tile_dpbusd(1, 4, 7); }
    static void multiply_second() { _tile_dpbusd(2, 5, 6); _tile_dpbusd(3, 5, 7); }
};

inline void clear_sums() { _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3); }
template <class S> inline void load_sums(const S *sums, size_t row, bool is_half) {
    _tile_loadd(0, sums, row * 4); _tile_loadd(1, sums + 16, row * 4);
    if (is_half) return;
    _tile_loadd(2, sums + 16 * row, row * 4); _tile_loadd(3, sums + 16 * row + 16, row * 4);
}
template <class S> inline void store_sums(S *sums, size_t row, bool is_half) {
    _tile_stored(0, sums, row * 4); _tile_stored(1, sums + 16, row * 4);
    if (is_half) return;
    _tile_stored(2, sums + 16 * row, row * 4); _tile_stored(3, sums + 16 * row + 16, row * 4);
}

// Add 32 rows, or 16, times a panel to the sums; `meanwhile(step)` keeps the vector units busy while the tiles multiply. A panel stays
// in the first-level cache for all rows; rows only pass through it, as their loads say.
template <class P, bool IS_HALF, class Meanwhile>
inline void add_block(const char *rows, size_t row_bytes, const char *panel, int num_steps, const Meanwhile &meanwhile) {
    for (int step = 0; step < num_steps; step++) {
        const char *x = rows + step * STEP_BYTES, *w = panel + step * PANEL_STEP_BYTES;
        _tile_stream_loadd(4, x, row_bytes);
        _tile_loadd(6, w, STEP_BYTES);
        _tile_loadd(7, w + TILE_BYTES, STEP_BYTES);
        if constexpr (!IS_HALF) { _tile_stream_loadd(5, x + 16 * row_bytes, row_bytes); }
        P::multiply_first();
        if constexpr (!IS_HALF) P::multiply_second();
        meanwhile(step);
    }
}
template <class P, class Meanwhile>
inline void add_products(const char *rows, size_t row_bytes, const char *panel, int num_steps, bool is_half, const Meanwhile &meanwhile) {
    if (is_half)
        add_block<P, true>(rows, row_bytes, panel, num_steps, meanwhile);
    else
        add_block<P, false>(rows, row_bytes, panel, num_steps, meanwhile);
}

// Weights as they are laid out, or a piece of their steps.
struct Weights {
    const char *first;
    // From a panel to the next.
    size_t panel_bytes;
    int num_columns, num_steps;
    // Columns come in runs of `run`, whose first columns are `run_apart` columns of the weights from each other.
    int run = num_columns, run_apart = 0;

    // The column of the weights.
    int place(int column) const { return column / run * run_apart + column % run; }
    const char *panel(int column) const { return first + size_t(place(column) / BLOCK) * panel_bytes; }
};

// Brings the next panel closer while one is multiplied: weights come from far, once for each group of texts.
struct Prefetch {
    const char *next, *end;
    // Lines for each step, so that the panel is there when the last block of rows is done.
    int lines;

    Prefetch(const Weights &w, int column, int num_rows)
        : next(w.panel(column + BLOCK)), end(next + (column + BLOCK < w.num_columns ? w.num_steps * PANEL_STEP_BYTES : 0)) {
        const int num_blocks = (num_rows + BLOCK - 1) / BLOCK;
        lines = (BLOCK + num_blocks - 1) / num_blocks;
    }
    void some() {
        for (int i = 0; i < lines && next < end; i++, next += 64) _mm_prefetch(next, _MM_HINT_T1);
    }
};

// Multiply `num_rows` rows (rounded up to 16; what is past the end is computed and means nothing) with all columns.
// `finish(first, end, column, sums)` takes rows of 32 sums, some at a time, while the next block is multiplied.
template <class P, class Finish> void multiply(const char *x, size_t row_bytes, const Weights &w, int num_rows, const Finish &finish) {
    using Sum = typename P::Sum;
    // One block's sums: they are finished by the time that the next block's are there.
    alignas(64) Sum sums[BLOCK * BLOCK];
    const int a_step = (BLOCK + w.num_steps - 1) / w.num_steps;
    int row_before = -1, end_before = 0, column_before = 0;
    for (int column = 0; column < w.num_columns; column += BLOCK) {
        Prefetch prefetch(w, column, num_rows);
        for (int row = 0; row < num_rows; row += BLOCK) {
            const bool is_half = num_rows - row <= BLOCK / 2;
            clear_sums();
            add_products<P>(x + row * row_bytes, row_bytes, w.panel(column), w.num_steps, is_half, [&](int step) {
                prefetch.some();
                const int first = row_before + step * a_step, end = std::min(end_before, first + a_step);
                if (row_before >= 0 && first < end) finish(first, end, column_before, sums + step * a_step * BLOCK);
            });
            store_sums(sums, BLOCK, is_half);
            settle();
            row_before = row, end_before = row + (is_half ? BLOCK / 2 : BLOCK), column_before = column;
        }
    }
    finish(row_before, end_before, column_before, sums);
    settle();
}

// The same, with the sums left in `sums`, whose rows are `sums_row` numbers apart, or added to what is there.
template <class P>
void multiply_into(typename P::Sum *sums, size_t sums_row, bool is_added, const char *x, size_t row_bytes, const Weights &w, int num_rows) {
    for (int column = 0; column < w.num_columns; column += BLOCK) {
        Prefetch prefetch(w, column, num_rows);
        for (int row = 0; row < num_rows; row += BLOCK) {
            auto *block = sums + row * sums_row + column;
            const bool is_half = num_rows - row <= BLOCK / 2;
            if (is_added)
                load_sums(block, sums_row, is_half);
            else
                clear_sums();
            add_products<P>(x + row * row_bytes, row_bytes, w.panel(column), w.num_steps, is_half, [&](int) { prefetch.some(); });
            store_sums(block, sums_row, is_half);
        }
    }
    settle();
}

} // namespace tiles
} // namespace
#endif
