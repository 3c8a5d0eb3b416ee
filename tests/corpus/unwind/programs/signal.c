/* Handlers of signals: one on the stack that it interrupted, in a function that
   had not set up its frame, and one within it on a stack of its own. */
#include "program.h"

struct action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

struct stack {
    void *start;
    int flags;
    unsigned long size;
};

enum { SIGILL = 4, SIGUSR1 = 10, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000 };

static char other[8192] __attribute__((aligned(64)));

static void install(int signal, void (*handler)(int), unsigned long flags) {
    struct action action = {handler, SA_RESTORER | flags, __restore_rt, 0};
    call4(13, signal, (long)&action, 0, 8);
}

NOINLINE void deep(void) {
    volatile long local[9] = {0};
    record();
    local[1] = 1;
}

NOINLINE void on_usr1(int signal) {
    deep();
    stay();
    (void)signal;
}

NOINLINE void inner(void) {
    long self = call4(39, 0, 0, 0, 0);
    record();
    call4(62, self, SIGUSR1, 0, 0);
    stay();
}

/* The instruction that faults is the function's first. */
NOINLINE void faulty(void) {
    __asm__ volatile("ud2");
}

NOINLINE void on_ill(int signal) {
    volatile long local[3] = {signal};
    inner();
    call4(60, 0, 0, 0, 0);
    local[0] = 1;
}

NOINLINE void caller(void) {
    volatile long local[5] = {0};
    faulty();
    local[1] = 1;
}

void program(void) {
    struct stack stack = {other, 0, sizeof other};
    call4(131, (long)&stack, 0, 0, 0);
    install(SIGILL, on_ill, 0);
    install(SIGUSR1, on_usr1, SA_ONSTACK);
    caller();
    stay();
}
