// Threads share the steps of many passes; prints how many items were computed, and how many more than once or not at all.
#include "../../../worker/model/backends/native/engine/team.h"

#include <cstdio>
#include <thread>
#include <vector>

int main() {
    constexpr int NUM_PASSES = 100, NUM_STEPS = 30, NUM_HELPERS = 3;
    long num_computed = 0, num_wrong = 0;
    for (int pass = 0; pass < NUM_PASSES; pass++) {
        Team team;
        std::vector<std::thread> helpers;
        for (int helper = 0; helper < NUM_HELPERS; helper++)
            helpers.emplace_back([&team, helper] {
                // The first helper leaves after some items.
                int num_left = helper ? 1 << 30 : 40;
                team.help(helper, [&] { return num_left-- > 0; });
            });
        std::vector<int> before(1, 1);
        for (int step = 0; step < NUM_STEPS; step++) {
            // Each item reads what all items of the step before have written.
            std::vector<int> after(1 + (step + pass) % 13);
            team.divide(int(after.size()), [&](int item, int) {
                for (const int number : before) after[item] += number;
            }, NUM_HELPERS);
            long expected = 0;
            for (const int number : before) expected += number;
            for (const int number : after) num_wrong += number != expected;
            num_computed += long(after.size());
            before.assign(after.size(), 1);
        }
        team.close();
        for (auto &helper : helpers) helper.join();
    }
    std::printf("%ld computed, %ld wrong\n", num_computed, num_wrong);
}
