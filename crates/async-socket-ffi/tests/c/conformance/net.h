#ifndef CONFORMANCE_NET_H
#define CONFORMANCE_NET_H

#include "additions.h"

#include <sys/un.h>

/* ---- Listeners and connects ---- */

typedef struct ACCEPTED_TAG {
    SEEN seen;
    int socket;
    char peer[128];
} ACCEPTED;

static void on_accept(void* context, ASYNC_SOCKET_ACCEPT_RESULT result, SOCKET_HANDLE socket, const char* peer, int error)
{
    ACCEPTED* accepted = context;
    accepted->socket = socket;
    snprintf(accepted->peer, sizeof accepted->peer, "%s", peer == NULL ? "" : peer);
    note(&accepted->seen, (int)result, (uint32_t)error);
}

typedef struct CONNECTED_TAG {
    SEEN seen;
    ASYNC_SOCKET_HANDLE socket;
    char error[512];
} CONNECTED;

static void on_connected(void* context, ASYNC_SOCKET_CONNECT_RESULT result, ASYNC_SOCKET_HANDLE socket, const char* error)
{
    CONNECTED* connected = context;
    CHECK((result == ASYNC_SOCKET_CONNECT_OK) == (socket != NULL) && (socket == NULL) == (error != NULL));
    connected->socket = socket;
    snprintf(connected->error, sizeof connected->error, "%s", error == NULL ? "" : error);
    note(&connected->seen, (int)result, 0);
}

/* Sends from one open socket to the other. */
static void bytes_go(ASYNC_SOCKET_HANDLE from, ASYNC_SOCKET_HANDLE to)
{
    char out[] = "bytes", in[8] = {0};
    SEEN sent = NOTHING_SEEN, received = NOTHING_SEEN;
    CHECK(receive_within(to, in, 8, 60000, &received, NULL) == 0);
    CHECK(send_within(from, out, 5, 60000, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(&sent, ASYNC_SOCKET_END_COMPLETED);
    wait_for(&received, ASYNC_SOCKET_END_COMPLETED);
    CHECK(received.bytes == 5 && memcmp(in, out, 5) == 0);
}

/* A client and a server of a listener, over which bytes go both ways. */
static void serve_one(ASYNC_SOCKET_LISTENER_HANDLE listener, ACCEPTED* accepted, const char* host, const char* peer)
{
    CONNECTED connected = {NOTHING_SEEN, NULL, ""};
    uint16_t port = async_socket_listener_get_port(listener);
    CHECK(async_socket_connect_async(host, port, 60000, on_connected, &connected, NULL) == 0);
    wait_for(&connected.seen, ASYNC_SOCKET_CONNECT_OK);
    wait_for(&accepted->seen, ASYNC_SOCKET_ACCEPT_OK);
    CHECK(strncmp(accepted->peer, peer, strlen(peer)) == 0);
    ASYNC_SOCKET_HANDLE server = async_socket_create_and_open(NULL, accepted->socket);
    CHECK(server != NULL);
    bytes_go(connected.socket, server);
    bytes_go(server, connected.socket);
    async_socket_destroy(server);
    async_socket_destroy(connected.socket);
}

static void a_listener_and_a_connect_give_sockets_that_talk(void)
{
    static const char* const hosts[] = {"127.0.0.1", NULL, "::1"};
    static const char* const peers[] = {"127.0.0.1:", "[::ffff:127.0.0.1]:", "[::1]:"};
    for (int i = 0; i < 3; i++) {
        ACCEPTED accepted = {NOTHING_SEEN, -1, ""};
        ASYNC_SOCKET_LISTENER_HANDLE listener = async_socket_listener_start(hosts[i], 0, on_accept, &accepted);
        if (listener == NULL && i == 2) {
            /* There is no IPv6. */
            CHECK(errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT);
            continue;
        }
        CHECK(listener != NULL && async_socket_listener_get_port(listener) != 0);
        CHECK(async_socket_listener_resume(listener) != 0);
        if (hosts[i] == NULL) {
            /* Without IPv6 it listens on IPv4 alone. */
            serve_one(listener, &accepted, "127.0.0.1", "");
            CHECK(strstr(accepted.peer, "127.0.0.1") != NULL);
        } else {
            serve_one(listener, &accepted, hosts[i], peers[i]);
        }
        async_socket_listener_destroy(listener);
    }
}

static void a_listener_takes_a_descriptor_that_listens_or_leaves_it(void)
{
    char path[64];
    struct sockaddr_un address;
    SEEN stopped = NOTHING_SEEN;
    ACCEPTED accepted = {NOTHING_SEEN, -1, ""};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(path, sizeof path, "/tmp/async-socket-%d.sock", (int)getpid());
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, strlen(path));
    CHECK(bind(fd, (struct sockaddr*)&address, sizeof address) == 0);
    CHECK(async_socket_listener_start_on(fd, on_accept, &accepted) == NULL && errno == EINVAL && is_open(fd));
    CHECK(listen(fd, 8) == 0);
    ASYNC_SOCKET_LISTENER_HANDLE listener = async_socket_listener_start_on(fd, on_accept, &accepted);
    CHECK(listener != NULL && !is_open(fd));
    serve_one(listener, &accepted, path, "(unnamed)");

    /* Twice is not too often, and afterwards nobody is accepted. */
    CHECK(async_socket_listener_stop_async(listener, on_done, &stopped) == 0);
    CHECK(async_socket_listener_stop_async(listener, on_done, &stopped) == 0);
    wait_for_calls(&stopped, 2);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr*)&address, sizeof address) == -1 && errno == ECONNREFUSED);
    close(fd);
    async_socket_listener_destroy(listener);

    /* The library binds the path itself. */
    unlink(path);
    ACCEPTED again = {NOTHING_SEEN, -1, ""};
    listener = async_socket_listener_start(path, 0, on_accept, &again);
    CHECK(listener != NULL && async_socket_listener_get_port(listener) == 0);
    CHECK(async_socket_listener_start(path, 0, on_accept, &again) == NULL && errno == EADDRINUSE);
    CHECK(async_socket_listener_start("no address", 0, on_accept, &again) == NULL && errno == EINVAL);
    serve_one(listener, &again, path, "(unnamed)");
    async_socket_listener_destroy(listener);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr*)&address, sizeof address) == -1 && errno == ECONNREFUSED);
    close(fd);
    unlink(path);
}

static void then_end_the_listener(SEEN* seen)
{
    async_socket_listener_destroy(*(ASYNC_SOCKET_LISTENER_HANDLE*)seen->port);
}

static void a_listener_can_be_destroyed_in_its_callback(void)
{
    ACCEPTED accepted = {NOTHING_SEEN, -1, ""};
    ASYNC_SOCKET_LISTENER_HANDLE listener;
    CONNECTED connected = {NOTHING_SEEN, NULL, ""};
    accepted.seen.then = then_end_the_listener;
    accepted.seen.port = (COMPLETION_PORT_HANDLE)&listener;
    listener = async_socket_listener_start("127.0.0.1", 0, on_accept, &accepted);
    uint16_t port = async_socket_listener_get_port(listener);
    CHECK(async_socket_connect_async("127.0.0.1", port, 60000, on_connected, &connected, NULL) == 0);
    wait_for(&accepted.seen, ASYNC_SOCKET_ACCEPT_OK);
    wait_for(&connected.seen, ASYNC_SOCKET_CONNECT_OK);
    async_socket_destroy(connected.socket);
    close(accepted.socket);
}

static void a_connect_says_why_there_is_no_socket(void)
{
    CONNECTED refused = {NOTHING_SEEN, NULL, ""}, nowhere = {NOTHING_SEEN, NULL, ""}, late = {NOTHING_SEEN, NULL, ""};
    CONNECTED cancelled = {NOTHING_SEEN, NULL, ""};
    ASYNC_SOCKET_CONNECT_HANDLE handle = NULL;
    CHECK(async_socket_connect_async("127.0.0.1", 1, 60000, on_connected, &refused, NULL) == 0);
    wait_for(&refused.seen, ASYNC_SOCKET_CONNECT_REFUSED);
    CHECK(strstr(refused.error, "127.0.0.1:1") != NULL && strstr(refused.error, "refused") != NULL);
    CHECK(async_socket_connect_async("/no/such.sock", 0, 60000, on_connected, &nowhere, NULL) == 0);
    wait_for(&nowhere.seen, ASYNC_SOCKET_CONNECT_REFUSED);

    /* Nobody accepts, and the backlog of this Unix socket is full, so a connect takes until its end. */
    char path[64];
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), full = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(path, sizeof path, "/tmp/async-socket-full-%d.sock", (int)getpid());
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, strlen(path));
    CHECK(bind(fd, (struct sockaddr*)&address, sizeof address) == 0 && listen(fd, 0) == 0);
    CHECK(connect(full, (struct sockaddr*)&address, sizeof address) == 0);
    CHECK(async_socket_connect_async(path, 0, 30, on_connected, &late, NULL) == 0);
    wait_for(&late.seen, ASYNC_SOCKET_CONNECT_TIMED_OUT);
    CHECK(async_socket_connect_async(path, 0, ASYNC_SOCKET_NO_TIME_LIMIT, on_connected, &cancelled, &handle) == 0);
    CHECK(handle != NULL && calls_of(&cancelled.seen) == 0);
    async_socket_connect_cancel(handle);
    wait_for(&cancelled.seen, ASYNC_SOCKET_CONNECT_CANCELLED);
    close(full);
    close(fd);
    unlink(path);

    char too_long[256];
    memset(too_long, 'x', sizeof too_long);
    too_long[0] = '/';
    too_long[255] = 0;
    CHECK(async_socket_connect_async(too_long, 0, 1, on_connected, &late, &handle) != 0 && handle == NULL);
    CHECK(async_socket_connect_async("", 1, 1, on_connected, &late, NULL) != 0);
    CHECK(calls_of(&late.seen) == 1);
}

#endif /* CONFORMANCE_NET_H */
