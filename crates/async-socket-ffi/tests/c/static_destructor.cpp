// Using the library in the destructors of a static and of a thread_local: static_destructor.
#include "life.h"

struct Last {
    ASYNC_SOCKET_HANDLE socket;
    char memory[16];
    SEEN received;

    void begin()
    {
        int ends[2];
        CHECK(platform_init() == 0);
        pair(ends);
        received = SEEN();
        socket = open_socket(ends[0]);
        CHECK(receive(socket, memory, sizeof memory, &received) == 0);
    }

    ~Last()
    {
        async_socket_destroy(socket);
        CHECK(received.calls == 1 && received.result == ASYNC_SOCKET_RECEIVE_ABANDONED);
        platform_deinit();
        whole_life();
    }
};

struct Ends {
    ~Ends() { _exit(0); }
};

static Ends ends_last;
static Last of_the_program;

static void* on_a_thread(void*)
{
    static thread_local Last of_the_thread;
    of_the_thread.begin();
    return NULL;
}

int main()
{
    pthread_t thread;
    alarm(60);
    of_the_program.begin();
    CHECK(pthread_create(&thread, NULL, on_a_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return 7;
}
