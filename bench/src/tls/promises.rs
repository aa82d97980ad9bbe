//! Promises on TLS.

use super::scenario::{
    CROWD, FULL, GARBAGE, HALF, IDLE, MANY, NOBODY, ONE, OVERSIZED, PIPELINED, REJECTIONS, RESUMED,
    SALES,
};
use crate::full::places::{OURS, cpu, least, most, sales, shown};
use crate::report::{Place, Promise};
use crate::rows::figure;

const BEFORE: &str = "nginx_before";
const NGINX: &str = "nginx";
const FLOOR: &str = "floor";
const PLAIN: &str = "stampede_plain";

const fn rate(scenario: &'static str, server: &'static str) -> Place {
    (scenario, server, figure::REQUESTS_PER_S)
}

const fn p99(scenario: &'static str, server: &'static str) -> Place {
    (scenario, server, figure::LATENCY_P99_US)
}

const fn kib(server: &'static str) -> Place {
    (IDLE, server, figure::CONNECTION_KIB)
}

/// The promises on TLS, in the order of the summary.
pub const PROMISES: [Promise; 28] = [
    most(0.9, "CPU per rejection, relative to nginx's `return 200`", cpu(REJECTIONS, OURS))
        .to(cpu(REJECTIONS, NGINX)),
    most(1.08, "CPU per rejection, relative to the floor", cpu(REJECTIONS, OURS))
        .to(cpu(REJECTIONS, FLOOR)),
    least(2.5, "Rejections/s, relative to nginx in front of stampede", rate(REJECTIONS, OURS))
        .to(rate(REJECTIONS, BEFORE)),
    shown("CPU per rejection, relative to rejections without TLS", cpu(REJECTIONS, OURS))
        .to(cpu(REJECTIONS, PLAIN)),
    shown("CPU per rejection, relative to axum", cpu(REJECTIONS, OURS)).to(cpu(REJECTIONS, "axum")),
    shown("CPU per rejection, 16 pipelined, relative to the floor", cpu(PIPELINED, OURS))
        .to(cpu(PIPELINED, FLOOR)),
    shown("CPU per rejection, 16 pipelined, relative to nginx", cpu(PIPELINED, OURS))
        .to(cpu(PIPELINED, NGINX)),
    shown("CPU per rejection, 16 pipelined, relative to rejections without TLS", cpu(PIPELINED, OURS))
        .to(cpu(PIPELINED, PLAIN)),
    shown("Purchases/s with user and key, relative to purchases without TLS", sales(SALES, OURS))
        .to(sales(SALES, PLAIN)),
    shown("Purchases/s with user and key, relative to purchases behind nginx", sales(SALES, OURS))
        .to(sales(SALES, BEFORE)),
    shown("CPU per purchase, relative to nginx in front of stampede", cpu(SALES, OURS))
        .to(cpu(SALES, BEFORE)),
    most(1.05, "CPU per connection with a full handshake, relative to nginx", cpu(FULL, OURS))
        .to(cpu(FULL, NGINX)),
    most(1.0, "CPU per resumed connection, relative to nginx", cpu(RESUMED, OURS))
        .to(cpu(RESUMED, NGINX)),
    shown("CPU per connection with a full handshake, relative to the floor", cpu(FULL, OURS))
        .to(cpu(FULL, FLOOR)),
    shown("CPU per resumed connection, relative to the floor", cpu(RESUMED, OURS))
        .to(cpu(RESUMED, FLOOR)),
    most(4.0, "Memory per idle connection, KiB", kib(OURS)),
    shown("Memory per idle connection of nginx, KiB", kib(NGINX)),
    shown("Memory per idle connection of axum, KiB", kib("axum")),
    shown("Memory per idle connection of the floor, KiB", kib(FLOOR)),
    most(3.0, "p99 of kept connections beside handshakes from one address, relative to no handshakes", p99(ONE, OURS))
        .to(p99(NOBODY, OURS)),
    most(3.0, "p99 of kept connections beside handshakes from many addresses, relative to no handshakes", p99(MANY, OURS)).to(p99(NOBODY, OURS)),
    most(3.0, "p99 of kept connections beside handshakes that stop half-way, relative to no handshakes", p99(HALF, OURS))
        .to(p99(NOBODY, OURS)),
    most(3.0, "p99 of kept connections beside garbage, relative to no handshakes", p99(GARBAGE, OURS)).to(p99(NOBODY, OURS)),
    most(3.0, "p99 of kept connections beside records that are too long, relative to no handshakes", p99(OVERSIZED, OURS))
        .to(p99(NOBODY, OURS)),
    most(3.0, "p99 of kept connections beside 19,000 idle connections, relative to no handshakes", p99(CROWD, OURS)).to(p99(NOBODY, OURS)),
    shown("nginx: p99 of kept connections beside handshakes from one address, relative to no handshakes", p99(ONE, NGINX)).to(p99(NOBODY, NGINX)),
    shown("nginx: p99 of kept connections beside handshakes from many addresses, relative to no handshakes", p99(MANY, NGINX)).to(p99(NOBODY, NGINX)),
    shown("nginx: p99 of kept connections beside handshakes that stop half-way, relative to no handshakes", p99(HALF, NGINX)).to(p99(NOBODY, NGINX)),
];
