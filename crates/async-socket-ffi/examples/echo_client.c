/*
 * A client for any echo server: echo_client PORT [CONNECTIONS [MESSAGES [BYTES]]], on 127.0.0.1.
 *
 * Each connection sends its message, receives it back, checks every byte and begins again.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <async_socket.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct CONNECTION_TAG {
    ASYNC_SOCKET_HANDLE socket;
    char* sent;
    char* received;
    uint32_t filled;
    long left;
} CONNECTION;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long running;
static long failed;
static uint32_t size = 64;

static void send_message(CONNECTION* connection);

static void end(int ok)
{
    pthread_mutex_lock(&lock);
    running--;
    failed += !ok;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_received(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes_received);

static void receive_rest(CONNECTION* connection)
{
    ASYNC_SOCKET_BUFFER rest = {connection->received + connection->filled, size - connection->filled};
    if (async_socket_receive_async(connection->socket, &rest, 1, on_received, connection) != 0) {
        end(0);
    }
}

static void on_received(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes_received)
{
    CONNECTION* connection = context;
    connection->filled += bytes_received;
    if (result != ASYNC_SOCKET_RECEIVE_OK) {
        end(0);
    } else if (connection->filled < size) {
        receive_rest(connection);
    } else if (memcmp(connection->sent, connection->received, size) != 0) {
        end(0);
    } else if (--connection->left == 0) {
        end(1);
    } else {
        send_message(connection);
    }
}

static void on_sent(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    if (result == ASYNC_SOCKET_SEND_OK) {
        receive_rest(context);
    } else {
        end(0);
    }
}

static void send_message(CONNECTION* connection)
{
    ASYNC_SOCKET_BUFFER message = {connection->sent, size};
    connection->filled = 0;
    if (async_socket_send_async(connection->socket, &message, 1, on_sent, connection) != ASYNC_SOCKET_SEND_SYNC_OK) {
        end(0);
    }
}

static void on_opened(void* context, ASYNC_SOCKET_OPEN_RESULT result)
{
    if (result == ASYNC_SOCKET_OPEN_OK) {
        send_message(context);
    } else {
        end(0);
    }
}

static ASYNC_SOCKET_HANDLE connected(uint16_t port)
{
    struct sockaddr_in address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (fd < 0 || connect(fd, (struct sockaddr*)&address, sizeof address) != 0) {
        perror("connect");
        exit(EXIT_FAILURE);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return async_socket_create(NULL, fd);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char** argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: echo_client PORT [CONNECTIONS [MESSAGES [BYTES]]]\n");
        return EXIT_FAILURE;
    }
    long count = argc > 2 ? atol(argv[2]) : 10;
    long messages = argc > 3 ? atol(argv[3]) : 1000;
    size = argc > 4 ? (uint32_t)atol(argv[4]) : 64;
    CONNECTION* connections = calloc((size_t)count, sizeof *connections);
    if (connections == NULL || platform_init() != 0) {
        return EXIT_FAILURE;
    }

    double start = now();
    running = count;
    for (long i = 0; i < count; i++) {
        CONNECTION* connection = &connections[i];
        connection->socket = connected((uint16_t)atoi(argv[1]));
        connection->sent = malloc(size);
        connection->received = malloc(size);
        connection->left = messages;
        if (connection->socket == NULL || connection->sent == NULL || connection->received == NULL) {
            return EXIT_FAILURE;
        }
        for (uint32_t byte = 0; byte < size; byte++) {
            connection->sent[byte] = (char)(byte * 31 + (uint32_t)i);
        }
        if (async_socket_open_async(connection->socket, on_opened, connection) != 0) {
            end(0);
        }
    }
    pthread_mutex_lock(&lock);
    while (running > 0) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    double seconds = now() - start;

    for (long i = 0; i < count; i++) {
        async_socket_destroy(connections[i].socket);
        free(connections[i].sent);
        free(connections[i].received);
    }
    free(connections);
    platform_deinit();
    printf("%ld messages of %u bytes, %.0f per second, %ld connections failed\n", count * messages, (unsigned)size,
           (double)(count * messages) / seconds, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
