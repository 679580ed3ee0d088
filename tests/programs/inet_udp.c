/* UDP over the loopback: addresses, time-outs, control messages, a refusal told by the network. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>

static int bound(struct sockaddr_in *ret_address)
{
    *ret_address = (struct sockaddr_in){.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof *ret_address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (bind(fd, (void *)ret_address, length) == -1)
        SKIP("no loopback network");
    CHECK(getsockname(fd, (void *)ret_address, &length) == 0);
    return fd;
}

int main(void)
{
    struct sockaddr_in first_address, second_address, found;
    int first = bound(&first_address), second = bound(&second_address);
    printf("ports %d %d\n", ntohs(first_address.sin_port), ntohs(second_address.sin_port));
    CHECK(sendto(first, "hello", 5, 0, (void *)&second_address, sizeof second_address) == 5);
    CHECK(sendto(first, "", 0, 0, (void *)&second_address, sizeof second_address) == 0);
    char text[64];
    socklen_t length = sizeof found;
    CHECK(recvfrom(second, text, sizeof text, 0, (void *)&found, &length) == 5);
    CHECK(found.sin_port == first_address.sin_port && length == sizeof found);
    CHECK(recvfrom(second, text, sizeof text, 0, NULL, NULL) == 0);

    CHECK(setsockopt(second, IPPROTO_IP, IP_PKTINFO, &(int){1}, sizeof(int)) == 0);
    CHECK(setsockopt(second, SOL_SOCKET, SO_TIMESTAMP, &(int){1}, sizeof(int)) == 0);
    CHECK(connect(first, (void *)&second_address, sizeof second_address) == 0);
    CHECK(send(first, "with more", 9, 0) == 9);
    union {
        char bytes[512];
        struct cmsghdr header;
    } control;
    struct iovec vector = {text, sizeof text};
    struct msghdr message = {.msg_name = &found, .msg_namelen = sizeof found, .msg_iov = &vector,
                             .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    CHECK(recvmsg(second, &message, 0) == 9 && message.msg_namelen == sizeof found);
    int kinds = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(header), sizeof info);
            CHECK(info.ipi_addr.s_addr == htonl(INADDR_LOOPBACK));
            kinds |= 1;
        } else if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_TIMESTAMP) {
            struct timeval when;
            memcpy(&when, CMSG_DATA(header), sizeof when);
            printf("arrived %ld.%06ld\n", when.tv_sec, when.tv_usec);
            kinds |= 2;
        }
    }
    CHECK(kinds == 3);

    struct timeval brief = {.tv_usec = 2000};
    CHECK(setsockopt(second, SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief) == 0);
    CHECK_FAILS(recv(second, text, sizeof text, 0), EAGAIN);
    close(second);
    CHECK(send(first, "nobody", 6, 0) == 6);
    CHECK_FAILS(recv(first, text, sizeof text, 0), ECONNREFUSED);
    return success();
}
