//! Webhooks on their way from a real ledger to the shop, and forged ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, sign};
use serde_json::json;

use crate::programs::{assert_stands, assert_units};
use crate::redis_server::RedisServer;
use crate::shop::{SECRET, Shop, by_shop};
use crate::worker::{Worker, wait_for};

/// A webhook from a stranger, with what is wrong about it.
struct Webhook<'a> {
    secret: &'a str,
    id: &'a str,
    age: Duration,
    version: i64,
    status: &'a str,
}

impl Webhook<'_> {
    /// Sends it about this reservation. Returns the shop's status.
    fn send(&self, shop: &Shop, reservation: &str) -> u16 {
        let body = json!({ "type": format!("reservation.{}", self.status), "data": {
            "reservation": reservation, "sale": "ticket", "user_id": "ann", "quantity": 1,
            "status": self.status, "version": self.version.to_string(),
        }})
        .to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let sent_at = (now - self.age).as_secs();
        let key = STANDARD.decode(&self.secret["whsec_".len()..]).expect("a secret");
        let signed = format!("{}.{sent_at}.{body}", self.id);
        let signature = sign(&Key::new(HMAC_SHA256, &key), signed.as_bytes());
        let head = format!(
            "POST /hooks HTTP/1.1\r\nHost: a\r\nwebhook-id: {}\r\nwebhook-timestamp: {sent_at}\r\n\
             webhook-signature: v1,{}\r\nContent-Length: {}\r\n\r\n",
            self.id,
            STANDARD.encode(signature),
            body.len()
        );
        shop.send(&(head + &body)).0
    }
}

#[test]
fn the_shop_accepts_genuine_webhooks_once_and_in_order() {
    let redis = RedisServer::start(&[]);
    let mut shop = Shop::new();
    let url = redis.url();
    let server = shop.serve(&["--ledger", &url, "--sale", "ticket=3"]);
    shop.start(&server);
    let (state, secret) = (shop.path("webhooks.db"), shop.path("webhooks.secret"));
    let options = ["--state", &state, "--webhook-secret-file", &secret, "--webhook-retry", "10ms"];
    let worker = Worker::start(&url, &shop.hooks(), &options);
    let id = shop.buy(&server, "ann", "ticket");
    let mine =
        |status: &str| json!([{ "id": id, "sale": "ticket", "quantity": 1, "status": status }]);
    let told = || shop.ask(Some("ann"), "GET /mine").1;
    wait_for("the purchase at the shop", || told() == mine("held"));
    let pay = || shop.ask(Some("ann"), &format!("POST /pay/{id}"));
    assert_eq!(pay(), (200, json!("paid")));
    wait_for("the payment at the shop", || told() == mine("confirmed"));
    assert_eq!(shop.ask(Some("bob"), "GET /mine"), (200, json!([])));

    // Without the secret a webhook is refused, and so is a recorded one that is replayed.
    let genuine =
        Webhook { secret: SECRET, id: "msg_a", age: Duration::ZERO, version: 1, status: "expired" };
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let newest = i64::MAX;
    let forged = Webhook { secret: other, version: newest, ..genuine };
    assert_eq!(forged.send(&shop, &id), 401);
    let old = Webhook { age: Duration::from_secs(301), version: newest, ..genuine };
    assert_eq!(old.send(&shop, &id), 401);
    assert_eq!(shop.ask(None, "POST /hooks").0, 401);
    // A webhook older than the known state changes nothing.
    assert_eq!(genuine.send(&shop, &id), 200);
    assert_eq!(told(), mine("confirmed"));
    // Nor does an id that came before, whatever its content.
    let twice = Webhook { version: newest, ..genuine };
    assert_eq!(twice.send(&shop, &id), 200);
    assert_eq!(told(), mine("confirmed"));
    assert_stands(&server, &id, "ann", 1, "confirmed");

    // A refund at stampede reaches the buyer's money.
    assert_eq!(by_shop(&server, &format!("POST /v1/reservations/{id}/refund")).status(), 200);
    wait_for("the refund at the shop", || told() == mine("refunded"));
    wait_for("the money", || shop.moved(&id) == [1, 1]);
    assert_eq!(pay(), (409, json!("paid_back")));
    assert_units(&server, "ticket", [3, 0, 0]);
    worker.terminate();
    let (code, said) = worker.end();
    assert!(code == Some(0) && !said.contains("WARN"), "{said}");
    // Held, extended, confirmed, refunded.
    assert_eq!(delivered(&shop), 4);
}

/// Number of the worker's webhooks that the shop has taken.
fn delivered(shop: &Shop) -> i64 {
    let file = rusqlite::Connection::open(shop.file("shop.db")).expect("its file");
    let sql = "SELECT count(*) FROM webhooks WHERE id <> 'msg_a'";
    file.query_row(sql, [], |row| row.get(0)).expect("a number")
}
