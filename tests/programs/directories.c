/* Reading directories: many names, rewinding, seeking, while they change. */
#include "check.h"
#include <dirent.h>

int main(void)
{
    CHECK(mkdir("many", 0700) == 0 && chdir("many") == 0);
    for (int i = 0; i < 500; i++) {
        char name[64];
        snprintf(name, sizeof name, "%d-%.*s", i, i % 40, "a name that grows and shrinks as we go on..");
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        CHECK(fd >= 0);
        close(fd);
    }
    DIR *directory = opendir(".");
    CHECK(directory);
    struct dirent *entry;
    int count = 0;
    unsigned digest = 0;
    long middle = 0;
    char after[256] = "";
    while ((entry = readdir(directory))) {
        if (count == 250)
            middle = telldir(directory);
        if (count == 251)
            snprintf(after, sizeof after, "%s", entry->d_name);
        count++;
        for (char *at = entry->d_name; *at; at++)
            digest = digest * 31 + (unsigned char)*at;
        digest ^= (unsigned)entry->d_ino;
    }
    CHECK(count == 502);
    printf("digest %08x\n", digest);
    seekdir(directory, middle);
    rewinddir(directory);
    int removed = 0;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.') {
            CHECK(unlink(entry->d_name) == 0);
            removed++;
        }
    CHECK(removed == 500);
    closedir(directory);
    CHECK(chdir("..") == 0 && rmdir("many") == 0);
    struct dirent **names;
    CHECK(mkdir("few", 0700) == 0 && scandir("few", &names, NULL, alphasort) == 2);
    CHECK(strcmp(names[0]->d_name, ".") == 0 && strcmp(names[1]->d_name, "..") == 0);
    CHECK(rmdir("few") == 0);
    printf("%s\n", after);
    return success();
}
