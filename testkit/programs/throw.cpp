// throw SECONDS: exceptions thrown at the end of a chain, f01 to f20, and caught
// in main; each frame has something to clean up.
//
//   -DLIBRARY     only the chain, as a shared library
//   -DIN_LIBRARY  only main
#include <cstdlib>
#include <stdexcept>
#include <string>
#include "clock.h"

extern "C" long f01(long n);

#ifndef IN_LIBRARY
#define NOINLINE __attribute__((noinline, noclone))

extern "C" {
volatile long cleaned;
}

struct Guard {
    std::string text;
    explicit Guard(long n) : text(n & 31, 'x') {}
    ~Guard() { cleaned += text.size(); }
};

extern "C" NOINLINE long leaf(long n) {
    static volatile long sink;
    for (long i = 0; i < 2000; i++) sink += i;
    if (n & 1) throw std::runtime_error("on purpose");
    return sink;
}

#define LINK(name, next)                                                      \
    extern "C" NOINLINE long name(long n) {                                   \
        Guard guard(n);                                                       \
        long result = next(n + 2);                                            \
        return result * 3 + n;                                                \
    }

LINK(f20, leaf)
LINK(f19, f20)
LINK(f18, f19)
LINK(f17, f18)
LINK(f16, f17)
LINK(f15, f16)
LINK(f14, f15)
LINK(f13, f14)
LINK(f12, f13)
LINK(f11, f12)
LINK(f10, f11)
LINK(f09, f10)
LINK(f08, f09)
LINK(f07, f08)
LINK(f06, f07)
LINK(f05, f06)
LINK(f04, f05)
LINK(f03, f04)
LINK(f02, f03)
LINK(f01, f02)
#endif

#ifndef LIBRARY
int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 1;
    end_by(seconds);
    long caught = 0;
    for (long n = 0; used() < seconds; n++) {
        try {
            volatile long keep = f01(n);
            (void)keep;
        } catch (const std::runtime_error &) {
            caught++;
        }
    }
    return caught == 0;
}
#endif
