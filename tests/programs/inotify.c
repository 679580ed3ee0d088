/* inotify: events with names and cookies, several a read, a watch that goes away. */
#include "check.h"
#include <sys/inotify.h>

int main(void)
{
    CHECK(mkdir("watched", 0700) == 0);
    int fd = inotify_init1(IN_CLOEXEC), waiting;
    CHECK(fd >= 0);
    int watch = inotify_add_watch(fd, "watched", IN_CREATE | IN_MOVE | IN_DELETE | IN_CLOSE_WRITE);
    CHECK(watch >= 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int file = open("watched/a", O_CREAT | O_WRONLY, 0600);
        CHECK(file >= 0);
        close(file);
        CHECK(rename("watched/a", "watched/a longer name") == 0);
        CHECK(unlink("watched/a longer name") == 0);
        _exit(0);
    }
    union {
        char bytes[4096];
        struct inotify_event event;
    } buffer;
    static const uint32_t expected[] = {IN_CREATE, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO,
                                        IN_DELETE};
    uint32_t cookie = 0;
    for (size_t seen = 0; seen < 5;) {
        ssize_t count = read(fd, buffer.bytes, sizeof buffer.bytes);
        CHECK(count > 0);
        for (char *at = buffer.bytes; at < buffer.bytes + count; seen++) {
            struct inotify_event *event = (void *)at;
            CHECK(seen < 5 && event->mask == expected[seen] && event->wd == watch);
            printf("%x %s %u\n", event->mask, event->name, event->cookie);
            if (event->mask == IN_MOVED_FROM)
                cookie = event->cookie;
            if (event->mask == IN_MOVED_TO)
                CHECK(cookie == event->cookie);
            at += sizeof *event + event->len;
        }
    }
    reap(child, 0);
    CHECK(ioctl(fd, FIONREAD, &waiting) == 0 && waiting == 0);
    CHECK(inotify_rm_watch(fd, watch) == 0);
    CHECK(read(fd, buffer.bytes, sizeof buffer.bytes) > 0 && buffer.event.mask == IN_IGNORED);
    CHECK(rmdir("watched") == 0);
    return success();
}
