/* paths.c's part for port.c. */
#ifndef STOCKADE_LWIP_PATHS_H
#define STOCKADE_LWIP_PATHS_H
#include "lwip/netif.h"

/* lwIP's interfaces have one IPv4 address. Each further one of a link is an interface of its own with the same way out. */
int alias_add(struct netif *link, const ip4_addr_t *address, const ip4_addr_t *mask); /* 0 or -errno */
void alias_arp(struct netif *link, const struct pbuf *p);                             /* an ARP frame has come in */
int link_index(const struct netif *netif); /* port.c: of the interface, as guests see it */
#endif
