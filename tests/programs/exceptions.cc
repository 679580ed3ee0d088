/*
 * C++: exceptions thrown in threads, carried to another by exception_ptr and future, unwound
 * through cleanups; condition variables and atomics of the standard library.
 * @link pthread
 * @also static
 */
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static std::atomic<int> unwound{0};

struct Guard {
    ~Guard() { ++unwound; }
};

static int deep(int level)
{
    Guard guard;
    if (level == 0)
        throw std::runtime_error("from the deep");
    return deep(level - 1) + 1;
}

int main()
{
    std::vector<std::exception_ptr> caught(4);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([i, &caught] {
            try {
                deep(10 + i);
            } catch (...) {
                caught[static_cast<size_t>(i)] = std::current_exception();
            }
        });
    for (auto &thread : threads)
        thread.join();
    int rethrown = 0;
    for (auto &pointer : caught)
        try {
            std::rethrow_exception(pointer);
        } catch (const std::runtime_error &error) {
            rethrown += std::string(error.what()) == "from the deep";
        }
    if (rethrown != 4 || unwound != 11 + 12 + 13 + 14)
        return 1;

    auto future = std::async(std::launch::async, [] { return deep(3); });
    try {
        future.get();
        return 2;
    } catch (const std::exception &error) {
        std::printf("%s\n", error.what());
    }
    std::mutex mutex;
    std::condition_variable condition;
    int turn = 0;
    std::thread other([&] {
        for (int i = 0; i < 50; i++) {
            std::unique_lock<std::mutex> lock(mutex);
            condition.wait(lock, [&] { return turn == 1; });
            turn = 0;
            condition.notify_one();
        }
    });
    for (int i = 0; i < 50; i++) {
        std::unique_lock<std::mutex> lock(mutex);
        condition.wait(lock, [&] { return turn == 0; });
        turn = 1;
        condition.notify_one();
    }
    other.join();
    std::puts("EXIT-SUCCESS");
    return 0;
}
