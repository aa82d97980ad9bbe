//! Promises on a shop's purchases, refusals and hot sales, and relative to the floor of a sale.

use super::places::{OURS, cpu, least, most, sales, shown};
use super::scenario::{
    self, C1, C64, C1024, DURABLE, GET, HOT_C64, HOT_C512, KEYED, REDIS, REFUSED, SHOPS, TRIP, USER,
};
use crate::report::{Place, Promise};
use crate::rows::figure;

const FLOOR_SALES: &str = "floor_sales";
/// Indexes of the tables of hot sales: one, and 1,000.
const ONE: usize = 0;
const THOUSAND: usize = 2;

const fn redis(scenario: &'static str, server: &'static str) -> Place {
    (scenario, server, figure::REDIS_CPU_US)
}

const fn p50(scenario: &'static str) -> Place {
    (scenario, OURS, figure::LATENCY_P50_US)
}

const fn last_ticket(scenario: &'static str, server: &'static str) -> Place {
    (scenario, server, figure::LAST_GRANT_S)
}

const fn last_answer(scenario: &'static str, server: &'static str) -> Place {
    (scenario, server, figure::LAST_ANSWER_S)
}

/// CPU per purchase with a user and a key in a sale with a limit, relative to an anonymous purchase.
const fn purchase(text: &'static str, store: usize) -> Promise {
    most(1.25, text, cpu(SHOPS[KEYED][store], OURS)).to(cpu(SHOPS[GET][store], OURS))
}

/// CPU per refusal with a new key, relative to the same request without a key.
const fn keyed(text: &'static str, connections: usize, store: usize) -> Promise {
    let [_, without, with] = REFUSED[connections];
    most(1.2, text, cpu(with[store], OURS)).to(cpu(without[store], OURS))
}

/// Rate of refusals with a new key, relative to the same requests without a key.
const fn keyed_rate(text: &'static str, connections: usize, store: usize) -> Promise {
    const RATE: &str = figure::REQUESTS_PER_S;
    let [_, without, with] = REFUSED[connections];
    least(0.8, text, (with[store], OURS, RATE)).to((without[store], OURS, RATE))
}

/// CPU per refusal by POST with a user, relative to a refusal by an anonymous GET.
const fn posted(text: &'static str, connections: usize, store: usize) -> Promise {
    let [get, post, _] = REFUSED[connections];
    most(1.12, text, cpu(post[store], OURS)).to(cpu(get[store], OURS))
}

const fn hot_cpu(text: &'static str, store: usize) -> Promise {
    most(1.15, text, cpu(HOT_C64[THOUSAND][store], OURS)).to(cpu(HOT_C64[ONE][store], OURS))
}

const HOT_REDIS: Place = redis(HOT_C64[THOUSAND][REDIS], OURS);

/// The promises on a shop's buyers, in the order of the summary.
pub const SHOP_PROMISES: [Promise; 44] = [
    purchase("CPU per purchase by POST with user, key and limit, relative to an anonymous GET (Redis)", REDIS),
    purchase("CPU per purchase by POST with user, key and limit, relative to an anonymous GET (embedded ledger)", DURABLE),
    most(1.4, "Redis CPU per purchase by POST with user, key and limit, relative to an anonymous GET", redis(SHOPS[KEYED][REDIS], OURS))
        .to(redis(SHOPS[GET][REDIS], OURS)),
    shown("CPU per purchase by POST with a user, relative to an anonymous GET (Redis)", cpu(SHOPS[USER][REDIS], OURS))
        .to(cpu(SHOPS[GET][REDIS], OURS)),
    shown("CPU per purchase by POST with a user, relative to an anonymous GET (embedded ledger)", cpu(SHOPS[USER][DURABLE], OURS))
        .to(cpu(SHOPS[GET][DURABLE], OURS)),
    shown("CPU per purchase with user, key and limit, relative to nginx with Lua", cpu(SHOPS[KEYED][REDIS], OURS))
        .to(cpu(SHOPS[KEYED][REDIS], "nginx_lua")),
    shown("Redis CPU per purchase with user, key and limit, relative to nginx with Lua", redis(SHOPS[KEYED][REDIS], OURS))
        .to(redis(SHOPS[KEYED][REDIS], "nginx_lua")),
    shown("Sales/s with user, key and limit, relative to the article", sales(SHOPS[KEYED][REDIS], OURS))
        .to(sales(SHOPS[KEYED][REDIS], "article")),
    shown("Durable sales/s with user, key and limit, relative to PostgreSQL", sales(SHOPS[KEYED][DURABLE], OURS))
        .to(sales(SHOPS[KEYED][DURABLE], "axum_postgres")),
    keyed("CPU per refusal with a new key, relative to one without a key: 64 connections, Redis", C64, REDIS),
    keyed("CPU per refusal with a new key, relative to one without a key: 64 connections, embedded ledger", C64, DURABLE),
    keyed("CPU per refusal with a new key, relative to one without a key: 1,024 connections, Redis", C1024, REDIS),
    keyed("CPU per refusal with a new key, relative to one without a key: 1,024 connections, embedded ledger", C1024, DURABLE),
    keyed_rate("Refusals/s with a new key, relative to those without a key: 64 connections, Redis", C64, REDIS),
    keyed_rate("Refusals/s with a new key, relative to those without a key: 64 connections, embedded ledger", C64, DURABLE),
    keyed_rate("Refusals/s with a new key, relative to those without a key: 1,024 connections, Redis", C1024, REDIS),
    keyed_rate("Refusals/s with a new key, relative to those without a key: 1,024 connections, embedded ledger", C1024, DURABLE),
    most(
        2.0,
        "One connection: p50 of a refusal with a new key, relative to a purchase by GET (Redis)",
        p50(REFUSED[C1][KEYED][REDIS]),
    )
    .to(p50(TRIP[REDIS])),
    most(2.0, "One connection: p50 of a refusal with a new key, relative to a purchase by GET (embedded ledger)", p50(REFUSED[C1][KEYED][DURABLE])).to(p50(TRIP[DURABLE])),
    shown("One connection: p50 of a refusal without a key, relative to a purchase by GET (Redis)", p50(REFUSED[C1][USER][REDIS]))
        .to(p50(TRIP[REDIS])),
    most(
        0.3,
        "Redis CPU per refusal with a new key, us: 64 connections",
        redis(REFUSED[C64][KEYED][REDIS], OURS),
    ),
    most(0.3, "Redis CPU per refusal with a new key, us: 1,024 connections", redis(REFUSED[C1024][KEYED][REDIS], OURS)),
    most(
        0.3,
        "Redis CPU per refusal by POST with a user, us: 64 connections",
        redis(REFUSED[C64][USER][REDIS], OURS),
    ),
    most(0.3, "Redis CPU per refusal by POST with a user, us: 1,024 connections", redis(REFUSED[C1024][USER][REDIS], OURS)),
    posted("CPU per refusal by POST with a user, relative to one by GET: 64 connections, Redis", C64, REDIS),
    posted("CPU per refusal by POST with a user, relative to one by GET: 64 connections, embedded ledger", C64, DURABLE),
    posted("CPU per refusal by POST with a user, relative to one by GET: 1,024 connections, Redis", C1024, REDIS),
    posted("CPU per refusal by POST with a user, relative to one by GET: 1,024 connections, embedded ledger", C1024, DURABLE),
    most(0.8, "Redis CPU per purchase from 1,000 hot sales, relative to one EVALSHA per ticket", HOT_REDIS)
        .to(redis(HOT_C64[THOUSAND][REDIS], scenario::EVALSHA_EACH)),
    shown("Redis CPU per purchase from 1,000 hot sales, relative to one EVALSHA per ticket, pipelined on one connection", HOT_REDIS)
        .to(redis(HOT_C64[THOUSAND][REDIS], scenario::EVALSHA_PIPELINED)),
    most(3.0, "Redis CPU per purchase from 1,000 hot sales, relative to one hot sale", HOT_REDIS)
        .to(redis(HOT_C64[ONE][REDIS], OURS)),
    shown("Redis CPU per purchase from 1,000 hot sales over 512 connections, relative to one hot sale", redis(HOT_C512[THOUSAND][REDIS], OURS))
        .to(redis(HOT_C512[ONE][REDIS], OURS)),
    hot_cpu("CPU per purchase from 1,000 hot sales, relative to one hot sale (Redis)", REDIS),
    hot_cpu("CPU per purchase from 1,000 hot sales, relative to one hot sale (embedded ledger)", DURABLE),
    most(
        1.05,
        "CPU per sale, relative to the floor of a sale (Redis)",
        cpu(scenario::SALES_MEMORY, OURS),
    )
    .to(cpu(scenario::SALES_MEMORY, FLOOR_SALES)),
    most(1.05, "CPU per sale, relative to the floor of a sale (embedded ledger)", cpu(scenario::SALES_EMBEDDED, OURS))
        .to(cpu(scenario::SALES_EMBEDDED, FLOOR_SALES)),
    most(
        1.5,
        "Headline: time to the last ticket, relative to the floor of a sale (Redis)",
        last_ticket(scenario::HEADLINE, OURS),
    )
    .to(last_ticket(scenario::HEADLINE, FLOOR_SALES)),
    most(1.5, "Headline: time to the last ticket, relative to the floor of a sale (embedded ledger)", last_ticket(scenario::HEADLINE_DURABLE, OURS))
        .to(last_ticket(scenario::HEADLINE_DURABLE, FLOOR_SALES)),
    most(
        1.1,
        "Headline: time to the last answer, relative to the floor of a sale (Redis)",
        last_answer(scenario::HEADLINE, OURS),
    )
    .to(last_answer(scenario::HEADLINE, FLOOR_SALES)),
    most(1.1, "Headline: time to the last answer, relative to the floor of a sale (embedded ledger)", last_answer(scenario::HEADLINE_DURABLE, OURS))
        .to(last_answer(scenario::HEADLINE_DURABLE, FLOOR_SALES)),
    shown(
        "Headline with users and keys: time to the last ticket, relative to the anonymous headline (Redis)",
        last_ticket(scenario::HEADLINE_KEYED, OURS),
    )
    .to(last_ticket(scenario::HEADLINE, OURS)),
    shown("Headline with users and keys: time to the last answer, relative to the anonymous headline (Redis)", last_answer(scenario::HEADLINE_KEYED, OURS))
        .to(last_answer(scenario::HEADLINE, OURS)),
    shown(
        "Headline with users and keys, sale in four parts: time to the last answer, relative to the anonymous headline (Redis)",
        last_answer(scenario::HEADLINE_KEYED_SPLIT, OURS),
    )
    .to(last_answer(scenario::HEADLINE, OURS)),
    shown("Headline with users and keys: time to the last answer, relative to the anonymous headline (embedded ledger)", last_answer(scenario::HEADLINE_KEYED_DURABLE, OURS))
        .to(last_answer(scenario::HEADLINE_DURABLE, OURS)),
];
