#ifndef CONFORMANCE_OPERATIONS_H
#define CONFORMANCE_OPERATIONS_H

#include "common.h"

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

#endif /* CONFORMANCE_OPERATIONS_H */
