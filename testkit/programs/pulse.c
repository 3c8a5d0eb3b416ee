/* pulse SECONDS BUSY_US PERIOD_MS [COUNTER]: for that long, burns BUSY_US of CPU
 * time every PERIOD_MS, or all the time if PERIOD_MS is 0: main, qsort, compare,
 * f01, …, f20, leaf. Ends with the thread that started it. In the file COUNTER it
 * keeps, as 8 bytes, how many rounds it did.
 *
 * OWN_SORT has it sort by a function of its own, which has the frame pointers that
 * libc's lacks.
 *
 * The chain's frames are of the plainest kind, so that every unwinder can follow
 * them, and small, so that whoever copies stacks copies all of them; chain.c has
 * the difficult ones. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "clock.h"

#define NOINLINE __attribute__((noinline, noclone))
/* What is computed after the call needs the frame, so the call isn't the
 * function's last act. */
#define LINK(name, next)                                                      \
    static NOINLINE long name(long n) {                                       \
        long result = next(n + 1);                                            \
        return result * 3 + n;                                                \
    }

static NOINLINE long leaf(long n) {
    static volatile long sink;
    for (long i = 0; i < 2000; i++) sink += i;
    return sink + n;
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

static NOINLINE int compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    volatile long keep = f01(x);
    (void)keep;
    return x < y ? -1 : x > y;
}

#ifdef OWN_SORT
#define qsort own_qsort
static NOINLINE void own_qsort(void *base, size_t count, size_t size,
                               int (*compare)(const void *, const void *)) {
    long *values = base;
    (void)size;
    for (size_t i = 1; i < count; i++)
        for (size_t j = i; j && compare(&values[j - 1], &values[j]) > 0; j--) {
            long swapped = values[j];
            values[j] = values[j - 1], values[j - 1] = swapped;
        }
}
#endif

static volatile unsigned long *counter;

static NOINLINE void round_of_sorting(void) {
    long values[16];
    for (int i = 0; i < 16; i++) values[i] = (i * 7) & 15;
    qsort(values, 16, sizeof values[0], compare);
    if (counter) ++*counter;
    __asm__ volatile("" : : "r"(values) : "memory");
}

static void pause_for(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, 0);
}

int main(int count, char **arguments) {
    if (count != 4 && count != 5) return 2;
    double end = clock_of(CLOCK_MONOTONIC) + atof(arguments[1]);
    double busy = atof(arguments[2]) / 1e6;
    long period = atol(arguments[3]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (count == 5) {
        int file = open(arguments[4], O_RDWR | O_CREAT, 0600);
        if (file < 0 || ftruncate(file, sizeof *counter)) return 1;
        counter = mmap(0, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (counter == MAP_FAILED) return 1;
    }
    /* Many that were started together don't run together. */
    if (period) pause_for(getpid() * 7919L % period);
    do {
        double until = used() + busy;
        do round_of_sorting();
        while (used() < until);
        if (period) pause_for(period);
    } while (clock_of(CLOCK_MONOTONIC) < end);
    return 0;
}
