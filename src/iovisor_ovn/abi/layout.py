# SPDX-License-Identifier: Apache-2.0
"""Names and numbers that the compiler (Python) and the machine (eBPF) agree on.

A packet is an array of 32-bit *words* in host byte order: words 0-63 are the packet and its
pipeline state and are what a clone copies; words 64-127 are *temporaries* through which actions
pass arguments to IOModules and get results back. MAC addresses lie in two words: the upper
16 bits share a word with their sibling address, the lower 32 bits have one of their own.
"""

from enum import IntEnum, IntFlag

#: Part of the pin path. Any change of a layout or of a number below raises it.
ABI_VERSION = 2

#: Bytes of a packet that an event to the agent can carry (one full GSO segment and its headers).
EVENT_DATA_SIZE = 9216


class Limit(IntEnum):
    """Sizes that C arrays and the compiler's checks share."""

    WORDS = 64  # words copied by a clone
    TEMPS = 64  # temporaries behind them
    SHAPE_WORDS = 39  # masked words that one tuple can test (key of 40 words with the uid)
    SLOT_GUARDS = 3  # guards stored in a slot itself
    MORE_GUARDS = 64  # further guards that one slot can have
    DIMS = 64  # distinct (field, value space) pairs that sets are looked up by
    CACHED_DIMS = 48  # those below this are looked up once until a word below 2 or above 23 changes
    SLOT_DIMS = 4  # set lookups in one tuple
    STAGES = 128  # stage numbers of a datapath: ingress 0-63, egress 64-127
    EGRESS = 64  # number of the first egress stage
    DATAPATHS = 2048  # local datapaths, index 0 unused
    KINDS = 5  # kinds of packets with rows of their own, see PacketKind
    PIPELINES = 10  # rows of stages of a datapath: two banks of one for each kind
    PORTSEC_IN = 62  # stages that the agent fills itself, from Port_Binding.port_security
    PORTSEC_IN_ND = 63
    PORTSEC_OUT = 127
    WORK_DEPTH = 32  # pending clones, multicast groups and returns of one packet
    GENERATED = 8  # pending packets that a verb builds (ICMP errors, resets ...)
    GENERATED_BYTES = 2048  # bytes of the original packet kept for one of them
    STEPS = 4096  # stages and runs of STEP_INSNS instructions of one packet, all copies together
    STEP_INSNS = 4  # instructions of one step
    STACK = 16  # push()ed values of one packet
    SET_PRODUCT = 65536  # set combinations that one tuple may try for one packet
    UNSUPPORTED = 128  # verbs that are counted but not executed
    HOST_TAG = 4096  # no VLAN id: in the device map, what the host sends by the device
    DHCP_POOLS = 1024  # DHCP servers of one machine
    DHCP_OPTIONS = 1024  # bytes of the options that a pool's replies carry
    DHCP_ID = 59  # bytes of a DHCP client's identifier
    MODULES = 1024  # programs of users
    MODULE_PORTS = 64  # of one of them
    MODULE_CALLS = 16  # of one packet, at two tail calls each; the kernel allows 33
    PARKED = 1024  # copies on their way to a module of a user


class Word(IntEnum):
    """Index of each packet word."""

    INPORT = 0
    OUTPORT = 1
    FLAGS = 2
    REG0 = 3
    REG1 = 4
    REG2 = 5
    REG3 = 6
    REG4 = 7
    REG5 = 8
    REG6 = 9
    REG7 = 10
    REG8 = 11
    REG9 = 12
    CT_STATE = 13
    CT_MARK = 14
    CT_LABEL0 = 15  # most significant
    CT_LABEL1 = 16
    CT_LABEL2 = 17
    CT_LABEL3 = 18
    PKT_MARK = 19
    CT_ZONE = 20  # of the logical port being processed (OVN's reg13)
    DNAT_ZONE = 21  # of the router being processed (reg11)
    SNAT_ZONE = 22  # of the router being processed (reg12)
    DATAPATH = 23  # dense local index of the datapath, not its tunnel key
    ETH_HI = 24  # dst bits 47-32 in the upper half, src bits 47-32 in the lower
    ETH_DST_LO = 25
    ETH_SRC_LO = 26
    ETH_TYPE_TCI = 27  # eth.type in the upper half, vlan.tci in the lower (bit 12: present)
    IP_META = 28  # protocol, TOS byte, TTL, fragment bits, from the most significant byte down
    IP4_SRC = 29
    IP4_DST = 30
    IP6_SRC0 = 31  # most significant
    IP6_SRC1 = 32
    IP6_SRC2 = 33
    IP6_SRC3 = 34
    IP6_DST0 = 35
    IP6_DST1 = 36
    IP6_DST2 = 37
    IP6_DST3 = 38
    IP6_LABEL = 39
    L4 = 40  # source port or ICMP type in the upper half, destination port or code in the lower
    TCP_FLAGS = 41
    ARP_OP = 42
    ARP_SPA = 43
    ARP_TPA = 44
    ARP_HI = 45  # sha bits 47-32 in the upper half, tha bits 47-32 in the lower
    ARP_SHA_LO = 46
    ARP_THA_LO = 47
    ND_TARGET0 = 48  # most significant
    ND_TARGET1 = 49
    ND_TARGET2 = 50
    ND_TARGET3 = 51
    ND_HI = 52  # sll bits 47-32 in the upper half, tll bits 47-32 in the lower
    ND_SLL_LO = 53
    ND_TLL_LO = 54
    CLASS = 55  # PacketClass bits
    ICMP_MTU = 56  # icmp4.frag_mtu / icmp6.frag_mtu of the error being built
    PIPELINE = 57  # where the datapath's rows for this kind of packet begin
    NAT = 58  # NatBit bits, and in the lower half the zone that translated the packet last
    ICMP_ID = 59  # bytes 4 and 5 of an ICMP header; of an error with NatBit.QUOTE_L4: quoted ports


class Temp(IntEnum):
    """Index of each temporary; the comment names the verbs that use it."""

    PORT = 64  # neighbour and FDB verbs: logical port key
    IP0 = 65  # neighbour verbs: address, most significant word first;
    IP1 = 66  # an IPv4 address lies in IP3 with the others 0
    IP2 = 67
    IP3 = 68
    MAC_HI = 69  # neighbour and FDB verbs: address bits 47-32
    MAC_LO = 70
    RESULT = 71  # any verb that yields a bit or a port key
    CT_MARK = 72  # ct_commit: value and mask (1 = written) of mark and label
    CT_MARK_MASK = 73
    CT_LABEL0 = 74
    CT_LABEL1 = 75
    CT_LABEL2 = 76
    CT_LABEL3 = 77
    CT_LABEL_MASK0 = 78
    CT_LABEL_MASK1 = 79
    CT_LABEL_MASK2 = 80
    CT_LABEL_MASK3 = 81
    POOL = 82  # dhcp_server: number of the pool
    # ct_snat, ct_dnat: lowest port in the upper half, highest in the lower; 0: any;
    NAT_PORTS = 83  # AFFINITY_PUT: ports of VIP and backend
    SCRATCH0 = 84  # the compiler's own (exchange, push, pop): 8 words
    SCRATCH7 = 91
    NAT_IP0 = 92  # ct_snat, ct_dnat, ct_lb: address, as IP0 to IP3
    NAT_IP1 = 93
    NAT_IP2 = 94
    NAT_IP3 = 95


class PacketClass(IntFlag):
    """Bits of ``Word.CLASS``: set by the parser from fields that no action can write."""

    IP4 = 1 << 0
    IP6 = 1 << 1
    ARP = 1 << 2
    RARP = 1 << 3
    TCP = 1 << 4
    UDP = 1 << 5
    SCTP = 1 << 6
    ICMP4 = 1 << 7
    ICMP6 = 1 << 8
    IP = 1 << 9  # either family


class PacketKind(IntEnum):
    """Kinds of packets by class: each has rows of its own, without what cannot concern it."""

    OTHER = 0  # neither IPv4 nor IPv6
    IP4 = 1
    ICMP4 = 2
    IP6 = 3
    ICMP6 = 4


class Op(IntEnum):
    """Opcodes of action programs; operands a, b, c (8 bits), x, y (32 bits)."""

    END = 0  # this strand of the packet is done; x: drop reason to count, or 0
    LOAD = 1  # w[a] = (w[a] & ~x) | y
    MOVE = 2  # w[a] = (w[a] & ~x) | (rotate_left(w[b], c) & x)
    NEXT = 3  # go to stage a
    CALL = 4  # visit stage a, then go on behind this instruction with what it left
    FORK = 5  # put (this state, the instruction x behind this) on the work stack, go on here
    OUTPUT = 6  # ingress: enter the output stage towards w[OUTPORT]
    DELIVER = 7  # egress: hand the packet to what w[OUTPORT] stands for; ends the strand
    DEC_TTL = 8  # one off the TTL; ends the strand if nothing is left
    PUSH = 9  # push SCRATCH0..3 onto the packet's stack
    POP = 10  # pop into SCRATCH0..3
    UNSUPPORTED = 11  # drop, counted under verb number x
    GENERATE = 12  # verb a (an Op of a generator), body behind this; goes on x behind this
    CHECK_LARGER = 13  # RESULT = frame longer than x bytes
    CT_NEXT = 14  # zone in w[a]
    CT_COMMIT = 15  # zone in w[a], b = CtFlag bits, values in Temp.CT_*
    CT_CLEAR = 16
    CT_NAT = 17  # zone in w[a], b = CtFlag bits; as CT_NEXT, and translate as the entry says
    NEIGH_GET = 18  # eth.dst = MAC of (PORT, IP), 0 if none
    NEIGH_PUT = 19  # learn (PORT, IP) -> MAC
    NEIGH_LOOKUP = 20  # RESULT = (PORT, IP) is known and, if a = 1, is MAC
    FDB_GET = 21  # RESULT = port key of MAC, 0 if unknown
    FDB_PUT = 22  # learn MAC on PORT
    FDB_LOOKUP = 23  # RESULT = MAC is known on PORT
    COUNT = 24  # one packet, and its bytes, more on counter x
    PUNT = 25  # the packet as it came goes to the agent (EventKind.PACKET)
    MODULE = 26  # user's module x, of b ports, at its port a: RESULT = 0 to pass, port it chose + 1
    GEN_ARP = 32  # generators: they build another packet and run their body on it
    GEN_ND_NS = 33
    GEN_ND_NA = 34
    GEN_ND_NA_ROUTER = 35
    GEN_ICMP4 = 36
    GEN_ICMP4_ERROR = 37
    GEN_ICMP6 = 38
    GEN_ICMP6_ERROR = 39
    GEN_TCP_RESET = 40
    GEN_SCTP_ABORT = 41
    GEN_REJECT = 42
    GEN_DHCP_SERVER = 43  # pool in Temp.POOL
    CT_LB = 48  # as CT_NAT, into one of the x backends behind this, chosen by c = LbField bits
    BACKEND = 49  # data: port in b and c; IPv4: address in x; IPv6: in x, y of this and the next
    LB_HAIRPIN = 50  # RESULT = a load balancer sends the packet back to its sender
    LB_HAIRPIN_REPLY = 51  # RESULT = it is an answer to such a packet
    CT_SNAT_TO_VIP = 52  # the source of such a packet becomes the address that it was sent to
    AFFINITY_GET = 53  # RESULT = the client has a backend: in w[a] or w[b..b+3], port in w[c]
    AFFINITY_PUT = 54  # for x seconds of silence, protocol c: NAT_IP is the backend of VIP IP
    SELECT = 55  # RESULT = one of the values behind this in x shares, chosen by c = LbField bits
    SHARE = 56  # data: to the upper half of y for x of 2**32 packets, to the lower for the others


class Program(IntEnum):
    """Entry programs with a meaning of their own; others index the instruction array."""

    DROP = 0
    NEXT = 1  # `next;` to the following stage
    FIRST = 16  # first index that is an instruction


class CtFlag(IntFlag):
    """Operand b of CT_COMMIT and CT_NAT."""

    MARK = 1
    LABEL = 2
    KEEP = 4  # the packet keeps its ct words; else they are 0 afterwards, as in OVS
    COMMIT = 8  # CT_NAT: make an entry
    SNAT = 16  # and one that translates the source into NAT_IP and NAT_PORTS,
    DNAT = 32  # or the destination


class LbField(IntFlag):
    """Operand c of CT_LB: what the choice of a backend depends on."""

    ETH_SRC = 1
    ETH_DST = 2
    IP_SRC = 4
    IP_DST = 8
    L4_SRC = 16
    L4_DST = 32
    PROTO = 64


class NatBit(IntFlag):
    """Bits of ``Word.NAT``: what of the packet that an ICMP error quotes is to be rewritten."""

    QUOTE_SRC = 1 << 16  # its source is the error's destination
    QUOTE_DST = 1 << 17  # its destination is the error's source
    QUOTE_L4 = 1 << 18  # its ports, or its ICMP identifier, are in Word.ICMP_ID
    QUOTE = 7 << 16


class ConnFlag(IntFlag):
    """Bits of ``conn.flags``."""

    FROM_1 = 1  # opened by the second endpoint of the key
    SNAT = 2  # translated
    DNAT = 4
    ALIAS = 8  # only leads from the translated endpoints to the connection


class GuardKind(IntEnum):
    """Tests of one word or set that a slot makes before its lookup."""

    EQUAL = 0  # (w[word] & mask) == value
    NOT_EQUAL = 1  # (w[word] & mask) != value
    IN_SET = 2  # dimension `word` of the packet is a member of set `value`
    NOT_IN_SET = 3
    NOT_ALL_EQUAL = 4  # with the n-1 guards behind it: at least one is not equal


class Space(IntEnum):
    """Value spaces of sets: members of one space may be tested by several fields."""

    IP4 = 0
    IP6 = 1
    ETH = 2
    OTHER = 3  # 3 and up: literal value sets of one further field each


class InjectKind(IntEnum):
    """Where a packet that the agent injects enters the pipeline."""

    OUTPUT = 0  # as `output;` of the ingress pipeline
    STAGE = 1  # at a stage


class PortKind(IntEnum):
    """What a logical port key leads to on this hypervisor."""

    NONE = 0
    VIF = 1  # a device
    PATCH = 2  # the ingress pipeline of another datapath
    MULTICAST = 3  # a list of ports
    REMOTE = 4  # bound to another chassis
    NESTED = 5  # a container: a device and an 802.1Q tag


class PortFlag(IntFlag):
    """Properties of a port."""

    PEER = 1  # veth whose other end is in another network namespace
    LOCALPORT = 2
    WIRE = 4  # of a device that the host keeps using: what is behind its wire
    HOST = 8  # and the host itself


class DpFlag(IntFlag):
    """Properties of a datapath."""

    ROUTER = 1


class EventKind(IntEnum):
    """What the ring buffer tells the agent."""

    NEIGHBOUR = 1  # put_arp / put_nd: learn
    FDB = 2  # put_fdb
    HOLD = 3  # a packet that waits for a neighbour; data holds it
    PACKET = 4  # a packet for a service of the agent, on the port that it came by


class DhcpState(IntEnum):
    """What a lease is, until it expires; an expired one is free whatever it was."""

    FREE = 0  # never given away, or released
    OFFERED = 1
    BOUND = 2
    DECLINED = 3  # somebody else uses the address


class ModuleReach(IntFlag):
    """How a packet came to a user's module."""

    LOGICAL_PORT = 1  # the module stands before an OVN logical port
    COPY = 2  # it is one of several copies


class Replay(IntEnum):
    """What the fast path found where a segment may begin."""

    HIT = 0
    MISS = 1
    NONE = 2  # no segments are kept: walks ask for too many words, or there is no way to go


class Drop(IntEnum):
    """Why a strand of a packet ended without delivery. Append only."""

    NONE = 0
    POLICY = 1
    NO_FLOW = 2
    NO_DATAPATH = 3
    UNKNOWN_PORT = 4
    LOOPBACK = 5
    TTL = 6
    UNSUPPORTED = 7
    STEP_LIMIT = 8
    WORK_FULL = 9
    GENERATED_FULL = 10
    NESTED_RUN = 11
    PARSE = 12
    REWRITE = 13
    REDIRECT = 14
    NO_PORT = 15
    REMOTE = 16
    GENERATE = 17
    CT_FULL = 18
    FRAGMENT = 19
    SET_LIMIT = 20
    STACK = 21
    NO_DEVICE = 22
    NO_STATE = 23
    LOCALPORT = 24
    BAD_PROGRAM = 25
    DHCP_NO_POOL = 26
    DHCP_MALFORMED = 27
    DHCP_EXHAUSTED = 28
    DHCP_SILENT = 29
    NAT_EXHAUSTED = 30
    MODULE = 31
    MODULE_MISSING = 32
    MODULE_VERDICT = 33
    MODULE_CALLS = 34
    MODULE_COPY = 35
    BYPASS = 36


#: One line for people about each drop reason.
DROP_TEXT: dict[Drop, str] = {
    Drop.NONE: "not dropped",
    Drop.POLICY: "a logical flow says drop",
    Drop.NO_FLOW: "no logical flow of the stage matched",
    Drop.NO_DATAPATH: "the device is not bound to a logical port",
    Drop.UNKNOWN_PORT: "outport is no port or group of the datapath",
    Drop.LOOPBACK: "outport is inport and loopback is not allowed",
    Drop.TTL: "TTL ran out in ip.ttl--",
    Drop.UNSUPPORTED: "the flow uses a verb that this version does not execute",
    Drop.STEP_LIMIT: "the packet took too many steps",
    Drop.WORK_FULL: "too many pending copies of one packet",
    Drop.GENERATED_FULL: "too many pending generated packets",
    Drop.NESTED_RUN: "the program was entered twice on one CPU",
    Drop.PARSE: "the packet could not be read",
    Drop.REWRITE: "the packet could not be written",
    Drop.REDIRECT: "the kernel refused to send a copy to the device",
    Drop.NO_PORT: "the port has no device here",
    Drop.REMOTE: "the port is on another chassis and tunnels are not executed yet",
    Drop.GENERATE: "a packet to answer with could not be built",
    Drop.CT_FULL: "the connection table is full",
    Drop.FRAGMENT: "a fragment came before the one with its ports",
    Drop.SET_LIMIT: "the packet is in too many sets",
    Drop.STACK: "push without room, or pop of nothing",
    Drop.NO_DEVICE: "the program's device is unknown",
    Drop.NO_STATE: "per-CPU state is missing",
    Drop.LOCALPORT: "a localport does not talk to other chassis",
    Drop.BAD_PROGRAM: "an instruction that the machine does not know",
    Drop.DHCP_NO_POOL: "the DHCP server has no settings",
    Drop.DHCP_MALFORMED: "a DHCP message that cannot be read",
    Drop.DHCP_EXHAUSTED: "the DHCP server has no free address",
    Drop.DHCP_SILENT: "a DHCP message that the server must leave to others",
    Drop.NAT_EXHAUSTED: "NAT found no free port",
    Drop.MODULE: "a user's module says drop",
    Drop.MODULE_MISSING: "a user's module is not loaded",
    Drop.MODULE_VERDICT: "a user's module returned no verdict",
    Drop.MODULE_CALLS: "the packet went through too many users' modules",
    Drop.MODULE_COPY: "a copy for a user's module was lost",
    Drop.BYPASS: "not dropped: it could not enter, and went between the host and its wire alone",
}
