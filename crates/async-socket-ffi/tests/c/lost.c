/* Signals, threads, and descriptors that other code closes: lost KIND. */
#define _GNU_SOURCE
#include "life.h"
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

/* The number of the process's only descriptor of a kind. */
static int number_of(const char* kind)
{
    int descriptor, found = -1;
    for (descriptor = 0; descriptor < 256; descriptor++) {
        char link[64], target[64];
        ssize_t length;
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        length = readlink(link, target, sizeof target - 1);
        if (length > 0) {
            target[length] = 0;
            if (strstr(target, kind) != NULL) {
                found = descriptor;
            }
        }
    }
    CHECK(found >= 0);
    return found;
}

static double processor_seconds(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec
        + ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) / 1e6;
}

static void does_not_spin(void)
{
    double before = processor_seconds();
    int i;
    for (i = 0; i < 500; i++) {
        nap();
    }
    CHECK(processor_seconds() - before < 0.2);
}

static void close_all(void)
{
    int descriptor;
    for (descriptor = 3; descriptor < 1024; descriptor++) {
        close(descriptor);
    }
}

static ASYNC_SOCKET_HANDLE socket_left;
static COMPLETION_PORT_HANDLE port_left;
static SEEN received, raw;
static char memory[16];
static int ends[2], plain[2];

static void begin(void)
{
    CHECK(platform_init() == 0);
    port_left = platform_get_completion_port();
    pair(ends);
    pair(plain);
    socket_left = open_socket(ends[0]);
    CHECK(receive(socket_left, memory, sizeof memory, &received) == 0);
    CHECK(completion_port_add(port_left, EPOLLIN, plain[0], on_event, &raw) == 0);
}

static void everything_has_ended(void)
{
    SEEN seen = { 0, 0, 0 };
    int other[2];
    CHECK(comes(&received) && received.result == ASYNC_SOCKET_RECEIVE_ERROR && received.bytes == 0);
    CHECK(comes(&raw) && raw.result == COMPLETION_PORT_EPOLL_ERROR);
    CHECK(receive(socket_left, memory, sizeof memory, &seen) != 0);
    CHECK(send_text(socket_left, "more", &seen) == ASYNC_SOCKET_SEND_SYNC_ERROR);
    pair(other);
    CHECK(completion_port_add(port_left, EPOLLIN, other[0], on_event, &seen) != 0);
    {
        ASYNC_SOCKET_HANDLE refused = async_socket_create(NULL, other[1]);
        CHECK(refused != NULL);
        CHECK(async_socket_open_async(refused, on_opened, &seen) != 0);
        async_socket_destroy(refused);
    }
    does_not_spin();
    async_socket_destroy(socket_left);
    completion_port_dec_ref(port_left);
    platform_deinit();
    CHECK(seen.calls == 0 && received.calls == 1 && raw.calls == 1);
    /* A port that is made now works. */
    whole_life();
}

static void all_closed(void)
{
    begin();
    close_all();
    everything_has_ended();
}

static void all_closed_and_destroyed_at_once(void)
{
    begin();
    close_all();
    async_socket_destroy(socket_left);
    completion_port_dec_ref(port_left);
    platform_deinit();
    CHECK(received.calls == 1 && raw.calls == 1);
    does_not_spin();
    whole_life();
}

static void epoll_closed(void)
{
    begin();
    close(number_of("eventpoll"));
    everything_has_ended();
}

static void eventfd_closed(void)
{
    begin();
    close(number_of("eventfd"));
    /* The library notices when it uses the eventfd. Arriving bytes wake the thread without it; the next call needs it. */
    {
        ASYNC_SOCKET_HANDLE second;
        SEEN first = { 0, 0, 0 };
        int other[2];
        pair(other);
        second = open_socket(other[0]);
        CHECK(write(other[1], "x", 1) == 1);
        nap();
        (void)receive(second, memory, 1, &first);
        CHECK(comes(&first));
        async_socket_destroy(second);
        completion_port_remove(port_left, plain[1]);
    }
    (void)close(ends[1]);
    CHECK(comes(&received));
    platform_deinit();
    completion_port_dec_ref(port_left);
    async_socket_destroy(socket_left);
    CHECK(received.calls == 1 && raw.calls == 1);
    whole_life();
}

/* Other code closes one of the library's descriptors, and gets the same number for a file of its own. */
static void number_taken_over(const char* kind)
{
    int taken, mine[2], i;
    char bytes[64];
    SEEN seen = { 0, 0, 0 };
    ASYNC_SOCKET_HANDLE second;
    int other[2];
    begin();
    pair(other);
    second = open_socket(other[0]);
    taken = number_of(kind);
    pair(mine);
    CHECK(dup2(mine[0], taken) == taken);
    CHECK(write(other[1], "x", 1) == 1);
    for (i = 0; i < 50; i++) {
        nap();
    }
    /* These would wake the thread. */
    (void)receive(second, memory, 1, &seen);
    (void)completion_port_add(port_left, EPOLLIN, plain[0], on_event, &seen);
    async_socket_destroy(second);
    async_socket_destroy(socket_left);
    completion_port_dec_ref(port_left);
    platform_deinit();
    CHECK(received.calls == 1 && raw.calls == 1);
    does_not_spin();
    CHECK(recv(mine[1], bytes, sizeof bytes, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    /* The library has neither written to the file nor closed it. */
    CHECK(write(taken, "mine", 4) == 4);
    CHECK(recv(mine[1], bytes, sizeof bytes, 0) == 4);
    whole_life();
}

static void eventfd_taken_over(void) { number_taken_over("eventfd"); }
static void epoll_taken_over(void) { number_taken_over("eventpoll"); }

/* The socket's own descriptor is closed, and the number is another file's when the socket is destroyed. */
static void socket_closed(void)
{
    begin();
    close(ends[0]);
    async_socket_destroy(socket_left);
    CHECK(received.calls == 1 && received.result == ASYNC_SOCKET_RECEIVE_ABANDONED);
    completion_port_dec_ref(port_left);
    platform_deinit();
    whole_life();
}

static void signals_reach_the_program(void)
{
    static const int signals[] = { SIGTERM, SIGUSR1, SIGHUP, SIGINT, SIGCHLD, SIGALRM, SIGURG };
    sigset_t set;
    size_t i;
    int descriptor, got;
    CHECK(platform_init() == 0);
    for (i = 0; i < 50; i++) {
        nap();
    }
    sigemptyset(&set);
    for (i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaddset(&set, signals[i]);
    }
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    for (i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        CHECK(kill(getpid(), signals[i]) == 0);
        CHECK(sigwait(&set, &got) == 0 && got == signals[i]);
    }
    descriptor = signalfd(-1, &set, SFD_CLOEXEC);
    CHECK(descriptor >= 0);
    for (i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct signalfd_siginfo info;
        CHECK(kill(getpid(), signals[i]) == 0);
        CHECK(read(descriptor, &info, sizeof info) == (ssize_t)sizeof info);
        CHECK(info.ssi_signo == (uint32_t)signals[i]);
    }
    platform_deinit();
}

static volatile sig_atomic_t faults;
static void on_fault(int signal) { (void)signal; faults++; }

static int masked = -1;
static size_t stack_bytes;

static void on_received_look(void* context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
    sigset_t set;
    int signal;
    pthread_attr_t attributes;
    char name[32];
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0);
    masked = 1;
    for (signal = 1; signal < 32; signal++) {
        int fault = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGTRAP
            || signal == SIGSYS || signal == SIGABRT;
        if (signal != SIGKILL && signal != SIGSTOP) {
            masked = masked && sigismember(&set, signal) == !fault;
        }
    }
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstacksize(&attributes, &stack_bytes) == 0);
    pthread_attr_destroy(&attributes);
    CHECK(pthread_getname_np(pthread_self(), name, sizeof name) == 0);
    CHECK(strcmp(name, "completion-port") == 0);
    CHECK(raise(SIGTRAP) == 0);
    note(context, result, bytes);
}

static void look_at_the_thread(void)
{
    ASYNC_SOCKET_BUFFER buffer;
    ASYNC_SOCKET_HANDLE handle;
    SEEN seen = { 0, 0, 0 };
    CHECK(platform_init() == 0);
    pair(ends);
    handle = open_socket(ends[0]);
    buffer.buffer = memory;
    buffer.length = 1;
    CHECK(async_socket_receive_async(handle, &buffer, 1, on_received_look, &seen) == 0);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(comes(&seen));
    async_socket_destroy(handle);
    platform_deinit();
}

static void threads_are_as_documented(void)
{
    sigset_t before, after;
    pthread_attr_t attributes;
    size_t usual;
    int signal;
    signal = SIGTRAP;
    CHECK(sigaction(signal, &(struct sigaction){ .sa_handler = on_fault }, NULL) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &before) == 0);
    look_at_the_thread();
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &after) == 0);
    CHECK(memcmp(&before, &after, sizeof(unsigned long)) == 0);
    CHECK(masked == 1 && faults == 1);
    CHECK(pthread_getattr_default_np(&attributes) == 0);
    CHECK(pthread_attr_getstacksize(&attributes, &usual) == 0);
    CHECK(stack_bytes >= usual && stack_bytes >= 2u << 20);
    platform_set_thread_stack_size(32u << 20);
    look_at_the_thread();
    CHECK(stack_bytes >= 32u << 20 && stack_bytes < 33u << 20);
    platform_set_thread_stack_size(1);
    look_at_the_thread();
    CHECK(stack_bytes < 1u << 20);
    platform_set_thread_stack_size((size_t)-1);
    CHECK(platform_init() != 0);
    platform_set_thread_stack_size(0);
    look_at_the_thread();
    CHECK(stack_bytes >= usual);
}

int main(int count, char** arguments)
{
    static const struct {
        const char* name;
        void (*run)(void);
    } kinds[] = {
        { "all-closed", all_closed },
        { "all-closed-and-destroyed", all_closed_and_destroyed_at_once },
        { "epoll-closed", epoll_closed },
        { "eventfd-closed", eventfd_closed },
        { "eventfd-taken-over", eventfd_taken_over },
        { "epoll-taken-over", epoll_taken_over },
        { "socket-closed", socket_closed },
        { "signals", signals_reach_the_program },
        { "threads", threads_are_as_documented },
    };
    size_t i;
    alarm(60);
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (count > 1 && strcmp(arguments[1], kinds[i].name) == 0) {
            kinds[i].run();
            return 0;
        }
    }
    return 9;
}
