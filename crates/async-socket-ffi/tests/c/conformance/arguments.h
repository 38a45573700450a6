#ifndef CONFORMANCE_ARGUMENTS_H
#define CONFORMANCE_ARGUMENTS_H

#include "common.h"

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

#endif /* CONFORMANCE_ARGUMENTS_H */
