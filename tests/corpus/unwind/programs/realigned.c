/* A function that aligns its stack, so that its frame is found through a word
   in memory. */
#include "program.h"

volatile unsigned long sink;

NOINLINE void leaf(unsigned long n) {
    sink += n;
    record();
    stay();
}

NOINLINE void aligned(unsigned long n, unsigned long a, unsigned long b, unsigned long c,
                      unsigned long d, unsigned long e, unsigned long on_stack) {
    volatile unsigned long local[8] __attribute__((aligned(64)));
    volatile char *variable = __builtin_alloca(n % 64 + 32);
    local[0] = on_stack + a + b + c + d + e;
    variable[0] = 1;
    leaf(n);
    sink += local[0] + variable[0];
}

NOINLINE void middle(unsigned long n) {
    aligned(n, 1, 2, 3, 4, 5, 6);
    stay();
}

void program(void) {
    middle(3);
    stay();
}
