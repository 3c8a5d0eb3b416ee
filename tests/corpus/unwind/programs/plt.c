/* A call through the procedure linkage table; the recorder stops in it. */
#include "program.h"

void imported(void);

NOINLINE void caller(void) {
    volatile long local[3] = {0};
    imported();
    local[1] = 1;
}

void program(void) {
    caller();
    stay();
}
