/* The CPU time used so far, in seconds. */
#include <time.h>

static double clock_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
#define used() clock_of(CLOCK_PROCESS_CPUTIME_ID)
#define used_by_thread() clock_of(CLOCK_THREAD_CPUTIME_ID)
