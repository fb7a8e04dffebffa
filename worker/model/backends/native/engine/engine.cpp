// The encoder of a CPU as plain functions on arrays. One source, compiled for several sets of instructions; each library says which
// arithmetics it has.

#include "../tiles/readings.h"
#include "batch.h"
#include "readings.h"

namespace {

struct Call {
    const int64_t *const *texts;
    int64_t num_groups;
    const void *const *tables;
    const float *const *parameters;
    const Reading *readings;
    int num_readings;
    const Shape &shape;
};

template <class G, class R> bool encode(const Call &call) {
    const auto table = [&](int i) { return static_cast<const float *>(call.tables[i]); };
    const EmbeddingTables tables{call.tables[0], call.tables[1], table(2), table(3), table(4), table(5)};
    const Texts texts{call.texts[0], call.texts[1], call.texts[2], call.texts[3], call.num_groups};
    // Free threads help with a text that is alone. Several texts come at once where the cores are busy, and there a team would wait for
    // a thread without a core.
    Team team;
    const int num_threads = texts.bounds[texts.num_groups] - texts.bounds[0] > 1 ? 1 : std::min(pool().count_free(), MOST_IN_A_TEAM);
    const bool is_shared = num_threads > 1;
    const Work<G, R> work{call.shape, tables, call.parameters, texts, call.readings, call.num_readings, is_shared ? &team : nullptr};
    return pool().run(is_shared ? num_threads : call.num_groups, std::cref(work));
}

} // namespace

extern "C" {
enum Arithmetic { FP32, INT16, INT8, TILED_BF16, TILED_INT8, BF16 };

int gist_lanes() { return LANES; }
int gist_has(int arithmetic) {
    switch (arithmetic) {
    case FP32: return 1;
#ifdef GIST_INT16
    case INT16: return 1;
#endif
#ifdef GIST_INT8
    case INT8: return 1;
#endif
#ifdef GIST_BF16
    case BF16: return 1;
#endif
#ifdef GIST_TILES
    case TILED_BF16:
    case TILED_INT8: return tiles::has_tiles();
#endif
    }
    return 0;
}
void gist_set_threads(int num_threads) { pool().set_limit(num_threads); }
int gist_count_threads() { return pool().count(); }
int gist_count_free_threads() { return pool().count_free(); }
void gist_prefer_large_pages(void *memory, size_t bytes) { madvise(memory, bytes, MADV_HUGEPAGE); }
#ifdef GIST_PROFILE
// The seconds of each stage since the last call, in the order of `Stage`.
void gist_profile(double *seconds) {
    for (int stage = 0; stage < NUM_STAGES; stage++) seconds[stage] = stage_seconds[stage], stage_seconds[stage] = 0;
}
#endif

// The whole encoder. `texts`: ids, starts, order and bounds; `tables`: words, places, gain and bias, projection and its bias; `sizes` and
// `numbers`: the fields of `Shape` in their order. Returns 0 when done, 1 out of memory, 2 for an arithmetic that is not here.
int gist_encode(const int64_t *const *texts, int64_t num_groups, const void *const *tables, const float *const *parameters, const void *readings,
                int num_readings, const int *sizes, const float *numbers, int arithmetic) {
    const Shape shape{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8], sizes[9], sizes[10],
                      numbers[0], numbers[1]};
    const Call call{texts, num_groups, tables, parameters, static_cast<const Reading *>(readings), num_readings, shape};
    switch (arithmetic) {
    case FP32: return encode<Group<Fp32>, Gathering<Group<Fp32>>>(call) ? 0 : 1;
#ifdef GIST_INT16
    case INT16: return encode<Group<Int16>, Gathering<Group<Int16>>>(call) ? 0 : 1;
#endif
#ifdef GIST_INT8
    case INT8: return encode<Group<Int8>, Gathering<Group<Int8>>>(call) ? 0 : 1;
#endif
#ifdef GIST_BF16
    case BF16: return encode<Group<Bf16>, Gathering<Group<Bf16>>>(call) ? 0 : 1;
#endif
#ifdef GIST_TILES
    case TILED_BF16: return encode<tiles::Group<false>, tiles::Gathering<false>>(call) ? 0 : 1;
    case TILED_INT8: return encode<tiles::Group<true>, tiles::Gathering<true>>(call) ? 0 : 1;
#endif
    }
    return 2;
}

// The logits `[num_rows, num_logits]` of a head for rows `[num_rows, hidden]`, whose last `num_filling` numbers are 0. Returns 0 when done, 1 out of memory.
int gist_read_head(const void *head, int num_rows, int hidden, int num_filling, const float *rows, float *logits) {
    const Head &own = *static_cast<const Head *>(head);
    const int width = HeadReader::widest(own, hidden);
    char *memory = kept_memory(HeadReader::bytes(hidden, num_rows, width));
    if (!memory) return 1;
    Carver carver(memory);
    HeadReader(hidden, num_filling, num_rows, width, carver).read(own, rows, num_rows, nullptr, logits);
    return 0;
}
}
