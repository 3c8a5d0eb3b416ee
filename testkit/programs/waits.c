/* waits KIND THREADS SECONDS: threads that wait for one another, measured out by the clock.
 * convoy: for a mutex that each holds for 2 ms at a time; each notes how long it waited for it.
 * pool:   on a condition variable, for work that never comes.
 * tickets: on a semaphore, likewise.
 * At the end the nanoseconds that all threads waited for the mutex are printed. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, queue = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static sem_t tickets;
static atomic_llong waited;
static atomic_int over;

static long long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *convoy(void *unused)
{
	struct timespec hold = {0, 2000000};
	while (!atomic_load(&over)) {
		long long begin = now();
		pthread_mutex_lock(&held);
		atomic_fetch_add(&waited, now() - begin);
		nanosleep(&hold, 0);
		pthread_mutex_unlock(&held);
	}
	return unused;
}

static void *pool(void *unused)
{
	pthread_mutex_lock(&queue);
	while (!atomic_load(&over))
		pthread_cond_wait(&work, &queue);
	pthread_mutex_unlock(&queue);
	return unused;
}

static void *ticket(void *unused)
{
	while (sem_wait(&tickets) && errno == EINTR)
		;
	return unused;
}

int main(int count, char **arguments)
{
	if (count != 4)
		return 2;
	int threads = atoi(arguments[2]);
	pthread_t ids[64];
	if (threads < 1 || threads > 64 || sem_init(&tickets, 0, 0))
		return 2;
	void *(*run)(void *) = !strcmp(arguments[1], "convoy") ? convoy
	                     : !strcmp(arguments[1], "pool")   ? pool
	                                                       : ticket;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&ids[i], 0, run, 0))
			return 1;
	struct timespec time = {atoi(arguments[3]), 0};
	nanosleep(&time, 0);
	atomic_store(&over, 1);
	pthread_mutex_lock(&queue);
	pthread_cond_broadcast(&work);
	pthread_mutex_unlock(&queue);
	for (int i = 0; i < threads; i++)
		sem_post(&tickets);
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], 0);
	printf("%lld\n", (long long)atomic_load(&waited));
	return 0;
}
