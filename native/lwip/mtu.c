/* How large packets to a host may be: what routers have told (RFC 1191), which packets they may cut (DF), and TCP's way around
 * lwIP's fragmentation. IPv6's "packet too big" lwIP keeps itself. See port.h. */
#include "mtu.h"
#include "hooks.h"
#include "port.h"
#include "lwip/etharp.h"
#include "lwip/ip4.h"
#include "lwip/ip6.h"
#include "lwip/nd6.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ip4.h"
#include "lwip/sys.h"
#include <stddef.h>
#include <string.h>

#define PATHS 64
#define LIFE 600000       /* ms: net.ipv4.route.mtu_expires */
#define SMALLEST 552      /* net.ipv4.route.min_pmtu: who tells less gets packets that may be cut */
#define FIN_WAIT 60       /* s: net.ipv4.tcp_fin_timeout */

struct path {
    uint32_t host, since; /* in network order; ms */
    int mtu, locked;      /* 0: free; no DF */
};

static struct path paths[PATHS];
static int whole;  /* packets that are made now get DF */
static u16_t kept; /* netif->mtu between mtu_begin and mtu_end */

static struct path *find(uint32_t host)
{
    for (int i = 0; i < PATHS; i++)
        if (paths[i].mtu && paths[i].host == host) {
            if (sys_now() - paths[i].since < LIFE)
                return &paths[i];
            paths[i].mtu = 0;
        }
    return NULL;
}

int path_mtu(struct netif *netif, int mtu, const uint8_t *host, int size)
{
    if (size == 4) {
        uint32_t to;
        memcpy(&to, host, 4);
        struct path *path = find(to);
        return path ? LWIP_MIN(path->mtu, mtu) : mtu;
    }
    ip6_addr_t to;
    memset(&to, 0, sizeof to);
    memcpy(to.addr, host, 16);
    if (ip6_addr_has_scope(&to, IP6_UNKNOWN))
        ip6_addr_set_zone(&to, netif_get_index(netif));
    int told = nd6_get_destination_mtu(&to, netif); /* 0: nothing */
    return told ? LWIP_MIN(mtu, LWIP_MAX(told, IP6_MIN_MTU_LENGTH)) : mtu;
}

/* 1: that is less than before. */
int wire_learn_mtu(const uint8_t *host, int mtu)
{
    uint32_t to;
    struct path *path, *oldest = paths;
    memcpy(&to, host, 4);
    path = find(to);
    int before = path ? path->mtu : 65536, locked = mtu < SMALLEST;
    mtu = locked ? SMALLEST : mtu;
    if (path && (mtu > before || (mtu == before && locked <= path->locked)))
        return 0;
    for (int i = 0; i < PATHS && !path; i++) {
        if (!paths[i].mtu)
            path = &paths[i];
        else if ((int32_t)(paths[i].since - oldest->since) < 0)
            oldest = &paths[i];
    }
    path = path ? path : oldest;
    *path = (struct path){to, sys_now(), mtu, locked};
    return 1;
}

static struct netif *way(const uint8_t *host, int size)
{
    ip4_addr_t four = {0}, any = {0};
    ip6_addr_t six;
    memset(&six, 0, sizeof six);
    if (size == 4) {
        memcpy(&four.addr, host, 4);
        return wire_route4(&any, &four);
    }
    memcpy(six.addr, host, 16);
    return wire_route6(NULL, &six);
}

int wire_path_mtu(const uint8_t *host, int size, int mtu)
{
    struct netif *netif = way(host, size);
    return netif ? path_mtu(netif, mtu, host, size) : mtu;
}

void wire_too_big(const uint8_t *source, int port, const uint8_t *host, int peer, uint32_t sequence, int mtu)
{
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) {
        if (IP_IS_V6(&pcb->remote_ip) || pcb->local_port != port || pcb->remote_port != peer || memcmp(&ip_2_ip4(&pcb->remote_ip)->addr, host, 4)
            || memcmp(&ip_2_ip4(&pcb->local_ip)->addr, source, 4))
            continue;
        /* only about what is under way (RFC 5927) */
        if (!TCP_SEQ_BETWEEN(sequence, pcb->lastack, pcb->snd_nxt) || sequence == pcb->snd_nxt || !wire_learn_mtu(host, mtu))
            return;
        u8_t tries = pcb->nrtx;
        tcp_rexmit_rto(pcb);
        pcb->nrtx = tries;
        return;
    }
}

/* ---- output */
err_t output4(struct netif *netif, struct pbuf *p, const ip4_addr_t *next)
{
    uint8_t *ip = p->payload;
    if (whole && p->len >= IP_HLEN && !(ip[6] & 0x7f) && !ip[7]) { /* neither DF nor a fragment */
        uint32_t check = (uint32_t)(~(ip[10] << 8 | ip[11]) & 0xffff) + 0x4000;
        check = ~((check & 0xffff) + (check >> 16)) & 0xffff;
        ip[6] |= 0x40, ip[10] = check >> 8, ip[11] = (uint8_t)check;
    }
    return etharp_output(netif, p, next);
}

static int locked(const uint8_t *host)
{
    uint32_t to;
    memcpy(&to, host, 4);
    struct path *path = find(to);
    return path && path->locked;
}

void mtu_begin(struct netif *netif, int mtu, const uint8_t *host, int cut, int length)
{
    int told = cut == CUT_PROBE ? mtu : path_mtu(netif, mtu, host, 4);
    kept = netif->mtu;
    netif->mtu = (u16_t)told;
    whole = cut == CUT_PROBE || cut == CUT_NEVER || (cut == CUT_LARGE && length + IP_HLEN <= told && !locked(host));
}

void mtu_end(struct netif *netif)
{
    netif->mtu = kept;
    whole = 0;
}

/* As ip4_output_if and ip6_output_if, but never in fragments: TCP's way out (lwip.mk). */
err_t wire_whole4(struct pbuf *p, const ip4_addr_t *src, const ip4_addr_t *dest, u8_t ttl, u8_t tos, u8_t proto, struct netif *netif)
{
    u16_t mtu = netif->mtu;
    const struct tcp_pcb *pcb = netif->hints ? (const struct tcp_pcb *)((const char *)netif->hints - offsetof(struct tcp_pcb, netif_hints)) : NULL;
    netif->mtu = 0;
    whole = !(pcb && ip_get_option(pcb, SOF_MAY_BE_CUT)) && !locked((const uint8_t *)&dest->addr);
    err_t error = ip4_output_if(p, src, dest, ttl, tos, proto, netif);
    whole = 0;
    netif->mtu = mtu;
    return error;
}

err_t wire_whole6(struct pbuf *p, const ip6_addr_t *src, const ip6_addr_t *dest, u8_t ttl, u8_t tos, u8_t proto, struct netif *netif)
{
    u16_t mtu = netif->mtu, mtu6 = netif->mtu6;
    netif->mtu = netif->mtu6 = 0;
    err_t error = ip6_output_if(p, src, dest, ttl, tos, proto, netif);
    netif->mtu = mtu, netif->mtu6 = mtu6;
    return error;
}

/* ---- what else a connection has of its own */
/* TCP_FIN_WAIT_TIMEOUT (lwipopts.h): ms that a closed connection waits for the other end's FIN. */
uint32_t wire_fin_wait(const struct tcp_pcb *pcb)
{
    long seconds = (long)tcp_ext_arg_get(pcb, 0);
    return seconds < 0 ? 0 : (uint32_t)(seconds ? seconds : FIN_WAIT) * 1000;
}

void wire_manner(struct tcp_pcb *pcb, int may_be_cut, int prompt, int linger)
{
    tcp_ext_arg_set(pcb, 0, (void *)(long)linger);
    pcb->so_options &= (u8_t) ~(SOF_MAY_BE_CUT | SOF_PROMPT);
    pcb->so_options |= (u8_t)((may_be_cut ? SOF_MAY_BE_CUT : 0) | (prompt ? SOF_PROMPT : 0));
    if (prompt && pcb->flags & TF_ACK_DELAY) {
        tcp_ack_now(pcb);
        tcp_output(pcb);
    }
}
