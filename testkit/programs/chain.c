/* chain SECONDS: burns that much CPU time at the end of the chain, which is
 * called from qsort's compare function: main, qsort, compare, f01, …, f20, leaf.
 *
 *   -DSPIN=N     how long leaf() takes
 *   -DDIRECT     main calls f01 itself (a libc without unwinding information)
 *   -DTHREAD     a second thread does it: worker, qsort, …
 *   -DDELETED    the program's file is deleted first
 *   -DIN_LIBRARY the chain comes from a library that is linked
 *   -DDLOPEN     … or from one that is opened: chain SECONDS LIBRARY
 *   -DSYSCALL    leaf() reads /dev/zero
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef THREAD
#include <pthread.h>
#endif
#ifdef DLOPEN
#include <dlfcn.h>
#endif
#ifdef SYSCALL
#include <fcntl.h>
#endif
#include "clock.h"

#ifndef SPIN
#define SPIN 2000
#endif

#if defined(IN_LIBRARY)
long f01(long n);
#define FIRST f01
#elif defined(DLOPEN)
static long (*FIRST)(long);
#else
#define FIRST f01
#include "chain.h"
#ifdef SYSCALL
static char data[1 << 20];
static NOINLINE long leaf(long n) {
    static int zero = -1;
    if (zero < 0) zero = open("/dev/zero", O_RDONLY);
    long got = read(zero, data, sizeof data);
    KEEP(data);
    return got + n;
}
#else
#include "leaf.h"
#endif
#endif

static __attribute__((noinline)) int compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    volatile long keep = FIRST(x);
    (void)keep;
    return x < y ? -1 : x > y;
}

static double seconds;

static __attribute__((noinline)) void round_of_sorting(void) {
    long values[16];
    for (int i = 0; i < 16; i++) values[i] = (i * 7) & 15;
#ifdef DIRECT
    for (int i = 0; i < 16; i++) compare(&values[i], &values[0]);
#else
    qsort(values, 16, sizeof values[0], compare);
#endif
    __asm__ volatile("" : : "r"(values) : "memory");
}

#ifdef THREAD
static void *worker(void *nothing) {
    while (used_by_thread() < seconds) round_of_sorting();
    return nothing;
}
#endif

int main(int count, char **arguments) {
    seconds = count > 1 ? atof(arguments[1]) : 1;
    end_by(seconds);
#ifdef DELETED
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) return 2;
    self[length] = 0;
    if (unlink(self) != 0) return 2;
#endif
#ifdef DLOPEN
    void *library = dlopen(arguments[2], RTLD_LAZY);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    FIRST = (long (*)(long))dlsym(library, "f01");
    if (!FIRST) return 2;
#endif
#ifdef THREAD
    pthread_t thread;
    if (pthread_create(&thread, 0, worker, 0)) return 2;
    pthread_join(thread, 0);
#else
    while (used() < seconds) round_of_sorting();
#endif
    return 0;
}
