/* Asks for PREFIX0 to PREFIX<COUNT - 1> at 127.0.0.1:PORT over TLS, on one
 * connection: https PORT PREFIX COUNT. Contains its TLS library. */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads an answer without a body, or with a length. */
static int answer(SSL *ssl)
{
	char text[16384];
	size_t have = 0, more;

	while (have < sizeof(text) - 1) {
		if (SSL_read_ex(ssl, text + have, sizeof(text) - 1 - have, &more) != 1)
			return 0;
		have += more;
		text[have] = 0;
		char *end = strstr(text, "\r\n\r\n");
		char *length = strstr(text, "Content-Length: ");
		if (end && length && (size_t)(text + have - end - 4) >= strtoul(length + 16, NULL, 10))
			return 1;
	}
	return 0;
}

int main(int count, char **arguments)
{
	if (count != 4)
		return 2;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])) };
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return 3;
	SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		return 4;
	for (int i = 0; i < atoi(arguments[3]); i++) {
		char request[256];
		size_t sent;
		int length = snprintf(request, sizeof(request),
				      "GET %s%d HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n\r\n",
				      arguments[2], i, arguments[1]);
		if (SSL_write_ex(ssl, request, length, &sent) != 1 || !answer(ssl))
			return 5;
	}
	SSL_shutdown(ssl);
	SSL_free(ssl);
	close(fd);
	return 0;
}
