// What the time of a pass goes into, over all threads. Counted only in a library that is compiled for it (GIST_PROFILE).
#pragma once

#ifdef GIST_PROFILE
#include <time.h>
#endif

namespace {

// Products with what is done to their numbers on the way out (bias, GELU); norms with the sums before them; what heads read and say;
// embeddings, bytes, and whatever else.
enum Stage { PRODUCTS, ATTENTION, NORMS, HEADS, REST, NUM_STAGES };

#ifdef GIST_PROFILE
double stage_seconds[NUM_STAGES];
thread_local double stage_began;

inline double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}
inline void begin_stages() { stage_began = now(); }
// What this thread did since it last said so was of this stage.
inline void end_of(Stage stage) {
    const double ended = now(), seconds = ended - stage_began;
#pragma omp atomic
    stage_seconds[stage] += seconds;
    stage_began = ended;
}
#else
inline void begin_stages() {}
inline void end_of(Stage) {}
#endif

} // namespace
