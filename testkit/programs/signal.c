/* signal SECONDS: the chain is interrupted again and again by a signal whose
 * handler burns CPU time of its own: …, f20, leaf, (restorer), handler, h01, h02,
 * handler_leaf.
 *
 * The signal comes a millisecond after the chain went on, so the chain does go on,
 * however long the handler takes; and that is measured out at the start.
 *
 *   -DALTERNATE  the handler has a stack of its own
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>
#include "clock.h"

#define SPIN 2000
#include "chain.h"
#include "leaf.h"

/* What the handler takes of the CPU's time, in seconds, and its loop's length. */
#define HANDLER 0.0008
static long rounds = 1000;

static NOINLINE long handler_leaf(long n) {
    static volatile long sink;
    for (long i = 0; i < rounds; i++) sink += i;
    return sink + n;
}
PLAIN(h02, handler_leaf, 3)
PLAIN(h01, h02, 40)

/* How many rounds take HANDLER here: doubled until they can be timed. */
static void measure(void) {
    for (;; rounds *= 2) {
        double begin = used();
        volatile long keep = handler_leaf(1);
        (void)keep;
        double took = used() - begin;
        if (took > 0.01) {
            rounds = rounds * (HANDLER / took) + 1;
            return;
        }
    }
}

static volatile sig_atomic_t armed;

static NOINLINE void handler(int number) {
    volatile long keep = h01(number);
    (void)keep;
    armed = 0;
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 1;
    end_by(seconds);
    measure();
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
#ifdef ALTERNATE
    static char stack[1 << 16];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    if (sigaltstack(&alternate, 0)) return 2;
    action.sa_flags |= SA_ONSTACK;
#endif
    if (sigaction(SIGALRM, &action, 0)) return 2;
    while (used() < seconds) {
        if (!armed) {
            struct itimerval once = {{0, 0}, {0, 1000}};
            armed = 1;
            if (setitimer(ITIMER_REAL, &once, 0)) return 2;
        }
        for (int i = 0; i < 10; i++) {
            volatile long keep = f01(1);
            (void)keep;
        }
    }
    return 0;
}
