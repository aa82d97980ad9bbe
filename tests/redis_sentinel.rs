//! What one Sentinel reports, and what a sale's epoch says against it. The failover itself is in
//! tests/fleet.

#[allow(dead_code)]
#[path = "support/redis.rs"]
mod server;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use server::RedisServer;
use stampede::ledger::client::Client;
use stampede::ledger::redis::{
    Codec, KeyTemplates, Password, RedisClient, RedisLedger, RedisSettings,
};
use stampede::ledger::{Batch, BatchReply, Group, LedgerError};
use stampede::sale::{Command, SaleId, SaleSpec};
use tempfile::TempDir;

/// A Sentinel that watches a Redis as `shop`.
struct Sentinel {
    port: u16,
    child: Child,
    _folder: TempDir,
}

impl Sentinel {
    fn start(redis: &RedisServer, more: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let (conf, dir, primary) = (folder.path().join("conf"), folder.path(), redis.port());
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor shop 127.0.0.1 {primary} 1\n{more}",
            dir.display()
        );
        fs::write(&conf, text).expect("write a file");
        let mut program = Program::new("redis-server");
        program.arg(conf).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let sentinel =
            Self { port, child: program.spawn().expect("redis-server"), _folder: folder };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < until, "the Sentinel does not start");
            thread::sleep(Duration::from_millis(10));
        }
        sentinel
    }

    fn ledger(&self, name: &str) -> RedisLedger {
        // Another Sentinel that does not answer: the server starts without it.
        let url = format!("redis-sentinel://127.0.0.1:1,127.0.0.1:{}/{name}", self.port);
        let settings = RedisSettings::from_url(&url).expect("a Redis URL");
        let codec = Codec::new(KeyTemplates::default());
        RedisLedger::new(settings, codec, None).expect("no certificates")
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn apply(client: &mut RedisClient, command: Command) -> Result<BatchReply, LedgerError> {
    let sale = SaleId::new("s").expect("a sale id");
    client.apply(&Batch { groups: vec![Group { sale, commands: vec![command] }] })
}

fn client(ledger: RedisLedger) -> RedisClient {
    RedisClient::new(Arc::new(ledger), "test")
}

#[test]
fn a_sale_of_a_later_epoch_fences_an_earlier_one() {
    let redis = RedisServer::start(&[]);
    let sentinel = Sentinel::start(&redis, "sentinel config-epoch shop 5\n");
    let mut one = client(sentinel.ledger("shop"));
    apply(&mut one, Command::Create(SaleSpec::with_total(9))).expect("created");
    apply(&mut one, Command::Show).expect("shown");
    let mut connection = redis.connect();
    assert_eq!(connection.text("HGET {s_hash_key}:sale epoch"), "5");

    connection.ask("HSET {s_hash_key}:sale epoch 7");
    let refused = apply(&mut one, Command::AddStock(1)).unwrap_err().to_string();
    assert!(refused.contains("FENCED 7") && refused.contains("the Sentinels say 5"), "{refused}");
    // From then on it believes no Sentinel with a lower epoch, for any sale.
    let refused = apply(&mut one, Command::Show).unwrap_err().to_string();
    assert!(refused.contains("epoch 5 is known") && refused.contains("epoch 7"), "{refused}");
    assert_eq!(connection.text("HGET s_hash_key s_total_nums"), "9");

    // A Sentinel that has forgotten the primary is also logged.
    let sentinel_said = |text: &str| {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, sentinel.port)).expect("connect");
        server::RedisConnection::new(stream).ask(text)
    };
    sentinel_said("SENTINEL REMOVE shop");
    let refused = apply(&mut one, Command::Show).unwrap_err().to_string();
    assert!(refused.contains("the Sentinels don't say where shop is"), "{refused}");
}

/// The sale comes from a place whose Sentinels are in another epoch. Asked again, the Sentinels
/// repeat their answer.
#[test]
fn only_a_sale_from_another_sentinel_group_is_refused() {
    let redis = RedisServer::start(&[]);
    let sentinel = Sentinel::start(&redis, "sentinel config-epoch shop 3\n");
    let url = format!("redis-sentinel://127.0.0.1:{}/shop", sentinel.port);
    let settings = RedisSettings::from_url(&url).expect("a Redis URL");
    let ledger = RedisLedger::new(settings, Codec::new(KeyTemplates::default()), None);
    let ledger = Arc::new(ledger.expect("no certificates"));
    let new = || RedisClient::new(ledger.clone(), "test");
    let (mut one, mut two) = (new(), new());
    let batch = |sale: &str, command| {
        let sale = SaleId::new(sale).expect("a sale id");
        Batch { groups: vec![Group { sale, commands: vec![command] }] }
    };
    let create = || Command::Create(SaleSpec::with_total(9));
    one.apply(&batch("mine", create())).expect("created");
    two.apply(&batch("theirs", create())).expect("created");
    redis.connect().ask("HSET {theirs_hash_key}:sale epoch 12");
    let refused = two.apply(&batch("theirs", Command::Open)).unwrap_err().to_string();
    assert!(refused.contains("FENCED 12"), "{refused}");
    // This waits until the Sentinel has repeated its answer.
    one.apply(&batch("mine", Command::Show)).expect("the other sale is sold");
    let (made_by_one, _) = (one.connections(), two.apply(&batch("mine", Command::Show)));
    let made_by_two = two.connections();
    for _ in 0..3 {
        let refused = two.apply(&batch("theirs", Command::Open)).unwrap_err().to_string();
        assert!(refused.contains("FENCED 12"), "{refused}");
        one.apply(&batch("mine", Command::AddStock(1))).expect("nobody minds");
    }
    assert_eq!((one.connections(), two.connections()), (made_by_one, made_by_two));
    redis.connect().ask("HDEL {theirs_hash_key}:sale epoch");
    two.apply(&batch("theirs", Command::Open)).expect("the way out");
}

/// The users that tuning/redis/sentinel.conf proposes.
#[test]
fn the_sentinel_user_of_tuning_has_enough_rights() {
    let conf = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/redis/sentinel.conf");
    let conf = fs::read_to_string(conf).expect("a file of tuning/");
    let lines = conf.lines().filter_map(|line| line.strip_prefix("#     "));
    let users: Vec<&str> = lines
        .filter(|line| line.starts_with("user ") || line.starts_with("requirepass "))
        .collect();
    assert_eq!(users.len(), 2, "{users:?}");
    let redis = RedisServer::start(&[]);
    let sentinel = Sentinel::start(&redis, &(users.join("\n") + "\n"));
    let login = |password: &str| {
        let user = Some("stampede".to_owned());
        client(sentinel.ledger("shop").with_sentinel_login(user, Password::new(password)))
    };
    apply(&mut login("CHANGE-ME-ASKING"), Command::Create(SaleSpec::with_total(1)))
        .expect("created");
    assert!(login("CHANGE-ME").connect().is_err());
}

#[test]
fn an_unknown_name_and_a_wrong_password_are_reported() {
    let redis = RedisServer::start(&[]);
    let sentinel = Sentinel::start(&redis, "requirepass hunter2\n");
    let said = |ledger| {
        let mut client = client(ledger);
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match client.connect() {
                Ok(()) => return String::new(),
                Err(error) if error.to_string().contains("no Sentinel has answered") => {
                    assert!(Instant::now() < until, "{error}");
                }
                Err(error) => return error.to_string(),
            }
        }
    };
    let refused = said(sentinel.ledger("shop"));
    assert!(refused.contains("STAMPEDE_REDIS_SENTINEL_PASSWORD"), "{refused}");
    let with = |name, password: &str| {
        said(sentinel.ledger(name).with_sentinel_login(None, Password::new(password)))
    };
    assert_eq!(with("shop", "hunter2"), "");
    let refused = with("shop", "hunter3");
    assert!(refused.contains("wrong user or password") && !refused.contains("hunter"), "{refused}");
    let refused = with("ship", "hunter2");
    assert!(refused.contains("watches no primary named ship"), "{refused}");
    // A Redis that is not a Sentinel.
    let url = format!("redis-sentinel://127.0.0.1:{}/shop", redis.port());
    let settings = RedisSettings::from_url(&url).expect("a Redis URL");
    let ledger = RedisLedger::new(settings, Codec::new(KeyTemplates::default()), None);
    let refused = said(ledger.expect("no certificates"));
    assert!(refused.contains("is no Sentinel"), "{refused}");
}
