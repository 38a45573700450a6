/*
 * An echo for checkers of threads, written as C programs are: the main thread makes contexts and buffers that callbacks use;
 * callbacks follow each other in chains; the callback that ends last destroys the socket; there are raw waits and a log
 * function. The program's own threads order what they share by a mutex. With INJECTED_RACE, two of them do not.
 */
#define _POSIX_C_SOURCE 200809L

#include "async_socket.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS 8
#define MESSAGES 20
#define SIZE 64

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(EXIT_FAILURE);                                                     \
        }                                                                           \
    } while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int events;

static void happened(void)
{
    pthread_mutex_lock(&lock);
    events++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(int count)
{
    pthread_mutex_lock(&lock);
    while (events < count) {
        pthread_cond_wait(&changed, &lock);
    }
    events = 0;
    pthread_mutex_unlock(&lock);
}

/* One end of a connection. It needs no lock, because its callbacks run one after another. */
typedef struct SESSION_TAG {
    ASYNC_SOCKET_HANDLE socket;
    char memory[SIZE];
    uint32_t filled;
    int messages;
    int echoes;
} SESSION;

static void receive(SESSION* session);

static void on_sent(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    SESSION* session = context;
    CHECK(result == ASYNC_SOCKET_SEND_OK);
    session->filled = 0;
    receive(session);
}

static void on_received(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    SESSION* session = context;
    if (result != ASYNC_SOCKET_RECEIVE_OK) {
        async_socket_destroy(session->socket);
        free(session);
        happened();
        return;
    }
    session->filled += bytes;
    if (session->filled < SIZE) {
        receive(session);
        return;
    }
    session->messages++;
    if (!session->echoes && session->messages == MESSAGES) {
        /* This ends the receives of both ends. */
        async_socket_close(session->socket);
        async_socket_destroy(session->socket);
        free(session);
        happened();
        return;
    }
    ASYNC_SOCKET_BUFFER out[2] = {{session->memory, 10}, {session->memory + 10, SIZE - 10}};
    CHECK(async_socket_send_async(session->socket, out, 2, on_sent, session) == ASYNC_SOCKET_SEND_SYNC_OK);
}

static void receive(SESSION* session)
{
    ASYNC_SOCKET_BUFFER in = {session->memory + session->filled, SIZE - session->filled};
    CHECK(async_socket_receive_async(session->socket, &in, 1, on_received, session) == 0);
}

static void on_open(void* context, ASYNC_SOCKET_OPEN_RESULT result)
{
    SESSION* session = context;
    CHECK(result == ASYNC_SOCKET_OPEN_OK);
    session->messages = 0;
}

static SESSION* new_session(int descriptor, int echoes)
{
    SESSION* session = calloc(1, sizeof *session);
    CHECK(session != NULL);
    session->echoes = echoes;
    session->socket = async_socket_create(NULL, descriptor);
    CHECK(session->socket != NULL);
    CHECK(async_socket_open_async(session->socket, on_open, session) == 0);
    return session;
}

static void on_abandoned(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    CHECK(result == ASYNC_SOCKET_RECEIVE_ABANDONED && bytes == 0);
    *(int*)context = 1;
}

/* The main thread destroys a socket on which a receive waits. */
static void destroyed_by_main(void)
{
    int pair[2], was_abandoned = 0;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    SESSION* session = new_session(pair[0], 0);
    ASYNC_SOCKET_BUFFER in = {session->memory, SIZE};
    CHECK(async_socket_receive_async(session->socket, &in, 1, on_abandoned, &was_abandoned) == 0);
    async_socket_destroy(session->socket);
    CHECK(was_abandoned);
    free(session);
    close(pair[1]);
}

static void on_event(void* context, COMPLETION_PORT_EPOLL_ACTION action)
{
    *(COMPLETION_PORT_EPOLL_ACTION*)context = action;
    happened();
}

static void raw_waits(void)
{
    int pair[2];
    COMPLETION_PORT_EPOLL_ACTION action = COMPLETION_PORT_EPOLL_ACTION_INVALID;
    COMPLETION_PORT_HANDLE port = platform_get_completion_port();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(completion_port_add(port, EPOLLIN, pair[0], on_event, &action) == 0);
    CHECK(write(pair[1], "x", 1) == 1);
    wait_for(1);
    CHECK(action == COMPLETION_PORT_EPOLL_EPOLLIN);
    completion_port_remove(port, pair[0]);
    completion_port_dec_ref(port);
    close(pair[0]);
    close(pair[1]);
}

static void on_log(void* context, ASYNC_SOCKET_LOG_LEVEL level, const char* line)
{
    (void)level;
    pthread_mutex_lock(&lock);
    *(size_t*)context += strlen(line);
    pthread_mutex_unlock(&lock);
}

#ifdef INJECTED_RACE
static int raced;

static void* race(void* context)
{
    raced++;
    return context;
}

static void race_with_another_thread(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, race, NULL) == 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}
#endif

int main(void)
{
    size_t logged = 0;
    alarm(300);
#ifdef INJECTED_RACE
    race_with_another_thread();
#endif
    CHECK(async_socket_set_log(on_log, &logged, ASYNC_SOCKET_LOG_DEBUG) == 0);
    platform_set_thread_count(2);
    CHECK(platform_init() == 0);
    for (int i = 0; i < SESSIONS; i++) {
        int pair[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        receive(new_session(pair[0], 1));
        SESSION* client = new_session(pair[1], 0);
        memset(client->memory, 'a' + i, SIZE);
        ASYNC_SOCKET_BUFFER out = {client->memory, SIZE};
        CHECK(async_socket_send_async(client->socket, &out, 1, on_sent, client) == ASYNC_SOCKET_SEND_SYNC_OK);
    }
    wait_for(2 * SESSIONS);
    destroyed_by_main();
    raw_waits();
    CHECK(async_socket_set_log(NULL, NULL, ASYNC_SOCKET_LOG_LEVEL_INVALID) == 0);
    CHECK(logged > 0);
    platform_deinit();
    puts("echoed");
    return EXIT_SUCCESS;
}
