//! Versions that share a Redis: what the other does not read is not written, and what a newer one
//! has written is refused and named.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::buyer::Buyer;
use crate::client::get;
use crate::redis::{RedisConnection, RedisServer};
use crate::server::Server;
use crate::shop::{Shop, bought, until};

const SALE: &str = "{ticket_hash_key}:sale";
const MEMBERS: &str = "stampede:sales:{sale}_hash_key:members";
const LEASES: &str = "stampede:sales:{sale}_hash_key:leases";

/// A server of another version takes a lease, as each keeps it: in one step, since a server that
/// joins meanwhile removes what members without a lease publish.
fn lease(redis: &mut RedisConnection, id: char, member: &Value) {
    const TAKE: &str = "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) \
                        return redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])";
    let id = id.to_string().repeat(32);
    let seconds: u64 = redis.list("TIME")[0].parse().expect("a time");
    let says = format!("{seconds}000 {member}");
    let mut command = ::redis::cmd("EVAL");
    command.arg(TAKE).arg(2).arg(MEMBERS).arg(LEASES);
    command.arg(&id).arg(says).arg(format!("{}000", seconds + 5));
    redis.send(&command.get_packed_command(), 1);
}

#[test]
fn no_format_is_written_that_another_member_cannot_read() {
    let redis = RedisServer::start(&[]);
    let options = ["--ledger", &redis.url(), "--sale", "ticket=5"];
    let shop = Shop { server: Server::start(&options), redis: Some(redis), splits: 1 };
    let mut connection = shop.redis.as_ref().expect("a Redis").connect();
    let mut buyer = shop.buyer();
    let id = bought(&mut buyer, "ann", "");
    shop.reservation(&id, "confirm");
    let refund = format!("/v1/reservations/{id}/refund");
    // A server that does not say what it reads, and one that reads what this build writes.
    let old = json!({"name": "web2", "version": "0.1.9", "cores": 1});
    lease(&mut connection, 'b', &json!({"name": "web3", "version": "0.3.0", "reads": 7}));
    lease(&mut connection, 'a', &old);
    let refused = shop.ask("POST", &refund, "");
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("web2") && detail.contains("0.1.9"), "{detail}");
    let refused = shop.operate(&["reservation", "refund", &id]);
    assert!(refused.0 == 1 && refused.2.contains("web2"), "{refused:?}");
    assert_eq!(connection.ask(&format!("HGET {SALE} format")), ::redis::Value::Nil);
    let held = bought(&mut buyer, "fay", "");
    for (verb, body) in [("extend", ""), ("cancel", r#"{"remaining":1}"#)] {
        let path = format!("/v1/reservations/{held}/{verb}");
        assert_eq!(shop.refused("POST", &path, body).0, 503, "{verb}");
    }
    until("this server has heard of it", || {
        let body = r#"{"user":"gus","note":"row 7"}"#;
        let noted = buyer.request("POST", "/v1/sales/ticket/reservations", &[], body);
        let noted = noted.expect("an answer");
        if noted.status == 201 {
            let id = noted.json()["id"].as_str().expect("an id").to_owned();
            shop.reservation(&id, "cancel");
            connection.text(&format!("HDEL {SALE} format"));
        }
        (noted.status, &noted.json()["code"]) == (503, &json!("unavailable"))
    });
    assert_eq!(shop.reservation(&held, "cancel")["status"], "cancelled");
    // Everything else continues meanwhile.
    let other = bought(&mut buyer, "bob", "");
    assert_eq!(shop.reservation(&other, "cancel")["status"], "cancelled");
    shop.change(r#"{"limit_per_user":2}"#);
    let rules = r#"{"reservations_per_user_max":9}"#;
    assert_eq!(shop.refused("PATCH", "/v1/sales/ticket", rules).0, 503);
    // Its lease ends.
    until("nobody is in the way", || shop.ask("POST", &refund, "").status == 200);
    assert_eq!(connection.text(&format!("HGET {SALE} format")), "2");
    bought(&mut buyer, "eve", "");
    shop.assert_agrees();
    // A sale that is begun anew has nothing of it.
    assert_eq!(shop.operate(&["sale", "reset", "ticket", "--force"]).0, 0);
    assert_eq!(connection.ask(&format!("HGET {SALE} format")), ::redis::Value::Nil);
}

/// Passes everything on to this port, and its answers back after a delay. Returns its own address.
fn distant(port: u16, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for client in listener.incoming().map(|client| client.expect("a client")) {
            let server = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            pass_on(&client, &server, Duration::ZERO);
            pass_on(&server, &client, delay);
        }
    });
    address
}

fn pass_on(from: &TcpStream, to: &TcpStream, delay: Duration) {
    let [mut from, mut to] = [from, to].map(|it| it.try_clone().expect("a descriptor"));
    to.set_nodelay(true).expect("no delay");
    thread::spawn(move || {
        let mut bytes = [0; 65536];
        while let Ok(length) = from.read(&mut bytes)
            && length > 0
        {
            thread::sleep(delay);
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
    });
}

#[test]
fn a_server_that_listens_knows_what_the_others_read() {
    let redis = RedisServer::start(&[]);
    let address = distant(redis.port(), Duration::from_millis(50));
    let server = Server::start(&["--ledger", &format!("redis://{address}"), "--sale", "ticket=5"]);
    let mut buyer = Buyer::connect(server.address()).expect("a connection");
    let body = r#"{"user":"ann","note":"row 7"}"#;
    let noted = buyer.request("POST", "/v1/sales/ticket/reservations", &[], body);
    let noted = noted.expect("an answer");
    assert_eq!(noted.status, 201, "{}", noted.body);
}

#[test]
fn only_a_sale_of_a_newer_format_is_refused() {
    let redis = RedisServer::start(&[]);
    let sales = ["--sale", "ticket=50", "--sale", "poster=50"];
    let url = redis.url();
    let options = [&["--ledger", &url, "--cores", "0-1"], &sales[..]].concat();
    let shop = Shop { server: Server::start(&options), redis: Some(redis), splits: 1 };
    let mut connection = shop.redis.as_ref().expect("a Redis").connect();
    let mut buyer = shop.buyer();
    let id = bought(&mut buyer, "ann", "");
    connection.text(&format!("HSET {SALE} format 9"));
    let before = connection.list(&format!("HGETALL {SALE}"));
    let refused = buyer.reserve("ticket", "bob", 1, "").expect("an answer");
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));
    assert_eq!(refused.json()["reason"], "sale_damaged");
    let names_it = |said: &str| said.contains("format 9") && said.contains("newer version");
    let ready = shop.ask("GET", "/readyz", "").body;
    assert!(names_it(&ready), "{ready}");
    // Another thread writes the log.
    until("the log names the format", || names_it(&shop.server.log()));
    assert_eq!(get(&shop.server, "/buy/ticket").json()["code"], -6);
    assert_eq!(shop.refused("POST", &format!("/v1/reservations/{id}/confirm"), "").0, 503);
    assert_eq!(shop.refused("POST", &format!("/v1/reservations/{id}/cancel"), "").0, 503);
    assert_eq!(shop.refused("PATCH", "/v1/sales/ticket", r#"{"hold_ms":5}"#).0, 503);
    let reset = shop.operate(&["sale", "reset", "ticket", "--force"]);
    assert!(reset.0 == 1 && reset.2.contains("format 9"), "{reset:?}");
    let audit = shop.operate(&["audit", "--sale", "ticket"]);
    assert!(audit.0 == 3 && (audit.1 + &audit.2).contains("format 9"));
    let repair = shop.operate(&["audit", "--sale", "ticket", "--repair", "--release-units"]);
    assert_eq!(repair.0, 3);
    assert_eq!(connection.list(&format!("HGETALL {SALE}")), before, "nothing was changed");
    assert!(buyer.reserve("poster", "bob", 1, "").expect("an answer").bought().granted().is_some());
    // An invalid format is refused too.
    connection.text(&format!("HSET {SALE} format new"));
    let refused = buyer.reserve("ticket", "bob", 1, "").expect("an answer");
    assert_eq!(refused.status, 503);
    // When the format is one that this build reads, it sells.
    for format in ["HSET {SALE} format 2", "HDEL {SALE} format"] {
        connection.text(&format.replace("{SALE}", SALE));
        bought(&mut buyer, &format!("user{}", format.len()), "");
    }
    shop.assert_agrees();
}
