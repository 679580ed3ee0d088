/* System V: shared memory seen by two processes, semaphores that block, message queues. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

struct note {
    long type;
    char text[32];
};

int main(void)
{
    int memory = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600);
    if (memory == -1 && (errno == ENOSYS || errno == EPERM))
        SKIP("no System V shared memory");
    CHECK(memory >= 0);
    volatile int *words = shmat(memory, NULL, 0), *again = shmat(memory, NULL, SHM_RDONLY);
    CHECK(words != (void *)-1 && again != (void *)-1 && words != again);
    CHECK(shmctl(memory, IPC_RMID, NULL) == 0); /* lives on while attached */
    struct shmid_ds facts;
    CHECK(shmctl(memory, IPC_STAT, &facts) == 0);
    CHECK(facts.shm_segsz == 10000 && facts.shm_nattch == 2 && facts.shm_cpid == getpid());

    int semaphores = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);
    CHECK(semaphores >= 0);
    CHECK(semctl(semaphores, 0, SETALL, (unsigned short[]){1, 0}) == 0);
    int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    CHECK(queue >= 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 50; i++) {
            CHECK(semop(semaphores, &(struct sembuf){1, -1, 0}, 1) == 0);
            words[1] = words[0] * 2;
            CHECK(semop(semaphores, &(struct sembuf){0, 1, 0}, 1) == 0);
        }
        for (int i = 0; i < 3; i++) {
            struct note note = {.type = 3 - i};
            snprintf(note.text, sizeof note.text, "note %d", i);
            CHECK(msgsnd(queue, &note, sizeof note.text, 0) == 0);
        }
        CHECK(shmdt((const void *)again) == 0);
        _exit(0);
    }
    for (int i = 0; i < 50; i++) {
        CHECK(semop(semaphores, &(struct sembuf){0, -1, 0}, 1) == 0);
        CHECK(i == 0 || again[1] == 2 * (i - 1));
        words[0] = i;
        CHECK(semop(semaphores, &(struct sembuf){1, 1, 0}, 1) == 0);
    }
    struct note note;
    reap(child, 0);
    CHECK(msgrcv(queue, &note, sizeof note.text, 2, 0) == sizeof note.text);
    CHECK(note.type == 2 && strcmp(note.text, "note 1") == 0);
    CHECK(msgrcv(queue, &note, sizeof note.text, -3, 0) == sizeof note.text && note.type == 1);
    CHECK(msgrcv(queue, &note, 4, 0, MSG_NOERROR) == 4 && note.type == 3);
    CHECK_FAILS(msgrcv(queue, &note, sizeof note.text, 0, IPC_NOWAIT), ENOMSG);
    struct msqid_ds queue_facts;
    CHECK(msgctl(queue, IPC_STAT, &queue_facts) == 0 && queue_facts.msg_qnum == 0);
    unsigned short values[2];
    CHECK(semctl(semaphores, 0, GETALL, values) == 0 && values[0] == 1 && values[1] == 0);
    CHECK(semctl(semaphores, 0, GETPID) == child);
    CHECK(semctl(semaphores, 0, IPC_RMID) == 0 && msgctl(queue, IPC_RMID, NULL) == 0);
    CHECK(again[0] == 49 && again[1] == 98);
    CHECK(shmdt((const void *)words) == 0);
    CHECK_FAILS(shmdt((const void *)words), EINVAL);
    printf("queue %d semaphores %d memory %d\n", queue, semaphores, memory);
    return success();
}
