/* Network namespaces, rtnetlink and interface ioctls. A fresh namespace is alike everywhere. */
#include "check.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/un.h>

static int nl;
static unsigned sequence;
static char answer[65536];

struct request {
    struct nlmsghdr head;
    char body[512];
};

static void *begin(struct request *r, int type, int flags, size_t size)
{
    memset(r, 0, sizeof *r);
    r->head.nlmsg_len = NLMSG_LENGTH(size);
    r->head.nlmsg_type = type;
    r->head.nlmsg_flags = NLM_F_REQUEST | flags;
    r->head.nlmsg_seq = ++sequence;
    return NLMSG_DATA(&r->head);
}

static void put_attr(struct request *r, int type, const void *data, size_t size)
{
    struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));
    a->rta_type = type;
    a->rta_len = RTA_LENGTH(size);
    memcpy(RTA_DATA(a), data, size);
    r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* Sends it and returns the error of the acknowledgement. */
static int talk(struct request *r)
{
    r->head.nlmsg_flags |= NLM_F_ACK;
    if (send(nl, r, r->head.nlmsg_len, 0) < 0)
        return errno;
    for (;;) {
        ssize_t n = recv(nl, answer, sizeof answer, 0);
        struct nlmsghdr *h = (struct nlmsghdr *)answer;
        for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
            if (h->nlmsg_type == NLMSG_ERROR)
                return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
    }
}

static void told(const char *what, int error) { say("%s: %s", what, error ? errname(error) : "ok"); }

static const char *address(int family, const void *data)
{
    static char text[64];
    return inet_ntop(family, data, text, sizeof text);
}

static void show_link(struct nlmsghdr *h)
{
    struct ifinfomsg *m = NLMSG_DATA(h);
    int left = IFLA_PAYLOAD(h);
    say("link %d type %d flags %#x", m->ifi_index, m->ifi_type, m->ifi_flags);
    for (struct rtattr *a = IFLA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == IFLA_IFNAME)
            say("  name %s", (char *)RTA_DATA(a));
        if (a->rta_type == IFLA_MTU)
            say("  mtu %u", *(unsigned *)RTA_DATA(a));
        if (a->rta_type == IFLA_OPERSTATE)
            say("  state %d", *(unsigned char *)RTA_DATA(a));
        if (a->rta_type == IFLA_QDISC)
            say("  has a queue discipline");
        if (a->rta_type == IFLA_ADDRESS)
            say("  hardware address of %zu bytes", RTA_PAYLOAD(a));
    }
}

static void show_address(struct nlmsghdr *h)
{
    struct ifaddrmsg *m = NLMSG_DATA(h);
    int left = IFA_PAYLOAD(h);
    say("address family %d /%d scope %d flags %#x link %d", m->ifa_family, m->ifa_prefixlen, m->ifa_scope, m->ifa_flags, m->ifa_index);
    for (struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == IFA_ADDRESS || a->rta_type == IFA_LOCAL)
            say("  %d: %s", a->rta_type, address(m->ifa_family, RTA_DATA(a)));
        if (a->rta_type == IFA_LABEL)
            say("  label %s", (char *)RTA_DATA(a));
    }
}

static void show_route(struct nlmsghdr *h)
{
    struct rtmsg *m = NLMSG_DATA(h);
    char to[64] = "-", gateway[64] = "-";
    int left = RTM_PAYLOAD(h);
    if (m->rtm_family != AF_INET)
        return; /* the kernel has more IPv6 routes than anybody asks for */
    for (struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == RTA_DST)
            snprintf(to, sizeof to, "%s", address(m->rtm_family, RTA_DATA(a)));
        if (a->rta_type == RTA_GATEWAY)
            snprintf(gateway, sizeof gateway, "%s", address(m->rtm_family, RTA_DATA(a)));
    }
    say("route %s/%d gateway %s table %d type %d scope %d protocol %d", to, m->rtm_dst_len, gateway, m->rtm_table, m->rtm_type,
        m->rtm_scope, m->rtm_protocol);
}

static void dump(int type, int family, void (*show)(struct nlmsghdr *))
{
    struct request r;
    struct rtmsg *m = begin(&r, type, NLM_F_DUMP, type == RTM_GETLINK ? sizeof(struct ifinfomsg) : type == RTM_GETADDR ? sizeof(struct ifaddrmsg) : sizeof *m);
    m->rtm_family = family;
    send(nl, &r, r.head.nlmsg_len, 0);
    for (;;) {
        ssize_t n = recv(nl, answer, sizeof answer, 0);
        struct nlmsghdr *h = (struct nlmsghdr *)answer;
        if (n < 0) {
            report("recv", n);
            return;
        }
        for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            if (h->nlmsg_type == NLMSG_DONE) {
                say("done, sequence %s", h->nlmsg_seq == sequence ? "ours" : "another");
                return;
            }
            if (h->nlmsg_type == NLMSG_ERROR) {
                told("error", -((struct nlmsgerr *)NLMSG_DATA(h))->error);
                return;
            }
            show(h);
        }
    }
}

static int set_up(int up)
{
    struct request r;
    struct ifinfomsg *m = begin(&r, RTM_NEWLINK, 0, sizeof *m);
    m->ifi_index = 1;
    m->ifi_flags = up ? IFF_UP : 0;
    m->ifi_change = IFF_UP;
    return talk(&r);
}

static int change_address(int type, int flags, const char *text, int bits, int index)
{
    struct request r;
    struct in_addr addr;
    struct ifaddrmsg *m = begin(&r, type, flags, sizeof *m);
    m->ifa_family = AF_INET;
    m->ifa_prefixlen = bits;
    m->ifa_index = index;
    inet_aton(text, &addr);
    put_attr(&r, IFA_LOCAL, &addr, 4);
    put_attr(&r, IFA_ADDRESS, &addr, 4);
    return talk(&r);
}

static int change_route(int type, int flags, const char *to, int bits, const char *gateway)
{
    struct request r;
    struct in_addr addr;
    struct rtmsg *m = begin(&r, type, flags, sizeof *m);
    m->rtm_family = AF_INET;
    m->rtm_dst_len = bits;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_BOOT;
    m->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    m->rtm_type = RTN_UNICAST;
    inet_aton(to, &addr);
    put_attr(&r, RTA_DST, &addr, 4);
    put_attr(&r, RTA_OIF, &(int){1}, 4);
    return talk(&r);
}

static void sockets(void)
{
    struct sockaddr_nl name = {.nl_family = AF_NETLINK};
    socklen_t length = sizeof name;
    int fd = RES(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
    RES(bind(fd, (struct sockaddr *)&name, 4));
    RES(bind(fd, (struct sockaddr *)&name, sizeof name));
    RES(getsockname(fd, (struct sockaddr *)&name, &length));
    IS(length == 12 && name.nl_pid != 0 && name.nl_groups == 0);
    int other = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    RES(bind(other, (struct sockaddr *)&name, sizeof name));
    RES(recv(fd, answer, 10, MSG_DONTWAIT));
    RES(listen(fd, 1));
    RES(accept(fd, NULL, NULL));
    RES(shutdown(fd, SHUT_WR));
    RES(send(fd, "x", 1, MSG_OOB));
    RES(send(fd, "x", 1, 0));
    RES(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &(int){1}, 4));
    RES(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &(int){1}, 4));
    RES(setsockopt(fd, SOL_NETLINK, 999, &(int){1}, 4));
    RES(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
    RES(socket(AF_NETLINK, SOCK_RAW, 31));
    OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    close(fd);
    close(other);
}

static void requests(void)
{
    struct request r;
    begin(&r, 120, 0, 4);
    told("a type that nobody has", talk(&r));
    begin(&r, RTM_MAX + 1 + 80, 0, 4);
    told("a type beyond all", talk(&r));
    begin(&r, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    told("no link meant", talk(&r));
    ((struct ifinfomsg *)begin(&r, RTM_GETLINK, 0, sizeof(struct ifinfomsg)))->ifi_index = 77;
    told("a link that is not there", talk(&r));
    ((struct ifinfomsg *)begin(&r, RTM_SETLINK, 0, sizeof(struct ifinfomsg)))->ifi_index = 77;
    told("to set a link that is not there", talk(&r));
    begin(&r, RTM_NEWADDR, NLM_F_CREATE, 2);
    told("a short address", talk(&r));
    told("an address of no link", change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "10.1.2.3", 24, 77));
    told("an address with too long a prefix", change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "10.1.2.3", 40, 1));
}

static void ioctls(void)
{
    struct ifreq row;
    struct ifreq rows[4];
    struct ifconf all = {.ifc_len = sizeof rows, .ifc_req = rows};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), local = socket(AF_UNIX, SOCK_DGRAM, 0);
    memset(&row, 0, sizeof row);
    strcpy(row.ifr_name, "lo");
    RES(ioctl(fd, SIOCGIFFLAGS, &row));
    say("flags %#x", row.ifr_flags);
    RES(ioctl(local, SIOCGIFINDEX, &row));
    say("index %d", row.ifr_ifindex);
    RES(ioctl(fd, SIOCGIFMTU, &row));
    say("mtu %d", row.ifr_mtu);
    RES(ioctl(fd, SIOCGIFTXQLEN, &row));
    say("queue %d", row.ifr_qlen);
    RES(ioctl(fd, SIOCGIFHWADDR, &row));
    say("hardware type %d", row.ifr_hwaddr.sa_family);
    RES(ioctl(fd, SIOCGIFADDR, &row));
    RES(ioctl(fd, SIOCGIFNETMASK, &row));
    RES(ioctl(local, SIOCGIFADDR, &row));
    row.ifr_ifindex = 1;
    RES(ioctl(fd, SIOCGIFNAME, &row));
    say("name %s", row.ifr_name);
    row.ifr_ifindex = 99;
    RES(ioctl(fd, SIOCGIFNAME, &row));
    strcpy(row.ifr_name, "nosuch");
    RES(ioctl(fd, SIOCGIFFLAGS, &row));
    RES(ioctl(fd, SIOCGIFMTU, &row));
    RES(ioctl(fd, SIOCGIFCONF, &all));
    say("configured: %d bytes, %s", all.ifc_len, all.ifc_len ? rows[0].ifr_name : "-");
    all.ifc_req = NULL;
    RES(ioctl(fd, SIOCGIFCONF, &all));
    say("room wanted: %d", all.ifc_len);
    RES(ioctl(fd, SIOCGIFFLAGS, (void *)8));
    close(fd);
    close(local);
}

static void interfaces(void)
{
    struct ifaddrs *list;
    RES(getifaddrs(&list));
    for (struct ifaddrs *one = list; one; one = one->ifa_next)
        say("%s family %d flags %#x", one->ifa_name, one->ifa_addr ? one->ifa_addr->sa_family : 0, one->ifa_flags);
    freeifaddrs(list);
    RES(if_nametoindex("lo"));
}

static int bound(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(addr.sun_path + 1, name, strlen(name));
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
    RES(bind(fd, (struct sockaddr *)&addr, length));
    RES(listen(fd, 1));
    return fd;
}

static void look(void)
{
    dump(RTM_GETLINK, AF_UNSPEC, show_link);
    dump(RTM_GETADDR, AF_UNSPEC, show_address);
    dump(RTM_GETADDR, AF_INET6, show_address);
    dump(RTM_GETROUTE, AF_INET, show_route);
    interfaces();
    ioctls();
}

static void open_netlink(void)
{
    struct sockaddr_nl name = {.nl_family = AF_NETLINK};
    nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    RES(bind(nl, (struct sockaddr *)&name, sizeof name));
}

int main(void)
{
    char before[64] = "", after[64] = "";
    say("# sockets");
    sockets();
    int first = open("/proc/self/ns/net", O_RDONLY);
    int held = bound("name");
    readlink("/proc/self/ns/net", before, sizeof before - 1);
    say("# a new namespace");
    RES(unshare(CLONE_NEWNET));
    readlink("/proc/self/ns/net", after, sizeof after - 1);
    IS(strcmp(before, after) != 0);
    int again = bound("name");
    open_netlink();
    requests();
    look();
    say("# up");
    told("up", set_up(1));
    look();
    say("# addresses");
    told("add", change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "10.1.2.3", 24, 1));
    told("twice", change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "10.1.2.3", 24, 1));
    look();
    told("delete what is not there", change_address(RTM_DELADDR, 0, "10.1.2.4", 24, 1));
    told("delete", change_address(RTM_DELADDR, 0, "10.1.2.3", 24, 1));
    say("# routes");
    told("add", change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, "10.9.0.0", 16, NULL));
    told("twice", change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, "10.9.0.0", 16, NULL));
    told("bits behind the prefix", change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, "10.9.0.1", 16, NULL));
    dump(RTM_GETROUTE, AF_INET, show_route);
    told("delete", change_route(RTM_DELROUTE, 0, "10.9.0.0", 16, NULL));
    told("delete again", change_route(RTM_DELROUTE, 0, "10.9.0.0", 16, NULL));
    say("# down");
    told("down", set_up(0));
    told("route over a link that is down", change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, "10.9.0.0", 16, NULL));
    dump(RTM_GETLINK, AF_UNSPEC, show_link);
    dump(RTM_GETROUTE, AF_INET, show_route);
    say("# back");
    RES(setns(first, CLONE_NEWUTS));
    RES(setns(first, CLONE_NEWNET));
    readlink("/proc/self/ns/net", after, sizeof after - 1);
    IS(strcmp(before, after) == 0);
    close(held);
    close(again);
    held = bound("name");
    int pid = fork();
    if (!pid) {
        unshare(CLONE_NEWNET);
        again = bound("name");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    say("# without privilege");
    OK(setresuid(1000, 1000, 1000));
    RES(unshare(CLONE_NEWNET));
    RES(setns(first, CLONE_NEWNET));
    told("up", set_up(1));
    return 0;
}
