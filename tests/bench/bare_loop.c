/* The bare loop in C: fan-out where there is nothing else, one write(2) for each connection and message.
 *
 * It upgrades whoever connects (every client sends the same key), answers the one frame that each sends with
 * ANSWERS, and then writes finished frames from memory to all of them: no log, no Redis, no rights.
 *
 * stdin   frames, each after its size (4 bytes, little endian)
 * stdout  {"port": n}
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 65536
#define EVENTS 256
#define INPUT_MAX (1 << 20)

static const char UPGRADED[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n";
static const char ANSWERS[] = "\x81\x2d{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{}}";

static int followers[CONNECTIONS_MAX];
static int count;
static char upgraded[CONNECTIONS_MAX];
static char input[INPUT_MAX];
static size_t held;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* A blocking write: a client that does not read holds up all others. That is as bare as it gets. */
static void put(int to, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(to, data, size);
        if (written < 0 && errno != EINTR) fail("write");
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
}

static void deliver(void) {
    ssize_t got = read(0, input + held, sizeof input - held);
    if (got < 0) fail("stdin");
    if (got == 0) exit(0);
    held += (size_t)got;
    size_t at = 0;
    uint32_t size;
    while (held - at >= 4) {
        memcpy(&size, input + at, 4);
        if (size > sizeof input - 4) exit(2);
        if (held - at - 4 < size) break;
        for (int i = 0; i < count; i++) put(followers[i], input + at + 4, size);
        at += 4 + size;
    }
    memmove(input, input + at, held - at);
    held -= at;
}

static void hear(int from) {
    char said[4096];
    ssize_t got = read(from, said, sizeof said);
    if (got <= 0) exit(0); /* the clients have gone: it is over */
    if (upgraded[from]) {
        put(from, ANSWERS, sizeof ANSWERS - 1);
        followers[count++] = from;
    } else {
        upgraded[from] = 1;
        put(from, UPGRADED, sizeof UPGRADED - 1);
    }
}

static void watch(int loop, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

int main(void) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), loop = epoll_create1(0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    if (listener < 0 || bind(listener, (struct sockaddr *)&where, size) < 0 || listen(listener, 2048) < 0)
        fail("listen");
    getsockname(listener, (struct sockaddr *)&where, &size);
    printf("{\"port\": %d}\n", ntohs(where.sin_port));
    fflush(stdout);
    watch(loop, listener);
    watch(loop, 0);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) {
                deliver();
            } else if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client < 0 || client >= CONNECTIONS_MAX) fail("accept");
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                watch(loop, client);
            } else {
                hear(fd);
            }
        }
    }
}
