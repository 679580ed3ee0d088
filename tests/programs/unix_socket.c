/* Unix sockets with names: stream, datagram, abstract; accept4, addresses cut short, options. */
#include "check.h"
#include <sys/un.h>

static void stream(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "stream"}, found;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0);
    CHECK(bind(listener, (void *)&address, sizeof address) == 0 && listen(listener, 4) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(connect(fd, (void *)&address, sizeof address) == 0);
        for (int i = 0; i < 50; i++)
            CHECK(dprintf(fd, "line %d\n", i) > 0);
        CHECK(shutdown(fd, SHUT_WR) == 0);
        char answer[8];
        CHECK(read(fd, answer, sizeof answer) == 5);
        _exit(0);
    }
    socklen_t length = sizeof found;
    int fd = accept4(listener, (void *)&found, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    CHECK(fd >= 0 && length == sizeof(sa_family_t) && fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    char text[256];
    long total = 0;
    ssize_t count;
    while ((count = read(fd, text, sizeof text)) > 0)
        total += count;
    CHECK(total == 10 * 7 + 40 * 8);
    CHECK(write(fd, "thank", 5) == 5);
    reap(child, 0);
    length = 6; /* less than the name: cut, and the full length told */
    CHECK(getsockname(listener, (void *)&found, &length) == 0);
    CHECK(length == sizeof(sa_family_t) + sizeof "stream" && memcmp(found.sun_path, "stre", 4) == 0);
    int value;
    length = sizeof value;
    CHECK(getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value == 1);
    CHECK(getsockopt(listener, SOL_SOCKET, SO_TYPE, &value, &length) == 0 && value == SOCK_STREAM);
    close(fd);
    close(listener);
    CHECK(unlink("stream") == 0);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_FAILS(connect(fd, (void *)&address, sizeof address), ENOENT);
    close(fd);
}

static void datagram(void)
{
    struct sockaddr_un server = {.sun_family = AF_UNIX}, client, found;
    snprintf(server.sun_path + 1, sizeof server.sun_path - 1, "relive-test-%d", getpid());
    client = server;
    strcat(client.sun_path + 1, "-client");
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1;
    socklen_t server_size = size + (socklen_t)strlen(server.sun_path + 1);
    socklen_t client_size = size + (socklen_t)strlen(client.sun_path + 1);
    int first = socket(AF_UNIX, SOCK_DGRAM, 0), second = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK(bind(first, (void *)&server, server_size) == 0);
    CHECK(bind(second, (void *)&client, client_size) == 0);
    CHECK(sendto(second, "hello", 5, 0, (void *)&server, server_size) == 5);
    char text[16];
    socklen_t length = sizeof found;
    CHECK(recvfrom(first, text, sizeof text, 0, (void *)&found, &length) == 5);
    CHECK(length == client_size && memcmp(&found, &client, length) == 0);
    CHECK(sendto(first, "longer than that", 16, 0, (void *)&found, length) == 16);
    length = 0;
    CHECK(recvfrom(second, text, 4, MSG_TRUNC, (void *)&found, &length) == 16);
    CHECK(memcmp(text, "long", 4) == 0 && length == server_size);
    close(first);
    close(second);
}

int main(void)
{
    stream();
    datagram();
    CHECK_FAILS(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    CHECK_FAILS(accept(0, NULL, NULL), ENOTSOCK);
    return success();
}
