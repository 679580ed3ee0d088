/* A thread made by hand: set_tid_address and CLONE_CHILD_CLEARTID, waited for by futex. */
#include "check.h"
#include <linux/futex.h>
#include <sched.h>

static int tid_word = -1, seen;

static int thread(void *value)
{
    seen = *(int *)value;
    return 0;
}

int main(void)
{
    size_t size = 65536;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    for (int i = 0; i < 10; i++) {
        int parent_word = 0;
        int tid = clone(thread, stack + size,
                        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                            CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID |
                            CLONE_CHILD_CLEARTID,
                        &i, &parent_word, NULL, &tid_word);
        CHECK(tid > 0 && parent_word == tid);
        int word;
        while ((word = __atomic_load_n(&tid_word, __ATOMIC_SEQ_CST)) != 0)
            syscall(SYS_futex, &tid_word, FUTEX_WAIT, word, NULL, NULL, 0);
        CHECK(seen == i);
        tid_word = -1;
        printf("%d%c", tid, i == 9 ? '\n' : ' ');
    }
    /* A process with memory of its own: the word is cleared in that memory only. */
    int child_word = 77;
    long child = syscall(SYS_clone, CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL,
                         &child_word, 0);
    CHECK(child >= 0);
    if (child == 0)
        _exit(child_word == getpid() ? 3 : 1);
    reap((pid_t)child, 3);
    CHECK(child_word == 77);
    CHECK(syscall(SYS_set_tid_address, &child_word) == getpid());
    return success();
}
