/* What the system says about itself: uname, sysinfo, hostname, page size, load, user names. */
#include "check.h"
#include <pwd.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

int main(void)
{
    struct utsname name;
    struct sysinfo facts;
    double load[3];
    CHECK(uname(&name) == 0 && strcmp(name.sysname, "Linux") == 0);
    CHECK(sysinfo(&facts) == 0);
    printf("%s %s uptime %ld free %lu procs %d\n", name.nodename, name.release, facts.uptime,
           facts.freeram, facts.procs);
    CHECK(getloadavg(load, 3) == 3);
    printf("load %f pages %ld free pages %ld\n", load[0], sysconf(_SC_PHYS_PAGES),
           sysconf(_SC_AVPHYS_PAGES));
    struct passwd *user = getpwuid(getuid());
    printf("user %s\n", user ? user->pw_name : "without a name");
    char host[256];
    CHECK(gethostname(host, sizeof host) == 0);
    return success();
}
