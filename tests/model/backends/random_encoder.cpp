// Prints the mean-pooled states of a small random encoder in fp32. Built for two architectures, the program must print the same numbers.
#include "../../../worker/model/backends/native/engine/engine.cpp"

#include <cstdio>

int main() {
    constexpr int H = 64, INNER = 160, HEADS = 2, LAYERS = 2, WORDS = 50, LONGEST = 40, NUM_TEXTS = 3;
    uint64_t seed = 1;
    const auto random = [&](size_t size, float spread, float shift = 0) {
        auto *numbers = new float[size];
        for (size_t i = 0; i < size; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            numbers[i] = shift + spread * (float(seed >> 40) / (1 << 23) - 1);
        }
        return numbers;
    };
    const void *tables[] = {random(WORDS * H, 1), random(LONGEST * H, 1), random(H, 0.1f, 1), random(H, 0.1f), nullptr, nullptr};
    static const float settings[] = {-1, 1}, limits[4] = {};
    const float *parameters[LAYERS * NUM_PARAMETERS] = {};
    for (int layer = 0; layer < LAYERS; layer++) {
        const float **p = parameters + layer * NUM_PARAMETERS;
        p[MIX_W] = random(3 * H * H, 0.2f), p[MIX_B] = random(3 * H, 0.1f), p[OUTPUT_W] = random(H * H, 0.2f), p[OUTPUT_B] = random(H, 0.1f);
        p[EXPAND_W] = random(INNER * H, 0.2f), p[EXPAND_B] = random(INNER, 0.1f), p[CONTRACT_W] = random(INNER * H, 0.2f), p[CONTRACT_B] = random(H, 0.1f);
        p[NORM_1_GAIN] = p[NORM_2_GAIN] = random(H, 0.1f, 1), p[NORM_1_BIAS] = p[NORM_2_BIAS] = random(H, 0.1f);
        p[LIMITS] = limits, p[SETTINGS] = settings;
    }
    int64_t starts[] = {0, 3, 40, 77}, order[] = {1, 2, 0}, bounds[] = {0, 2, NUM_TEXTS}, ids[77];
    for (int i = 0; i < 77; i++) ids[i] = i * 7 % WORDS;
    const int64_t *texts[] = {ids, starts, order, bounds};
    const float weights[LAYERS + 1] = {0, 0.5f, 0.5f};
    float vectors[NUM_TEXTS * H];
    const Reading reading{weights, nullptr, vectors, Reading::MEAN, 1, LAYERS};
    const int sizes[] = {H, INNER, HEADS, LAYERS, GELU, 0, 0, 0, LONGEST, 0, 0};
    const float numbers[] = {1e-12f, 0.1767767f};
    gist_set_threads(2);
    if (gist_encode(texts, 2, tables, parameters, &reading, 1, sizes, numbers, FP32)) return 1;
    for (const float number : vectors) std::printf("%.6f\n", number);
}
