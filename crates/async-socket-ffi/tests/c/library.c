/*
 * The lists of values, their names, the version, and the log.
 * With OWN_NAMES, the program itself defines the functions that name values.
 */
#define _POSIX_C_SOURCE 200809L

#include "async_socket.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(EXIT_FAILURE);                                                     \
        }                                                                           \
    } while (0)

#ifdef OWN_NAMES
const char* MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString(ASYNC_SOCKET_SEND_SYNC_RESULT value)
{
    (void)value;
    return "mine";
}

const char* MU_COMPLETION_PORT_EPOLL_ACTION_ToString(COMPLETION_PORT_EPOLL_ACTION value)
{
    (void)value;
    return "mine";
}
#endif

static void the_names_are_the_enumerators_or_unknown(void)
{
#ifdef OWN_NAMES
    CHECK(strcmp(MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString(ASYNC_SOCKET_SEND_SYNC_OK), "mine") == 0);
    CHECK(strcmp(MU_COMPLETION_PORT_EPOLL_ACTION_ToString(COMPLETION_PORT_EPOLL_EPOLLIN), "mine") == 0);
#else
    static const ASYNC_SOCKET_SEND_SYNC_RESULT results[] = {ASYNC_SOCKET_SEND_SYNC_RESULT_VALUES};
    static const char* const result_names[] = {
        "ASYNC_SOCKET_SEND_SYNC_OK", "ASYNC_SOCKET_SEND_SYNC_ERROR", "ASYNC_SOCKET_SEND_SYNC_ABANDONED"};
    static const COMPLETION_PORT_EPOLL_ACTION actions[] = {COMPLETION_PORT_EPOLL_ACTION_VALUES};
    static const char* const action_names[] = {
        "COMPLETION_PORT_EPOLL_EPOLLRDHUP", "COMPLETION_PORT_EPOLL_EPOLLIN", "COMPLETION_PORT_EPOLL_EPOLLOUT",
        "COMPLETION_PORT_EPOLL_ABANDONED", "COMPLETION_PORT_EPOLL_ERROR"};
    for (size_t i = 0; i < 3; i++) {
        CHECK(strcmp(MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString(results[i]), result_names[i]) == 0);
    }
    for (size_t i = 0; i < 5; i++) {
        CHECK(strcmp(MU_COMPLETION_PORT_EPOLL_ACTION_ToString(actions[i]), action_names[i]) == 0);
    }
    CHECK(strcmp(MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString((ASYNC_SOCKET_SEND_SYNC_RESULT)0),
              "ASYNC_SOCKET_SEND_SYNC_RESULT_INVALID") == 0);
    CHECK(strcmp(MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString((ASYNC_SOCKET_SEND_SYNC_RESULT)4), "UNKNOWN") == 0);
    CHECK(strcmp(MU_COMPLETION_PORT_EPOLL_ACTION_ToString((COMPLETION_PORT_EPOLL_ACTION)6), "UNKNOWN") == 0);
    CHECK(strcmp(MU_COMPLETION_PORT_EPOLL_ACTION_ToString((COMPLETION_PORT_EPOLL_ACTION)-1), "UNKNOWN") == 0);
#endif
}

static void the_lists_have_every_value_but_invalid_in_order(void)
{
    static const int all[][9] = {{ASYNC_SOCKET_OPEN_RESULT_VALUES}, {ASYNC_SOCKET_SEND_SYNC_RESULT_VALUES},
        {ASYNC_SOCKET_SEND_RESULT_VALUES}, {ASYNC_SOCKET_RECEIVE_RESULT_VALUES}, {COMPLETION_PORT_EPOLL_ACTION_VALUES},
        {ASYNC_SOCKET_LOG_LEVEL_VALUES}, {ASYNC_SOCKET_END_REASON_VALUES}, {ASYNC_SOCKET_CANCEL_RESULT_VALUES},
        {ASYNC_SOCKET_ACCEPT_RESULT_VALUES}, {ASYNC_SOCKET_CONNECT_RESULT_VALUES}};
    static const int counts[] = {2, 3, 3, 3, 5, 5, 8, 4, 4, 7};
    for (size_t list = 0; list < sizeof counts / sizeof counts[0]; list++) {
        for (int i = 0; i < 9; i++) {
            CHECK(all[list][i] == (i < counts[list] ? i + 1 : 0));
        }
    }
}

static void the_library_is_the_one_of_the_header(void)
{
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d", ASYNC_SOCKET_VERSION_MAJOR, ASYNC_SOCKET_VERSION_MINOR,
        ASYNC_SOCKET_VERSION_PATCH);
    CHECK(strcmp(version, ASYNC_SOCKET_VERSION) == 0);
    CHECK(strcmp(async_socket_version(), ASYNC_SOCKET_VERSION) == 0);
    CHECK(async_socket_is_answering());
}

typedef struct LOG_TAG {
    pthread_mutex_t lock;
    char text[65536];
    int calls;
    int refused_inside;
} LOG;

static LOG logged = {PTHREAD_MUTEX_INITIALIZER, "", 0, 0};

static void on_log(void* context, ASYNC_SOCKET_LOG_LEVEL level, const char* line)
{
    LOG* log = context;
    pthread_mutex_lock(&log->lock);
    CHECK(level >= ASYNC_SOCKET_LOG_ERROR && level <= ASYNC_SOCKET_LOG_TRACE);
    CHECK(strchr(line, '\n') == NULL);
    size_t length = strlen(log->text);
    snprintf(log->text + length, sizeof log->text - length, "%s\n", line);
    log->calls++;
    pthread_mutex_unlock(&log->lock);
    log->refused_inside += async_socket_set_log(NULL, NULL, ASYNC_SOCKET_LOG_LEVEL_INVALID) != 0;
    /* If this were handed to the function, it would go on for ever. */
    async_socket_close(NULL);
}

static void on_open(void* context, ASYNC_SOCKET_OPEN_RESULT result)
{
    (void)context;
    CHECK(result == ASYNC_SOCKET_OPEN_OK);
}

static void on_receive(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    (void)bytes;
    *(int*)context = result;
}

static void use_a_socket(int* descriptor)
{
    int pair[2], result = 0;
    char memory[8];
    ASYNC_SOCKET_BUFFER buffer = {memory, sizeof memory}, none = {NULL, 1};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    *descriptor = pair[0];
    ASYNC_SOCKET_HANDLE socket = async_socket_create(NULL, pair[0]);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &result) != 0);
    CHECK(async_socket_open_async(socket, on_open, NULL) == 0);
    CHECK(async_socket_open_async(socket, on_open, NULL) != 0);
    CHECK(async_socket_receive_async(socket, &none, 1, on_receive, &result) != 0);
    CHECK(async_socket_receive_async(socket, &buffer, 1, on_receive, &result) == 0);
    async_socket_destroy(socket);
    CHECK(result == ASYNC_SOCKET_RECEIVE_ABANDONED);
    close(pair[1]);
}

static void the_log_names_the_socket_in_every_line_about_one(void)
{
    int descriptor;
    char wanted[64];
    CHECK(async_socket_set_log(on_log, &logged, ASYNC_SOCKET_LOG_LEVEL_INVALID) != 0);
    CHECK(async_socket_set_log(on_log, &logged, (ASYNC_SOCKET_LOG_LEVEL)6) != 0);
    async_socket_close(NULL);
    CHECK(logged.calls == 0);

    CHECK(async_socket_set_log(on_log, &logged, ASYNC_SOCKET_LOG_TRACE) == 0);
    CHECK(platform_init() == 0);
    use_a_socket(&descriptor);
    platform_deinit();
    CHECK(async_socket_set_log(NULL, NULL, ASYNC_SOCKET_LOG_LEVEL_INVALID) == 0);

    snprintf(wanted, sizeof wanted, "descriptor=%d", descriptor);
    static const char* const lines[] = {"socket created", "socket not opened", "socket opened", "receive refused",
        "receive ended", "socket closed", "socket destroyed", "bad argument: buffers"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const char* line = strstr(logged.text, lines[i]);
        if (line == NULL) {
            fprintf(stderr, "no line has \"%s\":\n%s", lines[i], logged.text);
            exit(EXIT_FAILURE);
        }
        const char *end = strchr(line, '\n'), *named = strstr(line, wanted);
        if (named == NULL || named > end) {
            fprintf(stderr, "no %s in the line of \"%s\":\n%s", wanted, lines[i], logged.text);
            exit(EXIT_FAILURE);
        }
    }
    CHECK(logged.refused_inside == logged.calls);

    int calls = logged.calls;
    async_socket_close(NULL);
    CHECK(logged.calls == calls);
}

static void a_level_includes_those_above_it_and_no_others(void)
{
    int descriptor;
    memset(logged.text, 0, sizeof logged.text);
    CHECK(async_socket_set_log(on_log, &logged, ASYNC_SOCKET_LOG_ERROR) == 0);
    CHECK(platform_init() == 0);
    use_a_socket(&descriptor);
    platform_deinit();
    CHECK(async_socket_set_log(NULL, NULL, ASYNC_SOCKET_LOG_LEVEL_INVALID) == 0);
    CHECK(strstr(logged.text, "bad argument: buffers") != NULL);
    CHECK(strstr(logged.text, "socket destroyed") == NULL);
}

/* ---- A log function that is replaced while a thread is in it ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static int is_inside, may_leave, has_left;

static void on_log_slowly(void* context, ASYNC_SOCKET_LOG_LEVEL level, const char* line)
{
    (void)context;
    (void)level;
    (void)line;
    pthread_mutex_lock(&gate);
    is_inside = 1;
    pthread_cond_broadcast(&moved);
    while (!may_leave) {
        pthread_cond_wait(&moved, &gate);
    }
    has_left = 1;
    pthread_mutex_unlock(&gate);
}

static void* log_a_line(void* context)
{
    async_socket_close(context);
    return NULL;
}

static void* let_it_leave_soon(void* context)
{
    struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&gate);
    may_leave = 1;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&gate);
    return context;
}

static void replacing_the_log_waits_for_the_function_to_be_left(void)
{
    pthread_t logs, lets;
    CHECK(async_socket_set_log(on_log_slowly, NULL, ASYNC_SOCKET_LOG_ERROR) == 0);
    CHECK(pthread_create(&logs, NULL, log_a_line, NULL) == 0);
    pthread_mutex_lock(&gate);
    while (!is_inside) {
        pthread_cond_wait(&moved, &gate);
    }
    pthread_mutex_unlock(&gate);
    CHECK(pthread_create(&lets, NULL, let_it_leave_soon, NULL) == 0);
    CHECK(async_socket_set_log(NULL, NULL, ASYNC_SOCKET_LOG_LEVEL_INVALID) == 0);
    pthread_mutex_lock(&gate);
    CHECK(has_left);
    pthread_mutex_unlock(&gate);
    pthread_join(logs, NULL);
    pthread_join(lets, NULL);
}

int main(void)
{
    alarm(60);
    the_names_are_the_enumerators_or_unknown();
    the_lists_have_every_value_but_invalid_in_order();
    the_library_is_the_one_of_the_header();
    the_log_names_the_socket_in_every_line_about_one();
    a_level_includes_those_above_it_and_no_others();
    replacing_the_log_waits_for_the_function_to_be_left();
    puts("all is as documented");
    return EXIT_SUCCESS;
}
