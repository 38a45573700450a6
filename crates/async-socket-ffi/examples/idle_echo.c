/*
 * An echo server with a listener, idle time-outs, closes that do not wait, and metrics:
 * idle_echo [HOST PORT [IDLE_MILLISECONDS]]. Without arguments it listens on 127.0.0.1, on a port that the kernel chooses, and
 * gives up clients that are silent for a minute. Ends on Ctrl-C, after every connection has been closed.
 *
 * Everything runs on the one thread of the platform's port: accepting, the sessions, and the work that the main thread posts at the
 * end. So nothing needs a lock. A session is freed in the callback of its close, which comes last.
 */
#define _POSIX_C_SOURCE 200809L

#include <async_socket.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 16 * 1024 };

typedef struct SESSION_TAG {
    ASYNC_SOCKET_HANDLE socket;
    struct SESSION_TAG* previous;
    struct SESSION_TAG* next;
    char peer[64];
    char bytes[BUFFER_BYTES];
} SESSION;

/* The sessions whose close has not ended. */
static SESSION* sessions;
static bool stopped;
static sem_t all_closed;
static uint32_t idle_milliseconds = 60000;

static void on_sent(void* context, ASYNC_SOCKET_END_REASON why, int os_error, uint32_t bytes);

/* Comes once for each session, after every other callback of it. */
static void on_closed(void* context)
{
    SESSION* session = context;
    async_socket_destroy(session->socket);
    if (session->previous != NULL) {
        session->previous->next = session->next;
    } else {
        sessions = session->next;
    }
    if (session->next != NULL) {
        session->next->previous = session->previous;
    }
    free(session);
    if (stopped && sessions == NULL) {
        sem_post(&all_closed);
    }
}

static void end(SESSION* session, const char* why, int os_error)
{
    ASYNC_SOCKET_METRICS metrics = {0};
    /* Cannot fail: both are there. */
    (void)async_socket_get_metrics(session->socket, &metrics, sizeof metrics);
    printf("%s: %s%s%s, %" PRIu64 " bytes echoed\n", session->peer, why, os_error != 0 ? ": " : "",
           os_error != 0 ? strerror(os_error) : "", metrics.bytes_sent);
    fflush(stdout);
    /* Fails if it is being closed already. */
    (void)async_socket_close_async(session->socket, on_closed, session);
}

static void on_received(void* context, ASYNC_SOCKET_END_REASON why, int os_error, uint32_t bytes)
{
    SESSION* session = context;
    ASYNC_SOCKET_BUFFER out = {session->bytes, bytes};
    if (why == ASYNC_SOCKET_END_CLOSED) {
        return;
    }
    if (why != ASYNC_SOCKET_END_COMPLETED) {
        end(session, async_socket_end_reason_to_string(why), os_error);
    } else if (async_socket_send_async_within(session->socket, &out, 1, ASYNC_SOCKET_NO_TIME_LIMIT, on_sent, session,
                                              NULL) != ASYNC_SOCKET_SEND_SYNC_OK) {
        end(session, "cannot send", 0);
    }
}

static void receive(SESSION* session)
{
    ASYNC_SOCKET_BUFFER in = {session->bytes, BUFFER_BYTES};
    if (async_socket_receive_async_within(session->socket, &in, 1, ASYNC_SOCKET_NO_TIME_LIMIT, on_received, session,
                                          NULL) != 0) {
        end(session, "cannot receive", 0);
    }
}

static void on_sent(void* context, ASYNC_SOCKET_END_REASON why, int os_error, uint32_t bytes)
{
    (void)bytes;
    if (why == ASYNC_SOCKET_END_COMPLETED) {
        receive(context);
    } else if (why != ASYNC_SOCKET_END_CLOSED) {
        end(context, async_socket_end_reason_to_string(why), os_error);
    }
}

static void on_accept(void* context, ASYNC_SOCKET_ACCEPT_RESULT result, SOCKET_HANDLE fd, const char* peer, int os_error)
{
    SESSION* session;
    (void)context;
    if (result != ASYNC_SOCKET_ACCEPT_OK) {
        fprintf(stderr, "%s: %s\n", result == ASYNC_SOCKET_ACCEPT_PAUSED ? "clients wait" : "not accepted",
                strerror(os_error));
        return;
    }
    session = calloc(1, sizeof *session);
    if (session == NULL || (session->socket = async_socket_create_and_open(NULL, fd)) == NULL) {
        /* The descriptor is still ours. */
        close(fd);
        free(session);
        return;
    }
    snprintf(session->peer, sizeof session->peer, "%s", peer);
    session->next = sessions;
    if (sessions != NULL) {
        sessions->previous = session;
    }
    sessions = session;
    /* Without memory for the counts, the session goes on without them. */
    (void)async_socket_set_metrics(session->socket, 1);
    if (async_socket_set_idle_timeout(session->socket, idle_milliseconds) != 0) {
        end(session, "no idle time-out", 0);
        return;
    }
    receive(session);
}

/* The listener calls back no more, so no session is added. Each close takes its session from the list, at once or later. */
static void on_stopped(void* context)
{
    SESSION *session = sessions, *next;
    (void)context;
    stopped = true;
    if (session == NULL) {
        sem_post(&all_closed);
    }
    for (; session != NULL; session = next) {
        next = session->next;
        end(session, "closed by the server", 0);
    }
}

static void stop(void* listener)
{
    /* Cannot fail: the arguments are there, and this is the process of the listener. */
    (void)async_socket_listener_stop_async(listener, on_stopped, NULL);
}

int main(int argc, char** argv)
{
    const char* host = argc > 2 ? argv[1] : "127.0.0.1";
    uint16_t port = (uint16_t)(argc > 2 ? atoi(argv[2]) : 0);
    ASYNC_SOCKET_LISTENER_HANDLE listener;
    ASYNC_SOCKET_LISTENER_OPTIONS options;
    sigset_t signals;
    int signal_number;

    if (argc == 2 || argc > 4) {
        fprintf(stderr, "usage: %s [HOST PORT [IDLE_MILLISECONDS]]\n", argv[0]);
        return 2;
    }
    if (argc > 3) {
        idle_milliseconds = (uint32_t)atoi(argv[3]);
    }
    /* The main thread waits for these below. Every thread that starts from here on has them blocked. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    if (sem_init(&all_closed, 0, 0) != 0 || platform_init() != 0) {
        fprintf(stderr, "%s: cannot start\n", argv[0]);
        return EXIT_FAILURE;
    }
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.no_delay = 1;
    listener = async_socket_listener_start_with(host, port, &options, on_accept, NULL);
    if (listener == NULL) {
        perror(host);
        platform_deinit();
        return EXIT_FAILURE;
    }
    printf("%s:%d\n", host, async_socket_listener_get_port(listener));
    fflush(stdout);

    sigwait(&signals, &signal_number);
    while (platform_post(NULL, stop, listener) != 0) {
        /* There is no memory at the moment. */
        sleep(1);
    }
    while (sem_wait(&all_closed) != 0) {
    }
    async_socket_listener_destroy(listener);
    platform_deinit();
    return EXIT_SUCCESS;
}
