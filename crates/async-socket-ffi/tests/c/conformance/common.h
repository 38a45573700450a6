#ifndef CONFORMANCE_COMMON_H
#define CONFORMANCE_COMMON_H

/* What the tests share: results of callbacks, sockets, and the process. */

#include "async_socket.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIMIT 60

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(EXIT_FAILURE);                                                     \
        }                                                                           \
    } while (0)

/* ---- The results that callbacks got ---- */

typedef struct SEEN_TAG {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int calls;
    int results[64];
    uint32_t bytes;
    pthread_t thread;
    /* The callbacks that have begun. */
    int begun;
    /* What the callback does, if anything. */
    void (*then)(struct SEEN_TAG*);
    ASYNC_SOCKET_HANDLE socket;
    COMPLETION_PORT_HANDLE port;
    int fd;
} SEEN;

#define NOTHING_SEEN {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0}, 0, 0, 0, NULL, NULL, NULL, -1}

static void note(SEEN* seen, int result, uint32_t bytes)
{
    pthread_mutex_lock(&seen->lock);
    seen->begun++;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
    if (seen->then != NULL) {
        seen->then(seen);
    }
    pthread_mutex_lock(&seen->lock);
    seen->results[seen->calls % 64] = result;
    seen->calls++;
    seen->bytes = bytes;
    seen->thread = pthread_self();
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static struct timespec deadline(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LIMIT;
    return end;
}

static void wait_for_calls(SEEN* seen, int calls)
{
    struct timespec end = deadline();
    pthread_mutex_lock(&seen->lock);
    while (seen->calls < calls) {
        CHECK(pthread_cond_timedwait(&seen->changed, &seen->lock, &end) == 0);
    }
    CHECK(seen->calls == calls);
    pthread_mutex_unlock(&seen->lock);
}

static void wait_until_begun(SEEN* seen)
{
    struct timespec end = deadline();
    pthread_mutex_lock(&seen->lock);
    while (seen->begun == 0) {
        CHECK(pthread_cond_timedwait(&seen->changed, &seen->lock, &end) == 0);
    }
    pthread_mutex_unlock(&seen->lock);
}

static int calls_of(SEEN* seen)
{
    pthread_mutex_lock(&seen->lock);
    int calls = seen->calls;
    pthread_mutex_unlock(&seen->lock);
    return calls;
}

static void wait_for(SEEN* seen, int result)
{
    wait_for_calls(seen, 1);
    CHECK(seen->results[0] == result);
}

static void on_open(void* context, ASYNC_SOCKET_OPEN_RESULT result)
{
    note(context, (int)result, 0);
}

static void on_send(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    note(context, (int)result, 0);
}

static void on_receive(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    note(context, (int)result, bytes);
}

static void on_event(void* context, COMPLETION_PORT_EPOLL_ACTION action)
{
    note(context, (int)action, 0);
}

/* A callback without a context can only use globals. */
static volatile int calls_without_context;

static void on_open_without(void* context, ASYNC_SOCKET_OPEN_RESULT result)
{
    CHECK(context == NULL && result == ASYNC_SOCKET_OPEN_OK);
    calls_without_context++;
}

static void on_send_without(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    CHECK(context == NULL && result == ASYNC_SOCKET_SEND_OK);
    calls_without_context++;
}

static void on_receive_without(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    CHECK(context == NULL && result == ASYNC_SOCKET_RECEIVE_ABANDONED && bytes == 0);
    calls_without_context++;
}

static void on_event_without(void* context, COMPLETION_PORT_EPOLL_ACTION action)
{
    CHECK(context == NULL && action == COMPLETION_PORT_EPOLL_ABANDONED);
    calls_without_context++;
}

/* ---- Sockets, and the process ---- */

static void set_nonblocking(int fd)
{
    CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

/* A connected pair over TCP: the first for the library, the second a blocking peer. */
static void tcp_pair(int fds[2])
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr*)&address, sizeof address) == 0);
    CHECK(listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr*)&address, &length) == 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fds[1], (struct sockaddr*)&address, sizeof address) == 0);
    fds[0] = accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0);
    close(listener);
    set_nonblocking(fds[0]);
}

static void unix_pair(int fds[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    set_nonblocking(fds[0]);
}

static ASYNC_SOCKET_HANDLE opened(int fd)
{
    SEEN open = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = async_socket_create(NULL, fd);
    CHECK(socket != NULL);
    CHECK(async_socket_open_async(socket, on_open, &open) == 0);
    wait_for(&open, ASYNC_SOCKET_OPEN_OK);
    return socket;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static int entries_of(const char* folder)
{
    int entries = 0;
    DIR* opened_folder = opendir(folder);
    CHECK(opened_folder != NULL);
    while (readdir(opened_folder) != NULL) {
        entries++;
    }
    closedir(opened_folder);
    return entries;
}

/* The kernel lists a thread for a moment after the join. */
static void wait_for_threads(int threads)
{
    for (int tries = 0; entries_of("/proc/self/task") != threads; tries++) {
        struct timespec pause = {0, 1000000};
        CHECK(tries < LIMIT * 1000);
        nanosleep(&pause, NULL);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void pause_ms(long milliseconds)
{
    struct timespec pause = {0, milliseconds * 1000000};
    nanosleep(&pause, NULL);
}

static void* read_all(void* context)
{
    char scratch[4096];
    while (read(*(int*)context, scratch, sizeof scratch) > 0) {
    }
    return NULL;
}

/* ---- Callbacks that are held until a gate opens ---- */

static void then_hold(SEEN* seen)
{
    char byte;
    CHECK(read(seen->fd, &byte, 1) == 1);
}

/* Late enough for a call that does not wait to return first. */
static void* open_the_gate_later(void* context)
{
    pause_ms(50);
    CHECK(write(*(int*)context, "x", 1) == 1);
    return NULL;
}

#endif /* CONFORMANCE_COMMON_H */
