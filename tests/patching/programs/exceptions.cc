// Exceptions through frames with sites on every instruction, and return addresses as they are
// without.
#include <cstdio>
#include <cstdlib>
#include <execinfo.h>
#include <stdexcept>
#include <string>

static int destroyed;
struct Guard {
    ~Guard() { destroyed++; }
};

__attribute__((noinline)) int deepest(int n)
{
    Guard g;

    if (n % 3 == 0)
        throw std::runtime_error("three");
    if (n % 5 == 0)
        throw n;
    return n * 2;
}

__attribute__((noinline)) int middle(int n, int (*f)(int))
{
    Guard g;
    std::string s(static_cast<size_t>(n % 7 + 20), 'x');

    return f(n) + static_cast<int>(s.size());
}

__attribute__((noinline)) long frames()
{
    void *at[32];
    int n = backtrace(at, 32);
    long sum = n;

    for (int i = 1; i < n; i++) // from the caller on, within this program
        if (reinterpret_cast<char *>(at[i]) - reinterpret_cast<char *>(&deepest) < 65536)
            sum += (reinterpret_cast<char *>(at[i]) - reinterpret_cast<char *>(&deepest)) * i;
    return sum;
}

__attribute__((noinline)) long outer(int n)
{
    long sum = 0;

    try {
        sum += middle(n, deepest);
        sum += frames();
    } catch (const std::exception &e) {
        sum += e.what()[0];
    } catch (int i) {
        sum += i * 100;
    }
    return sum;
}

int main(int argc, char **argv)
{
    long sum = 0;

    for (int i = 0; i < (argc > 1 ? atoi(argv[1]) : 50); i++)
        sum += outer(i);
    printf("%ld %d\n", sum, destroyed);
}
