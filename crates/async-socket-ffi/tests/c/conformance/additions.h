#ifndef CONFORMANCE_ADDITIONS_H
#define CONFORMANCE_ADDITIONS_H

#include "endings.h"

/* ---- Operations with a name, a time limit and a reason; work and timers ---- */

/* Notes the reason as the result, and the errno in `fd`. */
static void on_ended(void* context, ASYNC_SOCKET_END_REASON reason, int os_error, uint32_t bytes)
{
    ((SEEN*)context)->fd = os_error;
    note(context, (int)reason, bytes);
}

static void on_done(void* context)
{
    note(context, 1, 0);
}

static ASYNC_SOCKET_HANDLE open_tcp(int fds[2])
{
    tcp_pair(fds);
    ASYNC_SOCKET_HANDLE socket = async_socket_create_and_open(NULL, fds[0]);
    CHECK(socket != NULL);
    return socket;
}

static int receive_within(ASYNC_SOCKET_HANDLE socket, char* bytes, uint32_t length, uint32_t within, SEEN* seen,
                          ASYNC_SOCKET_OPERATION_ID* id)
{
    ASYNC_SOCKET_BUFFER buffer = {bytes, length};
    return async_socket_receive_async_within(socket, &buffer, 1, within, on_ended, seen, id);
}

static ASYNC_SOCKET_SEND_SYNC_RESULT send_within(ASYNC_SOCKET_HANDLE socket, char* bytes, uint32_t length,
                                                 uint32_t within, SEEN* seen, ASYNC_SOCKET_OPERATION_ID* id)
{
    ASYNC_SOCKET_BUFFER buffer = {bytes, length};
    return async_socket_send_async_within(socket, &buffer, 1, within, on_ended, seen, id);
}

static void null_and_zero_are_refused_by_what_goes_beyond_the_specification(void)
{
    int fds[2];
    char byte = 'x';
    ASYNC_SOCKET_BUFFER buffer = {&byte, 1}, empty = {&byte, 0};
    ASYNC_SOCKET_OPERATION_ID id = 7;
    ASYNC_SOCKET_CONNECT_HANDLE connect = (ASYNC_SOCKET_CONNECT_HANDLE)&byte;
    SEEN seen = NOTHING_SEEN;

    CHECK(async_socket_create_and_open(NULL, INVALID_SOCKET) == NULL);
    CHECK(async_socket_send_async_within(NULL, &buffer, 1, 1, on_ended, &seen, &id) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(id == 0);
    CHECK(async_socket_receive_async_within(NULL, &buffer, 1, 1, on_ended, &seen, NULL) != 0);
    CHECK(async_socket_shutdown_async(NULL, on_ended, &seen, NULL) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_cancel(NULL, 1) == ASYNC_SOCKET_CANCEL_ERROR);
    CHECK(async_socket_close_async(NULL, on_done, &seen) != 0);
    CHECK(async_socket_set_idle_timeout(NULL, 1) != 0 && async_socket_set_high_water_mark(NULL, 1) != 0);
    CHECK(async_socket_queued_bytes(NULL) == 0 && async_socket_get_descriptor(NULL) == INVALID_SOCKET);
    CHECK(platform_post(NULL, NULL, &seen) != 0 && platform_timer_start(NULL, 1, NULL, &seen) == NULL);
    CHECK(platform_timer_reset(NULL, 1) != 0 && platform_timer_cancel(NULL) != 0);
    CHECK(async_socket_listener_start("127.0.0.1", 0, NULL, &seen) == NULL && errno == EINVAL);
    CHECK(async_socket_listener_start_on(INVALID_SOCKET, NULL, &seen) == NULL && errno == EBADF);
    CHECK(async_socket_listener_stop_async(NULL, on_done, &seen) != 0);
    CHECK(async_socket_listener_resume(NULL) != 0 && async_socket_listener_get_port(NULL) == 0);
    async_socket_listener_destroy(NULL);
    CHECK(async_socket_connect_async(NULL, 1, 1, NULL, &seen, &connect) != 0 && connect == NULL);
    CHECK(async_socket_connect_async("127.0.0.1", 1, 1, NULL, &seen, NULL) != 0);
    async_socket_connect_cancel(NULL);

    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(async_socket_send_async_within(socket, NULL, 1, 1, on_ended, &seen, NULL) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async_within(socket, &empty, 1, 1, on_ended, &seen, NULL) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_send_async_within(socket, &buffer, 1, 1, NULL, &seen, NULL) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_receive_async_within(socket, &buffer, 0, 1, on_ended, &seen, NULL) != 0);
    CHECK(async_socket_receive_async_within(socket, &buffer, 1, 1, NULL, &seen, NULL) != 0);
    CHECK(async_socket_shutdown_async(socket, NULL, &seen, NULL) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_cancel(socket, 0) == ASYNC_SOCKET_CANCEL_ERROR);
    CHECK(async_socket_close_async(socket, NULL, &seen) != 0);
    async_socket_destroy(socket);
    close(fds[1]);
    CHECK(calls_of(&seen) == 0);
}

static void a_socket_is_created_and_opened_in_one_call_or_the_descriptor_stays_the_callers(void)
{
    int fds[2], pipe_fds[2];
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(async_socket_get_descriptor(socket) == fds[0]);
    async_socket_close(socket);
    CHECK(async_socket_get_descriptor(socket) == INVALID_SOCKET);
    async_socket_destroy(socket);
    close(fds[1]);
    CHECK(pipe(pipe_fds) == 0);
    CHECK(async_socket_create_and_open(NULL, pipe_fds[0]) == NULL);
    CHECK(close(pipe_fds[0]) == 0 && close(pipe_fds[1]) == 0);
}

static void an_operation_says_why_it_ended(void)
{
    int fds[2];
    char bytes[8] = {0};
    ASYNC_SOCKET_OPERATION_ID id = 0;
    SEEN received = NOTHING_SEEN, finished = NOTHING_SEEN, sent = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(receive_within(socket, bytes, 8, ASYNC_SOCKET_NO_TIME_LIMIT, &received, &id) == 0 && id != 0);
    CHECK(write(fds[1], "four", 4) == 4);
    wait_for(&received, ASYNC_SOCKET_END_COMPLETED);
    CHECK(received.bytes == 4 && memcmp(bytes, "four", 4) == 0);
    CHECK(send_within(socket, bytes, 4, ASYNC_SOCKET_NO_TIME_LIMIT, &sent, &id) == ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(&sent, ASYNC_SOCKET_END_COMPLETED);
    CHECK(sent.bytes == 4 && id == 0);
    CHECK(shutdown(fds[1], SHUT_WR) == 0);
    CHECK(receive_within(socket, bytes, 8, ASYNC_SOCKET_NO_TIME_LIMIT, &finished, NULL) == 0);
    wait_for(&finished, ASYNC_SOCKET_END_PEER_FINISHED);
    async_socket_destroy(socket);
    close(fds[1]);

    SEEN reset = NOTHING_SEEN, closed = NOTHING_SEEN;
    struct linger at_once = {1, 0};
    socket = open_tcp(fds);
    CHECK(receive_within(socket, bytes, 8, ASYNC_SOCKET_NO_TIME_LIMIT, &reset, NULL) == 0);
    CHECK(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0 && close(fds[1]) == 0);
    wait_for(&reset, ASYNC_SOCKET_END_PEER_RESET);
    CHECK(reset.fd == ECONNRESET && reset.bytes == 0);
    async_socket_destroy(socket);

    socket = open_tcp(fds);
    CHECK(receive_within(socket, bytes, 8, ASYNC_SOCKET_NO_TIME_LIMIT, &closed, NULL) == 0);
    async_socket_destroy(socket);
    wait_for(&closed, ASYNC_SOCKET_END_CLOSED);
    close(fds[1]);

    static const ASYNC_SOCKET_END_REASON reasons[] = {ASYNC_SOCKET_END_REASON_VALUES};
    CHECK(sizeof reasons / sizeof reasons[0] == 8 && reasons[7] == ASYNC_SOCKET_END_OS_ERROR);
    CHECK(strcmp(async_socket_end_reason_to_string(reasons[5]), "ASYNC_SOCKET_END_TIMED_OUT") == 0);
    CHECK(strcmp(async_socket_end_reason_to_string((ASYNC_SOCKET_END_REASON)9), "UNKNOWN") == 0);
}

static void an_operation_that_waits_can_be_cancelled_and_the_socket_goes_on(void)
{
    int fds[2];
    char bytes[8] = {0};
    ASYNC_SOCKET_OPERATION_ID first = 0, second = 0, much = 0;
    SEEN cancelled = NOTHING_SEEN, received = NOTHING_SEEN, sent = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(receive_within(socket, bytes, 4, ASYNC_SOCKET_NO_TIME_LIMIT, &cancelled, &first) == 0);
    CHECK(receive_within(socket, bytes, 4, ASYNC_SOCKET_NO_TIME_LIMIT, &received, &second) == 0);
    CHECK(async_socket_cancel(socket, first) == ASYNC_SOCKET_CANCEL_OK);
    wait_for(&cancelled, ASYNC_SOCKET_END_CANCELLED);
    CHECK(async_socket_cancel(socket, first) == ASYNC_SOCKET_CANCEL_NOT_WAITING);
    CHECK(write(fds[1], "four", 4) == 4);
    wait_for(&received, ASYNC_SOCKET_END_COMPLETED);
    CHECK(received.bytes == 4);

    /* Bytes of it have gone out, so it goes on. */
    char* big = calloc(1, 8 << 20);
    CHECK(send_within(socket, big, 8 << 20, ASYNC_SOCKET_NO_TIME_LIMIT, &sent, &much) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(much != 0 && async_socket_cancel(socket, much) == ASYNC_SOCKET_CANCEL_STARTED);
    CHECK(calls_of(&sent) == 0);
    async_socket_destroy(socket);
    wait_for(&sent, ASYNC_SOCKET_END_CLOSED);
    free(big);
    close(fds[1]);
}

static void what_takes_too_long_times_out(void)
{
    int fds[2];
    char bytes[8] = {0};
    SEEN late = NOTHING_SEEN, idle = NOTHING_SEEN, received = NOTHING_SEEN, sent = NOTHING_SEEN;
    SEEN unhurried = NOTHING_SEEN, behind = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    double began = now();
    CHECK(receive_within(socket, bytes, 4, 20, &late, NULL) == 0);
    wait_for(&late, ASYNC_SOCKET_END_TIMED_OUT);
    CHECK(now() - began >= 0.020 && late.bytes == 0);
    CHECK(write(fds[1], "four", 4) == 4);
    CHECK(receive_within(socket, bytes, 4, 60000, &received, NULL) == 0);
    wait_for(&received, ASYNC_SOCKET_END_COMPLETED);

    CHECK(async_socket_set_idle_timeout(socket, 40) == 0);
    began = now();
    CHECK(receive_within(socket, bytes, 4, ASYNC_SOCKET_NO_TIME_LIMIT, &idle, NULL) == 0);
    wait_for(&idle, ASYNC_SOCKET_END_TIMED_OUT);
    CHECK(now() - began >= 0.040);

    /* 0 is no time-out. */
    CHECK(async_socket_set_idle_timeout(socket, 0) == 0);
    CHECK(receive_within(socket, bytes, 4, ASYNC_SOCKET_NO_TIME_LIMIT, &unhurried, NULL) == 0);
    pause_ms(80);
    CHECK(write(fds[1], "slow", 4) == 4);
    wait_for(&unhurried, ASYNC_SOCKET_END_COMPLETED);

    /* The peer does not read. */
    char* big = calloc(1, 8 << 20);
    CHECK(send_within(socket, big, 8 << 20, 30, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(send_within(socket, big, 1, ASYNC_SOCKET_NO_TIME_LIMIT, &behind, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(&sent, ASYNC_SOCKET_END_TIMED_OUT);
    wait_for(&behind, ASYNC_SOCKET_END_STREAM_BROKEN);
    CHECK(sent.bytes > 0 && sent.bytes < 8 << 20);
    CHECK(send_within(socket, big, 1, 30, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    async_socket_destroy(socket);
    CHECK(async_socket_set_idle_timeout(NULL, 0) != 0);
    free(big);
    close(fds[1]);
}

static void a_slow_consumer_is_seen_and_refused(void)
{
    int fds[2];
    char* big = calloc(1, 8 << 20);
    SEEN sent = NOTHING_SEEN, refused = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(async_socket_queued_bytes(socket) == 0 && async_socket_set_high_water_mark(socket, 1000) == 0);
    CHECK(send_within(socket, big, 8 << 20, ASYNC_SOCKET_NO_TIME_LIMIT, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(async_socket_queued_bytes(socket) >= 1000);
    CHECK(send_within(socket, big, 1, ASYNC_SOCKET_NO_TIME_LIMIT, &refused, NULL) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    CHECK(async_socket_set_high_water_mark(socket, 0) == 0);
    CHECK(send_within(socket, big, 1, ASYNC_SOCKET_NO_TIME_LIMIT, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    async_socket_destroy(socket);
    wait_for_calls(&sent, 2);
    CHECK(calls_of(&refused) == 0);
    free(big);
    close(fds[1]);
}

static void a_shutdown_comes_behind_what_was_sent(void)
{
    int fds[2];
    char *big = calloc(1, 8 << 20), bytes[8] = {0};
    ASYNC_SOCKET_OPERATION_ID id = 0;
    SEEN sent = NOTHING_SEEN, shut = NOTHING_SEEN, received = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    CHECK(send_within(socket, big, 8 << 20, ASYNC_SOCKET_NO_TIME_LIMIT, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(async_socket_shutdown_async(socket, on_ended, &shut, &id) == ASYNC_SOCKET_SEND_SYNC_OK && id != 0);
    CHECK(send_within(socket, big, 1, 1, &sent, NULL) == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    CHECK(async_socket_shutdown_async(socket, on_ended, &shut, NULL) == ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    size_t all = 0;
    for (ssize_t got; (got = read(fds[1], big, 1 << 20)) > 0;) {
        all += (size_t)got;
    }
    CHECK(all == 8 << 20);
    wait_for(&sent, ASYNC_SOCKET_END_COMPLETED);
    wait_for(&shut, ASYNC_SOCKET_END_COMPLETED);
    CHECK(write(fds[1], "more", 4) == 4);
    CHECK(receive_within(socket, bytes, 8, ASYNC_SOCKET_NO_TIME_LIMIT, &received, NULL) == 0);
    wait_for(&received, ASYNC_SOCKET_END_COMPLETED);
    async_socket_destroy(socket);
    free(big);
    close(fds[1]);
}

/* Closes the other socket, and goes on only when the other callback runs too. */
static pthread_barrier_t both_run;

static void then_close_the_other_async(SEEN* seen)
{
    pthread_barrier_wait(&both_run);
    CHECK(async_socket_close_async(seen->socket, on_done, ((SEEN**)seen->port)[0]) == 0);
    pthread_barrier_wait(&both_run);
}

static void callbacks_on_two_threads_close_each_others_sockets_without_waiting(void)
{
    int one[2], two[2];
    char bytes[2][8];
    SEEN closed[2] = {NOTHING_SEEN, NOTHING_SEEN}, received[2] = {NOTHING_SEEN, NOTHING_SEEN};
    SEEN* done[2] = {&closed[0], &closed[1]};
    platform_set_thread_count(2);
    CHECK(platform_init() == 0);
    CHECK(pthread_barrier_init(&both_run, NULL, 2) == 0);
    ASYNC_SOCKET_HANDLE sockets[2] = {open_tcp(one), open_tcp(two)};
    for (int i = 0; i < 2; i++) {
        received[i].then = then_close_the_other_async;
        received[i].socket = sockets[1 - i];
        received[i].port = (COMPLETION_PORT_HANDLE)&done[1 - i];
        CHECK(receive_within(sockets[i], bytes[i], 8, ASYNC_SOCKET_NO_TIME_LIMIT, &received[i], NULL) == 0);
    }
    CHECK(write(one[1], "x", 1) == 1 && write(two[1], "x", 1) == 1);
    wait_for(&received[0], ASYNC_SOCKET_END_COMPLETED);
    wait_for(&received[1], ASYNC_SOCKET_END_COMPLETED);
    wait_for_calls(&closed[0], 1);
    wait_for_calls(&closed[1], 1);
    CHECK(!is_open(one[0]) && !is_open(two[0]));
    CHECK(async_socket_close_async(sockets[0], on_done, &closed[0]) != 0);
    async_socket_destroy(sockets[0]);
    async_socket_destroy(sockets[1]);
    close(one[1]);
    close(two[1]);
    pthread_barrier_destroy(&both_run);
    platform_deinit();
    platform_set_thread_count(1);
}

static void a_close_that_does_not_wait_frees_the_socket_in_its_callback(void)
{
    int fds[2];
    char bytes[8];
    SEEN closed = NOTHING_SEEN, abandoned = NOTHING_SEEN;
    ASYNC_SOCKET_HANDLE socket = open_tcp(fds);
    closed.socket = socket;
    closed.then = then_destroy;
    CHECK(receive_within(socket, bytes, 8, ASYNC_SOCKET_NO_TIME_LIMIT, &abandoned, NULL) == 0);
    CHECK(async_socket_close_async(socket, on_done, &closed) == 0);
    wait_for(&abandoned, ASYNC_SOCKET_END_CLOSED);
    wait_for_calls(&closed, 1);
    CHECK(!is_open(fds[0]));
    close(fds[1]);
}

static void work_runs_once_on_the_ports_thread_and_in_order(void)
{
    SEEN seen = NOTHING_SEEN, other = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    CHECK(platform_post(NULL, on_done, &seen) == 0);
    wait_for_calls(&seen, 1);
    CHECK(!pthread_equal(seen.thread, pthread_self()));
    for (int i = 0; i < 50; i++) {
        CHECK(platform_post(port, on_done, &other) == 0);
    }
    /* What was posted runs although the last reference is given up. */
    completion_port_dec_ref(port);
    wait_for_calls(&other, 50);
    CHECK(!pthread_equal(seen.thread, other.thread));
}

static void timers_fire_once_in_time_and_can_be_moved_and_cancelled(void)
{
    SEEN fired = NOTHING_SEEN, never = NOTHING_SEEN, moved = NOTHING_SEEN;
    double began = now();
    PLATFORM_TIMER_HANDLE timer = platform_timer_start(NULL, 20, on_done, &fired);
    PLATFORM_TIMER_HANDLE other = platform_timer_start(NULL, 60000, on_done, &never);
    PLATFORM_TIMER_HANDLE third = platform_timer_start(NULL, 60000, on_done, &moved);
    CHECK(timer != NULL && other != NULL && third != NULL);
    wait_for_calls(&fired, 1);
    CHECK(now() - began >= 0.020 && !pthread_equal(fired.thread, pthread_self()));
    CHECK(platform_timer_reset(timer, 1) != 0 && platform_timer_cancel(timer) != 0);
    began = now();
    CHECK(platform_timer_reset(third, 10) == 0);
    wait_for_calls(&moved, 1);
    CHECK(now() - began >= 0.010);
    CHECK(platform_timer_cancel(third) != 0);
    CHECK(platform_timer_cancel(other) == 0);
    CHECK(calls_of(&fired) == 1 && calls_of(&never) == 0);
}

#endif /* CONFORMANCE_ADDITIONS_H */
