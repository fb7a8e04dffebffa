// The whole encoder for a batch: threads take its groups of texts, each through all layers.
#pragma once

#include <cstdlib>
#include <memory>
#include <sys/mman.h>

#include "pool.h"
#include "profile.h"
#include "shape.h"

namespace {

constexpr size_t HUGE_PAGE = 2 << 20;

// Memory that a thread keeps from pass to pass: fresh pages would cost more than what is done with them.
inline char *kept_memory(size_t bytes) {
    thread_local std::unique_ptr<char, decltype(&std::free)> memory(nullptr, std::free);
    thread_local size_t size = 0;
    if (size < bytes) {
        memory.reset(static_cast<char *>(std::aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE)));
        if (memory) madvise(memory.get(), bytes, MADV_HUGEPAGE);
        size = memory ? bytes : 0;
    }
    return memory.get();
}

// The work of one call: everything but the texts is the same for all groups. `G` takes a group through the layers, `R` reads it.
template <class G, class R> struct Work {
    const Shape &shape;
    const EmbeddingTables &tables;
    const float *const *parameters;
    const Texts &texts;
    const Reading *readings;
    int num_readings;

    // Take one group through the layers; false where there is no memory.
    bool operator()(int64_t group) const {
        const typename G::Guard guard;
        begin_stages();
        const int64_t *members = texts.order + texts.bounds[group];
        const int num_texts = int(texts.bounds[group + 1] - texts.bounds[group]);
        int num_tokens = 0, longest = 0;
        for (int i = 0; i < num_texts; i++) num_tokens += length(members[i]), longest = std::max(longest, length(members[i]));
        const size_t for_places = round(num_tokens * sizeof(int64_t)), for_starts = round((num_texts + 1) * sizeof(int));
        const size_t own = round(G::bytes(shape, num_tokens, longest)), gathered = R::bytes(shape, readings, num_readings, num_tokens);
        char *memory = kept_memory(for_places + for_starts + own + gathered);
        if (!memory) return false;
        int64_t *places = reinterpret_cast<int64_t *>(memory);
        int *starts = reinterpret_cast<int *>(memory + for_places);
        starts[0] = 0;
        for (int i = 0; i < num_texts; i++) {
            starts[i + 1] = starts[i] + length(members[i]);
            for (int row = starts[i]; row < starts[i + 1]; row++) places[row] = texts.starts[members[i]] + row - starts[i];
        }
        G rows(shape, num_tokens, memory + for_places + for_starts);
        const GroupTexts own_texts{starts, members, places, num_texts};
        pass(rows, own_texts, R(shape, rows, own_texts, readings, num_readings, memory + for_places + for_starts + own));
        return true;
    }

  private:
    static size_t round(size_t bytes) { return (bytes + 127) / 64 * 64; }
    int length(int64_t text) const { return int(texts.starts[text + 1] - texts.starts[text]); }

    void pass(G &rows, const GroupTexts &own, const R &gathering) const {
        for (int i = 0; i < own.num; i++)
            for (int row = own.starts[i]; row < own.starts[i + 1]; row++) {
                rows.embed(row, texts.ids[own.places[row]], row - own.starts[i], tables, parameters);
                if (!shape.embedding) gathering.row(0, row);
            }
        if (shape.embedding) {
            rows.project(tables, parameters);
            for (int row = 0; row < own.num_rows(); row++) gathering.row(0, row);
        }
        end_of(REST);
        gathering.layer(0);
        end_of(HEADS);
        for (int layer = 1; layer <= shape.num_layers; layer++) {
            const float *const *p = parameters + (layer - 1) * NUM_PARAMETERS;
            const float *const *next = layer < shape.num_layers ? p + NUM_PARAMETERS : p;
            rows.pass(p, own.starts, own.num, next, [&](int row) { gathering.row(layer, row); });
            gathering.layer(layer);
            end_of(HEADS);
        }
        gathering.finish();
        end_of(HEADS);
    }
};

} // namespace
