#ifndef FORKS_BEYOND_H
#define FORKS_BEYOND_H

/* Timers, listeners, connects, pools and metrics of the parent in the child. */

#include "common.h"
#include <stdbool.h>
#include <sys/un.h>

static void on_work(void* context) { note(context, 0, 0); }

static void on_accepted(void* context, ASYNC_SOCKET_ACCEPT_RESULT result, SOCKET_HANDLE socket, const char* peer, int error)
{
    (void)peer;
    (void)error;
    close(socket);
    note(context, result, 0);
}

static void on_connected(void* context, ASYNC_SOCKET_CONNECT_RESULT result, ASYNC_SOCKET_HANDLE socket, const char* error)
{
    (void)error;
    async_socket_destroy(socket);
    note(context, result, 0);
}

/* A Unix socket whose backlog is full, so a connect to it takes until it is cancelled. */
static int full_backlog(struct sockaddr_un* address, int* client)
{
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "/tmp/async-socket-fork-%d", (int)getpid());
    CHECK(bind(server, (struct sockaddr*)address, sizeof *address) == 0 && listen(server, 0) == 0);
    *client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(*client, (struct sockaddr*)address, sizeof *address) == 0);
    return server;
}

static void on_pooled(void* context, ASYNC_SOCKET_END_REASON reason, int error, ASYNC_SOCKET_POOLED_BUFFER buffer)
{
    (void)error;
    async_socket_pooled_buffer_release(&buffer);
    note(context, reason, 0);
}

/* A socket of the child's own platform takes nothing from a pool of the parent. */
static void child_refuses_the_pool(ASYNC_SOCKET_BUFFER_POOL_HANDLE pool, SEEN* none)
{
    int pair[2];
    ASYNC_SOCKET_HANDLE own;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    own = async_socket_create_and_open(NULL, pair[0]);
    CHECK(own != NULL);
    CHECK(async_socket_receive_pooled_async(own, pool, ASYNC_SOCKET_NO_TIME_LIMIT, on_pooled, none, NULL) != 0);
    async_socket_destroy(own);
    close(pair[1]);
    async_socket_buffer_pool_destroy(pool);
}

static void child_has_timers_listeners_and_connects(void)
{
    SEEN fired = { 0, 0, 0 }, accepted = { 0, 0, 0 }, connected = { 0, 0, 0 }, waits = { 0, 0, 0 };
    struct sockaddr_un address;
    int client, server;
    pid_t child;
    PLATFORM_TIMER_HANDLE timer;
    ASYNC_SOCKET_LISTENER_HANDLE listener;
    ASYNC_SOCKET_CONNECT_HANDLE connect_handle;
    ASYNC_SOCKET_OPERATION_ID id;
    ASYNC_SOCKET_BUFFER buffer = { memory, sizeof memory };
    ASYNC_SOCKET_METRICS metrics;
    ASYNC_SOCKET_BUFFER_POOL_HANDLE pool = async_socket_buffer_pool_create(16, 1);
    char text[64];
    begin();
    CHECK(async_socket_set_metrics(shared, 1) == 0);
    server = full_backlog(&address, &client);
    timer = platform_timer_start(NULL, 60000, on_work, &fired);
    listener = async_socket_listener_start("127.0.0.1", 0, on_accepted, &accepted);
    CHECK(timer != NULL && listener != NULL);
    CHECK(async_socket_connect_async(
              address.sun_path, 0, ASYNC_SOCKET_NO_TIME_LIMIT, on_connected, &waits, &connect_handle) == 0);
    child = fork();
    if (child == 0) {
        SEEN none = { 0, 0, 0 };
        limit_child();
        CHECK(platform_timer_reset(timer, 1) != 0 && platform_timer_cancel(timer) != 0);
        CHECK(async_socket_listener_resume(listener) != 0);
        CHECK(async_socket_listener_stop_async(listener, on_work, &none) != 0);
        async_socket_listener_destroy(listener);
        async_socket_connect_cancel(connect_handle);
        CHECK(platform_post(NULL, on_work, &none) != 0);
        CHECK(platform_timer_start(NULL, 1, on_work, &none) == NULL);
        CHECK(async_socket_listener_start("127.0.0.1", 0, on_accepted, &none) == NULL);
        CHECK(async_socket_connect_async("127.0.0.1", 1, 1, on_connected, &none, NULL) != 0);
        CHECK(async_socket_close_async(shared, on_work, &none) != 0);
        CHECK(async_socket_receive_async_within(shared, &buffer, 1, 1, NULL, &none, &id) != 0 && id == 0);
        CHECK(async_socket_get_descriptor(shared) == INVALID_SOCKET && async_socket_set_idle_timeout(shared, 1) != 0);
        CHECK(async_socket_release_descriptor(shared) == INVALID_SOCKET);
        CHECK(async_socket_get_peer_address(shared, text, sizeof text) != 0);
        CHECK(async_socket_get_metrics(shared, &metrics, sizeof metrics) == 0);
        CHECK(calls(&none) == 0 && calls(&fired) == 0 && calls(&waits) == 0 && calls(&accepted) == 0);
        CHECK(platform_init() == 0);
        child_refuses_the_pool(pool, &none);
        CHECK(calls(&none) == 0);
        CHECK(platform_post(NULL, on_work, &none) == 0 && comes(&none));
        platform_deinit();
        _exit(0);
    }
    child_ends_well(child);
    CHECK(calls(&waits) == 0);
    CHECK(async_socket_connect_async(
              "127.0.0.1", async_socket_listener_get_port(listener), 60000, on_connected, &connected, NULL) == 0);
    CHECK(comes(&connected) && connected.result == ASYNC_SOCKET_CONNECT_OK);
    CHECK(comes(&accepted) && accepted.result == ASYNC_SOCKET_ACCEPT_OK);
    async_socket_buffer_pool_destroy(pool);
    async_socket_listener_destroy(listener);
    CHECK(platform_timer_reset(timer, 1) == 0 && comes(&fired) && platform_timer_cancel(timer) != 0);
    async_socket_connect_cancel(connect_handle);
    CHECK(calls(&waits) == 1 && waits.result == ASYNC_SOCKET_CONNECT_CANCELLED);
    unlink(address.sun_path);
    CHECK(close(client) == 0 && close(server) == 0);
    parent_goes_on();
}

#endif /* FORKS_BEYOND_H */
