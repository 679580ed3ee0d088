/* Sockets, terminals, interface queries. */
#include "common.h"

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <sys/uio.h>

static int *length(int value)
{
    int *p = room(64);
    *p = value;
    return p;
}

static void streams(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int l = (int)CALL(socket, AF_INET, SOCK_STREAM, 0);
    CALL(setsockopt, l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, 4);
    CALL(bind, l, &any, sizeof any);
    CALL(listen, l, 5);
    struct sockaddr_in *name = room(100);
    CALL(getsockname, l, name, length(100));
    CALL(getsockname, l, room(100), length(3));
    struct sockaddr_in to;
    memcpy(&to, name, sizeof to);
    int c = (int)CALL(socket, AF_INET, SOCK_STREAM, 0);
    CALL(connect, c, &to, sizeof to);
    int a = (int)CALL(accept, l, room(100), length(100));
    int c2 = (int)CALL(socket, AF_INET, SOCK_STREAM, 0);
    CALL(connect, c2, &to, sizeof to);
    int a2 = (int)CALL(accept4, l, room(100), length(5), SOCK_CLOEXEC);
    CALL(getpeername, c, room(100), length(100));
    CALL(sendto, c, "0123456789", 10, 0, NULL, 0);
    CALL(ioctl, a, FIONREAD, room(64));
    CALL(ioctl, a, 0x8905, room(64));
    CALL(ioctl, c, 0x5411, room(64));
    CALL(recvfrom, a, room(64), 4, MSG_PEEK, room(100), length(100));
    CALL(recvfrom, a, room(64), 64, 0, NULL, NULL);
    CALL(recvfrom, a, room(64), 64, MSG_DONTWAIT, room(100), length(100));
    CALL(getsockopt, c, SOL_SOCKET, SO_SNDBUF, room(64), length(64));
    CALL(getsockopt, c, SOL_SOCKET, SO_ERROR, room(64), length(2));
    CALL(getsockopt, c, SOL_SOCKET, 999, room(64), length(64));
    CALL(getsockopt, c, IPPROTO_TCP, TCP_INFO, room(500), length(500));
    CALL(getsockopt, c, IPPROTO_TCP, TCP_INFO, room(500), length(20));
    CALL(getsockopt, c, IPPROTO_TCP, 13, room(64), length(64));
    CALL(shutdown, c, 2);
    (void)a2;
}

static void datagrams(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = (int)CALL(socket, AF_INET, SOCK_DGRAM, 0);
    CALL(bind, s, &any, sizeof any);
    struct sockaddr_in *name = room(100);
    CALL(getsockname, s, name, length(100));
    struct sockaddr_in to;
    memcpy(&to, name, sizeof to);
    CALL(setsockopt, s, IPPROTO_IP, 8 /* IP_PKTINFO */, &(int){1}, 4);
    CALL(setsockopt, s, SOL_SOCKET, SO_TIMESTAMP, &(int){1}, 4);
    CALL(sendto, s, "a datagram", 10, 0, &to, sizeof to);
    CALL(recvfrom, s, room(64), 4, MSG_TRUNC, room(100), length(100));

    struct iovec iov[2] = {{"part", 4}, {"and part", 8}};
    struct msghdr msg = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = iov, .msg_iovlen = 2};
    for (int i = 0; i < 3; i++)
        CALL(sendmsg, s, &msg, 0);
    struct mmsghdr many[2] = {{.msg_hdr = msg}, {.msg_hdr = msg}};
    CALL(sendmmsg, s, with(many, sizeof many), 2, 0);

    struct iovec riov[2] = {{room(20), 3}, {room(40), 30}};
    struct msghdr got = {.msg_name = room(100), .msg_namelen = 100, .msg_iov = with(riov, sizeof riov),
                         .msg_iovlen = 2, .msg_control = room(500), .msg_controllen = 500};
    CALL(recvmsg, s, with(&got, sizeof got), 0);
    memset(riov[1].iov_base, PATTERN, 40);
    riov[1].iov_len = 2;
    got.msg_iov = with(riov, sizeof riov);
    got.msg_name = NULL;
    got.msg_control = room(100);
    got.msg_controllen = 40;
    CALL(recvmsg, s, with(&got, sizeof got), MSG_TRUNC);
    got.msg_control = NULL;
    got.msg_controllen = 0;
    struct mmsghdr several[3];
    for (int i = 0; i < 3; i++) {
        struct iovec v[2] = {{room(8), 8}, {room(8), 8}};
        several[i].msg_hdr = got;
        several[i].msg_hdr.msg_name = room(100);
        several[i].msg_hdr.msg_namelen = 100;
        several[i].msg_hdr.msg_control = room(300);
        several[i].msg_hdr.msg_controllen = 300;
        several[i].msg_hdr.msg_iov = with(v, sizeof v);
    }
    uint64_t second[2] = {1, 0};
    CALL(recvmmsg, s, with(several, sizeof several), 3, 0, with(second, 16));
    CALL(recvmmsg, s, with(several, sizeof several), 3, MSG_DONTWAIT, with(second, 16));
}

static void local(void)
{
    int *pair = room(64);
    CALL(socketpair, AF_UNIX, SOCK_DGRAM, 0, pair);
    union { char space[CMSG_SPACE(8)]; struct cmsghdr align; } control;
    memset(&control, 0, sizeof control);
    struct iovec iov = {"fds", 3};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                         .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(8);
    memcpy(CMSG_DATA(c), (int[]){0, 1}, 8);
    CALL(sendmsg, pair[0], &msg, 0);
    CALL(sendmsg, pair[0], &msg, 0);
    struct iovec riov = {room(64), 64};
    struct msghdr got = {.msg_name = room(150), .msg_namelen = 128, .msg_iov = &riov,
                         .msg_iovlen = 1, .msg_control = room(200), .msg_controllen = 200};
    CALL(recvmsg, pair[1], with(&got, sizeof got), 0);
    got.msg_control = room(200);
    got.msg_controllen = 20; /* room for one descriptor only */
    CALL(recvmsg, pair[1], with(&got, sizeof got), MSG_CMSG_CLOEXEC);
    CALL(getsockopt, pair[0], SOL_SOCKET, SO_PEERCRED, room(64), length(64));
    CALL(getpeername, pair[0], room(150), length(128));

    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, "\0relive-oracle", 14);
    int s = (int)CALL(socket, AF_UNIX, SOCK_STREAM, 0);
    CALL(bind, s, &un, 2 + 14);
    CALL(listen, s, 1);
    CALL(getsockname, s, room(150), length(128));
    int t = (int)CALL(socket, AF_UNIX, SOCK_STREAM, 0);
    CALL(connect, t, &un, 2 + 14);
    CALL(accept, s, room(150), length(128));

    /* netlink: what getifaddrs does */
    int n = (int)CALL(socket, AF_NETLINK, SOCK_RAW, 0);
    CALL(bind, n, &(uint32_t[3]){AF_NETLINK}, 12);
    CALL(getsockname, n, room(100), length(12));
    struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid; uint8_t family[4]; } dump = {
        20, 18, 0x301, 1, 0, {0}};
    CALL(sendto, n, &dump, 20, 0, &(uint32_t[3]){AF_NETLINK}, 12);
    struct iovec niov = {room(8192), 8192};
    struct msghdr nmsg = {.msg_name = room(64), .msg_namelen = 12, .msg_iov = &niov, .msg_iovlen = 1};
    CALL(recvmsg, n, with(&nmsg, sizeof nmsg), MSG_PEEK | MSG_TRUNC);
    CALL(recvmsg, n, with(&nmsg, sizeof nmsg), 0);
}

static void interfaces(void)
{
    int s = (int)CALL(socket, AF_INET, SOCK_DGRAM, 0);
    unsigned requests[] = {SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFMTU,
                           SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCGIFMETRIC, SIOCGIFMAP};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct ifreq *r = room(sizeof *r);
        memcpy(r->ifr_name, "lo", 3);
        CALL(ioctl, s, requests[i], r);
    }
    struct ifreq *r = room(sizeof *r);
    r->ifr_ifindex = 1;
    CALL(ioctl, s, SIOCGIFNAME, r);
    CALL(ioctl, s, 0x8946, r);
    struct ifconf conf = {.ifc_len = 500, .ifc_buf = room(500)};
    CALL(ioctl, s, SIOCGIFCONF, with(&conf, sizeof conf));
    conf.ifc_buf = NULL;
    CALL(ioctl, s, SIOCGIFCONF, with(&conf, sizeof conf));
}

static void terminals(void)
{
    int m = (int)CALL(open, "/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
    CALL(ioctl, m, 0x40045431, &(int){0});
    CALL(ioctl, m, 0x80045430, room(64));
    int s = (int)CALL(ioctl, m, 0x5441, O_RDWR | O_NOCTTY | O_NONBLOCK);
    CALL(ioctl, s, TCGETS, room(100));
    CALL(ioctl, s, 0x802c542a, room(100));
    struct termios t;
    CALL(ioctl, s, TCGETS, &t);
    CALL(ioctl, s, TCSETS, &t);
    CALL(ioctl, s, TCGETA, room(64));
    CALL(ioctl, s, TIOCGWINSZ, room(64));
    CALL(ioctl, s, TIOCSWINSZ, &(struct winsize){24, 80, 0, 0});
    CALL(ioctl, s, TIOCGPGRP, room(64));
    CALL(ioctl, s, TIOCGSID, room(64));
    CALL(ioctl, m, TIOCGPGRP, room(64));
    CALL(ioctl, s, TIOCOUTQ, room(64));
    CALL(ioctl, s, FIONREAD, room(64));
    CALL(ioctl, s, 0x5424, room(64));
    CALL(ioctl, s, 0x5419, room(64));
    CALL(ioctl, m, 0x80045432, room(64));
    CALL(ioctl, m, 0x80045438, room(64));
    CALL(ioctl, m, 0x80045439, room(64));
    CALL(ioctl, s, 0x80045440, room(64));
    CALL(ioctl, s, 0x5456, room(100));
    CALL(ioctl, m, TIOCPKT, &(int){1});
    CALL(ioctl, s, TCXONC, 1);
    CALL(ioctl, s, TCFLSH, 2);
    CALL(ioctl, s, TCSBRK, 1);
    CALL(write, s, "to the master\n", 14);
    CALL(read, m, room(64), 64);
    CALL(write, m, "line\n", 5);
    CALL(read, s, room(64), 64);
}

int main(void)
{
    streams();
    datagrams();
    local();
    interfaces();
    terminals();
    return 0;
}
