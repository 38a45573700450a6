/* Shared by the programs about the end of processes, forks, signals and lost descriptors. */
#ifndef LIFE_H
#define LIFE_H

#include "async_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
            _exit(101); \
        } \
    } while (0)

/* The calls of a callback, and the last one's result. */
typedef struct {
    int calls;
    int result;
    uint32_t bytes;
} SEEN;

static pthread_mutex_t life_lock = PTHREAD_MUTEX_INITIALIZER;

static void note(void* context, int result, uint32_t bytes)
{
    SEEN* seen = (SEEN*)context;
    pthread_mutex_lock(&life_lock);
    seen->calls++;
    seen->result = result;
    seen->bytes = bytes;
    pthread_mutex_unlock(&life_lock);
}

static void on_opened(void* context, ASYNC_SOCKET_OPEN_RESULT result) { note(context, result, 0); }
static void on_sent(void* context, ASYNC_SOCKET_SEND_RESULT result) { note(context, result, 0); }
static void on_received(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes) { note(context, result, bytes); }
static void on_event(void* context, COMPLETION_PORT_EPOLL_ACTION action) { note(context, action, 0); }

static int calls(SEEN* seen)
{
    int count;
    pthread_mutex_lock(&life_lock);
    count = seen->calls;
    pthread_mutex_unlock(&life_lock);
    return count;
}

static void nap(void)
{
    struct timespec millisecond = { 0, 1000000 };
    nanosleep(&millisecond, NULL);
}

/* Whether a callback comes within ten seconds. */
static int comes(SEEN* seen)
{
    int round;
    for (round = 0; round < 10000; round++) {
        if (calls(seen) > 0) {
            return 1;
        }
        nap();
    }
    return 0;
}

static void pair(int ends[2]) { CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0); }

static ASYNC_SOCKET_HANDLE open_socket(int descriptor)
{
    SEEN opened = { 0, 0, 0 };
    ASYNC_SOCKET_HANDLE socket = async_socket_create(NULL, descriptor);
    CHECK(socket != NULL);
    CHECK(async_socket_open_async(socket, on_opened, &opened) == 0);
    CHECK(opened.calls == 1 && opened.result == ASYNC_SOCKET_OPEN_OK);
    return socket;
}

static int receive(ASYNC_SOCKET_HANDLE socket, void* memory, uint32_t length, SEEN* seen)
{
    ASYNC_SOCKET_BUFFER buffer;
    buffer.buffer = memory;
    buffer.length = length;
    return async_socket_receive_async(socket, &buffer, 1, on_received, seen);
}

static ASYNC_SOCKET_SEND_SYNC_RESULT send_text(ASYNC_SOCKET_HANDLE socket, const char* text, SEEN* seen)
{
    ASYNC_SOCKET_BUFFER buffer;
    buffer.buffer = (void*)text;
    buffer.length = (uint32_t)strlen(text);
    return async_socket_send_async(socket, &buffer, 1, on_sent, seen);
}

/* A whole program, from beginning to end. Each operation is called back exactly once. */
static void whole_life(void)
{
    int ends[2];
    char memory[16], other[16];
    SEEN sent = { 0, 0, 0 }, received = { 0, 0, 0 }, abandoned = { 0, 0, 0 }, raw = { 0, 0, 0 };
    ASYNC_SOCKET_HANDLE one, two;
    COMPLETION_PORT_HANDLE port;
    int plain[2];

    CHECK(platform_init() == 0);
    pair(ends);
    one = open_socket(ends[0]);
    two = open_socket(ends[1]);
    CHECK(receive(two, memory, sizeof memory, &received) == 0);
    CHECK(send_text(one, "hello", &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(comes(&sent) && sent.calls == 1 && sent.result == ASYNC_SOCKET_SEND_OK);
    CHECK(comes(&received) && received.calls == 1 && received.result == ASYNC_SOCKET_RECEIVE_OK && received.bytes == 5);
    CHECK(receive(two, other, sizeof other, &abandoned) == 0);
    async_socket_close(two);
    CHECK(abandoned.calls == 1 && abandoned.result == ASYNC_SOCKET_RECEIVE_ABANDONED);
    async_socket_destroy(two);
    async_socket_destroy(one);

    port = completion_port_create();
    CHECK(port != NULL);
    pair(plain);
    CHECK(completion_port_add(port, 1 /* EPOLLIN */, plain[0], on_event, &raw) == 0);
    completion_port_dec_ref(port);
    CHECK(raw.calls == 1 && raw.result == COMPLETION_PORT_EPOLL_ABANDONED);
    close(plain[0]);
    close(plain[1]);
    platform_deinit();
}

/* A child that runs longer hangs. */
static void limit_child(void) { alarm(30); }

static void child_ends_well(pid_t child)
{
    int status;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "the child ended with status %#x\n", status);
        _exit(102);
    }
}

#endif
