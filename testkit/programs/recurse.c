/* recurse SECONDS CALLS: `CALLS` nested calls of one function, the innermost
 * burns CPU time. */
#include <stdlib.h>
#include "clock.h"

static double seconds;

__attribute__((noinline)) long bottom(void) {
    static volatile long sink;
    while (used() < seconds)
        for (long i = 0; i < 2000000; i++) sink += i;
    return sink;
}

__attribute__((noinline, noclone)) long deeper(long calls) {
    long space[4];
    __asm__ volatile("" : : "r"(space) : "memory");
    long result = calls > 1 ? deeper(calls - 1) : bottom();
    __asm__ volatile("" : : "r"(space) : "memory");
    return result + calls;
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    seconds = atof(arguments[1]);
    end_by(seconds);
    volatile long keep = deeper(atol(arguments[2]));
    (void)keep;
    return 0;
}
