/* Clocks, in seconds, and the end that comes in any case. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double clock_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* However slow the machine is, and even if we get no further: we are killed when
 * twenty times as many seconds have passed as we want CPU time, and ten. */
static void __attribute__((unused)) end_by(double seconds) {
    struct sigevent kill_us;
    struct itimerspec at = {{0, 0}, {(time_t)(seconds * 20 + 10), 0}};
    timer_t timer;
    memset(&kill_us, 0, sizeof kill_us);
    kill_us.sigev_notify = SIGEV_SIGNAL;
    kill_us.sigev_signo = SIGKILL;
    if (timer_create(CLOCK_MONOTONIC, &kill_us, &timer) || timer_settime(timer, 0, &at, 0))
        exit(3);
}

#define used() clock_of(CLOCK_PROCESS_CPUTIME_ID)
#define used_by_thread() clock_of(CLOCK_THREAD_CPUTIME_ID)
