/* sendmmsg and recvmmsg: several messages a call, with names, vectors, control and a time-out. */
#include "check.h"

#define COUNT 5

int main(void)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    char out[COUNT][16], in[COUNT + 2][2][8];
    struct iovec out_vectors[COUNT][2], in_vectors[COUNT + 2][2];
    struct mmsghdr out_messages[COUNT] = {0}, in_messages[COUNT + 2] = {0};
    char control[COUNT + 2][64] __attribute__((aligned(8)));
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) == 0);
    for (int i = 0; i < COUNT; i++) {
        snprintf(out[i], sizeof out[i], "message %d%.*s", i, i, "......");
        out_vectors[i][0] = (struct iovec){out[i], 4};
        out_vectors[i][1] = (struct iovec){out[i] + 4, strlen(out[i]) - 4};
        out_messages[i].msg_hdr.msg_iov = out_vectors[i];
        out_messages[i].msg_hdr.msg_iovlen = 2;
    }
    memset(in, 0, sizeof in);
    for (int i = 0; i < COUNT + 2; i++) {
        in_vectors[i][0] = (struct iovec){in[i][0], 5};
        in_vectors[i][1] = (struct iovec){in[i][1], 8};
        in_messages[i].msg_hdr.msg_iov = in_vectors[i];
        in_messages[i].msg_hdr.msg_iovlen = 2;
        in_messages[i].msg_hdr.msg_control = control[i];
        in_messages[i].msg_hdr.msg_controllen = sizeof control[i];
    }
    CHECK(sendmmsg(pair[0], out_messages, COUNT, 0) == COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK(out_messages[i].msg_len == strlen(out[i]));
    CHECK(recvmmsg(pair[1], in_messages, COUNT + 2, MSG_DONTWAIT, NULL) == COUNT);
    for (int i = 0; i < COUNT; i++) {
        char text[16];
        snprintf(text, sizeof text, "%.5s%.8s", in[i][0], in[i][1]);
        CHECK(strcmp(text, out[i]) == 0 && in_messages[i].msg_len == strlen(out[i]));
        struct cmsghdr *header = CMSG_FIRSTHDR(&in_messages[i].msg_hdr);
        CHECK(header && header->cmsg_type == SCM_CREDENTIALS);
    }
    CHECK_FAILS(recvmmsg(pair[1], in_messages, 2, MSG_DONTWAIT, NULL), EAGAIN);
    /* A child sends later; MSG_WAITFORONE takes what is there after the first. */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(sendmmsg(pair[0], out_messages, 3, 0) == 3);
        _exit(0);
    }
    int got = 0;
    while (got < 3) {
        int count = recvmmsg(pair[1], in_messages, 3, MSG_WAITFORONE, NULL);
        CHECK(count > 0);
        got += count;
    }
    CHECK(got == 3);
    reap(child, 0);
    CHECK(sendmmsg(pair[0], out_messages, 2, 0) == 2);
    struct timespec limit = {.tv_sec = 100};
    CHECK(recvmmsg(pair[1], in_messages, 2, 0, &limit) == 2);
    printf("left %ld\n", (long)limit.tv_sec);
    return success();
}
