/* signal SECONDS: the chain is interrupted a thousand times a second by a signal
 * whose handler burns CPU time of its own: …, f20, leaf, (restorer), handler,
 * h01, h02, handler_leaf.
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

static NOINLINE long handler_leaf(long n) {
    static volatile long sink;
    for (long i = 0; i < 1000000; i++) sink += i;
    return sink + n;
}
PLAIN(h02, handler_leaf, 3)
PLAIN(h01, h02, 40)

static NOINLINE void handler(int number) {
    volatile long keep = h01(number);
    (void)keep;
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 1;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
#ifdef ALTERNATE
    static char stack[1 << 16];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    if (sigaltstack(&alternate, 0)) return 2;
    action.sa_flags |= SA_ONSTACK;
#endif
    if (sigaction(SIGALRM, &action, 0)) return 2;
    struct itimerval often = {{0, 1000}, {0, 1000}};
    if (setitimer(ITIMER_REAL, &often, 0)) return 2;
    while (used() < seconds)
        for (int i = 0; i < 100; i++) {
            volatile long keep = f01(1);
            (void)keep;
        }
    return 0;
}
