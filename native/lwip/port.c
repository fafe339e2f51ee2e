/* lwIP behind packet descriptors: links, routes, input and output, and calls for one thread. See port.h.
 *
 * Frames travel with a struct virtio_net_hdr (PACKET_VNET_HDR), as the host's own do inside: segments of up to 64 KiB that
 * the host cuts where they leave the machine, and checksums that it fills in there. */
#include "port.h"
#include "mtu.h"
#include "paths.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/icmp.h"
#include "lwip/icmp6.h"
#include "lwip/igmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/init.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6_frag.h"
#include "lwip/mld6.h"
#include "lwip/nd6.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"
#include "lwip/prot/tcp.h"
#include "lwip/raw.h"
#include "lwip/tcp.h"
#include "netif/ethernet.h"
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LINKS 16
#define ROUTES 256
#define FRAME_MAX 65535
#define SMALL_FRAME 16384       /* these are copied, others keep the memory that they came into */
#define BURST_MSS 64000         /* a segment of several packets is not longer */
#define PENDING_MAX (256L << 20) /* bytes that guests have not read: then data is dropped, and sent again later */
#define HALF_OPEN 512            /* connections that wait for the last part of the handshake; beyond that there are cookies */
#define COOKIE_TIME 2000         /* ms that go by until their number is looked at again */
#define COOKIE_LIFE 120000

struct link {
    struct netif netif;
    int index; /* of the interface, as guests see it; 0: free */
    int fd;
    int mtu;
};

struct route {
    uint8_t network[16], gateway[16];
    int length, bits, has_gateway;
    struct link *link;
    ip4_addr_t gateway4;
    ip6_addr_t gateway6;
};

static struct link links[LINKS];
static struct route routes[ROUTES];
static int route_count;
static const struct wire_calls *calls;
static long pending_bytes;
static struct pbuf *spare; /* where the next frame goes */
static int mute;                 /* what lwIP sends is not to leave */
static uint32_t forced_sequence; /* of the next connection, unless 0 */
static uint64_t secret[2];       /* of the cookies */
static uint32_t cookies_until;   /* ms; before that SYNs are answered with cookies */

/* ---- what lwIP asks of its host */
void wire_assert(const char *text, int line, const char *file)
{
    (void)file, (void)line;
    if (write(2, text, strlen(text)) < 0)
        abort();
    abort();
}

uint32_t wire_random(void)
{
    static uint32_t pool[64];
    static unsigned left;
    if (!left) {
        if (getrandom(pool, sizeof pool, 0) != (ssize_t)sizeof pool)
            abort();
        left = 64;
    }
    return pool[--left];
}

u32_t sys_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (u32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

uint32_t wire_first_sequence(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port)
{
    (void)local, (void)local_port, (void)remote, (void)remote_port;
    return forced_sequence ? forced_sequence : wire_random();
}

/* ---- addresses */
static void to_ip(ip_addr_t *out, const uint8_t *address, int length, int index)
{
    memset(out, 0, sizeof *out);
    if (length == 4) {
        memcpy(&out->u_addr.ip4.addr, address, 4);
        out->type = IPADDR_TYPE_V4;
        return;
    }
    memcpy(out->u_addr.ip6.addr, address, 16);
    out->type = IPADDR_TYPE_V6;
    if (ip6_addr_has_scope(ip_2_ip6(out), IP6_UNKNOWN) && index)
        for (int i = 0; i < LINKS; i++)
            if (links[i].index == index)
                ip6_addr_set_zone(ip_2_ip6(out), netif_get_index(&links[i].netif));
}

static const uint8_t *bytes_of(const ip_addr_t *a, int *length)
{
    *length = IP_IS_V6(a) ? 16 : 4;
    return IP_IS_V6(a) ? (const uint8_t *)a->u_addr.ip6.addr : (const uint8_t *)&a->u_addr.ip4.addr;
}

static struct link *link_of(const struct netif *netif) { return (struct link *)netif->state; }

int link_index(const struct netif *netif) { return link_of(netif)->index; }

static struct link *find_link(int index)
{
    for (int i = 0; i < LINKS; i++)
        if (index && links[i].index == index)
            return &links[i];
    return NULL;
}

/* ---- routes: the longest prefix; of equals the first, as the Sentry lists them by metric */
static int covers(const struct route *r, const uint8_t *address)
{
    int whole = r->bits / 8, rest = r->bits % 8;
    if (memcmp(r->network, address, whole))
        return 0;
    return !rest || !((r->network[whole] ^ address[whole]) >> (8 - rest));
}

static struct route *look_up(const uint8_t *address, int length, const struct netif *netif)
{
    struct route *best = NULL;
    for (int i = 0; i < route_count; i++) {
        struct route *r = &routes[i];
        if (r->length == length && (!netif || &r->link->netif == netif) && covers(r, address) && (!best || r->bits > best->bits))
            best = r;
    }
    return best;
}

static struct netif *by_source(const uint8_t *address, int length)
{
    for (int i = 0; i < LINKS; i++) {
        struct netif *netif = &links[i].netif;
        if (!links[i].index)
            continue;
        if (length == 4 && !memcmp(&ip_2_ip4(&netif->ip_addr)->addr, address, 4))
            return netif;
        for (int k = 0; length == 16 && k < LWIP_IPV6_NUM_ADDRESSES; k++)
            if (!memcmp(netif_ip6_addr(netif, k)->addr, address, 16))
                return netif;
    }
    return NULL;
}

struct netif *wire_route4(const ip4_addr_t *src, const ip4_addr_t *dest)
{
    struct route *r = NULL;
    if (src && src->addr) {
        struct netif *netif = by_source((const uint8_t *)&src->addr, 4);
        if (netif && look_up((const uint8_t *)&dest->addr, 4, netif))
            return netif;
    }
    r = look_up((const uint8_t *)&dest->addr, 4, NULL);
    return r ? &r->link->netif : NULL;
}

const ip4_addr_t *wire_gateway4(struct netif *netif, const ip4_addr_t *dest)
{
    struct route *r = look_up((const uint8_t *)&dest->addr, 4, netif);
    return r && r->has_gateway ? &r->gateway4 : dest;
}

struct netif *wire_route6(const ip6_addr_t *src, const ip6_addr_t *dest)
{
    struct route *r = look_up((const uint8_t *)dest->addr, 16, NULL);
    if (r)
        return &r->link->netif;
    return src ? by_source((const uint8_t *)src->addr, 16) : NULL;
}

const ip6_addr_t *wire_gateway6(struct netif *netif, const ip6_addr_t *dest)
{
    struct route *r = look_up((const uint8_t *)dest->addr, 16, netif);
    return r && r->has_gateway ? &r->gateway6 : dest;
}

/* ---- checksums that are somebody else's to finish */
static uint32_t sum(const uint8_t *data, long length, uint32_t total)
{
    for (; length > 1; data += 2, length -= 2)
        total += (uint32_t)data[0] << 8 | data[1];
    if (length)
        total += (uint32_t)data[0] << 8;
    return total;
}

static uint16_t fold(uint64_t total)
{
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)total;
}

static uint32_t pseudo(const uint8_t *source, const uint8_t *host, int length, int protocol, long size)
{
    return sum(host, length, sum(source, length, (uint32_t)protocol + fold((uint64_t)size)));
}

/* Where the transport header of an IP packet lies, or 0: none, or a fragment. */
static int transport(const uint8_t *ip, long length, int *protocol, const uint8_t **source, const uint8_t **host, int *size, long *body)
{
    if (length >= 20 && ip[0] >> 4 == 4) {
        int head = (ip[0] & 15) * 4;
        long total = ip[2] << 8 | ip[3];
        if (head < 20 || total < head || total > length || (ip[6] & 0x3f) || ip[7])
            return 0;
        *protocol = ip[9], *source = ip + 12, *host = ip + 16, *size = 4, *body = total - head;
        return head;
    }
    if (length >= 40 && ip[0] >> 4 == 6) {
        long total = ip[4] << 8 | ip[5];
        if (total + 40 > length)
            return 0;
        *protocol = ip[6], *source = ip + 8, *host = ip + 24, *size = 16, *body = total;
        return 40;
    }
    return 0;
}

/* ---- output */
static err_t emit(struct link *link, uint8_t *data, long length)
{
    struct virtio_net_hdr head = {0};
    struct iovec iov[2] = {{&head, sizeof head}, {data, (size_t)length}};
    const uint8_t *source, *host;
    int protocol, size, at;
    long body;
    at = length > SIZEOF_ETH_HDR ? transport(data + SIZEOF_ETH_HDR, length - SIZEOF_ETH_HDR, &protocol, &source, &host, &size, &body) : 0;
    if (at && protocol == IP_PROTO_TCP && body >= 20) {
        uint8_t *tcp = data + SIZEOF_ETH_HDR + at;
        uint16_t start = fold(pseudo(source, host, size, protocol, body));
        tcp[16] = start >> 8, tcp[17] = (uint8_t)start;
        head.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        head.csum_start = (uint16_t)(SIZEOF_ETH_HDR + at);
        head.csum_offset = 16;
        int mtu = path_mtu(&link->netif, link->mtu, host, size);
        if (length - SIZEOF_ETH_HDR > mtu) {
            head.gso_type = size == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
            head.hdr_len = (uint16_t)(SIZEOF_ETH_HDR + at + (tcp[12] >> 4) * 4);
            head.gso_size = (uint16_t)(mtu - at - (tcp[12] >> 4) * 4);
        }
    }
    if (writev(link->fd, iov, 2) < 0)
        return errno == EAGAIN || errno == ENOBUFS ? ERR_OK : ERR_IF; /* lost, as packets are */
    return ERR_OK;
}

static err_t link_output(struct netif *netif, struct pbuf *p)
{
    static uint8_t whole[65536];
    if (mute)
        return ERR_OK;
    if (!p->next)
        return emit(link_of(netif), p->payload, p->tot_len);
    pbuf_copy_partial(p, whole, p->tot_len, 0);
    return emit(link_of(netif), whole, p->tot_len);
}

static err_t link_init(struct netif *netif)
{
    netif->name[0] = 'w', netif->name[1] = 'l';
    netif->linkoutput = link_output;
    netif->output = output4;
    netif->output_ip6 = ethip6_output;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP | NETIF_FLAG_MLD6;
    return ERR_OK;
}

/* ---- input */
static struct tcp_pcb_listen *listener_for(const uint8_t *host, int size, int port)
{
    struct tcp_pcb_listen *l;
    for (l = tcp_listen_pcbs.listen_pcbs; l; l = l->next) {
        int length;
        if (l->local_port != port)
            continue;
        const uint8_t *own = bytes_of(&l->local_ip, &length);
        if (ip_addr_isany(&l->local_ip) || IP_IS_ANY_TYPE_VAL(l->local_ip) || (length == size && !memcmp(own, host, size)))
            return l;
    }
    return NULL;
}

/* ---- SYN cookies: with many half-open connections, a SYN leaves nothing behind; the number that answers it says all. */
#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

static uint64_t siphash(const uint8_t *data, int length)
{
    uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575, secret[1] ^ 0x646f72616e646f6d, secret[0] ^ 0x6c7967656e657261, secret[1] ^ 0x7465646279746573};
    for (int at = 0, last = 0; !last; at += 8) {
        uint64_t m = 0;
        last = length - at < 8;
        memcpy(&m, data + at, last ? (size_t)(length - at) : 8);
        if (last)
            m |= (uint64_t)length << 56;
        v[3] ^= m;
        for (int round = 0; round < (last ? 6 : 2); round++) {
            if (round == 2)
                v[0] ^= m, v[2] ^= 0xff;
            v[0] += v[1], v[1] = ROTATE(v[1], 13) ^ v[0], v[0] = ROTATE(v[0], 32);
            v[2] += v[3], v[3] = ROTATE(v[3], 16) ^ v[2];
            v[0] += v[3], v[3] = ROTATE(v[3], 21) ^ v[0];
            v[2] += v[1], v[1] = ROTATE(v[1], 17) ^ v[2], v[2] = ROTATE(v[2], 32);
        }
        if (!last)
            v[0] ^= m;
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The cookie for a connection in minute `minute`, its lowest bits free for the size of segments. */
static uint32_t cookie_of(const uint8_t *source, const uint8_t *host, int size, const uint8_t *ports, uint32_t minute)
{
    uint8_t text[40];
    memcpy(text, source, size);
    memcpy(text + size, host, size);
    memcpy(text + 2 * size, ports, 4);
    memcpy(text + 2 * size + 4, &minute, 4);
    return (uint32_t)siphash(text, 2 * size + 8) & ~3U;
}

static const uint16_t sizes[4] = {536, 1220, 1440, 1460};

static int segment_size(const uint8_t *tcp, long length)
{
    long end = LWIP_MIN((tcp[12] >> 4) * 4, length);
    for (long at = 20; at + 3 < end && tcp[at];) {
        if (tcp[at] == 2 && tcp[at + 1] == 4)
            return tcp[at + 2] << 8 | tcp[at + 3];
        at += tcp[at] == 1 ? 1 : tcp[at + 1] < 2 ? end : tcp[at + 1];
    }
    return 536;
}

static void put32(uint8_t *to, uint32_t value) { to[0] = value >> 24, to[1] = value >> 16 & 255, to[2] = value >> 8 & 255, to[3] = value & 255; }
static uint32_t get32(const uint8_t *from) { return (uint32_t)from[0] << 24 | from[1] << 16 | from[2] << 8 | from[3]; }

/* A frame like `data` with a TCP header that has the option of segment size and nothing else. Its length. */
static long handshake_frame(uint8_t *out, const uint8_t *data, int at, int size, uint32_t sequence, uint32_t acknowledged, int flags, int segment)
{
    uint8_t *ip = out + SIZEOF_ETH_HDR, *tcp = ip + (size == 4 ? 20 : 40);
    int head = size == 4 ? 20 : 40;
    memcpy(out, data, SIZEOF_ETH_HDR + head);
    memcpy(tcp, data + SIZEOF_ETH_HDR + at, 4);
    put32(tcp + 4, sequence);
    put32(tcp + 8, acknowledged);
    tcp[12] = 0x60, tcp[13] = (uint8_t)flags, tcp[14] = tcp[15] = 0xff;
    memset(tcp + 16, 0, 4);
    tcp[20] = 2, tcp[21] = 4, tcp[22] = segment >> 8, tcp[23] = (uint8_t)segment;
    if (size == 4) {
        ip[0] = 0x45, ip[2] = 0, ip[3] = 44, ip[10] = ip[11] = 0;
        uint16_t check = (uint16_t)~fold(sum(ip, 20, 0));
        ip[10] = check >> 8, ip[11] = (uint8_t)check;
    } else {
        ip[4] = 0, ip[5] = 24;
    }
    return SIZEOF_ETH_HDR + head + 24;
}

static void swap(uint8_t *a, uint8_t *b, int length)
{
    for (int i = 0; i < length; i++) {
        uint8_t keep = a[i];
        a[i] = b[i], b[i] = keep;
    }
}

static void answer_with_cookie(struct link *link, const uint8_t *data, int at, int size, const uint8_t *source, const uint8_t *host, long body)
{
    uint8_t out[128], *ip = out + SIZEOF_ETH_HDR, *tcp = ip + (size == 4 ? 20 : 40);
    const uint8_t *syn = data + SIZEOF_ETH_HDR + at;
    int segment = segment_size(syn, body), which = 3;
    while (which && sizes[which] > segment)
        which--;
    uint32_t cookie = cookie_of(source, host, size, syn, sys_now() / 60000) | (uint32_t)which;
    long length = handshake_frame(out, data, at, size, cookie, get32(syn + 4) + 1, TCP_SYN | TCP_ACK, link->mtu - (size == 4 ? 40 : 60));
    swap(out, out + 6, 6);
    swap(ip + (size == 4 ? 12 : 8), ip + (size == 4 ? 16 : 24), size);
    swap(tcp, tcp + 2, 2);
    emit(link, out, length);
}

static int known(const uint8_t *tcp, const uint8_t *source, const uint8_t *host, int size)
{
    struct tcp_pcb *lists[] = {tcp_active_pcbs, tcp_tw_pcbs};
    for (int i = 0; i < 2; i++)
        for (struct tcp_pcb *pcb = lists[i]; pcb; pcb = pcb->next) {
            int length;
            if (pcb->remote_port == (tcp[0] << 8 | tcp[1]) && pcb->local_port == (tcp[2] << 8 | tcp[3])
                && !memcmp(bytes_of(&pcb->remote_ip, &length), source, size) && length == size
                && !memcmp(bytes_of(&pcb->local_ip, &length), host, size))
                return 1;
        }
    return 0;
}

/* An ACK that quotes a cookie of ours: lwIP gets the SYN that it did not see. */
static void redeem_cookie(struct link *link, const uint8_t *data, int at, int size, const uint8_t *source, const uint8_t *host)
{
    const uint8_t *tcp = data + SIZEOF_ETH_HDR + at;
    uint32_t quoted = get32(tcp + 8) - 1, minute = sys_now() / 60000;
    uint8_t out[128];
    if ((quoted & ~3U) != cookie_of(source, host, size, tcp, minute) && (quoted & ~3U) != cookie_of(source, host, size, tcp, minute - 1))
        return;
    if (known(tcp, source, host, size) || !listener_for(host, size, tcp[2] << 8 | tcp[3]))
        return;
    long length = handshake_frame(out, data, at, size, get32(tcp + 4) - 1, 0, TCP_SYN, sizes[quoted & 3]);
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_RAM);
    if (!p)
        return;
    memcpy(p->payload, out, length);
    mute = 1, forced_sequence = quoted;
    if (link->netif.input(p, &link->netif) != ERR_OK)
        pbuf_free(p);
    mute = 0, forced_sequence = 0;
}

/* A SYN: 1 if lwIP shall see it. Not so while the listener's connections wait to be accepted (it comes again), nor with
 * too many half-open connections. */
static int admit(struct link *link, const uint8_t *data, int at, int size, const uint8_t *source, const uint8_t *host, long body)
{
    const uint8_t *tcp = data + SIZEOF_ETH_HDR + at;
    struct tcp_pcb_listen *l = listener_for(host, size, tcp[2] << 8 | tcp[3]);
    int count = 0;
    if (!l)
        return 1;
    if (l->callback_arg && calls->full(l->callback_arg))
        return 0;
    if ((int32_t)(cookies_until - sys_now()) <= 0) {
        for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
            count += pcb->state == SYN_RCVD;
        if (count < HALF_OPEN)
            return 1;
        cookies_until = sys_now() + COOKIE_TIME;
    }
    answer_with_cookie(link, data, at, size, source, host, body);
    return 0;
}

/* 0: not to be looked at further. */
static int acceptable(struct link *link, const struct virtio_net_hdr *head, const uint8_t *data, long length)
{
    const uint8_t *source, *host, *ip = data + SIZEOF_ETH_HDR;
    int protocol, size, at, type = data[12] << 8 | data[13];
    long body;
    if (type != ETHTYPE_IP && type != ETHTYPE_IPV6)
        return type == ETHTYPE_ARP;
    at = transport(ip, length - SIZEOF_ETH_HDR, &protocol, &source, &host, &size, &body);
    if (!at || protocol != IP_PROTO_TCP)
        return 1;
    if (body < 20)
        return 0;
    if (!(head->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID))) {
        if (fold((uint64_t)sum(ip + at, body, pseudo(source, host, size, protocol, body))) != 0xffff)
            return 0;
    }
    if (pending_bytes > PENDING_MAX && body > (ip[at + 12] >> 4) * 4)
        return 0;
    if ((ip[at + 13] & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN)
        return admit(link, data, at, size, source, host, body);
    if (cookies_until && sys_now() - cookies_until + COOKIE_TIME < COOKIE_LIFE && (ip[at + 13] & (TCP_ACK | TCP_RST | TCP_SYN)) == TCP_ACK)
        redeem_cookie(link, data, at, size, source, host);
    return 1;
}

/* The frame of `n` bytes that lies in `spare`; NULL: no memory. */
static struct pbuf *take_frame(u16_t n)
{
    struct pbuf *p = spare;
    if (n > SMALL_FRAME) {
        spare = NULL;
        p->len = p->tot_len = n;
        return p;
    }
    p = pbuf_alloc(PBUF_RAW, n, PBUF_RAM);
    if (p)
        memcpy(p->payload, spare->payload, n);
    return p;
}

int wire_poll(int index, int frames)
{
    struct link *link = find_link(index);
    struct virtio_net_hdr head;
    int count = 0;
    if (!link)
        return -EBADF;
    while (count < frames) {
        if (!spare && !(spare = pbuf_alloc(PBUF_RAW, FRAME_MAX, PBUF_RAM)))
            return count;
        char behind[64];
        struct iovec iov[3] = {{&head, sizeof head}, {spare->payload, FRAME_MAX}, {behind, sizeof behind}};
        long n = readv(link->fd, iov, 3);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return errno == EAGAIN || count ? count : -errno;
        }
        n -= sizeof head;
        count++;
        if (n < SIZEOF_ETH_HDR || n > FRAME_MAX || !acceptable(link, &head, spare->payload, n))
            continue;
        struct pbuf *p = take_frame((u16_t)n);
        if (!p)
            continue;
        if (((uint8_t *)p->payload)[13] == (ETHTYPE_ARP & 0xff))
            alias_arp(&link->netif, p);
        if (link->netif.input(p, &link->netif) != ERR_OK)
            pbuf_free(p);
    }
    return count;
}

/* Messages that are not TCP, before lwIP's own handling. */
static u8_t on_message(void *arg, struct raw_pcb *pcb, struct pbuf *p, const ip_addr_t *from)
{
    static char copy[65535];
    int protocol = pcb->protocol, length, size, head = ip_current_header_tot_len();
    const uint8_t *source = bytes_of(from, &size), *host = bytes_of(ip_current_dest_addr(), &size);
    const uint8_t *ip = p->payload;
    int ttl = size == 4 ? ip[8] : ip[7], tos = size == 4 ? ip[1] : (ip[0] << 4 | ip[1] >> 4) & 0xff;
    int index = link_of(ip_current_input_netif())->index;
    (void)arg;
    length = pbuf_copy_partial(p, copy, sizeof copy, 0) - head;
    if (length < 0)
        return 0;
    if (protocol != 17) {
        calls->message(protocol, copy, head, copy + head, length, source, host, size, ttl, tos, index);
        return 0;
    }
    uint8_t *udp = (uint8_t *)copy + head;
    int said = length >= 8 ? udp[4] << 8 | udp[5] : 0;
    if (said >= 8 && said <= length && !calls->message(protocol, copy, head, copy + head, said, source, host, size, ttl, tos, index)) {
        if (!ip_addr_isbroadcast(ip_current_dest_addr(), ip_current_netif()) && !ip_addr_ismulticast(ip_current_dest_addr())) {
            if (size == 4)
                icmp_dest_unreach(p, ICMP_DUR_PORT);
            else
                icmp6_dest_unreach(p, ICMP6_DUR_PORT);
        }
    }
    pbuf_free(p);
    return 1;
}

/* ---- set up */
void wire_start(const struct wire_calls *table)
{
    static const uint8_t protocols[] = {17, 1, 58, 136};
    calls = table;
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret)
        abort();
    lwip_init();
    for (unsigned i = 0; i < sizeof protocols; i++) {
        struct raw_pcb *pcb = raw_new_ip_type(IPADDR_TYPE_ANY, protocols[i]);
        if (!pcb)
            abort();
        raw_recv(pcb, on_message, NULL);
    }
}

int wire_add_link(int index, int fd, const uint8_t *mac, int mtu)
{
    struct link *link = NULL;
    for (int i = 0; i < LINKS && !link; i++)
        if (!links[i].index)
            link = &links[i];
    if (!link)
        return -ENOSPC;
    link->index = index, link->fd = fd, link->mtu = mtu;
    if (!netif_add(&link->netif, NULL, NULL, NULL, link, link_init, ethernet_input)) {
        link->index = 0;
        return -ENOMEM;
    }
    memcpy(link->netif.hwaddr, mac, 6);
    link->netif.mtu = (u16_t)mtu;
    link->netif.mtu6 = (u16_t)mtu;
    netif_set_up(&link->netif);
    netif_set_link_up(&link->netif);
    return 0;
}

int wire_add_address(int index, const uint8_t *address, int length, int bits)
{
    struct link *link = find_link(index);
    ip_addr_t ip;
    s8_t slot;
    if (!link)
        return -ENODEV;
    to_ip(&ip, address, length, index);
    if (length == 4) {
        ip4_addr_t mask = {bits ? lwip_htonl(~0U << (32 - bits)) : 0}, none = {0};
        if (ip_2_ip4(&link->netif.ip_addr)->addr)
            return alias_add(&link->netif, ip_2_ip4(&ip), &mask);
        netif_set_addr(&link->netif, ip_2_ip4(&ip), &mask, &none);
        return 0;
    }
    if (netif_add_ip6_address(&link->netif, ip_2_ip6(&ip), &slot) != ERR_OK)
        return -ENOSPC;
    netif_ip6_addr_set_state(&link->netif, slot, IP6_ADDR_PREFERRED);
    return 0;
}

int wire_add_route(const uint8_t *network, int length, int bits, int index, const uint8_t *gateway)
{
    struct link *link = find_link(index);
    struct route *r = &routes[route_count];
    ip_addr_t ip;
    if (!link)
        return -ENODEV;
    if (route_count == ROUTES)
        return -ENOSPC;
    memcpy(r->network, network, length);
    r->length = length, r->bits = bits, r->link = link, r->has_gateway = gateway != NULL;
    if (gateway) {
        to_ip(&ip, gateway, length, index);
        if (length == 4)
            r->gateway4 = *ip_2_ip4(&ip);
        else
            r->gateway6 = *ip_2_ip6(&ip);
    }
    route_count++;
    return 0;
}

int wire_add_neighbour(int index, const uint8_t *address, const uint8_t *mac)
{
    struct eth_addr hardware;
    ip4_addr_t ip;
    memcpy(&ip.addr, address, 4);
    memcpy(hardware.addr, mac, 6);
    return find_link(index) && etharp_add_static_entry(&ip, &hardware) == ERR_OK ? 0 : -ENOSPC;
}

int wire_group(int index, const uint8_t *group, int length, int join)
{
    struct link *link = find_link(index);
    ip_addr_t ip;
    err_t error;
    if (!link)
        return -ENODEV;
    to_ip(&ip, group, length, index);
    if (length == 4)
        error = join ? igmp_joingroup_netif(&link->netif, ip_2_ip4(&ip)) : igmp_leavegroup_netif(&link->netif, ip_2_ip4(&ip));
    else
        error = join ? mld6_joingroup_netif(&link->netif, ip_2_ip6(&ip)) : mld6_leavegroup_netif(&link->netif, ip_2_ip6(&ip));
    return error == ERR_OK ? 0 : -ENOBUFS;
}

int wire_tick(int count)
{
    tcp_tmr();
    if (count % 2 == 0) {
        igmp_tmr();
        mld6_tmr();
    }
    if (count % 20 == 0) {
        etharp_tmr();
        ip_reass_tmr();
        ip6_reass_tmr();
        nd6_tmr();
    }
    return tcp_active_pcbs || tcp_tw_pcbs;
}

void wire_age(int seconds)
{
    for (int i = 0; i < LWIP_MIN(seconds, 400); i++) {
        etharp_tmr();
        nd6_tmr();
    }
}

void wire_limit(long pending) { pending_bytes = pending; }

/* ---- datagrams */
static int send_pbuf(struct pbuf *p, int protocol, const uint8_t *source, const uint8_t *host, int size, int ttl, int tos, int index, int cut)
{
    struct link *link = find_link(index);
    ip_addr_t from, to;
    struct netif *netif;
    err_t error;
    to_ip(&from, source, size, index);
    to_ip(&to, host, size, index);
    netif = link ? &link->netif : size == 4 ? wire_route4(ip_2_ip4(&from), ip_2_ip4(&to)) : wire_route6(ip_2_ip6(&from), ip_2_ip6(&to));
    if (!netif) {
        pbuf_free(p);
        return -ENETUNREACH;
    }
    if (size == 4) {
        mtu_begin(netif, link_of(netif)->mtu, host, cut, p->tot_len);
        error = ip4_output_if_src(p, ip_2_ip4(&from), ip_2_ip4(&to), (u8_t)ttl, (u8_t)tos, (u8_t)protocol, netif);
        mtu_end(netif);
    } else
        error = ip6_output_if_src(p, ip_2_ip6(&from), ip_2_ip6(&to), (u8_t)ttl, (u8_t)tos, (u8_t)protocol, netif);
    pbuf_free(p);
    return error == ERR_OK ? 0 : error == ERR_RTE ? -EHOSTUNREACH : -ENOBUFS;
}

int wire_send(int protocol, const char *data, long length, const uint8_t *source, const uint8_t *host, int size, int ttl, int tos, int link, int cut)
{
    struct pbuf *p = length <= 65507 ? pbuf_alloc(PBUF_IP, (u16_t)length, PBUF_RAM) : NULL;
    if (!p)
        return length > 65507 ? -EMSGSIZE : -ENOBUFS;
    memcpy(p->payload, data, length);
    return send_pbuf(p, protocol, source, host, size, ttl, tos, link, cut);
}

int wire_send_udp(const char *data, long length, const uint8_t *source, int source_port, const uint8_t *host, int port, int size,
                  int ttl, int tos, int link, int cut)
{
    struct pbuf *p = length <= 65507 ? pbuf_alloc(PBUF_IP, (u16_t)(length + 8), PBUF_RAM) : NULL;
    if (!p)
        return length > 65507 ? -EMSGSIZE : -ENOBUFS;
    uint8_t *udp = p->payload;
    long total = length + 8;
    udp[0] = source_port >> 8, udp[1] = (uint8_t)source_port, udp[2] = port >> 8, udp[3] = (uint8_t)port;
    udp[4] = (uint8_t)(total >> 8), udp[5] = (uint8_t)total, udp[6] = udp[7] = 0;
    memcpy(udp + 8, data, length);
    uint16_t check = (uint16_t)~fold((uint64_t)sum(udp, total, pseudo(source, host, size, 17, total)));
    check = check ? check : 0xffff;
    udp[6] = check >> 8, udp[7] = (uint8_t)check;
    return send_pbuf(p, 17, source, host, size, ttl, tos, link, cut);
}

/* ---- connections */
static int to_errno(err_t error)
{
    switch (error) {
    case ERR_CLSD: return 0;
    case ERR_RST: return ECONNRESET;
    case ERR_ABRT: return ETIMEDOUT;
    case ERR_RTE: return ENETUNREACH;
    case ERR_MEM: case ERR_BUF: return ENOBUFS;
    case ERR_USE: return EADDRINUSE;
    default: return EIO;
    }
}

static void on_failure(void *arg, err_t error)
{
    if (arg)
        calls->failed(arg, to_errno(error));
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t error)
{
    (void)pcb, (void)error;
    if (arg)
        calls->connected(arg);
    return ERR_OK;
}

static err_t on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
    (void)error;
    if (!p) {
        if (arg)
            calls->fin(arg);
        return ERR_OK;
    }
    for (struct pbuf *q = p; q && arg; q = q->next)
        if (q->len)
            calls->data(arg, q->payload, q->len, q->next != NULL);
    pbuf_free(p);
    if (ip_get_option(pcb, SOF_PROMPT))
        tcp_ack_now(pcb);
    return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t length)
{
    (void)pcb, (void)length;
    if (arg)
        calls->room(arg);
    return ERR_OK;
}

static void attach(struct tcp_pcb *pcb, void *arg)
{
    tcp_arg(pcb, arg);
    tcp_recv(pcb, on_data);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_failure);
    ip_set_option(pcb, SOF_REUSEADDR);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error)
{
    int size;
    if (error != ERR_OK || !pcb)
        return ERR_VAL;
    const uint8_t *local = bytes_of(&pcb->local_ip, &size), *remote = bytes_of(&pcb->remote_ip, &size);
    struct netif *netif = ip_current_input_netif();
    void *new = arg ? calls->accepted(arg, pcb, local, remote, size, pcb->remote_port, netif ? link_of(netif)->index : 0) : NULL;
    if (!new) {
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    attach(pcb, new);
    return ERR_OK;
}

struct tcp_pcb *wire_connect(void *arg, const uint8_t *local, int local_port, const uint8_t *remote, int port, int size, int link, int *error)
{
    struct tcp_pcb *pcb = tcp_new_ip_type(size == 4 ? IPADDR_TYPE_V4 : IPADDR_TYPE_V6);
    ip_addr_t from, to;
    err_t result;
    if (!pcb) {
        *error = ENOBUFS;
        return NULL;
    }
    attach(pcb, arg);
    to_ip(&from, local, size, link);
    to_ip(&to, remote, size, link);
    result = tcp_bind(pcb, &from, (u16_t)local_port);
    if (result == ERR_OK)
        result = tcp_connect(pcb, &to, (u16_t)port, on_connected);
    if (result != ERR_OK) {
        tcp_err(pcb, NULL);
        tcp_abort(pcb);
        *error = result == ERR_USE ? EADDRNOTAVAIL : to_errno(result);
        return NULL;
    }
    return pcb;
}

/* length 0: all addresses of both families. */
struct tcp_pcb *wire_listen(void *arg, const uint8_t *local, int length, int port)
{
    struct tcp_pcb *pcb = tcp_new_ip_type(length == 0 ? IPADDR_TYPE_ANY : length == 4 ? IPADDR_TYPE_V4 : IPADDR_TYPE_V6), *listener;
    ip_addr_t ip;
    if (!pcb)
        return NULL;
    ip_set_option(pcb, SOF_REUSEADDR);
    if (length)
        to_ip(&ip, local, length, 0);
    if (tcp_bind(pcb, length ? &ip : IP_ANY_TYPE, (u16_t)port) != ERR_OK || !(listener = tcp_listen(pcb))) {
        tcp_abort(pcb);
        return NULL;
    }
    tcp_arg(listener, arg);
    tcp_accept(listener, on_accept);
    return listener;
}

/* Segments of several packets, once the path is known to carry that much at a time. */
static void grow_segments(struct tcp_pcb *pcb)
{
    struct netif *netif = IP_IS_V6(&pcb->remote_ip) ? wire_route6(ip_2_ip6(&pcb->local_ip), ip_2_ip6(&pcb->remote_ip))
                                                     : wire_route4(ip_2_ip4(&pcb->local_ip), ip_2_ip4(&pcb->remote_ip));
    int unit = netif ? link_of(netif)->mtu - (IP_IS_V6(&pcb->remote_ip) ? 60 : 40) : 0, wanted;
    if (unit <= 0 || pcb->mss < unit)
        return; /* the peer takes less than a packet of ours holds: one at a time */
    wanted = (int)LWIP_MIN(LWIP_MIN(pcb->cwnd / 4, pcb->snd_wnd_max / 2), (tcpwnd_size_t)BURST_MSS) / unit * unit;
    if (wanted > pcb->mss)
        pcb->mss = (u16_t)wanted;
}

long wire_write(struct tcp_pcb *pcb, const char *data, long length, int more)
{
    long done = 0;
    grow_segments(pcb);
    while (done < length) {
        long n = LWIP_MIN(length - done, LWIP_MIN((long)pcb->snd_buf, 64000L));
        if (n <= 0 || tcp_sndqueuelen(pcb) > TCP_SND_QUEUELEN - 100)
            break;
        if (tcp_write(pcb, data + done, (u16_t)n, TCP_WRITE_FLAG_COPY | (more || done + n < length ? TCP_WRITE_FLAG_MORE : 0)) != ERR_OK)
            break;
        done += n;
    }
    if (done && !(more && (long)(pcb->snd_lbb - pcb->snd_nxt) < pcb->mss))
        tcp_output(pcb);
    return done;
}

long wire_writable(struct tcp_pcb *pcb) { return tcp_sndqueuelen(pcb) < TCP_SND_QUEUELEN / 2 ? (long)pcb->snd_buf : 0; }
long wire_unsent(struct tcp_pcb *pcb) { return (long)(pcb->snd_lbb - pcb->lastack); }
long wire_rtt(struct tcp_pcb *pcb) { return pcb->sa > 0 ? (pcb->sa >> 3) * TCP_SLOW_INTERVAL * 1000L : 1000; }

void wire_took(struct tcp_pcb *pcb, long count)
{
    while (count > 0) {
        u16_t n = (u16_t)LWIP_MIN(count, 65535L);
        tcp_recved(pcb, n);
        count -= n;
    }
}

void wire_shutdown(struct tcp_pcb *pcb) { tcp_shutdown(pcb, 0, 1); }

void wire_detach(struct tcp_pcb *pcb, int reset)
{
    tcp_arg(pcb, NULL);
    tcp_err(pcb, NULL);
    tcp_sent(pcb, NULL);
    if (reset)
        tcp_abort(pcb);
    else if (tcp_close(pcb) != ERR_OK)
        tcp_abort(pcb);
}

void wire_forget(struct tcp_pcb *pcb)
{
    tcp_arg(pcb, NULL);
    tcp_err(pcb, NULL);
    tcp_sent(pcb, NULL);
}

void wire_stop_listening(struct tcp_pcb *pcb)
{
    tcp_arg(pcb, NULL);
    tcp_close(pcb);
}

void wire_configure(struct tcp_pcb *pcb, int nodelay, int keepalive, int idle, int interval, int count, int ttl, int tos)
{
    if (nodelay)
        tcp_nagle_disable(pcb);
    else
        tcp_nagle_enable(pcb);
    if (keepalive)
        ip_set_option(pcb, SOF_KEEPALIVE);
    else
        ip_reset_option(pcb, SOF_KEEPALIVE);
    pcb->keep_idle = (u32_t)idle * 1000, pcb->keep_intvl = (u32_t)interval * 1000, pcb->keep_cnt = (u32_t)count;
    pcb->ttl = (u8_t)ttl, pcb->tos = (u8_t)tos;
}
