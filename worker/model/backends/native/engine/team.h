// Threads that compute one text together. A step of the pass is divided into items, and each thread of the team takes the
// next item as soon as it is free. So no thread waits for one that has not begun an item, and a thread may leave after any item. One
// thread computes each number, by the same sums as if it were alone: the results are the same to the last bit.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "shape.h"

namespace {

// More threads would wait longer for each other than they compute.
constexpr int MOST_IN_A_TEAM = 4;
// As long as an item takes; a thread that waits longer sleeps.
constexpr std::chrono::microseconds LONGEST_SPIN{30};

// Wait until a number differs from `before`: a short time in a loop, then asleep until a thread notifies.
template <class T> void wait_for_change(const std::atomic<T> &number, T before) {
    const auto end = std::chrono::steady_clock::now() + LONGEST_SPIN;
    do {
        for (int i = 0; i < 16; i++) {
            if (number.load(std::memory_order_acquire) != before) return;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    } while (std::chrono::steady_clock::now() < end);
    number.wait(before, std::memory_order_acquire);
}

class Team {
    // The step that is under way, in one number: the step's number, how many items it has, and the first item that is free.
    static constexpr int ITEM_BITS = 10, LAST_ITEM = (1 << ITEM_BITS) - 1;
    static constexpr uint32_t CLOSED = ~0u;
    static int first_free(uint32_t ticket) { return ticket & LAST_ITEM; }
    static int num_items(uint32_t ticket) { return ticket >> ITEM_BITS & LAST_ITEM; }

    alignas(64) std::atomic<uint32_t> ticket{0};
    alignas(64) std::atomic<int> num_done{0};
    // What to do with an item of the step. Written only while no item is under way.
    alignas(64) void (*compute)(const void *work, int item, const void *own) = nullptr;
    const void *work = nullptr;
    uint32_t num_steps = 0;

    bool take_item(const void *own) {
        uint32_t found = ticket.load(std::memory_order_acquire);
        do
            if (found == CLOSED || first_free(found) == num_items(found)) return false;
        while (!ticket.compare_exchange_weak(found, found + 1, std::memory_order_acq_rel));
        compute(work, first_free(found), own);
        if (num_done.fetch_add(1, std::memory_order_acq_rel) + 1 == num_items(found)) num_done.notify_all();
        return true;
    }
    void publish(uint32_t step) {
        ticket.store(step, std::memory_order_release);
        ticket.notify_all();
    }

  public:
    // The thread that leads the pass: `step(item, own)` for all items. At most LAST_ITEM of them.
    template <class Step, class Own> void divide(int num, const Step &step, const Own &own) {
        compute = [](const void *work, int item, const void *own) { (*static_cast<const Step *>(work))(item, *static_cast<const Own *>(own)); };
        work = &step;
        num_done.store(0, std::memory_order_relaxed);
        publish(++num_steps << 2 * ITEM_BITS | uint32_t(num) << ITEM_BITS);
        while (take_item(&own)) {}
        for (int done; (done = num_done.load(std::memory_order_acquire)) < num;) wait_for_change(num_done, done);
    }
    void close() { publish(CLOSED); }

    // Another thread: take items until the pass is done, or until the thread is no longer needed.
    template <class Own, class IsNeeded> void help(const Own &own, const IsNeeded &is_needed) {
        uint32_t found;
        while ((found = ticket.load(std::memory_order_acquire)) != CLOSED && is_needed())
            if (!take_item(&own) && first_free(found) == num_items(found)) wait_for_change(ticket, found);
    }
};

// How the steps of a pass are divided into items; a thread alone takes each step as one item, and the feed-forward piece by piece.
struct Items {
    int heads_of_a_part, heads, num_heads;
    int width, columns, num_columns;
    // Pieces of the feed-forward's inner row, and how many of them are held at a time.
    int intermediate, numbers, num_pieces, num_held;
    int rows, num_rows;

    Items(const Shape &s, int num_tokens, bool is_shared, int numbers_of_a_piece)
        : heads_of_a_part(::heads_of_a_part(s)), heads(is_shared ? 1 : heads_of_a_part), num_heads(s.num_heads / heads), width(s.hidden),
          columns(is_shared ? COLUMNS : width), num_columns(divide_up(width, columns)), intermediate(s.intermediate), numbers(numbers_of_a_piece),
          num_pieces(divide_up(intermediate, numbers)),
          num_held(is_shared ? std::clamp(HELD_NUMBERS / (num_tokens * numbers), std::min(MOST_IN_A_TEAM, num_pieces), num_pieces) : 1),
          rows(is_shared ? std::max(8, divide_up(num_tokens, 64)) : num_tokens), num_rows(divide_up(num_tokens, rows)) {}
    int columns_of(int item) const { return std::min(columns, width - item * columns); }
    int numbers_of(int piece) const { return std::min(numbers, intermediate - piece * numbers); }

  private:
    // Whole panels of every kernel; in smaller items more panels would arrive without a prefetch.
    static constexpr int COLUMNS = 192;
    static constexpr int HELD_NUMBERS = 4 << 20;
    static int divide_up(int number, int by) { return (number + by - 1) / by; }
};

// All items of a step, by a team or by the only thread.
template <class Step, class Own> void divide(Team *team, int num_items, const Step &step, const Own &own) {
    if (team)
        team->divide(num_items, step, own);
    else
        for (int item = 0; item < num_items; item++) step(item, own);
}

} // namespace
