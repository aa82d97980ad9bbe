//! What is promised of TLS.

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

/// See the module's header.
pub const PROMISES: [Promise; 28] = [
    most(0.9, "CPU per rejection, to that of nginx's `return 200`", cpu(REJECTIONS, OURS))
        .to(cpu(REJECTIONS, NGINX)),
    most(1.08, "CPU per rejection, to the floor's", cpu(REJECTIONS, OURS))
        .to(cpu(REJECTIONS, FLOOR)),
    least(2.5, "Rejections/s, to those of nginx before stampede", rate(REJECTIONS, OURS))
        .to(rate(REJECTIONS, BEFORE)),
    shown("CPU per rejection, to that without TLS", cpu(REJECTIONS, OURS))
        .to(cpu(REJECTIONS, PLAIN)),
    shown("CPU per rejection, to axum's", cpu(REJECTIONS, OURS)).to(cpu(REJECTIONS, "axum")),
    shown("CPU per rejection, 16 pipelined, to the floor's", cpu(PIPELINED, OURS))
        .to(cpu(PIPELINED, FLOOR)),
    shown("CPU per rejection, 16 pipelined, to nginx's", cpu(PIPELINED, OURS))
        .to(cpu(PIPELINED, NGINX)),
    shown("CPU per rejection, 16 pipelined, to that without TLS", cpu(PIPELINED, OURS))
        .to(cpu(PIPELINED, PLAIN)),
    shown("Purchases/s with user and key, to those without TLS", sales(SALES, OURS))
        .to(sales(SALES, PLAIN)),
    shown("Purchases/s with user and key, to those behind nginx", sales(SALES, OURS))
        .to(sales(SALES, BEFORE)),
    shown("CPU per purchase, to that of nginx before stampede", cpu(SALES, OURS))
        .to(cpu(SALES, BEFORE)),
    most(1.05, "CPU per connection with a full handshake, to nginx's", cpu(FULL, OURS))
        .to(cpu(FULL, NGINX)),
    most(1.0, "CPU per connection that resumes, to nginx's", cpu(RESUMED, OURS))
        .to(cpu(RESUMED, NGINX)),
    shown("CPU per connection with a full handshake, to the floor's", cpu(FULL, OURS))
        .to(cpu(FULL, FLOOR)),
    shown("CPU per connection that resumes, to the floor's", cpu(RESUMED, OURS))
        .to(cpu(RESUMED, FLOOR)),
    most(4.0, "Memory per idle connection, KiB", kib(OURS)),
    shown("The same of nginx, KiB", kib(NGINX)),
    shown("The same of axum, KiB", kib("axum")),
    shown("The same of the floor, KiB", kib(FLOOR)),
    most(3.0, "p99 of kept connections beside handshakes from one address", p99(ONE, OURS))
        .to(p99(NOBODY, OURS)),
    most(3.0, "The same from many addresses", p99(MANY, OURS)).to(p99(NOBODY, OURS)),
    most(3.0, "The same beside handshakes that stop half-way", p99(HALF, OURS))
        .to(p99(NOBODY, OURS)),
    most(3.0, "The same beside garbage", p99(GARBAGE, OURS)).to(p99(NOBODY, OURS)),
    most(3.0, "The same beside records that are too long", p99(OVERSIZED, OURS))
        .to(p99(NOBODY, OURS)),
    most(3.0, "The same beside 19,000 idle connections", p99(CROWD, OURS)).to(p99(NOBODY, OURS)),
    shown("nginx's p99 beside handshakes from one address", p99(ONE, NGINX)).to(p99(NOBODY, NGINX)),
    shown("The same from many addresses", p99(MANY, NGINX)).to(p99(NOBODY, NGINX)),
    shown("The same beside handshakes that stop half-way", p99(HALF, NGINX)).to(p99(NOBODY, NGINX)),
];
