/* TCP over the loopback: a forked client, non-blocking connect, options, refused, MSG_WAITALL. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0);
    CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0);
    if (bind(listener, (void *)&address, sizeof address) == -1)
        SKIP("no loopback network");
    CHECK(listen(listener, 8) == 0);
    CHECK(getsockname(listener, (void *)&address, &length) == 0 && length == sizeof address);
    printf("port %d\n", ntohs(address.sin_port));

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int result = connect(fd, (void *)&address, sizeof address);
        CHECK(result == 0 || errno == EINPROGRESS);
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        CHECK(poll(&ready, 1, -1) == 1);
        int error;
        socklen_t size = sizeof error;
        CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
        CHECK(fcntl(fd, F_SETFL, 0) == 0);
        CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
        static char block[10000];
        for (int i = 0; i < 30; i++) {
            memset(block, 'a' + i % 26, sizeof block);
            CHECK(send(fd, block, sizeof block, MSG_NOSIGNAL) == sizeof block);
        }
        CHECK(shutdown(fd, SHUT_WR) == 0);
        CHECK(recv(fd, block, 8, MSG_WAITALL) == 8 && memcmp(block, "answered", 8) == 0);
        CHECK(recv(fd, block, 8, 0) == 0);
        _exit(0);
    }
    struct sockaddr_in peer, own;
    length = sizeof peer;
    int fd = accept(listener, (void *)&peer, &length);
    CHECK(fd >= 0 && length == sizeof peer && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    length = sizeof own;
    CHECK(getpeername(fd, (void *)&own, &length) == 0 && own.sin_port == peer.sin_port);
    static char block[300000];
    CHECK(recv(fd, block, sizeof block, MSG_WAITALL) == sizeof block);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof block; i++)
        sum = sum * 31 + (unsigned char)block[i];
    CHECK(recv(fd, block, 1, 0) == 0);
    struct tcp_info info;
    length = sizeof info;
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
    CHECK(length <= sizeof info);
    printf("client port %d sum %08x rtt %u\n", ntohs(peer.sin_port), sum, info.tcpi_rtt);
    CHECK(send(fd, "answ", 4, MSG_MORE) == 4 && send(fd, "ered", 4, 0) == 4);
    close(fd);
    reap(child, 0);
    close(listener);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_FAILS(connect(fd, (void *)&address, sizeof address), ECONNREFUSED);
    return success();
}
