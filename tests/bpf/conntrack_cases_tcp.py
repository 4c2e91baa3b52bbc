# SPDX-License-Identifier: Apache-2.0
"""Sequences of TCP segments and the ct words that each must see."""

from conntrack_packets import V4, V6, WSCALE, Case, Step, Via, cut, opened, tcp, tcp_reply

__all__ = ["TCP_CASES"]

# fmt: off
TCP_CASES: tuple[Case, ...] = (
    Case("tcp whole life", (
        *opened(),
        Step(V4.there(tcp("PA", 101, 501, 100)), "est|trk"),
        Step(V4.back(tcp_reply("A", 501, 201)), "est|rpl|trk"),
        Step(V4.there(tcp("FA", 201, 501)), "est|trk"),
        Step(V4.back(tcp_reply("FA", 501, 202)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 202, 502)), "est|trk"),
        Step(V4.there(tcp("S", 9000)), "new|trk"),
        Step(V4.back(tcp_reply("SA", 7000, 9001)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 9001, 7001)), "est|trk"),
    )),
    Case("tcp over ipv6", (
        *opened(V6),
        Step(V6.there(tcp("PA", 101, 501, 100)), "est|trk"),
        Step(V6.back(tcp_reply("A", 501, 201)), "est|rpl|trk"),
    )),
    Case("tcp opened by the greater address", (
        Step(V4.back(tcp("S", 100)), "new|trk"),
        Step(V4.there(tcp_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.back(tcp("A", 101, 501)), "est|trk"),
        Step(V4.there(tcp_reply("PA", 501, 101, 5)), "est|rpl|trk"),
    )),
    Case("tcp reopened by the other end", (
        *opened(),
        Step(V4.there(tcp("FA", 101, 501)), "est|trk"),
        Step(V4.back(tcp_reply("FA", 501, 102)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 102, 502)), "est|trk"),
        Step(V4.back(tcp_reply("S", 3000)), "new|trk"),
        Step(V4.there(tcp("SA", 4000, 3001)), "est|rpl|trk"),
    )),
    Case("tcp closed connection looked at only", (
        *opened(),
        Step(V4.there(tcp("RA", 101, 501)), "est|trk"),
        Step(V4.there(tcp("S", 3000)), "new|trk", Via.LOOK),
        Step(V4.back(tcp_reply("SA", 1, 3001)), "inv|trk", Via.LOOK),
    )),
    Case("tcp retransmissions", (
        Step(V4.there(tcp("S", 100)), "new|trk"),
        Step(V4.there(tcp("S", 100)), "new|trk"),
        Step(V4.back(tcp_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.back(tcp_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 101, 501)), "est|trk"),
        Step(V4.there(tcp("PA", 101, 501, 50)), "est|trk"),
        Step(V4.there(tcp("PA", 101, 501, 50)), "est|trk"),
        Step(V4.back(tcp_reply("A", 501, 151)), "est|rpl|trk"),
        Step(V4.there(tcp("PA", 101, 501, 50)), "est|trk"),
    )),
    Case("tcp simultaneous open", (
        Step(V4.there(tcp("S", 100)), "new|trk"),
        Step(V4.back(tcp_reply("S", 500)), "new|trk"),
        Step(V4.there(tcp("SA", 100, 501)), "est|trk"),
        Step(V4.back(tcp_reply("SA", 500, 101)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 101, 501)), "est|trk"),
    )),
    Case("tcp syn in an established connection", (
        *opened(),
        Step(V4.there(tcp("S", 101)), "est|trk"),
        Step(V4.there(tcp("S", 90000000)), "inv|trk"),
    )),
    Case("tcp answer without a question", (
        Step(V4.back(tcp_reply("SA", 500, 101)), "inv|trk"),
        Step(V4.back(tcp_reply("SA", 500, 101)), "inv|trk"),
    )),
    Case("tcp not committed", (
        Step(V4.there(tcp("S", 100)), "new|trk", Via.LOOK),
        Step(V4.back(tcp_reply("SA", 500, 101)), "inv|trk", Via.LOOK),
        Step(V4.there(tcp("S", 100)), "new|trk", Via.LOOK),
    )),
    Case("tcp flags that make no sense", tuple(
        Step(V4.there(tcp(flags, 100, 1)), "inv|trk")
        for flags in ("SF", "SR", "", "F", "P", "U", "FPU", "SFA", "SRA", "SP", "SU")
    )),
    Case("tcp flags that may open", tuple(
        Step(V4.there(tcp(flags, 100, 1, sport=41000 + at)), "new|trk")
        for at, flags in enumerate(("S", "A", "PA", "FA", "R", "RA", "SE", "SEC", "UA"))
    )),
    Case("tcp refused", (
        Step(V4.there(tcp("S", 100)), "new|trk"),
        Step(V4.back(tcp_reply("RA", 0, 101, window=0)), "est|rpl|trk"),
        Step(V4.there(tcp("S", 100)), "new|trk"),
        Step(V4.back(tcp_reply("SA", 500, 101)), "est|rpl|trk"),
    )),
    Case("tcp resets", (
        *opened(),
        Step(V4.back(tcp_reply("R", 900)), "inv|trk"),
        Step(V4.back(tcp_reply("R", 503)), "inv|trk"),
        Step(V4.there(tcp("PA", 101, 501, 5)), "est|trk"),
        Step(V4.back(tcp_reply("R", 501)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 106, 501)), "est|trk"),
        Step(V4.there(tcp("S", 5000)), "new|trk"),
    )),
    Case("tcp reset off by one", (
        *opened(),
        Step(V4.there(tcp("R", 103)), "inv|trk"),
        Step(V4.there(tcp("PA", 101, 501, 9)), "est|trk"),
        Step(V4.there(tcp("R", 112)), "inv|trk"),
        Step(V4.there(tcp("R", 111)), "est|trk"),
    )),
    Case("tcp half close", (
        *opened(),
        Step(V4.there(tcp("FA", 101, 501)), "est|trk"),
        Step(V4.back(tcp_reply("A", 501, 102)), "est|rpl|trk"),
        Step(V4.back(tcp_reply("PA", 501, 102, 400)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 102, 901)), "est|trk"),
        Step(V4.back(tcp_reply("PA", 901, 102, 400)), "est|rpl|trk", wait_s=800),
        Step(V4.there(tcp("A", 102, 1301)), "est|trk", wait_s=800),
        Step(V4.back(tcp_reply("FA", 1301, 102)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 102, 1302)), "est|trk"),
        Step(V4.back(tcp_reply("A", 1302, 102)), "new|trk", wait_s=46),
    )),
    Case("tcp outside the window", (
        *opened(),
        Step(V4.there(tcp("PA", 3000, 501, 100)), "inv|trk"),
        Step(V4.there(tcp("PA", 101, 501, 1000)), "est|trk"),
        Step(V4.there(tcp("PA", 1101, 501, 2)), "inv|trk"),
        Step(V4.back(tcp_reply("A", 501, 1101)), "est|rpl|trk"),
        Step(V4.there(tcp("PA", 1101, 501, 2)), "est|trk"),
        Step(V4.there(tcp("PA", 102 - 900000, 501, 2)), "inv|trk"),
        Step(V4.back(tcp_reply("PA", 501, 1101 + 70000, 3)), "inv|trk"),
        Step(V4.back(tcp_reply("PA", 501, 1101 - 70000, 3)), "inv|trk"),
        Step(V4.back(tcp_reply("PA", 501, 1103, 3)), "est|rpl|trk"),
    )),
    Case("tcp keepalive and closed window", (
        *opened(),
        Step(V4.there(tcp("A", 100, 501)), "est|trk", wait_s=7200),
        Step(V4.back(tcp_reply("A", 501, 101, window=0)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 101, 501, 1)), "est|trk"),
        Step(V4.back(tcp_reply("A", 501, 101, window=0)), "est|rpl|trk"),
        Step(V4.back(tcp_reply("A", 501, 102, window=1000)), "est|rpl|trk"),
    )),
    Case("tcp window scaling", (
        *opened(options=(WSCALE, WSCALE)),
        Step(V4.there(tcp("PA", 101 + 1024, 501, 1)), "inv|trk"),
        Step(V4.back(tcp_reply("A", 501, 101)), "est|rpl|trk"),
        Step(V4.there(tcp("PA", 101, 501, 1400)), "est|trk"),
        Step(V4.there(tcp("PA", 101 + 120000, 501, 1400)), "est|trk"),
        Step(V4.there(tcp("PA", 101 + 130000, 501, 1400)), "inv|trk"),
        Step(V4.back(tcp_reply("A", 501, 121501)), "est|rpl|trk"),
        Step(V4.there(tcp("PA", 101 + 130000, 501, 1400)), "est|trk"),
    )),
    Case("tcp window scale refused by the other end", (
        *opened(options=(WSCALE, [])),
        Step(V4.there(tcp("PA", 101, 501, 900)), "est|trk"),
        Step(V4.there(tcp("PA", 1001, 501, 1400)), "inv|trk"),
        Step(V4.back(tcp_reply("PA", 501, 1001, 1400)), "inv|trk"),
        Step(V4.back(tcp_reply("PA", 501, 1001, 900)), "est|rpl|trk"),
    )),
    Case("tcp options around the window scale", (
        *opened(options=(
            [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 14)],
            [("NOP", None), ("NOP", None), ("WScale", 20), ("EOL", None)],
        )),
        Step(V4.back(tcp_reply("A", 501, 101)), "est|rpl|trk"),
        Step(V4.there(tcp("PA", 101 + 3000000, 501, 1400)), "est|trk"),
        Step(V4.back(tcp_reply("PA", 501 + 3000000, 101, 1400)), "est|rpl|trk"),
    )),
    Case("tcp sequence numbers wrap", (
        *opened(client=2**32 - 50, server=2**32 - 2),
        Step(V4.there(tcp("PA", 2**32 - 49, 2**32 - 1, 900)), "est|trk"),
        Step(V4.back(tcp_reply("PA", 2**32 - 1, 851, 900)), "est|rpl|trk"),
        Step(V4.there(tcp("PA", 851, 899, 900)), "est|trk"),
        Step(V4.back(tcp_reply("A", 899, 1751)), "est|rpl|trk"),
        Step(V4.there(tcp("PA", 2**31, 899, 900)), "inv|trk"),
    )),
    Case("tcp picked up in the middle", (
        Step(V4.there(tcp("PA", 5000, 9000, 100)), "new|trk"),
        Step(V4.there(tcp("PA", 5100, 9000, 100)), "est|trk"),
        Step(V4.back(tcp_reply("A", 9000, 5200)), "est|rpl|trk"),
        Step(V4.back(tcp_reply("PA", 9000, 5200, 1000)), "est|rpl|trk"),
        Step(V4.there(tcp("A", 5200, 10000)), "est|trk"),
        Step(V4.there(tcp("PA", 5200 + 9000000, 10000, 100)), "est|trk"),
        Step(V4.there(tcp("PA", 5200 + 1 << 30, 10000, 100)), "inv|trk"),
    )),
    Case("tcp picked up from the answering end", (
        Step(V4.back(tcp_reply("PA", 9000, 5200, 1000)), "new|trk"),
        Step(V4.there(tcp("A", 5200, 10000)), "est|rpl|trk"),
        Step(V4.back(tcp_reply("PA", 10000, 5200, 1000)), "est|trk"),
    )),
    Case("tcp half open expires", (
        Step(V4.there(tcp("S", 100)), "new|trk"),
        Step(V4.back(tcp_reply("SA", 500, 101)), "inv|trk", wait_s=31),
        Step(V4.there(tcp("S", 100)), "new|trk"),
        Step(V4.back(tcp_reply("SA", 500, 101)), "est|rpl|trk", wait_s=29),
        Step(V4.there(tcp("A", 101, 501)), "est|trk", wait_s=29),
        Step(V4.there(tcp("A", 101, 501)), "est|trk", wait_s=86000),
        Step(V4.there(tcp("A", 101, 501)), "new|trk", wait_s=86401),
        Step(V4.back(tcp_reply("SA", 500, 101)), "est|rpl|trk"),
    )),
    Case("tcp ports and lengths that cannot be", (
        Step(V4.there(tcp("S", 1, sport=0)), "inv|trk"),
        Step(V4.there(tcp("S", 1, dport=0)), "inv|trk"),
        Step(V4.there(tcp("S", 1, dataofs=4)), "inv|trk"),
        Step(V4.there(tcp("S", 1, dataofs=6)), "inv|trk"),
        Step(cut(V4.there(tcp("S", 1)), 36), "inv|trk"),
        Step(cut(V4.there(tcp("S", 1)), 24), "inv|trk"),
    )),
)
