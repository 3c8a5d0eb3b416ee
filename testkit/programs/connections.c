/* connections PORT COUNT: opens COUNT connections to a server of its own on that
 * port of the loopback, prints "ready", and for each line MESSAGES on standard
 * input sends so many messages of no known protocol over them in turn, each
 * answered, evenly over a second, and prints how many. The end of standard input
 * ends it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"

enum { LENGTH = 64 };

static void must(int ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(1);
}

/* Answers each message with itself. */
static void serve(int listener) {
    char message[LENGTH];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
    int all = epoll_create1(0);
    must(!epoll_ctl(all, EPOLL_CTL_ADD, listener, &event), "epoll_ctl");
    for (;;) {
        int n = epoll_wait(all, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                event.data.fd = accept(listener, 0, 0);
                must(event.data.fd >= 0, "accept");
                must(!epoll_ctl(all, EPOLL_CTL_ADD, event.data.fd, &event), "epoll_ctl");
            } else if (read(fd, message, LENGTH) != LENGTH || write(fd, message, LENGTH) != LENGTH) {
                close(fd);
            }
        }
    }
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int connections = atoi(arguments[2]);
    struct rlimit limit;
    must(!getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    must(!setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    must(!setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), "setsockopt");
    must(!bind(listener, (struct sockaddr *)&to, sizeof to), "bind");
    must(!listen(listener, 1024), "listen");
    pid_t server = fork();
    must(server >= 0, "fork");
    if (!server) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener);
    }
    close(listener);
    int *sockets = calloc(connections, sizeof *sockets);
    must(sockets != 0, "calloc");
    /* Closed by a reset, so that nothing of them is left. */
    struct linger at_once = {1, 0};
    for (int i = 0; i < connections; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
        must(sockets[i] >= 0, "socket");
        must(!setsockopt(sockets[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "setsockopt");
        must(!connect(sockets[i], (struct sockaddr *)&to, sizeof to), "connect");
    }
    puts("ready");
    fflush(stdout);
    char line[64], message[LENGTH];
    memset(message, 0xc3, sizeof message);
    int next = 0;
    while (fgets(line, sizeof line, stdin)) {
        long messages = atol(line), sent = 0;
        double begin = clock_of(CLOCK_MONOTONIC);
        while (sent < messages) {
            long due = (clock_of(CLOCK_MONOTONIC) - begin) * messages;
            for (; sent < due && sent < messages; sent++) {
                int fd = sockets[next++ % connections];
                must(write(fd, message, LENGTH) == LENGTH, "write");
                must(recv(fd, message, LENGTH, MSG_WAITALL) == LENGTH, "recv");
            }
            usleep(5000);
        }
        printf("%ld\n", sent);
        fflush(stdout);
    }
    kill(server, SIGKILL);
    return 0;
}
