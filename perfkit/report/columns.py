"""The columns of a run's tables: names, units, decimals.

Headings keep the words of the 2011 tool where they were right (`CPU usr (%)`, `Total …`), so old
tables can be read beside new ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from perfkit.report.tables import Column
from perfkit.units import MS_PER_S, SI_PREFIXES

MEGA = float(SI_PREFIXES["M"])
MILLI = 1.0 / MS_PER_S


def text(key: str, heading: str) -> Column:
    """A column of text."""
    return Column(key, heading, kind="text")


def mbps(key: str, heading: str, digits: int = 2) -> Column:
    """Bits per second, shown as Mbit/s."""
    return Column(key, heading, "Mbit/s", digits=digits, scale=MEGA)


def ms(key: str, heading: str, digits: int = 0) -> Column:
    """Seconds, shown as ms."""
    return Column(key, heading, "ms", digits=digits, scale=MILLI)


def mb(key: str, heading: str) -> Column:
    """Bytes, shown as MB (10^6)."""
    return Column(key, heading, "MB", digits=1, scale=MEGA)


def pct(key: str, heading: str) -> Column:
    """A percentage."""
    return Column(key, heading, "%", digits=1)


TEST = text("slot", "Test")

SUMMARY = (
    TEST,
    text("clients_ok", "Clients"),
    mbps("goodput_bps", "Total goodput", 1),
    mbps("goodput_ci_bps", "±", 1),
)
COSTS = (  # the first that is known is the fifth column of the summary
    Column("vpn_cpu_s_per_gbit", "VPN CPU", "s/Gbit", digits=2),
    pct("cpu_busy_pct", "CPU total"),
    Column("jain", "Jain", digits=3),
)
HEADLINES = (
    TEST,
    text("clients_ok", "Clients"),
    text("headline", "Figure"),
    text("headline_value", "Value"),
    text("headline_half", "±"),
)
TESTS = (
    TEST,
    Column("clients_expected", "Clients"),
    Column("clients_seen", "Seen"),
    Column("clients_failed", "Failed"),
    Column("clients_unread", "Not understood"),
    text("is_void", "Void"),
    Column("window_s", "Window", "s", digits=1),
    mbps("goodput_bps", "Total goodput", 1),
    mbps("goodput_ci_bps", "± 95\u00a0%\u00a0CI", 1),  # no-break spaces
    mbps("client_mean_bps", "Mean per client"),
    Column("jain", "Jain", digits=3),
    ms("start_spread_s", "Start spread"),
    mbps("nic_bps", "Server NIC", 1),
    mbps("tunnel_bps", "Server tunnel", 1),
    Column("nic_ratio", "NIC / goodput", digits=3),
    pct("cpu_busy_pct", "CPU total"),
    Column("vpn_cpu_s_per_gbit", "VPN CPU", "s/Gbit", digits=2),
    Column("vs_direct", "In / out of tunnel", digits=3),
)
CLIENTS = (
    TEST,
    Column("clients_counted", "Clients"),
    mbps("client_mean_bps", "Mean"),
    mbps("client_sd_bps", "s.d."),
    Column("client_cv", "CV", digits=3),
    mbps("client_min_bps", "Min"),
    mbps("client_p5_bps", "p5"),
    mbps("client_p25_bps", "p25"),
    mbps("client_median_bps", "Median"),
    mbps("client_p75_bps", "p75"),
    mbps("client_p95_bps", "p95"),
    mbps("client_max_bps", "Max"),
    Column("jain", "Jain", digits=4),
)
TCP = (
    TEST,
    Column("tcp_senders", "Clients that said it"),
    Column("retransmits", "Retransmits"),
    Column("retransmits_per_gb", "Retransmits", "/GB", digits=1),
    Column("tcp_efficiency_pct", "TCP efficiency ≥", "%", digits=3),
    Column("mss_min_bytes", "MSS, smallest", "byte"),
    Column("mss_max_bytes", "MSS, largest", "byte"),
)
UDP = (
    TEST,
    Column("udp_streams", "Streams"),
    Column("udp_datagrams", "Datagrams sent"),
    Column("udp_lost", "Lost"),
    Column("udp_loss_pct", "Loss", "%", digits=3),
    ms("jitter_median_s", "Jitter median", 3),
    ms("jitter_max_s", "Jitter max", 3),
    Column("udp_out_of_order", "Out of order"),
)
SENSITIVITY = (
    TEST,
    Column("moved_s", "Edges moved by", "s"),
    text("moves", "Moves"),
    Column("windows", "Windows tried"),
    *(
        Column(f"{name}_change_pct", heading, "%", digits=2)
        for name, heading in (
            ("goodput_bps", "Total goodput"),
            ("goodput_up_bps", "Goodput up"),
            ("goodput_down_bps", "Goodput down"),
            ("client_mean_bps", "Mean per client"),
            ("client_median_bps", "Median per client"),
            ("jain", "Jain"),
            ("nic_bps", "Server NIC"),
            ("cpu_busy_pct", "CPU total"),
            ("vpn_cpu_s_per_gbit", "VPN CPU per Gbit"),
        )
    ),
)
SERVER = (
    TEST,
    Column("monitor_ticks", "Ticks"),
    mbps("nic_bps", "NIC", 1),
    mbps("nic_sd_bps", "± s.d.", 1),
    mbps("tunnel_bps", "Tunnel", 1),
    mbps("tunnel_sd_bps", "± s.d.", 1),
    Column("nic_ratio", "NIC / goodput", digits=3),
    Column("tunnel_ratio", "Tunnel / goodput", digits=3),
    pct("cpu_user_pct", "CPU usr"),
    pct("cpu_system_pct", "CPU sys"),
    pct("cpu_softirq_pct", "CPU softirq"),
    pct("cpu_wait_pct", "CPU wait"),
    pct("cpu_busy_pct", "CPU total"),
    pct("cpu_busy_sd_pct", "± s.d."),
    Column("cpu_cores", "Cores used", digits=2),
    pct("busiest_core_pct", "Busiest core"),
    pct("busiest_core_tick_pct", "Busiest core, by tick"),
    Column("vpn_cpu_s", "VPN CPU", "s", digits=2),
    Column("vpn_cores", "VPN cores", digits=3),
    Column("vpn_cpu_s_per_gbit", "VPN CPU", "s/Gbit", digits=2),
)
_VPN_COUNTS = (
    Column("renegotiations", "Keys renewed"),
    Column("tls_errors", "TLS errors"),
    Column("timeouts", "Timeouts"),
    Column("restarts", "Restarts"),
    Column("refused", "Refused"),
)
VPN = (
    Column("clients", "Clients"),
    Column("connected", "Connected at the end"),
    Column("tunnel_up_median_s", "Time to tunnel up, median", "s"),
    Column("tunnel_up_max_s", "Time to tunnel up, longest", "s"),
    mb("recv_bytes", "From clients"),
    mb("tunnel_in_bytes", "Tunnel in"),
    Column("recv_ratio", "From clients / in", digits=3),
    mb("send_bytes", "To clients"),
    mb("tunnel_out_bytes", "Tunnel out"),
    Column("send_ratio", "To clients / out", digits=3),
    *_VPN_COUNTS,
)
MACHINE = text("machine", "Machine")  # only where machines have names of their own
VPN_CLIENTS = (
    text("host", "Client"),
    MACHINE,
    text("is_connected", "Connected at the end"),
    Column("handshake_age_s", "Last handshake", "s before"),
    Column("tunnel_up_s", "Time to tunnel up", "s"),
    Column("sessions", "Sessions"),
    mb("recv_bytes", "From client"),
    mb("send_bytes", "To client"),
    *_VPN_COUNTS,
)
WINDOWS = (
    TEST,
    Column("window_start_s", "From", "s after T0", digits=3),
    Column("window_end_s", "To", "s after T0", digits=3),
    Column("window_s", "Length", "s", digits=3),
    Column("warm_up_s", "Warm-up cut", "s"),
    Column("overlap", "Steady / outer", digits=3),
    ms("start_spread_s", "Start spread", 1),
    ms("late_max_s", "Latest start", 1),
    ms("clock_bound_s", "Clock bound", 2),
    ms("placement_bound_s", "Stream placement ±", 1),
    text("chosen_by", "Chosen by"),
    text("side", "Figures from"),
    text("proposal", "Proposed, not taken"),
)
LINKS = (
    text("whose", "Link of"),
    text("link", "Asked for"),
    text("direction", "Direction"),
    mb("carried_bytes", "Carried"),
    mbps("busiest_bps", "Busiest second", 1),
    Column("queue_drops", "Queue drops"),
    Column("lost_packets", "Lost packets"),
    Column("loss_ratio_pct", "Lost", "%", digits=4),
    Column("loss_low_pct", "95 % from", "%", digits=4),
    Column("loss_high_pct", "to", "%", digits=4),
)
PHASES = (text("phase", "Phase"), Column("elapsed_s", "Time", "s", digits=2))
WARNINGS = (text("level", "Kind"), text("where", "Where"), text("text", "What"))
FAILURES = (TEST, text("host", "Host"), MACHINE, text("reason", "Reason"), text("log", "Log"))
LOGS = (
    text("log", "Log"),
    text("format", "Format"),
    Column("rows", "Rows"),
    Column("unparsed", "Lines not understood"),
    text("remark", "Remark"),
)

BOTH_WAYS = (
    mbps("goodput_up_bps", "Goodput up", 1),
    mbps("goodput_down_bps", "Goodput down", 1),
    mbps("client_median_up_bps", "Median per client up"),
    mbps("client_median_down_bps", "Median per client down"),
    Column("jain_up", "Jain up", digits=3),
    Column("jain_down", "Jain down", digits=3),
)
RTT = (
    ms("rtt_median_s", "RTT without load", 3),
    ms("rtt_p99_s", "RTT without load, p99", 3),
    ms("rtt_loaded_median_s", "RTT under load", 3),
    ms("rtt_loaded_p99_s", "RTT under load, p99", 3),
    ms("rtt_added_s", "Added by load", 3),
    Column("rtt_lost_ratio", "Round trips lost", "%", digits=2, scale=0.01),
)
REQUESTS = (
    Column("requests_per_s", "Short connections", "/s", digits=1),
    ms("request_median_s", "Time of one, median", 3),
    ms("request_p99_s", "Time of one, p99", 3),
    Column("requests_failed_ratio", "Failed", "%", digits=2, scale=0.01),
)
CONNECT = (
    Column("connect_median_s", "Connect, median", "s", digits=3),
    Column("connect_p99_s", "Connect, p99", "s", digits=3),
    Column("connects_per_s", "Connects", "/s", digits=1),
    Column("connect_failed", "Not connected", digits=1),
    ms("connect_cpu_s", "VPN CPU per connect", 2),
)
RECONNECT = (
    Column("reconnect_median_s", "Connect after restart, median", "s", digits=3),
    Column("reconnect_p99_s", "Connect after restart, p99", "s", digits=3),
    Column("reconnects_per_s", "Connects after restart", "/s", digits=1),
    Column("reconnect_failed", "Not connected after restart", digits=1),
    ms("reconnect_cpu_s", "VPN CPU per connect after restart", 2),
)
IDLE = (
    Column("vpn_rss_bytes", "VPN memory", "MB", digits=2, scale=MEGA),
    Column("vpn_pss_bytes", "VPN memory (PSS)", "MB", digits=2, scale=MEGA),
    Column("vpn_rss_per_client_bytes", "VPN memory per client", "kB", digits=1, scale=1e3),
    Column("idle_bps", "Idle traffic per client", "bit/s", digits=0),
)

# What goes beside the headline figure of a test without goodput, most telling first.
BESIDE: Mapping[str, tuple[str, ...]] = {
    "rtt_loaded_median_s": ("rtt_median_s", "rtt_loaded_p99_s", "rtt_lost_ratio"),
    "rtt_median_s": ("rtt_p99_s", "rtt_lost_ratio"),
    "requests_per_s": ("request_p99_s", "requests_failed_ratio"),
    "connect_median_s": ("connect_p99_s", "connect_failed", "reconnect_median_s"),
    "vpn_rss_bytes": ("vpn_rss_per_client_bytes", "idle_bps"),
}
# Every figure of a campaign's cell.
FIGURES: dict[str, Column] = {
    column.key: column
    for column in (
        mbps("goodput_bps", "Goodput", 1),
        mbps("client_median_bps", "Median per client"),
        Column("jain", "Jain", digits=3),
        *BOTH_WAYS,
        Column("vs_direct", "In / out of tunnel", digits=3),
        Column("vpn_cpu_s_per_gbit", "VPN CPU", "s/Gbit", digits=2),
        Column("vpn_cores", "VPN CPU", "cores", digits=2),
        pct("busiest_core_pct", "Busiest core"),
        pct("busiest_core_tick_pct", "Busiest core, by tick"),
        pct("cpu_busy_pct", "CPU total"),
        pct("cpu_softirq_pct", "CPU softirq"),
        pct("cpu_steal_pct", "CPU steal"),
        mbps("nic_bps", "Server NIC", 1),
        mbps("link_bps", "Link", 0),
        Column("queue_drops", "Queue drops"),
        Column("held_back_packets", "Held back by limits"),
        Column("server_held_back_ratio", "Server held back", "% of s", digits=1, scale=0.01),
        pct("clients_cpu_pct", "CPU of clients"),
        Column("retransmits_per_gb", "Retransmits", "/GB", digits=1),
        mbps("offered_bps", "Offered", 1),
        Column("loss_ratio", "Loss", "%", digits=3, scale=0.01),
        Column("pps", "Packets", "/s"),
        Column("vpn_cpu_us_per_packet", "VPN CPU", "µs/packet", digits=2),
        *RTT,
        mbps("load_bps", "Load", 1),
        *REQUESTS,
        *CONNECT,
        *RECONNECT,
        *IDLE,
    )
}
