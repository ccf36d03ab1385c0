/* An HTTP server that gives every request the same answer: as much of one as a container without files needs. */
#include <arpa/inet.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] =
    "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nfrom scratch\n";

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    char request[4096];

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, end); /* PID 1 has no default action: without this, stop takes ten seconds */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 16) < 0)
        return 1;
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        if (read(client, request, sizeof request) > 0)
            (void)!write(client, answer, strlen(answer)); /* a client that has gone misses nothing */
        close(client);
    }
}
