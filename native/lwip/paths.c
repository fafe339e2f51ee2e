/* What of a way to a host can be asked, and the ends of waiting on one. See port.h. */
#include "paths.h"
#include "mtu.h"
#include "port.h"
#include "hooks.h"
#include "lwip/etharp.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/ethip6.h"
#include "netif/ethernet.h"
#include <errno.h>
#include <string.h>

#define ALIASES 64

static struct netif aliases[ALIASES];
static int alias_count;

static err_t alias_init(struct netif *netif)
{
    netif->name[0] = 'w', netif->name[1] = 'a';
    netif->output = output4;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    return ERR_OK;
}

int alias_add(struct netif *link, const ip4_addr_t *address, const ip4_addr_t *mask)
{
    struct netif *netif = &aliases[alias_count];
    ip4_addr_t none = {0};
    if (alias_count == ALIASES || !netif_add(netif, address, mask, &none, link->state, alias_init, ethernet_input))
        return -ENOSPC;
    alias_count++;
    netif->linkoutput = link->linkoutput;
    memcpy(netif->hwaddr, link->hwaddr, ETH_HWADDR_LEN);
    netif->mtu = link->mtu;
    netif_set_up(netif);
    netif_set_link_up(netif);
    return 0;
}

void alias_arp(struct netif *link, const struct pbuf *p)
{
    for (int i = 0; i < alias_count; i++) {
        struct pbuf *copy = aliases[i].state == link->state ? pbuf_clone(PBUF_RAW, PBUF_RAM, (struct pbuf *)p) : NULL;
        if (copy && aliases[i].input(copy, &aliases[i]) != ERR_OK)
            pbuf_free(copy);
    }
}

/* Does the next hop to this address answer? 1 also where nobody need be asked. */
int wire_resolved(const uint8_t *host, int size, int index)
{
    if (size == 4) {
        ip4_addr_t to, any = {0};
        const ip4_addr_t *next;
        struct eth_addr *mac;
        memcpy(&to.addr, host, 4);
        struct netif *netif = wire_route4(&any, &to);
        if (!netif)
            return 1;
        if (!ip4_addr_netcmp(&to, netif_ip4_addr(netif), netif_ip4_netmask(netif)) && (next = wire_gateway4(netif, &to)))
            to = *next;
        return etharp_find_addr(netif, &to, &mac, &next) >= 0;
    }
    ip_addr_t ip;
    (void)index;
    memset(&ip, 0, sizeof ip);
    memcpy(ip_2_ip6(&ip)->addr, host, 16);
    ip6_addr_t any;
    memset(&any, 0, sizeof any);
    struct netif *netif = wire_route6(&any, ip_2_ip6(&ip));
    if (!netif)
        return 1;
    const ip6_addr_t *next = wire_gateway6(netif, ip_2_ip6(&ip)), *to = next ? next : ip_2_ip6(&ip);
    for (int i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++)
        if (neighbor_cache[i].state != ND6_NO_ENTRY && !memcmp(neighbor_cache[i].next_hop_address.addr, to->addr, 16))
            return neighbor_cache[i].state != ND6_INCOMPLETE;
    return 0;
}

int wire_neighbour(int at, int *link, uint8_t *address, int *length, uint8_t *mac, int *state)
{
    static const uint8_t states[] = {0, 0x01, 0x02, 0x04, 0x08, 0x10}; /* of ND6_*: NUD_INCOMPLETE, REACHABLE, STALE, DELAY, PROBE */
    for (; at < ARP_TABLE_SIZE; at++) {
        ip4_addr_t *ip;
        struct netif *netif;
        struct eth_addr *hardware;
        if (!etharp_get_entry((size_t)at, &ip, &netif, &hardware))
            continue;
        *link = link_index(netif), *length = 4, *state = 0x02;
        memcpy(address, &ip->addr, 4);
        memcpy(mac, hardware->addr, 6);
        return at + 1;
    }
    for (; at < ARP_TABLE_SIZE + LWIP_ND6_NUM_NEIGHBORS; at++) {
        const struct nd6_neighbor_cache_entry *entry = &neighbor_cache[at - ARP_TABLE_SIZE];
        if (entry->state == ND6_NO_ENTRY || entry->state >= sizeof states || !entry->netif)
            continue;
        *link = link_index(entry->netif), *length = 16, *state = states[entry->state];
        memcpy(address, entry->next_hop_address.addr, 16);
        memcpy(mac, entry->lladdr, 6);
        return at + 1;
    }
    return -1;
}

uint32_t wire_acknowledged(struct tcp_pcb *pcb) { return pcb->lastack; }
void wire_flush(struct tcp_pcb *pcb) { tcp_output(pcb); }
