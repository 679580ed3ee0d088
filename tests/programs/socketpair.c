/* socketpair: fd passing, credentials, peeking, truncated data and control, several messages. */
#include "check.h"

union control {
    char bytes[256];
    struct cmsghdr header;
};

static void send_fds(int to, const int *fds, int count, const char *text)
{
    union control control = {0};
    struct iovec vector = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)count);
    CHECK(sendmsg(to, &message, 0) == (ssize_t)strlen(text));
}

int main(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int fds[3];
        for (int i = 0; i < 3; i++) {
            fds[i] = memfd_create("passed", 0);
            CHECK(fds[i] >= 0 && pwrite(fds[i], &(char){(char)('a' + i)}, 1, 0) == 1);
        }
        send_fds(pair[1], fds, 3, "three");
        send_fds(pair[1], fds, 1, "a long message, cut by its reader");
        CHECK(send(pair[1], "plain", 5, 0) == 5);
        char text[8];
        CHECK(recv(pair[1], text, sizeof text, 0) == 4);
        _exit(0);
    }
    union control control;
    char text[64] = {0};
    struct iovec vector = {text, sizeof text};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    CHECK(recvmsg(pair[0], &message, MSG_CMSG_CLOEXEC) == 5 && memcmp(text, "three", 5) == 0);
    int found = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_type == SCM_RIGHTS) {
            int fds[3];
            CHECK(header->cmsg_len == CMSG_LEN(sizeof fds));
            memcpy(fds, CMSG_DATA(header), sizeof fds);
            for (int i = 0; i < 3; i++) {
                char byte;
                CHECK(pread(fds[i], &byte, 1, 0) == 1 && byte == 'a' + i);
                CHECK(fcntl(fds[i], F_GETFD) == FD_CLOEXEC);
                close(fds[i]);
            }
            found |= 1;
        } else if (header->cmsg_type == SCM_CREDENTIALS) {
            struct ucred credentials;
            memcpy(&credentials, CMSG_DATA(header), sizeof credentials);
            CHECK(credentials.pid == child && credentials.uid == getuid());
            printf("from %d\n", credentials.pid);
            found |= 2;
        }
    }
    CHECK(found == 3);

    vector.iov_len = 6;
    message.msg_controllen = CMSG_LEN(0); /* no room for the control message */
    CHECK(recvmsg(pair[0], &message, 0) == 6 && memcmp(text, "a long", 6) == 0);
    CHECK((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == (MSG_TRUNC | MSG_CTRUNC));
    CHECK(recv(pair[0], text, 2, MSG_PEEK | MSG_TRUNC) == 5);
    CHECK(recv(pair[0], text, sizeof text, 0) == 5 && memcmp(text, "plain", 5) == 0);
    CHECK_FAILS(recv(pair[0], text, sizeof text, MSG_DONTWAIT), EAGAIN);
    CHECK(send(pair[0], "done", 4, MSG_NOSIGNAL) == 4);
    reap(child, 0);
    close(pair[1]);
    CHECK(recv(pair[0], text, sizeof text, 0) == 0);
    CHECK_FAILS(send(pair[0], "x", 1, MSG_NOSIGNAL), EPIPE);

    struct ucred peer;
    socklen_t length = sizeof peer;
    CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0);
    CHECK(peer.pid == getpid() && length == sizeof peer);
    return success();
}
