/* crowd COUNT PERIOD_MS BUSY_US CALLS ROUNDS NAMED: COUNT processes, each a
 * program of its own (executed, not just forked), that wait until all are there.
 *
 * "ready" is printed, and the first line on standard input begins it: each burns
 * BUSY_US of CPU time and makes CALLS system calls that hardly anybody else makes
 * (sched_get_priority_min) every PERIOD_MS, ROUNDS times (0: for ever), then
 * sleeps on. If NAMED, each has a name of its own. When all have done their
 * rounds the number of calls is printed. The end of standard input ends them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "clock.h"

/* Descriptors of a member: it waits for the end of one, tells of itself in the other. */
enum { GO = 3, TELL = 4 };

static void pause_for(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, 0);
}

static int member(char **arguments) {
    long number = atol(arguments[0]), period = atol(arguments[1]);
    double busy = atof(arguments[2]) / 1e6;
    long calls = atol(arguments[3]), rounds = atol(arguments[4]), made = 0;
    char byte = 0;
    if (atoi(arguments[5])) {
        char name[16];
        snprintf(name, sizeof name, "crowd-w%05ld", number);
        prctl(PR_SET_NAME, name);
    }
    if (write(TELL, &byte, 1) != 1 || read(GO, &byte, 1) != 0) return 1;
    /* Many that were started together don't run together. */
    pause_for(getpid() * 7919L % period);
    for (long round = 0; !rounds || round < rounds; round++) {
        double until = used() + busy;
        for (long i = 0; i < calls; i++) syscall(SYS_sched_get_priority_min, SCHED_OTHER);
        made += calls;
        while (used() < until) {}
        pause_for(period);
    }
    if (write(TELL, &made, sizeof made) != sizeof made) return 1;
    for (;;) pause();
}

/* Reads exactly that much, or gives up. */
static void take(int fd, void *to, size_t size) {
    for (size_t got = 0; got < size;) {
        ssize_t n = read(fd, (char *)to + got, size - got);
        if (n <= 0) exit(1);
        got += n;
    }
}

/* Out of the way of the numbers that members use, and not inherited by them. */
static int away(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (moved < 0) exit(1);
    close(fd);
    return moved;
}

int main(int count, char **arguments) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (count == 8) return member(arguments + 2);
    if (count != 7) return 2;
    long members = atol(arguments[1]);
    pid_t *pids = calloc(members, sizeof *pids);
    int go[2], tell[2];
    if (!pids || pipe(go) || pipe(tell)) return 1;
    int go_in = away(go[0]), go_out = away(go[1]);
    int tell_in = away(tell[0]), tell_out = away(tell[1]);
    for (long i = 0; i < members; i++) {
        char number[24];
        snprintf(number, sizeof number, "%ld", i);
        pids[i] = fork();
        if (pids[i] < 0) { perror("fork"); goto end; }
        if (pids[i]) continue;
        dup2(go_in, GO);
        dup2(tell_out, TELL);
        execl("/proc/self/exe", "crowd", "member", number, arguments[2], arguments[3],
              arguments[4], arguments[5], arguments[6], (char *)0);
        _exit(1);
    }
    char *bytes = malloc(members);
    take(tell_in, bytes, members);
    puts("ready");
    fflush(stdout);
    char line[64];
    if (fgets(line, sizeof line, stdin)) {
        close(go_out);
        if (atol(arguments[5])) {
            long total = 0, made;
            for (long i = 0; i < members; i++) {
                take(tell_in, &made, sizeof made);
                total += made;
            }
            printf("%ld\n", total);
            fflush(stdout);
        }
        while (fgets(line, sizeof line, stdin)) {}
    }
end:
    for (long i = 0; i < members; i++) if (pids[i] > 0) kill(pids[i], SIGKILL);
    while (wait(0) > 0) {}
    return 0;
}
