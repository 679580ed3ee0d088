/* Netlink: the network interfaces and their addresses, as getifaddrs and if_nameindex ask. */
#include "check.h"
#include <ifaddrs.h>
#include <net/if.h>

int main(void)
{
    struct ifaddrs *addresses;
    if (getifaddrs(&addresses) == -1)
        SKIP("no netlink sockets");
    int count = 0;
    for (struct ifaddrs *at = addresses; at; at = at->ifa_next) {
        printf("%s %x %d\n", at->ifa_name, at->ifa_flags, at->ifa_addr ? at->ifa_addr->sa_family : 0);
        count++;
    }
    freeifaddrs(addresses);
    struct if_nameindex *names = if_nameindex();
    CHECK(names);
    for (struct if_nameindex *at = names; at->if_index; at++)
        printf("%u %s\n", at->if_index, at->if_name);
    if_freenameindex(names);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(fd >= 0);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "lo");
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        printf("lo %x\n", request.ifr_flags);
    char buffer[2048];
    struct ifconf list = {.ifc_len = sizeof buffer, .ifc_buf = buffer};
    CHECK(ioctl(fd, SIOCGIFCONF, &list) == 0);
    printf("%d bytes of interfaces, %d addresses\n", list.ifc_len, count);
    return success();
}
