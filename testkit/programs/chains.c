/* chains DEPTH: a process on each CPU burns CPU time in one of 2^DEPTH different
 * chains of calls after another, chosen at random, until standard input ends. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
/* What is computed after the call needs the frame; the empty statement keeps
 * compilers from making a loop of the recursion. */
#define LINK(name, factor)                                                    \
    static NOINLINE long name(unsigned long bits, int depth) {                \
        long result;                                                          \
        if (!depth)                                                           \
            result = leaf();                                                  \
        else if (bits & 1)                                                    \
            result = left(bits >> 1, depth - 1);                              \
        else                                                                  \
            result = right(bits >> 1, depth - 1);                             \
        __asm__ volatile("" : "+r"(result));                                  \
        return result * factor + depth;                                       \
    }

static NOINLINE long left(unsigned long bits, int depth);
static NOINLINE long right(unsigned long bits, int depth);

static char buffer[1 << 20];

/* Where the machine has an instruction that takes long, all samples of the leaf
 * have one address, and so as many stacks as there are chains. */
static NOINLINE long leaf(void) {
#ifdef __x86_64__
    void *to = buffer;
    unsigned long count = sizeof buffer;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(1) : "memory");
#else
    for (unsigned long i = 0; i < sizeof buffer; i += 64) ((volatile char *)buffer)[i] = 1;
#endif
    return buffer[7];
}

LINK(left, 3)
LINK(right, 5)

static void burn(int depth, unsigned long random) {
    volatile long keep;
    for (;;) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        keep = left(random >> 20, depth);
        (void)keep;
    }
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pid_t *pids = calloc(cpus, sizeof *pids);
    if (!pids) return 1;
    for (int cpu = 0; cpu < cpus; cpu++) {
        pids[cpu] = fork();
        if (pids[cpu]) continue;
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sched_setaffinity(0, sizeof set, &set);
        burn(atoi(arguments[1]), 88172645463325252UL + cpu);
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {}
    for (int cpu = 0; cpu < cpus; cpu++) if (pids[cpu] > 0) kill(pids[cpu], SIGKILL);
    while (wait(0) > 0) {}
    return 0;
}
