/* fork, and the library on both sides of it: forks KIND. */
#define _GNU_SOURCE
#include "forks/beyond.h"
#include "forks/in_callbacks.h"

static void child_destroys(void)
{
    pid_t child;
    begin();
    child = fork();
    if (child == 0) {
        limit_child();
        async_socket_close(shared);
        CHECK(!is_open(ends[0]));
        async_socket_destroy(shared);
        platform_deinit();
        CHECK(calls(&received) == 0);
        _exit(0);
    }
    child_ends_well(child);
    parent_goes_on();
}

static void child_uses_what_it_inherited(void)
{
    pid_t child;
    int other[2], plain[2], closed[2];
    char byte;
    SEEN raw = { 0, 0, 0 };
    ASYNC_SOCKET_HANDLE unopened;
    COMPLETION_PORT_HANDLE port;
    begin();
    pair(other);
    pair(plain);
    pair(closed);
    unopened = async_socket_create(NULL, other[0]);
    port = platform_get_completion_port();
    CHECK(completion_port_add(port, EPOLLIN, plain[0], on_event, &raw) == 0);
    child = fork();
    if (child == 0) {
        SEEN seen = { 0, 0, 0 };
        limit_child();
        CHECK(send_text(shared, "child", &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
        CHECK(receive(shared, memory, sizeof memory, &seen) != 0);
        CHECK(async_socket_open_async(unopened, on_opened, &seen) != 0);
        CHECK(async_socket_open_async(shared, on_opened, &seen) != 0);
        CHECK(async_socket_create(NULL, closed[0]) == NULL);
        CHECK(platform_get_completion_port() == NULL);
        CHECK(completion_port_add(port, EPOLLIN, plain[0], on_event, &seen) != 0);
        CHECK(completion_port_add(port, EPOLLIN, closed[0], on_event, &seen) != 0);
        completion_port_remove(port, plain[0]);
        completion_port_inc_ref(port);
        completion_port_dec_ref(port);
        completion_port_dec_ref(port);
        /* The same, beside a platform of the child's own. */
        CHECK(platform_init() == 0);
        CHECK(send_text(shared, "child", &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
        CHECK(receive(shared, memory, sizeof memory, &seen) != 0);
        async_socket_destroy(unopened);
        CHECK(!is_open(other[0]));
        async_socket_destroy(shared);
        platform_deinit();
        platform_deinit();
        CHECK(calls(&seen) == 0 && calls(&raw) == 0 && calls(&received) == 0);
        _exit(0);
    }
    child_ends_well(child);
    CHECK(recv(ends[1], &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    CHECK(calls(&raw) == 0);
    CHECK(write(plain[1], "x", 1) == 1);
    CHECK(comes(&raw) && raw.result == COMPLETION_PORT_EPOLL_EPOLLIN);
    completion_port_dec_ref(port);
    async_socket_destroy(unopened);
    parent_goes_on();
}

static void child_starts_afresh(void)
{
    pid_t child;
    begin();
    child = fork();
    if (child == 0) {
        limit_child();
        whole_life();
        async_socket_destroy(shared);
        whole_life();
        _exit(0);
    }
    child_ends_well(child);
    parent_goes_on();
}

static void the_daemon_pattern(void)
{
    int told[2];
    char said[8] = { 0 };
    pid_t child;
    CHECK(pipe(told) == 0);
    child = fork();
    if (child == 0) {
        begin();
        if (fork() != 0) {
            exit(0);
        }
        limit_child();
        CHECK(setsid() > 0);
        if (fork() != 0) {
            _exit(0);
        }
        limit_child();
        whole_life();
        async_socket_destroy(shared);
        platform_deinit();
        whole_life();
        CHECK(write(told[1], "alive", 5) == 5);
        _exit(0);
    }
    close(told[1]);
    child_ends_well(child);
    alarm(40);
    CHECK(read(told[0], said, sizeof said) == 5 && strcmp(said, "alive") == 0);
}

static void destroys_at_exit(void)
{
    async_socket_destroy(shared);
    platform_deinit();
}

static void child_exits_through_its_handlers(void)
{
    pid_t child;
    begin();
    CHECK(atexit(destroys_at_exit) == 0);
    child = fork();
    if (child == 0) {
        limit_child();
        exit(0);
    }
    child_ends_well(child);
    parent_goes_on();
    _exit(0);
}

static void children_of_children(void)
{
    pid_t child;
    begin();
    child = fork();
    if (child == 0) {
        ASYNC_SOCKET_HANDLE outer = shared;
        SEEN seen = { 0, 0, 0 };
        pid_t grandchild;
        limit_child();
        memset(&received, 0, sizeof received);
        begin();
        grandchild = fork();
        if (grandchild == 0) {
            limit_child();
            CHECK(send_text(outer, "child", &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
            CHECK(send_text(shared, "child", &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
            whole_life();
            async_socket_destroy(shared);
            async_socket_destroy(outer);
            platform_deinit();
            _exit(0);
        }
        child_ends_well(grandchild);
        parent_goes_on();
        async_socket_destroy(outer);
        _exit(0);
    }
    child_ends_well(child);
    parent_goes_on();
}

static int stop;

/* Is inside the library almost all the time. */
static void* busy(void* unused)
{
    int both[2];
    char in[1024], out[1024];
    (void)unused;
    memset(out, 'o', sizeof out);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        ASYNC_SOCKET_HANDLE one, two;
        int round;
        pair(both);
        one = open_socket(both[0]);
        two = open_socket(both[1]);
        for (round = 0; round < 20; round++) {
            SEEN sent = { 0, 0, 0 }, got = { 0, 0, 0 };
            ASYNC_SOCKET_BUFFER buffer;
            CHECK(receive(two, in, sizeof in, &got) == 0);
            buffer.buffer = out;
            buffer.length = sizeof out;
            CHECK(async_socket_send_async(one, &buffer, 1, on_sent, &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
            while (calls(&got) == 0 || calls(&sent) == 0) {
                sched_yield();
            }
        }
        async_socket_destroy(one);
        async_socket_destroy(two);
    }
    return NULL;
}

/* Locks the same mutex as the callbacks. The child must not find it locked. */
static pid_t fork_with_lock(void)
{
    pid_t child;
    pthread_mutex_lock(&life_lock);
    child = fork();
    pthread_mutex_unlock(&life_lock);
    return child;
}

static void fork_beside_busy_threads(void)
{
    pthread_t threads[2];
    int i;
    begin();
    for (i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, busy, NULL) == 0);
    }
    for (i = 0; i < 60; i++) {
        pid_t child = fork_with_lock();
        if (child == 0) {
            limit_child();
            CHECK(receive(shared, memory, sizeof memory, &received) != 0);
            async_socket_close(shared);
            CHECK(!is_open(ends[0]));
            async_socket_destroy(shared);
            whole_life();
            platform_deinit();
            _exit(0);
        }
        child_ends_well(child);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    parent_goes_on();
}

/* The child destroys the socket that is busy. */
static void fork_while_the_socket_is_at_work(void)
{
    enum { ROUNDS = 60, LENGTH = 1 << 16 };
    static char in[LENGTH], out[LENGTH];
    int i, both[2];
    ASYNC_SOCKET_HANDLE one, two;
    begin();
    pair(both);
    one = open_socket(both[0]);
    two = open_socket(both[1]);
    for (i = 0; i < ROUNDS; i++) {
        SEEN sent = { 0, 0, 0 };
        SEEN got[64];
        uint32_t total = 0;
        int round = 0;
        pid_t child = -1;
        ASYNC_SOCKET_BUFFER buffer;
        memset(got, 0, sizeof got);
        CHECK(receive(two, in, LENGTH / 16, &got[0]) == 0);
        buffer.buffer = out;
        buffer.length = LENGTH;
        CHECK(async_socket_send_async(one, &buffer, 1, on_sent, &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
        child = fork_with_lock();
        if (child == 0) {
            limit_child();
            async_socket_destroy(one);
            async_socket_destroy(two);
            CHECK(!is_open(both[0]) && !is_open(both[1]));
            async_socket_destroy(shared);
            whole_life();
            _exit(0);
        }
        while (total < LENGTH) {
            CHECK(comes(&got[round]) && got[round].result == ASYNC_SOCKET_RECEIVE_OK);
            total += got[round].bytes;
            if (total < LENGTH) {
                CHECK(++round < 64);
                CHECK(receive(two, in, LENGTH / 16, &got[round]) == 0);
            }
        }
        CHECK(comes(&sent));
        child_ends_well(child);
    }
    async_socket_destroy(one);
    async_socket_destroy(two);
    parent_goes_on();
}

static void child_leaves_no_descriptor(void)
{
    pid_t child;
    COMPLETION_PORT_HANDLE port;
    begin();
    port = completion_port_create();
    child = fork();
    if (child == 0) {
        int before = kernel_objects();
        limit_child();
        completion_port_dec_ref(port);
        CHECK(kernel_objects() == before - 2);
        whole_life();
        CHECK(kernel_objects() == before - 2);
        _exit(0);
    }
    child_ends_well(child);
    completion_port_dec_ref(port);
    parent_goes_on();
}

/* Settings that the parent made before the fork hold in the child. */
static void settings_are_kept(void)
{
    pid_t child;
    platform_set_thread_count(3);
    child = fork();
    if (child == 0) {
        limit_child();
        CHECK(platform_init() == 0);
        CHECK(kernel_objects() == 6);
        platform_deinit();
        _exit(0);
    }
    child_ends_well(child);
}

int main(int count, char** arguments)
{
    static const struct {
        const char* name;
        void (*run)(void);
    } kinds[] = {
        { "child-destroys", child_destroys },
        { "inherited-is-refused", child_uses_what_it_inherited },
        { "afresh", child_starts_afresh },
        { "daemon", the_daemon_pattern },
        { "exit-handlers", child_exits_through_its_handlers },
        { "grandchildren", children_of_children },
        { "callback", fork_in_a_callback },
        { "abandoned", fork_while_a_close_calls_back },
        { "busy", fork_beside_busy_threads },
        { "at-work", fork_while_the_socket_is_at_work },
        { "descriptors", child_leaves_no_descriptor },
        { "settings", settings_are_kept },
        { "beyond", child_has_timers_listeners_and_connects },
    };
    size_t i;
    const char* kind = count > 1 ? arguments[1] : "";
    alarm(120);
    if (strcmp(kind, "callback-returns") == 0) {
        child_returns = 1;
        kind = "callback";
    }
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kind, kinds[i].name) == 0) {
            kinds[i].run();
            return 0;
        }
    }
    return 9;
}
