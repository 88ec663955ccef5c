/* SPDX-License-Identifier: ISC */
/* alerts.h - numbers of records that are not data (RFC 8446 4, 5.1, 6, B.3; RFC 5246 7). */
#ifndef TLS_ALERTS_H
#define TLS_ALERTS_H

#define PN_TLS_TYPE_CHANGE_CIPHER_SPEC  20
#define PN_TLS_TYPE_ALERT               21
#define PN_TLS_TYPE_HANDSHAKE           22
#define PN_TLS_TYPE_DATA                23

#define PN_TLS_HANDSHAKE_HELLO_REQUEST  0
#define PN_TLS_HANDSHAKE_CLIENT_HELLO   1
#define PN_TLS_HANDSHAKE_TICKET         4
#define PN_TLS_HANDSHAKE_KEY_UPDATE     24
#define PN_TLS_HANDSHAKE_HEADER_LEN     4
#define PN_TLS_KEY_UPDATE_LEN           5
#define PN_TLS_KEY_UPDATE_NOT_REQUESTED 0
#define PN_TLS_KEY_UPDATE_REQUESTED     1

#define PN_ALERT_LEVEL_WARNING          1
#define PN_ALERT_LEVEL_FATAL            2

#define PN_ALERT_CLOSE_NOTIFY           0
#define PN_ALERT_UNEXPECTED_MESSAGE     10
#define PN_ALERT_BAD_RECORD_MAC         20
#define PN_ALERT_RECORD_OVERFLOW        22
#define PN_ALERT_ILLEGAL_PARAMETER      47
#define PN_ALERT_DECODE_ERROR           50
#define PN_ALERT_PROTOCOL_VERSION       70
#define PN_ALERT_INTERNAL_ERROR         80
#define PN_ALERT_USER_CANCELED          90
#define PN_ALERT_NO_RENEGOTIATION       100

#endif
