#ifndef CONFORMANCE_SEEING_H
#define CONFORMANCE_SEEING_H

#include "net.h"

#include <netinet/tcp.h>

/* ---- Pools, metrics, addresses, options, and a descriptor that is given back ---- */

typedef struct POOLED_TAG {
    SEEN seen;
    ASYNC_SOCKET_POOLED_BUFFER buffer;
} POOLED;

static void on_pooled(void* context, ASYNC_SOCKET_END_REASON reason, int os_error, ASYNC_SOCKET_POOLED_BUFFER buffer)
{
    POOLED* pooled = context;
    CHECK((buffer.bytes != NULL) == (reason == ASYNC_SOCKET_END_COMPLETED) && os_error == 0);
    pooled->buffer = buffer;
    note(&pooled->seen, (int)reason, buffer.length);
}

static ASYNC_SOCKET_METRICS metrics_of(ASYNC_SOCKET_HANDLE socket)
{
    ASYNC_SOCKET_METRICS metrics;
    CHECK(async_socket_get_metrics(socket, &metrics, sizeof metrics) == 0);
    return metrics;
}

static void null_is_refused_by_what_shows_the_inside(void)
{
    ASYNC_SOCKET_METRICS metrics;
    ASYNC_SOCKET_LISTENER_OPTIONS options;
    char text[8];
    SEEN seen = NOTHING_SEEN;
    memset(&options, 0, sizeof options);
    CHECK(async_socket_release_descriptor(NULL) == INVALID_SOCKET);
    CHECK(async_socket_set_metrics(NULL, 1) != 0);
    CHECK(async_socket_get_metrics(NULL, &metrics, sizeof metrics) != 0);
    CHECK(async_socket_listener_get_metrics(NULL, NULL, 0) != 0);
    CHECK(async_socket_listener_set_metrics(NULL, 1) != 0);
    CHECK(async_socket_buffer_pool_get_metrics(NULL, NULL, 0) != 0);
    CHECK(completion_port_get_metrics(NULL, NULL, 0) != 0);
    CHECK(async_socket_get_local_address(NULL, text, sizeof text) != 0);
    CHECK(async_socket_get_peer_address(NULL, text, sizeof text) != 0);
    CHECK(async_socket_buffer_pool_create(0, 1) == NULL && async_socket_buffer_pool_create(1, 0) == NULL);
    CHECK(async_socket_receive_pooled_async(NULL, NULL, 1, on_pooled, &seen, NULL) != 0);
    async_socket_buffer_pool_destroy(NULL);
    async_socket_pooled_buffer_release(NULL);
    CHECK(async_socket_listener_start_with("127.0.0.1", 0, NULL, NULL, &seen) == NULL && errno == EINVAL);
    CHECK(async_socket_listener_start_with("127.0.0.1", 0, &options, on_accept, &seen) == NULL && errno == EINVAL);
    CHECK(calls_of(&seen) == 0);
}

static void receives_from_a_pool_hold_no_memory_while_they_wait(void)
{
    int fds[2];
    POOLED pooled = {NOTHING_SEEN, {NULL, 0, {NULL}}}, late = pooled;
    ASYNC_SOCKET_BUFFER_POOL_METRICS metrics;
    SEEN sent = NOTHING_SEEN;
    char echo[8] = {0};
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    ASYNC_SOCKET_BUFFER_POOL_HANDLE pool = async_socket_buffer_pool_create(64, 2);
    CHECK(pool != NULL);
    CHECK(async_socket_receive_pooled_async(socket, pool, 60000, on_pooled, &pooled, NULL) == 0);
    CHECK(async_socket_buffer_pool_get_metrics(pool, &metrics, sizeof metrics) == 0);
    CHECK(metrics.limit == 2 && metrics.buffers_made == 0);
    CHECK(write(fds[1], "hello", 5) == 5);
    wait_for(&pooled.seen, ASYNC_SOCKET_END_COMPLETED);
    CHECK(pooled.buffer.length == 5 && memcmp(pooled.buffer.bytes, "hello", 5) == 0);

    /* The same bytes go back, and then the buffer does. */
    CHECK(send_within(socket, pooled.buffer.bytes, pooled.buffer.length, 60000, &sent, NULL) ==
          ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(&sent, ASYNC_SOCKET_END_COMPLETED);
    CHECK(read(fds[1], echo, sizeof echo) == 5 && memcmp(echo, "hello", 5) == 0);
    async_socket_pooled_buffer_release(&pooled.buffer);
    async_socket_pooled_buffer_release(&pooled.buffer);
    CHECK(async_socket_buffer_pool_get_metrics(pool, &metrics, sizeof metrics) == 0);
    CHECK(metrics.buffers_made == 1 && metrics.buffers_free == 1);

    CHECK(async_socket_receive_pooled_async(socket, pool, 20, on_pooled, &late, NULL) == 0);
    async_socket_buffer_pool_destroy(pool);
    wait_for(&late.seen, ASYNC_SOCKET_END_TIMED_OUT);
    async_socket_destroy(socket);
    close(fds[1]);
}

static void a_socket_and_a_port_count_what_they_do(void)
{
    int fds[2];
    char byte = 'x';
    SEEN sent = NOTHING_SEEN, waits = NOTHING_SEEN, worked = NOTHING_SEEN;
    COMPLETION_PORT_METRICS of_port;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(metrics_of(socket).is_counting == 0);
    CHECK(async_socket_set_metrics(socket, 1) == 0);
    CHECK(send_within(socket, &byte, 1, 60000, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(receive_within(socket, &byte, 1, 60000, &waits, NULL) == 0);
    CHECK(metrics_of(socket).is_counting == 1 && metrics_of(socket).receives_waiting == 1);
    CHECK(metrics_of(socket).sends.completed == 1 && metrics_of(socket).bytes_sent == 1);
    async_socket_close(socket);
    CHECK(metrics_of(socket).receives.abandoned == 1 && metrics_of(socket).receives_waiting == 0);
    async_socket_destroy(socket);
    close(fds[1]);

    platform_set_metrics(1);
    COMPLETION_PORT_HANDLE port = completion_port_create();
    platform_set_metrics(0);
    CHECK(platform_post(port, on_done, &worked) == 0);
    wait_for_calls(&worked, 1);
    CHECK(completion_port_get_metrics(port, &of_port, sizeof of_port) == 0 && of_port.rounds > 0);
    completion_port_dec_ref(port);
    port = platform_get_completion_port();
    CHECK(completion_port_get_metrics(port, &of_port, sizeof of_port) != 0);
    completion_port_dec_ref(port);
}

static void a_program_of_another_header_gets_the_numbers_that_it_knows_and_zeros(void)
{
    enum { KNOWN = sizeof(ASYNC_SOCKET_METRICS) / sizeof(uint64_t), MORE = KNOWN + 2 };
    int fds[2];
    char byte;
    uint64_t numbers[MORE + 1];
    SEEN waits = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(receive_within(socket, &byte, 1, 60000, &waits, NULL) == 0);
    memset(numbers, 0xff, sizeof numbers);
    CHECK(async_socket_get_metrics(socket, (ASYNC_SOCKET_METRICS*)numbers, sizeof numbers[0]) == 0);
    CHECK(numbers[0] == 1 && numbers[1] == UINT64_MAX);
    CHECK(async_socket_get_metrics(socket, (ASYNC_SOCKET_METRICS*)numbers, MORE * sizeof numbers[0]) == 0);
    CHECK(numbers[0] == 1 && numbers[KNOWN] == 0 && numbers[KNOWN + 1] == 0 && numbers[MORE] == UINT64_MAX);
    async_socket_destroy(socket);
    close(fds[1]);
}

static void a_descriptor_is_given_back_when_nothing_waits(void)
{
    int fds[2];
    char byte;
    SEEN waits = NOTHING_SEEN;
    ASYNC_SOCKET_OPERATION_ID id;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(receive_within(socket, &byte, 1, 60000, &waits, &id) == 0);
    CHECK(async_socket_release_descriptor(socket) == INVALID_SOCKET);
    CHECK(async_socket_cancel(socket, id) == ASYNC_SOCKET_CANCEL_OK);
    CHECK(async_socket_release_descriptor(socket) == fds[0]);
    async_socket_destroy(socket);
    CHECK(write(fds[0], "x", 1) == 1 && read(fds[1], &byte, 1) == 1);
    close(fds[0]);
    close(fds[1]);
}

static int option_of(int socket, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    CHECK(getsockopt(socket, level, name, &value, &length) == 0);
    return value;
}

static void end_listener(ASYNC_SOCKET_LISTENER_HANDLE listener)
{
    CHECK(listener != NULL);
    async_socket_listener_destroy(listener);
}

static void refused_options(const ASYNC_SOCKET_LISTENER_OPTIONS* options, SEEN* never)
{
    errno = 0;
    CHECK(async_socket_listener_start_with("127.0.0.1", 0, options, on_accept, never) == NULL && errno == EINVAL);
}

static void options_of_another_header_are_taken_and_what_they_ask_for_in_vain_is_refused(void)
{
    struct {
        ASYNC_SOCKET_LISTENER_OPTIONS known;
        uint64_t unknown;
    } newer;
    /* The size, the port, and each of these with the number behind it. */
    static const size_t whole[] = {sizeof(size_t), 2 * sizeof(size_t), 2 * sizeof(size_t) + 4};
    static const size_t torn[] = {0, 1, sizeof(size_t) - 1, sizeof(size_t) + 1, 2 * sizeof(size_t) - 4,
        2 * sizeof(size_t) - 1, 2 * sizeof(size_t) + 1, 2 * sizeof(size_t) + 6};
    SEEN never = NOTHING_SEEN;
    memset(&newer, 0, sizeof newer);
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        newer.known.size = whole[i];
        end_listener(async_socket_listener_start_with("127.0.0.1", 0, &newer.known, on_accept, &never));
    }
    newer.known.size = sizeof newer;
    end_listener(async_socket_listener_start_with("127.0.0.1", 0, &newer.known, on_accept, &never));
    newer.known.size = sizeof newer - 1;
    end_listener(async_socket_listener_start_with("127.0.0.1", 0, &newer.known, on_accept, &never));
    newer.unknown = UINT64_MAX;
    refused_options(&newer.known, &never);
    newer.known.size = sizeof newer;
    refused_options(&newer.known, &never);
    newer.known.size = sizeof newer.known;
    newer.known.reserved = 1;
    refused_options(&newer.known, &never);
    newer.known.reserved = 0;

    /* The options end within the port or a number. */
    newer.known.completion_port = completion_port_create();
    for (size_t i = 0; i < sizeof torn / sizeof torn[0]; i++) {
        newer.known.size = torn[i];
        refused_options(&newer.known, &never);
    }
    completion_port_dec_ref(newer.known.completion_port);
    CHECK(calls_of(&never) == 0);
}

static void an_abstract_name_is_listened_on_and_connected_to(void)
{
    char name[64];
    ACCEPTED accepted = {NOTHING_SEEN, -1, ""};
    snprintf(name, sizeof name, "@async-socket-%d", (int)getpid());
    ASYNC_SOCKET_LISTENER_HANDLE listener = async_socket_listener_start(name, 0, on_accept, &accepted);
    CHECK(listener != NULL);
    serve_one(listener, &accepted, name, "(unnamed)");
    async_socket_listener_destroy(listener);
}

static void an_address_has_two_listeners_only_if_both_say_so(void)
{
    ASYNC_SOCKET_LISTENER_OPTIONS options;
    SEEN never = NOTHING_SEEN;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.reuse_port = 1;
    ASYNC_SOCKET_LISTENER_HANDLE first =
        async_socket_listener_start_with("127.0.0.1", 0, &options, on_accept, &never);
    CHECK(first != NULL);
    uint16_t port = async_socket_listener_get_port(first);
    end_listener(async_socket_listener_start_with("127.0.0.1", port, &options, on_accept, &never));
    CHECK(async_socket_listener_start_with("127.0.0.1", port, NULL, on_accept, &never) == NULL && errno == EADDRINUSE);
    async_socket_listener_destroy(first);
}

static void a_listener_has_options_and_sockets_say_their_addresses(void)
{
    ASYNC_SOCKET_LISTENER_OPTIONS options;
    ASYNC_SOCKET_LISTENER_METRICS metrics;
    ACCEPTED accepted = {NOTHING_SEEN, -1, ""};
    CONNECTED connected = {NOTHING_SEEN, NULL, ""};
    char local[512], peer[512], expected[64];
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.backlog = 16;
    options.reuse_port = 1;
    options.no_delay = 1;
    options.keep_alive_seconds = 33;
    options.keep_alive_interval_seconds = 4;
    options.keep_alive_probes = 5;
    options.user_timeout_milliseconds = 6000;
    options.send_buffer_bytes = 8192;
    options.receive_buffer_bytes = 8192;
    ASYNC_SOCKET_LISTENER_HANDLE listener =
        async_socket_listener_start_with("127.0.0.1", 0, &options, on_accept, &accepted);
    CHECK(listener != NULL && async_socket_listener_set_metrics(listener, 1) == 0);
    uint16_t port = async_socket_listener_get_port(listener);
    CHECK(async_socket_connect_async("127.0.0.1", port, 60000, on_connected, &connected, NULL) == 0);
    wait_for(&connected.seen, ASYNC_SOCKET_CONNECT_OK);
    wait_for(&accepted.seen, ASYNC_SOCKET_ACCEPT_OK);
    CHECK(option_of(accepted.socket, IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(option_of(accepted.socket, SOL_SOCKET, SO_KEEPALIVE) != 0);
    CHECK(option_of(accepted.socket, IPPROTO_TCP, TCP_KEEPIDLE) == 33);
    CHECK(option_of(accepted.socket, IPPROTO_TCP, TCP_KEEPINTVL) == 4);
    CHECK(option_of(accepted.socket, IPPROTO_TCP, TCP_KEEPCNT) == 5);
    CHECK(option_of(accepted.socket, IPPROTO_TCP, TCP_USER_TIMEOUT) == 6000);
    /* The kernel doubles what it is asked for. */
    CHECK(option_of(accepted.socket, SOL_SOCKET, SO_SNDBUF) == 16384);
    CHECK(option_of(accepted.socket, SOL_SOCKET, SO_RCVBUF) == 16384);
    CHECK(async_socket_get_local_address(connected.socket, local, sizeof local) == 0);
    CHECK(async_socket_get_peer_address(connected.socket, peer, sizeof peer) == 0);
    snprintf(expected, sizeof expected, "127.0.0.1:%d", (int)port);
    CHECK(strcmp(peer, expected) == 0 && strcmp(local, accepted.peer) == 0);
    CHECK(async_socket_get_peer_address(connected.socket, peer, strlen(expected)) != 0);
    CHECK(async_socket_listener_get_metrics(listener, &metrics, sizeof metrics) == 0);
    CHECK(metrics.accepted == 1 && metrics.is_accepting == 1 && metrics.pauses == 0);
    for (int tries = 0; metrics.longest_callback_nanoseconds == 0; tries++) {
        CHECK(tries < LIMIT * 1000);
        pause_ms(1);
        CHECK(async_socket_listener_get_metrics(listener, &metrics, sizeof metrics) == 0);
    }
    CHECK(async_socket_listener_set_metrics(listener, 0) == 0);
    CHECK(async_socket_listener_get_metrics(listener, &metrics, sizeof metrics) == 0);
    CHECK(metrics.longest_callback_nanoseconds == 0);
    async_socket_listener_destroy(listener);
    async_socket_destroy(connected.socket);
    close(accepted.socket);
}

#endif /* CONFORMANCE_SEEING_H */
