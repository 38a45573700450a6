/*
 * Logging at the end of a thread and of a process: `exit` logs after a thread's variables have been destroyed, and while the
 * process exits. `pipe` logs into a pipe without a reader.
 */
#define _POSIX_C_SOURCE 200809L

#include "async_socket.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_key_t keys[1];

/* The line is about an argument that is NULL. */
static void log_a_line(void)
{
    async_socket_close(NULL);
}

static void log_and_come_again(void* rounds)
{
    log_a_line();
    /* Destructors of keys run again as long as there are values. The last run comes after all other destructors. */
    if (rounds != NULL) {
        pthread_setspecific(keys[0], (char*)rounds - 1);
    }
}

static void* log_at_the_end_of_the_thread(void* context)
{
    log_a_line();
    pthread_setspecific(keys[0], (void*)3);
    return context;
}

static int at_exit(void)
{
    pthread_t thread;
    if (atexit(log_a_line) != 0 || pthread_key_create(&keys[0], log_and_come_again) != 0) {
        return EXIT_FAILURE;
    }
    if (pthread_create(&thread, NULL, log_at_the_end_of_the_thread, NULL) != 0 || pthread_join(thread, NULL) != 0) {
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int into_a_closed_pipe(void)
{
    int ends[2];
    sigset_t pending;
    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0) {
        return EXIT_FAILURE;
    }
    close(ends[0]);
    close(ends[1]);
    errno = ENOTDIR;
    for (int i = 0; i < 100; i++) {
        log_a_line();
    }
    if (errno != ENOTDIR || sigpending(&pending) != 0 || sigismember(&pending, SIGPIPE)) {
        return EXIT_FAILURE;
    }
    puts("survived");
    return EXIT_SUCCESS;
}

int main(int argc, char** argv)
{
    alarm(60);
    if (argc > 1 && strcmp(argv[1], "pipe") == 0) {
        return into_a_closed_pipe();
    }
    return at_exit();
}
