# SPDX-License-Identifier: Apache-2.0
"""The service verbs, as data: what each is called with and what its answer fits into.

A verb that shares the node :class:`iovisor_ovn.language.actions.Verb` is one row of
:data:`SERVICES`; its shape says how its arguments are written. Option dictionaries are OVN's
``lib/ovn-l7.h``. Verbs of ours, which OVN does not know, are rows of :data:`EXTENSIONS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

__all__ = [
    "DHCPV4_OPTIONS",
    "DHCPV6_OPTIONS",
    "EVENTS",
    "EXTENSIONS",
    "LOG_SEVERITIES",
    "LOG_VERDICTS",
    "MAX_QUEUE",
    "NESTED_PREREQS",
    "RA_OPTIONS",
    "SERVICES",
    "Argument",
    "Kind",
    "Service",
    "Shape",
]


class Shape(Enum):
    """How the arguments of a service are written."""

    BARE = "igmp;"
    POSITIONAL = "bind_vport(a, b);"
    NAMED = "commit_ecmp_nh(a = 1, b = 2);"
    OPTIONS = "put_dhcp_opts(offerip = 10.0.0.5, mtu = 1400);"
    EVENT = 'trigger_event(event = "empty_lb_backends", vip = "10.0.0.1:80");'


class Kind(Enum):
    """What an argument is; the value says it in an error message."""

    PORT_FIELD = "a field that holds a port"
    ADDRESS_FIELD = "a field of 32 or 128 bits"
    STRING = "a string"
    IPV4 = "an IPv4 address"
    BOOLEAN = "true or false"
    PROTOCOL = "tcp, udp or sctp"
    ENDPOINT = "an address with or without a port, in quotes"
    SECONDS = "a number of seconds below 65536"
    INDEX = "a number below 65536"


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument; ``needs_port`` is written if and only if the first endpoint has a port."""

    name: str
    kind: Kind
    needs_port: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A verb: ``result_bits`` its answer takes, 0 without an answer.

    ``options`` is the dictionary that its options come from, name to type, and ``required``
    the option that must be there. A verb with a body makes another packet and runs it on that:
    its node is :class:`iovisor_ovn.language.actions.Nested`.
    """

    name: str
    shape: Shape
    result_bits: int = 0
    prereqs: str = ""
    args: tuple[Argument, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    required: str = ""
    since: str = "23.03"
    has_body: bool = False


def _typed(**names_by_type: str) -> Mapping[str, str]:
    """Option name to type, from type to names."""
    return MappingProxyType(
        {name: kind for kind, names in names_by_type.items() for name in names.split()}
    )


DHCPV4_OPTIONS = _typed(
    ipv4="offerip netmask router dns_server log_server lpr_server swap_server policy_filter"
    " router_solicitation nis_server ntp_server server_id tftp_server_address"
    " broadcast_address netbios_name_server next_server",
    str="hostname domain_name bootfile_name bootfile_name_alt wpad path_prefix",
    bool="ip_forward_enable router_discovery ethernet_encap",
    uint8="default_ttl tcp_ttl netbios_node_type",
    uint16="mtu",
    uint32="lease_time T1 T2 arp_cache_timeout tcp_keepalive_interval",
    static_routes="classless_static_route ms_classless_static_route",
    host_id="tftp_server",
    domains="domain_search_list",
)
DHCPV6_OPTIONS = _typed(
    mac="server_id",
    ipv6="ia_addr dns_server",
    str="domain_search bootfile_name bootfile_name_alt",
    domain="fqdn",
)
RA_OPTIONS = _typed(
    str="addr_mode router_preference dnssl route_info",
    mac="slla",
    ipv6="prefix rdnss",
    uint32="mtu",
)

#: Events of ``trigger_event``, each with its options.
EVENTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"empty_lb_backends": _typed(str="vip protocol load_balancer")}
)

LOG_VERDICTS = ("allow", "drop", "reject", "pass")
LOG_SEVERITIES = ("alert", "warning", "notice", "info", "debug")

#: Highest queue of ``set_queue``.
MAX_QUEUE = 0xF000

#: Verbs with a body: what the packet must be. Without a word of its own, a verb hands on what
#: its body demands.
NESTED_PREREQS: Mapping[str, str] = MappingProxyType(
    {
        "arp": "ip",
        "nd_ns": "ip",
        "nd_na": "nd_ns",
        "nd_na_router": "nd_ns",
        "icmp4": "ip4",
        "icmp4_error": "ip4",
        "icmp6": "ip6",
        "icmp6_error": "ip6",
        "tcp_reset": "tcp",
        "sctp_abort": "sctp",
        "reject": "",
    }
)

_RELAY = (Argument("relay", Kind.IPV4), Argument("server", Kind.IPV4))

_ALL = (
    Service("igmp", Shape.BARE),
    Service("handle_dhcpv6_reply", Shape.BARE),
    Service("mac_cache_use", Shape.BARE, since="23.09"),
    Service("flood_remote", Shape.BARE, since="25.03"),
    Service("handle_bfd_msg", Shape.POSITIONAL),
    Service("handle_svc_check", Shape.POSITIONAL, args=(Argument("port", Kind.PORT_FIELD),)),
    Service(
        "bind_vport",
        Shape.POSITIONAL,
        args=(Argument("vport", Kind.STRING), Argument("parent", Kind.PORT_FIELD)),
    ),
    Service("mirror", Shape.POSITIONAL, args=(Argument("port", Kind.STRING),), since="25.09"),
    Service("dns_lookup", Shape.POSITIONAL, 1, "udp"),
    Service("chk_lb_hairpin", Shape.POSITIONAL, 1),
    Service("chk_lb_hairpin_reply", Shape.POSITIONAL, 1),
    Service("chk_ecmp_nh_mac", Shape.POSITIONAL, 1),
    Service("chk_ecmp_nh", Shape.POSITIONAL, 1),
    Service("chk_lb_aff", Shape.POSITIONAL, 1),
    Service("ct_nw_dst", Shape.POSITIONAL, 32, since="25.03"),
    Service("ct_ip6_dst", Shape.POSITIONAL, 128, since="25.03"),
    Service("ct_tp_dst", Shape.POSITIONAL, 16, since="25.03"),
    Service("ct_proto", Shape.POSITIONAL, 8, since="25.09"),
    Service("ct_state_save", Shape.POSITIONAL, 8, since="25.09"),
    Service(
        "chk_evpn_arp",
        Shape.POSITIONAL,
        1,
        args=(Argument("ip", Kind.ADDRESS_FIELD),),
        since="main",
    ),
    Service("dhcp_relay_req_chk", Shape.POSITIONAL, 1, args=_RELAY, since="24.09"),
    Service("dhcp_relay_resp_chk", Shape.POSITIONAL, 1, args=_RELAY, since="24.09"),
    Service(
        "commit_ecmp_nh",
        Shape.NAMED,
        args=(Argument("ipv6", Kind.BOOLEAN), Argument("proto", Kind.PROTOCOL)),
    ),
    Service(
        "commit_lb_aff",
        Shape.NAMED,
        args=(
            Argument("vip", Kind.ENDPOINT),
            Argument("backend", Kind.ENDPOINT),
            Argument("proto", Kind.PROTOCOL, needs_port=True),
            Argument("timeout", Kind.SECONDS),
        ),
    ),
    Service("put_dhcp_opts", Shape.OPTIONS, 1, options=DHCPV4_OPTIONS, required="offerip"),
    Service("put_dhcpv6_opts", Shape.OPTIONS, 1, options=DHCPV6_OPTIONS),
    Service("put_nd_ra_opts", Shape.OPTIONS, 1, "ip6", options=RA_OPTIONS, required="slla"),
    Service("trigger_event", Shape.EVENT),
)

#: Verb name to its description.
SERVICES: Mapping[str, Service] = MappingProxyType({service.name: service for service in _ALL})

_OURS = (
    Service("punt", Shape.BARE),
    Service("count", Shape.POSITIONAL, args=(Argument("counter", Kind.STRING),)),
    Service(
        "dhcp_server",
        Shape.NAMED,
        prereqs="ip4 && udp",
        args=(Argument("pool", Kind.INDEX),),
        has_body=True,
    ),
    Service(
        "iomodule",
        Shape.POSITIONAL,
        32,
        args=(
            Argument("module", Kind.STRING),
            Argument("port", Kind.INDEX),
            Argument("ports", Kind.INDEX),
        ),
    ),
)

#: Verbs of our own, for the flows of standalone modules; in OVN's flows they are errors.
EXTENSIONS: Mapping[str, Service] = MappingProxyType({service.name: service for service in _OURS})
