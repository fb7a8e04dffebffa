// What the matrix products leave over, for texts that lie end to end in one matrix of T tokens: nothing here sees padding.
//
//   attend      attention within each text
//   add_norm    the sum of two states, normalised
//   activate    the activation before an 8-bit product
//
// For 8-bit products each gives bytes too, with scales that were calibrated (by channel) or are found on the way (by token).

#include <omp.h>
#include <vector>

#include "attention.h"
#include "tiled_batch.h"

namespace {

// What add_norm reads and writes; `shift`, `token_scale`, `bytes` and `scale` may be null.
template <class T> struct AddNorm {
    // x * token_scale[t] + shift + y is normalised, then out = gain * normalised + bias and bytes = round(out * scale) + 128.
    const T *x, *y;
    const f32 *token_scale, *shift, *gain, *bias;
    T *out;
    uint8_t *bytes;
    const f32 *scale;
    int H;
    f32 epsilon;

    void token(int64_t t) const {
        f32x16 sums[256];
        f32x16 total = {}, squares = {};
        const f32 factor = token_scale ? token_scale[t] : 1.0f;
        for (int c = 0; c < H / LANES; c++) {
            const size_t place = t * H + c * LANES;
            sums[c] = load(x + place) * factor + load(y + place);
            if (shift) sums[c] += load(shift + c * LANES);
            total += sums[c];
        }
        const f32 mean = sum(total) / H;
        for (int c = 0; c < H / LANES; c++) squares += (sums[c] - mean) * (sums[c] - mean);
        const f32 spread = 1 / std::sqrt(sum(squares) / H + epsilon);
        for (int c = 0; c < H / LANES; c++) {
            const size_t place = t * H + c * LANES;
            const f32x16 z = (sums[c] - mean) * spread * load(gain + c * LANES) + load(bias + c * LANES);
            store(out + place, z);
            if (bytes) store_bytes(bytes + place, z * load(scale + c * LANES) + 128.0f);
        }
    }
};

template <class T> void add_norm(const AddNorm<T> &work, int64_t num_tokens, int num_threads) {
#pragma omp parallel for schedule(static) num_threads(num_threads)
    for (int64_t t = 0; t < num_tokens; t++) work.token(t);
}

// GELU is never below this.
constexpr f32 GELU_MINIMUM = -0.17f;

// One token: bytes = round((gelu(x) - minimum) / scale), where the scale, which is returned, takes its largest to 255.
template <class T> f32 activate_token(const T *x, uint8_t *bytes, int width, f32 *activated) {
    f32x16 largest = {};
    for (int i = 0; i < width; i += LANES) {
        const f32x16 y = gelu(load(x + i));
        store(activated + i, y);
        largest = y > largest ? y : largest;
    }
    f32 top = largest[0];
    for (int i = 1; i < LANES; i++) top = std::max(top, largest[i]);
    const f32 scale = (top - GELU_MINIMUM) / 255.0f;
    for (int i = 0; i < width; i += LANES) store_bytes(bytes + i, (load(activated + i) - GELU_MINIMUM) * (1.0f / scale));
    return scale;
}

template <class T> void activate(const T *x, uint8_t *bytes, f32 *scales, int64_t num_tokens, int width, int num_threads) {
#pragma omp parallel for schedule(static) num_threads(num_threads)
    for (int64_t t = 0; t < num_tokens; t++) {
        f32 activated[16384];
        scales[t] = activate_token(x + t * width, bytes + t * width, width, activated);
    }
}

} // namespace

#define EXPORT(T)                                                                                                                \
    int gist_attend_##T(const T *qkv, T *out, const int64_t *starts, int64_t n, int heads, int width, int threads) {             \
        return attend_by_width(qkv, Plain<T>{out}, starts, n, heads, width, threads);                                            \
    }                                                                                                                            \
    int gist_attend_quantize_##T(const T *qkv, uint8_t *out, const int64_t *starts, int64_t n, int heads, int width, int threads, \
                                 const f32 *scale) {                                                                             \
        return attend_by_width(qkv, Quantizing{out, scale}, starts, n, heads, width, threads);                                   \
    }                                                                                                                            \
    void gist_add_norm_##T(const T *x, const T *y, const f32 *token_scale, const f32 *shift, const f32 *gain, const f32 *bias,   \
                           T *out, uint8_t *bytes, const f32 *scale, int64_t num_tokens, int H, f32 epsilon, int threads) {      \
        add_norm(AddNorm<T>{x, y, token_scale, shift, gain, bias, out, bytes, scale, H, epsilon}, num_tokens, threads);          \
    }                                                                                                                            \
    void gist_activate_##T(const T *x, uint8_t *bytes, f32 *scales, int64_t num_tokens, int width, int threads) {                \
        activate(x, bytes, scales, num_tokens, width, threads);                                                                  \
    }

// Attention returns 0 when done, 1 out of memory, 2 for a width that is not here.
extern "C" {
EXPORT(f32)
EXPORT(bf16)
// The threads of the next parallel region, to see whether this library shares its pool with the matrix products.
int gist_num_threads() { return omp_get_max_threads(); }

#ifdef GIST_TILES
int gist_has_tiles() { return has_tiles(); }
#ifdef GIST_PROFILE
// The seconds of each stage since the last call, in the order of `Stage`.
void gist_profile(double *seconds) {
    for (int stage = 0; stage < NUM_STAGES; stage++) seconds[stage] = stage_seconds[stage], stage_seconds[stage] = 0;
}
#endif
void gist_prefer_large_pages(void *memory, size_t bytes) { madvise(memory, bytes, MADV_HUGEPAGE); }

// The whole encoder. `texts`: ids, starts, order and bounds; `tables`: words, places, gain and bias. Returns 0 when done, 1 out of memory.
int gist_encode(const int64_t *const *texts, int64_t num_groups, const void *const *tables, const float *const *parameters, const void *readings,
                int num_readings, int hidden, int intermediate, int num_heads, int num_layers, float epsilon, int is_8_bit, int threads) {
    const Shape shape{hidden, intermediate, num_heads, num_layers, epsilon};
    const EmbeddingTables embeddings{(const uint16_t *)tables[0], (const uint16_t *)tables[1], (const float *)tables[2], (const float *)tables[3]};
    const Texts batch{texts[0], texts[1], texts[2], texts[3], num_groups};
    const Reading *first = static_cast<const Reading *>(readings);
    if (is_8_bit) return encode(Work<true>{shape, embeddings, parameters, batch, first, num_readings}, threads);
    return encode(Work<false>{shape, embeddings, parameters, batch, first, num_readings}, threads);
}
#else
int gist_has_tiles() { return 0; }
#endif
}
