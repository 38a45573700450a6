#ifndef CONFORMANCE_PORTS_H
#define CONFORMANCE_PORTS_H

#include "common.h"

/* ---- The raw completion port ---- */

static void two_waits_on_one_descriptor_both_fire_and_once_only(void)
{
    int fds[2];
    SEEN in = NOTHING_SEEN, out = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    CHECK(port != NULL);
    unix_pair(fds);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &in) == 0);
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &out) == 0);
    wait_for(&out, COMPLETION_PORT_EPOLL_EPOLLOUT);
    CHECK(calls_of(&in) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_for(&in, COMPLETION_PORT_EPOLL_EPOLLIN);
    CHECK(write(fds[1], "x", 1) == 1);
    pause_ms(20);
    CHECK(calls_of(&in) == 1 && calls_of(&out) == 1);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &in) == 0);
    wait_for_calls(&in, 2);
    completion_port_remove(port, fds[0]);
    completion_port_dec_ref(port);
    close(fds[0]);
    close(fds[1]);
    CHECK(calls_of(&in) == 2 && calls_of(&out) == 1);
}

static void what_the_kernel_or_the_rules_refuse_runs_no_callback(void)
{
    SEEN seen = NOTHING_SEEN;
    int fds[2];
    COMPLETION_PORT_HANDLE port = completion_port_create();
    FILE* file = tmpfile();
    CHECK(file != NULL);
    unix_pair(fds);
    CHECK(completion_port_add(port, EPOLLIN, fileno(file), on_event, &seen) != 0);
    CHECK(completion_port_add(port, EPOLLIN, 1000000, on_event, &seen) != 0);
    CHECK(completion_port_add(port, 0, fds[0], on_event, &seen) != 0);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], NULL, &seen) != 0);
    completion_port_remove(port, 1000000);
    completion_port_dec_ref(port);
    CHECK(calls_of(&seen) == 0);
    fclose(file);
    close(fds[0]);
    close(fds[1]);
}

static void hang_ups_and_errors_are_reported(void)
{
    int fds[2], pipe_ends[2];
    SEEN half_closed = NOTHING_SEEN, broken = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    CHECK(completion_port_add(port, EPOLLRDHUP, fds[0], on_event, &half_closed) == 0);
    CHECK(shutdown(fds[1], SHUT_WR) == 0);
    wait_for(&half_closed, COMPLETION_PORT_EPOLL_EPOLLRDHUP);
    CHECK(pipe(pipe_ends) == 0);
    CHECK(completion_port_add(port, EPOLLIN, pipe_ends[1], on_event, &broken) == 0);
    close(pipe_ends[0]);
    wait_for(&broken, COMPLETION_PORT_EPOLL_ERROR);
    completion_port_dec_ref(port);
    close(pipe_ends[1]);
    close(fds[0]);
    close(fds[1]);
}

static void a_closed_descriptors_number_can_be_used_again(void)
{
    SEEN old = NOTHING_SEEN, new = NOTHING_SEEN;
    int fds[2], again[2];
    COMPLETION_PORT_HANDLE port = completion_port_create();
    for (int round = 0; round < 20; round++) {
        unix_pair(fds);
        CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &old) == 0);
        close(fds[0]);
        close(fds[1]);
        unix_pair(again);
        CHECK(again[0] == fds[0]);
        CHECK(completion_port_add(port, EPOLLIN, again[0], on_event, &new) == 0);
        wait_for_calls(&old, round + 1);
        CHECK(old.results[round] == COMPLETION_PORT_EPOLL_ABANDONED);
        CHECK(write(again[1], "x", 1) == 1);
        wait_for_calls(&new, round + 1);
        CHECK(new.results[round] == COMPLETION_PORT_EPOLL_EPOLLIN);
        close(again[0]);
        close(again[1]);
    }
    completion_port_dec_ref(port);
}

static void removal_abandons_what_waits_and_waits_for_what_runs(void)
{
    int fds[2], gate[2];
    pthread_t opener;
    SEEN waiting = NOTHING_SEEN, held = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    unix_pair(gate);
    CHECK(fcntl(gate[0], F_SETFL, 0) == 0);
    held.then = then_hold;
    held.fd = gate[0];
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &waiting) == 0);
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &held) == 0);
    wait_until_begun(&held);
    CHECK(calls_of(&held) == 0);
    CHECK(pthread_create(&opener, NULL, open_the_gate_later, &gate[1]) == 0);
    completion_port_remove(port, fds[0]);
    CHECK(calls_of(&held) == 1 && held.results[0] == COMPLETION_PORT_EPOLL_EPOLLOUT);
    CHECK(calls_of(&waiting) == 1 && waiting.results[0] == COMPLETION_PORT_EPOLL_ABANDONED);
    CHECK(pthread_join(opener, NULL) == 0);
    completion_port_remove(port, fds[0]);
    completion_port_dec_ref(port);
    close(fds[0]);
    close(fds[1]);
    close(gate[0]);
    close(gate[1]);
}

static void then_remove(SEEN* seen)
{
    completion_port_remove(seen->port, seen->fd);
}

static void a_callback_may_remove_its_descriptor(void)
{
    int fds[2];
    SEEN in = NOTHING_SEEN, out = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    out.then = then_remove;
    out.port = port;
    out.fd = fds[0];
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &in) == 0);
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &out) == 0);
    wait_for(&out, COMPLETION_PORT_EPOLL_EPOLLOUT);
    wait_for(&in, COMPLETION_PORT_EPOLL_ABANDONED);
    out.then = NULL;
    CHECK(completion_port_add(port, EPOLLOUT, fds[0], on_event, &out) == 0);
    wait_for_calls(&out, 2);
    completion_port_dec_ref(port);
    close(fds[0]);
    close(fds[1]);
}

static void then_give_up(SEEN* seen)
{
    completion_port_dec_ref(seen->port);
}

static void a_callback_may_give_up_the_last_reference(void)
{
    int threads = entries_of("/proc/self/task"), descriptors = entries_of("/proc/self/fd");
    int fds[2], others[2];
    SEEN last = NOTHING_SEEN, abandoned = NOTHING_SEEN;
    COMPLETION_PORT_HANDLE port = completion_port_create();
    unix_pair(fds);
    unix_pair(others);
    completion_port_inc_ref(port);
    completion_port_dec_ref(port);
    last.then = then_give_up;
    last.port = port;
    CHECK(completion_port_add(port, EPOLLIN, others[0], on_event, &abandoned) == 0);
    CHECK(completion_port_add(port, EPOLLIN, fds[0], on_event, &last) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_for(&last, COMPLETION_PORT_EPOLL_EPOLLIN);
    wait_for(&abandoned, COMPLETION_PORT_EPOLL_ABANDONED);
    close(fds[0]);
    close(fds[1]);
    close(others[0]);
    close(others[1]);
    wait_for_threads(threads);
    CHECK(entries_of("/proc/self/fd") == descriptors);
}

#endif /* CONFORMANCE_PORTS_H */
