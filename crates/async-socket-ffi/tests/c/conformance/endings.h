#ifndef CONFORMANCE_ENDINGS_H
#define CONFORMANCE_ENDINGS_H

#include "common.h"

/* ---- Close and destroy inside callbacks ---- */

static void then_close(SEEN* seen)
{
    async_socket_close(seen->socket);
}

static void then_destroy(SEEN* seen)
{
    async_socket_destroy(seen->socket);
}

static void then_close_and_destroy(SEEN* seen)
{
    async_socket_close(seen->socket);
    async_socket_destroy(seen->socket);
}

static void (*const endings[])(SEEN*) = {then_close, then_destroy, then_close_and_destroy};
enum { ENDINGS = sizeof endings / sizeof endings[0] };

static void finish(SEEN* seen, int fds[2])
{
    CHECK(!is_open(fds[0]));
    if (seen->then == then_close) {
        async_socket_destroy(seen->socket);
    }
    close(fds[1]);
}

static void every_callback_may_close_and_destroy_its_socket(void)
{
    for (int ending = 0; ending < ENDINGS; ending++) {
        int fds[2];
        char in[8] = {0}, *big = calloc(1, 8 << 20);
        ASYNC_SOCKET_BUFFER small = {in, sizeof in}, whole = {big, 8 << 20};
        CHECK(big != NULL);

        SEEN open = NOTHING_SEEN;
        tcp_pair(fds);
        open.then = endings[ending];
        open.socket = async_socket_create(NULL, fds[0]);
        CHECK(async_socket_open_async(open.socket, on_open, &open) == 0);
        wait_for(&open, ASYNC_SOCKET_OPEN_OK);
        finish(&open, fds);

        SEEN sent = NOTHING_SEEN;
        tcp_pair(fds);
        sent.then = endings[ending];
        sent.socket = opened(fds[0]);
        CHECK(async_socket_send_async(sent.socket, &small, 1, on_send, &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
        wait_for(&sent, ASYNC_SOCKET_SEND_OK);
        finish(&sent, fds);

        SEEN later = NOTHING_SEEN;
        tcp_pair(fds);
        later.then = endings[ending];
        later.socket = opened(fds[0]);
        CHECK(async_socket_send_async(later.socket, &whole, 1, on_send, &later) == ASYNC_SOCKET_SEND_SYNC_OK);
        for (size_t length = 0; length < 8 << 20;) {
            static char scratch[1 << 16];
            ssize_t bytes = read(fds[1], scratch, sizeof scratch);
            CHECK(bytes > 0);
            length += (size_t)bytes;
        }
        wait_for(&later, ASYNC_SOCKET_SEND_OK);
        finish(&later, fds);

        /* The first receive ends the socket; the second is abandoned by that. */
        SEEN received = NOTHING_SEEN, abandoned = NOTHING_SEEN;
        tcp_pair(fds);
        received.then = endings[ending];
        received.socket = opened(fds[0]);
        CHECK(async_socket_receive_async(received.socket, &small, 1, on_receive, &received) == 0);
        CHECK(async_socket_receive_async(received.socket, &small, 1, on_receive, &abandoned) == 0);
        CHECK(write(fds[1], "x", 1) == 1);
        wait_for(&received, ASYNC_SOCKET_RECEIVE_OK);
        wait_for(&abandoned, ASYNC_SOCKET_RECEIVE_ABANDONED);
        finish(&received, fds);

        free(big);
    }
}

static void* close_it(void* context)
{
    async_socket_close(((SEEN*)context)->socket);
    return NULL;
}

/* Returns when another thread is closing the socket, which then refuses sends. */
static void wait_until_closing(ASYNC_SOCKET_HANDLE socket)
{
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    SEEN sent = NOTHING_SEEN;
    for (int waited = 0; async_socket_send_async(socket, &buffer, 1, on_send, &sent) != ASYNC_SOCKET_SEND_SYNC_ABANDONED;
         waited++) {
        CHECK(waited < LIMIT * 1000);
        pause_ms(1);
    }
}

/* The callback is held until the gate opens, so destroy returns only after that. */
static void destroy_while_the_gate_is_shut(SEEN* held, int gate)
{
    pthread_t opener;
    CHECK(calls_of(held) == 0);
    CHECK(pthread_create(&opener, NULL, open_the_gate_later, &gate) == 0);
    async_socket_destroy(held->socket);
    CHECK(calls_of(held) == 1);
    CHECK(pthread_join(opener, NULL) == 0);
}

static void destroy_waits_while_another_thread_closes(void)
{
    int fds[2], gate[2];
    char in[8];
    ASYNC_SOCKET_BUFFER buffer = {in, sizeof in};
    SEEN held = NOTHING_SEEN;
    pthread_t closer;
    tcp_pair(fds);
    unix_pair(gate);
    CHECK(fcntl(gate[0], F_SETFL, 0) == 0);
    held.then = then_hold;
    held.fd = gate[0];
    held.socket = opened(fds[0]);
    CHECK(async_socket_receive_async(held.socket, &buffer, 1, on_receive, &held) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_until_begun(&held);
    /* The close waits for the callback, which is held, and destroy waits for both. */
    CHECK(pthread_create(&closer, NULL, close_it, &held) == 0);
    wait_until_closing(held.socket);
    CHECK(is_open(fds[0]));
    destroy_while_the_gate_is_shut(&held, gate[1]);
    CHECK(!is_open(fds[0]));
    CHECK(pthread_join(closer, NULL) == 0);
    close(fds[1]);
    close(gate[0]);
    close(gate[1]);
}

static void* open_it(void* context)
{
    CHECK(async_socket_open_async(((SEEN*)context)->socket, on_open, context) == 0);
    return NULL;
}

static void destroy_waits_for_the_callback_of_an_open_on_another_thread(void)
{
    int fds[2], gate[2];
    SEEN held = NOTHING_SEEN;
    pthread_t opener;
    tcp_pair(fds);
    unix_pair(gate);
    CHECK(fcntl(gate[0], F_SETFL, 0) == 0);
    held.then = then_hold;
    held.fd = gate[0];
    held.socket = async_socket_create(NULL, fds[0]);
    CHECK(pthread_create(&opener, NULL, open_it, &held) == 0);
    wait_until_begun(&held);
    destroy_while_the_gate_is_shut(&held, gate[1]);
    CHECK(held.results[0] == ASYNC_SOCKET_OPEN_OK);
    CHECK(!is_open(fds[0]));
    CHECK(pthread_join(opener, NULL) == 0);
    close(fds[1]);
    close(gate[0]);
    close(gate[1]);
}

/* A session whose operations are pending when one of their callbacks destroys the socket and frees the session. */
typedef struct SESSION_TAG {
    ASYNC_SOCKET_HANDLE socket;
    int others;
    bool is_over;
    SEEN* seen;
} SESSION;

static void receive_ends_the_session(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    SESSION* session = context;
    SEEN* seen = session->seen;
    CHECK(result == ASYNC_SOCKET_RECEIVE_ABANDONED && bytes == 0);
    CHECK(session->others == 0);
    async_socket_destroy(session->socket);
    CHECK(session->others == 2);
    session->is_over = true;
    note(seen, (int)result, bytes);
}

static void another_receive(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    SESSION* session = context;
    CHECK(result == ASYNC_SOCKET_RECEIVE_ABANDONED && bytes == 0);
    CHECK(!session->is_over);
    session->others++;
}

static void another_send(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    SESSION* session = context;
    CHECK(result == ASYNC_SOCKET_SEND_ABANDONED);
    CHECK(!session->is_over);
    session->others++;
}

static void* close_the_session(void* context)
{
    async_socket_close(((SESSION*)context)->socket);
    return NULL;
}

/* The close is the program's, on its main thread or another. It has more to abandon when the first callback destroys. */
static void the_abandoned_callback_of_a_plain_threads_close_may_destroy(void)
{
    for (int on_another_thread = 0; on_another_thread < 2; on_another_thread++) {
        int fds[2];
        char in[8], *big = calloc(1, 8 << 20);
        SEEN ended = NOTHING_SEEN;
        SESSION session = {NULL, 0, false, &ended};
        ASYNC_SOCKET_BUFFER small = {in, sizeof in}, whole = {big, 8 << 20};
        CHECK(big != NULL);
        tcp_pair(fds);
        session.socket = opened(fds[0]);
        CHECK(async_socket_receive_async(session.socket, &small, 1, receive_ends_the_session, &session) == 0);
        CHECK(async_socket_receive_async(session.socket, &small, 1, another_receive, &session) == 0);
        CHECK(async_socket_send_async(session.socket, &whole, 1, another_send, &session) == ASYNC_SOCKET_SEND_SYNC_OK);
        if (on_another_thread) {
            pthread_t closer;
            CHECK(pthread_create(&closer, NULL, close_the_session, &session) == 0);
            CHECK(pthread_join(closer, NULL) == 0);
        } else {
            close_the_session(&session);
        }
        CHECK(calls_of(&ended) == 1 && session.others == 2);
        CHECK(!is_open(fds[0]));
        close(fds[1]);
        free(big);
    }
}

/* Plain threads that send, each send with a claim, while another closes. */
typedef struct SENDERS_TAG {
    pthread_mutex_t lock;
    ASYNC_SOCKET_HANDLE socket;
    int accepted;
    int called;
} SENDERS;

static void count_a_send(void* context, ASYNC_SOCKET_SEND_RESULT result)
{
    SENDERS* senders = context;
    CHECK(result == ASYNC_SOCKET_SEND_OK || result == ASYNC_SOCKET_SEND_ABANDONED);
    pthread_mutex_lock(&senders->lock);
    senders->called++;
    pthread_mutex_unlock(&senders->lock);
}

static void* send_until_closed(void* context)
{
    SENDERS* senders = context;
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1};
    ASYNC_SOCKET_SEND_SYNC_RESULT result;
    do {
        result = async_socket_send_async(senders->socket, &buffer, 1, count_a_send, senders);
        if (result == ASYNC_SOCKET_SEND_SYNC_OK) {
            pthread_mutex_lock(&senders->lock);
            senders->accepted++;
            pthread_mutex_unlock(&senders->lock);
        }
    } while (result == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(result == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    return NULL;
}

static void close_abandons_nothing_twice_while_plain_threads_send(void)
{
    for (int round = 0; round < 20; round++) {
        int fds[2];
        pthread_t reader, sending[2];
        SENDERS senders = {PTHREAD_MUTEX_INITIALIZER, NULL, 0, 0};
        tcp_pair(fds);
        senders.socket = opened(fds[0]);
        CHECK(pthread_create(&reader, NULL, read_all, &fds[1]) == 0);
        for (int i = 0; i < 2; i++) {
            CHECK(pthread_create(&sending[i], NULL, send_until_closed, &senders) == 0);
        }
        pause_ms(1);
        async_socket_close(senders.socket);
        for (int i = 0; i < 2; i++) {
            CHECK(pthread_join(sending[i], NULL) == 0);
        }
        async_socket_destroy(senders.socket);
        CHECK(senders.called == senders.accepted);
        CHECK(pthread_join(reader, NULL) == 0);
        close(fds[1]);
    }
}

#endif /* CONFORMANCE_ENDINGS_H */
