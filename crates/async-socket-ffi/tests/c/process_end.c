/* Using the library at the very end of a process or a thread: process_end KIND. */
#define _GNU_SOURCE
#include "life.h"

static ASYNC_SOCKET_HANDLE left;
static char left_memory[16];
static SEEN left_received;
static int done;

static void leave_something(void)
{
    int ends[2];
    CHECK(platform_init() == 0);
    pair(ends);
    left = open_socket(ends[0]);
    CHECK(receive(left, left_memory, sizeof left_memory, &left_received) == 0);
}

static void finish_what_was_left(void)
{
    SEEN sent = { 0, 0, 0 };
    CHECK(send_text(left, "late", &sent) == ASYNC_SOCKET_SEND_SYNC_OK);
    CHECK(comes(&sent) && sent.calls == 1);
    async_socket_close(left);
    CHECK(left_received.calls == 1 && left_received.result == ASYNC_SOCKET_RECEIVE_ABANDONED);
    async_socket_destroy(left);
    platform_deinit();
    CHECK(left_received.calls == 1);
}

static void at_exit(void)
{
    finish_what_was_left();
    whole_life();
    _exit(0);
}

static void only_destroy(void)
{
    async_socket_destroy(left);
    CHECK(left_received.calls == 1 && left_received.result == ASYNC_SOCKET_RECEIVE_ABANDONED);
    platform_deinit();
    _exit(0);
}

static void in_key_destructor(void* value)
{
    (void)value;
    finish_what_was_left();
    whole_life();
    done = 1;
}

static void in_key_destructor_of_main(void* value)
{
    in_key_destructor(value);
    _exit(0);
}

static pthread_key_t key;

static void* with_key(void* unused)
{
    (void)unused;
    CHECK(pthread_setspecific(key, &key) == 0);
    /* The thread uses the library also before its variables are destroyed. */
    whole_life();
    return NULL;
}

static void* exits(void* unused)
{
    (void)unused;
    exit(7);
}

int main(int count, char** arguments)
{
    const char* kind = count > 1 ? arguments[1] : "";
    pthread_t thread;
    alarm(60);
    leave_something();
    if (strcmp(kind, "atexit") == 0) {
        atexit(at_exit);
        return 7;
    }
    if (strcmp(kind, "atexit-destroy") == 0) {
        atexit(only_destroy);
        return 7;
    }
    if (strcmp(kind, "atexit-on-another-thread") == 0) {
        atexit(at_exit);
        CHECK(pthread_create(&thread, NULL, exits, NULL) == 0);
        pause();
    }
    if (strcmp(kind, "key-on-main") == 0) {
        CHECK(pthread_key_create(&key, in_key_destructor_of_main) == 0);
        CHECK(pthread_setspecific(key, &key) == 0);
        pthread_exit(NULL);
    }
    if (strcmp(kind, "key-on-another-thread") == 0) {
        CHECK(pthread_key_create(&key, in_key_destructor) == 0);
        CHECK(pthread_create(&thread, NULL, with_key, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        return done ? 0 : 8;
    }
    return 9;
}
