/* A stand-in for another library with the specification's names. It creates nothing and returns 77. */
#include "async_socket.h"

#include <stddef.h>

ASYNC_SOCKET_HANDLE async_socket_create(EXECUTION_ENGINE_HANDLE execution_engine, SOCKET_HANDLE socket_handle)
{
    (void)execution_engine;
    (void)socket_handle;
    return NULL;
}

void async_socket_destroy(ASYNC_SOCKET_HANDLE async_socket)
{
    (void)async_socket;
}

int async_socket_open_async(ASYNC_SOCKET_HANDLE async_socket, ON_ASYNC_SOCKET_OPEN_COMPLETE on_open_complete, void* context)
{
    (void)async_socket;
    (void)on_open_complete;
    (void)context;
    return 77;
}

void async_socket_close(ASYNC_SOCKET_HANDLE async_socket)
{
    (void)async_socket;
}
