/* storm NUMBER RATE CALLS: NUMBER programs one after the other, each executed under a name of
 * its own (storm-0, storm-1, ...: links to this program, made and removed beside it), RATE a second.
 * Each makes CALLS system calls that hardly anybody else makes (sched_rr_get_interval).
 * At the end the number of those that were started is printed. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	if (count == 2) {
		struct timespec interval;
		for (long i = atol(arguments[1]); i > 0; i--)
			syscall(SYS_sched_rr_get_interval, 0, &interval);
		return 0;
	}
	if (count != 4)
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	long number = atol(arguments[1]), rate = atol(arguments[2]), started = 0;
	char self[4000], name[4096];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	if (number < 1 || rate < 1 || length < 0)
		return 1;
	self[length] = 0;
	struct timespec next;
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (long i = 0; i < number; i++) {
		snprintf(name, sizeof name, "%s-%ld", self, i);
		if (link(self, name))
			break;
		pid_t child = vfork();
		if (child == 0) {
			execl(name, name, arguments[3], (char *)0);
			_exit(1);
		}
		int status;
		int is_well = child > 0 && waitpid(child, &status, 0) == child && status == 0;
		unlink(name);
		if (!is_well)
			break;
		started++;
		next.tv_nsec += 1000000000L / rate;
		next.tv_sec += next.tv_nsec / 1000000000L;
		next.tv_nsec %= 1000000000L;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, 0);
	}
	printf("%ld\n", started);
	return started != number;
}
