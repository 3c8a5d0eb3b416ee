/* Functions without frame pointers around one that has nothing else. */
#include "program.h"

volatile unsigned long sink;

NOINLINE void leaf(void) {
    volatile long local[7] = {0};
    record();
    local[1] = 1;
}

NOINLINE void above(void) {
    volatile long local[3] = {0};
    leaf();
    sink += local[0];
}

NOINLINE void below(void) {
    volatile long local[11] = {0};
    with_frame_pointer(above);
    sink += local[0];
}

void program(void) {
    below();
    stay();
}
