/* A deep chain of functions without frame pointers and with frames of different
   sizes, one of a size known at run time only. */
#include "program.h"

volatile unsigned long sink;

#define LINK(this, next, words)                                                \
    NOINLINE void this(unsigned long n) {                                      \
        volatile unsigned long local[words];                                   \
        for (int i = 0; i < words; i++) local[i] = n + i;                      \
        next(n + local[words - 1]);                                            \
        sink += local[n % words];                                              \
    }

NOINLINE void leaf(unsigned long n) {
    sink += n;
    record();
    stay();
}

NOINLINE void variable(unsigned long n) {
    volatile char *local = __builtin_alloca(n % 64 + 32);
    local[n % 32] = 1;
    leaf(n);
    sink += local[0];
}

LINK(link20, variable, 1)
LINK(link19, link20, 2)
LINK(link18, link19, 3)
LINK(link17, link18, 40)
LINK(link16, link17, 5)
LINK(link15, link16, 6)
LINK(link14, link15, 7)
LINK(link13, link14, 8)
LINK(link12, link13, 1)
LINK(link11, link12, 2)
LINK(link10, link11, 3)
LINK(link9, link10, 4)
LINK(link8, link9, 5)
LINK(link7, link8, 6)
LINK(link6, link7, 7)
LINK(link5, link6, 30)
LINK(link4, link5, 1)
LINK(link3, link4, 2)
LINK(link2, link3, 3)
LINK(link1, link2, 4)

void program(void) {
    link1(1);
    stay();
}
