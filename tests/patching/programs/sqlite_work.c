/* Rounds of SQL on a database in memory; as libc_work.c. */
#include <signal.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t digest;

static int row(void *unused, int n, char **values, char **names)
{
    (void)unused;
    (void)names;
    for (int i = 0; i < n; i++)
        for (const char *p = values[i] ? values[i] : "null"; *p; p++)
            digest = (digest ^ (unsigned char)*p) * 0x100000001b3u;
    return 0;
}

static const char *const script =
    "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL);"
    "INSERT INTO t(b, c) VALUES ('one', 1.5), ('two', 2.25), ('three', 3);"
    "CREATE INDEX i ON t(b);"
    "UPDATE t SET c = c * 2 WHERE a % 2 = 0;"
    "SELECT count(*), sum(c), group_concat(b), upper(b) FROM t GROUP BY a > 2;"
    "DELETE FROM t WHERE b LIKE 't%'; SELECT * FROM t ORDER BY b DESC; DROP TABLE t;";

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : 3;
    sqlite3 *db;

    if (sqlite3_open(":memory:", &db))
        return 1;
    while (rounds--) {
        char line[32];

        digest = 0xcbf29ce484222325u;
        if (sqlite3_exec(db, script, row, NULL, NULL))
            return 1;
        snprintf(line, sizeof line, "%016llx\n", (unsigned long long)digest);
        if (write(1, line, strlen(line)) < 0)
            return 1;
        raise(SIGTRAP);
    }
    return 0;
}
