#ifndef FORKS_COMMON_H
#define FORKS_COMMON_H

/* The socket of parent and child. */

#include "../life.h"
#include <poll.h>
#include <sys/epoll.h>

static int ends[2];
static ASYNC_SOCKET_HANDLE shared;
static char memory[16];
static SEEN received;

static void begin(void)
{
    CHECK(platform_init() == 0);
    pair(ends);
    shared = open_socket(ends[0]);
    CHECK(receive(shared, memory, sizeof memory, &received) == 0);
}

/* The parent's socket is as it was: it receives and sends, and everything ends. */
static void parent_goes_on(void)
{
    SEEN sent = { 0, 0, 0 }, abandoned = { 0, 0, 0 };
    char text[8];
    CHECK(calls(&received) == 0);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(comes(&received) && received.result == ASYNC_SOCKET_RECEIVE_OK && received.bytes == 1);
    CHECK(send_text(shared, "parent", &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(comes(&sent) && sent.result == ASYNC_SOCKET_SEND_OK);
    CHECK(read(ends[1], text, sizeof text) == 6 && memcmp(text, "parent", 6) == 0);
    CHECK(receive(shared, memory, sizeof memory, &abandoned) == 0);
    async_socket_destroy(shared);
    CHECK(abandoned.calls == 1 && received.calls == 1 && sent.calls == 1);
    platform_deinit();
}

static int is_open(int descriptor) { return fcntl(descriptor, F_GETFD) >= 0; }

/* The number of epoll instances and eventfds of this process. All of them are the library's. */
static int kernel_objects(void)
{
    int descriptor, count = 0;
    for (descriptor = 0; descriptor < 256; descriptor++) {
        char link[64], target[64];
        ssize_t length;
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        length = readlink(link, target, sizeof target - 1);
        if (length > 0) {
            target[length] = 0;
            count += strstr(target, "eventpoll") != NULL || strstr(target, "eventfd") != NULL;
        }
    }
    return count;
}

#endif /* FORKS_COMMON_H */
