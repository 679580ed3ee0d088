/*
 * A pseudo-terminal: modes, window size, line discipline, echo, waiting bytes, hang-up.
 * @link util
 */
#include "check.h"
#include <pty.h>
#include <termios.h>

int main(void)
{
    int master, terminal, waiting;
    char name[64], text[64];
    struct winsize size = {.ws_row = 24, .ws_col = 80}, found;
    if (openpty(&master, &terminal, name, NULL, &size) == -1)
        SKIP("no pseudo-terminals");
    CHECK(isatty(terminal) && !isatty(0) == !isatty(0));
    CHECK(ioctl(terminal, TIOCGWINSZ, &found) == 0 && found.ws_row == 24 && found.ws_col == 80);
    struct termios modes, before;
    CHECK(tcgetattr(terminal, &before) == 0 && (before.c_lflag & ICANON));
    modes = before;
    modes.c_lflag &= ~(tcflag_t)(ECHO);
    CHECK(tcsetattr(terminal, TCSANOW, &modes) == 0);
    CHECK(tcgetattr(terminal, &modes) == 0 && !(modes.c_lflag & ECHO));
    /* Canonical: nothing until the end of line, and ^H takes back (^? by default). */
    CHECK(write(master, "abx\177c", 5) == 5);
    CHECK(ioctl(terminal, FIONREAD, &waiting) == 0 && waiting == 0);
    CHECK(write(master, "\n", 1) == 1);
    CHECK(read(terminal, text, sizeof text) == 4 && memcmp(text, "abc\n", 4) == 0);
    CHECK(write(terminal, "out\n", 4) == 4);
    CHECK(read(master, text, sizeof text) == 5 && memcmp(text, "out\r\n", 5) == 0);
    cfmakeraw(&modes);
    CHECK(tcsetattr(terminal, TCSADRAIN, &modes) == 0);
    CHECK(write(master, "raw", 3) == 3);
    CHECK(read(terminal, text, sizeof text) == 3);
    CHECK(tcflush(terminal, TCIOFLUSH) == 0 && tcdrain(terminal) == 0);
    unsigned number;
    int locked;
    CHECK(ioctl(master, TIOCGPTN, &number) == 0 && ioctl(master, TIOCGPTLCK, &locked) == 0);
    CHECK(strstr(name, "/dev/pts/") == name && atoi(name + 9) == (int)number);
    size.ws_row = 50;
    CHECK(ioctl(master, TIOCSWINSZ, &size) == 0);
    CHECK(ioctl(terminal, TIOCGWINSZ, &found) == 0 && found.ws_row == 50);
    /* A child writes while this process blocks in a read of the master; then it hangs up. */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(master);
        CHECK(write(terminal, "from the child", 14) == 14);
        _exit(0);
    }
    close(terminal);
    CHECK(read(master, text, sizeof text) == 14);
    reap(child, 0);
    CHECK_FAILS(read(master, text, sizeof text), EIO);
    CHECK_FAILS(ioctl(0, 0x12345678, text), ENOTTY);
    printf("%s\n", name);
    return success();
}
