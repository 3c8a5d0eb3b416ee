/* Is called what others choose: `names NAME` gives that name to its thread, to code that it
 * makes at run time (a perf map in /tmp, removed at the end), and to what it asks for by
 * HTTP of itself; and uses the CPU a little. It ends with its standard input, or after two
 * minutes. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *name;
static int listener;

static void *serve(void *unused)
{
	static char head[65536];
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	for (;;) {
		int one = accept(listener, NULL, NULL);
		if (one < 0)
			continue;
		while (recv(one, head, sizeof head, 0) > 0)
			if (send(one, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0)
				break;
		close(one);
	}
	return unused;
}

static int connected(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t length = sizeof at;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (void *)&at, length) || listen(listener, 8))
		return -1;
	getsockname(listener, (void *)&at, &length);
	pthread_t thread;
	pthread_create(&thread, NULL, serve, NULL);
	int to = socket(AF_INET, SOCK_STREAM, 0);
	return connect(to, (void *)&at, length) ? -1 : to;
}

/* A function that counts down and returns. */
static void (*made_at_run_time(char *map))(void)
{
#if defined(__x86_64__)
	static const unsigned char code[] = {
		0xb9, 0x00, 0x00, 0x10, 0x00, /* mov ecx, 0x100000 */
		0xff, 0xc9,                   /* dec ecx */
		0x75, 0xfc,                   /* jnz, back to it */
		0xc3,                         /* ret */
	};
#elif defined(__aarch64__)
	static const unsigned int code[] = {
		0xd2a00200, /* mov x0, #0x100000 */
		0xf1000400, /* subs x0, x0, #1 */
		0x54ffffe1, /* b.ne, back to it */
		0xd65f03c0, /* ret */
	};
#endif
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(page, code, sizeof code);
	__builtin___clear_cache(page, (char *)page + sizeof code);
	sprintf(map, "/tmp/perf-%d.map", getpid());
	FILE *file = fopen(map, "w");
	if (!file)
		exit(1);
	fprintf(file, "%lx %zx %s\n", (unsigned long)page, sizeof code, name);
	fclose(file);
	return page;
}

int main(int count, char **arguments)
{
	static char map[64], head[65536];
	struct pollfd input = { .fd = 0, .events = POLLIN };
	if (count != 2)
		return 2;
	name = arguments[1];
	prctl(PR_SET_NAME, name);
	alarm(120);
	int to = connected();
	void (*spin)(void) = made_at_run_time(map);
	int length = snprintf(head, sizeof head,
			      "GET /%s?q=%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n\r\n",
			      name, name, name, name);
	puts("ready");
	fflush(stdout);
	/* No input is the end of it, too. */
	while (poll(&input, 1, 10) == 0) {
		spin();
		char answer[256];
		if (send(to, head, length, MSG_NOSIGNAL) > 0)
			recv(to, answer, sizeof answer, 0);
	}
	unlink(map);
	return 0;
}
