/*
 * The conformance program of the C ABI: every function, result and rule, on real sockets, as a C program sees them.
 * A name on the command line runs only the test of that name. No wait lasts longer than LIMIT seconds.
 */
#define _POSIX_C_SOURCE 200809L

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

/* ---- Functions that programs define themselves. The library must link beside them. ---- */

struct EXECUTION_ENGINE_TAG {
    int poisoned;
};

EXECUTION_ENGINE_HANDLE execution_engine_create(void* parameters);
void execution_engine_inc_ref(EXECUTION_ENGINE_HANDLE engine);
void execution_engine_dec_ref(EXECUTION_ENGINE_HANDLE engine);

EXECUTION_ENGINE_HANDLE execution_engine_create(void* parameters)
{
    (void)parameters;
    return NULL;
}

void execution_engine_inc_ref(EXECUTION_ENGINE_HANDLE engine)
{
    (void)engine;
    CHECK(!"the library called the program's execution engine");
}

void execution_engine_dec_ref(EXECUTION_ENGINE_HANDLE engine)
{
    execution_engine_inc_ref(engine);
}

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

/* ---- Values and arguments ---- */

static void every_enum_begins_with_invalid_and_has_its_values(void)
{
    CHECK(ASYNC_SOCKET_OPEN_RESULT_INVALID == 0 && ASYNC_SOCKET_SEND_SYNC_RESULT_INVALID == 0);
    CHECK(ASYNC_SOCKET_SEND_RESULT_INVALID == 0 && ASYNC_SOCKET_RECEIVE_RESULT_INVALID == 0);
    CHECK(COMPLETION_PORT_EPOLL_ACTION_INVALID == 0 && INVALID_SOCKET == -1);
    CHECK(ASYNC_SOCKET_OPEN_OK == 1 && ASYNC_SOCKET_OPEN_ERROR == 2);
    CHECK(ASYNC_SOCKET_SEND_SYNC_OK == 1 && ASYNC_SOCKET_SEND_SYNC_ERROR == 2);
    CHECK(ASYNC_SOCKET_SEND_SYNC_ABANDONED == 3);
    CHECK(ASYNC_SOCKET_SEND_OK == 1 && ASYNC_SOCKET_SEND_ERROR == 2 && ASYNC_SOCKET_SEND_ABANDONED == 3);
    CHECK(ASYNC_SOCKET_RECEIVE_OK == 1 && ASYNC_SOCKET_RECEIVE_ERROR == 2 && ASYNC_SOCKET_RECEIVE_ABANDONED == 3);
    CHECK(COMPLETION_PORT_EPOLL_EPOLLRDHUP == 1 && COMPLETION_PORT_EPOLL_EPOLLIN == 2);
    CHECK(COMPLETION_PORT_EPOLL_EPOLLOUT == 3 && COMPLETION_PORT_EPOLL_ABANDONED == 4);
    CHECK(COMPLETION_PORT_EPOLL_ERROR == 5);
    CHECK(sizeof(ASYNC_SOCKET_OPEN_RESULT) == sizeof(int) && sizeof(COMPLETION_PORT_EPOLL_ACTION) == sizeof(int));
}

/* Runs without platform_init. */
static void before_platform_init_nothing_is_created_and_the_descriptor_stays_the_callers(void)
{
    int fds[2];
    unix_pair(fds);
    CHECK(async_socket_create(NULL, fds[0]) == NULL);
    CHECK(platform_get_completion_port() == NULL);
    CHECK(is_open(fds[0]));
    platform_deinit();
    CHECK(async_socket_create(NULL, fds[0]) == NULL);
    CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);
}

static void null_handles_are_refused_or_ignored(void)
{
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    SEEN seen = NOTHING_SEEN;
    async_socket_destroy(NULL);
    async_socket_close(NULL);
    CHECK(async_socket_open_async(NULL, on_open, &seen) != 0);
    CHECK(async_socket_send_async(NULL, &buffer, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_receive_async(NULL, &buffer, 1, on_receive, &seen) != 0);
    completion_port_inc_ref(NULL);
    completion_port_dec_ref(NULL);
    completion_port_remove(NULL, 0);
    CHECK(completion_port_add(NULL, EPOLLIN, 0, on_event, &seen) != 0);
    CHECK(calls_of(&seen) == 0);
}

static void the_invalid_socket_is_refused(void)
{
    SEEN seen = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = platform_get_completion_port();
    CHECK(async_socket_create(NULL, INVALID_SOCKET) == NULL);
    CHECK(async_socket_create(NULL, -2) == NULL);
    CHECK(completion_port_add(port, EPOLLIN, INVALID_SOCKET, on_event, &seen) != 0);
    completion_port_remove(port, INVALID_SOCKET);
    completion_port_dec_ref(port);
    CHECK(calls_of(&seen) == 0);
}

static void refused_payloads_change_nothing(void)
{
    int fds[2];
    char bytes[4] = "abc";
    SEEN seen = NOTHING_SEEN;
    ASYNC_SOCKET_BUFFER good = {bytes, 3};
    ASYNC_SOCKET_BUFFER null_buffer[2] = {{bytes, 3}, {NULL, 3}};
    ASYNC_SOCKET_BUFFER empty[2] = {{bytes, 3}, {bytes, 0}};
    ASYNC_SOCKET_BUFFER too_long[2] = {{bytes, UINT32_MAX}, {bytes, 1}};
    ASYNC_SOCKET_BUFFER one_null = {NULL, 3}, one_empty = {bytes, 0};
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);

    CHECK(async_socket_send_async(socket, NULL, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async(socket, &good, 0, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async(socket, null_buffer, 2, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async(socket, empty, 2, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async(socket, too_long, 2, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async(socket, &one_null, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async(socket, &one_empty, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async(socket, &good, 1, NULL, &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_receive_async(socket, NULL, 1, on_receive, &seen) != 0);
    CHECK(async_socket_receive_async(socket, &good, 0, on_receive, &seen) != 0);
    CHECK(async_socket_receive_async(socket, null_buffer, 2, on_receive, &seen) != 0);
    CHECK(async_socket_receive_async(socket, empty, 2, on_receive, &seen) != 0);
    CHECK(async_socket_receive_async(socket, too_long, 2, on_receive, &seen) != 0);
    CHECK(async_socket_receive_async(socket, &one_null, 1, on_receive, &seen) != 0);
    CHECK(async_socket_receive_async(socket, &one_empty, 1, on_receive, &seen) != 0);
    CHECK(async_socket_receive_async(socket, &good, 1, NULL, &seen) != 0);
    CHECK(calls_of(&seen) == 0);

    CHECK(async_socket_send_async(socket, &good, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(&seen, ASYNC_SOCKET_SEND_OK);
    async_socket_destroy(socket);
    char got[8];
    CHECK(read(fds[1], got, sizeof got) == 3 && memcmp(got, "abc", 3) == 0);
    CHECK(read(fds[1], got, sizeof got) == 0);
    close(fds[1]);
}

static void contexts_may_be_null(void)
{
    int fds[2], raw[2];
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    COMPLETION_PORT_HANDLE port = platform_get_completion_port();
    tcp_pair(fds);
    unix_pair(raw);
    calls_without_context = 0;
    ASYNC_SOCKET_HANDLE socket = async_socket_create(NULL, fds[0]);
    CHECK(async_socket_open_async(socket, on_open_without, NULL) == 0);
    CHECK(async_socket_send_async(socket, &buffer, 1, on_send_without, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive_without, NULL) == 0);
    CHECK(completion_port_add(port, EPOLLIN, raw[0], on_event_without, NULL) == 0);
    async_socket_destroy(socket);
    completion_port_remove(port, raw[0]);
    CHECK(calls_without_context == 4);
    completion_port_dec_ref(port);
    close(fds[1]);
    close(raw[0]);
    close(raw[1]);
}

static void an_execution_engine_is_accepted_and_never_dereferenced(void)
{
    int fds[2];
    unix_pair(fds);
    /* Reading through this pointer would crash. */
    EXECUTION_ENGINE_HANDLE engine = (EXECUTION_ENGINE_HANDLE)(uintptr_t)8;
    ASYNC_SOCKET_HANDLE socket = async_socket_create(engine, fds[0]);
    CHECK(socket != NULL);
    async_socket_destroy(socket);
    CHECK(!is_open(fds[0]));
    close(fds[1]);
}

/* ---- States ---- */

static void a_socket_that_is_not_open_refuses_and_can_be_opened_once(void)
{
    int fds[2];
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    SEEN seen = NOTHING_SEEN, open = NOTHING_SEEN;
    unix_pair(fds);
    ASYNC_SOCKET_HANDLE socket = async_socket_create(NULL, fds[0]);
    CHECK(async_socket_send_async(socket, &buffer, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &seen) != 0);
    CHECK(async_socket_open_async(socket, NULL, &open) != 0);
    async_socket_close(socket);
    CHECK(is_open(fds[0]));

    CHECK(async_socket_open_async(socket, on_open, &open) == 0);
    CHECK(async_socket_open_async(socket, on_open, &open) != 0);
    wait_for(&open, ASYNC_SOCKET_OPEN_OK);
    async_socket_close(socket);
    CHECK(!is_open(fds[0]));
    async_socket_close(socket);
    CHECK(async_socket_open_async(socket, on_open, &open) != 0);
    CHECK(async_socket_send_async(socket, &buffer, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &seen) != 0);
    async_socket_destroy(socket);
    CHECK(calls_of(&open) == 1 && calls_of(&seen) == 0);
    close(fds[1]);
}

static void an_open_that_fails_runs_no_callback_and_leaves_the_descriptor(void)
{
    SEEN open = NOTHING_SEEN;
    int pipe_ends[2];
    CHECK(pipe(pipe_ends) == 0);
    ASYNC_SOCKET_HANDLE socket = async_socket_create(NULL, pipe_ends[0]);
    CHECK(socket != NULL);
    CHECK(async_socket_open_async(socket, on_open, &open) != 0);
    CHECK(calls_of(&open) == 0);
    CHECK(is_open(pipe_ends[0]));
    async_socket_destroy(socket);
    CHECK(!is_open(pipe_ends[0]));
    close(pipe_ends[1]);
}

/* ---- Sends and receives ---- */

static void bytes_go_both_ways_in_several_buffers(void)
{
    int fds[2];
    char hello[] = "hello, ", world[] = "world", got[16] = {0}, in1[4], in2[16];
    SEEN sent = NOTHING_SEEN, received = NOTHING_SEEN;
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);

    /* The list is copied, so changing it after the call changes nothing. */
    ASYNC_SOCKET_BUFFER in[2] = {{in1, sizeof in1}, {in2, sizeof in2}};
    CHECK(async_socket_receive_async(socket, in, 2, on_receive, &received) == 0);
    memset(in, 0, sizeof in);
    ASYNC_SOCKET_BUFFER out[2] = {{hello, 7}, {world, 5}};
    CHECK(async_socket_send_async(socket, out, 2, on_send, &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(&sent, ASYNC_SOCKET_SEND_OK);

    size_t length = 0;
    while (length < 12) {
        ssize_t bytes = read(fds[1], got + length, sizeof got - length);
        CHECK(bytes > 0);
        length += (size_t)bytes;
    }
    CHECK(length == 12 && memcmp(got, "hello, world", 12) == 0);
    CHECK(write(fds[1], "0123456", 7) == 7);
    wait_for(&received, ASYNC_SOCKET_RECEIVE_OK);
    CHECK(received.bytes == 7);
    CHECK(memcmp(in1, "0123", 4) == 0 && memcmp(in2, "456", 3) == 0);
    CHECK(!pthread_equal(received.thread, pthread_self()));
    async_socket_destroy(socket);
    close(fds[1]);
}

static void a_send_that_the_kernel_does_not_take_at_once_completes_later_and_in_order(void)
{
    enum { SIZE = 8 << 20 };
    int fds[2];
    SEEN first = NOTHING_SEEN, second = NOTHING_SEEN;
    unsigned char *big = malloc(SIZE), *got = malloc(SIZE), last = 0x5a, end;
    CHECK(big != NULL && got != NULL);
    for (int i = 0; i < SIZE; i++) {
        big[i] = (unsigned char)(i * 31 >> 3);
    }
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
    ASYNC_SOCKET_BUFFER whole = {big, SIZE}, one = {&last, 1};
    CHECK(async_socket_send_async(socket, &whole, 1, on_send, &first) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(async_socket_send_async(socket, &one, 1, on_send, &second) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(calls_of(&first) == 0 && calls_of(&second) == 0);
    for (size_t length = 0; length < SIZE;) {
        ssize_t bytes = read(fds[1], got + length, SIZE - length);
        CHECK(bytes > 0);
        length += (size_t)bytes;
    }
    CHECK(memcmp(big, got, SIZE) == 0);
    CHECK(read(fds[1], &end, 1) == 1 && end == 0x5a);
    wait_for(&first, ASYNC_SOCKET_SEND_OK);
    wait_for(&second, ASYNC_SOCKET_SEND_OK);
    async_socket_destroy(socket);
    close(fds[1]);
    free(big);
    free(got);
}

static void bytes_come_before_the_end_of_the_stream_which_abandons(void)
{
    int fds[2];
    char in[8];
    ASYNC_SOCKET_BUFFER buffer = {in, sizeof in};
    SEEN first = NOTHING_SEEN, second = NOTHING_SEEN;
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
    CHECK(write(fds[1], "last", 4) == 4);
    close(fds[1]);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &first) == 0);
    wait_for(&first, ASYNC_SOCKET_RECEIVE_OK);
    CHECK(first.bytes == 4);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &second) == 0);
    wait_for(&second, ASYNC_SOCKET_RECEIVE_ABANDONED);
    CHECK(second.bytes == 0);
    async_socket_destroy(socket);
}

static void a_send_to_a_peer_that_is_gone_is_abandoned_without_a_callback_and_without_a_signal(void)
{
    int fds[2];
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    SEEN seen = NOTHING_SEEN;
    unix_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
    close(fds[1]);
    CHECK(async_socket_send_async(socket, &buffer, 1, on_send, &seen) == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    async_socket_destroy(socket);
    CHECK(calls_of(&seen) == 0);
}

static void a_reset_ends_what_is_pending(void)
{
    int fds[2];
    char in[8];
    ASYNC_SOCKET_BUFFER buffer = {in, sizeof in};
    SEEN seen = NOTHING_SEEN;
    struct linger reset = {1, 0};
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &seen) == 0);
    CHECK(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    close(fds[1]);
    wait_for_calls(&seen, 1);
    CHECK(seen.results[0] == ASYNC_SOCKET_RECEIVE_ABANDONED || seen.results[0] == ASYNC_SOCKET_RECEIVE_ERROR);
    CHECK(seen.bytes == 0);
    async_socket_destroy(socket);
}

static void closing_abandons_every_pending_operation_before_it_returns(void)
{
    enum { SIZE = 8 << 20 };
    int fds[2];
    char in[8] = {0}, *big = calloc(1, SIZE);
    ASYNC_SOCKET_BUFFER small = {in, sizeof in}, whole = {big, SIZE};
    SEEN receives = NOTHING_SEEN, sends = NOTHING_SEEN;
    CHECK(big != NULL);
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
    CHECK(async_socket_receive_async(socket, &small, 1, on_receive, &receives) == 0);
    CHECK(async_socket_receive_async(socket, &small, 1, on_receive, &receives) == 0);
    CHECK(async_socket_send_async(socket, &whole, 1, on_send, &sends) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(async_socket_send_async(socket, &whole, 1, on_send, &sends) == ASYNC_SOCKET_SEND_SYNC_OK);
    async_socket_close(socket);
    CHECK(calls_of(&receives) == 2 && calls_of(&sends) == 2);
    for (int call = 0; call < 2; call++) {
        CHECK(receives.results[call] == ASYNC_SOCKET_RECEIVE_ABANDONED);
        CHECK(sends.results[call] == ASYNC_SOCKET_SEND_ABANDONED);
    }
    CHECK(!is_open(fds[0]));
    async_socket_destroy(socket);
    close(fds[1]);
    free(big);
}

/* ---- Close and destroy inside callbacks ---- */

static void then_close(SEEN* seen)
{
    async_socket_close(seen->socket);
}

static void then_destroy(SEEN* seen)
{
    async_socket_destroy(seen->socket);
}

static void then_close_and_destroy(SEEN* seen)
{
    async_socket_close(seen->socket);
    async_socket_destroy(seen->socket);
}

static void (*const endings[])(SEEN*) = {then_close, then_destroy, then_close_and_destroy};
enum { ENDINGS = sizeof endings / sizeof endings[0] };

static void finish(SEEN* seen, int fds[2])
{
    CHECK(!is_open(fds[0]));
    if (seen->then == then_close) {
        async_socket_destroy(seen->socket);
    }
    close(fds[1]);
}

static void every_callback_may_close_and_destroy_its_socket(void)
{
    for (int ending = 0; ending < ENDINGS; ending++) {
        int fds[2];
        char in[8] = {0}, *big = calloc(1, 8 << 20);
        ASYNC_SOCKET_BUFFER small = {in, sizeof in}, whole = {big, 8 << 20};
        CHECK(big != NULL);

        SEEN open = NOTHING_SEEN;
        tcp_pair(fds);
        open.then = endings[ending];
        open.socket = async_socket_create(NULL, fds[0]);
        CHECK(async_socket_open_async(open.socket, on_open, &open) == 0);
        wait_for(&open, ASYNC_SOCKET_OPEN_OK);
        finish(&open, fds);

        SEEN sent = NOTHING_SEEN;
        tcp_pair(fds);
        sent.then = endings[ending];
        sent.socket = opened(fds[0]);
        CHECK(async_socket_send_async(sent.socket, &small, 1, on_send, &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
        wait_for(&sent, ASYNC_SOCKET_SEND_OK);
        finish(&sent, fds);

        SEEN later = NOTHING_SEEN;
        tcp_pair(fds);
        later.then = endings[ending];
        later.socket = opened(fds[0]);
        CHECK(async_socket_send_async(later.socket, &whole, 1, on_send, &later) == ASYNC_SOCKET_SEND_SYNC_OK);
        for (size_t length = 0; length < 8 << 20;) {
            static char scratch[1 << 16];
            ssize_t bytes = read(fds[1], scratch, sizeof scratch);
            CHECK(bytes > 0);
            length += (size_t)bytes;
        }
        wait_for(&later, ASYNC_SOCKET_SEND_OK);
        finish(&later, fds);

        /* The first receive ends the socket; the second is abandoned by that. */
        SEEN received = NOTHING_SEEN, abandoned = NOTHING_SEEN;
        tcp_pair(fds);
        received.then = endings[ending];
        received.socket = opened(fds[0]);
        CHECK(async_socket_receive_async(received.socket, &small, 1, on_receive, &received) == 0);
        CHECK(async_socket_receive_async(received.socket, &small, 1, on_receive, &abandoned) == 0);
        CHECK(write(fds[1], "x", 1) == 1);
        wait_for(&received, ASYNC_SOCKET_RECEIVE_OK);
        wait_for(&abandoned, ASYNC_SOCKET_RECEIVE_ABANDONED);
        finish(&received, fds);

        free(big);
    }
}

static void then_hold(SEEN* seen)
{
    char byte;
    CHECK(read(seen->fd, &byte, 1) == 1);
}

static void* close_it(void* context)
{
    async_socket_close(((SEEN*)context)->socket);
    return NULL;
}

/* Returns when another thread is closing the socket, which then refuses sends. */
static void wait_until_closing(ASYNC_SOCKET_HANDLE socket)
{
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    SEEN sent = NOTHING_SEEN;
    for (int waited = 0; async_socket_send_async(socket, &buffer, 1, on_send, &sent) != ASYNC_SOCKET_SEND_SYNC_ABANDONED;
         waited++) {
        CHECK(waited < LIMIT * 1000);
        pause_ms(1);
    }
}

/* Long enough for a destroy that does not wait to return first. */
static void* open_the_gate_later(void* context)
{
    pause_ms(50);
    CHECK(write(*(int*)context, "x", 1) == 1);
    return NULL;
}

/* The callback is held until the gate opens, so destroy returns only after that. */
static void destroy_while_the_gate_is_shut(SEEN* held, int gate)
{
    pthread_t opener;
    CHECK(calls_of(held) == 0);
    CHECK(pthread_create(&opener, NULL, open_the_gate_later, &gate) == 0);
    async_socket_destroy(held->socket);
    CHECK(calls_of(held) == 1);
    CHECK(pthread_join(opener, NULL) == 0);
}

static void destroy_waits_while_another_thread_closes(void)
{
    int fds[2], gate[2];
    char in[8];
    ASYNC_SOCKET_BUFFER buffer = {in, sizeof in};
    SEEN held = NOTHING_SEEN;
    pthread_t closer;
    tcp_pair(fds);
    unix_pair(gate);
    CHECK(fcntl(gate[0], F_SETFL, 0) == 0);
    held.then = then_hold;
    held.fd = gate[0];
    held.socket = opened(fds[0]);
    CHECK(async_socket_receive_async(held.socket, &buffer, 1, on_receive, &held) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_until_begun(&held);
    /* The close waits for the callback, which is held, and destroy waits for both. */
    CHECK(pthread_create(&closer, NULL, close_it, &held) == 0);
    wait_until_closing(held.socket);
    CHECK(is_open(fds[0]));
    destroy_while_the_gate_is_shut(&held, gate[1]);
    CHECK(!is_open(fds[0]));
    CHECK(pthread_join(closer, NULL) == 0);
    close(fds[1]);
    close(gate[0]);
    close(gate[1]);
}

static void* open_it(void* context)
{
    CHECK(async_socket_open_async(((SEEN*)context)->socket, on_open, context) == 0);
    return NULL;
}

static void destroy_waits_for_the_callback_of_an_open_on_another_thread(void)
{
    int fds[2], gate[2];
    SEEN held = NOTHING_SEEN;
    pthread_t opener;
    tcp_pair(fds);
    unix_pair(gate);
    CHECK(fcntl(gate[0], F_SETFL, 0) == 0);
    held.then = then_hold;
    held.fd = gate[0];
    held.socket = async_socket_create(NULL, fds[0]);
    CHECK(pthread_create(&opener, NULL, open_it, &held) == 0);
    wait_until_begun(&held);
    destroy_while_the_gate_is_shut(&held, gate[1]);
    CHECK(held.results[0] == ASYNC_SOCKET_OPEN_OK);
    CHECK(!is_open(fds[0]));
    CHECK(pthread_join(opener, NULL) == 0);
    close(fds[1]);
    close(gate[0]);
    close(gate[1]);
}

static void* read_all(void* context)
{
    char scratch[4096];
    while (read(*(int*)context, scratch, sizeof scratch) > 0) {
    }
    return NULL;
}

/* A session whose operations are pending when one of their callbacks destroys the socket and frees the session. */
typedef struct SESSION_TAG {
    ASYNC_SOCKET_HANDLE socket;
    int others;
    bool is_over;
    SEEN* seen;
} SESSION;

static void receive_ends_the_session(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    SESSION* session = context;
    SEEN* seen = session->seen;
    CHECK(result == ASYNC_SOCKET_RECEIVE_ABANDONED && bytes == 0);
    CHECK(session->others == 0);
    async_socket_destroy(session->socket);
    CHECK(session->others == 2);
    session->is_over = true;
    note(seen, (int)result, bytes);
}

static void another_receive(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    SESSION* session = context;
    CHECK(result == ASYNC_SOCKET_RECEIVE_ABANDONED && bytes == 0);
    CHECK(!session->is_over);
    session->others++;
}

static void another_send(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    SESSION* session = context;
    CHECK(result == ASYNC_SOCKET_SEND_ABANDONED);
    CHECK(!session->is_over);
    session->others++;
}

static void* close_the_session(void* context)
{
    async_socket_close(((SESSION*)context)->socket);
    return NULL;
}

/* The close is the program's, on its main thread or another. It has more to abandon when the first callback destroys. */
static void the_abandoned_callback_of_a_plain_threads_close_may_destroy(void)
{
    for (int on_another_thread = 0; on_another_thread < 2; on_another_thread++) {
        int fds[2];
        char in[8], *big = calloc(1, 8 << 20);
        SEEN ended = NOTHING_SEEN;
        SESSION session = {NULL, 0, false, &ended};
        ASYNC_SOCKET_BUFFER small = {in, sizeof in}, whole = {big, 8 << 20};
        CHECK(big != NULL);
        tcp_pair(fds);
        session.socket = opened(fds[0]);
        CHECK(async_socket_receive_async(session.socket, &small, 1, receive_ends_the_session, &session) == 0);
        CHECK(async_socket_receive_async(session.socket, &small, 1, another_receive, &session) == 0);
        CHECK(async_socket_send_async(session.socket, &whole, 1, another_send, &session) == ASYNC_SOCKET_SEND_SYNC_OK);
        if (on_another_thread) {
            pthread_t closer;
            CHECK(pthread_create(&closer, NULL, close_the_session, &session) == 0);
            CHECK(pthread_join(closer, NULL) == 0);
        } else {
            close_the_session(&session);
        }
        CHECK(calls_of(&ended) == 1 && session.others == 2);
        CHECK(!is_open(fds[0]));
        close(fds[1]);
        free(big);
    }
}

/* Plain threads that send, each send with a claim, while another closes. */
typedef struct SENDERS_TAG {
    pthread_mutex_t lock;
    ASYNC_SOCKET_HANDLE socket;
    int accepted;
    int called;
} SENDERS;

static void count_a_send(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    SENDERS* senders = context;
    CHECK(result == ASYNC_SOCKET_SEND_OK || result == ASYNC_SOCKET_SEND_ABANDONED);
    pthread_mutex_lock(&senders->lock);
    senders->called++;
    pthread_mutex_unlock(&senders->lock);
}

static void* send_until_closed(void* context)
{
    SENDERS* senders = context;
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    ASYNC_SOCKET_SEND_SYNC_RESULT result;
    do {
        result = async_socket_send_async(senders->socket, &buffer, 1, count_a_send, senders);
        if (result == ASYNC_SOCKET_SEND_SYNC_OK) {
            pthread_mutex_lock(&senders->lock);
            senders->accepted++;
            pthread_mutex_unlock(&senders->lock);
        }
    } while (result == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(result == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    return NULL;
}

static void close_abandons_nothing_twice_while_plain_threads_send(void)
{
    for (int round = 0; round < 20; round++) {
        int fds[2];
        pthread_t reader, sending[2];
        SENDERS senders = {PTHREAD_MUTEX_INITIALIZER, NULL, 0, 0};
        tcp_pair(fds);
        senders.socket = opened(fds[0]);
        CHECK(pthread_create(&reader, NULL, read_all, &fds[1]) == 0);
        for (int i = 0; i < 2; i++) {
            CHECK(pthread_create(&sending[i], NULL, send_until_closed, &senders) == 0);
        }
        pause_ms(1);
        async_socket_close(senders.socket);
        for (int i = 0; i < 2; i++) {
            CHECK(pthread_join(sending[i], NULL) == 0);
        }
        async_socket_destroy(senders.socket);
        CHECK(senders.called == senders.accepted);
        CHECK(pthread_join(reader, NULL) == 0);
        close(fds[1]);
    }
}

/* ---- Chains ---- */

typedef struct CHAIN_TAG {
    ASYNC_SOCKET_HANDLE socket;
    ASYNC_SOCKET_BUFFER buffer;
    int left;
    SEEN done;
} CHAIN;

static void send_again(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    CHAIN* chain = context;
    CHECK(result == ASYNC_SOCKET_SEND_OK);
    if (--chain->left == 0) {
        note(&chain->done, (int)result, 0);
        return;
    }
    CHECK(async_socket_send_async(chain->socket, &chain->buffer, 1, send_again, chain) == ASYNC_SOCKET_SEND_SYNC_OK);
}

static void a_chain_of_sends_needs_no_stack(void)
{
    int fds[2];
    char byte = 'x';
    pthread_t reader;
    CHAIN chain = {NULL, {&byte, 1}, 20000, NOTHING_SEEN};
    unix_pair(fds);
    chain.socket = opened(fds[0]);
    CHECK(pthread_create(&reader, NULL, read_all, &fds[1]) == 0);
    CHECK(async_socket_send_async(chain.socket, &chain.buffer, 1, send_again, &chain) == ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(&chain.done, ASYNC_SOCKET_SEND_OK);
    async_socket_destroy(chain.socket);
    CHECK(pthread_join(reader, NULL) == 0);
    close(fds[1]);
}

/* ---- The raw completion port ---- */

static void two_waits_on_one_descriptor_both_fire_and_once_only(void)
{
    int fds[2];
    SEEN in = NOTHING_SEEN, out = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    CHECK(port != NULL);
    unix_pair(fds);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &in) == 0);
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &out) == 0);
    wait_for(&out, COMPLETION_PORT_EPOLL_EPOLLOUT);
    CHECK(calls_of(&in) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_for(&in, COMPLETION_PORT_EPOLL_EPOLLIN);
    CHECK(write(fds[1], "x", 1) == 1);
    pause_ms(20);
    CHECK(calls_of(&in) == 1 && calls_of(&out) == 1);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &in) == 0);
    wait_for_calls(&in, 2);
    completion_port_remove(port, fds[0]);
    completion_port_dec_ref(port);
    close(fds[0]);
    close(fds[1]);
    CHECK(calls_of(&in) == 2 && calls_of(&out) == 1);
}

static void what_the_kernel_or_the_rules_refuse_runs_no_callback(void)
{
    SEEN seen = NOTHING_SEEN;
    int fds[2];
    COMPLETION_PORT_HANDLE port = completion_port_create();
    FILE* file = tmpfile();
    CHECK(file != NULL);
    unix_pair(fds);
    CHECK(completion_port_add(port, EPOLLIN, fileno(file), on_event, &seen) != 0);
    CHECK(completion_port_add(port, EPOLLIN, 1000000, on_event, &seen) != 0);
    CHECK(completion_port_add(port, 0, fds[0], on_event, &seen) != 0);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], NULL, &seen) != 0);
    completion_port_remove(port, 1000000);
    completion_port_dec_ref(port);
    CHECK(calls_of(&seen) == 0);
    fclose(file);
    close(fds[0]);
    close(fds[1]);
}

static void hang_ups_and_errors_are_reported(void)
{
    int fds[2], pipe_ends[2];
    SEEN half_closed = NOTHING_SEEN, broken = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    CHECK(completion_port_add(port, EPOLLRDHUP, fds[0], on_event, &half_closed) == 0);
    CHECK(shutdown(fds[1], SHUT_WR) == 0);
    wait_for(&half_closed, COMPLETION_PORT_EPOLL_EPOLLRDHUP);
    CHECK(pipe(pipe_ends) == 0);
    CHECK(completion_port_add(port, EPOLLIN, pipe_ends[1], on_event, &broken) == 0);
    close(pipe_ends[0]);
    wait_for(&broken, COMPLETION_PORT_EPOLL_ERROR);
    completion_port_dec_ref(port);
    close(pipe_ends[1]);
    close(fds[0]);
    close(fds[1]);
}

static void a_closed_descriptors_number_can_be_used_again(void)
{
    SEEN old = NOTHING_SEEN, new = NOTHING_SEEN;
    int fds[2], again[2];
    COMPLETION_PORT_HANDLE port = completion_port_create();
    for (int round = 0; round < 20; round++) {
        unix_pair(fds);
        CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &old) == 0);
        close(fds[0]);
        close(fds[1]);
        unix_pair(again);
        CHECK(again[0] == fds[0]);
        CHECK(completion_port_add(port, EPOLLIN, again[0], on_event, &new) == 0);
        wait_for_calls(&old, round + 1);
        CHECK(old.results[round] == COMPLETION_PORT_EPOLL_ABANDONED);
        CHECK(write(again[1], "x", 1) == 1);
        wait_for_calls(&new, round + 1);
        CHECK(new.results[round] == COMPLETION_PORT_EPOLL_EPOLLIN);
        close(again[0]);
        close(again[1]);
    }
    completion_port_dec_ref(port);
}

static void removal_abandons_what_waits_and_waits_for_what_runs(void)
{
    int fds[2], gate[2];
    SEEN waiting = NOTHING_SEEN, held = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    unix_pair(gate);
    CHECK(fcntl(gate[0], F_SETFL, 0) == 0);
    held.then = then_hold;
    held.fd = gate[0];
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &waiting) == 0);
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &held) == 0);
    pause_ms(50);
    CHECK(write(gate[1], "x", 1) == 1);
    completion_port_remove(port, fds[0]);
    CHECK(calls_of(&held) == 1 && held.results[0] == COMPLETION_PORT_EPOLL_EPOLLOUT);
    CHECK(calls_of(&waiting) == 1 && waiting.results[0] == COMPLETION_PORT_EPOLL_ABANDONED);
    completion_port_remove(port, fds[0]);
    completion_port_dec_ref(port);
    close(fds[0]);
    close(fds[1]);
    close(gate[0]);
    close(gate[1]);
}

static void then_remove(SEEN* seen)
{
    completion_port_remove(seen->port, seen->fd);
}

static void a_callback_may_remove_its_descriptor(void)
{
    int fds[2];
    SEEN in = NOTHING_SEEN, out = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    out.then = then_remove;
    out.port = port;
    out.fd = fds[0];
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &in) == 0);
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &out) == 0);
    wait_for(&out, COMPLETION_PORT_EPOLL_EPOLLOUT);
    wait_for(&in, COMPLETION_PORT_EPOLL_ABANDONED);
    out.then = NULL;
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &out) == 0);
    wait_for_calls(&out, 2);
    completion_port_dec_ref(port);
    close(fds[0]);
    close(fds[1]);
}

static void then_give_up(SEEN* seen)
{
    completion_port_dec_ref(seen->port);
}

static void a_callback_may_give_up_the_last_reference(void)
{
    int threads = entries_of("/proc/self/task"), descriptors = entries_of("/proc/self/fd");
    int fds[2], others[2];
    SEEN last = NOTHING_SEEN, abandoned = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    unix_pair(others);
    completion_port_inc_ref(port);
    completion_port_dec_ref(port);
    last.then = then_give_up;
    last.port = port;
    CHECK(completion_port_add(port, EPOLLIN, others[0], on_event, &abandoned) == 0);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &last) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_for(&last, COMPLETION_PORT_EPOLL_EPOLLIN);
    wait_for(&abandoned, COMPLETION_PORT_EPOLL_ABANDONED);
    close(fds[0]);
    close(fds[1]);
    close(others[0]);
    close(others[1]);
    wait_for_threads(threads);
    CHECK(entries_of("/proc/self/fd") == descriptors);
}

/* ---- The platform ---- */

static void the_platform_comes_and_goes_promptly_and_leaves_nothing(void)
{
    int threads = entries_of("/proc/self/task"), descriptors = entries_of("/proc/self/fd");
    for (int round = 0; round < 20; round++) {
        CHECK(platform_init() == 0);
        int fds[2];
        tcp_pair(fds);
        ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
        async_socket_destroy(socket);
        close(fds[1]);
        double start = now();
        platform_deinit();
        CHECK(getenv("C_ABI_SLOW") != NULL || now() - start < 0.1);
        CHECK(platform_get_completion_port() == NULL);
    }
    wait_for_threads(threads);
    CHECK(entries_of("/proc/self/fd") == descriptors);
}

static void each_init_needs_its_deinit(void)
{
    CHECK(platform_init() == 0);
    CHECK(platform_init() == 0);
    platform_deinit();
    COMPLETION_PORT_HANDLE port = platform_get_completion_port();
    CHECK(port != NULL);
    platform_deinit();
    CHECK(platform_get_completion_port() == NULL);
    completion_port_dec_ref(port);
}

static void sockets_outlive_the_platform(void)
{
    int fds[2], threads = entries_of("/proc/self/task");
    char in[8];
    ASYNC_SOCKET_BUFFER buffer = {in, sizeof in};
    SEEN seen = NOTHING_SEEN, sent = NOTHING_SEEN;
    CHECK(platform_init() == 0);
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &seen) == 0);
    platform_deinit();
    CHECK(write(fds[1], "x", 1) == 1);
    wait_for(&seen, ASYNC_SOCKET_RECEIVE_OK);
    CHECK(async_socket_send_async(socket, &buffer, 1, on_send, &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
    async_socket_destroy(socket);
    wait_for_threads(threads);
    close(fds[1]);
}

static void then_deinit(SEEN* seen)
{
    async_socket_destroy(seen->socket);
    platform_deinit();
}

static void a_callback_may_stop_the_platform(void)
{
    int fds[2], threads = entries_of("/proc/self/task");
    char in[8];
    ASYNC_SOCKET_BUFFER buffer = {in, sizeof in};
    SEEN seen = NOTHING_SEEN;
    CHECK(platform_init() == 0);
    tcp_pair(fds);
    seen.then = then_deinit;
    seen.socket = opened(fds[0]);
    CHECK(async_socket_receive_async(seen.socket, &buffer, 1, on_receive, &seen) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_for(&seen, ASYNC_SOCKET_RECEIVE_OK);
    CHECK(platform_get_completion_port() == NULL);
    wait_for_threads(threads);
    close(fds[1]);
}

static void as_many_threads_as_were_set(void)
{
    int threads = entries_of("/proc/self/task");
    platform_set_thread_count(3);
    CHECK(platform_init() == 0);
    CHECK(entries_of("/proc/self/task") == threads + 3);
    COMPLETION_PORT_HANDLE ports[4];
    for (int i = 0; i < 4; i++) {
        ports[i] = platform_get_completion_port();
        CHECK(ports[i] != NULL);
    }
    CHECK(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2] && ports[0] == ports[3]);
    for (int i = 0; i < 4; i++) {
        completion_port_dec_ref(ports[i]);
    }
    platform_deinit();
    platform_set_thread_count(0);
    CHECK(platform_init() == 0);
    wait_for_threads(threads + 1);
    platform_deinit();
    platform_set_thread_count(1);
}

/* ---- All of them ---- */

typedef struct TEST_TAG {
    const char* name;
    void (*run)(void);
    bool needs_platform;
} TEST;

#define WITH_PLATFORM(name) {#name, name, true}
#define WITHOUT_PLATFORM(name) {#name, name, false}

static const TEST tests[] = {
    WITHOUT_PLATFORM(every_enum_begins_with_invalid_and_has_its_values),
    WITHOUT_PLATFORM(before_platform_init_nothing_is_created_and_the_descriptor_stays_the_callers),
    WITHOUT_PLATFORM(null_handles_are_refused_or_ignored),
    WITH_PLATFORM(the_invalid_socket_is_refused),
    WITH_PLATFORM(refused_payloads_change_nothing),
    WITH_PLATFORM(contexts_may_be_null),
    WITH_PLATFORM(an_execution_engine_is_accepted_and_never_dereferenced),
    WITH_PLATFORM(a_socket_that_is_not_open_refuses_and_can_be_opened_once),
    WITH_PLATFORM(an_open_that_fails_runs_no_callback_and_leaves_the_descriptor),
    WITH_PLATFORM(bytes_go_both_ways_in_several_buffers),
    WITH_PLATFORM(a_send_that_the_kernel_does_not_take_at_once_completes_later_and_in_order),
    WITH_PLATFORM(bytes_come_before_the_end_of_the_stream_which_abandons),
    WITH_PLATFORM(a_send_to_a_peer_that_is_gone_is_abandoned_without_a_callback_and_without_a_signal),
    WITH_PLATFORM(a_reset_ends_what_is_pending),
    WITH_PLATFORM(closing_abandons_every_pending_operation_before_it_returns),
    WITH_PLATFORM(every_callback_may_close_and_destroy_its_socket),
    WITH_PLATFORM(destroy_waits_while_another_thread_closes),
    WITH_PLATFORM(destroy_waits_for_the_callback_of_an_open_on_another_thread),
    WITH_PLATFORM(the_abandoned_callback_of_a_plain_threads_close_may_destroy),
    WITH_PLATFORM(close_abandons_nothing_twice_while_plain_threads_send),
    WITH_PLATFORM(a_chain_of_sends_needs_no_stack),
    WITHOUT_PLATFORM(two_waits_on_one_descriptor_both_fire_and_once_only),
    WITHOUT_PLATFORM(what_the_kernel_or_the_rules_refuse_runs_no_callback),
    WITHOUT_PLATFORM(hang_ups_and_errors_are_reported),
    WITHOUT_PLATFORM(a_closed_descriptors_number_can_be_used_again),
    WITHOUT_PLATFORM(removal_abandons_what_waits_and_waits_for_what_runs),
    WITHOUT_PLATFORM(a_callback_may_remove_its_descriptor),
    WITHOUT_PLATFORM(a_callback_may_give_up_the_last_reference),
    WITHOUT_PLATFORM(the_platform_comes_and_goes_promptly_and_leaves_nothing),
    WITHOUT_PLATFORM(each_init_needs_its_deinit),
    WITHOUT_PLATFORM(sockets_outlive_the_platform),
    WITHOUT_PLATFORM(a_callback_may_stop_the_platform),
    WITHOUT_PLATFORM(as_many_threads_as_were_set),
};

int main(int argc, char** argv)
{
    size_t ran = 0;
    alarm(5 * LIMIT);
    CHECK(execution_engine_create(NULL) == NULL);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (argc > 1 && strcmp(argv[1], tests[i].name) != 0) {
            continue;
        }
        fprintf(stderr, "%s\n", tests[i].name);
        if (tests[i].needs_platform) {
            CHECK(platform_init() == 0);
        }
        tests[i].run();
        if (tests[i].needs_platform) {
            platform_deinit();
        }
        ran++;
    }
    printf("%u tests passed\n", (unsigned)ran);
    return ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
