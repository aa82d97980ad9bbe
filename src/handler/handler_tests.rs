//! The answers to buyers, at once or after a wait: with the model as the ledger, the test's own
//! clock and no socket.

use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::engine::http::parse_head;
use crate::engine::settings::Settings;
use crate::engine::test_core;
use crate::ledger::batch::Batcher;
use crate::ledger::fake::FakeLedger;
use crate::limits::TICK_INTERVAL_MS;
use crate::purchase::{SaleCacheUpdater, Selling};
use crate::queue_limits::QueueLimits;
use crate::sale::{Command, SaleSpec};
use crate::stock::StockSetting;
use crate::test_coroutines::run;

const DEADLINE_MS: u64 = 2_000;
/// 2001-09-09, 01:46:40.
const START_MS: u64 = 1_000_000_000_000;
const WAITING_MAX: usize = 9;
/// The connection of all requests.
const ASKER: Token = Token { index: 0, generation: 0 };

struct Shop {
    core: &'static Core,
    buyers: Buyers,
    seller: &'static Seller,
    clock: Rc<Clock>,
    ledger: FakeLedger,
}

/// Runs a test against a shop that sells this number of tickets.
fn with_shop(total: u64, test: impl FnOnce(Shop) + Send + 'static) {
    with(test_core::settings(), StockSetting::Auto, false, SaleSpec::with_total(total), test);
}

fn with(
    settings: Settings,
    stock: StockSetting,
    public_confirm: bool,
    spec: SaleSpec,
    test: impl FnOnce(Shop) + Send + 'static,
) {
    run(move || {
        let clock = Rc::new(Clock::default());
        clock.set(START_MS);
        let core = test_core::core(settings, clock.clone()).expect("descriptors");
        let selling = Arc::new(Selling::new(1, stock, 50, Arc::default()));
        let batcher = Batcher::new(QueueLimits::new(Some(WAITING_MAX), DEADLINE_MS).into());
        let seller = Seller::new(0, selling, clock.clone(), batcher, None);
        let seller: &'static Seller = Box::leak(Box::new(seller));
        seller.batcher.set_observer(Box::new(SaleCacheUpdater(seller)));
        seller.batcher.set_available();
        let ledger = FakeLedger::with("ticket", spec);
        let buyers = Buyers::alone(seller, public_confirm);
        test(Shop { core, buyers, seller, clock, ledger });
    });
}

impl Shop {
    /// Sends a request line, headers and a body, which are separated by an empty line.
    fn ask(&self, request: &str, out: &mut Vec<u8>) -> Action<Waiting> {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let mut bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n");
        for header in headers.lines() {
            bytes += &format!("{header}\r\n");
        }
        if !body.is_empty() {
            bytes +=
                &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        let head = parse_head(bytes.as_bytes()).expect("it is legal").expect("it is whole");
        self.buyers.serve(self.core, ASKER, &head, body.as_bytes(), out)
    }

    /// The answer to a request that does not wait.
    fn at_once(&self, request: &str) -> String {
        let mut out = Vec::new();
        match self.ask(request, &mut out) {
            Action::Answered => {}
            Action::Wait(_) => panic!("{request} waits"),
        }
        assert!(!out.is_empty(), "{request} is not answered");
        String::from_utf8(out).expect("text")
    }

    /// A request that waits.
    fn waiting(&self, request: &str) -> Waiting {
        let mut out = Vec::new();
        match self.ask(request, &mut out) {
            Action::Answered => {
                panic!("{request} does not wait: {}", String::from_utf8_lossy(&out))
            }
            Action::Wait(waiting) => {
                assert!(out.is_empty(), "an answer comes once");
                waiting
            }
        }
    }

    /// The answer to a waiting request, once the ledger has answered.
    fn answer(&self, waiting: Waiting) -> String {
        let mut out = Vec::new();
        match self.buyers.resume(self.core, ASKER, waiting, &mut out) {
            Action::Answered => String::from_utf8(out).expect("text"),
            Action::Wait(_) => panic!("its answer is not there"),
        }
    }

    /// The answer to a request after the ledger has answered.
    fn after_ledger(&mut self, request: &str) -> String {
        let waiting = self.waiting(request);
        assert_eq!(self.serve().len(), 1, "{request} is one question");
        self.answer(waiting)
    }

    fn serve(&mut self) -> Vec<Command> {
        self.ledger.serve(&self.seller.batcher, self.clock.now_ms())
    }

    fn wait_ms(&self, ms: u64) {
        self.clock.set(self.clock.now_ms() + ms);
    }
}

/// The status and body of a response. Checks its length and date.
fn brief(response: &str) -> (u16, &str) {
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    assert!(head.contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{head}");
    if !head.contains(" 204 ") {
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{response}");
    }
    (head["HTTP/1.1 ".len()..][..3].parse().expect("a status"), body)
}

fn status(response: &str) -> u16 {
    brief(response).0
}

/// The stable code of a problem. Checks that it names its status.
fn code(response: &str) -> String {
    let (status, body) = brief(response);
    assert!(response.contains("\r\nContent-Type: application/problem+json\r\n"), "{response}");
    let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(problem["status"], status);
    problem["code"].as_str().expect("a code").to_owned()
}

/// The public id of a reservation in an answer.
fn id(response: &str) -> String {
    let from = response.find("ticket~").unwrap_or_else(|| panic!("no id in {response}"));
    response[from..from + "ticket~".len() + 26].to_owned()
}

const SOLD_OUT: &str = "HTTP/1.1 200 OK\r\nServer: stampede\r\n\
    Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 29\r\nCache-Control: no-store\r\n\r\n{\"code\":-1,\"msg\":\"已售罄\"}";

const RESERVE: &str = "POST /v1/sales/ticket/reservations";

fn reserve(user: &str, quantity: u32) -> String {
    format!("{RESERVE}\n\n{{\"user\":\"{user}\",\"quantity\":{quantity}}}")
}

#[test]
fn sold_out_is_answered_from_memory_once_the_ledger_said_so() {
    with_shop(1, |mut shop| {
        let bought = shop.after_ledger("GET /buy/ticket");
        let data = format!(r#"{{"reservation":"{}"}}"#, id(&bought));
        let granted = format!(r#"{{"code":1,"msg":"抢票成功","data":{data}}}"#);
        assert_eq!(brief(&bought), (200, &*granted));
        assert_eq!(shop.after_ledger("GET /buy/ticket"), SOLD_OUT, "the ledger's word");
        for line in ["GET /buy/ticket", "POST /buy/ticket?user=ann", "PUT /buy/ticket"] {
            assert_eq!(shop.at_once(line), SOLD_OUT, "{line}: the latch's");
        }
        let head = shop.at_once("HEAD /buy/ticket");
        assert_eq!(head, SOLD_OUT[..SOLD_OUT.find('{').unwrap()], "the head of the same");
        let last = shop.at_once("GET /buy/ticket\nConnection: close");
        assert!(last.contains("\r\nConnection: close\r\n\r\n{\"code\":-1,"), "{last}");
        assert_eq!(code(&shop.at_once(&reserve("ann", 1))), "sold_out");
        assert!(!shop.seller.batcher.has_more(), "no refusal left the core");
        // An earlier purchase may have the key: only the ledger knows.
        let keyed = shop.after_ledger("GET /buy/ticket?user=ann\nIdempotency-Key: k");
        assert_eq!(keyed, SOLD_OUT);
    });
}

#[test]
fn an_invalid_buy_request_is_refused_at_once() {
    with_shop(1, |shop| {
        for (request, field) in [
            ("GET /buy/ticket?user=", "user"),
            ("GET /buy/ticket?user=%ff", "user"),
            ("GET /buy/ticket\nX-User-Id: ", "X-User-Id"),
            ("GET /buy/ticket?user=a\nX-User-Id: b", "user"),
            ("GET /buy/ticket\nIdempotency-Key: ", "Idempotency-Key"),
        ] {
            let told = shop.at_once(request);
            let data = format!(r#"{{"field":"{field}"}}"#);
            let invalid = format!(r#"{{"code":-9,"msg":"请求参数无效","data":{data}}}"#);
            assert_eq!(brief(&told), (422, &*invalid), "{request}");
        }
        assert!(!shop.seller.batcher.has_more());
    });
}

#[test]
fn not_open_and_closed_are_answered_with_their_codes() {
    let opens_at_ms = START_MS + 60_000;
    let spec = SaleSpec { opens_at_ms, ..SaleSpec::with_total(1) };
    with(test_core::settings(), StockSetting::Auto, false, spec, |mut shop| {
        let not_open =
            r#"{"code":-3,"msg":"尚未开售","data":{"opens_at":"2001-09-09T01:47:40.000Z"}}"#;
        let first = shop.after_ledger("GET /buy/ticket");
        assert_eq!(brief(&first), (409, not_open));
        assert_eq!(shop.at_once("GET /buy/ticket"), first);
        assert_eq!(code(&shop.at_once(&reserve("ann", 1))), "not_open");
        // The latch opens by the ledger's clock, without an answer of the ledger.
        shop.wait_ms(60_000);
        assert_eq!(status(&shop.after_ledger("GET /buy/ticket")), 200);
        let now_ms = shop.clock.now_ms();
        shop.ledger.sales.get_mut("ticket").unwrap().apply(now_ms, &Command::Close);
        let closed = shop.after_ledger("GET /buy/ticket");
        assert_eq!(brief(&closed), (410, r#"{"code":-4,"msg":"已停售"}"#));
        assert_eq!(shop.at_once("GET /buy/ticket"), closed);
        assert_eq!(code(&shop.at_once(&reserve("ann", 1))), "closed");
    });
}

#[test]
fn a_reservation_is_created_shown_and_cancelled() {
    with_shop(3, |mut shop| {
        let made = shop.after_ledger(&reserve("ann", 2));
        let id = id(&made);
        let held =
            format!(r#"{{"id":"{id}","sale":"ticket","user":"ann","quantity":2,"status":"held","#);
        assert!(made.contains(&format!("\r\nLocation: /v1/reservations/{id}\r\n")), "{made}");
        let (status, shown) = brief(&made);
        assert!(status == 201 && shown.starts_with(&held), "{made}");
        let show = format!("GET /v1/reservations/{id}");
        assert_eq!(brief(&shop.after_ledger(&show)), (200, shown));
        let cancelled = shop.after_ledger(&format!("POST /v1/reservations/{id}/cancel"));
        assert_eq!(brief(&cancelled), (200, &*shown.replace("held", "cancelled")));
        let again = shop.after_ledger(&format!("POST /v1/reservations/{id}/cancel"));
        assert_eq!(code(&again), "already_cancelled");
        assert_eq!(shop.ledger.sales["ticket"].free(), 3);
        let none = format!("GET /v1/reservations/ticket~{}", "0".repeat(26));
        assert_eq!(code(&shop.after_ledger(&none)), "not_found");
        assert_eq!(code(&shop.at_once("GET /v1/reservations/ticket~x")), "not_found");
    });
}

#[test]
fn a_note_is_shown_and_part_of_a_reservation_is_cancelled() {
    with_shop(9, |mut shop| {
        let request =
            format!("{RESERVE}\n\n{{\"user\":\"ann\",\"quantity\":3,\"note\":\"row 7\"}}");
        let made = shop.after_ledger(&request);
        let id = id(&made);
        assert!(status(&made) == 201 && made.contains(r#""note":"row 7""#), "{made}");
        let cancel = |body: &str| format!("POST /v1/reservations/{id}/cancel\n\n{body}");
        for _ in 0..2 {
            let part = shop.after_ledger(&cancel(r#"{"remaining":1}"#));
            assert_eq!(status(&part), 200);
            assert!(part.contains(r#""quantity":1,"status":"held""#), "{part}");
            assert!(part.contains(r#""quantity_asked":3,"note":"row 7""#), "{part}");
        }
        assert_eq!(shop.ledger.sales["ticket"].free(), 8);
        let more = shop.after_ledger(&cancel(r#"{"remaining":4}"#));
        assert_eq!((status(&more), &*code(&more)), (409, "remaining_too_large"));
        for (body, field) in [(r#"{"remaining":null}"#, "remaining"), (r#"{"note":"x"}"#, "note")] {
            let wrong = shop.at_once(&cancel(body));
            assert!(brief(&wrong).1.contains(&format!("\"field\":\"{field}\"")), "{wrong}");
        }
        // Another server cannot read this format yet.
        shop.seller.selling.fleet.set_reads(2);
        assert_eq!(code(&shop.at_once(&request)), "unavailable");
        assert_eq!(code(&shop.at_once(&cancel(r#"{"remaining":1}"#))), "unavailable");
        let whole = shop.after_ledger(&cancel(r#"{"remaining":0}"#));
        assert!(whole.contains(r#""status":"cancelled""#), "{whole}");
    });
}

#[test]
fn a_repeated_key_gets_the_same_reservation() {
    with_shop(1, |mut shop| {
        let request = reserve("ann", 1).replacen('\n', "\nIdempotency-Key: k\n", 1);
        let made = shop.after_ledger(&request);
        let again = shop.after_ledger(&request);
        assert_eq!((status(&made), status(&again)), (201, 200));
        assert_eq!(brief(&made).1, brief(&again).1);
        assert!(!made.contains("Idempotency-Replayed"), "{made}");
        assert!(again.contains("\r\nIdempotency-Replayed: true\r\n"), "{again}");
        let quoted = shop.after_ledger(&request.replacen(": k\n", ": \"k\"\n", 1));
        assert_eq!(quoted, again);
        let other = reserve("ann", 2).replacen('\n', "\nIdempotency-Key: k\n", 1);
        let reused = shop.after_ledger(&other);
        assert_eq!((status(&reused), &*code(&reused)), (422, "key_reused"));
        let bought = shop.after_ledger("GET /buy/ticket?user=ann\nIdempotency-Key: k");
        assert_eq!(id(&bought), id(&made));
        assert!(bought.contains("\r\nIdempotency-Replayed: true\r\n"), "{bought}");
        shop.after_ledger(&format!("POST /v1/reservations/{}/cancel", id(&made)));
        let bought = shop.after_ledger("GET /buy/ticket?user=ann\nIdempotency-Key: k");
        assert!(brief(&bought).1.contains(&id(&made)), "{bought}");
        assert_eq!(status(&bought), 409, "{bought}");
        assert!(bought.contains("\r\nIdempotency-Replayed: true\r\n"), "{bought}");
    });
}

#[test]
fn buy_refuses_a_key_of_another_request() {
    with_shop(3, |mut shop| {
        let made = reserve("ann", 2).replacen('\n', "\nIdempotency-Key: k\n", 1);
        assert_eq!(status(&shop.after_ledger(&made)), 201);
        let reused = shop.after_ledger("GET /buy/ticket?user=ann\nIdempotency-Key: k");
        assert_eq!(brief(&reused), (422, r#"{"code":-17,"msg":"幂等键已用于另一请求"}"#));
        assert_eq!(shop.ledger.sales["ticket"].free(), 1);
    });
}

#[test]
fn confirm_reaches_the_ledger_only_if_confirm_is_public() {
    for public_confirm in [false, true] {
        let spec = SaleSpec::with_total(1);
        with(test_core::settings(), StockSetting::Auto, public_confirm, spec, move |mut shop| {
            let id = id(&shop.after_ledger("GET /buy/ticket"));
            let confirm = format!("POST /v1/reservations/{id}/confirm");
            if public_confirm {
                let confirmed = shop.after_ledger(&confirm);
                assert!(brief(&confirmed).1.contains(r#""status":"confirmed""#), "{confirmed}");
                let cancel = format!("POST /v1/reservations/{id}/cancel");
                assert_eq!(code(&shop.after_ledger(&cancel)), "already_confirmed");
            } else {
                let refused = shop.at_once(&confirm);
                assert_eq!((status(&refused), &*code(&refused)), (403, "confirm_not_public"));
                assert!(!shop.seller.batcher.has_more());
            }
        });
    }
}

#[test]
fn a_sale_is_shown_from_memory_once_the_ledger_has_shown_it() {
    with_shop(5, |mut shop| {
        let shown = shop.after_ledger("GET /v1/sales/ticket");
        assert!(brief(&shown).1.contains(r#""total":5"#), "{shown}");
        shop.after_ledger("GET /buy/ticket");
        assert_eq!(shop.at_once("GET /v1/sales/ticket"), shown, "it is young enough");
        shop.wait_ms(TICK_INTERVAL_MS);
        shop.seller.tick();
        shop.serve();
        let renewed = shop.at_once("GET /v1/sales/ticket");
        assert!(brief(&renewed).1.contains(r#""held":1"#), "{renewed}");
        shop.wait_ms(60_000);
        let waiting: Vec<_> = (0..3).map(|_| shop.waiting("GET /v1/sales/ticket")).collect();
        assert_eq!(shop.serve().len(), 1, "all who wait share a question");
        for waiting in waiting {
            assert_eq!(brief(&shop.answer(waiting)), brief(&renewed));
        }
        assert_eq!(code(&shop.after_ledger("GET /v1/sales/nothing")), "not_found");
        assert_eq!(code(&shop.at_once("GET /v1/sales/NOTHING")), "not_found");
        assert_eq!(
            code(&shop.after_ledger(&reserve("ann", 1).replace("ticket", "nothing"))),
            "not_found"
        );
    });
}

#[test]
fn requests_that_need_no_ledger_are_answered_at_once() {
    with_shop(1, |shop| {
        for (line, status, allow) in [
            ("OPTIONS /v1/sales/ticket", 204, Some("GET, HEAD, OPTIONS")),
            ("OPTIONS /v1/sales/ticket/reservations", 204, Some("GET, HEAD, POST, OPTIONS")),
            ("DELETE /v1/sales/ticket", 405, Some("GET, HEAD, OPTIONS")),
            ("PUT /v1/sales/ticket/reservations", 405, Some("GET, HEAD, POST, OPTIONS")),
            ("TRACE /buy/ticket", 405, Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
            ("GET /nothing", 404, None),
            ("GET /v1/sales/ticket/", 404, None),
        ] {
            let told = shop.at_once(line);
            assert_eq!(self::status(&told), status, "{line}");
            let header = allow.map(|allow| format!("\r\nAllow: {allow}\r\n"));
            assert!(header.is_none_or(|header| told.contains(&header)), "{told}");
            assert_eq!(told.contains("Allow: "), allow.is_some(), "{told}");
            match status {
                204 => assert_eq!(brief(&told).1, ""),
                405 => assert_eq!(code(&told), "method_not_allowed"),
                _ => assert_eq!(code(&told), "not_found"),
            }
        }
        assert_eq!(brief(&shop.at_once("GET /plaintext")), (200, "Hello, World!"));
        assert!(!shop.seller.batcher.has_more());
    });
}

#[test]
fn an_invalid_body_is_refused_at_once() {
    with_shop(1, |shop| {
        for (body, wanted) in [
            ("{\"user\":\"ann\",\"quantity\":0}", "invalid"),
            ("{\"user\":\"\"}", "invalid"),
            ("{\"user\":", "bad_request"),
        ] {
            let told = shop.at_once(&format!("{RESERVE}\n\n{body}"));
            assert_eq!(code(&told), wanted, "{body}");
        }
        assert!(!shop.seller.batcher.has_more());
    });
}

/// Checks that each kind of request is refused at once with this code.
fn assert_all_refused(shop: &Shop, known: &str, wanted: &str, buy: i8) {
    let bought = shop.at_once("GET /buy/ticket");
    let told = format!("{{\"code\":{buy},");
    assert!(status(&bought) == 503 && brief(&bought).1.starts_with(&told), "{bought}");
    assert!(bought.contains("\r\nRetry-After: 1\r\n"), "{bought}");
    for request in
        [reserve("ann", 1), format!("GET /v1/reservations/{known}"), "GET /v1/sales/ticket".into()]
    {
        let told = shop.at_once(&request);
        assert_eq!((status(&told), &*code(&told)), (503, wanted), "{request}");
        assert!(told.contains("\r\nRetry-After: 1\r\n"), "{told}");
    }
}

#[test]
fn requests_beyond_the_waiting_limit_get_busy_at_once() {
    with_shop(100, |mut shop| {
        let known = id(&shop.after_ledger("GET /buy/ticket"));
        // One sale must leave some slots for other sales.
        let waiting: Vec<_> =
            (0..WAITING_MAX - 1).map(|_| shop.waiting("GET /buy/ticket")).collect();
        assert_all_refused(&shop, &known, "busy", -5);
        assert_eq!(shop.serve().len(), waiting.len(), "nobody else is sent");
        for waiting in waiting {
            assert_eq!(status(&shop.answer(waiting)), 200);
        }
        assert_eq!(status(&shop.after_ledger("GET /buy/ticket")), 200);
    });
}

#[test]
fn unsent_commands_of_a_disconnected_client_are_dropped() {
    with(
        test_core::settings(),
        StockSetting::Fixed(2),
        false,
        SaleSpec::with_total(9),
        |mut shop| {
            let known = id(&shop.after_ledger("GET /buy/ticket"));
            let requests = || {
                let show = format!("GET /v1/reservations/{known}");
                [reserve("ann", 1), show, "GET /v1/sales/ticket".to_owned()]
            };
            for request in requests() {
                shop.buyers.cancel(shop.waiting(&request));
            }
            assert_eq!(shop.seller.batcher.waiting(), 0);
            assert_eq!(
                shop.serve(),
                [Command::Peek { parts: 0 }],
                "the view, for whoever asks next"
            );
            // The allowance of unsent commands came back once. A sent command keeps its allowance.
            let sent = shop.waiting(&reserve("bob", 1));
            let flight = shop.seller.batcher.take_batch(shop.clock.now_ms());
            shop.buyers.cancel(sent);
            let exhausted = shop.at_once(&reserve("ann", 1));
            assert_eq!(code(&exhausted), "allowance_exhausted");
            shop.ledger.answer(&shop.seller.batcher, flight, shop.clock.now_ms());
            assert_eq!(shop.ledger.sales["ticket"].free(), 7);
            assert_eq!(shop.seller.selling.grants_total(), 2, "also the one that nobody heard of");
        },
    );
}

#[test]
fn a_request_that_waits_too_long_in_the_queue_gets_busy() {
    with_shop(1, |mut shop| {
        shop.seller.tick();
        let waiting = shop.waiting(&reserve("ann", 1));
        shop.wait_ms(DEADLINE_MS + 1);
        shop.seller.tick();
        shop.seller.tick();
        assert_eq!(code(&shop.answer(waiting)), "busy");
        assert!(shop.serve().iter().all(|command| matches!(command, Command::Peek { .. })));
    });
}

#[test]
fn unsent_requests_get_unavailable_and_lost_ones_unknown() {
    with_shop(9, |mut shop| {
        let known = id(&shop.after_ledger("GET /buy/ticket"));
        let requests = || {
            ["GET /buy/ticket".into(), reserve("ann", 1), format!("GET /v1/reservations/{known}")]
        };
        let sent: Vec<_> = requests().iter().map(|request| shop.waiting(request)).collect();
        shop.ledger.lose(&shop.seller.batcher, shop.clock.now_ms());
        let unsent: Vec<_> = requests().iter().map(|request| shop.waiting(request)).collect();
        shop.seller.batcher.set_unavailable();
        assert_all_refused(&shop, &known, "unavailable", -6);
        for (waiting, wanted, buy) in [(sent, "unknown", -7), (unsent, "unavailable", -6)] {
            let told: Vec<_> = waiting.into_iter().map(|waiting| shop.answer(waiting)).collect();
            let (bought, others) = told.split_first().expect("three");
            let starts = format!("{{\"code\":{buy},");
            assert!(status(bought) == 503 && brief(bought).1.starts_with(&starts), "{bought}");
            for other in others {
                assert_eq!((status(other), &*code(other)), (503, wanted));
            }
        }
        shop.seller.batcher.set_available();
        assert_eq!(status(&shop.after_ledger("GET /buy/ticket")), 200);
    });
}

#[test]
fn an_exhausted_allowance_is_not_reported_as_sold_out() {
    let stock = StockSetting::Fixed(1);
    with(test_core::settings(), stock, false, SaleSpec::with_total(9), |mut shop| {
        assert_eq!(status(&shop.after_ledger("GET /buy/ticket")), 200);
        let exhausted = shop.at_once("GET /buy/ticket");
        assert!(brief(&exhausted).1.starts_with("{\"code\":-8,"), "{exhausted}");
        assert_eq!(code(&shop.at_once(&reserve("ann", 1))), "allowance_exhausted");
    });
}

#[test]
fn limit_reached_names_the_limit_per_user() {
    let spec = SaleSpec { limit_per_user: 1, ..SaleSpec::with_total(9) };
    with(test_core::settings(), StockSetting::Auto, false, spec, |mut shop| {
        let nobody = shop.after_ledger("GET /buy/ticket");
        assert_eq!(status(&nobody), 422);
        assert!(brief(&nobody).1.starts_with("{\"code\":-11,"), "{nobody}");
        assert_eq!(status(&shop.after_ledger("GET /buy/ticket?user=ann")), 200);
        let second = shop.after_ledger("GET /buy/ticket\nX-User-Id: ann");
        assert!(brief(&second).1.starts_with("{\"code\":-2,"), "{second}");
        let second = shop.after_ledger(&reserve("ann", 1));
        assert_eq!(code(&second), "limit_reached");
        assert!(brief(&second).1.contains(r#""limit_per_user":1"#), "{second}");
    });
}

#[test]
fn a_draining_server_answers_with_connection_close() {
    with_shop(1, |mut shop| {
        let waiting = shop.waiting("GET /buy/ticket");
        shop.core.leave();
        shop.serve();
        let told = shop.answer(waiting);
        assert!(told.contains("\r\nConnection: close\r\n\r\n{\"code\":1,"), "{told}");
        let next = shop.at_once("GET /nothing");
        assert!(next.contains("\r\nConnection: close\r\n\r\n"), "{next}");
    });
}

#[test]
fn a_damaged_sale_is_answered_with_its_reason() {
    with_shop(1, |shop| {
        let sale = crate::sale::SaleId::new("ticket").unwrap();
        let requests = ["GET /buy/ticket".into(), reserve("ann", 1), "GET /v1/sales/ticket".into()];
        let waiting: Vec<_> =
            requests.iter().map(|request: &String| shop.waiting(request)).collect();
        shop.seller.selling.refused_sales.note(&sale, "counts");
        shop.seller.batcher.set_unavailable();
        for waiting in waiting {
            let told = shop.answer(waiting);
            let (status, body) = brief(&told);
            assert_eq!(status, 503);
            assert!(body.contains(r#""reason":"sale_damaged""#), "{told}");
        }
    });
}
