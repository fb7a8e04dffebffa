// The whole encoder for a batch: threads take its groups of texts, each through all layers.
#pragma once

#include <cstdlib>
#include <memory>
#include <sys/mman.h>

#include "entering.h"
#include "pool.h"
#include "profile.h"
#include "team.h"

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
    // The threads that compute the only group together; null where each thread has its own groups.
    Team *team;

    // Take one group through the layers, or help the thread that does so; false where there is no memory.
    bool operator()(int64_t number) const {
        const typename G::Guard guard;
        begin_stages();
        if (!team) return compute(number);
        if (number) return help();
        const bool is_done = compute(0);
        team->close();
        return is_done;
    }

  private:
    // The sizes of a group.
    struct Sizes {
        int num_texts, num_tokens, longest;
    };
    Sizes sizes_of(int64_t group) const {
        Sizes sizes{int(texts.bounds[group + 1] - texts.bounds[group]), 0, 0};
        for (int i = 0; i < sizes.num_texts; i++) {
            const int own = length(texts.order[texts.bounds[group] + i]);
            sizes.num_tokens += own, sizes.longest = std::max(sizes.longest, own);
        }
        return sizes;
    }

    // A thread without memory leaves the work to the others.
    bool help() const {
        const Sizes sizes = sizes_of(0);
        char *memory = kept_memory(G::own_bytes(shape, sizes.num_tokens, sizes.longest));
        if (memory) team->help(G::take_own(shape, sizes.num_tokens, Carver(memory)), [] { return pool().is_within_limit(); });
        return true;
    }

    bool compute(int64_t group) const {
        const int64_t *members = texts.order + texts.bounds[group];
        const auto [num_texts, num_tokens, longest] = sizes_of(group);
        const size_t for_places = round(num_tokens * sizeof(int64_t)), for_starts = round((num_texts + 1) * sizeof(int));
        const size_t own = round(G::bytes(shape, num_tokens, longest, team)), gathered = R::bytes(shape, readings, num_readings, num_tokens);
        char *memory = kept_memory(for_places + for_starts + own + gathered);
        if (!memory) return false;
        int64_t *places = reinterpret_cast<int64_t *>(memory);
        int *starts = reinterpret_cast<int *>(memory + for_places);
        starts[0] = 0;
        for (int i = 0; i < num_texts; i++) {
            starts[i + 1] = starts[i] + length(members[i]);
            for (int row = starts[i]; row < starts[i + 1]; row++) places[row] = texts.starts[members[i]] + row - starts[i];
        }
        G rows(shape, num_tokens, memory + for_places + for_starts, team);
        const GroupTexts own_texts{starts, members, places, num_texts};
        pass(rows, own_texts, R(shape, rows, own_texts, readings, num_readings, memory + for_places + for_starts + own));
        return true;
    }

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
