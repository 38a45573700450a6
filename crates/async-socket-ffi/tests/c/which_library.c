/* Prints which library answers. With ASK, the program asks the library too. */
#include "async_socket.h"

#include <stdio.h>

int main(void)
{
    const char* answers = async_socket_open_async(NULL, NULL, NULL) == 77 ? "the other" : "ours";
#ifdef ASK
    printf("%s, is_answering %d\n", answers, async_socket_is_answering() != 0);
#else
    printf("%s\n", answers);
#endif
    return 0;
}
