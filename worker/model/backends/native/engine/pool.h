// The threads of the engine. A pass runs in its caller's thread; threads that are free take groups of the pass, too. No thread spins
// here, and no pass waits for another.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace {

// A pass: `work(group)` returns false where it failed.
struct Pass {
    const std::function<bool(int64_t)> &work;
    const int64_t num_groups;
    std::atomic<int64_t> next{0};
    std::atomic<bool> has_failed{false};
    // The pool's threads that are in it; guarded by the pool.
    int num_helpers = 0;

    bool has_groups() const { return next.load(std::memory_order_relaxed) < num_groups; }
    bool take_group() {
        const int64_t group = next.fetch_add(1, std::memory_order_relaxed);
        if (group >= num_groups) return false;
        if (!work(group)) has_failed = true;
        return true;
    }
};

class Pool {
    std::mutex mutex;
    std::condition_variable has_work, has_left;
    std::vector<std::thread> helpers;
    std::vector<Pass *> passes;
    // Threads that compute: callers and helpers. Helpers leave after a group where there are more than `limit`.
    std::atomic<int> num_active{0}, limit{1};

    Pass *find_pass() const {
        Pass *found = nullptr;
        for (Pass *pass : passes)
            if (pass->has_groups() && (!found || pass->num_helpers < found->num_helpers)) found = pass;
        return found;
    }

    void help() {
        std::unique_lock lock(mutex);
        while (true) {
            Pass *pass = nullptr;
            has_work.wait(lock, [&] { return num_active < limit && (pass = find_pass()); });
            pass->num_helpers++, num_active++;
            lock.unlock();
            while (pass->take_group() && is_within_limit()) {}
            lock.lock();
            num_active--;
            if (--pass->num_helpers == 0) has_left.notify_all();
        }
    }

  public:
    // How many threads compute at a time; callers are never held back.
    void set_limit(int num_threads) {
        const std::scoped_lock lock(mutex);
        limit = num_threads;
        while (int(helpers.size()) < num_threads - 1) helpers.emplace_back([this] { help(); });
    }
    int count() const { return limit; }
    // Whether a helper may go on.
    bool is_within_limit() const { return num_active <= limit; }
    int count_free() const { return std::max(0, limit - num_active); }

    // Run `work` for every group; false where one failed.
    bool run(int64_t num_groups, const std::function<bool(int64_t)> &work) {
        Pass pass{work, num_groups};
        {
            const std::scoped_lock lock(mutex);
            num_active++;
            passes.push_back(&pass);
        }
        for (int64_t i = 1; i < num_groups && i < limit; i++) has_work.notify_one();
        while (pass.take_group()) {}
        std::unique_lock lock(mutex);
        std::erase(passes, &pass);
        num_active--;
        if (!passes.empty()) has_work.notify_one();
        has_left.wait(lock, [&] { return pass.num_helpers == 0; });
        return !pass.has_failed;
    }
};

// Never destroyed: its threads may outlive the main one.
inline Pool &pool() {
    static Pool &only = *new Pool;
    return only;
}

} // namespace
