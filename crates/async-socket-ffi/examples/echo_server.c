/*
 * An echo server on async_socket: echo_server [PORT]. Ends on Ctrl-C.
 *
 * A connection has one buffer, and always either receives into it or sends from it. It is used only in its callbacks, which run
 * one at a time, so it needs no lock. The list of connections needs one.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <async_socket.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 * 1024 };

typedef struct CONNECTION_TAG {
    ASYNC_SOCKET_HANDLE socket;
    struct CONNECTION_TAG* previous;
    struct CONNECTION_TAG* next;
    char bytes[BUFFER_BYTES];
} CONNECTION;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CONNECTION* connections;
static bool stopping;
static int listener;

static void on_sent(void* context, ASYNC_SOCKET_SEND_RESULT result);
static void on_received(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes_received);

/* Ends a connection. The thread that takes it from the list frees it. */
static void end(CONNECTION* connection)
{
    pthread_mutex_lock(&lock);
    bool is_ours = !stopping;
    if (is_ours) {
        if (connection->previous != NULL) {
            connection->previous->next = connection->next;
        } else {
            connections = connection->next;
        }
        if (connection->next != NULL) {
            connection->next->previous = connection->previous;
        }
    }
    pthread_mutex_unlock(&lock);
    if (is_ours) {
        /* Allowed inside the socket's own callbacks. */
        async_socket_destroy(connection->socket);
        free(connection);
    }
}

static void receive(CONNECTION* connection)
{
    ASYNC_SOCKET_BUFFER buffer = {connection->bytes, BUFFER_BYTES};
    if (async_socket_receive_async(connection->socket, &buffer, 1, on_received, connection) != 0) {
        end(connection);
    }
}

static void on_received(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes_received)
{
    CONNECTION* connection = context;
    ASYNC_SOCKET_BUFFER buffer = {connection->bytes, bytes_received};
    if (result != ASYNC_SOCKET_RECEIVE_OK) {
        end(connection);
    } else if (async_socket_send_async(connection->socket, &buffer, 1, on_sent, connection) !=
               ASYNC_SOCKET_SEND_SYNC_OK) {
        /* on_sent runs only after OK. */
        end(connection);
    }
}

static void on_sent(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    if (result == ASYNC_SOCKET_SEND_OK) {
        receive(context);
    } else {
        end(context);
    }
}

static void on_opened(void* context, ASYNC_SOCKET_OPEN_RESULT result)
{
    (void)context;
    (void)result;
}

static void serve(int fd)
{
    int on = 1;
    CONNECTION* connection = malloc(sizeof *connection);
    if (connection == NULL) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    connection->socket = async_socket_create(NULL, fd);
    if (connection->socket == NULL) {
        /* The descriptor is still ours. */
        close(fd);
        free(connection);
        return;
    }
    if (async_socket_open_async(connection->socket, on_opened, NULL) != 0) {
        async_socket_destroy(connection->socket);
        free(connection);
        return;
    }
    pthread_mutex_lock(&lock);
    connection->previous = NULL;
    connection->next = connections;
    if (connections != NULL) {
        connections->previous = connection;
    }
    connections = connection;
    pthread_mutex_unlock(&lock);
    receive(connection);
}

static void* accept_all(void* context)
{
    (void)context;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        serve(fd);
    }
}

static int fail(const char* what)
{
    perror(what);
    return EXIT_FAILURE;
}

int main(int argc, char** argv)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    pthread_t accepting;
    sigset_t signals;
    int on = 1, signal_number;

    /* The main thread waits for these below. Every thread that starts from here on has them blocked. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, SOMAXCONN) != 0 ||
        getsockname(listener, (struct sockaddr*)&address, &length) != 0) {
        return fail("listen");
    }
    if (platform_init() != 0) {
        fprintf(stderr, "platform_init failed\n");
        return EXIT_FAILURE;
    }
    if (pthread_create(&accepting, NULL, accept_all, NULL) != 0) {
        return fail("pthread_create");
    }
    printf("127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    sigwait(&signals, &signal_number);
    shutdown(listener, SHUT_RDWR);
    pthread_join(accepting, NULL);
    close(listener);

    pthread_mutex_lock(&lock);
    stopping = true;
    pthread_mutex_unlock(&lock);
    /* From here on no callback touches the list. Destroy waits for those that run. */
    while (connections != NULL) {
        CONNECTION* connection = connections;
        connections = connection->next;
        async_socket_destroy(connection->socket);
        free(connection);
    }
    platform_deinit();
    return EXIT_SUCCESS;
}
