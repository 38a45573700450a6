#ifndef FORKS_IN_CALLBACKS_H
#define FORKS_IN_CALLBACKS_H

/* Callbacks that fork. */

#include "common.h"

static pid_t from_a_callback;
static int child_returns;

static void on_received_fork(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    pid_t child = fork();
    if (child == 0) {
        limit_child();
        if (!child_returns) {
            SEEN seen = { 0, 0, 0 };
            CHECK(send_text(shared, "child", &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
            async_socket_destroy(shared);
            whole_life();
            platform_deinit();
            _exit(0);
        }
        return;
    }
    from_a_callback = child;
    note(context, result, bytes);
}

/* Many sockets are readable, so that others follow in the same batch of events. */
static void fork_in_a_callback(void)
{
    enum { SOCKETS = 40 };
    ASYNC_SOCKET_HANDLE others[SOCKETS];
    SEEN seen[SOCKETS], forked = { 0, 0, 0 };
    int peers[SOCKETS], i, forker[2];
    char bytes[SOCKETS][4], byte[4];
    ASYNC_SOCKET_BUFFER buffer;
    ASYNC_SOCKET_HANDLE forking;
    begin();
    memset(seen, 0, sizeof seen);
    pair(forker);
    forking = open_socket(forker[0]);
    for (i = 0; i < SOCKETS; i++) {
        int both[2];
        pair(both);
        peers[i] = both[1];
        others[i] = open_socket(both[0]);
    }
    buffer.buffer = byte;
    buffer.length = sizeof byte;
    CHECK(async_socket_receive_async(forking, &buffer, 1, on_received_fork, &forked) == 0);
    for (i = 0; i < SOCKETS; i++) {
        CHECK(receive(others[i], bytes[i], sizeof bytes[i], &seen[i]) == 0);
    }
    CHECK(write(forker[1], "f", 1) == 1);
    for (i = 0; i < SOCKETS; i++) {
        CHECK(write(peers[i], "y", 1) == 1);
    }
    CHECK(comes(&forked));
    child_ends_well(from_a_callback);
    for (i = 0; i < SOCKETS; i++) {
        CHECK(comes(&seen[i]) && seen[i].bytes == 1);
        async_socket_destroy(others[i]);
    }
    async_socket_destroy(forking);
    parent_goes_on();
}

static int forks_when_abandoned;

static void on_abandoned_fork(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    if (!forks_when_abandoned++) {
        from_a_callback = fork();
        limit_child();
    }
    note(context, result, bytes);
}

/* Half-way through a close, the child inherits receives. Only the parent calls them back. */
static void fork_while_a_close_calls_back(void)
{
    SEEN seen = { 0, 0, 0 };
    ASYNC_SOCKET_BUFFER buffer;
    char bytes[4];
    int i;
    begin();
    buffer.buffer = bytes;
    buffer.length = sizeof bytes;
    for (i = 0; i < 3; i++) {
        CHECK(async_socket_receive_async(shared, &buffer, 1, on_abandoned_fork, &seen) == 0);
    }
    async_socket_destroy(shared);
    if (from_a_callback == 0) {
        CHECK(seen.calls == 1 && received.calls == 1);
        CHECK(!is_open(ends[0]));
        platform_deinit();
        _exit(0);
    }
    CHECK(seen.calls == 3 && received.calls == 1);
    child_ends_well(from_a_callback);
    platform_deinit();
}

#endif /* FORKS_IN_CALLBACKS_H */
