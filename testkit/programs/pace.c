/* pace: for each line KIND RATE MS on standard input, so many events per second
 * for so long, on one CPU: 's' calls of getppid, 'w' switches from one process to
 * another and back through pipes (two system calls for each). Prints how many
 * there were. The end of standard input ends it. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "clock.h"

/* Between two bursts, in microseconds: few enough wake-ups to be nothing. */
enum { BURST = 10000 };

int main(void) {
    int there[2], back[2];
    char kind, byte = 0;
    double rate, ms;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "bench-pace");
    if (sched_setaffinity(0, sizeof set, &set) || pipe(there) || pipe(back)) return 1;
    pid_t other = fork();
    if (other < 0) return 1;
    if (!other) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(there[1]);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1) {}
        return 0;
    }
    while (scanf(" %c %lf %lf", &kind, &rate, &ms) == 3) {
        long done = 0;
        double begin = clock_of(CLOCK_MONOTONIC), now = begin;
        while (now < begin + ms / 1000) {
            long due = (now - begin) * rate;
            while (done < due) {
                if (kind == 's') {
                    syscall(SYS_getppid);
                    done++;
                } else {
                    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) return 1;
                    done += 2;
                }
            }
            usleep(BURST);
            now = clock_of(CLOCK_MONOTONIC);
        }
        printf("%ld\n", done);
        fflush(stdout);
    }
    kill(other, SIGKILL);
    return 0;
}
