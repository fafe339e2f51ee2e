/* mtu.c's part for port.c. */
#ifndef STOCKADE_LWIP_MTU_H
#define STOCKADE_LWIP_MTU_H
#include "lwip/netif.h"

#define SOF_MAY_BE_CUT 0x01U /* of a connection, beside lwIP's SOF_*: IP_MTU_DISCOVER forbids to set DF */
#define SOF_PROMPT 0x02U     /* TCP_QUICKACK: what comes is acknowledged at once */

int path_mtu(struct netif *netif, int mtu, const uint8_t *host, int size); /* of what may be sent; mtu: of the link */
err_t output4(struct netif *netif, struct pbuf *p, const ip4_addr_t *next);  /* netif->output */
void mtu_begin(struct netif *netif, int mtu, const uint8_t *host, int cut, int length); /* around the output of an IPv4 datagram */
void mtu_end(struct netif *netif);
#endif
