// Threads and processes that are born and end: argument 1 is the seconds that
// it goes on.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *live(void *nothing) {
    return nothing;
}

int main(int count, char **arguments) {
    double end = now() + (count > 1 ? atof(arguments[1]) : 1);
    while (now() < end) {
        pthread_t threads[8];
        for (int i = 0; i < 8; i++)
            if (pthread_create(&threads[i], 0, live, 0) != 0)
                return 1;
        for (int i = 0; i < 8; i++)
            pthread_join(threads[i], 0);
        pid_t child = vfork();
        if (child == 0)
            _exit(0);
        waitpid(child, 0, 0);
    }
    return 0;
}
