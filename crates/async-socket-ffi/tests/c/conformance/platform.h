#ifndef CONFORMANCE_PLATFORM_H
#define CONFORMANCE_PLATFORM_H

#include "common.h"

/* ---- The platform ---- */

static void the_platform_comes_and_goes_promptly_and_leaves_nothing(void)
{
    int threads = entries_of("/proc/self/task"), descriptors = entries_of("/proc/self/fd"), slow = 0;
    for (int round = 0; round < 20; round++) {
        CHECK(platform_init() == 0);
        int fds[2];
        tcp_pair(fds);
        ASYNC_SOCKET_HANDLE socket = opened(fds[0]);
        async_socket_destroy(socket);
        close(fds[1]);
        double start = now();
        platform_deinit();
        slow += now() - start >= 0.1;
        CHECK(platform_get_completion_port() == NULL);
    }
    /* A busy machine holds up some of the rounds. If no wake-up ended the thread, each would take up to a second. */
    CHECK(getenv("C_ABI_SLOW") != NULL || slow < 10);
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

#endif /* CONFORMANCE_PLATFORM_H */
